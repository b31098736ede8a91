"""Exercises of notebook 04: losses and metrics for a mask and for depth."""

import torch
import torch.nn.functional as F

from helpers.demos.distortions import confident
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, dice, expect, has_gradient, quartets, shaped, wrong_masks
from helpers.losses import soft_dice_loss


@exercise(
    "4.1",
    "The axes of (B, 1, H, W) are numbered 0 to 3, and axis 0 is the image. Which three do you add up?",
    "Dice is twice the overlap divided by the sum of both areas: found.sum(...) + real.sum(...).",
)
def dice_of_every_image(dice_of):
    mask = quartets()["mask"]
    mask[-1] = 0
    prob = wrong_masks(mask)  # below 0.5 where there is no cat
    found, real = (prob > 0.5).float(), (mask > 0.5).float()
    right = dice(found, real)
    overlap, size = (found * real).sum((1, 2, 3)), (found + real).sum((1, 2, 3))
    union = size - overlap

    def ratio(overlap, size):
        return torch.where(size > 0, overlap / size.clamp_min(1), 1.0)

    mistakes = {
        "One number for the whole batch: sum over (1, 2, 3).": Either((dice(found, real, (0, 1, 2, 3)), right.mean())),
        "You add up over axis 0, which is the batch. Sum over (1, 2, 3).": dice(found, real, [0]),
        "You add up over height and width alone. Sum over (1, 2, 3).": dice(found, real, (2, 3)),
        "The last picture has no cat, and none was found: that is right, and should score 1.":
            Either((2 * overlap / size, 2 * overlap / size.clamp_min(1))),
        "That is the IoU: overlap / union. Dice divides twice the overlap by the sum of areas.": ratio(overlap, union),
        "You get half of it: Dice is *twice* the overlap, divided by the sum of both areas.": ratio(overlap, size),
        'You divide by the union: found + real of two bools is "or". Add up each of them first.':
            Either((ratio(2 * overlap, union), 2 * overlap / union, 2 * overlap / union.clamp_min(1))),
        "You count probabilities. A metric decides first: prob > 0.5 and mask > 0.5.": dice(prob, mask),
    }  # fmt: skip
    expect(dice_of(prob.clone(), mask.clone()), right, mistakes, "the Dice of four pictures")
    return f"The four pictures score {', '.join(f'{value:.2f}' for value in right)}, the empty one among them 1."


@exercise(
    "4.2",
    "binary_cross_entropy_with_logits: what does its name say that it wants?",
    "soft_dice_loss takes probabilities. Which function turns a logit into one?",
)
def sigmoid_exactly_once(mask_loss):
    mask = quartets()["mask"]
    logits = confident(wrong_masks(mask), 0.97)
    prob = logits.sigmoid()
    bce = F.binary_cross_entropy_with_logits
    entropy, overlap, hard = bce(logits, mask), soft_dice_loss(prob, mask), (logits > 0).float()
    overlaps = [soft_dice_loss(x, mask) for x in (logits, prob, prob.sigmoid(), hard)]
    mistakes = {
        "The sigmoid comes twice in the BCE: binary_cross_entropy_with_logits applies its own: give it logits.":
            Either(bce(prob, mask) + other for other in overlaps),
        "No sigmoid before the Dice loss: it takes probabilities, and you give it logits.": entropy + overlaps[0],
        "The sigmoid comes twice before the Dice loss: a probability went through it again.": entropy + overlaps[2],
        "A threshold before the Dice loss has no slope: nothing can be learnt from it.": entropy + overlaps[3],
        "This is the BCE alone: add the Dice loss.": entropy,
        "This is the Dice loss alone: add the BCE.": overlap,
    }  # fmt: skip
    got = mask_loss(logits.clone().requires_grad_(), mask.clone())
    expect(got, entropy + overlap, mistakes, "the loss")
    has_gradient(got)
    return "Logits for the BCE, probabilities for Dice: each loss sees one sigmoid."


@exercise(
    "4.3",
    "Select first: values[where] gives those values at which a bool tensor of the same shape is true.",
    "Root, mean, square: read the name from right to left. The mean is over valid pixels, so divide by their number.",
)
def rmse_where_valid(rmse_of):
    batch = quartets()
    valid, target = batch["valid"], batch["depth"]
    depth = torch.where(valid, target * 0.8 + 0.15, 0.9)
    error = depth - target
    squares = error.square()[valid]
    images = torch.stack([one[where].square().mean().sqrt() for one, where in zip(error, valid)])
    mistakes = {
        "You count all pixels: the 0 stored where valid is false is no distance.": error.square().mean().sqrt(),
        "You set invalid pixels to 0, but divide by *all* pixels.": (error * valid).square().mean().sqrt(),
        "This is the mean absolute error: square before the mean, the root after it.": error.abs()[valid].mean(),
        "This is the mean of the squares: the root is missing.": squares.mean(),
        "This is the mean of four roots, one for each picture. Take one mean over all, then the root.": images.mean(),
    }
    expect(rmse_of(depth.clone(), batch), squares.mean().sqrt(), mistakes, "the RMSE")
    return f"{(~valid).float().mean():.0%} of the pixels have no depth, and they do not count."


@exercise(
    "4.4",
    "The union is what is in one or the other. Adding both areas counts the overlap twice.",
    "As in soft_dice_loss: smooth above and below the line, a loss for each image, and the mean of these at the end.",
)
def soft_iou(soft_iou_loss):
    mask = quartets()["mask"]
    prob = wrong_masks(mask)
    prob[-1] = mask[-1] = 0  # nothing there, nothing found
    overlap, sizes = (prob * mask).sum((1, 2, 3)), (prob + mask).sum((1, 2, 3))
    union = sizes - overlap
    images = 1 - (overlap + 1) / (union + 1)
    mistakes = {
        "The union counts the overlap twice: subtract it once.": (1 - (overlap + 1) / (sizes + 1)).mean(),
        "That is the Dice loss. IoU is the overlap divided by the union.": soft_dice_loss(prob, mask),
        "You add up the whole batch: a large cat outweighs a small one.": 1 - (overlap.sum() + 1) / (union.sum() + 1),
        "This grows with a better mask. A loss falls: 1 minus it.": (1 - images).mean(),
        "An empty prediction for an empty mask gives 0/0. Add smooth above and below.": (1 - overlap / union).mean(),
    }
    got = soft_iou_loss(prob.clone().requires_grad_(), mask.clone())
    expect(got, images.mean(), mistakes, "the loss")
    has_gradient(got)
    return "It ranks predictions as Dice does, and an empty prediction for an empty picture costs 0."


@exercise(
    "4.5",
    "Begin with an error that you trust, on valid pixels, and turn it so that larger is better.",
    "For example 1 minus the root mean square error. Then try what the ground truth gets, and what a stencil gets.",
)
def a_score_that_the_ground_truth_wins(depth_score):
    batch = quartets()
    valid, target = batch["valid"], batch["depth"]
    exact = torch.where(valid, target, 0.0)
    draw = torch.Generator().manual_seed(0)
    shuffled = exact.clone()
    shuffled[valid] = target[valid][torch.randperm(int(valid.sum()), generator=draw)]
    swapped = "near and far swapped"
    predictions = {
        "all ones": torch.ones_like(target), "one half everywhere": torch.full_like(target, 0.5),
        "the mean depth everywhere": torch.full_like(target, target[valid].mean().item()),
        "the ground truth with its pixels shuffled": shuffled, swapped: 1 - target,
        "a sigmoid of the ground truth": target.sigmoid(), "the ground truth, 0.1 too far": (target + 0.1).clamp(max=1),
        **{f"a stencil, 1 beyond {level:.1f}": (target > level).float() for level in torch.linspace(0.1, 0.9, 9)},
    }  # fmt: skip

    def score(depth):
        copy = {key: value.clone() for key, value in batch.items()}
        return shaped(depth_score(depth.clone(), copy), (), "the score").item() + 0.0  # no -0

    best, painted = score(exact), score(torch.where(valid, target, 1.0))
    nearly = score((exact + 0.01 * torch.randn(exact.shape, generator=draw)).clamp(0, 1))
    scores = {name: score(depth) for name, depth in predictions.items()}
    if not all(value == value for value in (best, painted, nearly, *scores.values())):
        raise Wrong('The score is "not a number" for some prediction: a division by zero, or the root of a negative?')
    if best < min(scores.values()):
        raise Wrong("The ground truth gets the lowest score of all: that is an error. Turn it: larger must be better.")
    winner = max(scores, key=scores.get)
    if scores[winner] >= best - 1e-6:
        raise Wrong(f"{winner} gets {scores[winner]:.3f}, so the ground truth, {best:.3f}, does not win.")
    if nearly <= scores[swapped]:
        raise Wrong(f"A prediction that is off by 0.01 gets {nearly:.3f}, no more than {swapped}: tell them apart.")
    if abs(painted - best) > 1e-6:
        raise Wrong(f"Depth where valid is false moves the score from {best:.3f} to {painted:.3f}: valid pixels only.")
    return f"The ground truth gets {best:.3f}; next comes {winner} with {scores[winner]:.3f}."
