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


def hide(rescale=anew, keys=("bg", "bg_fg", "mask", "valid"), place=None, fill=0, apart=False):
    """A cutout; ``place`` draws row and column from (places, generator)."""
    place = place or (lambda places, generator: torch.randint(places, (2,), generator=generator).tolist())

    def cutout(q, side, generator):
        size, out = q["bg"].shape[-1], {**q}
        top, left = place(size - side + 1, generator)
        for key in keys:
            if apart and key == "bg_fg":
                top, left = place(size - side + 1, generator)
            out[key] = q[key].clone()
            window(out[key], top, left, side)[...] = fill if key in ("bg", "bg_fg") else 0
        return rescale(out)

    return cutout


def hide_in_place(q, side, generator):
    top, left = torch.randint(q["bg"].shape[-1] - side + 1, (2,), generator=generator).tolist()
    for key in ("bg", "bg_fg", "mask", "valid"):
        window(q[key], top, left, side)[...] = 0
    return anew(q)


def hide_by_multiplying(q, side, generator):
    size = q["bg"].shape[-1]
    start = (torch.rand(2, generator=generator) * (size - side + 1)).long()
    row, column = (((torch.arange(size) >= at) & (torch.arange(size) < at + side)).float() for at in start)
    keep = 1 - torch.einsum("i,j->ij", row, column)
    kept = {key: (q[key] * keep).to(q[key].dtype) for key in ("bg", "bg_fg", "mask", "valid")}
    return in_metres({**q, **kept})


def in_metres(q):
    """The quartet with depth scaled anew, by way of metres."""
    near, far = q["near_far"]
    metres, valid = near + q["depth"] * (far - near), q["valid"]
    low, high = metres[valid].min(), metres[valid].max()
    depth = torch.where(valid, (metres - low) / (high - low), 0)
    return {**q, "depth": depth, "near_far": torch.stack((low, high))}


def hide_with_loops(q, side, generator):
    top, left = (int(torch.randint(0, q["bg"].shape[-1] - side + 1, (1,), generator=generator)) for _ in range(2))
    out = {key: value.clone() for key, value in q.items()}
    for y in range(top, top + side):
        for key in ("bg", "bg_fg", "mask", "valid"):
            out[key][:, y, left : left + side] = 0
    return anew(out)


def hide_in_numpy(q, side, generator):
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    top, left = rng.integers(0, q["bg"].shape[-1] - side, 2, endpoint=True)
    out = {key: value.numpy().copy() for key, value in q.items()}
    for key in ("bg", "bg_fg", "mask", "valid"):
        window(out[key], top, left, side)[...] = 0
    return {key: value.numpy() for key, value in in_metres({key: torch.from_numpy(out[key]) for key in out}).items()}


def by_padding(q, side, generator):
    free = q["bg"].shape[-1] - side
    top, left = torch.randperm((free + 1) ** 2, generator=generator)[0].item() // (free + 1), 0
    left = torch.randint(free + 1, (), generator=generator).item()
    hidden = F.pad(torch.ones(1, side, side, dtype=torch.bool), (left, free - left, top, free - top))
    return anew({**q, **{key: torch.where(hidden, torch.zeros_like(q[key]), q[key]) for key in ("bg", "bg_fg", "mask", "valid")}})


def crop_in_place(q, top, left, side):
    for key in ALL:
        q[key] = q[key].narrow(-2, top, side).narrow(-1, left, side)
    return in_metres(q)


def crop_by_index(q, top, left, side):
    rows, columns = torch.arange(top, top + side), torch.arange(left, left + side)
    return anew({**q, **{key: q[key][:, rows[:, None], columns] for key in ALL}})


def crop_in_numpy(q, top, left, side):
    cut = {key: window(q[key].numpy(), top, left, side) for key in ALL}
    near, far = q["near_far"].numpy()
    metres = near + cut["depth"] * (far - near)
    known = metres[cut["valid"]]
    depth = (metres - known.min()) / np.ptp(known) * cut["valid"]
    return {**cut, "depth": depth.astype(np.float32), "near_far": np.float32([known.min(), known.max()])}


def crop_relative(q, top, left, side):
    cut = {key: window(q[key], top, left, side) for key in ALL}
    low, high = (getattr(cut["depth"][cut["valid"]], name)() for name in ("min", "max"))
    near, far = q["near_far"].tolist()
    near_far = torch.tensor([near + low * (far - near), near + high * (far - near)])
    return {**cut, "depth": ((cut["depth"] - low) / (high - low)).clamp(0, 1), "near_far": near_far}


def crop_with_loops(q, top, left, side):
    cut = {key: torch.stack([row[:, left : left + side] for row in q[key].unbind(1)[top : top + side]], 1) for key in ALL}
    return anew({**q, **cut})


def flip_in_loops(q):
    out = {key: value.clone() for key, value in q.items()}
    width = q["bg"].shape[-1]
    for key in ALL:
        for x in range(width):
            out[key][..., x] = q[key][..., width - 1 - x]
    return out


def flip_in_place(q):
    for key in ALL:
        q[key][...] = q[key].clone().flip(2)
    return q


def light_by_table(q, factor):
    table = torch.arange(256).mul(factor).clamp(max=255).byte()
    return {**q, "bg": table[q["bg"].long()], "bg_fg": table[q["bg_fg"].long()]}


def light_in_place(q, factor):
    for key in ("bg", "bg_fg"):
        light = q[key].double() * factor
        light[light > 255] = 255
        q[key] = light.byte()
    return q


def halved_by_reshape(q):
    def four(x):
        return x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).transpose(-3, -2).flatten(-2)  # (C, H/2, W/2, 4)

    mean = {key: four(q[key].float()).mean(-1) for key in ("bg", "bg_fg", "mask")}
    one = {key: four(q[key])[..., 3] for key in ("depth", "valid")}
    return {**q, **one, "mask": mean["mask"], "bg": mean["bg"].byte(), "bg_fg": mean["bg_fg"].byte()}


def halved_in_format(q):
    return anew(smaller()(q))


def halved_by_interpolate(q):
    def to(x, **how):
        return F.interpolate(x[None].float(), scale_factor=0.5, **how)[0]

    smooth = dict(mode="bilinear", align_corners=False, antialias=True)
    out = {key: to(q[key], **smooth).round().clamp(0, 255).byte() for key in ("bg", "bg_fg")}
    return {**q, **out, "mask": to(q["mask"], **smooth).clamp(0, 1), "depth": to(q["depth"], mode="nearest-exact"),
            "valid": to(q["valid"], mode="nearest-exact") > 0}  # fmt: skip


def halved_in_numpy(q):
    q = {key: value.numpy() for key, value in q.items()}
    mean = {key: q[key].astype(float).reshape(-1, 32, 2, 32, 2).mean((2, 4)) for key in ("bg", "bg_fg", "mask")}
    return {**q, "bg": mean["bg"].astype(np.uint8), "bg_fg": mean["bg_fg"].astype(np.uint8),
            "mask": mean["mask"].astype(np.float32), "depth": q["depth"][:, ::2, ::2], "valid": q["valid"][:, ::2, ::2]}  # fmt: skip


def careful_valid(x):
    """Valid where all four are."""
    return -F.max_pool2d(-x.float(), 2) > 0


def aligned_by_phase(bg, bg_fg):
    """Phase correlation (Kuglin and Hines, 1975)."""
    a, b = (torch.fft.fft2(x.float().mean(1)) for x in (bg, bg_fg))
    cross = a.conj() * b
    peak = torch.fft.ifft2(cross / cross.abs().clamp_min(1e-9)).real.flatten(1).argmax(1)
    width = bg.shape[-1]
    return torch.stack([one.roll((int(p) // width, int(p) % width), (1, 2)) for one, p in zip(bg, peak)])


def aligned_by_correlation(bg, bg_fg):
    def centred(x):
        x = x.float().mean(1)
        return x - x.mean((1, 2), keepdim=True)

    spectrum = torch.fft.rfft2(centred(bg)).conj() * torch.fft.rfft2(centred(bg_fg))
    found = torch.fft.irfft2(spectrum).flatten(1).argmax(1).tolist()
    return torch.stack([one.roll(divmod(p, bg.shape[-1]), (1, 2)) for one, p in zip(bg, found)])


def aligned_in_loops(bg, bg_fg):
    out = bg.clone()
    for i, (one, goal) in enumerate(zip(bg.float(), bg_fg.float())):
        best = None
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                moved = one.roll((dy, dx), (-2, -1))
                cost = (moved - goal).abs().sum().item()
                if best is None or cost < best:
                    best, out[i] = cost, moved.byte()
    return out


wrong(
    "2.1",
    (flipped(("bg", "bg_fg")), "✗ 2.1: mask and depth and valid stayed behind"),
    (flipped(("bg", "bg_fg", "mask")), "✗ 2.1: depth and valid stayed behind"),
    (flipped(("bg_fg", "mask", "depth", "valid")), "bg stayed behind"),
    (flipped(ALL, -2), "stands on its head"),
    (flipped(ALL, (-1, -2)), "stands on its head *and* is mirrored"),
    (lambda q: {**q, **{key: q[key].transpose(-1, -2) for key in ALL}}, "differs from what is right"),
    (flipped(ALL, near_far=lambda x: x.flip(0)), "near_far has changed"),
    (lambda q: q, "bg and bg_fg and mask and depth and valid stayed behind"),
    (lambda q: {"bg_fg": q["bg_fg"].flip(-1)}, "hand on what you do not change"),
    (lambda q: {**q, **{key: q[key].float().flip(-1) for key in ALL}}, "the data format wants torch.uint8"),
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
    (lit(lambda x, f: (x.float() * 1.6).clamp(0, 255).byte()), "multiply by factor"),
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
    (smaller(depth="mix"), "never a mean"),
    (smaller(mask="pick"), "'mask' is sampled, not averaged"),
    (smaller(bg="pick"), "'bg' is sampled, not averaged"),
    (smaller(valid="mix"), "'valid' is torch.float32"),
    (smaller(valid=lambda x: torch.ones_like(x[..., ::2, ::2])), "whose depth was not known"),
    (smaller(depth=lambda x: x[..., ::2, ::2]), "whose depth was not known"),
    (lambda q: {**smaller()(q), "near_far": 2 * q["near_far"]}, "near_far has changed"),
    (lambda q: {**q, **{key: window(q[key], 0, 0, 32) for key in ALL}}, "You cut a part out"),
    (smaller(valid=lambda x: torch.zeros_like(x[..., ::2, ::2])), "Far fewer pixels are valid"),
    (smaller(valid=lambda x: F.max_pool2d(x.float(), 2) > 0), "whose depth was not known"),
    (smaller(mask=lambda x: (F.avg_pool2d(x, 2) > 0.5).float()), "'mask' is 0 or 1"),
    (smaller(depth=lambda x: F.interpolate(x[None], scale_factor=0.5, mode="bilinear", antialias=True)[0]), "never a mean"),
    (smaller(bg=lambda x: F.avg_pool2d(x.float(), 2).flip(-1).byte()), "differs from the mean"),
)
wrong(
    "2.5",
    (lambda bg, bg_fg: bg, "has not moved"),
    (lambda bg, bg_fg: bg.roll((1, 1), (2, 3)), "not the best shift"),
    (shifted(least, lambda moved, bg_fg: (moved - bg_fg).abs().float()), "Floats first"),
    (shifted(lambda cost: cost.mean((2, 3, 4)).sum(1).argmin().expand(4)), "not over the batch"),
    (lambda bg, bg_fg: bg_fg, "This is the picture with the cat"),
    (shifted(lambda cost: cost.mean((1, 2, 3, 4)).argmin()), "not over the batch"),
    (shifted(lambda cost: cost.mean((2, 3, 4)).argmax(0)), "not the most"),
    (shifted(least, lambda moved, bg_fg: (moved - bg_fg).float()), "Floats first"),
    (shifted(least, lambda moved, bg_fg: moved.float() - bg_fg.float()), "abs"),
    (lambda bg, bg_fg: bg[:1], "it should be (4, 3, 64, 64)"),
)

wrong(
    "2.6",
    (hide(lambda q: q), "scale it anew"),
    (hide(lambda q: {**q, "depth": anew(q)["depth"]}), "near_far is not that"),
    (hide(lambda q: {**anew(q), "depth": 1 - anew(q)["depth"]}), "another distance in metres"),
    (hide(keys=("bg", "bg_fg")), "still valid"),
    (hide(keys=("bg", "bg_fg", "valid")), "The mask still shows a cat"),
    (hide(keys=("bg_fg", "mask", "valid")), "Nothing in 'bg' has become black"),
    (hide(apart=True), "a square of its own"),
    (hide(fill=127), "Nothing in 'bg' has become black"),
    (hide(place=lambda places, generator: (3, 5)), "the same square"),
    (hide(place=lambda places, generator: np.random.randint(0, places, 2)), "two different squares"),
    (hide(place=lambda places, generator: torch.randint(places, (1,), generator=generator).expand(2)), "not independent"),
    (hide(place=lambda places, generator: torch.randint(places - 1, (2,), generator=generator)), "never began in row 14"),
    (hide(place=lambda places, generator: 1 + torch.randint(places - 1, (2,), generator=generator)), "never began in row 0"),
    (hide(place=lambda places, generator: torch.randint(places + 12, (2,), generator=generator)), "a square of 50 is expected"),
    (hide(place=lambda places, generator: (torch.rand(2, generator=generator) * 64 - 25).round().clamp(0, places - 1).int()),
     "far more often than others"),
    (lambda q, side, generator: hide()(q, side + 1, generator), "a square of 50 is expected"),
    (lambda q, side, generator: hide()(q, 50, generator), "a square of 21 is expected"),
    (hide_in_place, "has changed: work on copies"),
    (lambda q, side, generator: {**hide()(q, side, generator), "mask": q["mask"] * 0}, "'mask' has changed outside"),
    (lambda q, side, generator: q, "Nothing in 'bg' has become black"),
)

right(
    "2.1",
    flipped(ALL),
    flip_in_loops,
    flip_in_place,
    lambda q: {**q, **{key: torch.fliplr(q[key].transpose(1, 2)).transpose(1, 2) for key in ALL}},
    lambda q: {**q, **{key: q[key][..., torch.arange(q[key].shape[-1] - 1, -1, -1)] for key in ALL}},
    lambda q: {**q, **{key: q[key].numpy()[..., ::-1] for key in ALL}},
)

right(
    "2.2",
    lit(lambda x, factor: np.clip(x.numpy() * factor, 0, 255).astype(np.uint8)),
    lit(lambda x, factor: (x * factor).round().clamp(0, 255).byte()),
    lit(lambda x, factor: (x / 255 * factor).clamp(0, 1).mul(255).round().to(torch.uint8)),
    lit(lambda x, factor: torch.minimum(x.float() * factor, torch.tensor(255.0)).to(x.dtype)),
    light_by_table,
    light_in_place,
)

right("2.3", crop(anew), crop(in_metres), crop_in_place, crop_by_index, crop_in_numpy, crop_relative, crop_with_loops)

right(
    "2.4",
    smaller(depth=lambda x: x[..., ::2, 1::2], valid=lambda x: x[..., ::2, 1::2]),
    smaller(depth=lambda x: F.max_pool2d(x, 2), valid=lambda x: F.max_pool2d(x.float(), 2) > 0),
    smaller(valid=careful_valid),
    halved_by_reshape,
    halved_in_format,
    halved_by_interpolate,
    halved_in_numpy,
)

right(
    "2.5",
    aligned_in_numpy,
    aligned_by_phase,
    aligned_by_correlation,
    aligned_in_loops,
    shifted(least, lambda moved, bg_fg: (moved.float() - bg_fg.float()) ** 2),
    shifted(least, lambda moved, bg_fg: (moved.int() - bg_fg.int()).abs().clamp(max=40).float()),
)

right("2.6", hide(), hide(in_metres), hide_by_multiplying, hide_with_loops, hide_in_numpy, by_padding)
