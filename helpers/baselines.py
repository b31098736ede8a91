"""Two predictions without a network, which every trained network must stand beside.

:func:`subtract_background` finds the cat where the two photographs differ; :class:`MeanDepth` says of every room what
rooms are like on average. Neither has a parameter that was learnt from the pictures it is asked about.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from helpers.quartets import Quartet, fetch

THRESHOLD = 20  # of 255, in the channel that differs most; above the noise of a photograph, below most fur
CLOSING = 1 / 64  # radius of the closing, as a share of the image side: 1 pixel at 64, 3 at 192
SMALLEST_PART = 1 / 500  # of the image's area: a fifth of the smallest cat; 8 pixels at 64, 74 at 192
FIT_BATCH = 256


def subtract_background(bg: Tensor, bg_fg: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The cat is where the two photographs differ: threshold, closing, holes filled, small parts dropped.

    It is as old as fixed cameras; see Piccardi, "Background subtraction techniques: a review" (2004). Each image is
    treated by itself, on the CPU; the same pair gives the same mask in any batch.

    Args:
        bg, bg_fg: (B, 3, H, W), both uint8 or both float in [0, 1].
        threshold: least difference, in steps of 1/255, that counts.

    Returns:
        (B, 1, H, W) float32, 0 or 1, on the device of ``bg``.

    Raises:
        ValueError: shapes or types that differ, or images without a batch dimension.
    """
    if bg.ndim != 4 or bg.shape != bg_fg.shape or bg.dtype != bg_fg.dtype:
        raise ValueError(
            "bg and bg_fg must be alike, of shape (B, 3, H, W), "
            f"not {tuple(bg.shape)} of {bg.dtype} and {tuple(bg_fg.shape)} of {bg_fg.dtype}."
        )
    steps = 1 if bg.dtype == torch.uint8 else 255
    difference = (bg_fg.float() - bg.float()).abs().amax(1) * steps  # (B, H, W)
    masks = np.stack([_clean(mask) for mask in (difference > threshold).cpu().numpy()])
    return torch.from_numpy(masks)[:, None].to(bg.device, torch.float32)  # (B, 1, H, W)


def _clean(mask: np.ndarray) -> np.ndarray:
    """A bool mask (H, W) with its gaps closed, its holes filled, and its small parts gone."""
    side = max(mask.shape)
    radius = max(1, round(CLOSING * side))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    # A closing erodes what is outside the picture into it: work on a larger one, and cut the margin off again.
    padded = ndimage.binary_closing(np.pad(mask, radius, mode="edge"), x**2 + y**2 <= radius**2)
    mask = ndimage.binary_fill_holes(padded[radius:-radius, radius:-radius])
    parts, count = ndimage.label(mask)
    area = np.bincount(parts.ravel(), minlength=count + 1)
    large = area >= SMALLEST_PART * mask.size
    large[0] = False  # label 0 is the background
    return large[parts]


class MeanDepth:
    """Predicts the mean depth map of the training set, whatever it is shown.

    Rooms are alike: the floor in front is near, the wall above it is far. A network that does no better than this map
    has learnt nothing from the picture in front of it.
    """

    map: Tensor  # (1, 1, H, W) in [0, 1], at the training set's size

    def fit(self, train_set: Dataset) -> MeanDepth:
        """Average ``depth`` over the valid pixels at each place.

        A place that is valid in no image gets the mean of all valid pixels, and 0.5 if there is none at all.
        """
        total = count = torch.zeros(())
        for start in range(0, len(train_set), FIT_BATCH):
            batch = fetch(train_set, range(start, min(start + FIT_BATCH, len(train_set))))
            total = total + torch.where(batch["valid"], batch["depth"], 0.0).double().sum(0, keepdim=True).cpu()
            count = count + batch["valid"].sum(0, keepdim=True).cpu()
        overall = total.sum() / count.sum() if count.sum() else torch.tensor(0.5, dtype=torch.double)
        self.map = torch.where(count > 0, total / count.clamp_min(1), overall).float()
        return self

    def predict(self, batch: Quartet) -> Tensor:
        """(B, 1, H, W) in [0, 1], at the size and on the device of ``batch``."""
        if not hasattr(self, "map"):
            raise ValueError("There is no mean yet: call fit(train_set) first.")
        shape = batch["bg"].shape
        resized = F.interpolate(self.map, shape[-2:], mode="bilinear", align_corners=False, antialias=True)
        return resized.to(batch["bg"].device).expand(shape[0], -1, -1, -1)
