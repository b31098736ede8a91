"""The weights that a run keeps at the end of each stage: what notebook 05 draws its pictures from."""

import pytest
import torch
from toy import ToyQuartets

from helpers.dataset import Subset, split
from helpers.evaluate import evaluate
from helpers.model import build
from helpers.predict import load
from helpers.recipes import Stage, recipe
from helpers.train import train

pytestmark = pytest.mark.slow

STAGES = (Stage(32, 8, 1), Stage(48, 8, 2))


@pytest.fixture(scope="module")
def parts():
    return split(ToyQuartets(rooms=4, cats=4, placements=2), test=0.25)


@pytest.fixture(scope="module")
def run(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages") / "run"
    return folder, train(build("DuoNet"), *parts, recipe("course", stages=STAGES), folder)


def test_each_stage_leaves_its_weights(run):
    folder, _ = run
    assert [path.name for path in sorted(folder.glob("weights*"))] == [
        "weights-stage-1.safetensors", "weights-stage-2.safetensors", "weights.safetensors",
    ]  # fmt: skip


def test_the_last_stage_is_the_finished_network(run):
    last, whole = (load(run[0] / name).state_dict() for name in ("weights-stage-2.safetensors", "weights.safetensors"))
    assert all(torch.equal(last[key], whole[key]) for key in whole)


def test_the_first_stage_is_another_network_that_knows_its_size(run):
    first, second = (load(run[0] / f"weights-stage-{n}.safetensors") for n in (1, 2))
    assert (first.trained_size, second.trained_size) == (32, 48)
    assert not torch.equal(first.stem[0].weight, second.stem[0].weight)


def test_they_are_the_network_that_the_history_speaks_of(run, parts):
    folder, history = run
    net = load(folder / "weights-stage-1.safetensors")
    result = evaluate(net, parts[1], 32)
    assert history[0]["stage"] == 1
    assert result["mask_dice"] == pytest.approx(history[0]["validation_mask_dice"], abs=1e-4)
    assert result["depth_rmse"] == pytest.approx(history[0]["validation_depth_rmse"], abs=1e-4)


class PowerCut(Subset):
    """The same quartets, until a number of batches has been fetched."""

    left = 6

    def at_size(self, size):
        moved = PowerCut(self.dataset.at_size(size), self.indices)
        moved.left = self.left if size == STAGES[0].size else 2
        return moved

    def get_batch(self, indices):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().get_batch(indices)


def test_a_run_that_was_cut_in_the_second_stage_ends_with_the_same_files(run, parts, tmp_path):
    wanted = recipe("course", stages=STAGES)
    with pytest.raises(KeyboardInterrupt):
        cut = PowerCut(parts[0].dataset, parts[0].indices)
        train(build("DuoNet"), cut, parts[1], wanted, tmp_path / "run")
    assert (tmp_path / "run" / "weights-stage-1.safetensors").exists()
    assert not (tmp_path / "run" / "weights-stage-2.safetensors").exists()
    train(build("DuoNet"), *parts, wanted, tmp_path / "run")
    for number in (1, 2):
        name = f"weights-stage-{number}.safetensors"
        again, before = load(tmp_path / "run" / name).state_dict(), load(run[0] / name).state_dict()
        assert all(torch.equal(again[key], before[key]) for key in before)
