"""The snapshots of a training under a slider, and the same as a figure."""

import io

import numpy as np
import pytest
from PIL import Image
from toy import ToyQuartets

from helpers.callbacks import Snapshot, Snapshots
from helpers.config import CourseError
from helpers.widgets import snapshot_viewer
from helpers.widgets.controls import GAP, PANEL
from helpers.widgets.snapshot_viewer import COLUMNS, SAMPLES, SnapshotViewer, show_journey, time_travel

COUNT = 9  # snapshots: six in stage 1, three in stage 2
TOTAL = 48


def run_of(count=COUNT, quartets=4):
    """Snapshots of a run that comes nearer to the ground truth; predicted in two sizes."""
    batch = ToyQuartets(size=48).get_batch(range(0, 10 * quartets, 10))
    maps = {key: (batch[key][:, 0].numpy() * 255).round().astype(np.uint8) for key in ("mask", "depth")}
    snapshots = []
    for number in range(count):
        size = 24 if number < 6 else 48
        right = np.stack([maps["mask"], maps["depth"]])[:, :, :: 48 // size, :: 48 // size]
        predictions = (128 + (right - 128.0) * number / count).astype(np.uint8)
        snapshots.append(Snapshot(6 * number, 1 + number // 6, size, predictions))
    return Snapshots(tuple(snapshots), 2, batch["bg_fg"].numpy(), **maps, valid=batch["valid"][:, 0].numpy())


@pytest.fixture
def viewer():
    return SnapshotViewer(run_of())


def panels(viewer):
    """The three pictures of each row."""
    rows = []
    for view in viewer.views:
        with Image.open(io.BytesIO(view.value)) as image:
            sheet = np.asarray(image.convert("RGB"))
        assert sheet.shape == (PANEL, 3 * (PANEL + GAP) - GAP, 3)
        rows.append([sheet[:, k * (PANEL + GAP) : k * (PANEL + GAP) + PANEL] for k in range(3)])
    return rows


def test_it_begins_before_the_first_step(viewer):
    assert viewer.about.value == "after 0 training samples, stage 1 of 2, 24 px"
    assert viewer.snapshot.text.value == "snapshot: 1 of 9" and viewer.sample.text.value == "sample: 1 of 4"


def test_a_later_snapshot_changes_the_prediction_and_not_the_ground_truth(viewer):
    before = panels(viewer)
    viewer.snapshot.slider.value = COUNT
    after = panels(viewer)
    assert viewer.about.value == f"after {TOTAL} training samples, stage 2 of 2, 48 px"
    for old, new in zip(before, after):
        assert not np.array_equal(old[1], new[1]) and np.array_equal(old[2], new[2])
    assert np.array_equal(before[1][0], after[1][0])  # the scene


def test_another_sample_is_another_scene_in_the_same_snapshot(viewer):
    viewer.snapshot.slider.value = 5
    about, before = viewer.about.value, panels(viewer)
    viewer.sample.forth.click()
    assert viewer.about.value == about
    for old, new in zip(before, panels(viewer)):
        assert not any(np.array_equal(a, b) for a, b in zip(old, new))


def test_all_snapshots_are_played(viewer):
    assert (viewer.play.min, viewer.play.max, viewer.play.step) == (1, COUNT, 1)
    assert viewer._link.source == (viewer.play, "value") and viewer._link.target == (viewer.snapshot.slider, "value")
    assert viewer.play in viewer.children


def square_cat(**changes):
    """One snapshot of one quartet: a square cat of which the left half is predicted; all depth off by a fifth."""
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[:, 8:24, 8:24] = 255
    predictions = np.stack([mask, np.full_like(mask, 102)])
    predictions[0, :, :, 16:] = 0
    held = {"bg_fg": np.zeros((1, 3, 32, 32), np.uint8), "mask": mask, "depth": np.full_like(mask, 153),
            "valid": np.ones_like(mask, bool), **changes}  # fmt: skip
    return Snapshots((Snapshot(7, 1, 32, held.pop("predictions", predictions)),), 1, **held)


def test_the_scores_are_of_this_picture():
    viewer = SnapshotViewer(square_cat())
    assert "Dice 0.667" in viewer.titles[0][1].value and "error 0.200" in viewer.titles[1][1].value
    assert viewer.snapshot.slider.disabled and viewer.play.disabled  # there is only one


def test_depth_that_nobody_knows_is_not_scored():
    viewer = SnapshotViewer(square_cat(valid=np.zeros((1, 32, 32), bool)))
    assert "error unknown" in viewer.titles[1][1].value


def test_nothing_predicted_where_nothing_is_is_right():
    nothing = np.zeros((1, 32, 32), np.uint8)
    viewer = SnapshotViewer(square_cat(mask=nothing, predictions=np.stack([nothing, nothing])))
    assert "Dice 1.000" in viewer.titles[0][1].value


def test_small_predictions_are_enlarged_by_the_nearest_pixel():
    small = np.arange(0, 256, 16, dtype=np.uint8).reshape(1, 4, 4)
    viewer = SnapshotViewer(square_cat(predictions=np.stack([small, small])))
    shown = panels(viewer)[0][1][..., 0]
    assert np.array_equal(shown, np.repeat(np.repeat(small[0], PANEL // 4, 0), PANEL // 4, 1))


# -- the figure ----------------------------------------------------------------------------------------------------


def test_the_figure_goes_from_the_first_snapshot_to_the_last_and_the_ground_truth(monkeypatch):
    monkeypatch.setattr(snapshot_viewer, "read_snapshots", lambda folder: run_of())
    figure = show_journey("anywhere")
    titles = [axis.get_title() for axis in figure.axes]
    assert len(figure.axes) == 2 * SAMPLES * (COLUMNS + 2)
    assert titles[:2] == ["bg_fg", "0"] and titles[COLUMNS : COLUMNS + 2] == [str(TOTAL), "ground truth"]
    assert not any(titles[COLUMNS + 2 :])  # once, above


def test_a_run_of_few_snapshots_shows_them_all(monkeypatch):
    monkeypatch.setattr(snapshot_viewer, "read_snapshots", lambda folder: run_of(2, 1))
    assert len(show_journey("anywhere").axes) == 2 * (2 + 2)


@pytest.mark.parametrize("show", [time_travel, show_journey])
def test_a_run_without_snapshots_is_told_to_train_again(tmp_path, show):
    with pytest.raises(CourseError, match="holds no snapshots.npz.*train again"):
        show(tmp_path)
