"""Exercises of notebook 02: changes that keep the images of a quartet together."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.augment import rescale_depth
from helpers.dataset import KEYS, Quartet
from helpers.evaluate import subtract_background
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import SIZE, alike, dice, expect, of_type, one_quartet, quartets, shaped

INVENTED = 0.02  # of the range of depth: what differs by more from all pixels around was measured nowhere


def _quartet(got: object, right: Quartet, dtypes: bool = True) -> Quartet:
    """The reader's quartet as tensors; raises Wrong where a key is gone, or has another shape or type."""
    of_type(got, dict, "your function", f"a dict with {', '.join(right)} is expected.")
    if missing := [key for key in right if key not in got]:
        raise Wrong(f"The quartet has no {', '.join(map(repr, missing))}: hand on what you do not change.")
    tensors = {}
    for key, value in right.items():
        shaped(got[key], value.shape, repr(key))
        tensors[key] = got[key] if isinstance(got[key], Tensor) else torch.from_numpy(np.array(got[key]))
        if dtypes and tensors[key].dtype != value.dtype:
            raise Wrong(f"{key!r} is {tensors[key].dtype}; the contract wants {value.dtype}.")
    return tensors


@exercise(
    "2.1",
    "The axes are (channels, height, width). Left and right are the last one.",
    "flip(-1) turns one image round. Which keys hold images, with a left and a right?",
)
def a_mirrored_quartet(mirrored):
    quartet = one_quartet()
    right = {key: value if key == "near_far" else value.flip(-1) for key, value in quartet.items()}
    got = _quartet(mirrored({**quartet}), right)
    if all(alike(got[key], quartet[key].flip(-2)) for key in KEYS):
        raise Wrong("The room stands on its head: axis -2 is the height. Left and right are the last axis, -1.")
    if left := [key for key in KEYS if alike(got[key], quartet[key])]:
        raise Wrong(f"{' and '.join(left)} stayed behind: all five images move together.")
    if not alike(got["near_far"], quartet["near_far"]):
        raise Wrong("near_far has changed: a mirror moves nothing nearer or farther.")
    for key in KEYS:
        expect(got[key], right[key], {}, repr(key))
    return "All five images have moved together, and the distances are those of before."


@exercise(
    "2.2",
    "A byte ends at 255, so 200 * 1.5 needs a float, .float(), and a limit, .clamp(0, 255).",
    "Afterwards the photographs are bytes again, .to(torch.uint8). Which two keys hold photographs?",
)
def more_light(brighter):
    quartet, factor = one_quartet(), 1.6
    got = _quartet(brighter({**quartet}, factor), quartet, dtypes=False)
    for key in ("mask", "depth", "valid", "near_far"):
        if not alike(got[key], quartet[key]):
            raise Wrong(f"{key!r} has changed: light is for the two photographs alone.")
    for key in ("bg", "bg_fg"):
        value, exact = got[key].double(), quartet[key].double() * factor
        if alike(value, quartet[key]):
            raise Wrong(f"{key!r} has not changed: both photographs get the same light.")
        if value.max() <= 1.001:
            raise Wrong(f"{key!r} runs from 0 to 1; photographs in a quartet are bytes from 0 to 255.")
        if (value - exact % 256).abs()[exact > 256].mean() < 3:
            raise Wrong(f"{key!r} has wrapped around, from white to black: clamp to 255 *before* you go back to bytes.")
        if (off := (value - exact.clamp(0, 255)).abs().max()) > 1.01:
            raise Wrong(f"{key!r} is off by up to {off:.0f} of 255: multiply by factor, and clamp to 0 to 255.")
        if got[key].dtype != torch.uint8:
            raise Wrong(f"{key!r} is {got[key].dtype}: go back to torch.uint8, as the contract wants.")
    return "Both photographs have the same new light; mask and depth are those of before."


@exercise(
    "2.3",
    "Rows first: value[..., top : top + side, left : left + side].",
    "augment.rescale_depth wants a batch: add a dimension with value[None] for each value, and take it off with [0].",
)
def a_crop(cropped):
    quartet, top, left, side = one_quartet(3), 26, 8, 36
    rows, columns = slice(top, top + side), slice(left, left + side)
    cut = {key: value if key == "near_far" else value[..., rows, columns] for key, value in quartet.items()}
    right, valid = _rescaled(cut), cut["valid"]
    got = _quartet(cropped({**quartet}, top, left, side), right)
    if alike(got["bg_fg"], quartet["bg_fg"][..., columns, rows]):
        raise Wrong("Height and width are swapped: rows come first, [..., top : top + side, left : left + side].")
    for key in ("bg", "bg_fg", "mask", "valid"):
        expect(got[key], cut[key], {}, repr(key))
    all_pixels = _rescaled({**cut, "valid": torch.ones_like(valid)})
    mistakes = {
        "The depth is cut but not rescaled: its nearest valid pixel must be 0, its farthest 1.": cut["depth"],
        "The depth is upside down: 0 is the nearest.": 1 - right["depth"],
        "The depth was rescaled with pixels that are not valid: a stored 0 is no distance.": all_pixels["depth"],
    }
    mistakes = {diagnosis: depth * valid for diagnosis, depth in mistakes.items()}
    expect(got["depth"] * valid, right["depth"] * valid, mistakes, "the depth")
    stale = "The depth was rescaled, but near_far is still that of the whole picture: all metres are wrong."
    expect(got["near_far"], right["near_far"], {stale: quartet["near_far"]}, "near_far")
    near, far = right["near_far"].tolist()
    return f"The crop reaches from {near:.2f} to {far:.2f} m, and every pixel keeps its distance in metres."


def _rescaled(quartet: Quartet) -> Quartet:
    batch = rescale_depth({key: value[None] for key, value in quartet.items()})
    return {key: value[0] for key, value in batch.items()}


@exercise(
    "2.4",
    "Photographs and mask: the mean of four pixels. Depth and valid: one of the four.",
    "F.avg_pool2d averages, [..., ::2, ::2] picks. avg_pool2d wants floats, and a picture is bytes again afterwards.",
)
def half_the_side(halved):
    quartet, half = one_quartet(), SIZE // 2
    shapes = {key: value if key == "near_far" else value[..., ::2, ::2] for key, value in quartet.items()}
    got = _quartet(halved({**quartet}), shapes)
    if alike(got["bg_fg"], quartet["bg_fg"][..., :half, :half]):
        raise Wrong("You cut a part out, at its full size. The whole picture is asked for, at half the size.")
    four = {key: F.unfold(quartet[key].float()[None], 2, stride=2).view(-1, 4, half**2) for key in KEYS}
    (near, far), (new_near, new_far) = quartet["near_far"], got["near_far"]
    metres = new_near + got["depth"].flatten() * (new_far - new_near)
    off = (four["depth"][0] - (metres - near) / (far - near)).abs()  # of depth (4, pixels), in the scale of the whole
    there = got["valid"].flatten()
    invented = (off.amin(0) > INVENTED) & there
    if invented.any() and not alike(got["near_far"], quartet["near_far"]):
        raise Wrong("near_far has changed, and depth gives other metres with it: halving moves nothing away.")
    if invented.any():
        raise Wrong(f"{invented.float().mean():.1%} of the depths are none of their four, but means. Depth is picked.")
    if (off.masked_fill(four["valid"][0] < 0.5, 9).amin(0) > INVENTED)[there].any():
        raise Wrong("Some pixels are called valid whose depth was not known: pick valid at the same places as depth.")
    if there.float().mean() < 0.9 * quartet["valid"].float().mean():
        raise Wrong("Far fewer pixels are valid than before: pick valid at the same places as depth.")
    for key, scale in (("bg", 1), ("bg_fg", 1), ("mask", 255)):
        value = got[key].float().flatten(1)  # (C, pixels)
        if ((four[key] - value[:, None]).abs().amin(1) < 1e-6).all():
            raise Wrong(f"{key!r} is picked, not averaged: of four pixels three are lost, and with them thin things.")
        if (error := scale * (value - four[key].mean(1)).abs().mean()) > 4:  # ways to shrink a picture differ
            raise Wrong(f"{key!r} differs from the mean of its four pixels by {error:.0f} of 255 on average.")
    return f"The mask keeps its share of the picture ({got['mask'].mean():.2%}), and no depth is invented."


@exercise(
    "2.5",
    "The right shift leaves the least difference. The mean over all but two axes is a cost for each shift and pair.",
    "Differences of floats, without their signs. argmin over the axis of the shifts names the best one of each pair.",
)
def subtraction_rescued(aligned):
    batch = quartets()
    light = torch.tensor([4.0, -4.0, 4.0, -4.0]).view(-1, 1, 1, 1)  # no two exposures are quite alike
    bg_fg, mask = (batch["bg_fg"] + light).clamp(0, 255).byte(), batch["mask"] > 0.5
    shifts = [(1, -2), (-2, 0), (2, 1), (0, 2)]
    bg = torch.stack([room.roll(shift, (1, 2)) for room, shift in zip(batch["bg"], shifts)])
    got = shaped(aligned(bg.clone(), bg_fg.clone()), bg.shape, "the room")
    got = torch.from_numpy(got).round().clamp(0, 255).byte()
    if alike(got, bg_fg):
        raise Wrong("This is the picture with the cat: its difference from itself is nothing at all.")
    found = [subtract_background(room, bg_fg) > 0.5 for room in (batch["bg"], bg, got)]
    clean, shifted, rescued = (dice(one, mask, (0, 1, 2, 3)).item() for one in found)
    scores = f"Dice {shifted:.3f} as it was, {rescued:.3f} after your shift, {clean:.3f} without any movement"
    if rescued < shifted + 0.75 * (clean - shifted):
        raise Wrong(f"{scores}: not the best shift of each pair. Floats first, then abs, then the mean, but not over "
                    "the batch; and the least cost, not the most.")  # fmt: skip
    return f"{scores} ({SIZE} px, whole pixels). Real shifts lie between pixels, and light and noise change as well."
