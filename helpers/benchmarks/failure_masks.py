"""Why a mask is wrong: each cause is a rule that marks the wrong pixels that it explains.

A wrong pixel counts for the first rule that marks it, so the shares add up to one: the special causes stand before the
general ones, and the last two take what is left. The cause with the most pixels is that of the case.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from helpers.benchmarks.failure_cases import Case, Cause, Facts, grown, median, place, settle, shrunk

SHADOW = 8  # of 255: at least so much darker in every channel; above the noise of a photograph
DISTURBED = 0.5  # the room changes at least half as much as the cat does
OVERLOOKED = 0.1  # at most this share of the cat is found
IN_FRONT = 0.1  # of the depth range: so much nearer than the cat beside it is no floor any more, but a thing


def explain_mask(case: Case, facts: Facts) -> Case:
    """``case`` itself, with the cause of its wrong mask: the rule for which most wrong pixels count.

    Raises:
        ValueError: no pixel is wrong.
    """
    if not case.wrong.any():
        raise ValueError(f"the mask of quartet {case.index} has no wrong pixel: there is nothing to explain")
    left, counted = case.wrong, {}
    for name, cause in MASK_CAUSES.items():
        counted[name] = left & cause.rule(case, facts)
        left = left & ~counted[name]
    shares = {name: pixels.sum() / case.wrong.sum() for name, pixels in counted.items()}
    words = settle(case, "mask", shares, MASK_CAUSES)
    pixels = counted[case.cause]
    missed = pixels & case.missed
    words = words.format(
        share=case.share, area=case.truth.mean(), contrast=case.contrast, faint=median(case.difference[pixels]),
        around=median(case.difference[case.mask == 0]), darker=median((case.bg.astype(int) - case.bg_fg).mean(0)[pixels]),
        found=1 - case.missed.sum() / max(1, case.truth.sum()), line=case.width, thin=2 * case.width,
        beside=2 * case.width, frame=4 * case.width, where=place(pixels),
        part=place(missed[ndimage.find_objects(case.truth.astype(int))[0]]) if missed.any() else "",
    )  # fmt: skip
    errors = f"{case.missed.sum()} px of {case.truth.sum()} missed and {case.extra.sum()} too many"
    case.sentence = f"Dice {case.dice:.2f}, {errors}: {words}."
    return case


# -- rules --------------------------------------------------------------------------------------------------------
# Each takes a case and the facts of the set, and gives the wrong pixels, bool (H, W), that it explains.


def pair_differs(case: Case, facts: Facts) -> np.ndarray:
    """All, if the room changes half as much between the two photographs as the cat changes it (medians)."""
    around = median(case.difference[case.mask == 0])
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
    return case.wrong & grown(thing, 2 * case.width)


def overlooked(case: Case, facts: Facts) -> np.ndarray:
    """All that is missed, if no more than a tenth of the cat is found."""
    return case.missed & bool(case.missed.sum() >= (1 - OVERLOOKED) * case.truth.sum())


def thin_part(case: Case, facts: Facts) -> np.ndarray:
    """Missed pixels of parts of the cat, such as tail, legs and ears, that are at most 2 px wide."""
    return case.missed & ~grown(shrunk(case.truth, case.width), case.width)


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
    line = grown(case.truth, case.width) & ~shrunk(case.truth, case.width)
    return case.wrong & line & ~grown(case.missed & ~line, case.width)


def part_missing(case: Case, facts: Facts) -> np.ndarray:
    """What else is missed."""
    return case.missed


def something_else(case: Case, facts: Facts) -> np.ndarray:
    """What else is taken for cat."""
    return case.extra


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
