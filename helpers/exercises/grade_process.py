"""One exercise of a handed-in notebook, tested in a child process that may do little and is killed in time.

The child runs the student's code and the course's checker, and reports in one line that begins with a number, the
nonce, which stands in no module. Any other line is no result, and what the student's code prints is thrown away.
"""

import ast
import linecache
import os
import re
import secrets
import select
import signal
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from os.path import realpath
from types import ModuleType

from helpers.config import CourseError
from helpers.exercises import checker
from helpers.exercises.handed_in import piece

LARGEST_REPORT = 65_536  # bytes
# Events of which Python tells a hook before they happen (https://docs.python.org/3/library/audit_events.html).
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod")
REFUSED = ("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system", "os.kill", "os.killpg", "ctypes.dlopen",
           "ctypes.dlsym", "subprocess.Popen", "gc.get_objects", "gc.get_referrers", "sys._current_frames")  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def prepare(chapters: set[str]) -> list[str]:
    """Import and render what the exercises of some notebooks need; returns the exercises that the course has there."""
    import_module("torch").set_num_threads(1)  # a pool of threads does not survive a fork
    for chapter in sorted(chapters):
        with suppress(CourseError):  # there is no such notebook
            checker.find(f"{chapter}.1")
    import_module("helpers.exercises.compare").rendered()
    with suppress(ImportError):
        import_module("torchvision")  # its first import loads a library, which is refused later
    return [number for number in checker.EXERCISES if number.partition(".")[0] in chapters]


def in_child(cells: dict[str, str], number: str, seconds: float, memory: float) -> tuple[str, str]:
    """:func:`attempt` in a child that is killed, with its group, when it has reported or its time is over."""
    nonce, (reader, writer) = secrets.token_hex(16), os.pipe()
    with tempfile.TemporaryDirectory(prefix="graded-", ignore_cleanup_errors=True) as folder:
        pid = os.fork()
        if not pid:
            write, leave = os.write, os._exit  # before the student's code can replace them
            try:
                os.close(reader)
                confine(folder, seconds, memory)
                state, message = attempt(cells, number)
                write(writer, f"{nonce} {state} {message[:1000].encode('utf-8', 'replace').hex()}\n".encode())
            finally:
                leave(0)
        os.close(writer)
        end = time.monotonic() + seconds
        try:
            text = _first_line(reader, end)
        finally:
            os.close(reader)
            for kill in (os.killpg, os.kill):  # it may not lead its group yet
                with suppress(OSError):
                    kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    late = ("timeout", f"not done after {seconds:g} s") if time.monotonic() >= end else None
    return read(text, nonce) or late or ("error", "its process ended without a result")


def _first_line(reader: int, end: float) -> bytes:
    """What a child has written until it ends a line, itself, or its time."""
    text = b""
    while not text.endswith(b"\n") and len(text) < LARGEST_REPORT and (left := end - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            if not (part := os.read(reader, LARGEST_REPORT)):
                break
            text += part
    return text


def read(text: bytes, nonce: str) -> tuple[str, str] | None:
    """State and message of a child's line; None for what does not begin with the nonce or is no such line."""
    found = re.fullmatch(rf"{nonce} (\w+) ((?:[0-9a-f]{{2}})*)\n", text.decode("ascii", "replace"))
    return (found[1], bytes.fromhex(found[2]).decode()) if found else None


def attempt(cells: dict[str, str], number: str) -> tuple[str, str]:
    """Define the student's function and test it here: the state (that of ``Result``, or "missing") and a message."""
    entry, verdict = checker.find(number), checker.verdict
    for name, source in cells.items():  # for the line that an error names
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        if not (found := piece(cells, number)):
            return "missing", "the notebook has no cell that checks it"
        space = {"__name__": checker.MAIN}
        *statements, (answer, cell) = found
        for node, place in statements:
            exec(compile(ast.Module([node], []), place, "exec"), space)
        result = verdict(entry, eval(compile(ast.Expression(answer), cell, "eval"), space))
        return result.state, result.message.partition(": ")[2]
    except BaseException as error:  # SystemExit, too
        return "error", f"its cells stop with {type(error).__name__}: {str(error)[:200]}"


class _Fixed(ModuleType):
    """A module whose names keep their values: the checkers and what they compare with cannot be replaced."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self):
            raise AttributeError(f"{self.__name__}.{name} cannot be replaced while it is graded")
        super().__setattr__(name, value)


def confine(folder: str, seconds: float, memory: float) -> None:
    """From now on this process, its own group, has limits, works in ``folder`` and changes no file outside it."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(HOME=folder, TMPDIR=folder, COURSE_CACHE=folder, COURSE_RUNS=folder, COURSE_PROFILE="tiny",
                      CUDA_VISIBLE_DEVICES="", MPLBACKEND="Agg", NO_ALBUMENTATIONS_UPDATE="1")  # fmt: skip
    tempfile.tempdir = folder
    resource = import_module("resource")  # not in Windows
    # Memory is what is written to, DATA: the address space of torch alone is many gigabytes.
    limits = {"CPU": int(seconds) + 60, "DATA": int(memory * 2**30), "FSIZE": 2**26, "CORE": 0}
    for name, value in limits.items():
        with suppress(OSError, ValueError):  # there is a lower limit already
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    sys.modules["helpers.exercises.solutions"] = None  # cannot be imported any more
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("helpers", "numpy") and type(module) is ModuleType:
            module.__class__ = _Fixed
    inside = realpath(folder) + os.sep

    def guard(event: str, given: tuple) -> None:
        paths = given[:2] if event in CHANGES else given[:1] if event == "open" and given[2] & WRITING else ()
        named = [realpath(os.fsdecode(path)) for path in paths if isinstance(path, (str, bytes, os.PathLike))]
        if event in REFUSED or not all((path + os.sep).startswith(inside) for path in named):
            raise PermissionError(f"{event} is refused while it is graded")

    sys.addaudithook(guard)  # nothing in Python takes it away again
