"""Cases made by hand for the rules of :mod:`helpers.benchmarks.failure_masks` and :mod:`helpers.benchmarks.failure_depths`."""

import numpy as np

from helpers.benchmarks.failure_cases import Case, Facts

SIDE = 64
# No cat is small or faint and no room unusual, unless a test says so.
FACTS = Facts(small=0.0, faint=0.0, faint_pixel=0.0, mean_depth=np.full((SIDE, SIDE), 0.5), unusual=9.0)
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
RAMP = 1 - ROWS / (SIDE - 1)  # the floor in front is near, the wall above it is far
CAT = (slice(24, 48), slice(20, 44))


def changed(**differences):
    return Facts(**{**vars(FACTS), **differences})


def block(rows, columns):
    where = np.zeros((SIDE, SIDE), bool)
    where[rows, columns] = True
    return where


def make(truth=None, found=None, depth=RAMP, predicted=None, valid=None, room=120, cat=200):
    """A case: grey room, a cat as a lighter block, all found as it is unless the test says otherwise."""
    truth = block(*CAT) if truth is None else truth
    bg = np.full((3, SIDE, SIDE), room, np.uint8)
    return Case(
        7, 3, 2, bg, np.where(truth, cat, bg).astype(np.uint8), truth.astype(float),
        (truth if found is None else found).astype(float), depth, depth if predicted is None else predicted,
        np.ones((SIDE, SIDE), bool) if valid is None else valid,
    )  # fmt: skip


def half_right(batch):
    """The answer of a network: a mask that misses the left half, and a depth that is a little wrong."""
    mask = batch["mask"].clone()
    mask[..., : mask.shape[-1] // 2] = 0
    return mask, 0.7 * batch["depth"] + 0.2 * batch["depth"] ** 2
