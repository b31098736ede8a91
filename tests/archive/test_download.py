"""The published data: fetched whole or not at all, from a stand-in for Google Drive and with real gdown."""

import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import namedtuple

import pytest
from drive_server import DriveServer

from helpers.archive import download as drive
from helpers.archive.download import NAMES, Refused, check_zip, fetch_archive
from helpers.config import ROOT, CourseError
from helpers.utils import one_writer

pytestmark = pytest.mark.slow


def zipped(name: str, kilobytes: int, pictures: int = 4) -> bytes:
    """A zip whose pictures are noise: what matters here is only that bytes arrive."""
    noise, buffer = random.Random(name), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(pictures):
            archive.writestr(f"{name[:-4]}/{i}.jpg", noise.randbytes(kilobytes * 1024 // pictures))
    return buffer.getvalue()


# The first is several times what gdown writes at once (512 kB), so that there is something to go on from.
FILES = {
    "bg_fg.zip": zipped("bg_fg.zip", 2048),
    "mask.zip": zipped("mask.zip", 40),
    "depth.zip": zipped("depth.zip", 40),
}
KNOWN = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in FILES.items()}
LARGE = "bg_fg.zip"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_ARCHIVE", raising=False)
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # what this machine needs to reach the world leads past the stand-in
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "no-mount")
    monkeypatch.setattr(drive, "ROUGH_BYTES", {name: len(data) for name, data in FILES.items()})


@pytest.fixture
def server(tmp_path):
    with DriveServer(tmp_path, FILES) as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "archive"


def fetch(server, folder, **options):
    return fetch_archive(folder, **{"network": server.network, **options})


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def trusted(folder):
    """What lies under a final name."""
    return {path.name for path in folder.iterdir() if path.suffix == ".zip"} if folder.exists() else set()


def assert_complete(folder):
    assert {name: (folder / name).read_bytes() for name in NAMES} == FILES
    assert not list((folder / "incoming").glob("*.zip*"))


def assert_names_every_way(message):
    for way in ("try again later", "shortcut to https://drive.google.com", "COURSE_ARCHIVE", "COURSE_DATA=rooms"):
        assert way in message
    assert "\n" not in message


# -- a download ---------------------------------------------------------------------------------------------------


def test_what_arrives_is_whole_noted_and_trusted_from_then_on(server, folder):
    assert fetch(server, folder) == folder
    assert_complete(folder)
    record = json.loads((folder / "archive.json").read_text())
    assert {name: {key: record[name][key] for key in ("size", "sha256")} for name in NAMES} == KNOWN
    assert fetch_archive(folder) == fetch_archive(folder, verify=True) == folder, "without a network"


def test_progress_is_shown_for_each_file(server, folder, capsys):
    fetch(server, folder)
    shown = capsys.readouterr().out
    assert all(f"{what} {name}" in shown for name in NAMES for what in ("fetching", "Checking")), shown


FAILURES = [
    ("list", "private", "the folder on Google Drive is not public any more|nor anything else: it may not be public"),
    ("list", "gone", "the folder on Google Drive is not public any more, or gone"),
    ("list", "silent", r"fell silent while fetching the list of files \(no data for 0.5 seconds\)"),
    (LARGE, "quota", "Google Drive's quota for bg_fg.zip is used up for today"),
    (LARGE, "private", "bg_fg.zip on Google Drive is not public any more, or gone"),
    (LARGE, "gone", "bg_fg.zip on Google Drive is not public any more, or gone"),
    (LARGE, "silent", "Google Drive fell silent while fetching bg_fg.zip"),
    (LARGE, "stall", "Google Drive fell silent while fetching bg_fg.zip"),
    (LARGE, "cut", r"the connection to Google Drive broke off while fetching bg_fg.zip \(1\.\d MB of it are kept\)"),
    (LARGE, "page", "is refused: bg_fg.zip is not a zip file with pictures but a web page"),
    ("mask.zip", "quota", "Google Drive's quota for mask.zip"),
]
RECOVERIES = [("list", "gone"), (LARGE, "page"), (LARGE, "cut"), (LARGE, "stall"), ("mask.zip", "quota")]


@pytest.mark.parametrize("where, fault, words", FAILURES, ids=[f"{where}-{fault}" for where, fault, _ in FAILURES])
def test_each_failure_is_one_message(server, folder, where, fault, words):
    server.faults[where] = fault
    with pytest.raises(CourseError, match=words) as caught:
        fetch(server, folder, patience=0.5 if fault in ("silent", "stall") else 60)
    assert_names_every_way(str(caught.value))
    assert trusted(folder) == ({LARGE} if where == "mask.zip" else set())
    kept = sum(path.stat().st_size for path in (folder / "incoming").glob(f"{LARGE}*.part"))
    if fault != "stall":  # how much of it came in time is for the machine to say
        assert (kept > 0) == (fault == "cut"), "a half file is kept for the next call, and nothing else is"

    if (where, fault) in RECOVERIES:
        server.faults.clear()
        server.release.set()
        fetch(server, folder)
        assert_complete(folder)
        assert (LARGE, kept) in server.requests, "it goes on where it stopped"


def test_a_file_that_is_not_listed_is_named(server, folder):
    del server.files["depth.zip"]
    with pytest.raises(CourseError, match="the public folder lists no depth.zip"):
        fetch(server, folder)
    assert trusted(folder) == set()


def test_no_network_is_told(folder):
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        network = {"proxy": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        with pytest.raises(CourseError, match="cannot be reached") as caught:
            fetch_archive(folder, network=network)
    assert_names_every_way(str(caught.value))


def test_a_stranger_in_drives_name_is_not_believed(server, folder):
    with pytest.raises(CourseError, match="no certificate that is trusted") as caught:
        fetch(server, folder, network={"proxy": server.proxy})
    assert_names_every_way(str(caught.value))


@pytest.mark.parametrize(
    "code, words",
    [
        ("raise ModuleNotFoundError('no gdown', name='gdown')", "gdown is not installed in this Python"),
        ("import os; os.write(2, b'out of luck'); os._exit(3)", r"gdown's process ended in the middle \(out of luck\)"),
    ],
    ids=["missing", "crash"],
)
def test_a_gdown_that_does_not_start_is_told(monkeypatch, folder, tmp_path, code, words):
    (tmp_path / "gdown.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CourseError, match=words) as caught:
        fetch_archive(folder)
    assert_names_every_way(str(caught.value))


# -- a download that was stopped ----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_in_the_middle_the_next_call_goes_on(server, folder):
    server.faults[LARGE] = "stall"
    code = f"from helpers.archive.download import fetch_archive\nfetch_archive({str(folder)!r}, network={server.network})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 60
        while not (kept := sum(path.stat().st_size for path in (folder / "incoming").glob("*.part"))):
            assert process.poll() is None and time.monotonic() < give_up
            time.sleep(0.02)
        assert server.stalled.wait(60)
    finally:
        process.kill()
        process.wait()
    assert trusted(folder) == set()
    server.faults.clear()
    fetch(server, folder)
    assert_complete(folder)
    offsets = [first for path, first in server.requests if path == LARGE]
    assert offsets[-1] >= kept > 0, "it went on, and did not begin again"


def test_killed_before_the_last_step_nothing_is_fetched_again(server, folder):
    incoming = folder / "incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{LARGE}abcdefgh.part").write_bytes(FILES[LARGE])  # gdown did not get to renaming
    (incoming / "mask.zip").write_bytes(FILES["mask.zip"])  # nor we to checking
    fetch(server, folder)
    assert_complete(folder)
    assert {path for path, _ in server.requests} == {"depth.zip"}


@pytest.mark.parametrize("left", ["other bytes", "too many bytes"])
@pytest.mark.parametrize("fault", [None, "no range"])
def test_a_half_file_that_does_not_fit_is_dropped_and_fetched_anew(server, folder, left, fault):
    server.faults[LARGE] = fault
    (folder / "incoming").mkdir(parents=True)
    content = bytes(700_000) if left == "other bytes" else FILES[LARGE] + bytes(1000)
    (folder / "incoming" / f"{LARGE}abcdefgh.part").write_bytes(content)
    fetch(server, folder)
    assert_complete(folder)


def test_of_several_half_files_one_is_used(server, folder):
    (folder / "incoming").mkdir(parents=True)
    for suffix, size in (("aaaaaaaa", 100_000), ("bbbbbbbb", 600_000)):
        (folder / "incoming" / f"{LARGE}{suffix}.part").write_bytes(FILES[LARGE][:size])
    fetch(server, folder)
    assert_complete(folder)
    assert (LARGE, 600_000) in server.requests


def test_two_downloads_into_one_folder_are_kept_apart(server, folder):
    folder.mkdir()
    with one_writer(folder), pytest.raises(CourseError, match="Another process .* is writing into archive/: wait") as no:
        fetch(server, folder)
    assert str(no.value).endswith(drive.WAYS)
    fetch(server, folder)
    assert_complete(folder)


# -- what may be trusted ------------------------------------------------------------------------------------------


def test_verify_finds_a_changed_byte_that_size_and_time_hide(server, folder, capsys):
    fetch(server, folder)
    stat = (folder / "mask.zip").stat()
    changed = bytearray(FILES["mask.zip"])
    changed[5000] ^= 1
    (folder / "mask.zip").write_bytes(changed)
    os.utime(folder / "mask.zip", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    fetch(server, folder)
    assert (folder / "mask.zip").read_bytes() == changed, "size and time are trusted"
    fetch(server, folder, verify=True)
    assert "mask.zip has the wrong sha256" in capsys.readouterr().out
    assert_complete(folder)


@pytest.mark.parametrize("record", ["{", "[]", '{"mask.zip": {"size": "1"}}', '{"mask.zip": 3}'])
def test_a_broken_record_costs_a_look_and_no_download(folder, record):
    write(folder, FILES)
    (folder / "archive.json").write_text(record)
    assert fetch_archive(folder) == folder
    assert json.loads((folder / "archive.json").read_text())["mask.zip"]["sha256"] == KNOWN["mask.zip"]["sha256"]


@pytest.mark.parametrize("content", [
    b"", b"PK\5\6" + bytes(18), b"PK\3\4" + b"PK\5\6" * 30_000, b"\xff\xd8" * 100, FILES["mask.zip"] + b"\n",
])  # fmt: skip
def test_check_zip_refuses_what_holds_nothing(tmp_path, content):
    (tmp_path / "mask.zip").write_bytes(content)
    with pytest.raises(Refused, match="mask.zip is"):
        check_zip(tmp_path / "mask.zip", {})


# -- the disk -----------------------------------------------------------------------------------------------------


def test_too_little_space_is_told_before_anything_is_fetched(server, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 50_000, 50_000))
    with pytest.raises(CourseError, match=r"need 2\.2 MB more .* has 0\.1 MB free.*COURSE_CACHE") as caught:
        fetch(server, folder)
    assert_names_every_way(str(caught.value))
    assert not server.requests


@pytest.mark.parametrize("mounted", [False, True], ids=["download", "copy"])
def test_a_disk_that_fills_up_is_told_and_the_rest_fetched_later(server, folder, tmp_path, monkeypatch, mounted):
    if mounted:
        monkeypatch.setattr(drive, "MOUNT", tmp_path / "drive")
        write(tmp_path / "drive" / "MyDrive" / "course-archive", FILES)
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "course", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        monkeypatch.setattr(drive, "ROUGH_BYTES", dict.fromkeys(NAMES, 1000))  # the published sizes have grown, say
        with pytest.raises(CourseError, match="the disk of .* is full; free some space") as caught:
            fetch(server, folder)
        assert_names_every_way(str(caught.value))
        assert trusted(folder) == set()
        assert not (mounted and server.requests), "another way would not help"
        subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
        fetch(server, folder)
        assert_complete(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CourseError, match="cannot be read or written") as caught:
        fetch_archive(tmp_path / "file" / "archive")
    assert_names_every_way(str(caught.value))


# -- backgrounds --------------------------------------------------------------------------------------------------


def backgrounds(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"\xff\xd8 a room")
    return buffer.getvalue()


def test_zipped_backgrounds_stay_zipped(folder, tmp_path):
    content = backgrounds(["bg/a.jpg", "../../b.png", "bg/notes.txt"])
    with DriveServer(tmp_path, {**FILES, "bg.zip": content}) as server:
        fetch(server, folder)
    assert (folder / "bg.zip").read_bytes() == content and not (tmp_path / "b.png").exists()
    assert_complete(folder)


def test_backgrounds_that_cannot_be_fetched_are_done_without(folder, tmp_path, capsys):
    with DriveServer(tmp_path, {**FILES, "bg.zip": backgrounds(["a.jpg"])}) as server:
        server.faults["bg.zip"] = "quota"
        fetch(server, folder)
    assert_complete(folder)
    shown = capsys.readouterr().out
    assert "The backgrounds could not be fetched (Google Drive's quota for" in shown and "recovered" in shown
    assert not (folder / "bg").exists()


@pytest.mark.parametrize(
    "content, words",
    [
        (b"no zip", "not a zip file"),
        (backgrounds(["a.jpg"])[:-9], "cut off"),
        (b"PK\3\4" + backgrounds(["a.jpg"]), "missing or added"),
    ],
)
def test_backgrounds_that_are_damaged_are_done_without(tmp_path, monkeypatch, folder, capsys, content, words):
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "drive")
    write(tmp_path / "drive" / "MyDrive" / "course-archive", {**FILES, "bg.zip": content})
    fetch_archive(folder)
    shown = capsys.readouterr().out
    assert "The backgrounds could not be fetched" in shown and words in shown
    assert_complete(folder)
    assert not (folder / "bg").exists() and not (folder / "bg.zip").exists()


# -- the other two ways -------------------------------------------------------------------------------------------


def test_a_local_folder_is_used_where_it_is(tmp_path, monkeypatch, folder):
    mine = write(tmp_path / "mine", FILES)
    monkeypatch.setenv("COURSE_ARCHIVE", str(mine))
    assert fetch_archive(folder) == mine
    assert fetch_archive(folder, verify=True) == mine
    assert {path.name for path in mine.iterdir()} == set(FILES) and not folder.exists()


@pytest.mark.parametrize(
    "files, words",
    [
        (None, "COURSE_ARCHIVE=.*mine is not a folder"),
        ({"mask.zip": FILES["mask.zip"]}, "in the folder of COURSE_ARCHIVE, .*mine, bg_fg.zip is missing"),
        ({**FILES, "depth.zip": FILES["depth.zip"][:30_000]}, "depth.zip is cut off: it ends, after 0.0 MB"),
        ({**FILES, "archive.json": b'{"mask.zip": {"size": 7, "sha256": "", "mtime_ns": 0}}'}, "mask.zip has the wrong size"),
        ({**FILES, "archive.json": json.dumps({"mask.zip": {**KNOWN["mask.zip"], "sha256": "0", "mtime_ns": 0}}).encode()},
         "mask.zip has the wrong sha256"),
    ],
    ids=["nowhere", "incomplete", "cut off", "size", "checksum"],
)  # fmt: skip
def test_a_local_folder_that_will_not_do_is_told(tmp_path, monkeypatch, files, words):
    if files is not None:
        write(tmp_path / "mine", files)
    monkeypatch.setenv("COURSE_ARCHIVE", str(tmp_path / "mine"))
    with pytest.raises(CourseError, match=words) as caught:
        fetch_archive(tmp_path / "archive", verify=True)
    assert_names_every_way(str(caught.value))


@pytest.mark.parametrize(
    "where", ["MyDrive/course-archive", f".shortcut-targets-by-id/{drive.FOLDER}/anything", "MyDrive/any name"]
)
def test_a_mounted_drive_is_copied_from(tmp_path, monkeypatch, folder, where):
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "drive")
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    mounted = write(tmp_path / "drive" / where, FILES)
    write(mounted / "bg", {"img_001.jpg": b"\xff\xd8"})
    assert fetch_archive(folder) == folder
    assert_complete(folder)
    assert [path.name for path in (folder / "bg").iterdir()] == ["img_001.jpg"]


def test_a_background_that_a_mounted_drive_has_lost_costs_the_backgrounds_alone(tmp_path, monkeypatch, folder, capsys):
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "drive")
    mounted = write(tmp_path / "drive" / "MyDrive" / "course-archive", FILES)
    write(mounted / "bg", {"img_001.jpg": b"\xff\xd8"})
    (mounted / "bg" / "img_002.jpg").symlink_to("nowhere")
    assert fetch_archive(folder) == folder
    assert "they are recovered from the pictures instead" in capsys.readouterr().out
    assert not (folder / "bg").exists() and all((folder / name).is_file() for name in FILES)


def test_a_mount_that_breaks_while_it_is_read_leaves_the_next_way(tmp_path, monkeypatch, folder, server, capsys):
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "drive")
    mounted = write(tmp_path / "drive" / "MyDrive" / "course-archive", FILES)
    write(mounted / "bg", {"img_001.jpg": b"\xff\xd8"})

    def broken(*_, **__):
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(shutil, "copytree", broken)
    monkeypatch.setattr(drive, "_copy", broken)
    fetch(server, folder)
    assert_complete(folder)
    assert "Drive cannot be read (Transport endpoint is not connected)" in capsys.readouterr().out


def test_a_mounted_drive_with_a_damaged_file_leaves_the_next_way(tmp_path, monkeypatch, folder, server, capsys):
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "drive")
    write(tmp_path / "drive" / "MyDrive" / "course-archive", {**FILES, "mask.zip": FILES["mask.zip"][:-1]})
    fetch(server, folder)
    assert_complete(folder)
    assert {path for path, _ in server.requests} == {"mask.zip", "depth.zip"}
    assert "on the mounted Google Drive mask.zip is cut off" in capsys.readouterr().out
