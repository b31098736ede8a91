"""What each choice of the course is worth: one thing changed at a time, each under several seeds.

``python -m helpers.benchmarks.ablation [--seeds 3] [--choices NAME ...]`` trains the course's network and recipe, and
each variant of them, on one part of the training rooms and cats, and scores all on another part of them: choices are
made here, so no test scene may take part. ``COURSE_DATA`` names the data: rates of fine-tuning are for photographs.
Results go to ``runs/ablation/``, and finished runs are not repeated. A difference that is no larger than the spread
over seeds counts as none.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

from helpers.benchmarks import variants
from helpers.benchmarks.runs import Experiment, run_seeds
from helpers.benchmarks.summary import about, difference, keep, markdown_table, need_data, positive, with_spread
from helpers.config import plain_errors, profile, runs_dir
from helpers.dataset import CachedDataset, cached, sample, split
from helpers.losses import CourseLoss
from helpers.model import DuoNet
from helpers.predict import pretrained
from helpers.recipes import RECIPES, Stage, recipe
from helpers.session import run_dir, source

BASE = "course"
STAGES = (Stage(32, 32, 1), Stage(48, 32, 1))  # shorter and smaller than a course's run: there are many of them
COLUMNS = {
    "mask_dice": ("mask Dice", "{:.3f}"), "perturbed_mask_dice": ("Dice, perturbed", "{:.3f}"),
    "depth_rmse": ("depth RMSE", "{:.4f}"), "grid": ("grid index", "{:.3f}"),
}  # fmt: skip


class Choice(NamedTuple):
    """One change: what it is about, what is done instead, and the network, loss or fields of the recipe that do it."""

    about: str
    instead: str
    network: Callable[[], nn.Module] = DuoNet
    loss: nn.Module | None = None
    changes: dict = {}


def _augmentation(instead: str, **changes: float) -> Choice:
    return Choice("augmentation", instead, changes={"augment": {**RECIPES["course"].augment, **changes}})


LARGEST_SIZE_ONLY = (dataclasses.replace(STAGES[-1], epochs=sum(stage.epochs for stage in STAGES)),)  # as many samples

CHOICES = {
    BASE: Choice("", "nothing: the course as it is"),
    "no-skips": Choice("skips", "none", variants.NoSkips),
    "room": Choice("difference", "the room itself", variants.Stacked),
    "no-room": Choice("room", "only the scene and the difference", variants.NoRoom),
    "no-context": Choice("context", "none", variants.NoContext),
    "attention": Choice("context", "self-attention over the smallest map", variants.Attentive),
    "group-norm": Choice("normalisation", "groups of 8 channels of an image", variants.GroupNormed),
    "nearest": Choice("upsampling", "nearest neighbour", variants.Nearest),
    "full-size": Choice("full resolution", "two convolutions in the stem and in each head", variants.MoreAtFullSize),
    "narrower": Choice("widths", "40, 80, 160, 256, and one block at 1/4", variants.Narrower),
    "two-decoders": Choice("heads", "a decoder for each", variants.TwoDecoders),
    "depth-l1": Choice("losses", "depth: L1 alone", loss=variants.Weighted(depth_ssim=0, depth_gradient=0)),
    "structure": Choice("losses", "depth: structure counts once", loss=CourseLoss(structure_weight=1)),
    "mask-bce": Choice("losses", "mask: BCE alone", loss=variants.Weighted(mask_dice=0)),
    "equal": Choice("weights of the tasks", "the same for both", loss=CourseLoss(depth_weight=1)),
    "uncertainty": Choice("weights of the tasks", "by uncertainty", loss=variants.Uncertain()),
    "perfect-pairs": _augmentation("no pair is perturbed", perturbed=0.0),
    "perturbed": _augmentation("two pairs of three are perturbed", perturbed=0.67),
    "no-crop": _augmentation("no crop", crop=0.0),
    "crop-all": _augmentation("every quartet is cropped", cropped=1.0),
    "colour": _augmentation("colours change by up to a quarter", colour=0.25),
    "plain": Choice("augmentation", "none", changes={"augment": None}),
    "sgd": Choice("optimizer", "SGD, momentum 0.9, learning rate 0.1",
                  changes={"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-4}),
    "adamw": Choice("optimizer", "AdamW, learning rate 6e-3", changes={"optimizer": "adamw", "learning_rate": 6e-3}),
    "one-size": Choice("stages", "the largest size only", changes={"stages": LARGEST_SIZE_ONLY}),
    "fine-tune": Choice("start", "the weights that come with the course, fine-tuned", pretrained,
                        changes={"learning_rate": RECIPES["fine-tune"].learning_rate}),
    "fine-tune-fast": Choice("start", "the same at the course's learning rate", pretrained),
    "fine-tune-slow": Choice("start", "the same at a learning rate of 1.3e-3", pretrained,
                             changes={"learning_rate": 1.3e-3}),
}  # fmt: skip


def validation_sets() -> tuple[CachedDataset, CachedDataset]:
    """``fit, validation``: two parts of the training scenes, with no room and no cat in both."""
    p = profile()
    train_part, _ = split(source())
    fit, validation = split(train_part, 0.2, seed=1)  # of the training rooms, and of the training cats, a fifth
    return cached(sample(fit, p.train_samples)), cached(sample(validation, p.test_samples))


def ablate(seeds: Sequence[int], choices: Sequence[str]) -> dict:
    """Train and score the course as it is, and each of ``choices``: JSON-ready, one value a seed."""
    (fit, validation), rows, machines = validation_sets(), {}, set()
    for name in (name for name in CHOICES if name == BASE or name in choices):
        choice = CHOICES[name]
        changed = recipe("course", **{"stages": STAGES, **choice.changes})
        experiment = Experiment(name, choice.network, changed, choice.loss)
        found = run_seeds(experiment, fit, validation, validation, runs_dir() / "ablation" / run_dir(name).name, seeds)
        machines |= found["machines"]
        rows[name] = {"scores": found["scores"]["sigmoid"], "facts": found["facts"]}
    return about(
        seeds=list(seeds), size=STAGES[-1].size, train_quartets=len(fit), validation_quartets=len(validation),
        machine="; ".join(sorted(machines)), rows=rows,
    )  # fmt: skip


def markdown(result: dict) -> str:
    """A line for each choice: its scores, and what changes against the course's, if more than the spread."""
    lines = []
    for name, row in ((name, row) for name, row in result["rows"].items() if name in CHOICES):  # one may have gone
        base = {} if name == BASE else result["rows"][BASE]["scores"]
        cells = [_cell(row["scores"][key], base.get(key), form) for key, (_, form) in COLUMNS.items()]
        facts = {key: statistics.fmean(values) for key, values in row["facts"].items()}
        cost = [f"{facts['parameters'] / 1e6:.2f}", f"{facts['gflop']:.1f}", f"{facts['seconds']:.0f}"]
        lines.append([CHOICES[name].about, CHOICES[name].instead, *cells, *cost])
    titles = [title for title, _ in COLUMNS.values()]
    table = markdown_table(["changed", "instead", *titles, "parameters (M)", "GFLOP", "training (s)"], lines)
    return (
        f"{table}\n\nIn brackets what changes, and = where that is no more than the spread over "
        f"{len(result['seeds'])} seeds. {result['data'].capitalize()}, profile `{result['profile']}`: "
        f"{result['train_quartets']} quartets to train on and {result['validation_quartets']} for validation, all from "
        f"the training set, at {result['size']} px; {result['machine']}; {result['date']}."
    )


def _cell(values: Sequence[float], base: Sequence[float] | None, form: str) -> str:
    text = with_spread(values, form)
    if base is None:
        return text
    gap = difference(values, base)
    return f"{text} ({form.replace(':', ':+').format(gap) if gap else '='})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=positive, default=3, help="how many, from 0 on")
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=CHOICES)
    arguments = parser.parse_args()
    with plain_errors():
        need_data()
        result = ablate(range(arguments.seeds), arguments.choices)
        kind = "table" if set(arguments.choices) == set(CHOICES) else "part"  # which the results page leaves out
        keep(result, f"ablation/{run_dir(kind).name}.json", markdown(result))


if __name__ == "__main__":
    main()
