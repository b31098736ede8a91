"""Answers to the exercises of notebook 02: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
import torch
import torch.nn.functional as F
from answers import answers_of

from helpers.augment import rescale_depth

RIGHT, WRONG, right, wrong = answers_of()

ALL = ("bg", "bg_fg", "mask", "depth", "valid")


def flipped(keys, axis=-1, **more):
    changes = {**dict.fromkeys(keys, lambda x: x.flip(axis)), **more}
    return lambda q: {**q, **{key: change(q[key]) for key, change in changes.items()}}


def lit(change, keys=("bg", "bg_fg")):
    return lambda q, factor: {**q, **{key: change(q[key], factor) for key in keys}}


def window(value, top, left, side):
    return value[..., top : top + side, left : left + side]


def crop(rescale, order=lambda top, left: (top, left)):
    def cropped(q, top, left, side):
        top, left = order(top, left)
        return rescale({**q, **{key: window(q[key], top, left, side) for key in ALL}})

    return cropped


def anew(q):
    return {key: value[0] for key, value in rescale_depth({key: value[None] for key, value in q.items()}).items()}


def smaller(**change):
    def pick(x):
        return x[..., 1::2, 1::2]

    def mix(x):
        return F.avg_pool2d(x.float(), 2).round().byte() if x.dtype == torch.uint8 else F.avg_pool2d(x.float(), 2)

    ways = {"bg": mix, "bg_fg": mix, "mask": mix, "depth": pick, "valid": pick}
    ways |= {key: {"mix": mix, "pick": pick}.get(way, way) for key, way in change.items()}
    return lambda q: {**q, **{key: way(q[key]) for key, way in ways.items()}}


def shifted(choose, difference=lambda moved, bg_fg: (moved.float() - bg_fg.float()).abs()):
    def aligned(bg, bg_fg):
        shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
        moved = torch.stack([bg.roll(shift, (2, 3)) for shift in shifts])
        return moved[choose(difference(moved, bg_fg)), torch.arange(len(bg))]

    return aligned


def least(cost):
    return cost.mean((2, 3, 4)).argmin(0)


def aligned_in_numpy(bg, bg_fg):
    pairs = zip(bg.numpy(), bg_fg.numpy().astype(float))
    shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    moved = (([np.roll(room, shift, (1, 2)) for shift in shifts], scene) for room, scene in pairs)
    return np.stack([min(rooms, key=lambda room: np.abs(room - scene).mean()) for rooms, scene in moved])


wrong(
    "2.1",
    (flipped(("bg", "bg_fg")), "✗ 2.1: mask and depth and valid stayed behind"),
    (flipped(("bg", "bg_fg", "mask")), "✗ 2.1: depth and valid stayed behind"),
    (flipped(("bg_fg", "mask", "depth", "valid")), "bg stayed behind"),
    (flipped(ALL, -2), "stands on its head"),
    (flipped(ALL, near_far=lambda x: x.flip(0)), "near_far has changed"),
    (lambda q: q, "bg and bg_fg and mask and depth and valid stayed behind"),
    (lambda q: {"bg_fg": q["bg_fg"].flip(-1)}, "hand on what you do not change"),
    (lambda q: {**q, **{key: q[key].float().flip(-1) for key in ALL}}, "the contract wants torch.uint8"),
)
wrong(
    "2.2",
    (lit(lambda x, f: (x.float() * f).to(torch.int64).to(torch.uint8)), "wrapped around"),
    (lit(lambda x, f: x * f), "clamp to 0 to 255"),
    (lit(lambda x, f: (x.float() * f).clamp(0, 255)), "go back to torch.uint8"),
    (lit(lambda x, f: (x.float() * f).clamp(0, 255).byte(), ("bg_fg",)), "both photographs get the same light"),
    (lit(lambda x, f: (x.float() * f).clamp(0, 255).to(x.dtype), ("bg", "bg_fg", "depth")), "'depth' has changed"),
    (lit(lambda x, f: (x.float() / 255 * f).clamp(0, 1)), "runs from 0 to 1"),
    (lit(lambda x, f: (x.float() + 20 * f).clamp(0, 255).byte()), "multiply by factor"),
)
wrong(
    "2.3",
    (crop(lambda q: q), "cut but not rescaled"),
    (crop(anew, lambda top, left: (left, top)), "Height and width are swapped"),
    (crop(lambda q: {**q, "depth": anew(q)["depth"]}), "near_far is still that of the whole picture"),
    (crop(lambda q: {**anew(q), "depth": 1 - anew(q)["depth"]}), "upside down"),
    (crop(lambda q: {**q, "depth": anew({**q, "valid": q["valid"] | True})["depth"]}), "pixels that are not valid"),
    (lambda q, top, left, side: {**q, "bg": window(q["bg"], top, left, side)}, "'bg_fg' has the shape (3, 64, 64)"),
)
wrong(
    "2.4",
    (smaller(depth="mix"), "Depth is picked"),
    (smaller(mask="pick"), "'mask' is picked, not averaged"),
    (smaller(bg="pick"), "'bg' is picked, not averaged"),
    (smaller(valid="mix"), "'valid' is torch.float32"),
    (smaller(valid=lambda x: torch.ones_like(x[..., ::2, ::2])), "whose depth was not known"),
    (smaller(depth=lambda x: x[..., ::2, ::2]), "whose depth was not known"),
    (lambda q: {**smaller()(q), "near_far": 2 * q["near_far"]}, "near_far has changed"),
    (lambda q: {**q, **{key: window(q[key], 0, 0, 32) for key in ALL}}, "You cut a part out"),
    (smaller(valid=lambda x: torch.zeros_like(x[..., ::2, ::2])), "Far fewer pixels are valid"),
)
wrong(
    "2.5",
    (lambda bg, bg_fg: bg, "not the best shift"),
    (lambda bg, bg_fg: bg_fg, "This is the picture with the cat"),
    (shifted(lambda cost: cost.mean((1, 2, 3, 4)).argmin()), "not over the batch"),
    (shifted(lambda cost: cost.mean((2, 3, 4)).argmax(0)), "not the most"),
    (shifted(least, lambda moved, bg_fg: (moved - bg_fg).float()), "Floats first"),
    (shifted(least, lambda moved, bg_fg: moved.float() - bg_fg.float()), "abs"),
    (lambda bg, bg_fg: bg[:1], "it should be (4, 3, 64, 64)"),
)

right(
    "2.2",
    lit(lambda x, factor: np.clip(x.numpy() * factor, 0, 255).astype(np.uint8)),
)

right(
    "2.4",
    smaller(depth=lambda x: x[..., ::2, 1::2], valid=lambda x: x[..., ::2, 1::2]),
    smaller(depth=lambda x: F.max_pool2d(x, 2), valid=lambda x: F.max_pool2d(x.float(), 2) > 0),
)

right(
    "2.5",
    aligned_in_numpy,
)
