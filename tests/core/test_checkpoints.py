"""Checkpoints: whole or absent, refused with a reason, and the one before at hand."""

import json
import os

import pytest
import torch

from helpers.checkpoints import LAST, PREVIOUS, newest, read_checkpoint, save_checkpoint
from helpers.config import CourseError

IDENTITY = {"network": "Tiny", "recipe": {"seed": 0}}


def content(seen, identity=None):
    generator = torch.Generator().manual_seed(seen)
    return {
        "identity": json.dumps(identity or IDENTITY),
        "net": {"weight": torch.randn(40, 40, generator=generator), "steps": torch.tensor(seen)},
        "optimizer": {"state": {0: {"mean": torch.randn(7, generator=generator).bfloat16()}}, "betas": (0.9, 0.999)},
        "seen": seen,
    }


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for seen in (1, 2, 3):
        save_checkpoint(path, content(seen))
    return path


def test_the_last_two_are_kept_and_come_back_as_they_were(folder):
    assert sorted(path.name for path in folder.iterdir()) == [LAST, PREVIOUS]
    assert [read_checkpoint(folder / name)["seen"] for name in (LAST, PREVIOUS)] == [3, 2]
    back = newest(folder, IDENTITY)
    assert torch.equal(back["net"]["weight"], content(3)["net"]["weight"])
    assert back["optimizer"]["state"][0]["mean"].dtype == torch.bfloat16


def test_an_empty_folder_holds_none(tmp_path):
    assert newest(tmp_path) is None and newest(tmp_path / "missing") is None


@pytest.mark.parametrize("tenths", range(10))
def test_one_that_is_cut_short_is_refused_and_the_one_before_is_taken(folder, capsys, tenths):
    data = (folder / LAST).read_bytes()
    (folder / LAST).write_bytes(data[: len(data) * tenths // 10])
    assert newest(folder, IDENTITY)["seen"] == 2
    said = capsys.readouterr().out
    assert "last.pt in run/ cannot be read" in said and "Taking previous.pt, 2 samples" in said


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_one_changed_byte_among_the_weights_is_found(folder, place):
    data = bytearray((folder / LAST).read_bytes())
    data[int(len(data) * place)] ^= 0x10
    (folder / LAST).write_bytes(data)
    with pytest.raises(CourseError, match="cannot be read"):
        read_checkpoint(folder / LAST)
    assert newest(folder, IDENTITY)["seen"] == 2


def test_one_without_its_checksum_is_refused(folder):
    torch.save(content(3), folder / LAST)  # as an earlier version of the course wrote it
    with pytest.raises(CourseError, match="damaged, or another version of the course wrote it.*delete that folder"):
        read_checkpoint(folder / LAST)


def test_one_of_another_run_is_refused_and_the_one_before_is_taken(folder, capsys):
    other = folder.parent / "other"
    other.mkdir()
    save_checkpoint(other, content(9, {**IDENTITY, "network": "Wide"}))
    (folder / LAST).write_bytes((other / LAST).read_bytes())
    assert newest(folder, IDENTITY)["seen"] == 2 and "another network" in capsys.readouterr().out
    assert newest(folder)["seen"] == 9  # whoever asks for any run gets it
    with pytest.raises(CourseError, match="another network: choose another run_dir"):
        newest(other, IDENTITY)


def test_without_a_good_one_the_newest_ones_reason_is_told(folder):
    (folder / LAST).write_bytes(b"no checkpoint")
    (folder / PREVIOUS).write_bytes(b"")
    with pytest.raises(CourseError, match="last.pt in run/ cannot be read .*delete that folder"):
        newest(folder, IDENTITY)


def test_a_kill_between_the_two_renames_leaves_the_one_before(folder, monkeypatch):
    replace, calls = os.replace, []

    def killed(source, target):
        replace(source, target)
        calls.append(target)
        raise KeyboardInterrupt

    monkeypatch.setattr("helpers.checkpoints.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, content(4))
    monkeypatch.undo()
    assert calls and newest(folder, IDENTITY)["seen"] == 3
    assert [path.name for path in folder.iterdir()] == [PREVIOUS]


def test_a_file_of_any_size_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("helpers.checkpoints.LARGEST", 100)
    with pytest.raises(CourseError, match="too large"):
        read_checkpoint(folder / LAST)
