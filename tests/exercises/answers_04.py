"""Answers to the exercises of notebook 04: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
import torch
import torch.nn.functional as F
from answers import answers_of
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from helpers.losses import masked_mean, soft_dice_loss, ssim_loss
from helpers.metrics import Meter

RIGHT, WRONG, right, wrong = answers_of()
IMAGE = (1, 2, 3)


# -- 4.1: a loss from IoU


def iou_loop(prob, target, smooth=1.0):
    total = 0
    for p, t in zip(prob, target):
        overlap = (p * t).sum()
        total = total + 1 - (overlap + smooth) / (p.sum() + t.sum() - overlap + smooth)
    return total / len(prob)


def iou_einsum(prob, target, smooth=1.0):
    overlap = torch.einsum("bchw,bchw->b", prob, target)
    union = torch.einsum("bchw->b", prob) + torch.einsum("bchw->b", target) - overlap
    return 1 - ((overlap + smooth) / (union + smooth)).mean()


def iou_by_parts(prob, target, smooth=1.0):
    both, only_p, only_t = prob * target, prob * (1 - target), (1 - prob) * target
    return ((only_p + only_t).sum(IMAGE) / ((both + only_p + only_t).sum(IMAGE) + smooth)).mean()


def iou_flat(prob, target, smooth=1.0):
    p, t = prob.flatten(1), target.flatten(1)
    overlap = torch.linalg.vecdot(p, t)
    return torch.stack([1 - (o + smooth) / (u + smooth) for o, u in zip(overlap, (p + t).sum(1) - overlap)]).mean()


def iou_from_dice(prob, target, smooth=1.0):
    score = (2 * (prob * target).sum(IMAGE) + 2 * smooth) / ((prob + target).sum(IMAGE) + 2 * smooth)
    return torch.mean(1 - score / (2 - score))


right("4.1", iou_loop, iou_einsum, iou_by_parts, iou_flat, iou_from_dice)


def unions(union, one_number=torch.mean):
    def soft_iou_loss(p, t, smooth=1.0):
        return one_number(1 - ((p * t).sum(IMAGE) + smooth) / (union(p, t).sum(IMAGE) + smooth))

    return soft_iou_loss


def one_side(p, t, smooth=1.0):
    overlap = (p * t).sum(IMAGE)
    return (1 - overlap / ((p + t).sum(IMAGE) - overlap + smooth)).mean()


def as_numpy(p, t, smooth=1.0):
    p, t = p.detach().numpy().astype(np.float64), t.numpy()
    overlap = (p * t).sum(IMAGE)
    return np.mean(1 - (overlap + smooth) / ((p + t).sum(IMAGE) - overlap + smooth))


def half_detached(p, t, smooth=1.0):
    overlap = (p * t).sum(IMAGE)
    return (1 - (overlap + smooth) / ((p + t).sum(IMAGE).detach() - overlap + smooth)).mean()


wrong(
    "4.1",
    (unions(lambda p, t: p + t), "counts the overlap twice"),
    (soft_dice_loss, "That is the Dice loss"),
    (lambda p, t, smooth=1.0: 1 - ((p * t).sum() + smooth) / ((p + t - p * t).sum() + smooth), "whole batch"),
    (lambda p, t, smooth=1.0: iou_loop(p, t, 0.0), "0/0"),
    (lambda p, t, smooth=1.0: 1 - iou_loop(p, t, smooth), "A loss falls"),
    (unions(lambda p, t: p + t - p * t, lambda x: x), "it should be one number"),
    (lambda p, t, smooth=1.0: iou_loop(p, t), "smooth is a parameter"),
    (unions(torch.maximum), "another union"),
    (one_side, "on one side only"),
    (lambda p, t, smooth=1.0: iou_loop(p, t, smooth).detach(), "has no gradient"),
    (lambda p, t, smooth=1.0: iou_loop(p, t, smooth).item(), "has no gradient"),
    (as_numpy, "has no gradient"),
    (half_detached, "a part of it detached"),
    (lambda p, t, smooth=1.0: iou_loop(p.detach().requires_grad_(), t, smooth), "no gradient reaches"),
)


# -- 4.2: one sigmoid


def by_formula(z, m):
    p = torch.sigmoid(z)
    entropy = -(m * F.logsigmoid(z) + (1 - m) * F.logsigmoid(-z)).mean()
    return entropy + (1 - (2 * (p * m).sum(IMAGE) + 1) / ((p + m).sum(IMAGE) + 1)).mean()


right(
    "4.2",
    by_formula,
    lambda z, m: torch.nn.BCEWithLogitsLoss()(z, m) + soft_dice_loss(torch.sigmoid(z), m),
    lambda z, m: F.binary_cross_entropy(z.sigmoid(), m) + soft_dice_loss(z.sigmoid(), m),
    lambda z, m: soft_dice_loss(1 / (1 + torch.exp(-z)), m) + F.softplus(z).mean() - (z * m).mean(),
    lambda z, m: sum((bce(a[None], b[None]) + soft_dice_loss(a[None].sigmoid(), b[None])) / len(z) for a, b in zip(z, m)),
)
wrong(
    "4.2",
    (lambda z, m: bce(z.sigmoid(), m) + soft_dice_loss(z.sigmoid(), m), "twice in the BCE"),
    (lambda z, m: bce(z.sigmoid(), m) + soft_dice_loss(z, m), "twice in the BCE"),
    (lambda z, m: bce(z, m) + soft_dice_loss(z, m), "No sigmoid before the Dice loss"),
    (lambda z, m: bce(z, m) + soft_dice_loss(z.sigmoid().sigmoid(), m), "twice before the Dice"),
    (lambda z, m: bce(z, m) + soft_dice_loss((z > 0).float(), m), "has no slope"),
    (lambda z, m: bce(z, m), "BCE alone"),
    (lambda z, m: soft_dice_loss(z.sigmoid(), m), "Dice loss alone"),
    (lambda z, m: (bce(z, m) + soft_dice_loss(z.sigmoid(), m)).item(), "has no gradient"),
    (lambda z, m: (bce(z, m) + soft_dice_loss(z.sigmoid(), m)).detach(), "has no gradient"),
    (lambda z, m: bce(z, m) + soft_dice_loss(z.sigmoid().detach(), m), "a part of it detached"),
    (lambda z, m: bce(z.detach(), m) + soft_dice_loss(z.sigmoid(), m), "a part of it detached"),
    (lambda z, m: bce(z, m) + soft_dice_loss(z.sigmoid(), m).detach() - 1, "the loss is"),
)


# -- 4.3: berHu


def berhu(c_of=lambda error: 0.2 * error.max(), large=lambda e, c: (e**2 + c**2) / (2 * c), least=1e-6):
    def berhu_loss(depth, target, valid):
        error = torch.where(valid, (depth - target).abs(), 0.0)
        c = c_of(error).clamp_min(least)
        return torch.where(error <= c, error, large(error, c)).sum() / valid.sum().clamp_min(1)

    return berhu_loss


def selected(depth, target, valid):
    if not valid.any():
        return (depth * 0).sum()
    e = (depth - target)[valid].abs()
    c = e.max().detach() / 5
    if c == 0:
        return e.mean()
    return torch.cat([e[e <= c], (e[e > c] ** 2 + c**2) / (2 * c)]).mean()


def multiplied(depth, target, valid):
    e = (depth - target).abs() * valid
    c = e.amax() / 5 + 1e-7
    large = (e > c).float()
    cost = (1 - large) * e + large * (e * e + c * c) / (2 * c)
    return cost.sum() / max(1, int(valid.sum()))


def image_by_image(depth, target, valid):
    c = max([float((d - t).detach().abs()[v].max()) for d, t, v in zip(depth, target, valid) if v.any()], default=0.0) / 5
    total = depth.sum() * 0
    for d, t, v in zip(depth, target, valid):
        for_one = F.l1_loss(d, t, reduction="none")[v]
        total = total + sum((part if k == 0 else (part**2 + c**2) / (2 * max(c, 1e-9))).sum() for k, part in enumerate((for_one[for_one <= c], for_one[for_one > c])))
    return total / valid.sum().clamp_min(1)


def with_relu(depth, target, valid):
    e = F.l1_loss(depth, target, reduction="none")
    c = e.masked_fill(~valid, 0).max() * 0.2
    return masked_mean(e + F.relu(e - c).square() / (2 * c + 1e-8), valid)


right("4.3", selected, multiplied, image_by_image, with_relu, berhu(lambda error: error.detach().flatten().topk(1).values / 5))


def all_pixels(depth, target, valid):
    return berhu()(depth, target, torch.ones_like(valid))


def limit_of_all(depth, target, valid):
    error = (depth - target).abs()
    c = error.max() / 5
    return masked_mean(torch.where(error <= c, error, (error**2 + c**2) / (2 * c)), valid)


def plain_division(depth, target, valid):
    error = torch.where(valid, (depth - target).abs(), 0.0)
    c = 0.2 * error.max()
    return torch.where(error <= c, error, (error**2 + c**2) / (2 * c)).sum() / valid.sum().clamp_min(1)


def no_division_by_zero(depth, target, valid):
    loss = selected(depth, target, valid)
    return loss if valid.any() else loss / 0


def stops(depth, target, valid):
    e = (depth - target)[valid].abs()
    c = (e.max() / 5).clamp_min(1e-6)
    return torch.where(e <= c, e, (e**2 + c**2) / (2 * c)).mean()


wrong(
    "4.3",
    (limit_of_all, "valid pixels only"),
    (all_pixels, "the loss is"),
    (lambda d, t, v: berhu()(d, t, v) * v.float().mean(), "divide by the number of valid ones"),
    (berhu(lambda error: 0.2 * error.amax(IMAGE, keepdim=True)), "one number for the batch"),
    (berhu(lambda error: error.max()), "a fifth of the largest one"),
    (lambda d, t, v: (d - t)[v].abs().mean(), "This is L1"),
    (lambda d, t, v: berhu(large=lambda e, c: e**2 / (2 * c))(d, t, v), "is missing"),
    (lambda d, t, v: berhu(large=lambda e, c: (e**2 + c**2) / c)(d, t, v), "is missing"),
    (lambda d, t, v: berhu()(d, t, v) * v.sum(), "This is the sum"),
    (lambda d, t, v: F.huber_loss(d[v], t[v], delta=float((d - t).detach()[v].abs().max() / 5)), "This is the Huber loss"),
    (plain_division, "The gradient of a perfect prediction is not finite"),
    (no_division_by_zero, "Without a valid pixel"),
    (stops, "Without a valid pixel it stops with"),
    (lambda d, t, v: berhu()(d, t, v).detach(), "has no gradient"),
    (lambda d, t, v: berhu()(d.detach().requires_grad_(), t, v), "no gradient reaches"),
)


# -- 4.4: Dice, image by image


def hard_dice(axes, empty=1.0, factor=2):
    def dice_of(prob, mask):
        found, real = prob > 0.5, mask > 0.5
        size = found.sum(axes) + real.sum(axes)
        return torch.where(size > 0, factor * (found & real).sum(axes) / size.clamp_min(1), empty)

    return dice_of


def dice_numpy(prob, mask):
    found, real = prob.numpy() > 0.5, mask.numpy() > 0.5
    sizes = found.sum(IMAGE) + real.sum(IMAGE)
    return np.where(sizes, 2 * (found & real).sum(IMAGE) / np.maximum(sizes, 1), 1)


def dice_loop(prob, mask):
    scores = []
    for found, real in zip(prob >= 0.5, mask > 0.5):
        size = int(found.sum()) + int(real.sum())
        scores.append(2 * int((found & real).sum()) / size if size else 1)
    return scores


def dice_nan(prob, mask):
    found, real = (prob > 0.5).float().flatten(1), (mask > 0.5).float().flatten(1)
    return (2 * torch.einsum("bn,bn->b", found, real) / (found.sum(1) + real.sum(1))).nan_to_num(1.0)


def dice_counts(prob, mask):
    found, real = (prob > 0.5).flatten(1), (mask > 0.5).flatten(1)
    hit, false, missed = (found & real).sum(1), (found & ~real).sum(1), (~found & real).sum(1)
    return torch.where(hit + false + missed == 0, 1.0, 2 * hit / (2 * hit + false + missed).clamp_min(1))


def dice_epsilon(prob, mask, epsilon=1e-7):
    found, real = (prob > 0.5).double(), (mask > 0.5).double()
    return (2 * (found * real).sum(IMAGE) + epsilon) / ((found + real).sum(IMAGE) + epsilon)


right("4.4", dice_numpy, dice_loop, dice_nan, dice_counts, dice_epsilon)


def dice_over_union(prob, mask):
    found, real = prob > 0.5, mask > 0.5
    return 2 * (found & real).sum(IMAGE) / (found + real).sum(IMAGE)


def one_for_empty(prob, mask):
    return torch.where((mask > 0.5).any(3).any(2).any(1), hard_dice(IMAGE)(prob, mask), 1.0)


def soft(prob, mask):
    size = (prob + mask).sum(IMAGE)
    return torch.where(size > 0, 2 * (prob * mask).sum(IMAGE) / size, 1.0)


wrong(
    "4.4",
    (hard_dice((0, 1, 2, 3)), "One number for the whole batch"),
    (hard_dice(0), "axis 0, which is the batch"),
    (hard_dice((2, 3)), "height and width alone"),
    (hard_dice(IMAGE, float("nan")), "should score 1"),
    (hard_dice(IMAGE, 0.0), "should score 1"),
    (one_for_empty, "only if none is predicted"),
    (hard_dice(IMAGE, factor=1), "*twice*"),
    (dice_over_union, 'two bools is "or"'),
    (lambda p, m: dice_epsilon(p, m, 1.0), "You smooth"),
    (lambda p, m: ((p > 0.5) == (m > 0.5)).float().mean(IMAGE), "share of right pixels"),
    (soft, "You count probabilities"),
    (lambda p, m: soft((p > 0.5).float(), m), "Only one of the two"),
    (lambda p, m: soft(p, (m > 0.5).float()), "Only one of the two"),
    (lambda p, m: hard_dice(IMAGE)(p, m) / (2 - hard_dice(IMAGE)(p, m)), "That is the IoU"),
    (lambda p, m: hard_dice(IMAGE)(p, m)[:3], "shape (3,); it should be (5,)"),
    (lambda p, m: p.sum(1) + m.sum((1, 2)), "stops with RuntimeError"),
    (lambda p, m: None, "None"),
    (lambda p, m: "high", "a number, an array or a tensor"),
)


# -- 4.5: a score that the ground truth wins


def by_numpy(depth, batch):
    known = batch["valid"].numpy()
    return 1 / (1 + np.square(depth.numpy() - batch["depth"].numpy())[known].mean())


def by_meter(depth, batch):
    meter = Meter(edges=False)
    meter.update(batch["mask"], torch.where(batch["valid"], depth, 0.0), batch)
    return 1 - meter.result()["depth_rmse"]


def close_share(depth, batch):
    error = (depth - batch["depth"])[batch["valid"]].abs()
    return float(torch.exp(-5 * error).mean())


def image_means(depth, batch):
    return -sum(masked_mean((d - t).abs(), v) for d, t, v in zip(depth, batch["depth"], batch["valid"])) / len(depth)


right(
    "4.5",
    lambda depth, batch: -(depth - batch["depth"])[batch["valid"]].abs().mean(),
    lambda depth, batch: -(depth - batch["depth"])[batch["valid"]].abs().max(),
    by_numpy,
    by_meter,
    close_share,
    image_means,
    lambda depth, batch: 1 - F.mse_loss(depth * batch["valid"], batch["depth"] * batch["valid"]),
    lambda depth, batch: -masked_mean((depth - batch["depth"]) ** 2, batch["valid"]) - ssim_loss(depth, batch["depth"], batch["valid"]),
)


def published_dice(depth, batch):
    depth, target = (maps * batch["valid"] for maps in (depth, batch["depth"]))
    return (2 * (depth * target).sum() + 1) / ((depth + target).sum() + 1)


def unlike(statistic, depth, batch):
    return (statistic(depth[batch["valid"]]) - statistic(batch["depth"][batch["valid"]])).abs()


def correlation(depth, batch):
    return torch.corrcoef(torch.stack((depth[batch["valid"]], batch["depth"][batch["valid"]])))[0, 1].nan_to_num(0)


def some(part, depth, batch):
    depth, target, valid = (x[part] for x in (depth, batch["depth"], batch["valid"]))
    return -(depth - target)[valid].abs().mean()


def of_histograms(depth, batch):
    return -(depth[batch["valid"]].sort().values - batch["depth"][batch["valid"]].sort().values).abs().mean()


wrong(
    "4.5",
    (published_dice, "does not win"),
    (lambda d, b: (d - b["depth"])[b["valid"]].abs().mean(), "lowest score of all"),
    (lambda d, b: 1 - (d - b["depth"]).abs().mean(), "valid pixels only"),
    (lambda d, b: 1 - (d - b["depth"])[b["valid"]].abs().mean() / d.max(), "valid pixels only"),
    (lambda d, b: 1 - (d - b["depth"]).abs().mean(IMAGE), "one number"),
    (lambda d, b: (d - b["depth"])[b["valid"]].sum().sqrt(), "not a number"),
    (lambda d, b: 1 - (d - b["depth"])[b["valid"]].mean().abs(), "the mean depth everywhere gets 1.000"),
    (lambda d, b: -unlike(torch.mean, d, b) - unlike(torch.std, d, b), "does not win"),
    (lambda d, b: float(torch.equal(d[b["valid"]], b["depth"][b["valid"]])), "off by 0.01"),
    (lambda d, b: float(torch.allclose(d[b["valid"]], b["depth"][b["valid"]], atol=1e-3)), "off by 0.01"),
    (correlation, "half the range gets 1.000"),
    (of_histograms, "does not win"),
    (lambda d, b: some(slice(1), d, b), "wrong only in image"),
    (lambda d, b: some((..., slice(None, None, 2)), d, b), "every second column, from column 1"),
    (lambda d, b: some((..., slice(1, None, 2), slice(None)), d, b), "every second row, from row 0"),
    (lambda d, b: some((..., slice(20, 40), slice(None)), d, b), "wrong only in rows 0 to 15"),
)
