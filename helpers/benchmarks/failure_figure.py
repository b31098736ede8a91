"""The figure of the worst quartets: masks on the left, depth maps on the right, those of one cause together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from helpers import plots
from helpers.benchmarks.failure_causes import CAUSES, Case, by_cause
from helpers.plots import depth_picture, picture
from helpers.utils import whole_file

COLUMNS = {
    "mask": ("bg_fg", "the cat", "mask", "predicted", "errors"),
    "depth": ("bg_fg", "depth", "predicted", "error"),
}
HEADINGS = {"mask": "worst masks", "depth": "worst depth maps"}
PIXELS = ((plots.TRUE, "cat, found"), (plots.MISSED, "cat, missed"), (plots.FALSE_ALARM, "no cat, but taken for one"))
SCALES = (
    (plots.DEPTH_COLOURS, 1, "relative depth", ("near", "far")),
    (plots.ERROR_COLOURS, plots.ERROR_LIMIT, "depth error", ("0", f"{plots.ERROR_LIMIT} and more")),
)
WIDTH, HEIGHT, TOP, BOTTOM, MARGIN = 1.0, 1.35, 0.6, 0.75, 0.2  # inches: a panel with its words, and what is around all
DPI, LARGEST = (120, 100, 80), 400_000  # of the file: the first with which it has at most so many bytes, or the last

Panel = tuple[np.ndarray, Rectangle | None]  # an image and a frame on it


@plots.styled
def figure(cases: Sequence[Case]) -> Figure:
    """All explained cases in two columns, masks and depth maps (one where there are none of the others).

    A mask is drawn closer, within the frame that the photograph shows.

    Raises:
        ValueError: no cases.
    """
    grouped = {task: [case for group in by_cause(cases, task) for case in group] for task in CAUSES}
    tasks = [task for task, found in grouped.items() if found]
    if not tasks:
        raise ValueError("there are no cases to draw")
    rows = max(map(len, grouped.values()))
    width = sum(len(COLUMNS[task]) * WIDTH + MARGIN for task in tasks)
    height = TOP + rows * HEIGHT + BOTTOM
    drawn, left = plt.figure(figsize=(width, height)), MARGIN / 2
    for task in tasks:
        drawn.text(left / width, 1 - 0.1 / height, f"The {len(grouped[task])} {HEADINGS[task]}", fontsize=14, va="top")
        for row, case in enumerate(grouped[task]):
            top = height - TOP - row * HEIGHT
            drawn.text(left / width, top / height, f"{case.score}:\n{case.sentence}", fontsize=8, va="top")
            panels = _mask_panels(case) if task == "mask" else _depth_panels(case)
            for i, (name, (image, frame)) in enumerate(zip(COLUMNS[task], panels)):
                x, y = left + i * WIDTH, top - HEIGHT + 0.1
                axis = drawn.add_axes((x / width, y / height, 0.95 * WIDTH / width, 0.95 * WIDTH / height))
                axis.imshow(image, interpolation="nearest" if image.shape[0] <= 100 else "auto")
                axis.set_axis_off()
                if frame is not None:
                    axis.add_patch(frame)
                if not row:
                    drawn.text(x / width, (top + 0.18) / height, name, fontsize=8, color="0.35", va="top")
        left += len(COLUMNS[task]) * WIDTH + MARGIN
    if "mask" in tasks:
        handles = [Patch(facecolor=colour, edgecolor="grey", label=name) for colour, name in PIXELS]
        drawn.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.05 / height), ncols=3)
    if "depth" in tasks:
        for i, (colours, high, label, ends) in enumerate(SCALES):
            axis = drawn.add_axes(((width - (4 - 2 * i) * WIDTH) / width, 0.25 / height, 1.3 / width, 0.12 / height))
            bar = drawn.colorbar(ScalarMappable(Normalize(0, high), colours), cax=axis, orientation="horizontal")
            bar.set_ticks((0, high), labels=ends)
            bar.outline.set_visible(False)
            axis.set_title(label, fontsize=9, pad=3)
    return drawn


def save(drawn: Figure, path: Path) -> None:
    """A PNG of 256 colours, as sharp as :data:`LARGEST` bytes allow."""
    with whole_file(path) as partial:
        for dpi in DPI:
            drawn.savefig(partial, dpi=dpi)
            with Image.open(partial) as full:  # the octree keeps the colours of the scales, which a median cut merges
                small = full.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            small.save(partial, optimize=True)
            if partial.stat().st_size <= LARGEST:
                break


def _mask_panels(case: Case) -> list[Panel]:
    """The photograph with a frame, and within the frame the cat, its mask, the prediction and its errors."""
    rows, columns = _window(case.target | case.extra)
    size = rows.stop - rows.start
    frame = Rectangle((columns.start - 0.5, rows.start - 0.5), size, size, fill=False, edgecolor=plots.MASK_COLOUR)
    closer = (picture(case.bg_fg), picture(case.mask), picture(case.prob), plots.mask_errors(case.mask, case.prob))
    return [(picture(case.bg_fg), frame), *((image[rows, columns], None) for image in closer)]


def _window(where: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a square that holds ``where`` and a little around it, and lies in the image."""
    found = np.argwhere(where) if where.any() else np.argwhere(~where)
    first, last = found.min(0), found.max(0) + 1
    largest = int((last - first).max())
    size = min(*where.shape, max(largest + 4 * largest // 10, min(where.shape) // 3))
    top, left = np.clip((first + last - size) // 2, 0, np.array(where.shape) - size)
    return slice(top, top + size), slice(left, left + size)


def _depth_panels(case: Case) -> list[Panel]:
    """The photograph, its depth and the predicted one, and the error; stripes where nothing is known."""
    error = plots.error_picture(np.where(case.valid, np.abs(case.error), np.nan))
    images = picture(case.bg_fg), depth_picture(case.depth, case.valid), depth_picture(case.predicted), error
    return [(image, None) for image in images]
