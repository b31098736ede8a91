"""What all interactive views share: controls, strips of pictures, and panels that are drawn once."""

import io
import re

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers.config import ROOT
from helpers.widgets.controls import GAP, PANEL, Chooser, Control, PairPanels, strip
from helpers.widgets.explorer import legend


def control(**settings):
    slider = widgets.FloatSlider(value=0.5, min=0.0, max=1.0, step=0.05)
    return Control("share", slider, ("less", "more"), "{:.2f}".format)


# -- controls ------------------------------------------------------------------------------------------------------


def test_buttons_go_one_step_and_stop_at_the_ends():
    share = control()
    for _ in range(23):
        share.back.click()
    assert share.slider.value == 0
    for _ in range(3):
        share.forth.click()
    assert share.value == 0.15  # and not 0.1 + 0.05, which is more
    for _ in range(23):
        share.forth.click()
    assert share.slider.value == 1


def test_name_and_value_are_beside_the_slider_and_not_in_it():
    share = control()
    share.slider.value = 0.35
    assert share.text.value == "share: 0.35"
    assert share.text in share.children and not share.slider.readout


def test_buttons_say_what_they_step():
    share = control()
    assert [(button.description, button.tooltip) for button in (share.back, share.forth)] == [
        ("less", "share, less"), ("more", "share, more")
    ]  # fmt: skip


def test_a_chooser_counts_from_one_and_tells_of_how_many():
    chooser = Chooser("sample", 4)
    assert (chooser.index, chooser.text.value) == (0, "sample: 1 of 4")
    chooser.forth.click()
    assert (chooser.index, chooser.text.value) == (1, "sample: 2 of 4")
    chooser.slider.value = 4
    chooser.forth.click()
    assert (chooser.index, chooser.text.value) == (3, "sample: 4 of 4")


def test_of_one_thing_there_is_nothing_to_choose():
    chooser = Chooser("sample", 1)
    chooser.forth.click()
    assert chooser.slider.disabled and chooser.index == 0 and chooser.text.value == "sample: 1 of 1"


# -- pictures ------------------------------------------------------------------------------------------------------


def test_pictures_need_not_be_square_and_between_them_the_page_shows_through():
    with Image.open(io.BytesIO(strip([np.ones((30, 60, 3))] * 2, height=90))) as sheet:
        assert sheet.format == "PNG" and sheet.size == (2 * 180 + GAP, 90)
        alpha = np.asarray(sheet.getchannel("A"))
    gap = slice(180, 180 + GAP)
    assert not alpha[:, gap].any() and (np.delete(alpha, np.r_[gap], axis=1) == 255).all()


def test_enlarged_pixels_stay_pixels():
    small = np.random.default_rng(0).random((4, 4, 3))
    with Image.open(io.BytesIO(strip([small], height=64))) as sheet:
        shown = np.asarray(sheet.convert("RGB"))
    assert (shown == np.repeat(np.repeat((small * 255).round(), 16, 0), 16, 1)).all()


def test_the_legend_shows_the_colours_that_it_names():
    assert all(colour in legend() for colour in ("#1c7ed6", "#e8590c", "linear-gradient"))


# -- panels --------------------------------------------------------------------------------------------------------


class Grey(PairPanels):
    """Two rows of greys that a slider picks."""

    def __init__(self):
        self.level, self.drawn, self.broken = control(), [], False
        super().__init__([self.level])

    def picked(self):
        return (self.level.value,)

    def draw(self, level):
        if self.broken:
            raise RuntimeError("the paint has run out")
        self.drawn.append(level)
        one, other = np.full((30, 60, 3), level), np.full((30, 60, 3), 1 - level)
        return f"<b>{level}</b>", [{f"level {level}": one, "other": other}, {"again": one}]


def test_what_is_picked_is_drawn_once_and_shown_with_its_words():
    grey = Grey()
    first = [view.value for view in grey.views]
    for level in (0.2, 0.5, 0.2, 0.5):
        grey.level.slider.value = level
    assert grey.drawn == [0.5, 0.2] and [view.value for view in grey.views] == first
    assert grey.about.value == "<b>0.5</b>"
    assert [[label.value for label in row] for row in grey.titles] == [["level 0.5", "other"], ["again"]]
    assert not plt.get_fignums()


def test_images_have_the_size_of_their_pngs():
    sizes = []
    for view in Grey().views:
        with Image.open(io.BytesIO(view.value)) as sheet:
            sizes.append(sheet.size)
            assert (view.layout.width, view.layout.height) == (f"{sheet.width}px", f"{sheet.height}px")
    assert sizes == [(4 * PANEL + GAP, PANEL), (2 * PANEL, PANEL)]


def test_controls_are_above_pictures():
    grey = Grey()
    assert grey.children == (grey.above, grey.pictures, grey.about) and grey.above.children == (grey.level,)


def test_two_widgets_share_nothing():
    one, other = Grey(), Grey()
    one.level.slider.value = 0.3
    assert other.drawn == [0.5] and other.views[0].value != one.views[0].value


def test_what_goes_wrong_under_a_slider_is_not_swallowed():
    grey = Grey()
    grey.broken = True
    with pytest.raises(RuntimeError, match="paint"):
        grey.level.slider.value = 0.15


@pytest.mark.parametrize("path", sorted((ROOT / "helpers" / "widgets").glob("*.py")), ids=lambda path: path.name)
def test_nothing_is_used_that_ipywidgets_7_or_8_lacks(path):
    newer = r"tabbable|\bStack\b|TagsInput|ColorsInput|TimePicker|DatetimePicker"  # since 8
    newer += r"|description_tooltip|(?<!description=word, )tooltip"  # of others than buttons
    gone = r"overflow_[xy]|\.widgets\b(?!\.)(?! import)"  # since 8
    assert not re.search(f"{newer}|{gone}", path.read_text(encoding="utf-8"))
