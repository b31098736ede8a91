"""What running the notebooks took: :func:`record` keeps it, :mod:`helpers.upkeep.front_page` writes it into the course.

``runs/course/measured.json`` has a list for each notebook, one entry for each machine, profile and data source; a
newer run replaces its entry. ``make course`` and ``make notebooks`` write it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psutil

from helpers.config import cache_dir, data_source, profile, runs_dir
from helpers.utils import device, write_json

SAME = ("device", "profile", "data")  # an entry replaces an older one that has these in common


def log_file() -> Path:
    return runs_dir() / "course" / "measured.json"


def read() -> dict[str, list[dict]]:
    """All entries by notebook; empty if nothing was run."""
    return json.loads(log_file().read_text()) if log_file().exists() else {}


def from_nothing() -> bool:
    """Whether a run that starts now finds no rendered set and no trained network that would save it time."""
    folders = [cache_dir(), *runs_dir().glob("*-*-*")]
    return not any(path.is_file() for folder in folders for path in folder.rglob("*"))


class Measured:
    """Filled when a :func:`watched` block ends: ``minutes``, and ``gigabytes``, the most that its processes took."""

    minutes = gigabytes = 0.0


@contextmanager
def watched() -> Iterator[Measured]:
    """Time and memory of the ``with`` block, however it ends; memory is that of all child processes together."""
    measured, started = Measured(), time.monotonic()
    try:
        with PeakMemory() as memory:
            yield measured
    finally:
        measured.minutes, measured.gigabytes = (time.monotonic() - started) / 60, memory.peak / 2**30


def record(notebook: str, measured: Measured, cells: int, from_nothing: bool) -> None:
    """Keep what one whole run of ``notebook`` took."""
    entry = {
        "device": device(), "profile": profile().name, "data": data_source(), "minutes": round(measured.minutes, 2),
        "gigabytes": round(measured.gigabytes, 2), "cells": cells, "from_nothing": from_nothing,
        "date": date.today().isoformat(),
    }  # fmt: skip
    log = read()
    others = [old for old in log.get(notebook, []) if any(old[key] != entry[key] for key in SAME)]
    write_json(log_file(), {**log, notebook: [*others, entry]})


class PeakMemory:
    """The most memory, in bytes, that all child processes took together while the ``with`` block ran."""

    def __enter__(self) -> PeakMemory:
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = 0.5
        while not self._done.wait(pause):
            started = time.perf_counter()
            self.peak = max(self.peak, sum(map(_memory, psutil.Process().children(recursive=True))))
            # Counting shared pages walks through all of them: it takes the longer, the more there is to count, from
            # the cores that train. So it may have a fiftieth of the time of one.
            pause = max(0.5, 50 * (time.perf_counter() - started))


def _memory(process: psutil.Process) -> int:
    """Bytes of ``process``; pages that it shares with its workers count in shares (Linux), else in each."""
    try:
        info = process.memory_full_info()
        return getattr(info, "pss", info.rss)
    except psutil.Error:  # it ended meanwhile
        return 0
