"""Public photographs, turned into the folders that PhotosDataset reads: what all importers share.

Cats with an outline come from Oxford-IIIT Pet (:mod:`helpers.photos.oxford_pets`); rooms with measured depth from DIODE
(:mod:`helpers.photos.diode`) or from NYU Depth v2 (:mod:`helpers.photos.nyu_depth`). One folder has one camera, so its rooms come from
one of the two. Nothing here is part of the course: whoever wants it downloads it (:func:`get_batch`) under its own licence.
A download is checked before it is believed, read with bounded memory, and a folder is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from helpers.config import CourseError
from helpers.photos.builder import new_parts, save_room
from helpers.utils import bar

T = TypeVar("T")

ROOM_PARTS = ("bg_depth", "camera.json", "bg")
DEPTH_UNIT = 0.001  # metres: 16-bit PNGs then reach 65 m
FARTHEST = 65535 * DEPTH_UNIT


@dataclass(frozen=True)
class Download:
    """A public data set that an importer reads."""

    title: str
    gives: str
    gigabytes: float
    licence: str
    url: str | None  # None: torchvision knows where
    md5: str | None

    @property
    def plan(self) -> str:
        """One line that says what a download would bring."""
        return f"{self.title}: {self.gives}; a download of {self.gigabytes} GB ({self.licence})."


PETS = Download("Oxford-IIIT Pet", "cut-out cats of twelve breeds", 0.8, "CC BY-SA 4.0", None, None)
DIODE = Download(
    "DIODE, validation part", "rooms with depth from a laser scanner", 2.6, "MIT licence",
    "https://diode-dataset.s3.amazonaws.com/val.tar.gz", "5c895d09201b88973c8fe4552a67dd85",
)  # fmt: skip
NYU = Download(
    "NYU Depth v2, labelled part", "rooms with depth from a Kinect", 3.0, "for research",
    "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat", "520609c519fba3ba5ac58c8fefcc3530",
)  # fmt: skip


# -- downloads ------------------------------------------------------------------------------------------------------


def fetch(download: Download, folder: str | Path) -> Path:
    """Download into ``folder``, unless it is there already; returns what the importer of the same name reads.

    torchvision does the work and checks the sums. An interrupted download starts again.

    Raises:
        CourseError: no network, no space, a broken file, or a server that no longer offers it.
    """
    from torchvision.datasets import OxfordIIITPet, utils  # imported late: it is slow, and most readers never download

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (download.url or "oxford-iiit-pet").rpartition("/")[2]
    free, need = shutil.disk_usage(folder).free / 1e9, download.gigabytes * (2 if download.url is None else 1)
    if not target.exists() and free < need:
        raise CourseError(
            f"{download.title} needs {need:.1f} GB and {folder.name}/ has {free:.1f} GB free: make room first."
        )
    try:
        if download.url is None:
            OxfordIIITPet(folder, download=True)
        else:
            utils.download_url(download.url, folder, target.name, download.md5)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, zlib.error) as error:  # OSError: every network failure
        raise CourseError(
            f"{download.title} could not be downloaded ({error}): look at the network and run this again; "
            f"if it stays so, get the file with a browser and put it into {folder.name}/."
        ) from error
    return target


def check_md5(path: Path, md5: str) -> None:
    """Raise a CourseError unless the file has this sum."""
    digest = hashlib.md5(usedforsecurity=False)
    counter = bar(path.stat().st_size, f"checking {path.name}", "B")
    counter.unit_scale = True
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            counter.update(len(block))
    counter.close()
    if digest.hexdigest() != md5:
        raise CourseError(
            f"{path.name} is not the published file: its md5 sum is {digest.hexdigest()} and should be {md5}. "
            "Delete it and download it again."
        )


def evenly(items: Sequence[T], count: int | None) -> list[T]:
    """``count`` of the items, spread evenly over all of them; all where there are fewer."""
    count = len(items) if count is None else min(count, len(items))
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise CourseError(f"{name}={value}: choose at least 1" + (", or None for all." if name == "limit" else "."))


# -- writing rooms -------------------------------------------------------------------------------------------------


def save_room_with_depth(folder: Path, name: str, picture: np.ndarray, metres: np.ndarray) -> bool:
    """Write one room, unless nothing of its depth is known; (H, W, 3) uint8 and (H, W) metres, 0 or NaN unknown."""
    metres = np.where(np.isfinite(metres) & (metres > 0) & (metres <= FARTHEST), metres, 0)
    if np.count_nonzero(metres) < 0.1 * metres.size:
        return False
    save_room(picture, folder / "bg" / f"{name}.jpg")
    Image.fromarray((metres / DEPTH_UNIT).round().astype(np.uint16)).save(folder / "bg_depth" / f"{name}.png")
    return True


@contextmanager
def new_rooms(root: str | Path, camera: dict) -> Iterator[Path]:
    with new_parts(root, ROOM_PARTS) as folder:
        (folder / "bg").mkdir()
        (folder / "bg_depth").mkdir()
        (folder / "camera.json").write_text(json.dumps({**camera, "depth_unit_m": DEPTH_UNIT}, indent=1))
        yield folder


def existing(source: str | Path, what: str) -> Path:
    if not Path(source).exists():
        raise CourseError(f"There is no {Path(source).name}: give {what}.")
    return Path(source)
