"""A zip as a table: the directory of 400,000 members in a second, members read one by one, nothing ever unpacked.

Python's ``zipfile`` makes an object of a kilobyte for each member; here the directory is read in blocks and becomes
a NumPy array of 29 bytes for each. Only members whose name follows the archive's rule, ``PREFIX_bNNN_fNNN_i.jpg`` in
any folder, get into it. Zips come from elsewhere, so nothing in them is believed: names are never used as paths,
sizes are bounded before anything is read, and a member counts only if its own header and checksum agree with the
directory. What is refused is counted under the reason, with a few names.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from helpers.config import CourseError

MAX_MEMBERS = 4_000_000  # ten times the published archive
MAX_BYTES = 2_000_000  # of one member, unpacked: a JPEG of 192 px has 10,000
MAX_RATIO = 100  # unpacked to packed; a JPEG hardly shrinks, even an all-black one by less than ten
EXAMPLES = 5  # names kept for each kind of finding
BLOCK = 2**20  # bytes of directory in memory at once
NAME = 128  # bytes: longer paths are none of the archive's
STORED, DEFLATED = 0, 8

MEMBER = np.dtype(
    [
        ("room", "<i2"), ("cat", "<i2"), ("number", "<i2"),  # the three numbers of the name
        ("offset", "<i8"),  # of the member's own header in the file
        ("packed", "<i4"), ("size", "<i4"),  # bytes in the file, and unpacked
        ("crc", "<u4"), ("method", "<u1"),
    ]
)  # fmt: skip

_HEAD = np.dtype(
    [
        ("signature", "<u4"), ("made", "<u2"), ("needs", "<u2"), ("flags", "<u2"), ("method", "<u2"), ("time", "<u4"),
        ("crc", "<u4"), ("packed", "<u4"), ("size", "<u4"), ("name", "<u2"), ("extra", "<u2"), ("comment", "<u2"),
        ("disk", "<u2"), ("inside", "<u2"), ("outside", "<u4"), ("offset", "<u4"),
    ]
)  # fmt: skip
_LOCAL = struct.Struct("<4s5H3L2H")
_SATURATED = 0xFFFFFFFF  # the true value is in the extra field (zip64)

Findings = dict[str, dict]  # reason -> {"count": int, "examples": [names]}


class BadMember(Exception):
    """This member cannot be used; the message says why. The others are not affected."""


def note(findings: Findings, reason: str, names: Iterable[str], count: int) -> None:
    """Add ``count`` members to a reason, and the first few of their names."""
    if count:
        entry = findings.setdefault(reason, {"count": 0, "examples": []})
        entry["count"] += int(count)
        for name in names:
            if len(entry["examples"]) >= EXAMPLES:
                break
            entry["examples"].append(name)


def member_name(prefix: str, room: int, cat: int, number: int) -> str:
    """What a member is called in the published archive."""
    return f"{prefix}_b{room:03d}_f{cat:03d}_{number}.jpg"


def order_of(members: np.ndarray) -> np.ndarray:
    """One integer for each member that sorts by room, cat, number and is unique to the three."""
    return (members["room"].astype(np.int64) << 32) | (members["cat"].astype(np.int64) << 16) | members["number"]


# -- the directory ----------------------------------------------------------------------------------------------------


def read_directory(path: str | Path, prefix: str) -> tuple[np.ndarray, Findings]:
    """The members of a zip that follow the naming rule, (N,) of MEMBER sorted by room, cat, number; and what does not.

    Raises:
        CourseError: no zip, cut short, in several parts, damaged in its directory, or beyond MAX_MEMBERS.
    """
    path, findings, parts = Path(path), {}, []
    try:
        with open(path, "rb") as stream:
            start, size, count = _find_directory(stream, path)
            for data, positions in _blocks(stream, path, start, size, count):
                parts.append(_accept(data, positions, prefix, start, path, findings))
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}): check that it is there and complete.") from error
    members = np.concatenate([np.empty(0, MEMBER), *parts])
    members = _without(members, _overlapping(members), "overlapping another member", prefix, findings)
    order = np.argsort(order_of(members), kind="stable")
    members = members[order]
    keys = order_of(members)
    # The last one of a name is what unpacking would leave.
    again = np.append(keys[1:] == keys[:-1], False) if len(keys) else np.zeros(0, bool)
    return _without(members, again, "name given twice (the last one counts)", prefix, findings), findings


def directory_digest(path: str | Path) -> str:
    """SHA-256 of a zip's directory, which has every member's name, place, size and checksum: a copy has the same."""
    with open(path, "rb") as stream:
        start, size, _ = _find_directory(stream, Path(path))
        stream.seek(start)
        digest = hashlib.sha256()
        while block := stream.read(min(BLOCK, start + size - stream.tell())):
            digest.update(block)
    return digest.hexdigest()


def count_members(path: str | Path) -> int:
    """How many members a zip announces; CourseError if it is none."""
    with open(path, "rb") as stream:
        return _find_directory(stream, Path(path))[2]


def _without(members: np.ndarray, bad: np.ndarray, reason: str, prefix: str, findings: Findings) -> np.ndarray:
    names = (member_name(prefix, *member.tolist()[:3]) for member in members[bad][:EXAMPLES])
    note(findings, reason, names, bad.sum())
    return members[~bad]


def _find_directory(stream: BinaryIO, path: Path) -> tuple[int, int, int]:
    """Start, bytes and number of members of the directory, from the record at the end of the file."""
    damaged = CourseError(f"{path} is cut short, damaged or no zip: delete it and download it again.")
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(end - 22 - 65535 - 20, 0))  # end record, longest comment, zip64 locator
    tail_at, tail = stream.tell(), stream.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        raise damaged
    disk, first_disk, here, count, size, start = struct.unpack_from("<4H2L", tail, at + 4)
    limit = tail_at + at
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7":  # more than 4 GB or 65,535 members: zip64
        (limit,) = struct.unpack_from("<Q", tail, at - 12)
        if limit > end:
            raise damaged
        stream.seek(limit)
        record = stream.read(56)
        if len(record) < 56 or record[:4] != b"PK\6\6":
            raise damaged
        disk, first_disk, here, count, size, start = struct.unpack_from("<2L4Q", record, 16)
    if disk or first_disk or here != count:
        raise CourseError(f"{path} is one part of several: join them, or download the whole zip again.")
    if start + size != limit or size < 46 * count:
        raise damaged
    if count > MAX_MEMBERS or size > 300 * MAX_MEMBERS:
        raise CourseError(f"{path} has {count:,} members, over {MAX_MEMBERS:,} are refused: this is not the archive.")
    return start, size, count


def _blocks(stream: BinaryIO, path: Path, start: int, size: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The directory in pieces: bytes, and where in them each record begins."""
    stream.seek(start)
    rest, left, found = b"", size, 0
    while left or rest:
        block = stream.read(min(BLOCK, left))
        left -= len(block)
        data = bytes(NAME) + rest + block  # room in front, so that the last NAME bytes of any name can be taken
        at, positions = NAME, []
        while at + 46 <= len(data):
            name, extra, comment = struct.unpack_from("<3H", data, at + 28)
            after = at + 46 + name + extra + comment
            if after > len(data):
                break
            positions.append(at)
            at = after
        rest = data[at:]
        if not positions:  # the longest record is far shorter than a block
            raise CourseError(f"{path} has a damaged directory: delete it and download it again.")
        found += len(positions)
        yield np.frombuffer(data, np.uint8), np.array(positions)
    if found != count:
        raise CourseError(f"{path} announces {count:,} members and lists {found:,}: delete it and download it again.")


def _accept(
    data: np.ndarray, positions: np.ndarray, prefix: str, limit: int, path: Path, findings: Findings
) -> np.ndarray:
    """Members of one block that may be read; the others are noted. ``limit``: where the directory begins."""
    head = np.ascontiguousarray(sliding_window_view(data, _HEAD.itemsize)[positions]).view(_HEAD)[:, 0]
    if (head["signature"] != 0x02014B50).any():
        raise CourseError(f"{path} has a damaged directory: delete it and download it again.")
    packed, size, offset = (head[name].astype(np.int64) for name in ("packed", "size", "offset"))
    for row in np.flatnonzero((packed == _SATURATED) | (size == _SATURATED) | (offset == _SATURATED)):
        begin = positions[row] + 46 + int(head["name"][row])
        extra = data[begin : begin + int(head["extra"][row])].tobytes()
        size[row], packed[row], offset[row] = _zip64(extra, int(size[row]), int(packed[row]), int(offset[row]))

    lengths = head["name"].astype(np.int64)
    names = sliding_window_view(data, NAME)[positions + 46 + lengths - NAME]  # (N, NAME), each name at the right end
    names = np.where(np.arange(NAME) < NAME - lengths[:, None], ord("/"), names)
    names[names == ord("\\")] = ord("/")
    numbers = parse_names(names, prefix)
    first = np.where(data[positions + 46] == ord("\\"), ord("/"), data[positions + 46])
    dots = ((names[:, 1:] == ord(".")) & (names[:, :-1] == ord("."))).any(1)
    unsafe = (lengths > 0) & ((first == ord("/")) | dots | ((names == 0) | (names == ord(":"))).any(1))

    accepted = np.ones(len(head), bool)

    def refuse(which: np.ndarray, reason: str | None) -> None:
        which = which & accepted
        accepted[which] = False
        if reason and which.any():
            rows = np.flatnonzero(which)
            note(findings, reason, (_shown(data, positions[i], int(lengths[i])) for i in rows[:EXAMPLES]), len(rows))

    refuse((names[:, -1] == ord("/")) & ~unsafe & (size == 0), None)  # a folder
    refuse(unsafe, "name that points outside")
    refuse((numbers[:, 0] < 0) | (lengths > NAME), "name outside the rule")
    refuse((head["flags"] & 1) > 0, "encrypted")
    refuse(~np.isin(head["method"], [STORED, DEFLATED]), "unknown compression")
    refuse((head["method"] == STORED) & (packed != size), "sizes that contradict each other")
    refuse((size <= 0) | (packed <= 0), "empty")
    refuse((size > MAX_BYTES) | (packed > 2 * MAX_BYTES) | (size > MAX_RATIO * packed), "too large when unpacked")
    refuse((offset < 0) | (offset + 30 + packed > limit), "outside the file")

    members = np.empty(int(accepted.sum()), MEMBER)
    for i, name in enumerate(("room", "cat", "number")):
        members[name] = numbers[accepted, i]
    for name, value in (("offset", offset), ("packed", packed), ("size", size)):
        members[name] = value[accepted]
    members["crc"], members["method"] = head["crc"][accepted], head["method"][accepted]
    return members


def _zip64(extra: bytes, *values: int) -> list[int]:
    """Unpacked size, packed size and offset: those that are saturated come, in this order, from the extra field."""
    at, field = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            break
        at += 4 + length
    result = []
    for value in values:
        if value == _SATURATED:
            value = int.from_bytes(field[:8], "little") if len(field) >= 8 else -1  # -1: refused as empty or outside
            value, field = min(value, 2**62), field[8:]
        result.append(value)
    return result


def parse_names(names: np.ndarray, prefix: str) -> np.ndarray:
    """Room, cat and number of names (N, W) uint8 that end at the right, after ``/``: (N, 3), -1 where the rule is broken.

    Each number has one to four digits. One comparison with a pattern settles all names with the same numbers of
    digits, and three, three and one or two are nearly all: the other patterns see what is left.
    """
    numbers = np.full((len(names), 3), -1, np.int16)
    left = np.arange(len(names))
    for digits in sorted(product((1, 2, 3, 4), repeat=3), key=lambda d: (d[:2] != (3, 3), d)):
        if not len(left):
            break
        room, cat, number = ("0" * n for n in digits)
        pattern = np.frombuffer(f"/{prefix}_b{room}_f{cat}_{number}.jpg".encode(), np.uint8)
        tails = names[left, -len(pattern) :]
        variable = pattern == ord("0")
        values = tails[:, variable] - np.uint8(ord("0"))  # below 10 for digits alone: others wrap around
        fits = (tails[:, ~variable] == pattern[~variable]).all(1) & (values < 10).all(1)
        begin = 0
        for i, n in enumerate(digits):
            numbers[left[fits], i] = values[fits, begin : begin + n].astype(np.int16) @ (10 ** np.arange(n)[::-1])
            begin += n
        left = left[~fits]
    return numbers


def _shown(data: np.ndarray, position: int, length: int) -> str:
    """A name as messages show it: short, and without anything that a terminal would obey."""
    name = data[position + 46 : position + 46 + min(length, 80)].tobytes().decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in name)


def _overlapping(members: np.ndarray) -> np.ndarray:
    """Which members share bytes with another one: small zips of gigabytes are made in this way."""
    bad = np.zeros(len(members), bool)
    order = np.argsort(members["offset"], kind="stable")
    begin = members["offset"][order]
    end = np.maximum.accumulate(begin + 30 + members["packed"][order])
    clash = begin[1:] < end[:-1]
    bad[order[1:][clash]] = bad[order[:-1][clash]] = True
    return bad


# -- the members ------------------------------------------------------------------------------------------------------


class ZipReader:
    """Reads members that :func:`read_directory` has listed. Every process opens the file for itself."""

    def __init__(self, path: str | Path, prefix: str):
        self.path, self.prefix = Path(path), prefix
        self._rule = re.compile(rb"(?:\A|[/\\])" + prefix.encode() + rb"_b(\d{1,4})_f(\d{1,4})_(\d{1,4})\.jpg\Z")
        self._file: BinaryIO | None = None
        self._open_in: int | None = None  # the process whose handle this is
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the file; the next reading opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = self._open_in = None

    __del__ = close

    def __getstate__(self) -> dict:  # neither a handle nor a lock can travel to another process
        return {"path": self.path, "prefix": self.prefix}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)

    def read(self, member: tuple) -> bytes:
        """The unpacked bytes of one row of MEMBER (its ``item()``), at most MAX_BYTES.

        Raises:
            BadMember: the file does not hold there what the directory says.
            CourseError: the file itself cannot be read.
        """
        room, cat, number, offset, packed, size, crc, method = member
        data = self._at(offset, _LOCAL.size + NAME + 64 + packed)  # header, name and usual extras come along
        if len(data) < _LOCAL.size:
            raise BadMember("cut short")
        signature, _, flags, local_method, _, _, local_crc, _, _, name, extra = _LOCAL.unpack_from(data)
        if signature != b"PK\3\4":
            raise BadMember("no member begins where the directory says")
        if flags & 1 or local_method != method:
            raise BadMember("its header and the directory disagree about how it is packed")
        match = self._rule.search(data[_LOCAL.size : _LOCAL.size + name])
        if not match or tuple(map(int, match.groups())) != (room, cat, number):
            raise BadMember("its header has another name than the directory")
        if not flags & 8 and local_crc != crc:  # with bit 3 the header was written before the checksum was known
            raise BadMember("its header and the directory disagree about its checksum")
        begin = _LOCAL.size + name + extra
        body = data[begin : begin + packed]
        if len(body) < packed:
            body = self._at(offset + begin, packed)
        if len(body) < packed:
            raise BadMember("cut short")
        if method == DEFLATED:
            body = _inflate(body, size)
        if zlib.crc32(body) != crc:
            raise BadMember("wrong checksum")
        return body

    def _at(self, offset: int, count: int) -> bytes:
        try:
            if self._open_in != os.getpid():
                self.close()  # in a forked process: the copy of its parent's handle
                self._file = open(self.path, "rb", buffering=0)
                self._open_in = os.getpid()
            if hasattr(os, "pread"):
                return os.pread(self._file.fileno(), count, offset)
            with self._lock:  # Windows
                self._file.seek(offset)
                return self._file.read(count)
        except OSError as error:
            raise CourseError(
                f"{self.path} could not be read ({error.strerror}): check that it is still there; "
                "from a mounted drive, copy it to the local disk first."
            ) from error


def _inflate(body: bytes, size: int) -> bytes:
    """Unpack to exactly ``size`` bytes; never more are made."""
    unpacker = zlib.decompressobj(-15)
    try:
        data = unpacker.decompress(body, size)
        if len(data) == size and not unpacker.eof:  # a stream may end just after its last byte
            data += unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error:
        raise BadMember("damaged") from None
    if len(data) != size or not unpacker.eof:
        raise BadMember("it unpacks to another size than the directory says")
    return data
