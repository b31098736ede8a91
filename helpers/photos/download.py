"""Public photographs, turned into the folders that PhotosDataset reads: what all importers share.

Cats with an outline come from Oxford-IIIT Pet, rooms with measured depth from DIODE or NYU Depth v2; one folder has one
camera, so its rooms come from one of the two. Whoever wants one downloads it under its own licence. A download is
checked before it is believed, read with bounded memory, and written whole or not at all.
"""

import hashlib
import json
import shutil
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from helpers.config import CourseError
from helpers.photos.builder import Report, counted, save_room, written_together
from helpers.utils import disk_faults_told, reading

T = TypeVar("T")

DEPTH_UNIT = 0.001  # metres: 16-bit PNGs then reach 65 m
FARTHEST = 65535 * DEPTH_UNIT


@dataclass(frozen=True)
class PublicData:
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


PETS = PublicData("Oxford-IIIT Pet", "cut-out cats of twelve breeds", 0.8, "CC BY-SA 4.0", None, None)
DIODE = PublicData(
    "DIODE, validation part", "rooms with depth from a laser scanner", 2.6, "MIT licence",
    "https://diode-dataset.s3.amazonaws.com/val.tar.gz", "5c895d09201b88973c8fe4552a67dd85",
)  # fmt: skip
NYU = PublicData(
    "NYU Depth v2, labelled part", "rooms with depth from a Kinect", 3.0, "for research",
    "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat", "520609c519fba3ba5ac58c8fefcc3530",
)  # fmt: skip


def download(data: PublicData, folder: str | Path) -> Path:
    """Download into ``folder``, unless it is there already; returns what the importer of the same name reads.

    torchvision checks the sums. An interrupted download starts again. A CourseError says why one failed.
    """
    from torchvision.datasets import OxfordIIITPet, utils  # imported late: it is slow, and most readers never download

    folder = Path(folder).expanduser()
    with disk_faults_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    target = folder / (data.url or "oxford-iiit-pet").rpartition("/")[2]
    free, need = shutil.disk_usage(folder).free / 1e9, data.gigabytes * (2 if data.url is None else 1)
    if not target.exists() and free < need:
        raise CourseError(f"{data.title} needs {need:.1f} GB, {folder.name}/ has {free:.1f} GB free: make room first.")
    try:
        if data.url is None:
            OxfordIIITPet(folder, download=True)
        else:
            utils.download_url(data.url, folder, target.name, data.md5)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, zlib.error) as error:  # OSError: every network failure
        rest = f"delete {target}, which is incomplete, look" if target.exists() else "look"
        raise CourseError(
            f"{data.title} could not be downloaded ({error}): {rest} at the network and run this again; "
            f"if it stays so, get the file with a browser and put it into {folder.name}/."
        ) from error
    return target


def published_file(source: str | Path, what: str, md5: str | None) -> Path:
    """``source``, if it is there and has this sum, where one is given; else a CourseError."""
    source = Path(source).expanduser()
    if not source.is_file():
        raise CourseError(f"There is no {source.name}: give {what}.")
    with reading(source), source.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest() if md5 else None
    if found != md5:
        what = f"its md5 sum is {found} and should be {md5}"
        raise CourseError(f"{source.name} is not the published file: {what}. Delete it and download it again.")
    return source


def check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise CourseError(f"limit={limit}: choose at least 1, or None for all.")


def evenly(items: Sequence[T], count: int | None) -> list[T]:
    """``count`` of the items, spread evenly over all of them; all where there are fewer."""
    count = len(items) if count is None else min(count, len(items))
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def write_rooms(source: Path, root: str | Path, camera: dict, rooms: Iterator[tuple[str, np.ndarray, np.ndarray]],
                count: int, further: int) -> Report:  # fmt: skip
    """Write ``root/bg``, ``root/bg_depth`` and ``root/camera.json``, all of it or nothing.

    ``rooms`` makes ``count`` of them, one by one: name, picture (H, W, 3) uint8, metres (H, W), 0 or NaN where unknown.
    ``further`` pictures were left out before.

    Raises:
        CourseError: no room has depth in a tenth of its picture, or ``root`` has rooms already.
    """
    report = Report("rooms", left_out=+Counter({"further pictures of the same scenes": further}))  # +: without a 0
    with written_together(root, ("bg_depth/", "camera.json", "bg/")) as folder, closing(rooms):
        (folder / "camera.json").write_text(json.dumps({**camera, "depth_unit_m": DEPTH_UNIT}, indent=1))
        for name, picture, metres in counted(rooms, count, "writing rooms", "room"):
            metres = np.where(np.isfinite(metres) & (metres > 0) & (metres <= FARTHEST), metres, 0)
            if np.count_nonzero(metres) < 0.1 * metres.size:
                report.left_out["with depth in less than a tenth of the picture"] += 1
                continue
            save_room(picture, folder / "bg" / f"{name}.jpg")
            Image.fromarray((metres / DEPTH_UNIT).round().astype(np.uint16)).save(folder / "bg_depth" / f"{name}.png")
            report.kept += 1
        if not report.kept:
            raise CourseError(f"No picture in {source.name} has usable depth: download it again.")
    return report
