"""Baseline networks: the interface and the budget of the course's networks, and what FC-Siam-diff promises."""

import builtins
import importlib.util

import pytest
import torch
from pairs import pair
from torch import nn

from helpers.benchmarks.networks import BASELINES, FCSiamDiff, LibraryUNet
from helpers.config import CourseError
from helpers.model import DepthMaskNet, count_parameters, forward_gflop, seeded

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("segmentation_models_pytorch") is None,
    reason="segmentation-models-pytorch is not installed",
)
baselines = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_library if name == "LibraryUNet" else ()) for name in BASELINES]
)


def build(name, seed=0):
    return seeded(BASELINES[name], seed)


# -- what every one has in common with the course's networks -------------------------------------------------------


@baselines
def test_no_baseline_is_larger_or_works_harder_than_the_published_network(name):
    published, net = DepthMaskNet(), build(name)
    assert count_parameters(net) <= count_parameters(published)
    assert forward_gflop(net, 192) <= forward_gflop(published, 192)


@pytest.mark.parametrize("name, million, gflop", [("UNet", 5.18, 10.4), ("FCSiamDiff", 2.2, 6.9)])
def test_those_written_here_have_the_size_of_their_papers_layout(name, million, gflop):
    net = build(name)
    assert count_parameters(net) / 1e6 == pytest.approx(million, abs=0.05)
    assert forward_gflop(net, 192) == pytest.approx(gflop, abs=0.05)


@baselines
def test_the_mask_depends_on_both_photographs_in_their_order(name):
    net, (bg, bg_fg) = build(name), pair()  # in training, where a new network's deep layers are as loud as its first
    logits = net(bg, bg_fg)[0]
    for other in (net(bg_fg, bg)[0], net(bg_fg, bg_fg)[0], net(bg, bg)[0]):
        assert (logits - other).norm() > 1e-3 * (logits - logits.mean()).norm()


@baselines
def test_both_outputs_can_take_either_sign_everywhere(name):
    """After a ReLU an output convolution without a bias can hardly reach both signs."""
    net = build(name).eval()
    outputs = [module for module in net.modules() if isinstance(module, nn.Conv2d) and module.out_channels <= 2]
    for sign in (1.0, -1.0):
        for output in outputs:
            nn.init.constant_(output.bias, 9 * sign)
        for logits in net(*pair()):
            assert (logits * sign > 0).all()


@baselines
def test_a_new_one_predicts_rarely_cat_and_undecided_depth(name):
    mask_logits, depth_logits = build(name).eval()(*pair())
    assert (mask_logits + 2).abs().max() < 1 and depth_logits.abs().max() < 1


@baselines
def test_weights_go_into_another_one_of_the_kind(name):
    net, other = build(name, 1).eval(), build(name, 2).eval()
    other.load_state_dict(net.state_dict())
    for logits, wanted in zip(other(*pair()), net(*pair())):
        torch.testing.assert_close(logits, wanted)


# -- what is particular ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_what_is_equal_in_both_photographs_cancels_in_every_skip_of_the_mask_and_in_none_of_the_depth(training):
    net, (bg, _) = FCSiamDiff().train(training), pair()
    seen = {}
    net.mask_decoder.register_forward_pre_hook(lambda module, inputs: seen.update(mask=inputs[1]))
    net.depth_decoder.register_forward_pre_hook(lambda module, inputs: seen.update(depth=inputs[1]))
    net(bg, bg)
    assert len(seen["mask"]) == len(seen["depth"]) == 4
    assert all((skip == 0).all() for skip in seen["mask"]) and all((skip > 0).any() for skip in seen["depth"])
    scene = bg.clone()
    scene[:, :, 10:20, 10:20] = 255 - scene[:, :, 10:20, 10:20]
    net(bg, scene)
    changed = seen["mask"]
    net(scene, bg)
    for skip, swapped in zip(changed, seen["mask"]):
        assert (skip >= 0).all() and (skip > 0).any()
        torch.testing.assert_close(skip, swapped)


def test_depth_sees_the_scene_alone_once_training_is_over():
    net, (bg, bg_fg) = build("FCSiamDiff").eval(), pair()
    torch.testing.assert_close(net(bg, bg_fg)[1], net(bg_fg, bg_fg)[1])
    assert (net(bg, bg_fg)[1] - net(bg, bg)[1]).abs().max() > 0


@needs_library
def test_nothing_in_the_librarys_network_is_built_and_not_used():
    net, called = build("LibraryUNet").eval(), set()
    for module in net.modules():
        module.register_forward_hook(lambda module, inputs, output: called.add(module))
    net(*pair())
    own = {key: module for key, module in net.named_modules() if list(module.parameters(recurse=False))}
    assert not [key for key, module in own.items() if module not in called]


def test_a_missing_library_is_named(monkeypatch):
    real = builtins.__import__

    def importing(name, *rest, **more):
        if name == "segmentation_models_pytorch":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(CourseError, match="pip install segmentation-models-pytorch"):
        LibraryUNet()
