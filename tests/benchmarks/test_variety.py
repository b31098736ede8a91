"""The table of variety: known pictures give known statistics, and a folder stands beside rendered rooms."""

import math

import pytest
import torch
from photo_files import photo_folder

from helpers.benchmarks import variety
from helpers.config import CourseError


def test_statistics_of_a_known_picture():
    """Left half black, right half white, in 4 columns; depth 1 m on the left, 3 m on the right, one pixel unknown."""
    picture = torch.zeros(3, 4, 4, dtype=torch.uint8)
    picture[..., 2:] = 255
    metres = torch.ones(4, 4)
    metres[:, 2:] = 3
    metres[0, 0] = 0
    assert variety.statistics(picture, metres) == pytest.approx({
        "far (m)": 3, "far / near": 3, "mean depth": 8 / 15, "brightness": 0.5, "contrast": 0.5,
        "texture": (1 / 3 + 0) / 2,  # one of three steps across is 1, those down are 0
    })  # fmt: skip
    assert variety.statistics(picture, None).keys() == {"brightness", "contrast", "texture"}


def test_the_summary_is_of_pictures():
    pictures = [(torch.full((3, 4, 4), value, dtype=torch.uint8), None) for value in (0, 51, 102, 255)]
    found = variety.summary(pictures)["brightness"]
    assert found == pytest.approx({"mean": 0.4, "spread": math.sqrt(0.14), "5 %": 0.03, "95 %": 0.91})


@pytest.mark.parametrize("depth", [True, False])
def test_the_command_shows_a_folder_beside_rendered_rooms(tmp_path, monkeypatch, capsys, depth):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    folder = photo_folder(tmp_path / "photos", depth=depth, camera=depth)
    variety.main([str(folder), "--rooms", "2", "--size", "32", "--seed", "3"])
    shown = capsys.readouterr().out
    lines = {line.partition("  ")[0]: line.split()[-4:] for line in shown.splitlines()[1:-1]}
    assert ("far (m), photographs" in lines) == depth and lines["far (m), rendered"][2] > "1"
    assert float(lines["brightness, photographs"][0]) == pytest.approx(0.44, abs=0.05)
    assert "2 photographs, 2 rendered (seed 3), at 32 px" in shown.splitlines()[-1] and "torch" in shown


def test_a_folder_that_is_not_there_ends_in_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="There is no folder"):
        variety.main([str(tmp_path / "nowhere"), "--rooms", "1", "--size", "32"])
    with pytest.raises(CourseError, match="There is no folder"):
        list(variety.photographed(tmp_path / "nowhere", 32))
