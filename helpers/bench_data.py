"""How fast data comes: measured against the published pipeline, in one run on one machine.

``python -m helpers.bench_data make FOLDER`` writes an archive as large as the published one, of tiny pictures.
``... first FOLDER`` times the way from zips on disk to the first batch, without and with a stored index, each in a
fresh process, and watches the memory. ``... speed FOLDER`` counts quartets a second at the three training sizes: the
published way (a million files, four JPEGs opened by Pillow, resized and normalised one by one) beside this package's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from helpers.archive import ZIPS, ArchiveDataset
from helpers.config import ROOT, CourseError, plain_errors
from helpers.files import whole_file
from helpers.quartets import Part, Quartets, loader, sample, store
from helpers.zips import member_name

BATCHES = {64: 512, 112: 128, 192: 32}  # the published stages: side and batch
PUBLISHED_WORKERS = (12, 2)  # as published, and as many as Colab has cores
WORKERS = 2
CATS, NUMBERS = 100, 40  # of the published archive: 2 flips x 20 placements
STORED = 256  # quartets of a stored set, made for the bench
SAMPLES = 2000  # different quartets that speed reads, again and again
FIRST = (64, 512)  # side and batch of the first stage


# -- make -------------------------------------------------------------------------------------------------------------------


def make(folder: Path, entries: int = 400_000, side: int = 64) -> None:
    """Write ``bg/`` and the three zips with ``entries`` quartets, rooms as needed, into ``folder``.

    Every room has its own background and forty pictures, which all its cats share: the sizes and the number of
    members are what is tested, and quartets still keep their contract.
    """
    rooms = -(-entries // (CATS * NUMBERS))
    (folder / "bg").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    backgrounds = [_smooth(rng, side) for _ in range(rooms)]
    for room, picture in enumerate(backgrounds, 1):
        cv2.imwrite(str(folder / "bg" / f"room_{room:04d}.png"), picture)
    masks = [_disc(rng, side) for _ in range(NUMBERS)]
    slope = np.linspace(255, 40, side)[:, None].repeat(side, 1)  # far at the top, near at the bottom
    depths = [_jpeg(np.where(mask > 127, 0, slope).astype(np.uint8)) for mask in masks]
    grey = [_jpeg(mask) for mask in masks]
    pictures: dict[str, Callable[[int], list[bytes]]] = {
        "bg_fg": lambda room: [_jpeg(_with_cat(backgrounds[room - 1], mask)) for mask in masks],
        "mask": lambda room: grey,
        "depth": lambda room: depths,
    }
    for name, prefix in ZIPS.items():
        with whole_file(folder / f"{name}.zip") as path, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for count in range(entries):
                room, number = divmod(count, CATS * NUMBERS)
                cat, number = divmod(number, NUMBERS)
                if cat == number == 0:
                    pool = pictures[name](room + 1)
                archive.writestr(f"{name}/{member_name(prefix, room + 1, cat + 1, number)}", pool[number])


def _smooth(rng: np.random.Generator, side: int) -> np.ndarray:
    """A soft random picture (side, side, 3)."""
    return cv2.resize(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


def _disc(rng: np.random.Generator, side: int) -> np.ndarray:
    x, y, radius = (rng.uniform(*limits) * side for limits in ((0.2, 0.8), (0.2, 0.8), (0.1, 0.2)))
    rows, columns = np.mgrid[:side, :side] + 0.5
    return ((radius - np.hypot(columns - x, rows - y) + 0.5).clip(0, 1) * 255).astype(np.uint8)


def _with_cat(background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    share = mask[..., None] / 255
    return (background * (1 - share) + np.array([30, 110, 230]) * share).astype(np.uint8)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


# -- first ------------------------------------------------------------------------------------------------------------------

# What the fresh process runs, and one that only imports the same.
_IMPORTS = """
import time
from helpers.archive import ArchiveDataset
from helpers.quartets import loader, sample
time.sleep(0.3)
"""
_FIRST = """
import json, sys, time
started = float(sys.argv[2])
from helpers.archive import ArchiveDataset
from helpers.quartets import loader, sample
imported = time.time()
side, batch, workers, batches = map(int, sys.argv[3:])
dataset = ArchiveDataset(sys.argv[1], side)
opened = time.time()
order = sample(dataset, batch * batches).indices
stream = iter(loader(dataset, [order[i : i + batch] for i in range(0, len(order), batch)], workers))
next(stream)
first = time.time()
print(json.dumps({"import": imported - started, "index": opened - imported, "batch": first - opened}), flush=True)
for _ in stream:
    pass
"""


def first(folder: Path) -> tuple[list[dict], list[dict]]:
    """Seconds of two fresh processes, without and with a stored index; and megabytes of two more.

    Memory is what a process and its workers hold, shared pages once (PSS), and the batches on their way between them
    (/dev/shm), each at its peak, sampled every 20 ms from outside: once for the imports alone, most of which is torch,
    and once for making the index and twenty batches.
    """
    with tempfile.TemporaryDirectory() as cache:
        times = [{"run": run, **_start(_FIRST, folder, cache, 1)[0]} for run in ("no index", "stored index")]
    with tempfile.TemporaryDirectory() as cache:
        _, alone = _start(_IMPORTS, folder, cache, 0)
        _, whole = _start(_FIRST, folder, cache, 20)
    memory = [
        {"run": "imports alone", **alone},
        {"run": f"index, {WORKERS} workers, up to 20 batches", **whole},
        {"run": "added to the imports", "together": whole["together"] - alone["together"]},
    ]
    return times, memory


def _start(code: str, folder: Path, cache: str, batches: int) -> tuple[dict[str, float], dict[str, float]]:
    """Run ``code`` in a fresh process: the times that it prints, and its peak memory."""
    environment = {**os.environ, "COURSE_CACHE": cache, "PYTHONPATH": str(ROOT)}
    arguments = [str(folder.resolve()), repr(time.time()), *map(str, (*FIRST, WORKERS, batches))]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=output, env=environment, cwd=ROOT)
        peaks = _watch(process) if batches != 1 else {}  # looking at memory takes time
        if process.wait():
            raise CourseError(f"The first batch from {folder} failed: see the message above.")
        output.seek(0)
        times = next((json.loads(line) for line in output if line.startswith("{")), {})
    return {**times, "total": sum(times.values())}, peaks


def _watch(process: subprocess.Popen) -> dict[str, float]:
    """Peak megabytes of a process alone, of its workers, of the batches between them, and of all at one moment."""
    peaks = dict.fromkeys(("process", "workers", "batches", "together"), 0.0)
    before = _shared()
    while process.poll() is None:
        now = {
            "process": _pss(process.pid),
            "workers": sum(_pss(pid) for pid in _workers(process.pid)),
            "batches": _shared() - before,
        }
        for name, value in {**now, "together": sum(now.values())}.items():
            peaks[name] = max(peaks[name], value)
        time.sleep(0.02)
    return peaks


def _shared() -> float:
    """Megabytes of shared memory in use on this machine."""
    try:
        usage = os.statvfs("/dev/shm")
    except (OSError, AttributeError):  # no Linux
        return 0.0
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize / 2**20


def _workers(pid: int) -> list[int]:
    """The processes that make batches for a process, known by the name that torch gives each when it begins.

    A process may start others, too: importing torch runs ldconfig. Until such a one has become that program it shares
    its parent's pages, and would count as a worker of the same size.
    """
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # ended meanwhile, or no Linux
        return []
    return [int(child) for child in children if _name(child) == "pt_data_worker"]


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # ended meanwhile
        return ""


def _pss(pid: int) -> float:
    """Megabytes of a process, each shared page divided by the number of processes that share it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):  # ended meanwhile, or no Linux
        return 0.0


# -- speed ------------------------------------------------------------------------------------------------------------------


class Published(Dataset):
    """The published pipeline: four files a sample, opened by Pillow, each resized, made a tensor and normalised."""

    def __init__(self, samples: Sequence[tuple[Path, Path, Path, Path]], size: int):
        from torchvision import transforms

        self.samples = samples
        statistics = {"RGB": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "L": ([0.5], [0.5])}
        self.transforms = {
            mode: transforms.Compose(
                [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(mean, deviation)]
            )
            for mode, (mean, deviation) in statistics.items()
        }

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = {}
        for name, path, mode in zip(("bg", "bg_fg", "mask", "depth"), self.samples[index], ("RGB", "RGB", "L", "L")):
            with Image.open(path) as image:
                item[name] = self.transforms[mode](image.convert(mode))
        return item


def unzip(dataset: ArchiveDataset, rows: Sequence[int], folder: Path) -> list[tuple[Path, Path, Path, Path]]:
    """The files that the published pipeline reads: one of each member of ``rows``, and of each background."""
    samples, whole = [], dataset.at_size(dataset.report()["sides"]["bg_fg"][0])
    for row in map(int, rows):
        background = folder / f"bg_{dataset.room_of(row)}.jpg"
        if not background.exists():
            background.write_bytes(_jpeg(whole[row]["bg"].numpy()[::-1].transpose(1, 2, 0)))
        paths = [background]
        for zip_name in ZIPS:
            name, data = dataset.jpeg(zip_name, row)
            paths.append(folder / name)
            paths[-1].write_bytes(data)
        samples.append(tuple(paths))
    return samples


def rate(start: Callable[[list[list[int]]], Iterator], count: int, batch: int, workers: int, seconds: float) -> float:
    """Quartets a second of whole rounds of batches (one for each worker), from the start of the workers to the last.

    The number of rounds is set before the start, so that no work is begun that is not counted.
    """
    rng = np.random.default_rng(0)

    def run(rounds: int) -> float:
        total = rounds * max(workers, 1) * batch
        order = np.concatenate([rng.permutation(count) for _ in range(-(-total // count))])[:total]
        started = time.monotonic()
        for _ in start([order[i : i + batch].tolist() for i in range(0, total, batch)]):
            pass
        return time.monotonic() - started

    rounds, taken = 1, run(1)
    if taken < seconds:
        rounds = max(round(seconds / taken), 1)
        taken = run(rounds)
    return rounds * max(workers, 1) * batch / taken


def speed(folder: Path, photos: Path | None, seconds: float) -> tuple[list[dict], list[dict]]:
    """Quartets a second at each size, and how many times the published pipeline's that is.

    The published pipeline has 12 and 2 workers, and the better of the two is compared with; this package has 2.
    Photographs and rooms are read from a stored set, as most profiles train on, and then made live: rooms that have
    been furnished and rendered before.
    """
    from helpers.photos import PhotosDataset
    from helpers.rooms import RoomsDataset

    archive = ArchiveDataset(folder)
    rows = sample(archive, SAMPLES).indices
    sources: dict[str, Callable[[int], Quartets]] = {"rooms": lambda size: RoomsDataset(size, rooms=16, cats=16)}
    if photos:
        sources = {"photos": lambda size: PhotosDataset(photos, size), **sources}
    rates, ratios = [], []
    with tempfile.TemporaryDirectory() as files, tempfile.TemporaryDirectory() as cache:
        unzipped = unzip(archive, rows, Path(files))
        for size, batch in BATCHES.items():
            published = {
                f"published, {workers} workers": _published_rate(unzipped, size, batch, workers, seconds)
                for workers in PUBLISHED_WORKERS
            }
            ours = {"archive": _our_rate(Part(archive.at_size(size), rows), batch, seconds)}
            for name, at_size in sources.items():
                with mock.patch.dict(os.environ, COURSE_CACHE=cache):
                    dataset = at_size(size)
                    stored = store(sample(dataset, STORED), workers=WORKERS, progress=False)
                    ours[f"{name}, stored"] = _our_rate(stored, batch, seconds)
                    ours[f"{name}, live"] = _our_rate(sample(dataset, SAMPLES), batch, seconds)
            rates.append({"size": size, "batch": batch, **published, **ours})
            best = max(published.values())
            ratios.append({"size": size, **{name: value / best for name, value in ours.items()}})
    return rates, ratios


def _published_rate(files: Sequence[tuple[Path, ...]], size: int, batch: int, workers: int, seconds: float) -> float:
    dataset = Published(files, size)

    def start(batches: list[list[int]]) -> DataLoader:
        return DataLoader(dataset, batch_sampler=batches, num_workers=workers)

    with warnings.catch_warnings():  # more workers than cores: as published
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        return rate(start, len(dataset), batch, workers, seconds)


def _our_rate(dataset: Dataset, batch: int, seconds: float) -> float:
    return rate(lambda batches: loader(dataset, batches, WORKERS), len(dataset), batch, WORKERS, seconds)


# -- the command ------------------------------------------------------------------------------------------------------------


def machine() -> str:
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}, "
        f"OpenCV {cv2.__version__}, Pillow {Image.__version__}"
    )


def _table(rows: list[dict], form: str) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = (row.get(name, "") for name in columns)
        lines.append(
            "| " + " | ".join(form.format(cell) if isinstance(cell, float) else str(cell) for cell in cells) + " |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.bench_data", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("make", help="write an archive of tiny pictures, as large as the published one")
    one.add_argument("folder", type=Path)
    one.add_argument("--entries", type=int, default=400_000)
    one.add_argument("--side", type=int, default=64, help="pixels")
    one = commands.add_parser("first", help="time to the first batch and peak memory")
    one.add_argument("folder", type=Path)
    one = commands.add_parser("speed", help="quartets a second beside the published pipeline")
    one.add_argument("folder", type=Path)
    one.add_argument("--seconds", type=float, default=10, help="at least, for each number")
    one.add_argument("--photos", type=Path, help="a folder of your own photographs, to be timed too")
    wanted = parser.parse_args(arguments)
    started = time.monotonic()
    with plain_errors():
        if wanted.command == "make":
            make(wanted.folder, wanted.entries, wanted.side)
            print(f"{wanted.entries:,} quartets in {wanted.folder}, written in {time.monotonic() - started:.0f} s.")
            return
        if wanted.command == "first":
            (side, batch), (times, memory) = FIRST, first(wanted.folder)
            print(
                f"Seconds to the first batch of {batch} at {side} px, {WORKERS} workers:\n\n{_table(times, '{:.2f}')}\n"
            )
            print(f"Peak memory, megabytes (PSS):\n\n{_table(memory, '{:.0f}')}\n")
        else:
            rates, ratios = speed(wanted.folder, wanted.photos, wanted.seconds)
            print(f"Quartets a second; this package with {WORKERS} workers:\n\n{_table(rates, '{:.0f}')}\n")
            print(f"Times the published pipeline's better row:\n\n{_table(ratios, '{:.1f}')}\n")
        print(machine())


if __name__ == "__main__":
    main()
