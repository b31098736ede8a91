"""Experiments: a network and a recipe, trained and scored under several seeds, each kept so that nothing is done twice.

An experiment that was interrupted resumes from its checkpoint; one that is finished is read from ``score.json`` in its
folder, if it is of exactly the same thing.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from helpers.benchmarks.summary import VERSION, gather, machine
from helpers.callbacks import ProgressBar
from helpers.checkpoints import LAST, PREVIOUS
from helpers.dataset import CachedDataset
from helpers.demos.checkerboard import grid_index
from helpers.demos.corruptions import corrupted_mask_dice
from helpers.evaluate import Predictor, network_predictor, test_batches
from helpers.metrics import Meter
from helpers.model import count_parameters, forward_gflop, seeded
from helpers.predict import WEIGHTS, pretrained
from helpers.recipes import LOSSES, Recipe
from helpers.train import train
from helpers.utils import sha256_of, write_json

SCORE = "score.json"
ABOUT_MASK = ("mask", "boundary")  # what the names of mask metrics begin with; all others are about depth
FLOP_SIZE = 192  # pixels, at which operations are counted: the largest size of the published schedule


@dataclass(frozen=True)
class Experiment:
    """What is trained: ``network`` makes it (torch's random state decides its weights), ``recipe`` trains it, with
    ``loss`` in place of its own where there is one."""

    title: str
    network: Callable[[], nn.Module]
    recipe: Recipe
    loss: nn.Module | None = None


def run(experiment: Experiment, train_set: Dataset, validation_set: Dataset, test_set: CachedDataset, folder: Path,
        seed: int = 0) -> dict:  # fmt: skip
    """Train on the first set, watch on the second, score the third; or resume, or read what an earlier call found.

    JSON-ready: ``what`` was trained, on which ``machine`` and ``date``, its ``facts`` (parameters, operations, samples,
    seconds), ``scores`` with the recipe's output activation for depth and with ``"sigmoid"``, and ``corrupted``: mask
    Dice on corrupted pairs.
    """
    recipe = dataclasses.replace(experiment.recipe, seed=seed)
    net = seeded(experiment.network, seed)
    what = {
        "version": VERSION, "network": type(net).__name__, "parameters": count_parameters(net),
        "recipe": dataclasses.asdict(recipe), "loss": repr(experiment.loss or LOSSES[recipe.loss]()),
        "start": sha256_of(WEIGHTS["rooms"]) if experiment.network is pretrained else "",
        "data": train_set.key(), "test": test_set.key(),
    }  # fmt: skip
    what = json.loads(json.dumps(what))  # as it is read again: a tuple is a list there
    try:
        known = json.loads((folder / SCORE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):  # there is none, or it is damaged
        known = {}
    if known.get("what") == what:
        return known
    if known:
        print(f"{folder.name}/{SCORE} is of another experiment or another version of the course: training anew.")
    gflop = forward_gflop(net, FLOP_SIZE)
    history = train(net, train_set, validation_set, recipe, folder, callbacks=[ProgressBar()], loss=experiment.loss)
    predictors = {name: network_predictor(net, name) for name in (recipe.depth_activation, "sigmoid")}
    result = {
        "what": what, "machine": machine(), "date": date.today().isoformat(),
        "facts": {"parameters": what["parameters"], "gflop": gflop,
                  **{key: history[-1][key] for key in ("samples", "seconds", "cpu_seconds")}},
        "scores": {activation: score(predictor, test_set) for activation, predictor in predictors.items()},
        "corrupted": corrupted_mask_dice(predictors[recipe.depth_activation], list(test_batches(test_set))),
    }  # fmt: skip
    write_json(folder / SCORE, result)
    for name in (LAST, PREVIOUS):  # a hundred megabytes that only an unfinished run needs
        (folder / name).unlink(missing_ok=True)
    return result


def run_seeds(experiment: Experiment, train_set: Dataset, validation_set: Dataset, test_set: CachedDataset,
              folder: Path, seeds: Iterable[int]) -> dict:  # fmt: skip
    """:func:`run` under each of ``seeds``, in ``folder-SEED``: the results, one value a seed, and ``machines``."""
    results = []
    for seed in seeds:
        print(f"{experiment.title}, seed {seed}", flush=True)
        place = folder.with_name(f"{folder.name}-{seed}")
        results.append(run(experiment, train_set, validation_set, test_set, place, seed))
    return {
        "facts": gather(result["facts"] for result in results),
        "scores": {name: gather(result["scores"][name] for result in results) for name in results[0]["scores"]},
        "corrupted": gather(by_level(result["corrupted"]) for result in results),
        "machines": {result["machine"] for result in results},
    }


def by_level(corrupted: dict[str, list[float]]) -> dict[str, float]:
    """Scores by kind and level in one dict: "noise 0" for the first level of noise."""
    return {f"{kind} {i}": value for kind, values in corrupted.items() for i, value in enumerate(values)}


def score(predict: Predictor, test_set: CachedDataset, seed: int = 0) -> dict[str, float]:
    """Every metric of ``predict(batch) -> mask_prob or None, depth or None``, clean and on perturbed pairs.

    Returns:
        the keys of :class:`helpers.metrics.Meter` for what is predicted, and ``grid``, the checkerboard in the depth
        maps; each a second time with ``perturbed_`` before it.
    """
    result = {}
    for prefix, perturbed in (("", False), ("perturbed_", True)):
        meter, has_mask, maps = Meter(), True, []
        for batch in test_batches(test_set, perturbed=perturbed, seed=seed):
            mask, depth = predict(batch)
            nothing = torch.zeros_like(batch["mask"])
            meter.update(nothing if mask is None else mask, nothing if depth is None else depth, batch)
            has_mask = mask is not None
            if depth is not None:
                maps.append(depth[:, 0].cpu())
        for name, value in meter.result().items():
            if name == "images" or (has_mask if name.startswith(ABOUT_MASK) else maps):
                result[prefix + name] = value
        if maps:
            result[f"{prefix}grid"] = grid_index(torch.cat(maps))
    return result
