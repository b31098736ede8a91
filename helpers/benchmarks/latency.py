"""How long one answer takes, and how much memory: a single pair of pictures on the processor, for both networks.

``python -m helpers.benchmarks.latency [--sizes 64 192] [--repeats 50] [--threads 2] [--compile]`` runs every network in
plain PyTorch, with its faster layout of memory, in 16 bits where the processor multiplies them faster, and in ONNX
Runtime. All answer with probabilities (:class:`helpers.predict.Probabilities`), and what does not answer alike is not timed.
The programs take turns, one answer each in every round, so that a busy moment hits all alike. Memory is measured in a
process of its own for each program. The result goes to ``runs/bench/latency.json``; :func:`markdown` draws its table.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers.config import CourseError, plain_errors, runs_dir
from helpers.model import NETWORKS, build
from helpers.predict import TOLERANCE, OnnxModel, Probabilities, exported, write_onnx
from helpers.recipes import pick_precision
from helpers.utils import write_json

PLAIN, LAYOUT, SIXTEEN = "PyTorch", "PyTorch, channels last", "PyTorch, channels last, 16 bits"
COMPILED, ONNX = "PyTorch, compiled", "ONNX Runtime"
PUBLISHED = "DepthMaskNet"
STORED = "latency.json"  # in runs/bench/
WARM_UP = 3  # answers before the first one counts: libraries load, kernels are chosen
PAUSE = 0.02  # seconds before each turn: until then the threads of the program before it wait actively

Run = Callable[[], Sequence[Tensor | np.ndarray]]  # gives mask and depth, (1, 1, size, size)


def programs(compile_too: bool = False) -> list[str]:
    """What a network can run in on this processor."""
    fast_16_bits = pick_precision("auto", torch.device("cpu")) == torch.bfloat16
    return [PLAIN, LAYOUT, *[SIXTEEN] * fast_16_bits, *[COMPILED] * compile_too, ONNX]


def make(network: str, program: str, size: int, threads: int, onnx_file: Path) -> Run:
    """A network with random weights, ready to answer for one random pair of pictures at ``size`` pixels."""
    pair = torch.rand(2, 1, 3, size, size, generator=torch.Generator().manual_seed(0)).unbind()
    if program == ONNX:
        answer, arrays = OnnxModel(onnx_file, threads), [image.numpy() for image in pair]
        return lambda: answer(*arrays)
    net = Probabilities(build(network)).eval()
    if program in (LAYOUT, SIXTEEN):
        net = net.to(memory_format=torch.channels_last)
        pair = [image.contiguous(memory_format=torch.channels_last) for image in pair]  # as a photograph lies in memory
    if program == COMPILED:
        net.compile()

    def run() -> tuple[Tensor, Tensor]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=program == SIXTEEN):
            return net(*pair)

    return run


def latencies(runs: Mapping[str, Run], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every answer, ``repeats`` of them for each program, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            time.sleep(PAUSE)
            run()  # brings its weights back into the cache, does not count
            started = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - started) * 1e3)
    return taken


def peak_memory(network: str, program: str, size: int, threads: int, onnx_file: Path) -> float | None:
    """Megabytes that a network with all it needs takes on top of a process that has only imported things.

    Measured in a process of its own. None where the system does not tell (it does on Linux).
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_own_peak, network, program, size, threads, onnx_file).result()


def _own_peak(network: str, program: str, size: int, threads: int, onnx_file: Path) -> float | None:
    torch.set_num_threads(threads)
    if program == ONNX:
        import onnxruntime  # noqa: F401 - the package itself is not counted, PyTorch's is not either
    try:
        # Not resource.getrusage: its maximum begins with that of the process which started this one.
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _from_status("VmRSS")
    except OSError:
        return None
    run = make(network, program, size, threads, onnx_file)
    for _ in range(WARM_UP):
        run()
    return _from_status("VmHWM") - before


def _from_status(name: str) -> float:
    """A line of /proc/self/status, in megabytes."""
    return int(re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1024 / 1e6


def measure(sizes: Sequence[int], repeats: int, threads: int, compile_too: bool = False, say: Callable = print) -> dict:
    """Every network in every program at every size: JSON-ready, with what was run where.

    Raises:
        CourseError: fewer than one repeat, more threads than cores, a size that is not a multiple of 16, a package
            that is missing, or a program that answers otherwise than the network.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if repeats < 1:
        raise CourseError(f"repeats={repeats}: measure at least once.")
    if not 1 <= threads <= cores:
        raise CourseError(f"threads={threads}: choose from 1 to {cores}, the cores that this process may use.")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    rows = []
    with tempfile.TemporaryDirectory() as folder, _threads(threads):
        for size in sizes:
            rows += _measure_size(size, repeats, threads, programs(compile_too), Path(folder), say)
    import onnxruntime

    return {
        "rows": rows, "repeats": repeats, "threads": threads, "cores": cores, "load_before": load, "machine": _processor(),
        "python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__,
        "date": date.today().isoformat(),
    }  # fmt: skip


def _measure_size(size: int, repeats: int, threads: int, kinds: list[str], folder: Path, say: Callable) -> list[dict]:
    rows, runs = [], {}
    for network in NETWORKS:
        onnx_file = folder / f"{network}-{size}.onnx"
        write_onnx(exported(build(network), size), onnx_file)
        for program in kinds:
            row = {"size": size, "network": network, "program": program}
            row["memory_mb"] = peak_memory(network, program, size, threads, onnx_file)
            runs[network, program] = run = make(network, program, size, threads, onnx_file)
            row["difference"] = _difference(run, runs[network, PLAIN])
            if program != SIXTEEN and row["difference"] > TOLERANCE:
                raise CourseError(f"{network} in {program} does not answer as in {PLAIN}: its time says nothing.")
            rows.append(row)
            say(f"{size} px, {network} in {program}: ready")
    taken = latencies(runs, repeats)
    reference = float(np.median(taken[PUBLISHED, PLAIN]))
    for row in rows:
        times = taken[row["network"], row["program"]]
        row["median_ms"], row["p90_ms"] = (float(np.percentile(times, q)) for q in (50, 90))
        row["times_published"] = reference / row["median_ms"]
    return rows


def _difference(run: Run, other: Run) -> float:
    """The largest one between two programs' probabilities, after each has warmed up."""
    for _ in range(WARM_UP):
        pairs = list(zip(run(), other()))
    return max((torch.as_tensor(a) - torch.as_tensor(b)).abs().max().item() for a, b in pairs)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """PyTorch with that many threads, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processor() -> str:
    try:
        return re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1]
    except (OSError, TypeError):  # not Linux, or a processor that is listed without a name
        return platform.processor() or platform.machine()


def markdown(result: dict) -> str:
    """What a result says in a sentence for each size, its table, and how it was made."""
    sentences = []
    for size in dict.fromkeys(row["size"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["size"] == size]
        ours, theirs = (_fastest(rows, network) for network in ("DuoNet", PUBLISHED))
        sentences.append(
            f"At {size} px DuoNet is fastest in {ours['program']}: {ours['times_published']:.1f} times as fast as "
            f"{PUBLISHED} in {PLAIN}, {theirs['median_ms'] / ours['median_ms']:.1f} times as fast as {PUBLISHED} where that "
            f"is fastest ({theirs['program']})."
        )
    titles = ("side (px)", "network", "runs in", "median (ms)", "90 % within (ms)", "times as fast", "memory (MB)")
    lines = ["| " + " | ".join(titles) + " |", "|--:|---|---|--:|--:|--:|--:|"]
    for row in result["rows"]:
        memory = "-" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}"
        numbers = f"{row['median_ms']:.1f} | {row['p90_ms']:.1f} | {row['times_published']:.2f}"
        lines.append(f"| {row['size']} | {row['network']} | {row['program']} | {numbers} | {memory} |")
    load = "" if result["load_before"] is None else f", load {result['load_before']:.1f} before"
    caption = (
        f"One pair of pictures at a time, {result['repeats']} answers each, in turns; times as fast: as {PUBLISHED} in "
        f"{PLAIN}; memory: the most that weights and workspace take on top of the imported packages. "
        f"{result['threads']} of {result['cores']} cores ({result['machine']}){load}; Python {result['python']}, "
        f"torch {result['torch']}, onnxruntime {result['onnxruntime']}, {result['date']}."
    )
    return "\n\n".join([" ".join(sentences), "\n".join(lines), caption])


def _fastest(rows: list[dict], network: str) -> dict:
    return min((row for row in rows if row["network"] == network), key=lambda row: row["median_ms"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 192], help="sides in pixels, multiples of 16")
    parser.add_argument("--repeats", type=int, default=50, help="answers of each program that count")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile too (needs a C++ compiler)")
    arguments = parser.parse_args()
    with plain_errors():
        result = measure(arguments.sizes, arguments.repeats, arguments.threads, arguments.compile)
        write_json(runs_dir() / "bench" / STORED, result)
        print(f"\n{markdown(result)}")


if __name__ == "__main__":
    main()
