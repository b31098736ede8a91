"""Random photographs in pairs, for tests of networks, pairs as a hand takes them, and when two answers are the same."""

import cv2
import numpy as np
import torch

from helpers.demos.scenes import example_scenes

MARGIN = 8  # pixels of a scene that a moved camera may show instead of others


def pair(count=2, height=32, width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, count, 3, height, width), generator=generator, dtype=torch.uint8).unbind()


def assert_alike(got, wanted):
    """Equal up to rounding, relative to the values: a new network's logits are small."""
    assert wanted.norm() > 0 and (got - wanted).norm() < 1e-3 * wanted.norm()


def handheld(number, shift, turn, scale, gain):
    """Of an example scene: the room in another light from a camera that moved, the scene, its mask, (112, 112) each.

    Args:
        shift: of the things in the picture, (x, y) as shares of its side.
        turn: degrees, counter-clockwise.
        scale: how many times as large they are.
        gain: how many times as bright.
    """
    scenes = example_scenes()
    room, scene, mask = (scenes[name][number].permute(1, 2, 0).numpy() for name in ("bg", "bg_fg", "mask"))
    side = len(room)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), turn, scale)
    matrix[:, 2] += np.array(shift) * (side - 2 * MARGIN)
    room = cv2.warpAffine(room, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    room = (room * gain + np.random.default_rng(number).normal(0, 2, room.shape)).round().clip(0, 255).astype(np.uint8)
    return [picture[MARGIN:-MARGIN, MARGIN:-MARGIN].copy() for picture in (room, scene, mask[..., 0])]
