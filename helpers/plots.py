"""The figures of the course. They know arrays only: numpy or torch, on any device, with or without a batch dimension.

Every function returns a matplotlib ``Figure`` that pyplot has already let go: a notebook cell that ends with the call
shows it once, nothing piles up in memory, and ``figure.savefig(...)`` works anywhere. Depth has one colour map
throughout, bright near and dark far; where it is not known there are grey stripes, which no depth looks like.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

# Perceptually uniform, and read alike by the colour-blind. Reversed: what is near is bright.
DEPTH_COLOURS = "viridis_r"
ERROR_COLOURS = "magma"  # black: no error
MASK_COLOUR = "#e8590c"  # laid over photographs
TRUE, FALSE_ALARM, MISSED = "#ffffff", "#e8590c", "#1c7ed6"  # of a predicted mask, against black
STRIPES = (0.62, 0.86)  # two greys, for pixels whose depth is not known

# Okabe and Ito's colours, which stay apart for every kind of colour vision.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

STYLE = {
    "figure.dpi": 90,
    "figure.facecolor": "white",  # also where the notebook is dark
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": plt.cycler(color=LINES),
    "lines.linewidth": 1.6,
}
PANEL = 1.55  # inches: side of a picture

TITLES = {"bg": "bg: the room", "bg_fg": "bg_fg: with the cat", "mask": "mask", "depth": "depth", "valid": "valid"}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """The course's look for the figures of ``draw``, which pyplot then forgets, so that they are not shown twice."""

    @functools.wraps(draw)
    def wrapped(*args, **kwargs) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **kwargs)
        plt.close(figure)
        return figure

    return wrapped


# -- arrays and colours -------------------------------------------------------------------------------------------


def array(x) -> np.ndarray:
    """A numpy array from anything like one: a tensor may need a gradient, be on a GPU or have 16 bits."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if x.is_floating_point() else x
    return np.asarray(x)


def quartets_of(quartets) -> list[dict[str, np.ndarray]]:
    """A list of quartets of arrays, from one quartet, a batch, or a sequence of quartets."""
    if not isinstance(quartets, Mapping):
        return [{key: array(value) for key, value in quartet.items()} for quartet in quartets]
    arrays = {key: array(value) for key, value in quartets.items()}
    if arrays["bg"].ndim == 3:
        return [arrays]
    return [{key: value[i] for key, value in arrays.items()} for i in range(len(arrays["bg"]))]


def picture(image) -> np.ndarray:
    """(H, W, 3) in [0, 1] from (3, H, W), (H, W, 3), (1, H, W) or (H, W); uint8, bool or floats in [0, 1]."""
    image = array(image)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] != 3:
        image = image.transpose(1, 2, 0)  # (H, W, C)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"a picture has shape (3, H, W), (H, W, 3), (1, H, W) or (H, W), not {image.shape}")
    image = image / 255 if image.dtype == np.uint8 else image.astype(float)
    return np.broadcast_to(np.nan_to_num(image).clip(0, 1), (*image.shape[:2], 3))


def plane(x) -> np.ndarray:
    """(H, W) from (1, H, W) or (H, W)."""
    x = array(x)
    return x[0] if x.ndim == 3 else x


def depth_picture(depth, valid=None, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """(H, W, 3) in [0, 1]: depth in its colours, stripes where it is not valid.

    Args:
        depth: (1, H, W) or (H, W).
        valid: of the same shape, bool; default: wherever ``depth`` is a number.
        low, high: the depths of the first and the last colour.
    """
    depth = plane(depth).astype(float)
    known = np.isfinite(depth) if valid is None else plane(valid).astype(bool) & np.isfinite(depth)
    coloured = plt.get_cmap(DEPTH_COLOURS)(Normalize(low, high)(np.where(known, depth, low)))[..., :3]
    height, width = depth.shape
    step = max(2, max(height, width) // 24)
    y, x = np.mgrid[:height, :width]
    stripes = np.where((x + y) // step % 2, *STRIPES)[..., None]
    return np.where(known[..., None], coloured, stripes)


def overlay(image, mask, opacity: float = 0.5, colour: str = MASK_COLOUR) -> np.ndarray:
    """(H, W, 3) in [0, 1]: ``image`` with ``colour`` laid over it where ``mask`` is 1, in part where it is between."""
    weight = (opacity * plane(mask).astype(float).clip(0, 1))[..., None]
    return picture(image) * (1 - weight) + np.array(to_rgb(colour)) * weight


def mask_errors(truth, prob, threshold: float = 0.5) -> np.ndarray:
    """(H, W, 3) in [0, 1]: cat that was found, cat that was missed, and room that was taken for cat."""
    real, found = plane(truth) >= 0.5, plane(prob) >= threshold
    colours = np.array([to_rgb(colour) for colour in ("black", FALSE_ALARM, MISSED, TRUE)])
    return colours[2 * real + found]


# -- pieces of figures --------------------------------------------------------------------------------------------


def _grid(rows: int, columns: int, side: float = PANEL, aspect: float = 1.0) -> tuple[Figure, np.ndarray]:
    """A figure of ``rows`` x ``columns`` pictures without ticks; the axes as a 2-d array."""
    size = (columns * (side / aspect + 0.1) + 0.6, rows * (side + 0.1) + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    return figure, axes


def _draw(axis: Axes, image: np.ndarray, **colours) -> None:
    """Small pictures with every pixel a square; large ones, which have more pixels than there is room for, smoothed."""
    axis.imshow(image, interpolation="nearest" if image.shape[0] <= 100 else "auto", **colours)


def colour_bar(figure: Figure, axes, label: str, colours: str = DEPTH_COLOURS, low: float = 0.0, high: float = 1.0,
               ticks: Mapping[float, str] | None = None) -> Colorbar:  # fmt: skip
    """A colour bar with its label to the right of ``axes``; ``ticks`` maps values to words."""
    scale = ScalarMappable(Normalize(low, high), colours)
    rows, columns = np.atleast_2d(axes).shape
    bar = figure.colorbar(
        scale, ax=np.ravel(axes).tolist(), label=label, fraction=max(0.05, 0.12 / columns), pad=0.015, aspect=14 * rows
    )
    if ticks:
        bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.outline.set_visible(False)
    return bar


def depth_bar(figure: Figure, axes) -> Colorbar:
    """The colour bar of relative depth."""
    ticks = {0.0: "0 near", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1 far"}
    return colour_bar(figure, axes, "relative depth", ticks=ticks)


def note(axis: Axes, text: str) -> None:
    """A few words in the lower left corner of a picture, readable on any picture."""
    if text:
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
        axis.text(0.03, 0.04, text, transform=axis.transAxes, fontsize=8, color="black", bbox=box)


def in_metres(near_far) -> str:
    """``1.2 to 4.5 m``, or nothing where the source has no metres."""
    near, far = array(near_far)
    return "" if np.isnan(near) else f"{near:.1f} to {far:.1f} m"


def _coloured(key: str, quartet: Mapping[str, np.ndarray]) -> np.ndarray:
    """One image of a quartet as it is always drawn."""
    return depth_picture(quartet["depth"], quartet.get("valid")) if key == "depth" else picture(quartet[key])


# -- quartets -----------------------------------------------------------------------------------------------------


@styled
def show_quartets(quartets, rows: int = 4, keys: Sequence[str] = ("bg", "bg_fg", "mask", "depth"),
                  labels: Sequence[str] | None = None) -> Figure:  # fmt: skip
    """The first ``rows`` quartets, one a row: room, room with cat, mask, depth with its metres.

    Args:
        quartets: a quartet, a batch, or a sequence of quartets.
        rows: at most so many.
        keys: which images, from left to right.
        labels: a word or two for each row.
    """
    shown = quartets_of(quartets)[:rows]
    figure, axes = _grid(len(shown), len(keys))
    for quartet, row in zip(shown, axes):
        for axis, key in zip(row, keys):
            _draw(axis, _coloured(key, quartet))
            if key == "depth" and "near_far" in quartet:
                note(axis, in_metres(quartet["near_far"]))
    for axis, key in zip(axes[0], keys):
        axis.set_title(TITLES.get(key, key))
    for axis, label in zip(axes[:, 0], labels or ()):
        axis.set_ylabel(label)
    if "depth" in keys:
        depth_bar(figure, axes)
    return figure


@styled
def contact_sheet(quartets, columns: int = 4, keys: Sequence[str] = ("bg_fg",),
                  labels: Sequence[str] | None = None) -> Figure:  # fmt: skip
    """Many quartets at a glance, each as a strip of its ``keys``; ``labels`` stand above them."""
    shown = quartets_of(quartets)
    columns = min(columns, len(shown))
    side = min(1.4, 9.0 / (columns * len(keys)))
    figure, axes = _grid(math.ceil(len(shown) / columns), columns, side, aspect=1 / len(keys))
    for axis, quartet in zip(axes.flat, shown):
        _draw(axis, np.concatenate([_coloured(key, quartet) for key in keys], 1))
    for axis, label in zip(axes.flat, labels or ()):
        axis.set_title(label, fontsize=9)
    for axis in axes.flat[len(shown):]:
        axis.set_visible(False)
    return figure


@styled
def show_images(images: Mapping[str, object] | Sequence[Mapping[str, object]], side: float = 1.9) -> Figure:
    """Pictures side by side, their names above; several mappings make several rows. Draw depth with depth_picture."""
    rows = [images] if isinstance(images, Mapping) else list(images)
    figure, axes = _grid(len(rows), max(map(len, rows)), side)
    above = ()
    for row, named in zip(axes, rows):
        for axis, (name, image) in zip(row, named.items()):
            _draw(axis, picture(image))
            axis.set_title("" if tuple(named) == above else name)  # once for rows that are alike
        above = tuple(named)
        for axis in row[len(named):]:
            axis.set_visible(False)
    return figure


@styled
def show_maps(maps: Mapping[str, object], label: str, low: float = 0.0, high: float = 1.0, colours: str = ERROR_COLOURS,
              side: float = 1.9) -> Figure:  # fmt: skip
    """Maps of one quantity, (H, W) or (1, H, W), side by side with one colour bar that says ``label``."""
    figure, axes = _grid(1, len(maps), side)
    for axis, (name, values) in zip(axes.flat, maps.items()):
        _draw(axis, plane(values), cmap=colours, vmin=low, vmax=high)
        axis.set_title(name)
    colour_bar(figure, axes, label, colours, low, high)
    return figure


@styled
def show_row(image, row: int, lines: Mapping[str, object], ylabel: str, step: bool = False) -> Figure:
    """A picture with one of its rows marked and, below it, what that row holds: one line by name for each quantity.

    ``step`` draws each pixel as wide as it is, for looking at a few pixels closely.
    """
    shown = picture(image)
    height, width = shown.shape[:2]
    across, down = 3.5, 3.5 * height / width  # inches; placed by hand, so that columns stand below columns
    figure = plt.figure(figsize=(across + 0.9, down + 2.6))
    whole = figure.get_size_inches()
    above = figure.add_axes((0.75 / whole[0], 2.5 / whole[1], across / whole[0], down / whole[1]))
    below = figure.add_axes((0.75 / whole[0], 0.5 / whole[1], across / whole[0], 1.9 / whole[1]))
    _draw(above, shown, aspect="auto")
    above.axhline(row, color=MASK_COLOUR, linewidth=1.2)
    above.set(xticks=[], yticks=[row], ylabel="row, px")
    above.grid(False)
    for name, line in lines.items():
        below.plot(array(line), label=name, drawstyle="steps-mid" if step else "default")
    below.set(xlim=(-0.5, width - 0.5), xlabel="column, px", ylabel=ylabel)
    if len(lines) > 1:
        below.legend()
    return figure


# -- predictions --------------------------------------------------------------------------------------------------


@styled
def show_predictions(batch, mask_prob, depth, rows: int = 4, threshold: float = 0.5, error_limit: float = 0.3,
                     labels: Sequence[str] | None = None) -> Figure:  # fmt: skip
    """What a network says beside what is true, one quartet a row, with both errors.

    Args:
        batch: quartets (one, a batch, or a sequence).
        mask_prob: (B, 1, H, W) or (B, H, W) probability of cat.
        depth: (B, 1, H, W) or (B, H, W) depth in [0, 1].
        rows: at most so many.
        threshold: from this probability on, a pixel is taken for cat.
        error_limit: the depth error of the brightest colour.
        labels: a word or two for each row.
    """
    shown = quartets_of(batch)[:rows]
    titles = ("bg_fg", "mask", "predicted", "mask errors", "depth", "predicted", "depth error")
    figure, axes = _grid(len(shown), len(titles), side=1.15)
    for quartet, prob, predicted, row in zip(shown, array(mask_prob), array(depth), axes):
        valid = quartet["valid"]
        error = np.where(plane(valid), np.abs(plane(predicted) - plane(quartet["depth"])), np.nan)
        panels = (
            picture(quartet["bg_fg"]), picture(quartet["mask"]), picture(prob),
            mask_errors(quartet["mask"], prob, threshold),
            depth_picture(quartet["depth"], valid), depth_picture(predicted),
        )  # fmt: skip
        for axis, panel in zip(row, panels):
            _draw(axis, panel)
        _draw(row[-1], depth_picture(error))  # stripes where nothing is known, and the errors over it
        _draw(row[-1], error, cmap=ERROR_COLOURS, vmin=0, vmax=error_limit)
        note(row[4], in_metres(quartet["near_far"]))
    for axis, title in zip(axes[0], titles):
        axis.set_title(title)
    for axis, label in zip(axes[:, 0], labels or ()):
        axis.set_ylabel(label)
    colour_bar(figure, axes, "absolute depth error", ERROR_COLOURS, 0, error_limit)
    figure.legend(handles=_mask_error_legend(), loc="outside lower center", ncols=3)
    return figure


def _mask_error_legend() -> list[Patch]:
    named = ((TRUE, "cat, found"), (MISSED, "cat, missed"), (FALSE_ALARM, "no cat, but taken for one"))
    return [Patch(facecolor=colour, edgecolor="grey", label=name) for colour, name in named]


# -- curves and counts --------------------------------------------------------------------------------------------


@styled
def show_lines(lines: Mapping[str, object], xlabel: str, ylabel: str, title: str = "", x=None, size=(6.4, 2.8),
               log: str = "") -> Figure:  # fmt: skip
    """Lines by name. A line is its y values, over ``x`` or over 0, 1, 2, ...; or a pair ``(x, y)``.

    ``log`` names the logarithmic axes: "x", "y" or "xy".
    """
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    for name, line in lines.items():
        across, up = line if isinstance(line, tuple) else (x, line)
        up = array(up)
        axis.plot(np.arange(len(up)) if across is None else array(across), up, label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axis.set(**{f"{which}scale": "log" for which in log})
    if len(lines) > 1:
        axis.legend()
    return figure


@styled
def show_panels(panels: Mapping[str, Mapping[str, object]], levels: Mapping[str, Sequence[float]], ylabel: str,
                xlabels: Mapping[str, str], size=(8.6, 2.6)) -> Figure:  # fmt: skip
    """One panel beside the other with a common vertical axis: ``panels[panel][line]`` are values at ``levels[panel]``."""
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for axis, (panel, lines) in zip(axes[0], panels.items()):
        for name, values in lines.items():
            axis.plot(range(len(levels[panel])), array(values), marker="o", markersize=3, label=name)
        axis.set_xticks(range(len(levels[panel])), [f"{level:g}" for level in levels[panel]])
        axis.set(xlabel=xlabels[panel], ylim=(0, 1))
    axes[0, 0].set(ylabel=ylabel)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


@styled
def show_histograms(values: Mapping[str, object], xlabel: str, bins: int | Sequence[float] = 50, title: str = "",
                    log: bool = False, size=(6.4, 2.6)) -> Figure:  # fmt: skip
    """Shares of values by name, as outlines over common bins; ``log`` makes rare values visible."""
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    samples = {name: array(x).ravel() for name, x in values.items()}
    everything = np.concatenate(list(samples.values()))
    edges = np.histogram_bin_edges(everything[np.isfinite(everything)], bins)
    for name, x in samples.items():
        weights = np.full(len(x), 100 / max(1, len(x)))
        axis.hist(x, edges, weights=weights, histtype="stepfilled", alpha=0.35, label=name)
    axis.set(xlabel=xlabel, ylabel="share, %", title=title, yscale="log" if log else "linear")
    if len(samples) > 1:
        axis.legend()
    return figure


@styled
def show_matrix(table, values: Mapping[int, tuple[str, str]], xlabel: str, ylabel: str, title: str = "",
                size=(6.4, 3.4)) -> Figure:  # fmt: skip
    """A table (rows, columns) of codes as coloured cells, the first row below; ``values``: code -> name and colour."""
    table = array(table)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    codes = sorted(values)
    axis.imshow(np.searchsorted(codes, table), cmap=ListedColormap([values[code][1] for code in codes]), aspect="auto",
                vmin=-0.5, vmax=len(codes) - 0.5, origin="lower", interpolation="nearest")  # fmt: skip
    axis.grid(False)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, xticks=[], yticks=[])
    handles = [Patch(facecolor=values[code][1], edgecolor="grey", label=values[code][0]) for code in codes]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


CURVES = {
    "loss": "loss, training",
    "test_mask_dice": "mask Dice, test",
    "test_depth_rmse": "depth RMSE, test",
}


@styled
def training_curves(runs: Sequence[Mapping] | Mapping[str, Sequence[Mapping]],
                    quantities: Mapping[str, str] | None = None, x: str = "samples") -> Figure:  # fmt: skip
    """Rows of a history (or of a curve) over the samples seen, one panel a quantity; dashed where a stage begins.

    Args:
        runs: the rows of one run, or of several by name.
        quantities: column -> axis label; default: those of :data:`CURVES` that the rows have.
        x: the column across, ``samples`` or ``seconds``.
    """
    runs = runs if isinstance(runs, Mapping) else {"": runs}
    present = {key for rows in runs.values() for row in rows for key in row}
    quantities = quantities or {key: label for key, label in CURVES.items() if key in present}
    if not quantities:
        found = ", ".join(sorted(present)) or "nothing"
        raise ValueError(f"none of {', '.join(CURVES)} is in these rows; they have {found}")
    size = (3.1 * len(quantities), 2.7)
    figure, axes = plt.subplots(1, len(quantities), figsize=size, squeeze=False, layout="constrained")
    for axis, (key, label) in zip(axes.flat, quantities.items()):
        for name, rows in runs.items():
            points = np.array([(row[x], row[key]) for row in rows if key in row], dtype=float).reshape(-1, 2)
            axis.plot(*points.T, label=name, marker="o" if len(points) < 20 else None, markersize=4)
        axis.set(ylabel=label, xlabel="training samples seen" if x == "samples" else x)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    if len(runs) == 1:
        _mark_stages(axes, next(iter(runs.values())), x)
    else:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(runs))
    return figure


def _mark_stages(axes: np.ndarray, rows: Sequence[Mapping], x: str) -> None:
    """A dashed line where the image side changes, with the new side."""
    for before, row in zip(rows, rows[1:]):
        if row.get("size") != before.get("size"):
            for axis in axes.flat:
                axis.axvline(before[x], color="grey", linestyle="--", linewidth=1)
            where = axes[0, 0].get_xaxis_transform()
            axes[0, 0].text(before[x], 1.0, f" {row['size']} px", transform=where, va="top", fontsize=8, color="grey")
