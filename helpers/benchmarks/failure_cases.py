"""A quartet with what a network says of it, and what the causes of its errors have in common.

A cause is a rule on the quartet and the prediction: :mod:`helpers.benchmarks.failure_masks` holds those for masks,
:mod:`helpers.benchmarks.failure_depths` those for depth maps. Here are what they look at, how the best one is taken, and the
geometry that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import ndimage

SIDE = 64  # pixels for which a width of 1 px is meant; at 192 px it is 3
HEADINGS = {"mask": "Worst masks", "depth": "Worst depth maps"}  # of the two tasks


@dataclass(frozen=True)
class Facts:
    """What one has to know of the whole set to call a cat small or a room unusual.

    Attributes:
        small: a tenth of the cats takes at most this share of its picture.
        faint: a tenth of the cats differs, in the median of its pixels, at most so much (of 255) from the room behind.
        faint_pixel: the same for single pixels of cats.
        mean_depth: (H, W) mean true depth at each place.
        unusual: a tenth of the rooms is at least so far (RMSE) from ``mean_depth``.
    """

    small: float
    faint: float
    faint_pixel: float
    mean_depth: np.ndarray
    unusual: float


@dataclass
class Case:
    """A quartet with what the network says of it, as planes (H, W), and the cause of its error."""

    index: int
    room: int
    cat: int
    bg: np.ndarray  # (3, H, W) uint8, like bg_fg
    bg_fg: np.ndarray
    mask: np.ndarray
    prob: np.ndarray
    depth: np.ndarray
    predicted: np.ndarray  # depth
    valid: np.ndarray  # bool
    task: str = ""  # "mask" or "depth": the error that the rest explains
    shares: dict[str, float] = field(default_factory=dict)  # of the wrong pixels, or of the squared error, by cause
    cause: str = ""  # the one with the largest share
    title: str = ""  # that cause in words
    sentence: str = ""

    @property
    def truth(self) -> np.ndarray:
        return self.mask > 0.5

    @property
    def found(self) -> np.ndarray:
        return self.prob > 0.5

    @property
    def missed(self) -> np.ndarray:
        return self.truth & ~self.found

    @property
    def extra(self) -> np.ndarray:
        return ~self.truth & self.found

    @property
    def wrong(self) -> np.ndarray:
        return self.truth ^ self.found

    @property
    def difference(self) -> np.ndarray:
        """(H, W) how much the two photographs differ, 0 to 255, in the channel that differs most."""
        return np.abs(self.bg_fg.astype(int) - self.bg).max(0)

    @property
    def contrast(self) -> float:
        """How much the cat differs from the room behind it: the median over its pixels; NaN without a cat."""
        return median(self.difference[self.truth])

    @property
    def error(self) -> np.ndarray:
        """(H, W) predicted minus true depth, 0 where it is not known."""
        return np.where(self.valid, self.predicted - self.depth, 0.0)

    @property
    def dice(self) -> float:
        both = self.truth.sum() + self.found.sum()
        return float(1 - self.wrong.sum() / both) if both else 1.0

    @property
    def rmse(self) -> float:
        """Of the depth; NaN where none is known."""
        return float(np.sqrt((self.error**2).sum() / self.valid.sum())) if self.valid.any() else float("nan")

    @property
    def share(self) -> float:
        """What :attr:`cause` explains, 0 to 1."""
        return self.shares[self.cause]

    @property
    def words(self) -> str:
        """Which quartet it is, and the sentence about it."""
        return f"Quartet {self.index}, room {self.room}. {self.sentence}"

    @property
    def width(self) -> int:
        """What is 1 px wide in a picture of 64 px, in pixels of this one."""
        return max(1, round(max(self.mask.shape) / SIDE))

    def distance(self, depth: np.ndarray) -> float:
        """RMSE between the true depth and another map (H, W); NaN where no depth is known."""
        return float(np.sqrt(np.square(self.depth - depth)[self.valid].mean())) if self.valid.any() else float("nan")


class Cause(NamedTuple):
    """A rule, the heading of its group, and the end of the sentence with places for its numbers."""

    rule: Callable
    title: str
    words: str


def settle(case: Case, task: str, shares: Mapping[str, float], causes: Mapping[str, Cause]) -> str:
    """Give ``case`` the cause with the largest share, the first of equals; returns the words of that cause."""
    case.task = task
    case.shares = {name: float(share) for name, share in shares.items()}
    case.cause = max(case.shares, key=case.shares.get)
    case.title = causes[case.cause].title
    return causes[case.cause].words


def groups(cases: Sequence[Case], task: str) -> dict[str, list[Case]]:
    """The cases of one task by the title of their cause: the largest group first, then in the order of the rules; the
    worst case first."""
    mine = [case for case in cases if case.task == task]
    found = {name: [case for case in mine if case.cause == name] for name in (mine[0].shares if mine else ())}
    return {group[0].title: group for group in sorted(found.values(), key=len, reverse=True) if group}


# -- geometry -----------------------------------------------------------------------------------------------------


def median(values: np.ndarray) -> float:
    """NaN of nothing, without a warning."""
    return float(np.median(values)) if values.size else float("nan")


def grown(where: np.ndarray, radius: int) -> np.ndarray:
    """``where`` (H, W) and all within ``radius`` pixels of it, in a square."""
    return ndimage.maximum_filter(where, 2 * radius + 1, mode="constant")


def shrunk(where: np.ndarray, radius: int) -> np.ndarray:
    """``where`` (H, W) without what is within ``radius`` pixels of its outside; what leaves the picture goes on there."""
    return ndimage.minimum_filter(where, 2 * radius + 1, mode="nearest")


PLACES = (
    ("at the upper left", "at the top", "at the upper right"),
    ("at the left", "in the middle", "at the right"),
    ("at the lower left", "at the bottom", "at the lower right"),
)


def place(where: np.ndarray) -> str:
    """In which of nine fields of ``where`` (H, W) the middle of what it marks lies: "at the upper left"."""
    rows, columns = (3 * (centre + 0.5) / side for centre, side in zip(ndimage.center_of_mass(where), where.shape))
    return PLACES[min(2, int(rows))][min(2, int(columns))]
