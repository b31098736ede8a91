"""What the exercises' judges share: a few rendered quartets, predictions that are wrong on purpose, and a comparison that
looks for known mistakes before it says that something is merely wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from helpers.dataset import Quartet, get_batch, normalise_depth
from helpers.demos.distortions import blurred, moved
from helpers.exercises.checker import NotYet, Wrong, has_blank
from helpers.rendering.dataset import RoomsDataset

SIDE = 64  # pixels
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@cache
def _rendered() -> Quartet:
    dataset = RoomsDataset(SIDE, rooms=4, cats=4, placements=2)
    return get_batch(dataset, [1, 19, 34, 53])  # every room and every cat once


def quartets() -> Quartet:
    """A batch of four rendered rooms, a copy of one's own, whose depth is not known everywhere (a hole in each)."""
    batch = {key: value.clone() for key, value in _rendered().items()}
    near, far = batch["near_far"].view(-1, 2, 1, 1, 1).unbind(1)
    metres = near + batch["depth"] * (far - near)
    for i in range(len(metres)):
        batch["valid"][i, :, 4 + 6 * i : 20 + 8 * i, 40:60] = False
    depth, near_far = normalise_depth(metres, batch["valid"])
    return {**batch, "depth": depth, "near_far": near_far}


def one_quartet(number: int = 2) -> Quartet:
    """One of :func:`quartets`, without the batch dimension; the default has the largest cat."""
    return {key: value[number] for key, value in quartets().items()}


def wrong_masks(mask: Tensor) -> Tensor:
    """Probabilities (B, 1, H, W) that are a plausible but imperfect answer for ``mask``."""
    unsure = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    return (0.85 * moved(blurred(mask, 1), 2) + 0.15 * unsure).clamp(0, 1)


class Either(tuple):
    """Several values that tell of the same mistake: ``Either((a, b))``."""


def expect(
    got: object, right: object, mistakes: Mapping[str, object], what: str = "your result", within: float = 0.0
) -> None:
    """Compare an answer with what is right, and with what typical mistakes give.

    Args:
        got: what the reader's function returned: a number, an array or a tensor.
        right: of the same kind.
        mistakes: a diagnosis, and the value that this mistake gives, or :class:`Either` of several; of any shape.
        what: names the value in messages.
        within: absolute difference that counts as none, beside that of rounding floats.

    Raises:
        Wrong: with the diagnosis, or with the difference if no diagnosis fits.
        NotYet: there is a gap in the value.
    """
    value, goal = as_array(got, what), as_array(right, what)
    if same(value, goal, within):
        return
    for diagnosis, wrong in mistakes.items():
        if any(same(value, as_array(one, what), within) for one in (wrong if isinstance(wrong, Either) else [wrong])):
            raise Wrong(diagnosis)
    if value.shape != goal.shape:
        raise Wrong(f"{what} has the shape {shape_of(value)}; it should be {shape_of(goal)}.")
    if np.isnan(value).any() and not np.isnan(goal).any():
        raise Wrong(f'{what} is "not a number" (nan) where a number is expected: was something divided by zero?')
    if goal.size == 1:
        raise Wrong(f"{what} is {value.item():.4g}; here {goal.item():.4g} is right.")
    worst = np.unravel_index(np.argmax(np.nan_to_num(np.abs(value - goal))), goal.shape)
    place = f" at {[int(i) for i in worst]}" if goal.ndim else ""
    share = np.mean(~np.isclose(value, goal, equal_nan=True, **CLOSE))
    raise Wrong(f"{what} differs in {share:.0%} of its values, most{place}: {value[worst]:.4g} instead of {goal[worst]:.4g}.")


def as_array(value: object, what: str = "your result") -> np.ndarray:
    """A float64 array of numbers; raises :class:`Wrong` for what is none."""
    if has_blank(value):
        raise NotYet
    if value is None:
        raise Wrong(f"{what} is None: does the function end with return?")
    if isinstance(value, Tensor):
        value = value.detach().cpu()
    elif isinstance(value, Sequence) and any(isinstance(part, Tensor) for part in value):
        value = [float(part) if getattr(part, "numel", lambda: 1)() == 1 else part.tolist() for part in value]
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{what} is a {type(value).__name__}; a number, an array or a tensor is expected.") from None


def same(a: np.ndarray, b: np.ndarray, within: float = 0.0) -> bool:
    """Whether two arrays of numbers are alike in shape, and in value up to rounding or ``within``."""
    return a.shape == b.shape and np.allclose(a, b, CLOSE["rtol"], max(CLOSE["atol"], within), equal_nan=True)


def shape_of(value: np.ndarray) -> str:
    return str(value.shape) if value.ndim else "() (one number)"


def one_number(value: object, what: str = "your result") -> float:
    """``value`` as a float; raises :class:`Wrong` where it is not exactly one number."""
    array = as_array(value, what)
    if array.size != 1:
        raise Wrong(f"{what} has the shape {array.shape}; one single number is expected.")
    return array.item()


def wants_keys(value: object, keys: Sequence[str], what: str = "your result") -> Mapping:
    """``value`` if it is a dict with these keys; raises :class:`Wrong` otherwise."""
    if has_blank(value):
        raise NotYet
    if not isinstance(value, Mapping):
        raise Wrong(f"{what} is a {type(value).__name__}; a dict with {', '.join(keys)} is expected.")
    if missing := [key for key in keys if key not in value]:
        raise Wrong(f"{what} has no {', '.join(map(repr, missing))}: hand on what you do not change.")
    return value
