"""A measure of the checkerboard that upsampling leaves in depth maps, and what repeats in maps of any kind."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.metrics import window_mean

GRID_PERIOD = 16  # four doublings: artifacts of upsampling repeat every 2, 4, 8 or 16 pixels
GRID_STEP_CAP = 0.05  # larger steps are edges of the scene
# 17 weights with half-weight ends: the exact mean over one period, centred, for periods 2, 4, 8 and 16.
_BOX = torch.tensor([0.5] + [1.0] * (GRID_PERIOD - 1) + [0.5], dtype=torch.float64) / GRID_PERIOD


def grid_index(maps: Tensor, seed: int = 0) -> float:
    """How much (N, H, W) maps in [0, 1] step at fixed places of a 16-pixel grid, relative to their mean step; 0 = not.

    Steps between neighbouring pixels, capped, are averaged over images and rows; what stands out of a 16-pixel moving
    average is folded modulo 16. A null of the same images at random offsets is subtracted, so that noise scores 0.
    Print the target's own value beside it: labels can have a grid too. A pattern whose steps are equally large
    everywhere (every second column raised) escapes it.
    """
    offsets = np.random.default_rng(seed).integers(0, GRID_PERIOD, (8, len(maps)))
    squares = []
    for rows in (maps, maps.transpose(1, 2)):
        steps = (rows[:, :, 1:] - rows[:, :, :-1]).abs().double().clamp_max(GRID_STEP_CAP).mean(1)  # (N, W-1)
        null = np.mean([_fold([s.roll(int(k)) for s, k in zip(steps, shifts)]) for shifts in offsets])
        squares.append(max(0.0, _fold(list(steps)) - null))
    return float(np.mean(squares)) ** 0.5


def repeated_square(maps: Tensor) -> Tensor:
    """Mean square (N,) of the 16 x 16 tile to which each of (N, H, W) maps folds, less its 16-pixel moving average."""
    half, period = GRID_PERIOD // 2, GRID_PERIOD
    rest = maps[:, half:-half, half:-half] - window_mean(maps[:, None], _BOX)[:, 0]
    down, across = (size // period for size in rest.shape[1:])
    tiles = rest[:, : down * period, : across * period].reshape(-1, down, period, across, period).mean((1, 3))
    return tiles.square().mean((1, 2))


def _fold(steps: list[Tensor]) -> float:
    """Mean square over the 16 phases of the mean relative step."""
    profile, half = torch.stack(steps).mean(0), GRID_PERIOD // 2  # (W-1,)
    smooth = F.conv1d(profile.view(1, 1, -1), _BOX.to(profile.device).view(1, 1, -1)).flatten()
    relative = profile[half:-half] / smooth.clamp_min(1e-12) - 1
    phase = (torch.arange(len(relative), device=profile.device) + half + 1) % GRID_PERIOD
    sums, counts = torch.bincount(phase, relative, GRID_PERIOD), torch.bincount(phase, minlength=GRID_PERIOD)
    return (sums / counts.clamp_min(1)).square().mean().item()
