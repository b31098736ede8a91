"""Mutated files at every door of the course: only a CourseError, or a right result, may come out.

Nothing may take over 10 seconds or 1 GB, and nothing may be written beside the case's own folder. Cases run in a second
process, so that one that hangs or crashes is a failure like any other; each is decided by door, seed and number alone:

    python tests/fuzzing.py --cases 100000 --seed 1              # all doors; prints a table and what failed
    python tests/fuzzing.py --door weights --seed 1 --only 4711  # one case again, in this process
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]  # when it is run as a command

import cv2
import numpy as np
import torch
from archive_files import write_archive
from photo_files import floor_depth, photo_folder, room_picture
from PIL import Image
from safetensors import safe_open
from torch import nn
from toy import ToyQuartets

from helpers.archive import ArchiveDataset
from helpers.callbacks import read_snapshots
from helpers.checkpoints import newest, save_checkpoint, save_tensors
from helpers.config import CourseError
from helpers.dataset import cached, check_quartet, get_batch
from helpers.demos.scenes import SCENES, example_scenes
from helpers.model import NETWORKS
from helpers.photos import PhotosDataset
from helpers.photos.builder import read_photo, save_uploads
from helpers.photos.segment_cat import cut_out
from helpers.predict import load, predict
from helpers.utils import load_arrays, read_image, save_arrays

SECONDS, MEGABYTES = 10, 1000  # of one case
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
ODD = (None, True, -1, 0, 1, 0.5, 1e-320, 1e308, 10**400, float("nan"), float("inf"), "", "12", "\ud800", [], {}, [[]],
       [1, 2, 3], {"a": 1}, "x" * 10_000)  # fmt: skip


# -- mutations ------------------------------------------------------------------------------------------------------


def mutated(data: bytes, rng: np.random.Generator, donor: bytes = b"") -> bytes:
    """One to three changes, half of them where headers and directories stand; ``donor``: a file to splice with."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        end, kind = len(data), rng.integers(9)
        at = int(rng.choice((rng.integers(min(64, end) + 1), rng.integers(end + 1), end - rng.integers(min(99, end) + 1))))
        span = int(rng.integers(1, 1 << rng.integers(1, 9)))
        if kind == 0 and at < end:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 1:
            data[at : at + span] = rng.bytes(len(data[at : at + span]))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = rng.bytes(span)
        elif kind == 4:
            data[at:at] = data[at : at + span] * int(rng.choice((1, 2, 50)))
        elif kind == 5:
            del data[at : at + span]
        elif kind == 6 and donor:
            data[at:] = donor[rng.integers(len(donor)) :]
        else:  # an extreme number where a length, a size or an offset may stand
            form = str(rng.choice(("B", "<H", ">H", "<I", ">I", "<Q")))
            number = struct.pack(form, int(rng.choice(EXTREMES)) & (1 << 8 * struct.calcsize(form)) - 1)
            data[at : at + len(number)] = number
    return bytes(data)


def mutated_json(content: object, rng: np.random.Generator) -> bytes:
    """JSON of which some values are of another kind, huge, missing, renamed or nested."""
    content = {"": json.loads(json.dumps(content))}
    for _ in range(rng.integers(1, 4)):
        holder, key = content, ""
        while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.8:
            holder = holder[key]
            key = list(holder)[rng.integers(len(holder))] if isinstance(holder, dict) else int(rng.integers(len(holder)))
        kind = rng.integers(5)
        if kind == 0 and holder is not content:
            del holder[key]
        elif kind == 1 and isinstance(holder[key], (int, float)) and abs(holder[key]) < 1e300:
            holder[key] = holder[key] * float(rng.choice((-1, 0, 1e-9, 0.1, 10, 1e9)))
        elif kind == 2:
            holder[key] = [holder[key]] * int(rng.integers(4))
        else:
            holder[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])  # or later cases would find what this one put in
    text = json.dumps(content[""]).encode()
    return b"[" * 100_000 + text if rng.random() < 0.02 else mutated(text, rng) if rng.random() < 0.2 else text


def mutated_png(data: bytes, rng: np.random.Generator) -> bytes:
    """A PNG with other chunks, whose checksums fit."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    where = rng.integers(len(chunks))
    name, body = chunks[where]
    if name == b"IDAT" and rng.random() < 0.5:  # damage that unpacks well
        body = zlib.compress(mutated(zlib.decompress(body), rng))
    elif rng.random() < 0.2:
        chunks.insert(where, chunks[rng.integers(len(chunks))])
    else:
        body = mutated(body, rng)
    chunks[where] = name, body
    pack = struct.Struct(">I").pack
    return data[:8] + b"".join(pack(len(b)) + n + b + pack(zlib.crc32(n + b)) for n, b in chunks)


def mutated_zip(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole zip of which one member is changed, renamed, packed in another way or given twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        names = old.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            body, other = old.read(name), name
            if name == chosen:
                kind = rng.integers(6)
                body = mutated(body, rng) if kind < 4 else body
                other = mutated(name.encode(), rng).decode("latin-1") or "x" if kind == 4 else name
                if kind == 5:
                    new.writestr(zipfile.ZipInfo(name), old.read(names[rng.integers(len(names))]))
            new.writestr(zipfile.ZipInfo(other), body, int(rng.choice((0, 8))))
    return stream.getvalue()


def mutate(path: Path, rng: np.random.Generator, forge: bool = False) -> None:
    """Change the file in place; ``forge``: also so that the checksums of its format fit."""
    data, ending = path.read_bytes(), path.suffix
    others = sorted(other for other in path.parent.iterdir() if other.is_file())
    donor = others[rng.integers(len(others))].read_bytes()
    whole = rng.random() < 0.5
    if ending == ".json" and whole:
        data = mutated_json(json.loads(data), rng)
    elif ending == ".safetensors" and whole:
        header, body = header_and_body(data)
        if rng.random() < 0.5:  # as one of an earlier version: then its recipe and its values are looked at alone
            del header["__metadata__"]["sha256"]
        if "recipe" in header["__metadata__"] and rng.random() < 0.5:
            recipe = mutated_json(json.loads(header["__metadata__"]["recipe"]), rng)
            header["__metadata__"]["recipe"] = recipe.decode("latin-1")
            text = json.dumps(header).encode()
        else:
            text = mutated_json(header, rng)
        data = with_header(text, body)
    elif ending == ".png" and forge and whole:
        data = mutated_png(data, rng)
    elif ending in (".zip", ".npz") and forge and whole:
        data = mutated_zip(data, rng)
    elif ending == ".pt" and whole:
        data = mutated(data[:-32], rng)
        data += hashlib.sha256(data).digest()
    else:
        data = mutated(data, rng, donor)
    path.write_bytes(data)


def any_of(paths, rng: np.random.Generator) -> Path:
    paths = sorted(paths)
    return paths[rng.integers(len(paths))]


# -- doors: each writes a valid sample, and opens one that is mutated ----------------------------------------------------


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, bg, bg_fg):
        return self.body(torch.cat((bg, bg_fg), 1)).chunk(2, 1)


def same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys(), f"{sorted(a)} instead of {sorted(b)}"
    for name in b:
        assert np.array_equal(np.asarray(a[name]), np.asarray(b[name]), equal_nan=True), f"{name} has other values"


def keeps_the_format(batch: dict) -> None:
    try:
        for row in range(len(batch["bg"])):
            check_quartet({name: value[row] for name, value in batch.items()})
    except CourseError as error:
        raise AssertionError(f"the data format is not kept: {error}") from error


def make_pictures(folder: Path) -> None:
    image, data = Image.fromarray(room_picture(40, 28)), Image.Exif()
    data[0x0112], data[0x010F] = 6, "maker"
    for ending, options in {"jpg": {}, "webp": {}, "png": {}, "tif": {}, "gif": {}, "bmp": {}}.items():
        with_exif = {"exif": data} if ending in ("jpg", "webp", "png") else {}
        image.save(folder / f"a.{ending}", **options, **with_exif)
    image.save(folder / "progressive.jpg", progressive=True)
    image.quantize(16).save(folder / "palette.png", transparency=3)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("RGBA").save(folder / "lossless.webp", lossless=True)
    image.save(folder / "packed.tif", compression="tiff_lzw")
    Image.fromarray(np.arange(40 * 28, dtype=np.uint16).reshape(28, 40) * 50).save(folder / "deep.png")


def use_picture(folder: Path, rng: np.random.Generator, _) -> None:
    path = any_of(folder.iterdir(), rng)
    mutate(path, rng, forge=True)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
    assert (read_image(path.read_bytes()) == pixels).all()
    net = Tiny().eval()
    found = predict(net, path, path, size=32)
    for value in found.values():
        assert value.shape == pixels.shape[:2] and np.isfinite(value).all() and 0 <= value.min() <= value.max() <= 1


def make_photos(folder: Path) -> None:
    photo_folder(folder / "mine")
    Image.fromarray(room_picture(number=4)).save(folder / "mine/bg/room_4.jpg")
    np.save(folder / "mine/bg_depth/room_4.npy", floor_depth().astype(np.float32))


def use_photos(*pattern: str) -> Callable:
    def use(folder: Path, rng: np.random.Generator, _) -> None:
        mutate(any_of((path for p in pattern for path in (folder / "mine").glob(p)), rng), rng, forge=True)
        dataset = PhotosDataset(folder / "mine", 32, placements=2)
        keeps_the_format(get_batch(dataset, range(0, len(dataset), 5)))

    return use


PLACES = {"room_0": "hall", "room_1": 2, "room_4": "Hall"}


def make_places(folder: Path) -> None:
    make_photos(folder)
    (folder / "plain.json").write_text(json.dumps(PLACES))
    objects = {name: {"run": i // 2, "scene": i} for i, name in enumerate(PLACES)}
    (folder / "objects.json").write_text(json.dumps(objects))


def use_places(folder: Path, rng: np.random.Generator, _) -> None:
    """Where it is read, rooms of one place, and no others, are one place."""
    said = folder / "mine/scenes.json"
    shutil.copy(folder / str(rng.choice(("plain.json", "objects.json"))), said)
    mutate(said, rng)
    found = PhotosDataset(folder / "mine", 32, placements=1).places
    read = {name.casefold(): value for name, value in json.loads(said.read_text()).items()}
    field = "run" if "run" in said.read_text() else "scene"
    value = {i: read[name] for i, name in enumerate(PLACES) if name in read}
    value = {i: str(one[field] if isinstance(one, dict) else one).casefold() for i, one in value.items()}
    for one in value:
        for other in range(3):
            assert (found.get(one, one) == found.get(other, other)) == (value[one] == value.get(other, other)), read


def make_archive(folder: Path) -> None:
    root = write_archive(folder / "archive", rooms=2, cats=2, size=32, numbers=2)
    with zipfile.ZipFile(root / "bg.zip", "w") as file:
        for path in sorted((root / "bg").iterdir()):
            file.write(path, f"bg/{path.name}")
    shutil.rmtree(root / "bg")
    for path in root.iterdir():  # without times, so that a case is the same tomorrow
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w") as file:
            for name, data in members.items():
                file.writestr(zipfile.ZipInfo(name), data)


def use_archive(folder: Path, rng: np.random.Generator, _) -> None:
    mutate(any_of((folder / "archive").iterdir(), rng), rng, forge=True)
    dataset = ArchiveDataset(folder / "archive", 32)
    json.dumps(dataset.report())
    keeps_the_format(get_batch(dataset, range(len(dataset))))


def make_index(folder: Path) -> dict:
    make_archive(folder)
    with cache_in(folder):
        return get_batch(ArchiveDataset(folder / "archive", 32), range(8))


def use_index(folder: Path, rng: np.random.Generator, expected: dict) -> None:
    """The index is kept under the zips' times: a copy keeps them."""
    mutate(any_of((folder / "cache").rglob("*.npz"), rng), rng)
    if rng.random() < 0.2:
        (next((folder / "cache").iterdir()) / "unreadable.jsonl").write_bytes(
            mutated_json({"where": "mask.zip", "name": "a", "why": "b"}, rng) + b"\n"
        )
    same(get_batch(ArchiveDataset(folder / "archive", 32), range(8)), expected)


def toy() -> ToyQuartets:
    return ToyQuartets(2, 2, 2, 32)


def make_set(folder: Path) -> dict:
    return get_batch(cached(toy(), folder, workers=0, progress=False), range(8))


def use_set(folder: Path, rng: np.random.Generator, expected: dict) -> None:
    (path,) = folder.glob("quartets-*")
    mutate(any_of(path.iterdir(), rng), rng)
    same(get_batch(cached(toy(), folder, workers=0, progress=False), range(8)), expected)
    assert [p.name for p in folder.iterdir() if p.is_dir() and p.name.startswith(".")] in ([], [".tmp"])


def make_arrays(folder: Path) -> dict:
    rng = np.random.default_rng(0)
    arrays = {"colour": rng.random((3, 8, 8), np.float32), "ids": np.arange(9), "seen": np.ones((4, 4), bool)}
    save_arrays(folder / "room-0000.npz", **arrays)
    return arrays


def use_arrays(folder: Path, rng: np.random.Generator, expected: dict) -> None:
    mutate(folder / "room-0000.npz", rng)
    kept = load_arrays(folder / "room-0000.npz")
    if kept is not None:  # a directory may lose an entry: all who use them look which there are
        assert kept, "nothing is kept in it"
        same(kept, {name: expected.get(name, "nothing of this name") for name in kept})


def make_snapshots(folder: Path) -> None:
    scene = {name: np.zeros((4, 1, 8, 8), np.uint8) for name in ("bg_fg", "mask", "depth", "valid")}
    moments = np.arange(6.0).reshape(2, 3)
    predictions = {f"predictions-{i}": np.zeros((4, 2, 8, 8), np.uint8) for i in range(2)}
    save_arrays(folder / "snapshots.npz", moments=moments, stages=np.array(1), **scene, **predictions)


def use_snapshots(folder: Path, rng: np.random.Generator, _) -> None:
    mutate(folder / "snapshots.npz", rng)
    assert len(read_snapshots(folder).snapshots) == 2


def make_scenes(folder: Path) -> None:
    small = {}
    with np.load(SCENES) as arrays:
        for name in arrays.files:
            small[name] = arrays[name][:, :, :16, :16] if arrays[name].ndim == 4 else arrays[name]
    depth = small["depth"].astype(np.float64)
    small["depth"][:] = 65535 * (depth - depth.min((1, 2, 3), keepdims=True)) / np.ptp(depth, (1, 2, 3), keepdims=True)
    small["valid"][:] = True
    np.savez(folder / "scenes.npz", **small)
    keeps_the_format(example_scenes(folder / "scenes.npz"))


def use_scenes(folder: Path, rng: np.random.Generator, _) -> None:
    mutate(folder / "scenes.npz", rng)
    keeps_the_format(example_scenes(folder / "scenes.npz"))


def make_weights(folder: Path) -> dict:
    NETWORKS["Tiny"] = Tiny
    recipe = {"name": "course", "depth_activation": "sigmoid", "stages": [{"size": 32, "batch": 8, "epochs": 1}]}
    torch.manual_seed(0)
    state, path = Tiny().state_dict(), folder / "weights.safetensors"
    save_tensors(path, state, {"network": "Tiny", "recipe": json.dumps(recipe)})
    header, body = header_and_body(path.read_bytes())
    path.write_bytes(with_header(json.dumps(header, sort_keys=True).encode(), body))  # always in one order
    load(path)
    return state


def header_and_body(data: bytes) -> tuple[dict, bytes]:
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def with_header(text: bytes, body: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + body


def use_weights(folder: Path, rng: np.random.Generator, expected: dict) -> None:
    mutate(folder / "weights.safetensors", rng)
    net = load(folder)
    found = predict(net, room_picture(40, 28), room_picture(40, 28))
    assert all(np.isfinite(value).all() for value in found.values())
    with safe_open(folder / "weights.safetensors", "pt") as file:
        signed = "sha256" in file.metadata()  # else it looks like one of an earlier version
    if signed:
        same(net.state_dict(), expected)


IDENTITY = {"network": "Tiny", "recipe": {"seed": 0}}


def make_checkpoint(folder: Path) -> dict:
    for seen in (1, 2):
        state = {"weight": torch.arange(60.0).reshape(6, 10) + seen, "steps": torch.tensor(seen)}
        saved = {"identity": json.dumps(IDENTITY), "net": state, "seen": seen, "history": "[]", "curve": "[]"}
        save_checkpoint(folder, saved)
    return state


def use_checkpoint(folder: Path, rng: np.random.Generator, expected: dict) -> None:
    """One that is signed anew may hold anything; the other kinds of damage are found, and the one before is taken."""
    before, path = hash_of(folder / "last.pt"), folder / "last.pt"
    mutate(path, rng)
    data = path.read_bytes()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        found = newest(folder, IDENTITY)
    assert not said.getvalue() or is_sentence(CourseError(said.getvalue().strip())), said.getvalue()
    if hashlib.sha256(data[:-32]).digest() != data[-32:] or hash_of(path) == before:
        assert found["seen"] == (2 if hash_of(path) == before else 1)
        same(found["net"], {name: value - (2 - found["seen"]) for name, value in expected.items()})


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


NAMES = ("a.jpg", "../a.jpg", "..\\a.jpg", "/tmp/a.jpg", "a" * 300, "", ".", "..", "\0", "a/b.png", "CON", "ü.jpg",
         "\U0001f63a" * 90 + ".jpg", "a." + "\U0001f63a" * 90,
         "x." + "y" * 300, "猫" * 90 + ".jpg", "\ud800.jpg", " ", "a\nb.jpg", "C:a.jpg", "a:b.jpg", "a\x1b[0m.png")  # fmt: skip


def make_uploads(folder: Path) -> None:
    (folder / "given").mkdir()
    make_pictures(folder / "given")


def use_uploads(folder: Path, rng: np.random.Generator, _) -> None:
    given, stored = folder / "given", folder / "stored"
    items = []
    for _ in range(rng.integers(1, 4)):
        path = any_of(given.iterdir(), rng)
        if rng.random() < 0.3:
            mutate(path, rng, forge=True)
        name = NAMES[rng.integers(len(NAMES))] if rng.random() < 0.7 else path.name
        items.append({"name": name, "content": path.read_bytes()})
    try:
        paths = save_uploads(items, stored)
    except CourseError:
        assert not stored.exists() or not list(stored.iterdir()), "something was stored"
        raise
    assert [path.read_bytes() for path in paths] == [item["content"] for item in items]
    assert all(path.parent == stored for path in paths)


def make_pair(folder: Path) -> None:
    rng = np.random.default_rng(0)
    room = np.kron(rng.integers(40, 210, (8, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    scene = room.copy()
    scene[20:44, 30:50] = (230, 60, 20)
    for name, picture in {"room": room, "scene": scene}.items():
        for ending in ("jpg", "png"):
            Image.fromarray(picture).save(folder / f"{name}.{ending}")


def use_pair(folder: Path, rng: np.random.Generator, _) -> None:
    paths = [folder / f"{name}.{rng.choice(('jpg', 'png'))}" for name in ("room", "scene")]
    mutate(paths[rng.integers(2)], rng, forge=True)
    room, scene = map(read_photo, paths)
    found = cut_out(room, scene)
    assert found.shape == (*scene.shape[:2], 4) and found.dtype == np.uint8


class Door(NamedTuple):
    make: Callable[[Path], object]  # writes the sample; what it returns is what is expected of a door that mends
    use: Callable[[Path, np.random.Generator, object], None]
    share: int  # of the cases, in parts: cheap doors and those that take files from others get more


DOORS = {
    "pictures": Door(make_pictures, use_picture, 20),
    "photos": Door(make_photos, use_photos("bg/*", "fg/*"), 4),
    "depth": Door(make_photos, use_photos("bg_depth/*"), 4),
    "camera": Door(make_photos, use_photos("camera.json"), 4),
    "places": Door(make_places, use_places, 4),
    "archive": Door(make_archive, use_archive, 12),
    "index": Door(make_index, use_index, 8),
    "set": Door(make_set, use_set, 8),
    "arrays": Door(make_arrays, use_arrays, 8),
    "snapshots": Door(make_snapshots, use_snapshots, 4),
    "scenes": Door(make_scenes, use_scenes, 4),
    "weights": Door(make_weights, use_weights, 10),
    "checkpoint": Door(make_checkpoint, use_checkpoint, 8),
    "uploads": Door(make_uploads, use_uploads, 5),
    "pair": Door(make_pair, use_pair, 1),
}


# -- one case -------------------------------------------------------------------------------------------------------


def is_sentence(error: CourseError) -> bool:
    text = str(error)
    return text[-1:] in ".)" and len(text.split()) > 4 and len(text) < 3000 and not re.search(r" object at 0x", text)


@contextlib.contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("COURSE_CACHE")
    os.environ["COURSE_CACHE"] = str(folder / "cache")
    yield
    os.environ.pop("COURSE_CACHE")
    if before is not None:
        os.environ["COURSE_CACHE"] = before


def memory(name: str) -> float:
    """MB of this process by /proc: VmRSS now, VmHWM at most since the last reset; 0 where there is no such file."""
    with contextlib.suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


class Outcome(NamedTuple):
    kind: str  # "refused", "read" or "failed"
    why: str
    seconds: float
    megabytes: float


class Box:
    """A folder with the sample of one door, and a place for a case, around which nothing may change."""

    def __init__(self, root: Path, name: str):
        self.name, self.door, self.root = name, DOORS[name], root / name
        self.sample, self.case, self.here = (self.root / part for part in ("sample", "case", "here"))
        for folder in (self.sample, self.here):
            folder.mkdir(parents=True)
        with quiet():
            self.expected = self.door.make(self.sample)

    def run(self, seed: int, number: int) -> Outcome:
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode()), number])
        shutil.copytree(self.sample, self.case)  # with its times
        beside, before = self._beside(), memory("VmRSS")
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        os.chdir(self.here)
        tempfile.tempdir = str(self.here)
        start, kind, why = time.perf_counter(), "read", ""
        try:
            with quiet(), cache_in(self.case):
                self.door.use(self.case, rng, self.expected)
        except CourseError as error:
            kind = "refused" if is_sentence(error) else "failed"
            why = str(error)
        except Exception as error:
            kind, why = "failed", f"{type(error).__name__}: {error}"
        seconds, megabytes = time.perf_counter() - start, max(memory("VmHWM") - before, 0)
        if seconds > SECONDS:
            kind, why = "failed", f"took {seconds:.0f} seconds"
        if megabytes > MEGABYTES:
            kind, why = "failed", f"took {megabytes:.0f} MB"
        if (after := self._beside()) != beside:
            kind, why = "failed", f"wrote beside its folder: {sorted(after ^ beside)}"
        shutil.rmtree(self.case)
        return Outcome(kind, why[:300], seconds, megabytes)

    def _beside(self) -> set:
        parts = [p for p in (*self.root.parent.iterdir(), *self.root.iterdir(), *self.here.rglob("*")) if p != self.case]
        return {str(path) for path in parts}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# -- many cases -----------------------------------------------------------------------------------------------------


def _child(channel, root: str, name: str, seed: int, first: int, last: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # its threads, like those of torch, do not survive the fork and would be waited for
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C talk there
    try:
        box = Box(Path(root), name)
    except Exception as error:
        channel.send(f"The sample of {name} cannot be made: {error!r}")
        raise
    channel.send("ready")
    for number in range(first, last):
        channel.send(box.run(seed, number))
    channel.send("end")
    os._exit(0)  # what C++ libraries do when Python ends is not what is looked at here


def run_door(name: str, seed: int, cases: int) -> list[Outcome]:
    """The cases 0, 1, ... of a door, in another process; after one that hangs or crashes it is started again."""
    outcomes = []
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    while len(outcomes) < cases:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(theirs, root, name, seed, len(outcomes), cases))
            process.start()
            theirs.close()
            try:
                patience = 120  # for the sample
                while True:
                    if not mine.poll(patience):
                        outcomes.append(Outcome("failed", "hangs", patience, 0.0))
                        break
                    message = mine.recv()
                    patience = 3 * SECONDS  # a case that comes to an end says itself how long it took
                    if message == "end":
                        break
                    if isinstance(message, Outcome):
                        outcomes.append(message)
                    elif message != "ready":
                        raise RuntimeError(message)
            except EOFError:
                process.join()
                outcomes.append(Outcome("failed", f"the process ended with {process.exitcode}", 0.0, 0.0))
            finally:
                process.kill()
                process.join()
    return outcomes


def shares(cases: int) -> dict[str, int]:
    total = sum(door.share for door in DOORS.values())
    return {name: -(-cases * door.share // total) for name, door in DOORS.items()}


def run(cases: dict[str, int], seed: int) -> list[str]:
    """Prints a table, a row for each door when it is done; returns what failed and how to see it again."""
    torch.set_num_threads(1)  # before any fork: threads do not survive it
    print("door         cases  refused     read  failed  seconds  ms/case  peak MB", flush=True)
    failures, total = [], [0, 0, 0, 0, 0.0, 0.0]
    for name, count in cases.items():
        outcomes = run_door(name, seed, count)
        kinds = [outcome.kind for outcome in outcomes]
        seconds = sum(outcome.seconds for outcome in outcomes)
        row = [count, *map(kinds.count, ("refused", "read", "failed")), seconds, max(o.megabytes for o in outcomes)]
        total = [*(a + b for a, b in zip(total[:5], row)), max(total[5], row[5])]
        print(_row(name, row), flush=True)
        failures += [
            f"{name} {number}: {outcome.why}\n    python tests/fuzzing.py --door {name} --seed {seed} --only {number}"
            for number, outcome in enumerate(outcomes) if outcome.kind == "failed"
        ]  # fmt: skip
    print(_row("all", total))
    return failures


def _row(name: str, row: list) -> str:
    count, refused, read, failed, seconds, peak = row
    per_case = 1000 * seconds / max(count, 1)
    return f"{name:11}{count:7,}  {refused:7,}  {read:7,} {failed:7,}  {seconds:7.1f}  {per_case:7.1f}  {peak:7.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutated files at every door.")
    parser.add_argument("--cases", type=int, default=1000, help="over all doors, or of the one that --door names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", choices=DOORS)
    parser.add_argument("--only", type=int, help="one case of --door, in this process, with its error")
    asked = parser.parse_args()
    if asked.only is not None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
            box = Box(Path(root), asked.door)
            shutil.copytree(box.sample, box.case)
            rng = np.random.default_rng([asked.seed, zlib.crc32(asked.door.encode()), asked.only])
            with cache_in(box.case):
                box.door.use(box.case, rng, box.expected)
        return
    failures = run({asked.door: asked.cases} if asked.door else shares(asked.cases), asked.seed)
    print(*failures, sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
