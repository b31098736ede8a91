"""From your own pictures to a folder that :class:`helpers.photos.dataset.PhotosDataset` reads.

Phones save large pictures, and uploads arrive in the form of whichever widget took them. They become arrays of a
sensible size and a folder with ``bg/`` and ``fg/``, written whole or not at all; importers write theirs the same way.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PureWindowsPath
from typing import TypeVar

import numpy as np
from PIL import Image

from helpers.config import CourseError
from helpers.photos.folder import FOLDERS, refuse_depth
from helpers.photos.segment_cat import cut_out
from helpers.utils import as_seen, bar, open_image, whole_file, whole_folder

T = TypeVar("T")
LONGEST_NAME = 80  # bytes of an uploaded picture's name
LONGEST = 1024  # pixels: twice the largest side that a quartet can have
MAX_UPLOAD = 64 * 2**20  # bytes of one uploaded picture


@dataclass
class Report:
    """What was taken, and what was left out and why."""

    what: str  # "cats", "rooms"
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        left_out = [f"  left out: {count:,} {reason}" for reason, count in self.left_out.items()]
        return "\n".join([f"{self.kept:,} {self.what}", *left_out])


def read_photo(source: str | Path | bytes, longest: int = LONGEST, name: str | None = None) -> np.ndarray:
    """A photograph (a file or its bytes) as it was seen, (H, W, 3) uint8; scaled down to ``longest`` pixels a side.

    Raises:
        CourseError: the picture, called ``name``, is missing, damaged, none, over 50 megapixels, or has 16 bits.
    """
    name = name or (Path(source).name if isinstance(source, (str, Path)) else "The picture")
    with open_image(source, name) as image:
        refuse_depth(image, name)
        image.draft("RGB", (2 * longest, 2 * longest))  # JPEG alone: decodes at 1/2, 1/4 or 1/8 where that will do
        picture = as_seen(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def uploader():
    """A button that takes several pictures from your computer or phone; :func:`save_uploads` stores its ``value``."""
    import ipywidgets  # only a notebook needs it

    layout = ipywidgets.Layout(width="200px")  # with the count behind them, the words need more than the usual width
    return ipywidgets.FileUpload(accept="image/*,.heic", multiple=True, description="Choose pictures", layout=layout)


def save_uploads(value: Mapping | Sequence, folder: str | Path) -> list[Path]:
    """Store uploaded pictures under their own names in ``folder``, each checked first.

    Args:
        value: of :func:`uploader` under ipywidgets 7 (``{name: {"content": ...}}``) or 8 (``({"name": ..., "content":
            ...},)``), or what ``google.colab.files.upload()`` returned (``{name: bytes}``).
        folder: where they go. Nothing is replaced: another picture of a name that is there gets a number behind it.

    Raises:
        CourseError: one of them is no picture, too large, or has no usable name. Nothing is stored then.
    """
    if isinstance(value, Mapping):
        pairs = [(name, item["content"] if isinstance(item, Mapping) else item) for name, item in value.items()]
    else:
        pairs = [(item["name"], item["content"]) for item in value]
    checked = {}
    for name, content in pairs:
        plain = PureWindowsPath(str(name).encode(errors="ignore").decode()).name  # whichever slash a browser used
        if not plain or plain.startswith(".") or "\0" in plain:
            raise CourseError(f"An uploaded picture is called {name!r}: give it a name like room.jpg.")
        if len(content) > MAX_UPLOAD:
            raise CourseError(f"{plain} has over {MAX_UPLOAD >> 20} MB: scale it down, {LONGEST} px are plenty.")
        content = bytes(content)
        read_photo(content, name=plain)
        checked[_free_name(Path(folder), plain, content, checked)] = content
    written = []
    try:
        for path, content in checked.items():
            if not path.exists():
                with whole_file(path) as temporary:
                    temporary.write_bytes(content)
                written.append(path)
    except BaseException:  # all or none
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return list(checked)


def _free_name(folder: Path, name: str, content: bytes, taken: Mapping[Path, bytes]) -> Path:
    """``name`` in ``folder``, shortened, and with a number behind it where another picture has it already."""
    stem, ending = _short(name), Path(name).suffix[:10]
    for number in count(1):
        path = folder / f"{stem}{f'_{number}' if number > 1 else ''}{ending}"
        if path not in taken and not (path.exists() and path.read_bytes() != content):
            return path


def _short(path: str | Path) -> str:
    """A file's name without its ending, of at most LONGEST_NAME bytes."""
    return Path(path).stem.encode(errors="ignore")[:LONGEST_NAME].decode(errors="ignore")


def counted(items: Iterable[T], total: int, description: str, unit: str) -> Iterator[T]:
    """``items`` one by one, with a progress bar."""
    counter = bar(total, description, unit)
    for item in items:
        yield item
        counter.update()
    counter.close()


@contextmanager
def written_together(root: str | Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a folder to write ``names`` into (folders end in a slash, and are made); they move to ``root`` together.

    The most telling name comes last: whoever finds it finds the others. After a failure ``root`` is as it was. A
    CourseError if it has one of the names already: nothing is ever overwritten.
    """
    root = Path(root).expanduser()
    alike = {f"{name}/": [f"{one}/" for one in pair] for pair in FOLDERS.values() for name in pair}  # bg/ and rooms/

    def refuse_what_is_there() -> None:
        there = (other for name in names for other in alike.get(name, [name]) if (root / other).exists())
        if found := next(there, None):
            raise CourseError(f"{root.name}/ holds {found} already: choose another folder, or move that away first.")

    refuse_what_is_there()
    made = not root.exists()
    try:
        with whole_folder(root / ".importing") as temporary:
            for name in names:
                if name.endswith("/"):
                    (temporary / name).mkdir()
            yield temporary
            refuse_what_is_there()  # again: an import takes minutes
            for name in names:
                (temporary / name).rename(root / name)
        (root / ".importing").rmdir()  # what is left of the temporary folder
    except BaseException:
        if made:
            with suppress(OSError):
                root.rmdir()
        raise


def save_room(picture: np.ndarray, path: Path) -> None:
    """Write a room (H, W, 3) uint8 as a JPEG that keeps its colours' full resolution."""
    Image.fromarray(picture).save(path, quality=95, subsampling=0)


def save_cutout(rgba: np.ndarray, path: Path) -> None:
    """Write a cut-out (H, W, 4) uint8 as a PNG, cropped to what is visible and two pixels around it."""
    rows, columns = np.nonzero(rgba[..., 3])
    top, left = max(rows.min() - 2, 0), max(columns.min() - 2, 0)
    Image.fromarray(rgba[top : rows.max() + 3, left : columns.max() + 3]).save(path)


def build_folder(root: str | Path, pairs: Sequence[tuple[str | Path, str | Path]]) -> Report:
    """Turn pairs of photographs into a folder of rooms and cut-out cats for PhotosDataset.

    Args:
        root: the folder; it gets ``bg/`` and ``fg/``.
        pairs: ``(picture of the empty room, the same view with the cat)``. Several pairs may share a room. Those that
            fail, or are doubtful, are left out, with the reason.

    Raises:
        CourseError: no pair worked (the message of the first failure), or ``root`` has such folders already.
    """
    if not pairs or any(isinstance(pair, (str, Path)) or len(pair) != 2 for pair in pairs):
        raise CourseError('Give pairs of photographs, a room and the same room with the cat: [("room.jpg", "cat.jpg")].')
    report, rooms, first_failure = Report("cats"), {}, None
    with written_together(root, ("fg/", "bg/")) as folder:
        for number, (room_path, scene_path) in enumerate(counted(pairs, len(pairs), "cutting out cats", "pair"), 1):
            try:
                room, scene = read_photo(room_path), read_photo(scene_path)
                with redirect_stdout(io.StringIO()) as doubts:
                    cat = cut_out(room, scene)
                if doubts.getvalue():  # a room with a cat in it would be trained on as an empty one
                    raise CourseError(doubts.getvalue().strip())
                save_cutout(cat, folder / "fg" / f"{number:03d}_{_short(scene_path)}.png")
                key = Path(room_path).resolve()
                if key not in rooms:
                    rooms[key] = folder / "bg" / f"{len(rooms) + 1:03d}_{_short(room_path)}.jpg"
                    save_room(room, rooms[key])
                report.kept += 1
            except CourseError as error:
                first_failure = first_failure or error
                report.left_out[f"{Path(scene_path).name}: {error}"] += 1
        if not report.kept:
            raise first_failure
    return report
