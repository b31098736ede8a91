"""Maps that are wrong in a known way, for notebook 04."""

import pytest
import torch
from toy import ToyQuartets

from helpers.dataset import check_quartet, get_batch
from helpers.demos import distortions
from helpers.losses import soft_dice_loss


def square(side=16):
    mask = torch.zeros(1, 1, side, side)
    mask[..., 4:10, 5:11] = 1
    return mask


def test_moving_moves_to_the_right():
    moved = distortions.moved(square(), 3)
    assert moved.shape == (1, 1, 16, 16)
    assert torch.equal(moved[..., 3:], square()[..., :-3])
    assert torch.equal(distortions.moved(square(), 0), square())


def test_blurring_keeps_the_sum_and_the_range():
    blurred = distortions.blurred(square(32), 2)
    assert blurred.shape == (1, 1, 32, 32)
    assert blurred.sum() == pytest.approx(36, rel=0.02)
    assert blurred.min() >= 0 and blurred.max() < 1
    assert torch.equal(distortions.blurred(square(), 0), square())
    assert torch.allclose(distortions.blurred(torch.full((1, 1, 16, 16), 0.3), 3), torch.tensor(0.3)), "border and all"


def test_growing_and_shrinking_move_the_outline():
    mask = square() > 0.5
    assert int(distortions.grown(mask, 1).sum()) == 8 * 8
    assert int(distortions.grown(mask, -1).sum()) == 4 * 4
    assert torch.equal(distortions.grown(mask, 0), mask)


def test_confident_logits_are_finite_and_ordered():
    logits = distortions.confident(torch.tensor([0.0, 0.3, 0.5, 1.0]))
    assert torch.isfinite(logits).all() and (logits.diff() > 0).all()
    assert torch.allclose(logits.sigmoid(), torch.tensor([0.01, 0.3, 0.5, 0.99]))


def test_known_depth_is_left_alone(capsys):
    batch = get_batch(ToyQuartets(), [0, 1])
    assert distortions.with_depth(batch) is batch
    assert capsys.readouterr().out == ""


def test_missing_depth_is_drawn_and_said(capsys):
    batch = get_batch(ToyQuartets(), [0, 1])
    batch["valid"] = torch.zeros_like(batch["valid"])
    drawn = distortions.with_depth(batch)
    assert "without depth" in capsys.readouterr().out
    for i in range(2):
        check_quartet({key: value[i] for key, value in drawn.items()})
    assert drawn["valid"].all() and not batch["valid"].any()
    assert not torch.equal(drawn["depth"][0], drawn["depth"][1])
    assert torch.equal(drawn["depth"], distortions.with_depth(batch)["depth"])


def test_responses_are_a_line_for_each_loss():
    losses = {"Dice": lambda prob: soft_dice_loss(prob, square()), "mean": lambda prob: prob.mean()}
    xlabel, x, lines = distortions.responses("pixels", range(4), lambda x: distortions.moved(square(), x), losses)
    assert (xlabel, list(x)) == ("pixels", [0, 1, 2, 3])
    assert lines["Dice"][0] == 0 and lines["Dice"] == sorted(lines["Dice"])
    assert lines["mean"] == pytest.approx([36 / 256] * 4)
