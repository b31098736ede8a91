"""Answers to the exercises of notebook 07: right ones in different styles, and wrong ones with words of their diagnosis."""

import random

import cv2
import numpy as np
import torch
from answers import answers_of
from PIL import Image
from scipy import ndimage, stats

from helpers.config import CourseError
from helpers.photos.pseudo_depth import depth_from_disparity
from helpers.photos.register import align
from helpers.photos.segment_cat import cut_out

RIGHT, WRONG, right, wrong = answers_of()


# -- 7.1 ----------------------------------------------------------------------------------------------------------


def relit(gain, finish=lambda x: x.round().clip(0, 255).astype(np.uint8)):
    return lambda room, scene: finish(room * gain(scene / np.maximum(room, 1.0)))


def median(ratio):
    return np.median(ratio, axis=(0, 1))


def in_torch(room, scene):
    room, scene = torch.from_numpy(room).float(), torch.from_numpy(scene).float()
    gain = (scene / room.clamp_min(1)).flatten(0, 1).median(0).values
    return (room * gain).round().clamp(0, 255).to(torch.uint8)


def in_loops(room, scene):
    out = np.empty_like(room)
    for colour in range(3):
        dark, bright = room[..., colour].ravel().tolist(), scene[..., colour].ravel().tolist()
        ratios = sorted(b / max(a, 1) for a, b in zip(dark, bright))
        gain = ratios[len(ratios) // 2]
        out[..., colour] = np.reshape([min(255, round(a * gain)) for a in dark], room.shape[:2])
    return out


def where_they_agree(room, scene):
    """Least squares, again and again over the pixels that agree best."""
    out = []
    for a, b in zip(room.reshape(-1, 3).T.astype(float), scene.reshape(-1, 3).T.astype(float)):
        gain = np.median(b) / np.median(a)
        for _ in range(5):
            error = np.abs(gain * a - b)
            best = error <= np.quantile(error, 0.6)
            gain = (a[best] @ b[best]) / (a[best] @ a[best])
        out.append(gain)
    return cv2.convertScaleAbs(room * np.array(out))


right(
    "7.1",
    in_torch,
    in_loops,
    where_they_agree,
    relit(median, lambda x: np.minimum(x, 255).astype(np.uint8)),
    relit(lambda ratio: stats.trim_mean(ratio.reshape(-1, 3), 0.25)),
    relit(lambda ratio: [np.percentile(ratio[..., c], 50) for c in range(3)]),
)
wrong(
    "7.1",
    (relit(np.median), "one gain for all colours"),
    (relit(np.mean), "one gain for all colours"),
    (relit(lambda ratio: np.median(ratio, axis=0)), "a gain of its own: one for the whole picture"),
    (relit(lambda ratio: np.median(ratio, axis=1, keepdims=True)), "a gain of its own: one for the whole picture"),
    (relit(lambda ratio: ratio.mean((0, 1))), "A mean lets the cat"),
    (lambda room, scene: relit(lambda _: scene.mean((0, 1)) / room.mean((0, 1)))(room, scene), "A mean lets the cat"),
    (lambda room, scene: relit(lambda _: median(scene) / median(room))(room, scene), "divide pixel by pixel first"),
    (relit(lambda ratio: 1 / median(ratio)), "The gain is upside down"),
    (relit(lambda ratio: ratio), "Each pixel got a gain of its own"),
    (relit(median, lambda x: x.astype(int).astype(np.uint8)), "has wrapped around to black"),
    (relit(median, lambda x: x.clip(0, 255)), "a picture is uint8"),
    (relit(median, lambda x: torch.from_numpy(x.clip(0, 255))), "float64: a picture is uint8"),
    (lambda room, scene: room, "Nothing has changed"),
    (lambda room, scene: scene, "Each pixel got a gain of its own"),
    (relit(lambda ratio: 1.05 * median(ratio)), "differs from what is right"),
    (lambda room, scene: None, "does the function end with return"),
)


# -- 7.2 ----------------------------------------------------------------------------------------------------------


def over(weigh, mix=lambda w, cat, room: w * cat + (1 - w) * room, finish=lambda x: x.round().astype(np.uint8)):
    return lambda rgba, room: finish(mix(weigh(rgba[..., 3:] / 255), rgba[..., :3], room))


def over_with_pillow(rgba, room):
    below = Image.fromarray(room).convert("RGBA")
    return np.asarray(Image.alpha_composite(below, Image.fromarray(rgba)).convert("RGB"))


def pasted(rgba, room):
    below, cat = Image.fromarray(room), Image.fromarray(rgba)
    below.paste(cat.convert("RGB"), mask=cat.getchannel("A"))
    return np.asarray(below)


def lerped(rgba, room):
    cat = torch.from_numpy(rgba).float()
    return torch.lerp(torch.from_numpy(room).float(), cat[..., :3], cat[..., 3:] / 255).round().to(torch.uint8)


def pixel_by_pixel(rgba, room):
    out = room.copy()
    for y, x in np.argwhere(rgba[..., 3] > 0):
        weight = int(rgba[y, x, 3])
        out[y, x] = [(weight * int(c) + (255 - weight) * int(r)) // 255 for c, r in zip(rgba[y, x, :3], room[y, x])]
    return out


right(
    "7.2",
    over_with_pillow,
    pasted,
    lerped,
    pixel_by_pixel,
    over(lambda w: w, finish=lambda x: x.astype(np.uint8)),
    lambda rgba, room: cv2.convertScaleAbs(room + (rgba[..., :3] - room.astype(float)) * (rgba[..., 3:] / 255)),
    lambda rgba, room: np.einsum(
        "khw,khwc->hwc", np.stack((rgba[..., 3], 255 - rgba[..., 3])) / 255, np.stack((rgba[..., :3], room))
    ).round().astype(np.uint8),
)
wrong(
    "7.2",
    (over(lambda w: 255 * w, finish=lambda x: x), "divide it by 255"),
    (over(lambda w: 1 - w), "Upside down"),
    (over(lambda w: w > 0.5, lambda w, cat, room: np.where(w, cat, room)), "the outline has steps"),
    (over(lambda w: w, lambda w, cat, room: w * cat + room, lambda x: x.clip(0, 255)), "shines through the cat"),
    (over(lambda w: w, lambda w, cat, room: w * cat + room, lambda x: x.astype(int).astype(np.uint8)), "shines through"),
    (over(lambda w: w, lambda w, cat, room: w * cat), "it is black"),
    (over(lambda w: w, finish=lambda x: x), "a picture is uint8"),
    (lambda rgba, room: room, "Nothing of the cat is there"),
    (lambda rgba, room: over_with_pillow(rgba, room)[..., 0], "it should be (64, 64, 3)"),
)


# -- 7.3 ----------------------------------------------------------------------------------------------------------


def differs(room, scene, low=0.005, high=1 / 3, laid=True, least=30):
    picture = align(room, scene).room if laid else room
    return low < (np.abs(scene.astype(float) - picture).max(-1) > least).mean() < high


def careful(test):
    def usable(room, scene):
        try:
            return test(room, scene)
        except ValueError:
            return False

    return usable


def that_can_be_cut(room, scene):
    try:
        cut_out(room, scene)
    except CourseError:
        return False
    return True


def largest_piece(room, scene):
    if room.shape != scene.shape:
        return False
    try:
        aligned = align(room, scene)
    except CourseError:
        return False
    changed = ndimage.median_filter(np.abs(scene.astype(int) - aligned.room).max(-1) > 25, 3)
    pieces, count = ndimage.label(changed)
    return bool(count) and 0.004 < np.bincount(pieces.ravel())[1:].max() / pieces.size < 0.3


def shifted_by_search(room, scene):
    """An alignment of one's own: the whole shift that fits best, after the exposure is matched."""
    if room.shape != scene.shape:
        return False
    room, scene = (torch.from_numpy(picture).float() for picture in (room, scene))
    room = room * ((scene + 1) / (room + 1)).flatten(0, 1).median(0).values
    rolled = [torch.roll(room, (y, x), (0, 1)) for y in range(-5, 6) for x in range(-5, 6)]
    left = torch.stack([(scene - one).abs().amax(-1) for one in rolled])[:, 6:-6, 6:-6]
    best = left[left.clamp_max(50).flatten(1).mean(1).argmin()]
    return 0.005 < (best > 40).float().mean() < 0.3


def by_correlation(room, scene):
    if room.shape != scene.shape:
        return False
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (room, scene)]
    (x, y), _ = cv2.phaseCorrelate(*grey)
    moved = np.roll(grey[0], (round(y), round(x)), (0, 1))
    moved *= np.median(grey[1] / np.maximum(moved, 1))
    share = (np.abs(grey[1] - moved) > 30)[6:-6, 6:-6].mean()
    return bool(0.005 <= share <= 0.3)


def matched_light(room, scene):
    if room.shape != scene.shape:
        return False
    return room * np.median(scene / np.maximum(room, 1.0), axis=(0, 1))


right(
    "7.3",
    that_can_be_cut,
    largest_piece,
    shifted_by_search,
    by_correlation,
    careful(differs),
    careful(lambda room, scene: differs(room, scene, low=0.01, high=0.5, least=20)),
    careful(lambda room, scene: differs(room, scene, high=1)),  # align refuses two rooms itself
)
wrong(
    "7.3",
    (lambda room, scene: True, "It accepts the same picture twice"),
    (lambda room, scene: False, "It refuses a good pair"),
    (lambda room, scene: room.shape == scene.shape, "It accepts the same picture twice"),
    (careful(lambda room, scene: differs(room, scene, low=-1)), "It accepts the same picture twice"),
    (careful(lambda room, scene: align(room, scene).shift > 0), "It "),
    (differs, "Catch that, and return False"),
    (lambda room, scene: room == scene, "it should be one number"),
    *(  # without an alignment, whatever the bounds
        (careful(lambda room, scene, a=low, b=high, t=least: differs(room, scene, a, b, False, t)), "It ")
        for least in (8, 20, 40, 90)
        for low, high in ((0.005, 1 / 3), (0.001, 0.99), (0.02, 0.6))
    ),
    *(  # the exposure matched, but nothing moved
        (
            careful(lambda room, scene, t=least, b=high: 0.005 < (np.abs(scene - matched_light(room, scene)).max(-1) > t).mean() < b),
            "It ",
        )
        for least, high in ((15, 0.5), (30, 0.9), (60, 0.2))
    ),
)


# -- 7.4 ----------------------------------------------------------------------------------------------------------


def having(word, names):
    return [name for name in names if word in name]


def by_a_loop(names):
    train, test, seen = [], [], {}
    for name in names:
        scene = "_".join(name.split("_")[:-1])
        seen.setdefault(scene, len(seen))
        (test if seen[scene] < 2 else train).append(name)
    return train, test


def at_random(names):
    scenes = sorted({name[:-5] for name in names})
    chosen = random.Random(3).sample(scenes, 3)
    return [n for n in names if n[:-5] not in chosen], [n for n in names if n[:-5] in chosen]


def with_numpy(names):
    names = np.array(names)
    _, number = np.unique([name.rsplit("_", 1)[0] for name in names], return_inverse=True)
    return names[number % 4 != 0], names[number % 4 == 0]


right(
    "7.4",
    by_a_loop,
    at_random,
    with_numpy,
    lambda names: ([n for n in names if not n.startswith("study")], having("study", names)),  # coarser is right, too
    lambda names: tuple(map(list, (filter(lambda n: "_0002_" not in n, names), filter(lambda n: "_0002_" in n, names)))),
    lambda names: [set(names) - set(having("kitchen_0003", names)), having("kitchen_0003", names)],
)
wrong(
    "7.4",
    (lambda names: (names[12:], names[:12]), "9 of 9 scenes are in both sets"),
    (lambda names: (names[3:], names[:3]), "Hold out whole scenes"),
    (lambda names: (names[::2], names[1::2]), "Hold out whole scenes"),
    (lambda names: (having("_0001_", names), having("_0002_", names)), "12 pictures are in neither"),
    (lambda names: (names, []), "test is empty"),
    (lambda names: (["kitchen_0001"], names), "is no name of the list"),
    (lambda names: (having("kitchen", names), having("room", names) + having("study", names)), "24 of 36 pictures"),
    (lambda names: (having("kitchen", names) * 2 + having("room", names), having("study", names)), "more than once"),
    (lambda names: names, "Two values are expected"),
)


# -- 7.5 ----------------------------------------------------------------------------------------------------------


def curve(finish):
    return lambda disparity, ratio: finish(1 / (1 / ratio + (1 - 1 / ratio) * disparity), ratio)


def stretched(disparity, ratio):
    distance = ratio / (1 + disparity * (ratio - 1))
    return (distance - distance.min()) / np.ptp(distance)


def depth_in_torch(disparity, ratio):
    return torch.lerp(torch.tensor(1 / ratio).double(), torch.tensor(1.0).double(), torch.from_numpy(disparity)).reciprocal().sub(1) / (
        ratio - 1
    )


right(
    "7.5",
    stretched,
    depth_in_torch,
    lambda disparity, ratio: (1 - disparity) / (1 + (ratio - 1) * disparity),
    lambda disparity, ratio: [[(1 - d) / (1 + (ratio - 1) * d) for d in row] for row in disparity.tolist()],
    lambda disparity, ratio: np.interp(
        disparity, *(lambda d: ((1 / d - 1 / ratio) / (1 - 1 / ratio), (d - 1) / (ratio - 1)))(np.linspace(ratio, 1, 4000))
    ),
    lambda disparity, ratio: (depth_from_disparity(disparity, ratio) - 1) / (ratio - 1),
)
wrong(
    "7.5",
    (lambda disparity, ratio: 1 - disparity, "crowds the middle of the room"),
    (lambda disparity, ratio: disparity, "0 must be the nearest"),
    (curve(lambda distance, ratio: distance), "in units of the nearest"),
    (curve(lambda distance, ratio: distance - 1), "did not divide"),
    (curve(lambda distance, ratio: 1 - (distance - 1) / (ratio - 1)), "0 must be the nearest"),
    (curve(lambda distance, ratio: 1 / distance), "still a disparity"),
    (curve(lambda distance, ratio: distance / ratio), "take 1 from it first"),
    (lambda disparity, ratio: stretched(disparity, 4.0), "differs from what is right"),
    (lambda disparity, ratio: stretched(disparity, 5.0), "differs from what is right"),
    (lambda disparity, ratio: stretched(disparity, ratio).mean(), "it should be"),
)
