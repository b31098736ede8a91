"""Changes keep the contract: all images of a quartet move together, colours spare the targets, seeds repeat."""

import math

import albumentations as A
import numpy as np
import pytest
import torch
from skimage.registration import phase_cross_correlation
from torch.utils.data import DataLoader
from toy import ToyQuartets

from helpers.augment import TARGETS, Augment, Augmented, apply, disturb, pipeline, rescale_depth, resize, seed_worker
from helpers.quartets import Part, check_quartet, normalise_depth

SIDE = 64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def coordinates(count=6, side=SIDE):
    """Every pixel says where it comes from: red is x, green is y, metres are x, the mask is y, valid is x + y > 20."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    step = 256 // side
    image = torch.stack((step * x, step * y, torch.full_like(x, 90))).byte().expand(count, -1, -1, -1)
    metres = x.float().expand(count, 1, -1, -1)
    valid = (x + y > 20).expand(count, 1, -1, -1)
    depth, near_far = normalise_depth(metres, valid)
    mask = (y / (side - 1)).float().expand(count, 1, -1, -1)
    return {"bg": image, "bg_fg": image.clone(), "mask": mask, "depth": depth, "valid": valid, "near_far": near_far}


def metres_of(batch):
    near, far = batch["near_far"].view(-1, 2, 1, 1, 1).unbind(1)
    return near + batch["depth"] * (far - near)


def assert_targets_follow_images(batch, tolerance, side=SIDE):
    """Where the photographs say that a pixel comes from is where mask, depth and valid come from."""
    step = 256 // side
    x, y = (batch["bg_fg"][:, channel : channel + 1].float() / step for channel in (0, 1))
    assert torch.equal(batch["bg"], batch["bg_fg"])
    valid = batch["valid"]
    off = (metres_of(batch) - x)[valid]
    assert off.abs().max() <= tolerance
    assert ((batch["mask"] * (side - 1) - y)[valid]).abs().max() <= tolerance
    known = x + y - 20.5
    assert valid[known > 2 * tolerance].all() and not valid[known < -2 * tolerance].any()
    assert (metres_of(batch)[valid] - metres_of(batch)[valid].round()).abs().max() < 0.01  # no depth between two pixels


def toys(count=8, size=SIDE):
    return ToyQuartets(placements=10, size=size).get_batch(range(0, 5 * count, 5))


def assert_contract(batch):
    for i in range(len(batch["bg"])):
        check_quartet({key: value[i] for key, value in batch.items()})


def equal(a, b, keys):
    return all(torch.equal(a[key].nan_to_num(-1), b[key].nan_to_num(-1)) for key in keys)


TRUTH = ("mask", "depth", "valid", "near_far")
EVERYTHING = ("bg", "bg_fg", *TRUTH)


# -- geometry of whole batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_mirror_and_crop_move_all_images_together(seed):
    moved = Augment(disturbed=0, colour=0)(coordinates(), generator(seed))
    assert_targets_follow_images(moved, 0.5 + 0.2)  # half a pixel, and the bytes' rounding


def test_mirrors_and_crops_are_as_wide_as_declared():
    moved = Augment(disturbed=0, colour=0, crop=0.3)(coordinates(64), generator())
    red = moved["bg_fg"][:, 0].float() / 4
    widths = (red[:, 32, -1] - red[:, 32, 0]) * SIDE / (SIDE - 1)
    assert 20 < (widths < 0).sum() < 44
    assert widths.abs().min() > 0.7 * SIDE - 2 and widths.abs().max() > 0.97 * SIDE - 2
    assert widths.abs().min() < 0.75 * SIDE
    uncropped = Augment(disturbed=0, colour=0, crop=0)(coordinates(8), generator())
    assert all(torch.equal(after, before) or torch.equal(after, before.flip(-1))
               for after, before in zip(uncropped["bg"], coordinates(8)["bg"]))  # fmt: skip


@pytest.mark.parametrize("size", [32, 48, 64, 96, 128])
def test_resizing_moves_nothing(size):
    resized = resize(coordinates(2), size)
    assert all(resized[key].shape[-2:] == (size, size) for key in EVERYTHING[:-1])
    assert_targets_follow_images(resized, 0.5 + 0.4)  # shrinking averages over half pixels at the border


def test_resizing_to_the_same_size_is_nothing():
    batch = toys()
    assert resize(batch, SIDE) is batch


@pytest.mark.parametrize("size", [32, 96])
def test_resized_quartets_keep_the_contract(size):
    assert_contract(resize(toys(), size))


def test_a_shrunk_photograph_is_averaged_not_sampled():
    batch = toys(2)
    batch["bg"] = (255 * torch.arange(SIDE).remainder(2)).byte().expand(2, 3, SIDE, -1)
    inside = resize(batch, 32)["bg"][..., 2:-2].float()
    assert inside.mean().item() == pytest.approx(127.5, abs=1) and inside.std() < 2


def test_a_crop_has_its_own_nearest_and_farthest_pixel_and_true_metres():
    batch = toys()
    batch["near_far"][3] = torch.nan
    moved = Augment(disturbed=0, colour=0)(batch, generator(1))
    assert_contract(moved)
    assert moved["near_far"][3].isnan().all() and not moved["near_far"][2].isnan().any()
    before, after = metres_of(batch), metres_of(moved)
    for i in (0, 1, 2, 4, 5):
        new = after[i][moved["valid"][i]][::7]
        distance = (new[:, None] - before[i].flatten()[None]).abs().amin(1)
        assert distance.max() < 1e-3
        assert moved["near_far"][i, 0] >= batch["near_far"][i, 0] - 1e-4
        assert moved["near_far"][i, 1] <= batch["near_far"][i, 1] + 1e-4
    assert (moved["near_far"][:3] - batch["near_far"][:3]).abs().max() > 0.01  # something far or near was cut away


def test_rescaling_knows_what_to_do_without_valid_pixels():
    batch = toys(2)
    batch["valid"][0] = False
    rescaled = rescale_depth(batch)
    assert (rescaled["depth"][0] == 0).all() and rescaled["near_far"][0].isnan().all()
    torch.testing.assert_close(rescaled["near_far"][1], batch["near_far"][1])
    assert_contract(rescaled)


# -- colour of whole batches ----------------------------------------------------------------------------------------


def test_colour_leaves_the_targets_alone():
    plain = Augment(disturbed=0, colour=0)(toys(), generator(2))
    tinted = Augment(disturbed=0, colour=0.25)(toys(), generator(2))
    assert equal(plain, tinted, TRUTH)
    for key in ("bg", "bg_fg"):
        assert ((plain[key].float() - tinted[key].float()).abs().amax((1, 2, 3)) > 0).all()


def test_colour_changes_both_photographs_alike():
    before = toys()
    after = Augment(disturbed=0, crop=0)(before, generator(3))
    same = (before["bg"] == before["bg_fg"]).all(1)
    unchanged = (after["bg"] == after["bg_fg"]).all(1)
    assert unchanged.sum() >= same.sum() > 0.5 * same.numel()
    assert not unchanged.all()


# -- disturbed pairs ------------------------------------------------------------------------------------------------


def textured(count, level=110, contrast=30):
    """Photographs with structure everywhere and no value near 0 or 255."""
    rough = torch.nn.functional.interpolate(
        torch.randn(count, 3, 16, 16, generator=generator(9)), (SIDE, SIDE), mode="bicubic"
    )
    batch = toys(count)
    image = (level + contrast * rough).clamp(40, 190).byte()
    return {**batch, "bg": image, "bg_fg": image.clone()}


def shift_between(before, after):
    """(y, x) pixels by which the middle of ``after`` is moved."""
    images = (image.float().mean(0)[4:-4, 4:-4].numpy() for image in (before, after))
    return phase_cross_correlation(*images, upsample_factor=20, normalization=None)[0]


def test_the_room_moves_by_up_to_two_pixels_and_the_scene_does_not():
    batch = textured(24)
    pairs = disturb(batch, generator())
    room = np.array([shift_between(*pair) for pair in zip(batch["bg"], pairs["bg"])])
    scene = np.array([shift_between(*pair) for pair in zip(batch["bg_fg"], pairs["bg_fg"])])
    assert np.abs(scene).max() <= 0.1
    assert 1.5 < np.abs(room).max() <= 2.15
    assert (room.min(0) < -0.8).all() and (room.max(0) > 0.8).all()  # either way, in both directions


def test_the_exposure_of_the_room_changes_by_up_to_ten_percent():
    batch = textured(24)
    pairs = disturb(batch, generator(1))
    room, scene = ((pairs[key].float().mean((1, 2, 3)) / batch[key].float().mean((1, 2, 3))) for key in ("bg", "bg_fg"))
    assert 0.89 < room.min() < 0.95 and 1.05 < room.max() < 1.11
    assert (scene - 1).abs().max() < 0.01


def test_both_photographs_get_independent_noise_of_five_levels():
    flat = {
        **toys(),
        "bg": torch.full((8, 3, SIDE, SIDE), 120).byte(),
        "bg_fg": torch.full((8, 3, SIDE, SIDE), 120).byte(),
    }
    pairs = disturb(flat, generator(2))
    noise = [pairs[key].float() - pairs[key].float().mean((1, 2, 3), keepdim=True) for key in ("bg", "bg_fg")]
    assert [value.std().item() for value in noise] == pytest.approx([5, 5], rel=0.05)
    assert (noise[0] * noise[1]).mean().abs() < 0.5


def test_disturbing_leaves_the_truth_and_the_original_alone():
    batch = toys()
    kept = {key: value.clone() for key, value in batch.items()}
    pairs = disturb(batch, generator())
    assert equal(pairs, kept, TRUTH) and equal(batch, kept, EVERYTHING)
    assert_contract(pairs)


def changed(batch, pairs):
    return [not (torch.equal(a, b) and torch.equal(c, d))
            for a, b, c, d in zip(batch["bg"], pairs["bg"], batch["bg_fg"], pairs["bg_fg"])]  # fmt: skip


def test_the_share_of_disturbed_pairs():
    batch = textured(60)
    assert not any(changed(batch, disturb(batch, generator(), share=0)))
    assert all(changed(batch, disturb(batch, generator(), share=1)))
    half = changed(batch, disturb(batch, generator(), share=0.5))
    assert 18 < sum(half) < 42
    both = disturb(batch, generator(), share=0.5)
    rooms, scenes = ([not torch.equal(a, b) for a, b in zip(batch[key], both[key])] for key in ("bg", "bg_fg"))
    assert rooms == scenes == half


def test_the_changes_are_decided_by_the_generator():
    for change in (disturb, Augment()):
        first, again, other = (change(toys(), generator(seed)) for seed in (5, 5, 6))
        assert equal(first, again, EVERYTHING)
        assert not torch.equal(first["bg"], other["bg"]) and not torch.equal(first["bg_fg"], other["bg_fg"])


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    Augment()(toys(2), generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_share_is_handed_on_by_augment():
    batch = textured(12)
    calm = Augment(disturbed=0, crop=0, colour=0)(batch, generator())
    assert all((calm["bg"] == calm["bg_fg"]).flatten(1).all(1))
    wild = Augment(disturbed=1.0, crop=0, colour=0)(batch, generator())
    assert not any((wild["bg"] == wild["bg_fg"]).flatten(1).all(1))


@pytest.mark.parametrize("seed", range(3))
def test_augmented_batches_keep_the_contract(seed):
    assert_contract(Augment()(toys(), generator(seed)))


# -- albumentations -------------------------------------------------------------------------------------------------


def only(transform, kind):
    """The pipeline with the other kind of change switched off."""
    for step in transform.transforms:
        if not isinstance(step, kind):
            step.p = 0
    return transform


def draw(transform, batch, times=1):
    """The first quartet of ``batch``, changed several times over, and what was done to it."""
    quartet = {key: value[0] for key, value in batch.items()}
    results = [apply(transform, quartet) for _ in range(times)]
    return {key: torch.stack([result[0][key] for result in results]) for key in quartet}, [
        result[1] for result in results
    ]


def test_the_pipeline_moves_all_images_together():
    moved, _ = draw(only(pipeline(SIDE), A.DualTransform), coordinates(1), 40)
    inside = moved["valid"] & (moved["bg_fg"][:, 2:] == 90)  # away from the black that the rotation brings in
    step = 256 // SIDE
    x, y = (moved["bg_fg"][:, channel : channel + 1].float() / step for channel in (0, 1))
    assert torch.equal(moved["bg"], moved["bg_fg"])
    for off in (metres_of(moved) - x, moved["mask"] * (SIDE - 1) - y):
        # A pixel is chosen twice, by the crop and by the rotation: half a pixel each, along both axes.
        assert off[inside].abs().max() < 1.3 and off[inside].mean().abs() < 0.05
    assert_contract(moved)


@pytest.mark.parametrize("scale", [0.6, 0.75, 0.9])
def test_the_crop_alone_is_exact_to_half_a_pixel(scale):
    crop = pipeline(SIDE).transforms[0]
    crop.scale = (scale, scale)
    transform = A.Compose([crop], additional_targets=TARGETS, save_applied_params=True, seed=0)
    moved, _ = draw(transform, coordinates(1), 6)
    step = 256 // SIDE
    off = (metres_of(moved) - moved["bg_fg"][:, :1].float() / step)[moved["valid"]]
    assert off.abs().max() <= 0.5 + 0.2 and off.mean().abs() < 0.1


def test_no_depth_is_invented_by_the_pipeline():
    moved, _ = draw(pipeline(48), coordinates(1), 20)
    metres = metres_of(moved)[moved["valid"]]
    assert (metres - metres.round()).abs().max() < 0.01


def test_what_a_rotation_uncovers_is_invalid():
    batch = coordinates(1)
    batch["valid"] = torch.ones_like(batch["valid"])
    for key in ("bg", "bg_fg"):
        batch[key] = torch.full_like(batch[key], 200)
    moved, applied = draw(only(pipeline(SIDE), A.DualTransform), batch, 40)
    uncovered = (moved["bg_fg"] == 0).all(1, keepdim=True)
    assert uncovered.flatten(1).any(1).sum() > 5
    assert not moved["valid"][uncovered].any()
    assert moved["valid"][(moved["bg_fg"] == 200).all(1, keepdim=True)].all()
    assert_contract(moved)


def test_the_pipelines_colours_leave_the_targets_alone_and_change_both_photographs_alike():
    batch = toys(1)
    quartet = {key: value[0] for key, value in batch.items()}
    moved, applied = draw(only(pipeline(SIDE), A.ImageOnlyTransform), batch, 12)
    names = {name for step in applied for name, _ in step}
    assert names == {"RandomBrightnessContrast", "HueSaturationValue", "RGBShift"}
    for i in range(12):
        assert all(torch.equal(moved[key][i], quartet[key]) for key in ("mask", "valid"))
        torch.testing.assert_close(moved["depth"][i], quartet["depth"])
        torch.testing.assert_close(moved["near_far"][i], quartet["near_far"])
        same = (quartet["bg"] == quartet["bg_fg"]).all(0)
        assert (moved["bg"][i] == moved["bg_fg"][i]).all(0)[same].all()
        assert torch.equal(moved["bg"][i], quartet["bg"]) == (not applied[i])


def test_no_strength_changes_nothing_but_the_size():
    batch = toys(1)
    moved, _ = draw(pipeline(SIDE, strength=0), batch, 5)
    for key in ("bg", "bg_fg", "mask", "valid"):
        assert (moved[key] == batch[key]).all(), key
    assert draw(pipeline(96, strength=0), batch)[0]["depth"].shape == (1, 1, 96, 96)


def test_the_pipeline_reports_what_it_drew():
    _, applied = draw(pipeline(SIDE), toys(1), 10)
    parameters = [step for steps in applied for step in steps]
    assert all(steps[0][0] == "RandomResizedCrop" for steps in applied)
    assert any(name == "Affine" and abs(drawn["rotate"]) <= 10 for name, drawn in parameters)


def test_an_image_that_was_not_declared_is_an_error():
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.raises(ValueError, match="another"):
        pipeline(SIDE)(image=image, another=image)


def test_a_seed_decides_the_whole_sequence():
    first, again, other = (draw(pipeline(32, seed=seed), toys(1), 3)[0] for seed in (1, 1, 2))
    assert equal(first, again, EVERYTHING)
    assert not torch.equal(first["bg"], other["bg"]) and not torch.equal(first["bg"][0], first["bg"][1])


def two_epochs(seed):
    """The same quartet eight times, through two workers, twice."""
    dataset = Augmented(Part(ToyQuartets(), [3] * 8), pipeline(32))
    loader = DataLoader(dataset, batch_size=1, num_workers=2, worker_init_fn=seed_worker, generator=generator(seed))
    return torch.cat([batch["bg"] for _ in range(2) for batch in loader])


def test_workers_and_epochs_draw_anew_and_a_seed_repeats_them():
    drawn = two_epochs(1)
    assert len({image.numpy().tobytes() for image in drawn}) == len(drawn) == 16
    assert torch.equal(drawn, two_epochs(1)) and not torch.equal(drawn, two_epochs(2))


def test_an_augmented_dataset_keeps_the_contract():
    dataset = Augmented(ToyQuartets(), pipeline(48))
    assert len(dataset) == len(ToyQuartets())
    for index in (0, 9, 31):
        assert check_quartet(dataset[index])["bg"].shape == (3, 48, 48)
    assert math.isfinite(dataset[0]["near_far"].sum())
