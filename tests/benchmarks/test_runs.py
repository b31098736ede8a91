"""Experiments are trained once, read again afterwards, and compared by their spread over seeds."""

import dataclasses
import json
import shutil

import pytest
import torch
from toy import ToyQuartets

from helpers.benchmarks import runs
from helpers.benchmarks.runs import Experiment, run, score
from helpers.benchmarks.summary import difference, gather, markdown_table, with_spread
from helpers.dataset import cached, sample, split
from helpers.losses import CourseLoss
from helpers.model import DuoNet
from helpers.predict import pretrained
from helpers.recipes import Stage, recipe

pytestmark = pytest.mark.slow

SHORT = recipe("course", "tiny", stages=(Stage(32, 8, 1),))
ONE = Experiment("one", DuoNet, SHORT)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    parts = split(ToyQuartets(rooms=6, cats=6, placements=2, size=48))
    return sample(parts[0], 16), sample(parts[1], 2), cached(sample(parts[1], 8), tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    """The folder of an experiment, and what it gave: for all who only read it, or a copy of it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    return folder, run(ONE, *sets, folder)


def ground_truth(batch):
    return (batch["mask"] > 0.5).float(), batch["depth"]


def test_score_of_the_ground_truth_is_perfect_and_of_a_missing_map_is_absent(sets):
    perfect = score(ground_truth, sets[2])
    assert perfect["mask_dice"] == perfect["perturbed_mask_dice"] == 1
    assert perfect["depth_rmse"] == 0 and "grid" in perfect and "perturbed_grid" in perfect
    only_mask = score(lambda batch: (ground_truth(batch)[0], None), sets[2])
    assert only_mask["mask_dice"] == 1
    assert not any("depth" in name or "delta" in name or "grid" in name for name in only_mask)
    only_depth = score(lambda batch: (None, batch["depth"]), sets[2])
    assert only_depth["depth_rmse"] == 0 and not any("mask" in name or "boundary" in name for name in only_depth)


def test_perturbed_scores_see_perturbed_pairs(sets):
    seen = []
    score(lambda batch: (seen.append(batch["bg"].clone()) or batch["mask"], None), sets[2])
    clean, perturbed = seen
    assert not torch.equal(clean, perturbed)


def test_a_finished_experiment_is_read_and_not_trained_again(sets, tmp_path, monkeypatch):
    experiment = Experiment("one", DuoNet, dataclasses.replace(SHORT, depth_activation="clamp"))
    first = run(experiment, *sets, tmp_path, seed=1)
    assert first["scores"]["sigmoid"]["mask_dice"] == first["scores"]["clamp"]["mask_dice"]
    assert first["scores"]["sigmoid"]["depth_rmse"] != first["scores"]["clamp"]["depth_rmse"]
    assert first["corrupted"]["clean"] == [pytest.approx(first["scores"]["sigmoid"]["mask_dice"])]
    assert first["facts"]["samples"] == 16 and first["what"]["recipe"]["seed"] == 1
    assert not list(tmp_path.glob("*.pt")), "nothing that only an unfinished run needs"
    assert (tmp_path / "weights.safetensors").exists() and (tmp_path / "history.csv").exists()
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    assert run(experiment, *sets, tmp_path, seed=1) == first
    monkeypatch.setattr(runs, "VERSION", runs.VERSION + 1)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run(experiment, *sets, tmp_path, seed=1)


OTHERS = {
    "recipe": {"recipe": recipe("course", "tiny", stages=(Stage(32, 4, 1),))},
    "loss": {"loss": CourseLoss(structure_weight=1)},  # of the same class, but it weighs its parts differently
    "start": {"network": pretrained},  # the same architecture, but trained before
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_experiment_in_its_place_is_trained_and_that_is_said(sets, trained, tmp_path, monkeypatch, capsys, change):
    folder = shutil.copytree(trained[0], tmp_path / "one")
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    assert run(ONE, *sets, folder) == trained[1]
    assert "training anew" not in capsys.readouterr().out
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run(dataclasses.replace(ONE, **change), *sets, folder)
    assert "another experiment" in capsys.readouterr().out


def test_a_damaged_score_is_made_anew(sets, tmp_path):
    (tmp_path / runs.SCORE).write_text('{"what": ')
    result = run(ONE, *sets, tmp_path)
    assert json.loads((tmp_path / runs.SCORE).read_text()) == result


def test_the_seed_decides_the_weights(sets, trained, tmp_path):
    folder, first = trained
    again, other = (run(ONE, *sets, tmp_path / str(seed), seed) for seed in (0, 1))
    assert first["scores"]["sigmoid"] == again["scores"]["sigmoid"] != other["scores"]["sigmoid"]
    assert json.loads((folder / runs.SCORE).read_text())["scores"] == first["scores"]


def test_a_difference_within_the_spread_is_none():
    assert difference([0.9, 0.92, 0.94], [0.9, 0.91, 0.92]) == 0
    assert difference([0.9, 0.92, 0.94], [0.8, 0.81, 0.82]) == pytest.approx(0.11)
    assert difference([0.5], [0.75]) == -0.25
    assert difference([0.5, 0.9], [0.75, 0.75]) == 0, "the larger of the two spreads counts"


def test_words_for_several_seeds():
    assert with_spread([1.0, 2.0, 3.0], "{:.1f}") == "2.0\u00a0±\u00a01.0"
    assert with_spread([2.0], "{:.1f}") == "2.0"
    assert gather([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": [1.0, 3.0]}


def test_a_markdown_table_has_its_numbers_at_the_right():
    assert markdown_table(["a", "b"], [["x", "1"], ["y", "2"]], numbers_from=1).splitlines() == [
        "| a | b |", "| --- | --: |", "| x | 1 |", "| y | 2 |"
    ]  # fmt: skip
