"""Exercises of notebook 03: sizes, costs, receptive fields, checkerboard artifacts, and a cheaper network."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.demos import networks
from helpers.exercises.checker import Wrong, exercise
from helpers.exercises.compare import Either, expect, of_type, quartets
from helpers.model import STRIDE, DuoNet, build, count_parameters, forward_gflop, seeded

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

        over, beyond = height % STRIDE, width % STRIDE
        mistakes = {
            "Height and width are swapped: F.pad begins with the last axis, the width.": pad(0, down, 0, right),
            "48 already fits, and you add 16: 16 - height % 16 is 16 there.": pad(0, STRIDE - beyond, 0, STRIDE - over),
            "You add the remainder. What is *missing* to the next multiple of 16?": pad(0, beyond, 0, over),
            "The padding is at the top and the left. Put it at the right and the bottom.": pad(right, 0, down, 0),
            "You cut instead of adding: that rounds down. Go up to the next multiple.": pad(0, -beyond, 0, -over),
            'The padding is black, and black makes an edge: mode="replicate".': pad(0, right, 0, down, "constant"),
        }
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
    pixels, biased = height * width, parameters + outputs
    mistakes = {
        "Your two numbers have changed places: parameters first, operations second.": (operations, parameters),
        "A kernel of 3 has 3 x 3 weights: square it.": (parameters / kernel, operations / kernel),
        "You count half of the operations: a multiplication and an addition are two.": (parameters, operations / 2),
        "You count a bias; this convolution has none.": Either(((biased, operations), (biased, 2 * biased * pixels))),
        "You count the operations of one pixel: the filter is applied at every pixel.": (parameters, 2 * parameters),
        "You count one input channel: every filter looks at all of them.": (parameters / inputs, operations / inputs),
    }
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
        return [more + sum(term(k, d) for k, d in zip(*stack)) for stack in stacks]

    mistakes = {
        "This is the way from one side to the other; half of it lies on each side.": each(lambda k, d: (k - 1) * d),
        "This is the width of the whole field. How far is it to *each* side?": each(lambda k, d: (k - 1) * d, 1),
        "You leave the dilation out: it moves the outermost weight farther away.": each(lambda k, d: k // 2),
        "You add the dilation. It is the length of each of the k // 2 steps: multiply.": each(lambda k, d: k // 2 + d),
        "You count a whole kernel to each side. A kernel of 3 reaches one pixel far.": each(lambda k, d: k * d),
        "You count the pixel in the middle; how far to each side *of it*?": each(lambda k, d: k // 2 * d, 1),
    }
    got, right = [reach(*stack) for stack in stacks], each(lambda k, d: k // 2 * d)
    expect(got, right, mistakes, f"the list of reaches, for kernels and dilations {stacks},")
    return f"Kernels {stacks[1][0]} with dilations {stacks[1][1]} reach {right[1]} pixels to each side."


@exercise(
    "3.4",
    "What did the two smooth decoders of section 5 do that the others did not? They look at neighbours.",
    'nn.Upsample(scale_factor=2, mode="bilinear") doubles the size; a 3 x 3 convolution needs padding=1 to keep it.',
)
def doubling_without_a_grid(doubling):
    def layers() -> list[nn.Module]:
        steps = [doubling(64 >> k) for k in range(4)]
        return [*steps, nn.Conv2d(4, 1, 3, padding=1, padding_mode="replicate", bias=False)]

    *steps, last = seeded(layers, 0)
    for step in steps:
        of_type(step, nn.Module, "doubling", "a layer, an nn.Module, is expected.")
    with torch.no_grad():
        for k, step in enumerate(steps):
            channels, size = 64 >> k, 6
            shape = tuple(step.eval()(torch.zeros(1, channels, size, size)).shape)
            wanted = (1, channels // 2, 2 * size, 2 * size)
            if shape != wanted:
                raise Wrong(f"From (1, {channels}, {size}, {size}) it makes {shape}, not {wanted}: half the channels "
                            "and twice the size. A 3 x 3 convolution needs padding=1.")  # fmt: skip
        maps = nn.Sequential(*steps, last)(networks.as_features(networks.planes(8, 128)))
    grid = networks.repeated_tile(networks.stretched(maps[..., 32:-32, 32:-32]))  # away from the border's padding
    if grid > 0.03:  # of the range of depth; a pixel-shuffle has five times that, resizing a tenth of it
        raise Wrong(f"Four of these, untrained, repeat a pattern of {grid:.3f} every 16 pixels: shuffles and "
                    'transposed convolutions have other weights for each pixel, "nearest" makes steps.')  # fmt: skip
    seen = int((networks.influence(steps[0].requires_grad_(False), torch.rand(1, 64, 9, 9)) > 0).sum())
    return f"What comes again every 16 pixels has a strength of {grid:.3f}, and each pixel sees {seen} positions."


@exercise(
    "3.5",
    "Where are the parameters, where is the work? The bars of section 3 show both.",
    "Width costs operations at every level, parameters mostly at the deepest: take channels from the first levels.",
)
def a_cheaper_network(cheaper):
    net = cheaper()
    of_type(net, DuoNet, "cheaper", "return DuoNet(stem=..., widths=..., blocks=...).")
    if len(net.encoder) != 4 or len(net.decoder) != 3:
        raise Wrong(f"widths and blocks need four numbers each: this encoder has {len(net.encoder)} levels.")
    course = build("DuoNet")
    limit, least = 0.7 * forward_gflop(course, BUDGET_SIZE), count_parameters(course)
    gflop, parameters = forward_gflop(net, BUDGET_SIZE), count_parameters(net)
    cost = f"{gflop:.2f} GFLOP at {BUDGET_SIZE} px (at most {limit:.2f}), {parameters:,} parameters (least {least:,})"
    if gflop > limit:
        raise Wrong(f"{cost}: too much work. Take channels from the first levels: there are most pixels.")
    if parameters < least:
        raise Wrong(f"{cost}: too few. All widths made narrower alike? Take from the first levels only.")
    return f"{cost}. Whether it learns as well, only a training tells: build it in notebook 05."
