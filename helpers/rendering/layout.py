"""Furnished rooms: what stands where, of what material, seen from where."""

import math
from collections.abc import Callable

import numpy as np

from helpers.rendering.furniture import AGAINST_WALL, IN_CORNERS, IN_THE_ROOM, ON_WALLS, Palette, rug
from helpers.rendering.primitives import Camera, Item, Material, Pattern, Room


class _Floor:
    """What stands on the floor so far: rectangles (x, z, half width, half depth, yaw, height)."""

    def __init__(self, width: float, depth: float, camera: Camera):
        self.width, self.depth, self.camera = width, depth, camera
        self.taken: list[np.ndarray] = []

    def claim(self, item: Item, x: float, z: float, yaw: float) -> bool:
        """True, and remembered, if ``item`` fits there: inside the room, clear of the rest and of the camera."""
        corners = _corners(x, z, item.half_width, item.half_depth, yaw)
        x_inside, z_inside = np.abs(corners[:, 0]) <= self.width / 2 + 1e-6, corners[:, 1] <= self.depth + 1e-6
        if not (x_inside & z_inside & (corners[:, 1] >= 0.05)).all():
            return False
        away = _distance(np.array([self.camera.position[0], self.camera.position[2]]), corners)
        near = 0.75 if item.height < 0.5 else 1.1 if item.height < 1.3 else 1.7
        if away < near or any(_overlap(corners, other) for other in self.taken):
            return False
        self.taken.append(_corners(x, z, item.half_width + 0.03, item.half_depth + 0.03, yaw))
        return True


def _corners(x: float, z: float, half_width: float, half_depth: float, yaw: float) -> np.ndarray:
    """The corners (4, 2) of a rectangle on the floor."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    ends = ((-half_width, -half_depth), (half_width, -half_depth), (half_width, half_depth), (-half_width, half_depth))
    return np.array([(x + cos * u + sin * v, z - sin * u + cos * v) for u, v in ends])


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two rectangles overlap: no side of either separates them."""
    for corners in (first, second):
        for axis in (corners[1] - corners[0], corners[2] - corners[1]):
            along_first, along_second = first @ axis, second @ axis
            if along_first.max() <= along_second.min() or along_second.max() <= along_first.min():
                return False
    return True


def _distance(point: np.ndarray, corners: np.ndarray) -> float:
    """From a point to a rectangle that does not contain it: the nearest point of its four sides."""
    start, side = corners, np.roll(corners, -1, 0) - corners
    along = np.clip(((point - start) * side).sum(1) / (side * side).sum(1), 0, 1)
    return float(np.linalg.norm(start + along[:, None] * side - point, axis=1).min())


def _against(wall: int, along: float, gap: float, width: float, depth: float) -> tuple[float, float, float]:
    """Position and yaw of a thing ``gap`` metres from the far (0), right (1) or left (2) wall."""
    if wall == 0:
        return along * (width / 2 - 0.1), depth - gap, 0.0
    side = 1 if wall == 1 else -1
    return side * (width / 2 - gap), depth * (0.56 + 0.4 * along), side * math.pi / 2


def furnish(rng: np.random.Generator) -> Room:
    """A furnished room drawn from ``rng``."""
    palette = Palette(rng)
    width, height, depth = rng.uniform(3.2, 6.0), rng.uniform(2.4, 3.1), rng.uniform(3.6, 6.5)
    camera = _camera(rng, width)
    floor = _Floor(width, depth, camera)
    items: list[Item] = []

    def try_to_place(design: Callable[[Palette], Item], where: Callable[[Item], tuple[float, float, float]]) -> None:
        item = design(palette)
        for _ in range(8):
            x, z, yaw = where(item)
            if floor.claim(item, x, z, yaw):
                items.append(item.moved(x, z, yaw))
                return

    def at_wall(item: Item) -> tuple[float, float, float]:
        return _against(int(rng.integers(0, 3)), rng.uniform(-1, 1), item.half_depth + 0.03, width, depth)

    def in_corner(item: Item) -> tuple[float, float, float]:
        side = rng.choice([-1, 1])
        return side * (width / 2 - item.half_width - rng.uniform(0.05, 0.25)), depth * rng.uniform(0.4, 1.0), 0.0

    def inside(item: Item) -> tuple[float, float, float]:
        return rng.uniform(-0.35, 0.35) * width, rng.uniform(0.4, 0.8) * depth, rng.uniform(-math.pi, math.pi)

    walls = _hang(rng, palette, width, height, depth)
    for _ in range(rng.integers(3, 7)):
        try_to_place(AGAINST_WALL[rng.integers(len(AGAINST_WALL))], at_wall)
    for _ in range(rng.integers(0, 3)):
        try_to_place(IN_THE_ROOM[rng.integers(len(IN_THE_ROOM))], inside)
    for _ in range(rng.integers(0, 4)):
        try_to_place(IN_CORNERS[rng.integers(len(IN_CORNERS))], in_corner)
    if rng.random() < 0.65:
        mat = rug(palette)
        items.append(mat.moved(rng.uniform(-0.2, 0.2) * width, rng.uniform(0.4, 0.65) * depth, rng.normal(0, 0.1)))
    items += [hung for hung, rectangle, bottom in walls if not _hidden(rectangle, bottom, items)]
    lamp = (rng.uniform(-0.2, 0.2) * width, height - 0.22, rng.uniform(0.35, 0.65) * depth)
    items.append(_ceiling_lamp(palette, lamp, height))
    sky = np.array([rng.choice([-1, 1]) * rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.7), rng.uniform(-0.6, 0.2)])
    return Room(
        width, height, depth, camera, _surfaces(rng, palette), items, lamp,
        lamp_colour=tuple(np.array([1.0, 0.93, 0.82]) * rng.uniform(0.85, 1.15)),
        sky=tuple(sky / np.linalg.norm(sky)),
        ambient=rng.uniform(0.42, 0.62),
        gain=rng.uniform(0.95, 1.3),
    )  # fmt: skip


def _camera(rng: np.random.Generator, width: float) -> Camera:
    x, height = rng.uniform(-0.32, 0.32) * width, rng.uniform(1.0, 1.8)
    yaw = rng.uniform(-0.15, 0.5) * (-1 if x > 0 else 1)  # look across the room, away from the nearer wall
    pitch = -rng.uniform(0.16, 0.32) - 0.3 * (height - 1.0) * rng.uniform(0.5, 1.5)
    return Camera((x, height, 0.3), yaw, pitch, 1 / math.tan(math.radians(rng.uniform(42, 62)) / 2))


def _surfaces(rng: np.random.Generator, palette: Palette) -> list[Material]:
    """Materials of the faces x-, x+, floor, ceiling, z-, z+."""
    wood, wall = palette.wood(), palette.wall()
    accent = palette.accent((0.2, 0.55), (0.25, 0.7)) if rng.random() < 0.3 else wall
    stone = palette.shade(palette.white, rng.uniform(0.5, 0.95))
    floor = [
        Material(Pattern.PLANKS, wood, palette.shade(wood, 0.75), rng.uniform(0.8, 1.5)),
        Material(Pattern.PLANKS, wood, palette.shade(wood, 0.75), rng.uniform(0.8, 1.5)),
        Material(Pattern.TILES, stone, palette.shade(stone, rng.choice([0.95, 0.6])), rng.uniform(0.9, 2.0)),
        Material(Pattern.FABRIC, palette.cloth().colour, stone, rng.uniform(2, 4)),
    ][rng.integers(0, 4)]
    pattern = Pattern(rng.choice([Pattern.PLAIN, Pattern.PLAIN, Pattern.PLAIN, Pattern.STRIPES]))
    paper = Material(pattern, wall, palette.shade(wall, rng.uniform(0.86, 0.97)), rng.uniform(2, 5))
    far = paper if accent is wall else Material.plain(accent)
    return [paper, paper, floor, Material.plain(palette.white), paper, far]


def _hang(rng: np.random.Generator, palette: Palette, width: float, height: float, depth: float) -> list:
    """Windows, pictures and doors: (item, its corners on the floor plan, its lower edge), none over another."""
    hung, taken = [], []
    for _ in range(rng.integers(2, 6)):
        item = ON_WALLS[rng.integers(len(ON_WALLS))](palette, height)
        x, z, yaw = _against(int(rng.integers(0, 3)), rng.uniform(-0.85, 0.85), 0.0, width, depth)
        corners = _corners(x, z, item.half_width + 0.05, 0.3, yaw)
        fits = _corners(x, z, item.half_width, 0.0, yaw)
        inside = (np.abs(fits[:, 0]) <= width / 2 + 1e-6) & (fits[:, 1] > 0) & (fits[:, 1] <= depth + 1e-6)
        if inside.all() and not any(_overlap(corners, other) for other in taken):
            taken.append(corners)
            hung.append((item.moved(x, z, yaw), corners, item.height))
    return hung


def _hidden(rectangle: np.ndarray, bottom: float, items: list[Item]) -> bool:
    """Whether furniture taller than ``bottom`` stands in front of this piece of wall."""
    boxes = [(b.centre, b.half, b.yaw) for item in items for b in item.boxes]
    balls = [(b.centre, b.radii, 0.0) for item in items for b in item.balls]
    return any(
        centre[1] + half[1] > bottom and _overlap(rectangle, _corners(centre[0], centre[2], half[0], half[2], yaw))
        for centre, half, yaw in (*boxes, *balls)
    )


def _ceiling_lamp(palette: Palette, lamp: tuple[float, float, float], height: float) -> Item:
    """A shade under the ceiling; the light itself is a square just below it (see ``room_pass``)."""
    item = Item(0.3, 0.3, height, flat=True)
    item.ball(lamp[0], height - 0.02, lamp[2], 0.24, 0.09, 0.24, Material.plain((0.95, 0.92, 0.85), glow=0.9))
    return item
