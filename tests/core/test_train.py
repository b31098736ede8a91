"""Recipes, the schedule, the loop, its files; above all: an interrupted run goes on as if nothing had happened."""

import csv
import dataclasses
import hashlib
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
from importlib import import_module

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from small_disk import small_disk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import Failing, PowerCut, Tiny, on_the_cpu, tiny  # noqa: F401 - a fixture works where it is named
from torch import nn
from torch.utils.data import Dataset
from toy import Plain, ToyQuartets

from helpers.augment import generator_of, perturb, resize
from helpers.callbacks import Callback, SnapshotRecorder, TensorBoardLogger
from helpers.checkpoints import read_checkpoint
from helpers.config import PROFILES, CourseError
from helpers.dataset import Subset, get_batch, sample, split
from helpers.evaluate import evaluate, network_predictor
from helpers.metrics import Meter
from helpers.model import build, probabilities
from helpers.predict import load
from helpers.recipes import Stage, learning_rate, pick_precision, recipe
from helpers.train import is_finished, make_batches, train

module = import_module("helpers.train")  # the attribute helpers.train is the function

EIGHTEEN, TWO = split(ToyQuartets(placements=1), 0.3)  # 18 and 2 quartets


def small(name="course", **changes):
    """Two stages of 2 x 3 and 1 x 2 steps for eighteen quartets."""
    stages = (Stage(32, 6, 2), Stage(48, 8, 1))
    return recipe(name, "tiny", **{"stages": stages, "precision": "fp32", "channels_last": False, **changes})


SETTINGS = {"checkpoint_seconds": 120}


def run(folder, net=None, train_set=EIGHTEEN, validation_set=TWO, recipe=None):
    net, callbacks = net or tiny(), [TensorBoardLogger(), SnapshotRecorder()]
    return train(net, train_set, validation_set, recipe or small(), folder, callbacks, **SETTINGS), net


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def assert_same_weights(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    for key, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[key]), key


def timeless(history):
    """All but how long it took."""
    return [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in history]


# -- recipes --------------------------------------------------------------------------------------------------------


def test_the_two_recipes_are_what_they_are_called():
    published, course = recipe("published"), recipe("course")
    assert (published.optimizer, published.learning_rate, published.weight_decay) == ("sgd", 0.01, 1e-5)
    assert (published.loss, published.schedule, published.depth_activation) == ("published", "step", "clamp")
    assert published.augment is None
    assert (course.loss, course.schedule, course.depth_activation) == ("course", "one-cycle", "sigmoid")
    assert course.augment["perturbed"] >= 0.3  # what keeps the network from merely subtracting


def test_fine_tuning_is_the_courses_recipe_with_shorter_steps():
    course, tuned = recipe("course"), recipe("fine-tune")
    assert tuned.learning_rate < course.learning_rate / 2
    assert dataclasses.replace(course, name=tuned.name, learning_rate=tuned.learning_rate) == tuned


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_stages_that_grow_and_fit_the_networks(name):
    for which in ("published", "course"):
        sizes = [stage.size for stage in recipe(which, name).stages]
        assert sizes == sorted(set(sizes)) and all(size % 16 == 0 for size in sizes)


def test_the_full_profile_is_the_published_schedule():
    stages = recipe("published", "full").stages
    assert [(stage.size, stage.epochs) for stage in stages] == [(64, 3), (112, 3), (192, 2)]


def test_without_a_name_the_profile_in_force_decides(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    assert recipe("course") == recipe("course", "quick") != recipe("course", "full")


def test_a_field_can_be_changed_for_an_experiment():
    changed = recipe("course", learning_rate=1e-4, seed=3)
    assert (changed.learning_rate, changed.seed, changed.loss) == (1e-4, 3, "course")


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("corse", {}, "no recipe 'corse': choose 'published', 'course' or 'fine-tune'"),
        ("course", {"lr": 1, "warmup": 2}, "no field lr, warmup"),
        ("course", {"loss": "l2"}, "loss='l2': choose 'course' or 'published'"),
        ("course", {"optimizer": "adam"}, "optimizer='adam': choose 'sgd' or 'adamw' or 'muon'"),
        ("course", {"schedule": "cosine"}, "schedule='cosine': choose 'step' or 'one-cycle'"),
        ("course", {"precision": "fp8"}, "precision='fp8': choose 'auto' or 'fp32'"),
        ("course", {"depth_activation": "raw"}, "depth_activation='raw': choose 'sigmoid' or 'clamp'"),
    ],
)
def test_a_wrong_recipe_is_told_with_what_there_is(name, changes, message):
    with pytest.raises(CourseError, match=message):
        recipe(name, **changes)


# -- pieces of the loop ---------------------------------------------------------------------------------------------


def test_the_published_rate_falls_a_hundredfold_each_epoch_whatever_was_done_before():
    published = recipe("published")
    for done in (0.0, 0.4, 0.99):
        assert [learning_rate(published, done, epoch) for epoch in range(3)] == pytest.approx([1e-2, 1e-4, 1e-6])


def test_one_cycle_climbs_for_5_percent_and_falls_to_0():
    course = recipe("course")
    done = np.linspace(0, 1, 401)
    rates = np.array([learning_rate(course, share, epoch=7) for share in done])
    assert done[rates.argmax()] == pytest.approx(0.05) and rates.max() == pytest.approx(course.learning_rate)
    assert (np.diff(rates[:21]) > 0).all() and (np.diff(rates[20:]) < 0).all()
    assert rates[0] == pytest.approx(0.01 * course.learning_rate) and rates[-1] == pytest.approx(0, abs=1e-12)
    assert np.abs(np.diff(rates)).max() < 0.06 * course.learning_rate  # no jump
    assert learning_rate(course, 1.02, 0) == 0  # a run that went on in more processes has seen a little too much


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 50))
def test_batches_cover_an_epoch_without_repeats(count, batch, seed):
    batches = make_batches(count, batch, seed, 1)
    seen = [index for indices in batches for index in indices]
    assert len(set(seen)) == len(seen) and set(seen) <= set(range(count))
    if count <= batch:
        assert len(batches) == 1 and len(seen) == count
    else:
        assert all(len(indices) == batch for indices in batches) and count - len(seen) < batch
    assert batches == make_batches(count, batch, seed, 1)


def test_each_epoch_has_its_own_order():
    orders = [sum(make_batches(40, 8, *numbers), []) for numbers in ((0, 0), (0, 1), (1, 0))]
    assert orders[0] != orders[1] != orders[2] != orders[0] and orders[0] != sorted(orders[0])


def test_precision_is_what_was_asked_for():
    cpu = torch.device("cpu")
    assert pick_precision("fp32", cpu) == torch.float32
    assert pick_precision("bf16", cpu) == torch.bfloat16
    assert pick_precision("auto", cpu) in (torch.float32, torch.bfloat16)


# -- evaluation -----------------------------------------------------------------------------------------------------


def test_evaluation_is_the_meter_over_the_whole_set(monkeypatch):
    monkeypatch.setattr(import_module("helpers.evaluate"), "BATCH", 7)
    net, meter = tiny().eval(), Meter()
    batch = get_batch(EIGHTEEN, range(18))
    meter.update(*probabilities(*net(batch["bg"], batch["bg_fg"]), "clamp"), batch)
    assert evaluate(net, EIGHTEEN)["depth_rmse"] != pytest.approx(meter.result()["depth_rmse"], abs=1e-3)
    net.depth_activation = "clamp"
    assert evaluate(net, EIGHTEEN) == pytest.approx(meter.result(), abs=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_network_as_it_was(training):
    net = tiny().train(training)
    net.body[1].eval()  # a frozen part
    before = {key: value.clone() for key, value in net.state_dict().items()}
    evaluate(net, TWO)
    assert (net.training, net.body[1].training) == (training, False)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_evaluation_needs_less_memory_than_a_training_step():
    seen, net = [], tiny().eval()
    batch = get_batch(sample(ToyQuartets(placements=10), 40), range(40))
    whole = probabilities(*net(batch["bg"], batch["bg_fg"]))
    net.register_forward_hook(lambda net, pair, out: seen.append(len(pair[0])))
    maps = network_predictor(net)(batch)
    assert seen == [16, 16, 8] and all(torch.allclose(a, b, atol=1e-6) for a, b in zip(maps, whole))


def test_perturbed_pairs_are_other_pairs_and_repeat():
    net = tiny()
    clean, one, again = (evaluate(net, EIGHTEEN, perturbed=perturbed) for perturbed in (False, True, True))
    assert one == again != clean
    batch = get_batch(EIGHTEEN, range(18))
    batch = perturb(batch, generator_of(0, 0))
    meter = Meter()
    with torch.no_grad():
        meter.update(*probabilities(*net.eval()(batch["bg"], batch["bg_fg"])), batch)
    assert one == pytest.approx(meter.result(), abs=1e-5)


def test_a_set_that_knows_only_one_size_is_resized():
    net, meter = tiny().eval(), Meter()
    batch = resize(get_batch(EIGHTEEN, range(18)), 48)
    with torch.no_grad():
        meter.update(*probabilities(*net(batch["bg"], batch["bg_fg"])), batch)
    assert evaluate(net, Plain(EIGHTEEN), 48) == pytest.approx(meter.result(), abs=1e-5)
    assert evaluate(net, EIGHTEEN, 48) != pytest.approx(meter.result(), abs=1e-5)  # drawn at 48 pixels


# -- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run, for all who only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        AcceleratorState._reset_state(reset_partial_state=True)
        patch.setattr(module, "Accelerator", lambda cpu: Accelerator(cpu=True))
        patch.setattr(module, "LOG_EVERY", 2)
        folder = tmp_path_factory.mktemp("run") / "finished"
        history, net = run(folder)
    return folder, history, net


def test_the_history_tells_each_epoch(finished):
    _, history, net = finished
    told = [(row["stage"], row["size"], row["epoch"], row["samples"]) for row in history]
    assert told == [(1, 32, 1, 18), (1, 32, 2, 36), (2, 48, 1, 52)]  # 18 quartets make two batches of 8
    for row in history:
        weights = {"mask_bce": 1, "mask_dice": 1, "depth_l1": 2, "depth_ssim": 4, "depth_gradient": 4}
        assert row["loss"] == pytest.approx(sum(weight * row[key] for key, weight in weights.items()), rel=1e-5)
    assert [row["seconds"] for row in history] == sorted(row["seconds"] for row in history)
    last = {key.removeprefix("validation_"): value for key, value in history[-1].items() if key.startswith("validation_")}
    assert last == pytest.approx(evaluate(net, TWO, 48), abs=1e-6)


def test_the_tables_repeat_the_history_and_the_curve(finished):
    folder, history, _ = finished
    table = rows(folder / "history.csv")
    assert [{key: float(value) for key, value in row.items()} for row in table] == [
        {key: float(value) for key, value in row.items()} for row in history
    ]
    curve = rows(folder / "steps.csv")
    assert [int(row["samples"]) for row in curve] == [12, 18, 30, 36, 52]  # every second step and the last of an epoch
    assert [int(row["size"]) for row in curve] == [32] * 4 + [48]
    rates = [learning_rate(small(), seen / 52, 0) for seen in (6, 12, 24, 30, 44)]
    assert [float(row["learning_rate"]) for row in curve] == pytest.approx(rates)


def test_the_weights_are_those_of_the_network_and_say_how_they_came_about(finished):
    folder, history, net = finished
    with safe_open(folder / "weights.safetensors", "pt") as stream:
        about = stream.metadata()
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}
    assert tensors.keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in tensors.items())
    assert about["network"] == "Tiny" and json.loads(about["recipe"])["depth_activation"] == "sigmoid"
    assert json.loads(about["metrics"]) == pytest.approx(history[-1])


def test_tensorboard_shows_the_same_curves_and_pictures(finished):
    folder, history, _ = finished
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert {"train/loss", "train/learning_rate", "validation/mask_dice", "validation/depth_rmse"} <= set(events.Tags()["scalars"])
    told = {event.step: event.value for event in events.Scalars("validation/depth_rmse")}
    assert told == pytest.approx({row["samples"]: row["validation_depth_rmse"] for row in history})
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert losses == pytest.approx({int(row["samples"]): float(row["loss"]) for row in rows(folder / "steps.csv")})
    (name,) = events.Tags()["images"]
    (first, *_), strip = events.Images(name), 6 * 32
    assert (first.width, first.height) == (strip, 2 * 32)  # two test quartets


def test_nothing_else_is_left_in_the_folder(finished):
    names = {path.name for path in finished[0].iterdir()}
    stages = {f"weights-stage-{number}.safetensors" for number in (1, 2)}
    tables = {"snapshots.npz", "history.csv", "steps.csv", "tensorboard"}
    assert names == {".lock", "last.pt", "previous.pt", "weights.safetensors"} | tables | stages


def test_the_same_run_twice_gives_the_same_weights(finished, tmp_path):
    _, history, net = finished
    torch.manual_seed(99)  # the global generator has no say
    again, other = run(tmp_path / "again")
    assert_same_weights(net, other)
    assert timeless(again) == timeless(history)


def test_another_seed_is_another_run(finished, tmp_path):
    _, other = run(tmp_path / "other", recipe=small(seed=1))
    assert not torch.equal(other.body[0].weight, finished[2].body[0].weight)


@pytest.mark.parametrize("name", ["course", "published"])
def test_training_lowers_the_loss(tmp_path, name):
    stages, rate = (Stage(32, 6, 6),), {"course": 0.03, "published": 0.05}[name]
    changes = {"stages": stages, "learning_rate": rate, "schedule": "one-cycle"}
    history, _ = run(tmp_path, recipe=small(name, **changes))
    assert history[-1]["loss"] < 0.75 * history[0]["loss"]


def test_training_data_without_sizes_or_keys_is_resized(tmp_path):
    asked = []

    class Watching(Tiny):
        def forward(self, bg, bg_fg):
            asked.append(tuple(bg.shape[-2:]))
            return super().forward(bg, bg_fg)

    train_set, test_set = Plain(EIGHTEEN), Subset(Plain(ToyQuartets()), [0, 1, 2])
    history, _ = run(tmp_path, Watching(), train_set, test_set)
    assert set(asked) == {(32, 32), (48, 48)} and len(history) == 3


def test_what_augmentation_draws_differs_from_step_to_step_and_repeats(tmp_path):
    def batches_seen(folder):
        seen = []

        class Watching(Tiny):
            def forward(self, bg, bg_fg):
                if self.training:
                    seen.append(bg.numpy().tobytes())
                return super().forward(bg, bg_fg)

        twice = Subset(ToyQuartets(), [5, 5])
        run(folder, Watching(), twice, twice, small(stages=(Stage(32, 1, 2), Stage(48, 1, 1))))
        return seen

    first = batches_seen(tmp_path / "a")
    assert len(first) == len(set(first)) == 6  # two steps an epoch, two epochs and one
    assert first == batches_seen(tmp_path / "b")


def test_a_real_network_trains_and_can_be_loaded(tmp_path):
    net = build("DuoNet")
    part = sample(ToyQuartets(), 4)
    run(tmp_path / "run", net, part, part, small(stages=(Stage(32, 4, 1), Stage(48, 4, 1)), channels_last=True))
    loaded = load(tmp_path / "run")
    assert_same_weights(loaded, net)
    assert not torch.backends.cudnn.benchmark  # other sizes come after the training
    for used in (loaded, net):  # what was just trained is used as what was stored
        assert (used.depth_activation, used.trained_size, used.depth_size) == ("sigmoid", 48, None)
    early = load(tmp_path / "run" / "weights-stage-1.safetensors")
    assert early.trained_size == 32 and not torch.equal(early.mask_head.logits.weight, net.mask_head.logits.weight)


# -- interruptions --------------------------------------------------------------------------------------------------

STEPS = 8  # of small(): 2 x 3 and 2


@pytest.fixture
def every_batch(monkeypatch):
    """A checkpoint after each batch, a point of the curve after every second."""
    monkeypatch.setitem(SETTINGS, "checkpoint_seconds", -1)
    monkeypatch.setattr(module, "LOG_EVERY", 2)


def assert_as_if_uninterrupted(folder, history, net, finished):
    reference, wanted, untouched = finished
    assert timeless(history) == timeless(wanted)
    assert_same_weights(net, untouched)
    for name in ("history.csv", "steps.csv"):
        assert timeless(rows(folder / name)) == timeless(rows(reference / name))


def test_a_run_that_died_at_its_first_batch_starts_anew(finished, every_batch, tmp_path):
    with pytest.raises(PowerCut):
        run(tmp_path, tiny(), Failing(EIGHTEEN, 0))
    history, net = run(tmp_path, tiny())
    assert_as_if_uninterrupted(tmp_path, history, net, finished)


@pytest.mark.parametrize("batches", range(1, STEPS))
def test_a_run_that_died_goes_on_bit_for_bit(finished, every_batch, tmp_path, batches):
    with pytest.raises(PowerCut):
        run(tmp_path, tiny(), Failing(EIGHTEEN, batches))
    assert not is_finished(tmp_path, small())
    counted = Failing(EIGHTEEN, 100)
    history, net = run(tmp_path, tiny(seed=77), counted)  # whatever the network was, the checkpoint knows better
    assert 100 - counted.left[0] == STEPS - batches
    assert_as_if_uninterrupted(tmp_path, history, net, finished)


def test_a_run_that_died_again_and_again_goes_on_bit_for_bit(finished, every_batch, tmp_path):
    deaths = 0
    while not is_finished(tmp_path, small()):
        try:
            history, net = run(tmp_path, tiny(), Failing(EIGHTEEN, 1))
        except PowerCut:
            deaths += 1
    assert deaths == STEPS - 1
    assert_as_if_uninterrupted(tmp_path, history, net, finished)


@pytest.mark.parametrize("reads", [0, 1, 4])
def test_a_run_that_died_while_it_was_watched_goes_on_bit_for_bit(finished, every_batch, tmp_path, reads):
    with pytest.raises(PowerCut):
        run(tmp_path, tiny(), EIGHTEEN, Failing(TWO, reads))
    history, net = run(tmp_path, tiny())
    assert_as_if_uninterrupted(tmp_path, history, net, finished)


def test_without_checkpoints_in_between_the_epoch_is_repeated(finished, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "LOG_EVERY", 2)
    with pytest.raises(PowerCut):
        run(tmp_path, tiny(), Failing(EIGHTEEN, 5))
    counted = Failing(EIGHTEEN, 100)
    history, net = run(tmp_path, tiny(), counted)
    assert 100 - counted.left[0] == STEPS - 3
    assert_as_if_uninterrupted(tmp_path, history, net, finished)


def test_a_run_with_momentum_goes_on_bit_for_bit(every_batch, tmp_path):
    published = small("published")
    history, net = run(tmp_path / "whole", recipe=published)
    with pytest.raises(PowerCut):
        run(tmp_path / "cut", tiny(), Failing(EIGHTEEN, 4), recipe=published)
    resumed, other = run(tmp_path / "cut", recipe=published)
    assert timeless(resumed) == timeless(history)
    assert_same_weights(net, other)


def test_a_finished_run_returns_at_once(finished):
    folder, history, net = finished
    assert is_finished(folder, small()) and not is_finished(folder, small(seed=1))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again, other = run(folder, tiny(seed=5), Failing(EIGHTEEN, 0), Failing(TWO, 0))
    assert again == history
    assert_same_weights(net, other)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_empty_folder_is_no_finished_run(tmp_path):
    assert not is_finished(tmp_path, small()) and not is_finished(tmp_path / "nowhere", small())


# -- what the user sees ---------------------------------------------------------------------------------------------


class Wider(Tiny):
    pass


def deeper():
    net = tiny()
    net.body.append(nn.Conv2d(2, 2, 1))
    return net


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"recipe": small(learning_rate=1e-4)}, "recipe"),
        ({"recipe": small(stages=(Stage(32, 6, 2),))}, "recipe"),
        ({"recipe": small(precision="bf16")}, "recipe"),
        ({"net": Wider()}, "network"),
        ({"net": deeper()}, "parameters"),
        ({"train_set": TWO}, "data"),
        ({"train_set": Plain(EIGHTEEN)}, "data"),
    ],
)
def test_a_folder_with_another_run_is_left_alone(finished, changes, what):
    folder = finished[0]
    before = (folder / "last.pt").read_bytes()
    with pytest.raises(CourseError, match=f"finished/ holds a run with another {what}: choose another run_dir"):
        run(folder, **changes)
    assert (folder / "last.pt").read_bytes() == before


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def cut(path, bomb):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path, bomb):
    path.write_bytes(b"")


def pickle_bomb(path, bomb):
    path.write_bytes(pickle.dumps(bomb, protocol=2))


def hidden_bomb(path, bomb):
    saved = read_checkpoint(path)
    torch.save({**saved, "scaler": bomb}, path)
    path.write_bytes(path.read_bytes() + hashlib.sha256(path.read_bytes()).digest())  # whoever writes a bomb can count, too


def other_file(path, bomb):
    torch.save({"epoch": 3, "model": torch.zeros(2)}, path)


@pytest.mark.parametrize("damage", [cut, empty, pickle_bomb, hidden_bomb, other_file])
def test_a_checkpoint_that_is_none_is_told_and_nothing_in_it_is_executed(finished, tmp_path, damage):
    folder, boom = tmp_path / "run", tmp_path / "boom"
    folder.mkdir()
    (folder / "last.pt").write_bytes((finished[0] / "last.pt").read_bytes())
    damage(folder / "last.pt", Bomb(boom))
    for use in (run, lambda folder: is_finished(folder, small())):
        with pytest.raises(CourseError, match="last.pt in run/ cannot be read .*delete that folder"):
            use(folder)
    assert not boom.exists()


def test_the_bomb_would_have_gone_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom")))
    assert (tmp_path / "boom").exists()


@pytest.mark.parametrize("position", ["training", "validation"])
def test_an_empty_set_is_told_before_anything_is_written(tmp_path, position):
    sets = {
        "train_set": EIGHTEEN,
        "validation_set": TWO,
        {"training": "train_set", "validation": "validation_set"}[position]: Subset(TWO, []),
    }
    with pytest.raises(CourseError, match=f"The {position} set is empty"):
        run(tmp_path / "run", **sets)
    assert not (tmp_path / "run").exists()


class Exploding(Tiny):
    """Its logits are no numbers once it has seen so many training batches."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def forward(self, bg, bg_fg):
        mask_logits, depth_logits = super().forward(bg, bg_fg)
        self.after -= self.training
        return (mask_logits * math.nan if self.training and self.after < 0 else mask_logits), depth_logits


@pytest.mark.parametrize("after", [0, 1, 2, 4, 7])
def test_a_run_that_lost_its_way_stops_and_keeps_its_last_good_checkpoint(monkeypatch, tmp_path, after):
    monkeypatch.setitem(SETTINGS, "checkpoint_seconds", -1)  # also between two points of the curve
    with pytest.raises(CourseError, match="no longer finite|The loss is nan") as caught:
        run(tmp_path / "run", Exploding(after))
    assert "lower the learning rate" in str(caught.value) and "precision='fp32'" in str(caught.value)
    last = tmp_path / "run" / "last.pt"
    assert last.exists() == (after > 0)
    if after:
        saved = read_checkpoint(last)
        assert all(value.isfinite().all() for value in saved["net"].values()) and saved["seen"] > 0


def test_an_epochs_last_step_that_breaks_the_weights_is_told_before_they_are_scored(tmp_path):
    net = tiny()
    net.body[0].weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(CourseError, match="The weights are no longer finite after 18 samples"):
        run(tmp_path / "run", net, recipe=small(stages=(Stage(32, 18, 2),)))
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_rate_that_is_far_too_high_is_told(tmp_path):
    with pytest.raises(CourseError, match="lower the learning rate"):
        run(tmp_path, recipe=small("published", learning_rate=1e30, schedule="one-cycle"))


# -- never lost -----------------------------------------------------------------------------------------------------


class Acting(Dataset):
    """A dataset that does something before it hands out its batch number ``when``."""

    def __init__(self, dataset, when, act, count=None):
        self.dataset, self.when, self.act, self.count = dataset, when, act, count or [0]

    def __len__(self):
        return len(self.dataset)

    def key(self):
        return self.dataset.key()

    def at_size(self, size):
        return Acting(self.dataset.at_size(size), self.when, self.act, self.count)

    def get_batch(self, indices):
        self.count[0] += 1
        if self.count[0] == self.when:
            self.act()
        return get_batch(self.dataset, indices)


def press_stop():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("when", [1, 3, 4, 7])
def test_the_stop_button_saves_and_the_same_call_goes_on_bit_for_bit(finished, monkeypatch, tmp_path, when):
    monkeypatch.setattr(module, "LOG_EVERY", 2)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(module.Interrupted, match="Run the cell, or the command, again to go on") as caught:
        run(tmp_path / "run", tiny(), Acting(EIGHTEEN, when, press_stop))
    assert signal.getsignal(signal.SIGINT) is before
    seen = read_checkpoint(tmp_path / "run" / "last.pt")["seen"]
    assert f"Stopped after {seen} of " in str(caught.value) and seen > 0
    history, net = run(tmp_path / "run", tiny())
    assert_as_if_uninterrupted(tmp_path / "run", history, net, finished)


def test_pressing_twice_stops_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", tiny(), Acting(EIGHTEEN, 2, lambda: (press_stop(), press_stop())))


@pytest.mark.parametrize("damage", [cut, empty, pickle_bomb, hidden_bomb, other_file])
def test_a_damaged_checkpoint_costs_one_save_not_the_run(finished, every_batch, capsys, tmp_path, damage):
    folder = tmp_path / "run"
    with pytest.raises(PowerCut):
        run(folder, tiny(), Failing(EIGHTEEN, 5))
    damage(folder / "last.pt", Bomb(tmp_path / "boom"))
    history, net = run(folder, tiny())
    assert "last.pt in run/ cannot be read" in (said := capsys.readouterr().out) and "Taking previous.pt" in said
    assert not (tmp_path / "boom").exists()
    assert_as_if_uninterrupted(folder, history, net, finished)


class Hungry(Tiny):
    """Has memory for so many quartets at a time."""

    def __init__(self, room):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__()
        self.room, self.seen = room, []

    def forward(self, bg, bg_fg):
        if self.training:
            if len(bg) > self.room:
                raise torch.OutOfMemoryError("simulated")
            self.seen.append(len(bg))
        return super().forward(bg, bg_fg)


def test_a_batch_that_does_not_fit_goes_on_in_pieces(capsys, tmp_path):
    net = Hungry(3)
    history, _ = run(tmp_path / "run", net)
    assert set(net.seen) == {2, 3} and sum(net.seen) == history[-1]["samples"]
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "A batch of 6 does not fit into the memory: going on in 2 pieces, gradients added up.",
        "A batch of 8 does not fit into the memory: going on in 4 pieces, gradients added up.",
    ]


def test_pieces_give_the_gradient_of_the_whole_batch(tmp_path):
    """Without batch normalisation, which is what a piece sees less of."""

    def plain(room):
        net = Hungry(room)
        net.body[1] = nn.Identity()
        return net

    changes = {"recipe": small(augment=None, optimizer="sgd", stages=(Stage(32, 6, 1),))}
    (whole, a), (cut_up, b) = (run(tmp_path / str(room), plain(room), **changes) for room in (6, 3))
    assert [row["loss"] for row in cut_up] == pytest.approx([row["loss"] for row in whole], rel=1e-4)
    for key, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[key], rtol=1e-4, atol=1e-6)


def test_a_run_in_pieces_goes_on_in_pieces(every_batch, capsys, tmp_path):
    whole = run(tmp_path / "whole", Hungry(3))[1]
    with pytest.raises(PowerCut):
        run(tmp_path / "run", Hungry(3), Failing(EIGHTEEN, 4))
    again = Hungry(3)
    run(tmp_path / "run", again)
    assert_same_weights(whole, again)
    assert capsys.readouterr().out.count("does not fit") == 4  # twice; then of 6, and by the third run of 8


def test_one_quartet_that_does_not_fit_is_told(tmp_path):
    with pytest.raises(CourseError, match="Not even one quartet at a time fits"):
        run(tmp_path / "run", Hungry(0))


@pytest.mark.parametrize("seconds", [120, -1])  # saved at the ends of epochs, or after each step
def test_the_batch_that_broke_the_loss_is_kept(seconds, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "LOG_EVERY", 3)
    monkeypatch.setitem(SETTINGS, "checkpoint_seconds", seconds)
    with pytest.raises(CourseError, match="The loss is nan in batch 2 of stage 1, epoch 2 .kept as lost-batch"):
        run(tmp_path / "run", Exploding(4))
    path = tmp_path / "run" / "lost-batch.safetensors"
    with safe_open(path, "pt") as stream:
        about = stream.metadata()
    indices = json.loads(about["indices"])
    assert (about["stage"], about["epoch"], about["batch"], len(indices)) == ("1", "2", "2", 6)
    kept = load_file(path)
    assert kept["bg"].shape == (6, 3, 32, 32)
    again = Exploding(0)  # what was kept is what the network was shown
    assert not again(kept["bg"], kept["bg_fg"])[0].isfinite().any()
    saved = read_checkpoint(tmp_path / "run" / "last.pt")
    assert saved["seen"] == (18 if seconds > 0 else 24) and all(value.isfinite().all() for value in saved["net"].values())


def test_a_full_disk_is_a_message_and_the_run_goes_on_elsewhere(finished, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "LOG_EVERY", 2)
    monkeypatch.setitem(SETTINGS, "checkpoint_seconds", -1)
    small_disk = tmp_path / "disk"
    small_disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", small_disk], capture_output=True, check=False
    ) if shutil.which("mount") else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip("a small disk can only be made by the administrator of a machine")
    try:
        with pytest.raises(CourseError, match="No space is left on the disk of .*COURSE_RUNS"):
            run(small_disk / "run", tiny())
        assert {path.name for path in (small_disk / "run").glob(".*")} == {".lock"}  # nothing half-written
        shutil.copytree(small_disk / "run", tmp_path / "run")
    finally:
        subprocess.run(["umount", small_disk], check=True)
    history, net = run(tmp_path / "run", tiny())
    assert timeless(history) == timeless(finished[1])
    assert_same_weights(net, finished[2])


class Filling(Callback):
    """Another program takes the rest of the disk after the first step."""

    def __init__(self, path):
        self.path = path

    def step(self, run):
        with open(self.path, "ab", buffering=0) as stream:
            for size in (1 << 12, 1):
                try:
                    while True:
                        stream.write(bytes(size))
                except OSError:
                    pass


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_that_another_program_fills_is_told_where_the_training_is_called(tmp_path):
    large = small(stages=(Stage(160, 6, 1),))  # of which TensorBoard's pictures need more than is left of a block
    with small_disk(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("a small disk can only be made by the administrator of a machine")
        with pytest.raises(CourseError, match="No space is left on the disk of .*COURSE_RUNS"):
            callbacks = [Filling(tmp_path / "disk/other"), TensorBoardLogger()]
            train(tiny(), EIGHTEEN, TWO, large, tmp_path / "disk/run", callbacks)
        (tmp_path / "disk/other").unlink()
        run(tmp_path / "disk/run", recipe=large)
        assert is_finished(tmp_path / "disk/run", large)
