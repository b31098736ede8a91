"""Pairs corrupted in one way: what changes, by how much, and that every method meets the same pairs."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyQuartets

from helpers.demos.corruptions import CORRUPTION_LEVELS, CORRUPTION_UNITS, corrupt, corrupted_mask_dice
from helpers.evaluate import subtract_background

SIDE = 64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=6):
    return ToyQuartets(placements=10, size=SIDE).get_batch(range(0, 5 * count, 5))


def textured(count=12):
    rough = torch.nn.functional.interpolate(torch.randn(count, 3, 16, 16, generator=generator(9)), (SIDE, SIDE), mode="bicubic")
    image = (110 + 30 * rough).clamp(60, 160).byte()
    return {**batch(count), "bg": image, "bg_fg": image.clone()}


@pytest.mark.parametrize("kind", CORRUPTION_LEVELS)
def test_only_the_photographs_change_and_the_generator_decides_how(kind):
    before = batch()
    level = CORRUPTION_LEVELS[kind][-1]
    after, again, other = (corrupt(before, kind, level, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(after["bg"], again["bg"]) and not torch.equal(after["bg"], before["bg"])
    assert torch.equal(after["bg"], other["bg"]) == (kind == "jpeg")  # nothing is drawn for it
    assert torch.equal(after["bg_fg"], before["bg_fg"]) == (kind != "noise")
    assert all(after[key] is before[key] for key in ("mask", "depth", "valid", "near_far"))
    assert after["bg"].dtype == torch.uint8 and kind in CORRUPTION_UNITS


@pytest.mark.parametrize("level", [5, 20])
def test_noise_is_independent_and_as_strong_as_said(level):
    flat = torch.full((4, 3, SIDE, SIDE), 127, dtype=torch.uint8)
    corrupted = corrupt({**batch(4), "bg": flat, "bg_fg": flat}, "noise", level, generator())
    noise = [corrupted[key].float() - 127 for key in ("bg", "bg_fg")]
    assert [value.std().item() for value in noise] == pytest.approx([level, level], rel=0.05)
    assert (noise[0] * noise[1]).mean().abs() < 0.02 * level**2


def test_exposure_goes_both_ways_by_what_is_said():
    pairs = textured()
    gain = corrupt(pairs, "exposure", 20, generator())["bg"].float().mean((1, 2, 3)) / pairs["bg"].float().mean((1, 2, 3))
    assert {round(value, 2) for value in gain.tolist()} == {0.8, 1.2}


@pytest.mark.parametrize("level", CORRUPTION_LEVELS["shift"])
def test_the_room_moves_as_far_as_said_in_all_directions(level):
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    ramps = (3 * torch.stack((x, y, x))).byte().expand(20, -1, -1, -1)  # three grey levels to a pixel
    moved = corrupt({**batch(20), "bg": ramps, "bg_fg": ramps}, "shift", level, generator())["bg"].float()
    ways = ((moved - ramps) / 3)[:, :2, 9:-9, 9:-9].mean((2, 3))  # (B, 2), away from the border, which repeats
    torch.testing.assert_close(ways.norm(dim=1), torch.full((20,), float(level)), atol=0.24, rtol=0)  # bytes: 1/6 px each way
    assert (ways.amin(0) < 0).all() and (ways.amax(0) > 0).all()


def test_jpeg_is_what_pillow_would_write():
    pairs = textured(2)
    stream = io.BytesIO()
    Image.fromarray(pairs["bg"][0].permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=50)
    expected = torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)
    assert torch.equal(corrupt(pairs, "jpeg", 50, generator())["bg"][0], expected)


def test_an_unknown_kind_says_which_there_are():
    with pytest.raises(ValueError, match="noise, exposure, shift, jpeg"):
        corrupt(batch(), "fog", 1, generator())


def test_dice_of_every_level_over_all_batches():
    pairs = [batch(6), batch(4)]
    perfect = corrupted_mask_dice(lambda corrupted: (corrupted["mask"], None), pairs)
    assert perfect == {"clean": [1.0], **{kind: [1.0] * len(levels) for kind, levels in CORRUPTION_LEVELS.items()}}

    def subtraction(corrupted):
        return subtract_background(corrupted["bg"], corrupted["bg_fg"]), None

    subtracted = corrupted_mask_dice(subtraction, pairs)
    assert subtracted == corrupted_mask_dice(subtraction, pairs)
    assert subtracted["noise"][-1] < subtracted["clean"][0] and subtracted["exposure"][-1] < subtracted["clean"][0]
