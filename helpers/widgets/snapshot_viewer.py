"""Time travel: what the network of a run predicted for the same validation quartets, from its first step to its last.

``time_travel`` is a widget, ``show_journey`` the same as one figure, for everyone who only reads. Both show the
snapshots that :mod:`helpers.callbacks` kept while ``train`` ran: no network is needed.
"""

from pathlib import Path

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from helpers.callbacks import Snapshots, read_snapshots
from helpers.plots import depth_errors, depth_picture, overlay, picture, show_images
from helpers.widgets.controls import Chooser, PairPanels
from helpers.widgets.explorer import dice

COLUMNS, SAMPLES = 8, 2  # of the figure: snapshots, and quartets


class SnapshotViewer(PairPanels):
    """A validation quartet and what was predicted for it, masks above and depth below; made by :func:`time_travel`.

    Attributes:
        snapshot, sample: a :class:`helpers.widgets.controls.Chooser` each.
        play: buttons that move ``snapshot`` by themselves.
    """

    def __init__(self, run: Snapshots):
        self._run, count = run, len(run.snapshots)
        self.snapshot = Chooser("snapshot", count, ("earlier", "later"))
        self.sample = Chooser("sample", len(run.bg_fg))
        super().__init__([self.snapshot, self.sample])
        self.play = widgets.Play(value=1, min=1, max=count, step=1, interval=400, disabled=count == 1)  # milliseconds
        self._link = widgets.jslink((self.play, "value"), (self.snapshot.slider, "value"))  # in the browser, both ways
        self.children = (self.children[0], self.play, *self.children[1:])

    def picked(self) -> tuple:
        return self.snapshot.index, self.sample.index

    def draw(self, number: int, sample: int) -> tuple[str, list[dict]]:
        run, snapshot = self._run, self._run.snapshots[number]
        scene, mask, depth, valid = run.bg_fg[sample], run.mask[sample], run.depth[sample] / 255, run.valid[sample]
        size = scene.shape[:0:-1]  # (W, H), to which coarse predictions are enlarged
        prob, predicted = (
            np.asarray(Image.fromarray(maps[sample]).resize(size, Image.Resampling.NEAREST)) / 255
            for maps in snapshot.predictions
        )
        error = depth_errors(depth, predicted, valid)
        mean = "unknown" if np.isnan(error).all() else f"{np.nanmean(error):.3f}"
        stage = f"stage {snapshot.stage} of {run.stages}, {snapshot.size} px"
        masks = {
            "with the predicted cat": overlay(scene, prob >= 0.5),
            f"predicted mask, Dice {dice(prob >= 0.5, mask >= 128):.3f}": picture(prob),
            "mask, ground truth": picture(mask),
        }
        depths = {
            "bg_fg": picture(scene),
            f"predicted depth, error {mean}": depth_picture(predicted),
            "depth, ground truth": depth_picture(depth, valid),
        }
        return f"after {snapshot.samples:,} training samples, {stage}", [masks, depths]


def time_travel(run_dir: str | Path) -> SnapshotViewer:
    """A :class:`SnapshotViewer` of the training in ``run_dir``: let it be the last line of a cell.

    Raises:
        CourseError: the run has kept no snapshots.
    """
    return SnapshotViewer(read_snapshots(run_dir))


def show_journey(run_dir: str | Path) -> Figure:
    """Mask and depth of two validation quartets in eight snapshots of the training, left to right; then ground truth.

    Raises:
        CourseError: the run has kept no snapshots.
    """
    run = read_snapshots(run_dir)
    chosen = [run.snapshots[i] for i in np.unique(np.linspace(0, len(run.snapshots) - 1, COLUMNS).round().astype(int))]
    rows = []
    for sample, scene in enumerate(run.bg_fg[:SAMPLES]):
        targets = picture(run.mask[sample]), depth_picture(run.depth[sample] / 255, run.valid[sample])
        for which, (colour, target) in enumerate(zip((picture, depth_picture), targets)):
            row = {f"{snapshot.samples:,}": colour(snapshot.predictions[which, sample] / 255) for snapshot in chosen}
            rows.append({"bg_fg": scene, **row, "ground truth": target})
    figure = show_images(rows, side=0.95)
    figure.suptitle("what the network predicts after so many training samples", fontsize=10)
    return figure
