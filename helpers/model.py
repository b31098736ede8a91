"""The two networks: the published one, and the course's own.

Both take a room and the same room with a cat, ``net(bg, bg_fg)``, each uint8 or float in [0, 1] of shape
(B, 3, H, W), and return ``mask_logits, depth_logits``, each (B, 1, H, W). Neither applies a sigmoid: losses and
metrics say whether they want logits or probabilities. Normalisation is inside, so nobody can forget it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# Mean and standard deviation of the published training images, RGB in [0, 1].
BG_MEAN, BG_STD = (0.68968, 0.65092, 0.60790), (0.18897, 0.20892, 0.23450)
BG_FG_MEAN, BG_FG_STD = (0.68084, 0.64135, 0.59833), (0.19432, 0.21262, 0.23641)

STRIDE = 16  # four halvings: height and width must be multiples of this
ACTIVATIONS = ("sigmoid", "clamp")  # how depth logits become depth, see :func:`probabilities`


def check_pair(bg: Tensor, bg_fg: Tensor) -> None:
    """Raise ValueError, with the remedy, unless both are (B, 3, H, W) with H and W divisible by :data:`STRIDE`."""
    if bg.ndim != 4 or bg.shape[1] != 3:
        raise ValueError(f"bg must be (B, 3, H, W), not {tuple(bg.shape)}; add the batch dimension with bg[None].")
    if bg.shape != bg_fg.shape:
        raise ValueError(f"bg {tuple(bg.shape)} and bg_fg {tuple(bg_fg.shape)} must have the same shape.")
    for name, side in (("height", bg.shape[2]), ("width", bg.shape[3])):
        if side % STRIDE:
            wanted = f"pad to {side + -side % STRIDE}, or use helpers.predict.predict, which pads and crops."
            raise ValueError(f"{name} {side} is not divisible by {STRIDE}: {wanted}")


def register_rgb(net: nn.Module, **pixels: tuple[float, ...]) -> None:
    """Give ``net`` buffers (1, 3, 1, 1) that go where it goes, but are not in its checkpoints, nor among its layers."""
    for name, value in pixels.items():
        net.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)


def normalise(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 or [0, 1] pixels (B, 3, H, W) to about zero mean and unit variance; ``mean``, ``std``: (1, 3, 1, 1)."""
    return (_in_unit(image) - mean) / std


def _in_unit(image: Tensor) -> Tensor:
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ValueError(f"Pixels must be uint8, or float in [0, 1], not {image.dtype}.")
    return image.float() / 255 if image.dtype == torch.uint8 else image


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)


class EncoderBlock(nn.Module):
    """Looks at its input twice, plain and dilated (a wider view at the same price), and merges the two views."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.plain = nn.Sequential(_conv(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU())
        self.dilated = nn.Sequential(_conv(inputs, outputs, 3, dilation=2), nn.ReLU(), nn.BatchNorm2d(outputs))
        self.merge = _conv(2 * outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(torch.cat((self.plain(x), self.dilated(x)), 1))  # (B, outputs, H, W)


class ShuffleStep(nn.Module):
    """Twice the side, half the channels: a 1x1 convolution and a pixel-shuffle (Shi et al., 2016)."""

    def __init__(self, inputs: int):
        super().__init__()
        self.expand = _conv(inputs, 2 * inputs, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.expand(x))  # (B, inputs/2, 2H, 2W)


class DepthMaskNet(nn.Module):
    """The published network, exactly: 5,230,720 parameters, no skip connections, no activation in the decoders.

    Source: github.com/Shashank-Holla/DepthEstimation-MaskPrediction (2020).
    """

    def __init__(self) -> None:
        super().__init__()
        register_rgb(self, bg_mean=BG_MEAN, bg_std=BG_STD, bg_fg_mean=BG_FG_MEAN, bg_fg_std=BG_FG_STD)
        self.stem_bg = nn.Sequential(_conv(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU())
        self.stem_bg_fg = nn.Sequential(_conv(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU())
        self.merge = _conv(64, 32, 1)
        blocks = [(EncoderBlock(width, 2 * width), nn.MaxPool2d(2)) for width in (32, 64, 128, 256)]
        self.encoder = nn.Sequential(*(layer for block in blocks for layer in block))
        self.mask_decoder = self._decoder()
        self.depth_decoder = self._decoder()

    @staticmethod
    def _decoder() -> nn.Sequential:
        return nn.Sequential(*(ShuffleStep(width) for width in (512, 256, 128, 64)), _conv(32, 1, 3))

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        check_pair(bg, bg_fg)
        room = self.stem_bg(normalise(bg, self.bg_mean, self.bg_std))  # (B, 32, H, W)
        scene = self.stem_bg_fg(normalise(bg_fg, self.bg_fg_mean, self.bg_fg_std))  # (B, 32, H, W)
        x = self.merge(torch.cat((room, scene), 1))  # (B, 32, H, W)
        x = self.encoder(x)  # (B, 512, H/16, W/16)
        return self.mask_decoder(x), self.depth_decoder(x)


def conv_bn_relu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and ReLU: (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
    return nn.Sequential(_conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def upsample(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2H, 2W), bilinear."""
    larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    if larger.requires_grad and not torch.compiler.is_compiling():
        # After a concatenation the gradient comes back as a slice, of which the CPU's backward pass makes heavy work.
        larger.register_hook(_compact)
    return larger


def _compact(gradient: Tensor) -> Tensor:
    """The same values without gaps between them, in the order of memory that they are in (B, C, H, W)."""
    is_last = gradient.stride(1) == 1 and gradient.shape[1] > 1
    return gradient.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


class Residual(nn.Module):
    """Two 3x3 convolutions around an identity (He et al., 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(conv_bn_relu(width, width), _conv(width, width, 3), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Head(nn.Module):
    """From 1/2 resolution to logits at full resolution, where a skip joins before ``convolutions`` of 3x3."""

    upsample = staticmethod(upsample)

    def __init__(self, inputs: int, skip: int, bias: float, convolutions: int, width: int = 16):
        super().__init__()
        self.reduce = nn.Conv2d(inputs, width, 1)
        channels = [width + skip] + [width] * convolutions
        self.refine = nn.Sequential(*(conv_bn_relu(i, o) for i, o in zip(channels, channels[1:])))
        # A bias, because after a ReLU an output convolution without one can hardly reach both signs. The mask
        # starts at -2 (a pixel is rarely cat), the depth at 0 (the middle).
        self.logits = nn.Conv2d(width, 1, 1)
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.constant_(self.logits.bias, bias)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.upsample(self.reduce(x))  # (B, 16, H, W)
        return self.logits(self.refine(torch.cat((x, skip), 1)))  # (B, 1, H, W)


class DuoNet(nn.Module):
    """The course's network: a Siamese residual U-Net with one encoder, one decoder and two light heads.

    One stem looks at both photographs. The encoder gets the scene, its difference from the room, and the room, which
    shows what the cat hides; the difference goes to the mask head, too, and the scene to that of depth. Skips carry
    detail around the bottleneck (Ronneberger et al., 2015; the Siamese difference: Daudt et al., 2018), and bilinear
    upsampling leaves no checkerboard. Fewer parameters and operations than DepthMaskNet: little is done at full
    resolution, where a convolution takes longest.
    """

    upsample = staticmethod(upsample)

    def __init__(self, stem=16, widths: Sequence[int] = (48, 96, 192, 224), blocks: Sequence[int] = (1, 2, 2, 2)):
        super().__init__()
        # One normalisation for both images, because the stem is shared: equal pixels must cancel.
        register_rgb(self, mean=BG_FG_MEAN, std=BG_FG_STD)
        self.stem = conv_bn_relu(3, stem)
        inputs = (3 * stem, *widths)
        self.encoder = nn.ModuleList(
            nn.Sequential(conv_bn_relu(i, o, stride=2), *(Residual(o) for _ in range(n)))
            for i, o, n in zip(inputs, widths, blocks)
        )
        self.context = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], widths[-1], 1))
        outputs = (128, 96, 48)  # at 1/8, 1/4 and 1/2
        joined = zip((widths[-1], *outputs), widths[-2::-1], outputs)
        self.decoder = nn.ModuleList(conv_bn_relu(i + skip, o) for i, skip, o in joined)
        self.mask_head = Head(outputs[-1], stem, bias=-2.0, convolutions=2)  # an outline needs a closer look
        self.depth_head = Head(outputs[-1], stem, bias=0.0, convolutions=1)

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        scene, difference, room = self.look(bg, bg_fg)  # (B, 16, H, W) each
        x, skips = self.encode(torch.cat((scene, difference, room), 1))  # (B, 224, H/16, W/16)
        x = self.decode(self.decoder, x, skips)  # (B, 48, H/2, W/2)
        return self.mask_head(x, difference), self.depth_head(x, scene)

    def look(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The scene's features, how they differ from the room's, and the room's; (B, 16, H, W) each."""
        check_pair(bg, bg_fg)
        pair = torch.cat([normalise(image, self.mean, self.std) for image in (bg, bg_fg)])  # (2B, 3, H, W)
        room, scene = self.stem(pair).unflatten(0, (2, -1))
        return scene, self.compare(room, scene), room

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 48, H, W) to the smallest map (B, 224, H/16, W/16), and those on the way to it, at 1/2, 1/4 and 1/8."""
        skips = []
        for stage in self.encoder:
            x = stage(x)  # half the side each time
            skips.append(x)
        return x + self.context(skips.pop()), skips  # what the whole image is about, added everywhere

    def decode(self, decoder: nn.ModuleList, x: Tensor, skips: list[Tensor]) -> Tensor:
        """What ``encode`` gave, back up to (B, 48, H/2, W/2)."""
        for stage, skip in zip(decoder, reversed(skips)):
            x = stage(torch.cat((self.upsample(x), skip), 1))  # twice the side each time
        return x

    @staticmethod
    def compare(room: Tensor, scene: Tensor) -> Tensor:
        return (scene - room).abs()


NETWORKS = {"DepthMaskNet": DepthMaskNet, "DuoNet": DuoNet}


def build(name: str, seed: int = 0) -> nn.Module:
    """A network of the course with weights drawn from ``seed``, see :func:`seeded`."""
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}: choose {' or '.join(NETWORKS)}.")
    return seeded(NETWORKS[name], seed)


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """``make()`` with weights drawn from ``seed``, leaving torch's global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """Within, ``net`` is in evaluation mode and no gradients are kept; afterwards it is as it was."""
    modes = [(part, part.training) for part in net.modules()]  # a frozen part may have its own
    try:
        with torch.no_grad():
            yield net.eval()
    finally:
        for part, mode in modes:
            part.training = mode


def count_parameters(net: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def forward_gflop(net: nn.Module, size: int) -> float:
    """Billions of floating-point operations for one pair at ``size`` pixels (a multiply-add counts as two)."""
    image = torch.zeros(1, 3, size, size, device=next(net.parameters()).device)
    with evaluating(net), FlopCounterMode(display=False) as counter:
        net(image, image)
    return counter.get_total_flops() / 1e9


def probabilities(mask_logits: Tensor, depth_logits: Tensor, depth_activation="sigmoid") -> tuple[Tensor, Tensor]:
    """Logits to ``mask_prob, depth`` in [0, 1]: the one place where a sigmoid is applied to a prediction.

    ``depth_activation`` is "sigmoid" for a network whose loss saw ``sigmoid(depth_logits)``, "clamp" for one whose loss
    pulled the raw logit towards [0, 1], as the published loss does.
    """
    if depth_activation not in ACTIVATIONS:
        raise ValueError(f"depth_activation must be 'sigmoid' or 'clamp', not {depth_activation!r}.")
    depth_logits = depth_logits.float()
    depth = depth_logits.sigmoid() if depth_activation == "sigmoid" else depth_logits.clamp(0, 1)
    return mask_logits.float().sigmoid(), depth


def predicted(net: nn.Module, bg: Tensor, bg_fg: Tensor, depth_activation: str | None = None, mirrored: bool = False) \
        -> tuple[Tensor, Tensor]:  # fmt: skip
    """``mask_prob, depth`` of a batch of pairs of any height and width, each (B, 1, H, W) in [0, 1].

    Each task is looked at in its best size: where ``net.depth_size`` is less than the longer side, depth is predicted
    at that size and enlarged. What a room is like shows in the whole picture, an outline in its pixels.

    Args:
        net: in the mode in which it is to run.
        depth_activation: see :func:`probabilities`; default the one that ``net`` was trained for.
        mirrored: take the mean with what is predicted for the mirrored pair, in twice the time.
    """
    if mirrored:
        there, back = (predicted(net, *pair, depth_activation) for pair in ((bg, bg_fg), (bg.flip(-1), bg_fg.flip(-1))))
        return tuple((one + other.flip(-1)) / 2 for one, other in zip(there, back))
    size, small = bg.shape[-2:], getattr(net, "depth_size", None) or math.inf
    activation = depth_activation or getattr(net, "depth_activation", "sigmoid")
    mask, depth = probabilities(*_padded(net, bg, bg_fg), activation)
    if small < max(size):
        inner = [max(1, round(side * small / max(size))) for side in size]
        shrunk = [interpolate(_in_unit(image), inner) for image in (bg, bg_fg)]
        depth = interpolate(probabilities(*_padded(net, *shrunk), activation)[1], size)
    return mask, depth


def _padded(net: nn.Module, *pair: Tensor) -> list[Tensor]:
    """Logits of a pair whose border is repeated up to multiples of :data:`STRIDE`, and cut off again."""
    height, width = pair[0].shape[-2:]
    if height % STRIDE or width % STRIDE:
        pair = (F.pad(_in_unit(image), (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate") for image in pair)
    return [logits[..., :height, :width] for logits in net(*pair)]


def interpolate(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Pictures or maps (B, C, H, W) in [0, 1] at another size; what shrinks is averaged."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False, antialias=True).clamp_(0, 1)
