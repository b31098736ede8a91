"""The figures of the course. They know arrays only: numpy or torch, on any device, with or without a batch dimension.

Every function returns a matplotlib ``Figure`` that pyplot has already let go: a notebook cell that ends with the call
shows it once, nothing piles up in memory, and ``figure.savefig(...)`` works anywhere. Depth has one colour map
throughout, bright near and dark far; where it is not known there are grey stripes, which no depth looks like.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

# Perceptually uniform, and read alike by the colour-blind. Reversed: what is near is bright.
DEPTH_COLOURS = "viridis_r"
ERROR_COLOURS, ERROR_LIMIT = "magma", 0.3  # from black, no error, to the depth error of the brightest colour
MASK_COLOUR = "#e8590c"  # laid over photographs
TRUE, FALSE_ALARM, MISSED = "#ffffff", "#e8590c", "#1c7ed6"  # of a predicted mask, against black
PIXELS = {"cat, found": TRUE, "cat, missed": MISSED, "no cat, but taken for one": FALSE_ALARM}  # for a legend
STRIPES = (0.62, 0.86)  # two greys, for pixels whose depth is not known

# Okabe and Ito's colours, which stay apart for every kind of colour vision.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

STYLE = {
    "figure.dpi": 90, "figure.facecolor": "white",  # also where the notebook is dark
    "axes.titlesize": 10, "legend.fontsize": 9, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.prop_cycle": plt.cycler(color=LINES), "lines.linewidth": 1.6,
}  # fmt: skip
TITLES = {"bg": "bg: the room", "bg_fg": "bg_fg: with the cat", "mask": "mask", "depth": "depth"}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """The course's look for the figures of ``draw``, which pyplot then forgets, so that they are not shown twice."""

    @functools.wraps(draw)
    def wrapped(*args, **kwargs) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **kwargs)
        plt.close(figure)
        return figure

    return wrapped


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
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"a picture has shape (3, H, W), (H, W, 3), (1, H, W) or (H, W), not {image.shape}")
    image = image / 255 if image.dtype == np.uint8 else image.astype(float)
    return np.broadcast_to(np.nan_to_num(image).clip(0, 1), (*image.shape[:2], 3))


def plane(x) -> np.ndarray:
    """(H, W) from (1, H, W) or (H, W)."""
    x = array(x)
    return x[0] if x.ndim == 3 else x


def depth_picture(depth, valid=None, low: float = 0.0, high: float = 1.0, colours: str = DEPTH_COLOURS) -> np.ndarray:
    """(H, W, 3) in [0, 1]: depth, (1, H, W) or (H, W), in colours from ``low`` to ``high``; stripes where not valid.

    ``valid`` is bool, of the same shape; by default it is where ``depth`` is a number.
    """
    depth = plane(depth).astype(float)
    known = np.isfinite(depth) if valid is None else plane(valid).astype(bool) & np.isfinite(depth)
    coloured = plt.get_cmap(colours)(Normalize(low, high)(np.where(known, depth, low)))[..., :3]
    y, x = np.indices(depth.shape)
    stripes = np.where((x + y) // max(2, max(depth.shape) // 24) % 2, *STRIPES)[..., None]
    return np.where(known[..., None], coloured, stripes)


def overlay(image, mask, opacity: float = 0.5) -> np.ndarray:
    """(H, W, 3) in [0, 1]: ``image`` with the mask's colour over it where ``mask`` is 1, in part where it is less."""
    weight = (opacity * plane(mask).astype(float).clip(0, 1))[..., None]
    return picture(image) * (1 - weight) + np.array(to_rgb(MASK_COLOUR)) * weight


def mask_errors(target, prob, threshold: float = 0.5) -> np.ndarray:
    """(H, W, 3) in [0, 1]: cat that was found, cat that was missed, and room that was taken for cat."""
    cat, predicted = plane(target) >= 0.5, plane(prob) >= threshold
    colours = np.array([to_rgb(colour) for colour in ("black", FALSE_ALARM, MISSED, TRUE)])
    return colours[2 * cat + predicted]


def depth_errors(target, predicted, valid) -> np.ndarray:
    """(H, W) absolute depth errors, NaN where the depth is not known."""
    return np.where(plane(valid), np.abs(plane(predicted) - plane(target)), np.nan)


def error_picture(error) -> np.ndarray:
    """(H, W, 3) in [0, 1]: errors from 0 to :data:`ERROR_LIMIT` in their colours, stripes where the error is NaN."""
    return depth_picture(error, high=ERROR_LIMIT, colours=ERROR_COLOURS)


def _grid(rows: int, columns: int, side: float = 1.55) -> tuple[Figure, np.ndarray]:
    """A figure of ``rows`` x ``columns`` pictures, ``side`` inches each, without ticks; the axes as a 2-d array."""
    size = (columns * (side + 0.1) + 0.6, rows * (side + 0.1) + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    return figure, axes


def draw(axis: Axes, image: np.ndarray, **colours) -> None:
    """Every pixel is a square in small pictures; large ones, with more pixels than there is room for, are smoothed."""
    axis.imshow(image, interpolation="nearest" if image.shape[0] <= 100 else "auto", **colours)


def _colour_bar(figure: Figure, axes, label: str, colours: str, low: float = 0.0, high: float = 1.0) -> None:
    """A colour bar with its label to the right of ``axes``."""
    rows, columns = np.atleast_2d(axes).shape
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), colours), ax=np.ravel(axes).tolist(), label=label,
                          fraction=max(0.05, 0.12 / columns), pad=0.015, aspect=14 * rows)  # fmt: skip
    if colours == DEPTH_COLOURS:
        bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0 near", "0.25", "0.5", "0.75", "1 far"])
    bar.outline.set_visible(False)


def _label(axes: np.ndarray, titles: Iterable[str], labels: Sequence[str] | None) -> None:
    """Titles above the columns, and labels before the rows."""
    for axis, title in zip(axes[0], titles):
        axis.set_title(title)
    for axis, label in zip(axes[:, 0], labels or ()):
        axis.set_ylabel(label)


def patches(colours: Mapping[str, str]) -> list[Patch]:
    return [Patch(facecolor=colour, edgecolor="grey", label=name) for name, colour in colours.items()]


def _note(axis: Axes, text: str) -> None:
    """A few words in the lower left corner of a picture, readable on any picture."""
    if text:
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
        axis.text(0.03, 0.04, text, transform=axis.transAxes, fontsize=8, color="black", bbox=box)


def in_metres(near_far) -> str:
    """``1.2 to 4.5 m``, or nothing where the source has no metres."""
    near, far = array(near_far)
    return "" if np.isnan(near) else f"{near:.1f} to {far:.1f} m"


@styled
def show_quartets(quartets, rows: int = 4, labels: Sequence[str] | None = None) -> Figure:
    """The first ``rows`` quartets of a batch or a sequence (or one), one a row, with ``labels`` before the rows."""
    shown = quartets_of(quartets)[:rows]
    figure, axes = _grid(len(shown), len(TITLES))
    for quartet, row in zip(shown, axes):
        for axis, key in zip(row, TITLES):
            draw(axis, picture(quartet[key]) if key != "depth" else depth_picture(quartet[key], quartet.get("valid")))
        _note(row[-1], in_metres(quartet["near_far"]) if "near_far" in quartet else "")
    _label(axes, TITLES.values(), labels)
    _colour_bar(figure, axes, "relative depth", DEPTH_COLOURS)
    return figure


@styled
def show_images(images: Mapping[str, object] | Sequence[Mapping[str, object]], side: float = 1.9) -> Figure:
    """Pictures side by side, their names above; several mappings make several rows. Draw depth with depth_picture."""
    rows = [images] if isinstance(images, Mapping) else list(images)
    figure, axes = _grid(len(rows), max(map(len, rows)), side)
    for row, named, above in zip(axes, rows, [{}, *rows]):
        for axis, (name, image) in zip(row, named.items()):
            draw(axis, picture(image))
            axis.set_title("" if tuple(named) == tuple(above) else name)  # once for rows that are alike
        for axis in row[len(named):]:
            axis.set_visible(False)
    return figure


@styled
def show_maps(maps: Mapping[str, object], label: str, low: float = 0.0, high: float = 1.0, colours: str = ERROR_COLOURS,
              side: float = 1.9) -> Figure:  # fmt: skip
    """Maps of one quantity, (H, W) or (1, H, W), side by side with one colour bar, ``label`` beside it."""
    figure, axes = _grid(1, len(maps), side)
    for axis, (name, values) in zip(axes.flat, maps.items()):
        draw(axis, plane(values), cmap=colours, vmin=low, vmax=high)
        axis.set_title(name)
    _colour_bar(figure, axes, label, colours, low, high)
    return figure


@styled
def show_predictions(batch, mask_prob, depth, rows: int = 4, labels: Sequence[str] | None = None) -> Figure:
    """What a network predicts beside the ground truth, one quartet a row, with both errors.

    Args:
        batch, rows, labels: as in :func:`show_quartets`.
        mask_prob, depth: (B, 1, H, W) or (B, H, W) probability of cat, and depth in [0, 1].
    """
    shown = quartets_of(batch)[:rows]
    titles = ("bg_fg", "mask", "predicted", "mask errors", "depth", "predicted", "depth error")
    figure, axes = _grid(len(shown), len(titles), side=1.15)
    for quartet, prob, predicted, row in zip(shown, array(mask_prob), array(depth), axes):
        panels = (
            picture(quartet["bg_fg"]), picture(quartet["mask"]), picture(prob), mask_errors(quartet["mask"], prob),
            depth_picture(quartet["depth"], quartet["valid"]), depth_picture(predicted),
            error_picture(depth_errors(quartet["depth"], predicted, quartet["valid"])),
        )  # fmt: skip
        for axis, panel in zip(row, panels):
            draw(axis, panel)
        _note(row[4], in_metres(quartet["near_far"]))
    _label(axes, titles, labels)
    _colour_bar(figure, axes, "absolute depth error", ERROR_COLOURS, 0, ERROR_LIMIT)
    figure.legend(handles=patches(PIXELS), loc="outside lower center", ncols=3)
    return figure


@styled
def show_lines(lines: Mapping[str, object], xlabel: str, ylabel: str, title: str = "", x=None, size=(6.4, 2.8),
               log: str = "") -> Figure:  # fmt: skip
    """Lines by name. A line is its y values, over ``x`` or over 0, 1, 2, ...; or a pair ``(x, y)``.

    ``log`` names the logarithmic axes: "x", "y" or "xy".
    """
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    for name, line in lines.items():
        across, up = line if isinstance(line, tuple) else (x, line)
        axis.plot(range(len(up)) if across is None else array(across), array(up), label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, **{f"{which}scale": "log" for which in log})
    if len(lines) > 1:
        axis.legend()
    return figure


@styled
def show_panels(panels: Mapping[str, tuple[str, Sequence, Mapping[str, object]]], ylabel: str = "loss",
                ylim: tuple[float, float] | None = None) -> Figure:  # fmt: skip
    """Panels with one vertical axis: ``panels[title]`` is the label across, x (or words, evenly apart), and lines."""
    size = (2.5 * len(panels), 2.6)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, (title, (xlabel, x, lines)) in zip(axes.flat, panels.items()):
        for name, values in lines.items():
            axis.plot(x, array(values), label=name, marker="o", markersize=3)
        axis.set(title=title, xlabel=xlabel)
    axes[0, 0].set(ylabel=ylabel, ylim=ylim)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


@styled
def show_histograms(values: Mapping[str, object], xlabel: str, bins: int | Sequence[float] = 50) -> Figure:
    """Shares of values by name, as outlines over common bins."""
    figure, axis = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
    samples = [array(x).ravel() for x in values.values()]
    weights = [np.full(len(x), 100 / max(1, len(x))) for x in samples]
    axis.hist(samples, bins, weights=weights, histtype="stepfilled", alpha=0.35, label=list(values))
    axis.set(xlabel=xlabel, ylabel="share, %")
    if len(values) > 1:
        axis.legend()
    return figure
