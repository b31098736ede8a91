"""Importer: the indoor rooms of DIODE's validation part (Vasiljevic et al., 2019), with depth from a laser scanner."""

import re
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.config import CourseError
from helpers.photos.builder import Report, read_photo
from helpers.photos.download import DIODE, check_limit, evenly, published_file, write_rooms
from helpers.photos.folder import open_npy
from helpers.utils import bar, disk_faults_told

SHAPE = (768, 1024)
# The focal lengths that the publishers' devkit gives; the depth is taken along the camera's axis, as benchmarks do.
CAMERA = {"size": [1024, 768], "fx": 886.81, "fy": 927.06, "cx": 512.0, "cy": 384.0}
KINDS = (".png", "_depth.npy", "_depth_mask.npy")
FILE = re.compile(rf"(?:.*/)?indoors/(scene_\d+/scan_\d+)/(\d+_\d+_indoors_\d+_\d+)({'|'.join(map(re.escape, KINDS))})")
MAX_MEMBER = 32 * 2**20  # bytes; the largest that is needed has 6 MB
MAX_ARCHIVE = 16 * 2**30  # bytes, unpacked; the real one has some 4 GB
MAX_MEMBERS = 100_000  # the real one has some 2,400


def import_diode(source: str | Path, root: str | Path, limit: int | None = None, md5: str | None = DIODE.md5) -> Report:
    """Turn DIODE's indoor pictures into ``root/bg``, ``root/bg_depth`` and ``root/camera.json``.

    A *scan* is one position of the scanner, from which many pictures look around. They show the same room, so the
    middle one alone is taken: else a room could be in training and test set.

    Args:
        source: ``val.tar.gz``, read as a stream, twice; only the pictures that are taken reach the disk.
        root: the folder of photographs.
        limit: at most so many rooms, spread evenly over the scans.
        md5: sum of the archive, checked first; None: do not check.

    Raises:
        CourseError: not DIODE, damaged, nothing indoors in it, or ``root`` has rooms already.
    """
    check_limit(limit)
    source = published_file(source, "val.tar.gz of DIODE", md5)
    scans = _scans(member.name for _, member in _members(source, "looking through"))
    chosen = evenly([sorted(frames)[len(frames) // 2] for _, frames in sorted(scans.items())], limit)
    further = sum(map(len, scans.values())) - len(chosen)
    return write_rooms(source, root, CAMERA, _read_frames(source, set(chosen)), len(chosen), further)


def _scans(paths: Iterable[str]) -> dict[str, list[str]]:
    """The complete indoor frames of every scan."""
    scans: dict[str, list[str]] = {}
    for (scan, frame), files in Counter(FILE.fullmatch(path).group(1, 2) for path in paths).items():
        if files == len(KINDS):
            scans.setdefault(scan, []).append(frame)
    if not scans:
        names = "indoors/scene_.../scan_.../....png, ..._depth.npy and ..._depth_mask.npy"
        raise CourseError(f"There is no indoor picture with its depth and mask: DIODE's files are named {names}.")
    return scans


def _members(source: Path, verb: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """DIODE's indoor files in the archive, which is read as a stream: what is not read at once is gone."""
    counter = bar(source.stat().st_size, f"{verb} {source.name}", "B")
    with _damage(source.name), open(source, "rb") as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
        for number, member in enumerate(archive):
            if member.offset_data + member.size > MAX_ARCHIVE or number > MAX_MEMBERS:
                raise CourseError(f"{source.name} is far larger inside than DIODE's val.tar.gz: download it again.")
            if member.isreg() and FILE.fullmatch(member.name):
                if member.size > MAX_MEMBER:
                    raise CourseError(f"{source.name} holds a picture of {member.size >> 20} MB: it is not DIODE's.")
                yield archive, member
            archive.members.clear()  # a stream never goes back: remember nothing of it
            counter.update(stream.tell() - counter.n)
    counter.close()


def _read_frames(source: Path, chosen: set[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, picture and metres of the chosen frames, which are unpacked meanwhile."""
    with tempfile.TemporaryDirectory(prefix="course-diode-") as temporary:
        for archive, member in _members(source, "unpacking from"):
            _, frame, kind = FILE.fullmatch(member.name).groups()
            if frame in chosen:
                file = Path(temporary) / f"{frame}{kind}"  # digits and letters alone: it cannot lead away
                with _damage(source.name), disk_faults_told(file):
                    file.write_bytes(archive.extractfile(member).read())
        for frame in sorted(chosen):
            yield frame, *_read_frame(*(Path(temporary) / f"{frame}{kind}" for kind in KINDS))


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the archive's
            raise
        raise CourseError(f"{name} is damaged or cut short ({error}): download it again.") from error


def _read_frame(picture: Path, depth: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """A picture (768, 1024, 3) uint8 and its metres (768, 1024), 0 where the scanner saw nothing."""
    array = read_photo(picture)
    if array.shape[:2] != SHAPE:
        raise CourseError(f"{picture.name} has {array.shape[1]} x {array.shape[0]} px; DIODE's have 1024 x 768.")
    return array, np.where(_read_npy(mask) > 0, _read_npy(depth), 0)


def _read_npy(path: Path) -> np.ndarray:
    array = open_npy(path, path.name, "download DIODE again")
    if array.shape not in (SHAPE, (*SHAPE, 1)) or array.dtype.kind not in "fbu":
        raise CourseError(f"{path.name} is {array.dtype} of shape {array.shape}; DIODE's are 768 x 1024 numbers.")
    return np.array(array.reshape(SHAPE), dtype=np.float32)
