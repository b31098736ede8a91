"""What the networks are told. Two losses with one signature; each returns its parts and their weighted sum.

``loss(mask_logits, depth_logits, batch) -> {"loss": total, part: value, ...}``: logits in, as the networks give
them; ``batch`` is a batch of quartets. Depth is compared on ``valid`` pixels only. Every part is finite, with a
finite gradient, for empty masks, full masks, no valid pixel, and a prediction equal to the target.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.metrics import ssim_map, uniform_window, window_mean

SSIM_WINDOW = 3  # side in pixels; the published loss and most depth networks since Godard et al. (2017) use 3


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of ``values`` where ``where`` is true; 0, with zero gradient, where it is nowhere true."""
    return torch.where(where, values, 0.0).sum() / where.sum().clamp_min(1)


def soft_dice_loss(prob: Tensor, target: Tensor, smooth: float = 1.0, per_image: bool = True) -> Tensor:
    """1 - Dice of probabilities (Milletari et al., 2016), in [0, 1].

    Args:
        prob, target: (B, 1, H, W) in [0, 1].
        smooth: pixels added to both sides of the fraction. It keeps empty masks meaningful: predicting nothing
            where there is nothing costs 0, and every wrong pixel costs more.
        per_image: a mean over images, so that a small cat counts as much as a large one; else one Dice for the batch.
    """
    axes = (1, 2, 3) if per_image else (0, 1, 2, 3)
    overlap = (prob * target).sum(axes)
    size = prob.sum(axes) + target.sum(axes)
    return (1 - (2 * overlap + smooth) / (size + smooth)).mean()


def ssim_loss(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """(1 - SSIM) / 2 over the windows that are valid everywhere; 0 for equal maps."""
    window = uniform_window(SSIM_WINDOW)
    inside = window_mean(valid.to(prediction.dtype), window) > 1 - 1e-3
    similarity = ssim_map(torch.where(valid, prediction, 0.0), torch.where(valid, target, 0.0), window)
    return masked_mean((1 - similarity) / 2, inside)


def gradient_loss(prediction: Tensor, target: Tensor, valid: Tensor, scales: int = 4) -> Tensor:
    """Mean |difference of slopes| at ``scales`` resolutions (Li & Snavely, MegaDepth, 2018): edges where edges are.

    Scale k looks at every 2^k-th pixel, so that wide steps count as well as fine ones.
    """
    error = torch.where(valid, prediction - target, 0.0)
    total = error.new_zeros(())
    for k in range(scales):
        e, v = error[..., :: 2**k, :: 2**k], valid[..., :: 2**k, :: 2**k]
        total = total + masked_mean((e[..., 1:] - e[..., :-1]).abs(), v[..., 1:] & v[..., :-1])
        total = total + masked_mean((e[..., 1:, :] - e[..., :-1, :]).abs(), v[..., 1:, :] & v[..., :-1, :])
    return total / scales


class CourseLoss(nn.Module):
    """Mask: BCE + soft Dice per image. Depth: L1 and, for its structure, (1 - SSIM)/2 + half the multi-scale gradient loss.

    The depth parts see ``sigmoid(depth_logits)``: what is trained is what is scored. Depth counts twice, because it is
    the harder task, and structure twice within it, because what surrounds a pixel says more about a depth map than the
    pixel: ``python -m helpers.benchmarks.ablation --choices equal structure`` measures these weights, in runs shorter than "quick".
    """

    def __init__(self, gradient_weight: float = 0.5, depth_weight: float = 2.0, structure_weight: float = 2.0):
        super().__init__()
        self.gradient_weight, self.depth_weight, self.structure_weight = gradient_weight, depth_weight, structure_weight

    def extra_repr(self) -> str:  # by which a stored trial knows its loss
        names = ("gradient_weight", "depth_weight", "structure_weight")
        return ", ".join(f"{name}={getattr(self, name):g}" for name in names)

    def forward(self, mask_logits: Tensor, depth_logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mask_logits, depth_logits = mask_logits.float(), depth_logits.float()  # sums need 32 bits
        mask, target, valid = batch["mask"], batch["depth"], batch["valid"]
        depth = depth_logits.sigmoid()
        parts = {
            "mask_bce": F.binary_cross_entropy_with_logits(mask_logits, mask),
            "mask_dice": soft_dice_loss(mask_logits.sigmoid(), mask),
            "depth_l1": masked_mean((depth - target).abs(), valid),
            "depth_ssim": ssim_loss(depth, target, valid),
            "depth_gradient": self.gradient_weight * gradient_loss(depth, target, valid),
        }
        return {"loss": self.total(parts), **parts}

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """The sum that is minimised; ``parts`` by name, each as it is before the tasks are weighed."""
        mask, l1 = parts["mask_bce"] + parts["mask_dice"], parts["depth_l1"]
        return mask + self.depth_weight * (l1 + self.structure_weight * (parts["depth_ssim"] + parts["depth_gradient"]))


class PublishedLoss(nn.Module):
    """The published loss, faults included: L1 and SSIM pull the *raw depth logit* towards [0, 1], while BCE and
    Dice pull its *sigmoid* towards the same target. Both cannot be right (notebook 04 shows what comes of it).
    """

    def forward(self, mask_logits: Tensor, depth_logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mask, target, valid = batch["mask"], batch["depth"], batch["valid"]
        seen = torch.where(valid, target, 0.0)
        bce = F.binary_cross_entropy_with_logits(depth_logits, seen, reduction="none")
        parts = {
            "mask_bce": F.binary_cross_entropy_with_logits(mask_logits, mask),
            "mask_dice": soft_dice_loss(mask_logits.sigmoid(), mask, per_image=False),
            "depth_bce": masked_mean(bce, valid),
            "depth_dice": soft_dice_loss(torch.where(valid, depth_logits.sigmoid(), 0.0), seen, per_image=False),
            "depth_l1": masked_mean((depth_logits - target).abs(), valid),
            "depth_ssim": ssim_loss(depth_logits, target, valid),
        }
        return {"loss": sum(parts.values()), **parts}
