"""The views that outlive the kernel, as they are stored: one piece of HTML that stands alone. How they move in a
browser is in test_player_moves.py."""

import json

import numpy as np
import pytest
from players import SIZE, Page, decoded, state

from helpers import plots
from helpers.config import ROOT
from helpers.widgets import player as module
from helpers.widgets.player import LEVELS, Player, chooser, drawn, exact, setting


def view(shown, panels=(("photo", "photo", 0), ("errors {dice}", "wrong", 0)), controls=None, **settings):
    controls = controls or [chooser("sample"), setting("threshold", "threshold", 0.05, 0.95, 0.5)]
    settings = {"columns": 2, "pixels": 64, "side": 100, "most": 100_000} | settings
    return Player("a view", controls, panels, shown, **settings)


def test_it_stands_alone():
    page = Page(view([state(0), state(1)]))
    assert not page.open
    data = view([state()]).data
    assert "<script" not in data and "http" not in data
    assert not any("id" in attributes for _, attributes in page.found), "two views on one page must not share names"


def test_without_scripts_there_is_a_picture_with_words_and_nothing_that_does_not_work():
    page = Page(view([state(0), state(1)]))
    ((_, image),) = [element for element in page.found if element[0] == "img"]
    assert decoded(image["src"]).shape == (SIZE, 2 * SIZE, 3) and image["alt"] == "photo, errors 10"
    assert page.words.strip() == "state 0"
    assert not {"input", "button", "select", "canvas"} & {tag for tag, _ in page.found}


def test_the_whole_has_a_name_and_keeps_its_keys_from_jupyter():
    (box,) = [attributes for _, attributes in Page(view([state()])).found if "data-spec" in attributes]
    assert (box["role"], box["aria-label"], box["data-lm-suppress-shortcuts"]) == ("group", "a view", "true")


def test_masks_and_probabilities_are_exact():
    shown = [state(k) for k in range(20)]  # more than stand in a row of the sheet
    page = Page(view(shown))
    for k, one in enumerate(shown):
        assert (page.tile("exact", page.shown(k)["exact"])[..., 0] == one.exact).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_byte_tells_on_which_side_of_every_threshold_a_probability_is(dtype):
    thresholds = [step / LEVELS for step in range(1, LEVELS)]
    prob = np.array([[0, 1, *thresholds, *np.nextafter(np.array(thresholds, dtype), dtype(0))]], dtype)
    byte = exact(np.ones_like(prob), prob, np.zeros_like(prob))
    for step, threshold in enumerate(thresholds, 1):
        assert ((byte & 31 >= step) == (prob >= dtype(threshold))).all()
    assert (byte & 32).all() and not (byte & 64).any()


def test_what_is_shown_more_than_once_is_held_once():
    photos, depths = state(7).photos, state(7).depths
    page = Page(view([state(k, photos=photos, depths=depths) for k in range(5)]))
    assert {tuple(page.shown(k)["photo"]) for k in range(5)} == {(0, 1)}
    assert page.sheets["photo"].shape == (SIZE, 2 * SIZE, 3)


def test_few_small_pictures_are_exact_and_many_are_small():
    photos = state().photos
    page = Page(view([state()]))
    assert (page.tile("photo", 0) == (photos[0] * 255).round()).all()
    assert max(Page(view([state(0, 200, 100)])).spec["size"]) == 64
    tight = view([state(k) for k in range(16)], most=40_000)
    assert len(tight.data.encode()) <= 40_000
    with pytest.raises(ValueError, match="80 photographs of 24 x 24 px exceed 14000 bytes: show fewer"):
        view([state(k) for k in range(40)], most=14_000)


def test_words_are_words_and_not_html():
    shown = state(about="a<b & 'c' \"d\"", words={"dice": "<i>"})
    page = Page(view([shown]))
    assert page.shown(0)["about"] == shown.about and page.words.strip() == shown.about
    assert not page.open


def test_what_is_drawn_without_scripts_is_what_figures_show():
    shown = state()
    level, cat, valid = shown.exact & 31, shown.exact & 32 > 0, shown.exact & 64 > 0
    wanted = {
        ("photo", 1): shown.photos[1],
        ("overlay", 0): plots.overlay(shown.photos[0], level >= 10),
        ("mask", 0): plots.picture(cat),
        ("probability", 0): plots.picture(level / 19),
        ("wrong", 0): plots.mask_errors(cat, level / 20, 0.5),
        ("depth", 0): plots.depth_picture(shown.depths[0], valid),
        ("depth", 1): plots.depth_picture(shown.depths[1]),
        ("error", 0): plots.error_picture(np.where(valid, np.abs(shown.depths[0] - shown.depths[1]), np.nan)),
    }
    for (paint, which), picture in wanted.items():
        assert np.array_equal(drawn(shown, paint, which), picture), paint


def test_a_figure_has_the_panels_with_colour_bars_and_a_legend():
    panels = ("mask errors, Dice {dice}", "wrong", 0), ("depth, predicted", "depth", 1), ("depth error, 1", "error", 0)
    figure = view([state(about="a<b")], panels, columns=3).still()
    pictures = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in pictures] == ["mask errors\nDice 10", "depth\npredicted", "depth error\n1"]
    bars = {axis.get_xlabel(): axis.get_xlim() for axis in figure.axes if axis not in pictures and axis.get_xlabel()}
    assert bars == {"near to far": (0, 1), "absolute error": (0, plots.ERROR_LIMIT)}
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["cat, found", "cat, missed"]
    assert figure.get_suptitle() == "a<b"


def test_a_notebook_keeps_the_page_and_no_address_in_memory():
    shown = view([state()])
    assert shown._repr_html_() == shown.data and repr(shown) == "a view"


def test_script_and_style_are_installed_with_the_library():
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "widgets/player.*" in settings
    assert module.SCRIPT.startswith("async (still) =>") and json.dumps(module.STYLE)
