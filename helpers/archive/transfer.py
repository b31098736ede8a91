"""gdown in a process of its own, so that whatever happens to it ends in an error that says what happened.

gdown 5, which Colab has, waits for ever when a connection falls silent, prints some failures instead of raising them,
and cannot be stopped from within. So it runs as ``python -m helpers.archive.transfer``, which reads requests as lines of JSON,
answers in the same way, and ends when its parent does; :class:`Gdown` is the parent's side. It knows both gdown 5 and
6, and nothing about what is fetched: :mod:`helpers.archive.download` decides that.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from helpers.config import ROOT

try:
    import fcntl
except ImportError:  # Windows: two downloads into one folder are not kept apart there, only found out afterwards
    fcntl = None

START_SECONDS = 60  # that Python and gdown may take to start; an import from a network drive is slow
QUIETLY = {"quiet": True, "use_cookies": False}  # a public folder needs no cookies, so none are kept in the home folder
LOCK_SECONDS = 1  # how long a process that was just killed may keep its lock


class TransferError(Exception):
    """What went wrong in gdown.

    ``kinds`` holds the names of gdown's exception and its bases, or one of ours: ``Stalled``, ``Died``, ``Busy``,
    ``NoListing``. ``str()`` is what gdown said, on one line.
    """

    def __init__(self, kinds: list[str], text: str = "", errno: int | None = None):
        super().__init__(" ".join(text.split()))
        self.kinds, self.errno = kinds, errno

    @property
    def interrupted(self) -> bool:
        """Did the connection break, so that going on may help?"""
        broken = {"Stalled", "ConnectionError", "Timeout", "ChunkedEncodingError"}
        return bool(broken & set(self.kinds)) or "Download is incomplete" in str(self)


def parts(target: Path) -> list[Path]:
    """The unfinished files that gdown keeps for ``target``, largest first."""
    return sorted(target.parent.glob(f"{target.name}*.part"), key=lambda path: path.stat().st_size, reverse=True)


def fetched_bytes(target: Path) -> int:
    """How much of ``target`` has arrived."""
    try:
        return target.stat().st_size if target.exists() else sum(path.stat().st_size for path in parts(target))
    except FileNotFoundError:  # renamed between the two looks
        return target.stat().st_size


class Gdown:
    """Lists folders and fetches files with gdown, whose process lives as long as the ``with`` block.

    Args:
        folder: where files are fetched to; while this process lives, no other one may do the same.
        network: handed on to gdown, for example ``proxy`` and ``verify``; JSON-ready.
        patience: seconds without a single new byte (gdown writes in steps of 512 kB) after which it is given up.
    """

    def __init__(self, folder: Path, network: dict | None = None, patience: float = 60):
        self.folder, self.network, self.patience = folder, network or {}, patience
        self.version = ""  # of gdown, once it has started
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Gdown:
        self._start()
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def files_of(self, folder: str) -> list[tuple[str, str]]:
        """``(id, path)`` of each file in the public Drive folder with this id."""
        return [tuple(file) for file in self._ask({"call": "list", "id": folder}, lambda: 0)]

    def fetch(self, file: str, target: Path, seen: Callable[[int], object] = int) -> None:
        """Fetch the public Drive file with this id to ``target``, from where an earlier call stopped.

        ``seen`` is called with the number of bytes on disk, about ten times a second.
        """

        def grown() -> int:
            size = fetched_bytes(target)
            seen(size)
            return size

        self._ask({"call": "fetch", "id": file, "target": str(target)}, grown)

    def _ask(self, request: dict, grown: Callable[[], int]):
        if self._process is None:  # given up in an earlier request
            self._start()
        with contextlib.suppress(OSError):  # it died: the missing answer tells
            self._process.stdin.write(json.dumps({**request, "network": self.network}) + "\n")
            self._process.stdin.flush()
        return self._answer(self.patience, grown)

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # not a pipe: nobody reads while it is written
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.archive.transfer", str(self.folder / "lock")],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        self._lines = queue.Queue()
        threading.Thread(target=_lines_of, args=(self._process.stdout, self._lines), daemon=True).start()
        try:
            self.version = self._answer(START_SECONDS, lambda: 0)
        except TransferError:
            self._stop()
            raise

    def _answer(self, patience: float, grown: Callable[[], int]):
        """The next answer; a TransferError if it is one, and if nothing grows for ``patience`` seconds."""
        size, since = grown(), time.monotonic()
        while True:
            try:
                line = self._lines.get(timeout=0.1)
                break
            except queue.Empty:
                now = grown()
                if now != size:
                    size, since = now, time.monotonic()
                elif time.monotonic() - since > patience:
                    self._stop()
                    raise TransferError(["Stalled"], f"no data for {patience:g} seconds") from None
        grown()
        if line is None:
            self._errors.seek(0)
            last = self._errors.read()[-300:].decode(errors="replace").strip().rpartition("\n")[2]
            self._stop()
            raise TransferError(["Died"], last)
        answer = json.loads(line)
        if "kinds" in answer:
            raise TransferError(**answer)
        return answer["result"]

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._errors.close()
            self._process = None


def _lines_of(stream, lines: queue.Queue) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


# -- the process itself -------------------------------------------------------------------------------------------


def main(lock: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what gdown prints is no answer
    requests = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()

    def answer(work: Callable, **arguments) -> None:
        try:
            reply = {"result": work(**arguments)}
        except Exception as error:  # gdown passes on whatever its libraries raise: the parent sorts it
            kinds = [base.__name__ for base in type(error).__mro__]
            reply = {"kinds": kinds, "text": str(error)[:2000], "errno": getattr(error, "errno", None)}
        gc.collect()  # gdown 5 leaves its unfinished file to the garbage collector: what it holds belongs on the disk
        print(json.dumps(reply), file=answers, flush=True)

    answer(_begin, lock=lock)
    while True:
        request = requests.get()
        answer({"list": _list, "fetch": _fetch}[request.pop("call")], **request)


def _read_requests(requests: queue.Queue) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)  # the parent is gone, perhaps killed: what is fetched now, nobody waits for


def _begin(lock: str) -> str:
    import gdown

    _hold(lock)
    return gdown.__version__


def _list(id: str, network: dict) -> list[tuple[str, str]]:
    import gdown

    options = {**QUIETLY, **network}
    if "remaining_ok" in inspect.signature(gdown.download_folder).parameters:
        options["remaining_ok"] = True  # gdown 5: else a folder of 50 files or more is an error
    files = gdown.download_folder(id=id, output="/", skip_download=True, **options)
    if files is None:  # gdown 5 has printed why
        raise NoListing("Failed to retrieve folder contents")
    return [(file.id, Path(file.path).as_posix()) for file in files]


def _fetch(id: str, target: str, network: dict) -> None:
    import gdown

    gdown.download(id=id, output=target, resume=True, **{**QUIETLY, **network})


class NoListing(Exception):
    """Google Drive answered, but not with the contents of the folder."""


class Busy(Exception):
    """Another process downloads into the same folder: two that append to one file would spoil it."""


def _hold(lock: str) -> None:
    """Keep the file ``lock`` for this process until it ends, however it ends."""
    if fcntl is None:
        return
    handle = os.open(lock, os.O_CREAT | os.O_RDWR)  # never closed: the system does that
    patient_until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patient_until:
                raise Busy(lock) from None
            time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
