"""Answers to the exercises of notebook 06: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
import torch
import torch.nn.functional as F
from answers import answers_of
from answers_04 import hard_dice
from scipy import ndimage

RIGHT, WRONG, right, wrong = answers_of()


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

right(
    "6.1",
    ask(lambda mask, depth: tuple(logits.sigmoid().numpy() for logits in (mask, depth))),
)
