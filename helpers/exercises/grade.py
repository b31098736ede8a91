"""``python -m helpers.exercises grade FOLDER``: the exercises of all notebooks that were handed in, as a table.

Each exercise is run in a process of its own (``grade_process``), a fork in an empty folder that vanishes, with a limit
on time, memory and the size of files. Only the functions that are checked are run, and what they use. Marks come from
the course's own checkers, never from a notebook's outputs.

**What this is not: a sandbox.** A student's function runs beside the checker that tests it. Python refuses it to change
files outside its folder, to start processes and to replace the checkers' functions, but code that is written to cheat
finds ways around that: it can read files of this machine, and look into the checker for the right result. Grade
notebooks of people whom you do not know in a container that holds nothing else and has no network. Linux has all the
limits, macOS does not limit memory, and Windows cannot fork: there, grade in WSL.
"""

import csv
import os
from pathlib import Path

from helpers.config import CourseError
from helpers.exercises import grade_process
from helpers.exercises.checker import order
from helpers.exercises.handed_in import CALL, Unreadable, code_cells
from helpers.utils import is_system_file, whole_file

MAX_BYTES = 20_000_000


def grade(folder: Path, out: Path, seconds: float = 60.0, memory: float = 2.0) -> list[dict[str, str]]:
    """Grade all notebooks in ``folder`` and its sub-folders and write a row for each to ``out``, a CSV file.

    Args:
        seconds: the most for one exercise.
        memory: the most for one exercise, in GB (torch alone takes about half a GB).

    Returns:
        The rows: ``file``; by exercise "passed", "wrong", "blank" (there is still a gap), "error" (it stops with an
        exception, or ends its process), "timeout" or "missing"; ``points``, ``of`` and a ``remark``.

    Raises:
        CourseError: there is no such folder, or no notebook in it, or this is Windows.
    """
    if not folder.is_dir():
        raise CourseError(f"{folder} is not a folder: name the one that holds the handed-in notebooks.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".ipynb"
                   and not is_system_file(path.relative_to(folder).as_posix()))  # fmt: skip
    if not paths:
        raise CourseError(f"No file *.ipynb is in {folder}.")
    if not hasattr(os, "fork"):
        raise CourseError("Windows cannot run each exercise in a fork: grade in Linux, in macOS or in WSL.")
    rows = []
    for path in paths:
        try:
            results = run(_bytes(path), seconds, memory)
        except Unreadable as error:
            results = [("-", "unreadable", str(error))]
        rows.append(row(path.relative_to(folder).as_posix(), results))
        print(f"{rows[-1]['file']}: {rows[-1]['points'] or 0} of {rows[-1]['of'] or '?'}", flush=True)
    write(out, rows)
    return rows


def _bytes(path: Path) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise Unreadable("a link or a folder, not a file")
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable(f"larger than {MAX_BYTES // 1_000_000} MB")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None


def run(raw: bytes, seconds: float, memory: float) -> list[tuple[str, str, str]]:
    """Number, state and message of each exercise of one notebook; raises :class:`Unreadable`."""
    cells = code_cells(raw)
    called = {number for source in cells.values() for number in CALL.findall(source)}
    if not called:
        raise Unreadable("it has no exercises: no cell calls check")
    numbers = grade_process.prepare({number.partition(".")[0] for number in called})
    if not numbers:
        raise Unreadable(f"the course has none of its exercises ({', '.join(sorted(called))[:60]})")
    return [(number, *grade_process.in_child(cells, number, seconds, memory)) for number in sorted(numbers, key=order)]


def row(name: str, results: list[tuple[str, str, str]]) -> dict[str, str]:
    """The table's row of one notebook."""
    states = {number: state for number, state, _ in results if number != "-"}
    points = {"points": str(list(states.values()).count("passed")), "of": str(len(states))} if states else {}
    noted = [f"{number}: {message}" for number, state, message in results if state not in ("passed", "blank")]
    remark = " | ".join(note.removeprefix("-: ")[:300] for note in noted)
    cells = {"file": name, **states, "points": "", "of": "", **points, "remark": remark}
    return {column: harmless(text) for column, text in cells.items()}


def harmless(text: str) -> str:
    """One line that a spreadsheet does not take for a formula: file names and messages are the students'."""
    text = "".join(sign if sign.isprintable() else "?" for sign in text.encode("utf-8", "replace").decode("utf-8"))
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) else text


def write(out: Path, rows: list[dict[str, str]]) -> None:
    """The rows as CSV, whole or not at all: all exercises in order, then points and remarks."""
    numbers = {column for one in rows for column in one} - {"file", "points", "of", "remark"}
    with whole_file(out) as temporary, open(temporary, "w", newline="", encoding="utf-8-sig") as stream:
        columns = ["file", *sorted(numbers, key=order), "points", "of", "remark"]
        table = csv.DictWriter(stream, columns, restval="")
        table.writeheader()
        table.writerows(rows)
