"""Structural similarity of two maps in [0, 1] (Wang et al., 2004): used by the losses and by the metrics."""

from __future__ import annotations

import torch
from torch import Tensor

C1, C2 = 0.01**2, 0.03**2  # the paper's constants for a data range of 1


def gaussian_window(side: int = 11, sigma: float = 1.5) -> Tensor:
    """(side,) weights that sum to 1; 11 and 1.5 are the paper's."""
    x = torch.arange(side) - (side - 1) / 2
    weights = torch.exp(-(x**2) / (2 * sigma**2))
    return weights / weights.sum()


def uniform_window(side: int = 3) -> Tensor:
    """(side,) equal weights that sum to 1."""
    return torch.full((side,), 1 / side)


def window_mean(x: Tensor, window: Tensor) -> Tensor:
    """Weighted mean around each pixel of (B, 1, H, W), where the whole window fits: (B, 1, H-k+1, W-k+1)."""
    window = window.to(x)
    # Sums of shifted maps: on the CPU, convolutions with one channel, and their gradients, take several times as long.
    for axis in (2, 3):
        length = x.shape[axis] - len(window) + 1
        x = sum(weight * x.narrow(axis, shift, length) for shift, weight in enumerate(window))
    return x


def ssim_map(x: Tensor, y: Tensor, window: Tensor) -> Tensor:
    """SSIM around each pixel where the window fits, (B, 1, H-k+1, W-k+1), at most 1; symmetric in x and y."""
    moments = torch.cat((x, y, x * x, y * y, x * y))  # one pass of the window over all five
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = window_mean(moments, window).chunk(5)
    # Rounding breaks these two laws where values are large (raw logits of 100), and SSIM would leave [-1, 1].
    variance_x, variance_y = (mean_xx - mean_x**2).clamp_min(0), (mean_yy - mean_y**2).clamp_min(0)
    bound = (variance_x + variance_y) / 2
    covariance = (mean_xy - mean_x * mean_y).clamp(-bound, bound)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return luminance * structure
