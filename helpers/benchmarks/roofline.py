"""How near a training step is to what the machine can do: a roofline (Williams et al., 2009), part by part.

``python -m helpers.benchmarks.roofline [--sizes 32 48 64] [--batch 32] [--repeats 5]`` counts, for each part of a step
and for evaluation, the operations of its products and the bytes of all tensors that its operators read and write. The
machine's limits are measured: a large matrix product, in 32 bits and in the precision of the convolutions, and a large
copy. *Of arithmetic* is the time that the operations alone would take, over the measured time; *of memory* that of the
bytes alone. The larger of the two says what holds a part up. Bytes that stay in the processor's cache cost less than a
copy's, so the share of memory can be above 100 %.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from helpers.augment import Augment, generator_of
from helpers.benchmarks.loop import InMemory
from helpers.benchmarks.rendering import seconds as once
from helpers.benchmarks.summary import about, keep, machine, markdown_table
from helpers.config import plain_errors, runs_dir
from helpers.evaluate import evaluate
from helpers.model import build
from helpers.recipes import LOSSES, make_optimizer, pick_precision, recipe

RESULT = "bench/roofline.json"  # in runs/
PRODUCT, COPY = 2048, 2**26  # rows of a square matrix, and numbers of 4 bytes, that are too large for any cache
PARTS = "augmentation", "forward", "loss", "backward", "optimizer", "evaluation"


class BytesMoved(TorchDispatchMode):
    """Sums the bytes of every tensor that an operator reads or writes; views move nothing."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
            self.total += sum(x.numel() * x.element_size() for x in tensors)
        return result


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of ``work`` after one run that does not count."""
    return statistics.median([once(work, device) for _ in range(repeats + 1)][1:])


def limits(device: torch.device, precision: torch.dtype, repeats: int) -> dict[str, float]:
    """Operations a second of a large product in 32 bits and in ``precision``, and bytes a second of a large copy."""
    found = {}
    for name, dtype in (("fp32", torch.float32), ("convolutions", precision)):
        square = torch.rand(PRODUCT, PRODUCT, device=device).to(dtype)
        found[name] = 2 * PRODUCT**3 / seconds(lambda: square @ square, device, repeats)
    numbers, copy = torch.rand(COPY, device=device), torch.empty(COPY, device=device)
    found["bytes"] = 2 * 4 * COPY / seconds(lambda: copy.copy_(numbers), device, repeats)
    return found


def step_parts(size: int, batch: int, device: torch.device, precision: torch.dtype) -> dict[str, Callable[[], object]]:
    """The parts of a step of the course's recipe on ``batch`` random quartets, in order: each can run again."""
    course, data = recipe("course"), InMemory(batch, size, device)
    net = build("DuoNet", 0).to(device, memory_format=torch.channels_last).train()
    net.depth_activation = course.depth_activation
    optimizer, loss, augment = make_optimizer(net, course), LOSSES[course.loss](), Augment(**course.augment)
    quartets, kept = data.get_batch(range(batch)), {}

    def forward():
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            kept["logits"] = net(kept["batch"]["bg"], kept["batch"]["bg_fg"])

    def backward():
        optimizer.zero_grad(set_to_none=True)
        kept["loss"].backward(retain_graph=True)

    return {
        "augmentation": lambda: kept.update(batch=augment(quartets, generator_of(0))), "forward": forward,
        "loss": lambda: kept.update(loss=loss(*kept["logits"], kept["batch"])["loss"]), "backward": backward,
        "optimizer": optimizer.step, "evaluation": lambda: evaluate(net, data),
    }  # fmt: skip


def measure(sizes: Sequence[int], batch: int, repeats: int) -> dict:
    """For each size and part: operations, bytes, seconds, and what each of the first two would take; JSON-ready."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = pick_precision("auto", device)
    found = limits(device, precision, repeats)
    rows: dict[str, dict[str, float]] = {}
    for size in sizes:
        for part, work in step_parts(size, batch, device, precision).items():
            with FlopCounterMode(display=False) as operations, BytesMoved() as moved:
                work()
            flop, took = operations.get_total_flops(), seconds(work, device, repeats)
            rate = found["convolutions" if part in ("forward", "backward") else "fp32"]
            least = {"arithmetic": flop / rate, "memory": moved.total / found["bytes"]}
            rows[f"{size} px, {part}"] = {"flop": flop, "bytes": moved.total, "seconds": took, **least}
    facts = {"batch": batch, "repeats": repeats, "precision": str(precision), "machine": machine()}
    return about(rows=rows, limits=found, sizes=list(sizes), **facts)


def markdown(result: dict) -> str:
    """The table of all parts, with a row for each whole step, and the limits beside which they stand."""
    lines = []
    for size in result["sizes"]:
        parts = {name: result["rows"][f"{size} px, {name}"] for name in PARTS}
        step = [row for name, row in parts.items() if name != "evaluation"]
        whole = {key: sum(row[key] for row in step) for key in step[0]}
        for name, row in {**parts, "a step": whole}.items():
            shares = row["seconds"] / whole["seconds"], *(row[key] / row["seconds"] for key in ("arithmetic", "memory"))
            lines.append([f"{size} px", name, f"{row['flop'] / 1e9:.1f}", f"{row['bytes'] / 1e6:,.0f}",
                          f"{1000 * row['seconds']:.1f}", *(f"{share:.0%}" for share in shares)])  # fmt: skip
    rate = {name: f"{value / 1e9:.0f}" for name, value in result["limits"].items()}
    header = ["", "part", "GFLOP", "MB moved", "ms", "of a step", "of arithmetic", "of memory"]
    return (
        f"{markdown_table(header, lines, numbers_from=2)}\n\n"
        f"Limits: {rate['fp32']} GFLOP/s in 32 bits, {rate['convolutions']} in {result['precision']}, {rate['bytes']} GB/s "
        f"(a product of {PRODUCT} x {PRODUCT} matrices, a copy of {4 * COPY / 1e6:.0f} MB). Batches of {result['batch']} "
        f"random images, medians of {result['repeats']}; {result['machine']}; {result['date']}."
    )


def plot(result: dict):
    """A figure: the roof, and a point for each part at the operations that it does for each byte."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    rate = result["limits"]
    for name, style in (("convolutions", "-"), ("fp32", "--")):
        intensity = [0.1, rate[name] / rate["bytes"], 1e3]
        axes.plot(intensity, [min(rate[name], x * rate["bytes"]) / 1e9 for x in intensity], style, color="0.5",
                  label=f"limit, {result['precision'] if name == 'convolutions' else 'torch.float32'}")  # fmt: skip
    for part in PARTS:
        rows = [result["rows"][f"{size} px, {part}"] for size in result["sizes"]]
        if all(row["flop"] for row in rows):  # without products there is no place on this plot
            at = [[row["flop"] / row["bytes"] for row in rows], [row["flop"] / row["seconds"] / 1e9 for row in rows]]
            axes.plot(*at, "o-", label=part)
    axes.set(xscale="log", yscale="log", xlabel="operations for each byte moved", ylabel="GFLOP/s",
             title=f"{result['sizes'][0]} to {result['sizes'][-1]} px, batches of {result['batch']}")  # fmt: skip
    axes.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.roofline", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 48, 64, 96, 128], help="multiples of 16")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with plain_errors():
        result = measure(arguments.sizes, arguments.batch, arguments.repeats)
        keep(result, RESULT, markdown(result))
        path = (runs_dir() / RESULT).with_suffix(".png")
        plot(result).savefig(path, dpi=110)
        print(f"The plot is in runs/{path.parent.name}/{path.name}.")


if __name__ == "__main__":
    main()
