"""The divider: what its page holds, and a still picture of the same. How it moves is in test_player_moves.py."""

import numpy as np
import pytest
from players import Page

from helpers.widgets.compare import MOST, divide, show_divided

NAMES = ("before", "after")


def pictures(count=3, height=64, width=64, seed=0):
    """Smooth ones, as photographs are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    return [np.stack([0.5 + 0.5 * np.sin(a * x + b * y) for a, b in rng.uniform(-9, 9, (3, 2))], -1) for _ in range(count)]


def test_both_pictures_of_each_pair_are_inside():
    left, right = pictures(2), pictures(2, seed=1)
    page = Page(divide(left, right, NAMES))
    for n, pair in enumerate(zip(left, right)):
        for number, wanted in zip(page.shown(n)["photo"], pair):
            assert np.abs(page.tile("photo", number) - 255 * wanted).mean() < 3


def test_its_controls_choose_the_pair_and_move_the_divider():
    page = Page(divide(pictures(), pictures(seed=1), NAMES))
    sample, divider = page.spec["controls"]
    assert sample["name"] == "sample" and len(page.spec["shown"]) == 3
    assert (divider["count"], divider["start"], divider["words"]) == (101, 50, "{} % before")
    assert page.spec["panels"] == [{"title": "before | after", "paint": "divided", "which": 0}]


def test_words_are_words_and_not_html():
    page = Page(divide(pictures(1), pictures(1), ("a<b", 'say "x"')))
    assert page.spec["panels"][0]["title"] == 'a<b | say "x"' and not page.open


@pytest.mark.parametrize("side, count", [(64, 4), (192, 4), (512, 4)])
def test_it_is_small_enough_to_be_kept(side, count):
    noise = np.random.default_rng(0).normal(0, 0.02, (side, side, 3))
    left, right = ([(p + noise).clip(0, 1) for p in pictures(count, side, side, seed)] for seed in (0, 1))
    assert len(divide(left, right, NAMES).data.encode()) <= MOST


def test_large_pictures_are_stored_small_and_shown_smooth():
    large, small = (divide(pictures(1, *size), pictures(1, *size), NAMES) for size in ((300, 600), (64, 64)))
    assert Page(large).spec["size"] == [192, 96]
    assert 'class="player"' in large.data and 'class="player small"' in small.data, "pixels stay squares"


def test_flat_colours_stay_exact():
    mask = np.zeros((64, 64))
    mask[20:40, 10:50] = 1
    page = Page(divide([mask], [1 - mask], NAMES))
    assert (page.tile("photo", page.shown(0)["photo"][0])[..., 0] == 255 * mask).all()


def test_tensors_with_channels_first_will_do():
    torch = pytest.importorskip("torch")
    scenes = (torch.stack([torch.from_numpy(p).permute(2, 0, 1) for p in pictures(2)]) * 255).byte()
    assert [one["photo"] for one in Page(divide(scenes, scenes.flip(0), NAMES)).spec["shown"]] == [[0, 1], [1, 0]]


def test_what_does_not_match_is_refused():
    with pytest.raises(ValueError, match="as many"):
        divide([], [], NAMES)
    with pytest.raises(ValueError, match="as many.*2 and 3"):
        divide(pictures(2), pictures(3), NAMES)
    with pytest.raises(ValueError, match="one size.*64 x 32"):
        divide(pictures(1), pictures(1, 32, 64), NAMES)


def test_the_still_picture_is_cut_in_the_middle():
    black, white = np.zeros((64, 64)), np.ones((64, 64))
    figure = show_divided([black], [white], NAMES)
    (axis,) = figure.axes
    shown = axis.images[0].get_array()
    assert (shown[:, :30] == 0).all() and (shown[:, 33:] == 1).all()
    assert axis.get_title() == "sample 1\nbefore | after"


def test_the_still_picture_leaves_the_pictures_as_they_were():
    left, right = pictures(2), pictures(2, seed=1)
    before = [p.copy() for p in left]
    figure = show_divided(left, right, NAMES)
    assert [axis.get_title().splitlines()[0] for axis in figure.axes] == ["sample 1", "sample 2"]
    assert all((a == b).all() for a, b in zip(left, before))
