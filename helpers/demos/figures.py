"""Figures of the first notebooks: many scenes, what one row of an image holds, and which rooms meet which cats."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from helpers import plots


@plots.styled
def contact_sheet(quartets, columns: int, labels: Sequence[str]) -> Figure:
    """The scenes of many quartets at a glance, each below its label."""
    shown = plots.quartets_of(quartets)
    rows, side = -(-len(shown) // columns), 1.5  # inches
    figure, axes = plt.subplots(rows, columns, figsize=(side * columns, (side + 0.2) * rows), squeeze=False,
                              layout="constrained")  # fmt: skip
    for axis, quartet, label in zip(axes.flat, shown, labels):
        plots.draw(axis, plots.picture(quartet["bg_fg"]))
        axis.set_title(label, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


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
    colours = [values[code][1] for code in order]
    axis.imshow(np.searchsorted(order, plots.array(codes)), ListedColormap(colours), aspect="auto", vmin=-0.5,
                vmax=len(order) - 0.5, origin="lower", interpolation="nearest")  # fmt: skip
    axis.grid(False)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, xticks=[], yticks=[])
    figure.legend(handles=plots.patches(dict(values[code] for code in order)), loc="outside right upper")
    return figure
