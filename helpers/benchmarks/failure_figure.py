"""The figure of the worst quartets: masks on the left, depth maps on the right, grouped by the cause of their errors.

Each case is a row of pictures with its sentence below; matplotlib has no layout for that, so every place is counted in
inches from the upper left corner.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from scipy import ndimage

from helpers.benchmarks.failure_cases import HEADINGS, Case, groups
from helpers.plots import (
    DEPTH_COLOURS,
    ERROR_COLOURS,
    ERROR_LIMIT,
    FALSE_ALARM,
    MASK_COLOUR,
    MISSED,
    TRUE,
    depth_picture,
    error_picture,
    mask_errors,
    picture,
    styled,
)  # fmt: skip
from helpers.utils import whole_file

COLUMNS = {
    "mask": ("scene", "the cat", "true mask", "predicted", "errors"),
    "depth": ("scene", "true depth", "predicted", "error"),
}
READING = {
    "mask": "Grouped by what explains the most wrong pixels.",
    "depth": "Grouped by what explains the most squared error.",
}
PIXELS = ((TRUE, "cat, found"), (MISSED, "cat, missed"), (FALSE_ALARM, "no cat, but taken for one"))
SCALES = (
    (DEPTH_COLOURS, 1, "relative depth", {0: "near", 1: "far"}),
    (ERROR_COLOURS, ERROR_LIMIT, "depth error", {0: "0", ERROR_LIMIT: f"{ERROR_LIMIT} and more"}),
)
PANEL, GAP = 0.95, 0.05  # inches
LINE, CHARACTERS = 0.135, 16.8  # inches of a line of a sentence, and how many of its letters fit into an inch
ABOVE, BELOW = 0.05, 0.13  # inches around a sentence
BAND, HEADING, AFTER = 0.22, 0.3, 0.08  # inches: the bar of a heading, down to its first case, and after its last
TOP, BOTTOM, MARGIN = 1.0, 0.75, 0.15  # inches above and below all cases, and at the sides
DPI, LARGEST = (120, 100, 80), 400_000  # of the file: the first with which it has at most so many bytes, or the last


class Sheet:
    """An empty figure on which places are inches from the upper left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = plt.figure(figsize=(width, height))

    def box(self, left: float, top: float, across: float, down: float) -> tuple[float, float, float, float]:
        """As matplotlib wants it: shares of the figure, from the lower left corner."""
        return left / self.width, 1 - (top + down) / self.height, across / self.width, down / self.height

    def axes(self, left: float, top: float, across: float, down: float) -> Axes:
        return self.figure.add_axes(self.box(left, top, across, down))

    def text(self, left: float, top: float, words: str, **style) -> None:
        self.figure.text(left / self.width, 1 - top / self.height, words, va="top", **style)


@styled
def figure(cases: Sequence[Case]) -> Figure:
    """All explained cases in two columns, masks and depth maps (one where there are none of the others).

    A mask is drawn closer, within the frame that the photograph shows.

    Raises:
        ValueError: no cases.
    """
    if not cases:
        raise ValueError("there are no cases to draw")
    tasks = [task for task in COLUMNS if any(case.task == task for case in cases)]
    widths = {task: len(COLUMNS[task]) * (PANEL + GAP) - GAP for task in tasks}
    height = max(sum(_height(group, widths[task]) for group in groups(cases, task).values()) for task in tasks)
    sheet = Sheet(sum(widths.values()) + 2 * MARGIN * len(tasks), TOP + height + BOTTOM)
    left = MARGIN
    for task in tasks:
        _column(sheet, left, widths[task], task, groups(cases, task))
        left += widths[task] + 2 * MARGIN
    if "mask" in tasks:
        handles = [Patch(facecolor=colour, edgecolor="grey", label=name) for colour, name in PIXELS]
        sheet.figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.12 / sheet.height), ncols=3)
    if "depth" in tasks:
        half = widths["depth"] / 2
        for i, (colours, high, label, ticks) in enumerate(SCALES):
            axis = sheet.axes(sheet.width - MARGIN - (2 - i) * half + 0.1, sheet.height - 0.4, half - 0.5, 0.12)
            bar = sheet.figure.colorbar(ScalarMappable(Normalize(0, high), colours), cax=axis, orientation="horizontal")
            bar.set_ticks(list(ticks), labels=list(ticks.values()))
            bar.outline.set_visible(False)
            axis.set_title(label, fontsize=9, pad=3)
    return sheet.figure


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


def _column(sheet: Sheet, left: float, width: float, task: str, grouped: dict[str, list[Case]]) -> None:
    """All cases of one task under their headings."""
    count = sum(map(len, grouped.values()))
    sheet.text(left, 0.12, f"The {count} {HEADINGS[task].lower()}", fontsize=14, weight="bold")
    sheet.text(left, 0.42, READING[task], fontsize=9, color="0.35")
    for i, name in enumerate(COLUMNS[task]):
        sheet.text(left + i * (PANEL + GAP) + PANEL / 2, TOP - 0.26, name, fontsize=9, ha="center")
    top = TOP
    for title, group in grouped.items():
        x, y, across, down = sheet.box(left, top, width, BAND)
        sheet.figure.add_artist(Rectangle((x, y), across, down, color="0.91"))
        sheet.text(left + 0.06, top + 0.035, f"{title}: {len(group)} of {count}", fontsize=10, weight="bold")
        row = top + HEADING
        for case in group:
            for i, (image, frame) in enumerate(_mask_panels(case) if task == "mask" else _depth_panels(case)):
                axis = sheet.axes(left + i * (PANEL + GAP), row, PANEL, PANEL)
                axis.imshow(image, interpolation="nearest" if image.shape[0] <= 100 else "auto")
                axis.set_axis_off()
                if frame is not None:
                    axis.add_patch(frame)
            row += PANEL + ABOVE
            for line in _lines(case, width):
                sheet.text(left, row, line, fontsize=8)
                row += LINE
            row += BELOW
        top += _height(group, width)


def _height(group: Sequence[Case], width: float) -> float:
    """Inches of a heading and its cases."""
    return HEADING + sum(PANEL + ABOVE + LINE * len(_lines(case, width)) + BELOW for case in group) + AFTER


def _lines(case: Case, width: float) -> list[str]:
    """The sentence of a case, as long as ``width`` inches allow."""
    return textwrap.wrap(case.words, int(width * CHARACTERS))


Panel = tuple[np.ndarray, Rectangle | None]  # a picture and a frame on it


def _mask_panels(case: Case) -> list[Panel]:
    """Photograph with the frame of the rest, then, closer, the cat, the truth, the prediction and its errors."""
    rows, columns = _window(case.truth | case.extra)
    side = rows.stop - rows.start
    frame = Rectangle((columns.start - 0.5, rows.start - 0.5), side, side, fill=False, edgecolor=MASK_COLOUR, linewidth=1.2)
    closer = (picture(case.bg_fg), picture(case.mask), picture(case.prob), mask_errors(case.mask, case.prob))
    return [(picture(case.bg_fg), frame), *((image[rows, columns], None) for image in closer)]


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
    images = picture(case.bg_fg), depth_picture(case.depth, case.valid), depth_picture(case.predicted), error_picture(error)
    return [(image, None) for image in images]
