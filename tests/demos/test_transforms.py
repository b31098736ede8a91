"""The albumentations pipeline: one movement for four images, what each photograph draws for itself, seeds, workers."""

import math

import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from toy import ToyQuartets

from helpers.config import CourseError
from helpers.dataset import Subset, check_quartet
from helpers.demos.transforms import TARGETS, Apart, Augmented, Magnitudes, Move, apply, pipeline, reseed, seed_worker
from helpers.evaluate import subtract_background

SIDE = 64
STILL = Magnitudes().times(0)
TRUTH = ("mask", "depth", "valid", "near_far")
EVERYTHING = ("bg", "bg_fg", *TRUTH)


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


strengths = st.builds(
    Magnitudes,
    mirror=st.floats(0, 1),
    crop=st.floats(0, 0.7),
    rotate=st.floats(0, 180),
    **{name: st.just(0.0) for name in vars(STILL) if name not in ("mirror", "crop", "rotate")},
)


@settings(max_examples=150, deadline=None)
@given(strengths, st.integers(32, 96), st.integers(32, 96), st.integers(32, 96), st.sampled_from(("invalid", "reflect")),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_mask_and_depth_follow_the_photographs_to_within_half_a_pixel(s, height, width, size, fill, seed):
    source = coordinates(height, width)
    out = pipeline(size, s, seed, fill, always=True)(**source)
    assert out["image"].shape == (size, size, 3) and np.array_equal(out["image"], out["bg"])
    x, y, valid = out["image"][..., 0] * 512, out["image"][..., 1] * 512, out["valid"] > 0
    # Along the border photographs repeat, mirror or are averaged over less: there, half a pixel is not what they say.
    shrink = max(1.0, min(height, width) / size)
    inside = valid & (np.minimum(x, width - x) > 2 * shrink) & (np.minimum(y, height - y) > 2 * shrink)
    for place, plane in ((x, "mask"), (y, "depth")):
        # 1/32: OpenCV's interpolation knows places between pixels to that; it is the photograph's error, not the map's.
        assert np.abs(out[plane] - place)[inside].max(initial=0) <= 0.5 + 1 / 32
        assert np.isin(out[plane][valid], source[plane]).all()  # no depth that was not measured
        assert (out[plane][~valid] == 0).all()
    assert valid.all() or fill == "invalid"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 2), st.sampled_from((32, 48, 64, 96)), st.integers(0, 31),
       st.sampled_from(("invalid", "reflect")))  # fmt: skip
def test_any_pipeline_keeps_the_contract(seed, factor, size, index, fill):
    changed, _ = apply(pipeline(size, Magnitudes().times(factor), seed, fill), toy(index))
    assert check_quartet(changed)["bg"].shape == (3, size, size)


def test_depths_in_metres_survive_every_movement():
    quartet = toy()
    near, far = quartet["near_far"]
    before = (near + quartet["depth"] * (far - near)).unique()
    moved, _ = draw(pipeline(SIDE, Magnitudes(rotate=30)), quartet, 20)
    near, far = moved["near_far"].view(-1, 2, 1, 1, 1).unbind(1)
    after = (near + moved["depth"] * (far - near))[moved["valid"]]
    assert (after[:, None] - before).abs().amin(1).max() < 1e-3


def test_what_a_rotation_uncovers_is_invalid_and_black_or_the_mirror_image():
    quartet = toy()
    quartet["valid"] = torch.ones_like(quartet["valid"])
    for key in ("bg", "bg_fg"):
        quartet[key] = torch.full_like(quartet[key], 200)
    only_turned = Magnitudes(**{**vars(STILL), "rotate": 40.0})
    moved, _ = draw(pipeline(SIDE, only_turned), quartet, 20)
    black = (moved["bg_fg"] == 0).all(1, keepdim=True)
    assert black.flatten(1).any(1).sum() > 15
    assert torch.equal(moved["valid"], ~black)
    whole, _ = draw(pipeline(SIDE, only_turned, fill="reflect"), quartet, 20)
    assert whole["valid"].all() and (whole["bg_fg"] == 200).all()


def test_an_unknown_fill_says_which_there_are():
    with pytest.raises(CourseError, match="invalid, reflect"):
        pipeline(SIDE, fill="black")


def test_photographs_are_averaged_where_they_shrink():
    stripes = np.tile(np.arange(128) % 2 * 255, (128, 1)).astype(np.uint8)[..., None].repeat(3, 2)
    small = A.Compose([Move(32)])(image=stripes)["image"][4:-4, 4:-4].astype(float)
    assert small.mean() == pytest.approx(127.5, abs=2) and small.std() < 8


def test_movements_are_as_wide_as_declared():
    s = Magnitudes(**{**vars(STILL), "mirror": 0.5, "crop": 0.4, "rotate": 15.0})
    _, drawn = draw(pipeline(SIDE, s), toy(), 200)
    moves = [steps[0][1] for steps in drawn]
    assert 70 < sum(move["mirrored"] for move in moves) < 130
    sides, angles = [move["side"] for move in moves], [move["degrees"] for move in moves]
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
    changed, _ = draw(pipeline(SIDE, only(**{name: value}), always=True), quartet, 4)
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
    changed, _ = draw(pipeline(SIDE, only(**{name: SHARED[name]}), always=True), quartet, 6)
    assert same.any() and (changed["bg"] == changed["bg_fg"]).all(1)[:, same].all()


@pytest.mark.parametrize("name", APART)
def test_each_photograph_has_its_own_exposure_blur_noise_and_jpeg(name):
    quartet = toy()
    quartet["bg_fg"] = quartet["bg"].clone()
    changed, drawn = draw(pipeline(SIDE, only(**{name: APART[name]}), always=True), quartet, 6)
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


def test_the_rooms_camera_moves_by_up_to_the_declared_shift():
    _, drawn = draw(pipeline(SIDE, only(shift=2 / 64), always=True), toy(), 100)
    places = np.array([dict(steps)["Move of bg"]["place"] for steps in drawn])
    assert np.abs(places).max() <= 2 / 64 and (places.min(0) < -1.8 / 64).all() and (places.max(0) > 1.8 / 64).all()


def test_perturbed_pairs_are_what_subtraction_fails_on():
    quartets = [toy(index) for index in range(0, 32, 4)]

    def dice(transform):
        pairs = [apply(transform, quartet)[0] for quartet in quartets]
        bg, bg_fg, mask = (torch.stack([pair[key] for pair in pairs]) for key in ("bg", "bg_fg", "mask"))
        found, real = subtract_background(bg, bg_fg), mask >= 0.5
        return (2 * (found * real).sum() / (found.sum() + real.sum())).item()

    assert dice(pipeline(SIDE, only(exposure=0.5), always=True)) < dice(pipeline(SIDE, STILL)) - 0.1


# -- strengths, seeds, workers --------------------------------------------------------------------------------------


def test_no_strength_changes_nothing_but_the_size():
    quartet = toy()
    changed, drawn = apply(pipeline(SIDE, STILL), quartet)
    assert equal(changed, quartet, ("bg", "bg_fg", "mask", "valid")) and [name for name, _ in drawn] == ["Move"]
    torch.testing.assert_close(changed["depth"], quartet["depth"])
    assert apply(pipeline(96, STILL), quartet)[0]["depth"].shape == (1, 96, 96)


def test_a_stronger_change_is_the_same_change_stronger():
    """What notebook 02's sliders rely on: a strength scales what a seed drew."""
    for seed in range(5):
        weak, strong = (apply(pipeline(SIDE, only(rotate=angle, crop=0.2), seed), toy())[1][0][1] for angle in (5, 20))
        assert strong["degrees"] == pytest.approx(4 * weak["degrees"]) and strong["side"] == weak["side"]


def test_strengths_grow_within_what_makes_sense():
    wild = Magnitudes().times(100)
    assert wild.mirror == 0.5 and wild.crop == 0.9 and wild.exposure == 1 and wild.jpeg < 100
    check_quartet(apply(pipeline(SIDE, wild, always=True), toy())[0])


def test_a_seed_decides_the_whole_sequence():
    first, again, other = (draw(pipeline(32, seed=seed), toy(), 3)[0] for seed in (1, 1, 2))
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
    drawn = [steps[0][1] for steps in draw(pipeline(SIDE, only(crop=0.3, rotate=10.0)), toy(), 100)[1]]
    light = [dict(steps) for steps in draw(pipeline(SIDE, only(rotate=10.0, brightness=0.2), always=True), toy(), 100)[1]]
    pairs = ([move["side"] for move in drawn], [move["degrees"] for move in drawn])
    others = ([steps["Move"]["degrees"] for steps in light],
              [float(steps["RandomBrightnessContrast"]["beta"]) for steps in light])  # fmt: skip
    assert all(abs(np.corrcoef(*pair)[0, 1]) < 0.35 for pair in (pairs, others))


def two_epochs(seed, **settings):
    """The same quartet eight times, through two workers, twice."""
    dataset = Augmented(Subset(ToyQuartets(), [3] * 8), pipeline(32))
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
    dataset = Augmented(ToyQuartets(), pipeline(48))
    assert len(dataset) == len(ToyQuartets())
    for index in (0, 9, 31):
        assert check_quartet(dataset[index])["bg"].shape == (3, 48, 48)
    assert math.isfinite(dataset[0]["near_far"].sum())


# -- one call for all -----------------------------------------------------------------------------------------------


def test_an_image_that_was_not_declared_is_an_error():
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.raises(ValueError, match="another"):
        pipeline(SIDE)(image=image, another=image)


def test_changes_from_albumentations_list_can_be_added():
    changes = A.Compose([*pipeline(SIDE, STILL).transforms, A.HorizontalFlip(p=1)], additional_targets=TARGETS, strict=True)
    quartet = toy()
    changed, _ = apply(changes, quartet)
    assert torch.equal(changed["bg"], quartet["bg"].flip(2)) and torch.equal(changed["mask"], quartet["mask"].flip(2))
