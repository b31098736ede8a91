"""How fast the training loop is: the published loop against the course's, lever by lever, on the same ready pictures.

``python -m helpers.benchmarks.loop [--sizes 64 112 192] [--batch 32] [--steps 8] [--compile]`` prints images a second of
both networks, at the sizes of the profile in force if none are given. The published loop is rebuilt as it was written
(32 bits, SGD, its losses, and metrics fetched from the device after every batch), with its JPEG loader replaced by ready
tensors, so that only the loop differs. The course's rows are :func:`helpers.train.train` itself, with one lever after
the other. Each row is run twice and the faster one counts: the rest is the machine being busy. ``DuoNet`` stands beside
the published network at every lever, and the last row says what the arithmetic alone would take, at the speed of one
large matrix product. With ``--tensorboard`` it prints instead which share of the training TensorBoard takes: the time
inside its calls. The result goes to ``runs/bench/loop/``; :func:`markdown` draws its table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.config import plain_errors, profile, runs_dir
from helpers.dataset import Quartet
from helpers.model import NETWORKS, build, forward_gflop
from helpers.recipes import LOSSES, STAGES, Recipe, Stage, make_optimizer, pick_precision, recipe
from helpers.train import train
from helpers.upkeep import timings as measured
from helpers.utils import table, write_json

REPEATS = 2
_ADAMW = {"optimizer": "adamw", "learning_rate": 6e-3, "augment": None}

# Each row has the levers of the one above it, and one more. The last two are no levers but what better learning costs.
LEVERS: dict[str, dict] = {
    "ours, 32 bits": {**_ADAMW, "precision": "fp32", "channels_last": False},
    "+ channels last": {**_ADAMW, "precision": "fp32", "channels_last": True},
    "+ 16 bits where they are faster": {**_ADAMW, "precision": "auto", "channels_last": True},
    "+ memory kept between steps": {**_ADAMW, "precision": "auto", "channels_last": True},
    "+ Muon": {"augment": None},
    "+ augmentation (the whole recipe)": {},
}
PUBLISHED, COMPILED, FLOOR = "published loop", "+ torch.compile", "arithmetic alone"
WHOLE = tuple(LEVERS)[-1]
STORED = "loop/loop.json"  # in runs/bench/
KEPT = tuple(LEVERS)[-3:]  # the rows in which freed memory is kept, as it always is outside this table


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
    # Every one of a few steps would be a moment for the time travel; in a real run few of hundreds are.
    blind = mock.patch("helpers.train.Camera.is_due", return_value=False)
    with tempfile.TemporaryDirectory() as folder, blind:
        few = Ready(2, data.size, data.get_batch([0])["bg"].device)
        return train(net, data, few, wanted, Path(folder) / "run", progress=False)[-1]["seconds"]


def seconds(row: str, network: str, data: Ready, stage: Stage, device: torch.device) -> float:
    """Seconds of one epoch with a new network."""
    net = build(network, 0).to(device)
    if row == PUBLISHED:
        return published_loop(net, data, stage)
    wanted = recipe("course", stages=(stage,), **LEVERS[row])
    if row in KEPT:
        return our_loop(net, data, wanted)
    with mock.patch("helpers.train.kept_memory", nullcontext):
        return our_loop(net, data, wanted)


def compiled(network: str, data: Ready, stage: Stage, device: torch.device) -> tuple[float, float]:
    """Seconds of one epoch of the whole recipe after ``torch.compile``, and the seconds that it took to compile."""
    net, wanted = build(network, 0).to(device), recipe("course", stages=(stage,))
    net.compile()
    first, *later = (our_loop(net, data, wanted) for _ in range(1 + REPEATS))
    return min(later), first - min(later)


def multiplications(device: torch.device, side: int = 2048) -> float:
    """Billions of operations a second in one large matrix product, in the type that training runs in here."""
    a, b = torch.rand(2, side, side, device=device).to(pick_precision("auto", device))
    times = []
    for _ in range(5):
        started = time.monotonic()
        (a @ b).sum().item()
        times.append(time.monotonic() - started)
    return 2 * side**3 / min(times) / 1e9


def measure(sizes: Sequence[int], batch: int, steps: int, compile_too: bool = False, say=print) -> dict:
    """Images a second of every row, network and size: JSON-ready, with what was run where."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: dict[str, dict[str, float]] = {row: {} for row in (PUBLISHED, *LEVERS)}
    compiling: dict[str, float] = {}
    for size in sizes:
        data, stage = Ready(batch * steps, size, device), Stage(size, batch, 1)
        for network in NETWORKS:
            column = f"{network}, {size} px"
            for row, cells in rows.items():
                cells[column] = len(data) / min(seconds(row, network, data, stage, device) for _ in range(REPEATS))
                say(f"{column:24} {row:34} {cells[column]:8.1f} images/s")
            if compile_too:
                took, compiling[column] = compiled(network, data, stage, device)
                rows.setdefault(COMPILED, {})[column] = len(data) / took
                say(f"{column:24} {COMPILED:34} {len(data) / took:8.1f} images/s after {compiling[column]:.0f} s of compiling")
    # Forward, and backward through inputs and weights: three times the operations. No loop can be faster than this.
    gflop = {f"{name}, {size} px": forward_gflop(build(name), size) for name in NETWORKS for size in sizes}
    rate = multiplications(device)
    rows[FLOOR] = {column: rate / (3 * work) for column, work in gflop.items()}
    return {
        "rows": rows, "compile_seconds": compiling, "gflop_forward": gflop, "gflop_per_second": rate,
        "batch": batch, "steps": steps, "torch": torch.__version__, "date": date.today().isoformat(),
        "machine": measured.device(),
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
    """Images a second; how many times the published loop that is; and the hours of the whole schedules."""
    rows, times = result["rows"], _times(result["rows"])
    parts = [f"Images a second; {_made(result)}", table(rows, digits=1)]
    parts += ["", "Times the published loop with the published network", table(times, digits=2)]
    for name, schedule in _schedules(rows).items():
        parts += ["", f"All stages of the profile {name}", table(schedule, digits=2)]
    return "\n".join(parts)


def markdown(result: dict) -> str:
    """What the whole recipe is worth in time, in a sentence, and the table of all levers."""
    rows, times = result["rows"], _times(result["rows"])
    shares = [
        f"all stages of `{name}` take {1 / schedule[WHOLE]['DuoNet, times']:.2f} times as long"
        for name, schedule in _schedules(rows).items()
    ]
    by_size = [f"{value:.1f} times as many at {column.split(', ')[1]}" for column, value in times[WHOLE].items() if "DuoNet" in column]
    columns = list(rows[PUBLISHED])
    lines = ["| images a second | " + " | ".join(columns) + " |", "|---" + "|--:" * len(columns) + "|"]
    for row, cells in rows.items():
        lines.append(f"| {row} | " + " | ".join(f"{cells[column]:.1f} ({times[row][column]:.1f}×)" for column in columns) + " |")
    return "\n".join([
        f"The course's loop and recipe train DuoNet on more images a second than the published loop trains its network: "
        f"{', '.join(by_size)}{'; ' if shares else ''}{', '.join(shares)}.", "", *lines, "",
        f"Both loops on pictures that are in memory already; in brackets, times the published loop with its network. "
        f"{_made(result)[0].upper()}{_made(result)[1:]}.",
    ])  # fmt: skip


def _made(result: dict) -> str:
    return f"batches of {result['batch']}, {result['steps']} steps, {result['machine']}, torch {result['torch']}, {result['date']}"


def _times(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Every speed, as many times that of the published loop with the published network at the same size."""
    published = {column.split(", ")[1]: rate for column, rate in rows[PUBLISHED].items() if column.startswith("DepthMaskNet")}
    return {row: {column: rate / published[column.split(", ")[1]] for column, rate in cells.items()} for row, cells in rows.items()}


def _schedules(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, dict[str, float]]]:
    """:func:`_schedule` of every profile for people whose sizes were all measured."""
    return {name: schedule for name in STAGES if name != "tiny" and (schedule := _schedule(rows, name))}


def _schedule(rows: dict[str, dict[str, float]], profile_name: str) -> dict[str, dict[str, float]]:
    """Hours of all stages of a profile at these speeds, and how many times shorter than as published; empty where a
    stage's size was not measured."""
    samples, stages = profile(profile_name).train_samples, STAGES[profile_name]

    def hours(cells: dict[str, float], network: str) -> float:
        return sum(stage.epochs * samples / cells[f"{network}, {stage.size} px"] for stage in stages) / 3600

    try:
        took = {row: {name: hours(cells, name) for name in NETWORKS} for row, cells in rows.items()}
    except KeyError:
        return {}
    published = took[PUBLISHED]["DepthMaskNet"]
    return {
        row: {f"{name}, hours": value for name, value in cells.items()} | {f"{name}, times": published / value for name, value in cells.items()}
        for row, cells in took.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.loop", description=__doc__.splitlines()[0])
    sizes = sorted({stage.size for stage in recipe("course").stages})
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="image sides, multiples of 16; else the profile's")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="a row with torch.compile too (needs a C++ compiler)")
    parser.add_argument("--tensorboard", action="store_true", help="measure TensorBoard's share instead")
    arguments = parser.parse_args()
    with plain_errors():
        if arguments.tensorboard:
            for size in arguments.sizes:
                shown = tensorboard_share(size, arguments.batch, arguments.steps)
                print(f"{size} px:", ", ".join(f"{name} {value:.4f}" for name, value in shown.items()))
            return
        result = measure(arguments.sizes, arguments.batch, arguments.steps, arguments.compile)
        write_json(runs_dir() / "bench" / STORED, result)
        print(f"\n{summary(result)}")


if __name__ == "__main__":
    main()
