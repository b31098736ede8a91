"""Answers to the exercises of notebook 08: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
import torch
from answers import answers_of
from torch import nn

RIGHT, WRONG, right, wrong = answers_of()


# -- 8.1 ----------------------------------------------------------------------------------------------------------


def gaps(first, second, pairs):
    """By pair, the differences of mask and depth."""
    return [[b - a for a, b in zip(first(*pair), second(*pair))] for pair in pairs]


def over_all(reduce):
    return lambda first, second, pairs: reduce(np.concatenate([gap.ravel() for maps in gaps(first, second, pairs) for gap in maps]))


def with_pythons_max(new_first):
    def largest_difference(first, second, pairs):
        worst = 0.0
        for maps in gaps(first, second, pairs):
            for gap in maps:
                new = np.abs(gap).max()
                worst = max(new, worst) if new_first else max(worst, new)
        return worst

    return largest_difference


def in_torch(first, second, pairs):
    found = [(torch.from_numpy(a) - torch.from_numpy(b)).abs().max() for p in pairs for a, b in zip(first(*p), second(*p))]
    return torch.stack(found).max()


def refused(first, second, pairs):
    """What is no number counts as infinitely wrong."""
    every = [gap for maps in gaps(first, second, pairs) for gap in maps]
    if not all(np.isfinite(gap).all() for gap in every):
        return float("inf")
    return max(float(np.abs(gap).max()) for gap in every)


def by_range(first, second, pairs):
    every = np.concatenate([gap.ravel() for maps in gaps(first, second, pairs) for gap in maps])
    return np.maximum(every.max(), -every.min())


right(
    "8.1",
    over_all(lambda gap: np.abs(gap).max()),
    over_all(lambda gap: np.linalg.norm(gap.astype(np.float64), np.inf)),
    in_torch,
    refused,
    by_range,
    lambda first, second, pairs: np.max([[np.abs(gap).max() for gap in maps] for maps in gaps(first, second, pairs)]),
)
wrong(
    "8.1",
    (over_all(np.max), "A difference below 0 counts"),
    (over_all(lambda gap: (-gap).max()), "A difference below 0 counts"),
    (lambda f, s, pairs: max(np.abs(mask).max() for mask, _ in gaps(f, s, pairs)), "You look at the mask alone"),
    (lambda f, s, pairs: max(np.abs(depth).max() for _, depth in gaps(f, s, pairs)), "You look at the depth alone"),
    (lambda f, s, pairs: max(np.abs(gap).max() for gap in gaps(f, s, pairs)[-1]), "This is the last pair alone"),
    (lambda f, s, pairs: max(np.abs(gap).max() for gap in gaps(f, s, pairs[:1])[0]), "This is the first pair alone"),
    (over_all(lambda gap: np.abs(gap).mean()), "A mean hides"),
    (lambda f, s, pairs: sum(np.abs(gap).max() for maps in gaps(f, s, pairs) for gap in maps), "You add up"),
    (with_pythons_max(True), "max(0.0, nan) is 0.0"),
    (with_pythons_max(False), "max(0.0, nan) is 0.0"),
    (over_all(lambda gap: np.nanmax(np.abs(gap))), "max(0.0, nan) is 0.0"),
    (lambda f, s, pairs: [np.abs(gap).max() for maps in gaps(f, s, pairs) for gap in maps], "one number"),
    (over_all(lambda gap: (gap**2).max()), "is right"),
    (lambda f, s, pairs: None, "does the function end with return"),
)


# -- 8.2 ----------------------------------------------------------------------------------------------------------


def eight(scale_of, whole_of):
    def in_8_bits(weight):
        scale = scale_of(weight)
        return whole_of(weight / scale.reshape(-1, 1, 1, 1)), scale

    return in_8_bits


def largest(weight):
    return weight.abs().amax((1, 2, 3)).clamp_min(1e-9)


def rounded(shares):
    return shares.round().to(torch.int8)


def in_loops(weight):
    whole, scales = torch.zeros(weight.shape, dtype=torch.int8), []
    for place, one in enumerate(weight):
        scale = max(float(one.max()), -float(one.min())) / 127 or 1.0
        whole[place] = torch.round(one / scale).to(torch.int8)
        scales.append(scale)
    return whole, scales


def with_numpy(weight):
    weight = weight.numpy().astype(np.float64)
    scale = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    scale[scale == 0] = 1
    return np.rint(weight / scale).astype(np.int8), scale


right(
    "8.2",
    in_loops,
    with_numpy,
    eight(lambda w: torch.where(largest(w) > 1e-8, largest(w), 1.0) / 127, rounded),
    eight(lambda w: largest(w) / 127.4, lambda shares: (shares + 0.5 * shares.sign()).trunc().clamp(-127, 127).to(torch.int8)),
    eight(lambda w: w.flatten(1).norm(torch.inf, 1).clamp_min(1e-9) / 127, lambda shares: (shares + 0.5).floor().to(torch.int8)),
)
wrong(
    "8.2",
    (eight(lambda w: w.abs().max().reshape(1) / 127, rounded), "This is one scale for all outputs"),
    (eight(lambda w: (w.abs().max() / 127).expand(6), rounded), "A scale is larger than it must be"),
    (eight(largest, rounded), "A scale is larger than it must be"),
    (eight(lambda w: largest(w) / 64, rounded), "A scale is larger than it must be"),
    (eight(lambda w: largest(w) / 127, lambda shares: shares.to(torch.int8)), "you cut off"),
    (eight(lambda w: largest(w) / 127, lambda shares: shares.floor().to(torch.int8)), "you cut off"),
    (eight(lambda w: largest(w) / 128, lambda shares: shares.round().to(torch.int32).to(torch.int8)), "wraps around to -128"),
    (eight(lambda w: largest(w) / 128, lambda shares: shares.round().clamp(-128, 127).to(torch.int8)), "was cut off at 127"),
    (eight(lambda w: largest(w) / 255, lambda shares: shares.round().clamp(-127, 127).to(torch.int8)), "A scale is too small"),
    (eight(lambda w: w.amax((1, 2, 3)).clamp_min(1e-9) / 127, rounded), "A scale is too small"),
    (eight(lambda w: w.abs().amax((1, 2, 3)) / 127, lambda shares: shares.nan_to_num().round().to(torch.int8)), "0 / 0 is nan"),
    (eight(lambda w: largest(w) / 127, lambda shares: shares.round()), "whole is float32"),
    (eight(lambda w: largest(w) / 127, lambda shares: shares.round().to(torch.int16)), "whole is int16"),
    (eight(lambda w: largest(w) / 127, lambda shares: (shares.round() + 128).to(torch.uint8)), "whole is uint8"),
    (lambda w: ((w / (w.abs().amax((0, 2, 3), keepdim=True) / 127)).round().to(torch.int8), w.abs().amax((0, 2, 3)) / 127), "(6,)"),
    (lambda w: rounded(w / largest(w).view(-1, 1, 1, 1) * 127), "return whole, scale"),
)


# -- 8.3 ----------------------------------------------------------------------------------------------------------


def lost(row, exact):
    return exact["mask Dice"] - row["mask Dice"], row["depth RMSE"] - exact["depth RMSE"]


def smallest(allowed, by="MB", choose=min):
    def to_ship(rows):
        exact = rows["float32"]
        return choose((name for name in rows if allowed(*lost(rows[name], exact))), key=lambda name: rows[name][by])

    return to_ship


def both(dice, rmse):
    return dice <= 0.005 and rmse <= 0.002


def by_sorting(rows):
    for _, name in sorted((row["MB"], name) for name, row in rows.items()):
        if both(*lost(rows[name], rows["float32"])):
            return name


def by_a_loop(rows):
    best = "float32"
    for name, row in rows.items():
        if row["MB"] < rows[best]["MB"] and both(*lost(row, rows["float32"])):
            best = name
    return best


def with_arrays(rows):
    names = np.array(list(rows))
    size, dice, rmse = (np.array([row[key] for row in rows.values()]) for key in ("MB", "mask Dice", "depth RMSE"))
    exact = list(rows).index("float32")
    good = (dice >= dice[exact] - 0.005) & (rmse <= rmse[exact] + 0.002)
    return names[good][size[good].argmin()]


def without_float32(rows):
    names = [name for name in rows if name != "float32" and both(*lost(rows[name], rows["float32"]))]
    return min(names, key=lambda name: rows[name]["MB"])


right(
    "8.3",
    smallest(both),
    by_sorting,
    by_a_loop,
    with_arrays,
    smallest(lambda dice, rmse: max(dice / 0.005, rmse / 0.002) <= 1),
)
wrong(
    "8.3",
    (smallest(lambda dice, rmse: True), "The smallest of all"),
    (smallest(lambda dice, rmse: dice <= 0.005), "Its mask is good enough, its depth is not"),
    (smallest(lambda dice, rmse: rmse <= 0.002), "Its depth is good enough, its mask is not"),
    (smallest(both, "ms"), "The fastest of the good ones"),
    (smallest(both, choose=max), "The largest of the good ones"),
    (smallest(lambda dice, rmse: abs(dice) <= 0.005 and rmse <= 0.002), "A file may score better"),
    (smallest(lambda dice, rmse: dice <= 0.0 and rmse <= 0.0), "is not the smallest file"),
    (smallest(lambda dice, rmse: dice >= -0.005 and rmse <= 0.002), "Its depth is good enough, its mask is not"),
    (lambda rows: "float32", "is not the smallest file"),
    (without_float32, "is not the smallest file"),
    (lambda rows: min(row["MB"] for row in rows.values()), "the name of a file is asked for"),
    (lambda rows: list(rows).index(by_sorting(rows)), "the name of a file is asked for"),
    (lambda rows: "int2", "is no name of the table"),
)


# -- 8.4 ----------------------------------------------------------------------------------------------------------


def adapter(join, part=lambda logits: (logits[:, 1:], logits[:, :1]), keep=lambda net: net):
    class Adapter(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = keep(net)

        def forward(self, bg, bg_fg):
            net = self.net[0] if isinstance(self.net, (list, nn.Sequential)) else self.net
            return part(net(join(bg, bg_fg)))

    return Adapter


def joined(bg, bg_fg):
    return 2 * torch.cat((bg_fg, bg), 1) - 1


def in_place(bg, bg_fg):
    return torch.cat((bg_fg.mul_(2).sub_(1), bg.mul_(2).sub_(1)), 1)


def filled(bg, bg_fg):
    pair = torch.empty(len(bg), 6, *bg.shape[2:])
    pair[:, :3], pair[:, 3:] = bg_fg, bg
    return (pair - 0.5) / 0.5


right(
    "8.4",
    adapter(filled),
    adapter(lambda bg, bg_fg: torch.hstack((bg_fg, bg)).mul(2).sub(1), lambda logits: logits.split(1, 1)[::-1]),
    adapter(lambda bg, bg_fg: torch.lerp(-torch.ones(1), torch.ones(1), torch.cat((bg_fg, bg), 1)), lambda logits: list(logits.flip(1).split(1, 1))),
    adapter(lambda bg, bg_fg: torch.cat([x - (1 - x) for x in (bg_fg, bg)], dim=1), lambda logits: (logits[:, 1, None], logits[:, 0, None])),
    adapter(lambda bg, bg_fg: torch.stack((bg_fg, bg), 1).flatten(1, 2) * 2 - 1, keep=lambda net: nn.Sequential(net)),
)
wrong(
    "8.4",
    (adapter(lambda bg, bg_fg: 2 * torch.cat((bg, bg_fg), 1) - 1), "The room comes first here"),
    (adapter(lambda bg, bg_fg: torch.cat((bg_fg, bg), 1)), "The input runs from 0 to 1"),
    (adapter(lambda bg, bg_fg: 255 * torch.cat((bg_fg, bg), 1)), "The input runs from 0 to 255"),
    (adapter(lambda bg, bg_fg: 2 * torch.cat((bg_fg, bg), 1)), "what is still missing is - 1"),
    (adapter(lambda bg, bg_fg: torch.cat((bg_fg, bg), 1) - 0.5), "The input runs from -0.5 to 0.5"),
    (adapter(joined, lambda logits: (logits[:, :1], logits[:, 1:])), "Mask and depth have changed places"),
    (adapter(joined, lambda logits: (logits[:, 1:].sigmoid(), logits[:, :1].sigmoid())), "Logits are wanted"),
    (adapter(joined, lambda logits: (logits[:, 1], logits[:, 0])), "mask_logits has the shape (2, 32, 48)"),
    (adapter(joined, lambda logits: logits), "Two values are expected"),
    (adapter(joined, lambda logits: logits.chunk(1, 1)), "Two values are expected"),
    (adapter(joined, lambda logits: (logits[:, 1:].detach(), logits[:, :1].detach())), "this cannot be exported"),
    (adapter(joined, lambda logits: (logits[:, 1:].detach().numpy(), logits[:, :1].detach().numpy())), "this cannot be exported"),
    (adapter(in_place), "The pictures themselves are changed"),
    (adapter(joined, keep=lambda net: [net]), "keep the network as an attribute"),
    (lambda net: lambda bg, bg_fg: net(joined(bg, bg_fg)).flip(1).split(1, 1), "make it a subclass of nn.Module"),
)
