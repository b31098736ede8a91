"""The bench of the loop runs every row and says what was run."""

import pytest
import torch

from helpers.benchmarks import loop as bench_loop
from helpers.benchmarks.loop import (
    FLOOR,
    LEVERS,
    PUBLISHED,
    Ready,
    measure,
    our_loop,
    published_loop,
    summary,
    tensorboard_share,
)
from helpers.dataset import check_quartet
from helpers.model import build
from helpers.recipes import Stage, recipe


def test_ready_pictures_are_quartets():
    data = Ready(3, 32, torch.device("cpu"))
    batch = data.get_batch([2, 0])
    assert batch["bg"].shape == (2, 3, 32, 32) and len(data) == 3
    quartet = {key: value[0] for key, value in batch.items()}
    quartet["depth"] = (quartet["depth"] - quartet["depth"].min()) / (quartet["depth"].max() - quartet["depth"].min())
    check_quartet(quartet)


def test_both_loops_train_the_network():
    data, stage = Ready(8, 32, torch.device("cpu")), Stage(32, 4, 1)
    for loop in (lambda net: published_loop(net, data, stage), lambda net: our_loop(net, data, recipe("course", "tiny", stages=(stage,)))):
        net, untouched = build("DuoNet", 0), build("DuoNet", 0)
        assert loop(net) > 0
        assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), untouched.parameters()))


def test_every_lever_is_measured_for_both_networks(monkeypatch):
    monkeypatch.setattr(bench_loop, "REPEATS", 1)
    said = []
    result = measure([32], batch=2, steps=2, say=said.append)
    assert list(result["rows"]) == [PUBLISHED, *LEVERS, FLOOR] and len(said) == 2 * (len(result["rows"]) - 1)
    assert all(set(row) == {"DepthMaskNet, 32 px", "DuoNet, 32 px"} for row in result["rows"].values())
    assert all(rate > 0 for row in result["rows"].values() for rate in row.values())
    text = summary(result)
    assert "batches of 2, 2 steps" in text and text.count(PUBLISHED) == 3 and "1.00" in text


def test_tensorboards_share_is_the_time_inside_its_calls():
    shown = tensorboard_share(32, batch=2, steps=2)
    assert 0 < shown["tensorboard_seconds"] < shown["seconds"]
    assert shown["share"] == shown["tensorboard_seconds"] / shown["seconds"]


def test_the_whole_schedule_adds_up_its_stages():
    speed = {"DepthMaskNet": 100.0, "DuoNet": 400.0}
    rows = {row: {f"{name}, {size} px": rate * (1 + 3 * (row != PUBLISHED)) for name, rate in speed.items() for size in (64, 112, 192)}
            for row in (PUBLISHED, *LEVERS)}  # fmt: skip
    whole = bench_loop._schedule(rows, "full")
    # 8 epochs of 280,000 samples at 100 images a second; everything four times as fast in DuoNet, and in our loop.
    assert whole[PUBLISHED]["DepthMaskNet, hours"] == pytest.approx(8 * 280_000 / 100 / 3600)
    assert [whole[row][f"{name}, times"] for row in (PUBLISHED, tuple(LEVERS)[-1]) for name in speed] == pytest.approx([1, 4, 4, 16])
    assert bench_loop._schedule(rows, "quick") == {}, "its sizes were not measured"
    text = bench_loop.markdown({"rows": rows, "batch": 32, "steps": 8, "machine": "a machine", "torch": "2", "date": "2000-01-01"})
    assert "16.0 times as many at 64 px" in text and "all stages of `full` take 0.06 times as long" in text
    assert "| published loop | 100.0 (1.0×) |" in text and len({line.count("|") for line in text.splitlines() if "|" in line}) == 1
