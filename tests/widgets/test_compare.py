"""The divider: one small piece of HTML that stands alone, and a still picture of the same."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from helpers.widgets import compare as divider
from helpers.widgets.compare import divide, show_divided

NAMES = ("before", "after")


def pictures(count=3, height=64, width=64, seed=0):
    """Smooth ones, as photographs are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    return [np.stack([0.5 + 0.5 * np.sin(a * x + b * y) for a, b in rng.uniform(-9, 9, (3, 2))], -1) for _ in range(count)]


class Elements(HTMLParser):
    """All elements of a page as (tag, attributes), and its text; ``open`` are those that were not closed."""

    def __init__(self, page):
        super().__init__()
        self.found, self.words, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag, **wanted):
        return [a for t, a in self.found if t == tag and all(a.get(key) == value for key, value in wanted.items())]


def elements(*args, **kwargs):
    found = Elements(divide(*args, **kwargs).data)
    assert not found.open
    return found


def decoded(source):
    kind, text = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", source).groups()
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        assert image.format.lower() == kind
        return np.asarray(image.convert("RGB"))


def test_both_pictures_of_each_pair_are_inside_and_the_left_one_is_clipped():
    left, right = pictures(2), pictures(2, seed=1)
    images = elements(left, right, NAMES).all("img")
    assert len(images) == 4
    for shown, wanted, over in zip(images, (right[0], left[0], right[1], left[1]), (None, "over", None, "over")):
        assert np.abs(decoded(shown["src"]) - 255 * wanted).mean() < 3
        assert shown.get("class") == over and shown["alt"] == (NAMES[0] if over else NAMES[1])
    assert re.search(r"\.over\{clip-path:inset\(0 calc\(100% - var\(--at\)\) 0 0\)", divider.CSS)


def test_it_needs_no_script_and_nothing_from_elsewhere():
    page = divide(pictures(), pictures(seed=1), NAMES).data
    assert "<script" not in page and "http" not in page
    assert not re.search(r'\bid="', page), "two controls on one page must not share names"


def test_the_sliders_have_names_and_their_values_stand_as_text():
    found = elements(pictures(), pictures(seed=1), NAMES)
    sample, drag = found.all("input", type="range")
    assert (sample["aria-label"], sample["min"], sample["max"], sample["value"]) == ("sample", "1", "3", "1")
    assert (drag["aria-label"], drag["min"], drag["max"]) == ("divider between before and after", "0", "100")
    text = "".join(found.words)
    assert "sample: 1 of 3" in text and "divider: 50 % before" in text


def test_the_handlers_find_what_they_change():
    found = elements(pictures(), pictures(seed=1), NAMES)
    classes = {name for _, attributes in found.found for name in attributes.get("class", "").split()}
    for handler in (divider.DRAG, divider.CHOOSE):
        assert set(re.findall(r"'\.(\w+)'", handler)) <= classes
    assert "--at" in divider.DRAG and "--at:50%" in divider.CSS


def test_keys_do_not_reach_jupyter_and_the_keyboards_focus_is_seen():
    (box,) = elements(pictures(1), pictures(1), NAMES).all("div", **{"class": "divided"})
    assert box["data-lm-suppress-shortcuts"] == "true" and "stopPropagation" in box["onkeydown"]
    assert re.search(r"\.drag:focus-visible~\.line", divider.CSS)


def test_one_pair_needs_no_choice():
    (only,) = elements(pictures(1), pictures(1), NAMES).all("input")
    assert only["class"] == "drag"


def test_words_are_words_and_not_html():
    page = divide(pictures(1), pictures(1), ("a<b", 'say "x"')).data
    assert "a&lt;b" in page and 'alt="say &quot;x&quot;"' in page


@pytest.mark.parametrize("side, count", [(64, 4), (192, 4), (512, 4)])
def test_it_is_small_enough_to_be_kept(side, count):
    noise = np.random.default_rng(0).normal(0, 0.02, (side, side, 3))
    left, right = ([(p + noise).clip(0, 1) for p in pictures(count, side, side, seed)] for seed in (0, 1))
    assert len(divide(left, right, NAMES).data.encode()) <= divider.MOST_BYTES


def test_large_pictures_are_stored_small_and_shown_smooth():
    found = elements(pictures(1, 300, 600), pictures(1, 300, 600), NAMES)
    assert decoded(found.all("img")[0]["src"]).shape == (96, 192, 3)
    (stage,) = [a for a in found.all("div") if "aspect-ratio" in a.get("style", "")]
    assert stage["class"] == "stage" and "aspect-ratio:384/192" in stage["style"]
    assert elements(pictures(1), pictures(1), NAMES).all("div", **{"class": "stage small"}), "pixels stay squares"


def test_flat_colours_stay_exact():
    mask = np.zeros((64, 64))
    mask[20:40, 10:50] = 1
    source = elements([mask], [1 - mask], NAMES).all("img", **{"class": "over"})[0]["src"]
    assert source.startswith("data:image/png") and (decoded(source)[..., 0] == 255 * mask).all()


def test_tensors_with_channels_first_will_do():
    torch = pytest.importorskip("torch")
    scenes = (torch.stack([torch.from_numpy(p).permute(2, 0, 1) for p in pictures(2)]) * 255).byte()
    assert len(elements(scenes, scenes.flip(0), NAMES).all("img")) == 4


def test_what_does_not_match_is_refused():
    with pytest.raises(ValueError, match="as many"):
        divide([], [], NAMES)
    with pytest.raises(ValueError, match="as many.*2 and 3"):
        divide(pictures(2), pictures(3), NAMES)
    with pytest.raises(ValueError, match="one size.*64 x 32"):
        divide(pictures(1), pictures(1, 32, 64), NAMES)
    noise = list(np.random.default_rng(0).random((30, 192, 192, 3)))
    with pytest.raises(ValueError, match="30 pairs.*fewer"):
        divide(noise, noise, NAMES)


def test_the_still_picture_is_cut_in_the_middle():
    black, white = np.zeros((64, 64)), np.ones((64, 64))
    figure = show_divided([black], [white], NAMES)
    (axis,) = figure.axes
    shown = axis.images[0].get_array()
    assert (shown[:, :30] == 0).all() and (shown[:, 33:] == 1).all()
    assert axis.get_title() == "sample 1\nbefore | after"


def test_the_still_picture_leaves_the_pictures_as_they_were():
    left, right = pictures(2), pictures(2, seed=1)
    before = [p.copy() for p in left]
    figure = show_divided(left, right, NAMES)
    assert [axis.get_title().splitlines()[0] for axis in figure.axes] == ["sample 1", "sample 2"]
    assert all((a == b).all() for a, b in zip(left, before))
