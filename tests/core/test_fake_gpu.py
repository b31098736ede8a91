"""A rehearsal of the GPU on a machine without one.

PyTorch's fake tensors know device, type and shape, and hold no numbers. An operation that mixes devices fails as it
would on a GPU. :class:`Watch` sees every operation and refuses what makes the program wait for the GPU (a number or a
copy that goes back to the CPU) and 64 bits, at which a GPU is slow. Each thing that is rehearsed says which reads it
makes, and at which places the tests at the end make a mistake in it, which must be caught.

What needs a GPU's driver cannot be rehearsed: the backward pass, random generators on the device, pinned memory, moving
a module. Photographs are put together with numpy by design (:mod:`helpers.photos`): there is nothing to rehearse.
"""

import importlib
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import torch
from notebook_cells import defined
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toy import ToyQuartets

from helpers import augment, callbacks, losses, metrics, model, recipes
from helpers.augment import Augment, generator_of, perturb, resize
from helpers.callbacks import SnapshotRecorder
from helpers.demos import architecture
from helpers.evaluate import network_predictor
from helpers.metrics import Meter
from helpers.model import NETWORKS, DuoNet, probabilities
from helpers.recipes import LOSSES, make_optimizer, recipe
from helpers.rendering import cat_pass, cats, textures
from helpers.rendering import dataset as rooms
from helpers.rendering.cat_pass import PlacedCat
from helpers.rendering.layout import furnish
from helpers.rendering.placement import Placement
from helpers.widgets.feature_viewer import explore_features

evaluation, prediction, training = (  # helpers.evaluate and the others are functions, too
    importlib.import_module(f"helpers.{name}") for name in ("evaluate", "predict", "train")
)
feature_maps = defined("03", "feature_maps")["feature_maps"]  # here, because its imports must not meet fake tensors
COPY, NUMBER = "aten::_to_copy", "aten::_local_scalar_dense"
FORGOTTEN = torch.ones(1)  # a constant of the CPU, made before anything is rehearsed


class HostRead(Exception):
    """The program waits for the GPU."""


class Wide(Exception):
    """64 bits on the GPU."""


class Watch(TorchDispatchMode):
    """Lies above the fake tensors, so that it sees an operation before they do.

    A read that is allowed, or of the CPU, gives 1 (of a GPU's floating point 0: no error, no overflow), or true.
    """

    def __init__(self):
        super().__init__()
        self.expected, self.wide = [], False

    @contextmanager
    def reading(self, *operations):
        """Within, the GPU is read by exactly these operations, in this order; ``...``: so many numbers as you like."""
        self.expected = list(operations)
        yield
        assert self.expected in ([], [...]), f"not read: {self.expected}"
        self.expected = []

    def read(self, name):
        if self.expected == [...] and name == NUMBER:
            return
        if not self.expected or self.expected.pop(0) != name:
            raise HostRead(name)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name, from_gpu = operation._schema.name, "cuda" in devices((args, kwargs))
        if name == NUMBER:
            if from_gpu:
                self.read(name)
            return torch.tensor(0 if from_gpu and args[0].is_floating_point() else 1, dtype=args[0].dtype).tolist()
        try:
            result = operation(*args, **kwargs or {})
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise HostRead(name) from error
        if from_gpu and "cpu" in devices(args[:1] if result is None else result):  # None: it writes into its first
            self.read(name)
        # A single number of 64 bits costs nothing: those of GradScaler are.
        if not self.wide and any(x.dtype == torch.float64 and x.ndim for x in fakes(result) if on_gpu(x)):
            raise Wide(name)
        return result


def fakes(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, FakeTensor)]


def devices(tree):
    return {tensor.fake_device.type for tensor in fakes(tree)}


def on_gpu(*tensors):
    return all(isinstance(tensor, FakeTensor) and tensor.fake_device.type == "cuda" for tensor in tensors)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Fake tensors under a watch, with the test's monkeypatch and folder."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)  # else autocast is off
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(
        augment.Draws, "normal", lambda self, *shape, device: torch.randn(self.count, *shape, device=device)[self.mine]
    )

    def numpy(tensor):
        if on_gpu(tensor):
            raise HostRead("numpy")
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    monkeypatch.setattr(FakeTensor, "numpy", numpy, raising=False)
    # What these keep must not be fake in other tests.
    for module, name in ((textures, "_tile"), (textures, "_random_numbers"), (rooms, "_tones")):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)
    with FakeTensorMode(), Watch() as watch:
        watch.patch, watch.folder = monkeypatch, tmp_path
        yield watch


def made(make):
    """A module on the GPU: it has to be born there, ``to("cuda")`` needs a driver."""
    with torch.device("cuda"):
        return make()


def small():
    """A DuoNet without its residual blocks: each operation takes time, of whatever size."""
    return made(lambda: DuoNet(blocks=(0, 0, 0, 0)))


def batch_on(device="cuda", count=4, size=64):
    bytes_ = lambda: torch.zeros(count, 3, size, size, dtype=torch.uint8, device=device)
    maps = lambda kind=torch.float32: torch.zeros(count, 1, size, size, dtype=kind, device=device)
    return {"bg": bytes_(), "bg_fg": bytes_(), "mask": maps(), "depth": maps(), "valid": maps(torch.bool),
            "near_far": torch.zeros(count, 2, device=device)}  # fmt: skip


def same_kind(first, second):
    """On the GPU, with the same names and types."""
    assert on_gpu(*first.values()) and {k: v.dtype for k, v in first.items()} == {k: v.dtype for k, v in second.items()}


# -- what is rehearsed ----------------------------------------------------------------------------------------------


class Item(NamedTuple):
    run: object
    places: tuple  # (object, name of its function): where mistakes are made
    allowed: tuple  # which of the mistakes are none here


ITEMS = {}


def rehearsed(name, *places, allowed=()):
    def keep(run):
        ITEMS[name] = Item(run, places, allowed)
        return run

    return keep


def network(name, precision):
    def run(gpu):
        batch = batch_on()
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            logits = made(NETWORKS[name]).train()(batch["bg"], batch["bg_fg"])
        assert on_gpu(*logits) and {(x.shape, x.dtype) for x in logits} == {((4, 1, 64, 64), precision)}
        assert on_gpu(*probabilities(*logits))

    return run


def loss_of(name, precision):
    def run(gpu):
        logits = (torch.zeros(4, 1, 64, 64, dtype=precision, device="cuda") for _ in range(2))
        parts = LOSSES[name]()(*logits, batch_on())
        assert on_gpu(*parts.values()) and {part.dtype for part in parts.values()} == {torch.float32}

    return run


for precision in (torch.float32, torch.float16, torch.bfloat16):
    narrow = precision == torch.float16  # mistakes are made in one precision
    for name in NETWORKS:
        places = [(model, "normalise"), (model, "probabilities")]
        rehearsed(f"{name} in {precision}", *places[:narrow])(network(name, precision))
    for name in LOSSES:
        places = [(losses, "ssim_map"), (losses, "soft_dice_loss")]
        rehearsed(f"{name} loss of {precision}", *places[: 2 * narrow])(loss_of(name, precision))


@rehearsed("augmentation", (augment, "shift_images"), (augment, "normalise_depth"), (Augment, "_tint"))
def _(gpu):
    same_kind(Augment(**recipe("course").augment)(batch_on(), generator_of(0, 1)), batch_on())


@rehearsed("perturbation", (augment, "shift_images"))
def _(gpu):
    same_kind(perturb(batch_on(), generator_of(0, 1)), batch_on())


@rehearsed("resizing", (augment, "rescale_depth"))
def _(gpu):
    for size, antialias in ((48, True), (96, False)):
        same_kind(resize(batch_on(), size, antialias), batch_on())


@rehearsed("metrics", (metrics, "align"), (metrics, "outline"), (metrics, "ssim_map"), allowed=["float64"])
def _(gpu):
    batch, meter = batch_on(), Meter(edges=False)
    with gpu.reading(*4 * [NUMBER]):  # whether two maps hold probabilities, from 0 to 1
        meter.update(batch["mask"], batch["depth"], batch)
    with gpu.reading(...):  # once a set
        assert meter.result()["images"] == 4


@rehearsed("evaluation", (evaluation, "probabilities"), (evaluation, "to_device"), allowed=["float64"])
def _(gpu):
    net, meter = small(), Meter()
    for batch in evaluation.test_batches(ToyQuartets(2, 2, 1, 64), 48, "cuda", perturbed=True):
        predicted = network_predictor(net)(batch)
        assert on_gpu(*predicted, *batch.values())
        with gpu.reading(*4 * [NUMBER], COPY):  # edges of the depth are found on the CPU
            meter.update(*predicted, batch)


@rehearsed("prediction", (prediction, "probabilities"))
def _(gpu):
    pair = 2 * [np.zeros((50, 70, 3), np.uint8)]
    with gpu.reading(COPY):
        maps = prediction.predict(small(), *pair, size=64)
    assert {name: x.shape for name, x in maps.items()} == {"mask": (50, 70), "depth": (50, 70)}


@rehearsed("feature maps", (DuoNet, "look"), (model.Head, "forward"))
def _(gpu):
    net, batch = small().eval(), batch_on(count=1)
    blocks = architecture.trace(net, batch["bg"], batch["bg_fg"])  # shapes: nothing is read
    with gpu.reading(*len(blocks) * [COPY]):  # each map once, when its stage has run
        maps = feature_maps(net, batch["bg"], batch["bg_fg"])
    assert {name: tuple(x.shape) for name, x in maps.items()} == {name: step.output for name, step in blocks.items()}
    explore_features(torch.zeros(3, 64, 64), {name: x[-1] for name, x in maps.items()})  # without the GPU


@rehearsed("the optimizers", (recipes, "_orthogonal_product"))
def _(gpu):
    for name in ("course", "published"):
        net = small()
        optimizer = make_optimizer(net, recipe(name))
        for weights in net.parameters():
            weights.grad = torch.ones_like(weights)
        for _ in range(2):
            optimizer.step()
        state = [x for one in optimizer.state_dict()["state"].values() for x in one.values() if torch.is_tensor(x)]
        assert on_gpu(*(x for x in state if x.numel() > 1), *net.parameters())


def a_run(gpu, precision="fp16"):
    """A run as `train` makes it, on the fake GPU, with made-up gradients instead of a backward pass."""

    class Accelerator:
        device, num_processes, process_index, is_main_process = torch.device("cuda"), 1, 0, True
        __init__ = lambda self, **_: None
        prepare = lambda self, *things: things
        reduce = lambda self, values, _: values

        def backward(self, loss):
            assert on_gpu(loss)
            for weights in run.net.parameters():
                weights.grad = torch.ones_like(weights)

    gpu.patch.setattr(training, "Accelerator", Accelerator)
    options = recipe("course", precision=precision, channels_last=False)
    run = training.Run(small(), ToyQuartets(size=64), options, gpu.folder)
    return run


def one_step(gpu, run):
    batch = run.prepared(batch_on(), run.batch)
    outputs, losses = run.forward_backward(batch)
    # In fp16 the scaler asks whether a gradient overflowed.
    with gpu.reading(*[NUMBER] * run.scaler.is_enabled()):
        run.step(losses, 4)
    assert on_gpu(*outputs, *losses.values(), *run.recent, *run.sums.values(), *batch.values())
    return outputs, losses, batch


for precision in ("fp32", "fp16", "bf16"):
    places = [(training, "resize"), (losses.CourseLoss, "total"), (training, "learning_rate")]

    @rehearsed(f"training steps in {precision}", *(places if precision == "bf16" else ()))
    def _(gpu, precision=precision):
        run = a_run(gpu, precision)
        for _ in range(2):
            one_step(gpu, run)


@rehearsed("a point of the curve", (training, "probabilities"), allowed=["float64", ".item()", "if"])
def _(gpu):
    run = a_run(gpu, "bf16")
    step = one_step(gpu, run)
    with gpu.reading(NUMBER):
        run.check_losses(None, [])
    with gpu.reading(...):
        run.log(*step)


@rehearsed("snapshots", (callbacks, "probabilities"))
def _(gpu):
    run, recorder = a_run(gpu), SnapshotRecorder()
    run.validation_set = ToyQuartets(2, 2, 2, 96)
    recorder.start(run)
    for run.seen in recorder._due[:2].tolist():
        with gpu.reading(COPY):
            recorder.step(run)
    recorder.step(run)  # none is due: nothing is read
    assert [snapshot.predictions.shape for snapshot in recorder._snapshots] == 2 * [(2, 4, 32, 32)]


def view_on(size):
    maps = lambda channels=(), kind=torch.float16: torch.zeros(*channels, size, size, dtype=kind, device="cuda")
    return {"colour": maps([3]), "depth": maps(kind=torch.float32), "corner_depth": maps([4]), "normal": maps([3]),
            "lamp_share": maps(), "sky_share": maps(), "bg": maps([3], torch.uint8)}  # fmt: skip


@rehearsed(
    "rendering cats into rooms", (cat_pass._Batch, "turn"), (cat_pass, "_advance"), (cat_pass, "_refine"),
    (cat_pass, "_shade"), (cat_pass, "_soft_shadow"), (cat_pass, "_blocked_sky"), (rooms, "normalise_depth"),
    (rooms, "quantise"), (rooms, "display"),
)  # fmt: skip
def _(gpu):
    gpu.patch.setattr(cats, "GRID", (8, 12, 16))  # coarse: its numbers come from the CPU, and take time
    dataset = rooms.RoomsDataset(32)
    dataset.device = torch.device("cuda")
    room, rng = furnish(np.random.default_rng(0)), np.random.default_rng(1)
    ahead = np.array(room.camera.position) + 2 * room.camera.axes()[2]

    def placed(index):
        cat = cats.draw_cat(rng)
        return PlacedCat(room, view_on(32), cat, cats.Volume(cat, "cuda"), Placement(tuple(ahead), 0.3 * index, 0.5))

    gpu.patch.setattr(dataset, "_placed_cat", placed)
    # How many rays are under way: of the shadow, at every fourth step of the march, and on the cat.
    with gpu.reading(*(1 + cat_pass.STEPS // 4 + 1) * [NUMBER]):
        batch = dataset.get_batch(range(6))
    same_kind(batch, batch_on())


# -- the watch itself -------------------------------------------------------------------------------------------------

READS = {
    ".cpu()": lambda x: x.cpu(),
    '.to("cpu")': lambda x: x.to("cpu", torch.float16, non_blocking=True),
    "copy_": lambda x: torch.zeros(3).copy_(x),
    "_foreach_copy_": lambda x: torch._foreach_copy_([torch.zeros(3)], [x]),
    "assignment": lambda x: torch.zeros(2, 3).__setitem__(0, x),
    ".numpy()": lambda x: x.numpy(),
    "asarray": lambda x: np.asarray(x),
    ".tolist()": lambda x: x.tolist(),
    ".item()": lambda x: x[0].item(),
    "float": lambda x: float(x[0]),
    "bool": lambda x: bool(x[0]),
    "nonzero": lambda x: x.nonzero(),
    "x[mask]": lambda x: x[x > 0],
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
}


@pytest.mark.parametrize("read", READS)
def test_a_read_of_the_gpu_is_refused_and_one_of_the_cpu_is_not(gpu, read):
    with pytest.raises(HostRead):
        READS[read](torch.zeros(3, device="cuda"))
    if read not in ("nonzero", "x[mask]", "unique", "equal"):  # of these fake tensors do not know the result
        READS[read](torch.zeros(3))


def test_reads_that_are_announced_have_to_come(gpu):
    x = torch.zeros(3, device="cuda")
    with gpu.reading(NUMBER, COPY):
        assert x.sum().item() == 0 and x.cpu().numpy().tolist() == [0, 0, 0]
    with pytest.raises(HostRead, match=COPY), gpu.reading(NUMBER):
        x.cpu()
    gpu.expected = []
    with pytest.raises(AssertionError, match="not read"), gpu.reading(NUMBER):
        x + 1


@pytest.mark.parametrize("name", ITEMS)
def test_it_runs_on_the_gpu(gpu, name):
    gpu.wide = "float64" in ITEMS[name].allowed
    ITEMS[name].run(gpu)


# -- what the rehearsal is for: a mistake of each kind is caught, in each thing that is rehearsed ----------------------

MISTAKES = {
    "a tensor of the CPU": (lambda x: x + torch.ones(1), RuntimeError, "on the same device"),
    "a forgotten constant": (lambda x: x + FORGOTTEN, AssertionError, "FakeTensors"),
    ".item()": (lambda x: x.sum().item(), HostRead, NUMBER),
    "if": (lambda x: 1 if (x > 0).all() else 0, HostRead, NUMBER),
    ".cpu()": (lambda x: x.cpu(), HostRead, COPY),
    "float64": (lambda x: x.flatten().double(), Wide, COPY),
}


def planted():
    """In each item every mistake that is one there, and at each of its places one or more."""
    for name, (_, places, allowed) in ITEMS.items():
        mistakes = [mistake for mistake in MISTAKES if mistake not in allowed]
        for i in range(max(len(mistakes), len(places)) if places else 0):
            place, mistake = places[i % len(places)], mistakes[i % len(mistakes)]
            yield pytest.param(name, place, mistake, id=f"{name}, {place[1]}: {mistake}")


@pytest.mark.parametrize("name, place, mistake", [*planted()])
def test_a_mistake_in_it_is_caught(gpu, name, place, mistake):
    make, error, message = MISTAKES[mistake]
    function = getattr(*place)

    def mistaken(*about, **named):
        result = function(*about, **named)
        given = [x for x in fakes((result, about, named)) if on_gpu(x)]
        make(given[0] if given else torch.ones(2, device="cuda"))
        return result

    gpu.patch.setattr(*place, mistaken)
    gpu.wide = "float64" in ITEMS[name].allowed
    with pytest.raises(error, match=message):
        ITEMS[name].run(gpu)

