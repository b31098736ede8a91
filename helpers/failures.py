"""Where a network fails: the worst quartets of a test set, each with the cause that explains most of its error.

``python -m helpers.failures`` asks the trained network (or that of ``--run FOLDER``) about every test quartet, takes the
ten worst masks and the ten worst depth maps, and writes ``runs/bench/failures.png`` and ``.json``. No cause is typed by
hand: each is a function below, a rule on the quartet and the prediction. A rule for masks marks the wrong pixels that it
explains, and each wrong pixel counts for the first rule that marks it; a rule for depth says which share of the squared
error would be gone without it. The cause with the largest share wins, the earlier one where two are equal.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from scipy import ndimage
from torch.utils.data import Dataset

from helpers.config import CourseError, data_folder, data_source, profile, runs_dir
from helpers.files import whole_file, write_json
from helpers.plots import (
    DEPTH_COLOURS, ERROR_COLOURS, FALSE_ALARM, MASK_COLOUR, MISSED, TRUE, array, depth_picture, mask_errors, picture,
    plane, quartets_of, styled,
)  # fmt: skip
from helpers.quartets import Quartet, fetch, scenes

Answer = Callable[[Quartet], tuple]

COUNT = 20  # half of them masks, half of them depth maps
BATCH = 50
TENTH = 0.1  # "small", "hardly differs" and "unlike" are the outermost tenth of the set
SHADOW = 8  # of 255: at least so much darker in every channel; above the noise of a photograph
DISTURBED = 0.5  # the room changes at least half as much as the cat does
OVERLOOKED = 0.1  # at most this share of the cat is found
IN_FRONT = 0.1  # of the depth range: so much nearer than the cat beside it is no floor any more, but a thing
STEP = 0.1  # of the depth range, between neighbours: the edge of a thing
SQUEEZED = 0.5  # of the depth range: nine tenths of the pixels share so little of it
FLAT = 0.5  # the predicted depth varies at most half as much as the true one
SPREAD = 0.6  # of the RMSE: the median error of a map that is off everywhere; noise has 0.67, one wrong wall much less
ALIKE = 0.8  # correlation of two maps of the same shape; a mean map often has as much as 0.6 with any room's
SIDE = 64  # pixels for which a width of 1 px is meant; at 192 px it is 3
ERROR_LIMIT = 0.3  # the depth error of the brightest colour


@dataclass(frozen=True)
class Facts:
    """What one has to know of the whole set to call a cat small or a room unusual.

    Attributes:
        small: a tenth of the cats takes at most this share of its picture.
        faint: a tenth of the cats differs, in the median of its pixels, at most so much (of 255) from the room behind.
        faint_pixel: the same for single pixels of cats.
        mean_depth: (H, W) mean true depth at each place; NaN where it is never known.
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
    task: str  # "mask" or "depth"
    bg: np.ndarray  # (3, H, W) uint8, like bg_fg
    bg_fg: np.ndarray
    mask: np.ndarray
    prob: np.ndarray
    depth: np.ndarray
    predicted: np.ndarray  # depth
    valid: np.ndarray  # bool
    cause: str = ""  # a key of MASK_CAUSES or DEPTH_CAUSES
    share: float = 0.0  # of the wrong pixels, or of the squared error, that the cause explains
    sentence: str = ""
    shares: dict[str, float] = field(default_factory=dict)  # of all causes

    @property
    def truth(self) -> np.ndarray:
        return self.mask > 0.5

    @property
    def missed(self) -> np.ndarray:
        return self.truth & ~(self.prob > 0.5)

    @property
    def extra(self) -> np.ndarray:
        return ~self.truth & (self.prob > 0.5)

    @property
    def wrong(self) -> np.ndarray:
        return self.missed | self.extra

    @property
    def difference(self) -> np.ndarray:
        """(H, W) how much the two photographs differ, 0 to 255, in the channel that differs most."""
        return np.abs(self.bg_fg.astype(int) - self.bg).max(0)

    @property
    def error(self) -> np.ndarray:
        """(H, W) predicted minus true depth, 0 where it is not known."""
        return np.where(self.valid, self.predicted - self.depth, 0.0)

    @property
    def dice(self) -> float:
        both = self.truth.sum() + (self.prob > 0.5).sum()
        return float(1 - self.wrong.sum() / both) if both else 1.0

    @property
    def rmse(self) -> float:
        return float(np.sqrt((self.error**2).sum() / self.valid.sum())) if self.valid.any() else float("nan")

    @property
    def width(self) -> int:
        """What is 1 px wide in a picture of 64 px, in pixels of this one."""
        return max(1, round(max(self.mask.shape) / SIDE))

    @property
    def contrast(self) -> float:
        """How much the cat differs from the room behind it: the median over its pixels; NaN without a cat."""
        return _median(self.difference[self.truth])


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _grown(where: np.ndarray, radius: int) -> np.ndarray:
    """``where`` (H, W) and all within ``radius`` pixels of it, in a square."""
    return ndimage.maximum_filter(where, 2 * radius + 1, mode="constant")


def _shrunk(where: np.ndarray, radius: int) -> np.ndarray:
    """``where`` (H, W) without what is within ``radius`` pixels of its outside; what leaves the picture goes on there."""
    return ndimage.minimum_filter(where, 2 * radius + 1, mode="nearest")


# -- causes of wrong masks ----------------------------------------------------------------------------------------
# Each takes a case and the facts of the set, and gives the wrong pixels, bool (H, W), that it explains.


def pair_differs(case: Case, facts: Facts) -> np.ndarray:
    """All, if the room changes half as much between the two photographs as the cat changes it (medians)."""
    around = _median(case.difference[case.mask == 0])
    return case.wrong & bool(around > 0 and around >= DISTURBED * case.contrast)


def camouflage(case: Case, facts: Facts) -> np.ndarray:
    """Missed pixels that hardly differ from the room behind them (a tenth of all cat pixels differs less), or all
    that is missed of a cat that hardly differs (a tenth of all cats)."""
    return case.missed & ((case.difference <= facts.faint_pixel) | (case.contrast <= facts.faint))


def shadow(case: Case, facts: Facts) -> np.ndarray:
    """Room that is taken for cat and is darker with the cat than without, by 8 of 255 in every channel."""
    return case.extra & (case.mask == 0) & ((case.bg.astype(int) - case.bg_fg).min(0) >= SHADOW)


def hidden(case: Case, facts: Facts) -> np.ndarray:
    """Wrong pixels within 2 px of a thing that stands before the cat: it is nearer by a tenth of the depth range."""
    cat = case.truth & case.valid
    beside = ndimage.minimum_filter(np.where(cat, case.depth, np.inf), 2 * case.width + 1, mode="nearest")
    thing = (case.mask == 0) & case.valid & np.isfinite(beside) & (case.depth < beside - IN_FRONT)
    return case.wrong & _grown(thing, 2 * case.width)


def overlooked(case: Case, facts: Facts) -> np.ndarray:
    """All that is missed, if no more than a tenth of the cat is found."""
    return case.missed & bool(case.missed.sum() >= (1 - OVERLOOKED) * case.truth.sum())


def thin_part(case: Case, facts: Facts) -> np.ndarray:
    """Missed pixels of parts of the cat, such as tail, legs and ears, that are at most 2 px wide."""
    return case.missed & ~_grown(_shrunk(case.truth, case.width), case.width)


def cut_by_frame(case: Case, facts: Facts) -> np.ndarray:
    """Wrong pixels within 4 px of a side of the picture that cuts the cat."""
    near = np.zeros_like(case.truth)
    for turns in range(4):  # the side that is on top after so many quarter turns
        if np.rot90(case.truth, turns)[0].any():
            np.rot90(near, turns)[: 4 * case.width] = True  # rot90 gives a view
    return case.wrong & near


def small_cat(case: Case, facts: Facts) -> np.ndarray:
    """Wrong pixels within 1 px of the outline of a small cat: a tenth of all cats takes less of its picture."""
    return outline(case, facts) & bool(case.truth.mean() <= facts.small)


def outline(case: Case, facts: Facts) -> np.ndarray:
    """Wrong pixels within 1 px of the cat's outline; those that border on cat that is missed deeper inside belong to it."""
    line = _grown(case.truth, case.width) & ~_shrunk(case.truth, case.width)
    return case.wrong & line & ~_grown(case.missed & ~line, case.width)


def part_missing(case: Case, facts: Facts) -> np.ndarray:
    """What else is missed."""
    return case.missed


def something_else(case: Case, facts: Facts) -> np.ndarray:
    """What else is taken for cat."""
    return case.extra


# -- causes of wrong depth ----------------------------------------------------------------------------------------
# Each takes a case and the facts of the set, and gives the share, 0 to 1, of the squared error that would be gone
# without it, and the numbers of its sentence.

Finding = tuple[float, dict]


def squeezed_scale(case: Case, facts: Facts) -> Finding:
    """The share that the best scale and shift takes away, if nine tenths of the valid pixels share less than half of the
    depth range: a few that are farther or nearer than all others set its ends, and the network does not know them."""
    low, high = np.quantile(case.depth[case.valid], (0.05, 0.95))
    said_low, said_high = np.quantile(case.predicted[case.valid], (0.05, 0.95))
    share = _best_line(case)[0] * bool(high - low < SQUEEZED)
    return share, {"low": low, "high": high, "said_low": said_low, "said_high": said_high}


def flat(case: Case, facts: Facts) -> Finding:
    """What the error has in common with that of a map of one depth, if the map varies at most half as much as the truth."""
    true, said = case.depth[case.valid].std(), case.predicted[case.valid].std()
    share = _share_along(case, np.full_like(case.depth, case.depth[case.valid].mean()))
    return share * (said <= FLAT * true), {"true": true, "said": said}


def unusual_room(case: Case, facts: Facts) -> Finding:
    """What the error has in common with that of the set's mean map, if at most a tenth of the rooms is
    farther from it."""
    far = _distance(case.depth, case.valid, facts.mean_depth)
    return _share_along(case, facts.mean_depth) * (far >= facts.unusual), {"far": far, "limit": facts.unusual}


def wrong_scale(case: Case, facts: Facts) -> Finding:
    """The share that the best scale and shift takes away, if the map is off everywhere (:data:`SPREAD`) and has the shape
    of the truth: correlation 0.8."""
    share, scale, shift = _best_line(case)
    said, true = case.predicted[case.valid], case.depth[case.valid]
    spread = said.std() * true.std()
    alike = ((said - said.mean()) * (true - true.mean())).mean() / spread if spread > 0 else 0.0
    return share * bool(alike >= ALIKE and _is_off_everywhere(case)), {"scale": scale, "shift": shift, "alike": alike}


def wrong_offset(case: Case, facts: Facts) -> Finding:
    """The share that one shift of the whole map takes away, if the map is off everywhere (:data:`SPREAD`)."""
    share, numbers = _of_region(case, case.valid)
    return share * _is_off_everywhere(case), numbers


def wrong_cat(case: Case, facts: Facts) -> Finding:
    """The share that one shift of the whole cat takes away."""
    return _of_region(case, case.truth & case.valid)


def thing_overlooked(case: Case, facts: Facts) -> Finding:
    """That of :func:`near_surface`, if the region does not reach the top of the picture, as walls do, and more than half of
    its border is the edge of a thing that stands out: there the truth is farther outside by a tenth of the range."""
    region = _worst_region(case)
    around = _grown(region, case.width) & ~region & case.valid
    inside = ndimage.maximum_filter(np.where(region, case.depth, -np.inf), 2 * case.width + 1, mode="nearest")
    edge = case.depth[around] - inside[around] >= STEP
    share, numbers = near_surface(case, facts)
    return share * bool(edge.size and edge.mean() > 0.5 and not region[0].any()), numbers


def near_surface(case: Case, facts: Facts) -> Finding:
    """The share that one shift takes away of the worst connected region, all too far or all too near by more than the
    RMSE, if it is too far."""
    share, numbers = _of_region(case, _worst_region(case))
    return share * bool(numbers["mean"] > 0), numbers


def far_surface(case: Case, facts: Facts) -> Finding:
    """The same, if the region is too near."""
    share, numbers = _of_region(case, _worst_region(case))
    return share * bool(numbers["mean"] < 0), numbers


def smeared_edges(case: Case, facts: Facts) -> Finding:
    """The share within 1 px of edges (neighbours whose true depths differ by a tenth of the range) beyond what as many
    pixels would hold if the error were the same everywhere."""
    edge = np.zeros_like(case.valid)
    for turned, depth, valid in ((edge, case.depth, case.valid), (edge.T, case.depth.T, case.valid.T)):  # views
        step = (np.abs(np.diff(depth, axis=0)) >= STEP) & valid[1:] & valid[:-1]
        turned[1:] |= step
        turned[:-1] |= step
    near = _grown(edge, case.width) & case.valid
    area, held = near.sum() / case.valid.sum(), (case.error[near] ** 2).sum() / _squares(case)
    return max(0.0, (held - area) / (1 - area)) if area < 1 else 0.0, {"area": area, "held": held}


def _squares(case: Case) -> float:
    return (case.error**2).sum()


def _is_off_everywhere(case: Case) -> bool:
    return _median(np.abs(case.error[case.valid])) >= SPREAD * case.rmse


def _best_line(case: Case) -> tuple[float, float, float]:
    """The scale and shift that take the predicted closest to the true depth, by least squares, and before them the share
    of the squared error that they take away."""
    said, true = case.predicted[case.valid], case.depth[case.valid]
    design = np.stack((said, np.ones_like(said)), 1)
    (scale, shift), *_ = np.linalg.lstsq(design, true, rcond=None)
    return 1 - ((design @ (scale, shift) - true) ** 2).sum() / _squares(case), scale, shift


def _distance(depth: np.ndarray, valid: np.ndarray, mean_depth: np.ndarray) -> float:
    """RMSE between two maps where both are known; NaN where none is."""
    both = valid & np.isfinite(mean_depth)
    return float(np.sqrt(np.square(depth - mean_depth)[both].mean())) if both.any() else float("nan")


def _share_along(case: Case, target: np.ndarray) -> float:
    """The share of the squared error that a step of the best length away from ``target`` takes away; 0 if it is no
    step away from it: the squared cosine between the error and the error of ``target``."""
    both = case.valid & np.isfinite(target)
    error, towards = case.error[both], (target - case.depth)[both]
    product = float(error @ towards)
    return product**2 / (float(towards @ towards) * _squares(case)) if product > 0 else 0.0


def _of_region(case: Case, region: np.ndarray) -> Finding:
    """What one shift of ``region`` takes away, and where it is, how large, and off by how much."""
    errors = case.error[region]
    if not errors.size:
        return 0.0, {"mean": 0.0, "area": 0.0, "place": "", "far": ""}
    mean = errors.mean()
    share = errors.size * mean**2 / _squares(case)
    far = "far" if mean > 0 else "near"
    return share, {"mean": mean, "off": abs(mean), "area": region.mean(), "place": _place(region), "far": far}


def _worst_region(case: Case) -> np.ndarray:
    """Of the connected regions that are too near, or too far, by more than the RMSE, that with the largest sum of errors
    squared over its size."""
    best, found = 0.0, np.zeros_like(case.valid)
    for side in (case.error > case.rmse, case.error < -case.rmse):
        labels, count = ndimage.label(side)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        totals = np.bincount(labels.ravel(), np.abs(case.error).ravel(), count + 1)[1:]
        for number, value in enumerate(totals**2 / sizes, 1):
            if value > best:
                best, found = value, labels == number
    return found


PLACES = (
    ("at the upper left", "at the top", "at the upper right"),
    ("at the left", "in the middle", "at the right"),
    ("at the lower left", "at the bottom", "at the lower right"),
)


def _place(where: np.ndarray, box: tuple[slice, slice] = (slice(None), slice(None))) -> str:
    """In which of nine fields of ``box`` the middle of ``where`` lies: "at the upper left", "in the middle"."""
    inside = where[box]
    rows, columns = (3 * (centre + 0.5) / side for centre, side in zip(ndimage.center_of_mass(inside), inside.shape))
    return PLACES[min(2, int(rows))][min(2, int(columns))]


# -- causes and their words ---------------------------------------------------------------------------------------


class Cause(NamedTuple):
    """A rule, the heading of its group, and the end of the sentence, with the numbers of :func:`explain`."""

    rule: Callable
    title: str
    words: str


MASK_CAUSES = {rule.__name__: Cause(rule, title, words) for rule, title, words in (
    (pair_differs, "The two photographs do not match",
     "away from the cat they differ by about {around:.0f} of 255, where the cat is by about {contrast:.0f}"),
    (camouflage, "The cat looks like what is behind it",
     "{share:.0%} of the wrong pixels are cat that differs from the room behind it by about {faint:.0f} of 255"),
    (shadow, "A shadow is taken for cat",
     "{share:.0%} of the wrong pixels are room that the cat makes darker, by about {darker:.0f} of 255"),
    (hidden, "The cat is partly hidden",
     "{share:.0%} of the wrong pixels lie within {beside} px of a thing that stands before the cat"),
    (overlooked, "The whole cat is overlooked",
     "{found:.0%} of it is found; it is {area:.1%} of the picture and differs from what is behind it by about "
     "{contrast:.0f} of 255"),
    (thin_part, "A thin part is lost: tail, legs or ears",
     "{share:.0%} of the wrong pixels are missed parts of the cat at most {thin} px wide, {part} of it"),
    (cut_by_frame, "The frame cuts the cat",
     "{share:.0%} of the wrong pixels lie within {frame} px of the side of the picture that cuts it"),
    (small_cat, "The cat is small, so its outline counts much",
     "it takes {area:.1%} of the picture, and {share:.0%} of the wrong pixels lie within {line} px of its outline"),
    (outline, "The outline is not sharp",
     "{share:.0%} of the wrong pixels lie within {line} px of the cat's outline"),
    (part_missing, "A part of the cat is missing",
     "{share:.0%} of the wrong pixels are a part of the cat, {part} of it, that is missed though it differs from the room "
     "behind it by about {faint:.0f} of 255"),
    (something_else, "Something else is taken for cat",
     "{share:.0%} of the wrong pixels are no cat and no shadow, {where} of the picture"),
)}  # fmt: skip

DEPTH_CAUSES = {rule.__name__: Cause(rule, title, words) for rule, title, words in (
    (squeezed_scale, "A few pixels set the scale",
     "nine tenths of the true depth lie between {low:.2f} and {high:.2f} of the range, of the predicted between "
     "{said_low:.2f} and {said_high:.2f}"),
    (flat, "The map is flat",
     "the predicted depth varies by only {said:.2f} (standard deviation), the true one by {true:.2f}"),
    (unusual_room, "The room is unlike the others",
     "it is {far:.2f} away (RMSE) from the mean room of the set, and {share:.0%} of the squared error leads to that mean"),
    (wrong_scale, "The shape is right, the range is wrong",
     "scaled by {scale:.2f} and shifted by {shift:+.2f}, the map would lose {share:.0%} of its squared error"),
    (wrong_offset, "The whole map is too near or too far",
     "on average it is too {far} by {off:.2f}, which is {share:.0%} of the squared error"),
    (wrong_cat, "The cat's own depth is wrong",
     "the cat is too {far} by {off:.2f} on average, which is {share:.0%} of the squared error"),
    (thing_overlooked, "A thing that stands out is overlooked",
     "one thing {place}, {area:.0%} of the picture, is too far by {off:.2f} on average, which is {share:.0%} of the "
     "squared error"),
    (near_surface, "A near surface is taken for a far one",
     "one region {place}, {area:.0%} of the picture, is too far by {off:.2f} on average, which is {share:.0%} of the "
     "squared error"),
    (far_surface, "A far surface is taken for a near one",
     "one region {place}, {area:.0%} of the picture, is too near by {off:.2f} on average, which is {share:.0%} of the "
     "squared error"),
    (smeared_edges, "Edges are smeared",
     "{held:.0%} of the squared error lies within {line} px of edges of things, which are {area:.0%} of the picture"),
)}  # fmt: skip

CAUSES = {**MASK_CAUSES, **DEPTH_CAUSES}


def explain(case: Case, facts: Facts) -> Case:
    """Give ``case`` its cause, the share that it explains, and its sentence; the case is changed and returned."""
    explain_mask(case, facts) if case.task == "mask" else explain_depth(case, facts)
    return case


def explain_mask(case: Case, facts: Facts) -> None:
    """The cause of a wrong mask: the rule for which most wrong pixels count.

    Raises:
        ValueError: no pixel is wrong.
    """
    if not case.wrong.any():
        raise ValueError(f"the mask of quartet {case.index} has no wrong pixel: there is nothing to explain")
    left, counted = case.wrong, {}
    for name, cause in MASK_CAUSES.items():
        counted[name] = left & cause.rule(case, facts)
        left = left & ~counted[name]
    case.shares = {name: float(pixels.sum() / case.wrong.sum()) for name, pixels in counted.items()}
    case.cause = max(case.shares, key=case.shares.get)  # the first of equals
    case.share = case.shares[case.cause]
    pixels = counted[case.cause]
    cat = ndimage.find_objects(case.truth.astype(int))
    missed = pixels & case.missed
    words = CAUSES[case.cause].words.format(
        share=case.share, area=case.truth.mean(), contrast=case.contrast, faint=_median(case.difference[pixels]),
        around=_median(case.difference[case.mask == 0]), darker=_median((case.bg.astype(int) - case.bg_fg).mean(0)[pixels]),
        found=1 - case.missed.sum() / max(1, case.truth.sum()), line=case.width, thin=2 * case.width,
        beside=2 * case.width, frame=4 * case.width, part=_place(missed, cat[0]) if missed.any() else "",
        where=_place(pixels),
    )  # fmt: skip
    errors = f"{case.missed.sum()} px of {case.truth.sum()} missed and {case.extra.sum()} too many"
    case.sentence = f"Dice {case.dice:.2f}, {errors}: {words}."


def explain_depth(case: Case, facts: Facts) -> None:
    """The cause of a wrong depth map: the rule that explains the largest share of the squared error.

    Raises:
        ValueError: no depth is known, or the map has no error.
    """
    if not case.rmse > 0:
        raise ValueError(f"the depth of quartet {case.index} has no error that is known: there is nothing to explain")
    found = {name: cause.rule(case, facts) for name, cause in DEPTH_CAUSES.items()}
    case.shares = {name: float(share) for name, (share, _) in found.items()}
    case.cause = max(case.shares, key=case.shares.get)
    case.share = case.shares[case.cause]
    words = CAUSES[case.cause].words.format(share=case.share, line=case.width, **found[case.cause][1])
    case.sentence = f"RMSE {case.rmse:.2f}: {words}."


# -- the worst of a set -------------------------------------------------------------------------------------------


def worst(dataset: Dataset, answer: Answer, count: int = COUNT) -> list[Case]:
    """The worst quartets of a test set, explained: first the masks, then the depth maps, each the worst first.

    Args:
        dataset: quartets, all of one size, with ``room_of`` and ``cat_of``.
        answer: batch -> probability of cat and depth, each (B, 1, H, W) in [0, 1].
        count: half of them are chosen by the Dice of the mask, half by the RMSE of the depth. No room comes twice in
            one half as long as there are others; a quartet without error, or without any known depth, is not chosen.

    Raises:
        CourseError: the set is empty.
    """
    if not len(dataset):
        raise CourseError("The test set has no quartets, so there are no failures to show: use a larger one.")
    dice, rmse, areas, contrasts, distances = ([] for _ in range(5))
    histogram = np.zeros(256, int)  # of the differences of all pixels of cats
    mean_depth = _mean_depth(dataset)
    for case in _ask(dataset, answer, range(len(dataset))):
        dice.append(case.dice)
        rmse.append(case.rmse)
        distances.append(_distance(case.depth, case.valid, mean_depth))
        if case.truth.any():
            areas.append(case.truth.mean())
            contrasts.append(case.contrast)
            histogram += np.bincount(case.difference[case.truth], minlength=256)
    facts = Facts(
        small=_quantile(areas, TENTH), faint=_quantile(contrasts, TENTH),
        faint_pixel=float(np.searchsorted(histogram.cumsum(), TENTH * histogram.sum())),
        mean_depth=mean_depth, unusual=_quantile(distances, 1 - TENTH),
    )  # fmt: skip
    rooms = array(scenes(dataset)[0])
    badness = {"mask": 1 - np.array(dice), "depth": np.array(rmse)}
    cases = []
    for task, values in badness.items():
        chosen = _choose(values, rooms, count // 2)
        for case in _ask(dataset, answer, chosen):
            case.task = task
            cases.append(explain(case, facts))
    return cases


def _choose(badness: np.ndarray, rooms: np.ndarray, count: int) -> list[int]:
    """Indices of the ``count`` worst, the worst first: one from each room, then, if there are too few rooms, more."""
    order = [int(i) for i in np.argsort(-badness, kind="stable") if badness[i] > 0]  # NaN is not
    seen, firsts = set(), []
    for i in order:
        if rooms[i] not in seen:
            seen.add(rooms[i])
            firsts.append(i)
    taken = set(firsts)
    chosen = (firsts + [i for i in order if i not in taken])[:count]
    return sorted(chosen, key=order.index)


def _ask(dataset: Dataset, answer: Answer, indices: Sequence[int]):
    """A :class:`Case` for each index, not yet explained."""
    for start in range(0, len(indices), BATCH):
        wanted = list(indices[start : start + BATCH])
        batch = fetch(dataset, wanted)
        prob, predicted = (array(said) for said in answer(batch))
        for i, index in enumerate(wanted):
            quartet = quartets_of({key: value[i] for key, value in batch.items()})[0]
            planes = {key: plane(quartet[key]) for key in ("mask", "depth", "valid")}
            yield Case(
                index, int(dataset.room_of(index)), int(dataset.cat_of(index)), "mask", quartet["bg"], quartet["bg_fg"],
                planes["mask"], plane(prob[i]), planes["depth"].astype(float), plane(predicted[i]).astype(float),
                planes["valid"].astype(bool),
            )  # fmt: skip


def _mean_depth(dataset: Dataset) -> np.ndarray:
    """(H, W) the mean true depth at each place, NaN where it is never known."""
    total = count = 0
    for start in range(0, len(dataset), BATCH):
        batch = fetch(dataset, range(start, min(start + BATCH, len(dataset))))
        valid = array(batch["valid"])[:, 0]
        total = total + np.where(valid, array(batch["depth"])[:, 0], 0.0).sum(0, dtype=float)
        count = count + valid.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _quantile(values: Sequence[float], q: float) -> float:
    known = np.array(values, float)
    known = known[np.isfinite(known)]
    return float(np.quantile(known, q)) if known.size else float("nan")


def groups(cases: Sequence[Case], task: str) -> dict[str, list[Case]]:
    """The cases of one task by cause: the largest group first, then in the order of the rules; the worst case first."""
    found = {name: [case for case in cases if case.task == task and case.cause == name] for name in CAUSES}
    return {name: group for name, group in sorted(found.items(), key=lambda item: -len(item[1])) if group}


# -- words and pictures -------------------------------------------------------------------------------------------

HEADINGS = {"mask": "Worst masks", "depth": "Worst depth maps"}


def markdown(cases: Sequence[Case]) -> str:
    """The cases as lists under their causes, a sentence each; numbers are those of the figure."""
    lines = []
    for task, heading in HEADINGS.items():
        for name, group in groups(cases, task).items():
            lines += [f"**{heading}: {CAUSES[name].title[0].lower()}{CAUSES[name].title[1:]}** ({len(group)})", ""]
            lines += [f"- Quartet {case.index}, room {case.room}. {case.sentence}" for case in group]
            lines.append("")
    return "\n".join(lines)


def record(cases: Sequence[Case]) -> list[dict]:
    """The cases without their pictures, JSON-ready."""
    return [
        {
            "task": case.task, "quartet": case.index, "room": case.room, "cat": case.cat, "dice": case.dice,
            "rmse": case.rmse if case.valid.any() else None, "cause": case.cause, "title": CAUSES[case.cause].title,
            "share": case.share, "sentence": case.sentence,
            "shares": {name: share for name, share in case.shares.items() if share > 0},
        }
        for case in cases
    ]  # fmt: skip


COLUMNS = {
    "mask": ("scene", "the cat", "true mask", "predicted", "errors"),
    "depth": ("scene", "true depth", "predicted", "error"),
}
SCALES = (
    (DEPTH_COLOURS, 1, "relative depth", {0: "near", 1: "far"}),
    (ERROR_COLOURS, ERROR_LIMIT, "depth error", {0: "0", ERROR_LIMIT: f"{ERROR_LIMIT} and more"}),
)
PANEL, GAP = 0.95, 0.05  # inches
LINE, CHARACTERS = 0.135, 16.8  # inches of a line of a sentence, and how many of its letters fit into an inch
ABOVE, BELOW = 0.05, 0.13  # inches around a sentence
TOP, BOTTOM, MARGIN = 1.0, 0.75, 0.15  # inches above and below all cases, and at the sides
DPI, LARGEST = (120, 100, 80), 400_000  # of the file: the first with which it has at most so many bytes, or the last
READING = {
    "mask": "Grouped by what explains the most wrong pixels.",
    "depth": "Grouped by what explains the most squared error.",
}


@styled
def figure(cases: Sequence[Case]) -> Figure:
    """All cases in two columns, masks and depth maps (one where there are none of the others), grouped by cause, with
    their sentences.

    A mask is drawn closer, within the frame that the photograph shows.

    Raises:
        ValueError: no cases.
    """
    if not cases:
        raise ValueError("there are no cases to draw")
    columns = {task: names for task, names in COLUMNS.items() if any(case.task == task for case in cases)}
    widths = {task: len(names) * (PANEL + GAP) - GAP for task, names in columns.items()}
    lines = {id(case): _wrapped(case, widths[case.task]) for case in cases}
    heights = {
        task: sum(0.3 + sum(PANEL + ABOVE + LINE * len(lines[id(case)]) + BELOW for case in group) + 0.08
                  for group in groups(cases, task).values())
        for task in columns
    }  # fmt: skip
    width, height = sum(widths.values()) + 2 * MARGIN * len(columns), max(heights.values()) + TOP + BOTTOM
    drawn = plt.figure(figsize=(width, height))

    def axes(left: float, top: float, across: float, down: float) -> Axes:
        """Axes whose place is given in inches from the upper left corner."""
        return drawn.add_axes((left / width, 1 - (top + down) / height, across / width, down / height))

    def text(left: float, top: float, words: str, **style) -> None:
        drawn.text(left / width, 1 - top / height, words, va="top", **style)

    left = MARGIN
    for task, names in columns.items():
        shown = [case for case in cases if case.task == task]
        text(left, 0.12, f"The {len(shown)} {HEADINGS[task].lower()}", fontsize=14, weight="bold")
        text(left, 0.42, READING[task], fontsize=9, color="0.35")
        for i, name in enumerate(names):
            text(left + i * (PANEL + GAP) + PANEL / 2, TOP - 0.26, name, fontsize=9, ha="center")
        top = TOP
        for cause, group in groups(cases, task).items():
            heading = f"{CAUSES[cause].title}: {len(group)} of {len(shown)}"
            band = Rectangle((left / width, 1 - (top + 0.22) / height), widths[task] / width, 0.22 / height, color="0.91")
            drawn.add_artist(band)
            text(left + 0.06, top + 0.035, heading, fontsize=10, weight="bold")
            top += 0.3
            for case in group:
                panels = _mask_panels(case) if task == "mask" else _depth_panels(case)
                for i, (image, colours, box) in enumerate(panels):
                    axis = axes(left + i * (PANEL + GAP), top, PANEL, PANEL)
                    axis.imshow(image, interpolation="nearest" if image.shape[0] <= 100 else "auto", **colours)
                    axis.set_axis_off()
                    if box is not None:
                        axis.add_patch(box)
                top += PANEL + ABOVE
                for i, line in enumerate(lines[id(case)]):
                    text(left, top + i * LINE, line, fontsize=8)
                top += LINE * len(lines[id(case)]) + BELOW
            top += 0.08
        left += widths[task] + 2 * MARGIN
    if "mask" in columns:
        named = ((TRUE, "cat, found"), (MISSED, "cat, missed"), (FALSE_ALARM, "no cat, but taken for one"))
        handles = [Patch(facecolor=colour, edgecolor="grey", label=name) for colour, name in named]
        drawn.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.12 / height), ncols=3)
    if "depth" in columns:
        half = widths["depth"] / 2
        for i, (colours, high, label, ticks) in enumerate(SCALES):
            axis = axes(width - MARGIN - (2 - i) * half + 0.1, height - 0.4, half - 0.5, 0.12)
            bar = drawn.colorbar(ScalarMappable(Normalize(0, high), colours), cax=axis, orientation="horizontal")
            bar.set_ticks(list(ticks), labels=list(ticks.values()))
            axis.set_title(label, fontsize=9, pad=3)
            bar.outline.set_visible(False)
    return drawn


def _wrapped(case: Case, width: float) -> list[str]:
    return textwrap.wrap(f"Quartet {case.index}, room {case.room}. {case.sentence}", int(width * CHARACTERS))


Panel = tuple[np.ndarray, dict, Rectangle | None]


def _mask_panels(case: Case) -> list[Panel]:
    """Photograph with the frame of the rest, then, closer, the cat, the truth, the prediction and its errors."""
    rows, columns = _window(case.truth | case.extra)
    side = rows.stop - rows.start
    box = Rectangle((columns.start - 0.5, rows.start - 0.5), side, side, fill=False, edgecolor=MASK_COLOUR, linewidth=1.2)
    closer = (picture(case.bg_fg), picture(case.mask), picture(case.prob), mask_errors(case.mask, case.prob))
    return [(picture(case.bg_fg), {}, box), *((image[rows, columns], {}, None) for image in closer)]


def _window(where: np.ndarray) -> tuple[slice, slice]:
    """A square that holds ``where`` and a little around it, and lies in the picture, as rows and columns."""
    boxes = ndimage.find_objects(where.astype(int))
    if not boxes:
        return slice(0, min(where.shape)), slice(0, min(where.shape))
    side = max(part.stop - part.start for part in boxes[0])
    side = min(*where.shape, max(side + 4 * side // 10, min(where.shape) // 3))
    starts = [
        int(np.clip((part.start + part.stop - side) // 2, 0, length - side)) for part, length in zip(boxes[0], where.shape)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _depth_panels(case: Case) -> list[Panel]:
    """Photograph, true and predicted depth, and the error; stripes where nothing is known."""
    error = np.where(case.valid, np.abs(case.error), np.nan)
    coloured = plt.get_cmap(ERROR_COLOURS)(np.nan_to_num(error / ERROR_LIMIT).clip(0, 1))[..., :3]
    error = np.where(case.valid[..., None], coloured, depth_picture(error))
    images = picture(case.bg_fg), depth_picture(case.depth, case.valid), depth_picture(case.predicted), error
    return [(image, {}, None) for image in images]


# -- the command --------------------------------------------------------------------------------------------------


def network_answer(net) -> Answer:
    """``answer`` of a trained network (see :func:`helpers.predict.load`): batch -> probabilities, on its own device."""
    import torch

    from helpers.model import probabilities

    device = next(net.parameters()).device

    @torch.no_grad()
    def answer(batch: Quartet) -> tuple:
        logits = net.eval()(batch["bg"].to(device), batch["bg_fg"].to(device))
        return tuple(said.cpu() for said in probabilities(*logits, getattr(net, "depth_readout", "sigmoid")))

    return answer


def write(cases: Sequence[Case], folder: str | Path, about: Mapping[str, object]) -> tuple[Path, Path]:
    """``failures.png`` (256 colours) and ``failures.json`` in ``folder``, made if need be; their paths.

    ``about`` says what was tested; it stands in the JSON before the cases.
    """
    image, facts = Path(folder) / "failures.png", Path(folder) / "failures.json"
    drawn = figure(cases)
    with whole_file(image) as path:
        for dpi in DPI:
            drawn.savefig(path, dpi=dpi)
            with Image.open(path) as full:  # the octree keeps the colours of the scales, which a median cut merges
                small = full.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            small.save(path, optimize=True)
            if path.stat().st_size <= LARGEST:
                break
    write_json(facts, {**about, "cases": record(cases)})
    return image, facts


def main(arguments: Sequence[str] | None = None) -> None:
    from helpers.predict import load
    from helpers.session import run_dir, sets, trained_network
    from helpers.train import is_finished, recipe

    parser = argparse.ArgumentParser(prog="python -m helpers.failures", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of a finished run (default: that of notebook 05)")
    parser.add_argument("--out", type=Path, help="folder of the figure and its numbers (default: runs/bench)")
    chosen = parser.parse_args(arguments)
    try:
        own = chosen.run or (run_dir() if is_finished(run_dir(), recipe("course")) else None)
        net = load(chosen.run) if chosen.run else trained_network()
        test_set = sets()[1]
        cases = worst(test_set, network_answer(net))
        if not cases:
            raise CourseError("Not one test quartet has an error, so there is nothing to show: use a larger test set.")
        about = {
            "data": data_source() if data_source() in ("rooms", "archive") else f"photographs in {data_folder().name}/",
            "profile": profile().name, "network": own.name if own else "the weights that come with the course",
            "test_quartets": len(test_set), "size": test_set.size, "date": date.today().isoformat(),
        }  # fmt: skip
        paths = write(cases, chosen.out or runs_dir() / "bench", about)
    except CourseError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
    print(f"{markdown(cases)}\nWritten: {', '.join(map(str, paths))}.")


if __name__ == "__main__":
    main()
