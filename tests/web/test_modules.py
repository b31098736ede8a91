"""The page's modules, in Node's test runner: their arithmetic is that of :func:`helpers.predict.predict`."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from pairs import handheld
from PIL import Image

from helpers.demos.scenes import example_scenes
from helpers.model import interpolate
from helpers.photos.register import align
from helpers.predict import predict
from helpers.web.export import PAGE
from helpers.widgets.cloud_viewer import NEAR_FAR, unproject

NODE = shutil.which("node")


class Formula(torch.nn.Module):
    """A network that JavaScript can compute too: it depends on both pictures, on the position and on the padding."""

    def __init__(self, trained_size, depth_size):
        super().__init__()
        self.trained_size, self.depth_size = trained_size, depth_size
        self.weight = torch.nn.Parameter(torch.tensor([4.0, 8.0, -4.0]).view(1, 3, 1, 1))

    def forward(self, bg, bg_fg):
        height, width = bg.shape[-2:]
        across, down = torch.arange(width) / width, torch.arange(height)[:, None] / height
        whole = 9 * bg[:, :1].mean((2, 3), keepdim=True)
        return ((bg_fg - bg) * self.weight).sum(1, keepdim=True), 3 * bg[:, :1] - 6 + whole + across - down


def made_pair(width, height, trained_size, depth_size):
    pair = np.random.default_rng([width, height]).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    maps = predict(Formula(trained_size, depth_size), *pair)
    values = {name: array.ravel().tolist() for name, array in {"bg": pair[0], "bg_fg": pair[1], **maps}.items()}
    return {"width": width, "height": height, "trained_size": trained_size, "depth_size": depth_size, **values}


def pairs_to_compare():
    """Six scenes that line up, are moved by 1.6 % and 3.1 %, darker, of another room, swapped: what is to be said."""
    scenes = example_scenes()
    rooms, pictures = (scenes[name].permute(0, 2, 3, 1).numpy() for name in ("bg", "bg_fg"))  # (6, 128, 128, 3) each
    for i, (room, picture) in enumerate(zip(rooms, pictures)):
        darker = [(image * 0.8).round().astype(np.uint8) for image in (room, picture)]
        for words, bg, bg_fg in [
            ("", room, picture), ("The camera moved by about 2 %", room, moved(picture, 2, 0)),
            ("The camera moved by about 3 %", room, moved(picture, 0, -4)), ("The room is darker", darker[0], picture),
            ("The picture with the cat is darker", room, darker[1]), ("one view", rooms[(i + 3) % 6], picture),
            ("swapped", picture, room),
        ]:  # fmt: skip
            yield {"words": words, "width": 128, "height": 128, "bg": bg.ravel().tolist(), "bg_fg": bg_fg.ravel().tolist()}


def moved(image, down, right):
    """The camera turned: what leaves the picture on one side is repeated on the other."""
    rows, columns = (np.clip(np.arange(128) - by, 0, 127) for by in (down, right))
    return image[rows][:, columns]


HELD = [((0.06, 0), 0, 1, 1), ((-0.02, -0.05), 2, 0.97, 0.6), ((0, 0.04), -2, 1, 1.4), ((0, 0), 1, 1.03, 1),
        ((0.01, 0.01), 0, 1, 0.8), ((-0.04, 0.03), -1, 0.98, 1.2)]  # fmt: skip


def held(number):
    """What a hand did to the room, up to the limits, as the page has to find it; and where Python brings the room."""
    shift, turn, scale, gain = HELD[number]
    room, scene, _ = handheld(number, *HELD[number])
    aligned = align(room, scene)
    return {"width": len(room), "height": len(room), "bg": room.ravel().tolist(), "bg_fg": scene.ravel().tolist(),
            "movement": [*shift, -turn, scale], "gain": 1 / gain, "room": aligned.room.ravel().tolist(),
            "seen": aligned.seen.ravel().tolist()}  # fmt: skip


def sampled(width=13, height=9, turn=0.2, scale=1.1, x=0.1, y=-0.07):
    """A plane moved by torch, whose coordinates are halves of a picture's width and height."""
    plane = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    across, down = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    u = scale * (np.cos(turn) * across - np.sin(turn) * down) + x * max(width, height)
    v = scale * (np.sin(turn) * across + np.cos(turn) * down) + y * max(width, height)
    grid = torch.from_numpy(np.stack([u * 2 / width, v * 2 / height], -1)).float()[None]
    moved = torch.nn.functional.grid_sample(plane, grid, padding_mode="border", align_corners=False)
    seen = (abs(u) < (width - 1) / 2 + 0.02) & (abs(v) < (height - 1) / 2 + 0.02)
    return {"width": width, "height": height, "move": {"turn": turn, "scale": scale, "x": x, "y": y},
            "plane": plane.flatten().tolist(), "expected": moved.flatten().tolist(),
            "seen": seen.ravel().astype(int).tolist()}  # fmt: skip


def in_space(width=7, height=5):
    depth = np.random.default_rng(0).random((height, width))
    near, far = NEAR_FAR
    return {"width": width, "height": height, "depth": depth.ravel().tolist(),
            "expected": unproject(near + depth * (far - near)).ravel().tolist()}  # fmt: skip


def scaled(start, end):
    plane = torch.rand(*start, generator=torch.Generator().manual_seed(0))
    expected = interpolate(plane[None, None], end).flatten().tolist()
    return {"from": start, "to": end, "plane": plane.flatten().tolist(), "expected": expected}


def picture_file(kind, size, more=b"", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), kind, **options)
    return {"name": kind, "size": size, "bytes": list(stream.getvalue() + more)}


@pytest.mark.skipif(NODE is None, reason="there is no node to run JavaScript with")
def test_the_modules_compute_what_python_does(tmp_path):
    shutil.copytree(PAGE, tmp_path / "page")
    (tmp_path / "page" / "package.json").write_text('{"type": "module"}')  # Node asks for it, browsers do not
    (tmp_path / "cases.json").write_text(json.dumps({
        # landscape, portrait, depth at a smaller size, odd sides, enlarged, no size of its own, hardly a line
        "pairs": [made_pair(*given) for given in [(90, 60, 48, None), (33, 71, 48, 32), (64, 64, 64, 20),
                                                  (51, 37, 33, 21), (40, 25, 64, 48), (37, 50, None, 16), (200, 3, 64, 32)]],
        "scaled": [scaled(*given) for given in [((7, 9), (20, 4)), ((64, 3), (9, 3)), ((5, 5), (1, 1)), ((1, 2), (6, 7))]],
        "aligned": list(pairs_to_compare()),
        "held": [held(number) for number in range(6)],
        "sampled": sampled(),
        "cloud": in_space(),
        "rounded": [(x, round(x)) for x in (0.5, 1.5, 2.5, 2.4999, 7.51, 96.0)],
        "fitted": [(w, h, s, [round(w * (s / max(w, h))), round(h * (s / max(w, h)))])
                   for w, h, s in [(1000, 668, 128), (256, 129, 128), (4032, 3024, 128), (75, 128, 64)]],
        "files": [picture_file("PNG", (41, 30)), picture_file("JPEG", (47, 30)), picture_file("WEBP", (50, 30)),
                  picture_file("WEBP", (37, 30), lossless=True)],
        "ends": [picture_file("PNG", (41, 30), b"more" * 30), picture_file("GIF", (33, 30))],
    }))  # fmt: skip
    run = subprocess.run([NODE, "--test", str(Path(__file__).with_name("modules.test.mjs"))], capture_output=True,
                         text=True, env={**os.environ, "CASES": str(tmp_path)})  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr
    assert "# pass 17" in run.stdout and "# skipped 0" in run.stdout
