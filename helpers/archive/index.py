"""Where every picture of the archive is: the directories of the three zips, compared once and kept on the disk."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.archive.images import jpeg_side
from helpers.archive.zips import (
    MEMBER,
    BadMember,
    Findings,
    ZipReader,
    directory_digest,
    member_name,
    note,
    order_of,
    read_directory,
)  # fmt: skip
from helpers.config import CourseError
from helpers.utils import whole_file

ZIPS = {"bg_fg": "bgfg", "mask": "mask", "depth": "densedepth"}  # name of the zip: prefix of its members
PLACE = MEMBER.names[3:]  # what of a member is not in its name
MAX_SIDE = 2048  # pixels; the archive has 192


@dataclass
class Index:
    """Where each quartet's three pictures are: arrays of N rows, sorted by room, cat and number."""

    rooms: np.ndarray  # (N,) int16
    cats: np.ndarray  # (N,) int16
    numbers: np.ndarray  # (N,) int16
    places: dict[str, np.ndarray]  # zip -> (N,) of offset, sizes, checksum, method
    sides: dict[str, tuple[int, int]]  # zip -> width and height of its pictures
    findings: dict[str, Findings]  # zip -> what was left out
    digests: dict[str, str]  # zip -> SHA-256 of its directory: what the data is, wherever it lies

    def member(self, zip_name: str, row: int) -> tuple:
        """As :meth:`helpers.archive.zips.ZipReader.read` wants it."""
        return (
            self.rooms[row].item(),
            self.cats[row].item(),
            self.numbers[row].item(),
            *self.places[zip_name][row].item(),
        )

    def name(self, zip_name: str, row: int) -> str:
        return member_name(ZIPS[zip_name], int(self.rooms[row]), int(self.cats[row]), int(self.numbers[row]))

    def without(self, quartets: set[tuple[int, int, int]]) -> Index:
        """The same without these (room, cat, number)."""
        if not quartets:
            return self
        rows = np.array(sorted(quartets), dtype=np.int64)
        bad = (rows[:, 0] << 32) | (rows[:, 1] << 16) | rows[:, 2]
        keep = ~np.isin((self.rooms.astype(np.int64) << 32) | (self.cats.astype(np.int64) << 16) | self.numbers, bad)
        return replace(
            self,
            rooms=self.rooms[keep],
            cats=self.cats[keep],
            numbers=self.numbers[keep],
            places={name: place[keep] for name, place in self.places.items()},
        )


def stamps(root: Path) -> list[list]:
    """Name, bytes and time of the three zips: what is kept about these very files is kept under them."""
    result = []
    for name in ZIPS:
        try:
            stat = (root / f"{name}.zip").stat()
        except OSError:
            raise CourseError(
                f"{root / name}.zip is missing: the archive is bg_fg.zip, mask.zip and depth.zip in one folder."
            ) from None
        result.append([f"{name}.zip", stat.st_size, stat.st_mtime_ns])
    return result


def open_index(root: Path, store: Path) -> Index:
    """The index that ``store`` keeps; made and kept now if there is none, or if it is damaged."""
    path = store / "index.npz"
    try:
        return _load_index(path)
    except (OSError, ValueError, KeyError, EOFError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error):
        index = build_index(root)
    with whole_file(path) as temporary:
        facts = {"sides": index.sides, "findings": index.findings, "digests": index.digests}
        np.savez(
            temporary, rooms=index.rooms, cats=index.cats, numbers=index.numbers,
            facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **index.places,
        )  # fmt: skip
    return index


def _load_index(path: Path) -> Index:
    with np.load(path, allow_pickle=False) as stored:  # each array has a checksum of its own
        facts = json.loads(stored["facts"].tobytes())
        sides = {name: (int(width), int(height)) for name, (width, height) in facts["sides"].items()}
        places = {name: stored[name] for name in ZIPS}
        digests = {name: str(facts["digests"][name]) for name in ZIPS}
        index = Index(stored["rooms"], stored["cats"], stored["numbers"], places, sides, facts["findings"], digests)
    lengths = {len(a) for a in (index.rooms, index.cats, index.numbers, *places.values())}
    if len(lengths) != 1 or set(sides) != set(ZIPS) or any(place.dtype.names != PLACE for place in places.values()):
        raise ValueError(f"{path} is damaged")
    return index


def build_index(root: Path) -> Index:
    """Read the three directories and keep what all three have."""
    members, findings, keys = {}, {}, {}
    for name, prefix in ZIPS.items():
        members[name], findings[name] = read_directory(root / f"{name}.zip", prefix)
        keys[name] = order_of(members[name])
    everything = np.sort(np.concatenate(list(keys.values())))
    everything = everything[np.append(True, everything[1:] != everything[:-1])[: len(everything)]]
    common = np.ones(len(everything), bool)
    for name, prefix in ZIPS.items():
        has = _in_sorted(everything, keys[name])
        lacking = everything[~has]
        names = (member_name(prefix, int(k) >> 32, int(k) >> 16 & 0xFFFF, int(k) & 0xFFFF) for k in lacking[:5])
        note(findings[name], "missing, though another zip has its part", names, len(lacking))
        common &= has
    common = everything[common]
    if not len(common):
        counts = ", ".join(f"{len(members[name]):,} in {name}.zip" for name in ZIPS)
        raise CourseError(
            f"The zips in {root} have no quartet in common ({counts} follow the naming rule such as "
            "bgfg_b001_f001_0.jpg): check that they belong together, or download them again."
        )
    rows = {name: members[name][np.searchsorted(keys[name], common)] for name in ZIPS}
    first = rows["bg_fg"]
    places = {name: _copy_fields(rows[name], PLACE) for name in ZIPS}
    digests = {name: directory_digest(root / f"{name}.zip") for name in ZIPS}
    index = Index(first["room"].copy(), first["cat"].copy(), first["number"].copy(), places, {}, findings, digests)
    index.sides = {name: _usual_side(index, root, name) for name in ZIPS}
    return index


def _in_sorted(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Which values are among the sorted keys, in little memory."""
    if not len(keys):
        return np.zeros(len(values), bool)
    return keys[np.searchsorted(keys, values).clip(max=len(keys) - 1)] == values


def _copy_fields(array: np.ndarray, names: Sequence[str]) -> np.ndarray:
    result = np.empty(len(array), [(name, array.dtype[name]) for name in names])
    for name in names:
        result[name] = array[name]
    return result


def _usual_side(index: Index, root: Path, name: str) -> tuple[int, int]:
    """Width and height that most of a few pictures, evenly chosen, have; others are refused when they are met."""
    reader, seen = ZipReader(root / f"{name}.zip", ZIPS[name]), Counter()
    for row in np.unique(np.linspace(0, len(index.rooms) - 1, 25).astype(int)):
        try:
            seen[jpeg_side(reader.read(index.member(name, row)))] += 1
        except BadMember:
            continue
    if not seen:
        raise CourseError(f"None of {name}.zip's pictures can be read: delete it and download it again.")
    side = seen.most_common(1)[0][0]
    if not 8 <= min(side) <= max(side) <= MAX_SIDE:
        raise CourseError(f"{name}.zip has pictures of {side[0]} x {side[1]} px; the archive's have 192 x 192.")
    return side
