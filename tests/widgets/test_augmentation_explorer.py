"""The sliders of the augmentation pipeline, driven from Python as a hand would."""

import io
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image
from toy import ToyQuartets

from helpers.demos.transforms import Magnitudes
from helpers.widgets.augmentation_explorer import DRAWS, HEIGHT, SHOWN, explore_magnitudes
from helpers.widgets.controls import GAP

PANELS = 4


@pytest.fixture
def explorer():
    return explore_magnitudes(ToyQuartets(size=64)[5])


def panels(explorer):
    with Image.open(io.BytesIO(explorer.views[0].value)) as image:
        sheet = np.asarray(image.convert("RGB"))
    assert sheet.shape == (HEIGHT, PANELS * (HEIGHT + GAP) - GAP, 3)
    return [sheet[:, k * (HEIGHT + GAP) : k * (HEIGHT + GAP) + HEIGHT] for k in range(PANELS)]


def test_there_is_a_slider_for_every_magnitude():
    assert list(SHOWN) == [field.name for field in fields(Magnitudes)]


def test_at_rest_nothing_is_changed(explorer):
    bg, scene, difference, _ = panels(explorer)
    assert explorer.about.value == "changed by: nothing"
    assert (difference == 0).mean() > 0.7 and difference.max() > 0


@pytest.mark.parametrize("name", [name for name in SHOWN if name != "mirror"])
def test_every_slider_changes_the_picture_and_says_so(explorer, name):
    before = explorer.views[0].value
    control = explorer.controls[name]
    control.slider.value = control.slider.max
    assert explorer.views[0].value != before
    assert explorer.about.value != "changed by: nothing"
    panels(explorer)
    control.slider.value = 0
    assert explorer.views[0].value == before


def test_mirror_is_a_matter_of_the_draw(explorer):
    explorer.controls["mirror"].slider.value = 1
    assert (panels(explorer)[0] == panels(explore_magnitudes(ToyQuartets(size=64)[5]))[0][:, ::-1]).mean() > 0.95


def test_another_draw_is_another_change_and_the_first_comes_back(explorer):
    explorer.controls["rotate"].slider.value = 45
    first = explorer.views[0].value
    explorer.sample.forth.click()
    assert explorer.views[0].value != first and explorer.sample.text.value == f"draw: 2 of {DRAWS}"
    explorer.sample.back.click()
    assert explorer.views[0].value == first


def test_a_stronger_change_leaves_the_other_changes_where_they_are(explorer):
    explorer.controls["rotate"].slider.value = 20
    depth = panels(explorer)[3]
    explorer.controls["exposure"].slider.value = 0.5
    assert np.array_equal(panels(explorer)[3], depth)


def test_what_a_rotation_uncovers_can_be_filled(explorer):
    explorer.controls["rotate"].slider.value = 45
    explorer.sample.slider.value = next(n for n in range(1, DRAWS) if _turned(explorer, n))
    black = (panels(explorer)[0] == 0).all(-1).mean()
    explorer.fill.value = "reflect"
    assert (panels(explorer)[0] == 0).all(-1).mean() < black


def _turned(explorer, number):
    explorer.sample.slider.value = number
    return (panels(explorer)[0] == 0).all(-1).mean() > 0.03
