"""What the exercises share: rendered quartets, a tiny network, and comparisons that look for known mistakes first."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from helpers.dataset import Quartet, get_batch, normalise_depth
from helpers.demos.distortions import blurred, moved
from helpers.exercises.checker import NotYet, Wrong, has_blank
from helpers.model import DuoNet, seeded
from helpers.rendering import RoomsDataset

SIZE = 64  # pixels


@cache
def rendered(size: int = SIZE) -> Quartet:
    """Four rendered quartets, not to be changed: every room and every cat once."""
    return get_batch(RoomsDataset(size, rooms=4, cats=4, placements=2), [1, 19, 34, 53])


def quartets() -> Quartet:
    """A batch of four rendered rooms, a copy of one's own, whose depth is not known everywhere (a hole in each)."""
    batch = {key: value.clone() for key, value in rendered().items()}
    near, far = batch["near_far"].view(-1, 2, 1, 1, 1).unbind(1)
    metres = near + batch["depth"] * (far - near)
    for i in range(len(metres)):  # from odd rows and columns on: no hole ends where a square of 2 x 2 pixels does
        batch["valid"][i, :, 5 + 6 * i : 21 + 8 * i, 41:61] = False
    depth, near_far = normalise_depth(metres, batch["valid"])
    return {**batch, "depth": depth, "near_far": near_far}


def one_quartet(number: int = 2) -> Quartet:
    """One of :func:`quartets`, without the batch dimension; the default has the largest cat."""
    return {key: value[number] for key, value in quartets().items()}


def wrong_masks(mask: Tensor) -> Tensor:
    """Probabilities (B, 1, H, W) that are a plausible but imperfect prediction of ``mask``."""
    unsure = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    return (0.85 * moved(blurred(mask, 1), 2) + 0.15 * unsure).clamp(0, 1)


def dice(found: Tensor, real: Tensor, axes: Sequence[int] = (1, 2, 3)) -> Tensor:
    """Of masks (B, 1, H, W), bool or in [0, 1], summed over ``axes``; 1 where both are empty."""
    found, real = found.float(), real.float()
    size = (found + real).sum(axes)
    return torch.where(size > 0, 2 * (found * real).sum(axes) / size.clamp_min(1e-9), 1.0)


def tiny_net(width: int = 8) -> DuoNet:
    """A fresh network, with the same weights in every call."""
    return seeded(lambda: DuoNet(stem=4, widths=(width, width, width, width), blocks=(0, 0, 0, 0)), 0)


@torch.no_grad()
def warmed_up_net(batch: Quartet) -> DuoNet:
    """The same in training mode, with batch norms that have seen ``batch``, and logits far from 0 as if trained."""
    net = tiny_net().train()
    for head in (net.mask_head, net.depth_head):
        head.logits.weight.mul_(60)
    for _ in range(5):
        net(batch["bg"], batch["bg_fg"])
    return net


class Either(tuple):
    """Several values that tell of the same mistake: ``Either((a, b))``."""


def expect(got: object, right: object, mistakes: Mapping[str, object], what: str, within: float = 0.0) -> None:
    """Compare what the reader's function returned, called ``what``, with what is right and what typical mistakes give.

    Values are numbers, arrays or tensors of any shape; ``mistakes`` maps a diagnosis to one, or to :class:`Either` of
    several. An absolute difference up to ``within`` counts as none, beside that of rounding floats.

    Raises:
        Wrong: with the diagnosis, or with the difference if no diagnosis fits.
        NotYet: there is a gap in the value.
    """
    value, goal = as_array(got, what), as_array(right, what)
    if alike(value, goal, within):
        return
    for diagnosis, wrong in mistakes.items():
        if any(alike(value, one, within) for one in (wrong if isinstance(wrong, Either) else [wrong])):
            raise Wrong(diagnosis)
    shaped(value, goal.shape, what)
    if np.isnan(value).any() and not np.isnan(goal).any():
        raise Wrong(f'{what} is "not a number" (nan) where a number is expected: was something divided by zero?')
    if goal.size == 1:
        raise Wrong(f"{what} is {value.item():.4g}; here {goal.item():.4g} is right.")
    worst = np.unravel_index(np.argmax(np.nan_to_num(np.abs(value - goal))), goal.shape)
    place = f"{value[worst]:.4g} instead of {goal[worst]:.4g} at {[int(i) for i in worst]}"
    raise Wrong(f"{what} differs from what is right, most with {place}.")


def as_array(value: object, what: str = "your result") -> np.ndarray:
    """A float64 array of numbers; raises :class:`Wrong` for what is none."""
    if has_blank(value):
        raise NotYet
    if value is None:
        raise Wrong(f"{what} is None: does the function end with return?")
    if isinstance(value, Tensor):
        value = value.detach().cpu().double()  # NumPy knows no bfloat16
    elif isinstance(value, Sequence) and any(isinstance(part, Tensor) for part in value):
        value = [float(part) if getattr(part, "numel", lambda: 1)() == 1 else part.tolist() for part in value]
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"{what} is a {type(value).__name__}; a number, an array or a tensor is expected.") from None


def alike(a: object, b: object, within: float = 0.0) -> bool:
    """Whether two values are alike in shape, and as numbers up to rounding or ``within``."""
    a, b = as_array(a), as_array(b)
    return a.shape == b.shape and np.allclose(a, b, 1e-4, max(1e-5, within), equal_nan=True)


def shaped(value: object, shape: Iterable[int], what: str) -> np.ndarray:
    """``value`` as an array; raises :class:`Wrong` where it has another shape."""
    array, shape = as_array(value, what), tuple(shape)
    if array.shape != shape:
        raise Wrong(f"{what} has the shape {array.shape}; it should be {shape or 'one number'}.")
    return array


def of_type(value: object, kind: type, what: str, wanted: str) -> None:
    """Raise :class:`Wrong` where ``value``, which ``what`` returned, is no ``kind``; ``wanted`` names the remedy."""
    if has_blank(value):
        raise NotYet
    if not isinstance(value, kind):
        raise Wrong(f"{what} returns a {type(value).__name__}; {wanted}")


def pair_of(value: object, names: str) -> tuple:
    """``value`` as a pair; raises :class:`Wrong` where it is none. ``names``: such as "train, test"."""
    if has_blank(value):
        raise NotYet
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise Wrong(f"Two values are expected: return {names}.")
    return tuple(value)
