"""Plumbing: files that are whole or absent, a progress bar, a table, the machine's name, pictures from outside."""

from __future__ import annotations

import atexit
import csv
import errno
import hashlib
import html
import io
import json
import math
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.config import CourseError, cache_dir

if TYPE_CHECKING:  # all packages are imported late: `make relink` runs this module in a bare Python
    import numpy as np
    from PIL import Image

UNWRITABLE = {getattr(errno, name, None) for name in "EROFS EACCES EPERM EIO ENOTCONN ESTALE ENOTDIR".split()}


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes ``path``'s place, on failure it is removed."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    with disk_faults_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb+") as stream:
                os.fsync(stream.fileno())  # a rename must not reach the disk before the bytes do
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict | list) -> None:
    """``content`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def write_csv(path: str | Path, rows: Sequence[dict]) -> None:
    """``rows`` under the names of all their keys, whole or not at all; nothing where there are none."""
    if rows:
        with whole_file(path) as temporary, open(temporary, "w", newline="") as stream:
            table = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
            table.writeheader()
            table.writerows(rows)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """The same for a folder. If ``path`` appears meanwhile (another process was faster), that one is kept."""
    path = Path(path)
    with disk_faults_told(path):
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        temporary.mkdir(parents=True)
        try:
            yield temporary
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@cache
def scratch(why: str) -> str | None:
    """A folder that lasts as long as this process; None where nothing can be written anywhere."""
    with suppress(OSError):
        atexit.register(shutil.rmtree, folder := tempfile.mkdtemp(prefix="course-"), ignore_errors=True)
        print(f"{why} Until then, sets last as long as this process.")
        return folder


@contextmanager
def disk_faults_told(path: Path) -> Iterator[None]:
    """A disk that is full, read-only, forbidden or gone becomes a CourseError that names ``path``'s folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error):  # which is all that numpy says
            raise CourseError(
                f"No space is left on the disk of {path.parent}: free some (the rendered sets in .cache/ can go), "
                "or choose a folder on a larger disk (COURSE_CACHE, COURSE_RUNS). Nothing was half-written."
            ) from error
        where = Path(str(error.filename or path)).absolute()  # a picture elsewhere that cannot be read is no such fault
        if error.errno not in UNWRITABLE or not where.is_relative_to(path.parent.absolute()):
            raise
        raise CourseError(
            f"Nothing can be written into {path.parent} ({error.strerror}): choose a folder in which you may write "
            "(of sets it is COURSE_CACHE, of runs COURSE_RUNS)."
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What cannot be read (no permission, a disk that is gone, a link to itself) becomes a CourseError that names it."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: Path.resolve's, before Python 3.13, for a link to itself
        where, why = getattr(error, "filename", None) or path, getattr(error, "strerror", None) or error
        raise CourseError(f"{where} cannot be read ({why}): check its permissions, and that its disk is there.") from error


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Within, no other process writes into ``folder``: a second one gets a CourseError. A crash gives the lock back."""
    with open(folder / ".lock", "w") as stream:
        try:
            import fcntl  # not on Windows

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CourseError(
                f"Another process (another tab?) is writing into {folder.name}/: wait for it, stop it, or choose "
                "another folder."
            ) from error
        except (ImportError, OSError):  # there are disks without locks
            pass
        yield  # the file stays: who removes it takes it from under another one, who has just opened it


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksum(tensors: Mapping, about: Mapping[str, str]) -> str:
    """SHA-256 of named tensors and of what is said about them, as a file of weights carries it in ``about``."""
    parts = (f"{name} {x.dtype} {[*x.shape]}".encode() + x.numpy().tobytes() for name, x in sorted(tensors.items()))
    return hashlib.sha256(json.dumps({**about, "sha256": ""}, sort_keys=True).encode() + b"".join(parts)).hexdigest()


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """What :func:`write_arrays` wrote; None where there is nothing, or anything is wrong with it: make it again."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as kept:
            held = {name: kept[name][...] for name in kept.files}  # [...]: what is no array comes as bytes
        return held if held.pop("sha256").tobytes() == _sha256(path, held) else None  # a zip's own sums guard no header
    except Exception:  # a damaged zip or header raises a dozen kinds
        return None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compress: bool = False) -> None:
    """Write arrays of any type and shape with their checksum, all or nothing; CourseError where the disk refuses."""
    import numpy as np

    with whole_file(path) as temporary, open(temporary, "wb") as stream:
        sha256 = np.frombuffer(_sha256(path, arrays), np.uint8)
        (np.savez_compressed if compress else np.savez)(stream, sha256=sha256, **arrays)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Keep what can be made again; where nothing can be written it is done without."""
    with suppress(CourseError, OSError):
        write_arrays(path, arrays)


def _sha256(path: Path, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Of names, types, shapes, values, and of the path, which is a kept file's key; a run's folder may be renamed."""
    place = path.relative_to(cache_dir()) if path.is_relative_to(cache_dir()) else path.name
    parts = (f"{name} {x.dtype.descr} {x.shape}".encode() + x.tobytes() for name, x in sorted(arrays.items()))
    return hashlib.sha256(b"".join((str(place).encode(), *parts))).digest()


def bar(total: int, description: str, unit: str, keep: bool = False, show: bool = True):
    """A tqdm bar in plain text: a saved notebook keeps no widget. ``keep`` leaves its last state on the screen."""
    from tqdm import tqdm

    return tqdm(total=total, desc=description, unit=unit, file=sys.stdout, leave=keep, disable=not show,
                unit_scale=unit == "B", mininterval=0.5, ncols=None if sys.stdout.isatty() else 110)  # fmt: skip


class Table(str):
    """Aligned text, which a notebook shows as an HTML table: a screen reader reads that cell by cell."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def _repr_pretty_(self, printer, cycle: bool) -> None:
        printer.text(str(self))  # without quotes


def table(rows: Mapping[str, Mapping[str, float]], digits: int = 3) -> Table:
    """Numbers by row and column, ready to print or to show. Whole numbers get separators, NaN a dash."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))

    def cell(value: float) -> str:
        return f"{value:,}" if isinstance(value, int) else "-" if math.isnan(value) else f"{value:.{digits}f}"

    def html_row(cells: Sequence[str], tag: str) -> str:
        name, *others = map(html.escape, cells)
        return f"<tr><th>{name}</th>{''.join(f'<{tag}>{text}</{tag}>' for text in others)}</tr>"

    lines = [["", *columns]]
    lines += [[name, *(cell(row.get(column, math.nan)) for column in columns)] for name, row in rows.items()]
    first, *others = (max(map(len, column)) for column in zip(*lines))
    rest = ("".join(text.rjust(width + 3) for text, width in zip(cells, others)) for _, *cells in lines)
    shown = Table("\n".join(name.ljust(first) + cells for (name, *_), cells in zip(lines, rest)))
    body = "\n".join(html_row(line, "td") for line in lines[1:])
    shown.html = f"<table>\n<thead>{html_row(lines[0], 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return shown


def device() -> str:
    """The GPU's name, if there is one, and how many cores PyTorch computes on."""
    import torch

    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    cores = torch.get_num_threads()
    return f"{gpu}{cores} CPU core{'s' * (cores > 1)}"


# Pictures from outside: the course's one reader.
MAX_PIXELS = 50_000_000  # a few kilobytes of PNG can unpack to gigabytes: larger pictures are refused by their header
MAX_SIDE = 20_000  # pixels: one row of millions costs gigabytes on the way, too
MAX_SCANS = 64  # of a progressive JPEG: ten are usual, thousands are made to stall a decoder
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # by EXIF orientation, the PIL.Image.Transpose that turns it upright


def read_image(picture, name: str | None = None) -> np.ndarray:
    """A picture from outside, converted by :func:`as_seen`: (H, W, 3) uint8.

    Args:
        picture: a file that Pillow decodes, its bytes, a PIL image, or an array of uint8, which stays as it is.
        name: how messages call it; a file's own name is added to it.

    Raises:
        CourseError: not there, no picture, damaged, over 50 megapixels, or an array of another kind.
    """
    import numpy as np
    from PIL import Image

    if isinstance(picture, (str, Path, bytes, Image.Image)):
        with open_image(picture, name) as image:
            picture = as_seen(image)
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise CourseError(f"{name or 'This'} must be an array (H, W, 3) of uint8, not {array.shape} of {array.dtype}.")
    return array


@contextmanager
def open_image(picture, name: str | None = None) -> Iterator[Image.Image]:
    """Yield a picture (a file, its bytes, a PIL image) of which only the header was read, and name every fault in it.

    Decode it within the block: damage that shows only then becomes a CourseError, too.
    """
    from PIL import Image, UnidentifiedImageError

    file = Path(picture).name if isinstance(picture, (str, Path)) else None
    if file and file not in (name or ""):
        name = f"{name} ({file})" if name else file
    name = name or "The picture"
    picture = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    try:
        with nullcontext(picture) if isinstance(picture, Image.Image) else Image.open(picture) as image:
            # For drawings Pillow would start another program, and grey in floating point has no agreed white.
            if image.format in ("EPS", "WMF") or image.mode == "F":
                raise CourseError(f"{name} is {image.format or 'a picture'} in mode {image.mode}: save it as 8-bit PNG.")
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                size, most = f"{image.width} x {image.height}", f"{MAX_PIXELS // 10**6} megapixels"
                raise CourseError(f"{name} has {size} pixels: scale it below {most}; 1024 pixels on a side are plenty.")
            if image.info.get("progressive") and _scans(image) > MAX_SCANS:
                raise CourseError(f"{name} is a JPEG of more than {MAX_SCANS} scans: save it anew.")
            yield image
    except (CourseError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise CourseError(f"{name} does not exist: check its name and folder.") from error
    except Image.DecompressionBombError as error:  # its header claims so much that Pillow does not even open it
        raise CourseError(f"{name} is far too large: scale it below {MAX_PIXELS // 10**6} megapixels.") from error
    except UnidentifiedImageError as error:
        with picture if isinstance(picture, io.BytesIO) else open(picture, "rb") as stream:
            stream.seek(0)
            head = stream.read(12)
        if head[4:8] == b"ftyp" and head[8:10] in (b"he", b"mi", b"ms"):  # AVIF, which Pillow reads, and MP4 have it too
            heic = "is a HEIC picture, which the course cannot read: export it as JPEG, or let the camera take JPEGs"
            raise CourseError(f"{name} {heic} (iPhone: Settings > Camera > Formats > Most Compatible).") from error
        raise CourseError(f"{name} is not an image that Pillow can read: use a whole JPEG, PNG or WebP.") from error
    except Exception as error:  # Pillow's decoders raise many kinds for a damaged file
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault: a folder, no permission
            raise CourseError(f"{name} cannot be opened ({error.strerror}): check the path.") from error
        raise CourseError(f"{name} is damaged or cut short ({error}): copy or save it anew.") from error


def _scans(image: Image.Image) -> int:
    """Of a JPEG that has been opened and not yet decoded."""
    if getattr(image, "fp", None) is None:
        return 0
    image.fp.seek(0)
    return image.fp.read(4 * MAX_PIXELS).count(b"\xff\xda")


def orientation(image: Image.Image) -> int:
    """How the camera was held, 1 (upright) to 8, as EXIF counts; metadata that cannot be read is no fault."""
    with suppress(Exception):
        return turned if (turned := int(image.getexif().get(0x0112, 1))) in TURNS else 1
    return 1


def upright(image: Image.Image) -> Image.Image:
    """Turned as the camera was held. (Pillow's own function also writes the metadata anew, which may fail.)"""
    return image.transpose(TURNS[turned]) if (turned := orientation(image)) > 1 else image


def is_system_file(name: str) -> bool:
    """Whether a path's last part, or a folder in it, is what an operating system or a notebook server leaves behind."""
    known = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
    return any(part.startswith(".") or part.lower() in known for part in name.replace("\\", "/").split("/"))


def as_seen(image: Image.Image, alpha: bool = False) -> Image.Image:
    """Turned as the camera was held (EXIF), in 8 bits: RGB, or RGBA with ``alpha``.

    16-bit grey keeps its high byte, palettes and CMYK become colours, dropped transparency shows the colour beneath.
    """
    import numpy as np
    from PIL import Image

    image = upright(image)
    if image.mode.startswith("I"):  # I;16, or I where an older Pillow widened 16 bits to 32; its own conversion clips
        grey = np.asarray(image)
        grey = grey // (256 if image.mode != "I" or grey.max() > 255 else 1)  # I may hold 8 bits, too
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    return image.convert("RGBA" if alpha else "RGB")
