"""Exercises of notebook 08: the largest difference of two programs, weights in 8 bits, what to ship, and an adapter."""

import numpy as np
import torch
from torch import Tensor, nn

from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, as_array, expect, of_type, pair_of, shaped
from helpers.model import seeded

# -- 8.1 ----------------------------------------------------------------------------------------------------------

# What the second program adds to mask and depth of each pair, at one pixel. The largest is negative, then positive.
FAULTS = ((-0.12, 0.08), (-0.15, -0.4), (0.05, 0.01)), ((0.3, 0.02), (-0.06, 0.2), (0.04, -0.01))


def _programs(faults):
    """Two programs that differ by ``faults``, and pairs of several sizes for both."""
    rng = np.random.default_rng(0)
    sizes = ((2, 32, 48), (1, 48, 32), (3, 32, 32))
    pairs = [tuple(rng.random((2, batch, 3, height, width), dtype=np.float32)) for batch, height, width in sizes]
    fault_of = dict(zip(sizes, faults))

    def first(bg, bg_fg):
        return [(bg.mean(1, keepdims=True) + weight * bg_fg[:, :1]) / 2 for weight in (0.5, 1.0)]  # (B, 1, H, W)

    def second(bg, bg_fg):
        maps = first(bg, bg_fg)
        for one, fault in zip(maps, fault_of[len(bg), *bg.shape[2:]]):
            one[0, 0, 3, 5] += fault
        return maps

    return first, second, pairs


@exercise(
    "8.1",
    "np.abs makes differences positive, and .max() of it is one map's worst pixel. Keep the larger of it and `worst`.",
    "max(0.0, nan) is 0.0, so Python's max loses a nan. np.maximum keeps it.",
)
def the_largest_difference(largest_difference):
    for faults in FAULTS:
        first, second, pairs = _programs(faults)
        gaps = [[b - a for a, b in zip(first(*pair), second(*pair))] for pair in pairs]  # by pair, then mask and depth
        sizes = np.array([[np.abs(gap).max() for gap in maps] for maps in gaps])
        every = np.concatenate([gap.ravel() for maps in gaps for gap in maps])
        mistakes = {
            "A difference below 0 counts as well: np.abs.": Either((every.max(), -every.min())),
            "You look at the mask alone; the depth can be wrong, too.": sizes[:, 0].max(),
            "You look at the depth alone; the mask can be wrong, too.": sizes[:, 1].max(),
            "This is the last pair alone: keep the larger of it and `worst`.": Either((sizes[-1].max(), sizes[-1, 1])),
            "This is the first pair alone; other sizes count, too.": Either((sizes[0].max(), sizes[0, 0])),
            "A mean hides one wrong pixel: take the largest.": Either((
                np.abs(every).mean(), max(np.abs(gap).mean() for maps in gaps for gap in maps),
                np.mean([np.abs(gap).mean() for maps in gaps for gap in maps]), sizes.mean(),
            )),
            "You add up what the maps differ by: keep the largest.": sizes.sum(),
        }  # fmt: skip
        got = largest_difference(first, second, [tuple(image.copy() for image in pair) for pair in pairs])
        expect(got, sizes.max(), mistakes, "the difference")

    def broken(bg, bg_fg):
        mask, depth = first(bg, bg_fg)
        if len(bg) == 2:
            mask[1, 0, 8, 8] = np.nan
        return mask, depth

    for pair in (pairs, pairs[::-1]):  # nan first, nan last
        if np.isfinite(as_array(largest_difference(first, broken, pair), "the difference")).all():
            raise Wrong("One program predicts a nan, and the result looks small: max(0.0, nan) is 0.0. Try np.maximum.")
    return f"{sizes.max():.2f}, in one pixel of all."


# -- 8.2 ----------------------------------------------------------------------------------------------------------


@exercise(
    "8.2",
    "The largest absolute weight of an output becomes 127, so its scale is that / 127: amax over (1, 2, 3).",
    "Round before you change the type, which cuts off. And a scale must not be 0, or 0 / 0 is nan: clamp_min.",
)
def weights_in_8_bits(in_8_bits):
    weight = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    weight *= torch.tensor([1, 0.02, 0.3, 4, 0.1, 0]).view(-1, 1, 1, 1)  # ranges, of which one is 0
    weight[1, 0, 0, 0], weight[3, 2, 1, 1] = -0.2, 16.0  # largest: one below 0, one far above the others
    whole, scale = pair_of(in_8_bits(weight.clone()), "whole, scale")
    kind = str(getattr(whole, "dtype", type(whole).__name__)).removeprefix("torch.")
    values, scales = shaped(whole, weight.shape, "whole"), as_array(scale, "the scale")
    if kind != "int8":
        raise Wrong(f"whole is {kind}: after rounding, .to(torch.int8) makes whole numbers of 8 bits of it.")
    if scales.size == 1:
        raise Wrong("This is one scale for all outputs: small weights of one vanish beside large ones of another.")
    scales = shaped(scales.ravel(), (6,), "the scale")
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise Wrong("The scale of the output whose weights are all 0 is not above 0, and 0 / 0 is nan: clamp_min.")
    largest = weight.abs().amax((1, 2, 3))
    smallest = (largest / 127).double().numpy()
    if (scales[:5] > 1.05 * smallest[:5]).any():
        raise Wrong("A scale is larger than it must be, and its weights are less exact: the largest should become 127.")
    if (scales[:5] < 0.95 * smallest[:5]).any():
        raise Wrong("A scale is too small: the largest weight, without its sign, should become 127, and no more fits.")

    exact, steps = weight.double().numpy(), scales.reshape(-1, 1, 1, 1)
    error = np.abs(values * steps - exact)
    worst = (error / steps).max()  # in scales
    if worst > 100:
        raise Wrong("A large weight has changed its sign: 128 does not fit into int8, it wraps around to -128.")
    if worst > 0.51 and (np.abs(values) >= 127)[error > 0.51 * steps].all():
        raise Wrong("A large weight was cut off at 127, the end of int8: the largest should become 127, not 128.")
    if worst > 0.51:
        raise Wrong(f"The error reaches {worst:.2f} scales: you cut off instead of rounding to the nearest number.")
    return f"The largest error is {error.max():.4f}, of weights up to {largest.max():.1f}."


# -- 8.3 ----------------------------------------------------------------------------------------------------------

TABLES = (  # MB, ms, mask Dice, depth RMSE of each file
    {"tiny": (2, 5, 0.900, 0.0700), "float32": (20, 40, 0.950, 0.0600), "int8 static": (5, 16, 0.9455, 0.0650),
     "float16": (10, 41, 0.950, 0.0601), "int8": (6, 50, 0.9460, 0.0615), "float64": (40, 90, 0.9500, 0.0600),
     "int8 fast": (7, 12, 0.9500, 0.0610)},
    {"int2": (2, 20, 0.9000, 0.0900), "shallow": (2.5, 9, 0.9000, 0.0700), "int4": (3, 30, 0.9300, 0.0705),
     "int8": (5.2, 55, 0.9400, 0.0600), "float16": (10, 41, 0.9200, 0.0702), "pruned": (9, 20, 0.9140, 0.0700),
     "float64": (40, 90, 0.9200, 0.0700), "float32": (20, 40, 0.9200, 0.0700), "int8 static": (5, 15, 0.9190, 0.0730)},
    {"float32": (20, 40, 0.9000, 0.0500), "float16": (21, 41, 0.9000, 0.0500), "int8": (5, 50, 0.8900, 0.0600),
     "float64": (40, 90, 0.9000, 0.0500)},
)  # fmt: skip
COLUMNS = "MB", "ms", "mask Dice", "depth RMSE"


@exercise(
    "8.3",
    "A file is good if row['mask Dice'] >= exact['mask Dice'] - 0.005, and depth RMSE likewise, the other way.",
    "min(good, key=...) gives each name to the key: lambda name: rows[name][...].",
)
def what_to_ship(to_ship):
    for rows in ({name: dict(zip(COLUMNS, row)) for name, row in one.items()} for one in TABLES):
        names, exact = list(rows), rows["float32"]

        def smallest(good, by="MB", choose=min):
            left = [name for name in names if good(rows[name])]
            return names.index(choose(left, key=lambda name: rows[name][by]))

        def mask(row):
            return row["mask Dice"] >= exact["mask Dice"] - 0.005

        def depth(row):
            return row["depth RMSE"] <= exact["depth RMSE"] + 0.002

        def both(row):
            return mask(row) and depth(row)

        mistakes = {
            "The smallest of all, however it predicts: leave out those that are too bad.": smallest(lambda row: True),
            "Its mask is good enough, its depth is not.": smallest(mask),
            "Its depth is good enough, its mask is not.": smallest(depth),
            "The fastest of the good ones; the smallest is asked for.": smallest(both, "ms"),
            "The largest of the good ones; the smallest is asked for.": smallest(both, choose=max),
            "A file may score better than float32, by any amount: only what is lost counts.": smallest(
                lambda row: abs(row["mask Dice"] - exact["mask Dice"]) <= 0.005 and depth(row)),
        }  # fmt: skip
        got = to_ship({name: dict(row) for name, row in rows.items()})
        of_type(got, str, "to_ship", "the name of a file is asked for.")
        if got not in rows:
            raise Wrong(f"{got!r} is no name of the table: choose one of {', '.join(names)}.")
        known = {words: place for words, place in mistakes.items() if place == names.index(got)}
        if names.index(got) != smallest(both):
            right = names[smallest(both)]
            raise Wrong(next(iter(known), f"{got} is not the smallest file that is good enough: {right} is."))
    return "Where nothing smaller is good enough, float32 stays."


# -- 8.4 ----------------------------------------------------------------------------------------------------------


class _Foreign(nn.Module):
    """Somebody else's network: one tensor (B, 6, H, W) in [-1, 1] to (B, 2, H, W), depth before mask."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, pair: Tensor) -> Tensor:
        return 3 * self.last(torch.tanh(self.first(pair)))


@exercise(
    "8.4",
    "torch.cat joins tensors along a dimension. 0 must become -1, and 1 stay 1: which straight line does that?",
    "The scene comes first in the tensor. A slice such as [:, :1] keeps the axis of the channel, [:, 0] does not.",
)
def an_adapter(adapter):
    net = seeded(_Foreign, 0)
    ours = adapter(net)
    of_type(ours, nn.Module, "The class", "make it a subclass of nn.Module.")
    if {id(one) for one in ours.parameters()} != {id(one) for one in net.parameters()}:
        raise Wrong("Its parameters are not those of net: keep the network as an attribute, self.net = net.")
    for shape in ((2, 3, 32, 48), (1, 3, 48, 32)):
        bg, bg_fg = torch.rand((2, *shape), generator=torch.Generator().manual_seed(shape[2])).unbind()
        kept = bg.clone(), bg_fg.clone()
        maps = pair_of(ours(bg, bg_fg), "mask_logits, depth_logits")
        if not (torch.equal(bg, kept[0]) and torch.equal(bg_fg, kept[1])):
            raise Wrong("The pictures themselves are changed: whoever calls it still needs them. Compute new tensors.")
        inputs = {
            "": (2 * kept[1] - 1, 2 * kept[0] - 1),
            "The room comes first here; the network wants the scene first.": (2 * kept[0] - 1, 2 * kept[1] - 1),
            "The input runs from 0 to 1; the network wants -1 to 1: 2 * x - 1.": (kept[1], kept[0]),
            "The input runs from 0 to 255; the network wants -1 to 1.": (255 * kept[1], 255 * kept[0]),
            "The input runs from 0 to 2: what is still missing is - 1.": (2 * kept[1], 2 * kept[0]),
            "The input runs from -0.5 to 0.5; the network wants -1 to 1.": (kept[1] - 0.5, kept[0] - 0.5),
        }  # fmt: skip
        with torch.no_grad():
            logits = {words: net(torch.cat(pair, 1)).split(1, 1) for words, pair in inputs.items()}  # depth, mask
        depth, mask = logits[""]
        for place, (name, right, other) in enumerate((("mask_logits", mask, depth), ("depth_logits", depth, mask))):
            mistakes = {words: maps[1 - place] for words, maps in logits.items() if words} | {
                "Mask and depth have changed places: the network's first channel is the depth.": other,
                "Logits are wanted: export_page applies the sigmoid, and twice is once too often.": right.sigmoid(),
            }
            expect(maps[place], right, mistakes, name)
        if not all(getattr(one, "requires_grad", False) for one in maps):
            raise Wrong("The values are right, but they left PyTorch on the way (numpy?): this cannot be exported.")
    return "export_page(Adapter(net), ...) would write its page."
