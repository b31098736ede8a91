"""The albumentations pipeline: one movement for four images, what each photograph draws for itself, seeds, workers."""

import math

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from toy import ToyQuartets

from helpers.config import CourseError
from helpers.dataset import Subset, check_quartet
from helpers.demos.transforms import FILLS, TARGETS, Apart, Augmented, Magnitudes, apply, pipeline, reseed, seed_worker
from helpers.evaluate import subtract_background

SIDE = 64
STILL = Magnitudes().times(0)
EVERYTHING = ("bg", "bg_fg", "mask", "depth", "valid", "near_far")


def toy(index=3, size=SIDE):
    return ToyQuartets(size=size)[index]


def draw(transform, quartet, times):
    """``quartet`` changed several times over, as a batch, and what was done each time."""
    results = [apply(transform, quartet) for _ in range(times)]
    return {key: torch.stack([result[0][key] for result in results]) for key in quartet}, [drawn for _, drawn in results]


def equal(a, b, keys=EVERYTHING):
    return all(torch.equal(a[key].nan_to_num(-1), b[key].nan_to_num(-1)) for key in keys)


# -- geometry: an image of coordinates ------------------------------------------------------------------------------


def coordinates(height, width):
    """Photographs and maps in which every pixel holds the place of its own centre, in pixels from the corner."""
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    image = np.stack((x / 512, y / 512, np.full_like(x, 0.5)), -1)  # albumentations wants floats in [0, 1]
    return {"image": image, "bg": image.copy(), "mask": x, "depth": y, "valid": np.ones_like(x, np.uint8)}


magnitudes = st.builds(
    Magnitudes,
    mirror=st.floats(0, 1),
    crop=st.floats(0, 0.7),
    rotate=st.floats(0, 180),
    **{name: st.just(0.0) for name in vars(STILL) if name not in ("mirror", "crop", "rotate")},
)


@settings(max_examples=150, deadline=None)
@given(magnitudes, st.integers(32, 96), st.integers(32, 96), st.sampled_from(sorted(FILLS)), st.integers(0, 2**32 - 1))
def test_mask_and_depth_follow_the_photographs_to_within_half_a_pixel(m, height, width, fill, seed):
    source = coordinates(height, width)
    out = pipeline(m, seed, fill, always=True)(**source)
    assert out["image"].shape == (height, width, 3) and np.array_equal(out["image"], out["bg"])
    x, y, valid = out["image"][..., 0] * 512, out["image"][..., 1] * 512, out["valid"] > 0
    # Photographs mix with black beside what was uncovered, and with themselves along a mirror: no measure there. How
    # near a pixel is to the source's edge the maps say: the photograph's own value may be mixed already.
    inside = cv2.erode(np.pad(out["valid"], 1), np.ones((3, 3)))[1:-1, 1:-1] > 0
    inside &= (np.minimum(out["mask"], width - out["mask"]) > 2) & (np.minimum(out["depth"], height - out["depth"]) > 2)
    for place, plane in ((x, "mask"), (y, "depth")):
        # 1/32: OpenCV's interpolation knows places between pixels to that; it is the photograph's error, not the map's.
        assert np.abs(out[plane] - place)[inside].max(initial=0) <= 0.5 + 1 / 32
        assert np.isin(out[plane][valid], source[plane]).all()  # no depth that was not measured
        assert (out[plane][~valid] == 0).all()
    assert valid.all() or fill == "invalid"


def test_the_movement_keeps_the_proportions_of_what_it_moves():
    source = coordinates(64, 64)
    for seed in range(10):
        out = pipeline(only(crop=0.5, rotate=90.0), seed)(**source)["image"] * 512
        (across_x, across_y), (down_x, down_y) = out[32, 33, :2] - out[32, 32, :2], out[33, 32, :2] - out[32, 32, :2]
        assert np.hypot(across_x, across_y) == pytest.approx(np.hypot(down_x, down_y), abs=0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 2), st.integers(0, 31), st.sampled_from(("invalid", "reflect")))
def test_any_pipeline_keeps_the_contract(seed, factor, index, fill):
    changed, _ = apply(pipeline(Magnitudes().times(factor), seed, fill), toy(index))
    assert check_quartet(changed)["bg"].shape == (3, SIDE, SIDE)


def test_depths_in_metres_survive_every_movement():
    quartet = toy()
    near, far = quartet["near_far"]
    before = (near + quartet["depth"] * (far - near)).unique()
    moved, _ = draw(pipeline(Magnitudes(rotate=30)), quartet, 20)
    near, far = moved["near_far"].view(-1, 2, 1, 1, 1).unbind(1)
    after = (near + moved["depth"] * (far - near))[moved["valid"]]
    assert (after[:, None] - before).abs().amin(1).max() < 1e-3


def test_what_a_rotation_uncovers_is_invalid_and_black_or_the_mirror_image():
    quartet = toy()
    quartet["valid"] = torch.ones_like(quartet["valid"])
    for key in ("bg", "bg_fg"):
        quartet[key] = torch.full_like(quartet[key], 200)
    only_turned = only(rotate=40.0)
    moved, _ = draw(pipeline(only_turned), quartet, 20)
    assert (~moved["valid"]).flatten(1).any(1).sum() > 15
    # Within two pixels of what was uncovered, or of the frame, photographs mix with black.
    away = F.max_pool2d(moved["valid"].float(), 5, 1, 2) == 0
    inside = -F.max_pool2d(-F.pad(moved["valid"].float(), (2, 2, 2, 2)), 5, 1) == 1
    for shown in (moved["bg"], moved["bg_fg"]):
        assert (shown[away.expand_as(shown)] == 0).all() and (shown[inside.expand_as(shown)] == 200).all()
    whole, _ = draw(pipeline(only_turned, fill="reflect"), quartet, 20)
    assert whole["valid"].all() and (whole["bg_fg"] == 200).all()


def test_an_unknown_fill_says_which_there_are():
    with pytest.raises(CourseError, match="invalid, reflect"):
        pipeline(fill="black")


def test_movements_are_as_wide_as_declared():
    _, drawn = draw(pipeline(only(mirror=0.5, crop=0.4, rotate=15.0)), toy(), 200)
    moves = [dict(steps)["Affine"] for steps in drawn]
    assert 70 < sum("HorizontalFlip" in dict(steps) for steps in drawn) < 130
    sides, angles = [1 / move["scale"]["x"] for move in moves], [move["rotate"] for move in moves]
    assert 0.6 <= min(sides) < 0.63 and 0.97 < max(sides) <= 1
    assert -15 <= min(angles) < -14 and 14 < max(angles) <= 15


# -- light, and what each photograph draws for itself ---------------------------------------------------------------


def only(**values):
    return Magnitudes(**{**vars(STILL), **values})


SHARED = {"brightness": 0.3, "contrast": 0.3, "hue": 20.0, "channels": 30.0}
APART = {"exposure": 0.3, "blur": 2.0, "noise": 20.0, "jpeg": 60.0}


@pytest.mark.parametrize("name", [*SHARED, *APART, "shift"])
def test_light_and_exposures_leave_the_targets_alone(name):
    quartet = toy()
    value = {**SHARED, **APART, "shift": 0.1}[name]
    changed, _ = draw(pipeline(only(**{name: value}), always=True), quartet, 4)
    for i in range(4):
        assert all(torch.equal(changed[key][i], quartet[key]) for key in ("mask", "valid"))
        torch.testing.assert_close(changed["depth"][i], quartet["depth"])
        torch.testing.assert_close(changed["near_far"][i], quartet["near_far"])
    differs = [key for key in ("bg", "bg_fg") if (changed[key] != quartet[key]).any()]
    assert differs == (["bg"] if name == "shift" else ["bg", "bg_fg"])


@pytest.mark.parametrize("name", SHARED)
def test_light_changes_both_photographs_alike(name):
    quartet = toy()
    same = (quartet["bg"] == quartet["bg_fg"]).all(0)
    changed, _ = draw(pipeline(only(**{name: SHARED[name]}), always=True), quartet, 6)
    assert same.any() and (changed["bg"] == changed["bg_fg"]).all(1)[:, same].all()


@pytest.mark.parametrize("name", APART)
def test_each_photograph_has_its_own_exposure_blur_noise_and_jpeg(name):
    quartet = toy()
    quartet["bg_fg"] = quartet["bg"].clone()
    changed, drawn = draw(pipeline(only(**{name: APART[name]}), always=True), quartet, 6)
    assert any(not torch.equal(changed["bg"][i], changed["bg_fg"][i]) for i in range(6))
    names = {step for steps in drawn for step, _ in steps}
    assert {step.split(" of ")[1] for step in names if " of " in step} == {"bg", "bg_fg"}


def test_one_noise_for_both_would_vanish_in_the_difference():
    """Why Apart exists: what albumentations does with two targets of one transform."""
    image = toy()["bg"].permute(1, 2, 0).numpy()
    noise = A.GaussNoise(std_range=(0.1, 0.1), p=1)
    together = A.Compose([noise], additional_targets={"bg": "image"}, strict=True)(image=image, bg=image.copy())
    apart = A.Compose([Apart(noise)], additional_targets={"bg": "image"}, strict=True)(image=image, bg=image.copy())
    assert np.array_equal(together["image"], together["bg"])
    difference = apart["image"].astype(float) - apart["bg"]
    inside = (image > 80) & (image < 170)  # where nothing is cut off at black or white
    assert difference[inside].std() == pytest.approx(255 * 0.1 * math.sqrt(2), rel=0.1)


def test_the_rooms_camera_moves_by_whole_pixels_up_to_the_declared_shift():
    _, drawn = draw(pipeline(only(shift=3.5 / 64), always=True), toy(), 100)
    places = np.array([dict(steps)["Affine of bg"]["matrix"][:2, 2] for steps in drawn])
    assert sorted(set(places[:, 0])) == sorted(set(places[:, 1])) == list(range(-3, 4))


def test_perturbed_pairs_are_what_subtraction_fails_on():
    quartets = [toy(index) for index in range(0, 32, 4)]

    def dice(transform):
        pairs = [apply(transform, quartet)[0] for quartet in quartets]
        bg, bg_fg, mask = (torch.stack([pair[key] for pair in pairs]) for key in ("bg", "bg_fg", "mask"))
        found, cat = subtract_background(bg, bg_fg), mask >= 0.5
        return (2 * (found * cat).sum() / (found.sum() + cat.sum())).item()

    assert dice(pipeline(only(exposure=0.5), always=True)) < dice(pipeline(STILL)) - 0.1


# -- magnitudes, seeds, workers --------------------------------------------------------------------------------------


def test_no_magnitude_changes_nothing():
    quartet = toy()
    changed, drawn = apply(pipeline(STILL), quartet)
    assert equal(changed, quartet, ("bg", "bg_fg", "mask", "valid")) and [name for name, _ in drawn] == ["Affine"]
    torch.testing.assert_close(changed["depth"], quartet["depth"])


def test_a_stronger_change_is_the_same_change_stronger():
    """What notebook 02's sliders rely on: a magnitude scales what a seed drew."""
    for seed in range(5):
        weak, strong = (apply(pipeline(only(rotate=angle, crop=0.2), seed), toy())[1][0][1] for angle in (5, 20))
        assert strong["rotate"] == pytest.approx(4 * weak["rotate"]) and strong["scale"] == weak["scale"]


def test_magnitudes_grow_within_what_makes_sense():
    wild = Magnitudes().times(100)
    assert wild.mirror == 0.5 and wild.crop == 0.9 and wild.exposure == 1 and wild.jpeg < 100
    check_quartet(apply(pipeline(wild, always=True), toy())[0])


def test_a_seed_decides_the_whole_sequence():
    first, again, other = (draw(pipeline(seed=seed), toy(), 3)[0] for seed in (1, 1, 2))
    assert equal(first, again)
    assert not torch.equal(first["bg"], other["bg"]) and not torch.equal(first["bg"][0], first["bg"][1])


def test_changes_are_drawn_independently_of_each_other():
    """Albumentations' own seeding gives every transform the same numbers: two coins always fall alike."""
    coins = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]
    image = np.zeros((4, 4, 3), np.uint8)

    def tosses(compose):
        names = [{name for name, _ in compose(image=image)["applied_transforms"]} for _ in range(60)]
        return sum(len(both) == 1 for both in names)

    assert tosses(A.Compose(coins, seed=0, save_applied_params=True)) == 0
    assert 15 < tosses(reseed(A.Compose(coins, save_applied_params=True), 0)) < 45
    changes = pipeline(only(crop=0.3, rotate=10.0, brightness=0.2), always=True)
    drawn = [dict(steps) for steps in draw(changes, toy(), 100)[1]]
    scale, angle = ([steps["Affine"][key] for steps in drawn] for key in ("scale", "rotate"))
    light = [float(steps["RandomBrightnessContrast"]["beta"]) for steps in drawn]
    assert all(abs(np.corrcoef(*pair)[0, 1]) < 0.35 for pair in (([s["x"] for s in scale], angle), (angle, light)))


def two_epochs(seed, **settings):
    """The same quartet eight times, through two workers, twice."""
    dataset = Augmented(Subset(ToyQuartets(), [3] * 8), pipeline())
    loader = DataLoader(dataset, batch_size=1, num_workers=2, generator=torch.Generator().manual_seed(seed), **settings)
    return torch.cat([batch["bg"] for _ in range(2) for batch in loader])


def test_workers_and_epochs_draw_anew_and_a_seed_repeats_them():
    drawn = two_epochs(1, worker_init_fn=seed_worker)
    assert len({image.numpy().tobytes() for image in drawn}) == len(drawn) == 16
    assert torch.equal(drawn, two_epochs(1, worker_init_fn=seed_worker))
    assert not torch.equal(drawn, two_epochs(2, worker_init_fn=seed_worker))


def test_without_it_workers_and_epochs_repeat_each_other():
    drawn = two_epochs(1)
    assert len({image.numpy().tobytes() for image in drawn}) == 4


def test_an_augmented_dataset_keeps_the_contract():
    dataset = Augmented(ToyQuartets(), pipeline())
    assert len(dataset) == len(ToyQuartets())
    for index in (0, 9, 31):
        assert check_quartet(dataset[index])["bg"].shape == (3, 32, 32)
    assert math.isfinite(dataset[0]["near_far"].sum())


# -- one call for all -----------------------------------------------------------------------------------------------


def test_an_image_that_was_not_declared_is_an_error():
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.raises(ValueError, match="another"):
        pipeline()(image=image, another=image)


def test_changes_from_albumentations_list_can_be_added():
    changes = A.Compose([*pipeline(STILL).transforms, A.HorizontalFlip(p=1)], additional_targets=TARGETS, strict=True)
    quartet = toy()
    changed, _ = apply(changes, quartet)
    assert torch.equal(changed["bg"], quartet["bg"].flip(2)) and torch.equal(changed["mask"], quartet["mask"].flip(2))
