"""Where the published data comes from: a folder of yours, a mounted Google Drive, or a download with gdown.

What arrives waits in ``incoming/`` until it has been found whole; only then it gets its name, and ``archive.json``
notes size, checksum and time of change, so that later a glance is enough.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from helpers.archive.gdown_process import GdownError, fetched_bytes, run_gdown, unfinished
from helpers.archive.index import read_directory
from helpers.config import ROOT, CourseError, cache_dir
from helpers.utils import bar, one_writer, sha256_of, write_json

FOLDER = "1ACsG-epUmRCJ0zaKIAGGc5DzeG3SSY65"  # the published project's public folder on Google Drive
NAMES = ("bg_fg.zip", "mask.zip", "depth.zip")
ROUGH_BYTES = {"bg_fg.zip": 6_000_000_000, "mask.zip": 900_000_000, "depth.zip": 1_000_000_000}  # as published, rounded
MOUNT = Path("/content/drive")  # where Colab's notebooks mount a Google Drive
MOUNTED_NAME = "course-archive"
ATTEMPTS = 5  # at one file, as long as each brings something new
RESUMED = "Stalled|ConnectionError|Timeout|ChunkedEncodingError|Download is incomplete"  # at once
LARGER_DISK = "free some space, or set COURSE_CACHE to a folder on a larger disk"
WAYS = (
    "What remains: try again later (what has arrived is kept, and the download resumes from there); on Colab, add a "
    f"shortcut to https://drive.google.com/drive/folders/{FOLDER} to your own Drive, or put the three zips into its "
    f"folder {MOUNTED_NAME}, and mount it at {MOUNT}; set COURSE_ARCHIVE to a folder that holds {', '.join(NAMES)}; "
    "or go on with COURSE_DATA=rooms."
)


class Refused(Exception):
    """A file is not what it should be; the message says in what."""


def fetch_archive(folder: str | Path | None = None, *, verify: bool = False, network: dict | None = None,
                  patience: float = 60) -> Path:  # fmt: skip
    """The folder of the published data; fetched if it is not on this machine yet.

    Tried in this order: the folder that ``$COURSE_ARCHIVE`` names, used where it is; what an earlier call has fetched;
    a mounted Google Drive, copied from (reading through the mount would keep training waiting); the public folder.

    Args:
        folder: where fetched files are kept; default ``archive`` in :func:`helpers.config.cache_dir`.
        verify: compare checksums with those noted, instead of trusting size and time of change.
        network: handed on to gdown, for example ``{"proxy": "http://...", "verify": "certificates.pem"}``.
        patience: seconds without a new byte (gdown writes 512 kB at once) after which a connection counts as dead.

    Raises:
        CourseError: none of the ways works; the message gives the cause and the ways that remain.
    """
    if os.environ.get("COURSE_ARCHIVE"):
        return _local_folder(os.environ["COURSE_ARCHIVE"], verify)
    here = _Folder(Path(folder or cache_dir() / "archive").expanduser().resolve())
    try:
        if here.missing(verify):
            here.incoming.mkdir(parents=True, exist_ok=True)
            with one_writer(here.path):
                note = _copy_from_mount(here)
                if here.missing():
                    _download(here, note, partial(run_gdown, network or {}, patience))
    except CourseError as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise CourseError(f"{error} {WAYS}") from None
        raise
    except OSError as error:
        raise _failure(_cause_of_os_error(error, here.path)) from error
    return here.path


def _failure(cause: str) -> CourseError:
    return CourseError(f"The published data cannot be had: {cause}. {WAYS}")


def _cause_of_os_error(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full; {LARGER_DISK}"
    return f"{error.filename or folder} cannot be read or written ({error.strerror or error})"


def _in_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def check_zip(path: Path, wanted: dict, thorough: bool = True) -> dict:
    """Size and, if ``thorough`` or wanted, SHA-256 of a zip; Refused unless it is whole and both are as wanted."""
    found = {"size": path.stat().st_size}
    with open(path, "rb") as stream:
        head = stream.read(1000).lower()
    if not head.startswith(b"pk\3\4"):
        what = "a web page" if b"<html" in head or b"<!doctype" in head else "something else" if head else "empty"
        raise Refused(f"{path.name} is not a zip file with pictures but {what}")
    size = _in_bytes(found["size"])
    if not zipfile.is_zipfile(path):
        raise Refused(f"{path.name} is cut off: it ends, after {size}, without its table of contents")
    if wanted.get("size", found["size"]) != found["size"]:  # before 6 GB are read
        raise Refused(f"{path.name} has the wrong size, {found['size']} bytes instead of {wanted['size']}")
    if thorough or "sha256" in wanted:
        print(f"Checking {path.name} ({size}).")
        try:
            read_directory(path)
        except CourseError as error:
            raise Refused(f"{path.name} is damaged: {error}") from None
        found["sha256"] = sha256_of(path)
        if wanted.get("sha256", found["sha256"]) != found["sha256"]:
            raise Refused(f"{path.name} has the wrong sha256, {found['sha256']} instead of {wanted['sha256']}")
    return found


def _record(folder: Path) -> dict[str, dict]:
    """What ``archive.json`` in ``folder`` notes about its files; nothing if it is damaged."""
    try:
        kinds = {"size": int, "sha256": str, "mtime_ns": int}
        entries = json.loads((folder / "archive.json").read_text()).items()
        return {name: {key: kind(entry[key]) for key, kind in kinds.items()} for name, entry in entries}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError):
        return {}


class _Folder:
    """Which of the three zips are in a folder of ours and trusted, and how a new one becomes so."""

    def __init__(self, path: Path):
        self.path, self.incoming = path, path / "incoming"

    def missing(self, verify: bool = False) -> list[str]:
        """Names of the zips that are not here, or not to be trusted (these are removed)."""
        return [name for name in NAMES if not self.has(name, verify)]

    def has(self, name: str, verify: bool = False) -> bool:
        """Is ``name`` here and what it was when it was noted?"""
        path, known = self.path / name, _record(self.path).get(name, {})
        if not path.is_file():
            return False
        stat, noted = path.stat(), (known.get("size"), known.get("mtime_ns"))
        if noted == (stat.st_size, stat.st_mtime_ns) and not verify:
            return True
        try:
            self._note(name, check_zip(path, known))
            return True
        except Refused as refused:
            print(f"{refused}: it is removed and fetched anew.")
            path.unlink()
            return False

    def accept(self, name: str) -> None:
        """Give ``incoming/name`` its final place, if it is what it should be; else remove it and raise Refused."""
        path = self.incoming / name
        try:
            found = check_zip(path, {})
        except Refused:
            path.unlink()
            raise
        with open(path, "rb+") as stream:
            os.fsync(stream.fileno())  # the name must not reach the disk before the bytes do
        path.replace(self.path / name)
        self._note(name, found)
        for part in unfinished(path):
            part.unlink()

    def settle(self, name: str) -> bool:
        """Accept a download that was whole when its process was killed; remove what cannot be resumed."""
        path = self.incoming / name
        for i, part in enumerate(unfinished(path)):
            if not path.exists() and zipfile.is_zipfile(part):
                part.replace(path)
            elif i:
                part.unlink()
        if path.exists():
            with contextlib.suppress(Refused):
                self.accept(name)
        return self.has(name)

    def check_space(self, names: list[str]) -> None:
        """CourseError if the disk cannot hold what is still to come."""
        need = sum(max(ROUGH_BYTES[name] - fetched_bytes(self.incoming / name), 0) for name in names)
        if (free := shutil.disk_usage(self.path).free) < need:
            lack = f"need {_in_bytes(need)} more and the disk of {self.path} has {_in_bytes(free)} free"
            raise _failure(f"{' and '.join(names)} {lack}; {LARGER_DISK}")

    def _note(self, name: str, found: dict) -> None:
        entry = {**found, "mtime_ns": (self.path / name).stat().st_mtime_ns}
        write_json(self.path / "archive.json", {**_record(self.path), name: entry})


def _local_folder(named: str, verify: bool) -> Path:
    """The user's folder, if the three zips are there and whole; nothing is written into it."""
    source = Path(named).expanduser()
    folder = next((f.resolve() for f in (source, ROOT / source) if f.is_dir()), None)  # notebooks run in notebooks/
    if folder is None:
        raise _failure(f"COURSE_ARCHIVE={named} is not a folder (seen from {Path.cwd()})")
    known = _record(folder) if verify else {}
    try:
        for name in NAMES:
            if not (folder / name).is_file():
                raise Refused(f"{name} is missing")
            check_zip(folder / name, known.get(name, {}), thorough=False)
    except (Refused, OSError) as error:
        cause = _cause_of_os_error(error, folder) if isinstance(error, OSError) else str(error)
        raise _failure(f"in the folder of COURSE_ARCHIVE, {folder}, {cause}") from None
    return folder


def _copy_from_mount(here: _Folder) -> str:
    """Copy what is missing from a mounted Drive; returns why that did not work, or "" (also if none is mounted)."""
    mine, shortcuts = MOUNT / "MyDrive", MOUNT / ".shortcut-targets-by-id" / FOLDER
    if not mine.is_dir():
        return ""
    try:
        candidates = (mine / MOUNTED_NAME, *sorted(shortcuts.glob("*")), *sorted(mine.iterdir()))
        mounted = next((f for f in candidates if all((f / name).is_file() for name in NAMES)), None)
        if mounted is None:
            return f"no folder in {mine} holds the three zips"
        missing = here.missing()
        here.check_space(missing)
        print(f"Copying the published data from {mounted} to {here.path}.")
        if (mounted / "bg").is_dir():
            if not (here.path / "bg").exists():
                with _without_backgrounds(here):
                    shutil.copytree(mounted / "bg", here.incoming / "bg", dirs_exist_ok=True)
                    (here.incoming / "bg").rename(here.path / "bg")
        elif (mounted / "bg.zip").is_file():
            with _without_backgrounds(here):
                _copy(mounted / "bg.zip", here)
        for name in missing:
            _copy(mounted / name, here)
    except Refused as refused:
        return f"on the mounted Google Drive {refused}"
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return f"the mounted Google Drive cannot be read ({error.strerror or error})"
    return ""


def _copy(source: Path, here: _Folder) -> None:
    counter = bar(source.stat().st_size, f"copying {source.name}", "B")
    with counter, open(source, "rb") as reading, open(here.incoming / source.name, "wb") as writing:
        while block := reading.read(4 << 20):
            counter.update(writing.write(block))
    here.accept(source.name)


@contextlib.contextmanager
def _without_backgrounds(here: _Folder) -> Iterator[None]:
    """Doing without the pictures of empty rooms is no failure."""
    try:
        yield
    except (GdownError, Refused, OSError) as error:  # a disk that is full refuses the next zip, and says so
        cause = _cause(error, "the backgrounds", here.path)
        print(f"The backgrounds could not be fetched ({cause}); they are recovered from the pictures instead.")


def _download(here: _Folder, note: str, gdown: Callable) -> None:
    here.check_space(here.missing())
    note = f" ({note})" if note else ""
    print(f"Fetching {', '.join(here.missing())} from Google Drive into {here.path}{note}.")
    name = "the list of files"
    try:
        missing = [name for name in here.missing() if not here.settle(name)]
        if not missing:
            return
        listed = [(PurePosixPath(path), file) for path, file in gdown(folder=FOLDER)]
        # Of two files with one name, the one that lies less deep in the folder counts.
        ids = {path.name: file for path, file in sorted(listed, key=lambda entry: -len(entry[0].parts))}
        if lacking := [name for name in missing if name not in ids]:
            nothing = "" if listed else ", nor anything else: it may not be public"
            raise Refused(f"the public folder lists no {' and no '.join(lacking)}{nothing}")
        if "bg.zip" in ids and not (here.path / "bg.zip").exists():
            with _without_backgrounds(here):
                gdown({ids["bg.zip"]: str(here.incoming / "bg.zip")})
                here.accept("bg.zip")
        for name in missing:
            _download_zip(here, gdown, name, ids[name])
    except GdownError as error:
        kept = fetched_bytes(here.incoming / name)
        kept = f" ({_in_bytes(kept)} of it are kept)" if kept else ""
        raise _failure(_cause(error, name, here.path) + kept + note) from error
    except Refused as refused:
        raise _failure(f"what Google Drive sends is refused: {refused}{note}") from None


def _download_zip(here: _Folder, gdown: Callable, name: str, file: str) -> None:
    """Fetch one file and accept it; after an interruption resume at once, as long as each attempt brings something."""
    path = here.incoming / name
    for attempt in range(ATTEMPTS):
        before, last = fetched_bytes(path), attempt == ATTEMPTS - 1
        try:
            with bar(ROUGH_BYTES[name], f"fetching {name}", "B") as counter:
                counter.initial = counter.n = before
                gdown({file: str(path)}, seen=lambda size: counter.update(size - counter.n))
            return here.accept(name)
        except GdownError as error:
            if before and "byte range" in str(error) and not last:  # gdown 6: the rest does not fit to what is here
                for part in unfinished(path):
                    part.unlink()
            elif last or fetched_bytes(path) <= before or not re.search(RESUMED, str(error)):
                raise
        except Refused:  # accept has removed the file; if an earlier call had left some of it, once more from the start
            if last or not before:
                raise


def _cause(error: GdownError | Refused, name: str, folder: Path) -> str:
    """Why ``name`` could not be fetched, in words that a student can use."""
    reason = str(error).partition(": ")[2]
    for pattern, cause in (  # what gdown said, or the kind of its error
        ("Too many users have viewed or downloaded", f"Google Drive's quota for {name} is used up for today"),
        ("Cannot retrieve the public link", f"{name} on Google Drive is not public any more, or gone"),
        ("retrieve (the )?folder", "the folder on Google Drive is not public any more, or gone"),
        ("Download is incomplete|Chunked", f"the connection to Google Drive broke off while fetching {name}"),
        ("ImportError", "gdown is not installed in this Python ('make lab' installs all; so does 'pip install gdown')"),
        ("No space left on device|Disk quota exceeded", f"the disk of {folder} is full; {LARGER_DISK}"),
        ("Stalled", f"Google Drive fell silent while fetching {name} ({reason})"),
        ("Timeout", f"Google Drive fell silent while fetching {name}"),
        ("ProxyError", "Google Drive cannot be reached through the proxy that is set"),
        ("SSLError", "what answers in Google Drive's name has no certificate that is trusted here"),
        ("ConnectionError", "Google Drive cannot be reached; this machine seems to have no network"),
        ("Died", f"gdown's process ended in the middle ({reason or 'without a word'})"),
    ):
        if isinstance(error, GdownError) and re.search(pattern, str(error)):
            return cause
    return str(error)[:300].rstrip(".")
