"""Augmentation of one quartet with albumentations: what notebook 02 builds, with magnitudes that its sliders can set.

*Geometry* moves all four images together. *Colour* changes both photographs alike and leaves the targets as they are.
What belongs to one photograph, *camera shift, exposure, blur, noise, JPEG*, is drawn for ``bg`` and ``bg_fg`` separately.
Training uses the batched :class:`helpers.augment.Augment` instead.
"""

import os
import random
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from helpers.augment import rescale_depth
from helpers.config import CourseError
from helpers.dataset import Quartet

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for a newer version otherwise

import albumentations as A

# What goes with the main image. "mask" means: geometry only, nearest-neighbour sampling, never a colour change.
TARGETS = {"bg": "image", "depth": "mask", "valid": "mask"}
PHOTOGRAPHS = ("image", "bg")
FILLS = {"invalid": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT}


@dataclass(frozen=True)
class Magnitudes:
    """How far each change may go; 0 switches it off. The defaults are what notebook 02 shows."""

    mirror: float = 0.5  # probability
    crop: float = 0.3  # the smallest crop has 1 - crop of width and height
    rotate: float = 10.0  # degrees, either way
    brightness: float = 0.2  # share of full white, either way
    contrast: float = 0.2  # relative, either way
    hue: float = 10.0  # of 180, either way
    channels: float = 12.0  # of 255, either way, for red, green and blue by themselves
    shift: float = 3 / 64  # the room's camera, as a share of the width, either way; rounded towards 0, to whole pixels
    exposure: float = 0.1  # relative, either way, of each photograph
    blur: float = 0.6  # greatest standard deviation beyond 0.1, pixels
    noise: float = 5.0  # greatest standard deviation, of 255
    jpeg: float = 30.0  # quality lost at most, of 100

    def times(self, factor: float) -> "Magnitudes":
        """Everything ``factor`` times as strong (0: nothing is changed), within what makes sense."""
        most = {"mirror": 0.5, "crop": 0.9, "brightness": 1.0, "contrast": 1.0, "exposure": 1.0, "jpeg": 99.0}
        return replace(self, **{name: min(value * factor, most.get(name, 180)) for name, value in vars(self).items()})


class Apart(A.ImageOnlyTransform):
    """Runs one change over the photographs separately: each draws its own numbers.

    Declared as targets of one transform, both would get the very same noise, and it would vanish in their difference.
    """

    def __init__(self, transform: A.BasicTransform, keys: tuple[str, ...] = PHOTOGRAPHS):
        self.transform, self.keys = transform, keys  # first: the base class sets the seed of both
        super().__init__(p=1.0)

    def set_random_state(self, random_generator: np.random.Generator, py_random: random.Random) -> None:
        super().set_random_state(random_generator, py_random)
        self.transform.set_random_state(random_generator, py_random)

    def set_random_seed(self, seed: int | None) -> None:
        super().set_random_seed(seed)
        self.transform.set_random_seed(seed)

    def __call__(self, *args, force_apply: bool = False, **data) -> dict:
        self.params = {}
        for key in self.keys:
            data[key] = self.transform(image=data[key], force_apply=force_apply)["image"]
            if self.transform.params:
                name = f"{type(self.transform).__name__} of {'bg' if key == 'bg' else 'bg_fg'}"
                self.params[name] = dict(self.transform.params)
        return data


def pipeline(magnitudes=Magnitudes(), seed: int = 0, fill: str = "invalid", always: bool = False) -> A.Compose:
    """The course's changes to one quartet, in the order in which a camera makes them; the image size stays.

    Crop, rotation and shift are *one* affine map, sampled once: two in a row would round twice, and depth, which keeps
    whole pixels, would drift away from the photographs, which are interpolated.

    Args:
        magnitudes: how far each change may go; the same seed with greater ones gives the same movement, stronger.
        fill: what the movement uncovers is ``"invalid"`` (0, unknown), or ``"reflect"``, the picture's mirror image.
        always: make each change every time, except for mirroring; else each with a probability of its own.

    Raises:
        CourseError: there is no such fill.
    """
    if fill not in FILLS:
        raise CourseError(f"fill={fill!r}: choose one of {', '.join(FILLS)}.")
    m = magnitudes

    def often(p: float, magnitude: float) -> float:
        return 0.0 if magnitude == 0 else 1.0 if always else p

    crop, shift = (dict.fromkeys("xy", (-share, share)) for share in (m.crop / 4, m.shift))
    # Masks are sampled at the nearest neighbour, with 0 outside: that is Affine's default.
    move = A.Affine(scale=(1, 1 / (1 - m.crop)), keep_ratio=True, translate_percent=crop, rotate=(-m.rotate, m.rotate),
                    border_mode=FILLS[fill], p=1)  # fmt: skip
    hand = A.Affine(translate_percent=shift, border_mode=cv2.BORDER_REFLECT, p=often(0.8, m.shift))
    compose = A.Compose(
        [
            A.HorizontalFlip(p=m.mirror),
            move,
            A.RandomBrightnessContrast(m.brightness, m.contrast, p=often(0.8, max(m.brightness, m.contrast))),
            A.HueSaturationValue(m.hue, 2 * m.hue, 0, p=often(0.5, m.hue)),
            A.RGBShift(m.channels, m.channels, m.channels, p=often(0.5, m.channels)),
            Apart(hand, keys=("bg",)),
            # A factor, as another exposure time gives; RandomBrightnessContrast would add instead.
            Apart(A.MultiplicativeNoise((1 - m.exposure, 1 + m.exposure), p=often(0.8, m.exposure))),
            Apart(A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 0.1 + m.blur), p=often(0.3, m.blur))),
            Apart(A.GaussNoise(std_range=(0, m.noise / 255), p=often(0.8, m.noise))),
            Apart(A.ImageCompression(quality_range=(100 - round(m.jpeg), 100), p=often(0.5, m.jpeg))),
        ],
        additional_targets=TARGETS,
        strict=True,  # an undeclared image is an error, and not left behind
        save_applied_params=True,
    )
    return reseed(compose, seed)


def reseed(compose: A.Compose, seed: int) -> A.Compose:
    """Give all transforms *one* stream of random numbers, and return the pipeline.

    ``Compose(seed=...)`` gives each transform a generator of its own with the same seed. Those that draw equally many
    numbers then stay in step: two that mirror always do it together.
    """
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return compose


def apply(transform: A.Compose, quartet: Quartet) -> tuple[Quartet, list[tuple[str, dict]]]:
    """Run an albumentations pipeline over one quartet.

    Returns:
        The changed quartet, its depth scaled anew over the pixels that are still valid, and what was drawn, as (name of
        the transform, its parameters), if the pipeline has ``save_applied_params``. Changes that each photograph drew
        for itself have its name behind theirs.
    """
    bg, scene = (np.ascontiguousarray(quartet[key].permute(1, 2, 0).numpy()) for key in ("bg", "bg_fg"))  # (H, W, C)
    mask, depth, valid = (quartet[key][0].numpy() for key in ("mask", "depth", "valid"))
    out = transform(image=scene, bg=bg, mask=mask, depth=depth, valid=valid.astype(np.uint8))
    maps = {key: torch.from_numpy(np.ascontiguousarray(out[key])) for key in ("image", "mask", *TARGETS)}
    moved = {
        "bg": maps["bg"].permute(2, 0, 1).contiguous(),
        "bg_fg": maps["image"].permute(2, 0, 1).contiguous(),
        "mask": maps["mask"][None].float().clamp(0, 1),
        "depth": maps["depth"][None],
        "valid": maps["valid"][None] > 0,
        "near_far": quartet["near_far"],
    }
    batch = rescale_depth({key: value[None] for key, value in moved.items()})
    drawn = []
    for name, parameters in out.get("applied_transforms", []):
        drawn += parameters.items() if name == Apart.__name__ else [(name, parameters)]
    return {key: value[0] for key, value in batch.items()}, drawn


class Augmented(Dataset):
    """A dataset of quartets seen through an albumentations pipeline."""

    def __init__(self, dataset: Dataset, transform: A.Compose):
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Quartet:
        return apply(self.transform, self.dataset[index])[0]


def seed_worker(_: int) -> None:
    """``worker_init_fn`` for a DataLoader over :class:`Augmented`: without it, all workers draw the same changes."""
    info = get_worker_info()
    reseed(info.dataset.transform, info.seed % 2**32)
