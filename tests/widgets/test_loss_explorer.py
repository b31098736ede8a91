"""Losses and metrics under sliders: they say what the course's own functions say, and every slider is answered."""

import io
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from toy import ToyQuartets

from helpers.losses import CourseLoss
from helpers.metrics import Meter
from helpers.widgets.loss_explorer import (
    HEIGHT,
    LOSSES,
    METRICS,
    SHOWN,
    WIDTH,
    Change,
    changed,
    explore_losses,
    measured,
)

COUNT = 3
OF_MASK = ("BCE", "Dice loss", "mask Dice", "boundary F, 2 px")
OF_DEPTH = ("L1", "(1 - SSIM)/2", "gradient / 2", "δ < 1.25", "depth RMSE")


@pytest.fixture
def batch():
    return ToyQuartets(size=64).get_batch([1, 9, 30])


@pytest.fixture
def explorer(batch):
    return explore_losses(batch)


def first(batch):
    return {key: value[:1] for key, value in batch.items()}


def after(batch, **change):
    return measured(first(batch), *changed(first(batch), Change(**change)))


def sheet(explorer):
    with Image.open(io.BytesIO(explorer.view.value)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


# -- the numbers ---------------------------------------------------------------------------------------------------


def test_every_bar_is_measured_and_every_number_has_a_bar(batch):
    named = [name for group in (*LOSSES, *METRICS) for name in group.names]
    assert sorted(named) == sorted(OF_MASK + OF_DEPTH) == sorted(after(batch))


def test_the_truth_is_perfect_but_for_logits_that_are_never_quite_sure(batch):
    values = after(batch)
    assert [values[name] for name in OF_DEPTH] == pytest.approx([0, 0, 0, 1, 0], abs=1e-6)
    assert [values[name] for name in OF_MASK] == pytest.approx([-math.log(0.99), 0, 1, 1], abs=1e-6)


def test_numbers_are_those_of_the_loss_that_trains_and_of_the_meter_that_scores(batch):
    quartet = first(batch)
    mask, depth = changed(quartet, Change(grown=1, moved=2, blurred=1.0, confidence=0.95))
    values = measured(quartet, mask, depth)
    parts = CourseLoss()(mask.logit(), depth.clamp(1e-6, 1 - 1e-6).logit(), quartet)
    named = {"mask_bce": "BCE", "mask_dice": "Dice loss", "depth_l1": "L1", "depth_ssim": "(1 - SSIM)/2"}
    named["depth_gradient"] = "gradient / 2"
    for part, name in named.items():
        assert values[name] == pytest.approx(float(parts[part]), abs=1e-4), name
    meter = Meter()
    meter.update(mask, depth, quartet)
    result = meter.result()
    scored = {"mask_dice": "mask Dice", "boundary_f_2px": "boundary F, 2 px", "depth_rmse": "depth RMSE", "delta1": "δ < 1.25"}
    for key, name in scored.items():
        assert values[name] == pytest.approx(result[key], abs=1e-4), name


@pytest.mark.parametrize("field, values", [("moved", range(0, 10, 3)), ("blurred", (0, 1, 3, 6)), ("grown", (0, 1, 2, 4)),
                                           ("grown", (0, -1, -2, -3)), ("confidence", (1, 0.9, 0.7, 0.5))])  # fmt: skip
def test_more_of_it_costs_more(batch, field, values):
    answers = [after(batch, **{field: value}) for value in values]
    for name in ("BCE", "Dice loss"):
        said = [answer[name] for answer in answers]
        assert said == sorted(said) and said[-1] > said[0] + 0.01, name


def test_a_constant_error_is_seen_by_l1_and_rmse_and_forgiven_by_gradient_and_delta(batch):
    values = after(batch, shifted=0.1)
    assert values["L1"] == pytest.approx(0.1, abs=1e-6) and values["depth RMSE"] == pytest.approx(0.1, abs=1e-6)
    assert values["gradient / 2"] == pytest.approx(0, abs=1e-6) and values["δ < 1.25"] == 1
    at_rest = after(batch)
    assert {name: values[name] for name in OF_MASK} == {name: at_rest[name] for name in OF_MASK}


def test_what_is_done_to_the_mask_alone_leaves_the_depth_alone(batch):
    for change in ({"grown": 2}, {"confidence": 0.6}):
        values, at_rest = after(batch, **change), after(batch)
        assert {name: values[name] for name in OF_DEPTH} == {name: at_rest[name] for name in OF_DEPTH}


def test_unknown_depth_is_not_moved_in_as_nearest(batch):
    holed = first(batch)
    holed["valid"][..., :8], holed["depth"][..., :8] = False, 0.0
    _, depth = changed(holed, Change(moved=8))
    known = holed["depth"][holed["valid"]]
    assert (depth[..., 8:16] - known.mean()).abs().max() < 1e-5


def test_without_metres_or_depth_those_numbers_are_unknown(batch):
    batch["near_far"][:] = math.nan
    assert [name for name, value in after(batch).items() if math.isnan(value)] == ["δ < 1.25"]
    batch["valid"][:] = False
    assert sorted(name for name, value in after(batch).items() if math.isnan(value)) == sorted(OF_DEPTH)
    explorer = explore_losses(batch)
    assert "L1 unknown" in explorer.losses.value and "δ &lt; 1.25 unknown" in explorer.metrics.value
    assert "BCE 0.010" in explorer.losses.value


# -- the widget ----------------------------------------------------------------------------------------------------


def test_there_is_a_slider_for_every_change():
    assert sorted(SHOWN) == sorted(Change._fields)


@pytest.mark.parametrize("name", SHOWN)
def test_every_slider_changes_picture_and_text_and_comes_back(explorer, name):
    before, words, slider = explorer.view.value, explorer.losses.value, explorer.controls[name].slider
    for end in {slider.min, slider.max} - {slider.value}:
        slider.value = end
        assert explorer.view.value != before and explorer.losses.value != words
        assert sheet(explorer).shape == (HEIGHT, WIDTH, 3)
    slider.value = getattr(Change(), name)
    assert explorer.view.value == before and explorer.losses.value == words
    assert (explorer.view.layout.width, explorer.view.layout.height) == (f"{WIDTH}px", f"{HEIGHT}px")


def test_values_are_written_beside_the_sliders(explorer):
    for name in SHOWN:
        explorer.controls[name].forth.click()
    written = [control.activation.value for control in explorer.controls.values()]
    assert written == ["moved right: 1 px", "blurred, σ: 0.5 px", "mask grown: +1 px", "mask at most this sure: 100%",
                       "added to the depth: 0.02"]  # fmt: skip


def test_start_again_makes_the_answer_the_truth_and_keeps_the_quartet(explorer):
    explorer.sample.slider.value = 2
    before = explorer.view.value
    for control in explorer.controls.values():
        control.slider.value = control.slider.min
    drawn = explorer._frame.cache_info()
    explorer.again.click()
    assert explorer.view.value == before and explorer.sample.slider.value == 2
    assert explorer._frame.cache_info().misses == drawn.misses  # nothing between was drawn


def test_another_sample_is_another_picture_with_the_same_changes(explorer):
    explorer.controls["moved"].slider.value = 3
    first_png = explorer.view.value
    explorer.sample.forth.click()
    assert explorer.view.value != first_png and explorer.sample.activation.value == f"sample: 2 of {COUNT}"
    assert explorer.controls["moved"].slider.value == 3


def test_bars_grow_on_a_scale_that_stays(explorer):
    def bar(shade):  # pixels of a bar's colour
        colour = [round(255 * x) for x in to_rgb(shade)]
        return int((sheet(explorer)[:, 2 * WIDTH // 3 :] == colour).all(-1).sum())

    lengths = []
    for value in (0.0, 0.04, 0.1, 0.2):
        explorer.controls["shifted"].slider.value = value
        lengths.append(bar(LOSSES[1].colour))
    assert lengths == sorted(lengths) and lengths[-1] > lengths[1]


def test_no_slider_opens_a_figure(explorer):
    for control in (explorer.sample, *explorer.controls.values()):
        control.slider.value = control.slider.max
    assert not plt.get_fignums()


def test_frames_are_made_once(explorer):
    for value in (1, 2, 1, 2, 0):
        explorer.controls["moved"].slider.value = value
    counted = explorer._frame.cache_info()
    assert counted.misses == 3 and counted.hits == 3


def test_one_quartet_has_no_others_to_go_to(batch):
    explorer = explore_losses(first(batch))
    assert explorer.sample.slider.disabled and explorer.sample.activation.value == "sample: 1 of 1"


def test_no_quartet_is_told(batch):
    with pytest.raises(ValueError, match="no quartet"):
        explore_losses({key: value[:0] for key, value in batch.items()})


def test_the_batch_is_left_as_it_was(batch):
    before = {key: value.clone() for key, value in batch.items()}
    explorer = explore_losses(batch)
    for control in explorer.controls.values():
        control.slider.value = control.slider.max
    assert all(torch.equal(batch[key], value) for key, value in before.items())
