"""Answers to the exercises of notebook 01: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
import torch
from answers import answers_of

RIGHT, WRONG, right, wrong = answers_of()


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

right(
    "1.1",
    lambda a, b: np.abs(a.numpy().astype(int) - b.numpy()).max(1),
)
