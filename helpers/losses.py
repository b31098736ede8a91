"""What the networks minimise: two losses with one signature, each a sum of named parts.

>>> mask_logits, depth_logits = net(batch["bg"], batch["bg_fg"])  # (B, 1, H, W) each, without a sigmoid
>>> parts = CourseLoss()(mask_logits, depth_logits, batch)  # {"loss": total, part: value, ...}, scalars
>>> parts["loss"].backward()

Depth is compared on ``valid`` pixels only. Every part is finite, with a finite gradient, for empty masks, full masks,
no valid pixel, and a prediction equal to the target.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.metrics import gaussian_window, ssim_map, window_mean

SSIM_WINDOW = 3  # pixels; the published loss and most depth networks since Godard et al. (2017) use 3 x 3


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of ``values`` where ``where`` is true; 0, with zero gradient, where it is nowhere true."""
    return torch.where(where, values, 0.0).sum() / where.sum().clamp_min(1)


def soft_dice_loss(
    prob: Tensor, target: Tensor, smooth: float = 1.0, per_image: bool = True, squared: bool = False
) -> Tensor:
    """1 - Dice of probabilities, in [0, 1].

    Args:
        prob, target: (B, 1, H, W) in [0, 1].
        smooth: pixels added to both sides of the fraction. It keeps empty masks meaningful: predicting nothing
            where there is nothing costs 0, and every wrong pixel costs more.
        per_image: a mean over images, so that a small cat counts as much as a large one; else one Dice for the batch.
        squared: square the terms of the denominator, as V-Net does (Milletari et al., 2016): then ``target`` itself is
            the minimum. With plain sums (Drozdzal et al., 2016), a pixel that is half cat costs least when it is
            predicted as 0 or 1, and a soft ``target`` itself costs more than 0.
    """
    axes = (1, 2, 3) if per_image else (0, 1, 2, 3)
    overlap = (prob * target).sum(axes)
    size = (prob**2 + target**2 if squared else prob + target).sum(axes)
    return (1 - (2 * overlap + smooth) / (size + smooth)).mean()


def ssim_loss(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """(1 - SSIM) / 2 over the 3 x 3 windows that are valid everywhere; 0 for equal maps, at most 1.

    Windows are uniform and not padded: a padded one would compare pixels beyond the frame that nobody measured.
    """
    similarity, inside = _valid_ssim(prediction, target, valid, torch.full((SSIM_WINDOW,), 1 / SSIM_WINDOW))
    return masked_mean((1 - similarity) / 2, inside)


def published_ssim_loss(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """The published project's, from kornia 0.3.1: Gaussian windows of 3 x 3, sigma 1.5, reflected at the frame.

    ``clamp(1 - SSIM, 0, 1) / 2`` has no gradient where SSIM is negative, so where the prediction is worst. Windows
    with an invalid pixel are left out; the published data has none.
    """
    padded = [F.pad(x.to(prediction.dtype), (1, 1, 1, 1), mode="reflect") for x in (prediction, target, valid)]
    similarity, inside = _valid_ssim(*padded[:2], padded[2] > 0.5, gaussian_window(SSIM_WINDOW, 1.5))
    return masked_mean((1 - similarity).clamp(0, 1) / 2, inside)


def _valid_ssim(prediction: Tensor, target: Tensor, valid: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM where the window fits, and which of these windows are valid everywhere."""
    inside = window_mean(valid.to(prediction.dtype), window) > 1 - 1e-3
    return ssim_map(torch.where(valid, prediction, 0.0), torch.where(valid, target, 0.0), window), inside


def gradient_loss(prediction: Tensor, target: Tensor, valid: Tensor, scales: int = 4) -> Tensor:
    """Mean |difference of slopes| at ``scales`` resolutions (Li & Snavely, MegaDepth, 2018): edges where edges are.

    Scale k looks at every 2^k-th pixel, so that wide steps count as well as fine ones. Each sum is divided by the
    pairs of valid neighbours, where MiDaS (Ranftl et al., 2022) divides by valid pixels: holes do not make it smaller.
    """
    error = torch.where(valid, prediction - target, 0.0)
    total = error.new_zeros(())
    for k in range(scales):
        e, v = error[..., :: 2**k, :: 2**k], valid[..., :: 2**k, :: 2**k]
        total = total + masked_mean((e[..., 1:] - e[..., :-1]).abs(), v[..., 1:] & v[..., :-1])
        total = total + masked_mean((e[..., 1:, :] - e[..., :-1, :]).abs(), v[..., 1:, :] & v[..., :-1, :])
    return total / scales


class CourseLoss(nn.Module):
    """Mask: BCE + soft Dice per image. Depth: L1 and, for its structure, (1 - SSIM)/2 + half the gradient loss.

    The depth parts see ``sigmoid(depth_logits)``: what is trained is what is scored. Depth counts twice, because it is
    the harder task, and structure twice within it, because what surrounds a pixel tells more about a depth map than
    the pixel: ``python -m helpers.benchmarks.ablation --choices equal structure`` measures these weights.
    """

    def __init__(self, gradient_weight: float = 0.5, depth_weight: float = 2.0, structure_weight: float = 2.0):
        super().__init__()
        self.gradient_weight, self.depth_weight, self.structure_weight = gradient_weight, depth_weight, structure_weight

    def extra_repr(self) -> str:  # by which a stored benchmark run knows its loss
        names = ("gradient_weight", "depth_weight", "structure_weight")
        return ", ".join(f"{name}={getattr(self, name):g}" for name in names)

    def forward(self, mask_logits: Tensor, depth_logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mask_logits, depth_logits = mask_logits.float(), depth_logits.float()  # sums need 32 bits
        mask, target, valid = batch["mask"], batch["depth"], batch["valid"]
        depth = depth_logits.sigmoid()
        parts = {
            "mask_bce": F.binary_cross_entropy_with_logits(mask_logits, mask),
            # Not squared: on validation rooms Dice and the boundary F-score were no better with it, and calibration worse.
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
    """The published loss, faults included.

    L1 and SSIM pull the *raw depth logit* towards [0, 1], while BCE and Dice pull its *sigmoid* towards the same
    target; both cannot be right (notebook 04 shows what comes of it). SSIM has no gradient where it is negative. BCE
    is taken after a sigmoid that has been rounded to 0 or 1: a confident error (logit 20, target 0) costs 100 and has
    no gradient.
    """

    def extra_repr(self) -> str:  # other than that of benchmark runs stored before SSIM and BCE were the published ones
        return "ssim=kornia-0.3.1, bce=saturating"

    def forward(self, mask_logits: Tensor, depth_logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mask_logits, depth_logits = mask_logits.float(), depth_logits.float()
        mask, target, valid = batch["mask"], batch["depth"], batch["valid"]
        seen = torch.where(valid, target, 0.0)
        mask_prob, depth_prob = mask_logits.sigmoid(), depth_logits.sigmoid()
        parts = {
            "mask_bce": saturating_bce(mask_prob, mask).mean(),
            "mask_dice": soft_dice_loss(mask_prob, mask, per_image=False),
            "depth_bce": masked_mean(saturating_bce(depth_prob, seen), valid),
            "depth_dice": soft_dice_loss(torch.where(valid, depth_prob, 0.0), seen, per_image=False),
            "depth_l1": masked_mean((depth_logits - target).abs(), valid),
            "depth_ssim": published_ssim_loss(depth_logits, target, valid),
        }
        return {"loss": sum(parts.values()), **parts}


def saturating_bce(prob: Tensor, target: Tensor) -> Tensor:
    """``torch.nn.BCELoss`` at each pixel: logarithms end at -100, and at 0 and 1 there is no gradient."""
    # NaN would raise here, on a GPU with an assertion that ends the process; the Dice carries it to the training loop.
    prob = torch.where(prob.isnan(), 0.5, prob)
    with torch.autocast(prob.device.type, enabled=False):  # where BCELoss refuses to work
        return F.binary_cross_entropy(prob, target, reduction="none")
