"""Exercises of notebook 07: light, cut-outs, disparity, scenes, and pairs that can be used."""

import numpy as np

from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, expect, pair_of, quartets, rendered, shaped


def _compare(got: object, right: np.ndarray, mistakes: dict[str, object], what: str) -> None:
    """:func:`expect` for a picture, which must consist of bytes."""
    expect(shaped(got, right.shape, what), right, mistakes, what, within=1.51)  # rounded or cut off, both are fine
    if (dtype := np.asarray(got).dtype) != np.uint8:
        raise Wrong(f"The values are right, but of the type {dtype}: a picture is uint8.")


@exercise(
    "7.1",
    "One gain for each colour: over rows and columns, axis (0, 1), not over colours.",
    "The cat covers a part of the picture only. Which middle does not mind a minority, mean or median?",
)
def in_the_same_light(in_the_light_of):
    batch = quartets()
    room = batch["bg"][2].permute(1, 2, 0).numpy()
    scene = (batch["bg_fg"][2].permute(1, 2, 0).numpy() * np.array([1.35, 0.8, 1.1])).clip(0, 255).astype(np.uint8)
    ratio = scene / np.maximum(room, 1.0)

    def lit(gain):
        return (room * gain).round().clip(0, 255)

    gain = np.median(ratio, axis=(0, 1))
    mistakes = {
        "You use one gain for all colours. Take the median over axis=(0, 1) alone.": lit(np.median(ratio)),
        "The mean gives the cat, and a few very dark pixels, an influence. Take the median.": lit(ratio.mean((0, 1))),
        "The gain is upside down: it takes the scene into the room's light. scene / room.": lit(1 / gain),
        "Each pixel got a gain of its own: the room has become the scene, cat and all.": Either((scene, lit(ratio))),
        "White has wrapped around to black: clip to 255 before you go back to bytes.": (room * gain).astype(int) % 256,
        "Nothing has changed.": room,
    }
    _compare(in_the_light_of(room.copy(), scene.copy()), lit(gain), mistakes, "the room")
    return f"Gains {', '.join(f'{value:.2f}' for value in gain)} for red, green and blue, whatever the cat."


@exercise(
    "7.2",
    "Alpha is stored from 0 to 255; as a weight it must run from 0 to 1.",
    "The cat's colour counts with its weight, the room's with what is missing to 1.",
)
def laid_over(composed):
    batch = quartets()
    cat, room = (batch[key][i].permute(1, 2, 0).numpy() for key, i in (("bg_fg", 2), ("bg", 0)))
    alpha = (batch["mask"][2].permute(1, 2, 0).numpy() * 255).round()
    weight = alpha / 255
    added = weight * cat + room

    def mix(weight):
        return (weight * cat + (1 - weight) * room).round()

    mistakes = {
        "Alpha runs from 0 to 255 here: divide it by 255.": Either((mix(alpha), mix(alpha) % 256)),
        "Upside down: the room is where the cat should be.": mix(1 - weight),
        "You cut alpha at one half: the outline has steps. Both colours have their share there.": mix(weight > 0.5),
        "The room shines through the cat: weight it with 1 - alpha.": Either((added, added.clip(0, 255))),
        "Where there is no cat, it is black: add the room with the weight 1 - alpha.": (weight * cat).round(),
    }
    rgba = np.concatenate((cat, alpha.astype(np.uint8)), axis=2)
    _compare(composed(rgba, room.copy()), mix(weight), mistakes, "the picture")
    return f"{((weight > 0) & (weight < 1)).mean():.1%} of the pixels are part cat, part room."


@exercise(
    "7.3",
    "In units of the nearest distance: 1 / distance is 1 at the nearest point and 1 / far_over_near at the farthest.",
    "Between the two, 1 / distance is a straight line in disparity. Depth runs from 0 to 1, in step with distance.",
)
def depth_of_a_disparity(depth_of):
    batch, ratio = quartets(), 5.0
    near, far = batch["near_far"][0].tolist()
    metres = (near + batch["depth"][0, 0].numpy() * (far - near))[32:]
    disparity = (1 / metres - 1 / metres.max()) / (1 / metres.min() - 1 / metres.max())
    distance = 1 / (1 / ratio + (1 - 1 / ratio) * disparity)
    right = (distance - 1) / (ratio - 1)
    mistakes = {
        "1 - disparity crowds the middle of the room towards its end. Invert it: 1 / distance.": 1 - disparity,
        "Upside down: 0 must be the nearest.": Either((disparity, 1 - right)),
        f"This is the distance in units of the nearest, from 1 to {ratio:g}; depth runs from 0 to 1.": distance,
        "From the distance you took 1, but did not divide by far_over_near - 1: depth ends at 1.": distance - 1,
        "This is 1 / distance, still a disparity: invert it.": 1 / distance,
    }
    expect(depth_of(disparity.copy(), ratio), right, mistakes, "the depth")
    middle = disparity.flat[np.abs(right - 0.5).argmin()]
    return f"Half-way between near and far, disparity has already fallen to {middle:.2f}."


@exercise(
    "7.4",
    "The scene is the name without the number of the frame: rpartition splits a name at its last \"_\".",
    "Choose some of the distinct scenes, then sort the names by whether their scene was chosen.",
)
def whole_scenes(split_by_scene):
    scenes = [f"{kind}_{k:04d}" for kind in ("kitchen", "bedroom", "study") for k in (1, 2, 3)]
    names = [f"{scene}_{frame:04d}" for frame in (7, 41, 88, 130) for scene in scenes]
    train, test = (list(part) for part in pair_of(split_by_scene(list(names)), "train, test"))
    if strange := [name for name in train + test if name not in names]:
        raise Wrong(f"{strange[0]!r} is no name of the list: hand on names, not scenes or numbers.")
    if not train or not test:
        raise Wrong(f"{'test' if train else 'train'} is empty.")
    of = {name: name.rpartition("_")[0] for name in names}
    if leaks := {of[name] for name in train} & {of[name] for name in test}:
        raise Wrong(f"{len(leaks)} of {len(scenes)} scenes are in both sets ({min(leaks)}). Hold out whole scenes.")
    if lost := len(names) - len(set(train)) - len(set(test)):
        raise Wrong(f"{lost} pictures are in neither part.")
    if not 0.1 <= len(test) / len(names) <= 0.5:
        raise Wrong(f"{len(test)} of {len(names)} pictures are in the test set; take between a tenth and a half.")
    return f"{len(set(map(of.get, train)))} scenes train, {len(set(map(of.get, test)))} test, and none is in both sets."


@exercise(
    "7.5",
    "align itself refuses views that are too far apart: it raises a CourseError. And after it, how much still differs?",
    "After align, a cat is what differs by more than the noise: say between half a percent and a third of the pixels.",
)
def a_usable_pair(usable):
    batch = rendered(128)  # pixels: enough to align
    rooms, scenes = (batch[key].permute(0, 2, 3, 1).numpy() for key in ("bg", "bg_fg"))
    noise = np.random.default_rng(0)

    def photograph(picture, gain=1.0, move=(0, 0)):
        picture = np.roll(picture, move, (0, 1)) * gain + noise.normal(0, 2, picture.shape)
        return picture.round().clip(0, 255).astype(np.uint8)

    good = {
        "a good pair": (photograph(rooms[0]), photograph(scenes[0])),
        "a good pair whose camera moved by a few pixels": (photograph(rooms[2], 1, (2, -3)), photograph(scenes[2])),
        "a good pair with another exposure": (photograph(rooms[3], 0.85, (1, 1)), photograph(scenes[3])),
    }
    bad = {
        "the same picture twice": (scenes[0].copy(), scenes[0].copy()),
        "two pictures of the empty room": (photograph(rooms[2]), photograph(rooms[2])),
        "two pictures of the empty room whose camera moved": (photograph(rooms[0], 1, (0, 3)), photograph(rooms[0])),
        "two different rooms": (photograph(rooms[0]), photograph(scenes[1])),
        "portrait and landscape": (photograph(rooms[0])[:, :96], photograph(scenes[0])[:96]),
    }
    for name, pair in {**good, **bad}.items():
        try:
            accepted = shaped(usable(*pair), (), f"For {name} the result")
        except ValueError as error:  # a CourseError is one, too
            raise Wrong(f"For {name} it stops: {str(error).splitlines()[0]} Catch that, and return False.") from None
        if bool(accepted) != (name in good):
            raise Wrong(f"It {'accepts' if accepted else 'refuses'} {name}.")
    return f"{len(good)} good pairs pass, {len(bad)} bad ones do not."
