"""The learning-rate finder: climbs, stops where the loss breaks, and leaves the network alone."""

import copy

import pytest
import torch
from toy import ToyQuartets

from helpers.config import CourseError
from helpers.dataset import split
from helpers.demos.lr_finder import BROKEN, find_rate
from helpers.model import build
from helpers.recipes import Stage, recipe

TRAIN, _ = split(ToyQuartets(rooms=5, cats=5, placements=2), 0.3)


def find(net=None, optimizer="adamw", **changes):
    wanted = recipe("course", "tiny", optimizer=optimizer, stages=(Stage(32, 8, 1),))
    return find_rate(net or build("DuoNet", 0), TRAIN, wanted, **changes)


@pytest.fixture(scope="module")
def curve():
    return find(optimizer="sgd", steps=60, high=1e4)  # plain descent breaks for certain, and early


def test_rates_climb_by_a_constant_factor_from_the_lowest(curve):
    factors = torch.tensor(curve.rates[1:]) / torch.tensor(curve.rates[:-1])
    assert curve.rates[0] == 1e-4
    torch.testing.assert_close(factors, factors[:1].expand_as(factors))


def test_the_loss_falls_before_it_breaks_and_there_it_ends(curve):
    assert min(curve.smoothed) < 0.9 * curve.smoothed[0]
    assert len(curve.rates) < 60 and curve.smoothed[-1] > BROKEN * min(curve.smoothed)
    assert all(loss <= BROKEN * min(curve.smoothed[: i + 1]) for i, loss in enumerate(curve.smoothed[:-1]))
    assert len(curve.rates) == len(curve.losses) == len(curve.smoothed)


def test_the_suggestion_lies_below_the_steepest_fall(curve):
    place = curve.rates.index(curve.steepest)
    falls = torch.tensor(curve.smoothed).diff()
    assert falls[place] == falls.min() < 0
    assert 1e-4 / 3 <= curve.suggestion < curve.steepest < curve.rates[-1]


def test_the_network_is_left_as_it_was_and_the_search_repeats(curve):
    net = build("DuoNet", 0)
    before = copy.deepcopy(net.state_dict())
    assert find(net, optimizer="sgd", steps=60, high=1e4) == curve
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("low, high, steps", [(0, 1, 3), (1e-3, 1e-3, 3), (1e-2, 1e-4, 3), (1e-4, 1, 0)])
def test_rates_that_do_not_climb_are_refused(low, high, steps):
    with pytest.raises(CourseError, match="low is below high"):
        find(low=low, high=high, steps=steps)


def test_a_loss_that_is_never_finite_is_told():
    net = build("DuoNet", 0)
    next(net.parameters()).data.fill_(torch.nan)
    with pytest.raises(CourseError, match="not finite even at a learning rate of 1.0e-04"):
        find(net, steps=3)
