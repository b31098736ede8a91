"""A rehearsal of the GPU on a machine without one.

PyTorch's fake tensors know device, type and shape, and hold no numbers. An operation that mixes devices fails as it would on
a GPU; so does a read from the device (`.item()`, `if tensor`), which would make the program wait for the GPU. What needs
a GPU's driver cannot be rehearsed: the backward pass, random generators on the device, pinned memory, files.
"""

import contextlib
import importlib

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)

from helpers import augment
from helpers.augment import Augment, generator_of, perturb, resize
from helpers.losses import CourseLoss, PublishedLoss
from helpers.metrics import Meter
from helpers.model import NETWORKS, probabilities
from helpers.recipes import make_optimizer, recipe

training = importlib.import_module("helpers.train")  # helpers.train is the function
MIXED = "on the same device"
READ = DataDependentOutputException


@pytest.fixture
def gpu(monkeypatch):
    """Fake tensors; draws come from the CPU's generator, as always."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)  # else autocast is off
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    uniform = augment.Draws.uniform

    def drawn(self, *about):
        with unset_fake_temporarily() as mode:
            values = uniform(self, *about)
        return mode.from_tensor(values)

    monkeypatch.setattr(augment.Draws, "uniform", drawn)
    monkeypatch.setattr(
        augment.Draws, "normal", lambda self, *shape, device: torch.randn(self.count, *shape, device=device)[self.mine]
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def made(make):
    """A module on the GPU: it has to be born there, ``to("cuda")`` needs a driver."""
    with torch.device("cuda"):
        return make()


def batch_on(device="cuda", count=4, size=64):
    bytes_ = lambda: torch.zeros(count, 3, size, size, dtype=torch.uint8, device=device)
    maps = lambda kind=torch.float32: torch.zeros(count, 1, size, size, dtype=kind, device=device)
    return {"bg": bytes_(), "bg_fg": bytes_(), "mask": maps(), "depth": maps(), "valid": maps(torch.bool),
            "near_far": torch.zeros(count, 2, device=device)}  # fmt: skip


def on_gpu(*tensors):
    return all(isinstance(tensor, FakeTensor) and tensor.device.type == "cuda" for tensor in tensors)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss", [CourseLoss, PublishedLoss])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_networks_and_losses(gpu, name, loss, precision):
    check_losses(made(NETWORKS[name]).train(), loss(), precision)


def check_losses(net, loss, precision):
    batch = batch_on()
    with torch.autocast("cuda", precision, enabled=precision != torch.float32):
        logits = net(batch["bg"], batch["bg_fg"])
    assert on_gpu(*logits) and all(logit.shape == (4, 1, 64, 64) for logit in logits)
    parts = loss(*logits, batch)
    assert on_gpu(*parts.values()) and {part.dtype for part in parts.values()} == {torch.float32}
    assert on_gpu(*probabilities(*logits))


def test_autocast_is_on(gpu):
    with torch.autocast("cuda", torch.float16):
        assert made(lambda: torch.nn.Conv2d(3, 4, 3))(torch.zeros(1, 3, 8, 8, device="cuda")).dtype == torch.float16


@pytest.mark.parametrize("change", [
    Augment(**recipe("course").augment), lambda batch, rng: perturb(batch, rng), lambda batch, rng: resize(batch, 48),
    lambda batch, rng: resize(batch, 96, antialias=False),
], ids=["augmentation", "perturbation", "smaller", "larger"])  # fmt: skip
def test_batches_are_changed_where_they_are(gpu, change):
    batch = batch_on()
    changed = change(batch, generator_of(0, 1))
    assert changed.keys() == batch.keys() and on_gpu(*changed.values())
    assert {key: value.dtype for key, value in changed.items()} == {key: value.dtype for key, value in batch.items()}


def test_metrics_read_of_a_batch_only_whether_it_holds_probabilities(gpu, monkeypatch):
    batch, meter = batch_on(), Meter(edges=False)
    with pytest.raises(READ):
        meter.update(batch["mask"], batch["depth"], batch)
    monkeypatch.setattr(torch, "aminmax", lambda _: (0.0, 1.0))
    meter.update(batch["mask"], batch["depth"], batch)
    with pytest.raises(READ):  # once a set
        meter.result()


@pytest.mark.parametrize("name", ["course", "published"])
def test_the_optimizer_steps_on_the_gpu(gpu, name):
    net = made(NETWORKS["DuoNet"])
    optimizer = make_optimizer(net, recipe(name))
    for weights in net.parameters():
        weights.grad = torch.ones_like(weights)
    for _ in range(2):
        optimizer.step()
    state = [value for one in optimizer.state_dict()["state"].values() for value in one.values() if torch.is_tensor(value)]
    assert on_gpu(*(value for value in state if value.numel() > 1), *net.parameters())


def test_hooks_and_snapshots_stay_on_the_gpu(gpu):
    net, batch, seen = made(NETWORKS["DuoNet"]).eval(), batch_on(), {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    with torch.no_grad():
        maps = probabilities(*net(batch["bg"], batch["bg_fg"]))
    assert on_gpu(*maps) and {"stem", "mask_head", "depth_head"} <= set(seen)
    assert on_gpu(*(value for value in seen.values() if torch.is_tensor(value)))


@contextlib.contextmanager
def a_run(monkeypatch, precision="fp16"):
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

    monkeypatch.setattr(training, "Accelerator", Accelerator)
    monkeypatch.setattr(training, "data_key", lambda data: "made up")
    monkeypatch.setattr(training, "newest", lambda *_: None)
    run = training.Run(made(NETWORKS["DuoNet"]), range(64), recipe("course", precision=precision, channels_last=False), None)
    run.scaler = torch.amp.GradScaler("cuda", enabled=False)  # its step reads whether a gradient overflowed
    yield run


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_training_step_reads_nothing_back(gpu, monkeypatch, precision):
    with a_run(monkeypatch, precision) as run:
        for number in range(2):
            batch = run.prepared(batch_on(), number)
            outputs, losses = run.forward_backward(batch)
            run.step(losses, 4)
        assert on_gpu(*outputs, *losses.values(), *run.recent, *run.sums.values(), *batch.values())
        with pytest.raises(READ):  # a point of the curve does read: every ten steps
            run.log(outputs, losses, batch)


# -- what the rehearsal is for: a mistake of each kind is caught ---------------------------------------------------------------


def test_a_tensor_of_the_cpu_in_the_augmentation_is_caught(gpu, monkeypatch):
    def shift_images(images, shift):
        return images + torch.ones(len(images), 1, 1, 1, device="cpu")

    monkeypatch.setattr(augment, "shift_images", shift_images)
    with pytest.raises(RuntimeError, match=MIXED):
        perturb(batch_on(), generator_of(0))


def test_a_read_in_the_step_is_caught(gpu, monkeypatch):
    class Reading(CourseLoss):
        def forward(self, *about):
            parts = super().forward(*about)
            return {**parts, "mask": parts["loss"] * (parts["loss"].item() > 0)}

    with a_run(monkeypatch) as run:
        run.loss = Reading()
        with pytest.raises(READ):
            run.forward_backward(run.prepared(batch_on(), 0))


def test_64_bits_on_the_path_of_autocast_are_caught(gpu):
    class Wide(CourseLoss):
        def total(self, parts):
            return super().total(parts) * torch.ones(1, dtype=torch.float64, device="cuda")

    with pytest.raises(AssertionError, match="float64"):
        check_losses(made(NETWORKS["DuoNet"]), Wide(), torch.float16)
