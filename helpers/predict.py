"""From two photographs to a mask and a depth map: load a trained network, run it on pictures of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from helpers.config import CourseError
from helpers.model import NETWORKS, STRIDE, probabilities

MAX_PIXELS = 50_000_000  # a larger file is more likely an attack or a mistake than a photograph
MAX_WEIGHTS = 512 * 2**20  # bytes

Picture = np.ndarray | Image.Image | str | Path


def load(path: str | Path) -> nn.Module:
    """A trained network, in evaluation mode, from a run's folder or a ``.safetensors`` file.

    The network knows how it was trained: ``net.depth_readout`` and ``net.trained_size`` (the side, in pixels, of its
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
        net.depth_readout = used.get("depth_readout", "sigmoid")
        net.trained_size = int(used["stages"][-1]["size"]) if used.get("stages") else None
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"The weights in {file.name} do not fit {about['network']}: they come from another version.") from error
    return net.eval()


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
    bg, bg_fg = read_picture(bg, "bg"), read_picture(bg_fg, "bg_fg")
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
    mask, depth = probabilities(*logits, getattr(net, "depth_readout", "sigmoid"))
    maps = torch.cat((mask, depth), 1)[..., : inner[0], : inner[1]]  # (1, 2, h, w), padding cut off
    maps = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    mask, depth = maps[0].cpu().numpy()
    return {"mask": mask, "depth": depth}


def _prepare(image: np.ndarray, inner: tuple[int, int]) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, h, w) in [0, 1], scaled to ``inner`` and padded to multiples of 16."""
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    x = F.interpolate(x, inner, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    return F.pad(x, (0, -inner[1] % STRIDE, 0, -inner[0] % STRIDE), mode="replicate")
