"""Plumbing for every room of the house: files that are whole or absent, a progress bar, a table of numbers, the machine's name."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from helpers.config import CourseError

# -- files: written under a temporary name, then renamed ----------------------------------------------------------


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes ``path``'s place, on failure it is removed."""
    path = Path(path)
    with room_on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb+") as stream:
                os.fsync(stream.fileno())  # a rename must not reach the disk before the bytes do
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict | list) -> None:
    """``content`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def write_csv(path: str | Path, rows: Sequence[dict]) -> None:
    """``rows`` under the names of all their keys, whole or not at all; nothing where there are none."""
    if rows:
        with whole_file(path) as temporary, open(temporary, "w", newline="") as stream:
            table = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
            table.writeheader()
            table.writerows(rows)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """The same for a folder. If ``path`` appears meanwhile (another process was faster), that one is kept."""
    path = Path(path)
    with room_on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield temporary
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def room_on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CourseError(
            f"No space is left on the disk of {path.parent}: free some (the rendered sets in .cache/ can go), "
            "or set COURSE_CACHE and COURSE_RUNS to folders on a larger disk. Nothing was half-written."
        ) from error


# -- what a reader sees ------------------------------------------------------------------------------------------

def bar(total: int, description: str, unit: str, keep: bool = False, show: bool = True):
    """A tqdm bar; ``keep`` leaves its last state on the screen, ``show=False`` makes it silent.

    Plain text on standard output, so that a saved notebook keeps no widget.
    """
    from tqdm import tqdm  # imported late: `make relink` runs this module in a bare Python

    return tqdm(
        total=total, desc=description, unit=unit, file=sys.stdout, leave=keep, disable=not show,
        mininterval=0.5, dynamic_ncols=False, ncols=None if sys.stdout.isatty() else 110,
    )  # fmt: skip


def table(rows: Mapping[str, Mapping[str, float]], digits: int = 3) -> str:
    """Numbers by row and column as aligned text, ready to print. Whole numbers get separators, NaN a dash."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))

    def cell(value: float) -> str:
        if isinstance(value, int):
            return f"{value:,}"
        return "-" if math.isnan(value) else f"{value:.{digits}f}"

    lines = [["", *columns]]
    lines += [[name, *(cell(row.get(column, math.nan)) for column in columns)] for name, row in rows.items()]
    first, *others = (max(map(len, column)) for column in zip(*lines))

    def line(name: str, *cells: str) -> str:
        return name.ljust(first) + "".join(text.rjust(width + 3) for text, width in zip(cells, others))

    return "\n".join(line(*cells) for cells in lines)


def device() -> str:
    """The GPU's name, or how many cores PyTorch computes on."""
    import torch  # imported late: files are written without it, too

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = torch.get_num_threads()
    return f"{cores} CPU core{'s' * (cores > 1)}"


def machine() -> str:
    """What a figure was measured on, in words: the device, the architecture, and PyTorch's version."""
    import torch

    return f"{device()} ({platform.machine()}), torch {torch.__version__}"
