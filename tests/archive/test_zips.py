"""Hostile zips: what cannot be the archive is refused with a reason, and nothing that a zip says is believed."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile

import pytest
from archive_files import jpeg, member, scene, write_archive
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.archive import index as archive_index
from helpers.archive.dataset import ArchiveDataset
from helpers.archive.images import Unreadable
from helpers.archive.index import build_index, read_directory
from helpers.config import CourseError

GOOD = [(1, 1, i) for i in range(4)]
PICTURE = jpeg(scene(1, 1, 0, 48)[1])
FIELDS = {"flags": (8, "<H"), "method": (10, "<H"), "packed": (20, "<L"), "size": (24, "<L"), "offset": (42, "<L")}


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    return write_archive(tmp_path / "a", quartets=GOOD, bg=False)


def add(root, members, method=zipfile.ZIP_STORED):
    """Put more (name, bytes) into mask.zip."""
    with warnings.catch_warnings(), zipfile.ZipFile(root / "mask.zip", "a", method) as archive:
        warnings.simplefilter("ignore")  # names given twice
        for name, data in members:
            archive.writestr(name, data)


def forge(path, **changes):
    """Change fields of the first record of a zip's directory."""
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    for name, value in changes.items():
        struct.pack_into(FIELDS[name][1], data, at + FIELDS[name][0], value)
    path.write_bytes(data)


def found(root):
    """The quartets, and how many members of mask.zip were left out for which reason."""
    index = build_index(root)
    counts = {reason: finding["count"] for reason, finding in index.findings["mask"].items()}
    counts.pop("missing, though another zip has its part", None)
    return [index.quartet(row) for row in range(len(index.rows))], counts


# -- the directory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, reason",
    [
        ("../../mask_b001_f001_0.jpg", "points outside"),
        ("/etc/mask_b001_f001_0.jpg", "points outside"),
        ("C:/mask_b001_f001_0.jpg", "points outside"),
        ("mask/mask_b00001_f001_0.jpg", "outside the rule"),
        ("x" * 200 + "/mask_b001_f001_0.jpg", "outside the rule"),
        ("mask/\x1b[31mred.jpg", "outside the rule"),
    ],
)
def test_names_that_do_not_belong_are_counted_and_never_used(root, name, reason):
    add(root, [(name, PICTURE), ("mask/", b"")])
    before = sorted(root.parent.rglob("*"))
    findings = ArchiveDataset(root, 48).report()["not_listed"]["mask"]
    ((why, entry),) = findings.items()
    assert reason in why and entry["count"] == 1 and entry["examples"][0].isprintable()
    assert [path for path in sorted(root.parent.rglob("*")) if "cache" not in path.parts] == before


def test_what_an_operating_system_adds_is_no_loss(root):
    add(root, [("__MACOSX/._mask_b001_f001_0.jpg", b"x"), (".DS_Store", b"x"), ("mask/", b"")])
    assert "nothing is missing" in ArchiveDataset(root, 48).summary()


def test_of_a_name_given_twice_the_last_counts_as_when_unpacking(root):
    add(root, [("again/mask_b001_f001_0.jpg", b"newer")])
    assert found(root) == (GOOD, {"name given twice (the last one counts)": 1})
    assert build_index(root).read("mask", 0) == b"newer"


def test_bombs_are_refused_by_what_they_announce(root):
    large, dense = bytes(3_000_000), bytes(1_500_000)
    add(root, [(member("mask", (2, 1, i)), data) for i, data in enumerate((large, dense))], zipfile.ZIP_DEFLATED)
    assert found(root) == (GOOD, {"too large when unpacked": 2})


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"flags": 1}, "encrypted"),
        ({"method": 14}, "unknown compression"),
        ({"size": 0, "packed": 0}, "empty"),
        ({"size": 11}, "sizes that contradict"),
        ({"size": 0xFFFFFFF0, "packed": 0xFFFFFFF0}, "too large"),
    ],
)
def test_impossible_entries_are_refused(root, changes, reason):
    forge(root / "mask.zip", **changes)
    quartets, counts = found(root)
    assert quartets == GOOD[1:] and list(counts.values()) == [1] and reason in next(iter(counts))


def test_members_that_share_bytes_or_lie_outside_are_refused(root):
    add(root, [(member("mask", (2, 1, 0)), PICTURE)])
    path = root / "mask.zip"
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    third = data.index(b"PK\1\2", second + 1)
    struct.pack_into("<L", data, second + 42, 3)  # into the first
    struct.pack_into("<L", data, third + 42, 0xFFFFFFF0)
    path.write_bytes(data)
    assert found(root) == (GOOD[3:], {"overlapping another member": 2, "outside the file": 1})


DAMAGES = {
    "cut": lambda data: data[: len(data) * 6 // 10],
    "without its end": lambda data: data[:-30],
    "empty": lambda data: b"",
    "lost": lambda data: data[:50] + data[90:],
    "doubled": lambda data: data[:300] + data[200:],
    "before": lambda data: b"\0" + data,
    "behind": lambda data: data + b"\0",
    "records": lambda data: data.replace(b"PK\1\2", b"PK\0\2"),
    "count": lambda data: data[:-14] + struct.pack("<2H", 9, 9) + data[-10:],
    "part of several": lambda data: data[:-18] + struct.pack("<2H", 1, 1) + data[-14:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_no_whole_zip_is_told(root, damage):
    (root / "mask.zip").write_bytes(damage((root / "mask.zip").read_bytes()))
    with pytest.raises(CourseError, match="mask.zip is cut short, damaged or no zip"):
        ArchiveDataset(root)


def test_a_missing_file_and_far_too_many_members_are_told(root, monkeypatch):
    with pytest.raises(CourseError, match="cannot be read"):
        read_directory(root / "nothing.zip")
    monkeypatch.setattr(archive_index, "MAX_DIRECTORY", 200)
    with pytest.raises(CourseError, match="directory of .* bytes, over 200 are refused"):
        read_directory(root / "mask.zip")


def test_large_zips_and_comments_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)  # as with more than 4 GB and more than 65,535 members
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    root = write_archive(tmp_path / "b", quartets=GOOD, bg=False)
    assert b"PK\6\6" in (root / "mask.zip").read_bytes()
    with zipfile.ZipFile(root / "mask.zip", "a") as archive:
        archive.comment = b"400,000 masks" + bytes(100)
    assert found(root) == (GOOD, {})


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_anywhere_is_refused_or_harmless(tmp_path_factory, where, value):
    """One changed byte never gives other content under a name, and no error but the two that are announced."""
    root = write_archive(tmp_path_factory.mktemp("zip"), quartets=GOOD[:2], size=32, bg=False)
    with zipfile.ZipFile(root / "mask.zip") as archive:
        content = [archive.read(info) for info in archive.infolist()]
    data = bytearray((root / "mask.zip").read_bytes())
    data[where % len(data)] = value
    (root / "mask.zip").write_bytes(data)
    try:
        index = build_index(root)
        pictures = [index.read("mask", row) for row in range(len(index.rows))]
    except (CourseError, Unreadable):
        return
    assert pictures == [content[index.quartet(row)[2]] for row in range(len(index.rows))]


# -- one member -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at, value, words",
    [
        (0, b"PK\3\5", "no member begins"),
        (6, b"\1\0", "disagree about how it is packed"),
        (8, b"\x08\0", "disagree about how it is packed"),
        (14, b"\0\0\0\0", "disagree about its checksum"),
        (30 + len("mask/mask_b00"), b"7", "another name"),
        (26, b"\0\0", "another name"),
        (200, b"PPPP", "wrong checksum"),
    ],
)
def test_a_header_that_contradicts_the_directory_is_refused(root, at, value, words):
    data = bytearray((root / "mask.zip").read_bytes())
    data[at : at + len(value)] = value
    (root / "mask.zip").write_bytes(data)
    with pytest.raises(Unreadable, match=words):
        build_index(root).read("mask", 0)


@pytest.mark.parametrize("announced", [99, 1_400], ids=["more than announced", "less than announced"])
def test_a_member_that_unpacks_to_another_size_is_refused(root, announced):
    (root / "mask.zip").unlink()
    add(root, [(member("mask", quartet), PICTURE) for quartet in GOOD], zipfile.ZIP_DEFLATED)
    assert build_index(root).read("mask", 0) == PICTURE
    forge(root / "mask.zip", size=announced)
    with pytest.raises(Unreadable, match="another size"):
        build_index(root).read("mask", 0)


def test_a_file_that_shrinks_or_goes_away_meanwhile_is_told(root):
    index = build_index(root)
    os.truncate(root / "mask.zip", index.rows["mask"]["offset"][1] + 100)
    index.read("mask", 0)
    for row in (1, 2, 3):
        with pytest.raises(Unreadable, match="cut short"):
            index.read("mask", row)
    (root / "mask.zip").unlink()
    with pytest.raises(CourseError, match="could not be read"):
        index.read("mask", 0)


def test_a_header_with_a_long_extra_field_is_read(root):
    info = zipfile.ZipInfo(member("mask", GOOD[0]))
    info.extra = struct.pack("<2H", 0x7777, 3000) + bytes(3000)
    add(root, [(info, b"picture")])
    assert build_index(root).read("mask", 0) == b"picture"
