"""A tiny published archive, written for tests: three zips of JPEGs, and a picture of each empty room in ``bg/``."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

PREFIXES = {"bg_fg": "bgfg", "mask": "mask", "depth": "densedepth"}  # zip: how the names of its members begin
Number = tuple[int, int, int]  # room, cat and number of a quartet, as in the names


def write_archive(
    folder: Path,
    rooms: int = 2,
    cats: int = 2,
    size: int = 48,
    *,
    numbers: int = 4,
    quartets: Iterable[Number] | None = None,
    change: Callable[[str, Number, bytes], bytes | None] | None = None,
    bg: bool = True,
) -> Path:
    """Write an archive into ``folder``; of the ``numbers`` of each room and cat, the upper half counts as mirrored.

    ``quartets`` lists other ones than all; ``change(zip name, quartet, bytes)`` gives other bytes for a member, or
    None to leave it out; without ``bg`` there are no pictures of empty rooms.
    """
    quartets = list(every(rooms, cats, numbers) if quartets is None else quartets)
    folder.mkdir(parents=True, exist_ok=True)
    zips = {name: zipfile.ZipFile(folder / f"{name}.zip", "w") for name in PREFIXES}
    for quartet in quartets:
        for name, picture in zip(PREFIXES, scene(*quartet, size)):
            data = jpeg(picture) if change is None else change(name, quartet, jpeg(picture))
            if data is not None:
                zips[name].writestr(f"{name}/{member(name, quartet)}", data)
    for file in zips.values():
        file.close()
    if bg:
        (folder / "bg").mkdir(exist_ok=True)
        for room in sorted({room for room, _, _ in quartets}):
            cv2.imwrite(str(folder / "bg" / f"view {room:03d}.png"), room_picture(room, size)[..., ::-1])
    return folder


def every(rooms: int, cats: int, numbers: int) -> list[Number]:
    return [(r, c, i) for r in range(1, rooms + 1) for c in range(1, cats + 1) for i in range(numbers)]


def member(zip_name: str, quartet: Number) -> str:
    """The published name of one picture of a quartet."""
    room, cat, number = quartet
    return f"{PREFIXES[zip_name]}_b{room:03d}_f{cat:03d}_{number}.jpg"


def room_picture(room: int, size: int) -> np.ndarray:
    """(S, S, 3) uint8, smooth; red tells x and green tells y, so that a picture carries its own coordinates."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    return np.stack((40 + 150 * x, 40 + 150 * y, 30 + 60 * (room % 4) + 0 * x), -1).round().astype(np.uint8)


def scene(room: int, cat: int, number: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """bg_fg (S, S, 3), mask (S, S) and depth (S, S), uint8; the cat is a disc, nearer than the wall."""
    rng = np.random.default_rng([room, cat, number])
    y, x = np.mgrid[:size, :size] + 0.5
    radius = (0.1 + 0.02 * (cat % 8)) * size
    cx, cy = rng.uniform(0.25, 0.75, 2) * size
    mask = (radius + 0.5 - np.hypot(x - cx, y - cy)).clip(0, 1)
    colour = room_picture(room, size) * (1 - mask[..., None]) + np.array([200, 30 * (cat % 8), 40]) * mask[..., None]
    depth = np.where(mask > 0.5, 20 + 5 * (cat % 8), 240 - 130 * y / size)
    return colour.round().astype(np.uint8), (mask * 255).round().astype(np.uint8), depth.round().astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int = 95) -> bytes:
    """A picture (S, S) or (S, S, 3) RGB, encoded."""
    picture = picture[..., ::-1] if picture.ndim == 3 else picture
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
