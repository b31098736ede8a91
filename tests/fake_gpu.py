"""A GPU on a machine without one: PyTorch's fake tensors, which know device, type and shape, and hold no numbers.

An operation that mixes devices fails as it would on a GPU. :class:`Watch` sees every operation and refuses what makes
the program wait until the GPU has done all that it was given (a number or a copy that goes back to the CPU, and a copy
that goes there unless it is ``non_blocking``), and 64 bits, at which a GPU is slow.

What needs a GPU's driver cannot be rehearsed: the backward pass, random generators on the device, pinned memory, moving
a module.
"""

import sys
from contextlib import contextmanager

import numpy as np
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import augment

COPY, NUMBER = "aten::_to_copy", "aten::_local_scalar_dense"
UPLOAD = "an upload that blocks"


def _nonzero(mask):
    return mask.new_zeros((1, mask.ndim), dtype=torch.long)


def _index(x, places):
    """``x[places]`` with masks among the places."""
    split = [_nonzero(p).unbind(1) if p is not None and p.dtype == torch.bool else [p] for p in places]
    return x[tuple(slice(None) if axis is None else axis for axes in split for axis in axes)]


# Whose shape depends on numbers, as if they found one place.
FINDS = {
    "aten::nonzero": _nonzero,
    "aten::index": _index,
    "aten::repeat_interleave": lambda count: count.new_zeros(1, dtype=torch.long),
}


class Waits(Exception):
    """The program waits for the GPU."""


class Wide(Exception):
    """64 bits on the GPU."""


class Watch(TorchDispatchMode):
    """Lies above the fake tensors, so that it sees an operation before they do.

    A read that is allowed, or of the CPU, gives 1 (of a GPU's floating point 0: no error, no overflow), or true.
    """

    def __init__(self):
        super().__init__()
        self.expected, self.allowed = [], ()

    @contextmanager
    def reading(self, *operations):
        """Within, the GPU is read by exactly these operations, in this order; ``...``: by numbers and FINDS at will."""
        self.expected = list(operations)
        yield
        assert self.expected in ([], [...]), f"not read: {self.expected}"
        self.expected = []

    @contextmanager
    def allowing(self, *mistakes):
        """Within, UPLOAD or "float64" is none."""
        before, self.allowed = self.allowed, (*self.allowed, *mistakes)
        yield
        self.allowed = before

    def read(self, name):
        if self.expected == [...] and name == NUMBER:
            return
        if not self.expected or self.expected.pop(0) != name:
            raise Waits(name)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name, from_gpu = operation._schema.name, "cuda" in devices((args, kwargs))
        if name == NUMBER:
            if from_gpu:
                self.read(name)
            return torch.tensor(0 if from_gpu and args[0].is_floating_point() else 1, dtype=args[0].dtype).tolist()
        try:
            result = operation(*args, **kwargs or {})
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            if self.expected != [...] or name not in FINDS:
                raise Waits(name) from error
            return FINDS[name](*args)
        if from_gpu and "cpu" in devices(args[:1] if result is None else result):  # None: it writes into its first
            self.read(name)
        if name in (COPY, "aten::copy_") and "cuda" in devices(result) and "cpu" in devices(args):
            if UPLOAD not in self.allowed and True not in (*args[2:], (kwargs or {}).get("non_blocking")):
                raise Waits(name)
        # A single number of 64 bits costs nothing: those of GradScaler are.
        wide = any(x.dtype == torch.float64 and x.ndim and on_gpu(x) for x in fakes(result))
        if wide and "float64" not in self.allowed:
            raise Wide(name)
        return result


def fakes(tree):
    """The fake tensors in tuples, lists and dicts."""
    if isinstance(tree, FakeTensor):
        return [tree]
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (tuple, list)) else ()
    return [leaf for branch in branches for leaf in fakes(branch)]


def devices(tree):
    return {tensor.fake_device.type for tensor in fakes(tree)}


def on_gpu(*tensors):
    return all(isinstance(tensor, FakeTensor) and tensor.fake_device.type == "cuda" for tensor in tensors)


@contextmanager
def fake_gpu(monkeypatch):
    """Within, there are fake tensors only, under a :class:`Watch`."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)  # else autocast is off
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(
        augment.Draws, "normal", lambda self, *shape, device: torch.randn(self.count, *shape, device=device)[self.mine]
    )

    def numpy(tensor):
        if on_gpu(tensor):
            raise Waits("numpy")
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    monkeypatch.setattr(FakeTensor, "numpy", numpy, raising=False)
    for module in [module for name, module in sys.modules.items() if name.startswith("helpers.rendering")]:
        for name, function in [*vars(module).items()]:
            if hasattr(function, "cache_clear"):  # what it keeps must not be fake in other tests
                monkeypatch.setattr(module, name, function.__wrapped__)
    with FakeTensorMode(), Watch() as watch:
        yield watch


def made(gpu, make):
    """A module on the GPU: it has to be born there, ``to("cuda")`` needs a driver."""
    with torch.device("cuda"), gpu.allowing(UPLOAD):
        return make()
