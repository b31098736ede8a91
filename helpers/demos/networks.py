"""Notebook 03's experiments: what a block costs, what a pixel depends on, and which upsampling leaves a grid."""

import statistics
import timeit
from collections.abc import Callable, Mapping
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.demos.architecture import blocks
from helpers.demos.checkerboard import GRID_PERIOD, repeated_square
from helpers.model import ShuffleStep, evaluating, seeded
from helpers.plots import styled

FEATURES = 64  # channels of the decoders that are compared; the published ones begin with 512
UPSAMPLERS = ("transposed 3x3", "pixel-shuffle", "pixel-shuffle, ICNR", "pixel-shuffle + blur", "bilinear + 3x3")


class Cost(NamedTuple):
    parameters: int
    gflop: float  # forward, one pair; a multiply-add counts as two


def cost_by_block(net: nn.Module, size: int) -> dict[str, Cost]:
    """Parameters and operations of every block that has any, for one pair at ``size`` pixels."""
    image = torch.zeros(1, 3, size, size, device=next(net.parameters()).device)
    with evaluating(net), FlopCounterMode(display=False) as counter:
        net(image, image)
    counts, costs = counter.get_flop_counts(), {}
    for name, block in blocks(net).items():
        flop = sum(counts.get(f"{type(net).__name__}.{name}", {}).values())
        costs[name] = Cost(sum(p.numel() for p in block.parameters()), flop / 1e9)
    return {name: cost for name, cost in costs.items() if cost.parameters or cost.gflop}


def milliseconds(net: nn.Module, size: int) -> float:
    """Median time of five forward passes of one pair, after one to warm up, for a network on the CPU."""
    image = torch.zeros(1, 3, size, size)
    with evaluating(net):
        seconds = timeit.repeat(lambda: net(image, image), number=1, repeat=6)
    return 1000 * statistics.median(seconds[1:])


@styled
def show_costs(costs: Mapping[str, Cost], title: str) -> Figure:
    """Two bars for each block: where the parameters are, and where the operations are."""
    names = list(costs)
    figure, axes = plt.subplots(1, 2, figsize=(8, 0.24 * len(names) + 1), sharey=True, layout="constrained")
    parameters, gflop = (np.array(values, dtype=float) for values in zip(*costs.values()))
    shown = ((parameters / 1e6, "parameters, millions", "C0"), (gflop, "GFLOP for one pair", "C1"))
    for axis, (values, label, colour) in zip(axes, shown):
        bars = axis.barh(names, values, color=colour)
        axis.bar_label(bars, [f"{share:.0%}" for share in values / values.sum()], fontsize=8, padding=2)
        axis.set(xlabel=label, xlim=(0, 1.15 * values.max()))
        axis.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    figure.suptitle(title)
    return figure


def influence(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """How much the centre of ``function(*inputs)`` moves when an input pixel moves: (H, W), the largest value 1.

    It is the gradient's absolute value, summed over inputs, images and channels: the receptive field, with weights
    (Luo et al., "Understanding the effective receptive field", 2016).
    """
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    output = function(*inputs)
    height, width = output.shape[-2:]
    gradients = torch.autograd.grad(output[..., height // 2, width // 2].sum(), inputs)
    total = sum(gradient.abs().sum((0, 1)) for gradient in gradients)
    return total / total.max().clamp_min(1e-12)


class Blur(nn.Module):
    """A weighted mean over 3 x 3 pixels (1-2-1 each way): what alternates from pixel to pixel vanishes exactly."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
        return (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 4  # (B, C, H, W)


def upsampler(kind: str, width: int = FEATURES) -> nn.Sequential:
    """An untrained decoder as in DepthMaskNet, (B, width, H, W) to (B, 1, 16H, 16W), with one of :data:`UPSAMPLERS`.

    A transposed convolution of 3 x 3 in steps of 2 overlaps itself unevenly (Odena et al., "Deconvolution and
    checkerboard artifacts", 2016). ICNR starts the four filters that make a 2 x 2 square equal, so that it begins as
    nearest-neighbour upsampling (Aitken et al., 2017).
    """
    if kind not in UPSAMPLERS:
        raise ValueError(f"There is no upsampler {kind!r}: choose {', '.join(map(repr, UPSAMPLERS))}.")

    def step(inputs: int) -> nn.Module:
        if kind == "bilinear + 3x3":
            conv = nn.Conv2d(inputs, inputs // 2, 3, padding=1, padding_mode="replicate", bias=False)
            return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv)
        if kind == "transposed 3x3":
            return nn.ConvTranspose2d(inputs, inputs // 2, 3, stride=2, padding=1, output_padding=1, bias=False)
        shuffle = ShuffleStep(inputs)
        if kind == "pixel-shuffle, ICNR":
            weight = shuffle.expand.weight.data
            weight.copy_(weight[::4].repeat_interleave(4, 0))
        return nn.Sequential(shuffle, Blur()) if kind == "pixel-shuffle + blur" else shuffle

    def make() -> nn.Sequential:
        steps = [step(width >> k) for k in range(4)]
        return nn.Sequential(*steps, nn.Conv2d(width >> 4, 1, 3, padding=1, padding_mode="replicate", bias=False))

    return seeded(make, 0).requires_grad_(False)


def planes(count: int, size: int, seed: int = 0) -> Tensor:
    """(count, 1, size, size) tilted planes from 0 to 1: as smooth as a depth map can be."""
    generator = torch.Generator().manual_seed(seed)
    across = torch.linspace(-1, 1, size)
    slope_x, slope_y = torch.randn(2, count, 1, 1, 1, generator=generator)
    return stretched(slope_x * across + slope_y * across[:, None])


def as_features(maps: Tensor) -> Tensor:
    """What a perfect encoder would hand to a decoder: (B, 64, H/16, W/16) from (B, 1, H, W).

    Each channel is the map's mean over squares of 16 pixels, with a gain and an offset of its own.
    """
    gain, offset = torch.randn(2, FEATURES, 1, 1, generator=torch.Generator().manual_seed(0))
    return gain * F.avg_pool2d(maps, GRID_PERIOD) + offset


def stretched(maps: Tensor) -> Tensor:
    """Each map of (N, 1, H, W) scaled to run from 0 to 1."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)


def learn_planes(decoder: nn.Module, steps: int = 40) -> None:
    """Train ``decoder`` in place to give tilted planes back from their features; the same planes in every call."""
    decoder.requires_grad_(True)
    optimizer = torch.optim.Adam(decoder.parameters(), 3e-3)
    for step in range(steps):
        target = planes(8, 64, seed=step)
        loss = F.l1_loss(decoder(as_features(target)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    decoder.requires_grad_(False)


def repeated_tile(maps: Tensor) -> float:
    """How strong a pattern repeats every 16 pixels in (N, 1, H, W), in the maps' own unit; 0 = none.

    The root mean square of all maps' tiles: unlike ``grid_index``, it sees a pattern whose steps are equally large.
    """
    return repeated_square(maps[:, 0]).mean().sqrt().item()
