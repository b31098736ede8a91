"""Why a prediction is wrong: each cause is a function, whose docstring is the sentence that the figure shows.

Those for masks mark the wrong pixels that they explain. A pixel counts for the first cause that marks it, so the shares
add up to one: special causes stand before general ones, and the last two take what is left. Those for depth maps give
the share of the squared error that would be gone without the cause; these overlap, as a map that is off as a whole is
also off in its worst region. The cause with the largest share is that of the case, the first of equals.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage


@dataclass(eq=False)  # arrays have no single truth value
class Case:
    """A quartet with its prediction, as planes (H, W), and the cause of its error."""

    index: int
    room: int
    bg: np.ndarray  # (3, H, W) uint8, like bg_fg
    bg_fg: np.ndarray
    mask: np.ndarray
    prob: np.ndarray
    depth: np.ndarray
    predicted: np.ndarray  # depth
    valid: np.ndarray  # bool
    faint: float = 0.0  # of 255: a tenth of all pixels of cats in the set differs at most so much from the room behind
    task: str = ""  # "mask" or "depth": the error that the cause explains
    cause: str = ""  # the one with the largest share
    shares: dict[str, float] = field(default_factory=dict)  # of the wrong pixels, or of the squared error, by cause

    def __post_init__(self) -> None:
        self.target, self.found = self.mask > 0.5, self.prob > 0.5
        self.missed, self.extra = self.target & ~self.found, self.found & ~self.target
        self.wrong = self.missed | self.extra
        self.dice = float(1 - self.wrong.sum() / max(1, self.target.sum() + self.found.sum()))
        self.error = np.where(self.valid, self.predicted - self.depth, 0.0)
        self.rmse = float(np.sqrt(np.square(self.error[self.valid]).mean())) if self.valid.any() else float("nan")
        # Of 255: how much the two photographs differ, in the channel that differs most, and the cat's own median.
        self.difference = np.abs(self.bg_fg.astype(int) - self.bg).max(0)
        self.contrast = _median(self.difference[self.target])
        self.px = max(1, round(max(self.mask.shape) / 64))  # a width of 1 px is meant at 64 px; at 192 px it is 3

    @property
    def words(self) -> str:
        """Which quartet it is, how wrong, how much of that the cause explains, and the cause."""
        wrong = f"Dice {self.dice:.2f}" if self.task == "mask" else f"RMSE {self.rmse:.2f}"
        of = "the wrong pixels" if self.task == "mask" else "the squared error"
        share, sentence = self.shares[self.cause], CAUSES[self.task][self.cause].__doc__
        return f"Quartet {self.index}, room {self.room}: {wrong}, {share:.0%} of {of}:\n{sentence}"


def explain(case: Case, task: str) -> Case:
    """``case`` itself, with the cause of its wrong ``"mask"`` or ``"depth"``; there must be an error to explain."""
    left, case.task = case.wrong, task
    for name, rule in CAUSES[task].items():
        share = rule(case)
        if task == "mask":
            left, share = left & ~share, (left & share).sum() / case.wrong.sum()
        case.shares[name] = float(share)
    case.cause = max(case.shares, key=case.shares.get)
    return case


def by_cause(cases: Sequence[Case], task: str) -> list[Case]:
    """The cases of one task, those of one cause together: the largest group first, then in the order of the rules."""
    found = [case for case in cases if case.task == task]
    counts, order = Counter(case.cause for case in found), list(CAUSES[task])
    return sorted(found, key=lambda case: (-counts[case.cause], order.index(case.cause)))


# Of masks: bool (H, W), the wrong pixels that are explained.
def pair_differs(case: Case) -> np.ndarray:
    """The room itself differs between the two photographs."""
    around = _median(case.difference[case.mask == 0])
    return case.wrong & bool(around > 0 and around >= 0.5 * case.contrast)  # half as much as the cat does


def camouflage(case: Case) -> np.ndarray:
    """The cat hardly differs from the room behind it."""
    return case.missed & (case.difference <= case.faint)


def shadow(case: Case) -> np.ndarray:
    """A shadow of the cat is taken for cat."""
    darker = (case.bg.astype(int) - case.bg_fg).min(0)
    return case.extra & (case.mask == 0) & (darker >= 8)  # of 255, in every channel: above the noise of a photograph


def overlooked(case: Case) -> np.ndarray:
    """The whole cat is missed."""
    return case.missed & bool(case.missed.sum() >= 0.9 * case.target.sum())


def thin_part(case: Case) -> np.ndarray:
    """A thin part, such as tail, legs or ears, is missed."""
    return case.missed & ~_grown(_shrunk(case.target, case.px), case.px)


def cut_by_frame(case: Case) -> np.ndarray:
    """The edge of the image cuts the cat."""
    near = np.zeros_like(case.target)
    for turns in range(4):  # the edge that is on top after so many quarter turns
        if np.rot90(case.target, turns)[0].any():
            np.rot90(near, turns)[: 4 * case.px] = True  # rot90 gives a view
    return case.wrong & near


def outline(case: Case) -> np.ndarray:
    """The outline is off by a pixel."""
    line = _grown(case.target, case.px) & ~_shrunk(case.target, case.px)
    return case.wrong & line & ~_grown(case.missed & ~line, case.px)  # a part that is missed keeps its own rim


def part_missing(case: Case) -> np.ndarray:
    """A part of the cat is missed, though it differs from the room."""
    return case.missed


def something_else(case: Case) -> np.ndarray:
    """Something that is no shadow is taken for cat."""
    return case.extra


# Of depth maps: the share of the squared error that would be gone.
def flat(case: Case) -> float:
    """The predicted map is nearly flat."""
    target, predicted = case.depth[case.valid], case.predicted[case.valid]
    if not target.std() or predicted.std() > 0.5 * target.std():
        return 0.0
    error, towards = predicted - target, target.mean() - target
    return (error @ towards) ** 2 / ((towards @ towards) * (error @ error))  # what a step away from a flat map gains


def wrong_scale(case: Case) -> float:
    """The shape is right, the range is wrong."""
    target, predicted = case.depth[case.valid], case.predicted[case.valid]
    if not _is_off_everywhere(case) or not target.std() or not predicted.std():
        return 0.0
    alike = np.corrcoef(target, predicted)[0, 1]  # a mean map often has as much as 0.6 with any room's
    best_line = (1 - alike**2) * target.size * target.var()  # its squared error: what scale and shift cannot take away
    return (1 - best_line / (case.error**2).sum()) * bool(alike >= 0.8)


def wrong_offset(case: Case) -> float:
    """The whole map is too near or too far."""
    return _gain_of_shift(case, case.valid) * _is_off_everywhere(case)


def wrong_cat(case: Case) -> float:
    """The cat's own depth is wrong."""
    return _gain_of_shift(case, case.target & case.valid)


def near_surface(case: Case) -> float:
    """A near surface is taken for a far one."""
    return _gain_of_shift(case, _worst_region(case, 1))


def far_surface(case: Case) -> float:
    """A far surface is taken for a near one."""
    return _gain_of_shift(case, _worst_region(case, -1))


def smeared_edges(case: Case) -> float:
    """Edges of objects are smeared."""
    edge = np.zeros_like(case.valid)
    for turned, depth, valid in ((edge, case.depth, case.valid), (edge.T, case.depth.T, case.valid.T)):  # views
        step = (np.abs(np.diff(depth, axis=0)) >= 0.1) & valid[1:] & valid[:-1]  # the edge of an object
        turned[1:] |= step
        turned[:-1] |= step
    near = _grown(edge, case.px) & case.valid
    area, held = near.sum() / case.valid.sum(), (case.error[near] ** 2).sum() / (case.error**2).sum()
    return max(0.0, (held - area) / (1 - area)) if area < 1 else 0.0  # beyond that of an error the same everywhere


CAUSES = {task: {rule.__name__: rule for rule in rules} for task, rules in {
    "mask": (pair_differs, camouflage, shadow, overlooked, thin_part, cut_by_frame, outline, part_missing,
             something_else),
    "depth": (flat, wrong_scale, wrong_offset, wrong_cat, near_surface, far_surface, smeared_edges),
}.items()}  # fmt: skip


def _is_off_everywhere(case: Case) -> bool:
    """Whether the median error is near the RMSE: noise has 0.67 of it, one wrong wall less."""
    return _median(np.abs(case.error[case.valid])) >= 0.6 * case.rmse


def _gain_of_shift(case: Case, region: np.ndarray) -> float:
    """The share of the squared error that one shift of ``region`` takes away."""
    errors = case.error[region]
    return errors.size * errors.mean() ** 2 / (case.error**2).sum() if errors.size else 0.0


def _worst_region(case: Case, sign: int) -> np.ndarray:
    """Of the regions that are too far (``sign`` 1) or too near (-1) by more than the RMSE, the one with most error."""
    labels, count = ndimage.label(sign * case.error > case.rmse)
    regions = (labels == number for number in range(1, count + 1))
    return max(regions, key=lambda region: _gain_of_shift(case, region), default=np.zeros_like(case.valid))


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")  # without numpy's warning


def _grown(where: np.ndarray, radius: int) -> np.ndarray:
    """``where`` (H, W) and all within ``radius`` pixels of it, in a square."""
    return ndimage.maximum_filter(where, 2 * radius + 1, mode="constant")


def _shrunk(where: np.ndarray, radius: int) -> np.ndarray:
    """``where`` (H, W) without what is within ``radius`` pixels of its outside; beyond the image it continues."""
    return ndimage.minimum_filter(where, 2 * radius + 1, mode="nearest")
