"""The browser of errors: both orders, both scopes, and what its page holds of each quartet."""

import numpy as np
import pytest
import torch
from players import Page
from toy import ToyQuartets

from helpers import plots
from helpers.dataset import Subset
from helpers.widgets.error_browser import ORDERS, RANKS, SCOPES, worst_first

INDICES = [0, 1, 9, 20, 30, 41, 55, 63]  # of the toy's quartets: rooms 0, 0, 0, 1, 1, 2, 3, 3
COUNT = len(INDICES)
DICE = np.array([0.9, 0.2, 0.5, 0.8, 0.1, 0.95, 0.6, 0.7])
RMSE = np.array([0.05, 0.01, 0.3, np.nan, 0.2, 0.02, 0.1, 0.25])


@pytest.fixture
def dataset():
    return Subset(ToyQuartets(), INDICES)


def predict(batch):
    """A mask that misses the left half, and a depth that is a little wrong."""
    mask = batch["mask"].clone()
    mask[..., :14] = 0
    return mask, 0.8 * batch["depth"] + 0.1


@pytest.fixture
def page(dataset):
    return Page(worst_first(dataset, predict, DICE, RMSE))


def quartets(page, order, scope):
    """The numbers of the quartets from the worst to the best."""
    return [int(one["about"].split(",")[0].removeprefix("quartet ")) for one in page.shown(order, scope)]


def test_it_has_both_orders_and_both_scopes(page):
    order, scope, rank = page.spec["controls"]
    assert (order["options"], scope["options"], rank["name"]) == ([*ORDERS], [*SCOPES], "rank")


def test_the_smallest_dice_comes_first(page):
    assert quartets(page, 0, 0) == np.argsort(DICE)[:RANKS].tolist()


def test_the_largest_rmse_comes_first_and_unknown_depth_not_at_all(page, dataset):
    assert quartets(page, 1, 0) == [2, 7, 4, 6, 0, 5, 1][:RANKS]
    some = np.where(np.arange(COUNT) < 4, RMSE, np.nan)
    assert quartets(Page(worst_first(dataset, predict, DICE, some)), 1, 0) == [2, 0, 1]


def test_the_worst_of_each_room(page, dataset):
    shown = quartets(page, 0, 1)
    assert shown == [4, 1, 6, 5]
    assert sorted(dataset.room_of(i) for i in shown) == [0, 1, 2, 3]
    assert quartets(page, 1, 1) == [2, 7, 4, 5]


def test_equal_scores_keep_the_order_of_the_set(dataset):
    assert quartets(Page(worst_first(dataset, predict, np.zeros(COUNT), RMSE)), 0, 0) == list(range(RANKS))


def test_of_a_large_set_it_holds_the_worst():
    data, dice = ToyQuartets(), np.random.default_rng(0).random(len(ToyQuartets()))
    page = Page(worst_first(data, predict, dice, 1 - dice))
    assert quartets(page, 0, 0) == quartets(page, 1, 0) == np.argsort(dice)[:RANKS].tolist()


def test_pictures_and_words_are_those_of_the_quartet(page, dataset):
    for place, index in enumerate(quartets(page, 0, 0)):
        shown, quartet = page.shown(0, 0, place), dataset[index]
        mask, depth = predict({key: value[None] for key, value in quartet.items()})
        assert shown["about"] == (
            f"quartet {index}, room {dataset.room_of(index)}, cat {dataset.cat_of(index)}; the cat takes "
            f"{quartet['mask'].mean():.1%} of the picture; depth from {plots.in_metres(quartet['near_far'])}"
        )
        assert shown["dice"] == f"{DICE[index]:.3f}"
        assert shown["error"] == ("unknown" if np.isnan(RMSE[index]) else f"RMSE {RMSE[index]:.3f}")
        level, cat, _ = page.exact(0, 0, place)
        assert (cat == (quartet["mask"][0] > 0.5).numpy()).all() and ((level >= 10) == (mask[0, 0] > 0.5).numpy()).all()
        scene = page.tile("photo", shown["photo"][0])
        assert np.abs(scene - quartet["bg_fg"].permute(1, 2, 0).float().numpy()).mean() < 6
        predicted = page.tile("depth", shown["depth"][1])[..., 0] / 255
        assert np.abs(predicted - depth[0, 0].numpy()).mean() < 0.01


def test_each_quartet_is_predicted_once(dataset):
    predicted = []

    def counted(batch):
        predicted.append(len(batch["mask"]))
        return predict(batch)

    worst_first(dataset, counted, DICE, RMSE)
    assert predicted == [1] * COUNT  # all are among the worst of one order or of the other


def test_without_any_depth_there_is_one_order(dataset):
    class Blind:
        room_of, cat_of, scenes = dataset.room_of, dataset.cat_of, dataset.scenes

        def __len__(self):
            return COUNT

        def get_batch(self, indices):
            batch = dataset.get_batch(indices)
            nothing = torch.full_like(batch["near_far"], torch.nan)
            return {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": nothing}

    page = Page(worst_first(Blind(), predict, DICE, np.full(COUNT, np.nan)))
    assert page.spec["controls"][0]["options"] == [ORDERS[0]] and len(page.spec["shown"]) == 1
    assert page.shown(0, 0, 0)["error"] == "unknown" and "depth from" not in page.shown(0, 0, 0)["about"]
    assert quartets(page, 0, 0) == np.argsort(DICE)[:RANKS].tolist()


def test_one_quartet_is_enough():
    page = Page(worst_first(Subset(ToyQuartets(), [5]), predict, [0.5], [0.1]))
    assert [len(page.shown(order, scope)) for order in (0, 1) for scope in (0, 1)] == [1] * 4


def test_tensors_and_half_precision_will_do(dataset, page):
    def half(batch):
        return [maps.half().requires_grad_() for maps in predict(batch)]

    other = Page(worst_first(dataset, half, torch.from_numpy(DICE), torch.from_numpy(RMSE)))
    assert quartets(other, 0, 0) == quartets(page, 0, 0)
    assert (other.sheets["exact"] == page.sheets["exact"]).all()


def test_scores_that_do_not_match_are_refused(dataset):
    with pytest.raises(ValueError, match="8 quartets, 7 Dice and 8 RMSE"):
        worst_first(dataset, predict, DICE[1:], RMSE)
    with pytest.raises(ValueError, match="8 quartets, 8 Dice and 1 RMSE"):
        worst_first(dataset, predict, DICE, RMSE[:1])
    with pytest.raises(ValueError, match="at least 1"):
        worst_first(Subset(ToyQuartets(), []), predict, [], [])
    with pytest.raises(ValueError, match="dice must hold a number"):
        worst_first(dataset, predict, RMSE, RMSE)
