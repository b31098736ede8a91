"""From two photographs to a mask and a depth map: load a trained network, run it on pictures of any size, export it.

``python -m helpers.predict [--run FOLDER] [--size 192] [--to FOLDER]`` writes ``NAME.onnx``, which runs without PyTorch.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.export import Dim

from helpers.config import CourseError, plain_errors, runs_dir
from helpers.model import NETWORKS, STRIDE, probabilities
from helpers.utils import whole_file

WEIGHTS = Path(__file__).with_name("weights") / "DuoNet.safetensors"  # made by helpers.upkeep.publish_weights
MAX_PIXELS = 50_000_000  # a larger file is more likely an attack or a mistake than a photograph
MAX_WEIGHTS = 512 * 2**20  # bytes

Picture = np.ndarray | Image.Image | str | Path


def load(path: str | Path) -> nn.Module:
    """A trained network, in evaluation mode, from a run's folder or a ``.safetensors`` file.

    The network knows how it was trained: ``net.depth_activation`` and ``net.trained_size`` (the image size, in pixels, of
    its last stage) tell :func:`predict` how to use it.

    Raises:
        CourseError: nothing there, not weights of this course, or weights that do not fit the network they name.
    """
    path = Path(path)
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise CourseError(f"There are no weights at {file.parent.name}/{file.name}: train first (notebook 05), or check the path.")
    if file.stat().st_size > MAX_WEIGHTS:
        raise CourseError(f"{file.name} is larger than {MAX_WEIGHTS >> 20} MB: these are not weights of this course.")
    try:
        with safe_open(file, "pt") as stream:
            about = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
    except (SafetensorError, OSError) as error:
        raise CourseError(f"{file.name} is not a complete safetensors file ({error}): train again or copy it again.") from error
    if about.get("network") not in NETWORKS:
        raise CourseError(f"{file.name} names the network {about.get('network')!r}; this course has {' and '.join(NETWORKS)}.")
    net = NETWORKS[about["network"]]()
    try:
        net.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in tensors.items()})
        used = json.loads(about.get("recipe", "{}"))
        net.depth_activation = used.get("depth_activation") or used.get("depth_readout", "sigmoid")  # as it was called before
        net.trained_size = int(used["stages"][-1]["size"]) if used.get("stages") else None
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"The weights in {file.name} do not fit {about['network']}: they come from another version.") from error
    return net.eval()


def pretrained() -> nn.Module:
    """The network with the course's own weights, in evaluation mode; see :func:`load`."""
    return load(WEIGHTS)


def read_picture(picture: Picture, name: str = "picture") -> np.ndarray:
    """(H, W, 3) uint8 from an array, a PIL image or a file; EXIF orientation respected.

    Raises:
        CourseError: not an image, not uint8 RGB, or larger than 50 megapixels.
    """
    if isinstance(picture, (str, Path)):
        name = f"{name} ({Path(picture).name})"
    try:
        if isinstance(picture, (str, Path)):
            with Image.open(picture) as opened:
                array = _from_pil(opened, name)
        elif isinstance(picture, Image.Image):
            array = _from_pil(picture, name)  # Pillow decodes late: a damaged file may show only here
        else:
            array = np.asarray(picture)
    except CourseError:
        raise
    except FileNotFoundError as error:
        raise CourseError(f"{name} does not exist: check the path.") from error
    except Image.DecompressionBombError as error:  # its header claims so much that Pillow does not even open it
        raise CourseError(f"{name} is too large: scale it below {MAX_PIXELS // 10**6} megapixels.") from error
    except Exception as error:  # Pillow's decoders raise many kinds for a damaged file
        raise CourseError(f"{name} is not a readable image: use a complete JPEG or PNG file.") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise CourseError(f"{name} must be an array (H, W, 3) of uint8, not {array.shape} of {array.dtype}.")
    return array


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS:  # known from the header, before anything is decoded
        raise CourseError(f"{name} has {image.width} x {image.height} pixels: scale it below {MAX_PIXELS // 10**6} megapixels.")
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


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
        ``{"mask": (H, W) float32, "depth": (H, W) float32}``, both in [0, 1]: the probability of cat, and depth from
        0 = nearest to 1 = farthest.

    Raises:
        CourseError: the two pictures differ in size, or one cannot be read.
    """
    bg, bg_fg = read_picture(bg, "bg"), read_picture(bg_fg, "bg_fg")
    if bg.shape != bg_fg.shape:
        raise CourseError(
            f"The room is {bg.shape[1]} x {bg.shape[0]} pixels, the picture with the cat {bg_fg.shape[1]} x {bg_fg.shape[0]}: "
            "take both with the same camera from the same place, or crop them alike."
        )
    if size is not None and size < STRIDE:
        raise CourseError(f"size={size}: the network needs at least {STRIDE} pixels.")
    height, width = bg.shape[:2]
    size = size or getattr(net, "trained_size", None) or min(512, max(height, width))
    scale = size / max(height, width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    device = next(net.parameters()).device
    room, scene = (_prepare(image, inner).to(device) for image in (bg, bg_fg))
    was_training = net.training
    logits = net.eval()(room, scene)
    net.train(was_training)
    mask, depth = probabilities(*logits, getattr(net, "depth_activation", "sigmoid"))
    maps = torch.cat((mask, depth), 1)[..., : inner[0], : inner[1]]  # (1, 2, h, w), padding cut off
    maps = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    mask, depth = maps[0].cpu().numpy()
    return {"mask": mask, "depth": depth}


def _prepare(image: np.ndarray, inner: tuple[int, int]) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, h, w) in [0, 1], scaled to ``inner`` and padded to multiples of 16."""
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    x = F.interpolate(x, inner, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    return F.pad(x, (0, -inner[1] % STRIDE, 0, -inner[0] % STRIDE), mode="replicate")


# -- for other programs --------------------------------------------------------------------------------------------

INPUTS, OUTPUTS = ("bg", "bg_fg"), ("mask", "depth")
LARGEST = 1024  # image size, in pixels, that an export of any size accepts
TOLERANCE = 1e-4  # of a probability: two programs that add in another order
OPSET = 18


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

    Inputs ``bg, bg_fg`` and outputs ``mask, depth`` are those of :class:`Probabilities`: nobody who uses the file has to
    know about logits. Batches may have any length.

    Args:
        size: image size in pixels, a multiple of 16; None for any height and width from 32 to 1024 that are multiples of 16.

    Returns:
        the largest difference of a probability, at most :data:`TOLERANCE`.

    Raises:
        CourseError: another size, a package is missing, or the file predicts something else (then none is written).
    """
    if size is not None and (size < STRIDE or size % STRIDE):
        raise CourseError(f"size={size}: choose a multiple of {STRIDE}, say {max(STRIDE, -(-size // STRIDE) * STRIDE)}.")
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401 - torch.onnx needs it, and would say so less clearly
    except ImportError as error:
        raise CourseError("ONNX needs packages more: pip install onnx onnxscript onnxruntime.") from error
    model, shape = Probabilities(net).eval(), {0: Dim("batch", min=1, max=1024)}
    if size is None:
        # The example below is not a square: else the height would be taken to equal the width always.
        shape |= {2: STRIDE * Dim("h", min=2, max=LARGEST // STRIDE), 3: STRIDE * Dim("w", min=2, max=LARGEST // STRIDE)}
    example = torch.rand(2, 3, size or 4 * STRIDE, size or 6 * STRIDE)
    program = torch.export.export(model, (example, example.clone()), dynamic_shapes={name: shape for name in INPUTS})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions of the exporter's own parts
        made = torch.onnx.export(
            program, (), input_names=INPUTS, output_names=OUTPUTS, opset_version=OPSET, dynamo=True, verbose=False
        )
    with whole_file(path) as temporary:
        made.save(temporary, external_data=False)
        worst = largest_difference(model, OnnxModel(temporary), size)
        if worst > TOLERANCE:
            raise CourseError(f"{Path(path).name} would differ from the network by {worst:.1e}: it was not written.")
    return worst


@torch.no_grad()
def largest_difference(model: Probabilities, other: OnnxModel, size: int | None = None, seed: int = 0) -> float:
    """Between the probabilities of two programs, on pairs of random pictures of several heights and widths (or of ``size``)."""
    rng, worst = np.random.default_rng(seed), 0.0
    for batch in (1, 2, 3, 1):
        height, width = (size, size) if size else (STRIDE * int(side) for side in rng.integers(2, 25, 2))
        pair = rng.random((2, batch, 3, height, width), dtype=np.float32)
        for own, others in zip(model(*torch.from_numpy(pair)), other(*pair)):
            worst = max(worst, np.abs(own.numpy() - others).max().item())
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.predict", description="Write a network as ONNX.")
    parser.add_argument("--run", type=Path, help="a run's folder or a .safetensors file; default the course's own weights")
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
