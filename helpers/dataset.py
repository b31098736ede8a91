"""The data format: what a quartet is, how an index finds its room and cat, and how test scenes are held out.

A *quartet* is a dict of four images of one scene and two facts about them:

========== ======================== =====================================================================
key        type                     meaning
========== ======================== =====================================================================
bg         uint8 (3, H, W)          the room
bg_fg      uint8 (3, H, W)          the same view of the room with the cat in it
mask       float32 (1, H, W), 0..1  how much of the pixel is visible cat
depth      float32 (1, H, W), 0..1  depth of ``bg_fg``: 0 = nearest, 1 = farthest valid pixel of this image
valid      bool (1, H, W)           where depth is known
near_far   float32 (2,)             metres of depth 0 and of depth 1, or NaN where the source has no metres
========== ======================== =====================================================================
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from helpers.config import DRIVE, CourseError, cache_dir
from helpers.loading import get_batch, loader, to_device  # noqa: F401 - whoever has quartets wants batches
from helpers.utils import UNWRITABLE, bar, disk_faults_told, scratch, sha256_of, whole_folder

Quartet = dict[str, Tensor]

KEYS = {  # type and channels
    "bg": (torch.uint8, 3), "bg_fg": (torch.uint8, 3), "mask": (torch.float32, 1), "depth": (torch.float32, 1),
    "valid": (torch.bool, 1),
}  # fmt: skip


class Address(NamedTuple):
    """Which room, which cat, mirrored or not, and which of the placements."""

    room: int
    cat: int
    flip: int
    placement: int


class SceneDataset(Dataset):
    """Base of every source: rooms x cats x 2 flips x placements, in this order, drawn from one seed.

    A source implements :meth:`get_batch`, :meth:`at_size` and :meth:`key`; everything else follows.
    Index and seed alone decide a quartet: not the machine, the worker, the epoch or the batch around it.
    """

    def __init__(self, rooms: int, cats: int, placements: int, size: int, seed: int):
        for name, value in (("rooms", rooms), ("cats", cats), ("placements", placements)):
            if value < 1:
                raise CourseError(f"{name}={value}: at least 1 is needed.")
        if not 32 <= size <= 512:
            raise CourseError(f"size={size}: choose an image side between 32 and 512 pixels.")
        self.rooms, self.cats, self.placements, self.size, self.seed = rooms, cats, placements, size, seed

    def __len__(self) -> int:
        return self.rooms * self.cats * 2 * self.placements

    def address(self, index: int) -> Address:
        """Where ``index`` (0 .. len - 1, or negative from the end) stands."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside this dataset of {len(self)} quartets")
        rest, placement = divmod(int(index) % len(self), self.placements)
        rest, flip = divmod(rest, 2)
        room, cat = divmod(rest, self.cats)
        return Address(room, cat, flip, placement)

    def room_of(self, index: int) -> int:
        return self.address(index).room

    def cat_of(self, index: int) -> int:
        return self.address(index).cat

    def scenes(self) -> tuple[np.ndarray, np.ndarray]:
        """``room_of`` and ``cat_of`` of every index, as two arrays (N,)."""
        return np.divmod(np.arange(len(self)) // (2 * self.placements), self.cats)

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        """The quartets of ``indices`` with a leading batch dimension; byte for byte what one-by-one would give."""
        raise NotImplementedError

    def at_size(self, size: int) -> "SceneDataset":
        """The same quartets at another image size (the next training stage)."""
        raise NotImplementedError

    def key(self) -> dict:
        """Every parameter that changes a pixel, JSON-ready: names cached sets on disk."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Quartet:
        return {name: value[0] for name, value in self.get_batch([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> list[Quartet]:
        batch = self.get_batch(indices)
        return [{name: value[i] for name, value in batch.items()} for i in range(len(indices))]


class Subset(Dataset):
    """Some indices of a dataset, which still knows rooms, cats, sizes and batches."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        self.dataset, self.indices = dataset, np.asarray(indices, dtype=np.int64)
        self.device, self.places = getattr(dataset, "device", torch.device("cpu")), getattr(dataset, "places", {})

    def __len__(self) -> int:
        return len(self.indices)

    def room_of(self, index: int) -> int:
        return self.dataset.room_of(int(self.indices[index]))

    def cat_of(self, index: int) -> int:
        return self.dataset.cat_of(int(self.indices[index]))

    def scenes(self) -> tuple[np.ndarray, np.ndarray]:
        rooms, cats = scenes(self.dataset)
        return rooms[self.indices], cats[self.indices]

    @property
    def size(self) -> int:
        return self.dataset.size

    def at_size(self, size: int) -> "Subset":
        return Subset(at_size(self.dataset, size), self.indices)

    def key(self) -> dict:
        whole = self.dataset.key() if hasattr(self.dataset, "key") else data_key(self.dataset)
        within = whole.get("indices", "").encode()  # of which part this is a part
        return {**whole, "indices": hashlib.sha256(within + self.indices.tobytes()).hexdigest()}

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        return get_batch(self.dataset, [int(self.indices[i]) for i in indices])

    def __getitem__(self, index: int) -> Quartet:
        return self.dataset[int(self.indices[index])]

    __getitems__ = SceneDataset.__getitems__


def data_key(dataset: Dataset) -> dict:
    """What decides the scenes, JSON-ready; of a dataset without ``key()``, their number and three of them."""
    if hasattr(dataset, "key"):
        return {name: value for name, value in dataset.key().items() if name not in ("store", "device")}
    count = len(dataset)
    few = get_batch(dataset, [0, count // 2, count - 1])
    digest = hashlib.sha256(b"".join(few[key].cpu().numpy().tobytes() for key in sorted(few))).hexdigest()
    return {"quartets": count, "sha256": digest}


def at_size(dataset: Dataset, size: int) -> Dataset:
    """The same quartets at another image size, where the dataset can draw anew; else unchanged (training resizes)."""
    return dataset.at_size(size) if hasattr(dataset, "at_size") else dataset


def scenes(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rooms and cats of all quartets, two arrays (N,): at once where the dataset offers it, else one by one."""
    if hasattr(dataset, "scenes"):
        return dataset.scenes()
    indices = range(len(dataset))
    return np.array([dataset.room_of(i) for i in indices]), np.array([dataset.cat_of(i) for i in indices])


def split(dataset: Dataset, test: float = 0.3, validation: float = 0.0, seed: int = 0) -> tuple[Subset, ...]:
    """Hold out rooms *and* cats, so that no room and no cat is in two parts: choose on validation, score the test once.

    Args:
        dataset: anything with ``room_of(index)`` and ``cat_of(index)``; a :class:`Subset` can be split again. Where it
            has ``places``, a dict of rooms that show one place and the room that stands for it, no place is divided.
        test, validation: share of the rooms, and of the cats, in a part: whole places, as many as fit, at least one.
        seed: which rooms and cats; the test set is the same with and without a validation set.

    Returns:
        ``train, test`` or, with a validation share, ``train, validation, test``. Quartets that pair a room of one
        part with a cat of another are in none, so the parts together are smaller than the whole: at 0.3, 49 % and 9 %.

    Raises:
        CourseError: fewer places or cats than parts, or shares that leave nothing to train on.
    """
    if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise CourseError(f"test={test}, validation={validation}: these shares and their sum must be between 0 and 1, "
                          "say 0.3 and 0.1.")  # fmt: skip
    rng, (rooms, cats) = np.random.default_rng(seed), scenes(dataset)
    shares = {"test": test, **({"validation": validation} if validation else {})}
    part_of_room = _hold_out("room", rooms, getattr(dataset, "places", {}), shares, rng)
    part_of_cat = _hold_out("cat", cats, {}, shares, rng)
    parts = {x: np.flatnonzero((part_of_room == x) & (part_of_cat == x)) for x in ("train", *reversed(shares))}
    if empty := [part for part, indices in parts.items() if not len(indices)]:
        raise CourseError(f"No quartet is left for the {empty[0]} part at test={test}, seed={seed}: use more quartets.")
    return tuple(Subset(dataset, indices) for indices in parts.values())


def _hold_out(name: str, ids: np.ndarray, places: dict[int, int], shares: dict[str, float], rng) -> np.ndarray:
    """For the room, or cat, of each quartet its part: one of ``shares``, or "train". Those of a place stay together."""
    unique, where = np.unique(ids, return_inverse=True)
    _, place, sizes = np.unique([places.get(i, i) for i in unique.tolist()], return_inverse=True, return_counts=True)
    if len(sizes) <= len(shares):
        what = name if len(sizes) == len(unique) else "place"
        raise CourseError(f"This data has {len(sizes)} {what}(s), too few for {len(shares) + 1} parts: add a {what}.")
    order, part_of = rng.permutation(len(sizes)), np.full(len(sizes), "train", dtype=object)
    for number, (part, share) in enumerate(shares.items()):
        free = order[part_of[order] == "train"]
        fewest = np.sort(sizes[free]).cumsum()  # so many rooms: one place at least, and one stays for each other part
        left = np.clip(round(share * len(unique)), fewest[0], fewest[number - len(shares) - 1])
        for i in free:  # in this order, whatever still fits
            if sizes[i] <= left:
                part_of[i], left = part, left - sizes[i]
    return part_of[place][where]


def sample(dataset: Dataset, count: int, seed: int = 0) -> Subset:
    """``count`` quartets drawn without repeats (all of them where there are fewer), in a seeded order."""
    order = np.random.default_rng([seed, len(dataset)]).permutation(len(dataset))
    return Subset(dataset, order[:count])


def check_quartet(quartet: Quartet) -> Quartet:
    """Return ``quartet`` unchanged if it keeps the data format; else raise a CourseError naming key and rule."""
    if not isinstance(quartet, dict):
        raise CourseError(f"A quartet is a dict, not a {type(quartet).__name__}.")
    for key in (*KEYS, "near_far"):
        if key not in quartet:
            raise CourseError(f"The quartet has no {key!r}; it has {', '.join(map(repr, quartet)) or 'nothing'}.")
        if not isinstance(quartet[key], Tensor):
            raise CourseError(f"{key!r} must be a torch tensor, not {type(quartet[key]).__name__}.")
    if quartet["bg"].ndim != 3:
        raise CourseError(f"'bg' must have shape (3, H, W), not {tuple(quartet['bg'].shape)}.")
    height, width = quartet["bg"].shape[-2:]
    for key, (dtype, channels) in KEYS.items():
        value = quartet[key]
        if value.dtype != dtype:
            raise CourseError(f"{key!r} must be {dtype}, not {value.dtype}.")
        if value.shape != (shape := (channels, height, width)):
            raise CourseError(f"{key!r} must have shape {shape}, like 'bg', not {tuple(value.shape)}.")
    valid = quartet["valid"]
    for key, where in (("mask", torch.ones_like(valid)), ("depth", valid)):
        value = quartet[key][where]
        if not torch.isfinite(value).all() or (value < 0).any() or (value > 1).any():
            raise CourseError(f"{key!r} must be finite and lie in [0, 1]: it has values outside.")
    depth, near_far = quartet["depth"][valid], quartet["near_far"]
    if len(depth) and depth.min() > 1e-3:
        raise CourseError("'depth' must be 0 at the nearest valid pixel; scale each image by its own extremes.")
    if len(depth) and depth.max() > 1e-3 and depth.max() < 1 - 1e-3:
        raise CourseError("'depth' must be 1 at the farthest valid pixel; scale each image by its own extremes.")
    if near_far.dtype != torch.float32 or near_far.shape != (2,):
        raise CourseError(f"'near_far' must be float32 of shape (2,), not {near_far.dtype}, {tuple(near_far.shape)}.")
    known = ~torch.isnan(near_far)
    if known.any() and not (known.all() and 0 <= near_far[0] <= near_far[1] < float("inf")):
        raise CourseError(f"'near_far' must be metres, near <= far, or two NaN, not {near_far.tolist()}.")
    return quartet


def normalise_depth(metres: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Metres (B, 1, H, W) to the quartet's ``depth`` in [0, 1] and ``near_far`` (B, 2), over valid pixels.

    Depth comes in steps of 1/65535, so that a cached set gives back exactly what was rendered; invalid
    pixels get 0. An image with no valid pixel gets NaN for ``near_far``.
    """
    near = metres.masked_fill(~valid, float("inf")).amin((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    far = metres.masked_fill(~valid, float("-inf")).amax((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    depth = (metres - near) / (far - near).clamp_min(1e-6)
    depth = quantise(torch.where(valid, depth, 0.0), 65535)
    near_far = torch.cat((near, far), 1).flatten(1)  # (B, 2)
    return depth, torch.where(torch.isfinite(near_far), near_far, torch.nan)


def quantise(x: Tensor, steps: int) -> Tensor:
    """``x`` in [0, 1] rounded to multiples of 1/steps (255: what a mask is cached as; 65535: what depth is)."""
    return (x.clamp(0, 1) * steps).round() / steps


CACHE_VERSION = 1  # raise it when the files below change
# The files of a cached set: the type of each, and the steps into which [0, 1] is cut.
FILES = {
    "bg": ("uint8", None), "bg_fg": ("uint8", None), "mask": ("uint8", 255), "depth": ("uint16", 65535),
    "valid": ("bool", None), "near_far": ("float32", None),
}  # fmt: skip


class CachedDataset(Dataset):
    """Quartets that were made once, at one size, and are read from disk, memory-mapped. Made by :func:`cached`."""

    def __init__(self, folder: str | Path, places: dict[int, int]):
        self.folder, self.places = Path(folder), places
        meta = json.loads((self.folder / "meta.json").read_text())
        self._key = meta["key"]
        self._rooms, self._cats = np.array(meta["rooms"]), np.array(meta["cats"])
        self._arrays = {n: np.load(self.folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in FILES}
        self._distinct = {room: i for i, room in enumerate(dict.fromkeys(meta["rooms"]))}
        self.size = self._arrays["bg"].shape[-1]
        rows = {name: len(self._distinct) if name == "bg" else len(self._rooms) for name in FILES}
        for name, array in self._arrays.items():
            image = (2,) if name == "near_far" else (KEYS[name][1], self.size, self.size)
            if array.dtype != FILES[name][0] or array.shape != (rows[name], *image):
                raise ValueError(f"{name}.npy in {self.folder} holds {array.dtype} {array.shape}")

    def __reduce__(self) -> tuple:  # workers open the files themselves instead of receiving the bytes
        return CachedDataset, (self.folder, self.places)

    def __len__(self) -> int:
        return len(self._rooms)

    def room_of(self, index: int) -> int:
        return int(self._rooms[index])

    def cat_of(self, index: int) -> int:
        return int(self._cats[index])

    def scenes(self) -> tuple[np.ndarray, np.ndarray]:
        return self._rooms, self._cats

    def key(self) -> dict:
        return self._key

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        rows = np.asarray(indices)
        rows_of = {"bg": [self._distinct[int(room)] for room in self._rooms[rows]]}  # each room is kept once
        batch = {name: torch.from_numpy(array[rows_of.get(name, rows)]) for name, array in self._arrays.items()}
        return {name: value.float() / FILES[name][1] if FILES[name][1] else value for name, value in batch.items()}

    __getitem__ = SceneDataset.__getitem__
    __getitems__ = SceneDataset.__getitems__


def cached(dataset: Dataset, folder: str | Path | None = None, workers=os.cpu_count(), progress=True) -> CachedDataset:
    """Make every quartet of ``dataset`` once, keep them on disk, and read them from there ever after.

    The folder is named by a hash of ``dataset.key()``, so another seed, size, split or version never meets old pixels
    (photographs are known by their content). A run that is killed leaves nothing that a later one would trust. Where
    Colab has mounted a Google Drive, a copy is kept there, and the next machine begins with it.

    Args:
        dataset: a source, or a :class:`Subset` of one, with ``key()``. ``bg`` must depend on the room alone.
        folder: where sets are kept; default ``cache_dir()``.
        workers: processes that make quartets; default one per core.
    """
    if isinstance(dataset, CachedDataset):
        return dataset
    key = {**dataset.key(), "store": CACHE_VERSION}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    path = Path(folder or cache_dir()) / f"quartets-{name}"
    kept = DRIVE / "course-cache" / path.name if not folder and DRIVE.is_dir() else path
    if not path.exists() and kept.exists():
        with suppress(OSError, CourseError), whole_folder(path) as temporary:  # what is in the way is told below
            shutil.copytree(kept, temporary, dirs_exist_ok=True)
    try:
        with disk_faults_told(path):
            if path.exists():
                with suppress(Exception):  # a cut, changed or foreign file raises a dozen kinds: it is made anew
                    return _opened(path, dataset, key)
                for place in filter(Path.exists, {path, kept}):
                    _set_aside(place)
        with whole_folder(path) as temporary:
            _write(dataset, key, temporary, workers, progress)
    except CourseError as error:
        if folder or getattr(error.__cause__, "errno", None) not in UNWRITABLE or not (lasting := scratch(str(error))):
            raise
        return cached(dataset, lasting, workers, progress)
    if kept != path:
        with suppress(OSError, CourseError), whole_folder(kept) as temporary:  # a full Drive: made again
            shutil.copytree(path, temporary, dirs_exist_ok=True)
    return CachedDataset(path, getattr(dataset, "places", {}))


def _opened(path: Path, dataset: Dataset, key: dict) -> CachedDataset:
    """The set in ``path``, if it is that of ``dataset`` and its files are those that were written."""
    found, meta = CachedDataset(path, getattr(dataset, "places", {})), json.loads((path / "meta.json").read_text())
    same = [ids.tolist() for ids in scenes(dataset)] == [meta["rooms"], meta["cats"]]
    if not same or found.key() != json.loads(json.dumps(key)):
        raise ValueError("of other data")
    if meta["sha256"] != {name: sha256_of(path / f"{name}.npy") for name in FILES}:
        raise ValueError("damaged")
    return found


def _set_aside(path: Path) -> None:
    """A damaged set is removed under another name first, so that no other process opens it half-removed."""
    trash = Path(tempfile.mkdtemp(prefix=".damaged-", dir=path.parent))
    path.rename(trash / path.name)
    shutil.rmtree(trash, ignore_errors=True)


def _write(dataset: Dataset, key: dict, folder: Path, workers: int, progress: bool) -> None:
    rooms, cats = (ids.tolist() for ids in scenes(dataset))
    row_of_room = {room: i for i, room in enumerate(dict.fromkeys(rooms))}
    # Quartets of one room are made together, so that each worker renders or reads a room once.
    order = np.argsort([row_of_room[room] for room in rooms], kind="stable")
    batches = [order[i : i + 32].tolist() for i in range(0, len(order), 32)]
    counter, arrays = bar(len(order), f"making quartets at {dataset.size} px", "img", show=progress), {}
    for rows, batch in zip(batches, loader(dataset, batches, workers)):
        for name, (dtype, steps) in FILES.items():
            values = batch[name].cpu()
            values = ((values.double() * steps).round() if steps else values).numpy().astype(dtype)
            if name not in arrays:
                count = len(row_of_room) if name == "bg" else len(order)
                arrays[name] = _create(folder / f"{name}.npy", dtype, (count, *values.shape[1:]))
            arrays[name][[row_of_room[rooms[i]] for i in rows] if name == "bg" else rows] = values
        counter.update(len(rows))
    counter.close()
    for array in arrays.values():
        array.flush()
    sha256 = {name: sha256_of(folder / f"{name}.npy") for name in FILES}
    (folder / "meta.json").write_text(json.dumps({"key": key, "rooms": rooms, "cats": cats, "sha256": sha256}))


def _create(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap:
    array = np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk must be an error here, not a bus error in the middle
        with open(path, "rb+") as stream:
            os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
    return array
