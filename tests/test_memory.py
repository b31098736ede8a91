"""Memory that stays with the process while something is trained."""

import ctypes
import resource

import pytest
import torch

from helpers import memory

glibc = pytest.mark.skipif(memory._glibc() is None, reason="the C library is not glibc")


def faults(work):
    """Pages that the system had to map while ``work`` ran."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def allocate():
    for _ in range(8):
        torch.ones(16 * 2**20)  # 64 MB: 16,384 pages each time


@glibc
def test_freed_memory_is_used_again_inside_and_given_back_after():
    outside = faults(allocate)
    with memory.kept_memory():
        allocate()
        inside = faults(allocate)
    assert inside < outside / 10
    assert faults(allocate) > outside / 2, "as before"


@glibc
def test_a_block_within_another_does_not_end_it():
    outside = faults(allocate)
    with memory.kept_memory():
        with memory.kept_memory():
            allocate()
        assert faults(allocate) < outside / 10


@glibc
def test_an_error_inside_restores_the_defaults_too():
    with pytest.raises(RuntimeError), memory.kept_memory():
        allocate()
        raise RuntimeError
    with memory.kept_memory():
        pass
    assert faults(allocate) > 8 * 1000


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with memory.kept_memory():
        assert torch.ones(3).sum() == 3
