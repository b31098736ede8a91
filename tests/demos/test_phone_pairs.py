"""Synthetic phone pairs: like photographs, from the test set, with their ground truth."""

import numpy as np
import pytest

from helpers.config import profile
from helpers.dataset import split
from helpers.demos.phone_pairs import _good_ones, handheld, phone_pairs
from helpers.photos.builder import read_photo
from helpers.rendering.dataset import RoomsDataset


def test_handheld_moves_a_little_and_repeats_from_its_seed():
    picture = np.random.default_rng(0).integers(60, 180, (120, 160, 3), dtype=np.uint8)
    once = handheld(picture, 1)
    assert once.shape == picture.shape and once.dtype == np.uint8
    assert (once == handheld(picture, 1)).all() and (once != handheld(picture, 2)).any()
    assert abs(once.mean() / picture.mean() - 1) > 0.03, "another exposure"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return phone_pairs(tmp_path_factory.mktemp("pairs"), count=2, size=128)


def test_each_pair_is_two_files_and_their_ground_truth(pairs):
    assert [path.name for pair in pairs for path in pair[:2]] == ["room_1.jpg", "cat_1.jpg", "room_2.jpg", "cat_2.jpg"]
    for pair in pairs:
        room, scene = read_photo(pair.room), read_photo(pair.scene)
        assert room.shape == scene.shape == (96, 128, 3)
        assert pair.mask.shape == pair.metres.shape == (96, 128)
        assert 0.005 < pair.mask.mean() < 0.5 and 0.1 < pair.metres.min() < pair.metres.max() < 30
        difference = np.abs(room.astype(int) - scene).max(-1)
        assert np.median(difference) > 3, "no pixel is like its partner: the light changed"


def test_no_room_and_no_cat_of_the_training_set_is_shown():
    p = profile()
    train, test = split(RoomsDataset(64, p.rooms, p.cats, p.placements))
    chosen = _good_ones(test, 3)
    assert len(set(chosen)) == 3
    assert not {test.room_of(i) for i in chosen} & {train.room_of(i) for i in range(len(train))}
    assert not {test.cat_of(i) for i in chosen} & {train.cat_of(i) for i in range(len(train))}
