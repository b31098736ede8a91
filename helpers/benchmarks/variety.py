"""How much pictures of rooms vary: depth, brightness, contrast and texture, rendered beside photographs in a folder.

What a network never saw it can hardly predict, so rendered rooms should vary as real ones do.
"""

import argparse
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from helpers.benchmarks.summary import machine, positive
from helpers.config import plain_errors
from helpers.dataset import normalise_depth
from helpers.photos.folder import nearest, open_folder
from helpers.rendering import RoomsDataset
from helpers.utils import table


def statistics(picture: Tensor, metres: Tensor | None) -> dict[str, float]:
    """One picture's statistics.

    Args:
        picture: uint8 (3, S, S); its light counts from 0 (black) to 1 (white).
        metres: depth (S, S), 0 where nobody knows it; None for a picture without depth.
    """
    light = picture.float() / 255
    steps = [(light.narrow(dim, 1, light.shape[dim] - 1) - light.narrow(dim, 0, light.shape[dim] - 1)).abs().mean()
             for dim in (1, 2)]  # fmt: skip
    found = {"brightness": light.mean(), "contrast": light.std(correction=0), "texture": sum(steps) / 2}
    if metres is not None:
        valid = metres > 0
        depth, near_far = normalise_depth(metres[None, None], valid[None, None])
        near, far = near_far[0]
        found = {"far (m)": far, "far / near": far / near, "mean depth": depth[0, 0][valid].mean(), **found}
    return {name: float(value) for name, value in found.items()}


def rendered(count: int, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures and depth of ``count`` rendered rooms, without a cat."""
    rooms = RoomsDataset(size, rooms=count, cats=1, placements=1, seed=seed)
    for room in range(count):
        view = rooms.view(room)
        yield view["bg"], view["depth"]


def photographed(root: str, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Pictures and, where there is depth in metres, depth of all rooms in a folder as :class:`PhotosDataset` reads it."""
    folder = open_folder(root)
    for number, path in enumerate(folder.rooms):
        picture, shape = folder.read_room(path, size)
        metres = None
        if folder.depths and folder.metric:
            metres = torch.from_numpy(nearest(folder.read_depth(folder.depths[number], shape), size))
        yield torch.from_numpy(picture.transpose(2, 0, 1).copy()), metres


def summary(pictures: Iterable[tuple[Tensor, Tensor | None]]) -> dict[str, dict[str, float]]:
    """For each statistic its mean and standard deviation over pictures, and between what nine in ten pictures lie."""
    found = [statistics(*picture) for picture in pictures]
    values = {name: np.array([one[name] for one in found]) for name in found[0]}
    return {
        name: {"mean": x.mean(), "spread": x.std(), "5 %": np.quantile(x, 0.05), "95 %": np.quantile(x, 0.95)}
        for name, x in values.items()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.variety", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="photographs: bg/, fg/ and, for depth, bg_depth/ (see helpers.photos)")
    parser.add_argument("--rooms", type=positive, default=200, help="how many are rendered")
    parser.add_argument("--size", type=positive, default=64, help="pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the rendered rooms")
    asked = parser.parse_args(arguments)
    with plain_errors():
        pictures = {"photographs": list(photographed(asked.folder, asked.size))} if asked.folder else {}
        pictures["rendered"] = list(rendered(asked.rooms, asked.size, asked.seed))
    found = {kind: summary(shown) for kind, shown in pictures.items()}
    names = found["rendered"]
    print(table({f"{name}, {kind}": of[name] for name in names for kind, of in found.items() if name in of}))
    count = ", ".join(f"{len(shown)} {kind}" for kind, shown in pictures.items())
    print(f"{count} (seed {asked.seed}), at {asked.size} px, on {machine()}. Spread: standard deviation over pictures.")


if __name__ == "__main__":
    main()
