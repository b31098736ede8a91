"""Answers to the exercises of notebook 07: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
from answers import answers_of

from helpers.photos.segment_cat import align

RIGHT, WRONG, right, wrong = answers_of()


def relit(gain, finish=lambda x: x.round().clip(0, 255).astype(np.uint8)):
    return lambda room, scene: finish(room * gain(scene / np.maximum(room, 1.0)))


def median(ratio):
    return np.median(ratio, axis=(0, 1))


def over(weigh, mix=lambda w, cat, room: w * cat + (1 - w) * room, finish=lambda x: x.round().astype(np.uint8)):
    return lambda rgba, room: finish(mix(weigh(rgba[..., 3:] / 255), rgba[..., :3], room))


def curve(finish):
    return lambda disparity, ratio: finish(1 / (1 / ratio + (1 - 1 / ratio) * disparity), ratio)


def differs(room, scene, low=0.005, high=1 / 3, laid=True):
    picture = align(room, scene).room if laid else room
    return low < (np.abs(scene.astype(float) - picture).max(-1) > 30).mean() < high


def having(word, names):
    return [name for name in names if word in name]


def careful(test):
    def usable(room, scene):
        try:
            return test(room, scene)
        except ValueError:
            return False

    return usable


wrong(
    "7.1",
    (relit(np.median), "one gain for all colours"),
    (relit(lambda ratio: ratio.mean((0, 1))), "The mean gives the cat"),
    (relit(lambda ratio: 1 / median(ratio)), "The gain is upside down"),
    (relit(lambda ratio: ratio), "Each pixel got a gain of its own"),
    (relit(median, lambda x: x.astype(int).astype(np.uint8)), "has wrapped around to black"),
    (relit(median, lambda x: x.clip(0, 255)), "a picture is uint8"),
    (lambda room, scene: room, "Nothing has changed"),
)
wrong(
    "7.2",
    (over(lambda w: 255 * w, finish=lambda x: x), "divide it by 255"),
    (over(lambda w: 1 - w), "Upside down"),
    (over(lambda w: w > 0.5, lambda w, cat, room: np.where(w, cat, room)), "the outline has steps"),
    (over(lambda w: w, lambda w, cat, room: w * cat + room, lambda x: x.clip(0, 255)), "shines through the cat"),
    (over(lambda w: w, lambda w, cat, room: w * cat), "it is black"),
    (over(lambda w: w, finish=lambda x: x), "a picture is uint8"),
)
wrong(
    "7.3",
    (lambda disparity, ratio: 1 - disparity, "crowds the middle of the room"),
    (lambda disparity, ratio: disparity, "0 must be the nearest"),
    (curve(lambda distance, ratio: distance), "in units of the nearest"),
    (curve(lambda distance, ratio: distance - 1), "did not divide"),
    (curve(lambda distance, ratio: 1 - (distance - 1) / (ratio - 1)), "0 must be the nearest"),
    (curve(lambda distance, ratio: 1 / distance), "still a disparity"),
)
wrong(
    "7.4",
    (lambda names: (names[12:], names[:12]), "9 of 9 scenes are in both sets"),
    (lambda names: (names[3:], names[:3]), "Hold out whole scenes"),
    (lambda names: (having("_0001_", names), having("_0002_", names)), "12 pictures are in neither"),
    (lambda names: (names, []), "test is empty"),
    (lambda names: (["kitchen_0001"], names), "is no name of the list"),
    (lambda names: (having("kitchen", names), having("room", names) + having("study", names)), "24 of 36 pictures"),
)
wrong(
    "7.5",
    (lambda room, scene: True, "It accepts the same picture twice"),
    (careful(lambda room, scene: differs(room, scene, high=1)), "It accepts two different rooms"),
    (careful(lambda room, scene: differs(room, scene, low=-1)), "It accepts the same picture twice"),
    (careful(lambda room, scene: differs(room, scene, laid=False)), "It refuses a good pair"),
    (careful(lambda room, scene: differs(room, scene, low=0.02, high=0.45, laid=False)), "It "),
    (differs, "Catch that, and return False"),
    (lambda room, scene: room == scene, "it should be one number"),
)
