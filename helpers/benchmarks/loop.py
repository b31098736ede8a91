"""How fast the training loop is: the published loop against the course's, lever by lever, on images in memory.

``python -m helpers.benchmarks.loop [--sizes 64 112 192] [--batch 32] [--steps 8]`` measures images a second of both
networks. The published loop is rebuilt as it was written (32 bits, SGD, its losses, and metrics fetched from the device
after every batch), with ready tensors in place of its JPEG loader, so that only the loop differs. The course's rows are
:func:`helpers.train.train` itself. Each row runs twice and the faster run counts: the rest is the machine being busy.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from helpers.benchmarks.summary import about, keep, machine, markdown_table, positive
from helpers.config import CourseError, plain_errors
from helpers.dataset import Quartet
from helpers.losses import PublishedLoss
from helpers.model import NETWORKS, STRIDE, build
from helpers.recipes import STAGES, Stage, make_optimizer, recipe
from helpers.train import train

_ADAMW = {"optimizer": "adamw", "learning_rate": 6e-3, "augment": None}
# Each row has the levers of the one above it, and one more. The last two are no levers but the cost of better training.
LEVERS = {
    "ours, 32 bits": {**_ADAMW, "precision": "fp32", "channels_last": False},
    "+ channels last": {**_ADAMW, "precision": "fp32", "channels_last": True},
    "+ 16 bits where they are faster": {**_ADAMW, "precision": "auto", "channels_last": True},
    "+ Muon": {"augment": None},
    "+ augmentation (the whole recipe)": {},
}
PUBLISHED = "published loop"
WHOLE = tuple(LEVERS)[-1]
RESULT = "bench/loop.json"  # in runs/


class InMemory(Dataset):
    """``count`` random quartets at ``size`` pixels on ``device``: what a loop costs when nobody waits for data."""

    def __init__(self, count: int, size: int, device: torch.device):
        generator = torch.Generator().manual_seed(0)
        shape = (count, 1, size, size)
        images = torch.randint(0, 256, (2, count, 3, size, size), dtype=torch.uint8, generator=generator)
        quartets: Quartet = {
            "bg": images[0], "bg_fg": images[1], "mask": (torch.rand(shape, generator=generator) > 0.9).float(),
            "depth": torch.rand(shape, generator=generator), "valid": torch.ones(shape, dtype=torch.bool),
            "near_far": torch.tensor([1.0, 5.0]).repeat(count, 1),
        }  # fmt: skip
        self.size, self.device = size, device
        self._quartets = {key: value.to(device) for key, value in quartets.items()}

    def __len__(self) -> int:
        return len(self._quartets["bg"])

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        rows = torch.as_tensor(indices, device=self.device)
        return {key: value[rows] for key, value in self._quartets.items()}


def published_loop(net: nn.Module, data: InMemory, stage: Stage) -> float:
    """Seconds of one epoch in the published loop; the epoch's batches stand ready as floats in [0, 1]."""
    optimizer, loss, sums = make_optimizer(net, recipe("published")), PublishedLoss(), [0.0] * 5
    batches = [data.get_batch(range(i, i + stage.batch)) for i in range(0, len(data), stage.batch)]
    batches = [{**batch, "bg": batch["bg"].float() / 255, "bg_fg": batch["bg_fg"].float() / 255} for batch in batches]
    net.train()
    started = time.monotonic()
    for batch in batches:
        optimizer.zero_grad()
        mask_logits, depth_logits = net(batch["bg"], batch["bg_fg"])
        total = loss(mask_logits, depth_logits, batch)["loss"]
        total.backward()
        optimizer.step()
        # As published: metrics of every batch, each one a number that the processor waits for.
        with torch.no_grad():
            mask, depth = mask_logits.sigmoid(), depth_logits.sigmoid()
            error, pairs = depth - batch["depth"], ((mask, batch["mask"]), (depth, batch["depth"]))
            dice = [(2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1) for a, b in pairs]
            numbers = total, *dice, error.abs().mean(), error.square().mean().sqrt()
            sums = [so_far + number.item() for so_far, number in zip(sums, numbers)]
    return time.monotonic() - started


def seconds(row: str, network: str, data: InMemory, stage: Stage) -> float:
    """Seconds of one epoch with a new network; in the course's loop, tests and checkpoints excluded."""
    net = build(network, 0).to(data.device)
    if row == PUBLISHED:
        return published_loop(net, data, stage)
    wanted = recipe("course", stages=(stage,), **LEVERS[row])
    with tempfile.TemporaryDirectory() as folder:
        return train(net, data, InMemory(2, data.size, data.device), wanted, Path(folder) / "run")[-1]["seconds"]


def measure(sizes: Sequence[int], batch: int, steps: int) -> dict:
    """Images a second of every row, network and size: JSON-ready, with what was run where."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: dict[str, dict[str, float]] = {row: {} for row in (PUBLISHED, *LEVERS)}
    for size in sizes:
        data, stage = InMemory(batch * steps, size, device), Stage(size, batch, 1)
        for network in NETWORKS:
            column = f"{network}, {size} px"
            for row, cells in rows.items():
                cells[column] = len(data) / min(seconds(row, network, data, stage) for _ in range(2))
                print(f"{column:24} {row:34} {cells[column]:8.1f} images/s", flush=True)
    return about(rows=rows, batch=batch, steps=steps, machine=machine())


def markdown(result: dict) -> str:
    """What the whole recipe is worth in time, in a sentence, the table of all levers, and how it was made."""
    rows, columns = result["rows"], list(result["rows"][PUBLISHED])
    published, whole = rows[PUBLISHED], rows[WHOLE]
    sizes = list(dict.fromkeys(column.split(", ")[1] for column in columns))
    gains = [
        f"{whole[f'DuoNet, {size}'] / published[f'DepthMaskNet, {size}']:.1f} times as many at {size}" for size in sizes
    ]
    for name in ("quick", "standard", "full"):
        stages = [(stage.epochs, f"{stage.size} px") for stage in STAGES[name]]
        if {size for _, size in stages} <= set(sizes):  # epochs over images a second: how long an image takes
            ours, theirs = (sum(epochs / row[f"{network}, {size}"] for epochs, size in stages)
                            for network, row in (("DuoNet", whole), ("DepthMaskNet", published)))  # fmt: skip
            gains.append(f"all stages of `{name}` take {ours / theirs:.2f} times as long")

    def cell(rate: float, column: str) -> str:
        return f"{rate:.1f} ({rate / published['DepthMaskNet, ' + column.split(', ')[1]]:.1f}×)"

    lines = [[name, *(cell(row[column], column) for column in columns)] for name, row in rows.items()]
    return "\n\n".join([
        "Images a second of the course's loop and recipe with DuoNet, against the published loop with its network: "
        f"{'; '.join(gains)}.", markdown_table(["images a second", *columns], lines, numbers_from=1),
        "Both loops on images that are in memory already; in brackets, times the published loop with its network. "
        f"Batches of {result['batch']}, {result['steps']} steps; {result['machine']}; {result['date']}.",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.loop", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=positive, nargs="+", help="multiples of 16; default the profile's")
    parser.add_argument("--batch", type=positive, default=32)
    parser.add_argument("--steps", type=positive, default=8)
    arguments = parser.parse_args()
    with plain_errors():
        sizes = arguments.sizes or sorted({stage.size for stage in recipe("course").stages})
        if wrong := [size for size in sizes if size < STRIDE or size % STRIDE]:
            raise CourseError(f"sizes {wrong}: choose multiples of {STRIDE}.")
        result = measure(sizes, arguments.batch, arguments.steps)
        keep(result, RESULT, markdown(result))


if __name__ == "__main__":
    main()
