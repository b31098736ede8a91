"""The capstone's line: what a run used and reached, whether it kept to the budget, and what is no run."""

import json
import math

import pytest
import torch
from toy import ToyQuartets

from helpers.benchmarks import score
from helpers.benchmarks.score import budget, score_run, verdict
from helpers.checkpoints import save_tensors
from helpers.config import CourseError, profile
from helpers.dataset import Subset
from helpers.evaluate import evaluate
from helpers.model import build, count_parameters
from helpers.predict import WEIGHTS
from helpers.recipes import recipe


@pytest.fixture
def test_set():
    return Subset(ToyQuartets(size=32), [0, 9, 20, 31])


def write_run(folder, **used):
    net = build("DuoNet")
    save_tensors(folder / "weights.safetensors", net.state_dict(), {"network": "DuoNet", "metrics": json.dumps(used)})
    return net


def test_the_line_says_what_evaluate_finds_and_what_the_weights_carry(tmp_path, test_set):
    net = write_run(tmp_path, samples=90, seconds=12.4)
    line = score_run(tmp_path, test_set)
    clean, perturbed = evaluate(net, test_set), evaluate(net, test_set, perturbed=True)
    assert line[:4] == ("DuoNet", count_parameters(net), 90, 12.4)
    assert line.mask_dice == pytest.approx(clean["mask_dice"], abs=1e-3)
    assert line.perturbed_mask_dice == pytest.approx(perturbed["mask_dice"], abs=1e-3)
    assert line.depth_rmse == pytest.approx(clean["depth_rmse"], abs=1e-3)
    text = str(line)
    assert "\n" not in text and text.startswith("DuoNet | 4.93 M parameters | samples 90 | training 12 s | test mask Dice 0.")
    assert f"depth RMSE {clean['depth_rmse']:.3f}" in text and text.endswith("| within budget")


class Mine(torch.nn.Module):
    """A network that the library does not know by name."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(6, 2, 1)

    def forward(self, bg, bg_fg):
        return self.layer(torch.cat((bg, bg_fg), 1) / 255).split(1, 1)


def test_a_network_of_ones_own_class_is_handed_in(tmp_path, test_set):
    net = Mine()
    about = {"network": "Mine", "metrics": json.dumps({"samples": 5, "seconds": 1})}
    save_tensors(tmp_path / "weights.safetensors", net.state_dict(), about)
    with pytest.raises(CourseError, match="names the network 'Mine'.*hand in a network of it"):
        score_run(tmp_path, test_set)
    line = score_run(tmp_path, test_set, Mine())
    assert line[:4] == ("Mine", 14, 5, 1) and line.mask_dice == pytest.approx(evaluate(net, test_set)["mask_dice"], abs=1e-3)
    with pytest.raises(CourseError, match="do not fit DuoNet"):
        score_run(tmp_path, test_set, build("DuoNet"))


def test_weights_that_carry_nothing_are_scored_and_their_budget_is_left_open(test_set):
    line = score_run(WEIGHTS["rooms"], test_set)
    assert math.isnan(line.samples) and 0 <= line.mask_dice <= 1
    assert str(line).endswith("budget not checked: samples, seconds unknown") and "samples unknown" in str(line)


class DepthUnknown(Subset):
    def get_batch(self, indices):
        batch = super().get_batch(indices)
        return {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": torch.full_like(batch["near_far"], torch.nan)}


def test_where_depth_is_not_known_the_line_says_so(tmp_path):
    write_run(tmp_path, samples=1, seconds=1)
    assert "depth RMSE unknown" in str(score_run(tmp_path, DepthUnknown(ToyQuartets(size=32), [0, 9])))


def test_the_budget_is_what_the_recipe_of_the_profile_sees():
    epochs = sum(stage.epochs for stage in recipe("course").stages)
    assert budget().samples == epochs * profile().train_samples
    assert count_parameters(build("DepthMaskNet")) < budget().parameters < 5_500_000 and budget().seconds == 600


@pytest.mark.parametrize(
    "parameters, samples, seconds, words",
    [
        (4_900_000, 96, 500.0, "within budget"),
        (9_000_000, 96, 500.0, "over budget: parameters"),
        (4_900_000, 10**9, 601.0, "over budget: samples, seconds"),
        (9_000_000, math.nan, 1.0, "over budget: parameters"),
        (4_900_000, 96, math.nan, "budget not checked: seconds unknown"),
    ],
)
def test_a_run_is_within_the_budget_or_over_it_in_what_is_named(parameters, samples, seconds, words):
    assert verdict(parameters, samples, seconds) == words


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_what_is_no_run_is_refused_with_a_sentence(tmp_path, make, test_set):
    make(tmp_path / "run")
    with pytest.raises(CourseError, match="There are no weights|not a complete safetensors file"):
        score_run(tmp_path / "run", test_set)


def test_the_command_prints_one_line_or_ends_with_the_sentence(tmp_path, monkeypatch, capsys, test_set):
    monkeypatch.setattr(score, "sets", lambda name: (test_set,))
    write_run(tmp_path, samples=90, seconds=12)
    score.main([str(tmp_path)])
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(SystemExit, match="CourseError: There are no weights"):
        score.main([str(tmp_path / "nothing")])
