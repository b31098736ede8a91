"""``python -m helpers.upkeep.example_scenes`` renders the six scenes that come with the course, some seconds of work.

They are written to ``helpers/demos/scenes.npz``, from which :func:`helpers.demos.scenes.example_scenes` reads them.
"""

import numpy as np

from helpers.demos.scenes import SCENES, pack
from helpers.rendering.dataset import RoomsDataset
from helpers.utils import whole_file

SEED = 2  # of rooms and cats: the profiles' have 0, those of the course's weights 1 (helpers.upkeep.publish_weights)
SIZE = 128  # pixels
PLACES = ((0, 1), (5, 2), (11, 8), (16, 9), (19, 0), (21, 10))  # room and cat, chosen for variety, before any prediction


def dataset() -> RoomsDataset:
    return RoomsDataset(SIZE, rooms=24, cats=24, placements=1, seed=SEED)


def indices() -> list[int]:
    """Where the six scenes stand in :func:`dataset`; the cats of odd rooms are mirrored."""
    return [(room * 24 + cat) * 2 + room % 2 for room, cat in PLACES]


def main() -> None:
    with whole_file(SCENES) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **pack(dataset().get_batch(indices())))
    print(f"{SCENES.name}: {len(PLACES)} scenes, {SCENES.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
