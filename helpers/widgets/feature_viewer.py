"""Feature maps under a slider: what the stages of a network make of one scene. Notebook 03 shows it.

``explore_features`` is a widget, ``show_features`` the same as one figure, for everyone who only reads. Both are given
the maps, which a forward hook collects: no network is needed.
"""

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from helpers.plots import ERROR_COLOURS, array, depth_picture, picture, show_images, styled
from helpers.widgets.controls import Chooser, PairPanels, ramp

CHANNELS = 12  # of a stage that can be looked at: those that vary most over the scene


def _scaled(values: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1]: a map in colours, from its lowest value, at most 0, to its highest."""
    low, high = min(0.0, float(values.min())), float(values.max())
    return depth_picture(values, None, low, max(high, low + 1e-6), ERROR_COLOURS)


def _liveliest(maps: np.ndarray) -> np.ndarray:
    """The numbers of the channels of (C, H, W) that vary most over the scene, the liveliest first."""
    return np.argsort(-maps.std((1, 2)), kind="stable")[:CHANNELS]


def _stages(stages: Mapping[str, object]) -> dict[str, np.ndarray]:
    """(C, H, W) float arrays by name, of maps of one scene: (C, H, W) or (1, C, H, W)."""
    arrays = {name: array(maps) for name, maps in stages.items()}
    arrays = {name: maps[0] if maps.ndim == 4 and len(maps) == 1 else maps for name, maps in arrays.items()}
    wrong = {name: maps.shape for name, maps in arrays.items() if maps.ndim != 3}
    if wrong or not arrays:
        raise ValueError(f"stages must map names to maps (C, H, W) of one scene; these are not: {wrong or 'there are none'}")
    return arrays


class FeatureViewer(PairPanels):
    """A scene and the feature maps of one stage: their mean and one channel; made by :func:`explore_features`.

    Attributes:
        stage, channel: a :class:`helpers.widgets.controls.Chooser` each; channels are ordered, the liveliest first.
    """

    def __init__(self, scene, stages: Mapping[str, object]):
        self._scene, self._maps = picture(scene), _stages(stages)
        self._names, self._order = list(self._maps), {name: _liveliest(maps) for name, maps in self._maps.items()}
        self.stage = Chooser("stage", len(self._names))
        self.channel = Chooser("channel", len(self._order[self._names[0]]))
        self.stage.slider.observe(self._begin, "value")  # observed first: before anything is drawn
        legend = widgets.HTML(f"Activation: none {ramp(ERROR_COLOURS)} the highest of this map.")
        super().__init__([self.stage, self.channel], [legend])

    def _begin(self, _) -> None:
        """Another stage has other channels: begin with its liveliest."""
        self.channel.restart(len(self._order[self._names[self.stage.index]]))

    def picked(self) -> tuple:
        return self.stage.index, self.channel.index

    def draw(self, stage: int, rank: int) -> tuple[str, list[dict[str, np.ndarray]]]:
        name = self._names[stage]
        maps, channel = self._maps[name], int(self._order[name][rank])
        count, height, width = maps.shape
        row = {
            "bg_fg": self._scene,
            "mean of all channels": _scaled(maps.mean(0)),
            f"channel {channel}": _scaled(maps[channel]),
        }
        return f"{name}: {count} channels of {height} × {width} pixels", [row]


def explore_features(scene, stages: Mapping[str, object]) -> FeatureViewer:
    """A :class:`FeatureViewer`: let it be the last line of a cell.

    Args:
        scene: the photograph that the network was given, (3, H, W).
        stages: by name what each stage made of it, (C, H, W) or (1, C, H, W), of any size.

    Raises:
        ValueError: maps of another shape, or none.
    """
    return FeatureViewer(scene, stages)


@styled
def show_features(scene, stages: Mapping[str, object]) -> Figure:
    """All stages side by side: the mean of their channels, and below it the channel that varies most over the scene."""
    maps = _stages(stages)
    titles = {name: f"{name}\n{len(x)} × {x.shape[-1]}²" for name, x in maps.items()}
    rows = [{"bg_fg": scene} | {titles[name]: _scaled(x.mean(0)) for name, x in maps.items()}]
    rows += [{"bg_fg": scene} | {titles[name]: _scaled(x[_liveliest(x)[0]]) for name, x in maps.items()}]
    figure = show_images(rows, side=0.95)
    for axis, label in zip(figure.axes[:: len(maps) + 1], ("mean", "one channel")):
        axis.set_ylabel(label)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), ERROR_COLOURS), ax=figure.axes, fraction=0.015, pad=0.01,
                          label="share of the map's highest")  # fmt: skip
    bar.outline.set_visible(False)
    return figure
