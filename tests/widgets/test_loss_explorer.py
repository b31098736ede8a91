"""Losses and metrics under sliders: the numbers of the course's own functions, which every slider moves."""

import math
import re

import pytest
import torch
from toy import ToyQuartets

from helpers.losses import CourseLoss
from helpers.metrics import Meter
from helpers.widgets.loss_explorer import GROUPS, SHOWN, Change, bars, changed, explore_losses, measured

COUNT = 3
OF_MASK = ("BCE", "Dice loss", "mask Dice", "boundary F-score, 2 px")
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


def pngs(explorer):
    return [view.value for view in explorer.views]


# -- the numbers ---------------------------------------------------------------------------------------------------


def test_every_bar_is_measured_and_every_number_has_a_bar(batch):
    named = [name for group in GROUPS for name in group.names]
    assert sorted(named) == sorted(OF_MASK + OF_DEPTH) == sorted(after(batch))


def test_the_ground_truth_is_perfect_but_for_logits_that_are_never_quite_sure(batch):
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
    scored = {"mask_dice": "mask Dice", "boundary_f_2px": "boundary F-score, 2 px", "depth_rmse": "depth RMSE", "delta1": "δ < 1.25"}
    for key, name in scored.items():
        assert values[name] == pytest.approx(result[key], abs=1e-4), name


@pytest.mark.parametrize("field, values", [("moved", range(0, 10, 3)), ("blurred", (0, 1, 3, 6)), ("grown", (0, 1, 2, 4)),
                                           ("grown", (0, -1, -2, -3)), ("confidence", (1, 0.9, 0.7, 0.5))])  # fmt: skip
def test_more_of_it_costs_more(batch, field, values):
    results = [after(batch, **{field: value}) for value in values]
    for name in ("BCE", "Dice loss"):
        costs = [result[name] for result in results]
        assert costs == sorted(costs) and costs[-1] > costs[0] + 0.01, name


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
    words = " ".join(re.sub("<.*?>", " ", explore_losses(batch).about.value).split())
    assert "L1 unknown" in words and "δ &lt; 1.25 unknown" in words and "BCE 0.010" in words


# -- the widget ----------------------------------------------------------------------------------------------------


def test_there_is_a_slider_for_every_change():
    assert sorted(SHOWN) == sorted(Change._fields)


@pytest.mark.parametrize("name", SHOWN)
def test_every_slider_changes_pictures_and_bars_and_comes_back(explorer, name):
    before, shown, slider = pngs(explorer), explorer.about.value, explorer.controls[name].slider
    for end in {slider.min, slider.max} - {slider.value}:
        slider.value = end
        assert pngs(explorer) != before and explorer.about.value != shown
    slider.value = getattr(Change(), name)
    assert pngs(explorer) == before and explorer.about.value == shown


def test_values_are_written_beside_the_sliders(explorer):
    for name in SHOWN:
        explorer.controls[name].forth.click()
    written = [control.text.value for control in explorer.controls.values()]
    assert written == ["moved right: 1 px", "blurred, σ: 0.5 px", "mask grown: +1 px", "mask at most this sure: 100%",
                       "added to the depth: 0.02"]  # fmt: skip


def test_start_again_makes_the_prediction_the_ground_truth_and_keeps_the_quartet(explorer):
    explorer.sample.slider.value = 2
    before = pngs(explorer)
    for control in explorer.controls.values():
        control.slider.value = control.slider.min
    explorer.again.click()
    assert pngs(explorer) == before and explorer.sample.slider.value == 2


def test_another_sample_is_another_picture_with_the_same_changes(explorer):
    explorer.controls["moved"].slider.value = 3
    before = pngs(explorer)
    explorer.sample.forth.click()
    assert pngs(explorer) != before and explorer.sample.text.value == f"sample: 2 of {COUNT}"
    assert explorer.controls["moved"].slider.value == 3


def test_bars_grow_on_scales_that_stay_and_ticks_are_where_the_ground_truth_is():
    low = {name: 0.1 for group in GROUPS for name in group.names}
    page = bars({**low, "BCE": 0.5, "L1": 0.25, "depth RMSE": 3.0, "mask Dice": math.nan}, {**low, "δ < 1.25": 1.0})
    widths = re.findall(r"width:([\d.]+)%;height:100%", page)
    assert widths == ["50.0", "10.0", "100.0", "40.0", "40.0", "0.0", "10.0", "10.0", "100.0"]
    ticks = ["10.0", "10.0", "40.0", "40.0", "40.0", "10.0", "10.0", "100.0", "40.0"]
    assert re.findall(r"left:([\d.]+)%", page) == ticks
    assert "unknown" in page and "δ &lt; 1.25" in page


def test_one_quartet_has_no_others_to_go_to(batch):
    explorer = explore_losses(first(batch))
    assert explorer.sample.slider.disabled and explorer.sample.text.value == "sample: 1 of 1"


def test_no_quartet_is_told(batch):
    with pytest.raises(ValueError, match="no quartet"):
        explore_losses({key: value[:0] for key, value in batch.items()})


def test_the_batch_is_left_as_it_was(batch):
    before = {key: value.clone() for key, value in batch.items()}
    explorer = explore_losses(batch)
    for control in explorer.controls.values():
        control.slider.value = control.slider.max
    assert all(torch.equal(batch[key], value) for key, value in before.items())
