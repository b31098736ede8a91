"""Answers to the exercises of notebook 04: right ones in different styles, and wrong ones with words of their diagnosis."""

import torch
from answers import answers_of
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from helpers.losses import soft_dice_loss

RIGHT, WRONG, right, wrong = answers_of()


def hard_dice(axes, empty=1.0, factor=2):
    def dice_of(prob, mask):
        found, real = prob > 0.5, mask > 0.5
        size = found.sum(axes) + real.sum(axes)
        return torch.where(size > 0, factor * (found & real).sum(axes) / size.clamp_min(1), empty)

    return dice_of


def dice_over_union(prob, mask):
    found, real = prob > 0.5, mask > 0.5
    return 2 * (found & real).sum((1, 2, 3)) / (found + real).sum((1, 2, 3))


def soft_iou(prob, target):
    overlap = (prob * target).sum((1, 2, 3))
    return (1 - (overlap + 1) / ((prob + target).sum((1, 2, 3)) - overlap + 1)).mean()


def published_dice(depth, batch):
    depth, target = (maps * batch["valid"] for maps in (depth, batch["depth"]))
    return (2 * (depth * target).sum() + 1) / ((depth + target).sum() + 1)


def roots(depth, batch):
    """The RMSE of each picture."""
    errors = zip(depth - batch["depth"], batch["valid"])
    return torch.stack([error[valid].square().mean().sqrt() for error, valid in errors])


def unlike(statistic, depth, batch):
    return (statistic(depth[batch["valid"]]) - statistic(batch["depth"][batch["valid"]])).abs()


wrong(
    "4.1",
    (hard_dice((0, 1, 2, 3)), "One number for the whole batch"),
    (hard_dice(0), "axis 0, which is the batch"),
    (hard_dice((2, 3)), "height and width alone"),
    (hard_dice((1, 2, 3), float("nan")), "should score 1"),
    (hard_dice((1, 2, 3), 0.0), "should score 1"),
    (hard_dice((1, 2, 3), factor=1), "*twice*"),
    (dice_over_union, 'two bools is "or"'),
    (lambda p, m: hard_dice((1, 2, 3))(p, m)[:3], "shape (3,); it should be (4,)"),
    (lambda p, m: p.sum(1) + m.sum((1, 2)), "stops with RuntimeError"),
    (lambda p, m: None, "None"),
    (lambda p, m: "high", "a number, an array or a tensor"),
)
wrong(
    "4.2",
    (lambda z, m: bce(z.sigmoid(), m) + soft_dice_loss(z.sigmoid(), m), "twice in the BCE"),
    (lambda z, m: bce(z, m) + soft_dice_loss(z, m), "No sigmoid before the Dice loss"),
    (lambda z, m: bce(z, m) + soft_dice_loss(z.sigmoid().sigmoid(), m), "twice before the Dice"),
    (lambda z, m: bce(z, m) + soft_dice_loss((z > 0).float(), m), "has no slope"),
    (lambda z, m: bce(z, m), "BCE alone"),
    (lambda z, m: (bce(z, m) + soft_dice_loss(z.sigmoid(), m)).item(), "has no gradient"),
    (lambda z, m: bce(z, m) + soft_dice_loss(z.sigmoid(), m).detach() - 1, "the loss is"),
)
wrong(
    "4.3",
    (lambda d, b: (d - b["depth"]).square().mean().sqrt(), "You count all pixels"),
    (lambda d, b: ((d - b["depth"]) * b["valid"]).square().mean().sqrt(), "divide by *all* pixels"),
    (lambda d, b: (d - b["depth"])[b["valid"]].abs().mean(), "mean absolute error"),
    (lambda d, b: (d - b["depth"])[b["valid"]].square().mean(), "the root is missing"),
    (lambda d, b: roots(d, b).mean(), "four roots"),
    (roots, "it should be one number"),
)
wrong(
    "4.4",
    (lambda p, t: (1 - ((p * t).sum((1, 2, 3)) + 1) / ((p + t).sum((1, 2, 3)) + 1)).mean(), "counts the overlap twice"),
    (soft_dice_loss, "That is the Dice loss"),
    (lambda p, t: 1 - ((p * t).sum() + 1) / ((p + t - p * t).sum() + 1), "whole batch"),
    (lambda p, t: (1 - (p * t).sum((1, 2, 3)) / (p + t - p * t).sum((1, 2, 3))).mean(), "0/0"),
    (lambda p, t: (((p * t).sum((1, 2, 3)) + 1) / ((p + t - p * t).sum((1, 2, 3)) + 1)).mean(), "A loss falls"),
    (lambda p, t: 1 - ((p * t).sum((1, 2, 3)) + 1) / ((p + t - p * t).sum((1, 2, 3)) + 1), "it should be one number"),
    (lambda p, t: soft_iou(p, t).detach(), "has no gradient"),
)
wrong(
    "4.5",
    (published_dice, "does not win"),
    (lambda d, b: (d - b["depth"])[b["valid"]].abs().mean(), "lowest score of all"),
    (lambda d, b: 1 - (d - b["depth"]).abs().mean(), "valid pixels only"),
    (lambda d, b: 1 - (d - b["depth"]).abs().mean((1, 2, 3)), "one number"),
    (lambda d, b: (d - b["depth"])[b["valid"]].sum().sqrt(), "not a number"),
    (lambda d, b: 1 - (d - b["depth"])[b["valid"]].mean().abs(), "the mean depth everywhere gets 1.000"),
    (lambda d, b: -unlike(torch.mean, d, b) - unlike(torch.std, d, b), "pixels shuffled gets"),
    (lambda d, b: float(torch.equal(d[b["valid"]], b["depth"][b["valid"]])), "off by 0.01"),
)

right(
    "4.5",
    lambda depth, batch: -(depth - batch["depth"])[batch["valid"]].abs().mean(),
)
