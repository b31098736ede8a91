"""Notebook 04's experiments: maps (B, 1, H, W) that are wrong in a known way, and what losses make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.dataset import Quartet, normalise_depth
from helpers.metrics import dilate, gaussian_window, window_mean


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


def with_depth(batch: Quartet, seed: int = 0) -> Quartet:
    """The batch itself; where its source knows no depth, the same with depth maps drawn for it, which it says."""
    if batch["valid"].any():
        return batch
    print("These pictures come without depth: depth maps of drawn rooms stand in for it here.")
    metres = torch.stack([_drawn_depth(batch["bg"].shape[-1], seed + i) for i in range(len(batch["bg"]))])
    valid = torch.ones_like(metres, dtype=torch.bool)
    depth, near_far = normalise_depth(metres, valid)
    return {**batch, "depth": depth, "valid": valid, "near_far": near_far}


def _drawn_depth(side: int, seed: int) -> Tensor:
    """(1, side, side) metres: a floor, a back wall, and a box that stands before it."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    wall, horizon = draw.uniform(3, 6), draw.uniform(0.2, 0.4)
    floor = 0.5 / np.maximum(y - horizon, 1e-3)  # the ground under a level camera
    left, top = draw.uniform(0.1, 0.6), draw.uniform(0.35, 0.5)
    box = (x > left) & (x < left + 0.3) & (y > top) & (y < top + 0.3)
    metres = np.where(box, 0.5 / (top + 0.3 - horizon), np.minimum(floor, wall))
    return torch.from_numpy(metres).float()[None]


def responses(xlabel: str, x: Sequence[float], change: Callable[[float], Tensor],
              losses: Mapping[str, Callable[[Tensor], Tensor | float]]) -> tuple[str, Sequence, dict[str, list[float]]]:  # fmt: skip
    """``xlabel``, ``x``, and each loss (or metric) of ``change(x)`` by name: a panel for :func:`helpers.plots.show_panels`."""
    changed = [change(value) for value in x]
    return xlabel, x, {name: [float(loss(maps)) for maps in changed] for name, loss in losses.items()}
