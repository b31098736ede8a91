"""Both networks: published numbers, input rules, Siamese cancellation, the one place where the sigmoid is."""


import pytest
import torch
import torch.nn.functional as F
from pairs import pair
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchsummary import summary

from helpers.model import (
    NETWORKS,
    DepthMaskNet,
    DuoNet,
    build,
    count_parameters,
    forward_gflop,
    probabilities,
    upsample,
)

both = pytest.mark.parametrize("name", NETWORKS)


def flops(network, size):
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), torch.device("meta"), counter:  # shapes alone, nothing is computed
        network().eval()(torch.zeros(1, 3, size, size), torch.zeros(1, 3, size, size))
    return counter.get_total_flops()


# -- the published numbers ------------------------------------------------------------------------------------------


def test_the_published_network_has_the_published_size():
    net = DepthMaskNet()
    assert sum(p.numel() for p in net.parameters()) == count_parameters(net) == 5_230_720


def test_torchsummary_prints_the_published_table(capsys):
    summary(DepthMaskNet(), [(3, 192, 192), (3, 192, 192)], device="cpu")
    table = capsys.readouterr().out
    assert "Total params: 5,230,720" in table
    assert "Forward/backward pass size (MB): 443.25" in table
    assert "Params size (MB): 19.95" in table


def test_no_convolution_of_the_published_network_has_a_bias():
    convolutions = [m for m in DepthMaskNet().modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 25 and all(m.bias is None for m in convolutions)


def test_the_courses_network_is_no_larger_and_needs_at_most_three_fifths_of_the_operations():
    assert count_parameters(DuoNet()) <= count_parameters(DepthMaskNet())
    for size in (64, 112, 192):
        assert flops(DuoNet, size) <= 0.6 * flops(DepthMaskNet, size)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_upsampling_has_the_gradient_of_the_plain_one_also_when_it_comes_back_as_a_slice(layout):
    generator = torch.Generator().manual_seed(0)
    x, skip = (torch.randn(2, 3, side, side, generator=generator).to(memory_format=layout) for side in (4, 8))
    weight, gradients = torch.randn(2, 6, 8, 8, generator=generator).to(memory_format=layout), []
    for larger in (upsample, lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)):
        start = x.clone().requires_grad_()
        (torch.cat((larger(start), skip), 1) * weight).sum().backward()
        gradients.append(start.grad)
    torch.testing.assert_close(*gradients)


@both
def test_forward_gflop_counts_a_multiply_add_as_two_and_leaves_the_network_as_it_was(name):
    net = build(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert forward_gflop(net, 32) == pytest.approx(flops(NETWORKS[name], 32) / 1e9) and net.training
    assert forward_gflop(net.eval(), 64) == pytest.approx({"DepthMaskNet": 1.65, "DuoNet": 0.97}[name], abs=0.01)
    assert not net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_only_trainable_parameters_are_counted():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert count_parameters(net) == 6


# -- inputs and outputs ---------------------------------------------------------------------------------------------


@both
def test_the_order_of_the_photographs_matters(name):
    net, (bg, bg_fg) = build(name).eval(), pair()
    for logits, swapped in zip(net(bg, bg_fg), net(bg_fg, bg)):
        assert (logits - swapped).norm() > 0.01 * (logits - logits.mean()).norm()


@both
def test_running_statistics_move_in_training_only_and_do_not_depend_on_the_order_of_the_batch(name):
    bg, bg_fg = pair(4)

    def statistics(training, order):
        net = build(name).train(training)
        net(bg[order], bg_fg[order])
        return {key: value for key, value in net.state_dict().items() if "running" in key}

    start = {key: value for key, value in build(name).state_dict().items() if "running" in key}
    one, other, resting = statistics(True, [0, 1, 2, 3]), statistics(True, [2, 0, 3, 1]), statistics(False, [0, 1])
    for key, value in start.items():
        assert torch.equal(resting[key], value) and not torch.equal(one[key], value)
        torch.testing.assert_close(one[key], other[key], rtol=1e-3, atol=1e-5)


def test_an_unknown_network_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match="'UNet': choose DepthMaskNet or DuoNet"):
        build("UNet")


# -- what DuoNet promises -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_where_room_and_scene_are_equal_the_difference_vanishes(training):
    net, (bg, _) = build("DuoNet").train(training), pair()
    seen = []
    net.mask_head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    scene = bg.clone()
    scene[:, :, 10:20, 10:20] = 255 - scene[:, :, 10:20, 10:20]
    net(bg, bg)
    net(bg, scene)
    net(scene, bg)
    same, changed, swapped = seen
    assert (same == 0).all() and (changed >= 0).all()
    torch.testing.assert_close(changed, swapped)
    if not training:  # in training the change reaches everything through the batch's statistics
        away = torch.ones(32, 32, dtype=torch.bool)
        away[8:22, 8:22] = False  # two 3x3 convolutions see two pixels far
        assert (changed[..., away] == 0).all() and (changed[..., ~away] > 0).any()


def test_a_new_network_calls_a_pixel_rarely_cat_and_depth_undecided():
    mask_logits, depth_logits = build("DuoNet").eval()(*pair())
    assert (mask_logits + 2).abs().max() < 0.5 and depth_logits.abs().max() < 0.5


# -- from logits to probabilities -----------------------------------------------------------------------------------


def test_the_sigmoid_is_applied_exactly_once():
    logits = torch.linspace(-9, 9, 50).view(1, 1, 5, 10)
    mask, depth = probabilities(logits, -logits)
    torch.testing.assert_close(mask, 1 / (1 + torch.exp(-logits)))
    torch.testing.assert_close(depth, 1 / (1 + torch.exp(logits)))


def test_a_network_trained_on_raw_logits_is_read_by_clamping():
    logits = torch.tensor([-3.0, 0.0, 0.25, 1.0, 7.0]).view(1, 1, 1, 5)
    mask, depth = probabilities(logits, logits, "clamp")
    assert depth.flatten().tolist() == [0, 0, 0.25, 1, 1]
    torch.testing.assert_close(mask, logits.sigmoid())


@pytest.mark.parametrize("activation", ["sigmoid", "clamp"])
def test_probabilities_of_16_bit_logits_have_32_bits_and_stay_in_range(activation):
    logits = torch.tensor([-200.0, 0.3, 200.0], dtype=torch.bfloat16).view(1, 1, 1, 3)
    for prob in probabilities(logits, logits, activation):
        assert prob.dtype == torch.float32 and prob.min() >= 0 and prob.max() <= 1


def test_an_unknown_readout_is_refused():
    with pytest.raises(ValueError, match="'sigmoid' or 'clamp', not 'softmax'"):
        probabilities(torch.zeros(1), torch.zeros(1), "softmax")


@pytest.mark.parametrize("name", NETWORKS)
def test_pixels_that_are_neither_bytes_nor_floats_are_refused(name):
    room, scene = pair(32)
    with pytest.raises(ValueError, match=r"uint8, or float in \[0, 1\], not torch.int64"):
        build(name).eval()(room.long(), scene.long())
