"""What a network says while it learns: its predictions to a few test quartets, at some moments of the training.

``train`` keeps them in ``frames.npz`` of the run's folder; :mod:`helpers.widgets.snapshot_viewer` shows them. Moments are dense at
first, when much happens in a few steps, and sparse later. Which quartets and which moments is decided by the test set
and the recipe alone, so a run that was interrupted keeps the same snapshots as one that was not.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from helpers.augment import resize
from helpers.config import CourseError
from helpers.dataset import get_batch
from helpers.model import probabilities
from helpers.utils import whole_file

SNAPSHOTS = "snapshots.npz"
QUARTETS = 4
CANDIDATES = 32  # quartets of the test set from which they are chosen
MOMENTS = 36  # asked for; several that fall into one step are one
CROWDED = 2.5  # how much denser moments are at first; found by looking at films of the quick profile
LARGEST = 128  # side in pixels at which larger predictions and scenes are kept: a file of a few megabytes at most
DAMAGED = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)  # what unreadable files raise


@dataclass(frozen=True)
class Snapshot:
    """The predictions after ``samples`` training samples, in stage ``stage`` (counted from 1), asked at ``size`` pixels."""

    samples: int
    stage: int
    size: int
    predictions: np.ndarray  # uint8 (2, Q, h, w): probability of cat, and depth, times 255


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of a run, in order, and what they are about, from the test set: all of Q quartets.

    ``bg_fg`` is uint8 (Q, 3, H, W); ``mask`` and ``depth`` uint8 (Q, H, W), times 255; ``valid`` bool (Q, H, W).
    """

    snapshots: tuple[Snapshot, ...]
    stages: int  # of the whole run
    bg_fg: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    valid: np.ndarray


def read_snapshots(run_dir: str | Path) -> Snapshots:
    """The snapshots that a run has kept so far.

    Raises:
        CourseError: there are none, or they cannot be read.
    """
    path = Path(run_dir) / SNAPSHOTS
    if not path.exists():
        raise CourseError(
            f"{path.parent.name}/ holds no {SNAPSHOTS}: nothing has been trained there yet, or by an older version of the "
            "course, which kept no snapshots; delete the folder and train again."
        )
    try:
        film = _read(path)
    except DAMAGED as error:
        raise CourseError(
            f"{SNAPSHOTS} in {path.parent.name}/ cannot be read ({type(error).__name__}): "
            "delete the folder and train again."
        ) from error
    if not film.snapshots:
        raise CourseError(f"{SNAPSHOTS} in {path.parent.name}/ is empty: delete the folder and train again.")
    return film


def _read(path: Path) -> Snapshots:
    with np.load(path, allow_pickle=False) as held:
        facts = held["moments"].tolist()  # (n, 3)
        snapshots = tuple(Snapshot(*fact, held[f"predictions-{number}"]) for number, fact in enumerate(facts))
        scene = {key: held[key] for key in ("bg_fg", "mask", "depth", "valid")}
        return Snapshots(snapshots, int(held["stages"]), **scene)


def snapshot_times(total: int) -> np.ndarray:
    """Samples after which snapshots are due, from 0 to ``total``: as a power of time, dense at first."""
    return np.unique((total * np.linspace(0, 1, MOMENTS) ** CROWDED).round().astype(int))


class SnapshotRecorder:
    """Takes the snapshots of one run.

    Args:
        folder: of the run.
        test_set: quartets are chosen from its first ones: cats from large to small, the smallest left out.
        total: samples in the whole run.
        stages: how many the run has.
        seen: samples so far. Frames of a later moment, which an interrupted run may have left, are forgotten.
    """

    def __init__(self, folder: Path, test_set: Dataset, total: int, stages: int, seen: int):
        self.path = folder / SNAPSHOTS
        self._due = snapshot_times(total)
        self._stages = stages
        self._indices = _choose(test_set)
        self._scene = _scene(test_set, self._indices)
        self._pair: list[torch.Tensor] | None = None  # what the network is asked, at the size of the stage
        self._snapshots = [snapshot for snapshot in self._kept() if snapshot.samples <= seen]

    def _kept(self) -> tuple[Snapshot, ...]:
        """What the folder holds, if it can be read and is about the same quartets."""
        try:
            film = _read(self.path)
        except DAMAGED:  # also: there is none
            return ()
        same = all(np.array_equal(getattr(film, key), value) for key, value in self._scene.items())
        return film.snapshots if same else ()

    def is_due(self, before: int, after: int) -> bool:
        """Whether a moment lies in the step that went from ``before`` to ``after`` samples; at 0 before the first."""
        return bool(((self._due > before) & (self._due <= after)).any())

    @torch.no_grad()
    def take(self, net: nn.Module, dataset: Dataset, samples: int, stage: int, size: int, depth_activation: str) -> None:
        """Ask ``net`` as it is now, and leave it as it was: batch statistics and random numbers included.

        Args:
            dataset: the test set as this stage sees it.
            depth_activation: see :func:`helpers.model.probabilities`.
        """
        if self._pair is None or self._pair[0].shape[-1] != size:
            batch = resize(get_batch(dataset, self._indices), size)
            self._pair = [batch[key].to(next(net.parameters()).device) for key in ("bg", "bg_fg")]
        was_training = net.training
        net.eval()
        predictions = torch.stack(probabilities(*net(*self._pair), depth_activation))  # (2, Q, 1, H, W)
        net.train(was_training)
        predictions = _small(predictions.squeeze(2)).nan_to_num()  # a run that lost its way is told elsewhere
        self._snapshots.append(Snapshot(samples, stage, size, _bytes(predictions)))

    def save(self) -> None:
        """Write all snapshots, as a whole; before the checkpoint, so that there is none without its snapshots."""
        predictions = {f"predictions-{number}": snapshot.predictions for number, snapshot in enumerate(self._snapshots)}
        facts = [(snapshot.samples, snapshot.stage, snapshot.size) for snapshot in self._snapshots]
        facts = np.array(facts, dtype=np.int64).reshape(-1, 3)
        with whole_file(self.path) as path, open(path, "wb") as stream:
            np.savez_compressed(stream, moments=facts, stages=np.array(self._stages), **self._scene, **predictions)


def _choose(dataset: Dataset) -> list[int]:
    """Indices of :data:`QUARTETS` of the first quartets; of all, where there are fewer."""
    count = min(CANDIDATES, len(dataset))
    cat = get_batch(dataset, range(count))["mask"].mean((1, 2, 3))
    order = cat.argsort(descending=True, stable=True).tolist()
    wanted = min(QUARTETS, count)
    reach = max(wanted, count * 3 // 4)  # the smallest cats are left out where there are enough others
    return [order[int((place + 0.5) / wanted * reach)] for place in range(wanted)]


def _scene(dataset: Dataset, indices: list[int]) -> dict[str, np.ndarray]:
    """The arrays of a :class:`Snapshots` that come from the test set."""
    batch = get_batch(dataset, indices)
    batch = resize(batch, min(batch["bg"].shape[-1], LARGEST))
    return {
        "bg_fg": batch["bg_fg"].cpu().numpy(),
        "mask": _bytes(batch["mask"].squeeze(1)),
        "depth": _bytes(batch["depth"].squeeze(1)),
        "valid": batch["valid"].squeeze(1).cpu().numpy(),
    }


def _small(maps: torch.Tensor) -> torch.Tensor:
    """(2, Q, H, W) at :data:`LARGEST` pixels where it is larger."""
    return maps if maps.shape[-1] <= LARGEST else F.interpolate(maps, (LARGEST, LARGEST), mode="area")


def _bytes(maps: torch.Tensor) -> np.ndarray:
    return (maps.clamp(0, 1) * 255).round().byte().cpu().numpy()
