"""Several data sets as one, so that a network is trained on all of them at once."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from helpers.augment import resize
from helpers.dataset import Quartet, SceneDataset, at_size, data_key, get_batch


class Mixture(Dataset):
    """The quartets of all parts, one part after the other, at one size: those of a cached set are resized."""

    def __init__(self, size: int, *parts: Dataset):
        self.size, self.parts = size, [at_size(part, size) for part in parts]
        self.starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def key(self) -> dict:
        return {"size": self.size, "mixture": [data_key(part) for part in self.parts]}

    def at_size(self, size: int) -> "Mixture":
        return Mixture(size, *self.parts)

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        indices = np.asarray(indices)
        part_of = np.searchsorted(self.starts, indices, "right") - 1
        batch: Quartet = {}
        for number in np.unique(part_of):
            rows = np.flatnonzero(part_of == number)
            found = get_batch(self.parts[number], (indices[rows] - self.starts[number]).tolist())
            for name, value in resize(found, self.size).items():
                batch.setdefault(name, value.new_empty(len(indices), *value.shape[1:]))[rows] = value
        return batch

    __getitem__ = SceneDataset.__getitem__
