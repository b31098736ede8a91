"""How fast the training loop is: the published loop against the course's, lever by lever, on the same ready pictures.

``python -m helpers.bench_loop [--sizes 64 112 192] [--batch 32] [--steps 8]`` prints images a second of both networks.
The published loop is rebuilt as it was written (32 bits, SGD, its losses, and metrics fetched from the device after
every batch), with its JPEG loader replaced by ready tensors, so that only the loop differs. The course's rows are
:func:`helpers.train.train` itself, with one lever after the other. Each row is run twice and the faster one counts:
the rest is the machine being busy. ``DuoNet`` stands beside the published network at every lever. With
``--tensorboard`` it prints instead which share of the training TensorBoard takes: the time inside its calls.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.config import CourseError, runs_dir
from helpers.files import write_json
from helpers.lessons import table
from helpers.model import NETWORKS, build, forward_gflop
from helpers.quartets import Quartet
from helpers.recipes import LOSSES, Recipe, Stage, recipe
from helpers.train import make_optimizer, train

REPEATS = 2
# Each row has the levers of the one above it, and one more.
LEVERS: dict[str, dict] = {
    "ours, 32 bits": {"precision": "fp32", "channels_last": False, "augment": None},
    "+ channels last": {"precision": "fp32", "channels_last": True, "augment": None},
    "+ 16 bits where they are faster": {"precision": "auto", "channels_last": True, "augment": None},
    "+ augmentation (the whole recipe)": {"precision": "auto", "channels_last": True},
}
PUBLISHED = "published loop"


class Ready(Dataset):
    """Random quartets that are in memory already: what a loop costs when nobody waits for data."""

    def __init__(self, count: int, size: int, device: torch.device):
        generator = torch.Generator().manual_seed(0)
        self.size = size
        self._batch: Quartet = {
            key: torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator).to(device)
            for key in ("bg", "bg_fg")
        }
        ones = torch.ones(count, 1, size, size, dtype=torch.bool)
        self._batch |= {
            "mask": (torch.rand(ones.shape, generator=generator) > 0.9).float().to(device),
            "depth": torch.rand(ones.shape, generator=generator).to(device),
            "valid": ones.to(device),
            "near_far": torch.tensor([1.0, 5.0]).expand(count, 2).clone().to(device),
        }

    def __len__(self) -> int:
        return len(self._batch["bg"])

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        rows = torch.as_tensor(indices, device=self._batch["bg"].device)
        return {key: value[rows] for key, value in self._batch.items()}


def published_loop(net: nn.Module, data: Ready, stage: Stage) -> float:
    """Seconds of one epoch in the published loop; the epoch's batches stand ready as normalised floats."""
    wanted = recipe("published")
    optimizer, loss = make_optimizer(net, wanted), LOSSES[wanted.loss]()
    batches = [data.get_batch(range(i, i + stage.batch)) for i in range(0, len(data), stage.batch)]
    ready = [{**batch, "bg": batch["bg"].float() / 255, "bg_fg": batch["bg_fg"].float() / 255} for batch in batches]
    net.train()
    started = time.monotonic()
    sums = [0.0] * 5
    for batch in ready:
        optimizer.zero_grad()
        mask_logits, depth_logits = net(batch["bg"], batch["bg_fg"])
        total = loss(mask_logits, depth_logits, batch)["loss"]
        total.backward()
        optimizer.step()
        # As published: metrics of every batch, each one a number that the processor waits for.
        with torch.no_grad():
            mask, depth = mask_logits.sigmoid(), depth_logits.sigmoid()
            error = depth - batch["depth"]
            numbers = (total, _dice(mask, batch["mask"]), _dice(depth, batch["depth"]), error.abs().mean(),
                       error.square().mean().sqrt())  # fmt: skip
            sums = [so_far + number.item() for so_far, number in zip(sums, numbers)]
    return time.monotonic() - started


def _dice(prediction: Tensor, truth: Tensor) -> Tensor:
    return (2 * (prediction * truth).sum() + 1) / (prediction.sum() + truth.sum() + 1)


def our_loop(net: nn.Module, data: Ready, wanted: Recipe) -> float:
    """Seconds of one epoch in :func:`helpers.train.train`, its tests and checkpoints excluded."""
    with tempfile.TemporaryDirectory() as folder:
        few = Ready(2, data.size, data.get_batch([0])["bg"].device)
        return train(net, data, few, wanted, Path(folder) / "run", progress=False)[-1]["seconds"]


def seconds(row: str, network: str, data: Ready, stage: Stage, device: torch.device) -> float:
    """Seconds of one epoch with a new network."""
    net = build(network, 0).to(device)
    if row == PUBLISHED:
        return published_loop(net, data, stage)
    return our_loop(net, data, dataclasses.replace(recipe("course", **LEVERS[row]), stages=(stage,)))


def measure(sizes: Sequence[int], batch: int, steps: int, say=print) -> dict:
    """Images a second of every row, network and size: JSON-ready, with what was run where."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: dict[str, dict[str, float]] = {row: {} for row in (PUBLISHED, *LEVERS)}
    for size in sizes:
        data, stage = Ready(batch * steps, size, device), Stage(size, batch, 1)
        for network in NETWORKS:
            column = f"{network}, {size} px"
            for row, cells in rows.items():
                cells[column] = len(data) / min(seconds(row, network, data, stage, device) for _ in range(REPEATS))
                say(f"{column:24} {row:34} {cells[column]:8.1f} images/s")
    return {
        "rows": rows, "batch": batch, "steps": steps, "torch": torch.__version__, "date": date.today().isoformat(),
        "gflop_forward": {f"{name}, {size} px": forward_gflop(build(name), size) for name in NETWORKS for size in sizes},
        "machine": torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads",
    }  # fmt: skip


def tensorboard_share(size: int, batch: int, steps: int) -> dict[str, float]:
    """Seconds of a training run with the course's recipe, its test included, and of these inside TensorBoard's calls."""
    from torch.utils import tensorboard

    writer, inside = tensorboard.SummaryWriter, 0.0

    class Timed(writer):
        """Adds up what the loop waits for."""

    def timed(name: str):
        def call(self, *args, **kwargs):
            nonlocal inside
            started = time.monotonic()
            getattr(writer, name)(self, *args, **kwargs)
            inside += time.monotonic() - started

        return call

    for name in ("add_scalar", "add_image", "close"):
        setattr(Timed, name, timed(name))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data, few = Ready(batch * steps, size, device), Ready(batch, size, device)
    wanted = recipe("course", stages=(Stage(size, batch, 1),))
    with mock.patch.object(tensorboard, "SummaryWriter", Timed), tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        train(build("DuoNet", 0).to(device), data, few, wanted, Path(folder) / "run", progress=False)
        whole = time.monotonic() - started
    return {"seconds": whole, "tensorboard_seconds": inside, "share": inside / whole}


def summary(result: dict) -> str:
    """The table, and below it how much faster than the published loop with the published network each cell is."""
    rows = result["rows"]
    published = {column.split(", ")[1]: rate for column, rate in rows[PUBLISHED].items() if column.startswith("DepthMaskNet")}
    ratios = {row: {column: rate / published[column.split(", ")[1]] for column, rate in cells.items()} for row, cells in rows.items()}
    made = (
        f"Images a second; batches of {result['batch']}, {result['steps']} steps, {result['machine']}, "
        f"torch {result['torch']}, {result['date']}"
    )
    return "\n".join([
        made, table(rows, digits=1), "", "Times the published loop with the published network", table(ratios, digits=2),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.bench_loop", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 112, 192], help="image sides, multiples of 16")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tensorboard", action="store_true", help="measure TensorBoard's share instead")
    arguments = parser.parse_args()
    try:
        if arguments.tensorboard:
            for size in arguments.sizes:
                shown = tensorboard_share(size, arguments.batch, arguments.steps)
                print(f"{size} px:", ", ".join(f"{name} {value:.4f}" for name, value in shown.items()))
            return
        result = measure(arguments.sizes, arguments.batch, arguments.steps)
        write_json(runs_dir() / "bench" / "loop" / "loop.json", result)
        print(f"\n{summary(result)}")
    except CourseError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None


if __name__ == "__main__":
    main()
