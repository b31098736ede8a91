"""The small experiments of notebooks 03 and 04, one idea each, and the figures of what they find.

Nothing here is needed to train or to predict. Functions take a network, or maps (B, 1, H, W) in [0, 1], and give
numbers; those that begin with ``show_`` give a figure (see :mod:`helpers.plots`).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.dataset import Quartet, normalise_depth
from helpers.demos.architecture import blocks
from helpers.metrics import GRID_PERIOD, dilate, gaussian_window, window_mean
from helpers.model import ShuffleStep
from helpers.plots import array, styled

# -- networks: costs ----------------------------------------------------------------------------------------------


class Cost(NamedTuple):
    parameters: int
    gflop: float  # forward, one pair; a multiply-add counts as two


@torch.no_grad()
def cost_by_block(net: nn.Module, size: int) -> dict[str, Cost]:
    """Parameters and operations of every block that has any, for one pair at ``size`` pixels."""
    device, was_training = next(net.parameters()).device, net.training
    image = torch.zeros(1, 3, size, size, device=device)
    with FlopCounterMode(display=False) as counter:
        net.eval()(image, image)
    net.train(was_training)
    counts, costs = counter.get_flop_counts(), {}
    for name, block in blocks(net).items():
        flop = sum(counts.get(f"{type(net).__name__}.{name}", {}).values())
        costs[name] = Cost(sum(p.numel() for p in block.parameters()), flop / 1e9)
    return {name: cost for name, cost in costs.items() if cost.parameters or cost.gflop}


@torch.no_grad()
def milliseconds(net: nn.Module, size: int, repeats: int = 5) -> float:
    """Median time of a forward pass of one pair, after one to warm up, for a network on the CPU."""
    image, times, was_training = torch.zeros(1, 3, size, size), [], net.training
    net.eval()
    for _ in range(repeats + 1):
        started = time.perf_counter()
        net(image, image)
        times.append(time.perf_counter() - started)
    net.train(was_training)
    return 1000 * statistics.median(times[1:])


@styled
def show_costs(costs: Mapping[str, Cost], title: str) -> Figure:
    """Two bars for each block: where the parameters are, and where the operations are."""
    names = list(costs)
    figure, axes = plt.subplots(1, 2, figsize=(8, 0.24 * len(names) + 1), sharey=True, layout="constrained")
    parameters, gflop = (np.array(values, dtype=float) for values in zip(*costs.values()))
    for axis, values, label, colour in (
        (axes[0], parameters / 1e6, "parameters, millions", "C0"), (axes[1], gflop, "GFLOP for one pair", "C1")
    ):  # fmt: skip
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


# -- upsampling ---------------------------------------------------------------------------------------------------

FEATURES = 64  # channels of the decoders that are compared; the published ones begin with 512
UPSAMPLERS = ("pixel-shuffle", "pixel-shuffle, ICNR", "pixel-shuffle + blur", "bilinear + 3x3")


class Blur(nn.Module):
    """A weighted mean over 3 x 3 pixels (1-2-1 each way): what alternates from pixel to pixel vanishes exactly."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
        return (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 4  # (B, C, H, W)


def upsampler(kind: str, width: int = FEATURES, seed: int = 0) -> nn.Sequential:
    """An untrained decoder as in DepthMaskNet, (B, width, H, W) to (B, 1, 16H, 16W), with one of :data:`UPSAMPLERS`.

    ICNR starts the four filters that make a 2 x 2 square equal, so that it begins as nearest-neighbour upsampling
    (Aitken et al., 2017).
    """
    if kind not in UPSAMPLERS:
        raise ValueError(f"There is no upsampler {kind!r}: choose {', '.join(map(repr, UPSAMPLERS))}.")

    def step(inputs: int) -> nn.Module:
        if kind == "bilinear + 3x3":
            conv = nn.Conv2d(inputs, inputs // 2, 3, padding=1, padding_mode="replicate", bias=False)
            return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv)
        shuffle = ShuffleStep(inputs)
        if kind == "pixel-shuffle, ICNR":
            weight = shuffle.expand.weight.data
            weight.copy_(weight[::4].repeat_interleave(4, 0))
        return nn.Sequential(shuffle, Blur()) if kind == "pixel-shuffle + blur" else shuffle

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        steps = [step(width >> k) for k in range(4)]
        last = nn.Conv2d(width >> 4, 1, 3, padding=1, padding_mode="replicate", bias=False)
        return nn.Sequential(*steps, last).requires_grad_(False)


def planes(count: int, side: int, seed: int = 0) -> Tensor:
    """(count, 1, side, side) tilted planes from 0 to 1: as smooth as a depth map can be."""
    generator = torch.Generator().manual_seed(seed)
    across = torch.linspace(-1, 1, side)
    slope_x, slope_y = torch.randn(2, count, 1, 1, 1, generator=generator)
    return stretched(slope_x * across + slope_y * across[:, None])


def as_features(maps: Tensor, channels: int = FEATURES, seed: int = 0) -> Tensor:
    """What a perfect encoder would hand to a decoder: (B, channels, H/16, W/16) from (B, 1, H, W).

    Each channel is the map's mean over squares of 16 pixels, with a gain and an offset of its own.
    """
    gain, offset = torch.randn(2, channels, 1, 1, generator=torch.Generator().manual_seed(seed))
    return gain * F.avg_pool2d(maps, GRID_PERIOD) + offset


def stretched(maps: Tensor) -> Tensor:
    """Each map of (N, 1, H, W) scaled to run from 0 to 1."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)


def learn_planes(decoder: nn.Module, steps: int = 40, batch: int = 8, side: int = 64) -> None:
    """Train ``decoder`` in place to give tilted planes back from their features; the same planes in every call."""
    decoder.requires_grad_(True)
    optimizer = torch.optim.Adam(decoder.parameters(), 3e-3)
    for step in range(steps):
        target = planes(batch, side, seed=step)
        loss = F.l1_loss(decoder(as_features(target)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    decoder.requires_grad_(False)


def repeated_tile(maps: Tensor) -> float:
    """How strong a pattern comes again every 16 pixels in (N, 1, H, W), in the maps' own unit; 0 = none.

    A moving average over 16 pixels is taken away, the rest is cut into squares of 16, and the mean square of each map
    is measured by its root mean square. :func:`helpers.metrics.grid_index` looks at steps between neighbours instead,
    and cannot see a pattern whose steps are equally large everywhere.
    """
    period = GRID_PERIOD
    box = torch.full((period + 1,), 1 / period)
    box[0] = box[-1] = 0.5 / period  # the exact mean over one period, centred
    rest = maps[..., period // 2 : -(period // 2), period // 2 : -(period // 2)] - window_mean(maps, box)
    count, _, height, width = rest.shape
    rest = rest[..., : height // period * period, : width // period * period]
    tiles = rest.reshape(count, height // period, period, width // period, period)
    return tiles.mean((1, 3)).square().mean().sqrt().item()


# -- maps that are wrong in a known way ---------------------------------------------------------------------------


def moved(maps: Tensor, pixels: int) -> Tensor:
    """(B, 1, H, W) moved to the right; the left border repeats."""
    return F.pad(maps, (pixels, 0, 0, 0), mode="replicate")[..., : maps.shape[-1]]


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """(B, 1, H, W) under a Gaussian of ``sigma`` pixels; borders repeat."""
    if sigma == 0:
        return maps
    radius = math.ceil(3 * sigma)
    padded = F.pad(maps, (radius,) * 4, mode="replicate")
    return window_mean(padded, gaussian_window(2 * radius + 1, sigma)).clamp(0, 1)


def grown(mask: Tensor, pixels: int) -> Tensor:
    """A bool mask (B, 1, H, W) with its outline moved outwards by ``pixels``; inwards where negative."""
    return dilate(mask, pixels) if pixels >= 0 else ~dilate(~mask, -pixels)


def confident(prob: Tensor, confidence: float = 0.99) -> Tensor:
    """Logits of probabilities, none surer than ``confidence``: a network is never infinitely sure."""
    return prob.clamp(1 - confidence, confidence).logit()


def with_depth(batch: Quartet, seed: int = 0) -> Quartet:
    """The batch itself; where its source knows no depth, the same with depth maps drawn for it, which it says."""
    if batch["valid"].any():
        return batch
    print("These pictures come without depth: depth maps of drawn rooms stand in for it here.")
    metres = torch.stack([_drawn_depth(batch["bg"].shape[-1], seed + i) for i in range(len(batch["bg"]))])
    valid = torch.ones_like(metres, dtype=torch.bool)
    depth, near_far = normalise_depth(metres, valid)
    return {**batch, "depth": depth, "valid": valid, "near_far": near_far}


def _drawn_depth(side: int, seed: int) -> Tensor:
    """(1, side, side) metres: a floor, a back wall, and a box that stands before it."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    wall, horizon = draw.uniform(3, 6), draw.uniform(0.2, 0.4)
    floor = 0.5 / np.maximum(y - horizon, 1e-3)  # the ground under a level camera
    left, top = draw.uniform(0.1, 0.6), draw.uniform(0.35, 0.5)
    box = (x > left) & (x < left + 0.3) & (y > top) & (y < top + 0.3)
    metres = np.where(box, 0.5 / (top + 0.3 - horizon), np.minimum(floor, wall))
    return torch.from_numpy(metres).float()[None]


class Responses(NamedTuple):
    """How several losses, or metrics, answer while one thing goes more and more wrong."""

    xlabel: str
    x: Sequence[float]
    lines: Mapping[str, Sequence[float]]


def responses(xlabel: str, x: Sequence[float], change: Callable[[float], Tensor],
            judges: Mapping[str, Callable[[Tensor], Tensor | float]]) -> Responses:  # fmt: skip
    """Let each of the ``judges`` look at ``change(x)`` for every ``x``."""
    changed = [change(value) for value in x]
    return Responses(xlabel, x, {name: [float(judge(maps)) for maps in changed] for name, judge in judges.items()})


@styled
def show_responses(panels: Mapping[str, Responses], ylabel: str = "loss") -> Figure:
    """One panel for each way of being wrong, with one scale for all."""
    size = (2.5 * len(panels), 2.6)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, (title, panel) in zip(axes.flat, panels.items()):
        for name, values in panel.lines.items():
            axis.plot(panel.x, array(values), label=name, marker="o", markersize=3)
        axis.set(title=title, xlabel=panel.xlabel)
    axes[0, 0].set_ylabel(ylabel)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure
