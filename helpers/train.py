"""Training in stages: small images first, larger ones later. One explicit loop, checkpoints, and two recipes.

``train(net, train_set, test_set, recipe("course", "quick"), run_dir)`` writes into ``run_dir``:

=========================== =================================================================
weights.safetensors         the network after the last finished epoch (``helpers.predict.load``)
weights-stage-1.safetensors the network at the end of the first stage, and so on
history.csv                 one row an epoch: losses, times, metrics of the test set
steps.csv                   one row every few steps: the training curve
last.pt, previous.pt        everything that is needed to go on, and the same one save earlier (see ``checkpoints``)
frames.npz                  what the network said about four test quartets while it learnt (see ``frames``)
lost-batch.safetensors      where the loss was no longer finite: the batch that did it
tensorboard/                the same curves and pictures for TensorBoard
=========================== =================================================================

Calling ``train`` again on a folder that holds an unfinished run goes on where it stopped; on the CPU the result is
bit for bit that of an uninterrupted run. Interrupting (the stop button of a notebook, Ctrl-C) finishes the step at hand
and saves. A batch that does not fit into the memory is cut in halves, again and again, whose gradients are added up.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.augment import Augment, generator_of, resize
from helpers.callbacks import SnapshotRecorder
from helpers.checkpoints import newest, save_checkpoint
from helpers.config import CourseError
from helpers.dataset import Quartet, get_batch, loader, to_device
from helpers.evaluate import evaluate, resized
from helpers.memory import kept_memory
from helpers.metrics import Meter
from helpers.model import probabilities
from helpers.recipes import LOSSES, Recipe, Stage, learning_rate, make_optimizer, pick_precision
from helpers.utils import bar, room_on_disk, whole_file

CHECKPOINT_FORMAT = 2
CHECKPOINT_SECONDS = 120  # an interrupted run loses at most this much
LOG_EVERY = 10  # steps between two points of the curve; the only moments when the loop waits for the device
EVALUATION_BATCH = 64


# -- pieces of the loop ---------------------------------------------------------------------------------------------


def make_batches(count: int, batch: int, *seed: int) -> list[list[int]]:
    """A shuffled epoch, cut into batches; a last, smaller one is left out unless it is the only one."""
    order = np.random.default_rng(seed).permutation(count)
    batches = [order[i : i + batch].tolist() for i in range(0, count, batch)]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch else batches


# -- the loop -------------------------------------------------------------------------------------------------------


def train(
    net: nn.Module, train_set: Dataset, test_set: Dataset, recipe: Recipe, run_dir: str | Path, progress: bool = True,
) -> list[dict]:  # fmt: skip
    """Train ``net`` in place, or go on with the run that ``run_dir`` holds.

    In one process, or in as many as ``accelerate``'s ``notebook_launcher``, ``accelerate launch`` or ``torchrun``
    start: each takes its part of every batch, and only the first one writes. Batches, and what is drawn for them, are
    the same; batch normalisation sees one process's part, so curves agree closely but not to the last digit.

    Args:
        net: ``net(bg, bg_fg) -> mask_logits, depth_logits``.
        train_set, test_set: map-style datasets of quartets (see :mod:`helpers.dataset`), with no common room or cat.
        recipe: see :func:`recipe`.
        run_dir: where the run is kept.
        progress: show a progress bar for each epoch.

    Returns:
        The history: one dict an epoch, with stage, size, samples and seconds so far, mean training losses, and the
        metrics of the test set at that size. It is only watched, nothing is chosen by it.

    Raises:
        CourseError: the folder holds another run, a set is empty, the loss is no longer finite, one single quartet does
            not fit into the memory, or the disk is full.
        Interrupted: somebody stopped it; it is saved, and the same call goes on.
    """
    for name, dataset in (("training", train_set), ("test", test_set)):
        if not len(dataset):
            raise CourseError(f"The {name} set is empty: give it at least one quartet.")
    run = _Run(net, train_set, test_set, recipe, Path(run_dir))
    if run.finished:
        return run.history
    with room_on_disk(run.folder), kept_memory(), _stop_button() as stop, run:
        for number, stage in enumerate(recipe.stages):
            if number < run.stage:
                continue
            stage_train, stage_test = resized(train_set, stage.size), resized(test_set, stage.size)
            for epoch in range(run.epoch, stage.epochs):
                run.train_epoch(stage_train, stage, epoch, progress, stop)
                # Every process scores the whole test set with the network itself: exact, and nobody waits for anybody.
                metrics = evaluate(run.accelerator.unwrap_model(run.net), stage_test, stage.size, recipe.depth_activation)
                run.end_epoch(stage, epoch, metrics, stage_test)
            run.end_stage()
    return run.history


class Interrupted(CourseError):
    """Somebody stopped the training. What was learnt is saved."""


@contextmanager
def _stop_button() -> Iterator[list]:
    """Collects the first interrupt (Ctrl-C, a notebook's stop button) in a list; the second one acts as usual."""
    pressed: list[int] = []

    def press(number: int, frame) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    try:
        before = signal.signal(signal.SIGINT, press)
    except ValueError:  # not in the main thread: nobody can press anything
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def is_finished(run_dir: str | Path, recipe: Recipe) -> bool:
    """Whether the folder holds a finished run of this recipe."""
    saved = newest(Path(run_dir))
    if saved is None:
        return False
    same = json.loads(saved["identity"])["recipe"] == json.loads(json.dumps(dataclasses.asdict(recipe)))
    return same and saved["stage"] == len(recipe.stages)


class _Run:
    """The state of one training run, and its files."""

    def __init__(self, net: nn.Module, train_set: Dataset, test_set: Dataset, recipe: Recipe, folder: Path):
        self.recipe, self.folder, self.test_set = recipe, folder, test_set
        # Apple's GPUs have no 64-bit sums and no border padding, which metrics and augmentation need: there, the CPU.
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.device = self.accelerator.device
        self.part = self.accelerator.process_index, self.accelerator.num_processes
        self.dtype = pick_precision(recipe.precision, self.device)
        self.network = type(net).__name__
        if recipe.channels_last:
            net.to(memory_format=torch.channels_last)
        self.net, self.optimizer = self.accelerator.prepare(net, make_optimizer(net, recipe))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.loss = LOSSES[recipe.loss]()
        self.augment = Augment(**recipe.augment) if recipe.augment else None
        self.samples = len(train_set)
        self.stage, self.epoch, self.batch = 0, 0, 0  # what comes next
        self.pieces = 1  # into which each batch is cut, because it did not fit into the memory
        self.recent: list[Tensor] = []  # losses since the last point of the curve, still on the device
        self.seen, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self.history: list[dict] = []
        self.curve: list[dict] = []
        self.sums: dict[str, Tensor] = {}
        self.identity = {
            "format": CHECKPOINT_FORMAT,
            "network": self.network,
            "parameters": sum(p.numel() for p in net.parameters()),
            "recipe": dataclasses.asdict(recipe),
            "precision": str(self.dtype),
            "data": train_set.key() if hasattr(train_set, "key") else {"quartets": len(train_set)},
        }
        self.writer = self.camera = None  # the first process has them
        self.finished = self._load()

    # -- files --

    def _load(self) -> bool:
        """Take over the checkpoint in the folder, if there is one. True if that run has finished."""
        saved = newest(self.folder, self.identity)
        if saved is None:
            return False
        self.accelerator.unwrap_model(self.net).load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.stage, self.epoch, self.batch, self.seen = saved["stage"], saved["epoch"], saved["batch"], saved["seen"]
        self.pieces = saved["pieces"]
        self.seconds, self.cpu_seconds = saved["seconds"], saved["cpu_seconds"]
        if self.accelerator.is_main_process:  # these are the sums of all processes
            self.sums = {k: v.to(self.device) for k, v in saved["sums"].items()}
        self.history, self.curve = json.loads(saved["history"]), json.loads(saved["curve"])
        return self.stage == len(self.recipe.stages)

    def save(self) -> None:
        """Write the checkpoint and the tables; each is replaced as a whole. All processes must call it."""
        sums = self.accelerator.reduce(self.sums, "sum")
        if not self.accelerator.is_main_process:
            self.sums = {}
        else:
            self.sums = sums
        if not self.accelerator.is_main_process:
            return
        saved = {
            "identity": json.dumps(self.identity),
            "net": self.accelerator.unwrap_model(self.net).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "stage": self.stage, "epoch": self.epoch, "batch": self.batch, "seen": self.seen, "pieces": self.pieces,
            "seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "sums": self.sums,
            "history": json.dumps(self.history), "curve": json.dumps(self.curve),
        }  # fmt: skip
        self.camera.save()
        save_checkpoint(self.folder, saved)
        for name, rows in (("history.csv", self.history), ("steps.csv", self.curve)):
            if rows:
                with whole_file(self.folder / name) as path, open(path, "w", newline="") as stream:
                    table = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
                    table.writeheader()
                    table.writerows(rows)
        self.saved_at = time.monotonic()

    def _save_weights(self, name: str, recipe: Recipe) -> None:
        """The network as it is now; ``recipe`` is what it has been through."""
        if not self.accelerator.is_main_process:
            return
        state = self.accelerator.unwrap_model(self.net).state_dict()
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        about = {"network": self.network, "recipe": json.dumps(dataclasses.asdict(recipe)),
                 "metrics": json.dumps(self.history[-1])}  # fmt: skip
        with whole_file(self.folder / name) as path:
            path.write_bytes(safetensors_bytes(tensors, about))

    # -- the loop's steps --

    def __enter__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import: only when something is trained

        self.folder.mkdir(parents=True, exist_ok=True)
        self.saved_at = time.monotonic()
        if self.accelerator.is_main_process:
            for path in self.folder.glob(".*-*"):  # temporary files of a run that was killed while it wrote
                path.unlink(missing_ok=True)
            self.camera = SnapshotRecorder(self.folder, self.test_set, self._total(), len(self.recipe.stages), self.seen)
            self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.seen)

    def __exit__(self, *_) -> None:
        if self.writer:
            self.writer.close()

    def _batches(self, stage: Stage, epoch: int) -> list[list[int]]:
        """The whole epoch, of all processes together; each takes every n-th quartet of each batch."""
        processes = self.part[1]
        if stage.batch < processes:
            raise CourseError(f"A batch of {stage.batch} cannot be shared among {processes} processes: start fewer.")
        batches = make_batches(self.samples, stage.batch, self.recipe.seed, self.stage, epoch)
        return [batch[: len(batch) // processes * processes] for batch in batches]

    def _total(self) -> int:
        """Samples of the whole run, leftovers of the last batches excluded."""
        return sum(
            stage.epochs * sum(len(batch) for batch in self._batches(stage, 0))
            for stage in self.recipe.stages
        )

    def train_epoch(self, dataset: Dataset, stage: Stage, epoch: int, progress: bool, stop: list) -> None:
        batches, total = self._batches(stage, epoch), self._total()
        self._start_clock()
        name = f"stage {self.stage + 1}/{len(self.recipe.stages)}, {stage.size} px, epoch {epoch + 1}/{stage.epochs}"
        counter = bar(sum(map(len, batches)), name, "img", keep=True, show=progress and self.accelerator.is_main_process)
        counter.update(sum(map(len, batches[: self.batch])))
        self.net.train()
        if not self.seen:
            self._take_frame(-1, stage)
        mine = [batch[self.part[0] :: self.part[1]] for batch in batches[self.batch :]]
        for batch in loader(dataset, mine, workers=self._workers()):
            rate = learning_rate(self.recipe, self.seen / total, epoch)
            batch = self._prepared(batch, stage, epoch, self.batch, self.part)
            outputs, parts = self._step(batch, rate)
            self.recent.append(parts["loss"])
            self.batch += 1
            self.seen += len(batch["bg"]) * self.part[1]
            counter.update(len(batch["bg"]) * self.part[1])
            self._take_frame(self.seen - len(batch["bg"]) * self.part[1], stage)
            look = self.batch % LOG_EVERY == 0 or self.batch == len(batches)
            if look:
                self._check_losses(dataset, batches, stage, epoch)
                counter.set_postfix(self._log(outputs, parts, batch, stage, rate), refresh=False)
            if not look and self.part[1] > 1:
                continue  # several processes agree only where they meet anyway
            if self._agreed(bool(stop)):
                stop = stop or [signal.SIGINT]
            if stop or self._agreed(time.monotonic() - self.saved_at > CHECKPOINT_SECONDS):
                self._check_weights()
                self._stop_clock()
                self._start_clock()
                self.save()
            if stop:
                counter.close()
                raise Interrupted(
                    f"Stopped after {self.seen} of {total} samples; all of it is saved in {self.folder.name}/. "
                    "Run the cell, or the command, again to go on."
                )
        counter.close()
        self._check_weights()
        self._stop_clock()

    def _take_frame(self, before: int, stage: Stage) -> None:
        """Keeps what the network says now, if that is due after a step that began at ``before`` samples."""
        if self.camera and self.camera.is_due(before, self.seen):
            net, test = self.accelerator.unwrap_model(self.net), resized(self.test_set, stage.size)
            self.camera.take(net, test, self.seen, self.stage + 1, stage.size, self.recipe.depth_activation)

    def _start_clock(self) -> None:
        self._started = time.monotonic(), time.process_time()

    def _stop_clock(self) -> None:
        """Training alone counts, not tests; on the processor's clock, what else runs on the machine counts little."""
        self.seconds += time.monotonic() - self._started[0]
        self.cpu_seconds += time.process_time() - self._started[1]

    def _agreed(self, wish: bool) -> bool:
        """Whether any process wishes it."""
        if self.part[1] == 1:
            return wish
        return bool(self.accelerator.reduce(torch.tensor(float(wish), device=self.device), "sum"))

    def _prepared(self, batch: Quartet, stage: Stage, epoch: int, number: int, part: tuple[int, int]) -> Quartet:
        """A batch, or a process's part of it, as the network is shown it; the number decides what is drawn."""
        batch = resize(to_device(batch, self.device), stage.size)
        if self.augment:
            generator = generator_of(self.recipe.seed, self.stage, epoch, number)
            batch = self.augment(batch, generator, part)
        return batch

    def _step(self, batch: Quartet, rate: float) -> tuple[tuple, dict[str, Tensor]]:
        """One batch forward, backward and into the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        while True:
            try:
                outputs, parts = self._gradients(batch)
                break
            except torch.OutOfMemoryError:
                self._cut(len(batch["bg"]))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        for key, value in parts.items():
            self.sums[key] = self.sums.get(key, 0) + value * len(batch["bg"])
        return outputs, parts

    def _gradients(self, batch: Quartet) -> tuple[tuple, dict[str, Tensor]]:
        """Outputs and mean losses of a batch, whose gradients are added up piece by piece.

        Batch normalisation sees one piece at a time, so a batch in pieces is not exactly the batch as a whole.
        """
        count = len(batch["bg"])
        outputs, total = [], {}
        for rows in torch.arange(count, device=self.device).chunk(self.pieces):
            piece = batch if len(rows) == count else {key: value[rows] for key, value in batch.items()}
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits = self.net(piece["bg"], piece["bg_fg"])
            parts = self.loss(*logits, piece)
            share = len(rows) / count
            self.accelerator.backward(self.scaler.scale(parts["loss"] * share))
            outputs.append([logit.detach() for logit in logits])
            for key, value in parts.items():
                total[key] = total.get(key, 0) + value.detach() * share
        return tuple(torch.cat(logits) for logits in zip(*outputs)), total

    def _cut(self, count: int) -> None:
        """After a batch did not fit: from now on in twice as many pieces."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.part[1] > 1:
            raise CourseError(
                f"A batch of {count} in each of {self.part[1]} processes does not fit into the memory: "
                "train with smaller batches, recipe(..., stages=...), or in one process, which cuts them in pieces."
            ) from None
        if self.pieces >= count:
            raise CourseError(
                "Not even one quartet at a time fits into the memory: close other notebooks that use this device, "
                "or train at smaller sizes with recipe(..., stages=...)."
            ) from None
        self.pieces = min(2 * self.pieces, count)
        print(f"A batch of {count} does not fit into the memory: going on in {self.pieces} pieces, gradients added up.")

    @torch.no_grad()
    def _log(self, outputs: tuple, parts: dict[str, Tensor], batch: Quartet, stage: Stage, rate: float) -> dict[str, str]:
        """A point of the curve. Returns what the progress bar shows."""
        losses = {key: value.item() for key, value in self.accelerator.reduce(parts, "mean").items()}
        if self.part[1] > 1:  # what all processes saw; gathering knows no truth values
            batch = {key: batch[key] for key in ("mask", "depth", "near_far")} | {"valid": batch["valid"].byte()}
            outputs, batch = self.accelerator.gather(outputs), self.accelerator.gather(batch)
            batch["valid"] = batch["valid"].bool()
        meter = Meter(edges=False)
        meter.update(*probabilities(*outputs, self.recipe.depth_activation), batch)
        result = meter.result()
        point = {"samples": self.seen, "size": stage.size, "learning_rate": rate, **losses,
                 "mask_dice": result["mask_dice"], "depth_rmse": result["depth_rmse"]}  # fmt: skip
        self.curve.append(point)
        if self.writer:
            for key in point.keys() - {"samples", "size"}:
                self.writer.add_scalar(f"train/{key}", point[key], self.seen)
        return {"loss": f"{losses['loss']:.3f}", "dice": f"{result['mask_dice']:.3f}", "rmse": f"{result['depth_rmse']:.3f}"}

    def _check_losses(self, dataset: Dataset, batches: list[list[int]], stage: Stage, epoch: int) -> None:
        """Stops a run whose loss was not finite, and keeps the first batch that did it."""
        losses = self.accelerator.reduce(torch.stack(self.recent), "mean").tolist()
        first = self.batch - len(losses)
        self.recent = []
        for number, loss in enumerate(losses, first):
            if math.isfinite(loss):
                continue
            # A number decides a batch, so it can be made again: nothing had to be kept for this moment.
            batch = self._prepared(get_batch(dataset, batches[number]), stage, epoch, number, (0, 1))
            tensors = {key: value.cpu().contiguous() for key, value in batch.items()}
            about = {"stage": str(self.stage + 1), "epoch": str(epoch + 1), "batch": str(number + 1),
                     "indices": json.dumps(batches[number])}  # fmt: skip
            if self.accelerator.is_main_process:
                with whole_file(self.folder / "lost-batch.safetensors") as path:
                    path.write_bytes(safetensors_bytes(tensors, about))
            place = f"batch {number + 1} of stage {self.stage + 1}, epoch {epoch + 1}"
            raise self._lost(f"The loss is {loss} in {place} (kept as lost-batch.safetensors),")

    def _check_weights(self) -> None:
        """Before weights are kept or scored: a loss can still be finite when the step after it is not."""
        state = self.accelerator.unwrap_model(self.net).state_dict()
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise self._lost("The weights are no longer finite")

    def _lost(self, what: str) -> CourseError:
        rate = self.optimizer.param_groups[0]["lr"]
        return CourseError(
            f"{what} after {self.seen} samples: lower the learning rate (it is {rate:.1e}), or train in 32 bits with "
            f"recipe(..., precision='fp32'). {self.folder.name}/ holds the last good checkpoint, if there was one."
        )

    def end_epoch(self, stage: Stage, epoch: int, metrics: dict[str, float], test_set: Dataset) -> None:
        counted = sum(len(batch) for batch in self._batches(stage, epoch))
        means = {key: value.item() / counted for key, value in self.accelerator.reduce(self.sums, "sum").items()}
        self.history.append({
            "stage": self.stage + 1, "size": stage.size, "epoch": epoch + 1, "samples": self.seen,
            "seconds": round(self.seconds, 2), "cpu_seconds": round(self.cpu_seconds, 2), **means, **{f"test_{key}": value for key, value in metrics.items()},
        })  # fmt: skip
        if self.writer:
            for key, value in metrics.items():
                self.writer.add_scalar(f"test/{key}", value, self.seen)
            self.writer.add_image("test/room, scene, mask, predicted, depth, predicted", self._pictures(test_set, stage), self.seen)
        self.sums, self.batch, self.epoch = {}, 0, epoch + 1
        self._save_weights("weights.safetensors", self.recipe)
        self.save()

    @torch.no_grad()
    def _pictures(self, dataset: Dataset, stage: Stage, rows: int = 4) -> Tensor:
        """(3, rows*H, 6*W): four test quartets and what the network makes of them."""
        batch = next(iter(loader(dataset, [list(range(min(rows, len(dataset))))])))
        batch = resize(to_device(batch, self.device), stage.size)
        net = self.accelerator.unwrap_model(self.net)
        net.eval()
        mask, depth = probabilities(*net(batch["bg"], batch["bg_fg"]), self.recipe.depth_activation)
        panels = [batch["bg"] / 255, batch["bg_fg"] / 255, batch["mask"], mask, batch["depth"], depth]
        strips = torch.cat([panel.expand(-1, 3, -1, -1) for panel in panels], 3)  # (rows, 3, H, 6W)
        return torch.cat(list(strips), 1).cpu()

    def end_stage(self) -> None:
        so_far = dataclasses.replace(self.recipe, stages=self.recipe.stages[: self.stage + 1])
        self._save_weights(f"weights-stage-{self.stage + 1}.safetensors", so_far)
        self.stage, self.epoch = self.stage + 1, 0
        self.save()

    def _workers(self) -> int:
        """On a GPU two processes prepare batches; without one the cores are busy training."""
        return 2 if self.device.type == "cuda" else 0
