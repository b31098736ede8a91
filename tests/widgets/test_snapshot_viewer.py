"""Frames of a training: the same whether it was interrupted or not, and no trace of them in the weights; their widget."""

import dataclasses
import io
import pickle
import shutil
from importlib import import_module

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_training import Failing, PowerCut, on_the_cpu, tiny  # noqa: F401 - a fixture works where it is named
from torch import nn
from toy import ToyQuartets

from helpers import callbacks as kept
from helpers.augment import resize
from helpers.callbacks import (
    LARGEST,
    MOMENTS,
    QUARTETS,
    SNAPSHOTS,
    Snapshot,
    SnapshotRecorder,
    Snapshots,
    read_snapshots,
    snapshot_times,
)
from helpers.config import CourseError
from helpers.dataset import get_batch, sample, split
from helpers.model import build, probabilities
from helpers.recipes import Stage, recipe
from helpers.train import train
from helpers.widgets.explorer import GAP, SIDE
from helpers.widgets.snapshot_viewer import COLUMNS, TimeTravel, enlarged, show_journey, time_travel

module = import_module("helpers.train")  # the attribute helpers.train is the function

TRAIN, TEST = split(ToyQuartets(rooms=6, cats=6, placements=1), 0.4)
EIGHTEEN = sample(TRAIN, 18)
STEPS = 8  # of SMALL: 2 x 3 of 6 quartets, and 2 of 8
TOTAL = 52
SMALL = recipe("course", "tiny", stages=(Stage(32, 6, 2), Stage(48, 8, 1)), precision="fp32", channels_last=False)


def run(folder, train_set=EIGHTEEN, test_set=TEST, wanted=SMALL):
    net = tiny()
    train(net, train_set, test_set, wanted, folder, progress=False)
    return net


def cut(folder, batches):
    """A run that dies when it asks for the next batch."""
    with pytest.raises(PowerCut):
        run(folder, Failing(EIGHTEEN, batches))


@pytest.fixture
def every_batch(monkeypatch):
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run, for all who only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        AcceleratorState._reset_state(reset_partial_state=True)
        patch.setattr(module, "Accelerator", lambda cpu: Accelerator(cpu=True))
        folder = tmp_path_factory.mktemp("run") / "finished"
        return folder, run(folder)


def times(folder):
    return [frame.samples for frame in read_snapshots(folder).frames]


def assert_same_film(folder, other):
    first, second = read_snapshots(folder), read_snapshots(other)
    assert first.stages == second.stages and len(first.snapshots) == len(second.snapshots)
    for key in ("bg_fg", "mask", "depth", "valid"):
        assert np.array_equal(getattr(first, key), getattr(second, key))
    for frame, twin in zip(first.snapshots, second.snapshots):
        assert (frame.samples, frame.stage, frame.size) == (twin.samples, twin.stage, twin.size)
        assert np.array_equal(frame.predictions, twin.predictions), frame.samples


# -- moments -------------------------------------------------------------------------------------------------------


@given(total=st.integers(1, 3_000_000))
def test_moments_begin_at_nothing_end_at_the_end_and_grow_rarer(total):
    due = snapshot_times(total)
    assert due[0] == 0 and due[-1] == total and len(due) <= MOMENTS
    gaps = np.diff(due)
    assert (gaps > 0).all()
    assert (gaps[2:] >= gaps[1:-1] - 1).all()  # rounding may take one away


def test_a_run_of_the_quick_profile_has_some_thirty_moments():
    steps = np.arange(0, 24_000, 32)
    due = snapshot_times(24_000)
    frames = sum(((due > before) & (due <= before + 32)).any() for before in steps)
    assert 30 <= frames <= MOMENTS


# -- frames of a run -----------------------------------------------------------------------------------------------


def test_frames_tell_when_and_where_they_were_taken(finished):
    film = read_snapshots(finished[0])
    told = [(frame.samples, frame.stage, frame.size) for frame in film.snapshots]
    assert told == [*((6 * step, 1, 32) for step in range(7)), (44, 2, 48), (52, 2, 48)]
    assert film.stages == 2
    for frame in film.snapshots:
        assert frame.predictions.dtype == np.uint8 and frame.predictions.shape == (2, QUARTETS, frame.size, frame.size)


def test_the_first_frame_is_of_the_untrained_network_and_the_last_of_the_trained(finished):
    folder, net = finished
    film, indices = read_snapshots(folder), kept._choose(TEST)
    for frame, answering in ((film.snapshots[0], tiny()), (film.snapshots[-1], net)):
        batch = resize(get_batch(TEST.at_size(frame.size), indices), frame.size)
        with torch.no_grad():
            answers = torch.stack(probabilities(*answering.eval()(batch["bg"], batch["bg_fg"]))).squeeze(2)
        assert np.abs(frame.predictions / 255 - answers.numpy()).max() <= 0.5 / 255 + 1e-5


def test_the_scenes_are_those_of_the_test_set(finished):
    film, batch = read_snapshots(finished[0]), get_batch(TEST, kept._choose(TEST))
    assert np.array_equal(film.bg_fg, batch["bg_fg"].numpy()) and np.array_equal(film.valid, batch["valid"][:, 0].numpy())
    for key in ("mask", "depth"):
        assert np.abs(getattr(film, key) / 255 - batch[key][:, 0].numpy()).max() <= 0.5 / 255 + 1e-6


def test_quartets_are_chosen_from_large_cats_to_small_ones():
    indices = kept._choose(TEST)
    cats = get_batch(TEST, range(min(kept.CANDIDATES, len(TEST))))["mask"].mean((1, 2, 3))
    chosen = [float(cats[i]) for i in indices]
    assert len(set(indices)) == QUARTETS and chosen == sorted(chosen, reverse=True)
    assert chosen[-1] > cats.quantile(0.1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_small_test_set_is_shown_as_a_whole(tmp_path, count):
    few = sample(TEST, count)
    run(tmp_path, test_set=few)
    assert sorted(kept._choose(few)) == list(range(count)) and len(read_snapshots(tmp_path).bg_fg) == count
    assert len(time_travel(tmp_path)._film.bg_fg) == count and show_journey(tmp_path)


def test_large_pictures_are_kept_small(tmp_path):
    big = ToyQuartets(size=LARGEST + 64)
    camera = SnapshotRecorder(tmp_path, big, 100, 1, 0)
    camera.take(tiny(), big, 0, 1, LARGEST + 64, "sigmoid")
    camera.save()
    film = read_snapshots(tmp_path)
    assert film.bg_fg.shape[-2:] == film.snapshots[0].predictions.shape[-2:] == (LARGEST, LARGEST)


def test_answers_that_are_no_numbers_are_kept_as_nothing(tmp_path):
    net = tiny()
    nn.init.constant_(net.body[-1].bias, float("nan"))
    camera = SnapshotRecorder(tmp_path, TEST, 100, 1, 0)
    camera.take(net, TEST, 0, 1, 32, "sigmoid")
    camera.save()
    assert (read_snapshots(tmp_path).frames[0].predictions == 0).all()


# -- no trace in the training --------------------------------------------------------------------------------------


def test_a_network_is_left_as_it_was(tmp_path):
    net, camera = tiny().train(), SnapshotRecorder(tmp_path, TEST, 100, 1, 0)
    before, random = {key: value.clone() for key, value in net.state_dict().items()}, torch.get_rng_state()
    camera.take(net, TEST, 0, 1, 32, "sigmoid")
    assert net.training and all(module.training for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(value.grad is None for value in net.parameters())


@pytest.mark.parametrize("name", ["DuoNet", "DepthMaskNet"])
def test_weights_are_the_same_bit_for_bit_without_frames(monkeypatch, tmp_path, name):
    def trained(folder):
        net = build(name)
        train(net, EIGHTEEN, TEST, SMALL, folder, progress=False)
        return net.state_dict()

    with_frames = trained(tmp_path / "with")
    monkeypatch.setattr(SnapshotRecorder, "is_due", lambda *_: False)
    without = trained(tmp_path / "without")
    assert len(times(tmp_path / "with")) > 5
    with pytest.raises(CourseError, match="is empty"):
        read_snapshots(tmp_path / "without")
    assert all(torch.equal(value, without[key]) for key, value in with_frames.items())


# -- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", range(1, STEPS))
def test_a_run_that_died_keeps_the_frames_of_one_that_did_not(finished, every_batch, tmp_path, batches):
    cut(tmp_path, batches)
    assert len(times(tmp_path)) == batches + 1
    run(tmp_path)
    assert_same_film(tmp_path, finished[0])


@pytest.mark.parametrize("batches", [2, 5])
def test_frames_after_the_last_checkpoint_are_taken_again(finished, tmp_path, batches):
    cut(tmp_path, batches)
    assert (tmp_path / SNAPSHOTS).exists() == (batches >= 3)  # the first epoch has three
    run(tmp_path)
    assert_same_film(tmp_path, finished[0])


def test_a_run_that_died_between_frames_and_checkpoint_has_no_frame_twice(finished, every_batch, tmp_path):
    cut(tmp_path, 4)
    shutil.copy(finished[0] / SNAPSHOTS, tmp_path / SNAPSHOTS)  # of a later moment than the checkpoint
    run(tmp_path)
    assert_same_film(tmp_path, finished[0])


@pytest.mark.parametrize("damage", [None, b"", b"PK\x03\x04 and no more", pickle.dumps({"moments": []})])
def test_without_frames_a_run_goes_on_and_keeps_those_from_there(finished, every_batch, tmp_path, damage):
    cut(tmp_path, 4)
    (tmp_path / SNAPSHOTS).unlink() if damage is None else (tmp_path / SNAPSHOTS).write_bytes(damage)
    run(tmp_path)
    assert times(tmp_path) == [samples for samples in times(finished[0]) if samples > 24]


def test_frames_of_other_quartets_are_not_mixed_in(every_batch, tmp_path):
    cut(tmp_path, 4)
    run(tmp_path, test_set=split(ToyQuartets(rooms=6, cats=6, placements=1, seed=5), 0.4)[1])
    assert times(tmp_path) == [30, 36, 44, 52]


def test_a_finished_run_is_left_alone(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "again")
    before = (tmp_path / "again" / SNAPSHOTS).read_bytes()
    run(tmp_path / "again")
    assert (tmp_path / "again" / SNAPSHOTS).read_bytes() == before


# -- what a user is told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("show", [time_travel, show_journey, read_snapshots])
def test_a_run_without_frames_is_told_to_train_again(finished, tmp_path, show):
    shutil.copytree(finished[0], tmp_path / "old")
    (tmp_path / "old" / SNAPSHOTS).unlink()
    with pytest.raises(CourseError, match=r"old/ holds no frames.npz.*train again"):
        show(tmp_path / "old")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("executed",)


def test_damaged_frames_are_told_and_nothing_in_them_is_executed(finished, tmp_path):
    whole = (finished[0] / SNAPSHOTS).read_bytes()
    with open(tmp_path / SNAPSHOTS, "wb") as stream:
        np.savez(stream, snapshot_times=np.array([Bomb()], dtype=object))
    for content in ((tmp_path / SNAPSHOTS).read_bytes(), whole[: len(whole) // 2], b"no archive"):
        (tmp_path / SNAPSHOTS).write_bytes(content)
        with pytest.raises(CourseError, match=r"cannot be read .*train again"):
            read_snapshots(tmp_path)


# -- the widget ----------------------------------------------------------------------------------------------------


@pytest.fixture
def travel(finished):
    return time_travel(finished[0])


def views(travel):
    return travel.mask_view.value, travel.depth_view.value


def panels(png):
    with Image.open(io.BytesIO(png)) as image:
        sheet = np.asarray(image.convert("RGB"))
    assert sheet.shape == (SIDE, 3 * (SIDE + GAP) - GAP, 3)
    return [sheet[:, k * (SIDE + GAP) : k * (SIDE + GAP) + SIDE] for k in range(3)]


def test_it_begins_before_the_first_step(travel):
    assert travel.about.value == "after 0 training samples, stage 1 of 2, 32 px"
    assert travel.moment.activation.value == "moment: 1 of 9" and travel.sample.activation.value == f"sample: 1 of {QUARTETS}"


def test_a_later_moment_changes_the_answers_and_not_the_truth(travel):
    before = [panels(png) for png in views(travel)]
    travel.moment.slider.value = travel.moment.slider.max
    after = [panels(png) for png in views(travel)]
    assert travel.about.value == f"after {TOTAL} training samples, stage 2 of 2, 48 px"
    for old, new in zip(before, after):
        assert not np.array_equal(old[1], new[1]) and np.array_equal(old[2], new[2])
    assert np.array_equal(before[1][0], after[1][0])  # the scene


def test_another_sample_is_another_scene_at_the_same_moment(travel):
    travel.moment.slider.value = 5
    about, before = travel.about.value, [panels(png) for png in views(travel)]
    travel.sample.forth.click()
    assert travel.about.value == about
    for old, new in zip(before, (panels(png) for png in views(travel))):
        assert not any(np.array_equal(a, b) for a, b in zip(old, new))


def test_every_moment_of_every_sample_keeps_its_size_and_is_drawn_once(travel):
    for _ in range(2):
        for number in range(1, QUARTETS + 1):
            travel.sample.slider.value = number
            for moment in range(1, travel.moment.slider.max + 1):
                travel.moment.slider.value = moment
                [panels(png) for png in views(travel)]
    assert travel._rows.cache_info().misses == QUARTETS * 9
    for view in (travel.mask_view, travel.depth_view):
        assert (view.layout.width, view.layout.height) == (f"{3 * (SIDE + GAP) - GAP}px", f"{SIDE}px")


def test_the_film_plays_over_all_moments(travel):
    assert (travel.play.min, travel.play.max, travel.play.step) == (1, 9, 1)
    assert travel._link.source == (travel.play, "value") and travel._link.target == (travel.moment.slider, "value")
    assert travel.play in travel.children


def film(**changes):
    """One moment of one quartet: a square cat, found to the left half; all depth off by a quarter."""
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[:, 8:24, 8:24] = 255
    answers = np.stack([mask, np.full_like(mask, 102)])
    answers[0, :, :, 16:] = 0
    scene, depth, valid = np.zeros((1, 3, 32, 32), np.uint8), np.full_like(mask, 153), np.ones_like(mask, bool)
    return dataclasses.replace(Snapshots((Snapshot(7, 1, 32, answers),), 1, scene, mask, depth, valid), **changes)


def test_the_scores_are_of_this_picture():
    travel = TimeTravel(film())
    assert "Dice 0.667" in travel.mask_words[1].value and "error 0.200" in travel.depth_words[1].value
    assert travel.moment.slider.disabled and travel.play.disabled  # there is only one


def test_depth_that_nobody_knows_is_not_scored():
    travel = TimeTravel(film(valid=np.zeros((1, 32, 32), bool)))
    assert "error unknown" in travel.depth_words[1].value


def test_nothing_found_where_nothing_is_is_right():
    nothing = np.zeros((1, 32, 32), np.uint8)
    travel = TimeTravel(film(mask=nothing, frames=(Snapshot(7, 1, 32, np.stack([nothing, nothing])),)))
    assert "Dice 1.000" in travel.mask_words[1].value


def test_small_answers_are_enlarged_by_nearest_pixel():
    assert enlarged(np.array([[1, 2], [3, 4]]), 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert enlarged(np.arange(36).reshape(6, 6), 8)[0].tolist() == [0, 1, 1, 2, 3, 4, 4, 5]
    assert np.array_equal(enlarged(np.eye(5), 5), np.eye(5))


# -- the figure ----------------------------------------------------------------------------------------------------


def test_the_figure_goes_from_the_first_moment_to_the_last_and_the_truth(finished):
    figure = show_journey(finished[0])
    titles = [axis.get_title() for axis in figure.axes]
    assert len(figure.axes) == 4 * (COLUMNS + 2)
    assert titles[0] == "scene" and titles[1] == "0" and titles[COLUMNS] == str(TOTAL) and titles[COLUMNS + 1] == "truth"
    assert not any(titles[COLUMNS + 2 :])  # once, above


def test_a_run_of_few_moments_shows_them_all(tmp_path):
    run(tmp_path, wanted=recipe("course", "tiny", stages=(Stage(32, 18, 1),), precision="fp32"))
    assert times(tmp_path) == [0, 18]
    assert len(show_journey(tmp_path).axes) == 4 * 4
