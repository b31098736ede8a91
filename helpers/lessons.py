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
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.metrics import GRID_PERIOD, dilate
from helpers.model import DepthMaskNet, DuoNet, ShuffleStep
from helpers.plots import array, styled
from helpers.quartets import Quartet, normalise_depth
from helpers.ssim import gaussian_window, window_mean

Shape = tuple[int, ...]


def table(rows: Mapping[str, Mapping[str, float]], digits: int = 3) -> str:
    """Numbers by row and column as aligned text, ready to print. Whole numbers get separators, NaN a dash."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))

    def cell(value: float) -> str:
        if isinstance(value, int):
            return f"{value:,}"
        return "-" if math.isnan(value) else f"{value:.{digits}f}"

    lines = [["", *columns]]
    lines += [[name, *(cell(row.get(column, math.nan)) for column in columns)] for name, row in rows.items()]
    first, *others = (max(map(len, column)) for column in zip(*lines))

    def line(name: str, *cells: str) -> str:
        return name.ljust(first) + "".join(text.rjust(width + 3) for text, width in zip(cells, others))

    return "\n".join(line(*cells) for cells in lines)


# -- networks: shapes and costs -----------------------------------------------------------------------------------


class Step(NamedTuple):
    """What went into a block and what came out."""

    inputs: tuple[Shape, ...]
    output: Shape


def blocks(net: nn.Module) -> dict[str, nn.Module]:
    """The pieces that a reader of ``forward`` meets, by name: stems, each stage of encoder and decoder, heads."""
    found = {}
    for name, child in net.named_children():
        if name.endswith(("encoder", "decoder")):
            found.update({f"{name}.{i}": stage for i, stage in enumerate(child)})
        else:
            found[name] = child
    return found


@torch.no_grad()
def trace(net: nn.Module, bg: Tensor, bg_fg: Tensor) -> dict[str, Step]:
    """The shapes at every block, in the order in which the blocks run, seen by forward hooks."""
    steps, was_training = {}, net.training

    def watch(name: str) -> Callable:
        def hook(_, inputs, output):
            steps[name] = Step(tuple(tuple(x.shape) for x in inputs), tuple(output.shape))

        return hook

    hooks = [block.register_forward_hook(watch(name)) for name, block in blocks(net).items()]
    try:
        net.eval()(bg, bg_fg)
    finally:
        for hook in hooks:
            hook.remove()
        net.train(was_training)
    return steps


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


# -- diagrams -----------------------------------------------------------------------------------------------------

ROOM_COLOUR, SCENE_COLOUR, TRUNK_COLOUR, MASK_COLOUR, DEPTH_COLOUR = "C5", "C0", "grey", "C1", "C2"
UP, DOWN = 1.35, -1.35  # where the room and the mask are drawn, and where the scene and the depth


class _Diagram:
    """Tensors as boxes, as tall as their side and as wide as their channels ask for, and arrows between them."""

    def __init__(self, net: nn.Module, size: int, columns: float):
        image = torch.zeros(1, 3, size, size, device=next(net.parameters()).device)
        self.size, self.steps = size, trace(net, image, image)
        self.boxes: dict[str, tuple[float, float, float, float]] = {}  # left, right, middle, height
        self.figure, self.axis = plt.subplots(figsize=(9.6, 4.2), layout="constrained")
        title = f"{type(net).__name__}: channels × side², for one pair at {size} px"
        self.axis.set(xlim=(-0.5, columns), ylim=(-2.45, 2.45), title=title)
        self.axis.axis("off")
        self.box("bg", 0, UP, ROOM_COLOUR, image.shape)
        self.box("bg_fg", 0, DOWN, SCENE_COLOUR, image.shape)

    def box(self, name: str, x: float, y: float, colour: str, shape: Shape | None = None, label: str = "") -> None:
        """What the block ``name`` gives; ``shape`` where it is no block of the network."""
        channels, side = (shape or self.steps[name].output)[1:3]
        width, height = 0.06 + 0.022 * math.sqrt(channels), 1.5 * math.sqrt(side / self.size)
        self.boxes[name] = x - width / 2, x + width / 2, y, height
        self.axis.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, color=colour, alpha=0.85))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        text = {"ha": "center", "fontsize": 7.5, "bbox": box}
        self.axis.text(x, y + height / 2 + 0.05, label or name, va="bottom", **text)
        self.axis.text(x, y - height / 2 - 0.06, f"{channels} × {side}²", va="top", color="dimgrey", **text)

    def arrows(self, *names: str, arc: float = 0.0) -> None:
        """From each box to the next, right edge to left edge; ``arc`` bends the way between them."""
        for start, end in zip(names, names[1:]):
            ends = (self.boxes[start][1], self.boxes[start][2]), (self.boxes[end][0], self.boxes[end][2])
            style = {"connectionstyle": f"arc3,rad={arc}", "arrowstyle": "-|>", "mutation_scale": 8}
            self.axis.add_patch(FancyArrowPatch(*ends, color="black", linewidth=0.8, zorder=0, **style))


@styled
def show_depth_mask_net(net: DepthMaskNet, size: int) -> Figure:
    """The published network at ``size`` pixels, drawn from the shapes that its blocks give."""
    draw = _Diagram(net, size, 12.5)
    draw.box("stem_bg", 1, UP, ROOM_COLOUR)
    draw.box("stem_bg_fg", 1, DOWN, SCENE_COLOUR)
    draw.box("merge", 2, 0, TRUNK_COLOUR)
    encoder = [name for name in draw.steps if name.startswith("encoder")]
    for x, name in enumerate(encoder[::2], 3):  # each followed by its max-pool
        draw.box(name, x, 0, TRUNK_COLOUR)
    draw.box(encoder[-1], 7, 0, TRUNK_COLOUR)
    draw.arrows("bg", "stem_bg", "merge", *encoder[::2], encoder[-1])
    draw.arrows("bg_fg", "stem_bg_fg", "merge")
    for decoder, y, colour in (("mask_decoder", UP, MASK_COLOUR), ("depth_decoder", DOWN, DEPTH_COLOUR)):
        names = [name for name in draw.steps if name.startswith(decoder)]
        for x, name in enumerate(names, 8):
            draw.box(name, x, y, colour, label=decoder if x == 10 else name.removeprefix(decoder))
        draw.arrows(encoder[-1], *names)
    return draw.figure


@styled
def show_duo_net(net: DuoNet, size: int) -> Figure:
    """The course's network at ``size`` pixels, drawn from the shapes that its blocks give."""
    draw = _Diagram(net, size, 11.0)
    features = draw.steps["mask_head"].inputs[1]  # of the difference, and of each half of the stem's output
    draw.box("room", 1, UP, ROOM_COLOUR, features, "stem(bg)")
    draw.box("scene", 1, DOWN, SCENE_COLOUR, features, "stem(bg_fg)")
    draw.box("difference", 2, UP, MASK_COLOUR, features)
    encoder = [name for name in draw.steps if name.startswith("encoder")]
    decoder = [name for name in draw.steps if name.startswith("decoder")]
    for x, name in enumerate(encoder, 3):
        draw.box(name, x, 0, TRUNK_COLOUR)
    draw.box("context", 6.55, -0.78, TRUNK_COLOUR)
    for x, name in enumerate(decoder, 3 + len(encoder)):
        draw.box(name, x + 0.1, 0, TRUNK_COLOUR)
    draw.box("mask_head", 10.3, UP, MASK_COLOUR)
    draw.box("depth_head", 10.3, DOWN, DEPTH_COLOUR)
    draw.arrows("bg", "room", "difference", encoder[0])
    draw.arrows("bg_fg", "scene", "difference")
    draw.arrows("scene", *encoder, *decoder, "mask_head")
    draw.arrows(encoder[-1], "context", decoder[0])
    draw.arrows(decoder[-1], "depth_head")
    draw.arrows("difference", "mask_head")
    draw.arrows("scene", "depth_head")
    for start, end in zip(encoder[-2::-1], decoder):
        draw.arrows(start, end, arc=-0.35)  # the skips
    draw.axis.text(0.85, 0, "one stem,\nthe same weights", fontsize=7.5, ha="center", va="center")
    return draw.figure


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


class Answers(NamedTuple):
    """How several losses, or metrics, answer while one thing goes more and more wrong."""

    xlabel: str
    x: Sequence[float]
    lines: Mapping[str, Sequence[float]]


def answers(xlabel: str, x: Sequence[float], change: Callable[[float], Tensor],
            judges: Mapping[str, Callable[[Tensor], Tensor | float]]) -> Answers:  # fmt: skip
    """Let each of the ``judges`` look at ``change(x)`` for every ``x``."""
    changed = [change(value) for value in x]
    return Answers(xlabel, x, {name: [float(judge(maps)) for maps in changed] for name, judge in judges.items()})


@styled
def show_answers(panels: Mapping[str, Answers], ylabel: str = "loss") -> Figure:
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
