"""Metrics equal torchmetrics, scikit-image, SciPy and plain NumPy, however the set is cut into batches."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.feature import canny
from skimage.metrics import structural_similarity
from torchmetrics import MeanAbsoluteError, MeanSquaredError
from torchmetrics.classification import BinaryF1Score, BinaryJaccardIndex
from torchmetrics.functional.classification import binary_calibration_error
from toy import ToyQuartets

from helpers.demos.checkerboard import grid_index
from helpers.demos.networks import repeated_tile
from helpers.metrics import Meter, align, dilate, outline

METRES = ("abs_rel", "rmse_m", "log10", "delta1", "delta2", "delta3")
DEPTH = ("depth_mae", "depth_rmse", "depth_rmse_aligned", "depth_ssim")
EDGES = ("edge_accuracy", "edge_completeness")


def quartets(count=10, size=24, holes=True):
    """Toys with some invalid pixels, an image without a cat, one without metres and one without any valid pixel."""
    batch = ToyQuartets(placements=6).get_batch(range(0, 6 * count, 6))
    batch = {key: value[..., :size, :size].clone() if value.ndim > 2 else value.clone() for key, value in batch.items()}
    if holes:
        batch["valid"][:, :, :3, 3:9] = False
        batch["mask"][1] = 0
        batch["near_far"][2:4] = torch.nan
        batch["valid"][3:4] = False
        batch["depth"][~batch["valid"]] = 0
    return batch


def guess(batch, seed=0, noise=0.15):
    """A prediction that is right in places: soft, shifted masks and noisy depth."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.roll(batch["mask"], (1, 2), (2, 3)) * 0.8 + 0.3 * torch.rand(batch["mask"].shape, generator=generator)
    depth = 0.15 + 0.7 * batch["depth"] + noise * torch.randn(batch["depth"].shape, generator=generator)
    return mask.clamp(0, 1), depth.clamp(0, 1)


def measure(mask, depth, batch, cuts=()):
    meter, edges = Meter(), [0, *cuts, len(mask)]
    for start, stop in zip(edges, edges[1:]):
        meter.update(mask[start:stop], depth[start:stop], {key: value[start:stop] for key, value in batch.items()})
    return meter.result()


# -- against references ---------------------------------------------------------------------------------------------


def test_mask_metrics_equal_torchmetrics_over_all_pixels_of_the_set():
    batch = quartets()
    mask, depth = guess(batch)
    ours = measure(mask, depth, batch, [4])
    for name, metric in (("mask_dice", BinaryF1Score()), ("mask_iou", BinaryJaccardIndex())):
        assert ours[name] == pytest.approx(metric(mask.flatten(), batch["mask"].long().flatten()).item(), abs=1e-6)


def test_depth_errors_equal_torchmetrics_over_all_valid_pixels_of_the_set():
    batch = quartets()
    mask, depth = guess(batch)
    ours, valid = measure(mask, depth, batch, [4]), batch["valid"]
    for name, metric in (("depth_mae", MeanAbsoluteError()), ("depth_rmse", MeanSquaredError(squared=False))):
        assert ours[name] == pytest.approx(metric(depth[valid], batch["depth"][valid]).item(), abs=1e-6)


def test_aligned_error_is_that_of_the_best_line_through_each_image():
    batch = quartets()
    mask, depth = guess(batch)
    squares, pixels = 0, 0
    for d, t, v in zip(depth, batch["depth"], batch["valid"]):
        d, t = d[v].double().numpy(), t[v].double().numpy()
        if len(d):  # one image has no valid pixel
            squares, pixels = squares + np.polyfit(d, t, 1, full=True)[1].sum(), pixels + len(d)
    ours = measure(mask, depth, batch, [4])
    assert ours["depth_rmse_aligned"] == pytest.approx((squares / pixels) ** 0.5)
    assert ours["depth_rmse_aligned"] < ours["depth_rmse"] - 0.005
    squeezed = measure(mask, 0.3 + 0.5 * depth, batch)  # another near and far
    assert squeezed["depth_rmse_aligned"] == pytest.approx(ours["depth_rmse_aligned"], abs=1e-6)
    assert squeezed["depth_rmse"] != pytest.approx(ours["depth_rmse"], abs=1e-3)


def test_dice_of_each_image_is_averaged_and_both_empty_counts_as_right():
    batch = quartets(25)
    mask, depth = guess(batch)
    mask[4] = 0  # misses the cat of image 4; image 1 has none
    mask[1] = 0
    scores = []
    for p, t in zip(mask[:, 0].numpy() > 0.5, batch["mask"][:, 0].numpy() > 0.5):
        scores.append(2 * (p & t).sum() / (p.sum() + t.sum()) if p.any() or t.any() else 1.0)
    ours = measure(mask, depth, batch)
    assert scores[1] == 1 and scores[4] == 0 and len(set(scores)) > 10
    assert ours["mask_dice_image"] == pytest.approx(np.mean(scores))
    assert ours["mask_dice_worst"] == pytest.approx(np.mean(sorted(scores)[:2]))  # 5 % of 25, rounded up
    assert ours["images"] == 25


def reference_outline(mask):
    """Eroded by a cross; beyond the frame counts as cat, so that the frame itself is no outline."""
    cross = ndimage.generate_binary_structure(2, 1)
    return mask & ~ndimage.binary_erosion(mask, cross, border_value=1)


@pytest.mark.parametrize("radius", [1, 2])
def test_boundary_f_equals_scipy(radius):
    batch = quartets()
    mask, depth = guess(batch)
    square = np.ones((2 * radius + 1, 2 * radius + 1), bool)
    hit_p = hit_t = all_p = all_t = 0
    for p, t in zip(mask[:, 0].numpy() > 0.5, batch["mask"][:, 0].numpy() > 0.5):
        p, t = reference_outline(p), reference_outline(t)
        hit_p += (p & ndimage.binary_dilation(t, square)).sum()
        hit_t += (t & ndimage.binary_dilation(p, square)).sum()
        all_p, all_t = all_p + p.sum(), all_t + t.sum()
    precision, recall = hit_p / all_p, hit_t / all_t
    wanted = 2 * precision * recall / (precision + recall)
    assert measure(mask, depth, batch, [7])[f"boundary_f_{radius}px"] == pytest.approx(wanted)
    assert 0.1 < wanted < 0.999


@pytest.mark.parametrize("kind", ["soft", "hard", "on the borders of the bins", "confident"])
def test_calibration_equals_torchmetrics_over_all_pixels_of_the_set(kind):
    batch = quartets()
    batch["mask"] = torch.roll(batch["mask"], (1, 1), (2, 3)) * 0.6 + batch["mask"] * 0.4  # resized masks are soft
    mask, depth = guess(batch)
    mask = {
        "soft": mask, "hard": (mask > 0.5).float(), "on the borders of the bins": (mask * 15).round() / 15,
        "confident": (5 * (mask - 0.5)).sigmoid(),
    }[kind]  # fmt: skip
    target = (batch["mask"] > 0.5).long().flatten()
    wanted = binary_calibration_error(mask.flatten(), target, n_bins=15, norm="l1").item()
    assert measure(mask, depth, batch, [1, 4])["mask_ece"] == pytest.approx(wanted, abs=1e-5)
    assert wanted > 0.005


@pytest.mark.parametrize("predicted, cats, error", [(0.7, 7, 0), (0.7, 4, 0.3), (0.2, 10, 0.8), (1.0, 9, 0.1), (0.0, 0, 0)])
def test_calibration_is_how_far_the_probability_is_from_the_share_of_cats(predicted, cats, error):
    batch = quartets(10, holes=False)
    batch["mask"].zero_()[:cats] = 1
    result = measure(torch.full_like(batch["mask"], predicted), batch["depth"], batch, [3])
    assert result["mask_ece"] == pytest.approx(error, abs=1e-6)


def test_calibration_is_of_the_probability_of_cat_not_of_the_likelier_class():
    batch = quartets(2, holes=False)
    mask = torch.full_like(batch["mask"], 0.3)
    batch["mask"].zero_()[0] = 1  # cat in all pixels where 30 % are predicted
    mask[1] = 0.7  # and in none where 70 % are; either way the likelier class is wrong
    assert measure(mask, batch["depth"], batch)["mask_ece"] == pytest.approx(0.7, abs=1e-6)


def test_depth_edges_are_scikit_images_and_their_errors_the_mean_over_images():
    batch = quartets(size=32)
    rough = 0.004 * torch.rand(batch["depth"].shape, generator=torch.Generator().manual_seed(1))
    batch["depth"] = torch.where(batch["valid"], 0.9 * batch["depth"] + rough, 0.0)
    batch["depth"][4] = torch.where(batch["valid"][4], 0.5, 0.0)  # no edge in the target; image 3 has no valid pixel
    mask, depth = guess({**batch, "depth": torch.roll(batch["depth"], 2, 3)}, noise=0.02)
    rows = []
    for d, t, v in zip(*(value[:, 0].double().numpy() for value in (depth, batch["depth"], batch["valid"]))):
        found, wanted = (np.argwhere(canny(np.where(v, x, 0), 2**0.5, 0.1, 0.2, mask=v > 0)) for x in (d, t))
        distance = np.sqrt(((found[:, None] - wanted[None]) ** 2).sum(2))
        if len(wanted):
            to_target = distance.min(1)
            rows.append((to_target[to_target < 10].mean(), np.minimum(distance.min(0), 10).mean()))
    ours = measure(mask, depth, batch, [2, 3, 7])
    assert [ours[name] for name in EDGES] == pytest.approx(np.mean(rows, 0).tolist(), abs=1e-9)
    assert len(rows) == 8 and all(0.5 < ours[name] < 5 for name in EDGES)


@pytest.mark.parametrize("pixels", [1, 3])
def test_depth_edges_that_are_moved_are_wrong_by_as_many_pixels(pixels):
    batch = quartets(4, size=32, holes=False)
    columns = torch.arange(32.0).expand_as(batch["depth"])
    batch["depth"], moved = (0.5 + 0.2 * (columns - place).clamp(-1, 1) for place in (12, 12 + pixels))
    result = measure(batch["mask"], moved, batch)
    assert [result[name] for name in EDGES] == [pixels, pixels]
    result = measure(batch["mask"], torch.full_like(batch["depth"], 0.5), batch)
    assert [result[name] for name in EDGES] == [10, 10], "the truncation, where nothing is predicted"


def test_without_the_edges_everything_else_is_the_same():
    batch = quartets()
    mask, depth = guess(batch)
    quick = Meter(edges=False)
    quick.update(mask, depth, batch)
    result, whole = quick.result(), measure(mask, depth, batch)
    assert {name for name, value in result.items() if math.isnan(value)} == set(EDGES)
    assert result == pytest.approx({**whole, **dict.fromkeys(EDGES, math.nan)}, abs=1e-12, nan_ok=True)
    assert all(math.isfinite(value) for value in whole.values())


@pytest.mark.parametrize("seed", range(3))
def test_outlines_and_dilation_equal_scipy_on_noise(seed):
    mask = torch.rand(2, 1, 15, 12, generator=torch.Generator().manual_seed(seed)) > 0.4
    for ours, m in zip(outline(mask)[:, 0].numpy(), mask[:, 0].numpy()):
        assert (ours == reference_outline(m)).all()
    for radius in (1, 2):
        square = np.ones((2 * radius + 1, 2 * radius + 1), bool)
        for ours, m in zip(dilate(mask, radius)[:, 0].numpy(), mask[:, 0].numpy()):
            assert (ours == ndimage.binary_dilation(m, square)).all()


@pytest.mark.parametrize("columns", [24, 13])
def test_ssim_is_scikit_images_mean_over_images_and_over_windows_without_invalid_pixels(columns):
    batch = quartets(4, holes=False)
    mask, depth = guess(batch)
    batch["valid"][..., columns:] = False
    pairs = zip(*(value[:, 0, :, :columns].double().numpy() for value in (depth, batch["depth"])))
    like_the_paper = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    wanted = np.mean([structural_similarity(*pair, **like_the_paper) for pair in pairs])
    assert measure(mask, depth, batch, [1])["depth_ssim"] == pytest.approx(wanted, abs=1e-4)


def test_maps_smaller_than_the_window_have_no_ssim_but_everything_else():
    batch = quartets(size=10)
    batch["mask"][:, :, 2:5, 2:5] = 1
    result = measure(*guess(batch), batch)
    assert math.isnan(result.pop("depth_ssim")) and all(math.isfinite(value) for value in result.values())


def reference_metres(depth, target, valid, near_far):
    z = (near_far[0] + target * (near_far[1] - near_far[0]))[valid]
    d = depth[valid]
    (scale, shift), *_ = np.linalg.lstsq(np.stack((d, np.ones_like(d)), 1), z, rcond=None)
    fitted = np.maximum(scale * d + shift, 0.1)
    ratio = np.maximum(fitted / z, z / fitted)
    return {
        "abs_rel": np.mean(np.abs(fitted - z) / z),
        "rmse_m": np.sqrt(np.mean((fitted - z) ** 2)),
        "log10": np.mean(np.abs(np.log10(fitted) - np.log10(z))),
        **{f"delta{k}": np.mean(ratio < 1.25**k) for k in (1, 2, 3)},
    }


@pytest.mark.parametrize("noise", [0.05, 0.6])
def test_metres_are_aligned_by_least_squares_and_averaged_over_images(noise):
    batch = quartets()
    batch["near_far"][5] = torch.tensor([0.12, 9.0])  # near enough for the clamp to matter
    mask, depth = guess(batch, noise=noise)
    arrays = (value.double().numpy() for value in (depth[:, 0], batch["depth"][:, 0], batch["near_far"]))
    depth_array, target_array, near_far = arrays
    valid = batch["valid"][:, 0].numpy()
    rows = [
        reference_metres(depth_array[i], target_array[i], valid[i], near_far[i]) for i in range(10) if i not in (2, 3)
    ]
    ours = measure(mask, depth, batch, [3, 6])
    for name in METRES:
        assert ours[name] == pytest.approx(np.mean([row[name] for row in rows]), abs=1e-9), name


@given(st.floats(0.1, 3), st.floats(-2, 2))
@settings(deadline=None, max_examples=20)
def test_alignment_undoes_any_scale_and_shift(scale, shift):
    generator = torch.Generator().manual_seed(0)
    metres = 1 + 4 * torch.rand(2, 1, 6, 5, generator=generator, dtype=torch.float64)
    valid = torch.rand(2, 1, 6, 5, generator=generator) > 0.3
    got = align(torch.where(valid, scale * metres + shift, 77.0), metres, valid)
    torch.testing.assert_close(got[valid], metres[valid])


@pytest.mark.parametrize("contrast", [1e-3, 1e-6, 1e-9])
def test_a_nearly_constant_prediction_is_aligned_like_any_other(contrast):
    generator = torch.Generator().manual_seed(0)
    metres, noise = torch.rand(2, 3, 1, 12, 10, generator=generator, dtype=torch.float64)
    depth, valid = 0.4 + contrast * (metres + noise), noise > 0.2
    got = align(depth, metres, valid)
    for a, d, z, v in zip(got, depth, metres, valid):
        columns = torch.stack((d[v], torch.ones_like(d[v])), 1).numpy()
        wanted = columns @ np.linalg.lstsq(columns, z[v].numpy(), rcond=None)[0]
        np.testing.assert_allclose(a[v], wanted, atol=1e-5)
        assert wanted.std() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, 0.4, 1.0])
def test_a_constant_prediction_is_not_scaled(level, dtype):
    metres = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=dtype)
    got = align(torch.full_like(metres, level), metres, metres > 0.1)
    assert all((g - z[z > 0.1].mean()).abs().max() < 1e-6 for g, z in zip(got, metres))


def test_a_constant_prediction_is_aligned_to_the_mean():
    batch = quartets(3, holes=False)
    result = measure(batch["mask"], torch.full_like(batch["depth"], 0.4), batch)
    z = batch["near_far"][:, :1, None, None] + batch["depth"] * batch["near_far"].diff()[..., None, None]
    assert result["rmse_m"] == pytest.approx(z.double().flatten(1).std(1, correction=0).mean().item(), abs=1e-5)


# -- batches --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(1, 9)))
def test_the_result_does_not_depend_on_the_cut_into_batches(cuts):
    batch = quartets()
    mask, depth = guess(batch)
    whole, pieces = measure(mask, depth, batch), measure(mask, depth, batch, sorted(cuts))
    assert whole.keys() == pieces.keys()
    for name, value in whole.items():
        assert pieces[name] == pytest.approx(value, abs=1e-9), name


def test_nor_on_the_order_of_the_images():
    batch = quartets()
    mask, depth = guess(batch)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    turned = measure(mask[order], depth[order], {key: value[order] for key, value in batch.items()}, [5])
    assert turned == pytest.approx(measure(mask, depth, batch), abs=1e-9)


def test_the_set_is_not_the_mean_of_its_batches():
    batch = quartets()
    mask, depth = guess(batch)
    first, rest = (
        measure(mask[part], depth[part], {k: v[part] for k, v in batch.items()}) for part in (slice(1), slice(1, 10))
    )
    whole = measure(mask, depth, batch)
    assert whole["mask_dice"] != pytest.approx((first["mask_dice"] + rest["mask_dice"]) / 2, abs=1e-3)


# -- known answers --------------------------------------------------------------------------------------------------


def test_a_perfect_prediction_scores_perfectly():
    batch = quartets()
    result = measure(batch["mask"], batch["depth"], batch)
    assert result.pop("images") == 10
    errors = {"mask_ece", "depth_mae", "depth_rmse", "depth_rmse_aligned", "abs_rel", "rmse_m", "log10", *EDGES}
    assert result == pytest.approx({name: float(name not in errors) for name in result}, abs=1e-6)
    assert errors < result.keys() and len(result) == 19


def test_a_prediction_without_any_cat_scores_0():
    batch = quartets(4, holes=False)
    result = measure(torch.zeros_like(batch["mask"]), batch["depth"], batch)
    names = ("mask_dice", "mask_iou", "mask_dice_image", "mask_dice_worst", "boundary_f_1px", "boundary_f_2px")
    assert [result[name] for name in names] == [0] * 6


def test_an_outline_in_the_wrong_place_scores_0():
    batch = quartets(1, holes=False)
    batch["mask"].zero_()[..., 2:5, 2:5] = 1
    wrong = torch.zeros_like(batch["mask"])
    wrong[..., 15:20, 15:20] = 1
    result = measure(wrong, batch["depth"], batch)
    assert result["boundary_f_1px"] == result["boundary_f_2px"] == result["mask_dice"] == 0


def test_one_and_two_pixels_of_tolerance():
    batch = quartets(1, holes=False)
    batch["mask"].zero_()[..., 5:15, 5:15] = 1
    scores = []
    for shift in range(4):
        result = measure(torch.roll(batch["mask"], (shift, shift), (2, 3)), batch["depth"], batch)
        scores.append((result["boundary_f_1px"] == 1, result["boundary_f_2px"] == 1))
    assert scores == [(True, True), (True, True), (False, True), (False, False)]


def test_where_no_image_has_a_cat_predicting_none_is_right():
    batch = quartets(3)
    nothing = batch["mask"].zero_()
    result = measure(nothing, batch["depth"], batch)
    assert [result[name] for name in ("mask_dice", "mask_iou", "mask_dice_image", "mask_dice_worst")] == [1] * 4
    assert math.isnan(result["boundary_f_1px"])  # neither has an outline
    nothing = nothing.clone()
    nothing[0, 0, 5, 5] = 1
    result = measure(nothing, batch["depth"], batch)
    assert result["mask_dice"] == 0 and result["mask_dice_image"] == pytest.approx(2 / 3) and result["boundary_f_1px"] == 0


def test_invalid_pixels_do_not_count():
    batch = quartets()
    mask, depth = guess(batch)
    wild = torch.where(batch["valid"], depth, torch.rand_like(depth))
    soiled = {**batch, "depth": batch["depth"].masked_fill(~batch["valid"], torch.nan)}
    result = measure(mask, wild, soiled)
    assert result == pytest.approx(measure(mask, depth, batch), abs=1e-12)
    assert all(math.isfinite(value) for value in result.values())


def test_a_target_that_touches_the_camera_has_ratios_too():
    batch = quartets()
    batch["near_far"][:, 0] = 0.0
    result = measure(batch["mask"].float(), guess(batch)[1], batch)
    assert all(np.isfinite(result[name]) for name in METRES)


def test_without_metres_only_the_metres_are_missing():
    batch = quartets(4, holes=False)
    batch["near_far"].fill_(torch.nan)
    result = measure(*guess(batch), batch)
    assert {name for name, value in result.items() if math.isnan(value)} == set(METRES)


def test_without_any_valid_pixel_only_the_mask_is_measured():
    batch = quartets(4, holes=False)
    batch["valid"].fill_(False)
    result = measure(*guess(batch), batch)
    assert {name for name, value in result.items() if math.isnan(value)} == {*METRES, *DEPTH, *EDGES}


# -- what the user sees ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mask_prob", "depth"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), 7.0])
def test_logits_passed_by_mistake_are_told(name, value):
    batch = quartets(2)
    prediction = dict(zip(("mask_prob", "depth"), guess(batch)))
    prediction[name][1, 0, 4, 4] = value
    with pytest.raises(ValueError, match=rf"{name} must hold probabilities.*apply sigmoid to the logits, once"):
        Meter().update(**prediction, batch=batch)


def test_shapes_that_differ_are_told():
    batch = quartets(2)
    mask, depth = guess(batch)
    message = re.escape("depth has shape (2, 1, 24, 23), the target (2, 1, 24, 24)")
    with pytest.raises(ValueError, match=message):
        Meter().update(mask, depth[..., :-1], batch)


def test_nothing_counted_is_told():
    with pytest.raises(ValueError, match="call update first"):
        Meter().result()


def test_counting_keeps_no_graph():
    batch = quartets(2)
    mask, depth = (value.requires_grad_() for value in guess(batch))
    meter = Meter()
    meter.update(mask, depth, batch)
    assert not any(value.requires_grad for value in meter._pixels.values())


# -- the checkerboard -----------------------------------------------------------------------------------------------


def ramps(count=24, size=96, seed=0):
    """Smooth maps of ever other slopes and curvatures."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    maps = [
        0.5 + rng.uniform(-0.2, 0.2) * x + rng.uniform(-0.2, 0.2) * y + 0.1 * np.sin(rng.uniform(2, 6) * x + 3 * y)
        for _ in range(count)
    ]
    return torch.from_numpy(np.stack(maps)).float()


def alternating(size=96, height=0.01):
    """(size, size) a checkerboard of one-pixel squares, ``height`` above and below 0."""
    x = torch.arange(size)
    return height * (1 - 2 * ((x[:, None] + x) % 2)).float()


def blurred(maps, window=5):
    return torch.nn.functional.avg_pool2d(maps[:, None], window, 1)[:, 0]


def noise(count=64, size=96, seed=0):
    return torch.rand(count, size, size, generator=torch.Generator().manual_seed(seed))


def nearest(maps, factor):
    return maps[:, ::factor, ::factor].repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def test_a_smooth_ramp_and_white_noise_have_no_grid():
    assert grid_index(ramps()) < 0.02
    assert grid_index(noise()) < 0.02
    assert grid_index(blurred(noise())) < 0.03


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_blocks_are_found(period):
    assert grid_index(0.7 * ramps() + 0.3 * nearest(ramps(), period)) > 0.2


@pytest.mark.parametrize("period", [4, 8, 16])
@pytest.mark.parametrize("across", [True, False])
def test_added_stripes_are_found(period, across):
    stripes = 0.02 * (torch.arange(96) % period == 0)
    gridded = ramps() + (stripes[None, None] if across else stripes[None, :, None])
    assert grid_index(gridded) > 0.3


@pytest.mark.parametrize("factor, expected", [(4, 1.7), (16, 3.9)])
def test_nearest_neighbour_upsampling_scores_what_arithmetic_says(factor, expected):
    assert grid_index(nearest(ramps(), factor)) == pytest.approx(expected, rel=0.1)


def test_bilinear_upsampling_leaves_little():
    small = ramps()[:, None, ::4, ::4] + 0.02 * noise(24, 24)[:, None]
    soft = torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)[:, 0]
    hard = torch.nn.functional.interpolate(small, scale_factor=4, mode="nearest")[:, 0]
    assert grid_index(soft) < 0.1 and grid_index(hard) > 1


def test_steps_that_are_equally_large_everywhere_escape_the_grid_index_but_not_the_tile():
    every_second = ramps() + alternating()
    assert grid_index(every_second) < 0.05
    assert repeated_tile((every_second - ramps())[:, None]) == pytest.approx(0.01, rel=0.02)


def test_a_stronger_grid_scores_more():
    stripes = (torch.arange(96) % 4 == 0).float()
    scores = [grid_index(ramps() + height * stripes) for height in (0.001, 0.003, 0.01)]
    assert 0 < scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize("images", [1, 4])
def test_a_real_edge_on_the_grid_in_a_few_of_many_images_is_no_grid(images):
    maps = ramps(64)
    maps[:images, :, 48:] -= 0.4
    assert grid_index(maps) < 0.06  # were steps not capped, four such edges would score 0.17


def test_the_index_is_decided_by_its_seed_and_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    state, maps = torch.get_rng_state(), noise(8)
    assert grid_index(maps, seed=3) == grid_index(maps, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_and_columns_count_alike():
    maps = nearest(ramps(), 4) * 0.5 + ramps() * 0.5
    maps[:, :, ::8] += 0.01
    assert grid_index(maps) == pytest.approx(grid_index(maps.transpose(1, 2)), rel=1e-6)
