"""Judges of notebook 03's exercises: sizes, costs, receptive fields, checkerboards, and a cheaper network."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from helpers.demos import networks as lessons
from helpers.exercises.checker import NotYet, Wrong, exercise, has_blank
from helpers.exercises.compare import Either, as_array, expect, quartets
from helpers.model import STRIDE, DuoNet, build, count_parameters, forward_gflop

LEAST_TILE = 0.03  # of the range of depth; a pixel-shuffle has five times that, resizing a tenth of it
BUDGET = 0.7  # of DuoNet's operations
BUDGET_SIZE = 192  # pixels


@exercise(
    "3.1",
    "How much is missing from 100 to the next multiple of 16? And from 96? The second must give 0.",
    "In Python -height % 16 is what is missing. F.pad begins with the *last* axis: (left, right, top, bottom).",
)
def padding_to_sixteen(padded):
    scene = quartets()["bg_fg"][:1].float() / 255
    for height, width in ((52, 38), (48, 64)):
        picture = scene[..., :height, :width]
        down, right = -height % STRIDE, -width % STRIDE
        whole = F.pad(picture, (0, right, 0, down), mode="replicate")
        mistakes = {
            "Height and width are swapped: F.pad begins with the last axis, (left, right, top, bottom).":
                F.pad(picture, (0, down, 0, right), mode="replicate"),
            f"{height} x {width} already fits, and you add 16 to it: 16 - height % 16 is 16 there, where nothing is missing.":
                F.pad(picture, (0, STRIDE - width % STRIDE, 0, STRIDE - height % STRIDE), mode="replicate"),
            f"You add the remainder, {height % STRIDE} and {width % STRIDE}. What is *missing* to the next multiple of 16?":
                F.pad(picture, (0, width % STRIDE, 0, height % STRIDE), mode="replicate"),
            "You add one row and one column too few: count from the side itself, not from side - 1.":
                F.pad(picture, (0, max(right - 1, 0), 0, max(down - 1, 0)), mode="replicate"),
            "You add one row and one column too many: count from the side itself, not from side + 1.":
                F.pad(picture, (0, right + 1, 0, down + 1), mode="replicate"),
            "The padding is at the top and the left, so everything in the picture moves, and the answer has to be cut there, too. "
            "Put it at the right and the bottom.": F.pad(picture, (right, 0, down, 0), mode="replicate"),
            "You cut instead of adding: that rounds down. Go up to the next multiple of 16.":
                picture[..., : height - height % STRIDE, : width - width % STRIDE],
            'The padding is black, and black makes an edge. Repeat the border: mode="replicate".':
                F.pad(picture, (0, right, 0, down)),
        }  # fmt: skip
        got = padded(picture.clone())
        expect(got, whole, mistakes, f"the picture of {height} x {width}")
    with torch.no_grad():
        mask, _ = build("DuoNet").eval()(got, got)
    return f"The network takes it, and its mask comes as {tuple(mask.shape[-2:])}; cut it to the picture's own size afterwards."


@exercise(
    "3.2",
    "Each of the `outputs` filters has kernel x kernel weights for each of the `inputs` channels.",
    "Every weight is used once at every pixel: one multiplication and one addition.",
)
def cost_of_a_convolution(conv_cost):
    inputs, outputs, kernel, height, width = 5, 7, 3, 10, 12
    parameters, operations = _counted(inputs, outputs, kernel, height, width)
    pixels = height * width
    mistakes = {
        "Your two numbers have changed places: parameters first, operations second.": (operations, parameters),
        "A kernel of 3 has 3 x 3 weights: square it.": (parameters / kernel, operations / kernel),
        "The parameters are right. Of the operations you count half: a multiplication and an addition are two.":
            (parameters, operations / 2),
        "You count a bias for each output; this convolution has none (bias=False).":
            Either(((parameters + outputs, operations), (parameters + outputs, 2 * (parameters + outputs) * pixels))),
        "The parameters are right. The operations are those of one pixel: the filter is applied at every pixel.":
            (parameters, 2 * parameters),
        "Weights are used at every pixel but exist once: parameters do not grow with the picture.":
            (parameters * pixels, operations),
        "You count one input channel: every filter looks at all of them.": (parameters / inputs, operations / inputs),
    }  # fmt: skip
    expect(conv_cost(inputs, outputs, kernel, height, width), (parameters, operations), mistakes, "the pair")
    for case in ((3, 16, 5, 8, 6), (32, 8, 1, 4, 4)):
        expect(conv_cost(*case), _counted(*case), {}, f"the pair for {case}")
    return f"PyTorch counts the same: {parameters} parameters, {operations:,} operations."


def _counted(inputs: int, outputs: int, kernel: int, height: int, width: int) -> tuple[int, int]:
    """Parameters and operations of a convolution, as PyTorch counts them."""
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    with torch.device("meta"):  # shapes without numbers
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        with FlopCounterMode(display=False) as counter:
            conv(torch.zeros(1, inputs, height, width))
    return count_parameters(conv), counter.get_total_flops()


@exercise(
    "3.3",
    "A 3 x 3 convolution sees one pixel to each side, a 5 x 5 two, a 7 x 7 three.",
    "Dilation 2 leaves one pixel out between the weights, so the outermost weight lies twice as far out.",
)
def how_far_a_stack_sees(reach):
    for kernels, dilations in (((3, 3, 3), (1, 1, 1)), ((3, 5, 3), (1, 2, 4)), ((7, 3), (1, 3))):
        pairs = list(zip(kernels, dilations))
        mistakes = {
            "This is the way from one side to the other; to *each* side it is half of that.":
                sum((k - 1) * d for k, d in pairs),
            "This is the width of the whole field, with the middle. How far does it reach to *each* side?":
                1 + sum((k - 1) * d for k, d in pairs),
            "You leave the dilation out: it moves the outermost weight farther away.": sum(k // 2 for k, d in pairs),
            "You count a whole kernel to each side. A kernel of 3 has its middle, and one pixel to each side.":
                sum(k * d for k, d in pairs),
            "You count the middle of every kernel as well: one too many for each layer.": sum(k // 2 * d + 1 for k, d in pairs),
            "You count the pixel in the middle; how far to each side *of it*?": 1 + sum(k // 2 * d for k, d in pairs),
        }  # fmt: skip
        right = _measured_reach(kernels, dilations)
        expect(reach(kernels, dilations), right, mistakes, f"the reach of kernels {kernels} with dilations {dilations}")
    return "The gradient of real stacks of convolutions agrees."


def _measured_reach(kernels: tuple[int, ...], dilations: tuple[int, ...]) -> int:
    """Which input pixels have a gradient, to the right of the middle."""
    convs = [nn.Conv2d(1, 1, k, padding=k // 2 * d, dilation=d, bias=False) for k, d in zip(kernels, dilations)]
    for conv in convs:
        nn.init.ones_(conv.weight)
    seen = lessons.influence(nn.Sequential(*convs), torch.ones(1, 1, 49, 49)) > 0
    return int(seen.any(0).nonzero().max()) - 24


@exercise(
    "3.4",
    "What did the two smooth decoders of section 5 do that the others did not? They look at neighbours.",
    'nn.Upsample(scale_factor=2, mode="bilinear") doubles the side; a 3 x 3 convolution needs padding=1 to keep it.',
)
def doubling_without_a_grid(doubling):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = [doubling(64 >> k) for k in range(4)]
        last = nn.Conv2d(4, 1, 3, padding=1, padding_mode="replicate", bias=False)
    if has_blank(steps):
        raise NotYet
    for step in steps:
        if not isinstance(step, nn.Module):
            raise Wrong(f"doubling returns a {type(step).__name__}; a layer, an nn.Module, is expected.")
    with torch.no_grad():
        for k, step in enumerate(steps):
            channels, side = 64 >> k, 6
            shape = tuple(step.eval()(torch.zeros(1, channels, side, side)).shape)
            wanted = (1, channels // 2, 2 * side, 2 * side)
            if shape != wanted:
                raise Wrong(_wrong_shape(channels, shape, wanted))
        maps = nn.Sequential(*steps, last)(lessons.as_features(lessons.planes(8, 128)))
    tile = lessons.repeated_tile(lessons.stretched(maps[..., 32:-32, 32:-32]))  # away from the border's padding
    if tile > LEAST_TILE:
        kinds = {type(layer) for step in steps for layer in step.modules()}
        if nn.PixelShuffle in kinds:
            why = "The pixel-shuffle takes each pixel of a square from another filter, and nothing makes the four agree."
        elif nn.ConvTranspose2d in kinds:
            why = "A transposed convolution, too, has other weights for each pixel of a square."
        elif any(isinstance(layer, nn.Upsample) and layer.mode == "nearest" for step in steps for layer in step.modules()):
            why = '"nearest" (the default of Upsample) repeats pixels: squares with steps between them.'
        else:
            why = "Something in it treats the pixels of a 2 x 2 square differently."
        raise Wrong(f"Four of these, untrained, paint a tile of strength {tile:.3f} every 16 pixels. {why}")
    seen = int((lessons.influence(steps[0].requires_grad_(False), torch.rand(1, 64, 9, 9)) > 0).sum())
    if seen < 9:
        raise Wrong(f"No grid. But an output pixel sees only {seen} positions of the input: with a 3 x 3 convolution after the "
                    "resizing it sees more, and can draw an edge.")  # fmt: skip
    return f"The tile that comes again every 16 pixels has a strength of {tile:.3f}, and each pixel sees {seen} positions."


def _wrong_shape(channels: int, shape: tuple, wanted: tuple) -> str:
    said = f"From (1, {channels}, {wanted[2] // 2}, {wanted[3] // 2}) it makes {shape}, not {wanted}: "
    if shape[1] != wanted[1]:
        return said + "half the channels are asked for."
    if abs(shape[-1] - wanted[-1]) <= 2:
        return said + "a border is lost or added. A 3 x 3 convolution needs padding=1, a 1 x 1 convolution none."
    return said + "twice the side is asked for."


@exercise(
    "3.5",
    "Where are the parameters, where is the work? Look at networks.cost_by_block(course, 192).",
    "Width costs operations at every level, and parameters mostly at the deepest. So take channels from the first "
    "levels, and give the deepest some.",
)
def a_cheaper_network(cheaper):
    net = cheaper()
    if has_blank(net):
        raise NotYet
    if not isinstance(net, DuoNet):
        raise Wrong(f"cheaper returns a {type(net).__name__}; return DuoNet(stem=..., widths=..., blocks=...).")
    if len(net.encoder) != 4 or len(net.decoder) != 3:
        raise Wrong(f"widths and blocks need four numbers each, one for each level: this encoder has {len(net.encoder)} levels.")
    limit, least = _budget()
    gflop, parameters = forward_gflop(net, BUDGET_SIZE), count_parameters(net)
    said = f"{gflop:.2f} GFLOP (at most {limit:.2f}) and {parameters:,} parameters (at least {least:,}) at {BUDGET_SIZE} px"
    if gflop > limit and parameters < least:
        raise Wrong(f"{said}: it misses both. The deepest level is where parameters are cheap in operations.")
    if gflop > limit:
        costs = lessons.cost_by_block(net, BUDGET_SIZE)
        most = max((name for name in costs if name.startswith(("stem", "encoder"))), key=lambda name: costs[name].gflop)
        raise Wrong(f"{said}: too much work. Of the levels that you can change, {most} costs most, {costs[most].gflop:.2f} GFLOP.")
    if parameters < least:
        raise Wrong(f"{said}: too few. All widths made narrower alike? Parameters fall with the square of the width: take "
                    "from the first levels only, and give to the last.")  # fmt: skip
    mask, depth = net.eval()(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))
    expect(as_array(mask).shape + as_array(depth).shape, (1, 1, 32, 32) * 2, {}, "the shape of mask and depth")
    return f"{said}. Whether it learns as well, only a training tells: build it in notebook 05."


@cache
def _budget() -> tuple[float, int]:
    """GFLOP at most, parameters at least."""
    course = build("DuoNet")
    return BUDGET * forward_gflop(course, BUDGET_SIZE), count_parameters(course)
