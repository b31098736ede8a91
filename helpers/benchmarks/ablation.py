"""What each choice of the course is worth: one thing changed at a time, each under several seeds.

``python -m helpers.benchmarks.ablation [--seeds 3] [--choices NAME ...]`` trains the course's network and recipe, and each variant
of them, on one part of the training rooms and cats, and scores all on another part of them: choices are made here, so
no test scene may take part. ``COURSE_DATA`` says of which data: rates of fine-tuning are for photographs. Results go to
``runs/ablation/``; what is finished is not done again. A difference that is no larger than the spread over seeds is
called none.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

from torch import nn

from helpers.benchmarks import variants
from helpers.benchmarks.report import fill
from helpers.benchmarks.runs import Trial, difference, gather, run_seeds, with_spread
from helpers.checkpoints import fingerprint
from helpers.config import CourseError, data_words, plain_errors, profile, runs_dir
from helpers.dataset import CachedDataset, cached, sample, split
from helpers.losses import CourseLoss
from helpers.model import DuoNet
from helpers.predict import pretrained
from helpers.recipes import LOSSES, Stage, recipe
from helpers.session import run_dir, source
from helpers.utils import write_json

VALIDATION = 0.2  # share of the training rooms, and of the training cats, that is held out here
SPLIT_SEED = 1
BASE = "course"
STAGES = (Stage(32, 32, 1), Stage(48, 32, 1))  # shorter and smaller than a course's run: there are many of them
COLUMNS = {
    "mask_dice": ("mask Dice", "{:.3f}"), "perturbed_mask_dice": ("Dice, perturbed", "{:.3f}"),
    "depth_rmse": ("depth RMSE", "{:.4f}"), "grid": ("grid index", "{:.3f}"),
}  # fmt: skip

LOSSES.update({
    "depth L1 alone": lambda: variants.Weighted(depth_ssim=0, depth_gradient=0),
    "mask BCE alone": lambda: variants.Weighted(mask_dice=0),
    "structure once": lambda: CourseLoss(structure_weight=1),
    "equal weights": lambda: CourseLoss(depth_weight=1),
    "uncertainty": variants.Uncertain,
})  # fmt: skip


def _in_batches(size: int) -> tuple[Stage, ...]:
    return tuple(dataclasses.replace(stage, batch=size) for stage in STAGES)


def _augmented(**changes: float) -> dict:
    """What a recipe changes to have the course's augmentation but for these arguments."""
    return {"augment": {**recipe("course").augment, **changes}}


def _largest_only() -> tuple[Stage, ...]:
    """The same number of samples, all of them at the size of the last stage."""
    return (dataclasses.replace(STAGES[-1], epochs=sum(stage.epochs for stage in STAGES)),)


class Choice(NamedTuple):
    """One change: what it is about, what is done instead, and the network or the fields of the recipe that do it."""

    about: str
    instead: str
    network: Callable[[], nn.Module] = DuoNet
    changes: dict = {}


CHOICES = {
    BASE: Choice("", "nothing: the course as it is"),
    "no-skips": Choice("skips", "none", variants.NoSkips),
    "room": Choice("difference", "the room itself", variants.Stacked),
    "no-room": Choice("room", "only the scene and the difference", variants.NoRoom),
    "signed": Choice("difference", "with its sign", variants.Signed),
    "no-context": Choice("context", "none", variants.NoContext),
    "attention": Choice("context", "self-attention over the smallest map", variants.Attentive),
    "group-norm": Choice("normalisation", "groups of 8 channels of an image", variants.GroupNormed),
    "nearest": Choice("upsampling", "nearest neighbour", variants.Nearest),
    "closer-look": Choice("full resolution", "two convolutions in the stem and in each head", variants.CloserLook),
    "narrower": Choice("widths", "40, 80, 160, 256, and one block at 1/4", variants.Narrower),
    "narrow-heads": Choice("heads", "8 channels instead of 16", variants.NarrowHeads),
    "two-decoders": Choice("heads", "a decoder for each", variants.TwoDecoders),
    "depth-l1": Choice("losses", "depth: L1 alone", changes={"loss": "depth L1 alone"}),
    "structure": Choice("losses", "depth: structure counts once", changes={"loss": "structure once"}),
    "mask-bce": Choice("losses", "mask: BCE alone", changes={"loss": "mask BCE alone"}),
    "equal": Choice("weights of the tasks", "the same for both", changes={"loss": "equal weights"}),
    "uncertainty": Choice("weights of the tasks", "by uncertainty", changes={"loss": "uncertainty"}),
    "perfect-pairs": Choice("augmentation", "no pair is perturbed", changes=_augmented(perturbed=0.0)),
    "perturbed": Choice("augmentation", "two pairs of three are perturbed", changes=_augmented(perturbed=0.67)),
    "no-crop": Choice("augmentation", "no crop", changes=_augmented(crop=0.0)),
    "crop-all": Choice("augmentation", "every quartet is cropped", changes=_augmented(cropped=1.0)),
    "colour": Choice("augmentation", "colours change by up to a quarter", changes=_augmented(colour=0.25)),
    "plain": Choice("augmentation", "none", changes={"augment": None}),
    "sgd": Choice("optimizer", "SGD, momentum 0.9, learning rate 0.1", changes={"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-4}),
    "adamw": Choice("optimizer", "AdamW, learning rate 6e-3", changes={"optimizer": "adamw", "learning_rate": 6e-3}),
    "batch-16": Choice("batches", "of 16, learning rate 4e-3", changes={"stages": _in_batches(16), "learning_rate": 4e-3}),
    "one-size": Choice("stages", "the largest size only", changes={"stages": _largest_only()}),
    "fine-tune": Choice("start", "the weights that come with the course, fine-tuned", pretrained, {"learning_rate": recipe("fine-tune").learning_rate}),
    "fine-tune-fast": Choice("start", "the same at the course's learning rate", pretrained),
    "fine-tune-slow": Choice("start", "the same at a learning rate of 1.3e-3", pretrained, {"learning_rate": 1.3e-3}),
}  # fmt: skip


def validation_sets() -> tuple[CachedDataset, CachedDataset]:
    """``fit, validation``: two parts of the training scenes, with no room and no cat in both."""
    p = profile()
    train_part, _ = split(source())
    fit, validation = split(train_part, VALIDATION, SPLIT_SEED)
    return cached(sample(fit, p.train_samples)), cached(sample(validation, p.test_samples))


def table(seeds: Sequence[int] = (0, 1, 2), choices: Sequence[str] = tuple(CHOICES), progress: bool = True) -> dict:
    """Train and score the course as it is, and each of ``choices``: JSON-ready, one value a seed."""
    if unknown := set(choices) - set(CHOICES):
        raise CourseError(f"There is no choice {', '.join(sorted(unknown))}: choose from {', '.join(CHOICES)}.")
    sets, rows, machines = validation_sets(), {}, set()
    for name in (name for name in CHOICES if name == BASE or name in choices):
        choice = CHOICES[name]
        before = fingerprint(pretrained().state_dict()) if choice.network is pretrained else ""
        trial = Trial(name, choice.network, recipe("course", **{"stages": STAGES, **choice.changes}), before)
        results = run_seeds(trial, *sets, runs_dir() / "ablation" / run_dir(name).name, seeds, progress=progress)
        machines |= {result["machine"] for result in results}
        rows[name] = {
            "scores": gather(result["scores"]["sigmoid"] for result in results),
            "facts": gather(result["facts"] for result in results),
        }
    return {
        "data": data_words(), "seeds": list(seeds), "size": STAGES[-1].size, "train_quartets": len(sets[0]),
        "validation_quartets": len(sets[1]), "machine": "; ".join(sorted(machines)), "date": date.today().isoformat(), "rows": rows,
    }  # fmt: skip


def markdown(result: dict) -> str:
    """A line for each choice: what it scores, and by how much it differs from the course, if by more than the spread."""
    base, count = result["rows"][BASE]["scores"], len(result["seeds"])
    titles = [title for title, _ in COLUMNS.values()]
    lines = ["| changed | instead | " + " | ".join(titles) + " | parameters (M) | GFLOP | training (s) |", "|---" * (5 + len(titles)) + "|"]
    for name, row in result["rows"].items():
        cells = [_cell(row["scores"][key], None if name == BASE else base[key], form) for key, (_, form) in COLUMNS.items()]
        facts = {key: statistics.fmean(values) for key, values in row["facts"].items()}
        size = f"{facts['parameters'] / 1e6:.2f} | {facts['gflop']:.1f} | {facts['seconds']:.0f}"
        lines.append(f"| {CHOICES[name].about} | {CHOICES[name].instead} | " + " | ".join(cells) + f" | {size} |")
    return "\n".join([
        *lines, "",
        f"In brackets what changes, and = where that is no more than the spread over {count} seeds. "
        f"{result['data'][0].upper()}{result['data'][1:]}: {result['train_quartets']} quartets to learn from and "
        f"{result['validation_quartets']} to choose by, all from the training side, at {result['size']} px; "
        f"{result['machine']}; {result['date']}.",
    ])  # fmt: skip


def _cell(values: Sequence[float], base: Sequence[float] | None, form: str) -> str:
    text = with_spread(values, form)
    if base is None:
        return text
    gap = difference(values, base)
    return f"{text} ({form.replace(':', ':+').format(gap) if gap else '='})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--readme", action="store_true", help="write the table into README.md, too")
    arguments = parser.parse_args()
    with plain_errors():
        result = table(range(arguments.seeds), arguments.choices)
        name = f"{run_dir('table').name}.json"
        write_json(runs_dir() / "ablation" / name, result)
        print(f"\n{markdown(result)}\n\nStored as runs/ablation/{name}.")
        if arguments.readme:
            fill("ablation", markdown(result))


if __name__ == "__main__":
    main()
