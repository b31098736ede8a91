"""The explorer of predictions of notebooks 01 and 06, and what it shares with the other views of predicted quartets.

All of them show the same eight pictures in the same order, masks above and depth below. A page holds of each quartet
the photographs, both depth maps, and for each pixel mask, probability of cat and whether depth is known.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from helpers import plots
from helpers.widgets.player import LEVELS, Player, Shown, chooser, exact, ramp, setting

PANELS = (
    ("bg_fg, predicted cat", "overlay", 0), ("mask, ground truth", "mask", 0), ("mask, predicted", "probability", 0),
    ("mask errors, Dice {dice}", "wrong", 0), ("{below}", "photo", 1), ("depth, ground truth", "depth", 0),
    ("depth, predicted", "depth", 1), ("depth error, {error}", "error", 0),
)  # fmt: skip
MOST = 90_000  # bytes of a view: notebooks are kept with their outputs


def dice(predicted: np.ndarray, target: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 1 where both are empty."""
    size = predicted.sum() + target.sum()
    return float(2 * (predicted & target).sum() / size) if size else 1.0


def mean_error(quartet: Mapping, depth) -> str:
    """The mean depth error of one quartet in words."""
    error = plots.depth_errors(quartet["depth"], depth, quartet["valid"])
    return "unknown" if np.isnan(error).all() else f"mean {np.nanmean(error):.3f}"


def shown_quartet(quartet: Mapping, prob, depth, about: str, dices: Sequence[float], error: str) -> Shown:
    """One predicted quartet.

    Args:
        quartet: arrays, without a batch dimension; where ``bg`` is missing ``bg_fg`` is shown in its place.
        prob, depth: (1, H, W) or (H, W), in [0, 1].
        about: a few words.
        dices: the Dice of the mask, one number or one for each threshold.
        error: words about the depth error.
    """
    words, scene = [f"{value:.3f}" for value in dices], plots.picture(quartet["bg_fg"])
    return Shown(
        about,
        [scene, plots.picture(quartet["bg"]) if "bg" in quartet else scene],
        [plots.plane(quartet["depth"]), plots.plane(depth)],
        exact(quartet["mask"], prob, quartet["valid"]),
        {"dice": words if len(words) > 1 else words[0], "error": error, "below": "bg" if "bg" in quartet else "bg_fg"},
    )


def quartet_player(name: str, controls: Sequence[dict], shown: Sequence, most: int = MOST, pixels: int = 128) -> Player:
    """A view of predicted quartets: ``shown`` are lists of :func:`shown_quartet`, a level for each chooser."""
    return Player(name, controls, PANELS, shown, columns=4, pixels=pixels, side=192, most=most, best=80, below=legend())


def legend() -> str:
    """HTML: what the colours of mask errors, depth and depth errors mean."""
    missed, taken = (f'<span style="background:{x}">&emsp;</span>' for x in (plots.MISSED, plots.FALSE_ALARM))
    return (
        f"<p>Mask errors: white is cat that was found, {missed} cat that was missed, {taken} room taken for cat.<br>"
        f"Depth: near {ramp(plots.DEPTH_COLOURS)} far; grey stripes where it is unknown.<br>"
        f"Depth error: none {ramp(plots.ERROR_COLOURS)} {plots.ERROR_LIMIT} and more.</p>"
    )


def explore(batch, mask_prob, depth, labels: Sequence[str] | None = None) -> Player:
    """A view of quartets and what a network predicts for them: let it be the last line of a cell.

    Sliders choose the quartet, the threshold of its mask, how much the predicted cat covers the photograph, and between
    which depths the colours run.

    Args:
        batch: quartets (one, a batch, or a sequence).
        mask_prob: (B, 1, H, W) or (B, H, W) probability of cat.
        depth: (B, 1, H, W) or (B, H, W) depth in [0, 1].
        labels: a few words about each quartet.

    Raises:
        ValueError: not as many of each, or too many for one page.
    """
    quartets, probs, depths = plots.quartets_of(batch), plots.array(mask_prob), plots.array(depth)
    labels, count = list(labels) if labels else [""] * len(quartets), len(quartets)
    if not count or not count == len(probs) == len(depths) == len(labels):
        raise ValueError(
            f"there must be as many masks, depth maps and labels as quartets (at least 1), not {count} quartets, "
            f"{len(probs)} masks, {len(depths)} depth maps and {len(labels)} labels"
        )
    shown = []
    for quartet, prob, predicted, label in zip(quartets, map(plots.plane, probs), depths, labels):
        metres = plots.in_metres(quartet["near_far"]) if "near_far" in quartet else ""
        about = ", ".join(filter(None, (label, f"depth from {metres}" if metres else "depth without metres")))
        cat, thresholds = plots.plane(quartet["mask"]) >= 0.5, (np.arange(1, LEVELS) / LEVELS).astype(prob.dtype)
        dices = [dice(prob >= threshold, cat) for threshold in thresholds]
        shown.append(shown_quartet(quartet, prob, predicted, about, dices, mean_error(quartet, predicted)))
    controls = (
        chooser("sample"),
        setting("mask threshold", "threshold", 0.05, 0.95, 0.5),
        setting("overlay opacity", "opacity", 0.0, 1.0, 0.5),
        setting("first colour at depth", "near", 0.0, 0.95, 0.0),
        setting("last colour at depth", "far", 0.05, 1.0, 1.0),
    )
    return quartet_player("predictions, one quartet at a time", controls, shown)
