"""Where the published data comes from: a folder of yours, a mounted Google Drive, or a download with gdown.

:func:`fetch_archive` returns a folder with ``bg_fg.zip``, ``mask.zip`` and ``depth.zip``. Whatever arrives is kept in
``incoming/`` until it has been found to be a whole zip file (and, where they are known, to have the right size and
checksum); only then does it get its name. So a file with its final name can be trusted, a download that was cut or
killed goes on where it stopped, and whatever goes wrong ends in one message that names the ways that remain.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import struct
import time
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from helpers.config import ROOT, CourseError, cache_dir
from helpers.files import whole_file, whole_folder
from helpers.progress import bar
from helpers.transfer import Gdown, TransferError, fetched_bytes, parts

FOLDER = "1ACsG-epUmRCJ0zaKIAGGc5DzeG3SSY65"  # the published project's public folder on Google Drive
FOLDER_ADDRESS = f"https://drive.google.com/drive/folders/{FOLDER}"
NAMES = ("bg_fg.zip", "mask.zip", "depth.zip")
ROUGH_BYTES = {"bg_fg.zip": 6_000_000_000, "mask.zip": 900_000_000, "depth.zip": 1_000_000_000}  # as published, rounded
MOUNT = Path("/content/drive")  # where Colab's notebooks mount a Google Drive
MOUNTED_NAME = "course-archive"
RECORD = "archive.json"
ATTEMPTS = 5  # at one file, as long as each brings something new
BLOCK = 4 << 20
PICTURE = re.compile(r"[\w() -][\w.() -]{0,100}\.(jpe?g|png)", re.IGNORECASE)
LISTED_BY_GDOWN_5 = 50  # files in one folder; it never sees the others

WAYS = (
    "What remains: try again later (what has arrived is kept, and the download goes on from there); on Colab, add a "
    f"shortcut to {FOLDER_ADDRESS} to your own Drive, or put the three zips into its folder {MOUNTED_NAME}, and mount "
    f"it at {MOUNT}; set COURSE_ARCHIVE to a folder that holds {', '.join(NAMES)}; or go on with COURSE_DATA=rooms."
)


class Refused(Exception):
    """A file is not what it should be; the message says in what."""


def fetch_archive(
    folder: str | Path | None = None,
    *,
    expected: dict[str, dict] | None = None,
    verify: bool = False,
    network: dict | None = None,
    patience: float = 60,
    progress: bool = True,
) -> Path:
    """The folder of the published data; fetched if it is not on this machine yet.

    Tried in this order: the folder that ``$COURSE_ARCHIVE`` names, used where it is; what an earlier call has fetched;
    a mounted Google Drive, copied from (reading single pictures through the mount would keep training waiting);
    a download from the public folder.

    Args:
        folder: where fetched files are kept; default ``archive`` in :func:`helpers.config.cache_dir`.
        expected: what is known about the files, in the form of ``archive.json``, which each fetched folder holds:
            ``{"mask.zip": {"size": bytes, "sha256": "..."}}``. What is not given is not compared.
        verify: read the files again and compare their checksums with those noted when they were fetched, instead of
            trusting size and time of change. A file that differs is fetched anew.
        network: handed on to gdown, for example ``{"proxy": "http://...", "verify": "certificates.pem"}``.
        patience: seconds without a new byte after which a connection counts as dead.
        progress: show progress bars.

    Returns:
        A folder with the three zips, and with the backgrounds (``bg.zip`` or ``bg/``) where they were to be had.

    Raises:
        CourseError: none of the ways works; the message gives the cause and the ways that remain.
    """
    expected = expected or {}
    if os.environ.get("COURSE_ARCHIVE"):
        return _local_folder(os.environ["COURSE_ARCHIVE"], expected, verify, progress)
    target = _Target(Path(folder or cache_dir() / "archive"), expected, verify, progress)
    try:
        if target.missing():
            target.incoming.mkdir(parents=True, exist_ok=True)
            note = _copy_from_mount(target)
            if target.missing():
                _download(target, note, network, patience)
    except OSError as error:
        raise _failure(_cause_of_os_error(error, target.folder)) from error
    return target.folder


def _failure(cause: str) -> CourseError:
    return CourseError(f"The published data cannot be had: {cause}. {WAYS}")


def _cause_of_os_error(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full; free some space, or set COURSE_CACHE to a folder on a larger disk"
    return f"{error.filename or folder} cannot be read or written ({error.strerror or error})"


# -- what is on this machine --------------------------------------------------------------------------------------


class _Target:
    """The folder that is filled: which files are there and trusted, and how a new one becomes so."""

    def __init__(self, folder: Path, expected: dict[str, dict], verify: bool, progress: bool):
        self.folder, self.expected, self.progress = folder.resolve(), expected, progress
        self.incoming = self.folder / "incoming"
        self._verify = verify  # until each file has been read once
        self._read: set[str] = set()  # names of those files

    def missing(self) -> list[str]:
        """Names of the zips that are not here, or not to be trusted (these are removed)."""
        return [name for name in NAMES if not self.has(name)]

    def has(self, name: str) -> bool:
        """Is ``name`` here and what it was when it was verified?"""
        path = self.folder / name
        if not path.is_file():
            return False
        known = read_record(self.folder).get(name)
        stat = path.stat()
        same = known and (known["size"], known["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
        try:
            if not same or (self._verify and name not in self._read):
                self._note(name, self._check(path, {**(known or {}), **self.expected.get(name, {})}))
            else:
                _compare(name, known, self.expected.get(name, {}))
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

    def settle(self, name: str) -> bool:
        """Accept a download that was whole when its process was killed; remove all that cannot be resumed."""
        path = self.incoming / name
        for i, part in enumerate(parts(path)):
            if not path.exists() and _is_zip(part):
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
        _compare(path.name, found, {"size": wanted.get("size", found["size"])})  # before 6 GB are read
        found["sha256"] = _sha256(path, self.progress)
        _compare(path.name, found, wanted)
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
        self._read.add(name)

    def check_space(self, names: list[str]) -> None:
        """CourseError if the disk cannot hold what is still to come."""
        sizes = [self.expected.get(name, {}).get("size", ROUGH_BYTES[name]) for name in names]
        here = [fetched_bytes(self.incoming / name) for name in names]
        need, free = sum(max(size - got, 0) for size, got in zip(sizes, here)), shutil.disk_usage(self.folder).free
        if free < need:
            raise _failure(
                f"{' and '.join(names)} need {_size(need)} more and the disk of {self.folder} has "
                f"{_size(free)} free; free some space, or set COURSE_CACHE to a folder on a larger disk"
            )


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


def _compare(name: str, found: dict, wanted: dict) -> None:
    for key, unit in (("size", " bytes"), ("sha256", "")):
        if key in wanted and found[key] != wanted[key]:
            raise Refused(f"{name} has the wrong {key}, {found[key]}{unit} instead of {wanted[key]}{unit}")


def _sha256(path: Path, progress: bool) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream, _bytes_bar(path.stat().st_size, f"checking {path.name}", progress) as counter:
        while block := stream.read(BLOCK):
            digest.update(block)
            counter.update(len(block))
    return digest.hexdigest()


def _bytes_bar(total: int | None, description: str, show: bool, done: int = 0) -> tqdm:
    counter = bar(total, description, "B", show=show)
    counter.unit_scale = True
    counter.initial = counter.n = done
    return counter


def _size(count: int) -> str:
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
        stream.seek(-min(size, 22 + 65_535), os.SEEK_END)
        tail = stream.read()
        at = tail.rfind(b"PK\5\6", 0, len(tail) - 18)  # the end record of 22 bytes; only a comment can follow
        while at >= 0 and int.from_bytes(tail[at + 20 : at + 22], "little") != len(tail) - at - 22:
            at = tail.rfind(b"PK\5\6", 0, at)
        if at < 0:
            raise Refused(f"{path.name} is cut off: it ends, after {_size(size)}, without its table of contents")
        count, table_size, table = struct.unpack("<HLL", tail[at + 10 : at + 20])
        table_end = size - len(tail) + at
        locator = tail[max(at - 20, 0) : at]
        if locator.startswith(b"PK\6\7"):  # a second end record, for more than 65,535 files or 4 GB (zip64)
            table_end = int.from_bytes(locator[8:16], "little")
            stream.seek(min(table_end, size))
            record = stream.read(56)
            if len(record) == 56 and record.startswith(b"PK\6\6"):
                count, table_size, table = struct.unpack("<QQQ", record[32:])
        stream.seek(min(table, size))
        if table + table_size != table_end or stream.read(4) != b"PK\1\2" or not 1 <= count <= table_size // 46:
            raise Refused(f"{path.name} is damaged: its table of contents is not where its end says")


def _is_zip(path: Path) -> bool:
    try:
        check_zip(path)
    except Refused:
        return False
    return True


# -- the first way: a folder of the user's ------------------------------------------------------------------------


def _local_folder(named: str, expected: dict[str, dict], verify: bool, progress: bool) -> Path:
    source = Path(named).expanduser()
    folder = next((f for f in (source, ROOT / source) if f.is_dir()), None)  # notebooks run in notebooks/
    if folder is None:
        raise _failure(f"COURSE_ARCHIVE={named} is not a folder (seen from {Path.cwd()})")
    folder = folder.resolve()
    try:
        _check_folder(folder, expected, verify, progress)
    except (Refused, OSError) as error:
        cause = _cause_of_os_error(error, folder) if isinstance(error, OSError) else str(error)
        raise _failure(f"in the folder of COURSE_ARCHIVE, {folder}, {cause}") from None
    return folder


def _check_folder(folder: Path, expected: dict[str, dict], verify: bool, progress: bool) -> None:
    """Refused unless the three zips are there and whole; nothing is written into a folder that is not ours."""
    record = read_record(folder) if verify else {}
    for name in NAMES:
        path = folder / name
        if not path.is_file():
            raise Refused(f"{name} is missing")
        check_zip(path)
        wanted = {**record.get(name, {}), **expected.get(name, {})}
        found = {"size": path.stat().st_size}
        _compare(name, found, {k: v for k, v in wanted.items() if k == "size"})
        if "sha256" in wanted:
            _compare(name, {**found, "sha256": _sha256(path, progress)}, wanted)


# -- the second way: a mounted Google Drive -----------------------------------------------------------------------


def _copy_from_mount(target: _Target) -> str:
    """Copy what is missing from a mounted Drive, if it is there; returns why not, or ""."""
    if not (MOUNT / "MyDrive").is_dir():
        return f"no Google Drive is mounted at {MOUNT}"
    try:
        mounted = _mounted_folder()
        if mounted is None:
            return f"no folder in {MOUNT / 'MyDrive'} holds the three zips"
        missing = target.missing()
        target.check_space(missing)
        print(f"Copying the published data from {mounted} to {target.folder}.")
        _copy_backgrounds(mounted, target)
        for name in missing:
            _copy(mounted / name, target.incoming / name, target.progress)
            target.accept(name)
    except Refused as refused:
        return f"on the mounted Google Drive {refused}"
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return f"the mounted Google Drive cannot be read ({error.strerror or error})"
    return ""


def _mounted_folder() -> Path | None:
    """The first folder with the three zips: the documented name, a shortcut to the public folder, any other."""
    mine, shortcuts = MOUNT / "MyDrive", MOUNT / ".shortcut-targets-by-id" / FOLDER
    for folder in (mine / MOUNTED_NAME, *sorted(shortcuts.glob("*")), *sorted(mine.iterdir())):
        if all((folder / name).is_file() for name in NAMES):
            return folder
    return None


def _copy_backgrounds(mounted: Path, target: _Target) -> None:
    if (mounted / "bg.zip").is_file():
        if not target.has("bg.zip"):
            _copy(mounted / "bg.zip", target.incoming / "bg.zip", target.progress)
            target.accept("bg.zip")
    elif (mounted / "bg").is_dir() and not (target.folder / "bg").exists():
        with whole_folder(target.folder / "bg") as temporary:
            for path in sorted((mounted / "bg").iterdir()):
                if PICTURE.fullmatch(path.name):
                    shutil.copyfile(path, temporary / path.name)


def _copy(source: Path, to: Path, progress: bool) -> None:
    counter = _bytes_bar(source.stat().st_size, f"copying {source.name}", progress)
    with open(source, "rb") as reading, open(to, "wb") as writing, counter:
        while block := reading.read(BLOCK):
            writing.write(block)
            counter.update(len(block))


# -- the third way: the public folder -----------------------------------------------------------------------------


def _download(target: _Target, note: str, network: dict | None, patience: float) -> None:
    missing = [name for name in target.missing() if not target.settle(name)]
    if not missing:
        return
    target.check_space(missing)
    print(f"Fetching {', '.join(missing)} from Google Drive into {target.folder} ({note}).")
    name = "the list of files"
    with Gdown(target.incoming, network, patience) as gdown:
        try:
            listed = gdown.files_of(FOLDER)
            ids = {PurePosixPath(path).name: file for file, path in sorted(listed, key=_depth, reverse=True)}
            lacking = [name for name in missing if name not in ids]
            if lacking:
                raise Refused(f"the public folder lists no {' and no '.join(lacking)}{_listing_limit(gdown, listed)}")
            _download_backgrounds(target, gdown, listed, ids.get("bg.zip"))
            for name in missing:
                _download_zip(target, gdown, name, ids[name])
        except TransferError as error:
            raise _failure(_cause(error, name, target, gdown)) from error
        except Refused as refused:
            raise _failure(f"what Google Drive sends is refused: {refused}") from None


def _depth(file: tuple[str, str]) -> int:
    return file[1].count("/")


def _listing_limit(gdown: Gdown, listed: list[tuple[str, str]]) -> str:
    if gdown.version.startswith("5.") and len(listed) >= LISTED_BY_GDOWN_5:
        return f"; gdown 5 sees only {LISTED_BY_GDOWN_5} files of a folder, gdown 6 sees all"
    return ""


def _download_zip(target: _Target, gdown: Gdown, name: str, file: str) -> None:
    """Fetch one file and accept it; after an interruption go on at once, as long as each attempt brings something."""
    path = target.incoming / name
    for attempt in range(ATTEMPTS):
        before = fetched_bytes(path)
        total = target.expected.get(name, {}).get("size", ROUGH_BYTES.get(name))
        counter = _bytes_bar(total, f"fetching {name}", target.progress, before)
        try:
            with counter:
                gdown.fetch(file, path, partial(_show, counter))
            return target.accept(name)
        except TransferError as error:
            spoiled = before and "byte range" in str(error)  # gdown 6 found that the rest does not fit to what is here
            if spoiled:
                for part in parts(path):
                    part.unlink()
            elif not (error.interrupted and fetched_bytes(path) > before) or attempt == ATTEMPTS - 1:
                raise
        except Refused:
            if not before:
                raise
            # What an earlier call left may have been the fault (accept has removed it): once more from the start.


def _show(counter: tqdm, size: int) -> None:
    counter.update(size - counter.n)


def _download_backgrounds(target: _Target, gdown: Gdown, listed: list[tuple[str, str]], zipped: str | None) -> None:
    """``bg.zip`` or the pictures in ``bg/``, if the public folder has them; doing without them is no failure."""
    pictures = [(PurePosixPath(path), file) for file, path in listed]
    pictures = [(p.name, file) for p, file in pictures if p.parent.name == "bg" and PICTURE.fullmatch(p.name)]
    try:
        if zipped:
            if not target.has("bg.zip") and not target.settle("bg.zip"):
                _download_zip(target, gdown, "bg.zip", zipped)
        elif pictures and not (target.folder / "bg").exists():
            if _listing_limit(gdown, pictures):
                raise Refused(_listing_limit(gdown, pictures).lstrip("; "))
            folder = target.incoming / "bg"
            folder.mkdir(exist_ok=True)
            with bar(len(pictures), "fetching backgrounds", "img", show=target.progress) as counter:
                for name, file in pictures:
                    gdown.fetch(file, folder / name)
                    counter.update()
            folder.rename(target.folder / "bg")
    except (TransferError, Refused) as error:
        cause = _cause(error, "the backgrounds", target, gdown) if isinstance(error, TransferError) else error
        print(f"The backgrounds could not be fetched ({cause}); they are recovered from the pictures instead.")


def _cause(error: TransferError, name: str, target: _Target, gdown: Gdown) -> str:
    """Why gdown could not fetch ``name``, in words that a student can use."""
    kinds, said = set(error.kinds), str(error)
    for words, cause in (
        ("Too many users have viewed or downloaded", f"Google Drive's quota for {name} is used up for today"),
        ("Cannot retrieve the public link", f"{name} on Google Drive is not public any more, or gone"),
        ("retrieve folder contents", "the folder on Google Drive is not public any more, or gone"),
        ("retrieve the folder information", "the folder on Google Drive is not public any more, or gone"),
        ("Download is incomplete", f"the connection to Google Drive broke off while fetching {name}"),
    ):
        if words in said:
            return cause
    for kind, cause in (
        ("Busy", f"another process is fetching it into {target.folder}; wait until that one is done"),
        ("ImportError", "gdown is not installed in this Python ('make lab' installs all; so does 'pip install gdown')"),
        ("Stalled", f"Google Drive fell silent while fetching {name} ({said})"),
        ("Timeout", f"Google Drive fell silent while fetching {name}"),
        ("ChunkedEncodingError", f"the connection to Google Drive broke off while fetching {name}"),
        ("ProxyError", "Google Drive cannot be reached through the proxy that is set"),
        ("SSLError", "what answers in Google Drive's name has no certificate that is trusted here"),
        ("ConnectionError", "Google Drive cannot be reached; is there a network"),
        ("Died", f"gdown's process ended in the middle ({said or 'without a word'})"),
    ):
        if kind in kinds:
            return cause
    if error.errno is not None:
        return _cause_of_os_error(OSError(error.errno, os.strerror(error.errno)), target.folder)
    return f"gdown {gdown.version} failed at {name} with {error.kinds[0]}: {said[:200].rstrip('.')}"
