"""A network for other programs: ONNX, which runs without PyTorch, and is checked against it."""

import copy
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from helpers.config import CourseError
from helpers.model import STRIDE, probabilities
from helpers.utils import whole_file

INPUTS, OUTPUTS = ("bg", "bg_fg"), ("mask", "depth")
TOLERANCE = 1e-4  # of a probability: two programs that add in another order
HALF_TOLERANCE = 5e-3  # the same, with weights of 16 bits
LARGE = 1024  # numbers in a tensor, from which 16 bits are worth it


class Probabilities(nn.Module):
    """``bg, bg_fg -> mask, depth``: float32 pictures (B, 3, H, W) in [0, 1] to probabilities (B, 1, H, W)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.activation = net, getattr(net, "depth_activation", "sigmoid")

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        return probabilities(*self.net(bg, bg_fg), self.activation)


class OnnxModel:
    """An ONNX file in ONNX Runtime, on the processor: ``bg, bg_fg -> [mask, depth]``, float32 arrays in [0, 1]."""

    def __init__(self, path: str | Path, threads: int = 0):
        import onnxruntime  # only who exports needs it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: as many as there are cores
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, bg: np.ndarray, bg_fg: np.ndarray) -> list[np.ndarray]:
        return self.session.run(OUTPUTS, dict(zip(INPUTS, (bg, bg_fg))))


def export_onnx(net: nn.Module, path: str | Path, size: int | None = None, half: bool = False) -> float:
    """Write ``net`` as ONNX, weights inside, and compare it with the network on random pictures.

    Inputs and outputs are those of :class:`Probabilities`, no logits. Batches may have any length.

    Args:
        size: image size in pixels, a multiple of 16; None for any height and width, multiples of 16, from 32 to 1024.
        half: store weights in 16 bits, in half the space; the arithmetic stays that of 32 bits.

    Returns:
        the largest difference of a probability, at most :data:`TOLERANCE`, or :data:`HALF_TOLERANCE`.

    Raises:
        CourseError: another size, a package is missing, ``net`` cannot be exported, or the file predicts something
            else; then none is written.
    """
    if size is not None and (size < STRIDE or size % STRIDE):
        raise CourseError(f"size={size}: choose a multiple of {STRIDE}, say {max(STRIDE, -(-size // STRIDE) * STRIDE)}")
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401 - torch.onnx needs it, and would say so less clearly
    except ImportError as error:
        raise CourseError("ONNX needs packages more: pip install onnx onnxscript onnxruntime.") from error
    model = Probabilities(copy.deepcopy(net).cpu()).eval()
    try:
        made = _exported(model, size)
        if half:
            _store_half(made.model.graph)
        with whole_file(path) as temporary:
            made.save(temporary, external_data=False)
            worst = largest_difference(model, OnnxModel(temporary), size)
            if not worst <= (HALF_TOLERANCE if half else TOLERANCE):  # a weight too large for 16 bits makes it NaN
                raise CourseError(f"{Path(path).name} would differ from the network by {worst:.1e}: it was not written.")
    except (CourseError, OSError):
        raise
    except Exception as error:  # a layer without ONNX, a size or a value that Python code depends on: each its own kind
        raise CourseError(
            f"{type(net).__name__} cannot be exported ({type(error).__name__}): its forward(bg, bg_fg) must return two "
            f"logits (B, 1, H, W) for {f'{size} pixels' if size else 'any height and width'}, by layers and functions "
            "of torch alone."
        ) from error
    return worst


def _exported(model: nn.Module, size: int | None):
    """``model`` as torch's ONNX program, for any batch and for ``size``, or for any height and width."""
    shape = {0: Dim("batch", min=1, max=1024)}
    if size is None:  # from 32 to 1024 pixels
        # The example below is not a square: else the height would be taken to equal the width always.
        shape |= {axis: STRIDE * Dim(name, min=2, max=64) for axis, name in ((2, "h"), (3, "w"))}
    example = torch.rand(2, 3, size or 4 * STRIDE, size or 6 * STRIDE)
    program = torch.export.export(model, (example, example.clone()), dynamic_shapes=dict.fromkeys(INPUTS, shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions of the exporter's own parts
        return torch.onnx.export(program, input_names=INPUTS, output_names=OUTPUTS, opset_version=18, verbose=False)


@torch.no_grad()
def largest_difference(model: Probabilities, other: OnnxModel, size: int | None = None, seed: int = 0) -> float:
    """Between the probabilities of two programs, on random pairs of several heights and widths (or of ``size``)."""
    rng, worst = np.random.default_rng(seed), 0.0
    for batch in (1, 2, 3, 1):
        height, width = (size, size) if size else (STRIDE * int(side) for side in rng.integers(2, 25, 2))
        pair = rng.random((2, batch, 3, height, width), dtype=np.float32)
        for own, others in zip(model(*torch.from_numpy(pair)), other(*pair)):
            worst = float(np.maximum(worst, np.abs(own.numpy() - others).max()))
    return worst


def _store_half(graph) -> None:
    """Large tensors of an ONNX graph in 16 bits, each widened to 32 when the file is loaded."""
    from onnxscript import ir

    for name, value in list(graph.initializers.items()):
        weights = value.const_value
        if weights.dtype == ir.DataType.FLOAT and weights.size >= LARGE:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and shows in the comparison
                stored = ir.tensor(weights.numpy().astype(np.float16), name=f"{name}.half")
            stored = ir.Value(name=stored.name, shape=value.shape, type=ir.TensorType(stored.dtype), const_value=stored)
            graph.register_initializer(stored)
            widen = ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)})
            value.replace_all_uses_with(widen.outputs[0])
            del graph.initializers[name]
            graph.insert_before(graph[0], widen)
