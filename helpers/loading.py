"""Batches from a dataset of quartets: made by other processes, if asked for, and brought to a device."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from helpers.config import CourseError

PREFETCH = 2  # batches ahead, of each worker: a first-stage batch has 31 MB, more would fill a small machine
SHARED = Path("/dev/shm")


def get_batch(dataset: Dataset, indices: Sequence[int]) -> dict[str, Tensor]:
    """A batch from any map-style dataset of quartets, by the fastest way that it offers."""
    if hasattr(dataset, "get_batch"):
        return dataset.get_batch(indices)
    if hasattr(dataset, "__getitems__"):
        return default_collate(dataset.__getitems__(list(indices)))
    return default_collate([dataset[int(i)] for i in indices])


class _Batches(Dataset):
    """A dataset whose 'index' is a list of indices: lets a DataLoader fetch whole batches at once."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        batch = get_batch(self.dataset, indices)
        if get_worker_info():  # a lack of shared memory is told from here; later, while sending, nobody would be told
            for value in batch.values():
                value.share_memory_()
        return batch


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def loader(dataset: Dataset, batches: Sequence[Sequence[int]], workers: int = 0) -> Iterator[dict[str, Tensor]]:
    """One batch for each list of indices in ``batches``, in order, made by ``workers`` processes; by this one where
    that is 0, and from where shared memory runs out.

    Raises:
        CourseError: a worker died, or nothing came from one for five minutes.
    """
    on_gpu = getattr(dataset, "device", torch.device("cpu")).type != "cpu"  # which no process that is forked can use
    workers = 0 if on_gpu else _that_fit(min(workers, len(batches)), dataset, max(map(len, batches), default=0))
    made, done = DataLoader(
        _Batches(dataset), sampler=batches, batch_size=None, num_workers=workers, pin_memory=torch.cuda.is_available(),
        prefetch_factor=PREFETCH if workers else None, timeout=300 if workers else 0,
    ), 0  # fmt: skip
    try:
        for batch in made:
            yield batch
            done += 1
    except CourseError as error:
        if not workers:
            raise
        raise CourseError(str(error).rpartition("CourseError: ")[2].strip()) from None  # without the worker's traceback
    except RuntimeError as error:
        if workers and "shared memory" in str(error):  # another program has taken it meanwhile
            yield from loader(dataset, batches[done:])
            return
        if not re.search(r"DataLoader (worker \(pid|timed out)", str(error)):
            raise
        raise CourseError(
            f"A process that prepares batches has ended or hangs ({str(error).splitlines()[0]}): mostly the memory is "
            "full. Close other notebooks, or use smaller images."
        ) from error


def _that_fit(workers: int, dataset: Dataset, batch: int) -> int:
    """So many workers that their finished batches fit into shared memory, of which containers have 64 MB."""
    each = (PREFETCH + 1) * batch * 15 * getattr(dataset, "size", 0) ** 2 + 1  # bytes: a quartet has 15 for a pixel
    return min(workers, shutil.disk_usage(SHARED).free // each) if SHARED.is_dir() else workers  # else: no limit
