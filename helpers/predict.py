"""From two photographs to a mask and a depth map: load a trained network, run it on pictures of any size, export it.

``python -m helpers.predict [--run FOLDER] [--size 192] [--to FOLDER]`` writes ``NAME.onnx``, which runs without
PyTorch.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.export import Dim

from helpers.config import CourseError, plain_errors, runs_dir
from helpers.model import NETWORKS, STRIDE, probabilities
from helpers.utils import read_image, whole_file

WEIGHTS = Path(__file__).with_name("weights") / "DuoNet.safetensors"  # made by helpers.upkeep.publish_weights
MAX_WEIGHTS = 512 * 2**20  # bytes

Picture = np.ndarray | Image.Image | str | Path


def load(path: str | Path) -> nn.Module:
    """A trained network, in evaluation mode, from a run's folder or a ``.safetensors`` file.

    ``net.depth_activation`` and ``net.trained_size`` (pixels, of its last stage) tell :func:`predict` how to use it.

    Raises:
        CourseError: nothing there, not weights of this course, or weights that do not fit the network they name.
    """
    path = Path(path)
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise CourseError(f"There are no weights at {file.parent.name}/{file.name}: train first (notebook 05).")
    if file.stat().st_size > MAX_WEIGHTS:
        raise CourseError(f"{file.name} is larger than {MAX_WEIGHTS >> 20} MB: these are not weights of this course.")
    try:
        with safe_open(file, "pt") as stream:
            about = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
    except (SafetensorError, OSError) as error:
        raise CourseError(f"{file.name} is not a complete safetensors file ({error}): train or copy anew.") from error
    if (name := about.get("network")) not in NETWORKS:
        raise CourseError(f"{file.name} names the network {name!r}; this course has {' and '.join(NETWORKS)}.")
    net = NETWORKS[name]()
    try:
        net.load_state_dict(tensors)
        used = json.loads(about.get("recipe", "{}"))
        net.depth_activation = used.get("depth_activation") or used.get("depth_readout", "sigmoid")  # its old name
        net.trained_size = int(used["stages"][-1]["size"]) if used.get("stages") else None
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"The weights in {file.name} do not fit {name}: they come from another version.") from error
    return net.eval()


def pretrained() -> nn.Module:
    """The network with the course's own weights, in evaluation mode; see :func:`load`."""
    return load(WEIGHTS)


@torch.no_grad()
def predict(net: nn.Module, bg: Picture, bg_fg: Picture, size: int | None = None) -> dict[str, np.ndarray]:
    """The cat's mask and the scene's depth for one pair of pictures.

    Args:
        net: a trained network, see :func:`load`.
        bg: the room; an (H, W, 3) uint8 array, a PIL image or a path. Any size.
        bg_fg: the same view with the cat in it, of the same size.
        size: the longer side of what the network sees, in pixels; default the size it was trained at, else at most 512.
            The pictures are scaled to it, padded to a multiple of 16, and the results cropped and scaled back.

    Returns:
        ``{"mask": (H, W), "depth": (H, W)}``, float32 in [0, 1]: probability of cat; depth, 0 nearest, 1 farthest.

    Raises:
        CourseError: the two pictures differ in size, or one cannot be read.
    """
    bg, bg_fg = read_image(bg, "bg"), read_image(bg_fg, "bg_fg")
    if bg.shape != bg_fg.shape:
        raise CourseError(
            f"The room is {bg.shape[1]} x {bg.shape[0]} pixels, the picture with the cat {bg_fg.shape[1]} x "
            f"{bg_fg.shape[0]}: take both with the same camera from the same place, or crop them alike."
        )
    if size is not None and size < STRIDE:
        raise CourseError(f"size={size}: the network needs at least {STRIDE} pixels.")
    height, width = bg.shape[:2]
    size = size or getattr(net, "trained_size", None) or min(512, max(height, width))
    scale = size / max(height, width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    pair = torch.from_numpy(np.stack((bg, bg_fg))).permute(0, 3, 1, 2).float() / 255  # (2, 3, H, W)
    pair = F.interpolate(pair, inner, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    pair = F.pad(pair, (0, -inner[1] % STRIDE, 0, -inner[0] % STRIDE), mode="replicate")  # to multiples of 16
    was_training = net.training
    logits = net.eval()(*pair.to(next(net.parameters()).device).split(1))
    net.train(was_training)
    mask, depth = probabilities(*logits, getattr(net, "depth_activation", "sigmoid"))
    maps = torch.cat((mask, depth), 1)[..., : inner[0], : inner[1]]  # (1, 2, h, w), padding cut off
    maps = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    return dict(zip(OUTPUTS, maps[0].cpu().numpy()))


# -- for other programs --------------------------------------------------------------------------------------------

INPUTS, OUTPUTS = ("bg", "bg_fg"), ("mask", "depth")
TOLERANCE = 1e-4  # of a probability: two programs that add in another order


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


def export_onnx(net: nn.Module, path: str | Path, size: int | None = None) -> float:
    """Write ``net`` as ONNX, weights inside, and compare it with the network on random pictures.

    Inputs and outputs are those of :class:`Probabilities`, no logits. Batches may have any length.

    Args:
        size: image size in pixels, a multiple of 16; None for any height and width, multiples of 16, from 32 to 1024.

    Returns:
        the largest difference of a probability, at most :data:`TOLERANCE`.

    Raises:
        CourseError: another size, a package is missing, or the file predicts something else (then none is written).
    """
    if size is not None and (size < STRIDE or size % STRIDE):
        raise CourseError(f"size={size}: choose a multiple of {STRIDE}, say {max(STRIDE, -(-size // STRIDE) * STRIDE)}")
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401 - torch.onnx needs it, and would say so less clearly
    except ImportError as error:
        raise CourseError("ONNX needs packages more: pip install onnx onnxscript onnxruntime.") from error
    model, shape = Probabilities(net).eval(), {0: Dim("batch", min=1, max=1024)}
    if size is None:  # from 32 to 1024 pixels
        # The example below is not a square: else the height would be taken to equal the width always.
        shape |= {axis: STRIDE * Dim(name, min=2, max=64) for axis, name in ((2, "h"), (3, "w"))}
    example = torch.rand(2, 3, size or 4 * STRIDE, size or 6 * STRIDE)
    program = torch.export.export(model, (example, example.clone()), dynamic_shapes={name: shape for name in INPUTS})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions of the exporter's own parts
        made = torch.onnx.export(program, input_names=INPUTS, output_names=OUTPUTS, opset_version=18, verbose=False)
    with whole_file(path) as temporary:
        made.save(temporary, external_data=False)
        worst = largest_difference(model, OnnxModel(temporary), size)
        if worst > TOLERANCE:
            raise CourseError(f"{Path(path).name} would differ from the network by {worst:.1e}: it was not written.")
    return worst


@torch.no_grad()
def largest_difference(model: Probabilities, other: OnnxModel, size: int | None = None, seed: int = 0) -> float:
    """Between the probabilities of two programs, on random pairs of several heights and widths (or of ``size``)."""
    rng, worst = np.random.default_rng(seed), 0.0
    for batch in (1, 2, 3, 1):
        height, width = (size, size) if size else (STRIDE * int(side) for side in rng.integers(2, 25, 2))
        pair = rng.random((2, batch, 3, height, width), dtype=np.float32)
        for own, others in zip(model(*torch.from_numpy(pair)), other(*pair)):
            worst = max(worst, np.abs(own.numpy() - others).max().item())
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.predict", description="Write a network as ONNX.")
    parser.add_argument("--run", type=Path, help="a run's folder or a .safetensors file; default: the course's weights")
    parser.add_argument("--size", type=int, help="image size in pixels; default any")
    parser.add_argument("--to", type=Path, default=runs_dir() / "export", help="folder for the file")
    arguments = parser.parse_args()
    with plain_errors():
        net = load(arguments.run) if arguments.run else pretrained()
        path = arguments.to / f"{type(net).__name__}-{arguments.size or 'any'}.onnx"
        worst = export_onnx(net, path, arguments.size)
        print(f"{path.parent.name}/{path.name}: {path.stat().st_size / 1e6:.1f} MB, differs by at most {worst:.1e}")


if __name__ == "__main__":
    main()
