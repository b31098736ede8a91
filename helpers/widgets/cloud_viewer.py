"""Depth as what it means: points in space, the true ones beside the predicted ones, for turning by hand.

A pixel of a pinhole camera is a ray; its depth says how far along the ray something is. ``clouds(quartet, depth)``
walks along the rays, ``point_cloud`` shows the points as a plotly figure that you can turn, ``turn_cloud`` turns both
clouds together with sliders, and ``show_cloud`` is the still picture for everyone who only reads.

Two things are not in a depth map and have to be assumed. The *field of view* of the camera: the default is the middle
of what the rendered rooms are drawn with. And *metres*: a network says which share of the way from the nearest to the
farthest pixel a thing stands; the two ends are the true ones, for both clouds, and ``NEAR_FAR`` where no one knows them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import ipywidgets as widgets
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from helpers.plots import MASK_COLOUR, array, picture, plane, quartets_of, show_images
from helpers.widgets.explorer import GAP, REMEMBERED, Control, fixed_image, strip, words_above

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Turnable

FIELD_OF_VIEW = 52.0  # degrees, from the left to the right edge; the rooms have 42 to 62 (helpers.rendering.layout)
NEAR_FAR = (1.0, 4.0)  # metres that are assumed where a source has none
MOST_POINTS = 4096  # of each cloud, so that a saved figure stays small
PAINT = 0.5  # of the cat's colour over the photograph, where the cat is marked
TONES = 64  # colours of a saved cloud

HEIGHT = 440  # pixels of the plotly figure
EYE = 1.9  # distance of its camera from the middle, in sides of the box
AXIS = {"backgroundcolor": "#f4f4f4", "nticks": 5, "tickfont": {"size": 10}}

VIEW = 320  # pixels of one drawn cloud on the screen
START = (25.0, 15.0)  # degrees of turn and tilt
ANGLES = {"from the camera": (0, 0), "from the right": (45, 10), "from above": (0, 70)}  # turn, tilt
NAMES = ("true depth", "predicted depth")


# -- points ---------------------------------------------------------------------------------------------------------


class Cloud(NamedTuple):
    """Points (N, 3) in metres: x to the right, y ahead, z up, the camera at 0; colours (N, 3) in [0, 1]; cat (N,)."""

    points: np.ndarray
    colours: np.ndarray
    cat: np.ndarray


def unproject(metres, field_of_view: float = FIELD_OF_VIEW) -> np.ndarray:
    """Points (H, W, 3) from distances (H, W) along the camera's axis: x to the right, y ahead, z up.

    Args:
        metres: (H, W) or (1, H, W).
        field_of_view: degrees from the left to the right edge of the picture.

    Raises:
        ValueError: a field of view that no pinhole camera has.
    """
    if not 0 < field_of_view < 180:
        raise ValueError(f"field_of_view={field_of_view}: give degrees between 0 and 180")
    metres = plane(metres).astype(float)
    height, width = metres.shape
    slope = 2 * math.tan(math.radians(field_of_view) / 2) / width  # metres aside, per pixel, at a distance of 1 m
    right = (np.arange(width) + 0.5 - width / 2) * slope
    up = (height / 2 - np.arange(height) - 0.5)[:, None] * slope
    return np.stack([right * metres, metres, up * metres], -1)


def clouds(quartet: Mapping, depth, mark_cat: bool = False, field_of_view: float = FIELD_OF_VIEW) -> tuple[Cloud, Cloud]:
    """The true cloud and the predicted one, of the same pixels: those whose depth is known, at most MOST_POINTS.

    A quartet in which no depth is known has an empty true cloud, and a predicted one of all pixels.

    Args:
        quartet: one quartet (no batch dimension).
        depth: (1, H, W) or (H, W), the prediction in [0, 1].
        mark_cat: paint the true cat over the photograph.
        field_of_view: degrees from the left to the right edge of the picture.

    Raises:
        ValueError: a depth of another size.
    """
    quartet, depth = quartets_of(quartet)[0], plane(depth)
    truth, valid = plane(quartet["depth"]), plane(quartet["valid"]).astype(bool)
    if depth.shape != truth.shape:
        raise ValueError(f"the predicted depth has the size {depth.shape}, the true one {truth.shape}")
    (near, far), _ = ends(quartet)
    step = math.ceil(math.sqrt(truth.size / MOST_POINTS))
    chosen = np.zeros_like(valid)
    chosen[step // 2 :: step, step // 2 :: step] = True
    if valid.any():
        chosen = chosen & valid if (chosen & valid).any() else valid  # a few valid pixels may lie between the chosen ones
    cat = plane(quartet["mask"]) >= 0.5
    colours = picture(quartet["bg_fg"])
    if mark_cat:
        colours = np.where(cat[..., None], (1 - PAINT) * colours + PAINT * np.array(to_rgb(MASK_COLOUR)), colours)
    true, predicted = (unproject(near + shown * (far - near), field_of_view) for shown in (truth, depth))
    known = chosen & valid  # nothing, where no depth is known at all
    return Cloud(true[known], colours[known], cat[known]), Cloud(predicted[chosen], colours[chosen], cat[chosen])


def ends(quartet: Mapping) -> tuple[tuple[float, float], str]:
    """Metres of depth 0 and of depth 1, and where they come from in words."""
    near, far = array(quartet["near_far"]).ravel().tolist() if "near_far" in quartet else (math.nan, math.nan)
    if math.isfinite(near) and math.isfinite(far):
        return (near, far), f"both scaled to the true {near:.1f} to {far:.1f} m"
    return NEAR_FAR, f"metres unknown: {NEAR_FAR[0]:g} to {NEAR_FAR[1]:g} m assumed"


# -- turned by the mouse --------------------------------------------------------------------------------------------


def point_cloud(quartet: Mapping, depth, mark_cat: bool = False, field_of_view: float = FIELD_OF_VIEW) -> Turnable:
    """A plotly figure of both clouds side by side; drag to turn, scroll to come nearer. Arguments as in :func:`clouds`.

    The two begin in the same view. Colours are reduced to :data:`TONES`, which halves the figure.
    """
    from plotly.graph_objects import Scatter3d  # imported late: it takes a second
    from plotly.subplots import make_subplots

    pair, (_, scale) = clouds(quartet, depth, mark_cat, field_of_view), ends(quartets_of(quartet)[0])
    tones, palette = _reduced(pair[1].colours)
    figure = make_subplots(rows=1, cols=2, specs=[[{"type": "scene"}] * 2], subplot_titles=NAMES, horizontal_spacing=0.02)
    for column, cloud in enumerate(pair, 1):
        x, y, z = cloud.points.astype(np.float32).round(3).T
        marker = {"size": 2.5, "color": tones[: len(cloud.points)], "cmin": 0, "cmax": TONES - 1, "colorscale": palette}
        hover = "%{x:.2f} m to the right<br>%{y:.2f} m ahead<br>%{z:.2f} m up<extra></extra>"
        dots = Scatter3d(x=x, y=y, z=z, mode="markers", marker=marker, hovertemplate=hover, showlegend=False)
        figure.add_trace(dots, row=1, col=column)
    # Both scenes get the same box, else each would be stretched to its own points.
    everything = np.concatenate([cloud.points for cloud in pair])
    low, high = everything.min(0), everything.max(0)
    sides = ((high - low) / (high - low).max()).clip(0.05)
    axes = {
        f"{axis}axis": {"title": {"text": title, "font": {"size": 11}}, "range": [float(low[k]), float(high[k])], **AXIS}
        for k, (axis, title) in enumerate((("x", "right, m"), ("y", "ahead, m"), ("z", "up, m")))
    }
    turn, tilt = (math.radians(angle) for angle in START)
    eye = (math.sin(turn) * math.cos(tilt), -math.cos(turn) * math.cos(tilt), math.sin(tilt))
    camera = {"eye": dict(zip("xyz", (EYE * x for x in eye))), "center": {"x": 0, "y": 0, "z": -0.12}}
    figure.update_scenes(camera=camera, aspectmode="manual", aspectratio=dict(zip("xyz", sides.tolist())), **axes)
    figure.add_annotation(text=scale, xref="paper", yref="paper", x=0.5, y=0, showarrow=False)
    figure.update_layout(height=HEIGHT, margin={"l": 0, "r": 0, "t": 30, "b": 0})
    return figure


def _reduced(colours: np.ndarray) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Colours (N, 3) as numbers (N,) uint8 of a palette, and the palette as a colour scale."""
    pixels = (colours * 255).round().astype(np.uint8)[None]
    reduced = Image.fromarray(pixels).quantize(TONES, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = np.zeros((TONES, 3), int)
    used = np.array(reduced.getpalette()[: 3 * TONES]).reshape(-1, 3)
    palette[: len(used)] = used
    scale = [(k / (TONES - 1), f"rgb({r},{g},{b})") for k, (r, g, b) in enumerate(palette)]
    return np.asarray(reduced)[0], scale


# -- drawn by hand --------------------------------------------------------------------------------------------------


def view(cloud: Cloud, turn: float, tilt: float, side: int = VIEW, about: float | None = None) -> np.ndarray:
    """(side, side, 3) in [0, 1]: the cloud seen by a pinhole camera that went around it; near points hide far ones.

    Args:
        cloud: the points.
        turn: degrees to the right around the middle of the cloud.
        tilt: degrees upwards.
        side: pixels.
        about: the distance, in metres ahead, of the middle; default: halfway between the nearest and the farthest point.
    """
    if not len(cloud.points):
        return np.ones((side, side, 3))
    x, y, z = cloud.points.T
    about = (y.min() + y.max()) / 2 if about is None else about
    turn, tilt = math.radians(turn), math.radians(tilt)
    y = y - about
    x, y = math.cos(turn) * x + math.sin(turn) * y, math.cos(turn) * y - math.sin(turn) * x
    y, z = math.cos(tilt) * y - math.sin(tilt) * z, math.cos(tilt) * z + math.sin(tilt) * y
    # A little farther back than the photographer, and more so from aside and from above, so that all is seen.
    ahead = y + about * (1.1 + 0.6 * (1 - math.cos(turn) * math.cos(tilt)))
    seen = ahead > 0.2 * about
    scale = side / 2 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    size = math.ceil(1.1 * side / math.sqrt(len(cloud.points)))  # pixels of a dot: no gaps where the camera stood
    column, row = (side / 2 + scale * x / ahead)[seen], (side / 2 - scale * z / ahead)[seen]
    order = np.argsort(-ahead[seen])
    column, row = (np.floor(value[order] - size / 2).astype(int) for value in (column, row))
    sheet = np.ones((side, side, 3))
    colours = cloud.colours[seen][order]
    nearest = np.full((side, side), -1)  # the number, from far to near, of the point in each pixel
    for down in range(size):
        for across in range(size):
            r, c = row + down, column + across
            inside = np.flatnonzero((r >= 0) & (r < side) & (c >= 0) & (c < side))
            np.maximum.at(nearest, (r[inside], c[inside]), inside)
    sheet[nearest >= 0] = colours[nearest[nearest >= 0]]
    return sheet


def show_cloud(quartet: Mapping, depth, mark_cat: bool = False, angles: Mapping[str, tuple[float, float]] = ANGLES,
               field_of_view: float = FIELD_OF_VIEW, side: float = 1.9) -> Figure:  # fmt: skip
    """The clouds as a still picture, the true one above, seen from ``angles``: name -> degrees of turn and tilt."""
    pair, about = clouds(quartet, depth, mark_cat, field_of_view), sum(ends(quartets_of(quartet)[0])[0]) / 2
    rows = [{f"{which}\n{name}": view(cloud, *angle, about=about) for name, angle in angles.items()}
            for which, cloud in zip(NAMES, pair)]  # fmt: skip
    return show_images(rows, side)


class TurnCloud(widgets.VBox):
    """Both clouds side by side, turned together by sliders; made by :func:`turn_cloud`.

    Attributes:
        sample, turn, tilt: a :class:`helpers.widgets.explorer.Control` each.
        view: the image; ``.value`` is a PNG, always of the same size.
        about: what the quartet is, and where the metres come from.
    """

    def __init__(self, batch, depth, labels: Sequence[str] | None, mark_cat: bool, field_of_view: float):
        quartets, depths = quartets_of(batch), array(depth)
        labels = list(labels) if labels else [""] * len(quartets)
        if not quartets or not len(quartets) == len(depths) == len(labels):
            raise ValueError(
                f"there must be as many depth maps and labels as quartets (at least 1), not {len(quartets)} quartets, "
                f"{len(depths)} depth maps and {len(labels)} labels"
            )
        self._pairs = [clouds(quartet, said, mark_cat, field_of_view) for quartet, said in zip(quartets, depths)]
        self._ends = [ends(quartet) for quartet in quartets]
        self._labels, count = labels, len(quartets)
        self._png = lru_cache(REMEMBERED)(self._draw)
        one_of = widgets.IntSlider(value=1, min=1, max=max(2, count), disabled=count == 1)
        self.sample = Control("sample", one_of, ("previous", "next"), lambda number: f"{number} of {count}")
        self.turn, self.tilt = (
            Control(name, widgets.IntSlider(value=round(value), min=low, max=high, step=5), words, "{:.0f}°".format)
            for name, value, low, high, words in (
                ("turn", START[0], -90, 90, ("left", "right")),
                ("tilt", START[1], -20, 90, ("down", "up")),
            )
        )
        self.view, self.about = fixed_image(2 * (VIEW + GAP) - GAP, VIEW), widgets.Label()
        for control in (self.sample, self.turn, self.tilt):
            control.slider.observe(self._show, "value")
        self._show()
        titles = words_above([widgets.Label(name) for name in NAMES], VIEW)
        super().__init__([self.sample, self.turn, self.tilt, self.about, titles, self.view])

    def _show(self, _=None) -> None:
        index = min(self.sample.slider.value, len(self._pairs)) - 1
        self.view.value = self._png(index, self.turn.slider.value, self.tilt.slider.value)
        self.about.value = ", ".join(word for word in (self._labels[index], self._ends[index][1]) if word)

    def _draw(self, index: int, turn: float, tilt: float) -> bytes:
        about = sum(self._ends[index][0]) / 2
        return strip([view(cloud, turn, tilt, about=about) for cloud in self._pairs[index]], VIEW)


def turn_cloud(batch, depth, labels: Sequence[str] | None = None, mark_cat: bool = False,
               field_of_view: float = FIELD_OF_VIEW) -> TurnCloud:  # fmt: skip
    """A :class:`TurnCloud` of quartets and their predicted depth: let it stand last in a cell.

    Args:
        batch: quartets (one, a batch, or a sequence).
        depth: (B, 1, H, W) or (B, H, W) depth in [0, 1].
        labels: a few words about each quartet.
        mark_cat: paint the true cat over the photograph.
        field_of_view: degrees from the left to the right edge of the picture.

    Raises:
        ValueError: not as many of each.
    """
    return TurnCloud(batch, depth, labels, mark_cat, field_of_view)
