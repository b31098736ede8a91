"""The explorer of predictions of notebooks 01 and 06: one quartet at a time, and five sliders.

``explore`` is given what a network has predicted: a slider only colours it anew.
"""

import html
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from helpers import plots
from helpers.widgets.controls import Chooser, Control, PairPanels, legend


class Explorer(PairPanels):
    """A quartet and its prediction, masks above and depth below, and five controls; made by :func:`explore`.

    Attributes:
        sample: the :class:`helpers.widgets.controls.Chooser` of the quartet.
        threshold, opacity, near, far: a :class:`helpers.widgets.controls.Control` each; set their ``.slider.value``.
    """

    def __init__(self, batch, mask_prob, depth, labels: Sequence[str] | None = None):
        self._quartets, self._probs, self._depths = plots.quartets_of(batch), plots.array(mask_prob), plots.array(depth)
        self._labels = list(labels) if labels else [""] * len(self._quartets)
        count = len(self._quartets)
        if not count or not count == len(self._probs) == len(self._depths) == len(self._labels):
            raise ValueError(
                f"there must be as many masks, depth maps and labels as quartets (at least 1), not {count} quartets, "
                f"{len(self._probs)} masks, {len(self._depths)} depth maps and {len(self._labels)} labels"
            )
        self.sample = Chooser("sample", count)
        self.threshold = _share("mask threshold", 0.5, 0.05, 0.95)
        self.opacity = _share("overlay opacity", 0.5, 0.0, 1.0)
        self.near = _share("first colour at depth", 0.0, 0.0, 0.95)
        self.far = _share("last colour at depth", 1.0, 0.05, 1.0)
        for control in (self.near, self.far):
            control.slider.observe(self._make_way, "value")  # observed first: before anything is drawn
        super().__init__([self.sample, self.threshold, self.opacity, self.near, self.far], [legend()])

    def _make_way(self, change) -> None:
        """The first colour stays nearer than the last: whichever end is moved pushes the other one along."""
        near, far = self.near.slider, self.far.slider
        if self.near.value < self.far.value:
            return
        if change["owner"] is near:
            far.value = round(near.value + near.step, 6)
        else:
            near.value = round(far.value - far.step, 6)

    def picked(self) -> tuple:
        return self.sample.index, *(x.value for x in (self.threshold, self.opacity, self.near, self.far))

    def depth_ends(self) -> tuple[float, float]:
        return self.near.value, self.far.value

    def draw(self, index: int, threshold: float, opacity: float, near: float, far: float) -> tuple[str, list[dict]]:
        quartet, prob, depth = self._quartets[index], plots.plane(self._probs[index]), self._depths[index]
        valid, error = quartet["valid"], plots.depth_errors(quartet["depth"], depth, quartet["valid"])
        metres = plots.in_metres(quartet["near_far"]) if "near_far" in quartet else ""
        about = (html.escape(self._labels[index]), f"depth from {metres}" if metres else "depth without metres")
        mean = "unknown" if np.isnan(error).all() else f"mean {np.nanmean(error):.3f}"
        score = dice(prob >= threshold, plots.plane(quartet["mask"]) >= 0.5)
        masks = {
            "the room": plots.picture(quartet["bg"]),
            "with the predicted cat": plots.overlay(quartet["bg_fg"], prob >= threshold, opacity),
            f"mask errors, Dice {score:.3f}": plots.mask_errors(quartet["mask"], prob, threshold),
        }
        depths = {
            "depth, ground truth": plots.depth_picture(quartet["depth"], valid, near, far),
            "depth, predicted": plots.depth_picture(depth, None, near, far),
            f"depth error, {mean}": plots.error_picture(error),
        }
        return ", ".join(word for word in about if word), [masks, depths]


def _share(name: str, value: float, low: float, high: float) -> Control:
    slider = widgets.FloatSlider(value=value, min=low, max=high, step=0.05)
    return Control(name, slider, ("less", "more"), "{:.2f}".format)


def dice(predicted: np.ndarray, target: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 1 where both are empty."""
    size = predicted.sum() + target.sum()
    return float(2 * (predicted & target).sum() / size) if size else 1.0


def explore(batch, mask_prob, depth, labels: Sequence[str] | None = None) -> Explorer:
    """An :class:`Explorer` of quartets and what a network predicts for them: let it be the last line of a cell.

    Args:
        batch: quartets (one, a batch, or a sequence).
        mask_prob: (B, 1, H, W) or (B, H, W) probability of cat.
        depth: (B, 1, H, W) or (B, H, W) depth in [0, 1].
        labels: a few words about each quartet.

    Raises:
        ValueError: not as many of each.
    """
    return Explorer(batch, mask_prob, depth, labels)
