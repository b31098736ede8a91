"""Answers to the exercises of notebook 06: right ones in different styles, and wrong ones with words of their diagnosis."""

import copy
import heapq

import numpy as np
import torch
import torch.nn.functional as F
from answers import answers_of
from answers_04 import hard_dice
from scipy import ndimage, optimize, special
from skimage import measure, morphology

from helpers.evaluate import network_predictor
from helpers.model import probabilities

RIGHT, WRONG, right, wrong = answers_of()


# -- 6.1 -----------------------------------------------------------------------------------------------------------


def ask(read, evaluating=True, gradient=False):
    def predict_once(net, batch):
        net.train(not evaluating)
        with torch.set_grad_enabled(gradient):
            mask, depth = net(batch["bg"], batch["bg_fg"])
            return read(mask, depth)

    return predict_once


def once(mask, depth):
    return mask.sigmoid(), depth.sigmoid()


def one_by_one(net, batch):
    net.train(False)
    pairs = []
    with torch.inference_mode():
        for room, scene in zip(batch["bg"], batch["bg_fg"]):
            pairs.append([torch.sigmoid(logits)[0] for logits in net(room[None], scene[None])])
    return [torch.stack(maps) for maps in zip(*pairs)]


def of_a_copy(net, batch):
    return tuple(torch.sigmoid(logits).detach() for logits in copy.deepcopy(net).eval()(batch["bg"], batch["bg_fg"]))


def eval_too_late(net, batch):
    with torch.no_grad():
        logits = net(batch["bg"], batch["bg_fg"])
    net.eval()
    return tuple(maps.sigmoid() for maps in logits)


def switched_off(net, batch):
    torch.set_grad_enabled(False)
    return once(*net.eval()(batch["bg"], batch["bg_fg"]))


right(
    "6.1",
    ask(lambda mask, depth: tuple(logits.sigmoid().numpy() for logits in (mask, depth))),
    ask(lambda mask, depth: [special.expit(logits.numpy()) for logits in (mask, depth)]),
    ask(lambda mask, depth: (1 / (1 + (-mask).exp()), F.sigmoid(depth))),
    ask(probabilities),
    one_by_one,
    of_a_copy,
    lambda net, batch: network_predictor(net)(batch),
)
wrong(
    "6.1",
    (ask(once, evaluating=False), "still in training mode"),
    (eval_too_late, "still in training mode"),
    (ask(lambda m, d: (m, d)), "No sigmoid: the mask is still a logit"),
    (ask(lambda m, d: (m.sigmoid(), d)), "No sigmoid: the depth is still a logit"),
    (ask(lambda m, d: (m.sigmoid(), d.clamp(0, 1))), "The depth is clamped"),
    (ask(lambda m, d: (m.sigmoid().sigmoid(), d.sigmoid())), "The sigmoid was applied twice: the mask"),
    (ask(lambda m, d: once(d, m)), "have changed places"),
    (ask(lambda m, d: (m > 0, d.sigmoid())), "The threshold comes too early"),
    (ask(once, gradient=True), "torch.no_grad()"),
    (switched_off, "Gradients stay switched off"),
    (ask(lambda m, d: m.sigmoid()), "return mask, depth"),
    (ask(lambda m, d: (m.sigmoid().detach(), d.sigmoid()), gradient=True), "torch.no_grad()"),
    (ask(lambda m, d: (m.softmax(-1), d.sigmoid())), "the mask differs from what is right"),
)


# -- 6.2 -----------------------------------------------------------------------------------------------------------


def each_dice(prob, mask):
    return hard_dice((1, 2, 3))(prob, mask)


def soft_dice(prob, mask):
    return 2 * (prob * mask).sum((1, 2, 3)) / (prob + mask).sum((1, 2, 3))


def recall(prob, mask, count):
    found, real = prob > 0.5, mask > 0.5
    return ((found & real).sum((1, 2, 3)) / real.sum((1, 2, 3))).argsort()[:count]


def by_loops(prob, mask, count):
    scores = []
    for number, (one, real) in enumerate(zip(prob.numpy() > 0.5, mask.numpy() > 0.5)):
        scores.append((2 * np.logical_and(one, real).sum() / (one.sum() + real.sum()), number))
    return [number for _, number in sorted(scores)][:count]


def by_iou(prob, mask, count):
    found, real = (prob > 0.5).flatten(1), (mask > 0.5).flatten(1)
    return ((found & real).sum(1) / (found | real).sum(1)).argsort()[:count]  # the same order as by Dice


def by_heap(prob, mask, count):
    scores = each_dice(prob, mask).tolist()
    return heapq.nsmallest(count, range(len(scores)), key=scores.__getitem__)


right(
    "6.2",
    by_loops,
    by_iou,
    by_heap,
    lambda p, m, n: each_dice(p, m).topk(n, largest=False).indices,
    lambda p, m, n: np.argsort(each_dice(p, m).numpy())[:n],
    lambda p, m, n: each_dice(p, m).argsort(descending=True).flip(0)[:n].tolist(),
    lambda p, m, n: (-each_dice(p, m)).argsort()[-n:].flip(0),
)
wrong(
    "6.2",
    (lambda p, m, n: each_dice(p, m).argsort(descending=True)[:n], "These are the best"),
    (lambda p, m, n: each_dice(p, m).argsort()[-n:], "These are the best"),
    (lambda p, m, n: each_dice(p, m).argsort()[:3], "the list of 5"),
    (lambda p, m, n: each_dice(p, m).sort().values[:n], "argsort, not sort"),
    (lambda p, m, n: each_dice(p, m).argsort()[:n].sort().values, "in the order of the set"),
    (lambda p, m, n: soft_dice(p, m).argsort()[:n], "You compare probabilities"),
    (recall, "by the area of the cat alone"),
    (lambda p, m, n: ((p > 0.5) != (m > 0.5)).sum((1, 2, 3)).argsort(descending=True)[:n], "order by wrong pixels"),
    (lambda p, m, n: each_dice(p, m).argsort(), "it should be (3,)"),
    (lambda p, m, n: hard_dice((2, 3))(p, m).argsort()[:n], "the list has the shape"),
)


# -- 6.3 -----------------------------------------------------------------------------------------------------------


def room_by(statistic, choose=min):
    return lambda dice, rooms: choose(rooms.unique().tolist(), key=lambda room: float(statistic(dice[rooms == room])))


def by_sums_and_counts(dice, rooms):
    sums, counts = {}, {}
    for value, room in zip(dice.tolist(), rooms.tolist()):
        sums[room], counts[room] = sums.get(room, 0) + value, counts.get(room, 0) + 1
    return min(sums, key=lambda room: sums[room] / counts[room])


def by_scatter(dice, rooms):
    names, where = rooms.unique(return_inverse=True)
    means = torch.zeros(len(names)).scatter_reduce(0, where, dice, "mean", include_self=False)
    return names[means.argmin()]


def by_bincount(dice, rooms):
    counts = np.bincount(rooms.numpy())
    with np.errstate(invalid="ignore"):
        return np.nanargmin(np.bincount(rooms.numpy(), dice.numpy()) / counts)


def by_matrix(dice, rooms):
    names = rooms.unique()
    member = (rooms == names[:, None]).float()  # (rooms, N)
    return names[(torch.einsum("rn,n->r", member, dice) / member.sum(1)).argmin()].item()


def means_of(dice, rooms):
    return {int(room): dice[rooms == room].mean() for room in rooms.unique()}


right(
    "6.3",
    room_by(torch.mean),
    by_sums_and_counts,
    by_scatter,
    by_bincount,
    by_matrix,
    lambda dice, rooms: sorted(means_of(dice, rooms).items(), key=lambda item: item[1])[0][0],
)
wrong(
    "6.3",
    (lambda dice, rooms: rooms[dice.argmin()], "the single worst picture"),
    (room_by(torch.mean, max), "the easiest room"),
    (room_by(torch.sum), "You add up"),
    (lambda dice, rooms: np.argmin(list(means_of(dice, rooms).values())), "a place in a list"),
    (lambda dice, rooms: min(means_of(dice, rooms).values()), "the lowest mean"),
    (lambda dice, rooms: min(means_of(dice, rooms)), "the smallest number"),
    (lambda dice, rooms: rooms.min(), "the smallest number"),
    (lambda dice, rooms: rooms.unique()[0], "the smallest number"),
    (lambda dice, rooms: rooms.max(), "here 23 is right"),
    (lambda dice, rooms: 23, "here 27 is right"),
    (room_by(torch.median), "here 23 is right"),
    (room_by(lambda values: np.median(values.numpy())), "here 23 is right"),
    (room_by(torch.max), "here 23 is right"),
)


# -- 6.4 -----------------------------------------------------------------------------------------------------------


def total_dice(pair, threshold):
    found, real = pair[0] >= threshold, pair[1] > 0.5
    return float(2 * (found & real).sum() / (found.sum() + real.sum()))


def best_of_both(validation, test, thresholds):
    return max(thresholds, key=lambda t: total_dice([torch.cat(parts) for parts in zip(validation, test)], t))


def by_counting(validation, test, thresholds):
    prob, real = (part.numpy().ravel() for part in validation)
    best, chosen = -1.0, None
    for threshold in thresholds:
        hit = np.count_nonzero((prob > threshold) & (real > 0.5))
        score = 2 * hit / (np.count_nonzero(prob > threshold) + np.count_nonzero(real > 0.5))
        if score > best:
            best, chosen = score, threshold
    return chosen


def all_at_once(validation, test, thresholds):
    prob, real = validation[0].flatten(), (validation[1] > 0.5).flatten().double()
    found = (prob[:, None] >= torch.as_tensor(thresholds)).double()  # (N, T)
    scores = 2 * torch.einsum("nt,n->t", found, real) / (found.sum(0) + real.sum())
    return torch.as_tensor(thresholds)[scores.argmax()]


def by_union(validation, test, thresholds):
    def overlap(t):
        found, real = validation[0] >= t, validation[1] > 0.5
        return ((found & real).sum() / (found | real).sum()).item()

    return sorted(thresholds, key=overlap)[-1]


def by_f1(validation, test, thresholds):
    real = validation[1] > 0.5
    f1 = []
    for t in thresholds:
        found = validation[0] >= t
        precision, recall = (found & real).sum() / found.sum(), (found & real).sum() / real.sum()
        f1.append((2 * precision * recall / (precision + recall)).item())
    return float(thresholds[f1.index(max(f1))])


right(
    "6.4",
    by_counting,
    all_at_once,
    by_union,
    by_f1,
    lambda validation, test, ts: max(ts, key=lambda t: total_dice(validation, t)),
    lambda validation, test, ts: ts[np.argmin([1 - total_dice(validation, t) for t in ts])],
)
wrong(
    "6.4",
    (lambda validation, test, ts: max(ts, key=lambda t: total_dice(test, t)), "You chose it on the test set"),
    (best_of_both, "both sets together"),
    (lambda validation, test, ts: np.argmax([total_dice(validation, t) for t in ts]), "This is the place in the list"),
    (lambda validation, test, ts: max(total_dice(validation, t) for t in ts), "This is the Dice"),
    (lambda validation, test, ts: [total_dice(validation, t) for t in ts], "one number"),
    (lambda validation, test, ts: min(ts, key=lambda t: total_dice(validation, t)), "the worst threshold"),
    (lambda validation, test, ts: max(ts, key=lambda t: each_dice((validation[0] >= t).float(), validation[1]).mean()),
     "the mean of the pictures' Dice"),
    (lambda validation, test, ts: max(ts, key=lambda t: ((validation[0] >= t) == (validation[1] > 0.5)).float().mean()),
     "You count right pixels"),
    (lambda validation, test, ts: 0.5, "is right"),
    (lambda validation, test, ts: np.median(ts), "is right"),
)


# -- 6.5 -----------------------------------------------------------------------------------------------------------


def loss_at(logits, mask, temperature):
    return F.binary_cross_entropy_with_logits(logits / temperature, mask).item()


def by_hand(logits, mask):
    best = (np.inf, None)
    for temperature in np.arange(0.3, 3, 0.05):
        prob = special.expit(logits.numpy() / temperature).clip(1e-7, 1 - 1e-7)
        loss = -(mask.numpy() * np.log(prob) + (1 - mask.numpy()) * np.log(1 - prob)).mean()
        best = min(best, (loss, temperature))
    return best[1]


def by_gradient(logits, mask):
    log_t = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(logits / log_t.exp(), mask)
        loss.backward()
        return loss

    optimizer.step(closure)
    return log_t.exp()


def by_adam(logits, mask):
    temperature = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.Adam([temperature], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits / temperature, mask).backward()
        optimizer.step()
    return temperature.item()


right(
    "6.5",
    by_hand,
    by_gradient,
    by_adam,
    lambda logits, mask: optimize.minimize_scalar(lambda t: loss_at(logits, mask, t), bounds=(0.1, 5), method="bounded").x,
    lambda logits, mask: min(np.linspace(0.2, 5, 97), key=lambda t: loss_at(logits, mask, t)),
    lambda logits, mask: 1 / min(np.linspace(0.2, 4, 381), key=lambda s: loss_at(logits, mask, 1 / s)),
)
wrong(
    "6.5",
    (lambda logits, mask: min(np.linspace(0.2, 5, 97), key=lambda t: loss_at(logits, mask, 1 / t)), "This is 1/T"),
    (lambda logits, mask: 1.0, "This changes nothing"),
    (lambda logits, mask: min(loss_at(logits, mask, t) for t in np.linspace(0.2, 5, 97)), "This is the least loss"),
    (lambda logits, mask: max(np.linspace(0.2, 5, 97), key=lambda t: loss_at(logits, mask, t)), "the temperature is"),
    (lambda logits, mask: 1.7, "is right"),
    (lambda logits, mask: logits.std(), "is right"),
    (lambda logits, mask: np.argmin([loss_at(logits, mask, t) for t in np.linspace(0.2, 5, 97)]), "the temperature is"),
    (lambda logits, mask: min(np.linspace(0.2, 5, 97), key=lambda t: loss_at(logits.sigmoid(), mask, t)), "is right"),
    (lambda logits, mask: [loss_at(logits, mask, t) for t in (1, 2)], "one number"),
)


# -- 6.6 -----------------------------------------------------------------------------------------------------------


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


def by_skimage(prob):
    masks = np.zeros(prob.shape, np.float32)
    for mask, real in zip(masks[:, 0], prob[:, 0].numpy() >= 0.5):
        for region in measure.regionprops(measure.label(real)):
            if region.area >= 20:
                mask[tuple(region.coords.T)] = 1
    return torch.from_numpy(masks)


def by_objects(prob):
    masks = [morphology.remove_small_objects(one, max_size=12) for one in prob[:, 0].numpy() >= 0.5]
    return torch.from_numpy(np.stack(masks))[:, None]


def by_flooding(prob):
    """Without SciPy: grow from each pixel, part by part."""
    masks = (prob >= 0.5).clone()
    for mask in masks[:, 0]:
        left = set(map(tuple, mask.nonzero().tolist()))
        while left:
            part, waiting = set(), [left.pop()]
            while waiting:
                y, x = waiting.pop()
                part.add((y, x))
                near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
                left -= near
                waiting += near
            if len(part) < 15:
                for place in part:
                    mask[place] = False
    return masks.float()


def two_largest(prob):
    masks = prob.numpy() >= 0.5
    for mask in masks[:, 0]:
        parts, _ = ndimage.label(mask)
        order = np.argsort(-np.bincount(parts.ravel())[1:]) + 1
        mask[~np.isin(parts, order[:2])] = False
    return masks


def reopened(prob):
    """Erode, and grow back within the mask: what was eroded away altogether stays away."""
    masks = prob.numpy() >= 0.5
    seeds = np.stack([ndimage.binary_erosion(mask, np.ones((3, 3))) for mask in masks[:, 0]])
    return torch.from_numpy(np.stack([ndimage.binary_propagation(s, mask=m) for s, m in zip(seeds, masks[:, 0])]))[:, None]


right("6.6", by_skimage, by_objects, by_flooding, two_largest, reopened)
wrong(
    "6.6",
    (largest_only, "you took one half away"),
    (across_pictures, "Treat every picture by itself"),
    (eroded, "gets worse"),
    (lambda prob: prob, "of the specks are still there"),
    (lambda prob: prob * 0, "gets worse"),
    (lambda prob: prob[:, 0], "it should be (4, 1, 64, 64)"),
    (crashes_when_empty, "stops with ValueError"),
    (lambda prob: (prob >= 0.8).float(), "gets worse"),
    (lambda prob: (prob >= 0.7).float(), "gets worse"),
    (lambda prob: (prob >= 0.9).float(), "gets worse"),
    (lambda prob: torch.ones_like(prob), "gets worse"),
)
