"""The table gives each row the same samples, and its words say no more than its numbers do."""

import json

import pytest
import torch
from toy import ToyQuartets

from helpers.benchmarks import ablation, failures
from helpers.benchmarks import table as bench
from helpers.benchmarks.summary import VERSION, stored
from helpers.config import CourseError
from helpers.dataset import sample, split
from helpers.demos.corruptions import CORRUPTION_LEVELS
from helpers.predict import pretrained
from helpers.train import train

OURS, PUBLISHED = bench.OUR_TITLE, bench.PUBLISHED_TITLE
CORRUPTED = {f"{kind} {i}": [0.25] for kind, levels in {"clean": (None,), **CORRUPTION_LEVELS}.items() for i in range(len(levels))}


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path))
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    train_part, test_part = split(ToyQuartets(rooms=6, cats=6, placements=2, size=48))
    sets = sample(train_part, 48), sample(test_part, 4, seed=1), sample(test_part, 8)
    monkeypatch.setattr(bench, "sets", lambda: sets)
    return sets


def result(ours, theirs, **other):
    """A stored result with made-up scores, one list of values for each of the two rows and for ``other`` ones."""
    scores = {bench.GROUND_TRUTH: {"grid": [0.02]}, PUBLISHED: theirs, bench.AS_PUBLISHED: theirs, **other, OURS: ours}
    facts = {name: {"parameters": [2_000_000] * 2, "gflop": [1.0] * 2, "seconds": seconds}
             for name, seconds in ((PUBLISHED, [100.0, 120.0]), (OURS, [30.0, 36.0]))}  # fmt: skip
    return {
        "version": VERSION, "data": "rooms", "profile": "tiny", "seeds": [0, 1], "size": 48, "train_quartets": 1, "test_quartets": 1,
        "stages": [], "machine": "a machine", "date": "2000-01-01", "scores": scores, "facts": facts,
        "corrupted": {PUBLISHED: CORRUPTED, OURS: CORRUPTED},
    }  # fmt: skip


def row(dice, rmse, grid=0.02):
    return {"mask_dice": dice, "depth_rmse": rmse, "grid": [grid] * len(dice)}


def test_every_row_is_trained_on_the_same_samples(small):
    made = bench.compare(seeds=[0, 1], rows=["published", "course"])
    scores, facts = made["scores"], made["facts"]
    assert list(scores) == [
        bench.GROUND_TRUTH, "background subtraction", "mean depth map", PUBLISHED, bench.AS_PUBLISHED, OURS
    ]  # fmt: skip
    assert facts[PUBLISHED]["samples"] == facts[OURS]["samples"] == [96, 96]
    assert facts[OURS]["parameters"][0] < facts[PUBLISHED]["parameters"][0]
    assert scores[PUBLISHED]["mask_dice"] == scores[bench.AS_PUBLISHED]["mask_dice"]
    assert scores[PUBLISHED]["depth_rmse"] != scores[bench.AS_PUBLISHED]["depth_rmse"]
    assert len(scores[OURS]["mask_dice"]) == 2, "one value a seed"
    assert len(scores["mean depth map"]["depth_rmse"]) == 1, "which no seed changes"
    for name, levels in made["corrupted"].items():
        assert levels["clean 0"] == pytest.approx(scores[name]["mask_dice"], abs=1e-6)
    text = bench.markdown(json.loads(json.dumps(made)))
    mask, depth, cost = (part.splitlines() for part in text.split("<details>")[0].split("\n\n") if part.startswith("|"))
    for table in (mask, depth, cost):
        assert len({line.count("|") for line in table}) == 1
    names = [[line.split("|")[1].strip() for line in table] for table in (mask, depth, cost)]
    assert names[0] == ["mask", "---", "background subtraction", PUBLISHED, bench.AS_PUBLISHED, OURS]
    assert names[1] == ["depth", "---", bench.GROUND_TRUTH, "mean depth map", PUBLISHED, bench.AS_PUBLISHED, OURS]
    assert names[2] == ["cost", "---", PUBLISHED, OURS]
    assert "mask Dice" in mask[0] and "depth RMSE" in depth[0] and "parameters" in cost[0]
    assert "2 seeds" in text and "training and 8 test quartets" in text


def test_what_is_done_is_not_done_again(small, monkeypatch):
    first = bench.compare(seeds=[0], rows=["course"])
    monkeypatch.setattr("helpers.benchmarks.runs.train", lambda *_, **__: pytest.fail("trained again"))
    assert bench.compare(seeds=[0], rows=["course"]) == first


def test_the_fine_tuned_row_starts_from_the_weights_that_come_with_the_course(small, monkeypatch):
    begun = []

    def watched(net, *rest, **options):
        begun.append({name: value.clone() for name, value in net.state_dict().items()})
        return train(net, *rest, **options)

    monkeypatch.setattr("helpers.benchmarks.runs.train", watched)
    made = bench.compare(seeds=[0], rows=["fine-tune"])
    assert len(begun) == 1
    assert all(torch.equal(begun[0][name], value) for name, value in pretrained().state_dict().items())
    assert list(made["facts"]) == [bench.TUNED_TITLE]


def test_the_reading_tells_ratios_and_who_is_ahead():
    made = result(row([0.95, 0.95], [0.05, 0.05]), row([0.85, 0.85], [0.1, 0.1]), other=row([0.9, 0.9], [0.04, 0.05]))
    text = "\n".join(bench.reading(made))
    assert "0.50 times its depth RMSE (0.50 times in the published output activation), 0.33 times its mask error (1 - Dice), 0.30 times its training time" in text
    assert "ahead of every other row, by more than the spread over seeds, in: mask Dice." in text
    assert f"as good or better:\n\n- {PUBLISHED}: grid index\n- {bench.AS_PUBLISHED}: grid index\n- other: depth RMSE; grid index" in text


def test_photographs_without_depth_have_no_ratio_of_it():
    nothing = [float("nan")] * 2
    tuned = {bench.TUNED_TITLE: row([0.97, 0.97], nothing)}
    text = "\n".join(bench.reading(result(row([0.95, 0.95], nothing), row([0.85, 0.85], nothing), **tuned)))
    assert "published recipe: 0.33 times its mask error" in text and "with the course: 0.20 times." in text
    assert "nan" not in text and "RMSE" not in text


def test_a_row_that_was_trained_before_is_told_apart_and_not_compared():
    tuned = {bench.TUNED_TITLE: row([0.97, 0.97], [0.025, 0.025])}
    text = "\n".join(bench.reading(result(row([0.95, 0.95], [0.05, 0.05]), row([0.85, 0.85], [0.1, 0.1]), **tuned)))
    assert "from the weights that come with the course: 0.25 and 0.20 times." in text
    assert "ahead of every other row, by more than the spread over seeds, in: mask Dice; depth RMSE." in text
    assert f"- {bench.TUNED_TITLE}" not in text


def test_being_ahead_needs_a_difference_larger_than_the_spread():
    made = result(row([0.95, 0.85], [0.05, 0.05]), row([0.85, 0.85], [0.1, 0.1]))
    assert f"- {PUBLISHED}: mask Dice" in "\n".join(bench.reading(made))


def test_the_reading_of_one_seed_claims_no_spread():
    made = result(row([0.95], [0.05]), row([0.85], [0.1])) | {"seeds": [0]}
    text = "\n".join(bench.reading(made))
    assert "ahead of every other row, under the one seed that was run, in: mask Dice" in text and "spread" not in text


def test_less_of_a_grid_than_the_ground_truth_has_is_no_merit():
    made = result(row([0.95] * 2, [0.05] * 2, grid=0.0), row([0.85] * 2, [0.1] * 2, grid=0.021))
    assert f"- {PUBLISHED}: grid index" in "\n".join(bench.reading(made))
    made = result(row([0.95] * 2, [0.05] * 2, grid=0.021), row([0.85] * 2, [0.1] * 2, grid=0.0))
    assert f"- {PUBLISHED}" not in "\n".join(bench.reading(made))


def test_the_command_takes_data_rows_and_seeds(small, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", "archive")
    asked = {}
    monkeypatch.setattr(bench, "compare", lambda seeds, rows: asked.update(seeds=list(seeds), rows=rows) or result(
        row([0.95], [0.05]), row([0.85], [0.1])))  # fmt: skip
    monkeypatch.setattr("sys.argv", ["table", "--data", "rooms", "--seeds", "2", "--rows", "course", "unet"])
    bench.main()
    assert asked == {"seeds": [0, 1], "rows": ["course", "unet"]}
    assert "Stored as runs/bench/rooms-tiny-part.json" in capsys.readouterr().out
    assert len(stored("bench/*-part.json")) == 1 and not stored("bench/*-table.json"), "a part is no table of results"


@pytest.mark.parametrize("module", [bench, ablation, failures])
def test_nothing_is_measured_on_rooms_where_the_archive_was_asked_for(module, small, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_DATA", "archive")
    monkeypatch.setenv("COURSE_ARCHIVE", str(tmp_path / "nowhere"))
    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises((CourseError, SystemExit)) as told:
        module.main()
    assert "The published data cannot be had" in f"{told.value}{capsys.readouterr().err}"
