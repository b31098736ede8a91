"""Exercises of notebook 06: predicting properly, the worst first, the hardest room, a threshold chosen on validation,
a temperature, and cleaning a mask."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize

from helpers.demos.distortions import moved
from helpers.evaluate import network_predictor
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, dice, expect, pair_of, quartets, shaped, warmed_up_net, wrong_masks


@exercise(
    "6.1",
    "A network that was just trained is in training mode: its batch norms use, and learn from, the batch at hand.",
    "Change the mode first. Then both logits must become numbers from 0 to 1: which function does that?",
)
def predicted_properly(predict_once):
    batch = quartets()

    def logits_in(training):
        with torch.no_grad():
            return list(warmed_up_net(batch).train(training)(batch["bg"], batch["bg_fg"]))

    got = pair_of(predict_once(warmed_up_net(batch), batch), "mask, depth")
    right = network_predictor(warmed_up_net(batch))(batch)
    logits, busy = logits_in(False), logits_in(True)
    for k, name in enumerate(("mask", "depth")):
        mistakes = {
            "The network is still in training mode, looking at the whole batch. net.eval() first.": busy[k].sigmoid(),
            f"No sigmoid: the {name} is still a logit.": logits[k],
            f"The sigmoid was applied twice: the {name} never gets below one half.": right[k].sigmoid(),
            "Mask and depth have changed places.": right[1 - k],
            "The threshold comes too early: probabilities are asked for.": (logits[k] > 0).float(),
        }
        if name == "depth":
            mistakes["The depth is clamped to [0, 1]: a logit becomes a share by a sigmoid."] = logits[k].clamp(0, 1)
        expect(got[k], right[k], mistakes, f"the {name}")
    if any(getattr(value, "requires_grad", False) for value in got):
        raise Wrong("The values are right, but PyTorch keeps all for a gradient: `with torch.no_grad():` around it.")
    return "The prediction for one picture would be the same alone, or in another batch."


@exercise(
    "6.2",
    "argsort() gives the numbers of the pictures from the least value to the largest.",
    "Dice of each picture: sum over (1, 2, 3), as in 4.4. Then put them in order, and keep the first `count`.",
)
def the_worst_first(worst_numbers):
    mask = quartets()["mask"].repeat(2, 1, 1, 1)
    prob = torch.cat([moved(mask[i : i + 1], pixels) for i, pixels in enumerate((3, 0, 5, 1, 1, 7, 2, 4))])
    sure = torch.rand(prob.shape, generator=torch.Generator().manual_seed(5)) * torch.tensor([8, 2, 1, 7, 2, 8, 9, 1]).view(-1, 1, 1, 1) / 20
    prob = torch.where(prob > 0.5, 0.96 - sure, 0.04 + sure / 4)  # on the same side of 0.5, but not equally sure
    prob[6, :, :34, :34] = 0.9  # where there is nothing, much is found
    found, real = prob > 0.5, mask > 0.5
    count, wrong_pixels = 3, (found != real).sum((1, 2, 3))
    order = torch.from_numpy(np.argsort(-(wrong_pixels / (found.sum((1, 2, 3)) + real.sum((1, 2, 3)))).numpy(), kind="stable"))
    mistakes = {
        "These are the best: argsort begins with the least.": Either((order.flip(0)[:count], order[-count:])),
        "These are Dice values. The numbers of the pictures are asked for: argsort, not sort.": dice(found, real)[order][:count],
        "You divide by the area of the cat alone: what is found beside it must count, too.":
            ((found & real).sum((1, 2, 3)) / real.sum((1, 2, 3))).argsort()[:count],
        "You order by wrong pixels, and a large cat has many anyway.": wrong_pixels.argsort(descending=True)[:count],
        "These are the right pictures in the order of the set. The worst comes first.": order[:count].sort().values,
        "You compare probabilities: the Dice of the masks, cut at 0.5, is asked for.": dice(prob, mask).argsort()[:count],
    }
    expect(worst_numbers(prob.clone(), mask.clone(), count), order[:count], mistakes, "the list")
    expect(worst_numbers(prob.clone(), mask.clone(), 5), order[:5], {}, "the list of 5")
    return f"Their Dice: {', '.join(f'{value:.2f}' for value in dice(found, real)[order][:count])}."


@exercise(
    "6.3",
    "Group first, then take the mean of each group, then the least of the means.",
    "rooms == room selects the pictures of one room. min over a dict compares its keys, unless you give it a key=.",
)
def the_hardest_room(hardest_room):
    rooms = np.array([14, 9, 14, 23, 40, 23, 6, 14, 31, 23, 9, 14, 31, 23, 40, 6, 14, 9, 23, 40, 14, 17, 17, 17, 17])
    scores = np.array([95, 92, 97, 58, 40, 30, 70, 94, 55, 56, 90, 90, 57, 65, 42, 72, 93, 5, 31, 90, 96, 54, 50, 52, 53]) / 100
    for numbers, kept in ((rooms, slice(None)), (50 - rooms, slice(1, None))):  # the smallest number, then the largest
        right, mean, size = _least_mean(scores[kept], numbers[kept])
        tensors = torch.from_numpy(scores[kept]).float(), torch.from_numpy(numbers[kept])
        names = np.unique(numbers[kept]).tolist()
        means, sums = ([take(scores[kept][numbers[kept] == name]) for name in names] for take in (np.mean, np.sum))
        mistakes = {
            "This is the room of the single worst picture; its others are fine. Take means.": numbers[kept][scores[kept].argmin()],
            "This is the easiest room.": names[int(np.argmax(means))],
            "This is a place in a list; the room's number is asked for.": names.index(right),
            "You add up: a room with few pictures looks hard then. Take means.": names[int(np.argmin(sums))],
            "This is the lowest mean; the number of its room is asked for.": mean,
            "This is the room with the smallest number: min over a dict compares its keys.": min(names),
        }
        expect(hardest_room(*tensors), right, mistakes, "the room")
    return f"Room {right}, with a mean of {mean:.2f} over {size} pictures."


def _least_mean(scores, rooms):
    """The room with the lowest mean score, that mean, and how many pictures it has."""
    names, where, counts = np.unique(rooms, return_inverse=True, return_counts=True)
    means = np.bincount(where, scores) / counts
    place = int(np.argmin(means))
    return int(names[place]), float(means[place]), int(counts[place])


@exercise(
    "6.4",
    "Which of the two pairs may you look at before the test is over?",
    "The Dice of `validation` at each threshold; np.argmax gives the place of the largest. The threshold is asked for.",
)
def an_honest_threshold(best_threshold):
    mask = quartets()["mask"]
    powers = torch.tensor([[3.0, 3.0, 1.8, 3.0], [0.7, 0.7, 1.4, 0.7]]).view(2, -1, 1, 1, 1)  # the large cat differs
    first, second = ((wrong_masks(real) ** power, real) for real, power in zip((mask, mask.flip(-1)), powers))
    thresholds = np.linspace(0.1, 0.9, 17)

    def curve(*pairs, score=lambda found, real: dice(found, real, (0, 1, 2, 3))):
        prob, real = (torch.cat(parts) for parts in zip(*pairs))
        return [score(prob >= t, real > 0.5).mean().item() for t in thresholds]

    both = thresholds[np.argmax(curve(first, second))]
    for validation, test in ((first, second), (second, first)):  # either may be the one to choose on
        ours, theirs = curve(validation), curve(test)
        place = int(np.argmax(ours))
        mistakes = {
            "You chose it on the test set: there is no test any more. Choose on `validation`.": thresholds[np.argmax(theirs)],
            "You chose it on both sets together: the test set must have no influence.": both,
            "This is the place in the list; the threshold is asked for: thresholds[place].": place,
            "This is the Dice; the threshold at which it is largest is asked for.": ours[place],
            "This is the worst threshold: the largest Dice is wanted.": thresholds[np.argmin(ours)],
            "You take the mean of the pictures' Dice: count all pixels of the set together.":
                thresholds[np.argmax(curve(validation, score=dice))],
            "You count right pixels, and most of them are room: the largest Dice is wanted.":
                thresholds[np.argmax(curve(validation, score=lambda found, real: (found == real).float()))],
        }
        pairs = ([part.clone() for part in pair] for pair in (validation, test))
        expect(best_threshold(*pairs, thresholds.copy()), thresholds[place], mistakes, "the threshold")
    return f"{thresholds[place]:.2f}, with a Dice of {ours[place]:.3f} on validation. The test set gets {theirs[place]:.3f}."


@exercise(
    "6.5",
    "Divide the logits by each candidate. Which loss of torch.nn.functional takes logits and a mask?",
    "Above 1 a temperature pulls all probabilities towards one half, below 1 it pushes them away from it.",
)
def a_temperature(best_temperature):
    generator = torch.Generator().manual_seed(3)
    mask = quartets()["mask"] > 0.5
    honest = 3.2 * (mask.float() - 0.5) + 1.6 * torch.randn(mask.shape, generator=generator)
    target = (torch.rand(mask.shape, generator=generator) < honest.sigmoid()).float()  # it is cat as often as `honest` says
    for hidden in (1.7, 0.75):  # too sure, then not sure enough
        logits = honest * hidden
        wanted = optimize.minimize_scalar(lambda t: _entropy(logits / t, target), bounds=(0.1, 6), method="bounded").x
        mistakes = {
            "This is 1/T: the logits are divided by the temperature, not multiplied.": 1 / wanted,
            "This changes nothing: try other temperatures than 1, and keep the one with the least loss.": 1.0,
            "This is the least loss; the temperature that gives it is asked for.": _entropy(logits / wanted, target),
        }
        expect(best_temperature(logits.clone(), target.clone()), wanted, mistakes, "the temperature", within=0.06)
    return f"{wanted:.2f} for logits that are not sure enough; for those that are too sure, it is above 1."


def _entropy(logits, target):
    """The mean binary cross-entropy, as a number."""
    return F.softplus(torch.where(target > 0.5, -logits, logits)).mean().item()


@exercise(
    "6.6",
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
