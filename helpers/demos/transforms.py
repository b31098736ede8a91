"""Augmentation of one quartet with albumentations: one pipeline, four images, every change in its place.

A pair of photographs differs from its neighbours in three ways. *Geometry* moves all four images together, in a
single resampling, so that mask and depth stay within half a pixel of the photographs. *Light* changes both photographs
alike and spares the targets. And what belongs to each exposure, *a hand that moved, noise, blur, JPEG*, is drawn for
``bg`` and for ``bg_fg`` separately. Training uses the batched :class:`helpers.augment.Augment`; this is for notebook
02, for data workers, and for whoever adds a change of their own from albumentations' long list.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from helpers.augment import rescale_depth
from helpers.config import CourseError
from helpers.dataset import Quartet

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for a newer version otherwise

import albumentations as A
from albumentations.core.type_definitions import Targets

# The targets that ride along with the main image. "mask" means: geometry only, nearest pixel, never a colour change.
TARGETS = {"bg": "image", "depth": "mask", "valid": "mask"}
PHOTOGRAPHS = ("image", "bg")
FILLS = ("invalid", "reflect")


@dataclass(frozen=True)
class Magnitudes:
    """How far each change may go; 0 switches it off. The defaults are what notebook 02 shows."""

    mirror: float = 0.5  # probability
    crop: float = 0.3  # the smallest crop has 1 - crop of the side
    rotate: float = 10.0  # degrees, either way
    brightness: float = 0.2  # share of full white, either way
    contrast: float = 0.2  # relative, either way
    hue: float = 10.0  # of 180, either way
    channels: float = 12.0  # of 255, either way, for red, green and blue by themselves
    shift: float = 2 / 64  # the room's camera, as a share of the side, either way
    exposure: float = 0.1  # relative, either way, of each photograph
    blur: float = 0.6  # greatest standard deviation beyond 0.1, pixels
    noise: float = 5.0  # greatest standard deviation, of 255
    jpeg: float = 30.0  # quality lost at most, of 100

    def times(self, factor: float) -> Magnitudes:
        """Everything ``factor`` times as strong (0: nothing is changed), within what makes sense."""
        most = {"mirror": 0.5, "crop": 0.9, "brightness": 1.0, "contrast": 1.0, "exposure": 1.0, "jpeg": 99.0}
        return replace(self, **{name: min(value * factor, most.get(name, 180)) for name, value in vars(self).items()})


class Move(A.DualTransform):
    """Mirror, crop, rotation, shift and resize as *one* affine map, sampled once.

    Two transforms in a row would round twice, and maps that keep whole pixels (depth) would drift away from the
    photographs, which are interpolated. Photographs are averaged first where they shrink. Masks take the pixel whose
    square holds the sampled point.

    Args:
        size: side of the square result, pixels.
        mirror: probability of left for right.
        crop: the smallest crop has ``1 - crop`` of the side.
        rotate: greatest angle either way, degrees, about the middle of the crop.
        shift: greatest way, either way along both axes, as a share of the side.
        fill: what comes from outside: ``"invalid"`` is 0 (and so is ``valid``), ``"reflect"`` the picture's mirror image.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, size: int, mirror=0.0, crop=0.0, rotate=0.0, shift=0.0, fill: str = "invalid", p: float = 1.0):
        super().__init__(p=p)
        if fill not in FILLS:
            raise CourseError(f"fill={fill!r}: choose one of {', '.join(FILLS)}.")
        self.size, self.mirror, self.crop, self.rotate, self.shift, self.fill = size, mirror, crop, rotate, shift, fill

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        return "size", "mirror", "crop", "rotate", "shift", "fill"

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        # As many numbers are drawn whatever the strengths are, so that a stronger change is the same change, stronger.
        uniform = self.py_random.uniform
        mirrored = uniform(0, 1) < self.mirror
        side = 1 - self.crop * uniform(0, 1)
        place = [(1 - side) * uniform(-0.5, 0.5) + self.shift * uniform(-1, 1) for _ in range(2)]
        degrees = self.rotate * uniform(-1, 1)
        return {
            "matrix": _matrix(params["shape"][:2], self.size, side, place, degrees, mirrored),
            "mirrored": mirrored,
            "side": side,
            "place": place,
            "degrees": degrees,
        }

    def apply(self, img: np.ndarray, matrix: np.ndarray, **params) -> np.ndarray:
        shrink = math.sqrt(abs(np.linalg.det(matrix[:, :2])))  # source pixels to one of the result
        if shrink > 1:
            img = cv2.GaussianBlur(img, (0, 0), 0.5 * math.sqrt(shrink**2 - 1), borderType=cv2.BORDER_REPLICATE)
        centred = matrix.copy()  # OpenCV counts from pixel centres, `matrix` from the picture's corner
        centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
        # Slightly outside is beyond the last centre but inside the picture: the border repeats, the rest is filled.
        out = cv2.warpAffine(img, centred, (self.size, self.size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                             borderMode=cv2.BORDER_REFLECT if self.fill == "reflect" else cv2.BORDER_REPLICATE)  # fmt: skip
        if self.fill == "invalid":
            _, _, inside = self._pixels(matrix, img.shape[:2])
            out[~inside] = 0
        return out

    def apply_to_mask(self, mask: np.ndarray, matrix: np.ndarray, **params) -> np.ndarray:
        x, y, inside = self._pixels(matrix, mask.shape[:2])
        out = mask[y, x]
        if self.fill == "invalid":
            out[~inside] = 0
        return out

    def _pixels(self, matrix: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Column and row of the source pixel of each pixel of the result, and whether it lies inside."""
        centre = np.arange(self.size) + 0.5
        x = matrix[0, 0] * centre + matrix[0, 1] * centre[:, None] + matrix[0, 2]  # (size, size)
        y = matrix[1, 0] * centre + matrix[1, 1] * centre[:, None] + matrix[1, 2]
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        return _reflected(x, shape[1]), _reflected(y, shape[0]), inside


def _matrix(shape: tuple[int, int], size: int, side: float, place, degrees: float, mirrored: bool) -> np.ndarray:
    """(2, 3): from a point of the result to one of the source, both in pixels from the upper left corner."""
    height, width = shape
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    scale = min(height, width) * side / size
    linear = scale * turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    middle = np.array([width * (0.5 + place[0]), height * (0.5 + place[1])])
    return np.column_stack((linear, middle - linear @ (size / 2, size / 2)))


def _reflected(x: np.ndarray, length: int) -> np.ndarray:
    """Index of the pixel that holds ``x``, the picture going on as its own mirror image outside."""
    folded = np.abs((x + length) % (2 * length) - length)  # -1 is 1, length + 1 is length - 1, and so on
    return np.clip(np.floor(folded).astype(np.int64), 0, length - 1)


class Apart(A.ImageOnlyTransform):
    """Runs one change over the photographs separately: each draws its own numbers.

    Declared as targets of one transform, both would get the very same noise, and it would vanish in their difference.

    Args:
        transform: any image transform.
        keys: the photographs that get it.
    """

    def __init__(self, transform: A.BasicTransform, keys: tuple[str, ...] = PHOTOGRAPHS):
        self.transform, self.keys = transform, keys  # first: the base class sets the seed of both
        super().__init__(p=1.0)

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        return "transform", "keys"

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
                self.params[key] = dict(self.transform.params)
        return data


def pipeline(size: int, strengths: Magnitudes = Magnitudes(), seed: int = 0, fill: str = "invalid", always: bool = False):
    """The course's changes to one quartet, in the order in which a camera makes them.

    Args:
        size: side of the result, pixels.
        strengths: how far each change may go.
        seed: the same seed gives the same sequence of changes.
        fill: what a rotation uncovers is ``"invalid"`` (0, unknown), or ``"reflect"``, the picture's mirror image.
        always: make each change every time, else each with a probability of its own.

    Returns:
        ``Compose`` for :func:`apply`. ``strict`` makes an undeclared image an error instead of leaving it behind.
    """
    s = strengths

    def often(p: float, strength: float) -> float:
        return 0.0 if strength == 0 else 1.0 if always else p

    compose = A.Compose(
        [
            Move(size, s.mirror, s.crop, s.rotate, fill=fill),
            A.RandomBrightnessContrast(s.brightness, s.contrast, p=often(0.8, max(s.brightness, s.contrast))),
            A.HueSaturationValue(s.hue, 2 * s.hue, 0, p=often(0.5, s.hue)),
            A.RGBShift(s.channels, s.channels, s.channels, p=often(0.5, s.channels)),
            Apart(Move(size, shift=s.shift, fill="reflect", p=often(0.8, s.shift)), keys=("bg",)),
            # A factor, as another exposure time gives; RandomBrightnessContrast would add instead.
            Apart(A.MultiplicativeNoise((1 - s.exposure, 1 + s.exposure), p=often(0.8, s.exposure))),
            Apart(A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 0.1 + s.blur), p=often(0.3, s.blur))),
            Apart(A.GaussNoise(std_range=(0, s.noise / 255), p=often(0.8, s.noise))),
            Apart(A.ImageCompression(quality_range=(100 - round(s.jpeg), 100), p=often(0.5, s.jpeg))),
        ],
        additional_targets=TARGETS,
        strict=True,
        save_applied_params=True,
    )
    return reseed(compose, seed)


def reseed(compose: A.Compose, seed: int) -> A.Compose:
    """Give all transforms *one* stream of random numbers, and return the pipeline.

    ``Compose(seed=...)`` gives each transform a generator of its own with the same seed, so that all of them draw the
    same numbers: whenever the picture is mirrored it is brightened too.
    """
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return compose


def apply(transform: A.Compose, quartet: Quartet) -> tuple[Quartet, list[tuple[str, dict]]]:
    """Run an albumentations pipeline over one quartet.

    Returns:
        The changed quartet (the contract holds: depth is scaled anew over the pixels that are still valid), and what
        was drawn, as (name of the transform, its parameters), if the pipeline has ``save_applied_params``. Changes
        that each photograph drew for itself have its name behind theirs.
    """
    def image(key: str) -> np.ndarray:
        return np.ascontiguousarray(quartet[key].permute(1, 2, 0).numpy())  # (H, W, C)

    out = transform(
        image=image("bg_fg"),
        bg=image("bg"),
        mask=quartet["mask"][0].numpy(),
        depth=quartet["depth"][0].numpy(),
        valid=quartet["valid"][0].numpy().astype(np.uint8),
    )

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    moved = {
        "bg": tensor(out["bg"]).permute(2, 0, 1).contiguous(),
        "bg_fg": tensor(out["image"]).permute(2, 0, 1).contiguous(),
        "mask": tensor(out["mask"])[None].float().clamp(0, 1),
        "depth": tensor(out["depth"])[None],
        "valid": tensor(out["valid"])[None] > 0,
        "near_far": quartet["near_far"],
    }
    batch = rescale_depth({key: value[None] for key, value in moved.items()})
    return {key: value[0] for key, value in batch.items()}, _drawn(transform, out.get("applied_transforms", []))


def _drawn(transform: A.Compose, applied: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """Albumentations' list of what was applied, with what stands inside :class:`Apart` told by its own name."""
    inner = iter(step for step in transform.transforms if isinstance(step, Apart) and step.params)
    names = {"image": "bg_fg", "bg": "bg"}
    drawn = []
    for name, parameters in applied:
        if name != Apart.__name__:
            drawn.append((name, parameters))
            continue
        step = type(next(inner).transform).__name__
        drawn += [(f"{step} of {names[key]}", values) for key, values in parameters.items()]
    return drawn


class Augmented(Dataset):
    """A dataset of quartets seen through an albumentations pipeline. Every worker and every epoch draws anew."""

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
