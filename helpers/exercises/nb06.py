"""Judges of notebook 06's exercises: asking a network, the worst first, an honest threshold, and cleaning a mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from helpers.demos.distortions import moved
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import as_array, expect, one_number, quartets, wrong_masks
from helpers.model import DuoNet

CLEANED = 0.6  # of the Dice that the specks cost


def _dice(found: Tensor, real: Tensor) -> Tensor:
    """(B,) from bool masks (B, 1, H, W)."""
    size = found.sum((1, 2, 3)) + real.sum((1, 2, 3))
    return torch.where(size > 0, 2 * (found & real).sum((1, 2, 3)) / size.clamp_min(1), 1.0)


@exercise(
    "6.1",
    "A network that was just trained is in training mode: its batch norms use, and learn from, the batch at hand.",
    "net.eval() first; then one sigmoid for each of the two.",
)
def asked_properly(ask_once):
    batch = quartets()

    def fresh() -> DuoNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = DuoNet(stem=4, widths=(8, 8, 8, 8), blocks=(0, 0, 0, 0))
        with torch.no_grad():
            for head in (net.mask_head, net.depth_head):
                head.logits.weight.mul_(60)  # so that an untrained network says something
            for _ in range(5):
                net(batch["bg"], batch["bg_fg"])  # batch norms that have seen pictures
        return net

    def says(training: bool) -> list[Tensor]:
        net = fresh().train(training)
        with torch.no_grad():
            return list(net(batch["bg"], batch["bg_fg"]))

    net = fresh().train()
    got = ask_once(net, batch)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong("Two maps are expected: return mask, depth.")
    (mask, depth), busy = says(False), [logits.sigmoid() for logits in says(True)]
    right = (mask.sigmoid(), depth.sigmoid())
    for value, logits, name, other, learnt in ((got[0], mask, "mask", right[1], busy[0]), (got[1], depth, "depth", right[0], busy[1])):
        mistakes = {
            "The network is still in training mode: every answer depends on the other pictures of the batch. net.eval() first.":
                learnt,
            f"No sigmoid: the {name} is still a logit, from {logits.min():.1f} to {logits.max():.1f}.": logits,
            f"The sigmoid was applied twice: the {name} never gets below one half.": logits.sigmoid().sigmoid(),
            "Mask and depth have changed places.": other,
            "The threshold comes too early: probabilities are asked for.": (logits > 0).float(),
        }  # fmt: skip
        expect(value, logits.sigmoid(), mistakes, f"the {name}")
    if got[0].requires_grad:
        raise Wrong("The answers are right, but PyTorch keeps everything for a gradient: put `with torch.no_grad():` around the call.")
    return "Asked again, alone or in another batch, it would say the same."


@exercise(
    "6.2",
    "argsort() gives the numbers of the pictures from the least value to the largest.",
    "Dice of each picture: sum over (1, 2, 3). Then dice.argsort()[:count].",
)
def the_worst_first(worst_first):
    mask = quartets()["mask"].repeat(2, 1, 1, 1)
    prob = torch.cat([moved(mask[i : i + 1], pixels) for i, pixels in enumerate((3, 0, 5, 1, 1, 7, 2, 4))])
    found, real = prob > 0.5, mask > 0.5
    dice, count = _dice(found, real), 3
    pixels = (found != real).sum((1, 2, 3))
    mistakes = {
        "These are the best: argsort begins with the least.": dice.argsort(descending=True)[:count],
        "These are the worst, but the worst of them comes last.": dice.argsort()[:count].flip(0),
        "These are Dice values. The numbers of the pictures are asked for: argsort, not sort.": dice.sort().values[:count],
        "You order by the number of wrong pixels: a large cat has many of them even where it is found well. Order by Dice.":
            pixels.argsort(descending=True)[:count],
        "These are all of them; the first `count` are asked for.": dice.argsort(),
    }  # fmt: skip
    expect(worst_first(prob.clone(), mask.clone(), count), dice.argsort()[:count], mistakes, "the list")
    return f"Their Dice: {', '.join(f'{dice[i]:.2f}' for i in dice.argsort()[:count])}."


@exercise(
    "6.3",
    "Which of the two pairs may you look at before the test is over?",
    "The Dice of `known` at each threshold; np.argmax gives the place of the largest, and thresholds[place] the threshold.",
)
def an_honest_threshold(best_threshold):
    mask = quartets()["mask"]
    known, test = ((wrong_masks(mask) ** power, mask.clone()) for power in (1.8, 0.8))
    thresholds = np.linspace(0.1, 0.9, 17)

    def curve(*pairs):
        prob, real = (torch.cat(parts) for parts in zip(*pairs))
        return [_dice((prob >= t).flatten()[None, None, None], (real > 0.5).flatten()[None, None, None]).item() for t in thresholds]

    ours, theirs, both = curve(known), curve(test), curve(known, test)
    right = thresholds[np.argmax(ours)]
    mistakes = {
        "You chose it on the test set: now there is no test any more. Choose on `known`.": thresholds[np.argmax(theirs)],
        "You chose it on both sides together: the test set must have no say.": thresholds[np.argmax(both)],
        "This is the place in the list; the threshold is asked for: thresholds[place].": np.argmax(ours),
        "This is the Dice; the threshold at which it is largest is asked for.": max(ours),
        "This is the worst threshold: argmax, not argmin.": thresholds[np.argmin(ours)],
        "This is the habit, 0.5. Try them all.": 0.5,
    }  # fmt: skip
    got = best_threshold([part.clone() for part in known], [part.clone() for part in test], thresholds)
    expect(one_number(got, "the threshold"), right, mistakes, "the threshold")
    there = theirs[int(np.argmax(ours))]
    return f"{right:.2f}, with a Dice of {max(ours):.3f} on the training side. The test gets {there:.3f}: that is its honest number."


@exercise(
    "6.4",
    "Group first, then take the mean of each group, then the least of the means.",
    "dice[rooms == room].mean() for each room in rooms.unique().",
)
def the_hardest_room(hardest_room):
    rooms = torch.tensor([14, 9, 14, 23, 9, 23, 14, 31, 23, 9, 23, 31])
    dice = torch.tensor([0.9, 0.62, 0.95, 0.1, 0.6, 0.97, 0.88, 0.93, 0.95, 0.55, 0.98, 0.8])
    names = rooms.unique().tolist()
    means = [dice[rooms == room].mean().item() for room in names]
    sums = [dice[rooms == room].sum().item() for room in names]
    mistakes = {
        "This is the room of the single worst picture; its other pictures are fine. Compare the means of rooms.":
            rooms[dice.argmin()],
        "This is the easiest room.": names[int(np.argmax(means))],
        "This is a place in a list; the room's number is asked for.": int(np.argmin(means)),
        "You add up: a room with few pictures looks hard then. Take means.": names[int(np.argmin(sums))],
        "This is the mean Dice of the hardest room; its number is asked for.": min(means),
    }  # fmt: skip
    right = names[int(np.argmin(means))]
    expect(hardest_room(dice.clone(), rooms.clone()), right, mistakes, "the room")
    return f"Room {right}, with a mean of {min(means):.2f} over {(rooms == right).sum()} pictures."


@exercise(
    "6.5",
    "ndimage.label numbers the connected parts of one picture, and np.bincount of that counts their pixels.",
    "Drop a part that is small beside the largest one, or beside the picture. Keep every large part: a chair leg can cut a cat in two.",
)
def a_cleaner_mask(clean):
    real = quartets()["mask"] > 0.5
    real[3] = False  # a room without a cat, in which none is found
    columns = real[2, 0].any(0).nonzero().flatten()
    middle = int(columns.float().mean())
    real[2, :, :, middle - 1 : middle + 2] = False  # a chair leg before the cat
    found = moved(real.float(), 1) > 0.5
    found[2, :, :, middle - 1 : middle + 3] = False
    specks = torch.zeros_like(found)
    draw = np.random.default_rng(0)
    for i in range(3):
        for y, x in draw.integers(2, 60, (10, 2)):
            specks[i, 0, y : y + 2, x : x + 1 + y % 2] = True
    prob = torch.where(found, 0.9, torch.where(specks, 0.7, 0.05))

    def mask_of(prob):
        got = clean(prob.clone())
        array = as_array(got, "the mask")
        if array.shape != tuple(prob.shape):
            raise Wrong(f"The mask has the shape {array.shape}; it should stay {tuple(prob.shape)}.")
        return torch.from_numpy(array >= 0.5)

    got = mask_of(prob)
    before, after, ideal = _dice(found | specks, real), _dice(got, real), _dice(found, real)
    if not torch.equal(mask_of(prob[1:2]), got[1:2]):
        raise Wrong("The second picture, asked about alone, gets another mask than in the batch: you look at parts across pictures. "
                    "Treat every picture by itself.")  # fmt: skip
    left, right = (found[2] & (torch.arange(64) < middle)), (found[2] & (torch.arange(64) > middle))
    kept = [(got[2] & half).sum() / half.sum() for half in (left, right)]
    if min(kept) < 0.1 and max(kept) > 0.8:
        raise Wrong("A chair leg cuts the third cat in two, and you took one half away: more than one part may be cat. Drop small parts, "
                    "keep all large ones.")  # fmt: skip
    if (worse := (after < before - 0.002)).any():
        i = int(worse.nonzero()[0])
        raise Wrong(f"Picture {i + 1} gets worse: Dice {before[i]:.3f} before, {after[i]:.3f} after. Something takes from the cat, "
                    "or adds to it.")  # fmt: skip
    specks_left = (got & specks & ~found).sum() / (specks & ~found).sum()
    said = f"mean Dice {before.mean():.3f} before, {after.mean():.3f} after"
    if after.mean() < before.mean() + CLEANED * (ideal - before).mean():
        raise Wrong(f"{said}, but {specks_left:.0%} of the specks are still there.")
    return f"{said}, and no picture got worse."
