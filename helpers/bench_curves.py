"""How fast each recipe learns: scores on rooms that were held out, by samples and by seconds of training.

``python -m helpers.bench_curves [--size 112] [--samples 8000]`` trains the published recipe, the course's, and the
course's without small images first, each on as many samples, and asks each at the same moments about the same unseen
rooms and cats at ``--size`` pixels. It prints after how many samples and seconds each first reached each score, and
leaves the curves in ``runs/bench/curves/``. What was not reached is not guessed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.utils.data import Dataset

from helpers import plots
from helpers.config import plain_errors, runs_dir
from helpers.files import whole_file, write_json
from helpers.frames import Camera
from helpers.lessons import table
from helpers.measured import device
from helpers.model import build
from helpers.quartets import sample, split, store
from helpers.recipes import Recipe, Stage, recipe
from helpers.rooms import RoomsDataset
from helpers.train import evaluate, train

BATCH = 32
TEST_SAMPLES = 200
EVERY = 4  # of the moments of the time travel one in so many is tested, the last one always: a test takes time
TARGETS = {"mask_dice": (0.80, 0.85, 0.90, 0.95, 0.97), "depth_rmse": (0.14, 0.12, 0.10, 0.08, 0.06)}


class Watcher(Camera):
    """In place of pictures for the time travel: scores on a whole test set at one size, and the seconds between them."""

    def __init__(self, rows: list[dict], test_set: Dataset, *place):
        super().__init__(*place)
        self._rows, self._test_set = rows, test_set
        self._due = self._due[::-EVERY]
        self._seconds, self._resumed = 0.0, time.monotonic()

    def take(self, net: nn.Module, dataset: Dataset, samples: int, stage: int, size: int, depth_readout: str) -> None:
        self._seconds += time.monotonic() - self._resumed
        scores = evaluate(net, self._test_set, depth_readout=depth_readout)
        row = {"samples": samples, "seconds": self._seconds, "size": size}
        self._rows.append(row | {f"test_{key}": scores[key] for key in TARGETS})
        self._resumed = time.monotonic()

    def save(self) -> None:
        """Nothing: the rows are handed over."""


def runs(size: int, samples: int) -> dict[str, tuple[str, Recipe]]:
    """What is compared: network and recipe by name. In stages, half of the samples are seen at 4/7 of ``size``."""
    small = round(size * 4 / 7 / 16) * 16  # 64 at 112, as published
    staged, alone = (Stage(small, BATCH, 1), Stage(size, BATCH, 1)), (Stage(size, BATCH, 2),)
    return {
        f"published, {small} then {size} px": ("DepthMaskNet", recipe("published", stages=staged)),
        f"course, {small} then {size} px": ("DuoNet", recipe("course", stages=staged)),
        f"course, {size} px only": ("DuoNet", recipe("course", stages=alone)),
    }


def watch(network: str, wanted: Recipe, train_set: Dataset, test_set: Dataset) -> list[dict]:
    """The rows of one training run: samples, seconds without the tests, and scores on ``test_set`` as it is."""
    rows: list[dict] = []
    few = sample(test_set, 2)  # what the loop itself tests after each epoch
    with tempfile.TemporaryDirectory() as folder, mock.patch("helpers.train.Camera", partial(Watcher, rows, test_set)):
        train(build(network, wanted.seed), train_set, few, wanted, Path(folder) / "run")
    return rows


def reached(curves: Mapping[str, Sequence[Mapping]]) -> dict[str, dict[str, float]]:
    """For each score, samples and seconds at which each run first had it; NaN where it never had."""
    lines = {}
    for key, levels in TARGETS.items():
        for level in levels:
            good = (lambda value: value >= level) if key == "mask_dice" else (lambda value: value <= level)
            line = lines[f"{key.replace('_', ' ')} {level:.2f}"] = {}
            for name, rows in curves.items():
                first = next((row for row in rows if good(row[f"test_{key}"])), {})
                line |= {f"{name}: {unit}": first.get(unit, float("nan")) for unit in ("samples", "seconds")}
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.bench_curves", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112, help="image side at which it is tested, a multiple of 16")
    parser.add_argument("--samples", type=int, default=8_000, help="training samples that each run sees")
    arguments = parser.parse_args()
    with plain_errors():
        train_part, test_part = split(RoomsDataset(arguments.size, rooms=400, placements=2))
        train_set = store(sample(train_part, arguments.samples // 2))
        test_set = store(sample(test_part, TEST_SAMPLES))
        curves = {name: watch(*what, train_set, test_set) for name, what in runs(arguments.size, arguments.samples).items()}
        facts = {"size": arguments.size, "samples": arguments.samples, "train_quartets": len(train_set), "seed": 0,
                 "test_quartets": len(test_set), "machine": device(), "torch": torch.__version__, "date": date.today().isoformat()}  # fmt: skip
        folder = runs_dir() / "bench" / "curves"
        write_json(folder / f"{arguments.size}px.json", facts | {"curves": curves})
        for unit in ("samples", "seconds"):
            with whole_file(folder / f"{arguments.size}px-{unit}.png") as path:
                plots.training_curves(curves, x=unit).savefig(path, dpi=110)
    print("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    print(f"\nFirst reached\n{table(reached(curves), digits=0)}")
    last = {name: {key: rows[-1][f"test_{key}"] for key in TARGETS} | {"seconds": rows[-1]["seconds"]} for name, rows in curves.items()}
    print(f"\nIn the end\n{table(last)}")


if __name__ == "__main__":
    main()
