"""What the notebooks start from."""

import pytest

from helpers import session
from helpers.config import CourseError
from helpers.predict import predict


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    monkeypatch.setenv("COURSE_DATA", "rooms")
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))


def test_sets_share_no_room_and_no_cat():
    train_set, test_set = session.sets()
    for name in ("room_of", "cat_of"):
        ids = [{getattr(part, name)(i) for i in range(len(part))} for part in (train_set, test_set)]
        assert ids[0] and ids[1] and not ids[0] & ids[1]


def test_a_network_is_trained_once_then_loaded(capsys):
    first = session.trained_network()
    assert "training one now" in capsys.readouterr().out
    second = session.trained_network()
    assert "training" not in capsys.readouterr().out
    quartet = session.source()[0]
    bg, bg_fg = (quartet[key].permute(1, 2, 0).numpy() for key in ("bg", "bg_fg"))
    assert (predict(first, bg, bg_fg)["mask"] == predict(second, bg, bg_fg)["mask"]).all()


def test_a_data_source_that_is_no_folder_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_DATA", "nowhere")
    with pytest.raises(CourseError, match="COURSE_DATA=nowhere is not a folder"):
        session.source()
