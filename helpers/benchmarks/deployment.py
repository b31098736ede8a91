"""What a network costs outside of Python: size, time and scores of its file in 32, 16 and 8 bits, and its web page.

``python -m helpers.benchmarks.deployment [--run FOLDER]`` runs them in ONNX Runtime on the six scenes that
come with the course. Notebook 08 does the same with its own network.
"""

import argparse
import gzip
import logging
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from helpers.benchmarks.latency import latencies
from helpers.benchmarks.summary import machine
from helpers.config import plain_errors
from helpers.dataset import Quartet, get_batch
from helpers.demos.scenes import example_scenes
from helpers.metrics import Meter
from helpers.predict import load, pretrained
from helpers.rendering import RoomsDataset
from helpers.utils import table
from helpers.web import export_onnx, export_page
from helpers.web.onnx import INPUTS, LARGE, OnnxModel

SAMPLES = 8  # pairs, in which static quantisation looks for the range of each tensor
REPEATS, THREADS = 20, 1  # predictions of each file that count, and on how many cores


def as_arrays(batch: Quartet) -> list[np.ndarray]:
    """Room and scene of a batch as the file wants them: float32 (B, 3, H, W) in [0, 1]."""
    return [batch[key].numpy().astype(np.float32) / 255 for key in INPUTS]


def calibration_pairs(size: int) -> list[np.ndarray]:
    """Rendered rooms and cats to calibrate on, none of which is in the scenes that are scored."""
    data = RoomsDataset(size, SAMPLES, SAMPLES, 1)
    step = len(data) // SAMPLES * (SAMPLES + 1) // SAMPLES  # to the next room, and to the next cat in it
    return as_arrays(get_batch(data, range(0, len(data), step)))


class _Pairs(CalibrationDataReader):  # hands ONNX Runtime one pair after the other
    def __init__(self, rooms: np.ndarray, scenes: np.ndarray):
        self.pairs = (dict(zip(INPUTS, (room[None], scene[None]))) for room, scene in zip(rooms, scenes))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.pairs, None)


def weights_in_8_bits(source: Path, target: Path) -> None:
    """Each large weight as int8 with one scale for each output channel; ONNX Runtime widens it in each prediction."""
    graph = (model := onnx.load(source)).graph
    for tensor in [one for one in graph.initializer if len(one.dims) == 4 and np.prod(one.dims) >= LARGE]:
        weight = numpy_helper.to_array(tensor)  # (outputs, inputs, k, k)
        scale = np.maximum(np.abs(weight).max((1, 2, 3)), 1e-12) / 127  # (outputs,)
        whole = np.rint(weight / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
        parts = {"int8": whole, "scale": scale.astype(np.float32), "zero": np.zeros(len(scale), np.int8)}
        names = [f"{tensor.name}.{part}" for part in parts]
        graph.initializer.extend(map(numpy_helper.from_array, parts.values(), names))
        graph.node.insert(0, helper.make_node("DequantizeLinear", names, [tensor.name], axis=0))
        graph.initializer.remove(tensor)
    onnx.save(model, target)


def static_8_bits(source: Path, target: Path, pairs: list[np.ndarray]) -> None:
    """Convolutions that compute in 8 bits, with ranges of their inputs and outputs as ``pairs`` have them."""
    logging.disable(logging.WARNING)  # it recommends a preparation, which fails on a file for any height and width
    try:
        quantize_static(source, target, _Pairs(*pairs), op_types_to_quantize=["Conv"], per_channel=True)
    finally:
        logging.disable(logging.NOTSET)


def compared(files: Mapping[str, Path], batch: Quartet, repeats: int = REPEATS) -> dict[str, dict]:
    """For each file: megabytes, median milliseconds of one pair of ``batch``, and how well it predicts the batch."""
    pairs, rows = as_arrays(batch), {}
    models = {name: OnnxModel(file, THREADS) for name, file in files.items()}
    first = [pictures[:1] for pictures in pairs]
    taken = latencies({name: partial(model, *first) for name, model in models.items()}, repeats)
    for name, model in models.items():
        meter = Meter(edges=False)
        meter.update(*map(torch.from_numpy, model(*pairs)), batch)
        cost = {"MB": files[name].stat().st_size / 1e6, "ms": float(np.median(taken[name]))}
        rows[name] = cost | {"mask Dice": meter.result()["mask_dice"], "depth RMSE": meter.result()["depth_rmse"]}
    return rows


def page_megabytes(folder: Path) -> tuple[float, float]:
    """What an exported page weighs: on a disk, and as a server sends it, with each file gzipped."""
    contents = [file.read_bytes() for file in Path(folder).iterdir()]
    return sum(map(len, contents)) / 1e6, sum(len(gzip.compress(content, 6)) for content in contents) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser("python -m helpers.benchmarks.deployment", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run's folder or a .safetensors file; default: the course's weights")
    options = parser.parse_args()
    with plain_errors(), tempfile.TemporaryDirectory() as name:
        net, batch, folder = load(options.run) if options.run else pretrained(), example_scenes(), Path(name)
        size, page = batch["bg"].shape[-1], export_page(net, folder / "page")
        files = {kind: folder / f"{kind}.onnx" for kind in ("float32", "int8 weights", "int8 static")}
        export_onnx(net, files["float32"])
        weights_in_8_bits(files["float32"], files["int8 weights"])
        static_8_bits(files["float32"], files["int8 static"], calibration_pairs(size))
        print(table(compared(files | {"float16 weights": page / "model.onnx"}, batch)))
        print("\npage: {:.1f} MB unpacked, {:.1f} MB gzipped".format(*page_megabytes(page)))
        print(f"{type(net).__name__}, one pair at {size} px, median of {REPEATS} on {THREADS} thread, "
              f"calibrated on seed 0; {machine()}")  # fmt: skip


if __name__ == "__main__":
    main()
