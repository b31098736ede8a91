"""Cases made by hand for the rules of :mod:`helpers.benchmarks.failure_causes`."""

import numpy as np

from helpers.benchmarks.failure_causes import Case

SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
RAMP = 1 - ROWS / (SIZE - 1)  # the floor in front is near, the wall above it is far
CAT = (slice(24, 48), slice(20, 44))


def block(rows, columns):
    where = np.zeros((SIZE, SIZE), bool)
    where[rows, columns] = True
    return where


def make(target=None, found=None, depth=RAMP, predicted=None, valid=None, room=120, cat=200, painted=(), faint=0.0):
    """A case: grey room, a cat as a lighter block, all predicted right unless the test says otherwise.

    ``painted`` are pairs of a place (H, W) and the value that ``bg_fg`` has there, for all channels or (3, 1).
    """
    target = block(*CAT) if target is None else target
    bg = np.full((3, SIZE, SIZE), room, np.uint8)
    bg_fg = np.where(target, cat, bg).astype(np.uint8)
    for where, value in painted:
        bg_fg[:, where] = value
    return Case(
        7, 3, bg, bg_fg, target.astype(float), (target if found is None else found).astype(float), depth,
        depth if predicted is None else predicted, np.ones((SIZE, SIZE), bool) if valid is None else valid, faint,
    )  # fmt: skip


def half_right(batch):
    """The prediction of a network: a mask that misses the left half, and a depth that is a little wrong."""
    mask = batch["mask"].clone()
    mask[..., : mask.shape[-1] // 2] = 0
    return mask, 0.7 * batch["depth"] + 0.2 * batch["depth"] ** 2
