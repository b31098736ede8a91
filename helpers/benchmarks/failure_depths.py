"""Why a depth map is wrong: each cause is a rule that says which share of the squared error would be gone without it.

Unlike those of masks, the shares of depth maps overlap: a room that is off as a whole is also off in its worst region.
The cause with the largest share is that of the case, the earlier one where two are equal.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from helpers.benchmarks.failure_cases import Case, Cause, Facts, grown, median, place, settle

STEP = 0.1  # of the depth range, between neighbours: the edge of a thing
SQUEEZED = 0.5  # of the depth range: nine tenths of the pixels share so little of it
FLAT = 0.5  # the predicted depth varies at most half as much as the true one
SPREAD = 0.6  # of the RMSE: the median error of a map that is off everywhere; noise has 0.67, one wrong wall much less
ALIKE = 0.8  # correlation of two maps of the same shape; a mean map often has as much as 0.6 with any room's

Finding = tuple[float, dict]  # the share, 0 to 1, and the numbers of the sentence


def explain_depth(case: Case, facts: Facts) -> Case:
    """``case`` itself, with the cause of its wrong depth map: the rule that explains most of the squared error.

    Raises:
        ValueError: no depth is known, or the map has no error.
    """
    if not case.rmse > 0:
        raise ValueError(f"the depth of quartet {case.index} has no error that is known: there is nothing to explain")
    found = {name: cause.rule(case, facts) for name, cause in DEPTH_CAUSES.items()}
    words = settle(case, "depth", {name: share for name, (share, _) in found.items()}, DEPTH_CAUSES)
    words = words.format(share=case.share, line=case.width, **found[case.cause][1])
    case.sentence = f"RMSE {case.rmse:.2f}: {words}."
    return case


# -- rules --------------------------------------------------------------------------------------------------------


def squeezed_scale(case: Case, facts: Facts) -> Finding:
    """The share that the best scale and shift takes away, if nine tenths of the valid pixels share less than half of the
    depth range: a few that are farther or nearer than all others set its ends, and the network does not know them."""
    low, high = np.quantile(case.depth[case.valid], (0.05, 0.95))
    said_low, said_high = np.quantile(case.predicted[case.valid], (0.05, 0.95))
    share = _best_line(case)[0] * bool(high - low < SQUEEZED)
    return share, {"low": low, "high": high, "said_low": said_low, "said_high": said_high}


def flat(case: Case, facts: Facts) -> Finding:
    """What the error has in common with that of a map of one depth, if the map varies at most half as much as the truth."""
    true, said = case.depth[case.valid], case.predicted[case.valid].std()
    share = _share_towards(case, np.full_like(case.depth, true.mean()))
    return share * bool(said <= FLAT * true.std()), {"true": true.std(), "said": said}


def unusual_room(case: Case, facts: Facts) -> Finding:
    """What the error has in common with that of the set's mean map, if at most a tenth of the rooms is farther from it."""
    far = case.distance(facts.mean_depth)
    return _share_towards(case, facts.mean_depth) * bool(far >= facts.unusual), {"far": far}


def wrong_scale(case: Case, facts: Facts) -> Finding:
    """The share that the best scale and shift takes away, if the map is off everywhere (:data:`SPREAD`) and has the shape
    of the truth: correlation 0.8."""
    share, scale, shift = _best_line(case)
    said, true = case.predicted[case.valid], case.depth[case.valid]
    spread = said.std() * true.std()
    alike = ((said - said.mean()) * (true - true.mean())).mean() / spread if spread > 0 else 0.0
    return share * bool(alike >= ALIKE and _is_off_everywhere(case)), {"scale": scale, "shift": shift}


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
    around = grown(region, case.width) & ~region & case.valid
    inside = ndimage.maximum_filter(np.where(region, case.depth, -np.inf), 2 * case.width + 1, mode="nearest")
    edge = case.depth[around] - inside[around] >= STEP
    share, numbers = near_surface(case, facts)
    return share * bool(edge.size and edge.mean() > 0.5 and not region[0].any()), numbers


def near_surface(case: Case, facts: Facts) -> Finding:
    """The share that one shift takes away of the worst connected region, all too far or all too near by more than the
    RMSE, if it is too far."""
    share, numbers = _of_region(case, _worst_region(case))
    return share * (numbers["far"] == "far"), numbers


def far_surface(case: Case, facts: Facts) -> Finding:
    """The same, if the region is too near."""
    share, numbers = _of_region(case, _worst_region(case))
    return share * (numbers["far"] == "near"), numbers


def smeared_edges(case: Case, facts: Facts) -> Finding:
    """The share within 1 px of edges (neighbours whose true depths differ by a tenth of the range) beyond what as many
    pixels would hold if the error were the same everywhere."""
    edge = np.zeros_like(case.valid)
    for turned, depth, valid in ((edge, case.depth, case.valid), (edge.T, case.depth.T, case.valid.T)):  # views
        step = (np.abs(np.diff(depth, axis=0)) >= STEP) & valid[1:] & valid[:-1]
        turned[1:] |= step
        turned[:-1] |= step
    near = grown(edge, case.width) & case.valid
    area, held = near.sum() / case.valid.sum(), (case.error[near] ** 2).sum() / _squares(case)
    return max(0.0, (held - area) / (1 - area)) if area < 1 else 0.0, {"area": area, "held": held}


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


# -- what several rules look at -----------------------------------------------------------------------------------


def _squares(case: Case) -> float:
    return (case.error**2).sum()


def _is_off_everywhere(case: Case) -> bool:
    return median(np.abs(case.error[case.valid])) >= SPREAD * case.rmse


def _best_line(case: Case) -> tuple[float, float, float]:
    """The scale and shift that take the predicted closest to the true depth, by least squares, and before them the share
    of the squared error that they take away."""
    said, true = case.predicted[case.valid], case.depth[case.valid]
    design = np.stack((said, np.ones_like(said)), 1)
    (scale, shift), *_ = np.linalg.lstsq(design, true, rcond=None)
    return 1 - ((design @ (scale, shift) - true) ** 2).sum() / _squares(case), scale, shift


def _share_towards(case: Case, target: np.ndarray) -> float:
    """The share of the squared error that a step of the best length away from ``target`` takes away; 0 if it is no
    step away from it: the squared cosine between the error and the error of ``target``."""
    error, towards = case.error[case.valid], (target - case.depth)[case.valid]
    product = float(error @ towards)
    return product**2 / (float(towards @ towards) * _squares(case)) if product > 0 else 0.0


def _of_region(case: Case, region: np.ndarray) -> Finding:
    """What one shift of ``region`` takes away, and where it is, how large, and off by how much."""
    errors = case.error[region]
    if not errors.size:
        return 0.0, {"far": ""}
    mean = errors.mean()
    share = errors.size * mean**2 / _squares(case)
    return share, {"far": "far" if mean > 0 else "near", "off": abs(mean), "area": region.mean(), "place": place(region)}


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
