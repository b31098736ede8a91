"""From two photographs to a mask and a depth map: load a trained network, run it on pictures of any size, export it.

``python -m helpers.predict [--run FOLDER] [--size 192] [--to FOLDER]`` writes ``NAME.onnx``, which runs without PyTorch,
and ``NAME.pt2`` (``torch.export``), which runs without the network's Python code, and compares both with the network on
random pictures. Without ``--size`` they take any height and width that is a multiple of 16. An exported network gives
probabilities, so nobody who uses it has to know about logits.
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
from torch.export import Dim, ExportedProgram

from helpers.config import CourseError, plain_errors, runs_dir
from helpers.model import NETWORKS, STRIDE, probabilities
from helpers.utils import read_image, whole_file

WEIGHTS = Path(__file__).with_name("weights") / "DuoNet.safetensors"  # made by helpers.upkeep.publish_weights
MAX_WEIGHTS = 512 * 2**20  # bytes

Picture = np.ndarray | Image.Image | str | Path


def load(path: str | Path) -> nn.Module:
    """A trained network, in evaluation mode, from a run's folder or a ``.safetensors`` file.

    The network knows how it was trained: ``net.depth_activation`` and ``net.trained_size`` (the side, in pixels, of its
    last stage) tell :func:`predict` how to use it.

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
        net.depth_activation = used.get("depth_activation", "sigmoid")
        net.trained_size = int(used["stages"][-1]["size"]) if used.get("stages") else None
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"The weights in {file.name} do not fit {about['network']}: they come from another version.") from error
    return net.eval()


def pretrained() -> nn.Module:
    """The network with the course's own weights, in evaluation mode; see :func:`load`."""
    return load(WEIGHTS)


@torch.no_grad()
def predict(net: nn.Module, bg: Picture, bg_fg: Picture, side: int | None = None) -> dict[str, np.ndarray]:
    """The cat's mask and the scene's depth for one pair of pictures.

    Args:
        net: a trained network, see :func:`load`.
        bg: the room; an (H, W, 3) uint8 array, a PIL image or a path. Any size.
        bg_fg: the same view with the cat in it, of the same size.
        side: the longer side, in pixels, at which the network looks; default the side it was trained at, else at
            most 512. The picture is scaled to it, padded to a multiple of 16, and the results cropped and scaled back.

    Returns:
        ``{"mask": (H, W) float32, "depth": (H, W) float32}``, both in [0, 1]: the probability of cat, and depth from
        0 = nearest to 1 = farthest.

    Raises:
        CourseError: the two pictures differ in size, or one cannot be read.
    """
    bg, bg_fg = read_image(bg, "bg"), read_image(bg_fg, "bg_fg")
    if bg.shape != bg_fg.shape:
        raise CourseError(
            f"The room is {bg.shape[1]} x {bg.shape[0]} pixels, the picture with the cat {bg_fg.shape[1]} x {bg_fg.shape[0]}: "
            "take both with the same camera from the same place, or crop them alike."
        )
    if side is not None and side < STRIDE:
        raise CourseError(f"side={side}: the network needs at least {STRIDE} pixels.")
    height, width = bg.shape[:2]
    side = side or getattr(net, "trained_size", None) or min(512, max(height, width))
    scale = side / max(height, width)
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
LARGEST = 1024  # side, in pixels, that an export of any size accepts
TOLERANCE = 1e-4  # of a probability: two programs that add in another order
OPSET = 18


class Probabilities(nn.Module):
    """``bg, bg_fg -> mask, depth``: float32 pictures (B, 3, H, W) in [0, 1] to probabilities (B, 1, H, W)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.activation = net, getattr(net, "depth_activation", "sigmoid")

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        return probabilities(*self.net(bg, bg_fg), self.activation)


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
    return torch.export.export(Probabilities(net).eval(), (example, example.clone()), dynamic_shapes={name: shape for name in INPUTS})


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


class OnnxModel:
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
    generator, answer = torch.Generator().manual_seed(seed), Probabilities(net).eval()
    worst = 0.0
    for batch, height, width in shapes:
        pair = torch.rand(2, batch, 3, height, width, generator=generator)
        theirs = other(*(pair.numpy() if isinstance(other, OnnxModel) else pair))
        for own, others in zip(answer(*pair), theirs):
            worst = max(worst, (own - torch.as_tensor(others)).abs().max().item())
    return worst


def random_shapes(count: int = 6, seed: int = 0) -> list[tuple[int, int, int]]:
    """Batches of 1 to 3 pictures of 32 to 512 pixels a side."""
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(1, 4)), *(int(side) * STRIDE for side in rng.integers(2, 33, 2))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.predict", description=__doc__.splitlines()[0])
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
            other = torch.export.load(path).module() if suffix == "pt2" else OnnxModel(path)
            worst = largest_difference(net, other, shapes)
            print(f"{path.parent.name}/{path.name}: {path.stat().st_size / 1e6:.1f} MB, differs by at most {worst:.1e}")
            if worst > TOLERANCE:
                raise CourseError(f"{path.name} does not answer as the network does: do not use it.")


if __name__ == "__main__":
    main()
