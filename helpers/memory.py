"""Keeps freed memory in the process, so that the next training step finds it there.

A training step on the CPU allocates and frees gigabytes. The C library of Linux gives every large block back to the
system at once and asks for it anew in the next step, where each of its pages is cleared and mapped again.
``python -m helpers.benchmarks.loop`` shows what that costs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# The parameters of mallopt(3), with glibc's own defaults.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _TOP_PAD: 128 * 1024, _MMAP_MAX: 65536}
_inside = False  # of several "with" blocks in each other, only the outermost one changes anything
_KEEP = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20, _MMAP_MAX: 0}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Inside, freed memory stays with the process; afterwards it goes back to the system.

    It changes how fast a step is, not what it computes. Where the C library is not glibc (macOS, Windows, Alpine) it
    does nothing.
    """
    global _inside
    libc = _glibc()
    if libc is None or _inside:
        yield
        return
    _set(libc, _KEEP)
    _inside = True
    try:
        yield
    finally:
        _inside = False
        _set(libc, _DEFAULTS)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version, libc.mallopt, libc.malloc_trim  # noqa: B018 - looked up, not called
    except (AttributeError, OSError, TypeError):
        return None
    libc.malloc_trim.argtypes = [ctypes.c_size_t]
    return libc


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
