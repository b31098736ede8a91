"""Where a network fails: the worst quartets of a test set, each with the cause that explains most of its error.

``make failures``, or ``python -m helpers.benchmarks.failures``, runs the trained network on every test quartet, takes
the worst masks and the worst depth maps, and stores their causes as ``runs/bench/failures.json``. ``make images
ARGS=failures`` draws the very worst of them. No cause is chosen by hand: each is a rule below, whose docstring is the
sentence that the figure shows, and the cause with the largest share is that of the case, the first of equals.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import fill

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import ndimage
from torch.utils.data import Dataset

from helpers.benchmarks.summary import about, keep, markdown_table, need_data
from helpers.config import CourseError, plain_errors
from helpers.dataset import get_batch
from helpers.evaluate import Predictor, network_predictor
from helpers.plots import array, plane, quartets_of, show_predictions
from helpers.session import is_trained, our_recipe, sets, trained_network

RESULT = "bench/failures.json"  # in runs/
COUNT, DRAWN = 20, 5  # so many of each task are explained, and so many are in the figure
NOISE = 8  # of 255: what differs by less may be the noise of a photograph


@dataclass(eq=False)  # arrays have no single truth value
class Case:
    """A quartet with its prediction, and the cause of its error."""

    index: int
    room: int
    quartet: dict[str, np.ndarray]
    prob: np.ndarray  # (H, W), as all planes below
    predicted: np.ndarray  # depth
    task: str = ""  # "mask" or "depth": the error that the cause explains
    shares: dict[str, float] = field(default_factory=dict)  # of the wrong pixels, or of the squared error, by cause

    def __post_init__(self) -> None:
        mask, depth, valid = (plane(self.quartet[key]) for key in ("mask", "depth", "valid"))
        self.mask, self.depth, self.valid = mask, depth.astype(float), valid.astype(bool)
        self.target, found = mask > 0.5, self.prob > 0.5
        self.missed, self.extra = self.target & ~found, found & ~self.target
        self.wrong = self.missed | self.extra
        self.dice = float(1 - self.wrong.sum() / max(1, self.target.sum() + found.sum()))
        self.error = np.where(self.valid, self.predicted - self.depth, 0.0)
        self.rmse = float(np.sqrt(np.square(self.error[self.valid]).mean())) if self.valid.any() else float("nan")
        # How much darker the second photograph is, of 255 (3, H, W), and how much the two differ in any channel.
        self.darker = self.quartet["bg"].astype(int) - self.quartet["bg_fg"]
        self.difference = np.abs(self.darker).max(0)
        self.px = max(1, round(max(mask.shape) / 64))  # a width of 1 px is meant at 64 px; at 192 px it is 3

    @property
    def cause(self) -> str:
        return max(self.shares, key=self.shares.get)

    @property
    def sentence(self) -> str:
        return CAUSES[self.task][self.cause].__doc__

    @property
    def words(self) -> str:
        """Which quartet it is, how wrong, how much of that the cause explains, and the cause."""
        wrong = f"Dice {self.dice:.2f}" if self.task == "mask" else f"depth RMSE {self.rmse:.2f}"
        return f"Quartet {self.index}, room {self.room}: {wrong}, {self.shares[self.cause]:.0%}: {self.sentence}"


def worst(dataset: Dataset, predictor: Predictor, count: int = COUNT) -> list[Case]:
    """The worst quartets of a test set, explained: first the masks, then the depth maps, each the worst first.

    Args:
        dataset: quartets, all of one size, with ``room_of``.
        predictor: batch -> probability of cat and depth, each (B, 1, H, W) in [0, 1].
        count: so many, at most, are chosen by the Dice of the mask, and as many by the RMSE of the depth; each the
            worst of its room. A quartet without error or without known depth is not chosen.
    """
    if not len(dataset):
        raise CourseError("The test set has no quartets, so there are no failures to show: use a larger one.")
    scored = [(case.index, case.room, case.dice, case.rmse) for case in _cases(dataset, predictor, range(len(dataset)))]
    found = []
    for task, errors in (("mask", [1 - dice for *_, dice, _ in scored]), ("depth", [rmse for *_, rmse in scored])):
        best_first = sorted((error, -index, room) for error, (index, room, *_) in zip(errors, scored) if error > 0)
        of_room = {room: -index for _, index, room in best_first}  # the last is the worst
        chosen = sorted(of_room.values(), key=lambda index: (-errors[index], index))[:count]
        found += [explain(case, task) for case in _cases(dataset, predictor, chosen)]
    return found


def _cases(dataset: Dataset, predictor: Predictor, indices: Sequence[int]) -> Iterator[Case]:
    """A :class:`Case` for each index, not yet explained."""
    for start in range(0, len(indices), 50):
        wanted = list(indices[start : start + 50])
        batch = get_batch(dataset, wanted)
        for index, quartet, prob, depth in zip(wanted, quartets_of(batch), *map(array, predictor(batch))):
            yield Case(index, int(dataset.room_of(index)), quartet, plane(prob), plane(depth).astype(float))


def explain(case: Case, task: str) -> Case:
    """``case`` itself, with the shares of the causes of its wrong ``"mask"`` or ``"depth"``; it must have an error.

    The rules for masks mark the wrong pixels that they explain. A pixel counts for the first that marks it, so the
    shares add up to one. Those for depth maps give the share of the squared error that would be gone; these overlap.
    """
    left, case.task = case.wrong, task
    for name, rule in CAUSES[task].items():
        share = rule(case)
        if task == "mask":
            left, share = left & ~share, (left & share).sum() / case.wrong.sum()
        case.shares[name] = float(share)
    return case


# Of masks: bool (H, W), the wrong pixels that are explained. Special causes stand before general ones.
def pair_differs(case: Case) -> np.ndarray:
    """The room itself differs between the two photographs."""
    around, cat = (np.median(case.difference[where]) if where.any() else 0 for where in (case.mask == 0, case.target))
    return case.wrong & bool(around > 0 and around >= 0.5 * cat)  # half as much as the cat does


def camouflage(case: Case) -> np.ndarray:
    """The cat hardly differs from the room behind it."""
    return case.missed & (case.difference < NOISE)


def shadow(case: Case) -> np.ndarray:
    """A shadow of the cat is taken for cat."""
    return case.extra & (case.mask == 0) & (case.darker.min(0) >= NOISE)  # in every channel


def thin_part(case: Case) -> np.ndarray:
    """A thin part, such as tail, legs or ears, is missed."""
    inside = ~_grown(~case.target, case.px)
    return case.missed & ~_grown(inside, case.px)


def outline(case: Case) -> np.ndarray:
    """The outline is off by a pixel."""
    line = _grown(case.target, case.px) & _grown(~case.target, case.px)
    return case.wrong & line & ~_grown(case.missed & ~line, case.px)  # a part that is missed keeps its own rim


def part_missed(case: Case) -> np.ndarray:
    """A part of the cat, or all of it, is missed."""
    return case.missed


def something_else(case: Case) -> np.ndarray:
    """Something that is no shadow is taken for cat."""
    return case.extra


# Of depth maps: the share of the squared error that would be gone.
def wrong_range(case: Case) -> float:
    """The range as a whole is wrong."""
    target, error = case.depth[case.valid], case.error[case.valid]
    if np.median(np.abs(error)) < 0.6 * case.rmse:  # noise has 0.67 of the RMSE, one wrong wall less
        return 0.0
    terms = np.stack([np.ones_like(target), target], 1)
    line = np.linalg.lstsq(terms, error, rcond=None)[0]  # a shift, and a scale: -1 is that of a flat map
    return np.square(terms @ line).sum() / np.square(error).sum() if line[1] > -1.5 else 0.0  # -2: far is near


def wrong_cat(case: Case) -> float:
    """The cat's own depth is wrong."""
    return _gain_of_shift(case, case.target & case.valid)


def wrong_surface(case: Case) -> float:
    """One surface is too near or too far."""
    regions = [ndimage.label(sign * case.error > case.rmse) for sign in (-1, 1)]
    return max((_gain_of_shift(case, labels == i + 1) for labels, n in regions for i in range(n)), default=0.0)


def smeared_edges(case: Case) -> float:
    """Edges of objects are smeared."""
    farthest = ndimage.maximum_filter(np.where(case.valid, case.depth, -np.inf), 3)
    nearest = ndimage.minimum_filter(np.where(case.valid, case.depth, np.inf), 3)
    near = _grown(case.valid & (farthest - nearest >= 0.1), case.px) & case.valid  # near the edge of an object
    area, held = near.sum() / case.valid.sum(), (case.error[near] ** 2).sum() / (case.error**2).sum()
    return max(0.0, (held - area) / (1 - area)) if area < 1 else 0.0  # beyond that of an error the same everywhere


CAUSES = {task: {rule.__name__: rule for rule in rules} for task, rules in {
    "mask": (pair_differs, camouflage, shadow, thin_part, outline, part_missed, something_else),
    "depth": (wrong_range, wrong_cat, wrong_surface, smeared_edges),
}.items()}  # fmt: skip


def _gain_of_shift(case: Case, region: np.ndarray) -> float:
    """The share of the squared error that one shift of ``region`` takes away."""
    errors = case.error[region]
    return errors.size * errors.mean() ** 2 / (case.error**2).sum() if errors.size else 0.0


def _grown(where: np.ndarray, radius: int) -> np.ndarray:
    """``where`` (H, W) and all within ``radius`` pixels of it, in a square."""
    return ndimage.maximum_filter(where, 2 * radius + 1, mode="constant")


def figure(cases: Sequence[Case]) -> Figure:
    """The worst masks, then the worst depth maps, with the words of each before its row."""
    shown = [case for task in CAUSES for case in [case for case in cases if case.task == task][:DRAWN]]
    maps = ([getattr(case, name) for case in shown] for name in ("prob", "predicted"))
    labels = ["\n".join(fill(part, 30) for part in case.words.split(": ")) for case in shown]
    drawn = show_predictions([case.quartet for case in shown], *map(np.stack, maps), len(shown), labels)
    drawn.set_figwidth(drawn.get_figwidth() + 2)  # inches, for the words
    for axis in (axis for axis in drawn.axes if axis.images):
        axis.yaxis.label.set(rotation=0, ha="right", va="center", fontsize=8)
    return drawn


def markdown(result: dict) -> str:
    """How many of the worst cases each cause explains, and how that was found out."""
    counts = Counter((case["task"], case["sentence"]) for case in result["cases"])
    rows = [(*cause, str(count)) for cause, count in sorted(counts.items(), key=lambda c: (c[0][0] != "mask", -c[1]))]
    table = markdown_table(("worst", "cause of most of the error", "cases"), rows, numbers_from=2)
    return (
        f"{table}\n\n{result['data'].capitalize()}, profile `{result['profile']}`: the worst of "
        f"{result['test_quartets']} test quartets at {result['size']} px, predicted by {result['network']}; "
        f"{result['date']}."
    )


def main() -> list[Case]:
    """Find the cases of the trained network on the test set, print and store them; the same cases."""
    need_data()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = f"a network of the recipe {our_recipe().name}" if is_trained() else "the weights that come with the course"
    predictor, test_set = network_predictor(trained_network().to(device)), sets("test")[0]
    cases = worst(test_set, predictor)
    if not cases:
        raise CourseError("Not one test quartet has an error, so there is nothing to show: use a larger test set.")
    told = [{key: getattr(case, key) for key in ("task", "cause", "sentence", "words", "shares")} for case in cases]
    result = about(test_quartets=len(test_set), size=test_set.size, network=network, cases=told)
    keep(result, RESULT, "\n".join([*(case.words for case in cases), "", markdown(result)]))
    return cases


if __name__ == "__main__":
    with plain_errors():
        main()
