"""Importer: the rooms of NYU Depth v2's labelled part (Silberman et al., 2012), with depth from a Kinect."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from helpers.config import CourseError
from helpers.photos.builder import Report
from helpers.photos.download import NYU, check_limit, evenly, published_file, write_rooms

WIDTH, HEIGHT = 640, 480
# Warped to the depth sensor's view, the pictures kept a white frame; inside this window is none.
TOP, BOTTOM, LEFT, RIGHT = 8, 472, 8, 632
CAMERA = {  # of the colour camera, from the data set's toolbox, moved to the window
    "size": [RIGHT - LEFT, BOTTOM - TOP],
    "fx": 518.857901, "fy": 519.469611, "cx": 325.582449 - LEFT, "cy": 253.736166 - TOP,
}  # fmt: skip
MAX_FRAMES = 5000  # the real file has 1449
MAX_CHUNK = 256 * 2**20  # bytes that HDF5 unpacks at a time


def import_nyu(source: str | Path, root: str | Path, limit: int | None = None, md5: str | None = NYU.md5) -> Report:
    """Turn the labelled part of NYU Depth v2 into ``root/bg``, ``root/bg_depth`` and ``root/camera.json``.

    Several frames show one *scene*; the middle one alone is taken: else a room could be in training and test set. Parts
    of one scene, named ``..._0029a``, ``..._0029b``, count as one.

    Args:
        source: ``nyu_depth_v2_labeled.mat``, an HDF5 file (MATLAB 7.3); read frame by frame.
        root: the folder of photographs.
        limit: at most so many rooms, spread evenly over the scenes.
        md5: sum of the file, checked first; None: do not check.

    Raises:
        CourseError: not that file, damaged, or ``root`` has rooms already.
    """
    check_limit(limit)
    source = published_file(source, "nyu_depth_v2_labeled.mat", md5)
    with _reading(source.name):
        data = h5py.File(source, "r", rdcc_nbytes=32 * 2**20)
    with data:
        with _reading(source.name):
            images = _stack(data, "images", (3, WIDTH, HEIGHT), "u1")
            depths = _stack(data, "depths", (WIDTH, HEIGHT), "f")
            if len(images) != len(depths):
                raise ValueError(f"{len(images)} pictures and {len(depths)} depth maps")
            scenes = _scenes(data, len(images))
        chosen = evenly([(scene, frames[len(frames) // 2]) for scene, frames in sorted(scenes.items())], limit)

        def rooms() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
            window = np.s_[TOP:BOTTOM, LEFT:RIGHT]
            for scene, i in chosen:
                with _reading(source.name):
                    picture, metres = images[i].transpose(2, 1, 0), depths[i].T  # MATLAB counts columns first
                yield f"{scene}_{i:04d}", picture[window], metres[window]

        return write_rooms(source, root, CAMERA, rooms(), len(chosen), sum(map(len, scenes.values())) - len(chosen))


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except CourseError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:  # h5py's, for bad bytes
        raise CourseError(f"{name} is no complete HDF5 file of NYU Depth v2 ({error}): download it again.") from error


def _dataset(data, name: str):
    """The dataset called ``name``, if it lies in this file: HDF5 can point into other files."""
    if not isinstance(data.get(name, getlink=True), h5py.HardLink) or not isinstance(data[name], h5py.Dataset):
        raise KeyError(f"no dataset {name!r}")
    if data[name].is_virtual or data[name].external:
        raise ValueError(f"{name!r} lies in another file")
    return data[name]


def _stack(data, name: str, shape: tuple[int, ...], kind: str):
    """A dataset of at most MAX_FRAMES arrays of this shape."""
    found = _dataset(data, name)
    if found.shape[1:] != shape or not 0 < found.shape[0] <= MAX_FRAMES or not found.dtype.str[1:].startswith(kind):
        raise ValueError(f"{name!r} has shape {found.shape} of {found.dtype}, expected N x {shape}")
    if found.chunks and np.prod(found.chunks, dtype=float) * found.dtype.itemsize > MAX_CHUNK:
        raise ValueError(f"{name!r} comes in pieces of over {MAX_CHUNK >> 20} MB")
    return found


def _scenes(data, count: int) -> dict[str, list[int]]:
    """The frames of every scene. ``scenes`` holds a reference for each frame to its name, in 16-bit characters."""
    references = _dataset(data, "scenes")
    if references.size != count or references.dtype.kind != "O":
        raise ValueError(f"'scenes' has shape {references.shape} of {references.dtype}, expected {count} references")
    scenes: dict[str, list[int]] = {}
    for frame, reference in enumerate(references[()].ravel()):
        characters = data[reference]
        if characters.size > 100 or characters.dtype.kind != "u":
            raise ValueError(f"frame {frame} has no name of a scene")
        name = "".join(map(chr, characters[()].ravel()))
        if not re.fullmatch(r"\w+", name, re.ASCII):
            raise ValueError(f"frame {frame} is of a scene called {name!r}")
        scenes.setdefault(re.sub(r"(?<=\d)[a-z]$", "", name), []).append(frame)
    return scenes
