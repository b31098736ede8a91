"""Importer: the indoor rooms of DIODE's validation part (Vasiljevic et al., 2019), with depth from a laser scanner."""

from __future__ import annotations

import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.config import CourseError
from helpers.photos.builder import Report, read_photo
from helpers.photos.download import DIODE, check_counts, check_md5, evenly, existing, new_rooms, save_room_with_depth
from helpers.utils import bar

SHAPE = (768, 1024)
# The focal lengths that the publishers' devkit gives; the depth is taken along the camera's axis, as benchmarks do.
CAMERA = {"size": [1024, 768], "fx": 886.81, "fy": 927.06, "cx": 512.0, "cy": 384.0}
FILE = re.compile(
    r"(?:.*/)?indoors/(scene_\d+)/(scan_\d+)/(\d+_\d+_indoors_\d+_\d+)(\.png|_depth\.npy|_depth_mask\.npy)"
)
KINDS = (".png", "_depth.npy", "_depth_mask.npy")
MAX_MEMBER = 32 * 2**20  # bytes; the largest that is needed has 6 MB
MAX_ARCHIVE = 16 * 2**30  # bytes, unpacked; the real one has some 4 GB
MAX_MEMBERS = 100_000  # the real one has some 2,400


def import_diode(source: str | Path, root: str | Path, limit: int | None = None, per_scan: int = 1,
                 md5: str | None = DIODE.md5) -> Report:  # fmt: skip
    """Turn DIODE's indoor pictures into ``root/bg``, ``root/bg_depth`` and ``root/camera.json``.

    A *scan* is one position of the scanner, from which many pictures look around. They show the same room, and
    ``split`` holds out pictures: take more than one of a scan, and a test may ask about a room that was trained on.

    Args:
        source: ``val.tar.gz``, or the folder it was unpacked to. The archive is read as a stream, twice; only the
            pictures that are taken reach the disk.
        root: the folder of photographs.
        limit: at most so many rooms, spread evenly over the scans.
        per_scan: at most so many pictures of one scan.
        md5: sum of the archive, checked first; None: do not check. A folder has none.

    Raises:
        CourseError: not DIODE, damaged, nothing indoors in it, or ``root`` has rooms already.
    """
    check_counts(limit=limit, per_scan=per_scan)
    source = existing(source, "val.tar.gz of DIODE, or the folder it was unpacked to")
    if source.is_file() and md5:
        check_md5(source, md5)
    places = _places(_names(source))
    chosen = evenly([frame for place in sorted(places) for frame in evenly(sorted(places[place]), per_scan)], limit)
    report = Report("rooms")
    with new_rooms(root, CAMERA) as folder, _files(source, set(chosen)) as files:
        counter = bar(len(chosen), "writing rooms", "room")
        for frame in sorted(files):
            picture, metres = _read_frame(files[frame])
            if save_room_with_depth(folder, frame, picture, metres):
                report.kept += 1
            else:
                report.leave_out("with depth in less than a tenth of the picture")
            counter.update()
        counter.close()
        report.leave_out("further views of the same scans", sum(map(len, places.values())) - len(chosen))
        if not report.kept:
            raise CourseError(f"No picture in {source.name} has usable depth.")
    return report


def _places(names: Sequence[str]) -> dict[str, list[str]]:
    """The complete indoor frames of every scan, from paths in the data set."""
    kinds: dict[tuple[str, str], set[str]] = {}
    for name in names:
        if match := FILE.fullmatch(name):
            scene, scan, frame, kind = match.groups()
            kinds.setdefault((f"{scene}/{scan}", frame), set()).add(kind)
    places: dict[str, list[str]] = {}
    for (place, frame), there in kinds.items():
        if len(there) == len(KINDS):
            places.setdefault(place, []).append(frame)
    if not places:
        raise CourseError(
            "There is no indoor picture with its depth and mask: DIODE's files are named "
            "indoors/scene_.../scan_.../....png, ..._depth.npy and ..._depth_mask.npy."
        )
    return places


def _names(source: Path) -> list[str]:
    if source.is_dir():
        return [path.relative_to(source.parent).as_posix() for path in source.rglob("*") if path.is_file()]
    return [member.name for _, member in _members(source, "looking through")]


@contextmanager
def _files(source: Path, frames: set[str]) -> Iterator[dict[str, dict[str, Path]]]:
    """For each of the frames its three files; what an archive holds of them is unpacked for as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix="course-diode-") as temporary:
        files: dict[str, dict[str, Path]] = {}
        if source.is_dir():
            for path in source.rglob("*"):
                match = FILE.fullmatch(path.relative_to(source.parent).as_posix())
                if match and match[3] in frames:
                    files.setdefault(match[3], {})[match[4]] = path
        else:
            for archive, member in _members(source, "unpacking from"):
                match = FILE.fullmatch(member.name)
                if match and match[3] in frames:
                    path = Path(temporary) / f"{match[3]}{match[4]}"  # digits and letters alone: it cannot lead away
                    with _damage(source.name):
                        path.write_bytes(archive.extractfile(member).read())
                    files.setdefault(match[3], {})[match[4]] = path
        yield files


def _members(source: Path, verb: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """DIODE's indoor files in a tar archive, which is read as a stream; none of it is unpacked."""
    counter = bar(source.stat().st_size, f"{verb} {source.name}", "B")
    counter.unit_scale = True
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


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the archive's
            raise
        raise CourseError(f"{name} is damaged or cut short ({error}): download it again.") from error


def _read_frame(files: dict[str, Path]) -> tuple[np.ndarray, np.ndarray]:
    """A picture (768, 1024, 3) uint8 and its metres (768, 1024), 0 where the scanner saw nothing."""
    picture = read_photo(files[".png"])
    if picture.shape[:2] != SHAPE:
        raise CourseError(
            f"{files['.png'].name} has {picture.shape[1]} x {picture.shape[0]} px; DIODE's have 1024 x 768."
        )
    return picture, np.where(_read_npy(files["_depth_mask.npy"]) > 0, _read_npy(files["_depth.npy"]), 0)


def _read_npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # the header first, the numbers once it is believed
        if array.shape not in (SHAPE, (*SHAPE, 1)) or array.dtype.kind not in "fbu":
            raise CourseError(
                f"{path.name} holds {array.dtype} of shape {array.shape}; DIODE's are 768 x 1024 numbers."
            )
        return np.array(array.reshape(SHAPE), dtype=np.float32)
    except (OSError, ValueError, EOFError, AttributeError, SyntaxError) as error:
        if isinstance(error, CourseError):
            raise
        raise CourseError(f"{path.name} is not a readable .npy array: download DIODE again.") from error
