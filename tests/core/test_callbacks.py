"""Callbacks are told what happens in a run; snapshots are the same whether it was interrupted or not, and leave no trace."""

import pickle
import shutil
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import Failing, PowerCut, on_the_cpu, tiny  # noqa: F401 - a fixture works where it is named
from torch import nn
from toy import ToyQuartets

from helpers import callbacks as kept
from helpers.augment import resize
from helpers.callbacks import (
    COUNT,
    LARGEST,
    QUARTETS,
    SNAPSHOTS,
    Callback,
    ProgressBar,
    SnapshotRecorder,
    read_snapshots,
    snapshot_times,
    standard,
)
from helpers.config import CourseError
from helpers.dataset import get_batch, sample, split
from helpers.exercises.compare import tiny_net
from helpers.model import probabilities
from helpers.recipes import Stage, recipe
from helpers.train import train

module = import_module("helpers.train")  # the attribute helpers.train is the function

TRAIN, TEST = split(ToyQuartets(rooms=6, cats=6, placements=1), 0.4)
EIGHTEEN = sample(TRAIN, 18)
STEPS = 8  # of SMALL: 2 x 3 of 6 quartets, and 2 of 8
TOTAL = 52
SMALL = recipe("course", "tiny", stages=(Stage(32, 6, 2), Stage(48, 8, 1)), precision="fp32", channels_last=False)


SETTINGS = {"checkpoint_seconds": 120}


def run(folder, train_set=EIGHTEEN, validation_set=TEST, wanted=SMALL):
    net = tiny()
    train(net, train_set, validation_set, wanted, folder, [SnapshotRecorder()], **SETTINGS)
    return net


def taken(folder, net, test_set, size):
    """The first snapshot of a run that has only begun."""
    stage = Stage(size, 6, 1)
    begun = SimpleNamespace(
        net=net, validation_set=test_set, recipe=recipe("course", "tiny", stages=(stage,)), folder=folder, stage=0, seen=0, total=100,
        device=torch.device("cpu"),
    )  # fmt: skip
    recorder = SnapshotRecorder()
    recorder.start(begun)
    recorder.epoch_start(begun)
    recorder.save(begun)
    return read_snapshots(folder)


def cut(folder, batches):
    """A run that dies when it asks for the next batch."""
    with pytest.raises(PowerCut):
        run(folder, Failing(EIGHTEEN, batches))


@pytest.fixture
def every_batch(monkeypatch):
    monkeypatch.setitem(SETTINGS, "checkpoint_seconds", -1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run, for all who only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        AcceleratorState._reset_state(reset_partial_state=True)
        patch.setattr(module, "Accelerator", lambda cpu: Accelerator(cpu=True))
        folder = tmp_path_factory.mktemp("run") / "finished"
        return folder, run(folder)


def times(folder):
    return [snapshot.samples for snapshot in read_snapshots(folder).snapshots]


def assert_same_snapshots(folder, other):
    first, second = read_snapshots(folder), read_snapshots(other)
    assert first.stages == second.stages and len(first.snapshots) == len(second.snapshots)
    for key in ("bg_fg", "mask", "depth", "valid"):
        assert np.array_equal(getattr(first, key), getattr(second, key))
    for snapshot, twin in zip(first.snapshots, second.snapshots):
        assert (snapshot.samples, snapshot.stage, snapshot.size) == (twin.samples, twin.stage, twin.size)
        assert np.array_equal(snapshot.predictions, twin.predictions), snapshot.samples


# -- moments -------------------------------------------------------------------------------------------------------


@given(total=st.integers(1, 3_000_000))
def test_moments_begin_at_nothing_end_at_the_end_and_grow_rarer(total):
    due = snapshot_times(total)
    assert due[0] == 0 and due[-1] == total and len(due) <= COUNT
    gaps = np.diff(due)
    assert (gaps > 0).all()
    assert (gaps[2:] >= gaps[1:-1] - 1).all()  # rounding may take one away


def test_a_run_of_the_quick_profile_has_some_thirty_moments():
    steps = np.arange(0, 24_000, 32)
    due = snapshot_times(24_000)
    snapshots = sum(((due > before) & (due <= before + 32)).any() for before in steps)
    assert 30 <= snapshots <= COUNT


# -- snapshots of a run -----------------------------------------------------------------------------------------------


def test_snapshots_tell_when_and_where_they_were_taken(finished):
    kept_snapshots = read_snapshots(finished[0])
    told = [(snapshot.samples, snapshot.stage, snapshot.size) for snapshot in kept_snapshots.snapshots]
    assert told == [*((6 * step, 1, 32) for step in range(7)), (44, 2, 48), (52, 2, 48)]
    assert kept_snapshots.stages == 2
    for snapshot in kept_snapshots.snapshots:
        assert snapshot.predictions.dtype == np.uint8 and snapshot.predictions.shape == (2, QUARTETS, snapshot.size, snapshot.size)


def test_the_first_snapshot_is_of_the_untrained_network_and_the_last_of_the_trained(finished):
    folder, net = finished
    kept_snapshots, indices = read_snapshots(folder), kept._choose(TEST)
    for snapshot, answering in ((kept_snapshots.snapshots[0], tiny()), (kept_snapshots.snapshots[-1], net)):
        batch = resize(get_batch(TEST.at_size(snapshot.size), indices), snapshot.size)
        with torch.no_grad():
            answers = torch.stack(probabilities(*answering.eval()(batch["bg"], batch["bg_fg"]))).squeeze(2)
        assert np.abs(snapshot.predictions / 255 - answers.numpy()).max() <= 0.5 / 255 + 1e-5


def test_the_scenes_are_those_of_the_test_set(finished):
    kept_snapshots, batch = read_snapshots(finished[0]), get_batch(TEST, kept._choose(TEST))
    assert np.array_equal(kept_snapshots.bg_fg, batch["bg_fg"].numpy()) and np.array_equal(kept_snapshots.valid, batch["valid"][:, 0].numpy())
    for key in ("mask", "depth"):
        assert np.abs(getattr(kept_snapshots, key) / 255 - batch[key][:, 0].numpy()).max() <= 0.5 / 255 + 1e-6


def test_quartets_are_chosen_from_large_cats_to_small_ones():
    indices = kept._choose(TEST)
    cats = get_batch(TEST, range(min(kept.CANDIDATES, len(TEST))))["mask"].mean((1, 2, 3))
    chosen = [float(cats[i]) for i in indices]
    assert len(set(indices)) == QUARTETS and chosen == sorted(chosen, reverse=True)
    assert chosen[-1] > cats.quantile(0.1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_small_test_set_is_shown_as_a_whole(tmp_path, count):
    few = sample(TEST, count)
    run(tmp_path, validation_set=few)
    assert sorted(kept._choose(few)) == list(range(count)) and len(read_snapshots(tmp_path).bg_fg) == count


def test_large_pictures_are_kept_small(tmp_path):
    big = ToyQuartets(size=LARGEST + 64)
    kept_snapshots = taken(tmp_path, tiny(), big, LARGEST + 64)
    assert kept_snapshots.bg_fg.shape[-2:] == kept_snapshots.snapshots[0].predictions.shape[-2:] == (LARGEST, LARGEST)


def test_answers_that_are_no_numbers_are_kept_as_nothing(tmp_path):
    net = tiny()
    nn.init.constant_(net.body[-1].bias, float("nan"))
    assert (taken(tmp_path, net, TEST, 32).snapshots[0].predictions == 0).all()


# -- no trace in the training --------------------------------------------------------------------------------------


def test_a_network_is_left_as_it_was(tmp_path):
    net = tiny().train()
    before, random = {key: value.clone() for key, value in net.state_dict().items()}, torch.get_rng_state()
    taken(tmp_path, net, TEST, 32)
    assert net.training and all(module.training for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(value.grad is None for value in net.parameters())


def test_weights_are_the_same_bit_for_bit_without_callbacks(tmp_path):
    def trained(folder, callbacks):
        net = tiny_net()
        train(net, EIGHTEEN, TEST, SMALL, folder, callbacks)
        return net.state_dict()

    watched, alone = trained(tmp_path / "with", standard()), trained(tmp_path / "without", ())
    assert len(times(tmp_path / "with")) > 5
    with pytest.raises(CourseError, match="nothing was trained there"):
        read_snapshots(tmp_path / "without")
    assert all(torch.equal(value, alone[key]) for key, value in watched.items())


class Listener(Callback):
    """Writes down what it is told, and when."""

    def __init__(self):
        self.told = []

    def start(self, run):
        self.told.append(("start", run.seen))

    def step(self, run):
        self.told.append(("step", run.seen))

    def epoch_end(self, run, metrics):
        self.told.append(("epoch", len(run.history), metrics["depth_rmse"]))

    def close(self, run):
        self.told.append(("close", run.seen))


def test_callbacks_are_told_of_every_step_and_of_the_end_however_it_comes(tmp_path):
    listener, again = Listener(), Listener()
    with pytest.raises(PowerCut):
        train(tiny(), Failing(EIGHTEEN, 4), TEST, SMALL, tmp_path, [listener], checkpoint_seconds=-1)
    assert [entry[:2] for entry in listener.told] == [
        ("start", 0), ("step", 6), ("step", 12), ("step", 18), ("epoch", 1), ("step", 24), ("close", 24)
    ]  # fmt: skip
    history = train(tiny(), EIGHTEEN, TEST, SMALL, tmp_path, [again])
    assert [entry[:2] for entry in again.told] == [
        ("start", 24), ("step", 30), ("step", 36), ("epoch", 2), ("step", 44), ("step", 52), ("epoch", 3), ("close", 52)
    ]  # fmt: skip
    assert [entry[2] for entry in again.told if entry[0] == "epoch"] == [row["validation_depth_rmse"] for row in history[1:]]


def test_the_bar_counts_the_quartets_of_each_epoch(capsys, tmp_path):
    train(tiny(), EIGHTEEN, TEST, SMALL, tmp_path, [ProgressBar()])
    said = capsys.readouterr().out
    for words in ("stage 1/2, 32 px, epoch 1/2", "stage 1/2, 32 px, epoch 2/2", "18/18", "stage 2/2, 48 px, epoch 1/1", "16/16", "rmse="):
        assert words in said


# -- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", range(1, STEPS))
def test_a_run_that_died_keeps_the_snapshots_of_one_that_did_not(finished, every_batch, tmp_path, batches):
    cut(tmp_path, batches)
    assert len(times(tmp_path)) == batches + 1
    run(tmp_path)
    assert_same_snapshots(tmp_path, finished[0])


@pytest.mark.parametrize("batches", [2, 5])
def test_snapshots_after_the_last_checkpoint_are_taken_again(finished, tmp_path, batches):
    cut(tmp_path, batches)
    assert (tmp_path / SNAPSHOTS).exists() == (batches >= 3)  # the first epoch has three
    run(tmp_path)
    assert_same_snapshots(tmp_path, finished[0])


def test_a_run_that_died_between_snapshots_and_checkpoint_has_no_snapshot_twice(finished, every_batch, tmp_path):
    cut(tmp_path, 4)
    shutil.copy(finished[0] / SNAPSHOTS, tmp_path / SNAPSHOTS)  # of a later moment than the checkpoint
    run(tmp_path)
    assert_same_snapshots(tmp_path, finished[0])


@pytest.mark.parametrize("damage", [None, b"", b"PK\x03\x04 and no more", pickle.dumps({"moments": []})])
def test_without_snapshots_a_run_goes_on_and_keeps_those_from_there(finished, every_batch, tmp_path, damage):
    cut(tmp_path, 4)
    (tmp_path / SNAPSHOTS).unlink() if damage is None else (tmp_path / SNAPSHOTS).write_bytes(damage)
    run(tmp_path)
    assert times(tmp_path) == [samples for samples in times(finished[0]) if samples > 24]


def test_snapshots_of_other_quartets_are_not_mixed_in(every_batch, tmp_path):
    cut(tmp_path, 4)
    run(tmp_path, validation_set=split(ToyQuartets(rooms=6, cats=6, placements=1, seed=5), 0.4)[1])
    assert times(tmp_path) == [30, 36, 44, 52]


def test_a_finished_run_is_left_alone(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "again")
    before = (tmp_path / "again" / SNAPSHOTS).read_bytes()
    run(tmp_path / "again")
    assert (tmp_path / "again" / SNAPSHOTS).read_bytes() == before


# -- what a user is told -------------------------------------------------------------------------------------------


def test_a_run_without_snapshots_is_told_to_train_again(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "old")
    (tmp_path / "old" / SNAPSHOTS).unlink()
    with pytest.raises(CourseError, match=r"old/ holds no snapshots.npz.*train again"):
        read_snapshots(tmp_path / "old")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("executed",)


def test_damaged_snapshots_are_told_and_nothing_in_them_is_executed(finished, tmp_path):
    whole = (finished[0] / SNAPSHOTS).read_bytes()
    with open(tmp_path / SNAPSHOTS, "wb") as stream:
        np.savez(stream, moments=np.array([Bomb()], dtype=object))
    for content in ((tmp_path / SNAPSHOTS).read_bytes(), whole[: len(whole) // 2], b"no archive"):
        (tmp_path / SNAPSHOTS).write_bytes(content)
        with pytest.raises(CourseError, match=r"is damaged.*train again"):
            read_snapshots(tmp_path)
