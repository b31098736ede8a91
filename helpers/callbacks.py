"""What watches a training: a progress bar, TensorBoard, and snapshots of what the network predicts while it learns.

``train(..., callbacks=standard())`` is the same as ``callbacks=[ProgressBar(), TensorBoardLogger(),
SnapshotRecorder()]``. Snapshots are kept in ``snapshots.npz`` of the run's folder, and
:mod:`helpers.widgets.snapshot_viewer` shows them. They are dense at first, when much happens in a few steps, and sparse
later. Which quartets and when the validation set and the recipe decide alone, so a run that was interrupted keeps the
same snapshots as one that was not.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from helpers.augment import resize
from helpers.config import CourseError
from helpers.dataset import get_batch, to_device
from helpers.model import evaluating, probabilities
from helpers.utils import bar, load_arrays, write_arrays

if TYPE_CHECKING:
    from helpers.train import Run


class Callback:
    """Told what happens in a run, in the first process only. Each method may read everything of ``run``
    (:class:`helpers.train.Run`) and change nothing of it: weights are the same bit for bit without callbacks."""

    def start(self, run: Run) -> None:
        """Before the first step, or where an interrupted run is resumed; the folder is there."""

    def epoch_start(self, run: Run) -> None:
        """``run.epoch`` of ``run.stage`` begins, at batch ``run.batch`` (not 0 in a resumed epoch)."""

    def step(self, run: Run) -> None:
        """The weights were changed."""

    def log(self, run: Run, point: dict[str, float]) -> None:
        """The curve has a new point: losses and metrics of the last batch."""

    def epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        """The validation set was scored; ``run.history`` has a new row."""

    def save(self, run: Run) -> None:
        """A checkpoint is about to be written: what belongs to it is written first."""

    def close(self, run: Run) -> None:
        """The run ends, finished or not."""


def standard() -> list[Callback]:
    """What the notebooks watch a training with."""
    return [ProgressBar(), TensorBoardLogger(), SnapshotRecorder()]


class ProgressBar(Callback):
    """A bar for each epoch, with the last batch's loss, Dice and depth RMSE."""

    bar = None

    def epoch_start(self, run: Run) -> None:
        self.close(run)
        stages, stage = run.recipe.stages, run.recipe.stages[run.stage]
        name = f"stage {run.stage + 1}/{len(stages)}, {stage.size} px, epoch {run.epoch + 1}/{stage.epochs}"
        batches = run.batches(stage)
        self.bar = bar(sum(map(len, batches)), name, "img", keep=True)
        self.bar.update(sum(map(len, batches[: run.batch])))
        self.seen = run.seen

    def step(self, run: Run) -> None:
        self.bar.update(run.seen - self.seen)
        self.seen = run.seen

    def log(self, run: Run, point: dict[str, float]) -> None:
        shown = {"loss": point["loss"], "dice": point["mask_dice"], "rmse": point["depth_rmse"]}
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()}, refresh=False)

    def close(self, run: Run) -> None:
        if self.bar is not None:
            self.bar.close()

    def epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        self.close(run)


class TensorBoardLogger(Callback):
    """The curves, and pictures of four validation quartets, in the folder ``tensorboard/`` of the run."""

    stream = None

    def start(self, run: Run) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow: only when something is trained
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        path = run.folder / "tensorboard" / f"events.out.tfevents.{time.time_ns()}.{platform.node()}"
        path.parent.mkdir(exist_ok=True)
        # Not by torch's SummaryWriter: its thread would print a traceback when the disk is full.
        self.stream, self.event, self.summary = open(path, "xb"), Event, summary
        self.records = RecordWriter(self.stream)
        self._add(run, file_version="brain.Event:2")
        self._add(run, session_log=SessionLog(status=SessionLog.START))  # an interrupted run's later points are purged

    def _add(self, run: Run, **content) -> None:
        self.records.write(self.event(wall_time=time.time(), step=run.seen, **content).SerializeToString())
        self.stream.flush()

    def log(self, run: Run, point: dict[str, float]) -> None:
        for key in point.keys() - {"samples", "size"}:
            self._add(run, summary=self.summary.scalar(f"train/{key}", point[key]))

    def epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        for key, value in metrics.items():
            self._add(run, summary=self.summary.scalar(f"validation/{key}", value))
        batch = get_batch(run.validation_set, range(min(4, len(run.validation_set))))
        batch = resize(to_device(batch, run.device), run.recipe.stages[run.stage].size)
        with evaluating(run.net) as net:
            mask, depth = probabilities(*net(batch["bg"], batch["bg_fg"]), run.recipe.depth_activation)
        panels = (batch["bg"] / 255, batch["bg_fg"] / 255, batch["mask"], mask, batch["depth"], depth)
        strips = torch.cat([panel.expand(-1, 3, -1, -1) for panel in panels], 3)  # (4, 3, H, 6W)
        picture = torch.cat(list(strips), 1).cpu()
        name = "validation/room, scene, mask, predicted, depth, predicted"
        self._add(run, summary=self.summary.image(name, picture[None]))

    def close(self, run: Run) -> None:
        if self.stream is not None:
            self.stream.close()


SNAPSHOTS = "snapshots.npz"
QUARTETS = 4
CANDIDATES = 32  # quartets of the validation set from which they are chosen
COUNT = 36  # snapshots asked for; several that fall into one step are one
CROWDED = 2.5  # how much denser they are at first; found by looking at runs of the quick profile
LARGEST = 128  # image size in pixels at which larger predictions and scenes are kept: a file of a few megabytes at most


@dataclass(frozen=True)
class Snapshot:
    """The predictions after ``samples`` training samples, in stage ``stage`` (counted from 1), at ``size`` pixels."""

    samples: int
    stage: int
    size: int
    predictions: np.ndarray  # uint8 (2, Q, h, w): probability of cat, and depth, times 255


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of a run, in order, and what they are about, from the validation set: all of Q quartets.

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
            f"{path.parent.name}/ holds no {SNAPSHOTS}: nothing was trained there, or without a SnapshotRecorder, or "
            "by an older version of the course; delete the folder and train again."
        )
    if not (found := _read(path)):
        raise CourseError(f"{SNAPSHOTS} in {path.parent.name}/ is damaged: delete the folder and train again.")
    return found


def _read(path: Path) -> Snapshots | None:
    held = load_arrays(path)
    try:
        facts = held["moments"].tolist()  # (n, 3)
        snapshots = tuple(Snapshot(*fact, held[f"predictions-{number}"]) for number, fact in enumerate(facts))
        scene = {key: held[key] for key in ("bg_fg", "mask", "depth", "valid")}
        return Snapshots(snapshots, int(held["stages"]), **scene) if snapshots else None
    except (KeyError, TypeError, ValueError):  # there is none, or it is another version's
        return None


def snapshot_times(total: int) -> np.ndarray:
    """Samples after which snapshots are due, from 0 to ``total``: as a power of time, dense at first."""
    return np.unique((total * np.linspace(0, 1, COUNT) ** CROWDED).round().astype(int))


class SnapshotRecorder(Callback):
    """Keeps what the network predicts for four validation quartets: cats from large to small, the smallest left out."""

    def start(self, run: Run) -> None:
        self.path, self._due, self._stages = run.folder / SNAPSHOTS, snapshot_times(run.total), len(run.recipe.stages)
        self._indices = _choose(run.validation_set)
        self._scene = _scene(run.validation_set, self._indices)
        self._pair: list[torch.Tensor] | None = None  # the network's input, at the size of the stage
        # Those of a later moment, which an interrupted run may have left, are forgotten.
        self._snapshots = [snapshot for snapshot in self._kept() if snapshot.samples <= run.seen]
        self._seen = run.seen if run.seen else -1

    def epoch_start(self, run: Run) -> None:
        if not run.seen:
            self.step(run)

    def step(self, run: Run) -> None:
        """A snapshot, if one is due after the step that was just made; one is due before the first."""
        if ((self._due > self._seen) & (self._due <= run.seen)).any():
            self._take(run)
        self._seen = run.seen

    def _take(self, run: Run) -> None:
        """The network stays as it was, batch statistics and random numbers included."""
        size = run.recipe.stages[run.stage].size
        if self._pair is None or self._pair[0].shape[-1] != size:
            batch = resize(get_batch(run.validation_set, self._indices), size)
            self._pair = [batch[key].to(run.device) for key in ("bg", "bg_fg")]
        with evaluating(run.net) as net:
            maps = torch.stack(probabilities(*net(*self._pair), run.recipe.depth_activation))  # (2, Q, 1, H, W)
        maps = maps.squeeze(2).nan_to_num()  # a run that diverged is told elsewhere
        if size > LARGEST:
            maps = F.interpolate(maps, (LARGEST, LARGEST), mode="area")
        self._snapshots.append(Snapshot(run.seen, run.stage + 1, size, _bytes(maps)))

    def save(self, run: Run) -> None:
        maps = {f"predictions-{number}": snapshot.predictions for number, snapshot in enumerate(self._snapshots)}
        facts = [(snapshot.samples, snapshot.stage, snapshot.size) for snapshot in self._snapshots]
        facts = {"moments": np.array(facts, dtype=np.int64).reshape(-1, 3), "stages": np.array(self._stages)}
        write_arrays(self.path, {**facts, **self._scene, **maps}, compress=True)

    def _kept(self) -> tuple[Snapshot, ...]:
        """What the folder holds, if it can be read and is about the same quartets."""
        kept = _read(self.path)
        same = kept and all(np.array_equal(getattr(kept, key), value) for key, value in self._scene.items())
        return kept.snapshots if same else ()


def _choose(dataset: Dataset) -> list[int]:
    """Indices of :data:`QUARTETS` of the first quartets; of all, where there are fewer."""
    count = min(CANDIDATES, len(dataset))
    cat = get_batch(dataset, range(count))["mask"].mean((1, 2, 3))
    order = cat.argsort(descending=True, stable=True).tolist()
    wanted = min(QUARTETS, count)
    reach = max(wanted, count * 3 // 4)  # the smallest cats are left out where there are enough others
    return [order[int((place + 0.5) / wanted * reach)] for place in range(wanted)]


def _scene(dataset: Dataset, indices: list[int]) -> dict[str, np.ndarray]:
    """The arrays of a :class:`Snapshots` that come from the validation set."""
    batch = get_batch(dataset, indices)
    batch = resize(batch, min(batch["bg"].shape[-1], LARGEST))
    maps = {key: _bytes(batch[key].squeeze(1)) for key in ("mask", "depth")}
    return {"bg_fg": batch["bg_fg"].cpu().numpy(), "valid": batch["valid"].squeeze(1).cpu().numpy(), **maps}


def _bytes(maps: torch.Tensor) -> np.ndarray:
    return (maps.clamp(0, 1) * 255).round().byte().cpu().numpy()
