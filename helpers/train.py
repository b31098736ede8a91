"""Training in stages: small images first, larger ones later. One explicit loop that can be stopped, killed and resumed.

``train(net, train_set, validation_set, recipe("course", "quick"), run_dir)`` writes into ``run_dir``:

=========================== =======================================================================
weights.safetensors         the network after the last finished epoch (:func:`helpers.predict.load`)
weights-stage-1.safetensors the network at the end of the first stage, and so on
history.csv                 one row an epoch: losses, times, metrics of the validation set
steps.csv                   one row every few steps: the training curve
last.pt, previous.pt        everything needed to resume, and the same one save earlier (:mod:`helpers.checkpoints`)
lost-batch.safetensors      where the loss was no longer finite: the batch that did it
=========================== =======================================================================

Calling ``train`` again on a folder that holds an unfinished run resumes it; on the CPU the result is bit for bit that
of an uninterrupted run, unless the network itself draws at random. Callbacks watch a run: :mod:`helpers.callbacks`.
"""

import dataclasses
import json
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.augment import Augment, generator_of, resize
from helpers.checkpoints import newest, save_checkpoint, save_tensors
from helpers.config import CourseError
from helpers.dataset import Quartet, at_size, data_key, get_batch, loader, to_device
from helpers.evaluate import evaluate
from helpers.metrics import Meter
from helpers.model import count_parameters, probabilities
from helpers.recipes import LOSSES, Recipe, Stage, learning_rate, make_optimizer, pick_precision
from helpers.utils import disk_faults_told, one_writer, write_csv

if TYPE_CHECKING:
    from helpers.callbacks import Callback

CHECKPOINT_FORMAT = 3
COUNTERS = ("stage", "epoch", "batch", "seen", "pieces", "seconds", "cpu_seconds")  # kept in a checkpoint as they are
LOG_EVERY = 10  # steps between two points of the curve; between them only fp16's scaler waits for the device


class Interrupted(CourseError):
    """Somebody stopped the training. What was learnt is saved."""


def train(
    net: nn.Module, train_set: Dataset, validation_set: Dataset, recipe: Recipe, run_dir: str | Path,
    callbacks: "Sequence[Callback]" = (), loss: nn.Module | None = None, checkpoint_seconds: float = 120,
) -> list[dict]:  # fmt: skip
    """Train ``net`` in place, or resume the run that ``run_dir`` holds.

    In one process, or in as many as ``accelerate``'s ``notebook_launcher`` or ``torchrun`` start: each takes its part
    of every batch, and only the first one writes. What is drawn is the same; batch normalisation sees one process's
    part, so curves agree closely but not to the last digit.

    Args:
        net: ``net(bg, bg_fg) -> mask_logits, depth_logits``.
        train_set, validation_set: map-style datasets of quartets (:mod:`helpers.dataset`), with no common room or cat.
        recipe: see :func:`helpers.recipes.recipe`.
        run_dir: where the run is kept.
        callbacks: what watches the run, see :class:`helpers.callbacks.Callback`.
        loss: takes the place of the loss that the recipe names, for experiments; its ``repr`` belongs to the run.
        checkpoint_seconds: a run that is killed loses at most this much.

    Returns:
        one dict an epoch: stage, size, samples and seconds so far, mean training losses, and metrics of the validation
        set at that size.

    Raises:
        CourseError: the folder holds another run, a set is empty, the loss is no longer finite, a single quartet
            does not fit into the memory, or the disk is full.
        Interrupted: somebody stopped it (Ctrl-C, a notebook's stop button); it is saved, and the same call resumes it.
    """
    for name, dataset in (("training", train_set), ("validation", validation_set)):
        if not len(dataset):
            raise CourseError(f"The {name} set is empty: give it at least one quartet.")
    run = Run(net, train_set, recipe, Path(run_dir), callbacks, loss)
    if run.stage == len(recipe.stages):
        return run.history
    with disk_faults_told(run.folder), _stop_button() as stop, run.watched(validation_set):
        while run.stage < len(recipe.stages):
            stage = recipe.stages[run.stage]
            data, run.validation_set = at_size(train_set, stage.size), at_size(validation_set, stage.size)
            while run.epoch < stage.epochs:
                batches = run.batches(stage)
                run.tell("epoch_start")
                run.start_clock()
                run.model.train()
                mine = [batch[run.rank :: run.processes] for batch in batches[run.batch :]]
                for batch in loader(data, mine, run.workers):
                    batch = run.prepared(batch, run.batch)
                    outputs, losses = run.forward_backward(batch)
                    run.step(losses, len(batch["bg"]))
                    run.tell("step")
                    logging = run.batch % LOG_EVERY == 0 or run.batch == len(batches)
                    if not logging and run.processes > 1:
                        continue  # several processes agree only where they meet anyway
                    stopped = run.any_process(bool(stop))
                    saving = stopped or run.any_process(time.monotonic() - run.saved_at > checkpoint_seconds)
                    if logging or saving:
                        run.check_losses(data, batches)
                    if logging:
                        run.log(outputs, losses, batch)
                    if saving:
                        run.stop_clock()
                        run.check_weights()
                        run.save()
                        run.start_clock()
                    if stopped:
                        raise Interrupted(
                            f"Stopped after {run.seen} of {run.total} samples; all is saved in {run.folder.name}/. "
                            "Run the cell, or the command, again to go on."
                        )
                run.stop_clock()
                run.check_weights()
                run.end_epoch(evaluate(net, run.validation_set, stage.size))  # in each process, of the whole set: exact
            run.end_stage()
    run.accelerator.wait_for_everyone()  # no process leaves while the first one still writes
    return run.history


def is_finished(run_dir: str | Path, recipe: Recipe, train_set: Dataset | None = None) -> bool:
    """Whether the folder holds a finished run of this recipe and, if it is given, on this training set."""
    if not (saved := newest(Path(run_dir))):
        return False
    wanted = {"recipe": dataclasses.asdict(recipe)} | ({} if train_set is None else {"data": data_key(train_set)})
    found = json.loads(saved["identity"])
    same = all(found[name] == value for name, value in json.loads(json.dumps(wanted)).items())
    return same and saved["stage"] == len(recipe.stages)


def make_batches(count: int, batch: int, *seed: int) -> list[list[int]]:
    """A shuffled epoch, cut into batches; a last, smaller one is left out unless it is the only one."""
    order = np.random.default_rng(seed).permutation(count)
    batches = [order[i : i + batch].tolist() for i in range(0, count, batch)]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch else batches


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
        before = None
    try:
        yield pressed
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


class Run:
    """One training run: what callbacks see of it, and the steps of the loop above.

    ``net`` is trained by ``recipe``; ``stage``, ``epoch`` and ``batch`` count, from 0, what comes next; ``seen`` of
    ``total`` samples are done; ``validation_set`` is at the stage's size; ``history`` and ``curve`` are lists of dicts.
    """

    def __init__(
        self, net: nn.Module, train_set: Dataset, recipe: Recipe, folder: Path,
        callbacks: "Sequence[Callback]" = (), loss: nn.Module | None = None,
    ):  # fmt: skip
        # Apple's GPUs have no 64-bit sums and no border padding, which metrics and augmentation need: there, the CPU.
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.device, self.processes = self.accelerator.device, self.accelerator.num_processes
        self.rank = self.accelerator.process_index  # which of the processes this is: it takes every n-th quartet
        self.callbacks = callbacks if self.accelerator.is_main_process else ()
        self.workers = 2 if self.device.type == "cuda" else 0  # without a GPU the cores are busy training
        self.net, self.recipe, self.folder, self.samples = net, recipe, folder, len(train_set)
        net.depth_activation, net.depth_size = recipe.depth_activation, recipe.depth_size  # as `load` would set them
        net.trained_size = recipe.stages[-1].size
        if recipe.channels_last:
            net.to(memory_format=torch.channels_last)
        self.model, self.optimizer = self.accelerator.prepare(net, make_optimizer(net, recipe))
        # By hand, because accelerate has one precision for the whole process: a notebook trains in several.
        self.precision = pick_precision(recipe.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.loss = loss or LOSSES[recipe.loss]()
        self.augment = Augment(**recipe.augment) if recipe.augment else None
        self.stage = self.epoch = self.batch = self.seen = 0
        self.total = sum(stage.epochs * sum(map(len, self.batches(stage))) for stage in recipe.stages)
        self.rate = recipe.learning_rate
        self.pieces = 1  # into which each batch is cut, because it did not fit into the memory
        self.seconds = self.cpu_seconds = 0.0  # of training and what callbacks do in a step, without evaluation
        self.history: list[dict] = []
        self.curve: list[dict] = []
        self.sums: dict[str, Tensor] = {}  # of the losses in this epoch
        self.recent: list[Tensor] = []  # losses since the last point of the curve, still on the device
        self.identity = {
            "format": CHECKPOINT_FORMAT, "network": type(net).__name__, "parameters": count_parameters(net),
            "recipe": dataclasses.asdict(recipe), "precision": str(self.precision),
            **({"loss": repr(loss)} if loss else {}),
            "data": data_key(train_set),
        }  # fmt: skip
        if saved := newest(folder, self.identity):
            self.resume(saved)

    def batches(self, stage: Stage) -> list[list[int]]:
        """The indices of this epoch, of all processes together."""
        if stage.batch < self.processes:
            raise CourseError(f"A batch of {stage.batch} cannot be shared among {self.processes} processes: use fewer.")
        batches = make_batches(self.samples, stage.batch, self.recipe.seed, self.stage, self.epoch)
        return [batch[: len(batch) // self.processes * self.processes] for batch in batches]

    def prepared(self, batch: Quartet, number: int, whole: bool = False) -> Quartet:
        """A batch, or this process's part of one, as the network gets it: its number decides what is drawn for it."""
        batch = resize(to_device(batch, self.device), self.recipe.stages[self.stage].size, self.recipe.antialias)
        if self.augment:
            part = (0, 1) if whole else (self.rank, self.processes)
            batch = self.augment(batch, generator_of(self.recipe.seed, self.stage, self.epoch, number), part)
        return batch

    def forward_backward(self, batch: Quartet) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """The network's logits and mean losses for a batch; the gradients are added to the weights' ``grad``.

        A batch that does not fit into the memory is cut in pieces; batch normalisation then sees one at a time.
        """
        while True:
            try:
                return self._in_pieces(batch)
            except torch.OutOfMemoryError:
                self._cut(len(batch["bg"]))

    def _in_pieces(self, batch: Quartet) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        count, outputs, losses = len(batch["bg"]), [], {}
        for rows in torch.arange(count, device=self.device).chunk(self.pieces):
            piece = batch if len(rows) == count else {key: value[rows] for key, value in batch.items()}
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                logits = self.model(piece["bg"], piece["bg_fg"])
            parts = self.loss(*logits, piece)
            share = len(rows) / count
            self.accelerator.backward(self.scaler.scale(parts["loss"] * share))
            outputs.append([logit.detach() for logit in logits])
            for name, value in parts.items():
                losses[name] = losses.get(name, 0) + value.detach() * share
        return tuple(torch.cat(logits) for logits in zip(*outputs)), losses

    def _cut(self, count: int) -> None:
        """After a batch did not fit: from now on in twice as many pieces."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.processes > 1:  # the others wait for this one's gradients in the middle of their backward pass
            raise CourseError(
                f"A batch of {count} in each of {self.processes} processes does not fit into the memory: "
                "train with smaller batches, recipe(..., stages=...), or in one process, which cuts them in pieces."
            ) from None
        if self.pieces >= count:
            raise CourseError(
                "Not even one quartet at a time fits into the memory: close other notebooks that use this device, "
                "or train at smaller sizes with recipe(..., stages=...)."
            ) from None
        self.pieces = min(2 * self.pieces, count)
        print(f"A batch of {count} does not fit into the memory: going on in {self.pieces} pieces, gradients added up.")

    def step(self, losses: dict[str, Tensor], count: int) -> None:
        """From the gradients to the weights; ``count`` quartets of this process were seen."""
        self.rate = learning_rate(self.recipe, self.seen / self.total, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value * count
        self.recent.append(losses["loss"])
        self.batch += 1
        self.seen += count * self.processes

    def tell(self, event: str, *about) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *about)

    @contextmanager
    def watched(self, validation_set: Dataset) -> Iterator[None]:
        """The folder is there, callbacks are told of the start and, however the run ends, of the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.validation_set, self.saved_at = validation_set, time.monotonic()
        with one_writer(self.folder) if self.accelerator.is_main_process else nullcontext():
            for path in self.folder.glob(".*-*") if self.accelerator.is_main_process else ():
                path.unlink(missing_ok=True)  # temporary files of a run that was killed while it wrote
            before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True  # a stage has one size
            try:
                self.tell("start")
                yield
            finally:
                torch.backends.cudnn.benchmark = before
                self.tell("close")

    def start_clock(self) -> None:
        self._started = time.monotonic(), time.process_time()

    def stop_clock(self) -> None:
        """Training counts, not evaluation; on the processor's clock, what else the machine runs counts little."""
        self.seconds += time.monotonic() - self._started[0]
        self.cpu_seconds += time.process_time() - self._started[1]

    def any_process(self, wish: bool) -> bool:
        if self.processes == 1:
            return wish
        return bool(self.accelerator.reduce(torch.tensor(float(wish), device=self.device), "sum"))

    @torch.no_grad()
    def log(self, outputs: tuple[Tensor, Tensor], losses: dict[str, Tensor], batch: Quartet) -> None:
        """A point of the curve: the batch's losses and metrics."""
        losses = {name: value.item() for name, value in self.accelerator.reduce(losses, "mean").items()}
        if self.processes > 1:  # what all processes saw; gathering knows no bool
            batch = {key: batch[key] for key in ("mask", "depth", "near_far")} | {"valid": batch["valid"].byte()}
            outputs, batch = self.accelerator.gather(outputs), self.accelerator.gather(batch)
            batch["valid"] = batch["valid"].bool()
        meter = Meter(edges=False)
        meter.update(*probabilities(*outputs, self.recipe.depth_activation), batch)
        metrics = {key: value for key, value in meter.result().items() if key in ("mask_dice", "depth_rmse")}
        size = self.recipe.stages[self.stage].size
        self.curve.append({"samples": self.seen, "size": size, "learning_rate": self.rate, **losses, **metrics})
        self.tell("log", self.curve[-1])

    def check_losses(self, dataset: Dataset, batches: list[list[int]]) -> None:
        """Stops a run whose loss was not finite, and keeps the first batch that did it."""
        losses = self.accelerator.reduce(torch.stack(self.recent), "mean").tolist()
        self.recent = []
        for number, loss in enumerate(losses, self.batch - len(losses)):
            if math.isfinite(loss):
                continue
            batch = self.prepared(get_batch(dataset, batches[number]), number, whole=True)
            place = {"stage": self.stage + 1, "epoch": self.epoch + 1, "batch": number + 1}
            about = {**{key: str(value) for key, value in place.items()}, "indices": json.dumps(batches[number])}
            if self.accelerator.is_main_process:
                save_tensors(self.folder / "lost-batch.safetensors", batch, about)
            where = "batch {batch} of stage {stage}, epoch {epoch}".format(**place)
            raise self._lost(f"The loss is {loss} in {where} (kept as lost-batch.safetensors),")

    def check_weights(self) -> None:
        """Before weights are kept or scored: a loss can still be finite when the step after it is not."""
        if not all(bool(value.isfinite().all()) for value in self.net.state_dict().values()):
            raise self._lost("The weights are no longer finite")

    def _lost(self, what: str) -> CourseError:
        return CourseError(
            f"{what} after {self.seen} samples: lower the learning rate (it is {self.rate:.1e}), or train in 32 bits "
            f"with recipe(..., precision='fp32'). {self.folder.name}/ holds the last good checkpoint, if there was one."
        )

    def end_epoch(self, metrics: dict[str, float]) -> None:
        stage = self.recipe.stages[self.stage]
        counted = sum(map(len, self.batches(stage)))
        means = {name: value.item() / counted for name, value in self.accelerator.reduce(self.sums, "sum").items()}
        self.history.append({
            "stage": self.stage + 1, "size": stage.size, "epoch": self.epoch + 1, "samples": self.seen,
            "seconds": round(self.seconds, 2), "cpu_seconds": round(self.cpu_seconds, 2),
            **means, **{f"validation_{key}": value for key, value in metrics.items()},
        })  # fmt: skip
        self.tell("epoch_end", metrics)
        self.sums, self.batch, self.epoch = {}, 0, self.epoch + 1
        self._save_weights("weights.safetensors", self.recipe)
        self.save()

    def end_stage(self) -> None:
        so_far = dataclasses.replace(self.recipe, stages=self.recipe.stages[: self.stage + 1])
        self._save_weights(f"weights-stage-{self.stage + 1}.safetensors", so_far)
        self.stage, self.epoch = self.stage + 1, 0
        self.save()

    def resume(self, saved: dict) -> None:
        """Continue where this checkpoint was written."""
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        if (before := json.loads(saved["identity"])["precision"]) != str(self.precision):
            print(f"This run began in {before} and goes on in {self.precision}, which rounds in another way.")
        for name in COUNTERS:
            setattr(self, name, saved[name])
        self.sums = {name: value.to(self.device) / self.processes for name, value in saved["sums"].items()}
        self.history, self.curve = json.loads(saved["history"]), json.loads(saved["curve"])

    def save(self) -> None:
        """Write the checkpoint and the tables; each is replaced as a whole. All processes must call it."""
        sums = self.accelerator.reduce(self.sums, "sum")
        self.sums = {name: value / self.processes for name, value in sums.items()}  # in each: their sum stays
        if not self.accelerator.is_main_process:
            return
        self.tell("save")  # before the checkpoint, so that there is none without what belongs to it
        save_checkpoint(self.folder, {
            "identity": json.dumps(self.identity), "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(),
            **{name: getattr(self, name) for name in COUNTERS}, "sums": sums,
            "history": json.dumps(self.history), "curve": json.dumps(self.curve),
        })  # fmt: skip
        write_csv(self.folder / "history.csv", self.history)
        write_csv(self.folder / "steps.csv", self.curve)
        self.saved_at = time.monotonic()

    def _save_weights(self, name: str, recipe: Recipe) -> None:
        """The network as it is now; ``recipe`` is what it has been through."""
        about = {"network": type(self.net).__name__, "recipe": json.dumps(dataclasses.asdict(recipe)),
                 "metrics": json.dumps(self.history[-1])}  # fmt: skip
        if self.accelerator.is_main_process:
            save_tensors(self.folder / name, self.net.state_dict(), about)
