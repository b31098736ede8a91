"""Exercises of notebook 07: light, cut-outs, pairs that can be used, scenes, and disparity."""

from collections import Counter

import numpy as np
import torch
from PIL import Image

from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, expect, pair_of, quartets, rendered, shaped

GAIN = np.array([1.35, 0.8, 1.1])  # by which the scene of 7.1 is brighter than the room


def _bytes(got: object) -> None:
    """A picture that is right must consist of bytes, too."""
    if (kind := str(getattr(got, "dtype", type(got).__name__)).removeprefix("torch.")) != "uint8":
        raise Wrong(f"The values are right, but of the type {kind}: a picture is uint8.")


@exercise(
    "7.1",
    "One gain for each colour: over rows and columns, axis (0, 1), not over colours.",
    "The cat covers a part of the picture only. Which middle does not mind a minority, mean or median?",
    "Bytes end at 255: round, cut off what is above, and only then go back to uint8.",
)
def in_the_same_light(in_the_light_of):
    batch = quartets()
    room = batch["bg"][2].permute(1, 2, 0).numpy()
    scene = (batch["bg_fg"][2].permute(1, 2, 0).numpy() * GAIN).clip(0, 255).astype(np.uint8)
    scene[20:23] = scene[:, 20:23] = 40  # what came into the picture may fill a whole row, or a column
    got = in_the_light_of(room.copy(), scene.copy())
    right = _lit(room, GAIN)
    values = shaped(got, right.shape, "the room")
    far = np.abs(values - right) > 0.01 * right + 1.01  # 1 %, rounded or cut off
    if far.any():
        if (right[far] > 250).all() and (values[far] < 100).all():
            raise Wrong("White has wrapped around to black: clip to 255 before you go back to bytes.")
        middles = [np.median(picture.reshape(-1, 3), 0) for picture in (scene, room)]
        sums = [picture.reshape(-1, 3).sum(0, dtype=float) for picture in (scene, room)]
        each = scene / np.maximum(room, 1.0)
        mistakes = {
            "Each row or column got a gain of its own: one for the whole picture, axis=(0, 1).": Either(
                [_lit(room, np.median(each, axis, keepdims=kept)) for axis, kept in ((0, True), (1, True), (1, False))]
            ),
            "You use one gain for all colours: each colour needs its own.": Either(
                [_lit(room, middle) for middle in (np.median(each), each.mean())]
            ),
            "A mean lets the cat, and a few very dark pixels, pull at the gain. Take the median.": Either(
                [_lit(room, each.mean((0, 1))), _lit(room, sums[0] / sums[1])]
            ),
            "The middle of the scene is that of another pixel than the room's, because of the cat: divide pixel by "
            "pixel first.": _lit(room, middles[0] / middles[1]),
            "The gain is upside down: it takes the scene into the room's light. scene / room.": _lit(room, 1 / GAIN),
            "Each pixel got a gain of its own: the room has become the scene, cat and all.": scene,
            "Nothing has changed.": room,
        }
        expect(got, right, mistakes, "the room", within=2.51)
    _bytes(got)
    return f"Gains {', '.join(f'{value:.2f}' for value in GAIN)} for red, green and blue, whatever the cat."


def _lit(room: np.ndarray, gain: np.ndarray | float) -> np.ndarray:
    return (room * gain).round().clip(0, 255)


@exercise(
    "7.2",
    "Alpha is stored from 0 to 255; as a weight it must run from 0 to 1.",
    "The cat's colour counts with its weight, the room's with what is missing to 1.",
    "Multiply in floating point, where bytes cannot overflow, and round at the end.",
)
def laid_over(composed):
    batch = quartets()
    cat, room = (batch[key][i].permute(1, 2, 0).numpy() for key, i in (("bg_fg", 2), ("bg", 0)))
    alpha = (batch["mask"][2, 0].numpy() * 255).round().astype(np.uint8)

    def paste(upper: np.ndarray, lower: np.ndarray, weight: np.ndarray) -> np.ndarray:
        upper, lower = (Image.fromarray(picture) for picture in (upper, lower))
        return np.asarray(Image.composite(upper, lower, Image.fromarray(weight)), dtype=float)

    nothing = np.zeros_like(room)
    right, black = paste(cat, room, alpha), paste(cat, nothing, alpha)
    unscaled = torch.lerp(*(torch.from_numpy(x).double() for x in (room, cat, alpha[..., None]))).numpy()
    mistakes = {
        "Alpha runs from 0 to 255 here: divide it by 255.": Either((unscaled, unscaled % 256)),
        "Upside down: the room is where the cat should be.": paste(room, cat, alpha),
        "You cut alpha at one half: the outline has steps. Both colours have their share there.": paste(
            cat, room, np.where(alpha >= 128, 255, 0).astype(np.uint8)
        ),
        "The room shines through the cat: weight it with 1 - alpha.": Either(
            (black + room, (black + room).clip(0, 255), (black + room) % 256)
        ),
        "Where there is no cat, it is black: add the room with the weight 1 - alpha.": black,
        "Nothing of the cat is there: its colours are the first three channels.": room,
    }
    got = composed(np.dstack((cat, alpha)), room.copy())
    expect(got, right, mistakes, "the picture", within=1.51)  # rounded somehow
    _bytes(got)
    return f"{((alpha > 0) & (alpha < 255)).mean():.1%} of the pixels are part cat, part room."


@exercise(
    "7.3",
    "align itself refuses views that are too far apart, and pictures of different shape: it raises a CourseError.",
    "Count after align, not before: an empty room whose camera moved differs at more pixels than one with a small cat.",
    "Choose a difference above the noise, and two bounds for the share of the pixels that are above it.",
)
def a_usable_pair(usable):
    batch = rendered(128)  # pixels: enough to align
    rooms, scenes = (batch[key].permute(0, 2, 3, 1).numpy() for key in ("bg", "bg_fg"))
    noise = np.random.default_rng(0)

    def photograph(picture, gain=1.0, move=(0, 0)):
        picture = np.roll(picture, move, (0, 1)) * gain + noise.normal(0, 2, picture.shape)
        return picture.round().clip(0, 255).astype(np.uint8)

    # Of all shares of pixels that differ before the pictures are aligned, with and without the exposure matched, that
    # of an empty room whose camera moved lies between those of two good pairs: no bounds can separate them.
    good = {
        "a good pair with a small cat": (photograph(rooms[1]), photograph(scenes[1])),
        "a good pair whose camera moved by a few pixels": (photograph(rooms[2], 1, (2, -3)), photograph(scenes[2])),
        "a good pair with another exposure": (photograph(rooms[3], 0.85, (1, 1)), photograph(scenes[3])),
        "a good pair with both": (photograph(rooms[0], 0.9, (-3, 3)), photograph(scenes[0])),
    }
    bad = {
        "the same picture twice": (scenes[0].copy(), scenes[0].copy()),
        "two pictures of the empty room": (photograph(rooms[2]), photograph(rooms[2])),
        "two pictures of the empty room whose camera moved": (photograph(rooms[0], 1, (0, 2)), photograph(rooms[0])),
        "two pictures of the empty room, moved and in other light":
            (photograph(rooms[1], 0.93, (1, 2)), photograph(rooms[1])),
        "two different rooms": (photograph(rooms[0]), photograph(scenes[1])),
        "portrait and landscape": (photograph(rooms[0])[:, :96], photograph(scenes[0])[:96]),
    }
    for name, pair in {**good, **bad}.items():
        try:
            accepted = shaped(usable(*(picture.copy() for picture in pair)), (), f"For {name} the result")
        except ValueError as error:  # a CourseError is one, too
            raise Wrong(f"For {name} it stops: {str(error).splitlines()[0]} Catch that, and return False.") from None
        if bool(accepted) != (name in good):
            raise Wrong(f"It {'accepts' if accepted else 'refuses'} {name}.")
    return f"{len(good)} good pairs pass, {len(bad)} bad ones do not."


@exercise(
    "7.4",
    "The scene is the name without the number of the frame: rpartition splits a name at its last \"_\".",
    "Choose some of the distinct scenes, then sort the names by whether their scene was chosen.",
)
def whole_scenes(split_by_scene):
    scenes = [f"{kind}_{k:04d}" for kind in ("kitchen", "living_room", "study") for k in (1, 2, 3)]
    names = [f"{scene}_{frame:04d}" for frame in (7, 41, 88, 130) for scene in scenes]
    train, test = (list(part) for part in pair_of(split_by_scene(list(names)), "train, test"))
    if strange := [name for name in train + test if name not in names]:
        raise Wrong(f"{strange[0]!r} is no name of the list: hand on names, not scenes or numbers.")
    if not train or not test:
        raise Wrong(f"{'test' if train else 'train'} is empty.")
    of = {name: name.rpartition("_")[0] for name in names}
    if leaks := {of[name] for name in train} & {of[name] for name in test}:
        raise Wrong(f"{len(leaks)} of {len(scenes)} scenes are in both sets ({min(leaks)}). Hold out whole scenes.")
    if lost := set(names) - set(train) - set(test):
        raise Wrong(f"{len(lost)} pictures are in neither part.")
    if twice := [name for name, count in Counter(train + test).items() if count > 1]:
        raise Wrong(f"{twice[0]!r} is there more than once: use every name once.")
    if not 0.1 <= len(test) / len(names) <= 0.5:
        raise Wrong(f"{len(test)} of {len(names)} pictures are in the test set; take between a tenth and a half.")
    return f"{len(set(map(of.get, train)))} scenes train, {len(set(map(of.get, test)))} test, and none is in both sets."


@exercise(
    "7.5",
    "In units of the nearest distance: 1 / distance is 1 at the nearest point and 1 / far_over_near at the farthest.",
    "Between the two, 1 / distance is a straight line in disparity. Depth runs from 0 to 1, in step with distance.",
)
def depth_of_a_disparity(depth_of):
    batch = quartets()
    for number, ratio in ((0, 5.0), (3, 2.5)):
        # The other way round: from the depth that is expected to the disparity that belongs to it.
        right = batch["depth"][number, 0, 32:].numpy().astype(float)
        right = (right - right.min()) / np.ptp(right)
        distance = np.interp(right, [0, 1], [1, ratio])
        inverse = 1 / distance
        disparity = (inverse - inverse.min()) / np.ptp(inverse)
        mistakes = {
            "1 - disparity crowds the middle of the room towards its end. Invert it: 1 / distance.": 1 - disparity,
            "Upside down: 0 must be the nearest.": Either((disparity, 1 - right)),
            f"This is the distance in units of the nearest, from 1 to {ratio:g}; depth runs from 0 to 1.": distance,
            "You took 1 from the distance, but did not divide by far_over_near - 1: depth ends at 1.": distance - 1,
            "This is 1 / distance, still a disparity: invert it.": inverse,
            f"The distance is divided by {ratio:g}, but the nearest point is not at 0: take 1 from it first.":
                distance / ratio,
        }
        expect(depth_of(disparity.copy(), ratio), right, mistakes, "the depth", within=0.005)
    middle = disparity.flat[np.abs(right - 0.5).argmin()]
    place = f"Half-way between near and far, at {ratio:g} times the distance"
    return f"{place}, disparity has already fallen to {middle:.2f}."
