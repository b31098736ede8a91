"""Importer: the rooms of NYU Depth v2's labelled part (Silberman et al., 2012), with depth from a Kinect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.config import CourseError
from helpers.photos.builder import Report
from helpers.photos.download import NYU, check_counts, check_md5, evenly, existing, new_rooms, save_room_with_depth
from helpers.utils import bar

WIDTH, HEIGHT = 640, 480
# Where the pictures were warped to the depth sensor's view, a white frame stayed around them; inside this window is none.
TOP, BOTTOM, LEFT, RIGHT = 8, 472, 8, 632
CAMERA = {  # of the colour camera, from the data set's toolbox, moved to the window
    "size": [RIGHT - LEFT, BOTTOM - TOP],
    "fx": 518.857901, "fy": 519.469611, "cx": 325.582449 - LEFT, "cy": 253.736166 - TOP,
}  # fmt: skip
MAX_FRAMES = 5000  # the real file has 1449
MAX_CHUNK = 256 * 2**20  # bytes that HDF5 unpacks at a time


def import_nyu(source: str | Path, root: str | Path, limit: int | None = None, per_scene: int = 1,
               md5: str | None = NYU.md5) -> Report:  # fmt: skip
    """Turn the labelled part of NYU Depth v2 into ``root/bg``, ``root/bg_depth`` and ``root/camera.json``.

    Several frames show one *scene*, and ``split`` holds out pictures: take more than one of a scene, and a test may ask
    about a room that was trained on. Parts of one scene, named ``..._0029a``, ``..._0029b``, count as one.

    Args:
        source: ``nyu_depth_v2_labeled.mat``, an HDF5 file (MATLAB 7.3); read frame by frame.
        root: the folder of photographs.
        limit: at most so many rooms, spread evenly over the scenes.
        per_scene: at most so many frames of one scene.
        md5: sum of the file, checked first; None: do not check.

    Raises:
        CourseError: h5py is missing, not that file, damaged, or ``root`` has rooms already.
    """
    check_counts(limit=limit, per_scene=per_scene)
    source = existing(source, "nyu_depth_v2_labeled.mat")
    if md5:
        check_md5(source, md5)
    try:
        import h5py  # only this importer needs it
    except ImportError as error:
        raise CourseError("NYU Depth v2 is an HDF5 file: install h5py (Colab has it), then run this again.") from error
    report = Report("rooms")
    with _reading(source.name):
        data = h5py.File(source, "r", rdcc_nbytes=32 * 2**20)
    with data:
        images = _stack(h5py, data, "images", (3, WIDTH, HEIGHT), "u1")
        depths = _stack(h5py, data, "depths", (WIDTH, HEIGHT), "f")
        if len(images) != len(depths):
            raise CourseError(
                f"{source.name} has {len(images)} pictures and {len(depths)} depth maps: download it again."
            )
        scenes = _scenes(h5py, data, len(images))
        chosen = evenly([i for scene in sorted(scenes) for i in evenly(scenes[scene], per_scene)], limit)
        scene_of = {frame: scene for scene, frames in scenes.items() for frame in frames}
        window = np.s_[TOP:BOTTOM, LEFT:RIGHT]
        with new_rooms(root, CAMERA) as folder:
            counter = bar(len(chosen), "writing rooms", "room")
            for frame in chosen:
                with _reading(source.name):
                    picture, metres = images[frame], depths[frame]
                picture, metres = picture.transpose(2, 1, 0), metres.T  # MATLAB counts columns first
                if save_room_with_depth(folder, f"{scene_of[frame]}_{frame:04d}", picture[window], metres[window]):
                    report.kept += 1
                else:
                    report.leave_out("with depth in less than a tenth of the picture")
                counter.update()
            counter.close()
            report.leave_out("further frames of the same scenes", len(images) - len(chosen))
            if not report.kept:
                raise CourseError(f"No picture in {source.name} has usable depth.")
    return report


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # h5py's, for foreign bytes
        if isinstance(error, CourseError):
            raise
        raise CourseError(f"{name} is no complete HDF5 file of NYU Depth v2 ({error}): download it again.") from error


def _dataset(h5py, data, name: str):
    """The dataset called ``name``, if it lies in this file: HDF5 can point into other files."""
    with _reading(data.filename.rpartition("/")[2]):
        if not isinstance(data.get(name, getlink=True), h5py.HardLink) or not isinstance(data[name], h5py.Dataset):
            raise KeyError(f"no dataset {name!r}")
        if data[name].is_virtual or data[name].external:
            raise ValueError(f"{name!r} lies in another file")
        return data[name]


def _stack(h5py, data, name: str, shape: tuple[int, ...], kind: str):
    """A dataset of at most MAX_FRAMES arrays of this shape."""
    found = _dataset(h5py, data, name)
    with _reading(data.filename.rpartition("/")[2]):
        if found.shape[1:] != shape or not 0 < found.shape[0] <= MAX_FRAMES or not found.dtype.str[1:].startswith(kind):
            raise ValueError(f"{name!r} has shape {found.shape} of {found.dtype}, expected N x {shape}")
        if found.chunks and np.prod(found.chunks, dtype=float) * found.dtype.itemsize > MAX_CHUNK:
            raise ValueError(f"{name!r} comes in pieces of over {MAX_CHUNK >> 20} MB")
    return found


def _scenes(h5py, data, count: int) -> dict[str, list[int]]:
    """The frames of every scene. ``scenes`` holds a reference for each frame to its name, in 16-bit characters."""
    references = _dataset(h5py, data, "scenes")
    scenes: dict[str, list[int]] = {}
    with _reading(data.filename.rpartition("/")[2]):
        if references.size != count or references.dtype.kind != "O":
            raise ValueError(
                f"'scenes' has shape {references.shape} of {references.dtype}, expected {count} references"
            )
        for frame, reference in enumerate(references[()].ravel()):
            characters = data[reference]
            if characters.size > 100 or characters.dtype.kind != "u":
                raise ValueError(f"frame {frame} has no name of a scene")
            name = "".join(map(chr, characters[()].ravel()))
            if not re.fullmatch(r"\w+", name, re.ASCII):
                raise ValueError(f"frame {frame} is of a scene called {name!r}")
            scenes.setdefault(re.sub(r"(?<=\d)[a-z]$", "", name), []).append(frame)
    return scenes
