"""Time travel: what the network of a run said about the same test quartets, from its first step to its last.

``time_travel(run_dir)`` is a widget with a slider over the moments of the training, and buttons that play it like a
film; ``show_journey(run_dir)`` is the same as one figure, for everyone who only reads. Both show what
:mod:`helpers.callbacks` kept while ``train`` ran: no network is needed, and every picture is drawn once.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from helpers.callbacks import Snapshots, read_snapshots
from helpers.plots import depth_picture, overlay, picture, show_images
from helpers.widgets.explorer import GAP, REMEMBERED, SIDE, Control, dice, fixed_image, strip, words_above

INTERVAL = 400  # milliseconds between two moments of the film
COLUMNS, ROOMS = 8, 2  # of the figure: moments, and quartets


def enlarged(maps: np.ndarray, side: int) -> np.ndarray:
    """(h, h) at ``side`` pixels by nearest pixel: small answers stay as coarse as they are."""
    nearest = ((np.arange(side) + 0.5) * maps.shape[-1] / side).astype(int)
    return maps[nearest][:, nearest]


class TimeTravel(widgets.VBox):
    """Two rows of pictures, the words above them, and the controls; made by :func:`time_travel`.

    Attributes:
        moment, sample: a :class:`helpers.widgets.explorer.Control` each; drive them by ``.slider.value``, from 1.
        play: buttons that move ``moment`` by themselves.
        about: the moment in words.
        mask_view, depth_view: the images; ``.value`` is a PNG, always of the same size.
        mask_words, depth_words: what stands above them.
    """

    def __init__(self, film: Snapshots):
        self._film = film
        self._rows = lru_cache(REMEMBERED)(self._draw_rows)
        count, quartets = len(film.snapshots), len(film.bg_fg)
        self.moment, self.sample = (
            Control(name, widgets.IntSlider(value=1, min=1, max=max(2, most), disabled=most == 1), buttons,
                    lambda number, most=most: f"{number} of {most}")
            for name, most, buttons in (("moment", count, ("earlier", "later")), ("sample", quartets, ("previous", "next")))
        )  # fmt: skip
        self.play = widgets.Play(value=1, min=1, max=count, step=1, interval=INTERVAL, disabled=count == 1)
        self._link = widgets.jslink((self.play, "value"), (self.moment.slider, "value"))  # in the browser, both ways
        self.about = widgets.Label()
        self.mask_words, self.depth_words = ([widgets.Label() for _ in range(3)] for _ in range(2))
        self.mask_view, self.depth_view = (fixed_image(3 * (SIDE + GAP) - GAP, SIDE) for _ in range(2))
        for control in (self.moment, self.sample):
            control.slider.observe(self._show, "value")
        self._show()
        super().__init__([
            self.moment, self.play, self.sample, self.about,
            words_above(self.mask_words, SIDE), self.mask_view, words_above(self.depth_words, SIDE), self.depth_view,
        ])  # fmt: skip

    def _show(self, _=None) -> None:
        film = self._film
        moment = min(self.moment.slider.value, len(film.snapshots)) - 1
        sample = min(self.sample.slider.value, len(film.bg_fg)) - 1
        frame = film.snapshots[moment]
        self.about.value = (
            f"after {frame.samples:,} training samples, stage {frame.stage} of {film.stages}, {frame.size} px"
        )
        self.mask_view.value, self.depth_view.value, dice, error = self._rows(moment, sample)
        off = "unknown" if np.isnan(error) else f"{error:.3f}"
        for labels, words in (
            (self.mask_words, ("what it takes for cat", f"mask, Dice {dice:.3f}", "true mask")),
            (self.depth_words, ("the scene", f"depth, error {off}", "true depth")),
        ):
            for label, text in zip(labels, words):
                label.value = text

    def _draw_rows(self, moment: int, sample: int) -> tuple[bytes, bytes, float, float]:
        """The PNGs of both rows, the mask's Dice, and the mean absolute depth error (NaN: no pixel is valid)."""
        film = self._film
        scene, truth, valid = film.bg_fg[sample], film.depth[sample] / 255, film.valid[sample]
        prob, depth = (enlarged(maps[sample], scene.shape[-1]) / 255 for maps in film.snapshots[moment].predictions)
        found, real = prob >= 0.5, film.mask[sample] >= 128
        error = np.abs(depth - truth)[valid].mean() if valid.any() else np.nan
        masks = strip([overlay(scene, found), picture(prob), picture(film.mask[sample])], SIDE)
        depths = strip([picture(scene), depth_picture(depth), depth_picture(truth, valid)], SIDE)
        return masks, depths, dice(found, real), float(error)


def time_travel(run_dir: str | Path) -> TimeTravel:
    """A :class:`TimeTravel` through the training in ``run_dir``: let it stand last in a cell.

    Raises:
        CourseError: the run has kept no frames.
    """
    return TimeTravel(read_snapshots(run_dir))


def show_journey(run_dir: str | Path) -> Figure:
    """Mask and depth of two test quartets at eight moments of the training, from left to right, and the truth.

    Raises:
        CourseError: the run has kept no frames.
    """
    film = read_snapshots(run_dir)
    chosen = np.unique(np.linspace(0, len(film.snapshots) - 1, COLUMNS).round().astype(int))
    frames = [film.snapshots[place] for place in chosen]
    rows = []
    for sample in range(min(ROOMS, len(film.bg_fg))):
        truths = picture(film.mask[sample]), depth_picture(film.depth[sample] / 255, film.valid[sample])
        for which, (colour, truth) in enumerate(zip((picture, depth_picture), truths)):
            said = {f"{frame.samples:,}": colour(frame.predictions[which, sample] / 255) for frame in frames}
            rows.append({"scene": film.bg_fg[sample], **said, "truth": truth})
    figure = show_images(rows, side=0.95)
    figure.suptitle("what the network says after so many training samples", fontsize=10)
    return figure
