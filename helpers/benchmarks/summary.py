"""What the results of all benchmarks have in common: numbers of several seeds, and how they are written down."""

import argparse
import json
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import date

from helpers.archive.download import fetch_archive
from helpers.config import data_source, profile, runs_dir
from helpers.utils import device, write_json

VERSION = 2  # of what is stored: raise it when training or scoring changes, or the form of the files does


def about(**facts) -> dict:
    """What a result says of itself beside its numbers, and ``facts``."""
    data = data_source() if data_source() in ("rooms", "archive") else "photographs"  # no name of anybody's folder
    return {"version": VERSION, "data": data, "profile": profile().name, "date": date.today().isoformat(), **facts}


def positive(text: str) -> int:
    """The ``type`` of an argument that counts something."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def machine() -> str:
    """What a figure was measured on, in words: the devices, the architecture, and PyTorch's version."""
    import torch

    return f"{device()} ({platform.machine()}), torch {torch.__version__}"


def need_data() -> None:
    """A notebook goes on with rendered rooms where the archive cannot be had; a measurement must not."""
    if data_source() == "archive":
        fetch_archive()


def keep(result: dict, name: str, words: str) -> None:
    """Store ``result`` as ``runs/NAME`` and print what it shows, in ``words``."""
    write_json(runs_dir() / name, result)
    print(f"\n{words}\n\nStored as runs/{name}.")


def stored(pattern: str) -> list[dict]:
    """The results in ``runs/`` that fit ``pattern``; those of another version of the course are left out, and named."""
    results = []
    for path in sorted(runs_dir().glob(pattern), reverse=True):  # rooms before photographs
        result = json.loads(path.read_text("utf-8"))
        if result.get("version") == VERSION:
            results.append(result)
        else:
            print(f"{path.parent.name}/{path.name} is of another version of the course: measure again to replace it.")
    return results


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int | None = None) -> str:
    """A table in Markdown; columns from ``numbers_from`` on are aligned to the right."""
    marks = ["--:" if numbers_from is not None and i >= numbers_from else "---" for i in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, marks, *rows))


def gather(results: Iterable[dict[str, float]]) -> dict[str, list[float]]:
    """One list for each key that every result has: one value a seed."""
    results = list(results)
    return {key: [result[key] for result in results] for key in results[0] if all(key in result for result in results)}


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def with_spread(values: Sequence[float], form: str) -> str:
    """``mean ± spread`` in the given form, such as "{:.3f}"; the mean alone of a single value."""
    mean = form.format(statistics.fmean(values))
    # No-break spaces: in a narrow cell a line ends elsewhere.
    return mean if len(values) < 2 else f"{mean}\u00a0±\u00a0{form.format(spread(values))}"


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Mean of ``ours`` minus mean of ``theirs``; 0 where it is no larger than the larger of the two spreads."""
    gap = statistics.fmean(ours) - statistics.fmean(theirs)
    return gap if abs(gap) > max(spread(ours), spread(theirs)) else 0.0
