"""How long one prediction takes: a single pair of images on the processor, for both networks.

``python -m helpers.benchmarks.latency [--sizes 64 192] [--repeats 50] [--threads 2]`` runs every network in plain
PyTorch, with channels last, in 16 bits where the processor multiplies them faster, and in ONNX Runtime. The runtimes
take turns, one prediction each in every round, so that a busy moment hits all alike.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers.benchmarks.summary import about, keep, markdown_table, positive
from helpers.config import CourseError, plain_errors
from helpers.model import NETWORKS, build
from helpers.recipes import pick_precision
from helpers.web.onnx import TOLERANCE, OnnxModel, Probabilities, export_onnx

PLAIN, LAYOUT, SIXTEEN = "PyTorch", "PyTorch, channels last", "PyTorch, channels last, 16 bits"
ONNX = "ONNX Runtime"
PUBLISHED = "DepthMaskNet"
RESULT = "bench/latency.json"  # in runs/
Prediction = Callable[[], Sequence[Tensor | np.ndarray]]  # gives mask and depth, (1, 1, size, size)


def runtimes() -> list[str]:
    """What a network can run in on this processor."""
    fast_16_bits = pick_precision("auto", torch.device("cpu")) == torch.bfloat16
    return [PLAIN, LAYOUT, *[SIXTEEN] * fast_16_bits, ONNX]


def make(network: str, runtime: str, size: int, threads: int, onnx_file: Path) -> Prediction:
    """A network with random weights, ready to predict for one random pair of images at ``size`` pixels."""
    pair = torch.rand(2, 1, 3, size, size, generator=torch.Generator().manual_seed(0)).unbind()
    if runtime == ONNX:
        model, arrays = OnnxModel(onnx_file, threads), [image.numpy() for image in pair]
        return lambda: model(*arrays)
    layout = torch.contiguous_format if runtime == PLAIN else torch.channels_last  # as a photograph lies in memory
    net = Probabilities(build(network)).eval().to(memory_format=layout)
    pair = [image.contiguous(memory_format=layout) for image in pair]

    def predict() -> tuple[Tensor, Tensor]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=runtime == SIXTEEN):
            return net(*pair)

    return predict


def latencies(predictions: Mapping[tuple[str, str], Prediction], repeats: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of ``repeats`` predictions of each, in turns."""
    taken = {name: [] for name in predictions}
    for _ in range(repeats):
        for name, predict in predictions.items():
            time.sleep(0.02)  # until then the threads of the runtime before it wait actively
            predict()  # brings its weights back into the processor's cache, does not count
            started = time.perf_counter()
            predict()
            taken[name].append((time.perf_counter() - started) * 1e3)
    return taken


def measure(sizes: Sequence[int], repeats: int, threads: int) -> dict:
    """Every network in every runtime at every size, on ``threads`` threads: JSON-ready, with what was run where."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not 1 <= threads <= cores:
        raise CourseError(f"threads={threads}: choose from 1 to {cores}, the cores that this process may use.")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for size in sizes for row in _measure_size(size, repeats, threads, Path(folder))]
    try:
        processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1]
    except (OSError, TypeError):  # not Linux, or a processor that is listed without a name
        processor = platform.processor() or platform.machine()
    return about(
        rows=rows, repeats=repeats, threads=threads, cores=cores, load_before=load, machine=processor,
        python=platform.python_version(), torch=torch.__version__,
        onnxruntime=importlib.metadata.version("onnxruntime"),
    )  # fmt: skip


def _measure_size(size: int, repeats: int, threads: int, folder: Path) -> list[dict]:
    predictions = {}
    for network in NETWORKS:
        onnx_file = folder / f"{network}-{size}.onnx"
        export_onnx(build(network), onnx_file, size)
        for runtime in runtimes():
            predictions[network, runtime] = predict = make(network, runtime, size, threads, onnx_file)
            for _ in range(3):  # libraries load, kernels are chosen
                pairs = list(zip(predict(), predictions[network, PLAIN]()))
            gap = max((torch.as_tensor(a) - torch.as_tensor(b)).abs().max().item() for a, b in pairs)
            if gap > TOLERANCE and runtime != SIXTEEN:
                raise CourseError(f"{network} in {runtime} does not predict what it does in {PLAIN}: it is not timed.")
            print(f"{size} px, {network} in {runtime}: ready", flush=True)
    taken = {name: np.percentile(times, (50, 90)).tolist() for name, times in latencies(predictions, repeats).items()}
    return [{
        "size": size, "network": network, "runtime": runtime, "median_ms": median, "p90_ms": p90,
        "times_published": taken[PUBLISHED, PLAIN][0] / median,
    } for (network, runtime), (median, p90) in taken.items()]  # fmt: skip


def markdown(result: dict) -> str:
    """What a result shows in a sentence for each size, its table, and how it was made."""
    sentences = []
    for size in dict.fromkeys(row["size"] for row in result["rows"]):
        fastest = {}
        for row in sorted(result["rows"], key=lambda row: -row["median_ms"]):
            if row["size"] == size:
                fastest[row["network"]] = row
        ours, theirs = fastest["DuoNet"], fastest[PUBLISHED]
        sentences.append(
            f"At {size} px DuoNet is fastest in {ours['runtime']}: {ours['times_published']:.1f} times as fast as "
            f"{PUBLISHED} in {PLAIN}, {theirs['median_ms'] / ours['median_ms']:.1f} times as fast as {PUBLISHED} where "
            f"that is fastest ({theirs['runtime']})."
        )
    header = ("size (px)", "network", "runs in", "median (ms)", "90 % within (ms)", "times as fast")
    table = markdown_table(header, [(
        str(row["size"]), row["network"], row["runtime"], f"{row['median_ms']:.1f}", f"{row['p90_ms']:.1f}",
        f"{row['times_published']:.2f}",
    ) for row in result["rows"]], numbers_from=3)  # fmt: skip
    load = "" if result["load_before"] is None else f", load {result['load_before']:.1f} before"
    caption = (
        f"One pair of images at a time, {result['repeats']} predictions each, in turns; times as fast: as {PUBLISHED} "
        f"in {PLAIN}. {result['threads']} of {result['cores']} cores ({result['machine']}){load}; "
        f"Python {result['python']}, torch {result['torch']}, onnxruntime {result['onnxruntime']}; {result['date']}."
    )
    return "\n\n".join([" ".join(sentences), table, caption])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=positive, nargs="+", default=[64, 192], help="pixels, multiples of 16")
    parser.add_argument("--repeats", type=positive, default=50, help="predictions of each runtime that count")
    parser.add_argument("--threads", type=positive, default=2)
    arguments = parser.parse_args()
    with plain_errors():
        result = measure(arguments.sizes, arguments.repeats, arguments.threads)
        keep(result, RESULT, markdown(result))


if __name__ == "__main__":
    main()
