"""Why a prediction is wrong: each cause is a function, whose docstring is the sentence that the figure shows.

Those for masks mark the wrong pixels that they explain. A pixel counts for the first cause that marks it, so the shares
add up to one: special causes stand before general ones, and the last two take what is left. Those for depth maps give
the share of the squared error that would be gone without the cause; these overlap, as a map that is off as a whole is
also off in its worst region. The cause with the largest share is that of the case, the first of equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

IMAGE_SIZE = 64  # pixels for which a width of 1 px is meant; at 192 px it is 3


@dataclass(frozen=True)
class SetFacts:
    """What one has to know of the whole set to call a cat small or a room unusual."""

    small: float  # share of its image that a tenth of the cats does not exceed
    faint: float  # of 255: a tenth of the cats differs, in the median pixel, at most so much from the room behind
    faint_pixel: float  # the same for single pixels of cats
    mean_depth: np.ndarray  # (H, W)
    unusual: float  # RMSE from ``mean_depth`` that a tenth of the rooms reaches


@dataclass(eq=False)  # arrays have no single truth value
class Case:
    """A quartet with its prediction, as planes (H, W), and the cause of its error."""

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
    task: str = ""  # "mask" or "depth": the error that the cause explains
    cause: str = ""  # the one with the largest share
    shares: dict[str, float] = field(default_factory=dict)  # of the wrong pixels, or of the squared error, by cause

    def __post_init__(self) -> None:
        self.target, self.found = self.mask > 0.5, self.prob > 0.5
        self.missed, self.extra = self.target & ~self.found, self.found & ~self.target
        self.wrong = self.missed | self.extra
        both = self.target.sum() + self.found.sum()
        self.dice = float(1 - self.wrong.sum() / both) if both else 1.0
        self.error = np.where(self.valid, self.predicted - self.depth, 0.0)
        self.rmse = self.distance(self.predicted)
        # Of 255: how much the two photographs differ, in the channel that differs most, and the cat's own median.
        self.difference = np.abs(self.bg_fg.astype(int) - self.bg).max(0)
        self.contrast = _median(self.difference[self.target])
        self.px = max(1, round(max(self.mask.shape) / IMAGE_SIZE))

    def distance(self, depth: np.ndarray) -> float:
        """RMSE between the ground truth and another depth map (H, W); NaN where no depth is known."""
        return float(np.sqrt(np.square(depth - self.depth)[self.valid].mean())) if self.valid.any() else float("nan")

    @property
    def sentence(self) -> str:
        """What :attr:`cause` means."""
        return CAUSES[self.task][self.cause].__doc__

    @property
    def score(self) -> str:
        """Which quartet it is, how wrong, and how much of that the cause explains."""
        share = self.shares[self.cause]
        if self.task == "mask":
            return f"Quartet {self.index}, room {self.room}: Dice {self.dice:.2f}, {share:.0%} of the wrong pixels"
        return f"Quartet {self.index}, room {self.room}: RMSE {self.rmse:.2f}, {share:.0%} of the squared error"


def explain(case: Case, task: str, facts: SetFacts) -> Case:
    """``case`` itself, with the cause of its wrong ``"mask"`` or ``"depth"``.

    Raises:
        ValueError: no pixel of the mask is wrong; no depth is known, or the depth map has no error.
    """
    if not (case.wrong.any() if task == "mask" else case.rmse > 0):
        raise ValueError(f"the {task} of quartet {case.index} has no error that is known: there is nothing to explain")
    left, case.task = case.wrong, task
    for name, rule in CAUSES[task].items():
        share = rule(case, facts)
        if task == "mask":
            left, share = left & ~share, (left & share).sum() / case.wrong.sum()
        case.shares[name] = float(share)
    case.cause = max(case.shares, key=case.shares.get)
    return case


def by_cause(cases: Sequence[Case], task: str) -> list[list[Case]]:
    """The cases of one task in groups of one cause: the largest group first, then in the order of the rules."""
    groups = [[case for case in cases if (case.task, case.cause) == (task, name)] for name in CAUSES[task]]
    return sorted(filter(None, groups), key=len, reverse=True)


# -- masks: bool (H, W), the wrong pixels that are explained ----------------------------------------------------------

MISMATCH = 0.5  # the room changes at least half as much as the cat does
SHADOW = 8  # of 255: at least so much darker in every channel; above the noise of a photograph
IN_FRONT = 0.1  # of the depth range: so much nearer than the cat beside it is an object, and no floor any more
OVERLOOKED = 0.1  # at most this share of the cat is found


def pair_differs(case: Case, facts: SetFacts) -> np.ndarray:
    """The room itself differs between the two photographs."""
    around = _median(case.difference[case.mask == 0])
    return case.wrong & bool(around > 0 and around >= MISMATCH * case.contrast)


def camouflage(case: Case, facts: SetFacts) -> np.ndarray:
    """The cat hardly differs from the room behind it."""
    return case.missed & ((case.difference <= facts.faint_pixel) | (case.contrast <= facts.faint))


def shadow(case: Case, facts: SetFacts) -> np.ndarray:
    """A shadow of the cat is taken for cat."""
    darker = (case.bg.astype(int) - case.bg_fg).min(0)
    return case.extra & (case.mask == 0) & (darker >= SHADOW)


def hidden(case: Case, facts: SetFacts) -> np.ndarray:
    """An object in front hides a part of the cat."""
    cat = case.target & case.valid
    nearest = ndimage.minimum_filter(np.where(cat, case.depth, np.inf), 2 * case.px + 1, mode="nearest")
    in_front = (case.mask == 0) & case.valid & np.isfinite(nearest) & (case.depth < nearest - IN_FRONT)
    return case.wrong & _grown(in_front, 2 * case.px)


def overlooked(case: Case, facts: SetFacts) -> np.ndarray:
    """The whole cat is missed."""
    return case.missed & bool(case.missed.sum() >= (1 - OVERLOOKED) * case.target.sum())


def thin_part(case: Case, facts: SetFacts) -> np.ndarray:
    """A thin part, such as tail, legs or ears, is missed."""
    return case.missed & ~_grown(_shrunk(case.target, case.px), case.px)


def cut_by_frame(case: Case, facts: SetFacts) -> np.ndarray:
    """The edge of the image cuts the cat."""
    near = np.zeros_like(case.target)
    for turns in range(4):  # the edge that is on top after so many quarter turns
        if np.rot90(case.target, turns)[0].any():
            np.rot90(near, turns)[: 4 * case.px] = True  # rot90 gives a view
    return case.wrong & near


def small_cat(case: Case, facts: SetFacts) -> np.ndarray:
    """The cat is small, so its outline counts much."""
    return outline(case, facts) & bool(case.target.mean() <= facts.small)


def outline(case: Case, facts: SetFacts) -> np.ndarray:
    """The outline is off by a pixel."""
    line = _grown(case.target, case.px) & ~_shrunk(case.target, case.px)
    return case.wrong & line & ~_grown(case.missed & ~line, case.px)  # a part that is missed keeps its own rim


def part_missing(case: Case, facts: SetFacts) -> np.ndarray:
    """A part of the cat is missed, though it differs from the room."""
    return case.missed


def something_else(case: Case, facts: SetFacts) -> np.ndarray:
    """Something that is no shadow is taken for cat."""
    return case.extra


# -- depth maps: the share of the squared error that would be gone ----------------------------------------------------

SQUEEZED = 0.5  # of the depth range: nine tenths of the pixels share so little of it
FLAT = 0.5  # the predicted depth varies at most half as much as the ground truth
EVERYWHERE = 0.6  # of the RMSE: the median error of a map that is off everywhere; noise has 0.67, one wrong wall less
ALIKE = 0.8  # correlation of two maps of the same shape; a mean map often has as much as 0.6 with any room's
STEP = 0.1  # of the depth range, between neighbours: the edge of an object


def squeezed_scale(case: Case, facts: SetFacts) -> float:
    """A few pixels set the scale: 90 % share half the range."""
    low, high = np.quantile(case.depth[case.valid], (0.05, 0.95))
    return _gain_of_best_line(case) * bool(high - low < SQUEEZED)


def flat(case: Case, facts: SetFacts) -> float:
    """The predicted map is nearly flat."""
    target, predicted = case.depth[case.valid], case.predicted[case.valid]
    share = _share_towards(case, np.full_like(case.depth, target.mean()))
    return share * bool(predicted.std() <= FLAT * target.std())


def unusual_room(case: Case, facts: SetFacts) -> float:
    """The room is unlike the others, the map is like them."""
    return _share_towards(case, facts.mean_depth) * bool(case.distance(facts.mean_depth) >= facts.unusual)


def wrong_scale(case: Case, facts: SetFacts) -> float:
    """The shape is right, the range is wrong."""
    target, predicted = case.depth[case.valid], case.predicted[case.valid]
    covariance = ((predicted - predicted.mean()) * (target - target.mean())).mean()
    is_alike = covariance > 0 and covariance >= ALIKE * predicted.std() * target.std()
    return _gain_of_best_line(case) * bool(is_alike and _is_off_everywhere(case))


def wrong_offset(case: Case, facts: SetFacts) -> float:
    """The whole map is too near or too far."""
    return _gain_of_shift(case, case.valid) * _is_off_everywhere(case)


def wrong_cat(case: Case, facts: SetFacts) -> float:
    """The cat's own depth is wrong."""
    return _gain_of_shift(case, case.target & case.valid)


def object_overlooked(case: Case, facts: SetFacts) -> float:
    """An object that stands out is overlooked."""
    region = _worst_region(case, 1)
    around = _grown(region, case.px) & ~region & case.valid
    inside = ndimage.maximum_filter(np.where(region, case.depth, -np.inf), 2 * case.px + 1, mode="nearest")
    edge = case.depth[around] - inside[around] >= STEP
    stands_out = edge.size and edge.mean() > 0.5 and not region[0].any()  # walls reach the top of the image
    return _gain_of_shift(case, region) * bool(stands_out)


def near_surface(case: Case, facts: SetFacts) -> float:
    """A near surface is taken for a far one."""
    return _gain_of_shift(case, _worst_region(case, 1))


def far_surface(case: Case, facts: SetFacts) -> float:
    """A far surface is taken for a near one."""
    return _gain_of_shift(case, _worst_region(case, -1))


def smeared_edges(case: Case, facts: SetFacts) -> float:
    """Edges of objects are smeared."""
    edge = np.zeros_like(case.valid)
    for turned, depth, valid in ((edge, case.depth, case.valid), (edge.T, case.depth.T, case.valid.T)):  # views
        step = (np.abs(np.diff(depth, axis=0)) >= STEP) & valid[1:] & valid[:-1]
        turned[1:] |= step
        turned[:-1] |= step
    near = _grown(edge, case.px) & case.valid
    area, held = near.sum() / case.valid.sum(), (case.error[near] ** 2).sum() / (case.error**2).sum()
    return max(0.0, (held - area) / (1 - area)) if area < 1 else 0.0  # beyond that of an error the same everywhere


CAUSES = {task: {rule.__name__: rule for rule in rules} for task, rules in {
    "mask": (pair_differs, camouflage, shadow, hidden, overlooked, thin_part, cut_by_frame, small_cat, outline,
             part_missing, something_else),
    "depth": (squeezed_scale, flat, unusual_room, wrong_scale, wrong_offset, wrong_cat, object_overlooked,
              near_surface, far_surface, smeared_edges),
}.items()}  # fmt: skip


def _is_off_everywhere(case: Case) -> bool:
    return _median(np.abs(case.error[case.valid])) >= EVERYWHERE * case.rmse


def _gain_of_best_line(case: Case) -> float:
    """The share of the squared error that the best scale and shift (least squares) take away."""
    target, predicted = case.depth[case.valid], case.predicted[case.valid]
    design = np.stack((predicted, np.ones_like(predicted)), 1)
    best, *_ = np.linalg.lstsq(design, target, rcond=None)
    return 1 - ((design @ best - target) ** 2).sum() / (case.error**2).sum()


def _gain_of_shift(case: Case, region: np.ndarray) -> float:
    """The share of the squared error that one shift of ``region`` takes away."""
    errors = case.error[region]
    return errors.size * errors.mean() ** 2 / (case.error**2).sum() if errors.size else 0.0


def _share_towards(case: Case, other: np.ndarray) -> float:
    """The share of the squared error that the best step away from another map takes away: a squared cosine."""
    error, towards = case.error[case.valid], (other - case.depth)[case.valid]
    product = float(error @ towards)
    return product**2 / (float(towards @ towards) * float(error @ error)) if product > 0 else 0.0


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
