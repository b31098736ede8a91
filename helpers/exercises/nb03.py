"""Exercises of notebook 03: sizes, costs, receptive fields, checkerboard artifacts, and a cheaper network."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.demos import networks as demos
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, expect, of_type, quartets
from helpers.model import STRIDE, DuoNet, build, count_parameters, forward_gflop

STRONGEST_GRID = 0.03  # of the range of depth; a pixel-shuffle has five times that, resizing a tenth of it
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

        def pad(left, right, top, bottom, mode="replicate"):
            return F.pad(picture, (left, right, top, bottom), mode=mode)

        mistakes = {
            "Height and width are swapped: F.pad begins with the last axis, (left, right, top, bottom).": pad(0, down, 0, right),
            "Where a size already fits, as 48 does, you add 16 more: 16 - height % 16 is 16 there.":
                pad(0, STRIDE - width % STRIDE, 0, STRIDE - height % STRIDE),
            "You add the remainder. What is *missing* to the next multiple of 16?":
                pad(0, width % STRIDE, 0, height % STRIDE),
            "You add one row and one column too few.": pad(0, max(right - 1, 0), 0, max(down - 1, 0)),
            "You add one row and one column too many.": pad(0, right + 1, 0, down + 1),
            "The padding is at the top and the left, so everything in the picture moves. Put it at the right and the bottom.":
                pad(right, 0, down, 0),
            "You cut instead of adding: that rounds down. Go up to the next multiple of 16.":
                picture[..., : height - height % STRIDE, : width - width % STRIDE],
            'The padding is black, and black makes an edge. Repeat the border: mode="replicate".':
                pad(0, right, 0, down, "constant"),
        }  # fmt: skip
        got = padded(picture.clone())
        expect(got, pad(0, right, 0, down), mistakes, f"the picture of {height} x {width}")
    return "Every size fits now; cut what the network predicts to the picture's own size afterwards."


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
    stacks = ((3, 3, 3), (1, 1, 1)), ((3, 5, 3), (1, 2, 4)), ((7, 3), (1, 3))

    def each(term, more=0):
        """What a formula gives for all stacks: a sum over kernels k and dilations d."""
        return [more + sum(term(k, d) for k, d in zip(*stack)) for stack in stacks]

    mistakes = {
        "This is the way from one side to the other; to *each* side it is half of that.": each(lambda k, d: (k - 1) * d),
        "This is the width of the whole field. How far does it reach to *each* side?": each(lambda k, d: (k - 1) * d, 1),
        "You leave the dilation out: it moves the outermost weight farther away.": each(lambda k, d: k // 2),
        "You add the dilation. The outermost weight lies kernel // 2 steps away, and each step is `dilation` long: multiply.":
            each(lambda k, d: k // 2 + d),
        "You count a whole kernel to each side. A kernel of 3 has its middle, and one pixel to each side.":
            each(lambda k, d: k * d),
        "You count the middle of every kernel as well: one too many for each layer.": each(lambda k, d: k // 2 * d + 1),
        "You count the pixel in the middle; how far to each side *of it*?": each(lambda k, d: k // 2 * d, 1),
    }  # fmt: skip
    got = [reach(*stack) for stack in stacks]
    expect(got, [_measured_reach(*stack) for stack in stacks], mistakes, f"the reach of the stacks {stacks} (kernels, dilations)")
    return "The gradient of real stacks of convolutions agrees."


def _measured_reach(kernels: tuple[int, ...], dilations: tuple[int, ...]) -> int:
    """Which input pixels have a gradient, to the right of the middle."""
    convs = [nn.Conv2d(1, 1, k, padding=k // 2 * d, dilation=d, bias=False) for k, d in zip(kernels, dilations)]
    for conv in convs:
        nn.init.ones_(conv.weight)
    seen = demos.influence(nn.Sequential(*convs), torch.ones(1, 1, 49, 49)) > 0
    return int(seen.any(0).nonzero().max()) - 24


@exercise(
    "3.4",
    "What did the two smooth decoders of section 5 do that the others did not? They look at neighbours.",
    'nn.Upsample(scale_factor=2, mode="bilinear") doubles the size; a 3 x 3 convolution needs padding=1 to keep it.',
)
def doubling_without_a_grid(doubling):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = [doubling(64 >> k) for k in range(4)]
        last = nn.Conv2d(4, 1, 3, padding=1, padding_mode="replicate", bias=False)
    for step in steps:
        of_type(step, nn.Module, "doubling", "a layer, an nn.Module, is expected.")
    with torch.no_grad():
        for k, step in enumerate(steps):
            channels, size = 64 >> k, 6
            shape, wanted = tuple(step.eval()(torch.zeros(1, channels, size, size)).shape), (1, channels // 2, 2 * size, 2 * size)
            why = "twice the size is asked for."
            if shape[1] != wanted[1]:
                why = "half the channels are asked for."
            elif abs(shape[-1] - wanted[-1]) <= 2:
                why = "a border is lost or added. A 3 x 3 convolution needs padding=1, a 1 x 1 convolution none."
            if shape != wanted:
                raise Wrong(f"From (1, {channels}, {size}, {size}) it makes {shape}, not {wanted}: {why}")
        maps = nn.Sequential(*steps, last)(demos.as_features(demos.planes(8, 128)))
    grid = demos.repeated_tile(demos.stretched(maps[..., 32:-32, 32:-32]))  # away from the border's padding
    if grid > STRONGEST_GRID:
        layers = [layer for step in steps for layer in step.modules()]
        if any(isinstance(layer, nn.PixelShuffle) for layer in layers):
            why = "The pixel-shuffle takes each pixel of a square from another filter, and nothing makes the four agree."
        elif any(isinstance(layer, nn.ConvTranspose2d) for layer in layers):
            why = "A transposed convolution, too, has other weights for each pixel of a square."
        elif any(isinstance(layer, nn.Upsample) and layer.mode == "nearest" for layer in layers):
            why = '"nearest" (the default of Upsample) repeats pixels: squares with steps between them.'
        else:
            why = "Something in it treats the pixels of a 2 x 2 square differently."
        raise Wrong(f"Four of these, untrained, draw a pattern of strength {grid:.3f} that comes again every 16 pixels. {why}")
    seen = int((demos.influence(steps[0].requires_grad_(False), torch.rand(1, 64, 9, 9)) > 0).sum())
    more = "" if seen >= 9 else "; with a 3 x 3 convolution after the resizing it would see more, and could draw an edge"
    return f"What comes again every 16 pixels has a strength of {grid:.3f}, and each pixel sees {seen} positions{more}."


@exercise(
    "3.5",
    "Where are the parameters, where is the work? The bars of section 3 show both.",
    "Width costs operations at every level, and parameters mostly at the deepest. So take channels from the first "
    "levels, and give the deepest some.",
)
def a_cheaper_network(cheaper):
    net = cheaper()
    of_type(net, DuoNet, "cheaper", "return DuoNet(stem=..., widths=..., blocks=...).")
    if len(net.encoder) != 4 or len(net.decoder) != 3:
        raise Wrong(f"widths and blocks need four numbers each, one for each level: this encoder has {len(net.encoder)} levels.")
    limit, least = _budget()
    gflop, parameters = forward_gflop(net, BUDGET_SIZE), count_parameters(net)
    cost = f"{gflop:.2f} GFLOP (at most {limit:.2f}) and {parameters:,} parameters (at least {least:,}) at {BUDGET_SIZE} px"
    if gflop > limit and parameters < least:
        raise Wrong(f"{cost}: it misses both. The deepest level is where parameters are cheap in operations.")
    if gflop > limit:
        costs = demos.cost_by_block(net, BUDGET_SIZE)
        most = max((name for name in costs if name.startswith(("stem", "encoder"))), key=lambda name: costs[name].gflop)
        raise Wrong(f"{cost}: too much work. Of the levels that you can change, {most} costs most, {costs[most].gflop:.2f} GFLOP.")
    if parameters < least:
        raise Wrong(f"{cost}: too few. All widths made narrower alike? Parameters fall with the square of the width: take "
                    "from the first levels only, and give to the last.")  # fmt: skip
    return f"{cost}. Whether it learns as well, only a training tells: build it in notebook 05."


@cache
def _budget() -> tuple[float, int]:
    """GFLOP at most, parameters at least."""
    course = build("DuoNet")
    return BUDGET * forward_gflop(course, BUDGET_SIZE), count_parameters(course)
