"""Exercises of notebook 01: photographs as bytes, relative depth, metres, and a split that does not leak."""

from itertools import combinations

import numpy as np
import torch

from helpers.dataset import Subset
from helpers.exercises.checker import NotYet, Wrong, exercise, has_blank
from helpers.exercises.compare import Either, as_array, expect, one_quartet, quartets
from helpers.rendering import RoomsDataset


@exercise(
    "1.1",
    "Bytes know no negative numbers: 3 - 5 is 254. Turn both photographs into floats first.",
    "The axes are (batch, colour, height, width): the largest difference over the colours is .amax(1).",
)
def difference_of_two_pictures(difference):
    batch = quartets()
    bg, bg_fg = batch["bg"], batch["bg_fg"]
    signed = bg_fg.float() - bg.float()
    exact = torch.maximum(signed, -signed)
    right = torch.linalg.vector_norm(signed, float("inf"), 1)
    bytes_wrap = Either(((bg_fg - bg).amax(1), (bg - bg_fg).amax(1)))
    mistakes = {
        "Bytes wrap around: 3 - 5 is 254. Turn both photographs into floats before you subtract.": bytes_wrap,
        "Without abs a dark cat vanishes, or a bright one.": Either((signed.amax(1), (-signed).amax(1))),
        "You take the mean over the colours: one colour counts a third then. Take the largest.": exact.mean(1),
        "You take the largest over another axis; the colours are axis 1.": Either(exact.amax(k) for k in (0, 2, 3)),
        "The differences run from 0 to 1 here; leave them in steps of 255.": right / 255,
    }
    expect(difference(bg.clone(), bg_fg.clone()), right, mistakes, "the difference")
    cat = batch["mask"][:, 0] > 0.5
    return f"Its median is {right[cat].median():.0f} of 255 on the cats and {right[~cat].median():.0f} beside them."


@exercise(
    "1.2",
    "The least of all pixels must not be one whose depth is unknown: put something there that can never be the least.",
    'float("inf") is never the least, float("-inf") never the largest. The range is what lies between near and far.',
)
def depth_of_each_picture(relative_depth):
    batch = quartets()
    valid = batch["valid"]
    near, far = batch["near_far"].view(-1, 2, 1, 1, 1).unbind(1)
    metres = torch.where(valid, near + batch["depth"] * (far - near), 0.0)

    def scaled(low, width):
        return torch.where(valid, (metres - low) / width, 0.0)

    mistakes = {
        "The ends are of the whole batch: amin and amax over (1, 2, 3).": scaled(near.min(), far.max() - near.min()),
        "Upside down: 0 must be the nearest, 1 the farthest.": scaled(far, near - far),
        "This is metres / far: keep invalid pixels, stored as 0, out of amin, and take near away.": scaled(0.0, far),
        "After near has been taken away, the largest is far - near, not far: divide by that.": scaled(near, far),
        "Everything becomes 0: for the largest, fill invalid pixels with *minus* infinity.": torch.zeros_like(metres),
    }
    got = relative_depth(metres.clone(), valid.clone())
    if as_array(got, "the depth").shape == metres.shape:
        got = torch.where(valid, torch.as_tensor(as_array(got)), 0.0)  # what is not valid may be anything
    expect(got, scaled(near, far - near), mistakes, "the depth")
    return "Each picture has its own 0 and its own 1, whatever is stored where depth is unknown."


@exercise(
    "1.3",
    "near, far = quartet['near_far'], and depth 0 is near, depth 1 is far: a straight line between the two.",
    "Select pixels that are cat (mask above 0.5) *and* valid, with &.",
)
def distance_of_the_cat(cat_distance):
    quartet = one_quartet()
    cat = quartet["mask"] > 0.5
    rows = cat[0].any(1).nonzero().flatten()
    quartet["valid"][:, : rows[len(rows) // 2]] = False
    if (cat & quartet["valid"]).sum() % 2 == 0:  # of an even number torch and NumPy take different medians
        quartet["valid"][tuple((cat & quartet["valid"]).nonzero()[0])] = False
    quartet["depth"] = torch.where(quartet["valid"], quartet["depth"], 0.0)
    depth, seen = quartet["depth"], cat & quartet["valid"]
    near, far = quartet["near_far"]
    metres = torch.lerp(near, far, depth)
    right = metres[seen].quantile(0.5)
    mistakes = {
        "This is relative depth, between 0 and 1. near_far turns it into metres.": depth[seen].median(),
        "near + depth * far gives near + far at depth 1. Use far - near.": (near + depth * far)[seen].median(),
        "Upside down: depth 0 is near, depth 1 is far.": (far + depth * (near - far))[seen].median(),
        "Cat of unknown depth, stored as 0, takes part. Select cat *and* valid.": metres[cat].median(),
        "This is the distance of the whole picture. Select the cat.": metres[quartet["valid"]].median(),
        "This is the mean: at the outline it includes the wall. The median is asked for.": metres[seen].mean(),
    }
    expect(cat_distance(quartet), right, mistakes, "the distance")
    return f"This cat is {right:.2f} m away, in a room that reaches from {near:.2f} to {far:.2f} m."


@exercise(
    "1.4",
    "np.isin(a, b) tells for every element of a whether it is somewhere in b.",
    "One of the two is enough for a leak. The mean of bools is a share.",
)
def how_much_leaks(leak):
    dataset = RoomsDataset(64, rooms=6, cats=8, placements=2)
    rooms, cats = dataset.scenes()
    train = Subset(dataset, np.flatnonzero((rooms < 5) & (cats < 3)))
    test = Subset(dataset, np.flatnonzero((rooms >= 3) & (cats >= 2)))
    honest = Subset(dataset, np.flatnonzero((rooms >= 5) & (cats >= 3)))
    room, cat = (np.isin(of_test, of_train) for of_test, of_train in zip(test.scenes(), train.scenes()))
    right = 1 - (~room & ~cat).mean()
    mistakes = {
        "You look at rooms alone. A cat that was trained on is a leak, too.": room.mean(),
        "You look at cats alone. A room that was trained on is a leak, too.": cat.mean(),
        "You count quartets whose room *and* cat are known. One is enough: |, not &.": (room & cat).mean(),
        "Exactly one of the two is known in what you count. Both known leak, too: |, not ^.": (room != cat).mean(),
        "This is the number of test quartets; a share is asked for.": right * len(test),
        "A share lies between 0 and 1; this one is in percent.": 100 * right,
    }
    expect(leak(train, test), right, mistakes, "the share")
    expect(leak(train, honest), 0.0, {}, "the share for an honest test")
    return f"Here {right:.0%} of the test quartets leak, and none with rooms and cats held out."


@exercise(
    "1.5",
    "Deal out the rooms, and the cats, like cards: each of them goes to one part only.",
    "np.isin(rooms, some) tells which quartets show one of some rooms. "
    "A quartet is in a part if its room *and* its cat are.",
)
def an_honest_split(honest_split):
    dataset = RoomsDataset(64, rooms=12, cats=10, placements=2)
    order = np.random.default_rng(0).permutation(len(dataset))
    rooms, cats = (ids[order] for ids in dataset.scenes())
    count = len(rooms)
    returned = honest_split(rooms.copy(), cats.copy())
    if has_blank(returned):
        raise NotYet
    if not isinstance(returned, (tuple, list, np.ndarray)) or len(returned) != 3:
        raise Wrong("Three parts are expected: return training, validation, test.")
    parts = {name: _indices(part, name, count) for name, part in zip(("training", "validation", "test"), returned)}
    for (one, first), (other, second) in combinations(parts.items(), 2):
        if both := len(np.intersect1d(first, second)):
            raise Wrong(f"{both} quartets are both in the {one} set and in the {other} set.")
        for kind, ids in (("room", rooms), ("cat", cats)):
            leaks = np.isin(ids[second], ids[first])
            if leaks.any():
                raise Wrong(
                    f"{leaks.mean():.0%} of the {other} set show a {kind} of the {one} set. A quartet that pairs a "
                    "room of one part with a cat of another belongs to no part."
                )
    for name, part in parts.items():
        least, what = (0.15, "fewer") if name == "training" else (0.02, "more")
        if len(part) < least * count:
            share = f"{len(part) / count:.1%} of all quartets"
            raise Wrong(f"No leak, but only {share} are in the {name} set: hold out {what}.")
    train, validation, test = map(len, parts.values())
    unused = count - train - validation - test
    return f"{train} of {count} quartets train, {validation} validate, {test} test, {unused} are unused."


def _indices(part: object, name: str, count: int) -> np.ndarray:
    array = as_array(part, name)
    if np.asarray(part).dtype == bool and array.shape == (count,):
        array = np.flatnonzero(array)
    if not array.size:
        raise Wrong(f"The {name} set is empty.")
    if array.ndim != 1 or (array < 0).any() or (array >= count).any() or (array % 1).any():
        raise Wrong(f"The {name} set must be a list of quartet indices, from 0 to {count - 1}.")
    return np.unique(array).astype(int)
