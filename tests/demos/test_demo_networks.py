"""The experiments of notebook 03: that they show what the text says they show."""

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from helpers.demos import networks
from helpers.demos.checkerboard import grid_index
from helpers.model import build, count_parameters, forward_gflop

NETWORKS = ["DepthMaskNet", "DuoNet"]


# -- networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_of_the_blocks_add_up_to_those_of_the_network(name):
    net = build(name)
    costs = networks.cost_by_block(net, 64)
    assert sum(cost.parameters for cost in costs.values()) == count_parameters(net)
    assert sum(cost.gflop for cost in costs.values()) == pytest.approx(forward_gflop(net, 64))


def test_the_four_published_encoder_blocks_cost_the_same():
    costs = networks.cost_by_block(build("DepthMaskNet"), 64)
    assert len({costs[f"encoder.{i}"].gflop for i in (0, 2, 4, 6)}) == 1
    assert "encoder.1" not in costs, "a max-pool costs nothing that is counted"


def test_timing_leaves_the_network_as_it_was():
    net = build("DuoNet").train()
    assert networks.milliseconds(net, 32) > 0
    assert net.training


def test_costs_are_drawn():
    figure = networks.show_costs(networks.cost_by_block(build("DepthMaskNet"), 32), "title")
    assert isinstance(figure, Figure) and len(figure.axes) == 2


def convolutions(*dilations):
    return nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=d, dilation=d, bias=False) for d in dilations))


@pytest.mark.parametrize(
    "stack, reach, seen",
    [(convolutions(1, 1, 1), 3, 49), (convolutions(2, 2, 2), 6, 49), (convolutions(1, 2), 3, 49)],
    ids=["plain", "dilated", "mixed"],
)
def test_influence_is_the_receptive_field(stack, reach, seen):
    for weight in stack.parameters():
        nn.init.ones_(weight)
    field = networks.influence(stack, torch.ones(1, 1, 25, 25))
    rows, columns = (field > 0).nonzero().T
    assert field.max() == 1 and field[12, 12] > 0
    assert (int(columns.max()) - 12, 12 - int(rows.min())) == (reach, reach)
    assert int((field > 0).sum()) == seen


def test_influence_adds_up_all_inputs():
    field = networks.influence(lambda a, b: a + 2 * b.roll(1, -1), torch.ones(1, 1, 9, 9), torch.ones(1, 1, 9, 9))
    assert field[4, 4] == 0.5 and field[4, 3] == 1 and field.sum() == 1.5


# -- upsampling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", networks.UPSAMPLERS)
def test_every_upsampler_makes_one_map_sixteen_times_as_large(kind):
    before = torch.random.get_rng_state()
    decoder, features = networks.upsampler(kind, width=32), torch.ones(2, 32, 3, 4)
    assert decoder(features).shape == (2, 1, 48, 64)
    assert torch.equal(decoder(features), networks.upsampler(kind, width=32)(features)), "the same seed, the same weights"
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_upsampler_is_named():
    with pytest.raises(ValueError, match="'nearest'.*'pixel-shuffle'"):
        networks.upsampler("nearest")


def test_icnr_begins_as_nearest_neighbour():
    maps = networks.upsampler("pixel-shuffle, ICNR")[:-1](torch.rand(1, 64, 2, 2))
    tiles = maps.unflatten(3, (2, 16)).unflatten(2, (2, 16))
    assert (tiles.amax((3, 5)) - tiles.amin((3, 5))).abs().max() < 1e-5


def test_the_blur_takes_out_what_alternates_and_keeps_what_does_not():
    checkerboard = (torch.arange(8) + torch.arange(8)[:, None]).remainder(2).float()
    blurred = networks.Blur()(checkerboard.expand(1, 3, 8, 8))
    assert torch.allclose(blurred, torch.full((1, 3, 8, 8), 0.5)), "up to the border"
    plane = torch.arange(8.0).expand(1, 1, 8, 8)
    assert torch.allclose(networks.Blur()(plane)[..., 1:-1], plane[..., 1:-1])


def test_planes_are_smooth_from_0_to_1_and_come_back_with_their_seed():
    planes = networks.planes(5, 32, seed=3)
    assert planes.shape == (5, 1, 32, 32)
    assert torch.equal(planes.amin((1, 2, 3)), torch.zeros(5)) and torch.allclose(planes.amax((1, 2, 3)), torch.ones(5))
    assert (planes.diff(dim=-1).diff(dim=-1)).abs().max() < 1e-5
    assert torch.equal(planes, networks.planes(5, 32, seed=3))
    assert not torch.equal(planes, networks.planes(5, 32, seed=4))


def test_features_know_the_mean_of_each_square_and_no_more():
    assert networks.as_features(torch.rand(2, 1, 32, 48)).shape == (2, 64, 2, 3)
    flat = networks.as_features(torch.full((1, 1, 32, 32), 0.5))
    assert (flat.amax((2, 3)) - flat.amin((2, 3))).max() < 1e-6


def test_the_repeated_tile_is_measured_in_the_maps_unit():
    x = torch.arange(128)
    alternating = 0.1 * (x % 2 * 2.0 - 1).expand(128, 128)[None, None]
    assert networks.repeated_tile(alternating + 0.5) == pytest.approx(0.1, rel=1e-4)
    assert networks.repeated_tile(networks.planes(4, 128)) < 1e-6
    noise = torch.rand(4, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    assert networks.repeated_tile(noise) < 0.3 * noise.std(), "what does not repeat averages out"


def test_only_the_repeated_tile_sees_a_pattern_with_equal_steps():
    alternating = 0.5 + 0.01 * (torch.arange(128) % 2 * 2.0 - 1).expand(128, 128)[None, None]
    assert networks.repeated_tile(alternating) > 0.009
    assert grid_index(alternating[:, 0]) < 0.01


def test_resizing_leaves_less_of_a_grid_than_shuffling_before_and_after_training():
    target = networks.planes(8, 64, seed=99)
    features, tile, index = networks.as_features(target), {}, {}
    for kind in ("pixel-shuffle", "bilinear + 3x3"):
        decoder = networks.upsampler(kind)
        tile[kind, "before"] = networks.repeated_tile(networks.stretched(decoder(features)))
        networks.learn_planes(decoder, steps=25)
        maps = decoder(features)
        tile[kind, "after"], index[kind] = networks.repeated_tile(maps), grid_index(maps[:, 0])
        assert not any(weight.requires_grad for weight in decoder.parameters())
    assert tile["pixel-shuffle", "before"] > 20 * tile["bilinear + 3x3", "before"]
    assert tile["pixel-shuffle", "after"] > 20 * tile["bilinear + 3x3", "after"]
    assert index["pixel-shuffle"] > index["bilinear + 3x3"]


def test_learning_makes_planes_better():
    target, decoder = networks.planes(8, 64, seed=99), networks.upsampler("bilinear + 3x3")
    features = networks.as_features(target)
    before = (decoder(features) - target).abs().mean()
    networks.learn_planes(decoder, steps=25)
    assert (decoder(features) - target).abs().mean() < 0.5 * before
