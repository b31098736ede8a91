"""Synthetic phone pairs, their ground truth known: rendered rooms as a phone held by hand would take them."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from helpers.config import profile
from helpers.dataset import Subset, sample, split
from helpers.rendering.dataset import RoomsDataset

TURN, MOVE, EXPOSURE, NOISE = 0.5, 0.012, 0.12, 2.0  # degrees, share of the width, share of the light, of 255
AREA = (0.05, 0.2)  # share of the picture that the cat takes


class PhonePair(NamedTuple):
    """Two files, and the ground truth of the second."""

    room: Path
    scene: Path
    mask: np.ndarray  # (H, W) float32 in [0, 1]
    metres: np.ndarray  # (H, W) float32: the distance of everything in the scene


def handheld(picture: np.ndarray, seed: int) -> np.ndarray:
    """A second photograph (H, W, 3) uint8 from nearly the same place: moved, turned, in another exposure, noisy."""
    rng = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-TURN, TURN), 1 + rng.uniform(-MOVE, MOVE))
    matrix[:, 2] += rng.choice([-1, 1], 2) * rng.uniform(0.4, 1, 2) * MOVE * max(height, width)
    moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    gains = 1 + rng.choice([-1, 1]) * EXPOSURE * rng.uniform(0.5, 1) + rng.uniform(-0.02, 0.02, 3)
    noisy = moved * gains + rng.normal(0, NOISE, moved.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def phone_pairs(folder: str | Path, count: int = 3, size: int = 512) -> list[PhonePair]:
    """Write ``count`` pairs, ``room_1.jpg`` and ``cat_1.jpg`` and so on, from the test set of the profile's rooms.

    They are ``size`` pixels wide and three quarters as high.
    """
    folder, p = Path(folder), profile()
    folder.mkdir(parents=True, exist_ok=True)
    test = split(RoomsDataset(64, p.rooms, p.cats, p.placements))[1]
    large, rng, pairs = test.at_size(size), np.random.default_rng(0), []
    for number, index in enumerate(_good_ones(test, count), 1):
        quartet, top = large[index], size // 4  # the lower three quarters, where cats are
        room, scene = (quartet[key].permute(1, 2, 0).numpy()[top:] for key in ("bg", "bg_fg"))
        mask, depth = (quartet[key][0].numpy()[top:] for key in ("mask", "depth"))
        near, far = quartet["near_far"].tolist()
        names = folder / f"room_{number}.jpg", folder / f"cat_{number}.jpg"
        noisy = (scene + rng.normal(0, NOISE, scene.shape)).round().clip(0, 255).astype(np.uint8)
        for path, picture in zip(names, (handheld(room, number), noisy)):
            Image.fromarray(picture).save(path, quality=92)
        pairs.append(PhonePair(*names, mask, near + depth * (far - near)))
    return pairs


def _good_ones(test: Subset, count: int) -> list[int]:
    """Scenes of different rooms and cats, with a whole cat of middling size; others where there are too few."""
    good, others, seen = [], [], set()
    for index in sample(test, 60).indices.tolist():
        mask, scene = test[index]["mask"][0, 16:], {("room", test.room_of(index)), ("cat", test.cat_of(index))}
        whole = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum() == 0
        if whole and AREA[0] <= mask.mean() <= AREA[1] and not scene & seen:
            good.append(index)
            seen |= scene
        elif mask.mean() > AREA[0] / 5:
            others.append(index)
        if len(good) == count:
            break
    return (good + others)[:count]
