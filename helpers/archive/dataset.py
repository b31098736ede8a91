"""The published 400,000 quartets, read straight from their three zips: nothing is unpacked, ever.

Their members are called ``bgfg_b001_f001_0.jpg``, ``mask_b001_f001_0.jpg`` and ``densedepth_b001_f001_0.jpg``:
background b, cat f, and a number, whose lower half (0..19) shows the cat as it is and whose upper half (20..39)
mirrored. Whatever cannot be used is counted and named.
"""

import contextlib
import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from helpers.archive.images import REDUCED, Unreadable, clean_mask, decode, reduction, resize, scale_depth
from helpers.archive.index import ZIPS, open_index, read_directory, stamps
from helpers.config import CourseError, cache_dir
from helpers.dataset import Address, Quartet, SceneDataset
from helpers.utils import as_seen, bar, is_system_file, load_arrays, open_image, reading, save_arrays

VERSION = 1  # raise it when the same zips would give another index or other pixels
MAX_BACKGROUND = 50_000_000  # bytes that are read of one in bg/ or bg.zip
HALO = 17  # pixels of 192: the JPEG block of 16 that a pixel of the cat can change, on all sides
SAME_ROOM = 12  # mean difference in grey levels: the right background has 1 to 2, that of another room 60 and more
SAMPLED, FLAT = 16, 8  # pictures whose levels are looked at when it is opened; the highest level of one that is empty
PICTURES = 16  # looked at together for a recovered background, at most six times as many
ENOUGH = 5  # pictures that show a pixel without the cat

_SHARES = np.arange(256, dtype=np.float32) / np.float32(255)


class Background(NamedTuple):
    """A picture of an empty room in bg/ or bg.zip."""

    name: str
    checksum: int  # CRC-32
    read: Callable[[], bytes]


class ArchiveDataset(SceneDataset):
    """The quartets that all three zips in ``root`` hold, sorted by room, cat and number; see :mod:`helpers.dataset`.

    ``depth`` is each picture's own 0..1, near = 0 (dark in the archive); ``valid`` is True and ``near_far`` NaN
    everywhere: the archive has no metres. Pictures are averaged by area and masks too, after :func:`clean_mask`; depth
    takes the nearest pixel, because an average of cat and wall is the depth of neither.

    A picture that turns out to be unreadable (checksum, not a JPEG, cut short, another size) is replaced, with its
    whole quartet, by the next readable quartet of the same room *and* cat, counted on from it and round to the first:
    the same in every process, and no held-out cat slips into training. It is named in :meth:`report`.

    Args:
        root: folder with ``bg_fg.zip``, ``mask.zip``, ``depth.zip`` and, if there is one, ``bg/`` or ``bg.zip``, whose
            pictures, in the order of their names, are the rooms 1, 2, ... Without it, or where a picture shows another
            room than the quartets, the room is the median of its quartets where the cat is not.
        size: of the square images, pixels, 32 to 512.

    Raises:
        CourseError: a zip is missing, damaged, or of something else; all quartets of a room and cat are unreadable.
    """

    def __init__(self, root: str | Path, size: int = 192):
        with reading(Path(root)):
            self._open(Path(root).expanduser(), size)
        self._check_levels()
        print(self.summary())

    def _open(self, root: Path, size: int) -> None:
        name = hashlib.sha256(json.dumps([VERSION, stamps(root)]).encode()).hexdigest()[:20]
        self._cache = cache_dir() / f"archive-{name}"  # safe to delete while no dataset is open
        self.root, self._index = root, open_index(root, self._cache)
        self._noted: dict[tuple[str, str, str], dict] = {}  # what is unreadable, by zip, name and kept picture
        self._noted = {(note["where"], note["name"], note["kept"]): note for note in self._notes()}
        self._bad: set[int] = set()  # rows, of this process
        keys = self._index.rows["key"]
        self._room_names, self._cat_names = np.unique(keys >> 32), np.unique(keys >> 16 & 0xFFFF)  # b001: 0
        placements = max((int((keys & 0xFFFF).max()) + 1) // 2, 1)
        super().__init__(len(self._room_names), len(self._cat_names), placements, size, seed=0)
        self._listed_in, self._files = self._find_backgrounds()
        self._rooms_in_memory: dict[int, np.ndarray] = {}
        files = {i: self._file(room) for i, room in enumerate(self._room_names.tolist())}
        checksums = {i: file.checksum for i, file in files.items() if file}
        first = {checksum: i for i, checksum in reversed(checksums.items())}
        self.places = {i: first[checksum] for i, checksum in checksums.items()}  # one picture under two names is one

    def __getstate__(self) -> dict:  # the other process reads the kept index instead of receiving 25 MB
        return {"root": self.root, "size": self.size, "key": self.key()}

    def __setstate__(self, state: dict) -> None:
        self._open(state["root"], state["size"])
        if self.key() != state["key"]:
            raise CourseError(f"The archive in {self.root} changed while it was in use: open it anew.")

    def __len__(self) -> int:
        return len(self._index.rows)

    def address(self, index: int) -> Address:
        """Where ``index`` stands; the upper half of the numbers in the names (20..39 of 0..39) is mirrored."""
        room, cat, number = self._index.quartet(index)
        flip, placement = divmod(number, self.placements)
        room, cat = np.searchsorted(self._room_names, room), np.searchsorted(self._cat_names, cat)
        return Address(int(room), int(cat), min(flip, 1), placement)

    def scenes(self) -> tuple[np.ndarray, np.ndarray]:
        """Rooms and cats of all quartets, two arrays (N,)."""
        keys = self._index.rows["key"]
        return np.searchsorted(self._room_names, keys >> 32), np.searchsorted(self._cat_names, keys >> 16 & 0xFFFF)

    def at_size(self, size: int) -> "ArchiveDataset":
        other = object.__new__(ArchiveDataset)  # copy.copy would go through __setstate__, which opens all anew
        other.__dict__.update(self.__dict__)
        SceneDataset.__init__(other, self.rooms, self.cats, self.placements, size, self.seed)
        other._rooms_in_memory = {}
        return other

    def key(self) -> dict:
        """What decides every pixel: directories and checksums of the backgrounds, so a copy is the same data."""
        return {"source": "archive", "version": VERSION, "size": self.size, "files": self._index.digests,
                "backgrounds": [[file.name, file.checksum] for file in self._files]}  # fmt: skip

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"an index is outside this dataset of {len(self)} quartets")
        in_worker = get_worker_info() is not None
        if in_worker and cv2.getNumThreads() > 1:
            cv2.setNumThreads(0)  # its threads do not survive the fork that made this worker: they would be waited for
        n, size = len(rows), self.size
        batch = {
            "bg": torch.empty((n, 3, size, size), dtype=torch.uint8),
            "bg_fg": torch.empty((n, 3, size, size), dtype=torch.uint8),
            "mask": torch.empty((n, 1, size, size)),
            "depth": torch.empty((n, 1, size, size)),
            "valid": torch.ones((n, 1, size, size), dtype=torch.bool),
            "near_far": torch.full((n, 2), torch.nan),
        }
        if in_worker:  # filled where the other process will read it, instead of copied there when it is full
            for value in batch.values():
                value.share_memory_()
        bg, bg_fg, mask, depth = (batch[name].numpy() for name in ("bg", "bg_fg", "mask", "depth"))
        for i, row in enumerate(rows % len(self)):
            self._read_into(int(row), bg_fg[i], mask[i, 0], depth[i, 0])
            bg[i] = self._background(self._index.quartet(row)[0])
        return batch

    def _read_into(self, row: int, bg_fg: np.ndarray, mask: np.ndarray, depth: np.ndarray) -> None:
        """Fill (3, S, S) uint8, (S, S) and (S, S) float32 with quartet ``row`` or the one that replaces it."""
        how = REDUCED[reduction(self._index.sizes["bg_fg"], self.size)]
        for candidate in self._candidates(row):
            try:
                colour = resize(self._picture("bg_fg", candidate, how), self.size)
                soft = resize(clean_mask(self._picture("mask", candidate)), self.size)
                levels = self._picture("depth", candidate)
            except Unreadable:
                continue
            for channel in range(3):
                cv2.extractChannel(colour, 2 - channel, dst=bg_fg[channel])  # OpenCV has blue first
            if levels.shape != depth.shape:
                levels = cv2.resize(levels, depth.shape, interpolation=cv2.INTER_NEAREST_EXACT)
            cv2.LUT(soft, _SHARES, dst=mask)
            scale_depth(levels, depth)
            return
        room, cat, _ = self._index.quartet(row)
        raise CourseError(f"All quartets of room {room} and cat {cat} are unreadable: download the zips again.")

    def _candidates(self, row: int) -> Iterator[int]:
        """``row``, then the other quartets of its room and cat, from the next one on; without those known to be bad."""
        if row not in self._bad:
            yield row
        scenes = self._index.rows["key"] >> 16  # room and cat
        same = np.flatnonzero(scenes == scenes[row])
        for other in np.concatenate((same[same > row], same[same < row])).tolist():
            if other not in self._bad:
                yield other

    def _picture(self, zip_name: str, row: int, how: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
        """Pixels of one member; one that is unreadable is noted, then raised as Unreadable."""
        try:
            return decode(self._index.read(zip_name, row), self._index.sizes[zip_name], how)
        except Unreadable as error:
            self._bad.add(row)
            self._note(f"{zip_name}.zip", self._index.name(zip_name, row), str(error))
            raise

    def _check_levels(self) -> None:
        """Look at a few pictures: levels from 0 to 1 instead of 0 to 255 would make every mask empty, silently."""
        for zip_name in ("mask", "depth"):
            highest = []
            for row in np.linspace(0, len(self) - 1, min(len(self), SAMPLED)).astype(int).tolist():
                with contextlib.suppress(Unreadable):
                    data = self._index.read(zip_name, row)
                    highest.append(int(decode(data, self._index.sizes[zip_name], cv2.IMREAD_GRAYSCALE).max()))
            if highest and max(highest) <= FLAT:
                raise CourseError(
                    f"{zip_name}.zip: in {len(highest)} pictures from all over it no level is above {max(highest)} of "
                    "255, so nothing would be seen in them: write 0 as black and 255 as white, not 0 and 1."
                )

    def _background(self, room: int) -> np.ndarray:
        """(3, S, S) uint8, kept in memory; ``room`` as in the names."""
        if room not in self._rooms_in_memory:
            picture = resize(self._whole_background(room), self.size)
            self._rooms_in_memory[room] = np.ascontiguousarray(picture.transpose(2, 0, 1))
        return self._rooms_in_memory[room]

    def _whole_background(self, room: int) -> np.ndarray:
        """(H, W, 3) uint8 at the archive's own size, kept on disk."""
        file, path = self._file(room), self._kept_at(room)
        if (kept := load_arrays(path)) is not None and kept["picture"].shape == (*self._index.sizes["bg_fg"][::-1], 3):
            return kept["picture"]
        picture = self._from_file(file, room) if file else None
        picture = self._recover(room) if picture is None else picture
        save_arrays(path, picture=picture)
        return picture

    def _file(self, room: int) -> Background | None:
        return self._files[room - 1] if 1 <= room <= len(self._files) else None

    def _kept_at(self, room: int) -> Path:
        """Where a room's picture is kept: somewhere else once bg/ gives another one."""
        file = self._file(room)
        stamp = hashlib.sha256(json.dumps(file and file[:2]).encode()).hexdigest()[:12]
        return self._cache / f"bg_{room:04d}_{stamp}.npz"

    def _find_backgrounds(self) -> tuple[str, list[Background]]:
        """``"bg/"`` or, without it, ``"bg.zip"``, and the pictures in it in the order of their names."""
        folder, packed, files = self.root / "bg", self.root / "bg.zip", []
        if folder.is_dir():
            paths = (path for path in folder.iterdir() if path.is_file() and _is_picture(path.name))
            files = [Background(path.name, zlib.crc32(_read_file(path)), partial(_read_file, path)) for path in paths]
        elif packed.is_file():
            try:
                members = (member for member in read_directory(packed)[0] if _is_picture(member.filename))
                files = [Background(m.filename, m.CRC, partial(_read_member, packed, m.filename)) for m in members]
            except Exception as error:  # zip readers raise many kinds for a damaged file
                self._note("bg.zip", "as a whole", f"cannot be read ({error}); rooms are recovered instead")
        return "bg/" if folder.is_dir() else "bg.zip", sorted(files, key=lambda file: file[:2])

    def _from_file(self, file: Background, room: int) -> np.ndarray | None:
        """The picture in bg/, or None where it cannot be read or shows another room than the quartets."""
        width, height = self._index.sizes["bg_fg"]
        try:
            with open_image(file.read(), file.name) as image:
                image.draft("RGB", (2 * width, 2 * height))
                picture = np.asarray(as_seen(image).resize((width, height), Image.Resampling.BICUBIC))
        except Exception as error:  # zip readers and decoders raise many kinds for a damaged file
            self._note(self._listed_in, file.name, f"cannot be read ({error}); room {room} is recovered instead", room)
            return None
        for shown, covered in self._views(room, 2):
            difference = np.abs(shown.astype(np.int16) - picture).mean(-1)[~covered]
            if difference.size and difference.mean() > SAME_ROOM:
                self._note(self._listed_in, file.name, f"does not show room {room}, which is recovered instead", room)
                return None
        return picture

    def _views(self, room: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Up to ``count`` pictures (H, W, 3) of a room, in fixed order, and where the cat changes them: (H, W) bool."""
        width, height = self._index.sizes["bg_fg"]
        reach = max(round(HALO * width / 192), 3) | 1
        rows = np.flatnonzero(self._index.rows["key"] >> 32 == room)
        for row in np.random.default_rng(room).permutation(rows)[: 4 * count].tolist():
            if count == 0:
                return
            with contextlib.suppress(Unreadable):
                picture = self._picture("bg_fg", row, cv2.IMREAD_COLOR)[..., ::-1]
                mask = clean_mask(self._picture("mask", row))
                if mask.shape != (height, width):
                    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
                count -= 1
                yield picture, cv2.dilate(mask, np.ones((reach, reach), np.uint8)) > 0

    def _recover(self, room: int) -> np.ndarray:
        """The median, for each pixel, over the quartets that show it without the cat and its JPEG halo."""
        pictures, seen = [], 0  # seen: (H, W), how many pictures show a pixel
        for picture, covered in self._views(room, 6 * PICTURES):
            pictures.append(np.where(covered[..., None], np.float32(np.nan), picture))
            seen = seen + ~covered
            if len(pictures) % PICTURES == 0 and seen.min() >= ENOUGH:
                break
        if not pictures:
            lost = f"no usable picture in {self.root / 'bg'} and none can be recovered"
            advice = "none of its quartets is readable; download the zips again, or add the bg/ folder"
            raise CourseError(f"Room {room} has {lost}: {advice}.")
        unseen = seen == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # unseen pixels have no median
            rows = (np.nanmedian([shown[y] for shown in pictures], axis=0) for y in range(len(unseen)))
            median = np.stack([*rows])  # (H, W, 3); row by row, as all of them at once take gigabytes
        picture = np.floor(np.where(unseen[..., None], 0, median) + 0.5).astype(np.uint8)
        if unseen.any():
            share = f"{unseen.mean():.1%} of room {room} is never seen without a cat and was filled from around it"
            self._note("recovered rooms", f"room {room}", share, room)
            picture = cv2.inpaint(picture, unseen.astype(np.uint8), 5, cv2.INPAINT_TELEA)
        return picture

    def _note(self, where: str, name: str, why: str, room: int | None = None) -> None:
        """Add a line to the file that all processes share, if it can be written; warn if it is new."""
        kept = self._kept_at(room).name if room else ""  # a note on a room is true as long as this picture counts
        if (where, name, kept) in self._noted:
            return
        note = self._noted[where, name, kept] = {"where": where, "name": name, "why": why, "kept": kept}
        with contextlib.suppress(OSError), open(self._cache / "unreadable.jsonl", "a") as stream:
            stream.write(json.dumps(note) + "\n")
        warnings.warn(f"{where} {name}: {why}. See report().", stacklevel=2)

    def _notes(self) -> list[dict]:
        path, notes = self._cache / "unreadable.jsonl", {}
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # a line cut by a full disk
                note = json.loads(line)
                note = {key: str(note[key]) for key in ("where", "name", "why", "kept")}
                notes[note["where"], note["name"], note["kept"]] = note  # once, though two workers may meet it at once
        return [*(self._noted | notes).values()]  # of this process too, where nothing can be written

    def report(self) -> dict:
        """Counts, and a few names of what was left out, by zip and reason; JSON-ready.

        ``unreadable`` (:meth:`verify` completes it) and ``rooms_without_cat`` grow while any process reads.
        """
        notes, now = self._notes(), {self._kept_at(room).name for room in self._room_names.tolist()}
        now |= set() if self._files else {""}  # bg.zip as a whole
        unreadable = [note for note in notes if _is_of_quartets(note)]
        return {
            "quartets": len(self), "rooms": self.rooms, "cats": self.cats, "not_listed": self._index.findings,
            "unreadable": {"count": len(unreadable), "examples": unreadable[:20]},
            "rooms_without_cat": [note for note in notes if not _is_of_quartets(note) and note["kept"] in now],
        }  # fmt: skip

    def summary(self) -> str:
        """The report in one line."""
        width, height = self._index.sizes["bg_fg"]
        source = f"from {self._listed_in}" if self._files else "recovered from the quartets"
        if 0 < len(self._files) < self._room_names[-1]:
            source += f", which has {len(self._files)}, the others recovered from the quartets"
        findings = self._index.findings.items()
        losses = [f"{f['count']:,} in {name}.zip ({why})" for name, found in findings for why, f in found.items()]
        if unreadable := self.report()["unreadable"]["count"]:
            losses.append(f"{unreadable:,} found unreadable so far")
        losses = f"not used: {', '.join(losses)}; names in report()." if losses else "nothing is missing."
        return (
            f"Archive: {len(self):,} quartets, {self.rooms} rooms, {self.cats} cats, {width} x {height} px; "
            f"rooms without a cat: {source}; {losses}"
        )

    def verify(self) -> list[dict]:
        """Read and decode every picture, in minutes; what is unreadable, as dicts of where, name and why."""
        chunks = [range(i, min(i + 256, len(self))) for i in range(0, len(self), 256)]
        counter = bar(len(self), "checking the archive", "quartets")
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool, counter:
            warnings.simplefilter("ignore")  # they are returned
            for count in pool.map(self._try_to_read, chunks):
                counter.update(count)
        return [note for note in self._notes() if _is_of_quartets(note)]

    def _try_to_read(self, rows: range) -> int:
        for row, name in product(rows, ZIPS):
            with contextlib.suppress(Unreadable):  # noted
                self._picture(name, row, cv2.IMREAD_COLOR if name == "bg_fg" else cv2.IMREAD_GRAYSCALE)
        return len(rows)


def _is_of_quartets(note: dict) -> bool:
    return note["where"].removesuffix(".zip") in ZIPS


def _is_picture(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg", ".png", ".webp")) and not is_system_file(name)


def _read_file(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(MAX_BACKGROUND)


def _read_member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive, archive.open(name) as member:
        return member.read(MAX_BACKGROUND)
