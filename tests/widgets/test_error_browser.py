"""The browser of errors, driven from Python: both orders, both scopes, every rank."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyQuartets

from helpers import plots
from helpers.dataset import Subset, get_batch
from helpers.widgets.controls import GAP, PANEL
from helpers.widgets.error_browser import ORDERS, SCOPES, worst_first

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
def browser(dataset):
    return worst_first(dataset, predict, DICE, RMSE)


def walk(browser):
    """The numbers of the quartets from the worst to the best."""
    found = []
    while True:
        found.append(browser.index)
        before = browser.index
        browser.rank.forth.click()
        if browser.index == before:
            return found


def decoded(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


# -- orders --------------------------------------------------------------------------------------------------------


def test_the_smallest_dice_comes_first(browser):
    assert walk(browser) == np.argsort(DICE).tolist()


def test_the_largest_rmse_comes_first_and_unknown_depth_not_at_all(browser):
    browser.order.value = ORDERS[1]
    assert walk(browser) == [2, 7, 4, 6, 0, 5, 1]


def test_the_worst_of_each_room(browser, dataset):
    browser.scope.value = SCOPES[1]
    shown = walk(browser)
    assert shown == [4, 1, 6, 5]
    assert sorted(dataset.room_of(i) for i in shown) == [0, 1, 2, 3]
    browser.order.value = ORDERS[1]
    assert walk(browser) == [2, 7, 4, 5]


@pytest.mark.parametrize("rank", [1, 8])
def test_another_order_begins_with_its_worst(browser, rank):
    browser.rank.slider.value = rank
    browser.order.value = ORDERS[1]
    assert (browser.rank.slider.value, browser.index, browser.rank.slider.max) == (1, 2, 7)
    assert browser.rank.text.value == "rank: 1 of 7" and browser.about.value.startswith("quartet 2,")
    browser.rank.slider.value = 7
    browser.scope.value = SCOPES[1]
    assert (browser.rank.slider.value, browser.index, browser.rank.slider.max) == (1, 2, 4)
    browser.scope.value = SCOPES[0]
    browser.order.value = ORDERS[0]
    assert (browser.index, browser.rank.slider.max) == (4, 8)


def test_equal_scores_keep_the_order_of_the_set(dataset):
    assert walk(worst_first(dataset, predict, np.zeros(COUNT), RMSE)) == list(range(COUNT))


# -- pictures and words --------------------------------------------------------------------------------------------


def test_pictures_are_those_of_the_quartet_and_keep_their_size(browser, dataset):
    shape = (PANEL, 3 * PANEL + 2 * GAP, 3)
    where = np.clip(((np.arange(32) + 0.5) * PANEL / 32).astype(int), 0, PANEL - 1)
    for rank in range(1, COUNT + 1):
        browser.rank.slider.value = rank
        batch = get_batch(dataset, [browser.index])
        mask, depth = predict(batch)
        wanted = [
            plots.picture(batch["bg_fg"][0]), plots.picture(batch["mask"][0]), plots.mask_errors(batch["mask"][0], mask[0]),
            plots.depth_picture(batch["depth"][0]), plots.depth_picture(depth[0]),
            plots.error_picture((depth - batch["depth"])[0].abs()),
        ]  # fmt: skip
        sheets = [decoded(view.value) for view in browser.views]
        assert [sheet.shape for sheet in sheets] == [shape, shape]
        for place, panel in enumerate(wanted):
            left = place % 3 * (PANEL + GAP)
            shown = sheets[place // 3][:, left : left + PANEL][np.ix_(where, where)]
            assert np.abs(shown - panel * 255).max() <= 1, place


def test_the_words_say_which_quartet_and_how_good(browser, dataset):
    browser.rank.slider.value = 3
    index = browser.index
    quartet = dataset[index]
    assert browser.rank.text.value == "rank: 3 of 8"
    assert browser.about.value == (
        f"quartet {index}, room {dataset.room_of(index)}, cat {dataset.cat_of(index)}; the cat takes "
        f"{quartet['mask'].mean():.1%} of the picture; depth from {plots.in_metres(quartet['near_far'])}"
    )
    assert browser.titles[0][2].value == f"mask errors, Dice {DICE[index]:.3f}"
    assert browser.titles[1][2].value == f"depth errors, RMSE {RMSE[index]:.3f}"


def test_each_quartet_is_predicted_once(dataset):
    predicted = []

    def counted(batch):
        predicted.append(len(batch["mask"]))
        return predict(batch)

    browser = worst_first(dataset, counted, DICE, RMSE)
    walk(browser)
    before = browser.views[0].value
    browser.rank.slider.value = 1
    browser.scope.value = SCOPES[1]
    assert predicted == [1] * COUNT
    assert browser.views[0].value != before
    assert not plt.get_fignums(), "no slider opens a figure"


# -- what may be missing -------------------------------------------------------------------------------------------


def test_without_any_depth_there_is_one_order(dataset):
    class Blind:
        room_of, cat_of, scenes = dataset.room_of, dataset.cat_of, dataset.scenes

        def __len__(self):
            return COUNT

        def get_batch(self, indices):
            batch = dataset.get_batch(indices)
            nothing = torch.full_like(batch["near_far"], torch.nan)
            return {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": nothing}

    browser = worst_first(Blind(), predict, DICE, np.full(COUNT, np.nan))
    assert browser.order.options == ORDERS[:1]
    assert browser.titles[1][2].value == "depth errors, unknown" and "depth from" not in browser.about.value
    assert walk(browser) == np.argsort(DICE).tolist()


def test_one_quartet_is_enough():
    browser = worst_first(Subset(ToyQuartets(), [5]), predict, [0.5], [0.1])
    assert browser.rank.slider.disabled
    before = browser.views[0].value
    browser.rank.forth.click()
    assert browser.views[0].value == before and browser.rank.text.value == "rank: 1 of 1"


def test_tensors_and_half_precision_will_do(dataset, browser):
    def half(batch):
        return [maps.half().requires_grad_() for maps in predict(batch)]

    other = worst_first(dataset, half, torch.from_numpy(DICE), torch.from_numpy(RMSE))
    assert other.views[0].value == browser.views[0].value and walk(other) == walk(browser)


def test_scores_that_do_not_match_are_refused(dataset):
    with pytest.raises(ValueError, match="8 quartets, 7 Dice and 8 RMSE"):
        worst_first(dataset, predict, DICE[1:], RMSE)
    with pytest.raises(ValueError, match="8 quartets, 8 Dice and 1 RMSE"):
        worst_first(dataset, predict, DICE, RMSE[:1])
    with pytest.raises(ValueError, match="at least 1"):
        worst_first(Subset(ToyQuartets(), []), predict, [], [])
    with pytest.raises(ValueError, match="dice must hold a number"):
        worst_first(dataset, predict, RMSE, RMSE)


def test_what_goes_wrong_in_the_network_is_not_swallowed(dataset):
    def broken(batch):
        if broken.now:
            raise RuntimeError("the network is tired")
        return predict(batch)

    broken.now = False
    browser = worst_first(dataset, broken, DICE, RMSE)
    broken.now = True
    with pytest.raises(RuntimeError, match="tired"):
        browser.rank.slider.value = 2
