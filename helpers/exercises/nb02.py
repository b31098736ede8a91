"""Judges of notebook 02's exercises: changes that keep the four images of a quartet together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.augment import rescale_depth
from helpers.dataset import KEYS, Quartet
from helpers.evaluate import subtract_background
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import SIDE, as_array, expect, one_quartet, quartets, same, wants_keys

PICTURES = ("bg", "bg_fg")
INVENTED = 0.02  # of the range of depth: what differs by more from all pixels around was measured nowhere
CORRUPTION_LEVELS = 4  # of 255, by which ways to shrink a picture may differ on average
RESCUED = 0.75  # of the Dice that the shift has cost


def _alike(a: object, b: object) -> bool:
    return same(as_array(a), as_array(b))


def _images(got: object, right: Quartet) -> Quartet:
    """The reader's quartet as tensors; a CourseError's worth of a sentence where a key is gone or has another shape."""
    got = {**wants_keys(got, list(right), "the quartet")}
    for key, value in right.items():
        if not isinstance(got[key], Tensor):
            raise Wrong(f"{key!r} is a {type(got[key]).__name__}; it should stay a tensor.")
        if got[key].shape != value.shape:
            raise Wrong(f"{key!r} has the shape {tuple(got[key].shape)}; it should be {tuple(value.shape)}.")
        if got[key].dtype != value.dtype:
            raise Wrong(f"{key!r} is {got[key].dtype}; the contract wants {value.dtype}.")
    return got


@exercise(
    "2.1",
    "The axes are (channels, height, width). Left and right are the last one.",
    "quartet[key].flip(-1), for all five images. near_far has no left and right.",
)
def a_mirrored_quartet(mirrored):
    quartet = one_quartet()
    right = {key: value if key == "near_far" else value.flip(-1) for key, value in quartet.items()}
    got = _images(mirrored({**quartet}), right)
    if all(_alike(got[key], quartet[key].flip(-2)) for key in KEYS):
        raise Wrong("The room stands on its head: axis -2 is the height. Left and right are the last axis, -1.")
    left = [key for key in KEYS if _alike(got[key], quartet[key])]
    if len(left) == len(KEYS):
        raise Wrong("Nothing has moved.")
    if "mask" in left and "bg_fg" not in left:
        raise Wrong(f"The picture has moved, {' and '.join(left)} stayed behind: the network would learn that the cat is where "
                    "it is not.")  # fmt: skip
    if left:
        raise Wrong(f"{' and '.join(left)} stayed behind: all five images move together.")
    if not _alike(got["near_far"], quartet["near_far"]):
        raise Wrong("near_far has changed: a mirror moves nothing nearer or farther.")
    for key in KEYS:
        expect(got[key], right[key], {}, repr(key))
    return "All five images have moved together, and the distances are those of before."


@exercise(
    "2.2",
    "The sum of a byte and a byte is a byte: 200 * 1.5 must end at 255. Go by way of floats and clamp.",
    "(picture.float() * factor).clamp(0, 255).to(torch.uint8), for both photographs and for nothing else.",
)
def more_light(brighter):
    quartet, factor = one_quartet(), 1.6
    exact = {key: quartet[key].float() * factor for key in PICTURES}
    got = {**wants_keys(brighter({**quartet}, factor), list(quartet), "the quartet")}
    for key in ("mask", "depth", "valid", "near_far"):
        if not _alike(got[key], quartet[key]):
            why = {"depth": "a lamp moves no wall", "mask": "a lamp makes no more cat"}.get(key, "it is no picture")
            raise Wrong(f"{key!r} has changed: {why}. Light is for the two photographs alone.")
    for key in PICTURES:
        value = as_array(got[key], repr(key))
        if _alike(got[key], quartet[key]):
            raise Wrong(f"{key!r} has not changed: both photographs get the same light, or their difference is no longer the cat.")
        if value.max() > 255:
            raise Wrong(f"{key!r} goes up to {value.max():.0f}: clamp it to 255.")
        if value.max() <= 1.001:
            raise Wrong(f"{key!r} runs from 0 to 1; photographs in a quartet are bytes from 0 to 255.")
        wrapped = exact[key].numpy() % 256
        over = exact[key].numpy() > 256
        if over.any() and abs(value - wrapped)[over].mean() < 3:
            raise Wrong(f"{key!r} has wrapped around: what should be white starts again at black. Clamp to 255 *before* you go "
                        "back to bytes.")  # fmt: skip
        off = abs(value - exact[key].clamp(0, 255).numpy())
        if off.max() > 1.01:
            raise Wrong(f"{key!r} is off by up to {off.max():.0f} of 255: multiply by factor, and clamp to 0 to 255.")
        if got[key].dtype != torch.uint8:
            raise Wrong(f"{key!r} is {got[key].dtype}: go back to torch.uint8, as the contract wants.")
    return "Both photographs have the same new light; mask and depth know nothing of it."


@exercise(
    "2.3",
    "Rows first: value[..., top : top + side, left : left + side].",
    "augment.rescale_depth wants a batch: add a dimension with value[None] for each value, and take it off with [0].",
)
def a_crop(cropped):
    quartet, top, left, side = one_quartet(3), 26, 8, 36
    cut = {key: value if key == "near_far" else value[..., top : top + side, left : left + side] for key, value in quartet.items()}
    right = _rescaled(cut)
    got = _images(cropped({**quartet}, top, left, side), right)
    valid = cut["valid"]
    swapped = quartet["bg_fg"][..., left : left + side, top : top + side]
    if _alike(got["bg_fg"], swapped):
        raise Wrong("Height and width are swapped: rows come first, [..., top : top + side, left : left + side].")
    for key in ("bg", "bg_fg", "mask", "valid"):
        expect(got[key], cut[key], {}, repr(key))
    here = torch.where(valid, got["depth"], 0.0)
    all_pixels = _rescaled({**cut, "valid": torch.ones_like(valid)})
    mistakes = {
        "The depth is cut but not scaled anew: its nearest valid pixel is not 0 any more, its farthest not 1.":
            torch.where(valid, cut["depth"], 0.0),
        "The depth is upside down: 0 is the nearest.": torch.where(valid, 1 - right["depth"], 0.0),
        "The depth was scaled with pixels that are not valid: the 0 stored there is no distance.":
            torch.where(valid, all_pixels["depth"], 0.0),
    }  # fmt: skip
    expect(here, torch.where(valid, right["depth"], 0.0), mistakes, "the depth")
    mistakes = {
        "The depth was scaled anew, but near_far is still that of the whole picture: every distance in metres is wrong now.":
            quartet["near_far"],
    }  # fmt: skip
    expect(got["near_far"], right["near_far"], mistakes, "near_far")
    near, far = right["near_far"].tolist()
    return f"The crop reaches from {near:.2f} to {far:.2f} m, and every pixel keeps its distance in metres."


def _rescaled(quartet: Quartet) -> Quartet:
    batch = rescale_depth({key: value[None] for key, value in quartet.items()})
    return {key: value[0] for key, value in batch.items()}


@exercise(
    "2.4",
    "Photographs and mask: the mean of four pixels. Depth and valid: one of the four.",
    "F.avg_pool2d mixes, [..., ::2, ::2] picks. avg_pool2d wants floats, and a picture is bytes again afterwards.",
)
def half_the_side(halved):
    quartet = one_quartet()
    mixed = {key: F.avg_pool2d(quartet[key].float(), 2) for key in (*PICTURES, "mask")}
    picked = {key: quartet[key][..., ::2, ::2] for key in ("depth", "valid")}
    right = {**{key: mixed[key].round().byte() for key in PICTURES}, "mask": mixed["mask"], **picked, "near_far": quartet["near_far"]}
    got = _images(halved({**quartet}), right)
    four, known = (F.unfold(quartet[key].float()[None], 2, stride=2)[0] for key in ("depth", "valid"))  # (4, pixels)
    there = got["valid"].flatten()
    far_off = (four - got["depth"].flatten()).abs()
    invented = far_off.amin(0) > INVENTED
    if (invented & there).any():
        raise Wrong(f"{(invented & there).float().mean():.1%} of the pixels have a depth that none of their four had: mixed "
                    "across an edge, it is air between cat and wall. Depth is picked, not mixed.")  # fmt: skip
    if (far_off.masked_fill(known < 0.5, 9).amin(0) > INVENTED)[there].any():
        raise Wrong("Some pixels are called valid whose depth was not known: pick valid at the same places as depth.")
    if there.float().mean() < 0.9 * quartet["valid"].float().mean():
        raise Wrong("Far fewer pixels are valid than before: pick valid at the same places as depth.")
    for key, scale in (("bg", 1), ("bg_fg", 1), ("mask", 255)):
        off = scale * (got[key].float() - right[key].float()).abs().mean()
        around = F.unfold(quartet[key].float()[None], 2, stride=2)[0].unflatten(0, (-1, 4))  # (channels, 4, pixels)
        if ((around - got[key].float().flatten(1)[:, None]).abs().amin(1) < 1e-6).all():
            raise Wrong(f"{key!r} is picked, not mixed: of four pixels three are lost, and with them thin things. Take their mean.")
        if off > CORRUPTION_LEVELS:
            raise Wrong(f"{key!r} differs from the mean of its four pixels by {off:.0f} of 255 on average.")
    return f"The mask keeps its share of the picture ({got['mask'].mean():.2%}), and every depth is one that somebody measured."


@exercise(
    "2.5",
    "The right shift leaves the least difference. A mean over colours, height and width gives one cost for each shift and pair.",
    "(moved.float() - bg_fg.float()).abs().mean((2, 3, 4)) is (25, B), and argmin(0) names the best shift of each pair.",
)
def subtraction_rescued(aligned):
    batch = quartets()
    mask, bg_fg = batch["mask"] > 0.5, batch["bg_fg"]
    shifts = [(1, -2), (-2, 0), (2, 1), (0, 2)]
    bg = torch.stack([room.roll(shift, (1, 2)) for room, shift in zip(batch["bg"], shifts)])

    def dice(room):
        found = subtract_background(room, bg_fg) > 0.5
        return (2 * (found & mask).sum() / (found.sum() + mask.sum())).item()

    got = aligned(bg.clone(), bg_fg.clone())
    if as_array(got, "the room").shape != tuple(bg.shape) or not isinstance(got, Tensor):
        raise Wrong(f"The room has the shape {as_array(got).shape}; it should stay {tuple(bg.shape)}: one shift chosen for each pair.")
    got = got.round().clamp(0, 255).to(torch.uint8)
    if _alike(got, bg_fg):
        raise Wrong("This is the picture with the cat: its difference from itself is nothing at all.")
    if _alike(got, bg):
        raise Wrong("The room has not moved at all.")
    clean, shifted, rescued = dice(batch["bg"]), dice(bg), dice(got)
    said = f"Dice {shifted:.3f} as it was, {rescued:.3f} after your shift, {clean:.3f} without any movement"
    if rescued < shifted + RESCUED * (clean - shifted):
        moves = [(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)]
        used = [{move for move in moves if torch.equal(room.roll(move, (1, 2)), new)} for room, new in zip(bg, got)]
        if set.intersection(*used):
            raise Wrong(f"{said}: every pair got the same shift, but every pair moved its own way. Keep the batch axis in the cost.")
        raise Wrong(f"{said}: not the best shifts. Least cost, not most? Floats before you subtract?")
    return f"{said} ({SIDE} px, whole pixels). Real shifts lie between pixels, and light and noise change as well."
