"""The networks as pictures, drawn from the modules themselves.

Change a width in :mod:`helpers.model`, or add a stage, and the drawing changes with it.
"""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor, nn

from helpers.model import DepthMaskNet, DuoNet, count_parameters, evaluating
from helpers.plots import styled

Shape = tuple[int, ...]


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


def trace(net: nn.Module, bg: Tensor, bg_fg: Tensor) -> dict[str, Step]:
    """The shapes at every block, in the order in which the blocks run, seen by forward hooks."""
    steps = {}

    def note(name: str, _, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        steps[name] = Step(tuple(tuple(x.shape) for x in inputs), tuple(output.shape))

    hooks = [block.register_forward_hook(partial(note, name)) for name, block in blocks(net).items()]
    try:
        with evaluating(net):
            net(bg, bg_fg)
    finally:
        for hook in hooks:
            hook.remove()
    return steps


ROOM_COLOUR, SCENE_COLOUR, TRUNK_COLOUR, MASK_COLOUR, DEPTH_COLOUR = "C5", "C0", "#8a8f98", "C1", "C2"
UP, DOWN = 1.45, -1.45  # where the room and the mask are drawn, and where the scene and the depth


class _Diagram:
    """Tensors as boxes, as tall as their size and as wide as their channels ask for, and arrows between them."""

    def __init__(self, net: nn.Module, size: int):
        image = torch.zeros(1, 3, size, size, device=next(net.parameters()).device)
        self.size, self.steps = size, trace(net, image, image)
        self.boxes: dict[str, tuple[float, float, float, float]] = {}  # left, right, middle, top
        self.figure, self.axis = plt.subplots(gridspec_kw={"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.93})
        parameters = f"{count_parameters(net) / 1e6:.2f} million parameters"
        self.axis.set(title=f"{type(net).__name__}, {parameters}: channels × size² for a pair at {size} px")
        self.axis.axis("off")
        self.box("bg", 0, UP, ROOM_COLOUR, image.shape)
        self.box("bg_fg", 0, DOWN, SCENE_COLOUR, image.shape)

    def named(self, start: str) -> list[str]:
        return [name for name in self.steps if name.startswith(start)]

    def box(self, name: str, x: float, y: float, colour: str, shape: Shape | None = None, label: str = "") -> None:
        """What the block ``name`` gives; ``shape`` where it is no block of the network."""
        channels, size = (shape or self.steps[name].output)[1:3]
        width, height = 0.06 + 0.022 * math.sqrt(channels), 1.5 * math.sqrt(size / self.size)
        self.boxes[name] = x - width / 2, x + width / 2, y, y + height / 2
        self.axis.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, color=colour, alpha=0.85))
        edge, va = (y + height / 2 + 0.07, "bottom") if y > 0 else (y - height / 2 - 0.07, "top")
        self.write(x, edge, f"{label or name}\n{channels} × {size}²", va=va)

    def write(self, x: float, y: float, text: str, **how) -> None:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        self.axis.text(x, y, text, ha="center", fontsize=8.5, linespacing=1.35, bbox=box, **how)

    def arrows(self, *names: str) -> None:
        for start, end in pairwise(names):
            self._arrow((self.boxes[start][1], self.boxes[start][2]), (self.boxes[end][0], self.boxes[end][2]))

    def skip(self, start: str, end: str) -> None:
        """Around the bottleneck, from the top of one box to the top of another."""
        (left, right, _, top), (to_left, to_right, _, to_top) = self.boxes[start], self.boxes[end]
        self._arrow(((left + right) / 2, top), ((to_left + to_right) / 2, to_top), -0.2, SCENE_COLOUR)

    def _arrow(self, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0, colour="black") -> None:
        style = {"connectionstyle": f"arc3,rad={bend}", "arrowstyle": "-|>", "mutation_scale": 8}
        self.axis.add_patch(FancyArrowPatch(start, end, color=colour, linewidth=0.9, zorder=0.5, **style))

    def finish(self) -> Figure:
        columns = max(right for _, right, *_ in self.boxes.values())
        self.axis.set(xlim=(-0.45, columns + 0.35), ylim=(-2.75, 2.75))
        self.figure.set_size_inches(0.72 * (columns + 0.8), 4)  # room for a name under each box
        return self.figure


@styled
def show_depth_mask_net(net: DepthMaskNet, size: int) -> Figure:
    """The published network at ``size`` pixels, drawn from the shapes that its blocks give."""
    draw = _Diagram(net, size)
    draw.box("stem_bg", 1.15, UP, ROOM_COLOUR)
    draw.box("stem_bg_fg", 1.15, DOWN, SCENE_COLOUR)
    draw.box("merge", 2.15, 0, TRUNK_COLOUR)
    encoder = draw.named("encoder")
    shown = [*encoder[::2], encoder[-1]]  # each block is followed by its max-pool; the last pool is the bottleneck
    for i, name in enumerate(shown):
        draw.box(name, 3.25 + 1.05 * i, 0, TRUNK_COLOUR)
    first = 3.55 + 1.05 * len(shown)
    draw.arrows("bg", "stem_bg", "merge", *shown)
    draw.arrows("bg_fg", "stem_bg_fg", "merge")
    for decoder, y, colour in (("mask_decoder", UP, MASK_COLOUR), ("depth_decoder", DOWN, DEPTH_COLOUR)):
        names = draw.named(decoder)
        for i, name in enumerate(names):
            draw.box(name, first + i, y, colour, label=name.removeprefix(decoder))
        draw.write(first + 0.75, y - math.copysign(0.75, y), decoder, va="center")
        draw.arrows(encoder[-1], *names)
    return draw.finish()


@styled
def show_duo_net(net: DuoNet, size: int) -> Figure:
    """The course's network at ``size`` pixels, drawn from the shapes that its blocks give."""
    draw = _Diagram(net, size)
    features = draw.steps["mask_head"].inputs[1]  # of the difference, and of each half of the stem's output
    draw.box("room", 1, UP, ROOM_COLOUR, features, "stem(bg)")
    draw.box("scene", 1, DOWN, SCENE_COLOUR, features, "stem(bg_fg)")
    draw.box("difference", 2, UP, MASK_COLOUR, features)
    encoder, decoder = draw.named("encoder"), draw.named("decoder")
    for x, name in enumerate(encoder, 3):
        draw.box(name, x, 0, TRUNK_COLOUR)
    narrow = 2 + len(encoder)
    draw.box("context", narrow + 0.9, -0.66, TRUNK_COLOUR)
    for x, name in enumerate(decoder):
        draw.box(name, narrow + 1.8 + x, 0, TRUNK_COLOUR)
    last = narrow + 1.8 + len(decoder)
    draw.box("mask_head", last, UP, MASK_COLOUR)
    draw.box("depth_head", last, DOWN, DEPTH_COLOUR)
    draw.arrows("bg", "room", "difference", encoder[0])
    draw.arrows("room", encoder[0])
    draw.arrows("bg_fg", "scene", "difference")
    draw.arrows("scene", *encoder, *decoder, "mask_head")
    draw.arrows(encoder[-1], "context", decoder[0])
    draw.arrows(decoder[-1], "depth_head")
    draw.arrows("difference", "mask_head")
    draw.arrows("scene", "depth_head")
    for start, end in zip(encoder[-2::-1], decoder):
        draw.skip(start, end)
    draw.write(0.5, 0, "one stem,\nthe same weights", va="center")
    draw.write(narrow + 0.4, 1.02, "skips", va="center", color="C0")
    return draw.finish()


@styled
def show_u_net(net: nn.Module, size: int) -> Figure:
    """Notebook 03's U-Net at ``size`` pixels, with the skips that it has.

    ``net`` is called as ``net(bg, bg_fg)`` and has an ``encoder`` and a ``decoder``, lists of stages, a last layer
    ``logits``, and ``skips``: whether decoder stages get the encoder's features of their size.
    """
    draw = _Diagram(net, size)
    encoder, decoder = draw.named("encoder"), draw.named("decoder")
    for x, name in enumerate((*encoder, *decoder, "logits"), 1):
        draw.box(name, 1.12 * x, 0, TRUNK_COLOUR)
    draw.arrows("bg", *encoder, *decoder, "logits")
    draw.arrows("bg_fg", encoder[0])
    if net.skips:
        for start, end in zip(encoder[-2::-1], decoder):
            draw.skip(start, end)
        draw.write(1.12 * len(encoder), 1.9, "skips", va="center", color=SCENE_COLOUR)
    return draw.finish()
