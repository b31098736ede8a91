"""Every network, the course's and the baselines': what goes in, what comes out, and what a seed decides."""

import importlib.util
import re

import pytest
import torch
from pairs import assert_alike, pair

from helpers.benchmarks.networks import BASELINES
from helpers.model import NETWORKS, seeded

without = importlib.util.find_spec("segmentation_models_pytorch") is None
needs_library = pytest.mark.skipif(without, reason="segmentation-models-pytorch is not installed")
every = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_library if name == "LibraryUNet" else ()) for name in (*NETWORKS, *BASELINES)]
)


def build(name, seed=0):
    return seeded({**NETWORKS, **BASELINES}[name], seed)


@every
@pytest.mark.parametrize("count, height, width", [(1, 32, 32), (3, 48, 80), (2, 16, 64), (2, 64, 16)])
def test_logits_have_the_side_of_the_photographs(name, count, height, width):
    for logits in build(name).eval()(*pair(count, height, width)):
        assert logits.shape == (count, 1, height, width) and logits.dtype == torch.float32


@every
def test_bytes_and_floats_in_0_to_1_are_the_same_photograph(name):
    net, (bg, bg_fg) = build(name).eval(), pair()
    expected = net(bg, bg_fg)
    for room, scene in ((bg / 255, bg_fg / 255), (bg / 255, bg_fg), (bg, bg_fg / 255)):
        for logits, want in zip(net(room, scene), expected):
            assert_alike(logits, want)


@every
def test_wrong_inputs_are_told_with_the_remedy(name):
    net, (bg, bg_fg) = build(name), pair()
    for room, scene, message in (
        (bg[0], bg_fg[0], "add the batch dimension with bg[None]"),
        (bg[:, :1], bg_fg[:, :1], "(B, 3, H, W), not (2, 1, 32, 32)"),
        (bg, bg_fg[..., :16], "(2, 3, 32, 32) and bg_fg (2, 3, 32, 16) must have the same shape"),
        (*pair(2, 50, 32), "height 50 is not divisible by 16: pad to 64"),
        (*pair(2, 32, 17), "width 17 is not divisible by 16: pad to 32"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            net(room, scene)


@every
def test_a_pair_does_not_depend_on_its_neighbours_once_training_is_over(name):
    net, (bg, bg_fg) = build(name).eval(), pair(3)
    for alone, together in zip(net(bg[1:2], bg_fg[1:2]), net(bg, bg_fg)):
        assert_alike(alone, together[1:2])


@every
def test_the_gradient_reaches_every_parameter(name):
    net = build(name)
    mask_logits, depth_logits = net(*pair(2, 64, 64))
    (mask_logits.square().sum() + depth_logits.square().sum()).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


@every
def test_weights_are_decided_by_the_seed_and_the_global_generator_is_left_alone(name):
    state = torch.get_rng_state()
    first, again, other = (torch.cat([p.flatten() for p in build(name, seed).parameters()]) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again) and not torch.equal(first, other)
