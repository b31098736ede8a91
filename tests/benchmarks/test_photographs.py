"""Networks are scored on any folder of photographs, and trained on several sets at once."""

from pathlib import Path
from shutil import copy2

import pytest
import torch
from photo_files import photo_folder
from toy import ToyQuartets

from helpers.augment import resize
from helpers.benchmarks import photographs
from helpers.benchmarks.mixture import Mixture
from helpers.config import CourseError
from helpers.dataset import cached, get_batch, sample
from helpers.evaluate import evaluate, network_predictor
from helpers.predict import WEIGHTS, pretrained
from helpers.rendering.dataset import RoomsDataset


def test_a_mixture_gives_the_quartets_of_its_parts_in_the_order_asked_for(tmp_path):
    live, kept = ToyQuartets(size=32), cached(sample(ToyQuartets(size=48, seed=1), 5), tmp_path)
    mixture = Mixture(48, live, kept).at_size(64)
    assert len(mixture) == len(live) + 5 and mixture.size == 64
    wanted = [len(live) + 4, 3, len(live), 7]
    batch = get_batch(mixture, wanted)
    first = resize(kept.get_batch([4, 0]), 64)
    own = live.at_size(64).get_batch([3, 7])
    for name, value in batch.items():
        assert torch.equal(value[[0, 2]], first[name]) and torch.equal(value[[1, 3]], own[name])
    assert mixture.key() != Mixture(64, live).key() and torch.equal(mixture[3]["bg"], own["bg"][0])


def test_scores_are_those_of_evaluate_and_held_out_rooms_come_beside_baselines(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    photo_folder(tmp_path / "photos", depths=(None,) * 4, cats=4)
    photographs.main([str(tmp_path / "photos"), "--sizes", "32", "--count", "4", "--registered"])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if ", 32 px, " in line]
    assert [row.split(",")[0] for row in rows] == ["subtraction + mean map"] * 2 + ["course"] * 4
    assert ["registered" in row for row in rows] == [False] * 4 + [True] * 2
    assert "4 quartets of" in printed and "held-out rooms, seed 0" in printed and "torch" in printed
    toys = sample(ToyQuartets(size=32), 6)
    row = photographs.compare({"net": pretrained()}, {32: toys})["net, 32 px, perturbed"]
    wanted = evaluate(pretrained(), toys, perturbed=True)
    assert row == pytest.approx({title: wanted[key] for key, title in photographs.METRICS.items()}, nan_ok=True)


def test_two_rows_of_one_name_are_refused(tmp_path):
    paths = [Path(copy2(WEIGHTS["rooms"], tmp_path / name)) for name in ("one.safetensors", "two.safetensors")]
    assert list(photographs.by_name(paths)) == ["one", "two"]
    with pytest.raises(CourseError, match="Two of the weights are called one"):
        photographs.by_name([*paths, paths[0]])


def test_pairs_are_registered_first_and_refused_ones_have_no_mask():
    """A room that was moved by a tenth of its width, and two rooms."""
    dataset = RoomsDataset(64, rooms=2, cats=1, placements=1)
    batch = dataset.get_batch([0, len(dataset) - 1])
    batch["bg"] = torch.stack([batch["bg"][0].roll(6, -1), batch["bg"][0]])
    net = pretrained()
    masks, depths = photographs.pair_predictor(net)(batch)
    plain = network_predictor(net)(batch)[0]
    assert masks.shape == depths.shape == (2, 1, 64, 64) and (masks[1] == 0).all() and depths[1].std() > 0
    wrong = [((mask[0] > 0.5) != (batch["mask"][0] > 0.5)).float().mean() for mask in (masks, plain)]
    assert wrong[0] < 0.5 * wrong[1]
