"""An archive like the published one (``helpers/archive/README.md``), of 18 rendered quartets instead of 400,000.

Who has not downloaded 8 GB tries the same steps on it: listing, reading, verifying, splitting.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.archive.index import ZIPS
from helpers.rendering.dataset import RoomsDataset
from helpers.utils import whole_file

SIZE, ROOMS, CATS, PLACEMENTS = 192, 3, 3, 1  # pixels, as published; and how many of each, where the published has 100, 100, 20
QUALITY = 95  # of the JPEGs


def small_archive(folder: str | Path, size: int = SIZE) -> Path:
    """Write ``bg_fg.zip``, ``mask.zip``, ``depth.zip`` and ``bg.zip`` into ``folder``, unless they are there; the folder.

    Members have the published names, such as ``bgfg_b001_f001_0.jpg``: room, cat and number, of which the upper half
    shows the cat mirrored. Depth is dark where it is near, each picture scaled to its own 0 ... 255. Without metres.
    """
    folder = Path(folder)
    if all((folder / f"{name}.zip").is_file() for name in ("bg", *ZIPS)):
        return folder
    dataset = RoomsDataset(size, ROOMS, CATS, PLACEMENTS)
    batch, members = dataset.get_batch(range(len(dataset))), {name: {} for name in ("bg", *ZIPS)}
    for i, (room, cat, flip, placement) in enumerate(map(dataset.address, range(len(dataset)))):
        members["bg"][f"bg_{room + 1:03d}.jpg"] = batch["bg"][i]
        for name, prefix in ZIPS.items():
            picture = batch[name][i] if name == "bg_fg" else (batch[name][i] * 255).round().byte()
            members[name][f"{prefix}_b{room + 1:03d}_f{cat + 1:03d}_{flip * PLACEMENTS + placement}.jpg"] = picture
    for name, pictures in members.items():
        with whole_file(folder / f"{name}.zip") as temporary, zipfile.ZipFile(temporary, "w") as file:
            for member, picture in pictures.items():
                file.writestr(f"{name}/{member}", _jpeg(picture.numpy()))
    return folder


def _jpeg(picture: np.ndarray) -> bytes:
    """A picture, (3, H, W) or (1, H, W) uint8, encoded."""
    stream = io.BytesIO()
    Image.fromarray(picture.transpose(1, 2, 0).squeeze()).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
