"""Exercises of notebook 04: losses and metrics for a mask and for depth."""

from collections.abc import Callable

import torch
from torch import Tensor

from helpers.demos.distortions import confident
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, dice, expect, quartets, shaped, wrong_masks
from helpers.losses import CourseLoss, masked_mean, soft_dice_loss
from helpers.metrics import Meter


def learns(loss: object, x: Tensor, *right: Tensor) -> None:
    """Raise :class:`Wrong` for a loss of ``x``, right in value, whose gradient is none of those of ``right``."""
    if not getattr(loss, "requires_grad", False):
        raise Wrong("The value is right, but it has no gradient: return a tensor, without .item(), .detach() or NumPy.")
    (got,) = torch.autograd.grad(loss.sum(), x, allow_unused=True)
    if got is None:
        raise Wrong("The value is right, but no gradient reaches the prediction: is it detached on its way?")
    close = (torch.allclose(got, one, rtol=1e-3, atol=1e-3 * float(one.abs().max())) for one in right)
    if not any(close):
        raise Wrong("The value is right, but its gradient is not that of this loss: is a part of it detached?")


def soft_images(prob: Tensor, mask: Tensor, smooth: float = 1.0) -> Tensor:
    """The Dice of probabilities, image by image, smoothed as the loss is."""
    return torch.stack([1 - soft_dice_loss(p[None], m[None], smooth) for p, m in zip(prob, mask)])


def gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(x), x)[0]


@exercise(
    "4.1",
    "The union is what is in one or the other. Adding both areas counts the overlap twice.",
    "As in soft_dice_loss: smooth above and below the line, a loss for each image, and the mean of these at the end.",
)
def soft_iou(soft_iou_loss):
    mask = quartets()["mask"]
    prob = wrong_masks(mask)
    prob[-1] = mask[-1] = 0  # nothing there, nothing found

    def from_dice(prob, smooth):  # IoU = Dice / (2 - Dice), for the images one by one
        scores = soft_images(prob, mask, 2 * smooth)
        return (1 - scores / (2 - scores)).mean()

    both, overlap, either = (x.sum((1, 2, 3)) for x in (prob + mask, prob * mask, torch.maximum(prob, mask)))
    for smooth in (1.0, 3.0):
        right = from_dice(prob, smooth)
        whole = 1 - soft_dice_loss(prob, mask, 2 * smooth, per_image=False)
        mistakes = {
            "The union counts the overlap twice: subtract it once.": (1 - (overlap + smooth) / (both + smooth)).mean(),
            "That is the Dice loss. IoU is the overlap divided by the union.": soft_dice_loss(prob, mask, smooth),
            "You add up the whole batch: a large cat outweighs a small one.": 1 - whole / (2 - whole),
            "This grows with a better mask. A loss falls: 1 minus it.": 1 - right,
            "An empty prediction for an empty mask gives 0/0. Add smooth above and below.": from_dice(prob, 0.0),
            "The larger of both maps is another union: take the sum of both maps minus their overlap.":
                (1 - (overlap + smooth) / (either + smooth)).mean(),
            "You add smooth on one side only. It stands beside the overlap and beside the union.":
                Either((1 - upper / lower).mean() for upper, lower in
                       ((overlap, both - overlap + smooth), (overlap + smooth, both - overlap))),
        }  # fmt: skip
        if smooth != 1:
            mistakes["smooth is a parameter: use it where you wrote 1."] = from_dice(prob, 1.0)
        x = prob.clone().requires_grad_()
        got = soft_iou_loss(x, mask.clone(), smooth=smooth) if smooth != 1 else soft_iou_loss(x, mask.clone())
        expect(got, right, mistakes, f"the loss with smooth={smooth:g}")
        learns(got, x, gradient(lambda prob: from_dice(prob, smooth), prob))
    return "It ranks predictions as Dice does, and an empty prediction for an empty image costs 0."


@exercise(
    "4.2",
    "binary_cross_entropy_with_logits: what does its name say that it wants?",
    "soft_dice_loss takes probabilities. Which function turns a logit into one?",
)
def sigmoid_exactly_once(mask_loss):
    batch = quartets()
    mask = batch["mask"]
    logits = confident(wrong_masks(mask), 0.97)

    def parts(logits):
        found = CourseLoss()(logits, torch.zeros_like(logits), batch)
        return found["mask_bce"], found["mask_dice"]

    prob, hard = logits.sigmoid(), (logits > 0).float()
    (entropy, overlap), (of_prob, twice) = parts(logits), parts(prob)
    raw, cut = (soft_dice_loss(x, mask) for x in (logits, hard))
    mistakes = {
        "The sigmoid comes twice in the BCE: binary_cross_entropy_with_logits applies its own: give it logits.":
            Either(of_prob + other for other in (overlap, raw, twice, cut)),
        "No sigmoid before the Dice loss: it takes probabilities, and you give it logits.": entropy + raw,
        "The sigmoid comes twice before the Dice loss: a probability went through it again.": entropy + twice,
        "A threshold before the Dice loss has no slope: nothing can be learnt from it.": entropy + cut,
        "This is the BCE alone: add the Dice loss.": entropy,
        "This is the Dice loss alone: add the BCE.": overlap,
    }  # fmt: skip
    x = logits.clone().requires_grad_()
    got = mask_loss(x, mask.clone())
    expect(got, entropy + overlap, mistakes, "the loss")
    learns(got, x, gradient(lambda logits: sum(parts(logits)), logits))
    return "Logits for the BCE, probabilities for Dice: each loss sees one sigmoid."


@exercise(
    "4.3",
    "c is one number for the whole batch: 0.2 times the largest value in error, which is 0 where depth is unknown.",
    "torch.where(condition, a, b) chooses pixel by pixel. It computes both sides, so keep c above 0: clamp_min.",
    "The mean over valid pixels: a sum divided by their number, and that number may be 0.",
)
def berhu_where_valid(berhu_loss):
    batch = quartets()
    valid, target = batch["valid"], batch["depth"]
    noise = torch.rand(target.shape, generator=torch.Generator().manual_seed(4))
    depth = torch.where(valid, target * 0.7 + 0.3 * noise**2, 0.95)  # far off where nobody knows

    def right(depth, held=False):  # the error, and what the large ones cost more: (e - c)^2 / 2c
        error = (depth - target).abs()
        c = torch.where(valid, error, 0.0).amax() / 5
        c = c.detach() if held else c
        return masked_mean(error, valid) + masked_mean((error - c).relu() ** 2, valid) / (2 * c)

    def with_limit(c, count=valid):
        return masked_mean(error, count) + masked_mean((error - c).relu() ** 2 / (2 * c), count)

    error = (depth - target).abs()
    known = torch.where(valid, error, 0.0)
    each = known.amax((1, 2, 3), keepdim=True)
    e, c, everything = error[valid], known.amax() / 5, torch.ones_like(valid)
    square = e**2 / (2 * c) + c / 2
    mistakes = {
        "The largest error counts valid pixels only: the 0 stored where valid is false is no distance.":
            with_limit(error.amax() / 5),
        "You take the mean of all pixels: divide by the number of valid ones.":
            Either((with_limit(c, everything), right(depth) * valid.float().mean())),
        "c is one number for the batch: one fifth of the largest error of all images.": with_limit(each / 5),
        "This is L1: errors above c, a fifth of the largest one, cost (e² + c²) / 2c.": e.mean(),
        "This is squared everywhere: errors up to c cost e.": square.mean(),
        "The two cases are exchanged: L1 is for errors up to c.": torch.where(e <= c, square, e).mean(),
        "This is the Huber loss, squared for small errors: berHu is its reverse.":
            Either(torch.where(e <= c, e**2 / 2, c * (e - c / 2)).mean() / scale for scale in (1, c)),
        "The large errors cost (e² + c²) / 2c: one of the two squares, or the 2, is missing.":
            Either(torch.where(e <= c, e, large).mean() for large in (e**2 / (2 * c), e**2 / c + c)),
        "This is the sum: divide by the number of valid pixels.": right(depth) * valid.sum(),
    }  # fmt: skip
    x = depth.clone().requires_grad_()
    got = berhu_loss(x, target.clone(), valid.clone())
    expect(got, right(depth), mistakes, "the loss")
    learns(got, x, gradient(right, depth), gradient(lambda x: right(x, held=True), depth))

    x = target.clone().requires_grad_()
    perfect = berhu_loss(x, target.clone(), valid.clone())
    if not abs(shaped(perfect, (), "the loss of a perfect prediction").item()) < 1e-5:  # nan, too
        raise Wrong(f"A perfect prediction costs {float(perfect):.3g} instead of 0: c is 0 there. Do not divide by it.")
    if getattr(perfect, "requires_grad", False):
        (slope,) = torch.autograd.grad(perfect, x, allow_unused=True)
        if slope is not None and not torch.isfinite(slope).all():
            raise Wrong("The gradient of a perfect prediction is not finite: both sides are computed, and c is 0.")
    try:
        nothing = berhu_loss(depth.clone(), target.clone(), torch.zeros_like(valid))
    except (RuntimeError, IndexError, ValueError) as error:
        raise Wrong(f"Without a valid pixel it stops with {type(error).__name__}: there is no largest error.") from None
    if not abs(shaped(nothing, (), "the loss without a valid pixel").item()) < 1e-6:
        raise Wrong(f"Without a valid pixel it gives {float(nothing):.3g} instead of 0: nothing divided by nothing?")
    share = (e > c).float().mean()
    return f"{share:.0%} of the valid pixels count more than by L1, and a perfect map keeps a finite gradient."


@exercise(
    "4.4",
    "The axes of (B, 1, H, W) are numbered 0 to 3, and axis 0 is the image. Which three do you add up?",
    "Dice is twice the overlap divided by the sum of both areas: add up found and real each, then both numbers.",
    "torch.where's last value is for images in which neither is anything: what do they score?",
)
def dice_of_every_image(dice_of):
    mask = torch.cat((quartets()["mask"], torch.zeros(1, 1, 64, 64)))
    prob = wrong_masks(mask)  # below 0.5 where there is no cat
    mask[-2] = 0  # no cat, but one is predicted; in the last image there is none, and none is predicted
    found, real = (prob > 0.5).float(), (mask > 0.5).float()
    overlap, size = (found * real).sum((1, 2, 3)), (found + real).sum((1, 2, 3))
    union = size - overlap
    scores = []
    for p, m in zip(prob, mask):
        meter = Meter(edges=False)
        one = {"mask": m[None], "depth": m[None], "valid": m[None] > 2, "near_far": torch.full((1, 2), torch.nan)}
        meter.update(p[None], m[None], one)
        scores.append(meter.result()["mask_dice"])
    right = torch.tensor(scores)

    def ratio(overlap, size):
        return torch.where(size > 0, overlap / size.clamp_min(1), 1.0)

    mistakes = {
        "One number for the whole batch: sum over (1, 2, 3).": Either((dice(found, real, (0, 1, 2, 3)), right.mean())),
        "You add up over axis 0, which is the batch. Sum over (1, 2, 3).": dice(found, real, [0]),
        "You add up over height and width alone. Sum over (1, 2, 3).": dice(found, real, (2, 3)),
        "In the last image there is no cat, and none was predicted: that is right, and should score 1.":
            Either((2 * overlap / size, 2 * overlap / size.clamp_min(1))),
        "An image without a cat scores 1 only if none is predicted, else 0.":
            torch.where(real.sum((1, 2, 3)) > 0, right, 1.0),
        "You smooth. That is for a loss; here count pixels, and give the empty image its 1.":
            (2 * overlap + 1) / (size + 1),
        "That is the IoU: overlap / union. Dice divides twice the overlap by the sum of areas.": ratio(overlap, union),
        "You get half of it: Dice is *twice* the overlap, divided by the sum of both areas.": ratio(overlap, size),
        'You divide by the union: found + real of two bools is "or". Add up each of them first.':
            Either((ratio(2 * overlap, union), 2 * overlap / union, 2 * overlap / union.clamp_min(1))),
        "You count probabilities. A metric decides first: prob > 0.5 and mask > 0.5.":
            Either((dice(prob, mask), soft_images(prob, mask))),
        "Only one of the two has been decided: prob > 0.5, and mask > 0.5 as well.":
            Either((dice(found, mask), dice(prob, real))),
        "That is the share of right pixels, which is high for every small cat. Dice looks at the cat's pixels only.":
            (found == real).float().mean((1, 2, 3)),
    }  # fmt: skip
    expect(dice_of(prob.clone(), mask.clone()), right, mistakes, "the Dice of five images")
    return f"The five images score {', '.join(f'{value:.2f}' for value in right)}: the empty ones 0 and 1."


@exercise(
    "4.5",
    "Begin with an error that you trust, on valid pixels, and turn it so that larger is better.",
    "Errors must not cancel: make them absolute or squared before the mean. Then try a constant and a map of 0 and 1.",
)
def a_score_that_the_ground_truth_wins(depth_score):
    batch = quartets()
    valid, target = batch["valid"], batch["depth"]
    exact = torch.where(valid, target, 0.0)
    draw = torch.Generator().manual_seed(0)
    shuffled = exact.clone()
    shuffled[valid] = target[valid][torch.randperm(int(valid.sum()), generator=draw)]
    swapped, half = "near and far swapped", 0.25 + 0.5 * target
    number, row, column = torch.arange(len(target)).view(-1, 1, 1, 1), torch.arange(64).view(-1, 1), torch.arange(64)
    only = {f"a map that is wrong only in image {k + 1}": number == k for k in range(len(target))}
    for word, places in (("row", row), ("column", column)):
        only |= {f"a map that is wrong in every second {word}, from {word} {k} on": places % 2 == k for k in (0, 1)}
        bands = ((f"{word}s {16 * k} to {16 * k + 15}", places // 16 == k) for k in range(4))
        only |= {f"a map that is wrong only in {name}": where for name, where in bands}
    predictions = {
        "all ones": torch.ones_like(target), "one half everywhere": torch.full_like(target, 0.5),
        "the mean depth everywhere": torch.full_like(target, target[valid].mean().item()),
        "the ground truth with its pixels shuffled": shuffled, swapped: 1 - target,
        "a sigmoid of the ground truth": target.sigmoid(), "the ground truth, 0.1 too far": (target + 0.1).clamp(max=1),
        "half the range": half,
        **{f"a map of 0 and 1, 1 beyond 0.{k}": (target > k / 10).float() for k in range(1, 10)},
        **{name: torch.where(where, 1 - target, target) for name, where in only.items()},
    }  # fmt: skip

    def score(depth):
        copy = {key: value.clone() for key, value in batch.items()}
        return shaped(depth_score(depth.clone(), copy), (), "the score").item() + 0.0  # no -0

    best, nearly = score(exact), score((exact + 0.01 * torch.randn(exact.shape, generator=draw)).clamp(0, 1))
    scores = {name: score(torch.where(valid, depth, 0.0)) for name, depth in predictions.items()}
    unknown = {name: score(torch.where(valid, depth, 1.0)) for name, depth in (("exact", exact), ("half", half))}
    if not all(value == value for value in (best, nearly, *unknown.values(), *scores.values())):
        raise Wrong('The score is "not a number" for some prediction: a division by zero, or the root of a negative?')
    if best < min(scores.values()):
        raise Wrong("The ground truth gets the lowest score of all: that is an error. Turn it: larger must be better.")
    for at_zero, at_one in ((best, unknown["exact"]), (scores["half the range"], unknown["half"])):
        if abs(at_zero - at_one) > 1e-6:
            moved = f"from {at_zero:.3f} to {at_one:.3f}"
            raise Wrong(f"Depth where valid is false moves a score {moved}: valid pixels only.")
    winner = max(scores, key=scores.get)
    if scores[winner] >= best - 1e-6:
        raise Wrong(f"{winner} gets {scores[winner]:.3f}, so the ground truth, {best:.3f}, does not win.")
    if nearly <= scores[swapped]:
        raise Wrong(f"A prediction that is off by 0.01 gets {nearly:.3f}, no more than {swapped}: tell them apart.")
    return f"The ground truth gets {best:.3f}; next comes {winner} with {scores[winner]:.3f}."
