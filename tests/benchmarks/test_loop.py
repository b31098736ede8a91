"""The benchmark of the training loop runs every row and says what was run."""

import pytest
import torch

from helpers.benchmarks.loop import LEVERS, PUBLISHED, InMemory, markdown, measure, published_loop
from helpers.dataset import check_quartet
from helpers.model import build
from helpers.recipes import Stage

pytestmark = pytest.mark.slow


def test_images_in_memory_are_quartets():
    data = InMemory(3, 32, torch.device("cpu"))
    batch = data.get_batch([2, 0])
    assert batch["bg"].shape == (2, 3, 32, 32) and len(data) == 3
    quartet = {key: value[0] for key, value in batch.items()}
    quartet["depth"] = (quartet["depth"] - quartet["depth"].min()) / (quartet["depth"].max() - quartet["depth"].min())
    check_quartet(quartet)


def test_the_published_loop_trains_the_network():
    data, stage = InMemory(8, 32, torch.device("cpu")), Stage(32, 4, 1)
    net, untouched = build("DuoNet", 0), build("DuoNet", 0)
    assert published_loop(net, data, stage) > 0
    assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), untouched.parameters()))


def test_every_lever_is_measured_for_both_networks(capsys):
    result = measure([32], batch=2, steps=2)
    assert list(result["rows"]) == [PUBLISHED, *LEVERS]
    assert all(set(row) == {"DepthMaskNet, 32 px", "DuoNet, 32 px"} for row in result["rows"].values())
    assert capsys.readouterr().out.count("images/s") == 2 * (len(LEVERS) + 1)
    text = markdown(result)
    assert "Batches of 2, 2 steps" in text and result["machine"] in text and "| published loop | " in text


def test_the_whole_schedule_adds_up_its_stages():
    speed = {"DepthMaskNet": 100.0, "DuoNet": 400.0}
    speed = {f"{name}, {size} px": rate for name, rate in speed.items() for size in (64, 112, 192)}
    rows = {PUBLISHED: speed, **{row: {column: 4 * rate for column, rate in speed.items()} for row in LEVERS}}
    # DuoNet is four times as fast, and so is the course's loop; a stage takes as long as it has samples.
    result = {"rows": rows, "batch": 32, "steps": 8, "machine": "a machine", "date": "2000-01-01"}
    text = markdown(result)
    assert "16.0 times as many at 64 px" in text and "all stages of `full` take 0.06 times as long" in text
    assert "| published loop | 100.0 (1.0×) |" in text
    assert len({line.count("|") for line in text.splitlines() if "|" in line}) == 1
    assert "`quick`" not in text, "its sizes were not measured"
    rows[PUBLISHED]["DepthMaskNet, 64 px"] = 50.0  # three of the eight epochs: a sixteenth becomes 8 / 11 of it
    assert "all stages of `full` take 0.05 times as long" in markdown(result)
