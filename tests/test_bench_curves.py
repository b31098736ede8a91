"""The bench of the curves asks at the same moments, counts only training, and guesses nothing."""

import math
import time

import pytest
from toy import ToyQuartets

from helpers import bench_curves
from helpers.bench_curves import TARGETS, reached, runs, watch
from helpers.model import build
from helpers.recipes import Stage, recipe
from helpers.train import evaluate, train


def test_all_runs_see_as_many_samples_and_end_at_the_size_asked_for():
    wanted = runs(112, 8000)
    assert len(wanted) == 3
    for network, one in wanted.values():
        assert sum(stage.epochs for stage in one.stages) == 2 and one.stages[-1].size == 112
    assert [stage.size for stage in next(iter(wanted.values()))[1].stages] == [64, 112]


def test_watching_a_run_does_not_change_it(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_curves, "EVERY", 1)
    data = ToyQuartets()
    wanted = recipe("course", "tiny", stages=(Stage(32, 8, 1), Stage(48, 8, 1)))
    rows = watch("DuoNet", wanted, data, data)
    assert rows[0]["samples"] == 0 and rows[-1]["samples"] == 2 * len(data) // 8 * 8
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)

    alone = build("DuoNet", wanted.seed)
    train(alone, data, data, wanted, tmp_path / "run", progress=False)
    scores = evaluate(alone, data)
    assert all(rows[-1][f"test_{key}"] == pytest.approx(scores[key]) for key in TARGETS)


def test_the_time_of_the_tests_is_not_counted(monkeypatch):
    def slow(*_, **__):
        time.sleep(0.5)
        return dict.fromkeys(TARGETS, 0.5)

    monkeypatch.setattr(bench_curves, "evaluate", slow)
    monkeypatch.setattr(bench_curves, "EVERY", 1)
    data = ToyQuartets()
    started = time.monotonic()
    rows = watch("DuoNet", recipe("course", "tiny", stages=(Stage(32, 16, 1),)), data, data)
    assert len(rows) > 2
    assert rows[-1]["seconds"] <= time.monotonic() - started - 0.5 * (len(rows) - 1)


def test_a_score_is_reached_when_it_is_first_reached_or_never():
    row = lambda samples, dice, rmse: {  # noqa: E731
        "samples": samples, "seconds": samples / 10, "test_mask_dice": dice, "test_depth_rmse": rmse,
    }  # fmt: skip
    shown = reached({"a": [row(10, 0.5, 0.2), row(20, 0.86, 0.11), row(30, 0.84, 0.05)], "b": [row(10, 0.1, 0.3)]})
    assert shown["mask dice 0.85"]["a: samples"] == 20 and shown["mask dice 0.85"]["a: seconds"] == 2
    assert shown["depth rmse 0.06"]["a: samples"] == 30 and shown["depth rmse 0.12"]["a: samples"] == 20
    assert math.isnan(shown["mask dice 0.90"]["a: samples"]) and math.isnan(shown["mask dice 0.80"]["b: seconds"])
