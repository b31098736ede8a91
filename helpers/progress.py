"""One progress bar for everything: plain text on standard output, so that a saved notebook keeps no widget."""

from __future__ import annotations

import sys

from tqdm import tqdm


def bar(total: int, description: str, unit: str, keep: bool = False, show: bool = True) -> tqdm:
    """A tqdm bar; ``keep`` leaves its last state on the screen, ``show=False`` makes it silent."""
    return tqdm(
        total=total, desc=description, unit=unit, file=sys.stdout, leave=keep, disable=not show,
        mininterval=0.5, dynamic_ncols=False, ncols=None if sys.stdout.isatty() else 110,
    )  # fmt: skip
