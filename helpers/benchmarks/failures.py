"""Where a network fails: the worst quartets of a test set, each with the cause that explains most of its error.

``make failures``, or ``python -m helpers.benchmarks.failures``, runs the trained network on every test quartet, takes
the ten worst masks and the ten worst depth maps, and writes ``runs/bench/failures.png`` and ``.json``. No cause is
chosen by hand: each is a rule of :mod:`helpers.benchmarks.failure_causes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import torch
from torch.utils.data import Dataset

from helpers.benchmarks.failure_causes import CAUSES, Case, by_cause, explain
from helpers.benchmarks.failure_figure import figure
from helpers.benchmarks.summary import VERSION, data_kind, markdown_table
from helpers.config import CourseError, plain_errors, profile, runs_dir
from helpers.dataset import get_batch, scenes, to_device
from helpers.evaluate import Predictor, network_predictor
from helpers.plots import array, plane, quartets_of
from helpers.session import our_recipe, run_dir, sets, trained_network
from helpers.train import is_finished
from helpers.utils import whole_file, write_json

RESULT = "failures.json"  # in runs/bench/
COUNT = 10  # masks, and as many depth maps
BATCH = 50


def worst(dataset: Dataset, predictor: Predictor, count: int = COUNT) -> list[Case]:
    """The worst quartets of a test set, explained: first the masks, then the depth maps, each the worst first.

    Args:
        dataset: quartets, all of one size, with ``room_of`` and ``cat_of``.
        predictor: batch -> probability of cat and depth, each (B, 1, H, W) in [0, 1].
        count: so many are chosen by the Dice of the mask, and as many by the RMSE of the depth. Among each, no room
            comes twice as long as there are others; a quartet without error or without known depth is not chosen.

    Raises:
        CourseError: the set is empty.
    """
    if not len(dataset):
        raise CourseError("The test set has no quartets, so there are no failures to show: use a larger one.")
    dice, rmse, histogram = [], [], np.zeros(256, int)  # of the differences of all pixels of cats
    for case in _predicted(dataset, predictor, range(len(dataset))):
        dice.append(case.dice)
        rmse.append(case.rmse)
        histogram += np.bincount(case.difference[case.target], minlength=256)
    faint = float(np.searchsorted(histogram.cumsum(), 0.1 * histogram.sum()))
    rooms = array(scenes(dataset)[0])
    cases = []
    for task, badness in (("mask", 1 - np.array(dice)), ("depth", np.array(rmse))):
        chosen = _choose(badness, rooms, count)
        cases += [explain(case, task) for case in _predicted(dataset, predictor, chosen, faint)]
    return cases


def _predicted(
    dataset: Dataset, predictor: Predictor, indices: Sequence[int], faint: float = 0.0
) -> Iterator[Case]:
    """A :class:`Case` for each index, not yet explained."""
    for start in range(0, len(indices), BATCH):
        wanted = list(indices[start : start + BATCH])
        batch = get_batch(dataset, wanted)
        prob, predicted = (array(maps) for maps in predictor(batch))
        for i, (index, quartet) in enumerate(zip(wanted, quartets_of(batch))):
            mask, depth, valid = (plane(quartet[key]) for key in ("mask", "depth", "valid"))
            yield Case(
                index, int(dataset.room_of(index)), int(dataset.cat_of(index)), quartet["bg"], quartet["bg_fg"], mask,
                plane(prob[i]), depth.astype(float), plane(predicted[i]).astype(float), valid.astype(bool), faint,
            )  # fmt: skip


def _choose(badness: np.ndarray, rooms: np.ndarray, count: int) -> list[int]:
    """Indices of the ``count`` worst, the worst first: one from each room, then, if there are too few rooms, more."""
    order = [int(i) for i in np.argsort(-badness, kind="stable") if badness[i] > 0]  # NaN is not
    firsts = set({rooms[i]: i for i in reversed(order)}.values())  # the worst of each room
    ranked = sorted(order, key=lambda i: i not in firsts)  # stable: those first, then the rest, each the worst first
    return sorted(ranked[:count], key=order.index)


def markdown(result: dict) -> str:
    """How many of the worst cases each cause explains, and how that was found out."""
    counts = Counter((case["task"], case["sentence"]) for case in result["cases"])
    rows = [(*cause, str(count)) for cause, count in counts.items()]
    table = markdown_table(("worst", "cause of most of the error", "cases"), rows, numbers_from=2)
    return (
        f"{table}\n\n{result['data'].capitalize()}, profile `{result['profile']}`: the worst of "
        f"{result['test_quartets']} test quartets at {result['size']} px, predicted by {result['network']}; "
        f"{result['date']}."
    )


def write(cases: Sequence[Case], about: dict[str, object]) -> dict:
    """Write ``failures.png`` and ``failures.json`` into ``runs/bench/``; the latter's content."""
    folder = runs_dir() / "bench"
    with whole_file(folder / "failures.png") as path:
        figure(cases).savefig(path, dpi=110)
    result = {"version": VERSION, **about, "cases": [{
        "task": task, "quartet": case.index, "room": case.room, "cat": case.cat, "dice": case.dice,
        "rmse": case.rmse if case.valid.any() else None, "cause": case.cause, "sentence": case.sentence,
        "score": case.score, "shares": {name: share for name, share in case.shares.items() if share > 0},
    } for task in CAUSES for case in by_cause(cases, task)]}  # fmt: skip
    write_json(folder / RESULT, result)
    return result


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    own, net = is_finished(run_dir(), our_recipe()), trained_network().to(device)
    test_set, predictor = sets()[1], network_predictor(net, net.depth_activation)
    cases = worst(test_set, lambda batch: predictor(to_device(batch, device)))
    if not cases:
        raise CourseError("Not one test quartet has an error, so there is nothing to show: use a larger test set.")
    result = write(cases, {
        "data": data_kind(), "profile": profile().name, "test_quartets": len(test_set), "size": test_set.size,
        "network": run_dir().name if own else "the weights that come with the course",
        "date": date.today().isoformat(),
    })  # fmt: skip
    print("\n".join(f"{case['score']}: {case['sentence']}" for case in result["cases"]))
    print(f"\n{markdown(result)}\n\nWritten: failures.png and {RESULT}.")


if __name__ == "__main__":
    with plain_errors():
        main()
