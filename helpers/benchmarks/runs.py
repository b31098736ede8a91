"""Trials: a network and a recipe, trained and scored under several seeds, each kept so that nothing is done twice.

:mod:`helpers.benchmarks.table` compares the course with others this way, on test scenes; :mod:`helpers.benchmarks.ablation` compares the
course's own choices, on a validation part of the training scenes. A trial that was interrupted goes on where it
stopped; one that is finished is read from ``score.json`` in its folder.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from torch import nn

from helpers.checkpoints import LAST, PREVIOUS
from helpers.dataset import CachedDataset
from helpers.evaluate import corrupted_mask_dice, network_predictor, score, test_batches
from helpers.memory import kept_memory
from helpers.model import count_parameters, forward_gflop, seeded
from helpers.recipes import LOSSES, Recipe
from helpers.train import train
from helpers.utils import machine, write_json

SCORE = "score.json"
FLOP_SIZE = 192  # pixels, at which operations are counted: the largest size of the published schedule


@dataclass(frozen=True)
class Trial:
    """What is trained: ``network`` makes it (torch's random state decides its weights), ``recipe`` trains it.

    ``start`` tells the weights of a network apart that has been trained before; nothing for one that has not.
    """

    title: str
    network: Callable[[], nn.Module]
    recipe: Recipe
    start: str = ""


def run(
    trial: Trial, train_set, test_set: CachedDataset, folder: Path, seed: int = 0, activations: Sequence[str] = (), progress: bool = True,
) -> dict:  # fmt: skip
    """Train and score, or go on with that, or read what an earlier call found.

    Args:
        activations: other ways to read the depth, each scored beside the recipe's own.

    Returns:
        JSON-ready: ``what`` was trained, on which ``machine`` and ``date``, its ``facts`` (parameters, operations,
        samples, seconds), ``scores`` by output activation, and ``spoilt``: mask Dice on pairs spoilt in one way at a time.

    Raises:
        CourseError: ``folder`` holds an unfinished run of something else; see :func:`helpers.train.train`.
    """
    recipe = dataclasses.replace(trial.recipe, seed=seed)
    net = seeded(trial.network, seed)
    what = {
        "network": type(net).__name__, "parameters": count_parameters(net), "recipe": dataclasses.asdict(recipe),
        "loss": repr(LOSSES[recipe.loss]()), "data": train_set.key(), "test": test_set.key(),
    }  # fmt: skip
    if trial.start:
        what["start"] = trial.start
    what = json.loads(json.dumps(what))  # as it is read again: a tuple is a list there
    wanted = [recipe.depth_activation, *activations]
    known = _read(folder / SCORE)
    if known and known["what"] == what and set(wanted) <= set(known["scores"]):
        return known
    gflop = forward_gflop(net, FLOP_SIZE)
    history = train(net, train_set, test_set, recipe, folder, progress)
    with kept_memory():
        scores = {activation: score(network_predictor(net, activation), test_set) for activation in wanted}
        spoilt = corrupted_mask_dice(network_predictor(net, recipe.depth_activation), list(test_batches(test_set)))
    result = {
        "what": what, "machine": machine(), "date": date.today().isoformat(),
        "facts": {"parameters": what["parameters"], "gflop": gflop,
                  **{key: history[-1][key] for key in ("samples", "seconds", "cpu_seconds")}},
        "scores": scores, "spoilt": spoilt,
    }  # fmt: skip
    write_json(folder / SCORE, result)
    for name in (LAST, PREVIOUS):  # a hundred megabytes, of which nobody has any more use
        (folder / name).unlink(missing_ok=True)
    return result


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None


# -- several seeds --------------------------------------------------------------------------------------------------


def run_seeds(
    trial: Trial, train_set, test_set: CachedDataset, folder: Path, seeds: Iterable[int], activations: Sequence[str] = (),
    progress: bool = True,
) -> list[dict]:  # fmt: skip
    """:func:`run` under each of ``seeds``, each in a folder of its own: ``folder``'s name with the seed behind it."""
    results = []
    for seed in seeds:
        print(f"{trial.title}, seed {seed}", flush=True)
        results.append(run(trial, train_set, test_set, folder.with_name(f"{folder.name}-{seed}"), seed, activations, progress))
    return results


def gather(results: Iterable[dict[str, float]]) -> dict[str, list[float]]:
    """One list for each key that every result has: one value a seed."""
    results = list(results)
    return {key: [result[key] for result in results] for key in results[0] if all(key in result for result in results)}


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def with_spread(values: Sequence[float], form: str) -> str:
    """``mean ± spread`` in the given form, such as "{:.3f}"; the mean alone of a single value."""
    mean = form.format(statistics.fmean(values))
    # No-break spaces: in a narrow cell a line ends elsewhere.
    return mean if len(values) < 2 else f"{mean}\u00a0±\u00a0{form.format(spread(values))}"


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Mean of ``ours`` minus mean of ``theirs``; 0 where it is no larger than the larger of the two spreads."""
    gap = statistics.fmean(ours) - statistics.fmean(theirs)
    return gap if abs(gap) > max(spread(ours), spread(theirs)) else 0.0
