"""The process in which one handed-in notebook is graded, started by ``grade``: nothing of it is trusted there.

It reads a job and the notebook from its standard input, imports torch once, and tests each exercise in a child of its
own: a fork, or a new process where Python cannot fork (Windows). The child limits itself, runs the student's code, and
reports in one line that begins with a secret of this job; other lines are ignored. What the student's code prints is
thrown away.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from types import FunctionType, ModuleType

from helpers.config import ROOT, CourseError
from helpers.exercises.handed_in import Piece, Unreadable, code_cells, pieces

BOOT = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from helpers.exercises.grade_process import main; main()"
)
LARGEST_REPORT = 65_536  # bytes; a child that writes more is not reporting
LIBRARY = "builtins os math json torch torch.nn torch.nn.functional torch.linalg numpy numpy.linalg".split()
WRAPPED = {"manual_seed", "step"}  # torch replaces them itself, for its compiler and when an optimizer is made
LARGEST_FILE = 2**26  # bytes, of what rendering caches
# What a process may do to files, of Linux's Landlock (linux/landlock.h): write, remove, make.
WRITING = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))
NEWER = {2: 1 << 13, 3: 1 << 14}  # link and truncate, by the version of Landlock that brought them


def command() -> list[str]:
    """How Python starts this process: without the user's settings, and without writing compiled files."""
    return [sys.executable, "-I", "-B", "-c", BOOT]


def main() -> None:
    channel = os.dup(1)
    job, raw = json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer.read()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)

    def tell(number: str, state: str, message: str) -> None:
        os.write(channel, line(job["secret"], number, state, message))

    # Memory is what is written to, DATA: the address space of torch alone is many gigabytes.
    limit(CPU=int(job["seconds"]) + 60, DATA=int(job["memory"] * 2**30), CORE=0)
    try:
        found = pieces(raw)
        if job["only"]:
            _prepare({job["only"].partition(".")[0]})
            confine()
            _watch(job, tell)
            tell(job["only"], *attempt(found[job["only"]], job["only"], raw))
        else:
            _all(found, raw, job, channel, tell)
    except Unreadable as error:
        tell("-", "unreadable", str(error))
    except Exception as error:
        tell("-", "unreadable", f"reading it stops with {type(error).__name__}")
    tell("-", "end", "")


def _all(found: dict[str, Piece | str], raw: bytes, job: dict, channel: int, tell) -> None:
    """Test all exercises of the notebooks that a notebook has exercises of."""
    chapters = {number.partition(".")[0] for number in found}
    known = _prepare(chapters)
    _adopt_orphans()
    numbers = [number for number in known if number.partition(".")[0] in chapters]
    if not numbers:
        raise Unreadable(f"the course has none of its exercises ({', '.join(sorted(found))[:60]})")
    for number in sorted(numbers, key=lambda number: [int(part) for part in number.split(".")]):
        piece = found.get(number, "the notebook has no cell that checks it")
        if isinstance(piece, str):
            tell(number, "error" if number in found else "missing", piece)
            continue
        run = _forked if job["fork"] else _spawned
        state, message = run(piece, number, raw, job, channel)
        look = f"; look at its code, it uses {', '.join(piece.reaching)}" if piece.reaching else ""
        tell(number, state, message + look)


def _prepare(chapters: set[str]) -> list[str]:
    """Import and render what the exercises of some notebooks need; returns the exercises that the course has."""
    import torch  # imported late: what is no notebook ends before

    from helpers.exercises import checker, compare

    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    sys.modules["helpers.exercises.solutions"] = None  # cannot be imported any more
    for chapter in sorted(chapters):
        try:
            checker.find(f"{chapter}.1")
        except CourseError:  # there is no such notebook
            continue
    compare.rendered()
    return list(checker.EXERCISES)


def line(secret: str, number: str, state: str, message: str) -> bytes:
    return f"{secret} {number} {state} {message.encode('utf-8', 'replace').hex()}\n".encode()


def read(text: bytes, secret: str) -> tuple[str, str, str] | None:
    """Number, state and message of a line that :func:`line` made; None for any other."""
    words = text.decode("ascii", "replace").rstrip("\n").split(" ")
    if len(words) != 4 or words[0] != secret:
        return None
    try:
        return words[1], words[2], bytes.fromhex(words[3]).decode("utf-8", "replace")
    except ValueError:
        return None


# -- one exercise --------------------------------------------------------------------------------------------------


def attempt(piece: Piece, number: str, raw: bytes) -> tuple[str, str]:
    """Define the student's function and test it here: the state (that of ``Result``) and a message."""
    from helpers.exercises import checker  # imported late: see _prepare

    entry, verdict = checker.find(number), checker.verdict
    for position, source in code_cells(raw):  # for the line that an error names
        name = f"<cell {position}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space, before = {"__name__": checker.MAIN}, list(_library())
    try:
        for one in piece.statements:
            exec(compile(ast.Module([one.node], []), one.cell, "exec"), space)
        answer = eval(compile(ast.Expression(piece.answer), piece.cell, "eval"), space)
        result = verdict(entry, answer)
        state, message = result.state, result.message.partition(": ")[2]
    except BaseException as error:  # SystemExit, too
        state, message = "error", f"its cells stop with {type(error).__name__}: {str(error)[:200]}"
    if changed := _changes(before):
        return "wrong", f"not tested: the code replaces {changed} of a library"
    return state, message


def _library() -> Iterator[tuple[object, str, object, object]]:
    """What decides whether an answer is right: each function and class of the course and of what it computes with."""
    names = [name for name in sys.modules if name.partition(".")[0] == "helpers"] + LIBRARY
    modules = [sys.modules[name] for name in names if isinstance(sys.modules.get(name), ModuleType)]
    classes = [value for module in modules if module.__name__.startswith("helpers") for value in vars(module).values()
               if isinstance(value, type) and value.__module__.startswith("helpers")]  # fmt: skip
    torch = sys.modules["torch"]
    for holder in dict.fromkeys([*modules, *classes, torch.Tensor, torch.nn.Module]):
        for name, value in list(vars(holder).items()):
            if callable(value) and name not in WRAPPED:
                yield holder, name, value, _code(value)


def _code(value: object) -> tuple:
    return (value.__code__, value.__defaults__, value.__kwdefaults__) if isinstance(value, FunctionType) else ()


def _changes(before: list[tuple]) -> str:
    """The name of something in the list that is another by now, or nothing."""
    for holder, name, value, code in before:
        if vars(holder).get(name) is not value or any(a is not b for a, b in zip(_code(value), code)):
            return name
    return ""


def _forked(piece: Piece, number: str, raw: bytes, job: dict, channel: int) -> tuple[str, str]:
    """:func:`attempt` in a child that is killed, with its own children, when it has reported or its time is over."""
    write, leave = os.write, os._exit  # before the student's code can replace them
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(channel)
            os.close(reader)
            os.setsid()
            confine()
            write(writer, line(job["secret"], number, *attempt(piece, number, raw)))
        finally:
            leave(0)
    os.close(writer)
    end = time.monotonic() + job["seconds"]
    text, alive = _first_line(reader, pid, end)
    late = not text and time.monotonic() >= end
    os.close(reader)
    for kill in (os.killpg, os.kill) if alive else (os.killpg,):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass
    if alive:
        os.waitpid(pid, 0)
    _kill_orphans()
    return _outcome(text, number, job, late)


def _first_line(reader: int, pid: int, end: float) -> tuple[bytes, bool]:
    """What a child has written until it ends a line, itself, or its time; and whether it still has to be waited for."""
    text, alive = b"", True
    while not text.endswith(b"\n") and len(text) < LARGEST_REPORT and time.monotonic() < end:
        if select.select([reader], [], [], 0.1 if alive else 0)[0]:
            part = os.read(reader, LARGEST_REPORT)
            if not part:
                break
            text += part
        elif alive:  # a process that it has left behind may hold the pipe open
            alive = os.waitpid(pid, os.WNOHANG)[0] == 0
        else:
            break
    return text, alive


def _spawned(piece: Piece, number: str, raw: bytes, job: dict, channel: int) -> tuple[str, str]:
    """The same in a new process, which has to import torch again and ends itself in time."""
    head = json.dumps({**job, "only": number}).encode() + b"\n"
    try:
        done = subprocess.run(command(), input=head + raw, stdout=subprocess.PIPE, timeout=job["seconds"] + job["start"])
    except subprocess.TimeoutExpired:
        return _outcome(b"", number, job, True)
    return _outcome(done.stdout.partition(b"\n")[0], number, job, False)


def _watch(job: dict, tell) -> None:
    """End this process when the time of its exercise is over."""

    def late() -> None:
        tell(job["only"], *_outcome(b"", job["only"], job, True))
        leave(0)

    leave, timer = os._exit, threading.Timer(job["seconds"], late)
    timer.daemon = True
    timer.start()


def _outcome(text: bytes, number: str, job: dict, late: bool) -> tuple[str, str]:
    if (found := read(text, job["secret"])) and found[0] == number:
        return found[1:]
    if late:
        return "timeout", f"not done after {job['seconds']:g} s"
    return "error", "its process ended without a result"


# -- limits --------------------------------------------------------------------------------------------------------


def limit(**limits: int) -> None:
    """Set limits of this process and of all that it will start: ``limit(CPU=60)``; what this system lacks is left out."""
    try:
        import resource  # not in Windows
    except ImportError:
        return
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        except (OSError, ValueError):  # unknown here, or a limit that is lower already
            pass


def confine() -> None:
    """Work in an empty folder, the only place from now on where files can be changed; without Landlock, nowhere."""
    folder = tempfile.mkdtemp(dir=os.getcwd())
    os.chdir(folder)
    os.environ.update(dict.fromkeys(["HOME", "TMPDIR", "COURSE_CACHE", "COURSE_RUNS"], folder))
    limit(FSIZE=LARGEST_FILE if _changes_only_in(folder) else 0)


def _changes_only_in(folder: str) -> bool:
    """Linux's Landlock: no changes of files elsewhere, no TCP, no signals to other processes. Whether it is there.

    It needs no rights (https://docs.kernel.org/userspace-api/landlock.html). Files from version 1 on (Linux 5.13),
    TCP from 4 (6.7), signals from 6 (6.12).
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    kernel = ctypes.CDLL(None, use_errno=True)
    create, add, restrict = 444, 445, 446  # system calls, of the same number on all architectures
    version = kernel.syscall(create, None, 0, 1)
    if version < 1:
        return False
    files = WRITING + sum(right for since, right in NEWER.items() if version >= since)
    handled = (ctypes.c_uint64 * 3)(files, 3, 3)  # files; TCP: bind, connect; abstract sockets, signals
    rules = kernel.syscall(create, handled, ctypes.c_size_t(24 if version >= 6 else 16 if version >= 4 else 8), 0)
    place = os.open(folder, os.O_PATH)
    allowed = struct.pack("=Qi", files, place)
    kernel.syscall(add, rules, 1, allowed, 0)
    os.close(place)
    kernel.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which Landlock asks for
    return rules >= 0 and kernel.syscall(restrict, rules, 0) == 0


def _adopt_orphans() -> None:
    """In Linux, processes that a child leaves behind become this process's own, so that they can be ended."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _kill_orphans() -> None:
    me = os.getpid()
    try:
        while children := open(f"/proc/{me}/task/{me}/children").read().split():
            for pid in map(int, children):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    except OSError:  # not Linux
        pass
