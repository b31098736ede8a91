"""The figure of the worst quartets: masks on the left, depth maps on the right, those of one cause together."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from helpers import plots
from helpers.benchmarks.failure_causes import Case, by_cause
from helpers.plots import depth_picture, picture

COLUMNS = {
    "mask": ("bg_fg", "the cat", "mask", "predicted", "errors"),
    "depth": ("bg_fg", "depth", "predicted", "error"),
}
PIXELS = {"cat, found": plots.TRUE, "cat, missed": plots.MISSED, "no cat, but taken for one": plots.FALSE_ALARM}
SCALES = (
    (plots.DEPTH_COLOURS, 1, "relative depth", ("near", "far")),
    (plots.ERROR_COLOURS, plots.ERROR_LIMIT, "depth error", ("0", f"{plots.ERROR_LIMIT} and more")),
)
ROW, AROUND = 1.35, 1.35  # inches: a row with its words, and what stands above and below all rows


@plots.styled
def figure(cases: Sequence[Case]) -> Figure:
    """All explained cases in two columns, masks and depth maps (one where there are none of the others).

    A mask is drawn closer, within the frame that the photograph shows.

    Raises:
        ValueError: no cases.
    """
    grouped = {task: found for task in COLUMNS if (found := by_cause(cases, task))}
    if not grouped:
        raise ValueError("there are no cases to draw")
    rows, widths = max(map(len, grouped.values())), [len(COLUMNS[task]) + 0.2 for task in grouped]  # inches
    height = rows * ROW + AROUND
    drawn = plt.figure(figsize=(sum(widths), height))
    parts = drawn.subfigures(1, len(grouped), squeeze=False, width_ratios=widths)[0]
    for part, (task, found) in zip(parts, grouped.items()):
        title = f"The {len(found)} worst {'masks' if task == 'mask' else 'depth maps'}"
        part.text(0.02, 1 - 0.1 / height, title, fontsize=14, va="top")
        part.subplots_adjust(0.02, 0.75 / height, 0.98, 1 - 0.95 / height, wspace=0.05, hspace=0.42)
        axes = part.subplots(rows, len(COLUMNS[task]), squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for case, row in zip(found, axes):
            row[0].set_title(f"{case.score}:\n{case.sentence}", fontsize=8, loc="left", pad=3)
            for axis, image in zip(row, _mask_panels(case, row[0]) if task == "mask" else _depth_panels(case)):
                axis.imshow(image, interpolation="nearest" if image.shape[0] <= 100 else "auto")
        for axis, name in zip(axes[0], COLUMNS[task]):
            axis.annotate(name, (0, 1), (0, 26), "axes fraction", "offset points", fontsize=8, color="0.35")
        if task == "mask":
            handles = [Patch(facecolor=colour, edgecolor="grey", label=name) for name, colour in PIXELS.items()]
            part.legend(handles=handles, loc="lower left", ncols=3)
            continue
        for left, (colours, high, label, ends) in zip((0.08, 0.57), SCALES):
            axis = part.add_axes((left, 0.25 / height, 0.3, 0.12 / height))
            bar = part.colorbar(ScalarMappable(Normalize(0, high), colours), cax=axis, orientation="horizontal")
            bar.set_ticks((0, high), labels=ends)
            axis.set_title(label, fontsize=9, pad=3)
    return drawn


def _mask_panels(case: Case, photograph: plt.Axes) -> list[np.ndarray]:
    """The photograph, which gets a frame, and within the frame the cat, its mask, the prediction and its errors."""
    where = case.target | case.extra
    found = np.argwhere(where if where.any() else ~where)
    first, last = found.min(0), found.max(0) + 1
    largest = int((last - first).max())
    size = min(*where.shape, max(largest + 4 * largest // 10, min(where.shape) // 3))  # with a little around it
    top, left = np.clip((first + last - size) // 2, 0, np.array(where.shape) - size)
    photograph.add_patch(Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor=plots.MASK_COLOUR))
    closer = picture(case.bg_fg), picture(case.mask), picture(case.prob), plots.mask_errors(case.mask, case.prob)
    return [picture(case.bg_fg), *(image[top : top + size, left : left + size] for image in closer)]


def _depth_panels(case: Case) -> tuple[np.ndarray, ...]:
    """The photograph, its depth and the predicted one, and the error; stripes where nothing is known."""
    error = plots.error_picture(np.where(case.valid, np.abs(case.error), np.nan))
    return picture(case.bg_fg), depth_picture(case.depth, case.valid), depth_picture(case.predicted), error
