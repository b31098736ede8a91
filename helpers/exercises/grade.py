"""``python -m helpers.exercises grade FOLDER``: the exercises of all notebooks that were handed in, as a table.

Each notebook is read and run in a process of its own (``grade_process``): started without this process's environment,
in an empty folder that vanishes, with a limit on time, memory and files. Only the functions that are checked are run,
and what they use. Marks come from the course's own checkers, never from a notebook's outputs.

**What this is not: a sandbox.** A student's function runs beside the checker that tests it. One that is written to
cheat can read files of this machine, look into the checker for the right result, and try to stop its process. Code that
replaces functions of a library is refused, and the remark names code that could reach into the checker, so that
somebody looks at it; neither finds everything. In Linux (5.13 and later) a student's code can change no file outside
its own empty folder; in macOS and older Linux it cannot write into files, but can delete them, and macOS does not limit
memory; Windows limits time alone. Grade notebooks of people whom you do not know in a container that holds nothing else
and has no network.
"""

from __future__ import annotations

import csv
import json
import os
import queue
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from helpers.config import CourseError
from helpers.exercises import grade_process
from helpers.exercises.handed_in import MAX_BYTES
from helpers.utils import whole_file

START = 120.0  # seconds for Python, torch, and reading one notebook, on a busy machine
KEPT = ["PATH", "SYSTEMROOT", "LD_LIBRARY_PATH"]  # of the environment: without these, Python may not start


def grade(folder: Path, out: Path, seconds: float = 60.0, memory: float = 2.0) -> list[dict[str, str]]:
    """Grade all notebooks in ``folder`` and its sub-folders and write a row for each to ``out``, a CSV file.

    Args:
        seconds: the most for one exercise.
        memory: the most for one exercise, in GB (torch alone takes about half a GB).

    Returns:
        The rows: ``file``; by exercise "passed", "wrong", "blank" (there is still a gap), "error" (it stops with an
        exception, or ends its process), "timeout" or "missing"; ``points``, ``of`` and a ``remark``.

    Raises:
        CourseError: there is no such folder, or no notebook in it, or its files changed while they were graded.
    """
    if not folder.is_dir():
        raise CourseError(f"{folder} is not a folder: name the one that holds the handed-in notebooks.")
    handed_in = {path: _bytes(path) for path in _notebooks(folder)}
    if not handed_in:
        raise CourseError(f"No file *.ipynb is in {folder}.")
    rows = []
    for path, raw in handed_in.items():
        results = run(raw, seconds, memory) if isinstance(raw, bytes) else [("-", "unreadable", raw)]
        rows.append(row(path.relative_to(folder).as_posix(), results))
        print(f"{rows[-1]['file']}: {rows[-1]['points'] or 0} of {rows[-1]['of'] or '?'}", flush=True)
    write(out, rows)
    if [path for path, raw in handed_in.items() if _bytes(path) != raw]:
        raise CourseError(f"Files in {folder} changed while they were graded: use a fresh copy, and a container.")
    return rows


def _notebooks(folder: Path) -> list[Path]:
    """All notebooks below a folder, in order, but those in hidden folders; links to folders are not followed."""
    found = []
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if name.lower().endswith(".ipynb")]
    return sorted(found)


def _bytes(path: Path) -> bytes | str:
    """A file's content, or why it is not read."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return "a link: not followed"
        if not stat.S_ISREG(status.st_mode):
            return "not a file"
        if status.st_size > MAX_BYTES:
            return f"larger than {MAX_BYTES // 1_000_000} MB"
        return path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def run(raw: bytes, seconds: float, memory: float, fork: bool = hasattr(os, "fork")) -> list[tuple[str, str, str]]:
    """Number, state and message of each exercise of one notebook; or one entry "-", "unreadable" and the reason."""
    secret = secrets.token_hex(16)
    job = {"secret": secret, "seconds": seconds, "memory": memory, "fork": fork, "only": None, "start": START}
    with tempfile.TemporaryDirectory(prefix="graded-", ignore_cleanup_errors=True) as empty:
        process = subprocess.Popen(
            grade_process.command(), cwd=empty, env=_environment(empty), start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        lines: queue.Queue[bytes] = queue.Queue()
        threads = [threading.Thread(target=work, daemon=True) for work in (
            lambda: _send(process, json.dumps(job).encode() + b"\n" + raw),
            lambda: [lines.put(line) for line in iter(process.stdout.readline, b"")] + [lines.put(b"")],
        )]  # fmt: skip
        for thread in threads:
            thread.start()
        results, wait = [], START + seconds
        try:
            while line := lines.get(timeout=wait):
                if found := grade_process.read(line, secret):
                    if found[1] == "end":
                        return results
                    results.append(found)
                wait = seconds + (10 if fork else 2 * START)
            reason = "its process ended"
        except queue.Empty:
            reason = "it took too long"
        finally:
            _end(process)
            for thread in threads:
                thread.join(10)
    return [*results, ("-", "unreadable", f"{reason} before all exercises were tested")]


def _environment(empty: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    homes = dict.fromkeys(["HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "COURSE_CACHE", "COURSE_RUNS"], empty)
    plain = {"LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
             "MPLBACKEND": "Agg", "COURSE_PROFILE": "tiny", "NO_ALBUMENTATIONS_UPDATE": "1"}  # fmt: skip
    return {**kept, **homes, **plain}


def _send(process: subprocess.Popen, content: bytes) -> None:
    try:
        with process.stdin as stream:
            stream.write(content)
    except OSError:  # it has ended
        pass


def _end(process: subprocess.Popen) -> None:
    """End a process and its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    except OSError:
        pass
    process.wait()


def row(name: str, results: list[tuple[str, str, str]]) -> dict[str, str]:
    """The table's row of one notebook."""
    states = {number: state for number, state, _ in results if number != "-"}
    points = {"points": str(list(states.values()).count("passed")), "of": str(len(states))} if states else {}
    notes = [f"{number}: {message}" if number != "-" else message for number, state, message in results
             if state not in ("passed", "blank") or "look at its code" in message]  # fmt: skip
    cells = {"file": name, **states, "points": "", "of": "", **points, "remark": " | ".join(note[:300] for note in notes)}
    return {column: harmless(text) for column, text in cells.items()}


def harmless(text: str) -> str:
    """One line that a spreadsheet does not take for a formula: file names and messages are the students'."""
    text = "".join(sign if sign.isprintable() else "?" for sign in text.encode("utf-8", "replace").decode("utf-8"))
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) else text


def write(out: Path, rows: list[dict[str, str]]) -> None:
    """The rows as CSV, whole or not at all: all exercises in order, then points and remarks."""
    numbers = {column for one in rows for column in one} - {"file", "points", "of", "remark"}
    columns = ["file", *sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])]
    with whole_file(out) as temporary, open(temporary, "w", newline="", encoding="utf-8-sig") as stream:
        table = csv.DictWriter(stream, [*columns, "points", "of", "remark"], restval="")
        table.writeheader()
        table.writerows(rows)


def missing_limits() -> str:
    """What this system cannot limit, in words; nothing in Linux."""
    if sys.platform == "darwin":
        return "macOS does not limit the memory of a notebook, and its code can delete files."
    return "" if sys.platform.startswith("linux") else "Only time is limited here, neither memory nor files."
