"""Profiles, folders, the data source, and the one error class."""

import subprocess
import sys

import pytest
import torch

from helpers import config
from helpers.config import PROFILES, CourseError, profile


def test_an_argument_beats_the_environment_and_the_environment_beats_the_default(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "full")
    assert profile("quick").name == "quick"
    assert profile().name == "full"


@pytest.mark.parametrize("gpu, expected", [(True, "standard"), (False, "quick")])
@pytest.mark.parametrize("unset", [None, ""])
def test_the_default_profile_depends_on_the_gpu(monkeypatch, gpu, expected, unset):
    monkeypatch.delenv("COURSE_PROFILE") if unset is None else monkeypatch.setenv("COURSE_PROFILE", unset)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert profile().name == expected


def test_an_unknown_profile_is_named_with_the_ones_there_are(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "quik")
    with pytest.raises(CourseError, match="'quik'.*COURSE_PROFILE") as caught:
        profile()
    assert all(name in str(caught.value) for name in PROFILES)


def test_profiles_grow_and_fit_the_networks():
    in_order = [PROFILES[name] for name in ("tiny", "quick", "standard", "full")]
    assert len(in_order) == len(PROFILES)
    for small, large in zip(in_order, in_order[1:]):
        assert small.train_samples < large.train_samples and small.size <= large.size
        assert small.rooms * small.size**2 <= large.rooms * large.size**2, "the pixels of all rooms, which is what they cost"
        assert small.cats <= large.cats
    for each in in_order:
        assert each.size % 16 == 0, "both networks halve the image four times"
        quartets = each.rooms * each.cats * 2 * each.placements
        assert each.train_samples <= 0.49 * quartets * 1.05, "split leaves 49 % of the quartets to the training part"


def test_folders_and_data_come_from_the_environment_else_from_the_repository(monkeypatch, tmp_path):
    for name in ("COURSE_CACHE", "COURSE_RUNS", "COURSE_DATA"):
        monkeypatch.delenv(name, raising=False)
    assert config.data_source() == "rooms"
    assert config.cache_dir() == config.ROOT / ".cache"
    assert config.runs_dir() == config.ROOT / "runs"
    for name in ("COURSE_CACHE", "COURSE_RUNS", "COURSE_DATA"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert config.data_source() == str(tmp_path / "COURSE_DATA")
    assert config.cache_dir() == tmp_path / "COURSE_CACHE"
    assert config.runs_dir() == tmp_path / "COURSE_RUNS"


def ipython(code: str) -> str:
    command = [sys.executable, "-m", "IPython", "--HistoryManager.enabled=False", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=config.ROOT)
    return result.stdout + result.stderr


def test_a_notebook_shows_a_course_error_without_the_calls_that_led_to_it():
    output = ipython("from helpers.config import CourseError\nraise CourseError('the folder rooms/ is empty')")
    assert "CourseError" in output and "the folder rooms/ is empty" in output
    assert "Traceback" not in output and "raise" not in output
    assert "Traceback" in ipython("1 / 0"), "any other error keeps its traceback"


@pytest.mark.parametrize("module", ["helpers", "helpers.config", "helpers.utils", "helpers.session"])
def test_these_modules_are_cheap_to_import(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=config.ROOT)
    assert not {"torch", "numpy", "matplotlib", "PIL"} & set(loaded.stdout.split())
