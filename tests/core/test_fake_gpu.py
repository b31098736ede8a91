"""A rehearsal of the GPU on a machine without one (`tests/fake_gpu.py`): what runs on it, and what is read from it.

Each thing that is rehearsed says which reads it makes, and at which places the tests at the end make a mistake in it,
which must be caught. Photographs are put together with numpy by design (:mod:`helpers.photos`): nothing to rehearse.
"""

import dataclasses
import importlib
from typing import NamedTuple

import numpy as np
import pytest
import torch
from fake_gpu import COPY, NUMBER, UPLOAD, Waits, Wide, fake_gpu, fakes, made, on_gpu
from notebook_cells import defined
from toy import ToyQuartets

from helpers import augment, callbacks, losses, metrics, model, recipes
from helpers.augment import Augment, generator_of, perturb, resize
from helpers.callbacks import SnapshotRecorder
from helpers.demos import architecture
from helpers.evaluate import network_predictor
from helpers.metrics import Meter
from helpers.model import NETWORKS, DuoNet, probabilities
from helpers.recipes import LOSSES, make_optimizer, recipe
from helpers.rendering import cat_pass, cats, room_pass
from helpers.rendering import dataset as rooms
from helpers.rendering.cat_pass import PlacedCat
from helpers.rendering.layout import furnish
from helpers.rendering.placement import Placement
from helpers.widgets.feature_viewer import explore_features

evaluation, prediction, training = (  # helpers.evaluate and the others are functions, too
    importlib.import_module(f"helpers.{name}") for name in ("evaluate", "predict", "train")
)
feature_maps = defined("03", "feature_maps")["feature_maps"]  # here, because its imports must not meet fake tensors
FORGOTTEN = torch.ones(1)  # a constant of the CPU, made before anything is rehearsed


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A fake GPU, with the test's monkeypatch and folder."""
    with fake_gpu(monkeypatch) as watch:
        watch.patch, watch.folder = monkeypatch, tmp_path
        yield watch


def small(gpu):
    """A DuoNet without its residual blocks: each operation takes time, of whatever size."""
    return made(gpu, lambda: DuoNet(blocks=(0, 0, 0, 0)))


def batch_on(device="cuda", count=4, size=64):
    bytes_ = lambda: torch.zeros(count, 3, size, size, dtype=torch.uint8, device=device)
    maps = lambda kind=torch.float32: torch.zeros(count, 1, size, size, dtype=kind, device=device)
    return {"bg": bytes_(), "bg_fg": bytes_(), "mask": maps(), "depth": maps(), "valid": maps(torch.bool),
            "near_far": torch.zeros(count, 2, device=device)}  # fmt: skip


def same_kind(first, second):
    """On the GPU, with the same names and types."""
    assert on_gpu(*first.values()) and {k: v.dtype for k, v in first.items()} == {k: v.dtype for k, v in second.items()}


def test_a_network_on_the_gpu_scores_a_test_set_that_stays_on_the_cpu(gpu):
    """As benchmarks do after a training, which leaves the network where it was trained."""
    net = small(gpu)
    assert on_gpu(next(net.parameters()))
    for device, reads in (("cpu", [COPY, COPY]), ("cuda", [])):
        batch, gpu.expected = batch_on(device), reads
        with gpu.allowing(UPLOAD):
            maps = network_predictor(net)(batch)
        assert len(maps) == 2 and all(found.fake_device.type == device for found in maps)


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
            logits = made(gpu, NETWORKS[name]).train()(batch["bg"], batch["bg_fg"])
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
    same_kind(perturb(batch_on(), generator_of(0, 1), by=augment.HANDHELD), batch_on())


@rehearsed("resizing", (augment, "rescale_depth"))
def _(gpu):
    for size, antialias in ((48, True), (96, False)):
        same_kind(resize(batch_on(), size, antialias), batch_on())


@rehearsed("metrics", (metrics, "align"), (metrics, "outline"), (metrics, "ssim_map"), allowed=["float64", UPLOAD])
def _(gpu):
    batch, meter = batch_on(), Meter(edges=False)
    with gpu.reading(*4 * [NUMBER]):  # whether two maps hold probabilities, from 0 to 1
        meter.update(batch["mask"], batch["depth"], batch)
    with gpu.reading(...):  # once a set
        assert meter.result()["images"] == 4


@rehearsed("evaluation", (model, "probabilities"), (evaluation, "to_device"), allowed=["float64", UPLOAD])
def _(gpu):
    net, meter = small(gpu), Meter()
    for batch in evaluation.test_batches(ToyQuartets(2, 2, 1, 64), 48, "cuda", perturbed=True):
        predicted = network_predictor(net)(batch)
        assert on_gpu(*predicted, *batch.values())
        with gpu.reading(*4 * [NUMBER], COPY):  # edges of the depth are found on the CPU
            meter.update(*predicted, batch)


@rehearsed("prediction", (model, "probabilities"), (prediction, "interpolate"), allowed=[UPLOAD])
def _(gpu):
    pair = 2 * [np.zeros((50, 70, 3), np.uint8)]
    with gpu.reading(COPY):
        maps = prediction.predict(small(gpu), *pair, size=64)
    assert {name: x.shape for name, x in maps.items()} == {"mask": (50, 70), "depth": (50, 70)}


@rehearsed("feature maps", (DuoNet, "look"), (model.Head, "forward"))
def _(gpu):
    net, batch = small(gpu).eval(), batch_on(count=1)
    blocks = architecture.trace(net, batch["bg"], batch["bg_fg"])  # shapes: nothing is read
    with gpu.reading(*len(blocks) * [COPY]):  # each map once, when its stage has run
        maps = feature_maps(net, batch["bg"], batch["bg_fg"])
    assert {name: tuple(x.shape) for name, x in maps.items()} == {name: step.output for name, step in blocks.items()}
    explore_features(torch.zeros(3, 64, 64), {name: x[-1] for name, x in maps.items()})  # without the GPU


@rehearsed("the optimizers", (recipes, "_orthogonal_product"))
def _(gpu):
    for name in ("course", "published"):
        net = small(gpu)
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
    run = training.Run(small(gpu), ToyQuartets(size=64), options, gpu.folder)
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


@rehearsed("a point of the curve", (training, "probabilities"), allowed=["float64", UPLOAD, ".item()", "if"])
def _(gpu):
    run = a_run(gpu, "bf16")
    step = one_step(gpu, run)
    with gpu.reading(NUMBER):
        run.check_losses(None, [])
    with gpu.reading(...):
        run.log(*step)


@rehearsed("snapshots", (callbacks, "probabilities"), allowed=[UPLOAD])
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
            "lamp_share": maps(), "sky_share": maps()}  # fmt: skip


@rehearsed(
    "rendering cats into rooms", (cat_pass._Batch, "turn"), (cat_pass, "_advance"), (cat_pass, "_refine"),
    (cat_pass, "_shade"), (cat_pass, "_soft_shadow"), (cat_pass, "_blocked_sky"), (rooms, "normalise_depth"),
    (rooms, "quantise"), (rooms, "display"), allowed=[UPLOAD],
)  # fmt: skip
def _(gpu):
    # Fewer voxels, whose numbers come from the CPU, and fewer steps, for time.
    gpu.patch.setattr(cats, "GRID", (8, 12, 16))
    gpu.patch.setattr(cat_pass, "STEPS", 8)
    dataset = rooms.RoomsDataset(32)
    dataset.device = torch.device("cuda")
    room, rng = furnish(np.random.default_rng(0)), np.random.default_rng(1)
    ahead = np.array(room.camera.position) + 2 * room.camera.axes()[2]

    def placed(index):
        cat = dataclasses.replace(cats.draw_cat(rng), coat=cats.Coat(index))  # one of each coat
        view = {**view_on(32), "bg": torch.zeros(3, 32, 32, dtype=torch.uint8, device="cuda")}
        return PlacedCat(room, view, cat, cats.Volume(cat, "cuda"), Placement(tuple(ahead), 0.3 * index, 0.5))

    gpu.patch.setattr(dataset, "_placed_cat", placed)
    # How many rays are under way: of the shadow, at every fourth step of the march (two here, else twelve), on the cat.
    with gpu.reading(*4 * [NUMBER]):
        batch = dataset._render(range(6))
    same_kind(batch, batch_on())


@rehearsed(
    "rendering rooms", (room_pass, "_albedo"), (room_pass, "_lamp_light"), (room_pass, "_openness"),
    allowed=[UPLOAD, ".item()", "if"],
)  # fmt: skip
def _(gpu):
    room = furnish(np.random.default_rng(0))
    room.items = [item for item in room.items if item.balls][:1] + [item for item in room.items if item.boxes][:1]
    assert len(room.items) == 2
    with gpu.reading(...):  # which surfaces are seen, at several places
        same_kind(room_pass.view_room(room, 16, "cuda"), view_on(16))


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
    with pytest.raises(Waits):
        READS[read](torch.zeros(3, device="cuda"))
    if read not in ("nonzero", "x[mask]", "unique", "equal"):  # of these fake tensors do not know the result
        READS[read](torch.zeros(3))


def test_an_upload_has_to_be_one_that_does_not_block(gpu):
    x, values = torch.zeros(3, device="cuda"), torch.ones(3)
    for upload in (lambda: values.to("cuda"), lambda: x.copy_(values), lambda: torch.tensor([1.0, 2], device="cuda")):
        with pytest.raises(Waits):
            upload()
    assert on_gpu(values.to("cuda", non_blocking=True), x.copy_(values, non_blocking=True), x.copy_(x))


def test_reads_that_are_announced_have_to_come(gpu):
    x = torch.zeros(3, device="cuda")
    with gpu.reading(NUMBER, COPY):
        assert x.sum().item() == 0 and x.cpu().numpy().tolist() == [0, 0, 0]
    with gpu.reading(...):
        assert x.sum().item() == 0 and x[x > 0].shape == (1,) and x.nonzero().shape == (1, 1)
    for announced in (NUMBER, ...):
        with pytest.raises(Waits, match=COPY), gpu.reading(announced):
            x.cpu()
    with pytest.raises(AssertionError, match="not read"), gpu.reading(NUMBER):
        x + 1


@pytest.mark.parametrize("name", ITEMS)
def test_it_runs_on_the_gpu(gpu, name):
    with gpu.allowing(*ITEMS[name].allowed):
        ITEMS[name].run(gpu)


# -- what the rehearsal is for: a mistake of each kind is caught, in each thing that is rehearsed ----------------------

MISTAKES = {
    "a tensor of the CPU": (lambda x: x + torch.ones(1), RuntimeError, "on the same device"),
    "a forgotten constant": (lambda x: x + FORGOTTEN, AssertionError, "FakeTensors"),
    ".item()": (lambda x: x.sum().item(), Waits, NUMBER),
    "if": (lambda x: 1 if (x > 0).all() else 0, Waits, NUMBER),
    ".cpu()": (lambda x: x.cpu(), Waits, COPY),
    UPLOAD: (lambda x: torch.ones(2).to("cuda"), Waits, COPY),
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
    run, _, allowed = ITEMS[name]
    make, error, message = MISTAKES[mistake]
    function = getattr(*place)

    def mistaken(*about, **named):
        result = function(*about, **named)
        given = [x for x in fakes((result, about, named)) if on_gpu(x)]
        make(given[0] if given else torch.ones(2, device="cuda"))
        return result

    gpu.patch.setattr(*place, mistaken)
    with gpu.allowing(*allowed), pytest.raises(error, match=message):
        run(gpu)
