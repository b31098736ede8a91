"""What breaks a mask: one corruption at a time, from weak to strong, so that a table can show what a method is robust
to.

:func:`helpers.augment.perturb` mixes what two real photographs differ by. Here each cause stands alone: noise, another
exposure, a moved camera, and a room that was saved again as JPEG, as the published archive's were.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from helpers.augment import shift_images
from helpers.dataset import Quartet
from helpers.evaluate import Predictor

# Of each kind; the camera's shift is in pixels at an image size of 64, whatever the size is.
CORRUPTION_LEVELS = {"noise": (2, 5, 10, 20), "exposure": (5, 10, 20, 40), "shift": (1, 2, 4, 8),
                     "jpeg": (90, 70, 50, 30)}  # fmt: skip
CORRUPTION_UNITS = {"noise": "noise, σ of 255", "exposure": "exposure, ± %", "shift": "camera shift, px of 64",
                    "jpeg": "JPEG quality"}  # fmt: skip


def corrupt(batch: Quartet, kind: str, level: float, generator: torch.Generator) -> Quartet:
    """Pairs with one corruption. ``bg_fg`` does not move, so ``mask`` and ``depth`` stay the ground truth.

    Args:
        batch: quartets with a batch dimension.
        kind: ``"noise"``: independent, in both photographs, standard deviation ``level`` of 255. ``"exposure"``: the
            room is ``level`` percent brighter or darker. ``"shift"``: the room's camera has moved by ``level`` pixels
            of 64, in a random direction. ``"jpeg"``: the room went through JPEG of quality ``level``.
        generator: a CPU generator.

    Raises:
        ValueError: no such kind.
    """
    bg, count = batch["bg"], len(batch["bg"])
    if kind == "noise":
        pair = torch.stack((bg, batch["bg_fg"])).cpu()  # (2, B, 3, H, W)
        pair = _bytes(pair + level * torch.randn(pair.shape, generator=generator)).to(bg.device)
        return {**batch, "bg": pair[0], "bg_fg": pair[1]}
    if kind == "exposure":
        sign = 2.0 * (torch.rand(count, 1, 1, 1, generator=generator) < 0.5) - 1
        return {**batch, "bg": _bytes(bg * (1 + sign.to(bg.device) * level / 100))}
    if kind == "shift":
        angle = 2 * torch.pi * torch.rand(count, generator=generator)
        way = torch.stack((angle.cos(), angle.sin()), 1) * level / 64  # (B, 2)
        return {**batch, "bg": _bytes(shift_images(bg.float(), way.to(bg.device)))}
    if kind == "jpeg":
        return {**batch, "bg": torch.stack([_reencoded(image, int(level)) for image in bg.cpu()]).to(bg.device)}
    raise ValueError(f"kind={kind!r}: choose one of {', '.join(CORRUPTION_LEVELS)}.")


def _bytes(image: Tensor) -> Tensor:
    return image.round().clamp(0, 255).to(torch.uint8)


def _reencoded(image: Tensor, quality: int) -> Tensor:
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)


def corrupted_mask_dice(predict: Predictor, batches: Sequence[Quartet], seed: int = 0) -> dict[str, list[float]]:
    """Mask Dice of ``predict(batch) -> mask_prob, depth``, over all pixels of all batches.

    Returns:
        for each corruption, and ``"clean"``, one Dice for each of its levels; every method meets the same pairs.
    """
    cases = [("clean", 0.0), *((kind, level) for kind, levels in CORRUPTION_LEVELS.items() for level in levels)]
    result: dict[str, list[float]] = {}
    for kind, level in cases:
        generator = torch.Generator().manual_seed(seed)
        overlap = size = 0
        for batch in batches:
            corrupted = batch if kind == "clean" else corrupt(batch, kind, level, generator)
            found, real = predict(corrupted)[0] > 0.5, batch["mask"] > 0.5
            overlap += (found & real).sum().item()
            size += (found.sum() + real.sum()).item()
        result.setdefault(kind, []).append(2 * overlap / size if size else 1.0)
    return result
