"""A trained network for other programs: ONNX, which runs without PyTorch, and ``torch.export``, which runs without its
Python code.

``python -m helpers.export [--run FOLDER] [--size 192] [--to FOLDER]`` writes ``NAME.onnx`` and ``NAME.pt2`` and compares
both with the network on random pictures. Without ``--size`` they take any height and width that is a multiple of 16.
What is exported answers with probabilities, so nobody who uses it has to know about logits.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from helpers.config import CourseError, plain_errors, runs_dir
from helpers.files import whole_file
from helpers.model import STRIDE, probabilities
from helpers.predict import load
from helpers.pretrained import pretrained

INPUTS, OUTPUTS = ("bg", "bg_fg"), ("mask", "depth")
LARGEST = 1024  # side, in pixels, that an export of any size accepts
TOLERANCE = 1e-4  # of a probability: two programs that add in another order
OPSET = 18


class Answer(nn.Module):
    """``bg, bg_fg -> mask, depth``: float32 pictures (B, 3, H, W) in [0, 1] to probabilities (B, 1, H, W)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.readout = net, getattr(net, "depth_readout", "sigmoid")

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        return probabilities(*self.net(bg, bg_fg), self.readout)


def exported(net: nn.Module, size: int | None = None) -> ExportedProgram:
    """The network as a graph, for batches of any length.

    Args:
        size: side in pixels, a multiple of 16; None for any height and width from 32 to 1024 that are multiples of 16.

    Raises:
        CourseError: a size that is not a multiple of 16.
    """
    if size is not None and (size < STRIDE or size % STRIDE):
        raise CourseError(f"size={size}: choose a multiple of {STRIDE}, say {max(STRIDE, -(-size // STRIDE) * STRIDE)}.")
    batch = Dim("batch", min=1, max=1024)
    shape: dict = {0: batch}
    if size is None:
        # The example below is not a square: else the height would be taken to equal the width always.
        shape |= {2: STRIDE * Dim("h", min=2, max=LARGEST // STRIDE), 3: STRIDE * Dim("w", min=2, max=LARGEST // STRIDE)}
    example = torch.rand(2, 3, size or 4 * STRIDE, size or 6 * STRIDE)
    return torch.export.export(Answer(net).eval(), (example, example.clone()), dynamic_shapes={name: shape for name in INPUTS})


def write_pt2(program: ExportedProgram, path: str | Path) -> None:
    """Save what :func:`exported` made; ``torch.export.load`` reads it."""
    with whole_file(path) as temporary:
        torch.export.save(program, temporary)


def write_onnx(program: ExportedProgram, path: str | Path) -> None:
    """Save what :func:`exported` made as ONNX, weights inside, inputs ``bg, bg_fg``, outputs ``mask, depth``.

    Raises:
        CourseError: the packages onnx and onnxscript are not installed.
    """
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it, and would say so less clearly
    except ImportError as error:
        raise CourseError("ONNX needs two packages more: pip install onnx onnxscript onnxruntime.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions of the exporter's own parts
        made = torch.onnx.export(
            program, (), input_names=INPUTS, output_names=OUTPUTS, opset_version=OPSET, dynamo=True, verbose=False
        )
    with whole_file(path) as temporary:
        made.save(temporary, external_data=False)


class OnnxAnswer:
    """An ONNX file in ONNX Runtime, on the processor: called as the network is, with arrays of float32 in [0, 1]."""

    def __init__(self, path: str | Path, threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise CourseError("Running ONNX needs a package more: pip install onnxruntime.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: as many as there are cores
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, bg: np.ndarray, bg_fg: np.ndarray) -> list[np.ndarray]:
        return self.session.run(OUTPUTS, dict(zip(INPUTS, (bg, bg_fg))))


@torch.no_grad()
def largest_difference(net: nn.Module, other, shapes: list[tuple[int, int, int]], seed: int = 0) -> float:
    """Between the network's probabilities and another program's, on random pictures of (batch, height, width)."""
    generator, answer = torch.Generator().manual_seed(seed), Answer(net).eval()
    worst = 0.0
    for batch, height, width in shapes:
        pair = torch.rand(2, batch, 3, height, width, generator=generator)
        theirs = other(*(pair.numpy() if isinstance(other, OnnxAnswer) else pair))
        for own, others in zip(answer(*pair), theirs):
            worst = max(worst, (own - torch.as_tensor(others)).abs().max().item())
    return worst


def random_shapes(count: int = 6, seed: int = 0) -> list[tuple[int, int, int]]:
    """Batches of 1 to 3 pictures of 32 to 512 pixels a side."""
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(1, 4)), *(int(side) * STRIDE for side in rng.integers(2, 33, 2))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.export", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run's folder or a .safetensors file; default the course's own weights")
    parser.add_argument("--size", type=int, help="side in pixels; default any")
    parser.add_argument("--to", type=Path, default=runs_dir() / "export", help="folder for the two files")
    arguments = parser.parse_args()
    with plain_errors():
        net = load(arguments.run) if arguments.run else pretrained()
        program = exported(net, arguments.size)
        name = f"{type(net).__name__}-{arguments.size or 'any'}"
        shapes = [(1, arguments.size, arguments.size)] * 2 if arguments.size else random_shapes()
        for suffix, write in (("pt2", write_pt2), ("onnx", write_onnx)):
            path = arguments.to / f"{name}.{suffix}"
            write(program, path)
            other = torch.export.load(path).module() if suffix == "pt2" else OnnxAnswer(path)
            worst = largest_difference(net, other, shapes)
            print(f"{path.parent.name}/{path.name}: {path.stat().st_size / 1e6:.1f} MB, differs by at most {worst:.1e}")
            if worst > TOLERANCE:
                raise CourseError(f"{path.name} does not answer as the network does: do not use it.")


if __name__ == "__main__":
    main()
