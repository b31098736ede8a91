"""Answers to the exercises of notebook 03: right ones in different styles, and wrong ones with words of their diagnosis."""

import torch.nn.functional as F
from answers import answers_of
from torch import nn

from helpers.demos.networks import Blur
from helpers.model import DuoNet

RIGHT, WRONG, right, wrong = answers_of()


def pad_with(right, down, **how):
    def padded(picture):
        height, width = picture.shape[-2:]
        return F.pad(picture, (0, right(height, width), 0, down(height, width)), **(how or {"mode": "replicate"}))

    return padded


def chained(make):
    """A layer that doubles, without its 3 x 3 convolution at the end."""
    return lambda inputs: nn.Sequential(*make(inputs))


wrong(
    "3.1",
    (pad_with(lambda h, w: -h % 16, lambda h, w: -w % 16), "Height and width are swapped"),
    (pad_with(lambda h, w: 16 - w % 16, lambda h, w: 16 - h % 16), "48 already fits"),
    (pad_with(lambda h, w: w % 16, lambda h, w: h % 16), "You add the remainder"),
    (pad_with(lambda h, w: -(w % 16), lambda h, w: -(h % 16)), "that rounds down"),
    (pad_with(lambda h, w: -w % 16, lambda h, w: -h % 16, mode="constant"), "black makes an edge"),
    (lambda x: F.pad(x, (-x.shape[-1] % 16, 0, -x.shape[-2] % 16, 0), mode="replicate"), "at the top and the left"),
    (lambda x: x, "has the shape (1, 3, 52, 38); it should be (1, 3, 64, 48)"),
)
wrong(
    "3.2",
    (lambda i, o, k, h, w: (2 * i * o * k * k * h * w, i * o * k * k), "changed places"),
    (lambda i, o, k, h, w: (i * o * k, 2 * i * o * k * h * w), "square it"),
    (lambda i, o, k, h, w: (i * o * k * k, i * o * k * k * h * w), "a multiplication and an addition are two"),
    (lambda i, o, k, h, w: (i * o * k * k + o, 2 * i * o * k * k * h * w), "this convolution has none"),
    (lambda i, o, k, h, w: (i * o * k * k, 2 * i * o * k * k), "the operations of one pixel"),
    (lambda i, o, k, h, w: (o * k * k, 2 * o * k * k * h * w), "looks at all of them"),
    (lambda i, o, k, h, w: i * o * k * k, "has the shape (); it should be (2,)"),
    (lambda i, o, k, h, w: (i * o * 9, 2 * i * o * 9 * h * w), "for (3, 16, 5, 8, 6)"),
)
wrong(
    "3.3",
    (lambda ks, ds: sum((k - 1) * d for k, d in zip(ks, ds)), "from one side to the other"),
    (lambda ks, ds: 1 + sum((k - 1) * d for k, d in zip(ks, ds)), "the width of the whole field"),
    (lambda ks, ds: sum(k // 2 for k in ks), "You leave the dilation out"),
    (lambda ks, ds: sum(k // 2 + d for k, d in zip(ks, ds)), "You add the dilation"),
    (lambda ks, ds: sum(k * d for k, d in zip(ks, ds)), "a whole kernel to each side"),
    (lambda ks, ds: 1 + sum(k // 2 * d for k, d in zip(ks, ds)), "the pixel in the middle"),
)
wrong(
    "3.4",
    (chained(lambda i: [nn.Conv2d(i, 2 * i, 1), nn.PixelShuffle(2)]), "every 16 pixels"),
    (lambda i: nn.ConvTranspose2d(i, i // 2, 4, 2, 1), "every 16 pixels"),
    (chained(lambda i: [nn.Upsample(scale_factor=2), nn.Conv2d(i, i // 2, 3, padding=1)]), "every 16 pixels"),
    (chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i // 2, 3)]), "needs padding=1"),
    (chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i, 1)]), "half the channels"),
    (lambda i: nn.Conv2d(i, i // 2, 3, padding=1), "half the channels and twice the size"),
    (lambda i: 2 * i, "an nn.Module, is expected"),
)
wrong(
    "3.5",
    (lambda: DuoNet(), "too much work"),
    (lambda: DuoNet(stem=8, widths=(20, 40, 80, 128)), "All widths made narrower alike?"),
    (lambda: DuoNet(blocks=(1, 1, 2)), "four numbers each"),
    (lambda: DuoNet(widths=16), "stops with TypeError"),
    (lambda: nn.Conv2d(3, 1, 1), "return DuoNet("),
)

right(
    "3.4",
    chained(lambda i: [nn.Conv2d(i, 2 * i, 1), nn.PixelShuffle(2), Blur()]),
    chained(lambda i: [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(i, i // 2, 1)]),
)
