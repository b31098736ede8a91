"""Judges of notebook 04's exercises: losses and metrics for a mask and for depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from helpers.demos.distortions import confident
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, as_array, expect, one_number, quartets, same, wrong_masks
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
    got = dice_of(prob.clone(), mask.clone())

    def dice(found, real, axes=(1, 2, 3)):
        overlap, size = (found * real).sum(axes), (found + real).sum(axes)
        return torch.where(size > 0, 2 * overlap / size.clamp_min(1e-9), 1.0)

    found, real = (prob > 0.5).float(), (mask > 0.5).float()
    right = dice(found, real)
    overlap, size = (found * real).sum((1, 2, 3)), (found + real).sum((1, 2, 3))
    empty = "The last picture has no cat, and none was found: that is right, and should score 1. You get {}."
    mistakes = {
        "You get one number for the whole batch. Sum over the axes (1, 2, 3), not over axis 0, and every image keeps its own.":
            Either((dice(found, real, (0, 1, 2, 3)), right.mean())),
        "You add up over axis 0, which is the batch: pixels of different pictures. Sum over (1, 2, 3).": dice(found, real, 0),
        "You add up over height and width alone, so that the axis of the one channel is left. Sum over (1, 2, 3).":
            dice(found, real, (2, 3)),
        empty.format('"not a number", 0/0'): 2 * overlap / size,
        empty.format("0"): 2 * overlap / size.clamp_min(1),
        "That is the IoU: overlap / union. Dice is twice the overlap, divided by the sum of both areas.":
            torch.where(size > 0, overlap / (size - overlap).clamp_min(1e-9), 1.0),
        "You get half of it: Dice is *twice* the overlap, divided by the sum of both areas.":
            torch.where(size > 0, overlap / size.clamp_min(1e-9), 1.0),
        "You count probabilities. A metric decides first: prob > 0.5 and mask > 0.5.": dice(prob, mask),
    }  # fmt: skip
    expect(got, right, mistakes, "the Dice of four pictures")
    return f"The four pictures score {', '.join(f'{value:.2f}' for value in right)}, the empty one among them 1."


@exercise(
    "4.2",
    "binary_cross_entropy_with_logits: what does its name say that it wants?",
    "soft_dice_loss takes probabilities. Which function turns a logit into one?",
)
def sigmoid_exactly_once(mask_loss):
    mask = quartets()["mask"]
    logits = confident(wrong_masks(mask), 0.97)
    got = mask_loss(logits.clone(), mask.clone())
    entropies = {
        "": logits,
        "The sigmoid comes twice in the BCE: binary_cross_entropy_with_logits applies its own, so give it the logits.":
            logits.sigmoid(),
    }  # fmt: skip
    overlaps = {
        "": logits.sigmoid(),
        "No sigmoid before the Dice loss: it takes probabilities, and you give it logits.": logits,
        "The sigmoid comes twice before the Dice loss: a probability went through it again.": logits.sigmoid().sigmoid(),
        "A threshold before the Dice loss has no slope: nothing can be learnt from it. Give it the probabilities.":
            (logits > 0).float(),
    }  # fmt: skip
    sums = {
        " ".join(filter(None, (a, b))): F.binary_cross_entropy_with_logits(x, mask) + soft_dice_loss(y, mask)
        for a, x in entropies.items() for b, y in overlaps.items()
    }  # fmt: skip
    right = sums.pop("")
    sums["This is the BCE alone: add the Dice loss."] = F.binary_cross_entropy_with_logits(logits, mask)
    sums["This is the Dice loss alone: add the BCE."] = soft_dice_loss(logits.sigmoid(), mask)
    expect(got, right, sums, "the loss")
    return "Logits for the BCE, probabilities for Dice: each loss sees one sigmoid."


@exercise(
    "4.3",
    "Select first: values[where] gives those values at which a bool tensor of the same shape is true.",
    "Root, mean, square: read the name from right to left. The mean is taken over valid pixels, so divide by their number.",
)
def rmse_where_valid(rmse_of):
    batch = quartets()
    valid, truth = batch["valid"], batch["depth"]
    depth = torch.where(valid, (truth * 0.8 + 0.15), 0.9)
    got = rmse_of(depth.clone(), batch)
    error = depth - truth
    squares = error.square()[valid]
    images = [(error[i][valid[i]] ** 2).mean().sqrt() for i in range(len(depth))]
    mistakes = {
        "You count all pixels. Where valid is false nobody knows the depth: the 0 that is stored there is no distance. "
        "Select by batch[\"valid\"].": error.square().mean().sqrt(),
        "You set invalid pixels to 0 and then divide by *all* pixels: the error looks too small. Divide by the number of "
        "valid ones.": torch.where(valid, error, 0.0).square().mean().sqrt(),
        "This is the mean absolute error. Square before the mean.": error.abs()[valid].mean(),
        "This is the mean of the squares: the root is missing.": squares.mean(),
        "This is the mean of four roots, one for each picture. It changes with the way the set is cut: take one mean over all "
        "valid pixels, then the root.": torch.stack(images).mean(),
        "This is one number for each picture; one for all valid pixels of the batch is asked for.": torch.stack(images),
        "The root comes too early: the root of a square is the absolute value again. Square, mean, root.":
            squares.sqrt().mean(),
        "You add up and do not divide: a mean is asked for.": squares.sum().sqrt(),
    }  # fmt: skip
    expect(got, squares.mean().sqrt(), mistakes, "the RMSE")
    return f"{(~valid).float().mean():.0%} of the pixels have no depth, and they do not count."


@exercise(
    "4.4",
    "The union is what is in one or the other. Adding both areas counts the overlap twice.",
    "Write it as 1 - (overlap + smooth) / (union + smooth), one value for each image, and take the mean of these at the end.",
)
def soft_iou(soft_iou_loss):
    mask = quartets()["mask"]
    prob = wrong_masks(mask)
    prob[-1] = mask[-1] = 0  # nothing there, nothing found
    got = soft_iou_loss(prob.clone(), mask.clone())
    axes = (1, 2, 3)
    overlap, sizes = (prob * mask).sum(axes), (prob + mask).sum(axes)
    union = sizes - overlap
    right = (1 - (overlap + 1) / (union + 1)).mean()
    mistakes = {
        "The union counts the overlap twice: subtract it once from the sum of both areas.":
            (1 - (overlap + 1) / (sizes + 1)).mean(),
        "That is the Dice loss. IoU is the overlap divided by the union.": soft_dice_loss(prob, mask),
        "You add up the whole batch, so that a large cat outweighs a small one. Sum over (1, 2, 3), and take the mean at the end.":
            1 - (overlap.sum() + 1) / (union.sum() + 1),
        "This grows with a better mask. A loss falls: 1 minus it.": ((overlap + 1) / (union + 1)).mean(),
        "The mean over the images is missing: a loss is one number.": 1 - (overlap + 1) / (union + 1),
        "With an empty mask and an empty answer you get 0/0. Add smooth above and below the line.": (1 - overlap / union).mean(),
        "An empty mask with an empty answer costs 1 here, though it is right. Add smooth above the line, too.":
            (1 - overlap / (union + 1)).mean(),
    }  # fmt: skip
    expect(got, right, mistakes, "the loss")
    return "It orders answers as Dice does, and a right answer about an empty picture costs 0."


@exercise(
    "4.5",
    "Begin with an error that you trust, on valid pixels, and turn it so that larger is better.",
    "For example 1 minus the root mean square error. Then ask what the truth gets, and what a stencil gets.",
)
def a_score_that_knows_the_truth(depth_score):
    batch = quartets()
    valid, truth = batch["valid"], batch["depth"]
    seen = torch.where(valid, truth, 0.0)

    def score(depth):
        return one_number(depth_score(depth.clone(), {key: value.clone() for key, value in batch.items()}), "the score")

    best = score(seen)
    answers = {
        "all ones": torch.ones_like(truth), "one half everywhere": torch.full_like(truth, 0.5),
        "near and far swapped": 1 - truth, "a sigmoid of the truth": truth.sigmoid(), "the truth, 0.1 too far": (truth + 0.1).clamp(max=1),
        **{f"a stencil, 1 beyond {level:.1f}": (truth > level).float() for level in torch.linspace(0.1, 0.9, 9)},
    }  # fmt: skip
    scores = {name: score(depth) for name, depth in answers.items()}
    if not all(value == value for value in (best, *scores.values())):
        raise Wrong('The score is "not a number" for some answer: was something divided by zero, or the root of a negative taken?')
    if best < min(scores.values()):
        raise Wrong("The truth gets the lowest score of all: you have an error there. Turn it, so that larger is better.")
    winner = max(scores, key=scores.get)
    if scores[winner] >= best:
        published = 1 - float(soft_dice_loss(seen, seen, per_image=False))
        like = " as with the published Dice" if same(as_array(best), as_array(published)) else ""
        raise Wrong(f"The truth gets {best:.3f}, and {winner} gets {scores[winner]:.3f}:{like} the truth does not win.")
    painted = score(torch.where(valid, truth, 1.0))
    if abs(painted - best) > 1e-6:
        raise Wrong(f"Change depth only where valid is false, and the score moves from {best:.3f} to {painted:.3f}. "
                    "It must look at valid pixels only.")  # fmt: skip
    return f"The truth gets {best:.3f}; next comes {winner} with {scores[winner]:.3f}."
