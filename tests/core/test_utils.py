"""Files and folders are whole or absent, whatever happens while they are written."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from small_disk import small_disk

from helpers.config import ROOT, CourseError
from helpers.utils import one_writer, table, whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_in_a_folder_that_is_made_for_it(tmp_path):
    target = tmp_path / "a" / "b" / "weights.bin"
    with whole_file(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".bin"
        temporary.write_bytes(b"half")
        assert not target.exists()
        temporary.write_bytes(b"all of it")
    assert target.read_bytes() == b"all of it"
    assert names(target.parent) == ["weights.bin"]
    assert target.stat().st_mode & 0o777 == 0o644


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "weights.bin"
    target.write_bytes(b"old")
    with whole_file(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), KeyboardInterrupt(), PermissionError("not yours")])
def test_a_failure_keeps_the_old_file_and_passes_on_unchanged(tmp_path, error):
    target = tmp_path / "weights.bin"
    target.write_bytes(b"old")
    with pytest.raises(type(error)) as caught, whole_file(target) as temporary:
        temporary.write_bytes(b"half of the n")
        raise error
    assert caught.value is error
    assert target.read_bytes() == b"old" and names(tmp_path) == ["weights.bin"]


def test_a_folder_appears_whole(tmp_path):
    with whole_folder(tmp_path / "sets" / "one") as temporary:
        (temporary / "mask.npy").write_bytes(b"mask")
        assert not (tmp_path / "sets" / "one").exists()
    assert names(tmp_path / "sets") == ["one"]
    assert (tmp_path / "sets" / "one" / "mask.npy").read_bytes() == b"mask"


def test_a_failure_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "one") as temporary:
        (temporary / "mask.npy").write_bytes(b"ma")
        raise RuntimeError
    assert names(tmp_path) == []


def test_a_folder_that_another_process_finished_first_is_kept(tmp_path):
    with whole_folder(tmp_path / "one") as slow:
        (slow / "from").write_text("slow")
        with whole_folder(tmp_path / "one") as fast:
            (fast / "from").write_text("fast")
    assert (tmp_path / "one" / "from").read_text() == "fast"
    assert names(tmp_path) == ["one"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("kind", ["whole_file", "whole_folder"])
def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path, kind):
    code = (
        f"import os, signal\nfrom helpers.utils import {kind}\nwith {kind}({str(tmp_path / 'one')!r}) as temporary:\n"
        "    (temporary / 'x' if temporary.is_dir() else temporary).write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    assert not (tmp_path / "one").exists()
    assert all(name.startswith(".") for name in names(tmp_path)), "what is left must look like nobody's"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system can neither mount tmpfs nor has /dev/full")
@pytest.mark.parametrize("write", [lambda stream, data: stream.write(data), np.save], ids=["write", "np.save"])
@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_full_disk_is_told_in_one_sentence_and_leaves_what_was_there(tmp_path, whole, write):
    with small_disk(tmp_path / "disk") as really_small:
        disk = tmp_path / "disk"
        (disk / "kept").write_bytes(b"old")
        target = disk / "kept" if whole is whole_file else disk / "new"
        with pytest.raises(CourseError, match="No space is left .*COURSE_CACHE") as caught, whole(target) as temporary:
            large = temporary / "large" if temporary.is_dir() else temporary
            with open(large if really_small else "/dev/full", "wb") as stream:
                write(stream, np.zeros(2 << 20, np.uint8))
        assert str(disk) in str(caught.value)
        assert names(disk) == ["kept"] and (disk / "kept").read_bytes() == b"old"


def test_json_is_whole_or_the_old_one_stays(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"a": [1, None]})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1, None]} and [p.name for p in tmp_path.iterdir()] == ["facts.json"]


def test_a_table_is_aligned_and_says_what_is_missing():
    text = table({"one": {"a": 1_234_567, "b": 0.25}, "second": {"b": math.nan, "long name": 1.0}}, digits=2)
    header, one, second = text.split("\n")
    assert header.split() == ["a", "b", "long", "name"]
    assert one.split() == ["one", "1,234,567", "0.25", "-"]
    assert second.split() == ["second", "-", "-", "1.00"]
    assert len({len(line) for line in (header, one, second)}) == 1


def test_a_notebook_shows_a_table_as_html_and_as_text():
    rows = {"a < b": {"x & y": 0.25, "n": 3}, "second": {"n": 1_000}}
    data, _ = DisplayFormatter().format(table(rows, digits=2))
    assert data["text/plain"] == table(rows, digits=2)
    root = ElementTree.fromstring(data["text/html"])
    cells = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    assert cells == [["", "x & y", "n"], ["a < b", "0.25", "3"], ["second", "-", "1,000"]]
    assert [[cell.tag for cell in row] for row in root.iter("tr")] == [["th"] * 3, *[["th", "td", "td"]] * 2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
def test_a_lock_is_not_taken_from_under_the_next_one(tmp_path):
    """Who waits has opened the file already when the first one leaves."""
    with one_writer(tmp_path):
        waiting = open(tmp_path / ".lock", "w")
    fcntl = pytest.importorskip("fcntl")
    with waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(CourseError, match="Another process"), one_writer(tmp_path):
            pass
