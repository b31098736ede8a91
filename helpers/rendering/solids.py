"""A room's boxes and ellipsoids: where rays meet them, how near a point is, and which of them can matter where.

Vectors are component-first: P rays or points are tensors (3, P). Each is tested against one solid, whose numbers are a
column of (8, P) or (6, P); which pairs of a ray and a solid are worth a test says a :class:`Grid`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from helpers.rendering.primitives import Material, Room

FAR = 1e9  # "hits nothing"
_PART = 2**13  # places at a time on a CPU: what is computed of them stays in its cache


def pick(values: Tensor, which: Tensor) -> Tensor:
    """``values[..., which]``, which is slower on a CPU."""
    return values.index_select(values.dim() - 1, which)


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Dot product over the leading dimension of 3, written out: a matrix product may sum in any order."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


class Solids:
    """A room's boxes and ellipsoids as tensors. Surfaces are numbered: 0..5 the faces of the room, then all boxes, then
    all ellipsoids.
    """

    def __init__(self, room: Room, device: torch.device):
        boxes = [(box, thing) for thing, item in enumerate(room.items) for box in item.boxes]
        balls = [(ball, thing) for thing, item in enumerate(room.items) for ball in item.balls]
        self.materials: list[Material] = [*room.walls, *(solid.material for solid, _ in (*boxes, *balls))]
        rows = [(*b.centre, *b.half, math.cos(b.yaw), math.sin(b.yaw)) for b, _ in boxes]
        rows = np.array([*rows, *((*b.centre, *b.radii, 1.0, 0.0) for b, _ in balls)]).reshape(-1, 8)
        self.boxes = torch.tensor(rows[: len(boxes)], dtype=torch.float32, device=device)  # (K, 8)
        self.balls = torch.tensor(rows[len(boxes) :, :6], dtype=torch.float32, device=device)  # (M, 6)
        self.first_ball = 6 + len(boxes)
        x, y, z = (np.array(list(product((-1, 1), repeat=3))) * rows[:, None, 3:6]).transpose(2, 0, 1)
        cos, sin = rows[:, 6, None], rows[:, 7, None]
        self.corners = np.stack([cos * x + sin * z, y, cos * z - sin * x], 2) + rows[:, None, :3]  # (K + M, 8, 3)
        # Where a ray meets several at the same depth, it sees the thing that was placed first.
        things = [*range(-6, 0), *(thing for _, thing in (*boxes, *balls))]
        self.surfaces = torch.from_numpy(np.argsort(things, kind="stable")).to(device)  # in this order
        self.order = torch.argsort(self.surfaces)  # which place each has in it

    def kinds(self) -> list[tuple[Callable, Tensor, slice]]:
        """For boxes and ellipsoids, if there are any: their test, their columns, and where they are in ``corners``."""
        middle, end = len(self.boxes), len(self.corners)
        kinds = (box_hits, self.boxes, slice(0, middle)), (ball_hits, self.balls, slice(middle, end))
        return [(hits, solids.T.contiguous(), which) for hits, solids, which in kinds if len(solids)]


class Grid:
    """Cells over D coordinates, and for each cell a list of the solids that can matter there.

    Args:
        spans: (K, 2, D) the least and the greatest coordinates at which each of K solids can matter.
        low, high: (D,) where the first cell begins and the last one ends; these two reach on without end.
        cells: (D,) how many.
    """

    def __init__(self, spans: np.ndarray, low: Sequence, high: Sequence, cells: Sequence[int], device: torch.device):
        self.axes = [(start, count / (end - start), count) for start, end, count in zip(low, high, cells)]
        table = np.ones((1, len(spans)), bool)
        for axis, (start, per_unit, count) in enumerate(self.axes):
            first, last = (spans[:, :, axis].T - start) * per_unit
            cell = np.arange(count)[:, None]
            meets = ((cell + 1 > first - 1e-3) | (cell == count - 1)) & ((cell < last + 1e-3) | (cell == 0))
            table = (table[:, None] & meets & (first <= last)).reshape(len(table) * count, len(spans))
        cell, solid = np.divmod(np.flatnonzero(table), len(spans))
        count = np.bincount(cell, minlength=len(table))
        lists = count, count.cumsum() - count, solid
        self.count, self.first, self.solids = (torch.from_numpy(x.astype(np.int32)).to(device) for x in lists)

    def pairs(self, places: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """All pairs of a place, of R (D, R), and a solid of its cell, as two lists of numbers; on a CPU in parts."""
        part = places.shape[1] if places.is_cuda else _PART
        for begin in range(0, places.shape[1], part):
            cell = 0
            for x, (start, per_unit, count) in zip(places[:, begin : begin + part], self.axes):
                cell = cell * count + ((x - start) * per_unit).int().clamp(0, count - 1)
            count, first = pick(self.count, cell), pick(self.first, cell)
            place = torch.repeat_interleave(count)
            skipped = first - (count.cumsum(0, dtype=torch.int32) - count)  # of the list, before those of this place
            entry = pick(skipped, place) + torch.arange(len(place), dtype=torch.int32, device=place.device)
            yield place.long() + begin, pick(self.solids, entry)


def box_hits(origin: Tensor, direction: Tensor, boxes: Tensor) -> Tensor:
    """Where rays enter boxes (8, P: centre, half-sides, cosine and sine of the yaw): (P,) values of t, or FAR."""
    x, y, z, half_x, half_y, half_z, cos, sin = boxes
    from_x, from_z = origin[0] - x, origin[2] - z
    enter, leave = slab(origin[1] - y, direction[1], half_y)
    for start, slope, half in (
        (cos * from_x - sin * from_z, cos * direction[0] - sin * direction[2], half_x),
        (sin * from_x + cos * from_z, sin * direction[0] + cos * direction[2], half_z),
    ):
        low, high = slab(start, slope, half)
        enter, leave = torch.maximum(enter, low), torch.minimum(leave, high)
    return torch.where((enter < leave) & (enter > 1e-3), enter, FAR)


def slab(start: Tensor, slope: Tensor, half: Tensor | float) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the slab -half..half of one axis, any equal shapes."""
    inverse = (slope + 1e-12).reciprocal()  # so that no ray is exactly parallel to the slab
    middle, reach = -start * inverse, half * inverse.abs()
    return middle - reach, middle + reach


def ball_hits(origin: Tensor, direction: Tensor, balls: Tensor) -> Tensor:
    """Where rays enter ellipsoids (6, P: centre, radii): (P,) values of t, or FAR."""
    start, slope = (origin - balls[:3]) / balls[3:], direction / balls[3:]
    a, b, c = dot(slope, slope), dot(start, slope), dot(start, start) - 1
    root = b * b - a * c
    t = (-b - root.clamp_min(0).sqrt()) / a
    return torch.where((root > 0) & (t > 1e-3), t, FAR)


def box_distance(points: Tensor, boxes: Tensor) -> Tensor:
    """Distance (...) of points (3, ...) to boxes (8, ...); 0 inside."""
    x, y, z, half_x, half_y, half_z, cos, sin = boxes
    from_x, from_z = points[0] - x, points[2] - z
    out_x = ((cos * from_x - sin * from_z).abs() - half_x).clamp_min(0)
    out_y = ((points[1] - y).abs() - half_y).clamp_min(0)
    out_z = ((sin * from_x + cos * from_z).abs() - half_z).clamp_min(0)
    return (out_x * out_x + out_y * out_y + out_z * out_z).sqrt()
