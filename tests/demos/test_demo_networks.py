"""The experiments of notebooks 03 and 04: that they show what the text says they show."""

import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from toy import ToyQuartets

from helpers.dataset import check_quartet, get_batch
from helpers.demos import networks as lessons
from helpers.losses import soft_dice_loss
from helpers.metrics import grid_index
from helpers.model import build, count_parameters, forward_gflop
from helpers.utils import table

NETWORKS = ["DepthMaskNet", "DuoNet"]


# -- tables -------------------------------------------------------------------------------------------------------


def test_a_table_is_aligned_and_says_what_is_missing():
    text = table({"one": {"a": 1_234_567, "b": 0.25}, "second": {"b": math.nan, "long name": 1.0}}, digits=2)
    header, one, second = text.split("\n")
    assert header.split() == ["a", "b", "long", "name"]
    assert one.split() == ["one", "1,234,567", "0.25", "-"]
    assert second.split() == ["second", "-", "-", "1.00"]
    assert len({len(line) for line in (header, one, second)}) == 1


# -- networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_of_the_blocks_add_up_to_those_of_the_network(name):
    net = build(name)
    costs = lessons.cost_by_block(net, 64)
    assert sum(cost.parameters for cost in costs.values()) == count_parameters(net)
    assert sum(cost.gflop for cost in costs.values()) == pytest.approx(forward_gflop(net, 64))


def test_the_four_published_encoder_blocks_cost_the_same():
    costs = lessons.cost_by_block(build("DepthMaskNet"), 64)
    assert len({costs[f"encoder.{i}"].gflop for i in (0, 2, 4, 6)}) == 1
    assert "encoder.1" not in costs, "a max-pool costs nothing that is counted"


def test_milliseconds_are_positive_and_leave_the_network_as_it_was():
    net = build("DuoNet").train()
    assert 0 < lessons.milliseconds(net, 32, repeats=1) < 60_000
    assert net.training


def test_costs_are_drawn():
    figure = lessons.show_costs(lessons.cost_by_block(build("DepthMaskNet"), 32), "title")
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
    field = lessons.influence(stack, torch.ones(1, 1, 25, 25))
    rows, columns = (field > 0).nonzero().T
    assert field.max() == 1 and field[12, 12] > 0
    assert (int(columns.max()) - 12, 12 - int(rows.min())) == (reach, reach)
    assert int((field > 0).sum()) == seen


def test_influence_adds_up_all_inputs():
    field = lessons.influence(lambda a, b: a + 2 * b.roll(1, -1), torch.ones(1, 1, 9, 9), torch.ones(1, 1, 9, 9))
    assert field[4, 4] == 0.5 and field[4, 3] == 1 and field.sum() == 1.5


# -- upsampling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", lessons.UPSAMPLERS)
def test_every_upsampler_makes_one_map_sixteen_times_as_large(kind):
    before = torch.random.get_rng_state()
    decoder, features = lessons.upsampler(kind, width=32), torch.ones(2, 32, 3, 4)
    assert decoder(features).shape == (2, 1, 48, 64)
    assert torch.equal(decoder(features), lessons.upsampler(kind, width=32)(features)), "the same seed, the same weights"
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_upsampler_is_named():
    with pytest.raises(ValueError, match="'nearest'.*'pixel-shuffle'"):
        lessons.upsampler("nearest")


def test_icnr_begins_as_nearest_neighbour():
    maps = lessons.upsampler("pixel-shuffle, ICNR")[:-1](torch.rand(1, 64, 2, 2))
    tiles = maps.unflatten(3, (2, 16)).unflatten(2, (2, 16))
    assert (tiles.amax((3, 5)) - tiles.amin((3, 5))).abs().max() < 1e-5


def test_the_blur_takes_out_what_alternates_and_keeps_what_does_not():
    checkerboard = (torch.arange(8) + torch.arange(8)[:, None]).remainder(2).float()
    blurred = lessons.Blur()(checkerboard.expand(1, 3, 8, 8))
    assert torch.allclose(blurred, torch.full((1, 3, 8, 8), 0.5)), "up to the border"
    plane = torch.arange(8.0).expand(1, 1, 8, 8)
    assert torch.allclose(lessons.Blur()(plane)[..., 1:-1], plane[..., 1:-1])


def test_planes_are_smooth_from_0_to_1_and_come_back_with_their_seed():
    planes = lessons.planes(5, 32, seed=3)
    assert planes.shape == (5, 1, 32, 32)
    assert torch.equal(planes.amin((1, 2, 3)), torch.zeros(5)) and torch.allclose(planes.amax((1, 2, 3)), torch.ones(5))
    assert (planes.diff(dim=-1).diff(dim=-1)).abs().max() < 1e-5
    assert torch.equal(planes, lessons.planes(5, 32, seed=3))
    assert not torch.equal(planes, lessons.planes(5, 32, seed=4))


def test_features_know_the_mean_of_each_square_and_no_more():
    features = lessons.as_features(torch.rand(2, 1, 32, 48), channels=6)
    assert features.shape == (2, 6, 2, 3)
    flat = lessons.as_features(torch.full((1, 1, 32, 32), 0.5), channels=6)
    assert (flat.amax((2, 3)) - flat.amin((2, 3))).max() < 1e-6


def test_the_repeated_tile_is_measured_in_the_maps_unit():
    x = torch.arange(128)
    alternating = 0.1 * (x % 2 * 2.0 - 1).expand(128, 128)[None, None]
    assert lessons.repeated_tile(alternating + 0.5) == pytest.approx(0.1, rel=1e-4)
    assert lessons.repeated_tile(lessons.planes(4, 128)) < 1e-6
    noise = torch.rand(4, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    assert lessons.repeated_tile(noise) < 0.3 * noise.std(), "what does not repeat averages out"


def test_only_the_repeated_tile_sees_a_pattern_with_equal_steps():
    alternating = 0.5 + 0.01 * (torch.arange(128) % 2 * 2.0 - 1).expand(128, 128)[None, None]
    assert lessons.repeated_tile(alternating) > 0.009
    assert grid_index(alternating[:, 0]) < 0.01


def test_resizing_leaves_less_of_a_grid_than_shuffling_before_and_after_training():
    target = lessons.planes(8, 64, seed=99)
    features, tile, index = lessons.as_features(target), {}, {}
    for kind in ("pixel-shuffle", "bilinear + 3x3"):
        decoder = lessons.upsampler(kind)
        tile[kind, "before"] = lessons.repeated_tile(lessons.stretched(decoder(features)))
        lessons.learn_planes(decoder, steps=25)
        maps = decoder(features)
        tile[kind, "after"], index[kind] = lessons.repeated_tile(maps), grid_index(maps[:, 0])
        assert not any(weight.requires_grad for weight in decoder.parameters())
    assert tile["pixel-shuffle", "before"] > 20 * tile["bilinear + 3x3", "before"]
    assert tile["pixel-shuffle", "after"] > 20 * tile["bilinear + 3x3", "after"]
    assert index["pixel-shuffle"] > index["bilinear + 3x3"]


def test_learning_makes_planes_better():
    target, decoder = lessons.planes(8, 64, seed=99), lessons.upsampler("bilinear + 3x3")
    features = lessons.as_features(target)
    before = (decoder(features) - target).abs().mean()
    lessons.learn_planes(decoder, steps=25)
    assert (decoder(features) - target).abs().mean() < 0.5 * before


# -- maps that are wrong in a known way ---------------------------------------------------------------------------


def square(side=16):
    mask = torch.zeros(1, 1, side, side)
    mask[..., 4:10, 5:11] = 1
    return mask


def test_moving_moves_to_the_right():
    moved = lessons.moved(square(), 3)
    assert moved.shape == (1, 1, 16, 16)
    assert torch.equal(moved[..., 3:], square()[..., :-3])
    assert torch.equal(lessons.moved(square(), 0), square())


def test_blurring_keeps_the_sum_and_the_range():
    blurred = lessons.blurred(square(32), 2)
    assert blurred.shape == (1, 1, 32, 32)
    assert blurred.sum() == pytest.approx(36, rel=0.02)
    assert blurred.min() >= 0 and blurred.max() < 1
    assert torch.equal(lessons.blurred(square(), 0), square())
    assert torch.allclose(lessons.blurred(torch.full((1, 1, 16, 16), 0.3), 3), torch.tensor(0.3)), "border and all"


def test_growing_and_shrinking_move_the_outline():
    mask = square() > 0.5
    assert int(lessons.grown(mask, 1).sum()) == 8 * 8
    assert int(lessons.grown(mask, -1).sum()) == 4 * 4
    assert torch.equal(lessons.grown(mask, 0), mask)


def test_confident_logits_are_finite_and_ordered():
    logits = lessons.confident(torch.tensor([0.0, 0.3, 0.5, 1.0]))
    assert torch.isfinite(logits).all() and (logits.diff() > 0).all()
    assert torch.allclose(logits.sigmoid(), torch.tensor([0.01, 0.3, 0.5, 0.99]))


def test_known_depth_is_left_alone(capsys):
    batch = get_batch(ToyQuartets(), [0, 1])
    assert lessons.with_depth(batch) is batch
    assert capsys.readouterr().out == ""


def test_missing_depth_is_drawn_and_said(capsys):
    batch = get_batch(ToyQuartets(), [0, 1])
    batch["valid"] = torch.zeros_like(batch["valid"])
    drawn = lessons.with_depth(batch)
    assert "without depth" in capsys.readouterr().out
    for i in range(2):
        check_quartet({key: value[i] for key, value in drawn.items()})
    assert drawn["valid"].all() and not batch["valid"].any()
    assert not torch.equal(drawn["depth"][0], drawn["depth"][1])
    assert torch.equal(drawn["depth"], lessons.with_depth(batch)["depth"])


def test_answers_are_one_line_for_each_judge():
    judges = {"Dice": lambda prob: soft_dice_loss(prob, square()), "mean": lambda prob: prob.mean()}
    answer = lessons.responses("pixels", range(4), lambda x: lessons.moved(square(), x), judges)
    assert answer.lines["Dice"][0] == 0 and answer.lines["Dice"] == sorted(answer.lines["Dice"])
    assert answer.lines["mean"] == pytest.approx([36 / 256] * 4)
    figure = lessons.show_responses({"moved": answer, "moved again": answer})
    assert [axis.get_title() for axis in figure.axes] == ["moved", "moved again"]
    assert all(len(axis.lines) == 2 and axis.get_xlabel() == "pixels" for axis in figure.axes)
