"""Files that are trusted only after they have been found whole.

A :class:`Vault` is a folder of zip files. What arrives waits in its ``incoming/`` until it has been checked; only then
it gets its name, and ``archive.json`` notes size, checksum and time, so that later a glance is enough. A file under
its final name that is not in the record, or has changed since, is checked again or removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from pathlib import Path

from tqdm import tqdm

from helpers.archive.transfer import parts
from helpers.utils import bar, whole_file

RECORD = "archive.json"
BLOCK = 4 << 20  # bytes that are read at once


class Refused(Exception):
    """A file is not what it should be; the message says in what."""


class Vault:
    """Which of ``names`` are in ``folder`` and trusted, and how a new one becomes so.

    Args:
        folder: made when something arrives.
        names: of the zips that belong into it.
        expected: what is known about them beforehand: ``{name: {"size": bytes, "sha256": "..."}}``, each optional.
        verify: read each file once more, instead of trusting its size and time of change.
        progress: show progress bars.
    """

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...],
        expected: dict[str, dict],
        verify: bool = False,
        progress: bool = True,
    ):
        self.folder, self.names, self.expected, self.progress = folder.resolve(), names, expected, progress
        self.incoming = self.folder / "incoming"
        self._verify = set(names) if verify else set()

    def missing(self) -> list[str]:
        """Names of the zips that are not here, or not to be trusted (these are removed)."""
        return [name for name in self.names if not self.has(name)]

    def has(self, name: str) -> bool:
        """Is ``name`` here and what it was when it was verified?"""
        path = self.folder / name
        if not path.is_file():
            return False
        known = read_record(self.folder).get(name)
        stat = path.stat()
        same = known and (known["size"], known["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
        try:
            if not same or name in self._verify:
                self._note(name, self._check(path, {**(known or {}), **self.expected.get(name, {})}))
            else:
                compare(name, known, self.expected.get(name, {}))
        except Refused as refused:
            print(f"{refused}: it is removed and fetched anew.")
            path.unlink()
            return False
        return True

    def accept(self, name: str) -> None:
        """Give ``incoming/name`` its final place, if it is what it should be; else remove it and raise Refused."""
        path = self.incoming / name
        try:
            sha256 = self._check(path, self.expected.get(name, {}))
        except Refused:
            path.unlink()
            raise
        with open(path, "rb+") as stream:
            os.fsync(stream.fileno())  # the name must not reach the disk before the bytes do
        path.replace(self.folder / name)
        self._note(name, sha256)
        for part in parts(path):
            part.unlink()

    def settle(self, name: str) -> bool:
        """Accept a download that was whole when its process was killed; remove all that cannot be resumed."""
        path = self.incoming / name
        for i, part in enumerate(parts(path)):
            if not path.exists() and is_zip(part):
                part.replace(path)
            elif i:
                part.unlink()
        if path.exists():
            try:
                self.accept(name)
            except Refused:
                return False
        return self.has(name)

    def _check(self, path: Path, wanted: dict) -> str:
        """The sha256 of ``path``, which is a zip and as wanted; else Refused."""
        check_zip(path)
        found = {"size": path.stat().st_size}
        compare(path.name, found, {"size": wanted.get("size", found["size"])})  # before 6 GB are read
        found["sha256"] = checksum(path, self.progress)
        compare(path.name, found, wanted)
        return found["sha256"]

    def _note(self, name: str, sha256: str) -> None:
        stat = (self.folder / name).stat()
        entry = {
            "size": stat.st_size,
            "sha256": sha256,
            "mtime_ns": stat.st_mtime_ns,
            "verified": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        record = {**read_record(self.folder), name: entry}
        with whole_file(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=1))
        self._verify.discard(name)


def read_record(folder: Path) -> dict[str, dict]:
    """What ``archive.json`` in ``folder`` says about its files; entries that say nothing useful are left out."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    keys = {"size": int, "sha256": str, "mtime_ns": int}
    return {
        name: entry
        for name, entry in record.items()
        if isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in keys.items())
    }


def compare(name: str, found: dict, wanted: dict) -> None:
    """Raise Refused where ``size`` or ``sha256`` of ``found`` is not the wanted one."""
    for key, unit in (("size", " bytes"), ("sha256", "")):
        if key in wanted and found[key] != wanted[key]:
            raise Refused(f"{name} has the wrong {key}, {found[key]}{unit} instead of {wanted[key]}{unit}")


def checksum(path: Path, progress: bool) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream, bytes_bar(path.stat().st_size, f"checking {path.name}", progress) as counter:
        while block := stream.read(BLOCK):
            digest.update(block)
            counter.update(len(block))
    return digest.hexdigest()


def bytes_bar(total: int | None, description: str, show: bool, done: int = 0) -> tqdm:
    """A progress bar that counts bytes, from ``done`` on."""
    counter = bar(total, description, "B", show=show)
    counter.unit_scale = True
    counter.initial = counter.n = done
    return counter


def in_bytes(count: int) -> str:
    """1_234_567 as ``1.2 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def check_zip(path: Path) -> None:
    """Raise Refused unless ``path`` is one whole zip file that holds something.

    A zip ends with its table of contents, which says where it begins: bytes that are missing, doubled or added
    anywhere move it. Reads less than 70 kB, whatever the file is.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        head = stream.read(1000).lower()
        if not head.startswith(b"pk\3\4"):
            what = "a web page" if b"<html" in head or b"<!doctype" in head else "something else" if head else "empty"
            raise Refused(f"{path.name} is not a zip file with pictures but {what}")
        stream.seek(-min(size, 20 + 22 + 65_535), os.SEEK_END)
        tail = stream.read()
        at = tail.rfind(b"PK\5\6", 0, len(tail) - 18)  # the end record of 22 bytes; only a comment can follow
        while at >= 0 and int.from_bytes(tail[at + 20 : at + 22], "little") != len(tail) - at - 22:
            at = tail.rfind(b"PK\5\6", 0, at)
        if at < 0:
            raise Refused(f"{path.name} is cut off: it ends, after {in_bytes(size)}, without its table of contents")
        count, table_size, table = struct.unpack("<HLL", tail[at + 10 : at + 20])
        table_end, fits = size - len(tail) + at, True
        locator = tail[max(at - 20, 0) : at]
        if locator.startswith(b"PK\6\7"):  # a second end record, for more than 65,535 files or 4 GB (zip64)
            locator_at, table_end = table_end - 20, int.from_bytes(locator[8:16], "little")
            stream.seek(min(table_end, size))
            record = stream.read(56).ljust(56)
            fits = record.startswith(b"PK\6\6")
            fits &= table_end + 12 + int.from_bytes(record[4:12], "little") == locator_at
            count, table_size, table = struct.unpack("<QQQ", record[32:])
        stream.seek(min(table, size))
        fits &= stream.read(4) == b"PK\1\2" and table + table_size == table_end and 1 <= count <= table_size // 46
        if not fits:
            raise Refused(f"{path.name} is damaged: its table of contents is not where its end says")


def is_zip(path: Path) -> bool:
    """Does :func:`check_zip` accept it?"""
    try:
        check_zip(path)
    except Refused:
        return False
    return True
