"""Depth as what it means: points in space, the true ones beside the predicted ones, for turning by hand.

``point_cloud`` shows the points as a plotly figure that you can turn; ``show_cloud`` is the still picture for everyone
who only reads. Two things are not in a depth map and have to be assumed: the *field of view* of the camera, and
*metres*. A network predicts which share of the way from the nearest to the farthest pixel a thing is; both clouds get
the true ends, and ``NEAR_FAR`` where no one knows them.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from helpers.plots import array, overlay, plane, quartets_of, styled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

FIELD_OF_VIEW = 52.0  # degrees, from the left to the right edge; the rooms have 42 to 62 (helpers.rendering.layout)
NEAR_FAR = (1.0, 4.0)  # metres that are assumed where a source has none
MOST_POINTS = 4096  # of each cloud, so that a saved figure stays small
TONES = 64  # colours of a saved cloud
EYE = {"x": 0.78, "y": -1.66, "z": 0.49}  # where it is seen from first: from 25 degrees to the right, and 15 upwards
VIEWS = {"from the camera": (0, 0), "from the right": (45, 10), "from above": (0, 80)}  # degrees to the right, upwards
NAMES = ("true depth", "predicted depth")
AXES = {"x": "right, m", "y": "ahead, m", "z": "up, m"}


class Cloud(NamedTuple):
    """Points (N, 3) in metres: x to the right, y ahead, z up, the camera at 0; colours (N, 3) in [0, 1]; cat (N,)."""

    points: np.ndarray
    colours: np.ndarray
    cat: np.ndarray


def unproject(metres: np.ndarray) -> np.ndarray:
    """Points (H, W, 3) from distances (H, W) along the axis of a pinhole camera: x to the right, y ahead, z up."""
    metres = metres.astype(float)
    height, width = metres.shape
    slope = 2 * math.tan(math.radians(FIELD_OF_VIEW) / 2) / width  # metres aside, per pixel, at a distance of 1 m
    right = (np.arange(width) + 0.5 - width / 2) * slope
    up = (height / 2 - np.arange(height) - 0.5)[:, None] * slope
    return np.stack([right * metres, metres, up * metres], -1)


def clouds(quartet: Mapping, depth, mark_cat: bool = False) -> tuple[Cloud, Cloud]:
    """The clouds of the true depth and of the predicted one, at the same pixels: those whose depth is known.

    Where no depth is known at all the true cloud is empty, and the predicted one has all pixels.

    Args:
        quartet: one quartet (no batch dimension).
        depth: (1, H, W) or (H, W), the prediction in [0, 1].
        mark_cat: paint the cat over the photograph.

    Raises:
        ValueError: a depth of another size.
    """
    quartet, depth = quartets_of(quartet)[0], plane(depth)
    target, valid = plane(quartet["depth"]), plane(quartet["valid"]).astype(bool)
    if depth.shape != target.shape:
        raise ValueError(f"the predicted depth has the size {depth.shape}, the true one {target.shape}")
    (near, far), _ = ends(quartet)
    step = math.ceil(math.sqrt(target.size / MOST_POINTS))
    chosen = np.zeros_like(valid)
    chosen[step // 2 :: step, step // 2 :: step] = True
    if valid.any():  # a few valid pixels may lie between the chosen ones
        chosen = chosen & valid if (chosen & valid).any() else valid
    cat = plane(quartet["mask"]) >= 0.5
    colours = overlay(quartet["bg_fg"], cat & mark_cat)
    true, predicted = (unproject(near + shown * (far - near)) for shown in (target, depth))
    known = chosen & valid  # nothing, where no depth is known at all
    return Cloud(true[known], colours[known], cat[known]), Cloud(predicted[chosen], colours[chosen], cat[chosen])


def ends(quartet: Mapping) -> tuple[tuple[float, float], str]:
    """Metres of depth 0 and of depth 1, and where they come from in words."""
    near, far = array(quartet["near_far"]).ravel().tolist() if "near_far" in quartet else (math.nan, math.nan)
    if math.isfinite(near) and math.isfinite(far):
        return (near, far), f"both scaled to the true {near:.1f} to {far:.1f} m"
    return NEAR_FAR, f"metres unknown: {NEAR_FAR[0]:g} to {NEAR_FAR[1]:g} m assumed"


def _box(pair: tuple[Cloud, Cloud]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ends (3,) of a box around both clouds, and its sides as shares of the longest, so that a metre is a metre."""
    everything = np.concatenate([cloud.points for cloud in pair])
    low, high = everything.min(0), everything.max(0)
    return low, high, ((high - low) / (high - low).max()).clip(0.05)


def _reduced(colours: np.ndarray) -> tuple[np.ndarray, list]:
    """Colours (N, 3) as numbers (N,) uint8 of a palette, and the palette as plotly's colour scale."""
    pixels = Image.fromarray((colours * 255).round().astype(np.uint8)[None])
    reduced = pixels.quantize(TONES, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = [*reduced.getpalette()[: 3 * TONES], *[0] * 3 * TONES]
    colours = [palette[3 * k : 3 * k + 3] for k in range(TONES)]
    return np.asarray(reduced)[0], [(k / (TONES - 1), "rgb({},{},{})".format(*rgb)) for k, rgb in enumerate(colours)]


def point_cloud(quartet: Mapping, depth, mark_cat: bool = False) -> "PlotlyFigure":
    """A plotly figure of both clouds; drag to turn one, scroll to come nearer. Arguments as in :func:`clouds`."""
    from plotly.graph_objects import Scatter3d  # imported late: it takes a second
    from plotly.subplots import make_subplots
    pair, (_, scale) = clouds(quartet, depth, mark_cat), ends(quartets_of(quartet)[0])
    scenes = [[{"type": "scene"}] * 2]
    figure = make_subplots(rows=1, cols=2, specs=scenes, subplot_titles=NAMES, horizontal_spacing=0.02)
    hover = "%{x:.2f} m to the right<br>%{y:.2f} m ahead<br>%{z:.2f} m up<extra></extra>"
    tones, palette = _reduced(pair[1].colours)  # as numbers: in a saved notebook each colour as text has a line
    for column, cloud in enumerate(pair, 1):
        x, y, z = cloud.points.astype(np.float32).round(3).T
        marker = {"size": 2.5, "color": tones[: len(x)], "cmin": 0, "cmax": TONES - 1, "colorscale": palette}
        dots = Scatter3d(x=x, y=y, z=z, mode="markers", marker=marker, hovertemplate=hover, showlegend=False)
        figure.add_trace(dots, row=1, col=column)
    low, high, sides = _box(pair)  # of both scenes, else each would be stretched to its own points
    look = {"backgroundcolor": "#f4f4f4", "nticks": 5, "tickfont": {"size": 10}}
    axes = {
        f"{axis}axis": {"title": {"text": title, "font": {"size": 11}}, "range": [float(low[k]), float(high[k])]} | look
        for k, (axis, title) in enumerate(AXES.items())
    }
    camera = {"eye": EYE, "center": {"x": 0, "y": 0, "z": -0.12}}
    figure.update_scenes(camera=camera, aspectmode="manual", aspectratio=dict(zip("xyz", sides.tolist())), **axes)
    figure.add_annotation(text=scale, xref="paper", yref="paper", x=0.5, y=0, showarrow=False)
    figure.update_layout(height=440, margin={"l": 0, "r": 0, "t": 30, "b": 0})
    return figure


@styled
def show_cloud(quartet: Mapping, depth, mark_cat: bool = False) -> Figure:
    """Both clouds as a still picture, the true one above, seen from :data:`VIEWS`. Arguments as in :func:`clouds`."""
    pair, (_, scale) = clouds(quartet, depth, mark_cat), ends(quartets_of(quartet)[0])
    low, high, sides = _box(pair)
    figure = plt.figure(figsize=(3.5 * len(VIEWS), 7.0), layout="constrained")
    axes = figure.subplots(len(pair), len(VIEWS), subplot_kw={"projection": "3d"})
    for name, cloud, row in zip(NAMES, pair, axes):
        for (view, (turn, tilt)), axis in zip(VIEWS.items(), row):
            axis.scatter(*cloud.points.T, c=cloud.colours, s=11, marker="s", linewidths=0, depthshade=False)
            axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]), title=f"{name}\n{view}")
            axis.set_box_aspect(sides, zoom=1.3)
            axis.view_init(tilt, turn - 90)  # the photograph was taken looking along y
            axis.set_axis_off()
    figure.supxlabel(scale, fontsize=9)
    return figure
