"""Exercises of notebook 02: changes that keep the images of a quartet together."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.dataset import KEYS, Quartet
from helpers.evaluate import subtract_background
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import SIZE, alike, dice, expect, of_type, one_quartet, quartets, shaped

PHOTOGRAPHS = ("bg", "bg_fg")
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
            raise Wrong(f"{key!r} is {tensors[key].dtype}; the data format wants {value.dtype}.")
    return tensors


def _copy(quartet: Quartet) -> Quartet:
    """For an answer that changes what it is given."""
    return {key: value.clone() for key, value in quartet.items()}


def _rescaled(quartet: Quartet) -> Quartet:
    """The quartet with its depth from 0 to 1 over its valid pixels, and ``near_far`` of these."""
    known = _metres(quartet)[quartet["valid"]]
    near_far = torch.tensor([known.min(), known.max()])
    depth = (_metres(quartet) - near_far[0]) / (near_far[1] - near_far[0])
    return {**quartet, "depth": depth.where(quartet["valid"], 0.0), "near_far": near_far}


def _metres(quartet: Quartet) -> Tensor:
    return torch.lerp(*quartet["near_far"].view(2, 1, 1, 1), quartet["depth"])


@exercise(
    "2.1",
    "The axes are (channels, height, width). Left and right are the two ends of the last one.",
    "Tensor.flip reverses the axis that it is given. Which keys hold images, with a left and a right?",
)
def a_mirrored_quartet(mirrored):
    quartet = one_quartet()
    got = _quartet(mirrored(_copy(quartet)), quartet)
    half_turn = {key: np.rot90(quartet[key].numpy(), 2, (1, 2)) for key in KEYS}
    right = {key: half_turn[key][:, np.argsort(-np.arange(SIZE))] for key in KEYS}
    if all(alike(got[key], half_turn[key]) for key in KEYS):
        raise Wrong("The room stands on its head *and* is mirrored: reverse the last axis alone.")
    if all(alike(got[key], np.rot90(right[key], 2, (1, 2))) for key in KEYS):
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
    quartet = one_quartet()
    for factor in (1.6, 0.7):
        _check_light(quartet, _quartet(brighter(_copy(quartet), factor), quartet, dtypes=False), factor)
    return "Both photographs have the same new light; mask and depth are those of before."


def _check_light(quartet: Quartet, got: Quartet, factor: float) -> None:
    """Raises Wrong unless the photographs of ``got`` are ``factor`` times those of ``quartet``, all else as before."""
    light = torch.linspace(0, 255 * factor, 256, dtype=torch.float64)  # of every byte
    for key in ("mask", "depth", "valid", "near_far"):
        if not alike(got[key], quartet[key]):
            raise Wrong(f"{key!r} has changed: light is for the two photographs alone.")
    for key in PHOTOGRAPHS:
        value, exact = got[key].double(), light[quartet[key].long()]
        if alike(value, quartet[key]):
            raise Wrong(f"{key!r} has not changed: both photographs get the same light.")
        if value.max() <= 1.001:
            raise Wrong(f"{key!r} runs from 0 to 1; photographs in a quartet are bytes from 0 to 255.")
        if (value - exact % 256).abs()[exact > 256].mean() < 3:
            raise Wrong(f"{key!r} has wrapped around, from white to black: clamp to 255 *before* you go back to bytes.")
        if (off := (value - exact.clamp(0, 255)).abs().max()) > 1.01:
            raise Wrong(f"{key!r} is off by up to {off:.0f} of 255: multiply by factor, and clamp to 0 to 255.")
        if got[key].dtype != torch.uint8:
            raise Wrong(f"{key!r} is {got[key].dtype}: go back to torch.uint8, as the data format wants.")


@exercise(
    "2.3",
    "Rows are the last axis but one, columns the last. A slice from `top` on ends `side` rows further down.",
    "augment.rescale_depth wants a batch, and gives one back: take the dimension off every value again.",
)
def a_crop(cropped):
    quartet, top, left, side = one_quartet(3), 26, 8, 36
    borders = [-left, left + side - SIZE, -top, top + side - SIZE]
    cut = {**quartet, **{key: F.pad(quartet[key], borders) for key in KEYS}}  # pads of less than 0
    right, valid = _rescaled(cut), cut["valid"]
    got = _quartet(cropped(_copy(quartet), top, left, side), right)
    if alike(got["bg_fg"], F.pad(quartet["bg_fg"], borders[2:] + borders[:2])):
        raise Wrong("Height and width are swapped: rows come first, then columns.")
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


@exercise(
    "2.4",
    "Photographs and mask: the mean of four pixels. Depth and valid: one of the four, the same one for both.",
    "F.avg_pool2d averages; it wants floats, and a photograph is bytes again afterwards. A slice with a step of 2 "
    "takes every other pixel.",
)
def half_the_side(halved):
    quartet, half = one_quartet(), SIZE // 2
    shapes = {key: value if key == "near_far" else value[..., ::2, ::2] for key, value in quartet.items()}
    got = _quartet(halved(_copy(quartet)), shapes)
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
        share = f"{invented.float().mean():.1%} of the depths"
        raise Wrong(f"{share} are none of their four: take one of the four, never a mean.")
    if (off.masked_fill(four["valid"][0] < 0.5, 9).amin(0) > INVENTED)[there].any():
        raise Wrong("Some pixels are called valid whose depth was not known: take valid at the same places as depth.")
    if there.float().mean() < 0.9 * quartet["valid"].float().mean():
        raise Wrong("Far fewer pixels are valid than before: take valid at the same places as depth.")
    partly = (four["mask"].mean(1) - 0.5).abs() < 0.2
    for key, scale in (("bg", 1), ("bg_fg", 1), ("mask", 255)):
        value = got[key].float().flatten(1)  # (C, pixels)
        if ((four[key] - value[:, None]).abs().amin(1) < 1e-6).all():
            raise Wrong(f"{key!r} is sampled, not averaged: of four pixels three are lost, and with them thin things.")
        if key == "mask" and (value[partly] - 0.5).abs().mean() > 0.4:
            raise Wrong("'mask' is 0 or 1 where the cat fills a part of a pixel: leave the mean as it is.")
        if (error := scale * (value - four[key].mean(1)).abs().mean()) > 4:  # ways to shrink a picture differ
            raise Wrong(f"{key!r} differs from the mean of its four pixels by {error:.0f} of 255 on average.")
    return f"The mask keeps its share of the image ({got['mask'].mean():.2%}), and no depth is invented."


@exercise(
    "2.5",
    "The right shift leaves the least difference. The mean over all but two axes is a cost for each shift and pair.",
    "Bytes cannot hold a negative difference. Which axis of the cost counts the shifts?",
)
def subtraction_rescued(aligned):
    batch = quartets()
    light = torch.tensor([4.0, -4.0, 4.0, -4.0]).view(-1, 1, 1, 1)  # no two exposures are quite alike
    noise = 3 * torch.randn(2, *batch["bg"].shape, generator=torch.Generator().manual_seed(0))  # of 255
    pair = batch["bg"] + noise[0], batch["bg_fg"] + light + noise[1]
    room, bg_fg = (photograph.round().clamp(0, 255).byte() for photograph in pair)
    mask = batch["mask"] > 0.5
    shifts = [(1, -2), (-2, 0), (2, 1), (0, 2)]
    bg = torch.stack([one.roll(shift, (1, 2)) for one, shift in zip(room, shifts)])
    got = shaped(aligned(bg.clone(), bg_fg.clone()), bg.shape, "the room")
    got = torch.from_numpy(got).round().clamp(0, 255).byte()
    if alike(got, bg_fg):
        raise Wrong("This is the picture with the cat: its difference from itself is nothing at all.")
    if alike(got, bg):
        raise Wrong("bg has not moved at all.")
    found = [subtract_background(one, bg_fg) > 0.5 for one in (room, bg, got)]
    clean, shifted, rescued = (dice(one, mask, (0, 1, 2, 3)).item() for one in found)
    scores = f"Dice {shifted:.3f} as it was, {rescued:.3f} after your shift, {clean:.3f} without any movement"
    if rescued < shifted + 0.75 * (clean - shifted):
        raise Wrong(f"{scores}: not the best shift of each pair. Floats first, then abs, then the mean, but not over "
                    "the batch; and the least cost, not the most.")  # fmt: skip
    return f"{scores} ({SIZE} px, whole pixels). Real shifts lie between pixels."


DRAWS = 200  # so many that each of 15 rows and columns comes up


@exercise(
    "2.6",
    "torch.randint takes the generator. A square of `side` pixels that begins in the last row would leave the image.",
    "Make one mask of the square, True inside, and fill the four images that it concerns with 0 there (masked_fill).",
    "The nearest valid pixel may have been in the square: scale depth anew, as after a crop.",
)
def a_hidden_square(cutout):
    quartet = {key: value.clamp_min(1) if key in PHOTOGRAPHS else value for key, value in one_quartet(3).items()}
    for side, draws in ((50, DRAWS), (21, 12)):
        generator = torch.Generator().manual_seed(0)
        places = []
        for i in range(draws):
            state, given = generator.get_state(), _copy(quartet)
            got = cutout(given, side, generator)
            if not all(torch.equal(given[key], value) for key, value in quartet.items()):
                raise Wrong("The quartet that was handed in has changed: work on copies.")
            got = _quartet(got, quartet) if i < 12 else got
            place = _black_square(got, side)
            if i < 12:  # the others are there to see where the squares are
                _check_hidden(quartet, got, place, side)
            places.append(place)
        again = cutout(_copy(quartet), side, torch.Generator().set_state(state))
        if _black_square(again, side) != places[-1]:
            raise Wrong("The same state of the generator gave two different squares: draw with `generator` alone.")
        _check_places(np.array(places), SIZE - side)
    return f"{DRAWS} squares, everywhere in the image; what they hide is no cat, and its depth is unknown."


def _black_square(got: Quartet, side: int) -> tuple[int, int]:
    """Its upper left pixel; raises Wrong if what is black in ``bg`` and ``bg_fg`` is no such square."""
    squares = []
    for key in PHOTOGRAPHS:
        rows, columns = np.nonzero((np.asarray(got[key]) == 0).all(0))
        if not len(rows):
            raise Wrong(f"Nothing in {key!r} has become black (0).")
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        if (height, width, len(rows)) != (side, side, side * side):
            raise Wrong(f"What is black in {key!r} lies within {height} x {width}; a square of {side} is expected.")
        squares.append((int(rows.min()), int(columns.min())))
    if squares[0] != squares[1]:
        raise Wrong("Each photograph has a square of its own: draw the place once for all images.")
    return squares[0]


def _check_hidden(quartet: Quartet, got: Quartet, place: tuple[int, int], side: int) -> None:
    """Raises Wrong where an image is wrong inside or outside of the square."""
    rows, columns = (torch.arange(SIZE).sub(start).div(side, rounding_mode="floor") == 0 for start in place)
    hidden = rows[:, None] & columns
    for key in KEYS:
        if key != "depth" and not alike(got[key][:, ~hidden], quartet[key][:, ~hidden]):
            raise Wrong(f"{key!r} has changed outside of the square.")
    if got["valid"][:, hidden].any():
        raise Wrong("Pixels in the square are still valid: their depth cannot be seen any more.")
    if got["mask"][:, hidden].any():
        raise Wrong("The mask still shows a cat in the square, where nothing of it is visible.")
    seen = got["valid"]
    depth, near_far = got["depth"][seen], _rescaled({**quartet, "valid": seen})["near_far"]
    if max(depth.min(), 1 - depth.max()) > 1e-3:
        raise Wrong("Depth does not run from 0 to 1 over the pixels that are still valid: scale it anew.")
    if not alike(got["near_far"], near_far, 1e-3):
        raise Wrong("near_far is not that of the nearest and the farthest pixel that are still valid.")
    if not alike(_metres(got)[seen], _metres(quartet)[seen], 2e-3):
        raise Wrong("Some valid pixels have another distance in metres than before.")


def _check_places(places: np.ndarray, last: int) -> None:
    """Raises Wrong unless rows and columns (N, 2) are drawn from 0 to ``last``, each by itself."""
    if (places == places[0]).all():
        raise Wrong("Every call hides the same square: draw its place anew each time.")
    if len(places) < DRAWS:
        return
    for name, starts in zip(("row", "column"), places.T):
        if missing := sorted({0, last} - set(starts.tolist())):
            raise Wrong(f"In {len(places)} draws the square never began in {name} {missing[0]}, where it may as well.")
        if np.bincount(starts).max() > 0.2 * len(starts):
            raise Wrong(f"Some {name}s come up far more often than others: draw from all that are possible alike.")
    if abs(np.corrcoef(places.T)[0, 1]) > 0.5:
        raise Wrong("Row and column are not independent: draw a number for each.")
