"""From two photographs to a mask and a depth map: load a trained network, run it on pictures of any size."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import nn

from helpers.config import CourseError
from helpers.model import ACTIVATIONS, NETWORKS, STRIDE, evaluating, interpolate, predicted
from helpers.utils import checksum, read_image

# Made by helpers.upkeep.publish_weights, from the data that they are named by.
WEIGHTS = {data: Path(__file__).with_name("weights") / f"{name}.safetensors"
           for data, name in {"rooms": "DuoNet", "photographs": "DuoNet-photographs"}.items()}  # fmt: skip
MAX_WEIGHTS = 512 * 2**20  # bytes
MAX_SIZE = 1024  # pixels, that a network was trained at

Picture = np.ndarray | Image.Image | str | Path


def load(path: str | Path, net: nn.Module | None = None) -> nn.Module:
    """A trained network, in evaluation mode, from a run's folder or a ``.safetensors`` file.

    A network of a class of your own is not known by name: hand one in as ``net``, and it gets the weights.
    ``net.depth_activation``, ``net.trained_size`` (pixels, of its last stage, or those that the file names as the best
    for its masks) and ``net.depth_size`` tell :func:`predict` how to use it.

    Raises:
        CourseError: nothing there, not weights of this course, or weights that do not fit the network they name.
    """
    file = Path(path) / "weights.safetensors" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise CourseError(f"There are no weights at {file.parent.name}/{file.name}: train first (notebook 05).")
    if file.stat().st_size > MAX_WEIGHTS:
        raise CourseError(f"{file.name} is larger than {MAX_WEIGHTS >> 20} MB: these are not weights of this course.")
    try:
        with safe_open(file, "pt") as stream:
            about = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
    except (SafetensorError, OSError) as why:
        raise CourseError(f"{file.name} is not a complete safetensors file ({why!s:.99}): train or copy anew.") from why
    if (name := about.get("network")) not in NETWORKS and net is None:
        raise CourseError(f"{file.name} names the network {name!r}; this course has {' and '.join(NETWORKS)}. "
                          "If the class is yours, hand in a network of it as net.")  # fmt: skip
    net = NETWORKS[name]() if net is None else net
    try:
        used = json.loads(about.get("recipe", "{}"))
        activation = used.get("depth_activation") or used.get("depth_readout", "sigmoid")  # its old name
        size = about.get("size") or (used["stages"][-1]["size"] if used.get("stages") else 0)
        looked_at = int(size) or None, int(used.get("depth_size") or 0) or None
        if activation not in ACTIVATIONS or not all(STRIDE <= (size or STRIDE) <= MAX_SIZE for size in looked_at):
            raise ValueError("its recipe is none")
        whole = about.get("sha256") in (None, checksum(tensors, about))  # None: of an earlier version
        if not whole or not all(bool(value.isfinite().all()) for value in tensors.values()):
            raise ValueError("a weight is not finite, or not as it was written")
        net.load_state_dict(tensors)
        net.depth_activation, (net.trained_size, net.depth_size) = activation, looked_at
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CourseError(f"{file.name}: its weights do not fit {type(net).__name__}: damaged, or too old.") from error
    return net.eval().to(memory_format=torch.channels_last)  # on a CPU, two thirds of the time


def pretrained(data: str = "rooms") -> nn.Module:
    """The network with weights of the course, in evaluation mode: trained on rendered ``"rooms"`` alone, or then on
    ``"photographs"`` of real ones too, which ``helpers/weights/README.md`` names; see :func:`load`."""
    if data not in WEIGHTS:
        raise CourseError(f"There are no weights {data!r}: choose {' or '.join(map(repr, WEIGHTS))}.")
    return load(WEIGHTS[data])


def predict(
    net: nn.Module, bg: Picture, bg_fg: Picture, size: int | None = None, mirrored: bool = False
) -> dict[str, np.ndarray]:
    """The cat's mask and the scene's depth for one pair of pictures.

    Args:
        net: a trained network, see :func:`load`.
        bg: the room; an (H, W, 3) uint8 array, a PIL image or a path. Any size.
        bg_fg: the same view with the cat in it, of the same size.
        size: the longer side of what the network sees, in pixels; default the size it was trained at, else at most 512.
            The pictures are scaled to it, padded to a multiple of 16, and the results cropped and scaled back. Depth is
            looked at in ``net.depth_size`` pixels where that is less: see :func:`helpers.model.predicted`.
        mirrored: take the mean with what is predicted for the mirrored pair, in twice the time.

    Returns:
        ``{"mask": (H, W), "depth": (H, W)}``, float32 in [0, 1]: probability of cat; depth, 0 nearest, 1 farthest.

    Raises:
        CourseError: the two pictures differ in size, or one cannot be read.
    """
    bg, bg_fg = read_image(bg, "bg"), read_image(bg_fg, "bg_fg")
    if bg.shape != bg_fg.shape:
        sides = [f"{image.shape[1]} x {image.shape[0]}" for image in (bg, bg_fg)]
        raise CourseError(f"The room is {sides[0]} pixels, the picture with the cat {sides[1]}: "
                          "take both with the same camera from the same place, or crop them alike.")  # fmt: skip
    if size is not None and size < STRIDE:
        raise CourseError(f"size={size}: the network needs at least {STRIDE} pixels.")
    height, width = bg.shape[:2]
    size = size or getattr(net, "trained_size", None) or min(512, max(height, width))
    scale = size / max(height, width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    channels = (picture[..., i] for picture in (bg, bg_fg) for i in range(3))  # one by one: a float has four bytes
    pair = [interpolate(torch.from_numpy(channel.copy())[None, None].float().div_(255), inner) for channel in channels]
    pair = torch.cat(pair).view(2, 3, *inner).to(next(net.parameters()).device)
    with evaluating(net):
        maps = torch.cat(predicted(net, *pair.split(1), mirrored=mirrored), 1)  # (1, 2, h, w)
    maps = interpolate(maps, (height, width))
    return dict(zip(("mask", "depth"), maps[0].cpu().numpy()))
