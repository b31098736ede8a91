"""Six scenes that come with the course, so that notebook 01 can show a trained network before anything is rendered.

``scenes.npz`` holds what ``python -m helpers.upkeep.example_scenes`` has rendered: rooms and cats of a seed that neither
the profiles nor the course's own weights use, at 128 px.
"""

from pathlib import Path

import numpy as np
import torch

from helpers.config import CourseError
from helpers.dataset import FILES, Quartet

SCENES = Path(__file__).with_name("scenes.npz")


def pack(batch: Quartet) -> dict[str, np.ndarray]:
    """A batch as the arrays of the file, exactly: numbers of [0, 1] become integers, ``change`` is ``bg_fg - bg``.

    The difference of bytes wraps around. It is 0 where there is no cat, so it packs into a sixth of the bytes of ``bg_fg``.
    """
    arrays = {}
    for name, (dtype, steps) in FILES.items():
        values = batch[name].cpu()
        arrays[name] = ((values.double() * steps).round() if steps else values).numpy().astype(dtype)
    arrays["change"] = arrays.pop("bg_fg") - arrays["bg"]
    return arrays


def example_scenes(path: str | Path = SCENES) -> Quartet:
    """A batch of six test quartets (see :mod:`helpers.dataset`), 128 x 128 pixels, read in an instant.

    Raises:
        CourseError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        arrays["bg_fg"] = arrays["bg"] + arrays.pop("change")
        batch = {name: torch.from_numpy(arrays[name].astype(dtype)) for name, (dtype, _) in FILES.items()}
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise CourseError(
            f"{Path(path).name} cannot be read ({type(error).__name__}): get the course again with 'git clone', or run "
            "'python -m helpers.upkeep.example_scenes'."
        ) from error
    return {name: value.float() / FILES[name][1] if FILES[name][1] else value for name, value in batch.items()}
