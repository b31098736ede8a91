"""What notebook 03 builds in its own cells is what the library has."""

import pytest
import torch
from notebook_cells import defined
from pairs import pair

from helpers.benchmarks.networks import UNet as LibraryUNet
from helpers.demos import networks
from helpers.exercises.solutions import SOLUTIONS
from helpers.model import build, count_parameters, seeded


@pytest.fixture(scope="module")
def cells():
    return defined("03", "block", "make_encoder", "make_decoder", "UNet", "saliency", "grad_cam", "feature_maps", "through")


def copied(cells):
    """The notebook's U-Net and the library's, with one set of weights and running statistics that are not the first ones."""
    library = seeded(LibraryUNet, 1).train()
    for seed in range(3):
        torch.manual_seed(seed)
        library(*pair())
    mine = cells["UNet"](base=26)
    mine.load_state_dict(dict(zip(mine.state_dict(), library.state_dict().values(), strict=True)))
    return mine, library


@pytest.mark.parametrize("training", [False, True])
def test_its_u_net_is_the_librarys(cells, training):
    mine, library = copied(cells)
    for logits, wanted in zip(mine.train(training)(*pair()), library.train(training)(*pair())):
        torch.testing.assert_close(logits, wanted)


def test_its_gradients_are_the_librarys(cells):
    mine, library = copied(cells)
    for net in (mine, library):
        mask_logits, depth_logits = net.train()(*pair())
        (mask_logits.square().mean() + depth_logits.sigmoid().mean()).backward()
    for one, other in zip(mine.parameters(), library.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_without_skips_all_goes_through_the_bottleneck(cells):
    for skips in (True, False):
        net = seeded(lambda: cells["UNet"](base=8, skips=skips), 0).eval()
        net.encoder[-1].register_forward_hook(lambda stage, inputs, output: torch.zeros_like(output))
        mask_logits, depth_logits = net(*pair())
        varies = (mask_logits.amax((2, 3)) - mask_logits.amin((2, 3))).max().item() > 1e-6
        assert varies == skips and mask_logits.shape == depth_logits.shape


def test_skips_cost_parameters_and_nothing_else_differs(cells):
    with_skips, without = cells["UNet"](base=4), cells["UNet"](base=4, skips=False)
    assert count_parameters(with_skips) > count_parameters(without)
    assert with_skips.encoder[2][0].weight.shape == without.encoder[2][0].weight.shape
    assert with_skips.decoder[0][0].weight.shape == (32, 96, 3, 3) and without.decoder[0][0].weight.shape == (32, 64, 3, 3)


def test_a_new_one_starts_as_the_librarys_do(cells):
    mask_logits, depth_logits = cells["UNet"](base=8).eval()(*pair())
    assert (mask_logits + 2).abs().max() < 1 and depth_logits.abs().max() < 1


def test_feature_maps_are_those_of_each_block_and_leave_no_hook(cells):
    net = seeded(lambda: cells["UNet"](base=4), 0).eval()
    maps = cells["feature_maps"](net, *pair())
    assert list(maps) == [*(f"encoder.{i}" for i in range(5)), *(f"decoder.{i}" for i in range(4)), "logits"]
    assert torch.equal(torch.cat(net(*pair()), 1), maps["logits"])
    assert not any(module._forward_hooks for module in net.modules())


def test_saliency_is_the_slope_of_the_cats_mean_logit(cells):
    net, (bg, bg_fg) = seeded(lambda: cells["UNet"](base=4), 0).double().eval(), pair()
    bg, bg_fg = bg[:1].double(), bg_fg[:1].double()
    cat = torch.zeros(1, 1, *bg.shape[-2:], dtype=torch.bool)
    cat[..., 10:20, 8:30] = True
    of_room, of_scene = defined("03", "saliency", cat_pixels=cat)["saliency"](net, bg, bg_fg)
    step = torch.randn(bg.shape, generator=torch.Generator().manual_seed(0)).double() * 1e-3
    with torch.no_grad():
        change = net(bg, bg_fg + step)[0][cat].mean() - net(bg, bg_fg - step)[0][cat].mean()
    assert change.item() == pytest.approx(2 * (of_scene * step[0]).sum().item(), rel=1e-2)
    assert of_room.shape == bg.shape[1:]


def test_grad_cam_is_the_formula_of_the_paper(cells):
    net, (bg, bg_fg) = seeded(lambda: cells["UNet"](base=4), 0).eval(), (x[:1] for x in pair())
    cat = torch.zeros(1, 1, *bg.shape[-2:], dtype=torch.bool)
    cat[..., 10:20, 8:30] = True
    shown = defined("03", "grad_cam", cat_pixels=cat)["grad_cam"](net, net.decoder[3], bg, bg_fg)
    kept = []
    handle = net.logits.register_forward_pre_hook(lambda layer, inputs: kept.append(inputs[0]))
    score = net(bg, bg_fg)[0][cat].mean()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    wanted = torch.einsum("bc,bchw->bhw", gradient.mean((2, 3)), kept[0]).clamp_min(0)[0]
    torch.testing.assert_close(shown, wanted.detach())
    assert not net.decoder[3]._forward_hooks


def test_keeping_one_mean_for_a_block_is_what_it_says(cells):
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert cells["through"](x, 16).shape == x.shape and cells["through"](x, 16).std() < x.std()
    torch.testing.assert_close(cells["through"](torch.full_like(x, 0.3), 8), torch.full_like(x, 0.3))


@pytest.mark.skipif(not SOLUTIONS, reason="the solutions have been taken out of this copy")
def test_the_exercises_decoder_step_fits_the_notebooks_network(cells):
    """On even sizes it computes what the network's own joining does, before the convolution."""
    step = SOLUTIONS["3.1"](16, 8, 8)
    x, skip = torch.rand(1, 16, 5, 6), torch.rand(1, 8, 10, 12)
    seen = []
    step.convolve.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    step(x, skip)
    larger = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(seen[0], torch.cat((larger, skip), 1))


def test_the_difference_of_identical_photographs_is_exactly_zero():
    bg, _ = pair()
    assert not build("DuoNet").look(bg, bg)[1].any()


def test_what_it_says_of_transposed_convolutions():
    """Not one kernel, but how often each output pixel is reached, alternates; so do the smooth planes."""
    kinds = {kind: networks.upsampler(kind) for kind in ("transposed 3x3", "bilinear + 3x3")}
    features = networks.as_features(networks.planes(4, 128))
    tile = {kind: networks.repeated_tile(networks.stretched(net(features))) for kind, net in kinds.items()}
    assert tile["transposed 3x3"] > 20 * tile["bilinear + 3x3"]
