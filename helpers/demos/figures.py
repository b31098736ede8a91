"""Figures of single notebooks: a row of an image, which rooms meet which cats, and the curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from helpers import plots


@plots.styled
def show_row(image, row: int, lines: Mapping[str, object], ylabel: str, step: bool = False) -> Figure:
    """A picture with one of its rows marked and, below it, what that row holds: one line by name for each quantity.

    ``step`` draws each pixel as wide as it is, for looking at a few pixels closely.
    """
    shown = plots.picture(image)
    heights = 3.5 * shown.shape[0] / shown.shape[1], 1.9  # inches; columns are below columns
    figure, (above, below) = plt.subplots(2, 1, sharex=True, height_ratios=heights, figsize=(4.4, sum(heights) + 0.6),
                                          layout="constrained")  # fmt: skip
    plots.draw(above, shown, aspect="auto")
    above.axhline(row, color=plots.MASK_COLOUR, linewidth=1.2)
    above.set(yticks=[row], ylabel="row, px")
    above.tick_params(bottom=False)
    above.grid(False)
    for name, line in lines.items():
        below.plot(plots.array(line), label=name, drawstyle="steps-mid" if step else "default")
    below.set(xlabel="column, px", ylabel=ylabel)
    if len(lines) > 1:
        below.legend()
    return figure


@plots.styled
def show_matrix(codes, values: Mapping[int, tuple[str, str]], xlabel: str, ylabel: str, title: str,
                size: tuple[float, float]) -> Figure:  # fmt: skip
    """Codes (rows, columns) as coloured cells, the first row below; ``values``: code -> name and colour."""
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    order = sorted(values)
    names, colours = zip(*(values[code] for code in order))
    axis.imshow(np.searchsorted(order, plots.array(codes)), ListedColormap(colours), aspect="auto", vmin=-0.5,
                vmax=len(order) - 0.5, origin="lower", interpolation="nearest")  # fmt: skip
    axis.grid(False)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, xticks=[], yticks=[])
    figure.legend(handles=plots.patches(names, colours), loc="outside right upper")
    return figure


CURVES = dict(loss="training loss", validation_mask_dice="validation Dice", validation_depth_rmse="validation RMSE")


@plots.styled
def training_curves(rows: Sequence[Mapping], quantities: Mapping[str, str] | None = None) -> Figure:
    """The rows of one run's history over the samples seen, one panel a quantity; dashed where the image size changes.

    ``quantities`` (column -> axis label) are by default those of :data:`CURVES` that the rows have; ValueError if none.
    """
    present = {key for row in rows for key in row}
    quantities = quantities or {key: label for key, label in CURVES.items() if key in present}
    if not quantities:
        found = ", ".join(sorted(present)) or "nothing"
        raise ValueError(f"none of {', '.join(CURVES)} is in these rows; they have {found}")
    size = (3.1 * len(quantities), 2.7)
    figure, axes = plt.subplots(1, len(quantities), figsize=size, squeeze=False, layout="constrained")
    changes = [(before, row) for before, row in zip(rows, rows[1:]) if row.get("size") != before.get("size")]
    for axis, (key, label) in zip(axes.flat, quantities.items()):
        points = np.array([(row["samples"], row[key]) for row in rows if key in row], dtype=float).reshape(-1, 2)
        axis.plot(*points.T, marker="o" if len(points) < 20 else None, markersize=4)
        axis.set(ylabel=label, xlabel="training samples seen")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        for before, row in changes:
            axis.axvline(before["samples"], color="grey", linestyle="--", linewidth=1)
            if axis is axes[0, 0]:
                axis.text(before["samples"], 1.0, f" {row['size']} px", transform=axis.get_xaxis_transform(), va="top",
                          fontsize=8, color="grey")  # fmt: skip
    return figure
