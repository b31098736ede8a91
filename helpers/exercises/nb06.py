"""Exercises of notebook 06: predicting properly, the worst first, an honest threshold, and cleaning a mask."""

import numpy as np
import torch

from helpers.demos.distortions import moved
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, dice, expect, pair_of, quartets, shaped, warmed_up_net, wrong_masks


@exercise(
    "6.1",
    "A network that was just trained is in training mode: its batch norms use, and learn from, the batch at hand.",
    "Change the mode first. Then both logits must become numbers from 0 to 1: which function does that?",
)
def predicted_properly(ask_once):
    batch = quartets()

    def logits_in(training):
        with torch.no_grad():
            return list(warmed_up_net(batch).train(training)(batch["bg"], batch["bg_fg"]))

    got = pair_of(ask_once(warmed_up_net(batch), batch), "mask, depth")
    logits, busy = logits_in(False), logits_in(True)
    for k, name in enumerate(("mask", "depth")):
        mistakes = {
            "The network is still in training mode, looking at the whole batch. net.eval() first.": busy[k].sigmoid(),
            f"No sigmoid: the {name} is still a logit.": logits[k],
            f"The sigmoid was applied twice: the {name} never gets below one half.": logits[k].sigmoid().sigmoid(),
            "Mask and depth have changed places.": logits[1 - k].sigmoid(),
            "The threshold comes too early: probabilities are asked for.": (logits[k] > 0).float(),
        }
        expect(got[k], logits[k].sigmoid(), mistakes, f"the {name}")
    if any(getattr(value, "requires_grad", False) for value in got):
        raise Wrong("The values are right, but PyTorch keeps all for a gradient: `with torch.no_grad():` around it.")
    return "The prediction for one picture would be the same alone, or in another batch."


@exercise(
    "6.2",
    "argsort() gives the numbers of the pictures from the least value to the largest.",
    "Dice of each picture: sum over (1, 2, 3), as in 4.1. Then put them in order, and keep the first `count`.",
)
def the_worst_first(worst_first):
    mask = quartets()["mask"].repeat(2, 1, 1, 1)
    prob = torch.cat([moved(mask[i : i + 1], pixels) for i, pixels in enumerate((3, 0, 5, 1, 1, 7, 2, 4))])
    found, real = prob > 0.5, mask > 0.5
    scores, count = dice(found, real), 3
    order, pixels = scores.argsort(), (found != real).sum((1, 2, 3))
    mistakes = {
        "These are the best: argsort begins with the least.": Either((order.flip(0)[:count], order[-count:])),
        "These are Dice values. The numbers of the pictures are asked for: argsort, not sort.": scores[order][:count],
        "You order by wrong pixels, and a large cat has many anyway.": pixels.argsort(descending=True)[:count],
    }
    expect(worst_first(prob.clone(), mask.clone(), count), order[:count], mistakes, "the list")
    expect(worst_first(prob.clone(), mask.clone(), 5), order[:5], {}, "the list of 5")
    return f"Their Dice: {', '.join(f'{value:.2f}' for value in scores[order][:count])}."


@exercise(
    "6.3",
    "Which of the two pairs may you look at before the test is over?",
    "The Dice of `known` at each threshold; np.argmax gives the place of the largest. The threshold is asked for.",
)
def an_honest_threshold(best_threshold):
    mask = quartets()["mask"]
    known, test = ((wrong_masks(real) ** power, real) for real, power in ((mask, 1.8), (mask.flip(-1), 0.8)))
    thresholds = np.linspace(0.1, 0.9, 17)

    def curve(*pairs):
        prob, real = (torch.cat(parts) for parts in zip(*pairs))
        return [dice(prob >= t, real > 0.5, (0, 1, 2, 3)).item() for t in thresholds]

    ours, theirs, both = curve(known), curve(test), curve(known, test)
    right = thresholds[np.argmax(ours)]
    mistakes = {
        "You chose it on the test set: there is no test any more. Choose on `known`.": thresholds[np.argmax(theirs)],
        "You chose it on both sets together: the test set must have no influence.": thresholds[np.argmax(both)],
        "This is the place in the list; the threshold is asked for: thresholds[place].": np.argmax(ours),
        "This is the Dice; the threshold at which it is largest is asked for.": max(ours),
    }
    got = best_threshold([part.clone() for part in known], [part.clone() for part in test], thresholds)
    expect(got, right, mistakes, "the threshold")
    there = theirs[int(np.argmax(ours))]
    return f"{right:.2f}, with a Dice of {max(ours):.3f} on the known set. The test set gets {there:.3f}."


@exercise(
    "6.4",
    "Group first, then take the mean of each group, then the least of the means.",
    "rooms == room selects the pictures of one room. min over a dict takes a key: min(means, key=...).",
)
def the_hardest_room(hardest_room):
    rooms = torch.tensor([14, 9, 14, 23, 40, 23, 6, 14, 31, 23, 9, 14, 31, 23, 40, 6, 14, 9, 23, 40, 14])
    scores = torch.tensor([95, 92, 97, 58, 40, 30, 70, 10, 55, 56, 90, 90, 57, 60, 42, 72, 93, 85, 31, 90, 96]) / 100
    names = rooms.unique().tolist()
    means, sums = ([statistic(scores[rooms == room]).item() for room in names] for statistic in (torch.mean, torch.sum))
    mistakes = {
        "This is the room of the single worst picture; its others are fine. Take means.": rooms[scores.argmin()],
        "This is the easiest room.": names[int(np.argmax(means))],
        "This is a place in a list; the room's number is asked for.": int(np.argmin(means)),
        "You add up: a room with few pictures looks hard then. Take means.": names[int(np.argmin(sums))],
    }
    right = names[int(np.argmin(means))]
    expect(hardest_room(scores.clone(), rooms.clone()), right, mistakes, "the room")
    return f"Room {right}, with a mean of {min(means):.2f} over {(rooms == right).sum()} pictures."


@exercise(
    "6.5",
    "ndimage.label numbers the connected parts of one picture, and np.bincount of that counts their pixels.",
    "Drop a part that is small beside the largest one. Keep every large part: a chair leg can cut a cat in two.",
)
def a_cleaner_mask(clean):
    real = quartets()["mask"] > 0.5
    real[3] = False  # a room without a cat, in which none is found
    middle = int(real[2, 0].any(0).nonzero().float().mean())
    real[2, :, :, middle - 1 : middle + 2] = False  # a chair leg before the cat
    found = moved(real.float(), 1) > 0.5
    found[2, :, :, middle - 1 : middle + 3] = False
    specks = torch.zeros_like(found)
    draw = np.random.default_rng(0)
    for i in range(3):
        for y, x in draw.integers(2, 60, (10, 2)):
            specks[i, 0, y : y + 2, x : x + 1 + y % 2] = True
    sure = torch.from_numpy(draw.uniform(0.6, 0.95, found.shape)).float()  # no threshold tells cat from specks
    prob = torch.where(found | specks, sure, 0.05)

    def mask_of(prob):
        return torch.from_numpy(shaped(clean(prob.clone()), prob.shape, "the mask") >= 0.5)

    got = mask_of(prob)
    before, after, ideal = dice(found | specks, real), dice(got, real), dice(found, real)
    if not torch.equal(mask_of(prob[1:2]), got[1:2]):
        raise Wrong("The second picture alone gets another mask than in the batch. Treat every picture by itself.")
    left, right = (found[2] & (torch.arange(64) < middle)), (found[2] & (torch.arange(64) > middle))
    kept = [(got[2] & half).sum() / half.sum() for half in (left, right)]
    if min(kept) < 0.1 and max(kept) > 0.8:
        raise Wrong("A chair leg cuts the third cat in two, and you took one half away. Keep all large parts.")
    if (worse := (after < before - 0.002)).any():
        i = int(worse.nonzero()[0])
        raise Wrong(f"Picture {i + 1} gets worse: Dice {before[i]:.3f} before, {after[i]:.3f} after.")
    left_over = (got & specks & ~found).sum() / (specks & ~found).sum()
    change = f"mean Dice {before.mean():.3f} before, {after.mean():.3f} after"
    if after.mean() < before.mean() + 0.6 * (ideal - before).mean():
        raise Wrong(f"{change}, but {left_over:.0%} of the specks are still there.")
    return f"{change}, and no picture got worse."
