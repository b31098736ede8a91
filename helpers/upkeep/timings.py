"""What running the notebooks took: ``runs/course/measured.json`` has, for each notebook, one entry for each machine,
profile and data source. :mod:`~helpers.upkeep.run_notebooks` writes it, :mod:`~helpers.upkeep.front_page` reads it.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psutil

from helpers.config import cache_dir, data_source, profile, runs_dir
from helpers.utils import device, write_json


def log_file() -> Path:
    return runs_dir() / "course" / "measured.json"


def read() -> dict[str, list[dict]]:
    """All entries by notebook; empty if nothing was run."""
    return json.loads(log_file().read_text(encoding="utf-8")) if log_file().exists() else {}


def from_nothing() -> bool:
    """Whether a run that starts now finds no rendered set and no trained network that would save it time."""
    folders = [cache_dir(), *runs_dir().glob("*-*-*")]
    return not any(path.is_file() for folder in folders for path in folder.rglob("*"))


@dataclass
class Timing:
    minutes: float = 0.0
    gigabytes: float = 0.0  # the most that all child processes took together


@contextmanager
def timed() -> Iterator[Timing]:
    """Yield a :class:`Timing` that is filled while the ``with`` block runs, and complete however it ends."""
    timing, started, done = Timing(), time.monotonic(), threading.Event()

    def watch() -> None:
        pause = 0.5
        while not done.wait(pause):
            began = time.thread_time()
            timing.gigabytes = max(timing.gigabytes, _memory() / 2**30)
            # Counting shared pages takes time from the cores that train: at most a fiftieth of one core's.
            pause = max(0.5, 50 * (time.thread_time() - began))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield timing
    finally:
        done.set()
        thread.join()
        timing.minutes = (time.monotonic() - started) / 60


def record(notebook: str, timing: Timing, from_nothing: bool) -> None:
    """Keep what one whole run of ``notebook`` took, in place of the last on this machine, profile and data."""
    entry = {
        "device": device(), "profile": profile().name, "data": data_source(), "minutes": round(timing.minutes, 2),
        "gigabytes": round(timing.gigabytes, 2), "disk": round(_disk() / 2**30, 2),
        "from_nothing": from_nothing, "date": date.today().isoformat(),
    }  # fmt: skip
    log, same = read(), ("device", "profile", "data")
    others = [old for old in log.get(notebook, []) if any(old[key] != entry[key] for key in same)]
    write_json(log_file(), {**log, notebook: [*others, entry]})


def _disk() -> int:
    """Bytes of all that is kept to be used again: rendered rooms and sets."""
    return sum(path.stat().st_size for path in cache_dir().rglob("*") if path.is_file())


def _memory() -> int:
    """Bytes of all child processes; pages that they share count in shares (Linux), else in each."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            info = process.memory_full_info()
            total += getattr(info, "pss", info.rss)
    return total
