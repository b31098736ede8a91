"""What runs took: it is kept, replaced by newer runs of the same kind, and says whether anything was there before."""

import time

import pytest

from helpers.upkeep import timings
from helpers.upkeep.timings import Timing


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_nothing_was_run_yet():
    assert timings.read() == {}


def test_a_newer_run_of_the_same_kind_replaces_the_older_one(monkeypatch):
    timings.record("01_a", Timing(1.234, 0.5), from_nothing=True)
    timings.record("01_a", Timing(2.0), from_nothing=False)
    timings.record("02_b", Timing(3.0), from_nothing=False)
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    timings.record("01_a", Timing(9.0), from_nothing=False)
    log = timings.read()
    kept = [(entry["profile"], entry["minutes"]) for entry in log["01_a"]]
    assert kept == [("tiny", 2.0), ("quick", 9.0)]
    assert [entry["minutes"] for entry in log["02_b"]] == [3.0]
    assert log["01_a"][0]["device"] == timings.device() and log["01_a"][0]["data"] == "rooms"


def test_a_rendered_set_or_a_run_is_something(folders):
    assert timings.from_nothing()
    (folders / "runs" / "course").mkdir(parents=True)
    (folders / "runs" / "course" / "measured.json").write_text("{}")
    assert timings.from_nothing(), "pages and logs spare no work"
    (folders / "runs" / "rooms-tiny-course").mkdir()
    (folders / "runs" / "rooms-tiny-course" / "weights.safetensors").write_text("x")
    assert not timings.from_nothing()


def test_a_set_in_the_cache_is_something(folders):
    (folders / "cache" / "sets").mkdir(parents=True)
    assert timings.from_nothing()
    (folders / "cache" / "sets" / "bg.npy").write_text("x")
    assert not timings.from_nothing()


def test_a_block_that_fails_is_measured_too():
    with pytest.raises(RuntimeError), timings.timed() as result:
        time.sleep(0.01)
        raise RuntimeError
    assert result.minutes > 0
