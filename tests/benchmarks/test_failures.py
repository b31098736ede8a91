"""The worst of a test set are chosen by both scores, and told in words, in a figure and in numbers."""

import json

import numpy as np
import pytest
import torch
from made_cases import half_right
from PIL import Image
from toy import ToyQuartets

from helpers import model
from helpers.benchmarks import failures
from helpers.benchmarks.failure_causes import CAUSES
from helpers.config import CourseError, runs_dir
from helpers.dataset import Subset, get_batch
from helpers.metrics import Meter


@pytest.fixture(scope="module")
def cases():
    return failures.worst(ToyQuartets(rooms=12, cats=3, placements=1), half_right)


def of(cases, task):
    return [case for case in cases if case.task == task]


def test_ten_of_each_the_worst_first_and_no_room_twice(cases):
    assert [case.task for case in cases] == ["mask"] * 10 + ["depth"] * 10
    everything = failures.worst(ToyQuartets(rooms=12, cats=3, placements=1), half_right, count=5_000)
    for task, score in (("mask", lambda c: c.dice), ("depth", lambda c: -c.rmse)):
        found = of(cases, task)
        assert len({case.room for case in found}) == 10
        scores = [score(case) for case in found]
        assert scores == sorted(scores)
        best_of_room = {}
        for case in of(everything, task):
            best_of_room.setdefault(case.room, case.index)
        assert [case.index for case in found] == list(best_of_room.values())[:10]
    assert all(case.cause in CAUSES[case.task] and 0 < case.shares[case.cause] <= 1 for case in cases)


def test_scores_are_those_of_the_meter(cases):
    dataset = ToyQuartets(rooms=12, cats=3, placements=1)
    for case in (cases[0], cases[10]):
        meter, batch = Meter(), get_batch(dataset, [case.index])
        meter.update(*half_right(batch), batch)
        assert case.dice == pytest.approx(meter.result()["mask_dice"])
        assert case.rmse == pytest.approx(meter.result()["depth_rmse"])
        assert case.room == dataset.room_of(case.index)


def test_few_rooms_are_shown_more_than_once_and_few_quartets_all():
    two_rooms = failures.worst(ToyQuartets(rooms=2, cats=4, placements=1), half_right)
    depth = of(two_rooms, "depth")
    assert len(depth) == 10 and {case.room for case in depth} == {0, 1}
    rmse = [case.rmse for case in depth]
    assert rmse == sorted(rmse, reverse=True) and len({case.index for case in depth}) == 10
    few = failures.worst(Subset(ToyQuartets(), [0, 9, 20]), half_right)
    assert 0 < len(of(few, "mask")) <= 3 and len(of(few, "depth")) == 3


def test_equal_scores_keep_the_order_of_the_set():
    badness = np.array([0.5, 0.5, 0.9, 0.0, 0.5, np.nan])
    assert failures._choose(badness, np.array([0, 1, 1, 2, 2, 3]), 3) == [2, 0, 4]
    assert failures._choose(badness, np.array([0, 1, 1, 2, 2, 3]), 9) == [2, 0, 1, 4]


def test_quartets_without_error_are_no_failures():
    assert failures.worst(ToyQuartets(), lambda batch: (batch["mask"], batch["depth"])) == []


class Blind(Subset):
    """Quartets whose depth nobody knows."""

    def get_batch(self, indices):
        batch = super().get_batch(indices)
        nothing = torch.full_like(batch["near_far"], torch.nan)
        return {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": nothing}


def test_without_depth_there_are_masks_alone():
    cases = failures.worst(Blind(ToyQuartets(), range(64)), half_right)
    assert {case.task for case in cases} == {"mask"}
    assert len(failures.write(cases, **ABOUT)["cases"]) == len(cases)


def test_an_empty_set_is_refused():
    with pytest.raises(CourseError, match="no quartets"):
        failures.worst(Subset(ToyQuartets(), []), half_right)


# -- words, files, command -----------------------------------------------------------------------------------------


ABOUT = {"network": "mine", "test_quartets": 72, "size": 32}


def test_files_are_a_png_and_the_numbers_by_cause(cases):
    result = failures.write(cases, **ABOUT)
    with Image.open(runs_dir() / "bench" / "failures.png") as opened:
        assert opened.format == "PNG" and opened.width > 900
    assert json.loads((runs_dir() / failures.RESULT).read_text()) == json.loads(json.dumps(result))
    by_words = {(case.task, case.words): case for case in cases}
    assert result["test_quartets"] == 72 and len(result["cases"]) == 20
    for kept in result["cases"]:
        assert kept["cause"] == by_words[kept["task"], kept["words"]].cause
        assert kept["shares"][kept["cause"]] == max(kept["shares"].values())


def test_the_table_counts_the_cases_of_each_cause(cases):
    text = failures.markdown(failures.write(cases, **ABOUT))
    rows = [line.split("|")[1:-1] for line in text.splitlines()[2:] if line.startswith("|")]
    for task in ("mask", "depth"):
        counts = [int(count) for name, _, count in rows if name.strip() == task]
        assert sum(counts) == 10 and counts == sorted(counts, reverse=True)
    assert "72 test quartets at 32 px, predicted by mine" in text


def trained():
    """A network as :func:`helpers.predict.load` gives it."""
    net = model.build("DuoNet")
    net.depth_activation = "sigmoid"
    return net


@pytest.fixture
def command(monkeypatch, tmp_path):
    test_set = ToyQuartets(rooms=4, cats=2, placements=1)
    monkeypatch.setattr(failures, "sets", lambda name: (test_set,))
    monkeypatch.setattr(failures, "trained_network", trained)
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    return test_set


def test_the_command_writes_both_files_and_prints_the_cases(command, tmp_path, capsys):
    failures.main()
    stored = json.loads((tmp_path / "runs" / "bench" / "failures.json").read_text())
    assert (tmp_path / "runs" / "bench" / "failures.png").exists()
    printed = capsys.readouterr().out
    assert stored["cases"] and all(case["words"] in printed for case in stored["cases"])
    assert stored["test_quartets"] == len(command) and stored["size"] == command.size
    assert stored["data"] == "rooms" and "come with the course" in stored["network"]
