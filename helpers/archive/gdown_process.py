"""gdown (5 or 6) in a process of its own, so that whatever happens to it ends in an error that says what happened.

gdown 5, which Colab has, waits for ever when a connection falls silent and prints some failures instead of raising
them. A thread that waits cannot be stopped, neither by the stop button nor when it stalls: a process can.
"""

import gc
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from helpers.config import ROOT

START_SECONDS = 60  # that Python and gdown may take to start: an import from a network drive is slow


class GdownError(Exception):
    """The names of an error in gdown and of its bases, or Stalled or Died; after a colon, what was said."""


def unfinished(target: Path) -> list[Path]:
    """The unfinished files that gdown keeps for ``target``, largest first."""
    return sorted(target.parent.glob(f"{target.name}*.part"), key=lambda path: path.stat().st_size, reverse=True)


def fetched_bytes(target: Path) -> int:
    """How much of ``target`` has arrived."""
    try:
        return target.stat().st_size if target.exists() else sum(path.stat().st_size for path in unfinished(target))
    except FileNotFoundError:  # renamed between the two looks
        return target.stat().st_size


def run_gdown(network: dict, patience: float, files: dict[str, str] | None = None, folder: str = "",
              seen: Callable[[int], object] = int) -> list[tuple[str, str]]:  # fmt: skip
    """Fetch public ``files`` (id -> path, resumed if unfinished), or list path and id of the files in a ``folder``.

    ``seen`` is told the bytes on disk. Raises a GdownError, also if no byte comes for ``patience`` seconds.
    """
    targets = [Path(path) for path in (files or {}).values()]
    request = json.dumps({"files": files or {}, "folder": folder, "network": network})
    with tempfile.TemporaryFile("w+") as replies, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers.archive.gdown_process", request],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=replies, stderr=errors,
        )  # fmt: skip
        try:
            before, since = None, time.monotonic()
            while process.poll() is None:
                time.sleep(0.05)
                now = started, size = os.fstat(replies.fileno()).st_size, sum(map(fetched_bytes, targets))
                seen(size)
                if now != before:
                    before, since = now, time.monotonic()
                elif time.monotonic() - since > (patience if started else START_SECONDS):
                    raise GdownError(f"Stalled: no data for {patience:g} seconds")
        finally:  # also when the stop button was pressed
            process.kill()
            process.wait()
            process.stdin.close()
        replies.seek(0)
        errors.seek(0)
        reply, said = replies.read().strip(), errors.read()[-300:].strip().rpartition("\n")[2]
    if not reply:
        raise GdownError(f"Died: {said}")
    if isinstance(reply := json.loads(reply), str):
        raise GdownError(reply)
    return reply


def _main(request: str) -> None:
    """The process itself: prints a space when gdown is there, then the reply."""
    threading.Thread(target=lambda: os._exit(len(sys.stdin.read())), daemon=True).start()  # it ends with its parent
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what gdown prints is no reply
    try:
        import gdown  # here, so that a missing one is told like any other error

        print(" ", end="", file=replies, flush=True)
        reply = _call(gdown, **json.loads(request))
    except Exception as error:  # gdown passes on whatever its libraries raise: the parent sorts it
        kinds = " ".join(base.__name__ for base in type(error).__mro__)
        reply = f"{kinds}: {' '.join(str(error).split())[:2000]}"
    gc.collect()  # gdown 5 leaves its unfinished file to the garbage collector: what it holds belongs on the disk
    print(json.dumps(reply), file=replies, flush=True)
    os._exit(0)  # without waiting for the thread that watches the parent


def _call(gdown: ModuleType, files: dict[str, str], folder: str, network: dict) -> list[tuple[str, str]]:
    options = {"quiet": True, "use_cookies": False, **network}  # a public folder needs no cookies
    for file, path in files.items():
        gdown.download(id=file, output=path, resume=True, **options)
    if not folder:
        return []
    if "remaining_ok" in inspect.signature(gdown.download_folder).parameters:
        options["remaining_ok"] = True  # gdown 5: else a folder of 50 files or more is an error
    listed = gdown.download_folder(id=folder, output="/", skip_download=True, **options)
    if listed is None:  # gdown 5 has printed why
        raise RuntimeError("Failed to retrieve folder contents")
    return [(Path(file.path).as_posix(), file.id) for file in listed]


if __name__ == "__main__":
    _main(sys.argv[1])
