"""Notebook 04's losses and metrics, taken from its cells, against the library's and others'."""

import pytest
import torch
import torch.nn.functional as F
from notebook_cells import defined
from torchvision.ops import sigmoid_focal_loss

from helpers import losses
from helpers.metrics import Meter

LOSSES = ("bce_with_logits", "soft_dice_loss", "masked_mean", "ssim_loss", "gradient_loss", "course_loss")
CURES = ("weighted_bce", "focal_loss", "tversky_loss")
METRICS = ("dice", "iou", "boundary", "near", "boundary_f", "calibration")


@pytest.fixture(scope="module")
def cells():
    return defined("04", *LOSSES, *CURES, *METRICS)


@pytest.fixture(params=range(3))
def case(request):
    """Random logits and a batch whose masks are soft, and whose depth is known in part; one image has no cat."""
    draw = torch.Generator().manual_seed(request.param)
    one, two = (3 * torch.randn(3, 1, 40, 48, generator=draw) for _ in range(2))
    mask, depth, holes = (torch.rand(3, 1, 40, 48, generator=draw) for _ in range(3))
    mask = F.avg_pool2d((mask > 0.6).float(), 5, 1, 2)
    mask[-1] = 0
    return one, two, {"mask": mask, "depth": depth, "valid": holes > 0.05, "near_far": torch.tensor([[1.0, 4.0]] * 3)}


def test_the_losses_are_the_librarys(cells, case):
    one, two, batch = case
    mask, depth, valid = batch["mask"], batch["depth"], batch["valid"]
    assert torch.allclose(cells["bce_with_logits"](one, mask), F.binary_cross_entropy_with_logits(one, mask))
    assert torch.allclose(cells["soft_dice_loss"](one.sigmoid(), mask), losses.soft_dice_loss(one.sigmoid(), mask))
    assert torch.allclose(cells["masked_mean"](depth, valid), losses.masked_mean(depth, valid))
    for name in ("ssim_loss", "gradient_loss"):
        found = cells[name](two.sigmoid(), depth, valid)
        assert torch.allclose(found, getattr(losses, name)(two.sigmoid(), depth, valid), atol=1e-5), name


def test_confident_logits_do_not_overflow(cells):
    z, t = torch.tensor([[-1e4, 1e4, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    assert torch.allclose(cells["bce_with_logits"](z, t), F.binary_cross_entropy_with_logits(z, t))


def test_their_sum_is_the_loss_that_trains_with_its_gradient(cells, case):
    one, two, batch = case
    outputs = one.requires_grad_(), two.requires_grad_()
    mine, theirs = cells["course_loss"](*outputs, batch), losses.CourseLoss()(*outputs, batch)["loss"]
    assert torch.allclose(mine, theirs, atol=1e-5)
    for a, b in zip(torch.autograd.grad(mine, outputs), torch.autograd.grad(theirs, outputs)):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_without_a_valid_pixel_the_depth_costs_nothing(cells, case):
    one, two, batch = case
    batch["valid"][:] = False
    mask = F.binary_cross_entropy_with_logits(one, batch["mask"]) + losses.soft_dice_loss(one.sigmoid(), batch["mask"])
    assert torch.allclose(cells["course_loss"](one, two, batch), mask)


def test_the_cures_for_rare_classes_are_those_of_the_papers(cells, case):
    one, _, batch = case
    mask, cat = batch["mask"], (batch["mask"] > 0.5).float()
    weight = torch.tensor(7.0)
    expected = F.binary_cross_entropy_with_logits(one, mask, pos_weight=weight)
    assert torch.allclose(cells["weighted_bce"](one, mask, 7.0), expected)
    assert torch.allclose(cells["focal_loss"](one, cat), sigmoid_focal_loss(one, cat, alpha=-1, reduction="mean"))
    prob = one.sigmoid()
    assert torch.allclose(cells["tversky_loss"](prob, cat, 0.5, 0.5), losses.soft_dice_loss(prob, cat))
    fewer = 0.1 * cat  # most of the cat is missed, and nothing else found
    assert cells["tversky_loss"](fewer, cat) > cells["tversky_loss"](fewer, cat, 0.7, 0.3), "a miss costs more"


def test_the_metrics_are_the_meters(cells, case):
    one, two, batch = case
    prob = (4 * (batch["mask"] - 0.5) + one).sigmoid()
    meter = Meter(edges=False)
    meter.update(prob, two.sigmoid(), batch)
    result, found, cat = meter.result(), prob > 0.5, batch["mask"] > 0.5
    assert float(cells["dice"](found, cat)) == pytest.approx(result["mask_dice"], abs=1e-6)
    assert float(cells["iou"](found, cat)) == pytest.approx(result["mask_iou"], abs=1e-6)
    for radius in (1, 2):
        score = float(cells["boundary_f"](found, cat, radius))
        assert score == pytest.approx(result[f"boundary_f_{radius}px"], abs=1e-6)
    mean_prob, share, error = cells["calibration"](prob, batch["mask"])
    assert error == pytest.approx(result["mask_ece"], abs=1e-6)
    assert mean_prob.shape == share.shape == (16,)
