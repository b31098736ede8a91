"""The views that outlive the kernel, in a headless Chromium: what is painted, keys, mouse, looks, and how fast."""

import statistics

import numpy as np
import pytest
from players import state
from toy import ToyQuartets

pytest.importorskip("playwright.sync_api", reason="there is no playwright to drive a browser: pip install playwright")

import browser

from helpers import plots
from helpers.dataset import Subset
from helpers.widgets.compare import divide
from helpers.widgets.error_browser import ORDERS, SCOPES, worst_first
from helpers.widgets.explorer import PANELS, explore, quartet_player
from helpers.widgets.feature_viewer import explore_features
from helpers.widgets.player import LEVELS, Player, chooser, drawn, exact

BROWSER = browser.find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium and no Chrome on this machine"),
]
PIXELS = """canvas => {
    const { width, height } = canvas;
    return [height, width, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]];
}"""
# From the key to the end of what it sets going: the handler here comes after the view's own.
TIMED = """input => {
    const box = input.closest('.player'), took = window.took = [];
    let pressed = null;
    input.onkeydown = event => { pressed = event.timeStamp; };
    box.oninput = () => { took.push(performance.now() - pressed); };
}"""
# What a screen reader says of what has the focus: a name and a value.
STOP = """() => {
    const at = document.activeElement;
    return at.closest('.player') && [at.ariaLabel || at.labels?.[0]?.textContent || at.textContent,
        at.ariaValueText || at.value || at.ariaPressed];
}"""
PLAIN = ".text_html, .player, .player *:not(option, span, canvas, input)"  # what has no colour of its own
SIZE = 32


@pytest.fixture(scope="module")
def chromium():
    with browser.launched(BROWSER) as launched:
        yield launched


@pytest.fixture
def opened(chromium):
    """Opens a view alone in a page, in which nothing may go wrong, and nothing is asked for."""
    visits = []

    def open_view(player, size=(1280, 720), look="", **settings):
        page = chromium.new_page(viewport={"width": size[0], "height": size[1]}, **settings)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith("data:") else problems.append(asked.url))
        page.set_content(f"<!doctype html><body style='margin:8px;{look}'>{player.data}</body>")
        visits.append((page, problems))
        if settings.get("java_script_enabled", True):
            page.wait_for_selector(".player canvas")
        return page

    yield open_view
    for page, problems in visits:
        page.close()
        assert problems == []


def pictures(page):
    """All pictures as (H, W, 3) in [0, 255], by title."""
    found = {}
    for figure in page.query_selector_all(".player figure"):
        height, width, values = figure.query_selector("canvas").evaluate(PIXELS)
        found[figure.inner_text().strip()] = np.array(values).reshape(height, width, 4)[..., :3]
    return found


def slider(page, name):
    return page.locator(f".player input[aria-label='{name}']")


def move(page, name, steps):
    """Moves a slider by keys; what a screen reader then says of it."""
    slider(page, name).focus()
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
    return slider(page, name).get_attribute("aria-valuetext")


def quartets(count=4):
    return ToyQuartets(size=SIZE).get_batch(range(0, 8 * count, 8))


def predicted(batch):
    """A mask that is unsure everywhere, and a depth that is a little wrong."""
    noise = np.random.default_rng(0).random(batch["mask"].shape).astype(np.float32)
    return 0.4 * batch["mask"].numpy() + 0.6 * noise, 0.8 * batch["depth"].numpy() + 0.1


def close(shown, wanted):
    """The same but for rounding."""
    return np.abs(shown - 255 * wanted).max() <= 1


def worst():
    dataset = Subset(ToyQuartets(), [0, 1, 9, 20, 30, 41, 55, 63])  # rooms 0, 0, 0, 1, 1, 2, 3, 3
    dice, rmse = [0.9, 0.2, 0.5, 0.8, 0.1, 0.95, 0.6, 0.7], [0.05, 0.01, 0.3, np.nan, 0.2, 0.02, 0.1, 0.25]
    return worst_first(dataset, lambda batch: (batch["mask"], batch["depth"]), dice, rmse)


def training(count=3):
    """Photographs of one quartet."""
    words = {"dice": "1", "error": "0", "below": "bg"}
    return quartet_player("a training", [chooser("snapshot", ("earlier", "later"), plays=10), chooser("sample")],
                          [[state(0, SIZE, SIZE, about=f"after {n}", words=words)] for n in range(count)])  # fmt: skip


def halves():
    rng = np.random.default_rng(0)
    return [[rng.random((SIZE, SIZE, 3)) for _ in range(2)] for _ in range(2)]


def features():
    rng = np.random.default_rng(0)
    stages = {f"stage {size}": rng.random((size, size, size)) for size in (4, 8, 16)}
    return explore_features(quartets(1)["bg_fg"][0], stages)


VIEWS = {
    "divide": lambda: divide(*halves(), ("before", "after")),
    "explore": lambda: explore(quartets(), *predicted(quartets())),
    "explore_features": features, "time_travel": training, "worst_first": worst,
}  # fmt: skip


# -- what is painted -----------------------------------------------------------------------------------------------


def test_the_script_paints_what_the_figures_show(opened):
    paints = [(f"{paint} {which}", paint, which) for _, paint, which in (*PANELS, ("", "map", 1))]
    shown = state(3, SIZE, SIZE)
    page = opened(Player("all", [chooser("state")], paints, [shown], columns=9, pixels=SIZE, side=100, most=100_000))
    for title, picture in pictures(page).items():
        paint, which = title.split()
        # Held depths are bytes: in steep colours of a map one more or less is a few more or less.
        limit = {"depth": 8, "map": 8, "error": 24}.get(paint, 1)
        assert np.abs(picture - 255 * drawn(shown, paint, int(which))).max() <= limit, title


def test_each_slider_of_the_explorer_changes_what_it_is_about(opened):
    batch = quartets()
    prob, depth = predicted(batch)
    page = opened(explore(batch, prob, depth))
    assert move(page, "sample", 2) == "3 of 4"
    assert move(page, "mask threshold", 4) == "0.70"
    assert move(page, "overlay opacity", 7) == "0.85"
    assert move(page, "first colour at depth", 4) == "0.20"
    assert move(page, "last colour at depth", -8) == "0.60"
    found, cat = prob[2, 0] >= np.float32(0.7), batch["mask"][2, 0].numpy() > 0.5
    score = 2 * (found & cat).sum() / (found.sum() + cat.sum())
    valid = batch["valid"][2].numpy()
    error = plots.depth_errors(batch["depth"][2], depth[2], valid)
    wanted = {
        "bg_fg, predicted cat": plots.overlay(batch["bg_fg"][2], found, 0.85),
        "mask, ground truth": plots.picture(cat),
        "mask, predicted": plots.picture(exact(cat, prob[2], valid) % 32 / (LEVELS - 1)),
        f"mask errors, Dice {score:.3f}": plots.mask_errors(cat, prob[2], np.float32(0.7)),
        "bg": plots.picture(batch["bg"][2]),
        "depth, ground truth": plots.depth_picture(batch["depth"][2], valid, 0.2, 0.6),
        "depth, predicted": plots.depth_picture(depth[2], None, 0.2, 0.6),
        f"depth error, mean {error.mean():.3f}": plots.error_picture(error),
    }
    seen = pictures(page)
    assert list(seen) == list(wanted)
    for title, picture in seen.items():
        limit = 1 if title.startswith("mask") else 8  # photographs and depth maps are compressed
        assert np.abs(picture - 255 * wanted[title]).mean() < limit, title


def test_the_first_colour_stays_nearer_than_the_last(opened):
    page = opened(explore(quartets(1), *predicted(quartets(1))))
    assert move(page, "last colour at depth", -12) == "0.40"
    move(page, "first colour at depth", 11)
    said = [slider(page, f"{which} colour at depth").get_attribute("aria-valuetext") for which in ("first", "last")]
    assert said == ["0.55", "0.60"]
    move(page, "last colour at depth", -9)
    said = [slider(page, f"{which} colour at depth").get_attribute("aria-valuetext") for which in ("first", "last")]
    assert said == ["0.10", "0.15"]


def test_another_order_begins_with_its_worst(opened):
    page = opened(worst())
    about = page.locator(".about")
    assert move(page, "rank", 2) == "3 of 6" and about.inner_text().startswith("quartet 2,")
    page.get_by_label("order").select_option(ORDERS[1])
    assert slider(page, "rank").get_attribute("aria-valuetext") == "1 of 6"
    assert about.inner_text().startswith("quartet 2,")
    move(page, "rank", 5)
    page.get_by_label("show").select_option(SCOPES[1])
    assert slider(page, "rank").get_attribute("aria-valuetext") == "1 of 4"
    assert move(page, "rank", 9) == "4 of 4" and about.inner_text().startswith("quartet 5,")


def test_a_training_plays_from_where_it_stands_and_from_its_beginning_after_its_end(opened):
    page = opened(training(5))
    play = page.get_by_role("button", name="play")
    move(page, "snapshot", 3)
    slider(page, "snapshot").evaluate("input => { window.seen = []; input.oninput = () => seen.push(+input.value); }")
    for _ in range(2):
        play.click()
        page.wait_for_function("document.querySelector('.player input').value === '4'")
        page.wait_for_function("document.querySelector('[aria-pressed]').ariaPressed === 'false'")
    assert page.evaluate("seen") == [4, 0, 1, 2, 3, 4] and page.locator(".about").inner_text() == "after 4"


def test_of_one_thing_there_is_nothing_to_choose(opened):
    page = opened(training(2))
    assert slider(page, "sample").is_disabled() and not slider(page, "snapshot").is_disabled()
    assert slider(page, "sample").get_attribute("aria-valuetext") == "1 of 1"


def test_the_divider_follows_keys_and_pointer(opened):
    left, right = halves()
    page = opened(divide(left, right, ("before", "after")))

    def divided(sample):
        (picture,) = pictures(page).values()
        (line,) = [x for x in range(SIZE) if (picture[:, x] == 255).all()]
        assert close(picture[:, :line], left[sample][:, :line])
        assert close(picture[:, line + 1 :], right[sample][:, line + 1 :])
        return line

    assert divided(0) == SIZE // 2
    assert move(page, "divider", -25) == "25 % before" and divided(0) == SIZE // 4
    assert move(page, "sample", 1) == "2 of 2" and divided(1) == SIZE // 4
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 9)
    assert divided(1) == SIZE // 4, "nothing is pressed"
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 9)
    page.mouse.up()
    assert divided(1) == SIZE * 3 // 4


# -- everybody can use them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_each_control_is_one_stop_with_a_name_and_a_value(opened, name):
    page = opened(VIEWS[name]())
    expected = page.locator(".player :is(input, select, button[aria-pressed]):enabled").count()
    stops = []
    for _ in range(30):
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if not stop:
            break
        stops.append(stop)
    assert len(stops) == expected and all(title and value for title, value in stops)
    for button in page.query_selector_all(".player .setting button:not([aria-pressed])"):
        row = button.evaluate("b => b.parentNode.querySelector('input').ariaLabel")
        assert button.get_attribute("aria-label") == f"{row}, {button.inner_text()}"
    for canvas in page.query_selector_all("canvas"):
        title = canvas.evaluate("c => c.parentNode.innerText").strip()
        assert canvas.get_attribute("role") == "img" and canvas.get_attribute("aria-label") == title != ""


def test_a_button_makes_one_step_and_stops_at_the_ends(opened):
    page = opened(explore(quartets(), *predicted(quartets())))
    for label, said in (("next", "2 of 4"), ("next", "3 of 4"), ("previous", "2 of 4"), *[("previous", "1 of 4")] * 2):
        page.get_by_role("button", name=f"sample, {label}").click()
        assert slider(page, "sample").get_attribute("aria-valuetext") == said


@pytest.mark.parametrize("name", VIEWS)
def test_controls_are_above_pictures_and_all_fits(opened, name):
    page = opened(VIEWS[name]())
    for width, height in ((1280, 720), (390, None)):
        page.set_viewport_size({"width": width, "height": height or 844})
        box, first = page.locator(".player").bounding_box(), page.locator(".panels").bounding_box()
        rows = [row.bounding_box() for row in page.query_selector_all(".setting")]
        assert all(row["y"] + row["height"] <= first["y"] for row in rows)
        assert height is None or box["y"] + box["height"] <= height
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_a_control_without_a_name(chromium):
    page = chromium.new_page()
    page.set_content("<div class='player'><button></button></div>")
    assert [rule for rule, _ in browser.faults(page, "'.player'")] == ["button-name"]
    page.close()


@pytest.mark.parametrize("look", ["color-scheme:light", "color-scheme:dark;background:#111;color:#eee"])
@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_no_fault(opened, name, look):
    page = opened(VIEWS[name](), look=look)
    assert browser.faults(page, "'.player'", ("minor", "moderate", "serious", "critical")) == []


@pytest.mark.parametrize("name", VIEWS)
def test_a_dark_page_shows_no_box_of_another_colour(opened, name):
    view = VIEWS[name]()  # as the website's theme holds it
    view.data = f'<style>.text_html{{background:white;color:black}}</style><div class="text_html">{view.data}</div>'
    page = opened(view, look="background:#111;color:#eee")
    painted = page.evaluate("""selector => [...document.querySelectorAll(selector)].map(
        element => [getComputedStyle(element).backgroundColor, getComputedStyle(element).color])""", PLAIN)
    assert {tuple(colours) for colours in painted} == {("rgba(0, 0, 0, 0)", "rgb(238, 238, 238)")}


def test_without_scripts_the_still_picture_is_seen(opened):
    page = opened(worst(), java_script_enabled=False)
    box = page.locator("img").bounding_box()
    assert box["width"] == 4 * 192 and box["height"] == 2 * 192
    assert page.locator(".about").inner_text().startswith("quartet 4, room 1")


def test_two_views_in_one_page_move_alone(opened):
    views = [explore(quartets(2), *predicted(quartets(2))) for _ in range(2)]
    views[0].data += views[1].data
    page = opened(views[0])
    page.wait_for_function("document.querySelectorAll('.panels').length === 2")
    first, second = page.locator("input[aria-label=sample]").all()
    first.press("ArrowRight")
    assert [one.get_attribute("aria-valuetext") for one in (first, second)] == ["2 of 2", "1 of 2"]


# -- how long it takes ---------------------------------------------------------------------------------------------


def test_a_key_is_answered_at_once(opened, capsys):
    """The page's own part: from the key to the painted pictures, of which the next frame is made."""
    lines, slowest = [], 0
    for name, view in VIEWS.items():
        page = opened(view())
        for element in page.query_selector_all(".player input:enabled"):
            element.evaluate(TIMED)
            element.focus()
            for key in ["ArrowRight", "ArrowLeft"] * 5:
                page.keyboard.press(key)
            times = page.evaluate("window.took")
            middle = statistics.median(times)
            slowest = max(slowest, middle)
            lines.append(f"{name:16} {element.get_attribute('aria-label'):22} {middle:5.1f} ms median of {len(times)}")
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert slowest < 100, "milliseconds, on a busy machine"
