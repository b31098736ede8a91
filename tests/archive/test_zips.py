"""A zip is a table of what follows the rule; whatever else stands in it is counted, and nothing is believed."""

import os
import pickle
import re
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.archive import zips
from helpers.archive.zips import BadMember, ZipReader, member_name, parse_names, read_directory
from helpers.config import CourseError


def write(path, members, method=zipfile.ZIP_STORED):
    """A zip of these (name, bytes)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names given twice
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in members:
                archive.writestr(name, data)
    return path


def good(count=3):
    return [(f"mask/{member_name('mask', 1, 2, i)}", b"picture %d" % i) for i in range(count)]


def numbers(members):
    return [(int(m["room"]), int(m["cat"]), int(m["number"])) for m in members]


def counts(findings):
    return {reason: entry["count"] for reason, entry in findings.items()}


def listing(path, members, **options):
    return read_directory(write(path / "mask.zip", members, **options), "mask")


# -- the table ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_listed_in_order_and_read_back(tmp_path, method):
    content = {(r, c, i): os.urandom(50) + bytes(100) for r in (1, 12) for c in (3, 100) for i in (0, 7, 39)}
    shuffled = reversed(content.items())
    path = write(tmp_path / "a.zip", [(f"any/folder/{member_name('mask', *n)}", d) for n, d in shuffled], method)
    members, findings = read_directory(path, "mask")
    assert numbers(members) == sorted(content) and not findings
    reader = ZipReader(path, "mask")
    for member in members:
        assert reader.read(member.item()) == content[tuple(member.item()[:3])]


def test_the_table_agrees_with_pythons_zipfile_over_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "BLOCK", 4000)  # records lie across the seams
    members = [(f"m/{member_name('mask', i % 7 + 1, i // 7, i % 3)}", b"x" * (i + 1)) for i in range(900)]
    table, findings = listing(tmp_path, members)
    with zipfile.ZipFile(tmp_path / "mask.zip") as archive:
        expected = {info.filename: (info.header_offset, info.compress_size, info.CRC) for info in archive.infolist()}
    assert len(table) == 900 and not findings
    for row in table:
        name = f"m/{member_name('mask', *row.item()[:3])}"
        assert expected[name] == (row["offset"], row["packed"], row["crc"])


def test_more_members_than_a_plain_zip_can_count(tmp_path):
    table, findings = listing(
        tmp_path, [(member_name("mask", i // 400 + 1, i // 4 % 100, i % 4), b"x") for i in range(70_000)]
    )
    assert len(table) == 70_000 and not findings


def test_members_beyond_four_gigabytes_are_found(tmp_path):
    """A sparse file: the second member stands behind a hole of five gigabytes."""
    path = tmp_path / "mask.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member_name("mask", 1, 1, 0), b"before")
        archive.fp.seek(5 * 2**30)
        archive.start_dir = archive.fp.tell()
        archive.writestr(member_name("mask", 1, 1, 1), b"behind")
    members, findings = read_directory(path, "mask")
    assert not findings and members["offset"][1] >= 5 * 2**30
    assert ZipReader(path, "mask").read(members[1].item()) == b"behind"


rule = re.compile(r"(?:.*[/\\])?mask_b(\d{1,4})_f(\d{1,4})_(\d{1,4})\.jpg", re.DOTALL)
near_misses = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "/", "x/", "a\\", "x"]),
    st.sampled_from(["mask", "Mask", "mas", "bgfg"]),
    st.from_regex(r"_b[0-9]{1,5}_f[0-9]{0,5}_[0-9a]{1,5}", fullmatch=True),
    st.sampled_from([".jpg", ".jpeg", ".JPG", "", ".jpg/"]),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(near_misses | st.text("mask_bf0123./\\jpg", max_size=30), min_size=1, max_size=8))
def test_names_are_read_as_the_rule_says(names):
    rows = np.stack(
        [np.frombuffer(name.replace("\\", "/").encode().rjust(128, b"/")[-128:], np.uint8) for name in names]
    )
    for name, found in zip(names, parse_names(rows, "mask")):
        match = rule.fullmatch(name)
        assert found.tolist() == ([int(n) for n in match.groups()] if match else [-1, -1, -1]), name


# -- hostile entries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, reason",
    [
        ("../../mask_b001_f001_0.jpg", "points outside"),
        ("/etc/mask_b001_f001_0.jpg", "points outside"),
        ("\\share\\mask_b001_f001_0.jpg", "points outside"),
        ("C:/mask_b001_f001_0.jpg", "points outside"),
        ("mask/mask_b001_f001.jpg", "outside the rule"),
        ("mask/bgfg_b001_f001_0.jpg", "outside the rule"),
        ("mask/mask_b00001_f001_0.jpg", "outside the rule"),
        ("__MACOSX/._mask_b001_f001_0.jpg", "outside the rule"),
        ("x" * 200 + "/mask_b001_f001_0.jpg", "outside the rule"),
        ("mask/\x1b[31mred.jpg", "outside the rule"),
    ],
)
def test_names_that_do_not_belong_are_counted_and_never_used(tmp_path, name, reason):
    members, findings = listing(tmp_path, [(name, b"x"), *good(), ("mask/", b"")])
    assert numbers(members) == [(1, 2, 0), (1, 2, 1), (1, 2, 2)]
    ((found, entry),) = findings.items()
    assert reason in found and entry["count"] == 1 and entry["examples"][0].isprintable()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mask.zip"]


def test_of_a_name_given_twice_the_last_counts_as_when_unpacking(tmp_path):
    members, findings = listing(tmp_path, [*good(2), ("again/mask_b001_f002_0.jpg", b"newer")])
    assert len(members) == 2 and counts(findings) == {"name given twice (the last one counts)": 1}
    assert ZipReader(tmp_path / "mask.zip", "mask").read(members[0].item()) == b"newer"


def test_bombs_are_refused_by_what_they_announce(tmp_path):
    large = ("mask_b001_f001_0.jpg", bytes(3_000_000))
    dense = ("mask_b001_f001_1.jpg", bytes(1_500_000))
    members, findings = listing(tmp_path, [large, dense, *good(1)], method=zipfile.ZIP_DEFLATED)
    assert len(members) == 1 and counts(findings) == {"too large when unpacked": 2}


CENTRAL = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<L"), "packed": (20, "<L"), "size": (24, "<L"), "offset": (42, "<L")}  # fmt: skip


def forge(path, **changes):
    """Change fields of the first record of the directory."""
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    for name, value in changes.items():
        place, form = CENTRAL[name]
        struct.pack_into(form, data, at + place, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"flags": 1}, "encrypted"),
        ({"method": 14}, "unknown compression"),
        ({"size": 0, "packed": 0}, "empty"),
        ({"size": 11}, "sizes that contradict"),
        ({"offset": 10_000_000}, "outside the file"),
        ({"offset": 0xFFFFFFFF}, "outside the file"),  # and no zip64 field that would say where
        ({"size": 0xFFFFFFF0, "packed": 0xFFFFFFF0}, "too large"),
    ],
)
def test_impossible_entries_are_refused(tmp_path, changes, reason):
    path = forge(write(tmp_path / "mask.zip", good()), **changes)
    members, findings = read_directory(path, "mask")
    assert numbers(members) == [(1, 2, 1), (1, 2, 2)]
    assert list(counts(findings).values()) == [1] and reason in next(iter(findings))


def test_members_that_share_bytes_are_refused(tmp_path):
    path = write(tmp_path / "mask.zip", good(4))
    second = read_directory(path, "mask")[0]["offset"][1]
    members, findings = read_directory(forge(path, offset=int(second) + 3), "mask")
    assert numbers(members) == [(1, 2, 2), (1, 2, 3)] and counts(findings) == {"overlapping another member": 2}


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_anywhere_is_refused_or_harmless(tmp_path_factory, where, value):
    """One flipped byte never gives other content under a name, and no error but the two of this module."""
    path = tmp_path_factory.mktemp("zip") / "mask.zip"
    content = dict(zip([(1, 2, i) for i in range(3)], (data for _, data in good())))
    data = bytearray(write(path, good()).read_bytes())
    data[where % len(data)] = value
    path.write_bytes(data)
    try:
        members, _ = read_directory(path, "mask")
    except CourseError:
        return
    for member in members:
        try:
            found = ZipReader(path, "mask").read(member.item())
        except BadMember:
            continue
        assert found in content.values()
        assert content.get(member.item()[:3], found) == found


# -- hostile files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda data: data[: len(data) * 6 // 10], "cut short, damaged or no zip"),
        (lambda data: data[:-30], "cut short, damaged or no zip"),
        (lambda data: b"", "cut short, damaged or no zip"),
        (lambda data: b"<html>Too many users have viewed this file</html>" * 9, "cut short, damaged or no zip"),
        (lambda data: data[100:], "cut short, damaged or no zip"),
        (lambda data: data.replace(b"PK\1\2", b"PK\0\2"), "damaged directory"),
        (lambda data: data[:-14] + struct.pack("<2H", 9, 9) + data[-10:], "cut short|announces"),
        (lambda data: data[:-18] + struct.pack("<2H", 1, 1) + data[-14:], "one part of several"),
    ],
)
def test_a_file_that_is_no_whole_zip_is_told(tmp_path, damage, words):
    path = write(tmp_path / "mask.zip", good())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CourseError, match=f"mask.zip.*({words})"):
        read_directory(path, "mask")


def test_a_missing_file_and_far_too_many_members_are_told(tmp_path, monkeypatch):
    with pytest.raises(CourseError, match="cannot be read"):
        read_directory(tmp_path / "mask.zip", "mask")
    monkeypatch.setattr(zips, "MAX_MEMBERS", 2)
    with pytest.raises(CourseError, match="3 members, over 2 are refused"):
        listing(tmp_path, good(3))


# -- members --------------------------------------------------------------------------------------------------------------


def first_member(path):
    return read_directory(path, "mask")[0][0].item()


@pytest.mark.parametrize(
    "at, value, words",
    [
        (0, b"PK\3\5", "no member begins"),
        (6, b"\1\0", "disagree about how it is packed"),
        (8, b"\x08\0", "disagree about how it is packed"),
        (14, b"\0\0\0\0", "disagree about its checksum"),
        (30 + len("mask/mask_b00"), b"7", "another name"),
        (26, b"\0\0", "another name"),
        (30 + len(good()[0][0]), b"P", "wrong checksum"),
    ],
)
def test_a_header_that_contradicts_the_directory_is_refused(tmp_path, at, value, words):
    path = write(tmp_path / "mask.zip", good())
    member = first_member(path)
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)
    with pytest.raises(BadMember, match=words):
        ZipReader(path, "mask").read(member)


def deflate(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("announced", [99, 5_000], ids=["more than announced", "less than announced"])
def test_a_member_that_unpacks_to_another_size_is_refused(tmp_path, announced):
    path = write(tmp_path / "mask.zip", [("mask_b001_f002_0.jpg", bytes(range(100)))], zipfile.ZIP_DEFLATED)
    with pytest.raises(BadMember, match="another size"):
        ZipReader(path, "mask").read(first_member(forge(path, size=announced)))


def test_unpacking_never_makes_more_than_was_announced():
    with pytest.raises(BadMember, match="another size"):
        zips._inflate(deflate(bytes(10_000_000)), 1000)
    with pytest.raises(BadMember, match="damaged"):
        zips._inflate(b"\xff" * 50, 1000)
    assert zips._inflate(deflate(b"x" * 1000), 1000) == b"x" * 1000


def test_a_file_that_shrank_meanwhile_gives_bad_members(tmp_path):
    path = write(tmp_path / "mask.zip", good())
    members = read_directory(path, "mask")[0]
    reader = ZipReader(path, "mask")
    os.truncate(path, members["offset"][1] + 58)  # within its picture
    assert reader.read(members[0].item()) == b"picture 0"
    for member in members[1:]:
        with pytest.raises(BadMember, match="cut short"):
            reader.read(member.item())


def test_a_header_with_a_long_extra_field_is_read(tmp_path):
    info = zipfile.ZipInfo("mask_b001_f002_0.jpg")
    info.extra = struct.pack("<2H", 0x7777, 3000) + bytes(3000)
    path = write(tmp_path / "mask.zip", [(info, b"picture")])
    assert ZipReader(path, "mask").read(first_member(path)) == b"picture"


def test_a_reader_travels_without_its_handle_and_a_forked_process_opens_its_own(tmp_path):
    path = write(tmp_path / "mask.zip", good())
    member, reader = first_member(path), ZipReader(path, "mask")
    assert reader.read(member) == b"picture 0"
    sent = pickle.dumps(reader)
    assert len(sent) < 1000 and pickle.loads(sent).read(member) == b"picture 0"
    before = reader._file
    reader._open_in = -1  # as a child sees its parent's reader
    assert reader.read(member) == b"picture 0" and reader._file is not before


def test_a_file_that_went_away_is_told(tmp_path):
    path = write(tmp_path / "mask.zip", good())
    member = first_member(path)
    path.unlink()
    with pytest.raises(CourseError, match="could not be read"):
        ZipReader(path, "mask").read(member)
