"""Compare two pictures in one place, with a divider that you drag across them: before and after, for example.

The page holds all pairs. GitHub shows none of them: put :func:`show_divided` under it.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from helpers.plots import picture, show_images
from helpers.widgets.player import Player, Shown, chooser, drawn, setting

MOST = 45_000  # bytes of the whole control: notebooks are kept with their outputs


def divide(left: Sequence, right: Sequence, names: tuple[str, str]) -> Player:
    """Pairs of pictures with a divider across them, and a slider that picks the pair: let it be a cell's last line.

    Args:
        left, right: as many pictures each, all of one size; whatever :func:`helpers.plots.picture` takes.
        names: of what is left and right of the divider.

    Raises:
        ValueError: no pair, not as many of each, pictures of different sizes, or too many for one control.
    """
    sides = " | ".join(names)
    divider = setting("divider", "divider", 0, 100, 50, 1, 0, f"{{}} % {names[0]}", ("left", "right"))
    shown = [Shown("Drag the divider, or use the arrow keys.", pair) for pair in _checked(left, right)]
    return Player(f"{sides}, with a divider", (chooser("sample"), divider), [(sides, "divided", 0)], shown,
                  columns=1, pixels=192, side=384, most=MOST)  # fmt: skip


def show_divided(left: Sequence, right: Sequence, names: tuple[str, str]) -> Figure:
    """The same pairs for who only reads: the left half of one picture beside the right half of the other."""
    pairs, sides = _checked(left, right), " | ".join(names)
    return show_images({f"sample {n}\n{sides}": drawn(Shown("", pair), "divided") for n, pair in enumerate(pairs, 1)})


def _checked(left: Sequence, right: Sequence) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of (H, W, 3)."""
    if not len(left) or len(left) != len(right):
        raise ValueError(f"there must be as many pictures left as right (at least 1), not {len(left)} and {len(right)}")
    pairs = [(picture(one), picture(other)) for one, other in zip(left, right)]
    sizes = {half.shape[:2] for pair in pairs for half in pair}
    if len(sizes) > 1:
        raise ValueError(f"all pictures must have one size, not {', '.join(f'{w} x {h}' for h, w in sorted(sizes))} px")
    return pairs
