"""How good is a network on a whole data set, beside two baselines, :func:`subtract_background` and :class:`MeanDepth`?"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.augment import generator_of, perturb, resize
from helpers.dataset import Quartet, at_size, loader, to_device
from helpers.metrics import Meter
from helpers.model import evaluating, predicted

BATCH, AT_ONCE = 64, 16  # quartets; pairs in one forward pass, which needs less memory than a training step

Predictor = Callable[[Quartet], tuple[Tensor | None, Tensor | None]]  # mask_prob, depth; None where it predicts none


def evaluate(net: nn.Module, dataset: Dataset, size: int | None = None, perturbed: bool = False) -> dict[str, float]:
    """Every metric of ``net`` on ``dataset`` (see :class:`helpers.metrics.Meter`), without gradients, in 32 bits.

    Args:
        size: image size in pixels; default the dataset's own.
        perturbed: give each pair another camera position, exposure and noise first (:func:`helpers.augment.perturb`).
    """
    with evaluating(net):
        meter, predict = Meter(), network_predictor(net)
        for batch in test_batches(dataset, size, next(net.parameters(), torch.zeros(())).device, perturbed):
            meter.update(*predict(batch), batch)
    return meter.result()


def network_predictor(net: nn.Module, depth_activation: str | None = None, mirrored: bool = False) -> Predictor:
    """What :func:`helpers.model.predicted` says of a batch, whose arguments these are; its maps are where the batch is."""
    net.eval()

    @torch.no_grad()
    def predict(batch: Quartet) -> tuple[Tensor, Tensor]:
        where = next(net.parameters(), batch["bg"]).device
        pairs = zip(*(batch[name].split(AT_ONCE) for name in ("bg", "bg_fg")))
        maps = [predicted(net, *(x.to(where) for x in pair), depth_activation, mirrored) for pair in pairs]
        return tuple(torch.cat(parts).to(batch["bg"].device) for parts in zip(*maps))

    return predict


def test_batches(dataset: Dataset, size: int | None = None, device: torch.device | str = "cpu", perturbed: bool = False,
                 seed: int = 0) -> Iterator[Quartet]:  # fmt: skip
    """The whole set in order, batch by batch; the arguments are those of :func:`evaluate`."""
    dataset = at_size(dataset, size) if size else dataset
    batches = [list(range(i, min(i + BATCH, len(dataset)))) for i in range(0, len(dataset), BATCH)]
    for number, batch in enumerate(loader(dataset, batches)):
        batch = to_device(resize(batch, size) if size else batch, device)
        yield perturb(batch, generator_of(seed, number)) if perturbed else batch


THRESHOLD = 20  # of 255, in the channel that differs most; above the noise of a photograph, below most fur
CLOSING = 1 / 64  # radius of the closing, as a share of the image size: 1 pixel at 64, 3 at 192
SMALLEST_PART = 1 / 500  # of the image's area: a fifth of the smallest cat; 8 pixels at 64, 74 at 192


def subtract_background(bg: Tensor, bg_fg: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The cat is where the photographs differ (Piccardi, "Background subtraction techniques: a review", 2004).

    Threshold, closing, holes filled, small parts dropped: for each image by itself, on the CPU.

    Args:
        bg, bg_fg: (B, 3, H, W), both uint8 or both float in [0, 1]; ValueError if they differ in shape or type.
        threshold: least difference, in steps of 1/255, that counts.

    Returns:
        (B, 1, H, W) float32, 0 or 1, on the device of ``bg``.
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
    radius = max(1, round(CLOSING * max(mask.shape)))
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
    """Predicts the mean depth map of the training set, whatever its input: a network must do better than that."""

    map: Tensor  # (1, 1, H, W) in [0, 1], at the training set's size

    def fit(self, train_set: Dataset) -> "MeanDepth":
        """Average ``depth`` over the valid pixels at each place; one without any gets the mean of all, or 0.5."""
        total = count = torch.zeros(())
        for batch in test_batches(train_set):
            total = total + torch.where(batch["valid"], batch["depth"], 0.0).double().sum(0, keepdim=True)
            count = count + batch["valid"].sum(0, keepdim=True)
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
