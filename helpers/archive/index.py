"""Where every picture of the archive is: the directories of the three zips, compared once and kept on the disk.

Nothing in a zip is believed: names are never used as paths, sizes are bounded before anything is read, and
a member counts only if its own header and checksum agree with the directory. What is refused is counted and named.
"""

import gc
import hashlib
import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from helpers.archive.images import Unreadable, jpeg_size
from helpers.config import CourseError
from helpers.utils import is_system_file, load_arrays, save_arrays

ZIPS = {"bg_fg": "bgfg", "mask": "mask", "depth": "densedepth"}  # name of the zip: how the names of its members begin
MAX_DIRECTORY = 200_000_000  # bytes: about five times the published archive's
MAX_BYTES = 2_000_000  # of one member, unpacked: a JPEG of 192 px has 10,000
MAX_RATIO = 100  # unpacked to packed; a JPEG hardly shrinks, even an all-black one by less than ten
MAX_NAME = 128  # characters: longer paths are none of the archive's
USUAL_NAME = 128  # bytes of a name and of what a zip program adds to it
MAX_SIZE = 2048  # pixels; the archive has 192
EXAMPLES = 5  # names kept for each kind of finding
LOCAL_HEADER = struct.Struct("<4s2x2H4xL8x2H")  # signature, flags, method, CRC-32, lengths of name and extra field
PLACE = np.dtype(  # of a member in its zip; offset: of its header; packed, size: its bytes in the file and unpacked
    [("offset", "<u8"), ("packed", "<u8"), ("size", "<u8"), ("crc", "<u4"), ("method", "<u2"), ("flags", "<u2")]
)
QUARTET = np.dtype([("key", "<i8"), *((name, PLACE) for name in ZIPS)])  # key: room << 32 | cat << 16 | number

Findings = dict[str, dict]  # reason -> {"count": int, "examples": [names]}


@cache
def _rule(zip_name: str) -> re.Pattern:
    """Room, cat and number in a member's name, such as ``mask/mask_b001_f001_0.jpg``."""
    return re.compile(rf"(?:.*[/\\])?{ZIPS[zip_name]}_b(\d{{1,4}})_f(\d{{1,4}})_(\d{{1,4}})\.jpg", re.ASCII | re.DOTALL)


def _name(zip_name: str, key: int) -> str:
    """What a member is called in the published archive."""
    return f"{ZIPS[zip_name]}_b{key >> 32:03d}_f{key >> 16 & 0xFFFF:03d}_{key & 0xFFFF}.jpg"


def _note(findings: Findings, reason: str, names: Iterable[str]) -> None:
    for name in names:
        entry = findings.setdefault(reason, {"count": 0, "examples": []})
        entry["count"] += 1
        if entry["count"] <= EXAMPLES:  # short, and without anything that a terminal would obey
            entry["examples"].append("".join(c if c.isprintable() else "?" for c in name[:80]))


class _BoundedFile(io.FileIO):
    """A zip as zipfile may read it: its directory, which comes in one piece, is bounded and its SHA-256 is noted."""

    digest = ""

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY:
            raise CourseError(f"{self.name} has a directory of {size:,} bytes, over {MAX_DIRECTORY:,} are refused.")
        data = super().read(size)
        if data.startswith(b"PK\1\2"):
            self.digest = hashlib.sha256(data).hexdigest()
        return data


def read_directory(path: str | Path) -> tuple[list[zipfile.ZipInfo], str]:
    """All members of a zip, and the SHA-256 of its directory, which is the same in every copy of the file.

    Raises:
        CourseError: no zip, or one that is cut, damaged, or has other bytes around it or too large a directory.
    """
    try:
        with _BoundedFile(path) as stream:
            with zipfile.ZipFile(stream) as archive:
                members, comment = archive.infolist(), archive.comment
            # zipfile forgives bytes behind the end and a wrong count in it,
            stream.seek(-22 - len(comment), os.SEEK_END)
            end, disk, count, length = struct.unpack("<4sL2xH8xH", stream.read(22))
            whole = (end, length) == (b"PK\5\6", len(comment)) and disk in (0, 0xFFFFFFFF)  # saturated: zip64
            whole &= count in (len(members), 0xFFFF)
            # and bytes that are lost or added before the directory, which move the first member.
            if not whole or min((member.header_offset for member in members), default=0) != 0:
                raise zipfile.BadZipFile("bytes are missing or added")
            return members, stream.digest
    except CourseError:
        raise
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}): check that it is there and complete.") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error, OverflowError) as error:
        raise CourseError(f"{path} is cut short, damaged or no zip ({error}): delete it, download it again.") from error


def _members_of(zip_name: str, path: Path) -> tuple[np.ndarray, np.ndarray, Findings, str]:
    """Keys and places of the members that may be read, sorted; what is left out; the directory's SHA-256."""
    listed, digest = read_directory(path)
    match, findings, keys, places, end = _rule(zip_name).fullmatch, {}, [], [], path.stat().st_size
    for i in listed:
        name = i.orig_filename
        if name[:1] in ("/", "\\") or ".." in name or ":" in name or "\0" in name:
            _note(findings, "name that points outside", [name])
        elif (found := match(name)) and len(name) <= MAX_NAME:
            keys.append(int(found[1]) << 32 | int(found[2]) << 16 | int(found[3]))
            places.append((i.header_offset, i.compress_size, i.file_size, i.CRC, i.compress_type, i.flag_bits))
        elif not is_system_file(name) and (not name.endswith("/") or i.file_size):  # not a folder
            _note(findings, "name outside the rule", [name])
    keys, places = np.array(keys, np.int64), np.array(places, PLACE)

    def leave_out(bad: np.ndarray, reason: str) -> None:
        nonlocal keys, places
        _note(findings, reason, (_name(zip_name, key) for key in keys[bad].tolist()))
        keys, places = keys[~bad], places[~bad]

    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    leave_out(places["flags"] & 1 > 0, "encrypted")
    leave_out((places["method"] != stored) & (places["method"] != deflated), "unknown compression")
    leave_out((places["method"] == stored) & (places["packed"] != places["size"]), "sizes that contradict each other")
    leave_out((places["packed"] == 0) | (places["size"] == 0), "empty")
    large = (places["size"] > MAX_BYTES) | (places["packed"] > 2 * MAX_BYTES)
    leave_out(large | (places["size"] // MAX_RATIO > places["packed"]), "too large when unpacked")
    after = places["offset"].clip(max=end) + places["packed"] + LOCAL_HEADER.size
    leave_out(after > end, "outside the file")
    leave_out(_overlapping(places), "overlapping another member")
    keys, places = keys[::-1], places[::-1]
    again = np.ones(len(keys), bool)
    again[np.unique(keys, return_index=True)[1]] = False
    leave_out(again, "name given twice (the last one counts)")  # it is what unpacking would leave
    order = np.argsort(keys)
    return keys[order], places[order], findings, digest


def _overlapping(places: np.ndarray) -> np.ndarray:
    """Which members share bytes with another one: small zips of gigabytes are made in this way."""
    bad = np.zeros(len(places), bool)
    order = np.argsort(places["offset"], kind="stable")
    begin = places["offset"][order]
    end = np.maximum.accumulate(begin + LOCAL_HEADER.size + places["packed"][order])
    clash = begin[1:] < end[:-1]
    bad[order[1:][clash]] = bad[order[:-1][clash]] = True
    return bad


@dataclass
class Index:
    """Where each quartet's three pictures are."""

    root: Path  # the folder of the zips
    rows: np.ndarray  # (N,) of QUARTET, sorted by key
    sizes: dict[str, tuple[int, int]]  # zip -> width and height of its pictures
    findings: dict[str, Findings]  # zip -> what was left out
    digests: dict[str, str]  # zip -> SHA-256 of its directory: what the data is, wherever it lies

    def quartet(self, row: int) -> tuple[int, int, int]:
        """Room, cat and number, as in the names."""
        key = int(self.rows["key"][row])
        return key >> 32, key >> 16 & 0xFFFF, key & 0xFFFF

    def name(self, zip_name: str, row: int) -> str:
        return _name(zip_name, int(self.rows["key"][row]))

    def read(self, zip_name: str, row: int) -> bytes:
        """The bytes of one picture, at most MAX_BYTES.

        Raises:
            Unreadable: the zip does not hold there what its directory says.
            CourseError: the zip itself cannot be read.
        """
        path = os.path.join(self.root, f"{zip_name}.zip")
        offset, packed, size, crc, method, _ = self.rows[zip_name][row].item()
        try:
            # Opened each time: threads, workers and forks share nothing. (pathlib and io take as long as reading.)
            stream = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                os.lseek(stream, offset, os.SEEK_SET)
                data = os.read(stream, LOCAL_HEADER.size + USUAL_NAME + packed)  # all of the member, as a rule
                if len(data) < LOCAL_HEADER.size:
                    raise Unreadable("cut short")
                signature, flags, local_method, local_crc, name_length, extra = LOCAL_HEADER.unpack_from(data)
                end = LOCAL_HEADER.size + name_length + extra + packed
                if end > len(data):
                    data += os.read(stream, end - len(data))
            finally:
                os.close(stream)
            name = data[LOCAL_HEADER.size : LOCAL_HEADER.size + name_length].decode(errors="replace")
            body = data[end - packed : end]
        except OSError as error:
            why = "check that it is still there; from a mounted drive, copy it to the local disk first"
            raise CourseError(f"{path} could not be read ({error.strerror}): {why}.") from error
        found = _rule(zip_name).fullmatch(name)
        if signature != b"PK\3\4":
            raise Unreadable("no member begins where the directory says")
        if flags & 1 or local_method != method:
            raise Unreadable("its header and the directory disagree about how it is packed")
        if not found or tuple(map(int, found.groups())) != self.quartet(row):
            raise Unreadable("its header has another name than the directory")
        if not flags & 8 and local_crc != crc:  # with bit 3 the header was written before the checksum was known
            raise Unreadable("its header and the directory disagree about its checksum")
        if len(body) < packed:
            raise Unreadable("cut short")
        if method == zipfile.ZIP_DEFLATED:
            body = _inflate(body, size)
        if zlib.crc32(body) != crc:
            raise Unreadable("wrong checksum")
        return body


def _inflate(body: bytes, size: int) -> bytes:
    """Unpack to exactly ``size`` bytes; at most one more is made."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(body, size + 1)
    except zlib.error:
        raise Unreadable("damaged") from None
    if len(data) != size or not unpacker.eof:
        raise Unreadable("it unpacks to another size than the directory says")
    return data


def stamps(root: Path) -> list[list]:
    """Name, bytes and time of the three zips: what is kept about them is kept under these."""
    paths = [root / f"{name}.zip" for name in ZIPS]
    for path in paths:
        if not path.is_file():
            raise CourseError(f"{path} is missing: the archive is bg_fg.zip, mask.zip and depth.zip in one folder.")
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def open_index(root: Path, folder: Path) -> Index:
    """The index kept in ``folder``; made and kept now if there is none, an earlier version's, or a damaged one."""
    path = folder / "index.npz"
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        kept = load_arrays(path)
        facts, rows = json.loads(kept["facts"].tobytes()), kept["rows"]
        facts["sizes"] = {name: tuple(facts["sizes"][name]) for name in ZIPS}
        if rows.dtype == QUARTET:
            return Index(root, rows, **facts)
    print(f"Listing the pictures in {root.name}/: this takes some seconds, once.")
    index = build_index(root)
    facts = {"sizes": index.sizes, "findings": index.findings, "digests": index.digests}
    save_arrays(path, rows=index.rows, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8))
    return index


def build_index(root: Path) -> Index:
    """Read the three directories and keep what all three have."""
    collecting = gc.isenabled()
    gc.disable()  # it would look through a million growing entries again and again, for a quarter of the time
    try:
        listed = {name: _members_of(name, root / f"{name}.zip") for name in ZIPS}
    finally:
        if collecting:
            gc.enable()
    keys, places, findings, digests = ({name: listed[name][i] for name in ZIPS} for i in range(4))
    everything, count = np.unique(np.concatenate(list(keys.values())), return_counts=True)
    for name in ZIPS:
        lacking = np.setdiff1d(everything, keys[name], assume_unique=True).tolist()
        _note(findings[name], "missing, though another zip has its part", (_name(name, key) for key in lacking))
    common = everything[count == len(ZIPS)]
    if not len(common):
        counts = ", ".join(f"{len(keys[name]):,} in {name}.zip" for name in ZIPS)
        rule = f"{counts} follow the naming rule such as bgfg_b001_f001_0.jpg"
        advice = "check that they belong together, or download them again"
        raise CourseError(f"The zips in {root} have no quartet in common ({rule}): {advice}.")
    rows = np.empty(len(common), QUARTET)
    rows["key"] = common
    for name in ZIPS:
        rows[name] = places[name][np.searchsorted(keys[name], common)]
    index = Index(root, rows, {}, findings, digests)
    index.sizes = {name: _usual_size(index, name) for name in ZIPS}
    return index


def _usual_size(index: Index, name: str) -> tuple[int, int]:
    """Width and height that most of a few pictures, evenly chosen, have; others are refused when they are met."""
    seen = Counter()
    for row in np.unique(np.linspace(0, len(index.rows) - 1, 25).astype(int)):
        with suppress(Unreadable):
            seen[jpeg_size(index.read(name, row))] += 1
    if not seen:
        raise CourseError(f"None of {name}.zip's pictures can be read: delete it and download it again.")
    size = seen.most_common(1)[0][0]
    if not 8 <= min(size) <= max(size) <= MAX_SIZE:
        raise CourseError(f"{name}.zip has pictures of {size[0]} x {size[1]} px; the archive's have 192 x 192.")
    return size
