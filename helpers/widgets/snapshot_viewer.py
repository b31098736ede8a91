"""Time travel: what the network of a run predicted for the same validation quartets, from its first step to its last.

``time_travel`` is a view that moves, ``show_journey`` the same as one figure. Both show the snapshots that
:mod:`helpers.callbacks` kept while ``train`` ran: no network is needed. The page holds all of them.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from helpers.callbacks import Snapshots, read_snapshots
from helpers.plots import depth_picture, picture, show_images
from helpers.widgets.explorer import dice, mean_error, quartet_player, shown_quartet
from helpers.widgets.player import Player, Shown, chooser

COLUMNS, SAMPLES = 8, 2  # of the figure: snapshots, and quartets
MOST = 450_000  # bytes of the view: 36 snapshots of four quartets,
PIXELS = 64  # at most so large
MILLISECONDS = 400  # of a snapshot that is played


def shown_snapshot(run: Snapshots, number: int, sample: int) -> Shown:
    """Quartet ``sample`` and what snapshot ``number`` predicted for it; coarse predictions are enlarged."""
    snapshot, size = run.snapshots[number], run.bg_fg.shape[:1:-1]  # (W, H)
    prob, depth = (
        np.asarray(Image.fromarray(maps[sample]).resize(size, Image.Resampling.NEAREST)) / 255
        for maps in snapshot.predictions
    )
    quartet = {"bg_fg": run.bg_fg[sample], "mask": run.mask[sample] / 255, "depth": run.depth[sample] / 255,
               "valid": run.valid[sample]}  # fmt: skip
    about = f"after {snapshot.samples:,} training samples, stage {snapshot.stage} of {run.stages}, {snapshot.size} px"
    score = dice(prob >= 0.5, run.mask[sample] >= 128)
    return shown_quartet(quartet, prob, depth, about, [score], mean_error(quartet, depth))


def travel(run: Snapshots) -> Player:
    """The view of :func:`time_travel`, of snapshots that were read."""
    samples = range(len(run.bg_fg))
    shown = [[shown_snapshot(run, number, sample) for sample in samples] for number in range(len(run.snapshots))]
    controls = chooser("snapshot", ("earlier", "later"), MILLISECONDS), chooser("sample")
    return quartet_player("the network while it learnt", controls, shown, MOST, PIXELS)


def time_travel(run_dir: str | Path) -> Player:
    """A view of the training in ``run_dir``: let it be the last line of a cell.

    Raises:
        CourseError: the run has kept no snapshots.
    """
    return travel(read_snapshots(run_dir))


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
