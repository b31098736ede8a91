"""The sliders of the augmentation pipeline, driven from Python as a hand would."""

import io
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image
from toy import ToyQuartets

from helpers.demos.transforms import Magnitudes
from helpers.widgets.augmentation_explorer import DRAWS, PANELS, SHOWN, SIDE, explore_magnitudes
from helpers.widgets.explorer import GAP


@pytest.fixture
def explorer():
    return explore_magnitudes(ToyQuartets(size=64)[5])


def panels(explorer):
    with Image.open(io.BytesIO(explorer.view.value)) as image:
        sheet = np.asarray(image.convert("RGB"))
    assert sheet.shape == (SIDE, len(PANELS) * (SIDE + GAP) - GAP, 3)
    return [sheet[:, k * (SIDE + GAP) : k * (SIDE + GAP) + SIDE] for k in range(len(PANELS))]


def test_there_is_a_slider_for_every_strength():
    assert list(SHOWN) == [field.name for field in fields(Magnitudes)]


def test_at_rest_nothing_is_changed(explorer):
    bg, scene, difference, _ = panels(explorer)
    assert explorer.drawn.value == "changed by: nothing"
    assert (difference == 0).mean() > 0.7 and difference.max() > 0


@pytest.mark.parametrize("name", [name for name in SHOWN if name != "mirror"])
def test_every_slider_changes_the_picture_and_says_so(explorer, name):
    before, height = explorer.view.value, explorer.view.layout.height
    control = explorer.controls[name]
    control.slider.value = control.slider.max
    assert explorer.view.value != before
    assert explorer.drawn.value != "changed by: nothing" and explorer.view.layout.height == height
    panels(explorer)
    control.slider.value = 0
    assert explorer.view.value == before


def test_mirror_is_a_matter_of_the_draw(explorer):
    explorer.controls["mirror"].slider.value = 1
    assert (panels(explorer)[0] == panels(explore_magnitudes(ToyQuartets(size=64)[5]))[0][:, ::-1]).mean() > 0.95


def test_another_draw_is_another_change_and_the_first_comes_back(explorer):
    explorer.controls["rotate"].slider.value = 45
    first = explorer.view.value
    explorer.draw.forth.click()
    assert explorer.view.value != first and explorer.draw.activation.value == f"draw: 2 of {DRAWS}"
    explorer.draw.back.click()
    assert explorer.view.value == first


def test_a_stronger_change_leaves_the_other_changes_where_they_are(explorer):
    explorer.controls["rotate"].slider.value = 20
    depth = panels(explorer)[3]
    explorer.controls["exposure"].slider.value = 0.5
    assert np.array_equal(panels(explorer)[3], depth)


def test_what_a_rotation_uncovers_can_be_filled(explorer):
    explorer.controls["rotate"].slider.value = 45
    explorer.draw.slider.value = next(n for n in range(1, DRAWS) if _turned(explorer, n))
    black = (panels(explorer)[0] == 0).all(-1).mean()
    explorer.fill.value = "reflect"
    assert (panels(explorer)[0] == 0).all(-1).mean() < black


def _turned(explorer, number):
    explorer.draw.slider.value = number
    return (panels(explorer)[0] == 0).all(-1).mean() > 0.03


def test_frames_are_made_once(explorer):
    for value in (10, 20, 10, 20, 0):
        explorer.controls["rotate"].slider.value = value
    counted = explorer._frame.cache_info()
    assert counted.misses == 3 and counted.hits == 3
