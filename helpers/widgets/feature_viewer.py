"""Feature maps under a slider: what the stages of a network make of one scene. Notebook 03 shows it.

``explore_features`` is a view that moves, ``show_features`` the same as one figure, for everyone who only reads. Both
are given the maps, which a forward hook collects: no network is needed.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from helpers.plots import ERROR_COLOURS, array, depth_picture, picture, show_images, styled
from helpers.widgets.player import Player, Shown, chooser, ramp

CHANNELS = 12  # of a stage that can be looked at, and that the page holds: those that vary most over the scene
MOST = 150_000  # bytes of the view


def _share(values: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]: a map from its lowest value, at most 0, to its highest."""
    low, high = min(0.0, float(values.min())), float(values.max())
    return (values - low) / max(high - low, 1e-6)


def _scaled(values: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1]: the same in colours."""
    return depth_picture(_share(values), colours=ERROR_COLOURS)


def _liveliest(maps: np.ndarray) -> np.ndarray:
    """The numbers of the channels of (C, H, W) that vary most over the scene, the liveliest first."""
    return np.argsort(-maps.std((1, 2)), kind="stable")[:CHANNELS]


def _stages(stages: Mapping[str, object]) -> dict[str, np.ndarray]:
    """(C, H, W) float arrays by name, of maps of one scene: (C, H, W) or (1, C, H, W)."""
    arrays = {name: array(maps) for name, maps in stages.items()}
    arrays = {name: maps[0] if maps.ndim == 4 and len(maps) == 1 else maps for name, maps in arrays.items()}
    wrong = {name: maps.shape for name, maps in arrays.items() if maps.ndim != 3}
    if wrong or not arrays:
        raise ValueError(f"stages must map names to maps (C, H, W) of one scene, not {wrong or 'to nothing'}")
    return arrays


def explore_features(scene, stages: Mapping[str, object]) -> Player:
    """A view of the :data:`CHANNELS` liveliest channels of each stage: let it be the last line of a cell.

    Args:
        scene: the photograph that the network was given, (3, H, W).
        stages: by name what each stage made of it, (C, H, W) or (1, C, H, W), of any size.

    Raises:
        ValueError: maps of another shape, or none.
    """
    scene, shown = picture(scene), []
    for name, maps in _stages(stages).items():
        count, height, width = maps.shape
        about, mean = f"{name}: {count} channels of {height} × {width} pixels", _share(maps.mean(0))
        channels = ((str(channel), _share(maps[channel])) for channel in _liveliest(maps))
        shown.append([Shown(about, [scene], [mean, one], words={"channel": channel}) for channel, one in channels])
    panels = ("bg_fg", "photo", 0), ("mean of all channels", "map", 0), ("channel {channel}", "map", 1)
    legend = f"<p>Activation: none {ramp(ERROR_COLOURS)} the highest of this map.</p>"
    controls = chooser("stage", restarts=True), chooser("channel")
    return Player("what the stages of a network make of a scene", controls, panels, shown,
                  columns=3, pixels=72, side=192, most=MOST, below=legend)  # fmt: skip


@styled
def show_features(scene, stages: Mapping[str, object]) -> Figure:
    """All stages side by side: the mean of their channels, and below it the channel that varies most over the scene."""
    maps = _stages(stages)
    titles = {name: f"{name}\n{len(x)} × {x.shape[1]} × {x.shape[2]}" for name, x in maps.items()}
    rows = [{"bg_fg": scene} | {titles[name]: _scaled(x.mean(0)) for name, x in maps.items()}]
    rows += [{"bg_fg": scene} | {titles[name]: _scaled(x[_liveliest(x)[0]]) for name, x in maps.items()}]
    figure = show_images(rows, side=0.95)
    for axis, label in zip(figure.axes[:: len(maps) + 1], ("mean", "one channel")):
        axis.set_ylabel(label)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), ERROR_COLOURS), ax=figure.axes, fraction=0.015, pad=0.01,
                          label="share of the map's highest")  # fmt: skip
    bar.outline.set_visible(False)
    return figure
