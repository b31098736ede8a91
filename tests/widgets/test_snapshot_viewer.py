"""The snapshots of a training under a slider, and the same as a figure."""

import numpy as np
import pytest
from players import Page
from toy import ToyQuartets

from helpers.callbacks import Snapshot, Snapshots
from helpers.config import CourseError
from helpers.widgets import snapshot_viewer
from helpers.widgets.snapshot_viewer import COLUMNS, MOST, SAMPLES, show_journey, time_travel, travel

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


@pytest.fixture(scope="module")
def page():
    return Page(travel(run_of()))


def test_it_goes_from_before_the_first_step_to_the_last_snapshot(page):
    snapshot, sample = page.spec["controls"]
    assert (snapshot["name"], snapshot["plays"] > 0, sample["name"], sample["plays"]) == ("snapshot", True, "sample", 0)
    assert [len(samples) for samples in page.spec["shown"]] == [4] * COUNT
    assert page.words.startswith("after 0 training samples, stage 1 of 2, 24 px")
    assert page.shown(COUNT - 1, 3)["about"] == f"after {TOTAL} training samples, stage 2 of 2, 48 px"


def test_a_later_snapshot_changes_the_prediction_and_not_the_ground_truth(page):
    (before, cat, known), (after, *rest) = page.exact(0, 0), page.exact(COUNT - 1, 0)
    assert not np.array_equal(before, after) and np.array_equal((cat, known), rest)
    first, last = page.shown(0, 0), page.shown(COUNT - 1, 0)
    assert first["photo"] == last["photo"] and first["depth"][0] == last["depth"][0]
    assert not np.array_equal(page.tile("depth", first["depth"][1]), page.tile("depth", last["depth"][1]))


def test_another_sample_is_another_scene_in_the_same_snapshot(page):
    one, other = page.shown(5, 0), page.shown(5, 1)
    assert one["about"] == other["about"]
    assert not {*one["photo"], *one["depth"]} & {*other["photo"], *other["depth"]}


def test_a_long_run_is_small_enough_to_be_kept():
    assert len(travel(run_of(36)).data.encode()) <= MOST


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
    page = Page(travel(square_cat()))
    assert (page.shown(0, 0)["dice"], page.shown(0, 0)["error"]) == ("0.667", "mean 0.200")


def test_depth_that_nobody_knows_is_not_scored():
    page = Page(travel(square_cat(valid=np.zeros((1, 32, 32), bool))))
    assert page.shown(0, 0)["error"] == "unknown" and not page.exact(0, 0)[2].any()


def test_nothing_predicted_where_nothing_is_is_right():
    nothing = np.zeros((1, 32, 32), np.uint8)
    page = Page(travel(square_cat(mask=nothing, predictions=np.stack([nothing, nothing]))))
    assert page.shown(0, 0)["dice"] == "1.000"


def test_small_predictions_are_enlarged_by_the_nearest_pixel():
    small = np.arange(0, 256, 16, dtype=np.uint8).reshape(1, 4, 4)
    page = Page(travel(square_cat(predictions=np.stack([small, small]))))
    shown = page.tile("depth", page.shown(0, 0)["depth"][1])[..., 0]
    assert np.abs(shown - np.repeat(np.repeat(small[0], 8, 0), 8, 1).astype(float)).max() < 8


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
