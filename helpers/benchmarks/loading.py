"""How fast quartets come: composed live from photographs, and from a cached set, beside the published project's loader.

``python -m helpers.benchmarks.loading FOLDER [--sizes 64 112 192]`` takes rooms and cats of FOLDER. The published loader
opens four JPEG files of 192 px for each quartet with Pillow, resizes them, and makes tensors of them with torchvision;
here it reads the same quartets, stored as such files. One process with one thread, batches of 32, median of five rounds
in which all take turns.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import functional as T

from helpers.benchmarks.summary import machine
from helpers.config import plain_errors
from helpers.dataset import cached, sample
from helpers.loading import get_batch
from helpers.photos.dataset import PhotosDataset
from helpers.utils import table

STORED, BATCH, COUNT, ROUNDS = 192, 32, 256, 5
IMAGES = ("bg", "bg_fg", "mask", "depth")
MEAN_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def store_jpegs(dataset: Dataset, folder: Path) -> None:
    """``NAME-NUMBER.jpg`` of all quartets: what the published archive holds of each."""
    for number in range(len(dataset)):
        for name in IMAGES:
            T.to_pil_image(dataset[number][name]).save(folder / f"{name}-{number}.jpg", quality=90)


def published(folder: Path, size: int, indices: Sequence[int]) -> list[Tensor]:
    """A batch as the published loader makes it: (B, 3 or 1, size, size) float32 of each of :data:`IMAGES`."""
    batch = []
    for name in IMAGES:
        opened = (Image.open(folder / f"{name}-{number}.jpg") for number in indices)
        tensors = [T.to_tensor(T.resize(image, [size, size])) for image in opened]
        batch.append(torch.stack([T.normalize(x, *MEAN_STD) if len(x) == 3 else x for x in tensors]))
    return batch


def measure(root: Path, sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Quartets a second of each way at each size, and how many times the published loader's they are."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        store_jpegs(cached(sample(PhotosDataset(root, STORED), COUNT), folder=folder), Path(folder))
        for size in sizes:
            live = sample(PhotosDataset(root, size), COUNT)
            kept = cached(live, folder=folder, progress=False)
            ways = {
                "published loader": lambda indices, size=size: published(Path(folder), size, indices),
                "composed live": lambda indices, live=live: get_batch(live, indices),
                "cached": lambda indices, kept=kept: get_batch(kept, indices),
            }
            taken = {name: [] for name in ways}
            for _ in range(1 + ROUNDS):  # the first finds where cats can stand, and fills caches
                for name, make in ways.items():
                    begin = time.perf_counter()
                    for first in range(0, COUNT, BATCH):
                        make(range(first, first + BATCH))
                    taken[name].append(time.perf_counter() - begin)
            speed = {name: COUNT / statistics.median(times[1:]) for name, times in taken.items()}
            for name, value in speed.items():
                rows[f"{name}, {size} px"] = {"a second": round(value), "times published": value / speed["published loader"]}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.loading", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs of rooms, and cats")
    parser.add_argument("--sizes", nargs="+", default=(64, 112, 192), type=int, help="pixels; default %(default)s")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with plain_errors():
        print(table(measure(given.folder, given.sizes), digits=2))
        print(machine())


if __name__ == "__main__":
    main()
