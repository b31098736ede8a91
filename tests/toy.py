"""A source small enough for tests of everything that only needs *some* quartets: a tilted plane and a disc on it."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from helpers.dataset import SceneDataset, normalise_depth


class ToyQuartets(SceneDataset):
    def __init__(self, rooms=4, cats=4, placements=2, size=32, seed=0):
        super().__init__(rooms, cats, placements, size, seed)

    def key(self):
        return {"source": "toy", "rooms": self.rooms, "cats": self.cats, "placements": self.placements,
                "size": self.size, "seed": self.seed}  # fmt: skip

    def at_size(self, size):
        return ToyQuartets(self.rooms, self.cats, self.placements, size, self.seed)

    def _one(self, index):
        place = self.address(index)
        room = np.random.default_rng([self.seed, place.room])
        cat = np.random.default_rng([self.seed, 1, place.cat])
        spot = np.random.default_rng([self.seed, *place])
        y, x = np.mgrid[: self.size, : self.size] / self.size
        slope = room.uniform(-0.5, 0.5)
        metres = 4 - 2 * y + slope * x
        bg = np.stack([np.full_like(x, c) * (0.6 + 0.4 * np.sin(9 * x + c)) for c in room.uniform(60, 250, 3)])
        cx, cy, radius = spot.uniform(0.25, 0.75), spot.uniform(0.3, 0.8), cat.uniform(0.1, 0.2)
        disc = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        scene = np.where(disc, cat.uniform(0, 255, 3)[:, None, None], bg)
        metres = np.where(disc, 1.5, metres)
        return bg, scene, disc, metres

    def get_batch(self, indices):
        bg, scene, disc, metres = (np.stack(part) for part in zip(*(self._one(i) for i in indices)))
        metres = torch.from_numpy(metres).float()[:, None]
        valid = torch.ones_like(metres, dtype=torch.bool)
        depth, near_far = normalise_depth(metres, valid)
        return {
            "bg": torch.from_numpy(bg).byte(),
            "bg_fg": torch.from_numpy(scene).byte(),
            "mask": torch.from_numpy(disc).float()[:, None],
            "depth": depth,
            "valid": valid,
            "near_far": near_far,
        }


class Plain(Dataset):
    """What a reader may bring: nothing but a length and items."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]
