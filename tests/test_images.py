"""``make images``: which files are written, and that none is half-written."""

import re

import matplotlib.image
import pytest

from helpers import images
from helpers.config import ROOT, CourseError
from helpers.plots import show_lines


def small():
    return show_lines({"a": [1, 2]}, "x", "y")


def test_the_opening_picture_shows_whole_quartets():
    figure = images.quartets(size=32)
    panels = [axis for axis in figure.axes if axis.images]
    assert len(panels) == 16 and [axis.get_title() for axis in panels[:4]][2:] == ["mask", "depth"]


def test_all_or_some_are_drawn_and_twice_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(images, "FIGURES", {"one": small, "two": small})
    images.main(["two"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["two.png"]
    first = (tmp_path / "two.png").read_bytes()
    images.main([], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]
    assert (tmp_path / "two.png").read_bytes() == first
    assert capsys.readouterr().out.splitlines()[-1] == f"drew {tmp_path.name}/two.png"
    assert matplotlib.image.imread(tmp_path / "one.png").ndim == 3


def test_a_picture_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    def broken():
        raise MemoryError

    (tmp_path / "one.png").write_bytes(b"old")
    monkeypatch.setattr(images, "FIGURES", {"one": broken})
    with pytest.raises(MemoryError):
        images.main([], tmp_path)
    assert (tmp_path / "one.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_an_unknown_name_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(CourseError, match="'cats'.*quartets"):
        images.main(["cats"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_pictures_of_the_readme_are_drawn_here():
    shown = re.findall(r"!\[[^]]*\]\(Images/(\w+)\.png\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown and set(shown) <= set(images.FIGURES)
