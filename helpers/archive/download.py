"""Where the published data comes from: a folder of yours, a mounted Google Drive, or a download with gdown.

:func:`fetch_archive` returns a folder with ``bg_fg.zip``, ``mask.zip`` and ``depth.zip``, each found to be whole (see
:mod:`helpers.archive.vault`). A download that was cut or killed goes on where it stopped, and whatever goes wrong ends in one
message that gives the cause and names the ways that remain.
"""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
import zlib
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from helpers.archive.transfer import Gdown, TransferError, fetched_bytes, parts
from helpers.archive.vault import BLOCK, Refused, Vault, bytes_bar, check_zip, checksum, compare, in_bytes, read_record
from helpers.config import ROOT, CourseError, cache_dir
from helpers.utils import bar, whole_folder

FOLDER = "1ACsG-epUmRCJ0zaKIAGGc5DzeG3SSY65"  # the published project's public folder on Google Drive
FOLDER_ADDRESS = f"https://drive.google.com/drive/folders/{FOLDER}"
NAMES = ("bg_fg.zip", "mask.zip", "depth.zip")
ROUGH_BYTES = {"bg_fg.zip": 6_000_000_000, "mask.zip": 900_000_000, "depth.zip": 1_000_000_000}  # as published, rounded
MOUNT = Path("/content/drive")  # where Colab's notebooks mount a Google Drive
MOUNTED_NAME = "course-archive"
ATTEMPTS = 5  # at one file, as long as each brings something new
LISTED_BY_GDOWN_5 = 50  # files in one folder; it never sees the others
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
MAX_BACKGROUNDS = 1000  # ten times as many as were published
MAX_BACKGROUND_BYTES = 20_000_000  # one photograph straight from a camera

WAYS = (
    "What remains: try again later (what has arrived is kept, and the download goes on from there); on Colab, add a "
    f"shortcut to {FOLDER_ADDRESS} to your own Drive, or put the three zips into its folder {MOUNTED_NAME}, and mount "
    f"it at {MOUNT}; set COURSE_ARCHIVE to a folder that holds {', '.join(NAMES)}; or go on with COURSE_DATA=rooms."
)


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
        A folder with the three zips, and with the backgrounds in ``bg/`` where they were to be had.

    Raises:
        CourseError: none of the ways works; the message gives the cause and the ways that remain.
    """
    expected = expected or {}
    if os.environ.get("COURSE_ARCHIVE"):
        return _local_folder(os.environ["COURSE_ARCHIVE"], expected, verify, progress)
    vault = Vault(Path(folder or cache_dir() / "archive"), NAMES, expected, verify, progress)
    try:
        if vault.missing():
            vault.incoming.mkdir(parents=True, exist_ok=True)
            note = _copy_from_mount(vault)
            if vault.missing():
                _download(vault, note, network, patience)
    except OSError as error:
        raise _failure(_cause_of_os_error(error, vault.folder)) from error
    return vault.folder


def _failure(cause: str) -> CourseError:
    return CourseError(f"The published data cannot be had: {cause}. {WAYS}")


def _cause_of_os_error(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full; free some space, or set COURSE_CACHE to a folder on a larger disk"
    return f"{error.filename or folder} cannot be read or written ({error.strerror or error})"


def _check_space(vault: Vault, names: list[str]) -> None:
    """CourseError if the disk cannot hold what is still to come."""
    sizes = [vault.expected.get(name, {}).get("size", ROUGH_BYTES[name]) for name in names]
    here = [fetched_bytes(vault.incoming / name) for name in names]
    need, free = sum(max(size - got, 0) for size, got in zip(sizes, here)), shutil.disk_usage(vault.folder).free
    if free < need:
        raise _failure(
            f"{' and '.join(names)} need {in_bytes(need)} more and the disk of {vault.folder} has "
            f"{in_bytes(free)} free; free some space, or set COURSE_CACHE to a folder on a larger disk"
        )


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
        compare(name, found, {"size": wanted.get("size", found["size"])})
        if "sha256" in wanted:
            compare(name, {**found, "sha256": checksum(path, progress)}, wanted)


# -- the second way: a mounted Google Drive -----------------------------------------------------------------------


def _copy_from_mount(vault: Vault) -> str:
    """Copy what is missing from a mounted Drive; returns why that did not work, or "" (also if none is mounted)."""
    if not (MOUNT / "MyDrive").is_dir():
        return ""
    try:
        mounted = _mounted_folder()
        if mounted is None:
            return f"no folder in {MOUNT / 'MyDrive'} holds the three zips"
        missing = vault.missing()
        _check_space(vault, missing)
        print(f"Copying the published data from {mounted} to {vault.folder}.")
        _copy_backgrounds(mounted, vault)
        for name in missing:
            _copy(mounted / name, vault.incoming / name, vault.progress)
            vault.accept(name)
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


def _copy_backgrounds(mounted: Path, vault: Vault) -> None:
    """``bg/`` or ``bg.zip`` into ``bg/``; doing without is no failure."""
    if (vault.folder / "bg").exists():
        return
    if (mounted / "bg").is_dir():
        with whole_folder(vault.folder / "bg") as temporary:
            for path in sorted((mounted / "bg").iterdir()):
                if path.suffix.lower() in PICTURES:
                    shutil.copyfile(path, temporary / path.name)
    elif (mounted / "bg.zip").is_file():
        try:
            _unpack_backgrounds(mounted / "bg.zip", vault)
        except Refused as refused:
            _do_without_backgrounds(str(refused))


def _copy(source: Path, to: Path, progress: bool) -> None:
    counter = bytes_bar(source.stat().st_size, f"copying {source.name}", progress)
    with open(source, "rb") as reading, open(to, "wb") as writing, counter:
        while block := reading.read(BLOCK):
            writing.write(block)
            counter.update(len(block))


# -- the third way: the public folder -----------------------------------------------------------------------------


def _download(vault: Vault, note: str, network: dict | None, patience: float) -> None:
    _check_space(vault, vault.missing())
    note = f" ({note})" if note else ""
    print(f"Fetching {', '.join(vault.missing())} from Google Drive into {vault.folder}{note}.")
    name, gdown = "the list of files", Gdown(vault.incoming, network, patience)
    try:
        with gdown:
            missing = [name for name in vault.missing() if not vault.settle(name)]
            if not missing:
                return
            listed = [(PurePosixPath(path), file) for file, path in gdown.files_of(FOLDER)]
            # Of two files with one name, the one that lies less deep in the folder counts.
            ids = {path.name: file for path, file in sorted(listed, key=lambda entry: -len(entry[0].parts))}
            lacking = [name for name in missing if name not in ids]
            if lacking:
                limit = _listing_limit(gdown, listed) or ("" if listed else ", nor anything else: it may not be public")
                raise Refused(f"the public folder lists no {' and no '.join(lacking)}{limit}")
            _download_backgrounds(vault, gdown, listed)
            for name in missing:
                _download_zip(vault, gdown, name, ids[name])
    except TransferError as error:
        kept = fetched_bytes(vault.incoming / name)
        kept = f" ({in_bytes(kept)} of it are kept)" if kept else ""
        raise _failure(_cause(error, name, vault.folder, gdown.version) + kept + note) from error
    except Refused as refused:
        raise _failure(f"what Google Drive sends is refused: {refused}{note}") from None


def _listing_limit(gdown: Gdown, listed: list) -> str:
    if gdown.version.startswith("5.") and len(listed) >= LISTED_BY_GDOWN_5:
        return f"; gdown 5 sees only {LISTED_BY_GDOWN_5} files of a folder, gdown 6 sees all"
    return ""


def _download_zip(vault: Vault, gdown: Gdown, name: str, file: str) -> None:
    """Fetch one file and accept it; after an interruption go on at once, as long as each attempt brings something."""
    path = vault.incoming / name
    total = vault.expected.get(name, {}).get("size", ROUGH_BYTES[name])
    for attempt in range(ATTEMPTS):
        before, last = fetched_bytes(path), attempt == ATTEMPTS - 1
        try:
            with bytes_bar(total, f"fetching {name}", vault.progress, before) as counter:
                gdown.fetch(file, path, partial(_show, counter))
            return vault.accept(name)
        except TransferError as error:
            if before and "byte range" in str(error) and not last:  # gdown 6: the rest does not fit to what is here
                for part in parts(path):
                    part.unlink()
            elif last or not (error.interrupted and fetched_bytes(path) > before):
                raise
        except Refused:
            if last or not before:
                raise
            # What an earlier call left may have been the fault (accept has removed it): once more from the start.


def _show(counter: tqdm, size: int) -> None:
    counter.update(size - counter.n)


def _download_backgrounds(vault: Vault, gdown: Gdown, listed: list[tuple[PurePosixPath, str]]) -> None:
    """``bg/``, if the public folder has it, as pictures or zipped; doing without is no failure.

    All or none: the n-th by name is the background number n.
    """
    pictures = [entry for entry in listed if entry[0].parent.name == "bg" and entry[0].suffix.lower() in PICTURES]
    zipped = [file for path, file in listed if path.name == "bg.zip"]
    if (vault.folder / "bg").exists() or not (pictures or zipped):
        return
    try:
        if zipped:
            gdown.fetch(zipped[0], vault.incoming / "bg.zip")
            _unpack_backgrounds(vault.incoming / "bg.zip", vault)
        elif limit := _listing_limit(gdown, pictures):
            raise Refused(f"bg/ is not listed whole{limit}")
        else:
            with (
                whole_folder(vault.folder / "bg") as temporary,
                bar(len(pictures), "fetching backgrounds", "img", show=vault.progress) as counter,
            ):
                for path, file in pictures[:MAX_BACKGROUNDS]:
                    gdown.fetch(file, temporary / path.name)
                    counter.update()
    except (TransferError, Refused) as error:
        known = isinstance(error, TransferError)
        cause = _cause(error, "the backgrounds", vault.folder, gdown.version) if known else str(error)
        _do_without_backgrounds(cause)
    finally:
        (vault.incoming / "bg.zip").unlink(missing_ok=True)


def _do_without_backgrounds(cause: str) -> None:
    print(f"The backgrounds could not be fetched ({cause}); they are recovered from the pictures instead.")


def _unpack_backgrounds(path: Path, vault: Vault) -> None:
    """The pictures in ``bg.zip`` into ``bg/``, whatever folder they lie in; Refused unless all can be read."""
    check_zip(path)
    try:
        with zipfile.ZipFile(path) as archive, whole_folder(vault.folder / "bg") as temporary:
            members = [(PurePosixPath(member.filename), member) for member in archive.infolist()]
            members = [(name, member) for name, member in members if name.suffix.lower() in PICTURES]
            if not 1 <= len(members) <= MAX_BACKGROUNDS or len({name.name for name, _ in members}) < len(members):
                raise Refused(f"{path.name} holds {len(members)} pictures, or two of one name")
            for name, member in members:
                with archive.open(member) as stream:
                    picture = stream.read(MAX_BACKGROUND_BYTES + 1)
                if len(picture) > MAX_BACKGROUND_BYTES:
                    raise Refused(f"{name.name} in {path.name} is larger than {in_bytes(MAX_BACKGROUND_BYTES)}")
                (temporary / name.name).write_bytes(picture)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:  # as zipfile raises
        raise Refused(f"{path.name} cannot be unpacked ({error})") from None


def _cause(error: TransferError, name: str, folder: Path, version: str) -> str:
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
        ("Busy", f"another process is fetching it into {folder}; wait until that one is done"),
        ("ImportError", "gdown is not installed in this Python ('make lab' installs all; so does 'pip install gdown')"),
        ("Stalled", f"Google Drive fell silent while fetching {name} ({said})"),
        ("Timeout", f"Google Drive fell silent while fetching {name}"),
        ("ChunkedEncodingError", f"the connection to Google Drive broke off while fetching {name}"),
        ("ProxyError", "Google Drive cannot be reached through the proxy that is set"),
        ("SSLError", "what answers in Google Drive's name has no certificate that is trusted here"),
        ("ConnectionError", "Google Drive cannot be reached; this machine seems to have no network"),
        ("Died", f"gdown's process ended in the middle ({said or 'without a word'})"),
    ):
        if kind in kinds:
            return cause
    if error.errno is not None:
        return _cause_of_os_error(OSError(error.errno, os.strerror(error.errno)), folder)
    return f"gdown {version} failed at {name} with {error.kinds[0]}: {said[:200].rstrip('.')}"
