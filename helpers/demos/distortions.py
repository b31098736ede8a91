"""Notebook 04's experiments: maps (B, 1, H, W) that are wrong in a known way, and what losses make of them."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.dataset import Quartet, get_batch
from helpers.metrics import dilate, gaussian_window, window_mean
from helpers.rendering.dataset import RoomsDataset


def moved(maps: Tensor, pixels: int) -> Tensor:
    """(B, 1, H, W) moved to the right; the left border repeats."""
    return F.pad(maps, (pixels, 0, 0, 0), mode="replicate")[..., : maps.shape[-1]]


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """(B, 1, H, W) under a Gaussian of ``sigma`` pixels; borders repeat."""
    if sigma == 0:
        return maps
    radius = math.ceil(3 * sigma)
    padded = F.pad(maps, (radius,) * 4, mode="replicate")
    return window_mean(padded, gaussian_window(2 * radius + 1, sigma)).clamp(0, 1)


def grown(mask: Tensor, pixels: int) -> Tensor:
    """A bool mask (B, 1, H, W) with its outline moved outwards by ``pixels``; inwards where negative."""
    return dilate(mask, pixels) if pixels >= 0 else ~dilate(~mask, -pixels)


def confident(prob: Tensor, confidence: float = 0.99) -> Tensor:
    """Logits of probabilities, none surer than ``confidence``: a network is never infinitely sure."""
    return prob.clamp(1 - confidence, confidence).logit()


def with_depth(batch: Quartet) -> Quartet:
    """The batch itself; where its source knows no depth, with that of rendered rooms, and a line that tells so."""
    if batch["valid"].any():
        return batch
    print("These pictures come without depth: depth maps of rendered rooms stand in for it here.")
    count = len(batch["bg"])
    rooms = RoomsDataset(batch["bg"].shape[-1], rooms=8, cats=2, placements=-(-count // 32))  # two flips of each
    others = get_batch(rooms, torch.linspace(0, len(rooms) - 1, count).long().tolist())
    return {**batch, **{key: others[key] for key in ("depth", "valid", "near_far")}}


def responses(
    xlabel: str, x: Sequence[float], change: Callable[[float], Tensor], losses: Mapping[str, Callable]
) -> tuple[str, Sequence, dict[str, list[float]]]:
    """``xlabel``, ``x``, and each loss (or metric) of ``change(x)`` by name: for :func:`helpers.plots.show_panels`."""
    changed = [change(value) for value in x]
    return xlabel, x, {name: [float(loss(maps)) for maps in changed] for name, loss in losses.items()}
