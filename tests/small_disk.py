"""A disk of one megabyte for tests of what a full or a read-only one does; only an administrator can make it."""

import subprocess
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path):
    """A file system of one megabyte at ``folder``; who may not mount one gets the kernel's always-full device."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "course", folder], capture_output=True)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", folder], check=True)


def make_read_only(disk: Path):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
