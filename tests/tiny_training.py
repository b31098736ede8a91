"""What tests of the training share: a network of a few weights, and a power cut after so many batches."""

from importlib import import_module

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.utils.data import Dataset

from helpers.dataset import get_batch

train = import_module("helpers.train")  # the attribute helpers.train is the function


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Repeating a run bit for bit is promised for the CPU, so that is where the tests that import this run everywhere."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(train, "Accelerator", lambda cpu: Accelerator(cpu=True))
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Tiny(nn.Module):
    """Takes and gives what the real networks do, with batch statistics to remember."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1)
        )

    def forward(self, bg, bg_fg):
        return self.body(torch.cat((bg, bg_fg), 1).float() / 255).chunk(2, 1)


def tiny(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tiny()


class PowerCut(Exception):
    pass


class Failing(Dataset):
    """A dataset that fails after so many batches, at whatever size."""

    def __init__(self, dataset, left):
        self.dataset, self.left = dataset, left if isinstance(left, list) else [left]

    def __len__(self):
        return len(self.dataset)

    def key(self):
        return self.dataset.key()

    def at_size(self, size):
        return Failing(self.dataset.at_size(size), self.left)

    def get_batch(self, indices):
        if self.left[0] == 0:
            raise PowerCut
        self.left[0] -= 1
        return get_batch(self.dataset, indices)
