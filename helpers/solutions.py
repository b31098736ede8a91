"""One answer to each exercise, as `solution` shows it. `python -m helpers.checks strip` takes them out.

The names that these functions use are those that their notebook has imported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from helpers import lessons
from helpers.losses import soft_dice_loss

SOLUTIONS: dict[str, Callable] = {}


def solves(number: str) -> Callable[[Callable], Callable]:
    """Enter a function into the table as the solution of exercise ``number``."""

    def enter(answer: Callable) -> Callable:
        SOLUTIONS[number] = answer
        return answer

    return enter


# -- 04 losses and metrics ----------------------------------------------------------------------------------------


@solves("4.1")
def dice_of(prob, mask):
    found, real = prob > 0.5, mask > 0.5  # (B, 1, H, W)
    overlap = (found & real).sum((1, 2, 3))
    size = found.sum((1, 2, 3)) + real.sum((1, 2, 3))
    return torch.where(size > 0, 2 * overlap / size.clamp_min(1), 1.0)  # (B,)


@solves("4.2")
def mask_loss(logits, mask):
    entropy = F.binary_cross_entropy_with_logits(logits, mask)
    return entropy + soft_dice_loss(logits.sigmoid(), mask)


@solves("4.3")
def rmse_of(depth, batch):
    error = (depth - batch["depth"])[batch["valid"]]
    return error.square().mean().sqrt()


@solves("4.4")
def soft_iou_loss(prob, target, smooth=1.0):
    overlap = (prob * target).sum((1, 2, 3))
    union = prob.sum((1, 2, 3)) + target.sum((1, 2, 3)) - overlap
    return (1 - (overlap + smooth) / (union + smooth)).mean()


@solves("4.5")
def depth_score(depth, batch):
    error = (depth - batch["depth"])[batch["valid"]]
    return 1 - error.square().mean().sqrt()
