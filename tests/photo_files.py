"""A tiny folder of photographs, drawn for tests: rooms with the exact depth of a floor and a wall, and cut-out cats."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image, ImageDraw

SIDE, FOCAL, EYE = 160, 170.0, 1.4  # pixels, pixels, metres of the camera above the floor
WALL = 6.0  # metres


def upwards(pitch=0.0, roll=0.0):
    """The direction against gravity in coordinates of a camera that looks down by `pitch` and leans by `roll`."""
    p, r = np.radians([pitch, roll])
    return np.array([np.cos(p) * np.sin(r), -np.cos(p) * np.cos(r), -np.sin(p)])


def floor_depth(width=SIDE, height=SIDE, pitch=25.0, roll=0.0):
    """Metres (height, width) of a floor EYE below the camera that ends at an upright wall."""
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack(((u - width / 2) / FOCAL, (v - height / 2) / FOCAL, np.ones_like(u)))
    up = upwards(pitch, roll)
    climb = np.einsum("i,ihw->hw", up, rays)
    forward = np.array([0, 0, 1.0]) - up[2] * up
    ahead = np.einsum("i,ihw->hw", forward / np.linalg.norm(forward), rays)
    return np.minimum(np.where(climb < 0, -EYE / np.minimum(climb, -1e-9), np.inf), WALL / np.maximum(ahead, 1e-9))


def room_picture(width=SIDE, height=SIDE, number=0):
    """A smooth picture that tells its own coordinates: red grows to the right, green downwards."""
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    colours = np.stack((40 + 160 * u / width, 40 + 160 * v / height, 90 + 30 * number + 0 * u), -1)
    return colours.round().astype(np.uint8)


def cat_picture(width=60, height=100, number=0):
    """An upright ellipse on a flat foot, red on its left and blue on its right."""
    image = Image.new("RGBA", (4 * width, 4 * height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((0, 0, 4 * width - 1, 4 * height - 1), fill=(230, 30 * number, 20, 255))
    draw.rectangle((0.8 * width, 3.2 * height, 3.2 * width, 4 * height), fill=(230, 30 * number, 20, 255))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BOX)).copy()
    pixels[:, width // 2 :, :3] = (20, 30 * number, 230)
    return Image.fromarray(pixels)


def photo_folder(root, depths=(None, None), cats=2, depth=True, camera=True):
    """Write a folder of rooms with these `depths` (None: the plain floor) and this many cats."""
    for name in ("bg", "fg", *(["bg_depth"] if depth else [])):
        (root / name).mkdir(parents=True, exist_ok=True)
    for i, metres in enumerate(depths):
        Image.fromarray(room_picture(number=i)).save(root / f"bg/room_{i}.png")
        if depth:
            write_depth(root / f"bg_depth/room_{i}.png", floor_depth() if metres is None else metres)
    for i in range(cats):
        cat_picture(60 + 30 * (i % 4), 100 - 25 * (i % 4), i).save(root / f"fg/cat_{i}.png")
    if camera:
        write_camera(root)
    return root


def write_depth(path, metres):
    Image.fromarray((metres * 1000).round().astype(np.uint16)).save(path)


def write_camera(root, **changes):
    camera = {"size": SIDE, "fx": FOCAL, "fy": FOCAL, "cx": SIDE / 2, "cy": SIDE / 2, "depth_unit_m": 0.001}
    (root / "camera.json").write_text(json.dumps({**camera, **changes}))
