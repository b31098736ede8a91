"""Where a cat may stand in a room so that it is seen: drawn at random, checked, the same at every image size.

All checks use the room's plan, a 64 px depth image that no output size changes, and the cat as spheres.
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from helpers.rendering.cats import Cat, draw_cat
from helpers.rendering.primitives import Room
from helpers.rendering.room_pass import centre_pass
from helpers.rendering.solids import Solids

PLAN_SIZE = 64
_TRIES = 60
_MIN_VISIBLE = 0.55  # of the cat as spheres; keeps the true share above 0.40
_MIN_AREA = 0.014  # of the image; keeps the true area above 0.01
_MAX_AREA = 0.3


class Placement(NamedTuple):
    """The spot under the cat's middle (metres), where it heads (radians about y), and how much lamp it gets."""

    position: tuple[float, float, float]
    heading: float
    lit: float


@dataclass
class Plan:
    """What a placement needs of a room: depth (S, S), spots on upward faces, and the solids to keep out of."""

    room: Room
    depth: np.ndarray
    spots: np.ndarray  # (P, 3) points on floors, rugs, seats, beds and tops where a cat could be seen to stand
    spot_depth: np.ndarray  # (P,)
    boxes: np.ndarray  # (K, 8) everything but rugs
    tops: np.ndarray  # (T, 8) boxes a cat may stand on
    balls: np.ndarray  # (M, 6)

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


def survey(room: Room) -> Plan:
    """The plan of ``room``; always made on the CPU, so that every device agrees on it."""
    solids = Solids(room, torch.device("cpu"))
    depth, normal = (image.numpy() for image in centre_pass(room, solids, PLAN_SIZE))
    boxes = solids.boxes.numpy()
    flat, perch = np.array([(item.flat, item.perch) for item in room.items for _ in item.boxes], bool).reshape(-1, 2).T
    spots = _world_points(room, depth)
    usable = (normal[1] > 0.99) & (spots[1] < 1.25) & (depth > 0.8) & (depth < 5.5)
    spots, tops = spots[:, usable].T, boxes[perch & ~flat]
    spots, good = _centred(spots, tops)
    solid, spot_depth = boxes[~(flat & perch)], depth[usable][good]
    return Plan(room, depth, spots[good].astype(np.float32), spot_depth, solid, tops, solids.balls.numpy())


def _centred(spots: np.ndarray, tops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spots on furniture pulled halfway to the middle of the top they lie on, and which spots are usable at all.

    A cat rarely fits at the edge of a table, and never on the arm of a chair.
    """
    high = spots[:, 1] > 0.1
    wide = tops[(tops[:, [3, 5]].min(1) > 0.2) & (tops[:, [3, 5]].max(1) > 0.33)]
    if not len(wide) or not high.any():
        return spots, ~high
    distance = np.abs(box_distances(spots[high], wide))
    middle = wide[distance.argmin(1)][:, [0, 2]]
    spots, good = spots.copy(), ~high
    good[high] = distance.min(1) < 0.003
    spots[np.ix_(high, [0, 2])] = (spots[high][:, [0, 2]] + middle) / 2
    return spots, good


def _world_points(room: Room, depth: np.ndarray) -> np.ndarray:
    """The points (3, S, S) seen at the centres of a depth image's pixels."""
    right, up, forward = room.camera.axes()
    across = ((np.arange(len(depth)) + 0.5) * 2 / len(depth) - 1) / room.camera.focal
    rays = forward[:, None, None] + right[:, None, None] * across - up[:, None, None] * across[:, None]
    return np.array(room.camera.position)[:, None, None] + rays * depth


def place(plan: Plan, cat: Cat, flip: int, rng: np.random.Generator) -> Placement | None:
    """A placement where ``cat`` touches nothing, is at least 40 % visible and covers at least 1 % of the image.

    Random tries come first, then a systematic search; None if the room has no such place for this cat.
    """
    body = cat.spheres * cat.scale
    for _ in range(_TRIES):
        spot = _spot_for_area(plan, body, rng)
        if spot is None:
            return None
        for _ in range(6 if spot[1] > 0.1 else 1):  # furniture is narrow: turn the cat until it fits
            heading = _heading(plan.room, flip, rng)
            if _fits(plan, body, spot, heading):
                return _placement(plan, cat, spot, heading)
    for spot in plan.spots[rng.permutation(len(plan.spots))[:400]]:
        for _ in range(2):
            heading = _heading(plan.room, flip, rng)
            if _fits(plan, body, spot, heading):
                return _placement(plan, cat, spot, heading)
    return None


@cache
def _large_cats() -> list[Cat]:
    return [replace(draw_cat(np.random.default_rng(seed)), scale=1.6) for seed in range(8)]


def is_inviting(plan: Plan) -> bool:
    """Whether each of eight large cats finds a place within twenty tries: then so will every other cat."""
    rng = np.random.default_rng(0)
    for number, cat in enumerate(_large_cats()):
        body = cat.spheres * cat.scale
        tries = ((_spot_for_area(plan, body, rng), _heading(plan.room, number % 2, rng)) for _ in range(20))
        if not any(spot is not None and _fits(plan, body, spot, heading) for spot, heading in tries):
            return False
    return True


def _spot_for_area(plan: Plan, body: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A spot at about the distance where the cat covers an area drawn from 6 % to 40 % of the image.

    That is more than it will cover: often no such spot is in the frame, and a farther one is taken.
    """
    if not len(plan.spots):
        return None
    side = 0.5 * (np.ptp(body[:, 1]) + 0.05) * np.ptp(body[:, 0])  # square metres, roughly, as seen from the side
    wanted = math.exp(rng.uniform(math.log(0.06), math.log(0.4)))
    distance = plan.room.camera.focal / 2 * math.sqrt(side / wanted)
    off = (plan.spot_depth - distance) / (0.12 * distance)
    weight = np.where(plan.spots[:, 1] > 0.1, 6.0, 1.0) / (1 + off * off) ** 2  # cats prefer furniture
    chosen = np.searchsorted(np.cumsum(weight), rng.random() * weight.sum())
    return plan.spots[min(chosen, len(plan.spots) - 1)]


def _heading(room: Room, flip: int, rng: np.random.Generator) -> float:
    """Towards the right half of the image for flip 0, the left half for flip 1; rather towards us than away."""
    turn = rng.uniform(-0.38, 0.5) * math.pi
    return room.camera.yaw + (math.pi - turn if flip else turn)


def _fits(plan: Plan, body: np.ndarray, spot: np.ndarray, heading: float) -> bool:
    world = to_world(body[:, :3], spot, heading)
    return _is_clear(plan, world, body[:, 3], spot[1]) and _is_seen(plan, world, body[:, 3])


def to_world(points: np.ndarray, position: np.ndarray, heading: float) -> np.ndarray:
    """Points (Q, 3) of a cat's frame, already scaled, in the room."""
    cos, sin = math.cos(heading), math.sin(heading)
    x, y, z = points.T
    return np.stack([position[0] + cos * x + sin * z, position[1] + y, position[2] - sin * x + cos * z], 1)


def _is_clear(plan: Plan, centres: np.ndarray, radii: np.ndarray, floor: float) -> bool:
    """Whether spheres stay inside the room, out of all solids, and stand on something."""
    low, high, half = (centres - radii[:, None]).min(0), (centres + radii[:, None]).max(0), plan.room.width / 2
    if low[0] < -half + 0.01 or high[0] > half - 0.01 or low[2] < 0.01 or high[2] > plan.room.depth - 0.01:
        return False
    boxes = _beside(plan.boxes, np.hypot(plan.boxes[:, 3], plan.boxes[:, 5])[:, None], low, high)
    if (box_distances(centres, boxes) < radii[:, None] - 0.004).any():
        return False
    balls = _beside(plan.balls, plan.balls[:, [3, 5]], low, high)
    offset = (centres[:, None] - balls[:, :3]) / (balls[:, 3:] + radii[:, None, None])
    if (np.square(offset).sum(-1) < 1).any():
        return False
    return floor < 0.02 or _on_top(plan.tops, centres[centres[:, 1] - radii < floor + 0.02], floor)


def _beside(solids: np.ndarray, reach: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Those of ``solids``, whose rows begin with their centres, that may come between ``low`` and ``high`` (3,)."""
    middle, reach = solids[:, [0, 2]], reach + 0.01
    return solids[((middle + reach > low[[0, 2]]) & (middle - reach < high[[0, 2]])).all(1)]


def box_distances(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Distances (Q, K) of points (Q, 3) to boxes (K, 8: centre, half-sides, cosine, sine); negative inside."""
    x, y, z, half_x, half_y, half_z, cos, sin = boxes.T
    from_x, from_y, from_z = (points[:, i, None] - middle for i, middle in enumerate((x, y, z)))
    out_x = np.abs(cos * from_x - sin * from_z) - half_x
    out_y = np.abs(from_y) - half_y
    out_z = np.abs(sin * from_x + cos * from_z) - half_z
    inside = np.minimum(np.maximum(np.maximum(out_x, out_y), out_z), 0)
    return np.sqrt(np.maximum(out_x, 0) ** 2 + np.maximum(out_y, 0) ** 2 + np.maximum(out_z, 0) ** 2) + inside


def _on_top(tops: np.ndarray, centres: np.ndarray, floor: float) -> bool:
    """Whether something of height ``floor`` (within 1.5 cm) lies under the middle of every low sphere."""
    level = tops[np.abs(tops[:, 1] + tops[:, 4] - floor) < 0.015]
    under = centres.copy()
    under[:, 1] = floor
    return len(level) > 0 and bool((box_distances(under, level).min(1) < 0.016).all())


def _is_seen(plan: Plan, centres: np.ndarray, radii: np.ndarray) -> bool:
    """Whether enough of the cat's picture is inside the frame and in front of the furniture."""
    camera = plan.room.camera
    x, y, z = camera.axes() @ (centres - camera.position).T
    if (z - radii < 0.4).any():
        return False
    pixels = camera.focal * PLAN_SIZE / 2  # pixels of the plan per unit of slope
    column, row, reach = PLAN_SIZE / 2 + x / z * pixels, PLAN_SIZE / 2 - y / z * pixels, radii / z * pixels
    (top, left), (bottom, right) = (np.floor([row - reach, column - reach]).astype(int),
                                    np.ceil([row + reach, column + reach]).astype(int))  # fmt: skip
    # One entry for each sphere and each pixel of the square around it.
    width, count = right - left, (right - left) * (bottom - top)
    sphere = np.repeat(np.arange(len(centres)), count)
    down, across = np.divmod(np.arange(len(sphere)) - (count.cumsum() - count)[sphere], width[sphere])
    rows, columns = top[sphere] + down, left[sphere] + across
    square = np.square(columns + 0.5 - column[sphere]) + np.square(rows + 0.5 - row[sphere])
    inside = square <= np.square(reach)[sphere]
    top, left = top.min(), left.min()
    front = np.full((bottom.max() - top, right.max() - left), np.inf)
    place = ((rows - top) * front.shape[1] + columns - left)[inside]
    np.minimum.at(front.reshape(-1), place, (z - 0.7 * radii)[sphere[inside]])
    rows, columns = top + np.arange(front.shape[0]), left + np.arange(front.shape[1])
    covered = np.isfinite(front)
    visible = np.zeros_like(covered)
    rows_in, columns_in = (axis[(axis >= 0) & (axis < PLAN_SIZE)] for axis in (rows, columns))
    if not len(rows_in) or not len(columns_in):
        return False
    window = np.ix_(rows_in - top, columns_in - left)
    visible[window] = front[window] < plan.depth[np.ix_(rows_in, columns_in)]
    area = visible.sum() / PLAN_SIZE**2
    return bool(visible.sum() >= _MIN_VISIBLE * covered.sum() and _MIN_AREA <= area <= _MAX_AREA)


def _placement(plan: Plan, cat: Cat, spot: np.ndarray, heading: float) -> Placement:
    """With the share of three points on the cat's back that see the lamp."""
    lamp = np.array(plan.room.lamp)
    tall = cat.capsules[:, 1].max() * cat.scale
    lit = 0
    for height in (0.4, 0.8, 1.2):
        start = spot + (0, height * tall, 0)
        steps = start + (lamp - start) * np.linspace(0.05, 0.95, 24)[:, None]
        lit += not (box_distances(steps, plan.boxes) < 0.0).any()
    return Placement(tuple(float(v) for v in spot), float(heading), lit / 3)
