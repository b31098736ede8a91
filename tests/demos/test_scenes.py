"""The six scenes that come with the course: exactly what is rendered, and new to every network and profile."""

import tomllib
from importlib.resources import files

import pytest
import torch

from helpers.config import ROOT, CourseError
from helpers.dataset import check_quartet
from helpers.demos.scenes import SCENES, example_scenes
from helpers.upkeep import example_scenes as module
from helpers.upkeep import publish_weights


def test_there_are_six_quartets_of_128_pixels():
    batch = example_scenes()
    assert batch["bg"].shape == (6, 3, 128, 128)
    for i in range(6):
        check_quartet({name: value[i] for name, value in batch.items()})
    assert (batch["mask"].mean((1, 2, 3)) > 0.02).all() and not batch["near_far"].isnan().any()


def test_a_scene_in_the_file_is_what_is_rendered():
    rendered, kept = module.dataset().get_batch(module.indices()[2:3]), example_scenes()
    assert rendered.keys() == kept.keys()
    for name, value in rendered.items():
        assert value.dtype == kept[name].dtype and torch.equal(value[0], kept[name][2]), name


def test_its_rooms_and_cats_are_of_no_other_set():
    assert module.SEED not in (0, publish_weights.SEED)
    addresses = [module.dataset().address(index) for index in module.indices()]
    assert [tuple(address[:2]) for address in addresses] == list(module.PLACES)
    assert len({address.room for address in addresses}) == len({address.cat for address in addresses}) == 6


def test_the_file_is_small_and_goes_along_with_the_package():
    assert SCENES.stat().st_size < 500_000
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert any((files("helpers") / pattern) == SCENES for pattern in settings["package-data"]["helpers"])


def test_a_file_that_is_damaged_or_missing_is_told(tmp_path):
    (tmp_path / "cut.npz").write_bytes(SCENES.read_bytes()[:50_000])
    for name in ("cut.npz", "none.npz"):
        with pytest.raises(CourseError, match=f"{name} cannot be read .*example_scenes"):
            example_scenes(tmp_path / name)
