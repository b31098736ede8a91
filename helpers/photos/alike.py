"""Near-duplicates: a copy that was saved anew, a crop, a mirrored picture, the next frame of a camera that rests."""

from collections.abc import Iterable
from functools import cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

SHARES = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # of a picture's side, which a crop may have kept


_found: dict[str, dict[int, int]] = {}  # in files that were looked at, and need no second look at another size


def alike(pictures: Iterable[Tensor], least: float, files: str) -> dict[int, int]:
    """Of pictures (3, H, W), by number, those that look like an earlier one, and the first of all that are so linked.

    Compared is, by correlation, what a grey thumbnail shows besides broad light and shade: from ``least`` on, they are
    alike. Small crops and large turns may escape. ``files`` name the pictures: they are looked at once.
    """
    if files in _found:
        return _found[files]
    grey = torch.cat([_resized(picture.float().mean(0)[None, None], 64) for picture in pictures])  # (N, 1, 64, 64)
    whole = torch.cat((_detail(grey), _detail(grey.flip(-1))))  # (2N, D)
    best = whole @ whole[: len(grey)].T  # (2N, N)
    for share, down, right in product(SHARES, torch.linspace(0, 1, 5).tolist(), torch.linspace(0, 1, 5).tolist()):
        side = round(64 * share)
        top, left = round((64 - side) * down), round((64 - side) * right)
        best = best.maximum(whole @ _detail(grey[..., top : top + side, left : left + side]).T)
    best = best.view(2, len(grey), len(grey)).amax(0)  # (N, N), of one as it is or mirrored and a part of the other
    _, group = connected_components(csr_array((best >= least).numpy()), directed=False)  # (N,)
    first = np.unique(group, return_index=True)[1][group]  # (N,)
    _found[files] = {i: j for i, j in enumerate(first.tolist()) if i != j}
    return _found[files]


@cache
def tell(message: str, files: str) -> None:
    """Print it, once of the same files."""
    print(message)


def tell_alike(what: str, names: list[str], found: dict[int, int], advice: str, files: str) -> None:
    """Say which of the rooms, or cats, look like an earlier one."""
    pairs = ", ".join([f"{names[i]} like {names[j]}" for i, j in found.items()][:3]) + ", ..." * (len(found) > 3)
    how = f"look like another one, as a copy, a crop or the next frame does ({pairs})"
    if found:
        tell(f"{len(found)} of {len(names)} {what} {how}: {advice}.", files)


def _detail(grey: Tensor) -> Tensor:
    """Unit vectors (N, 576) of what is finer than broad light and shade; 0 where there is next to nothing."""
    small = _resized(grey, 30)
    fine = (small[..., 3:-3, 3:-3] - F.avg_pool2d(small, 7, 1)).flatten(1)
    return torch.where(fine.square().mean(1, True) > 4, F.normalize(fine), 0)


def _resized(grey: Tensor, side: int) -> Tensor:
    return F.interpolate(grey, (side, side), mode="bilinear", antialias=True)
