"""The augmentation that notebook 02 builds, taken from its cells, against the library's."""

import numpy as np
import pytest
import torch
from notebook_cells import defined
from toy import ToyQuartets

from helpers.augment import rescale_depth
from helpers.dataset import check_quartet
from helpers.demos.transforms import TARGETS, Magnitudes, apply, pipeline

NAMES = ("to_arrays", "to_quartet", "TARGETS", "together", "rescaled", "metres", "coordinate_image", "misplaced", "QuartetAugmentation")
SEEDS = range(20)


@pytest.fixture(scope="module")
def cells():
    return defined("02", *NAMES)


@pytest.fixture
def quartet():
    quartet = ToyQuartets(size=64)[3]
    quartet["valid"][:, 10:20, 30:40] = False
    return apply(pipeline(Magnitudes().times(0)), quartet)[0]  # depth from 0 to 1 over what is valid


def test_it_declares_what_the_library_declares(cells):
    assert cells["TARGETS"] == TARGETS


def test_arrays_and_back_is_the_same_quartet(cells, quartet):
    back = cells["to_quartet"](cells["to_arrays"](quartet), quartet["near_far"])
    assert all(torch.equal(back[key], quartet[key]) and back[key].dtype == quartet[key].dtype for key in quartet)


def test_its_depth_is_rescaled_as_the_librarys(cells, quartet):
    for top, left in ((0, 0), (20, 5), (7, 30)):
        crop = {key: value if key == "near_far" else value[:, top : top + 30, left : left + 30] for key, value in quartet.items()}
        library = rescale_depth({key: value[None] for key, value in crop.items()})
        for key, value in cells["rescaled"](crop).items():
            torch.testing.assert_close(value, library[key][0], atol=1e-4, rtol=0)


def test_geometry_and_shared_colours_are_those_of_the_pipeline(cells, quartet):
    """Photographs, too: nothing is drawn for each of them by itself."""
    apart = dict.fromkeys(("shift", "exposure", "blur", "noise", "jpeg"), 0.0)
    magnitudes = Magnitudes(**{**vars(Magnitudes()), **apart})
    for seed in SEEDS:
        shared = cells["QuartetAugmentation"](seed).shared(**cells["to_arrays"](quartet))
        built = cells["rescaled"](cells["to_quartet"](shared, quartet["near_far"]))
        library, _ = apply(pipeline(magnitudes, seed), quartet)
        for key in quartet:
            torch.testing.assert_close(built[key], library[key], atol=1e-4, rtol=0)


def test_the_whole_augmentation_has_the_pipelines_maps_and_keeps_the_data_format(cells, quartet):
    for seed in SEEDS:
        built, library = check_quartet(cells["QuartetAugmentation"](seed)(quartet)), apply(pipeline(seed=seed), quartet)[0]
        for key in ("mask", "depth", "valid", "near_far"):
            torch.testing.assert_close(built[key], library[key], atol=1e-4, rtol=0)


def test_each_photograph_has_its_own_noise_and_bg_its_own_movement(cells, quartet):
    quartet["bg_fg"] = quartet["bg"].clone()
    draws = [cells["QuartetAugmentation"](seed)(quartet) for seed in SEEDS]
    assert sum(not torch.equal(draw["bg"], draw["bg_fg"]) for draw in draws) >= len(SEEDS) - 2
    still = [cells["QuartetAugmentation"](seed, shift=0, noise=0)(quartet) for seed in SEEDS]
    off = [np.mean([(draw["bg"].float() - draw["bg_fg"].float()).abs().mean() for draw in each]) for each in (draws, still)]
    assert off[0] > off[1]


def test_the_coordinate_image_finds_what_is_left_behind(cells):
    probe = cells["coordinate_image"](64)
    assert check_quartet({**probe, "depth": (probe["depth"] - 1 / 128) / (1 - 1 / 64)})
    assert cells["misplaced"](probe) < 0.2
    for key in ("bg", "bg_fg", "mask"):
        assert cells["misplaced"]({**probe, key: probe[key].flip(-1)}) > 50
    assert cells["misplaced"]({**probe, "depth": probe["depth"].flip(-2)}) > 50
    assert cells["misplaced"]({**probe, "depth": probe["depth"].roll(1, -2), "valid": torch.ones_like(probe["valid"])}) > 0.9
