"""Answers to the exercises of notebook 03: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
import torch
import torch.nn.functional as F
from answers import answers_of
from torch import nn

from helpers.demos.networks import Blur
from helpers.model import DuoNet

RIGHT, WRONG, right, wrong = answers_of()


# -- 3.1: a decoder step ---------------------------------------------------------------------------------------------


def step(forward, make=lambda i, s, o: nn.Conv2d(i + s, o, 3, padding=1)):
    """A class of modules: ``make(inputs, skip, outputs)`` is its layer, ``forward(layer, x, skip)`` what it computes."""

    class Step(nn.Module):
        def __init__(self, inputs, skip, outputs):
            super().__init__()
            self.layer = make(inputs, skip, outputs)

        def forward(self, x, skip):
            return forward(self.layer, x, skip)

    return Step


def larger(x, skip, **how):
    return F.interpolate(x, size=skip.shape[-2:], **how)


def doubled(x, skip):
    """The classic way: twice as large, then a border where that is one short."""
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return F.pad(x, (0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]), mode="replicate")


def joined(x, skip):
    return torch.cat((x, skip), 1)


def convolutions(i, s, o):
    """Two convolutions with batch normalisation, as in the notebook's block."""
    pairs = (nn.Conv2d(i + s, o, 3, padding=1, bias=False), nn.Conv2d(o, o, 3, padding=1, bias=False))
    return nn.Sequential(*(layer for conv in pairs for layer in (conv, nn.BatchNorm2d(o), nn.ReLU())))


class Transposed(nn.Module):
    """A transposed convolution, and one row or column repeated where it is short."""

    def __init__(self, inputs, skip, outputs):
        super().__init__()
        self.up, self.conv = nn.ConvTranspose2d(inputs, inputs, 2, stride=2), nn.Conv2d(inputs + skip, outputs, 5, padding=2)

    def forward(self, x, skip):
        x = self.up(x)
        down, right = (a - b for a, b in zip(skip.shape[-2:], x.shape[-2:]))
        return self.conv(joined(F.pad(x, (0, right, 0, down)), skip)).clamp_min(0)


class Summed(nn.Module):
    """A convolution for each input, which is one of both together."""

    def __init__(self, inputs, skip, outputs):
        super().__init__()
        self.of_x, self.of_skip = (nn.Conv2d(n, outputs, 3, padding="same") for n in (inputs, skip))

    def forward(self, x, skip):
        return (self.of_x(larger(x, skip)) + self.of_skip(skip)).relu()


class Unused(Summed):
    def forward(self, x, skip):
        self.spare = self.of_x
        return self.of_skip(skip).relu() + larger(x, skip).mean(1, keepdim=True).relu()


class Unregistered(nn.Module):
    def __init__(self, inputs, skip, outputs):
        super().__init__()
        self.layers = [nn.Conv2d(inputs + skip, outputs, 3, padding=1)]

    def forward(self, x, skip):
        return self.layers[0](joined(larger(x, skip), skip)).relu()


class NoModule:
    def __init__(self, inputs, skip, outputs):
        self.layer = nn.Conv2d(inputs + skip, outputs, 3, padding=1)

    def __call__(self, x, skip):
        return self.layer(joined(larger(x, skip), skip)).relu()


def factory(inputs, skip, outputs):
    return Summed(inputs, skip, outputs)


right(
    "3.1",
    step(lambda layer, x, skip: layer(joined(larger(x, skip), skip)).relu()),
    step(lambda layer, x, skip: F.relu(layer(joined(skip, larger(x, skip, mode="bicubic"))))),
    step(lambda layer, x, skip: layer(joined(larger(x, skip, mode="bilinear", align_corners=True), skip)), convolutions),
    step(lambda layer, x, skip: torch.clamp(layer(joined(doubled(x, skip), skip)), min=0)),
    step(lambda layer, x, skip: layer(joined(nn.Upsample(skip.shape[-2:], mode="bilinear")(x), skip)).relu()),
    Transposed,
    Summed,
    factory,
)
wrong(
    "3.1",
    (step(lambda layer, x, skip: layer(joined(F.interpolate(x, scale_factor=2), skip)).relu()), "enlarge x to the size of skip"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), skip))), "end with a ReLU"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), skip.detach())).relu()), "skip gets no gradient"),
    (step(lambda layer, x, skip: layer(joined(larger(x.detach(), skip), skip)).relu()), "x gets no gradient"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), 0 * skip)).relu()), "skip gets no gradient"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), skip)).relu().detach()), "The result has no gradient"),
    (step(lambda layer, x, skip: layer(joined(x, F.interpolate(skip, size=x.shape[-2:]))).relu()), "as large as skip"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), skip)).relu(),
          lambda i, s, o: nn.Conv2d(i + s, o, 3)), "as large as skip"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), skip)).relu(),
          lambda i, s, o: nn.Conv2d(i + s, o, 1)), "use a convolution of 3 x 3"),
    (step(lambda layer, x, skip: layer(joined(larger(x.flip(3), skip), skip)).relu()), "another place of x"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), skip.roll(5, 2))).relu()), "another place of skip"),
    (step(lambda layer, x, skip: layer(larger(x, skip) + skip).relu()), "stops with RuntimeError"),
    (step(lambda layer, x, skip: layer(joined(larger(x, skip), skip)).relu(),
          lambda i, s, o: nn.Conv2d(i, o, 3, padding=1)), "stops with RuntimeError"),
    (Unused, "is made but not used"),
    (Unregistered, "make its layers in __init__, as attributes"),
    (NoModule, "class DecoderStep(nn.Module)"),
)  # fmt: skip


# -- 3.2: sizes that fit ---------------------------------------------------------------------------------------------


def pad_with(right, down, **how):
    def padded(picture):
        height, width = picture.shape[-2:]
        return F.pad(picture, (0, right(height, width), 0, down(height, width)), **(how or {"mode": "replicate"}))

    return padded


def by_indices(picture):
    """The border is what lies at an index that is cut to the last one."""
    rows, columns = (torch.arange(-(-side // 16) * 16).clamp(max=side - 1) for side in picture.shape[-2:])
    return picture[..., rows, :][..., columns]


def by_numpy(picture):
    missing = [(0, 0), (0, 0), *((0, -side % 16) for side in picture.shape[-2:])]
    return np.pad(picture.numpy(), missing, mode="edge")


def row_by_row(picture):
    while picture.shape[2] % 16:
        picture = torch.cat((picture, picture[:, :, -1:]), 2)
    while picture.shape[3] % 16:
        picture = torch.cat((picture, picture[..., -1:]), 3)
    return picture


right(
    "3.2",
    pad_with(lambda h, w: (16 - w % 16) % 16, lambda h, w: (16 - h % 16) % 16),
    by_indices,
    by_numpy,
    row_by_row,
    lambda x: nn.ReplicationPad2d((0, -x.shape[3] % 16, 0, -x.shape[2] % 16))(x),
)
wrong(
    "3.2",
    (pad_with(lambda h, w: -h % 16, lambda h, w: -w % 16), "Height and width are swapped"),
    (pad_with(lambda h, w: 16 - w % 16, lambda h, w: 16 - h % 16), "48 already fits"),
    (pad_with(lambda h, w: w % 16, lambda h, w: h % 16), "You add the remainder"),
    (pad_with(lambda h, w: -(w % 16), lambda h, w: -(h % 16)), "that rounds down"),
    (pad_with(lambda h, w: -w % 16, lambda h, w: -h % 16, mode="constant"), "black makes an edge"),
    (lambda x: F.pad(x, (-x.shape[-1] % 16, 0, -x.shape[-2] % 16, 0), mode="replicate"), "at the top and the left"),
    (lambda x: x, "has the shape (1, 3, 52, 38); it should be (1, 3, 64, 48)"),
    (pad_with(lambda h, w: -w % 16, lambda h, w: -h % 16, mode="reflect"), "differs from what is right"),
    (lambda x: F.interpolate(x, tuple(side + -side % 16 for side in x.shape[2:])), "differs from what is right"),
)


# -- 3.3: twice the size without a grid ------------------------------------------------------------------------------


def chained(make):
    """A layer that doubles, made of several."""
    return lambda inputs: nn.Sequential(*make(inputs))


class Constant(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, inputs // 2, 1)

    def forward(self, x):
        return F.interpolate(0 * self.conv(x), scale_factor=2) + 1


right(
    "3.3",
    chained(lambda i: [nn.Conv2d(i, 2 * i, 1), nn.PixelShuffle(2), Blur()]),
    chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i // 2, 1)]),
    chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i // 2, 3, padding=1), nn.ReLU()]),
    chained(lambda i: [nn.Upsample(scale_factor=2, mode="bicubic"), nn.Conv2d(i, i // 2, 5, padding=2)]),
    chained(lambda i: [nn.Conv2d(i, i // 2, 3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear")]),
    chained(lambda i: [nn.Upsample(scale_factor=2), Blur(), nn.Conv2d(i, i // 2, 3, padding=1)]),
)
wrong(
    "3.3",
    (chained(lambda i: [nn.Conv2d(i, 2 * i, 1), nn.PixelShuffle(2)]), "every 16 pixels"),
    (chained(lambda i: [nn.Conv2d(i, 2 * i, 3, padding=1), nn.PixelShuffle(2)]), "every 16 pixels"),
    (lambda i: nn.ConvTranspose2d(i, i // 2, 2, 2), "every 16 pixels"),
    (lambda i: nn.ConvTranspose2d(i, i // 2, 3, 2, 1, 1), "every 16 pixels"),
    (lambda i: nn.ConvTranspose2d(i, i // 2, 4, 2, 1), "every 16 pixels"),
    (chained(lambda i: [nn.Upsample(scale_factor=2), nn.Conv2d(i, i // 2, 3, padding=1)]), "every 16 pixels"),
    (chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i // 2, 3)]), "needs padding=1"),
    (chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i, 1)]), "half the channels"),
    (lambda i: nn.Conv2d(i, i // 2, 3, padding=1), "half the channels and twice the size"),
    (Constant, "must depend on the input"),
    (chained(lambda i: [nn.AdaptiveAvgPool2d(1), nn.Conv2d(i, i // 2, 1), nn.Upsample(12)]), "twice the size"),
    (lambda i: 2 * i, "an nn.Module, is expected"),
)


# -- 3.4: how far a stack sees ---------------------------------------------------------------------------------------


def with_a_loop(kernels, dilations):
    total = 0
    for i in range(len(kernels)):
        total += (kernels[i] - 1) // 2 * dilations[i]
    return total


def by_the_gradient(kernels, dilations):
    """Built, and measured."""
    size = 2 * sum(k * d for k, d in zip(kernels, dilations)) + 1
    line, x = torch.zeros(1, 1, size), None
    line.requires_grad_()
    x = line
    for k, d in zip(kernels, dilations):
        x = F.conv1d(x, torch.ones(1, 1, k), padding=d * (k // 2), dilation=d)
    x[0, 0, size // 2].backward()
    return int(line.grad[0, 0].nonzero().max()) - size // 2


right(
    "3.4",
    with_a_loop,
    by_the_gradient,
    lambda ks, ds: int(np.dot((np.array(ks) - 1) / 2, ds)),
    lambda ks, ds: ((torch.tensor(ks) // 2) * torch.tensor(ds)).sum(),
    lambda ks, ds: sum((k - 1) * d for k, d in zip(ks, ds)) / 2,
)
wrong(
    "3.4",
    (lambda ks, ds: sum((k - 1) * d for k, d in zip(ks, ds)), "from one side to the other"),
    (lambda ks, ds: 1 + sum((k - 1) * d for k, d in zip(ks, ds)), "the width of the whole field"),
    (lambda ks, ds: sum(k // 2 for k in ks), "You leave the dilation out"),
    (lambda ks, ds: sum(k // 2 + d for k, d in zip(ks, ds)), "You add the dilation"),
    (lambda ks, ds: sum(k * d for k, d in zip(ks, ds)), "a whole kernel to each side"),
    (lambda ks, ds: 1 + sum(k // 2 * d for k, d in zip(ks, ds)), "the pixel in the middle"),
    (lambda ks, ds: max(k // 2 * d for k, d in zip(ks, ds)), "differs from what is right"),
    (lambda ks, ds: [k // 2 * d for k, d in zip(ks, ds)], "the list of reaches"),
)


# -- 3.5: what a convolution costs -----------------------------------------------------------------------------------


def counted_by_torch(i, o, k, h, w):
    conv = nn.Conv2d(i, o, k, bias=False)
    weights = sum(p.numel() for p in conv.parameters())
    return weights, weights * h * w * 2


def counted_one_by_one(i, o, k, h, w):
    weights = sum(1 for _ in range(i) for _ in range(o) for _ in range(k) for _ in range(k))
    return [weights, sum(2 * weights for _ in range(h) for _ in range(w))]


right(
    "3.5",
    counted_by_torch,
    counted_one_by_one,
    lambda i, o, k, h, w: (i * o * k * k, 2 * i * o * k * k * h * w),
    lambda i, o, k, h, w: np.array([1, 2 * h * w]) * (i * o * k**2),
    lambda i, o, k, h, w: torch.tensor([1, 2 * h * w]) * torch.tensor([i, o, k, k]).prod(),
)
wrong(
    "3.5",
    (lambda i, o, k, h, w: (2 * i * o * k * k * h * w, i * o * k * k), "changed places"),
    (lambda i, o, k, h, w: (i * o * k, 2 * i * o * k * h * w), "square it"),
    (lambda i, o, k, h, w: (i * o * k * k, i * o * k * k * h * w), "a multiplication and an addition are two"),
    (lambda i, o, k, h, w: (i * o * k * k + o, 2 * i * o * k * k * h * w), "this convolution has none"),
    (lambda i, o, k, h, w: (i * o * k * k, 2 * i * o * k * k), "the operations of one pixel"),
    (lambda i, o, k, h, w: (o * k * k, 2 * o * k * k * h * w), "looks at all of them"),
    (lambda i, o, k, h, w: i * o * k * k, "has the shape (); it should be (2,)"),
    (lambda i, o, k, h, w: (i * o * 9, 2 * i * o * 9 * h * w), "for (3, 16, 5, 8, 6)"),
)


# -- 3.6: cheaper, not smaller ---------------------------------------------------------------------------------------


class Mine(DuoNet):
    """A network of one's own, of the same kind."""


right(
    "3.6",
    lambda: DuoNet(8, (16, 32, 96, 320), (1, 1, 2, 2)),
    lambda: DuoNet(stem=8, widths=[24, 48, 128, 304], blocks=[1, 1, 2, 2]),
    lambda: DuoNet(stem=16, widths=(16, 32, 160, 256), blocks=(0, 0, 2, 3)),
    lambda: DuoNet(stem=4, widths=tuple(16 * k for k in (1, 3, 8, 21)), blocks=(1, 1, 1, 2)),
    lambda: Mine(stem=8, widths=(24, 48, 96, 320), blocks=(1, 1, 1, 2)),
)
wrong(
    "3.6",
    (lambda: DuoNet(), "too much work"),
    (lambda: DuoNet(stem=8, widths=(48, 96, 192, 320)), "too much work"),
    (lambda: DuoNet(stem=8, widths=(20, 40, 80, 128)), "All widths made narrower alike?"),
    (lambda: DuoNet(blocks=(1, 1, 2)), "four numbers each"),
    (lambda: DuoNet(widths=16), "stops with TypeError"),
    (lambda: nn.Conv2d(3, 1, 1), "return DuoNet("),
)
