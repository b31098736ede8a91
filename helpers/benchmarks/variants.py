"""DuoNet and its loss with one thing changed, for :mod:`helpers.benchmarks.ablation`.

Where a variant takes something away, zeros stand in its place, so that all other layers and weights begin the same.
"""

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.losses import CourseLoss
from helpers.model import DuoNet, Head, conv_bn_relu


class NoSkips(DuoNet):
    """Nothing goes around the bottleneck: an hourglass."""

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        scene, difference, room = self.look(bg, bg_fg)
        x, skips = self.encode(torch.cat((scene, difference, room), 1))
        x = self.decode(self.decoder, x, [torch.zeros_like(skip) for skip in skips])
        return self.mask_head(x, torch.zeros_like(difference)), self.depth_head(x, torch.zeros_like(scene))


class Stacked(DuoNet):
    """Is given scene and room, and has to find the difference itself."""

    @staticmethod
    def compare(room: Tensor, scene: Tensor) -> Tensor:
        return room


class NoRoom(DuoNet):
    """Is given of the room only how the scene differs from it."""

    def look(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scene, difference, room = super().look(bg, bg_fg)
        return scene, difference, torch.zeros_like(room)


class NoContext(DuoNet):
    """No mean of the whole image is added at the bottom."""

    def __init__(self) -> None:
        super().__init__()
        del self.context  # a function cannot take the place of a module
        self.context = torch.zeros_like


class _Attention(nn.Module):
    """Self-attention over all places of a map (Vaswani et al., 2017): (B, C, H, W) to what is added to it."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)  # an encoding of positions, at any size
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads
        nn.init.zeros_(self.out.weight)  # begins as if it were not there
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm((x + self.position(x)).flatten(2).transpose(1, 2))  # (B, HW, C)
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, HW, C / heads)
        attended = F.scaled_dot_product_attention(*qkv).transpose(1, 2).flatten(2)  # (B, HW, C)
        return self.out(attended).transpose(1, 2).unflatten(2, x.shape[2:])


class Attentive(DuoNet):
    """Self-attention over the smallest map where the mean of the image was."""

    def __init__(self) -> None:
        super().__init__()
        self.context = _Attention(self.encoder[-1][0][0].out_channels)


class GroupNormed(DuoNet):
    """Statistics of 8 channels of one image, not of one channel of the batch (Wu & He, 2018)."""

    def __init__(self) -> None:
        super().__init__()
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.GroupNorm(child.num_features // 8, child.num_features))


class Nearest(DuoNet):
    """Each value becomes a block of two by two."""

    def __init__(self) -> None:
        super().__init__()
        for module in (self, self.mask_head, self.depth_head):
            module.upsample = partial(F.interpolate, scale_factor=2.0, mode="nearest")


class MoreAtFullSize(DuoNet):
    """Two convolutions at full resolution, in the stem and in each head."""

    def __init__(self) -> None:
        super().__init__()
        inputs, width = self.decoder[-1][0].out_channels, self.stem[0].out_channels
        self.stem = nn.Sequential(self.stem, conv_bn_relu(width, width))
        self.depth_head = Head(inputs, width, bias=0.0, convolutions=2)


class Narrower(DuoNet):
    """Fewer channels down to 1/8, one block less at 1/4, more channels at 1/16: nearly as many parameters."""

    def __init__(self) -> None:
        super().__init__(widths=(40, 80, 160, 256), blocks=(1, 1, 2, 2))


class TwoDecoders(DuoNet):
    """A decoder of its own for the depth."""

    def __init__(self) -> None:
        super().__init__()
        self.depth_decoder = copy.deepcopy(self.decoder)

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        scene, difference, room = self.look(bg, bg_fg)
        x, skips = self.encode(torch.cat((scene, difference, room), 1))
        for_mask, for_depth = (self.decode(decoder, x, skips) for decoder in (self.decoder, self.depth_decoder))
        return self.mask_head(for_mask, difference), self.depth_head(for_depth, scene)


class Weighted(CourseLoss):
    """The course's loss with other weights of its parts, by name; 1 where none is given."""

    def __init__(self, **weights: float):
        super().__init__()
        self.weights = weights

    def extra_repr(self) -> str:
        return ", ".join([super().extra_repr(), *(f"{name}={weight:g}" for name, weight in self.weights.items())])

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        return super().total({name: self.weights.get(name, 1) * part for name, part in parts.items()})


class Uncertain(CourseLoss):
    """Each task weighted by its uncertainty (Kendall et al., 2018): at the best weights, a sum of logarithms."""

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        tasks = [sum(part for name, part in parts.items() if name.startswith(task)) for task in ("mask", "depth")]
        return sum(task.clamp_min(1e-6).log() for task in tasks)
