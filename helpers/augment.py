"""Changes to quartets that keep the data format: geometry moves all images together, colour leaves the targets alone.

Everything here works on a whole batch on its device, which is what training needs. The same for one quartet, with
albumentations, is in :mod:`helpers.demos.transforms`.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.dataset import Quartet, normalise_depth

# By how much two photographs of one room differ that are taken one after the other: "perturbed pairs" have this.
SHIFT = 2 / 64  # of the image size, either way
EXPOSURE = 0.10
NOISE = 5 / 255


class Perturbation(NamedTuple):
    """How much two photographs may differ: greatest changes either way, as shares; 0 changes nothing."""

    shift: float = SHIFT
    exposure: float = EXPOSURE
    noise: float = NOISE
    turn: float = 0.0  # radians
    scale: float = 0.0
    balance: float = 0.0  # of each colour: white balance
    blur: float = 0.0  # of the image size, along which the scene's camera moves


# Of a pair that is taken by hand, without registration: 2 degrees; JPEG is left out, as it is slow on a batch.
HANDHELD = Perturbation(0.06, 0.4, 20 / 255, 0.035, 0.03, 0.1, 0.015)


def generator_of(*numbers: int) -> torch.Generator:
    """A CPU generator that these numbers alone decide: nothing about a batch depends on what was drawn before it."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


class Draws:
    """Random numbers for the quartets of one batch, or of one process's part of it.

    ``part = (rank, processes)``: this batch holds every ``processes``-th quartet of a larger one, from number ``rank``
    on, and gets the same numbers as there. So two processes draw together what one would.
    """

    def __init__(self, generator: torch.Generator, count: int, part: tuple[int, int] = (0, 1)):
        self.generator, self.count = generator, count * part[1]
        self.mine = slice(part[0], None, part[1])

    def uniform(self, low: float, high: float, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """(B, *shape) between ``low`` and ``high``, drawn on the CPU."""
        drawn = (torch.rand(self.count, *shape, generator=self.generator) * (high - low) + low)[self.mine]
        return drawn.to(device, non_blocking=True)  # else the program waits until a GPU has done all it was given

    def normal(self, *shape: int, device: torch.device) -> Tensor:
        """(B, *shape) with standard deviation 1, drawn where it is needed."""
        # Seeds, not noise, come from the CPU's generator: drawing that many numbers there would be slow.
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(self.count, *shape, generator=generator, device=device)[self.mine]


def perturb(batch: Quartet, generator: torch.Generator, share: float = 1.0, part: tuple[int, int] = (0, 1),
            by: Perturbation = Perturbation()) -> Quartet:  # fmt: skip
    """Give pairs what two real photographs have: camera shift, another exposure, independent noise.

    ``bg`` moves by up to 1/32 of the image size (2 px at 64 px) and changes its exposure by up to 10 %; both images
    get noise of 5/255. ``bg_fg`` does not move, so ``mask`` and ``depth`` stay right.

    Args:
        batch: quartets with a batch dimension, on any device.
        generator: a CPU generator; the same state gives the same change, but for the noise, which is the device's own.
        share: probability, for each pair, of being perturbed.
        part: which part of a larger batch this is, see :class:`Draws`.
        by: other magnitudes, such as :data:`HANDHELD`; its noise is drawn from 5/255, or less, to ``by.noise``.
    """
    bg, bg_fg, device = batch["bg"], batch["bg_fg"], batch["bg"].device
    draws = Draws(generator, len(bg), part)
    chosen = draws.uniform(0, 1, 1, 1, 1, device=device) < share
    shift = torch.stack([draws.uniform(-by.shift, by.shift, device=device) for _ in "xy"], 1)
    gain = draws.uniform(1 - by.exposure, 1 + by.exposure, 1, 1, 1, device=device)
    noise = draws.normal(2, *bg.shape[1:], device=device).transpose(0, 1)  # (2, B, 3, H, W)
    # These draws come last: so the others are what they were before there were these.
    turn, scale = draws.uniform(-by.turn, by.turn, device=device), draws.uniform(-by.scale, by.scale, device=device)
    balance = draws.uniform(1 - by.balance, 1 + by.balance, 3, 1, 1, device=device)
    along = torch.stack([draws.uniform(-by.blur, by.blur, device=device) for _ in "xy"], 1)
    level = draws.uniform(min(NOISE, by.noise), by.noise, 1, 1, 1, device=device) * 255
    moved, scene = shift_images(bg.float(), shift, turn, scale) * gain * balance, bg_fg.float()
    if by.blur:  # a path to and fro, so that the mask stays right
        scene = sum(shift_images(scene, step * along) for step in (-0.5, -0.25, 0.0, 0.25, 0.5)) / 5
    pair = torch.stack((moved, scene)) + noise * level
    pair = pair.round().clamp(0, 255).to(torch.uint8)
    return {**batch, "bg": torch.where(chosen, pair[0], bg), "bg_fg": torch.where(chosen, pair[1], bg_fg)}


def shift_images(images: Tensor, shift: Tensor, turn: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """Look at (B, 3, H, W) from (B, 2) shares of the image size farther right and down, between pixels too: what is
    seen moves left and up, and the border repeats. ``turn`` (B,) in radians, and ``scale`` (B,), the share by which
    more is seen, are about the middle of the image.
    """
    theta = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    theta[:, :, 2] = 2 * shift  # grid coordinates run from -1 to 1
    if turn is not None and scale is not None:
        cos, sin = turn.cos() * (1 + scale), turn.sin() * (1 + scale)
        theta[:, :, :2] = torch.stack((cos, -sin, sin, cos), 1).view(-1, 2, 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


class Augment:
    """What the course's training does to each batch: mirror, crop, colour, and perturb some of the pairs.

    Mirror and crop move all images of a quartet together (one sampling grid; mask and photographs are interpolated,
    depth takes the nearest pixel, so that no depth is invented) and depth is scaled anew, because a crop has its own
    nearest and farthest pixel. Colour and brightness change both photographs alike and leave the targets alone.
    """

    def __init__(self, perturbed: float = 0.5, crop: float = 0.3, colour: float = 0.25, cropped: float = 1.0,
                 handheld: float = 0.0):  # fmt: skip
        """
        Args:
            perturbed: share of the pairs that :func:`perturb` changes.
            crop: the smallest crop has 1 - crop of the image size.
            cropped: share of the quartets that are cropped; the others keep their size, at which they are tested.
            colour: greatest relative change of brightness, contrast and of each colour channel.
            handheld: share of the pairs that are perturbed by :data:`HANDHELD` too, as pairs nobody registered.
        """
        self.handheld, self.perturbed, self.crop, self.cropped, self.colour = handheld, perturbed, crop, cropped, colour

    def __call__(self, batch: Quartet, generator: torch.Generator, part: tuple[int, int] = (0, 1)) -> Quartet:
        """``generator`` is a CPU generator; ``part`` says which part of a larger batch this is, see :class:`Draws`."""
        draws = Draws(generator, len(batch["bg"]), part)
        batch = self._tint(self._move(batch, draws), draws)
        batch = perturb(batch, generator, self.perturbed, part) if self.perturbed else batch
        return perturb(batch, generator, self.handheld, part, HANDHELD) if self.handheld else batch

    def _move(self, batch: Quartet, draws: Draws) -> Quartet:
        count, device = len(batch["bg"]), batch["bg"].device
        drawn = draws.uniform(0, 1)  # decides whether a quartet is cropped, and how much
        scale = 1 - self.crop * torch.where(drawn < self.cropped, drawn / max(self.cropped, 1e-9), 0.0)
        mirror = torch.where(draws.uniform(0, 1) < 0.5, -1.0, 1.0)
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
        theta[:, 0, 2], theta[:, 1, 2] = ((1 - scale) * draws.uniform(-1, 1) for _ in "xy")
        grid = F.affine_grid(theta.to(device, non_blocking=True), list(batch["bg"].shape), align_corners=False)
        smooth = torch.cat((batch["bg"].float(), batch["bg_fg"].float(), batch["mask"]), 1)  # (B, 7, H, W)
        smooth = F.grid_sample(smooth, grid, mode="bilinear", padding_mode="border", align_corners=False)
        exact = torch.cat((batch["depth"], batch["valid"].float()), 1)  # (B, 2, H, W)
        exact = F.grid_sample(exact, grid, mode="nearest", padding_mode="border", align_corners=False)
        return rescale_depth({
            "bg": smooth[:, :3].round().to(torch.uint8), "bg_fg": smooth[:, 3:6].round().to(torch.uint8),
            "mask": smooth[:, 6:].clamp(0, 1), "depth": exact[:, :1], "valid": exact[:, 1:] > 0.5,
            "near_far": batch["near_far"],
        })  # fmt: skip

    def _tint(self, batch: Quartet, draws: Draws) -> Quartet:
        device = batch["bg"].device
        gain, contrast = (draws.uniform(1 - self.colour, 1 + self.colour, 1, 1, 1, device=device) for _ in range(2))
        channel = draws.uniform(1 - self.colour / 2, 1 + self.colour / 2, 3, 1, 1, device=device)
        grey = batch["bg"].float().mean((1, 2, 3), keepdim=True)  # one middle for both, or they would drift apart

        def tint(image: Tensor) -> Tensor:
            changed = ((image.float() - grey) * contrast + grey) * gain * channel
            return changed.round().clamp(0, 255).to(torch.uint8)

        return {**batch, "bg": tint(batch["bg"]), "bg_fg": tint(batch["bg_fg"])}


def rescale_depth(batch: Quartet) -> Quartet:
    """After a crop or a rotation: depth 0 and 1 are again the nearest and farthest valid pixel of *this* image."""
    near, far = batch["near_far"].view(-1, 2, 1, 1, 1).unbind(1)  # (B, 1, 1, 1) each
    depth, ends = normalise_depth(batch["depth"], batch["valid"])
    low, high = ends.view(-1, 2, 1, 1, 1).unbind(1)
    near_far = torch.stack((near + low * (far - near), near + high * (far - near)), 1).flatten(1)  # (B, 2)
    return {**batch, "depth": depth, "near_far": near_far}


def resize(batch: Quartet, size: int, antialias: bool = True) -> Quartet:
    """A batch at another image size: photographs and mask interpolated, depth and valid by the nearest pixel.

    Shrinking averages over all pixels that become one; without ``antialias``, as in the published training, it looks
    at four of them, whatever lies between. Training and evaluation do not resize quartets of a dataset that can make
    them at any size (``at_size``): such a dataset makes them anew, and ``antialias`` changes nothing.
    """
    if batch["bg"].shape[-2:] == (size, size):
        return batch

    def smooth(image: Tensor) -> Tensor:
        return F.interpolate(image.float(), (size, size), mode="bilinear", align_corners=False, antialias=antialias)

    def nearest(image: Tensor) -> Tensor:
        return F.interpolate(image.float(), (size, size), mode="nearest-exact")

    return rescale_depth({
        **{key: smooth(batch[key]).round().clamp(0, 255).to(torch.uint8) for key in ("bg", "bg_fg")},
        "mask": smooth(batch["mask"]).clamp(0, 1), "depth": nearest(batch["depth"]),
        "valid": nearest(batch["valid"]) > 0.5, "near_far": batch["near_far"],
    })  # fmt: skip
