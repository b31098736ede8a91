"""Changes keep the contract: all images of a quartet move together, colour leaves the targets alone, seeds repeat."""

import numpy as np
import pytest
import torch
from skimage.registration import phase_cross_correlation
from toy import ToyQuartets

from helpers.augment import HANDHELD, Augment, Draws, perturb, rescale_depth, resize
from helpers.dataset import check_quartet, normalise_depth

SIZE = 64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def coordinates(count=6, side=SIZE):
    """Every pixel tells where it comes from: red is x, green is y, metres are x, the mask is y, valid is x + y > 20."""
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


def assert_targets_follow_images(batch, tolerance, side=SIZE):
    """Where a pixel of the photographs comes from is where mask, depth and valid come from."""
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


def toys(count=8, size=SIZE):
    return ToyQuartets(placements=10, size=size).get_batch(range(0, 5 * count, 5))


def assert_contract(batch):
    for i in range(len(batch["bg"])):
        check_quartet({key: value[i] for key, value in batch.items()})


def equal(a, b, keys):
    return all(torch.equal(a[key].nan_to_num(-1), b[key].nan_to_num(-1)) for key in keys)


TARGETS = ("mask", "depth", "valid", "near_far")
EVERYTHING = ("bg", "bg_fg", *TARGETS)


# -- geometry of whole batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_mirror_and_crop_move_all_images_together(seed):
    moved = Augment(perturbed=0, colour=0)(coordinates(), generator(seed))
    assert_targets_follow_images(moved, 0.5 + 0.2)  # half a pixel, and the bytes' rounding


def test_mirrors_and_crops_are_as_wide_as_declared():
    moved = Augment(perturbed=0, colour=0, crop=0.3)(coordinates(64), generator())
    red = moved["bg_fg"][:, 0].float() / 4
    widths = (red[:, 32, -1] - red[:, 32, 0]) * SIZE / (SIZE - 1)
    assert 20 < (widths < 0).sum() < 44
    assert widths.abs().min() > 0.7 * SIZE - 2 and widths.abs().max() > 0.97 * SIZE - 2
    assert widths.abs().min() < 0.75 * SIZE
    uncropped = Augment(perturbed=0, colour=0, crop=0)(coordinates(8), generator())
    assert all(torch.equal(after, before) or torch.equal(after, before.flip(-1))
               for after, before in zip(uncropped["bg"], coordinates(8)["bg"]))  # fmt: skip


@pytest.mark.parametrize("share, expected", [(0.0, (0, 0)), (0.5, (70, 122)), (1.0, (188, 192))])
def test_the_share_of_cropped_quartets(share, expected):
    before = coordinates(192)
    moved = Augment(perturbed=0, colour=0, crop=0.4, cropped=share)(before, generator())
    whole = [torch.equal(after, image) or torch.equal(after, image.flip(-1)) for after, image in zip(moved["bg"], before["bg"])]
    assert expected[0] <= 192 - sum(whole) <= expected[1]
    red = moved["bg_fg"][:, 0].float() / 4
    widths = ((red[:, 32, -1] - red[:, 32, 0]) * SIZE / (SIZE - 1)).abs()
    assert not share or widths.min() < 0.65 * SIZE  # the cropped ones as small as ever


@pytest.mark.parametrize("size", [32, 48, 64, 96, 128])
def test_resizing_moves_nothing(size):
    resized = resize(coordinates(2), size)
    assert all(resized[key].shape[-2:] == (size, size) for key in EVERYTHING[:-1])
    assert_targets_follow_images(resized, 0.5 + 0.4)  # shrinking averages over half pixels at the border


def test_resizing_to_the_same_size_is_nothing():
    batch = toys()
    assert resize(batch, SIZE) is batch


@pytest.mark.parametrize("size", [32, 96])
def test_resized_quartets_keep_the_contract(size):
    assert_contract(resize(toys(), size))


def test_a_shrunk_photograph_is_averaged_not_sampled():
    batch = toys(2)
    batch["bg"] = (255 * torch.arange(SIZE).remainder(2)).byte().expand(2, 3, SIZE, -1)
    inside = resize(batch, 32)["bg"][..., 2:-2].float()
    assert inside.mean().item() == pytest.approx(127.5, abs=1) and inside.std() < 2


def test_the_published_training_sees_photographs_and_masks_without_antialiasing():
    batch = toys(3)
    plain, smooth = resize(batch, 24, antialias=False), resize(batch, 24)
    for key in ("bg", "bg_fg", "mask"):
        position = (np.arange(24) + 0.5) * SIZE / 24 - 0.5  # of each new pixel's middle among the old ones
        low = np.floor(position).astype(int)
        share = torch.from_numpy(position - low).float()
        rows = torch.lerp(batch[key][..., low, :].float(), batch[key][..., low + 1, :].float(), share[:, None])
        wanted = torch.lerp(rows[..., low], rows[..., low + 1], share)
        off = 0.51 if key != "mask" else 1e-5  # bytes are rounded
        assert (plain[key].float() - wanted).abs().max() < off < (smooth[key].float() - wanted).abs().max()
    assert equal(plain, smooth, ("depth", "valid", "near_far"))
    assert_contract(plain)


def test_a_crop_has_its_own_nearest_and_farthest_pixel_and_true_metres():
    batch = toys()
    batch["near_far"][3] = torch.nan
    moved = Augment(perturbed=0, colour=0)(batch, generator(1))
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
    plain = Augment(perturbed=0, colour=0)(toys(), generator(2))
    tinted = Augment(perturbed=0, colour=0.25)(toys(), generator(2))
    assert equal(plain, tinted, TARGETS)
    for key in ("bg", "bg_fg"):
        assert ((plain[key].float() - tinted[key].float()).abs().amax((1, 2, 3)) > 0).all()


def test_colour_changes_both_photographs_alike():
    before = toys()
    after = Augment(perturbed=0, crop=0)(before, generator(3))
    same = (before["bg"] == before["bg_fg"]).all(1)
    unchanged = (after["bg"] == after["bg_fg"]).all(1)
    assert unchanged.sum() >= same.sum() > 0.5 * same.numel()
    assert not unchanged.all()


# -- perturbed pairs ------------------------------------------------------------------------------------------------


def textured(count, level=110, contrast=30):
    """Photographs with structure everywhere and no value near 0 or 255."""
    rough = torch.nn.functional.interpolate(
        torch.randn(count, 3, 16, 16, generator=generator(9)), (SIZE, SIZE), mode="bicubic"
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
    pairs = perturb(batch, generator())
    room = np.array([shift_between(*pair) for pair in zip(batch["bg"], pairs["bg"])])
    scene = np.array([shift_between(*pair) for pair in zip(batch["bg_fg"], pairs["bg_fg"])])
    assert np.abs(scene).max() <= 0.1
    assert 1.5 < np.abs(room).max() <= 2.15
    assert (room.min(0) < -0.8).all() and (room.max(0) > 0.8).all()  # either way, in both directions


def test_the_exposure_of_the_room_changes_by_up_to_ten_percent():
    batch = textured(24)
    pairs = perturb(batch, generator(1))
    room, scene = ((pairs[key].float().mean((1, 2, 3)) / batch[key].float().mean((1, 2, 3))) for key in ("bg", "bg_fg"))
    assert 0.89 < room.min() < 0.95 and 1.05 < room.max() < 1.11
    assert (scene - 1).abs().max() < 0.01


def test_both_photographs_get_independent_noise_of_five_levels():
    flat = {
        **toys(),
        "bg": torch.full((8, 3, SIZE, SIZE), 120).byte(),
        "bg_fg": torch.full((8, 3, SIZE, SIZE), 120).byte(),
    }
    pairs = perturb(flat, generator(2))
    noise = [pairs[key].float() - pairs[key].float().mean((1, 2, 3), keepdim=True) for key in ("bg", "bg_fg")]
    assert [value.std().item() for value in noise] == pytest.approx([5, 5], rel=0.05)
    assert (noise[0] * noise[1]).mean().abs() < 0.5


def test_perturbing_leaves_the_targets_and_the_original_alone():
    batch = toys()
    kept = {key: value.clone() for key, value in batch.items()}
    pairs = perturb(batch, generator())
    assert equal(pairs, kept, TARGETS) and equal(batch, kept, EVERYTHING)
    assert_contract(pairs)


def changed(batch, pairs):
    return [not (torch.equal(a, b) and torch.equal(c, d))
            for a, b, c, d in zip(batch["bg"], pairs["bg"], batch["bg_fg"], pairs["bg_fg"])]  # fmt: skip


def test_the_share_of_perturbed_pairs():
    batch = textured(60)
    assert not any(changed(batch, perturb(batch, generator(), share=0)))
    assert all(changed(batch, perturb(batch, generator(), share=1)))
    half = changed(batch, perturb(batch, generator(), share=0.5))
    assert 18 < sum(half) < 42
    both = perturb(batch, generator(), share=0.5)
    rooms, scenes = ([not torch.equal(a, b) for a, b in zip(batch[key], both[key])] for key in ("bg", "bg_fg"))
    assert rooms == scenes == half


def test_the_changes_are_decided_by_the_generator():
    for change in (perturb, Augment()):
        first, again, other = (change(toys(), generator(seed)) for seed in (5, 5, 6))
        assert equal(first, again, EVERYTHING)
        assert not torch.equal(first["bg"], other["bg"]) and not torch.equal(first["bg_fg"], other["bg_fg"])


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    Augment()(toys(2), generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_share_is_handed_on_by_augment():
    batch = textured(12)
    calm = Augment(perturbed=0, crop=0, colour=0)(batch, generator())
    assert all((calm["bg"] == calm["bg_fg"]).flatten(1).all(1))
    wild = Augment(perturbed=1.0, crop=0, colour=0)(batch, generator())
    assert not any((wild["bg"] == wild["bg_fg"]).flatten(1).all(1))


@pytest.mark.parametrize("seed", range(3))
def test_augmented_batches_keep_the_contract(seed):
    assert_contract(Augment()(toys(), generator(seed)))


def test_by_hand_a_pair_differs_more_and_targets_stay():
    batch = textured(24)
    pairs = perturb(batch, generator(), by=HANDHELD)
    room = np.array([shift_between(*pair) for pair in zip(batch["bg"], pairs["bg"])])
    scene = np.array([shift_between(*pair) for pair in zip(batch["bg_fg"], pairs["bg_fg"])])
    assert np.abs(scene).max() < 0.5 and np.abs(room).max() > 2.5
    gains = pairs["bg"].float().mean((2, 3)) / batch["bg"].float().mean((2, 3))
    assert gains.min() < 0.75 and gains.max() > 1.15 and (gains.max(1)[0] / gains.min(1)[0]).max() > 1.08
    assert equal(pairs, batch, TARGETS)
    assert_contract(pairs)


def test_the_default_magnitudes_leave_pixels_as_they_were():
    batch, draws = textured(4), Draws(generator(7), 4)
    draws.uniform(0, 1, 1, 1, 1)
    shift = torch.stack([draws.uniform(-2 / 64, 2 / 64) for _ in "xy"], 1)
    gain, noise = draws.uniform(0.9, 1.1, 1, 1, 1), draws.normal(2, 3, SIZE, SIZE, device="cpu").transpose(0, 1) * 5.0
    theta = torch.cat((torch.eye(2).repeat(4, 1, 1), 2 * shift[..., None]), 2)
    grid = torch.nn.functional.affine_grid(theta, [4, 3, SIZE, SIZE], align_corners=False)
    moved = torch.nn.functional.grid_sample(batch["bg"].float(), grid, padding_mode="border", align_corners=False)
    pairs = perturb(batch, generator(7))
    for key, image in (("bg", moved * gain + noise[0]), ("bg_fg", batch["bg_fg"].float() + noise[1])):
        assert torch.equal(pairs[key], image.round().clamp(0, 255).byte())


def test_augment_hands_on_the_share_by_hand():
    batch = textured(24)
    calm, wild = (Augment(perturbed=0, crop=0, colour=0, handheld=share)(batch, generator()) for share in (0, 1))
    assert all((calm["bg"] == calm["bg_fg"]).flatten(1).all(1)) and not (wild["bg"] == wild["bg_fg"]).all()
