"""Every exercise is fed what readers write: nothing yet, what is right, and the typical mistakes."""

import ast
import inspect
import re
from functools import cache
from itertools import combinations

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from helpers.augment import rescale_depth
from helpers.config import ROOT, CourseError
from helpers.demos.networks import Blur
from helpers.exercises import check, checker, compare
from helpers.exercises.solutions import SOLUTIONS
from helpers.losses import soft_dice_loss
from helpers.model import DuoNet
from helpers.photos.segment_cat import align
from helpers.recipes import Stage, recipe

STEMS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))

# By exercise: wrong answers, each with words that the diagnosis must have.
WRONG = {}


def wrong(number, *pairs):
    WRONG[number] = pairs


# -- 04 losses and metrics ----------------------------------------------------------------------------------------


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


# -- 03 networks --------------------------------------------------------------------------------------------------


def pad_with(right, down, **how):
    def padded(picture):
        height, width = picture.shape[-2:]
        return F.pad(picture, (0, right(height, width), 0, down(height, width)), **(how or {"mode": "replicate"}))

    return padded


def chained(make):
    """A layer that doubles, without its 3 x 3 convolution at the end."""
    return lambda inputs: nn.Sequential(*make(inputs))


wrong(
    "3.1",
    (pad_with(lambda h, w: -h % 16, lambda h, w: -w % 16), "Height and width are swapped"),
    (pad_with(lambda h, w: 16 - w % 16, lambda h, w: 16 - h % 16), "48 already fits"),
    (pad_with(lambda h, w: w % 16, lambda h, w: h % 16), "You add the remainder"),
    (pad_with(lambda h, w: -(w % 16), lambda h, w: -(h % 16)), "that rounds down"),
    (pad_with(lambda h, w: -w % 16, lambda h, w: -h % 16, mode="constant"), "black makes an edge"),
    (lambda x: F.pad(x, (-x.shape[-1] % 16, 0, -x.shape[-2] % 16, 0), mode="replicate"), "at the top and the left"),
    (lambda x: x, "has the shape (1, 3, 52, 38); it should be (1, 3, 64, 48)"),
)
wrong(
    "3.2",
    (lambda i, o, k, h, w: (2 * i * o * k * k * h * w, i * o * k * k), "changed places"),
    (lambda i, o, k, h, w: (i * o * k, 2 * i * o * k * h * w), "square it"),
    (lambda i, o, k, h, w: (i * o * k * k, i * o * k * k * h * w), "a multiplication and an addition are two"),
    (lambda i, o, k, h, w: (i * o * k * k + o, 2 * i * o * k * k * h * w), "this convolution has none"),
    (lambda i, o, k, h, w: (i * o * k * k, 2 * i * o * k * k), "the operations of one pixel"),
    (lambda i, o, k, h, w: (o * k * k, 2 * o * k * k * h * w), "looks at all of them"),
    (lambda i, o, k, h, w: i * o * k * k, "has the shape (); it should be (2,)"),
    (lambda i, o, k, h, w: (i * o * 9, 2 * i * o * 9 * h * w), "for (3, 16, 5, 8, 6)"),
)
wrong(
    "3.3",
    (lambda ks, ds: sum((k - 1) * d for k, d in zip(ks, ds)), "from one side to the other"),
    (lambda ks, ds: 1 + sum((k - 1) * d for k, d in zip(ks, ds)), "the width of the whole field"),
    (lambda ks, ds: sum(k // 2 for k in ks), "You leave the dilation out"),
    (lambda ks, ds: sum(k // 2 + d for k, d in zip(ks, ds)), "You add the dilation"),
    (lambda ks, ds: sum(k * d for k, d in zip(ks, ds)), "a whole kernel to each side"),
    (lambda ks, ds: 1 + sum(k // 2 * d for k, d in zip(ks, ds)), "the pixel in the middle"),
)
wrong(
    "3.4",
    (chained(lambda i: [nn.Conv2d(i, 2 * i, 1), nn.PixelShuffle(2)]), "every 16 pixels"),
    (lambda i: nn.ConvTranspose2d(i, i // 2, 4, 2, 1), "every 16 pixels"),
    (chained(lambda i: [nn.Upsample(scale_factor=2), nn.Conv2d(i, i // 2, 3, padding=1)]), "every 16 pixels"),
    (chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i // 2, 3)]), "needs padding=1"),
    (chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i, 1)]), "half the channels"),
    (lambda i: nn.Conv2d(i, i // 2, 3, padding=1), "half the channels and twice the size"),
    (lambda i: 2 * i, "an nn.Module, is expected"),
)
wrong(
    "3.5",
    (lambda: DuoNet(), "too much work"),
    (lambda: DuoNet(stem=8, widths=(20, 40, 80, 128)), "All widths made narrower alike?"),
    (lambda: DuoNet(blocks=(1, 1, 2)), "four numbers each"),
    (lambda: DuoNet(widths=16), "stops with TypeError"),
    (lambda: nn.Conv2d(3, 1, 1), "return DuoNet("),
)


# -- 01 data ------------------------------------------------------------------------------------------------------


def scaled(fill_near, fill_far, axes=(1, 2, 3), turn=False, divide="range"):
    def relative_depth(metres, valid):
        near = metres.masked_fill(~valid, fill_near).amin(axes, keepdim=True)
        far = metres.masked_fill(~valid, fill_far).amax(axes, keepdim=True)
        depth = (metres - near) / (far - near if divide == "range" else far)
        return 1 - depth if turn else depth

    return relative_depth


def distance(convert, where, statistic=torch.Tensor.median):
    def cat_distance(quartet):
        near, far = quartet["near_far"]
        return statistic(convert(quartet["depth"], near, far)[where(quartet["mask"] > 0.5, quartet["valid"])])

    return cat_distance


def leaking(combine):
    def leak(train, test):
        return combine(*(np.isin(asked, known) for asked, known in zip(test.scenes(), train.scenes())))

    return leak


def line(depth, near, far):
    return near + depth * (far - near)


def both(cat, valid):
    return cat & valid


def every_third(ids):
    return np.isin(ids, np.unique(ids)[::3])


INF = float("inf")
wrong(
    "1.1",
    (lambda a, b: (b - a).amax(1), "Bytes wrap around: 3 - 5 is 254"),
    (lambda a, b: (b - a).float().abs().amax(1), "Turn both photographs into floats"),
    (lambda a, b: (b.float() - a.float()).amax(1), "a dark cat vanishes"),
    (lambda a, b: (b.float() - a.float()).abs().mean(1), "the mean over the colours"),
    (lambda a, b: (b.float() - a.float()).abs().amax(0), "the colours are axis 1"),
    (lambda a, b: (b.float() - a.float()).abs().amax(1, keepdim=True), "has the shape (4, 1, 64, 64)"),
)
wrong(
    "1.2",
    (scaled(INF, -INF, (0, 1, 2, 3)), "of the whole batch"),
    (scaled(INF, -INF, turn=True), "Upside down"),
    (scaled(0.0, 0.0), "take near away"),
    (scaled(INF, INF), "*minus* infinity"),
    (scaled(INF, -INF, divide="far"), "the largest is far - near"),
    (lambda metres, valid: metres, "instead of"),
)
wrong(
    "1.3",
    (distance(lambda d, n, f: d, both), "near_far turns it into metres"),
    (distance(lambda d, n, f: n + d * f, both), "Use far - near"),
    (distance(lambda d, n, f: f + d * (n - f), both), "Upside down"),
    (distance(line, lambda cat, valid: cat), "cat *and* valid"),
    (distance(line, lambda cat, valid: valid), "of the whole picture"),
    (distance(line, both, torch.Tensor.mean), "This is the mean"),
)
wrong(
    "1.4",
    (leaking(lambda room, cat: room.mean()), "rooms alone"),
    (leaking(lambda room, cat: cat.mean()), "cats alone"),
    (leaking(lambda room, cat: (room & cat).mean()), "|, not &"),
    (leaking(lambda room, cat: (room | cat).sum()), "a share is asked for"),
)
wrong(
    "1.5",
    (lambda r, c: np.split(np.arange(len(r)), [len(r) * 7 // 10]), "that was trained on"),
    (lambda r, c: (~every_third(r), every_third(r)), "show a cat that was trained on"),
    (lambda r, c: (~every_third(c), every_third(c)), "show a room that was trained on"),
    (lambda r, c: (~(every_third(r) & every_third(c)), every_third(r) & every_third(c)), "belongs to neither part"),
    (lambda r, c: (np.arange(9), np.arange(8, 20)), "1 quartets are in both"),
    (lambda r, c: (np.flatnonzero(r > 0), np.array([], int)), "test is empty"),
    (lambda r, c: (np.flatnonzero((r == 0) & (c == 0)), np.flatnonzero((r > 0) & (c > 0))), "hold out fewer"),
    (lambda r, c: (np.flatnonzero((r > 0) & (c > 0)), np.flatnonzero((r == 0) & (c == 0))), "hold out more"),
    (lambda r, c: r, "return train, test"),
)

# -- 02 augmentation ----------------------------------------------------------------------------------------------

ALL = ("bg", "bg_fg", "mask", "depth", "valid")


def flipped(keys, axis=-1, **more):
    changes = {**dict.fromkeys(keys, lambda x: x.flip(axis)), **more}
    return lambda q: {**q, **{key: change(q[key]) for key, change in changes.items()}}


def lit(change, keys=("bg", "bg_fg")):
    return lambda q, factor: {**q, **{key: change(q[key], factor) for key in keys}}


def window(value, top, left, side):
    return value[..., top : top + side, left : left + side]


def crop(rescale, order=lambda top, left: (top, left)):
    def cropped(q, top, left, side):
        top, left = order(top, left)
        return rescale({**q, **{key: window(q[key], top, left, side) for key in ALL}})

    return cropped


def anew(q):
    return {key: value[0] for key, value in rescale_depth({key: value[None] for key, value in q.items()}).items()}


def smaller(**change):
    def pick(x):
        return x[..., 1::2, 1::2]

    def mix(x):
        return F.avg_pool2d(x.float(), 2).round().byte() if x.dtype == torch.uint8 else F.avg_pool2d(x.float(), 2)

    ways = {"bg": mix, "bg_fg": mix, "mask": mix, "depth": pick, "valid": pick}
    ways |= {key: {"mix": mix, "pick": pick}.get(way, way) for key, way in change.items()}
    return lambda q: {**q, **{key: way(q[key]) for key, way in ways.items()}}


def shifted(choose, difference=lambda moved, bg_fg: (moved.float() - bg_fg.float()).abs()):
    def aligned(bg, bg_fg):
        shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
        moved = torch.stack([bg.roll(shift, (2, 3)) for shift in shifts])
        return moved[choose(difference(moved, bg_fg)), torch.arange(len(bg))]

    return aligned


def least(cost):
    return cost.mean((2, 3, 4)).argmin(0)


wrong(
    "2.1",
    (flipped(("bg", "bg_fg")), "✗ 2.1: mask and depth and valid stayed behind"),
    (flipped(("bg", "bg_fg", "mask")), "✗ 2.1: depth and valid stayed behind"),
    (flipped(("bg_fg", "mask", "depth", "valid")), "bg stayed behind"),
    (flipped(ALL, -2), "stands on its head"),
    (flipped(ALL, near_far=lambda x: x.flip(0)), "near_far has changed"),
    (lambda q: q, "bg and bg_fg and mask and depth and valid stayed behind"),
    (lambda q: {"bg_fg": q["bg_fg"].flip(-1)}, "hand on what you do not change"),
    (lambda q: {**q, **{key: q[key].float().flip(-1) for key in ALL}}, "the contract wants torch.uint8"),
)
wrong(
    "2.2",
    (lit(lambda x, f: (x.float() * f).to(torch.int64).to(torch.uint8)), "wrapped around"),
    (lit(lambda x, f: x * f), "clamp to 0 to 255"),
    (lit(lambda x, f: (x.float() * f).clamp(0, 255)), "go back to torch.uint8"),
    (lit(lambda x, f: (x.float() * f).clamp(0, 255).byte(), ("bg_fg",)), "both photographs get the same light"),
    (lit(lambda x, f: (x.float() * f).clamp(0, 255).to(x.dtype), ("bg", "bg_fg", "depth")), "'depth' has changed"),
    (lit(lambda x, f: (x.float() / 255 * f).clamp(0, 1)), "runs from 0 to 1"),
    (lit(lambda x, f: (x.float() + 20 * f).clamp(0, 255).byte()), "multiply by factor"),
)
wrong(
    "2.3",
    (crop(lambda q: q), "cut but not rescaled"),
    (crop(anew, lambda top, left: (left, top)), "Height and width are swapped"),
    (crop(lambda q: {**q, "depth": anew(q)["depth"]}), "near_far is still that of the whole picture"),
    (crop(lambda q: {**anew(q), "depth": 1 - anew(q)["depth"]}), "upside down"),
    (crop(lambda q: {**q, "depth": anew({**q, "valid": q["valid"] | True})["depth"]}), "pixels that are not valid"),
    (lambda q, top, left, side: {**q, "bg": window(q["bg"], top, left, side)}, "'bg_fg' has the shape (3, 64, 64)"),
)
wrong(
    "2.4",
    (smaller(depth="mix"), "Depth is picked"),
    (smaller(mask="pick"), "'mask' is picked, not averaged"),
    (smaller(bg="pick"), "'bg' is picked, not averaged"),
    (smaller(valid="mix"), "'valid' is torch.float32"),
    (smaller(valid=lambda x: torch.ones_like(x[..., ::2, ::2])), "whose depth was not known"),
    (smaller(depth=lambda x: x[..., ::2, ::2]), "whose depth was not known"),
    (lambda q: {**smaller()(q), "near_far": 2 * q["near_far"]}, "near_far has changed"),
    (lambda q: {**q, **{key: window(q[key], 0, 0, 32) for key in ALL}}, "You cut a part out"),
    (smaller(valid=lambda x: torch.zeros_like(x[..., ::2, ::2])), "Far fewer pixels are valid"),
)
wrong(
    "2.5",
    (lambda bg, bg_fg: bg, "not the best shift"),
    (lambda bg, bg_fg: bg_fg, "This is the picture with the cat"),
    (shifted(lambda cost: cost.mean((1, 2, 3, 4)).argmin()), "not over the batch"),
    (shifted(lambda cost: cost.mean((2, 3, 4)).argmax(0)), "not the most"),
    (shifted(least, lambda moved, bg_fg: (moved - bg_fg).float()), "Floats first"),
    (shifted(least, lambda moved, bg_fg: moved.float() - bg_fg.float()), "abs"),
    (lambda bg, bg_fg: bg[:1], "it should be (4, 3, 64, 64)"),
)


# -- 05 training --------------------------------------------------------------------------------------------------


def calls(*names, training=True):
    def train_step(net, optimizer, loss, batch):
        value = loss(*net.train(training)(batch["bg"], batch["bg_fg"]), batch)["loss"]
        for name in names:
            value.backward() if name == "backward" else getattr(optimizer, name)()
        return value.item()

    return train_step


def keeps_the_graph(net, optimizer, loss, batch):
    value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value


def pieces(divide=True, zero="before", step="after"):
    def accumulated_step(net, optimizer, loss_of, parts):
        if zero == "before":
            optimizer.zero_grad()
        for part in parts:
            if zero == "inside":
                optimizer.zero_grad()
            (loss_of(net, part) / (len(parts) if divide else 1)).backward()
            if step == "inside":
                optimizer.step()
        if step == "after":
            optimizer.step()

    return accumulated_step


def assessed(training=False, weigh=True, gradient=False, restore=None):
    def answer(net, loss_of, batches):
        before = net.training
        net.train(training)
        with torch.set_grad_enabled(gradient):
            losses = [loss_of(net, batch).item() for batch in batches]
        net.train(before if restore is None else restore)
        counts = [len(batch["bg"]) if weigh else 1 for batch in batches]
        return sum(loss * count for loss, count in zip(losses, counts)) / sum(counts)

    return answer


def plan(*sizes, **changes):
    return lambda: recipe("course", stages=tuple(Stage(size, 32, epochs) for size, epochs in sizes), **changes)


def at_the_end(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    (sum([loss_of(net, part) for part in parts]) / len(parts)).backward()
    optimizer.step()


def all_at_once(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    loss_of(net, [torch.cat(tensors) for tensors in zip(*parts)]).backward()
    optimizer.step()


GROWING = ((32, 1), (48, 1), (64, 2))
wrong(
    "5.1",
    (calls("backward", "step"), "zero_grad is missing"),
    (calls("backward", "zero_grad", "step"), "not between them"),
    (calls("step", "backward"), "The step comes before backward"),
    (calls("zero_grad", "backward"), "No weight has moved"),
    (calls("zero_grad", "backward", "step", training=False), "in evaluation mode"),
    (keeps_the_graph, "return value.item()"),
)
wrong(
    "5.2",
    (pieces(divide=False), "four times too long"),
    (pieces(zero="inside"), "Only the last part counts"),
    (pieces(step="inside"), "a step after each part"),
    (pieces(step="inside", divide=False, zero="inside"), "a step after each part"),
    (pieces(zero="never"), "zero_grad is missing"),
    (lambda net, optimizer, loss_of, parts: optimizer.zero_grad(), "backward is missing"),
    (at_the_end, "the memory holds all parts"),
    (all_at_once, "several parts at once"),
)
wrong(
    "5.3",
    (assessed(training=True), "still in training mode: its batch norms"),
    (assessed(weigh=False), "Weigh each by its pictures"),
    (assessed(gradient=True), "torch.no_grad()"),
    (assessed(restore=False), "in another mode"),
    (assessed(restore=True), "in another mode"),
)
wrong(
    "5.4",
    (plan((64, 4)), "begin smaller"),
    (plan((64, 2), (32, 2)), "is tested at 64 px: end there"),
    (plan((32, 2), (64, 1)), "There are 3 epochs; four"),
    (plan((40, 2), (64, 2)), "40 is not a multiple of 16"),
    (plan((32, 2), (64, 2), schedule="step"), "the network stands still"),
    (plan(*GROWING, learning_rate=1e-5), "the steps are too short"),
    (plan(*GROWING, learning_rate=30.0), "the steps are too long"),
    (plan(*GROWING, schedule="cosine"), "stops with CourseError: schedule='cosine'"),
    (lambda: {"stages": 3}, "return recipe("),
)

# -- 06 results ---------------------------------------------------------------------------------------------------


def ask(read, evaluating=True, gradient=False):
    def ask_once(net, batch):
        net.train(not evaluating)
        with torch.set_grad_enabled(gradient):
            mask, depth = net(batch["bg"], batch["bg_fg"])
            return read(mask, depth)

    return ask_once


def once(mask, depth):
    return mask.sigmoid(), depth.sigmoid()


def each_dice(prob, mask):
    return hard_dice((1, 2, 3))(prob, mask)


def total_dice(pair, threshold):
    found, real = pair[0] >= threshold, pair[1] > 0.5
    return float(2 * (found & real).sum() / (found.sum() + real.sum()))


def best_of_both(known, test, thresholds):
    return max(thresholds, key=lambda t: total_dice([torch.cat(parts) for parts in zip(known, test)], t))


def largest_only(prob):
    masks = prob.numpy() >= 0.5
    for mask in masks[:, 0]:
        parts, count = ndimage.label(mask)
        mask[parts != 1 + np.argmax(np.bincount(parts.ravel(), minlength=2)[1:])] = False
    return torch.from_numpy(masks)


def across_pictures(prob):
    parts, _ = ndimage.label(prob.numpy() >= 0.5, np.ones((3, 3, 3, 3)))
    area = np.bincount(parts.ravel())
    return torch.from_numpy((parts > 0) & (area[parts] > area[1:].max() / 5))


def eroded(prob):
    return -F.max_pool2d(-(prob >= 0.5).float(), 3, 1, 1)


def crashes_when_empty(prob):
    for mask in prob.numpy()[:, 0] >= 0.5:
        parts, _ = ndimage.label(mask)
        np.bincount(parts.ravel())[1:].max()
    return prob


wrong(
    "6.1",
    (ask(once, evaluating=False), "still in training mode"),
    (ask(lambda m, d: (m, d)), "No sigmoid: the mask is still a logit"),
    (ask(lambda m, d: (m.sigmoid(), d)), "No sigmoid: the depth is still a logit"),
    (ask(lambda m, d: (m.sigmoid().sigmoid(), d.sigmoid())), "The sigmoid was applied twice: the mask"),
    (ask(lambda m, d: once(d, m)), "have changed places"),
    (ask(lambda m, d: (m > 0, d.sigmoid())), "The threshold comes too early"),
    (ask(once, gradient=True), "torch.no_grad()"),
    (ask(lambda m, d: m.sigmoid()), "return mask, depth"),
    (ask(lambda m, d: (m.sigmoid().detach(), d.sigmoid()), gradient=True), "torch.no_grad()"),
)
wrong(
    "6.2",
    (lambda p, m, n: each_dice(p, m).argsort(descending=True)[:n], "These are the best"),
    (lambda p, m, n: each_dice(p, m).argsort()[-n:], "These are the best"),
    (lambda p, m, n: each_dice(p, m).argsort()[:3], "the list of 5"),
    (lambda p, m, n: each_dice(p, m).sort().values[:n], "argsort, not sort"),
    (lambda p, m, n: ((p > 0.5) != (m > 0.5)).sum((1, 2, 3)).argsort(descending=True)[:n], "order by wrong pixels"),
    (lambda p, m, n: each_dice(p, m).argsort(), "it should be (3,)"),
)
wrong(
    "6.3",
    (lambda known, test, ts: max(ts, key=lambda t: total_dice(test, t)), "You chose it on the test set"),
    (best_of_both, "both sets together"),
    (lambda known, test, ts: np.argmax([total_dice(known, t) for t in ts]), "This is the place in the list"),
    (lambda known, test, ts: max(total_dice(known, t) for t in ts), "This is the Dice"),
    (lambda known, test, ts: [total_dice(known, t) for t in ts], "one number"),
)
wrong(
    "6.4",
    (lambda dice, rooms: rooms[dice.argmin()], "the single worst picture"),
    (lambda dice, rooms: max(rooms.unique(), key=lambda room: dice[rooms == room].mean()), "the easiest room"),
    (lambda dice, rooms: min(rooms.unique(), key=lambda room: dice[rooms == room].sum()), "Take means"),
    (lambda dice, rooms: np.argmin([dice[rooms == room].mean() for room in rooms.unique()]), "a place in a list"),
    (lambda dice, rooms: rooms.min(), "here 23 is right"),
)
wrong(
    "6.5",
    (largest_only, "you took one half away"),
    (across_pictures, "Treat every picture by itself"),
    (eroded, "gets worse"),
    (lambda prob: prob, "of the specks are still there"),
    (lambda prob: prob * 0, "gets worse"),
    (lambda prob: prob[:, 0], "it should be (4, 1, 64, 64)"),
    (crashes_when_empty, "stops with ValueError"),
    (lambda prob: (prob >= 0.8).float(), "gets worse"),
)

# -- 07 your own photos -------------------------------------------------------------------------------------------


def relit(gain, finish=lambda x: x.round().clip(0, 255).astype(np.uint8)):
    return lambda room, scene: finish(room * gain(scene / np.maximum(room, 1.0)))


def median(ratio):
    return np.median(ratio, axis=(0, 1))


def over(weigh, mix=lambda w, cat, room: w * cat + (1 - w) * room, finish=lambda x: x.round().astype(np.uint8)):
    return lambda rgba, room: finish(mix(weigh(rgba[..., 3:] / 255), rgba[..., :3], room))


def curve(finish):
    return lambda disparity, ratio: finish(1 / (1 / ratio + (1 - 1 / ratio) * disparity), ratio)


def differs(room, scene, low=0.005, high=1 / 3, laid=True):
    picture = align(room, scene).room if laid else room
    return low < (np.abs(scene.astype(float) - picture).max(-1) > 30).mean() < high


def having(word, names):
    return [name for name in names if word in name]


def careful(test):
    def usable(room, scene):
        try:
            return test(room, scene)
        except ValueError:
            return False

    return usable


wrong(
    "7.1",
    (relit(np.median), "one gain for all colours"),
    (relit(lambda ratio: ratio.mean((0, 1))), "The mean gives the cat"),
    (relit(lambda ratio: 1 / median(ratio)), "The gain is upside down"),
    (relit(lambda ratio: ratio), "Each pixel got a gain of its own"),
    (relit(median, lambda x: x.astype(int).astype(np.uint8)), "has wrapped around to black"),
    (relit(median, lambda x: x.clip(0, 255)), "a picture is uint8"),
    (lambda room, scene: room, "Nothing has changed"),
)
wrong(
    "7.2",
    (over(lambda w: 255 * w, finish=lambda x: x), "divide it by 255"),
    (over(lambda w: 1 - w), "Upside down"),
    (over(lambda w: w > 0.5, lambda w, cat, room: np.where(w, cat, room)), "the outline has steps"),
    (over(lambda w: w, lambda w, cat, room: w * cat + room, lambda x: x.clip(0, 255)), "shines through the cat"),
    (over(lambda w: w, lambda w, cat, room: w * cat), "it is black"),
    (over(lambda w: w, finish=lambda x: x), "a picture is uint8"),
)
wrong(
    "7.3",
    (lambda disparity, ratio: 1 - disparity, "crowds the middle of the room"),
    (lambda disparity, ratio: disparity, "0 must be the nearest"),
    (curve(lambda distance, ratio: distance), "in units of the nearest"),
    (curve(lambda distance, ratio: distance - 1), "did not divide"),
    (curve(lambda distance, ratio: 1 - (distance - 1) / (ratio - 1)), "0 must be the nearest"),
    (curve(lambda distance, ratio: 1 / distance), "still a disparity"),
)
wrong(
    "7.4",
    (lambda names: (names[12:], names[:12]), "9 of 9 scenes are in both sets"),
    (lambda names: (names[3:], names[:3]), "Hold out whole scenes"),
    (lambda names: (having("_0001_", names), having("_0002_", names)), "12 pictures are in neither"),
    (lambda names: (names, []), "test is empty"),
    (lambda names: (["kitchen_0001"], names), "is no name of the list"),
    (lambda names: (having("kitchen", names), having("room", names) + having("study", names)), "24 of 36 pictures"),
)
wrong(
    "7.5",
    (lambda room, scene: True, "It accepts the same picture twice"),
    (careful(lambda room, scene: differs(room, scene, high=1)), "It accepts two different rooms"),
    (careful(lambda room, scene: differs(room, scene, low=-1)), "It accepts the same picture twice"),
    (careful(lambda room, scene: differs(room, scene, laid=False)), "It refuses a good pair"),
    (careful(lambda room, scene: differs(room, scene, low=0.02, high=0.45, laid=False)), "It "),
    (differs, "Catch that, and return False"),
    (lambda room, scene: room == scene, "it should be one number"),
)


# -- other right answers ------------------------------------------------------------------------------------------


def aligned_in_numpy(bg, bg_fg):
    pairs = zip(bg.numpy(), bg_fg.numpy().astype(float))
    shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    moved = (([np.roll(room, shift, (1, 2)) for shift in shifts], scene) for room, scene in pairs)
    return np.stack([min(rooms, key=lambda room: np.abs(room - scene).mean()) for rooms, scene in moved])


RIGHT = [
    ("1.1", lambda a, b: np.abs(a.numpy().astype(int) - b.numpy()).max(1)),
    ("2.2", lit(lambda x, factor: np.clip(x.numpy() * factor, 0, 255).astype(np.uint8))),
    ("2.4", smaller(depth=lambda x: x[..., ::2, 1::2], valid=lambda x: x[..., ::2, 1::2])),
    ("2.4", smaller(depth=lambda x: F.max_pool2d(x, 2), valid=lambda x: F.max_pool2d(x.float(), 2) > 0)),
    ("2.5", aligned_in_numpy),
    ("3.4", chained(lambda i: [nn.Conv2d(i, 2 * i, 1), nn.PixelShuffle(2), Blur()])),
    ("3.4", chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i // 2, 1)])),
    ("4.5", lambda depth, batch: -(depth - batch["depth"])[batch["valid"]].abs().mean()),
    ("5.4", plan(*GROWING, learning_rate=3e-3)),
    ("6.1", ask(lambda mask, depth: tuple(logits.sigmoid().numpy() for logits in (mask, depth)))),
]


# -- all of them --------------------------------------------------------------------------------------------------


@cache
def notebook(stem):
    return nbformat.read(ROOT / f"notebooks/{stem}.ipynb", as_version=4)


def imports(stem):
    """The import lines of a notebook, as one piece of code."""
    lines = []
    for cell in notebook(stem).cells:
        if cell.cell_type == "code":
            tree = ast.parse(re.sub(r"^\s*[%!].*$", "pass", cell.source, flags=re.MULTILINE))
            lines += [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return "\n".join(line for line in lines if "COLAB" not in line)


def stubs(stem):
    """By exercise, the cell that asks for it."""
    found = {}
    for cell in notebook(stem).cells:
        for number in re.findall(r'^check\("([\d.]+)", \w+\)$', cell.source, re.MULTILINE):
            assert number not in found, f"{number} is asked for twice"
            found[number] = cell.source
    return found


STUBS = {number: (stem, source) for stem in STEMS for number, source in stubs(stem).items()}
for stem in STEMS:
    try:
        checker.find(f"{int(stem[:2])}.1")
    except CourseError:
        pass  # test_notebooks_and_exercises_agree says so
NUMBERS = sorted(checker.EXERCISES)
solved = pytest.mark.skipif(not SOLUTIONS, reason="the solutions have been taken out of this copy")


def said(capsys, number, answer):
    result = check(number, answer)
    text = capsys.readouterr()
    assert (text.err, text.out) == ("", result.message + "\n") and "\n" not in result.message, "one line, nothing else"
    assert number in text.out and result.passed == text.out.startswith("✓")
    return text.out


def test_notebooks_and_exercises_agree():
    assert sorted(STUBS) == NUMBERS
    for stem in STEMS:
        numbers = list(stubs(stem))
        assert numbers == [f"{int(stem[:2])}.{k}" for k in range(1, len(numbers) + 1)], "in order, none left out"
        assert len(numbers) >= 4, f"{stem} has {len(numbers)} exercises"


def test_every_exercise_has_hints_wrong_answers_and_a_solution():
    assert sorted(WRONG) == NUMBERS
    for number in NUMBERS:
        assert checker.EXERCISES[number].hints, number
        assert len(WRONG[number]) >= 2, number
    if SOLUTIONS:
        assert sorted(SOLUTIONS) == NUMBERS


@pytest.mark.parametrize("stem", STEMS)
def test_each_exercise_is_a_text_a_gap_and_its_helps(stem):
    cells = notebook(stem).cells
    for number in stubs(stem):
        (place,) = [i for i, cell in enumerate(cells) if f'check("{number}", ' in cell.source]
        text, stub, helps = cells[place - 1 : place + 2]
        assert text.cell_type == "markdown" and text.source.startswith(f"**{number} ")
        assert len(stub.source.splitlines()) <= 14
        assert helps.source == f'# hint("{number}")\n# solution("{number}")'


@pytest.mark.parametrize("number", sorted(STUBS))
def test_with_gaps_it_is_not_solved_yet(number, capsys):
    stem, source = STUBS[number]
    assert "____" in source
    names = {"__name__": "__main__"}
    exec(imports(stem), names)
    exec(source, names)
    text = capsys.readouterr()
    assert text.out.startswith(f"○ {number}: not yet. Replace the ____") and not text.err


@solved
@pytest.mark.parametrize("number", NUMBERS)
def test_its_solution_is_right_and_no_mistake_hides_behind_another(number, capsys, monkeypatch):
    """No two mistakes may have one value, and each must differ from what is right in some case."""
    seen, told, hidden = set(), set(), []

    def expect(got, right, mistakes, what, within=0.0):
        values = [(name, wrong if isinstance(wrong, compare.Either) else [wrong]) for name, wrong in mistakes.items()]
        known = [(name, one) for name, wrong in values for one in wrong if not compare.alike(one, right, within)]
        seen.update(mistakes)
        told.update(name for name, _ in known)
        pairs = combinations(known, 2)
        hidden.extend((a, b) for (a, one), (b, other) in pairs if a != b and compare.alike(one, other, within))
        compare.expect(got, right, mistakes, what, within)

    monkeypatch.setattr(f"helpers.exercises.nb{int(number.partition('.')[0]):02}.expect", expect)
    assert said(capsys, number, SOLUTIONS[number]).startswith(f"✓ {number}: right.")
    assert not seen - told, "diagnoses that nobody can get"
    assert not hidden, "two mistakes of one value: name both in one diagnosis"


@pytest.mark.parametrize("number, answer", [pytest.param(*one, id=f"{one[0]}-{k}") for k, one in enumerate(RIGHT)])
def test_another_right_answer_passes(number, answer, capsys):
    assert said(capsys, number, answer).startswith(f"✓ {number}: right.")


@solved
@pytest.mark.parametrize("number", sorted(STUBS))
def test_what_solution_shows_is_right_where_it_is_pasted(number, capsys):
    stem, stub = STUBS[number]
    code = inspect.getsource(SOLUTIONS[number])
    names = {"__name__": "__main__"}
    exec(imports(stem), names)
    exec(code, names)
    wanted = re.search(rf'^check\("{re.escape(number)}", (\w+)\)$', stub, re.MULTILINE)[1]
    assert code.splitlines()[0] == re.search(rf"^(def {wanted}\(.*)$", stub, re.MULTILINE)[1], "the stub's first line"
    assert said(capsys, number, names[wanted]).startswith("✓")


@pytest.mark.parametrize(
    "number, answer, words",
    [pytest.param(n, *pair, id=f"{n}-{k}") for n, pairs in WRONG.items() for k, pair in enumerate(pairs)],
)
def test_a_mistake_is_diagnosed(number, answer, words, capsys):
    text = said(capsys, number, answer)
    assert text.startswith(f"✗ {number}: ") and words in text
