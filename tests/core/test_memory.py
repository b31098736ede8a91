"""Memory that stays with the process while something is trained."""

import ctypes
import resource
from pathlib import Path

import pytest
import torch

from helpers import memory

PAGE = resource.getpagesize()
BLOCK = 64 * 2**20 // PAGE  # pages of one block

glibc = pytest.mark.skipif(memory._glibc() is None, reason="the C library is not glibc")


def faults(work):
    """Pages that the system had to map while ``work`` ran."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def allocate():
    for _ in range(8):
        torch.ones(BLOCK * PAGE // 4)


def resident():
    """Pages that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1])


@glibc
def test_freed_memory_is_used_again_inside_and_given_back_after():
    with memory.kept_memory():
        allocate()
        assert faults(allocate) < BLOCK / 10, "not even a tenth of one of the eight blocks is mapped anew"
        inside = resident()
    assert inside - resident() > BLOCK / 2


@glibc
def test_a_block_within_another_does_not_end_it():
    with memory.kept_memory():
        with memory.kept_memory():
            allocate()
        assert faults(allocate) < BLOCK / 10


@glibc
def test_an_error_inside_restores_the_defaults_too():
    with pytest.raises(RuntimeError), memory.kept_memory():
        allocate()
        inside = resident()
        raise RuntimeError
    assert inside - resident() > BLOCK / 2


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with memory.kept_memory():
        assert torch.ones(3).sum() == 3
