"""Exercises of notebook 03: a decoder step, sizes, checkerboard artifacts, receptive fields, costs, cheap networks."""

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
    "Where skip has an odd height, twice the height of x is one row short: give F.interpolate a size, not a factor.",
    "A tensor's height and width are x.shape[-2:]. "
    "Joined along axis 1, two tensors have the channels of both together.",
)
def a_decoder_step(DecoderStep):
    for inputs, skip, outputs, size in ((6, 4, 5, (16, 12)), (4, 6, 3, (15, 13)), (5, 3, 4, (14, 9))):
        step = seeded(lambda: DecoderStep(inputs, skip, outputs), 0)
        of_type(step, nn.Module, "DecoderStep", "a class is expected that begins with class DecoderStep(nn.Module).")
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(2, inputs, *(side // 2 for side in size), generator=generator)
        features = torch.randn(2, skip, *size, generator=generator)
        goal, about = (2, outputs, *size), f"From x {tuple(x.shape)} and skip {tuple(features.shape)} it"
        try:
            got = step.train()(x, features)
        except RuntimeError as error:
            if size == (16, 12):  # the sizes are even, so it is something else
                raise
            raise Wrong(f"{about} stops ({str(error).splitlines()[0][:80]}): enlarge x to the size of skip, odd or "
                        "even.") from None  # fmt: skip
        of_type(got, torch.Tensor, "the step", "a tensor is expected.")
        if tuple(got.shape) != goal:
            raise Wrong(f"{about} makes {tuple(got.shape)}, not {goal}: as many channels as outputs, as large as skip.")
        if got.min() < 0:
            raise Wrong(f"Its lowest value is {got.min().item():.2f}: end with a ReLU, which leaves none below 0.")
        _learns(step.eval(), x, features)
    _looks_at_the_right_place(step, x, features)
    return f"{about} makes {goal}, and both of them get a gradient."


def _learns(step: nn.Module, x: torch.Tensor, features: torch.Tensor) -> None:
    """Raise :class:`Wrong` unless both inputs and all parameters of ``step`` get a gradient."""
    if not list(step.parameters()):
        raise Wrong("The step has no parameters: make its layers in __init__, as attributes of self.")
    x, features = x.clone().requires_grad_(), features.clone().requires_grad_()
    got = step(x, features)
    if not got.requires_grad:
        raise Wrong("The result has no gradient, so nothing could be learnt: leave out detach, .data and no_grad.")
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(2))
    (got * weights).sum().backward()
    for name, value in (("x", x), ("skip", features)):
        if value.grad is None or not value.grad.any():
            raise Wrong(f"{name} gets no gradient: join both, undetached, before the convolution.")
    unused = [name for name, parameter in step.named_parameters() if parameter.grad is None]
    if unused:
        raise Wrong(f"{unused[0]} gets no gradient: that layer is made but not used.")


def _looks_at_the_right_place(step: nn.Module, x: torch.Tensor, features: torch.Tensor) -> None:
    """Raise :class:`Wrong` unless a pixel depends on 3 x 3 pixels of skip around it, and on its own place in x."""
    row, column = 4, 2  # neither in the middle nor on the diagonal
    x, features = x.repeat(4, 1, 1, 1).requires_grad_(), features.repeat(4, 1, 1, 1).requires_grad_()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))  # else a ReLU could be shut everywhere
    of_x, of_skip = torch.autograd.grad(step(x + noise, features)[..., row, column].sum(), (x, features))
    seen = of_skip.abs().sum((0, 1))
    if int((seen > 0).sum()) < 9:
        raise Wrong(f"A pixel depends on {int((seen > 0).sum())} pixel(s) of skip: use a convolution of 3 x 3.")
    for name, gradient, scale in (("x", of_x.abs().sum((0, 1)), 2), ("skip", seen, 1)):
        for axis, place in enumerate((row, column)):
            line = gradient.sum(1 - axis)
            centre = float((line * torch.arange(len(line))).sum() / line.sum())
            if abs(centre - ((place + 0.5) / scale - 0.5)) > 1.5:  # pixels
                raise Wrong(f"A pixel depends on another place of {name} than its own: is anything flipped or shifted?")


@exercise(
    "3.2",
    "How much is missing from 100 to the next multiple of 16? And from 96? The second must give 0.",
    "In Python a % 16 is never negative, also for a negative a. F.pad begins with the *last* axis, the width.",
)
def padding_to_sixteen(padded):
    scene = quartets()["bg_fg"][:1].float() / 255
    for (height, width), larger in (((52, 38), (64, 48)), ((48, 64), (48, 64))):
        picture = scene[..., :height, :width]
        down, right = (new - old for new, old in zip(larger, (height, width)))

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
        rows, columns = (torch.arange(new).clamp_max(old - 1) for new, old in zip(larger, (height, width)))
        expect(got, picture[..., rows, :][..., columns], mistakes, f"the picture of {height} x {width}")
    return "Every size fits now; cut what the network predicts to the picture's own size afterwards."


@exercise(
    "3.3",
    "What did the two smooth decoders of section 3.5 do that the others did not? Their weights fade smoothly.",
    'nn.Upsample(scale_factor=2, mode="bilinear") doubles the size; a 3 x 3 convolution needs padding=1 to keep it.',
)
def doubling_without_a_grid(doubling):
    def layers() -> list[nn.Module]:
        steps = [doubling(64 >> k) for k in range(4)]
        return [*steps, nn.Conv2d(4, 1, 3, padding=1, padding_mode="replicate", bias=False)]

    grids, features = [], networks.as_features(networks.planes(8, 128))
    for seed in range(3):
        *steps, last = seeded(layers, seed)
        for k, step in enumerate(steps):
            of_type(step, nn.Module, "doubling", "a layer, an nn.Module, is expected.")
            _doubles(step.eval(), 64 >> k)
        with torch.no_grad():
            maps = nn.Sequential(*steps, last)(features)[..., 32:-32, 32:-32]  # away from the border's padding
        if (maps.amax((1, 2, 3)) - maps.amin((1, 2, 3))).min() < 1e-6:
            raise Wrong("Four of these make one value of a whole tilted plane: the output must depend on the input.")
        grids.append(networks.repeated_tile(networks.stretched(maps)))
    grid = sum(grids) / len(grids)
    if grid > 0.04:  # of the range of depth; a pixel-shuffle has five times that, resizing a tenth of it
        raise Wrong(f"Four of these, untrained, repeat a pattern of {grid:.3f} every 16 pixels: shuffles and "
                    'transposed convolutions have other weights for each pixel, "nearest" and ICNR make steps.')  # fmt: skip
    seen = int((networks.influence(steps[0].requires_grad_(False), torch.rand(1, 64, 9, 9)) > 0).sum())
    return f"What repeats every 16 pixels has a root mean square of {grid:.3f}, and a pixel sees {seen} position(s)."


@torch.no_grad()
def _doubles(step: nn.Module, channels: int) -> None:
    """Raise :class:`Wrong` unless ``step`` halves the channels and doubles height and width."""
    shape = tuple(step(torch.zeros(1, channels, 6, 5)).shape)
    wanted = (1, channels // 2, 12, 10)
    if shape != wanted:
        raise Wrong(f"From (1, {channels}, 6, 5) it makes {shape}, not {wanted}: half the channels and twice the "
                    "size. A 3 x 3 convolution needs padding=1.")  # fmt: skip


@exercise(
    "3.4",
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
    got, right = [reach(*stack) for stack in stacks], [_measured_reach(*stack) for stack in stacks]
    expect(got, right, mistakes, f"the list of reaches, for kernels and dilations {stacks},")
    return f"Kernels {stacks[1][0]} with dilations {stacks[1][1]} reach {right[1]} pixels to each side."


def _measured_reach(kernels: tuple[int, ...], dilations: tuple[int, ...]) -> int:
    """How many pixels right of the middle can change it, by the gradient of convolutions of that kind."""
    layers = [nn.Conv2d(1, 1, k, padding=k // 2 * d, dilation=d, bias=False) for k, d in zip(kernels, dilations)]
    stack = nn.Sequential(*layers)
    for weight in stack.parameters():
        nn.init.ones_(weight)
    seen = networks.influence(stack, torch.ones(1, 1, 41, 41)) > 0
    return int(seen.any(0).nonzero().max()) - 20


@exercise(
    "3.5",
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
    "3.6",
    "Where are the parameters, where is the work? The bars of section 3.7 show both.",
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
