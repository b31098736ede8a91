"""Furnished rooms as plain data: what stands where, of what material, seen from where. No pixels yet.

A room is a box with x in [-width/2, width/2], y in [0, height] and z in [0, depth], all in metres. The camera
stands near the wall z = 0 and looks towards +z. Everything in the room is built of boxes (turned about the
vertical axis) and ellipsoids. Furniture is designed in its own frame: the origin lies on the floor in the
middle, the back points to +z; then it is set against a wall or into the room where nothing else stands.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

Colour = tuple[float, float, float]  # linear light, 0..1


class Pattern(IntEnum):
    """How the two colours of a material are laid out on a surface; drawn by ``textures.paint``."""

    PLAIN = 0
    PLANKS = 1
    TILES = 2
    STRIPES = 3
    FABRIC = 4
    BOOKS = 5
    PAINTING = 6
    WINDOW = 7
    WOOD = 8
    PLAID = 9
    BORDER = 10
    PANELS = 11
    LEAF = 12


class Material(NamedTuple):
    pattern: Pattern
    colour: Colour
    second: Colour
    scale: float = 1.0  # repeats per metre, roughly
    glow: float = 0.0  # light that the surface gives off itself


class Box(NamedTuple):
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    material: Material
    yaw: float = 0.0


class Ball(NamedTuple):
    """An ellipsoid with axes along x, y and z."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    material: Material


@dataclass
class Item:
    """One thing: its solids, the rectangle on the floor that it needs, and its height.

    ``perch``: a cat may stand on it. ``flat``: it lies on the floor or hangs on the wall, and blocks nobody.
    """

    half_width: float
    half_depth: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    balls: list[Ball] = field(default_factory=list)
    perch: bool = False
    flat: bool = False

    def box(self, x, y, z, half_x, half_y, half_z, material: Material, yaw: float = 0.0) -> None:
        self.boxes.append(Box((x, y, z), (half_x, half_y, half_z), material, yaw))

    def ball(self, x, y, z, radius_x, radius_y, radius_z, material: Material) -> None:
        self.balls.append(Ball((x, y, z), (radius_x, radius_y, radius_z), material))

    def moved(self, x: float, z: float, yaw: float) -> Item:
        """This item turned by ``yaw`` about its origin, then carried to (x, z)."""
        cos, sin = math.cos(yaw), math.sin(yaw)

        def to_world(point):
            return x + cos * point[0] + sin * point[2], point[1], z - sin * point[0] + cos * point[2]

        boxes = [box._replace(centre=to_world(box.centre), yaw=box.yaw + yaw) for box in self.boxes]
        balls = []
        for ball in self.balls:
            radius_x, radius_y, radius_z = ball.radii
            turned = (math.hypot(cos * radius_x, sin * radius_z), radius_y, math.hypot(sin * radius_x, cos * radius_z))
            balls.append(Ball(to_world(ball.centre), turned, ball.material))
        return Item(self.half_width, self.half_depth, self.height, boxes, balls, self.perch, self.flat)


class Camera(NamedTuple):
    """A pinhole. Pitch is positive upwards; focal is the focal length over half the image side."""

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    focal: float

    def axes(self) -> np.ndarray:
        """Unit vectors right, up and forward, as rows (3, 3)."""
        cos_yaw, sin_yaw = math.cos(self.yaw), math.sin(self.yaw)
        cos_pitch, sin_pitch = math.cos(self.pitch), math.sin(self.pitch)
        return np.array([
            [cos_yaw, 0.0, -sin_yaw],
            [-sin_yaw * sin_pitch, cos_pitch, -cos_yaw * sin_pitch],
            [sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch],
        ])  # fmt: skip


@dataclass
class Room:
    width: float
    height: float
    depth: float
    camera: Camera
    walls: list[Material]  # of the faces x-, x+, floor, ceiling, z-, z+
    items: list[Item]
    lamp: tuple[float, float, float]  # centre of the light under the ceiling
    lamp_colour: Colour
    sky: tuple[float, float, float]  # unit vector towards the daylight
    ambient: float
    gain: float


# -- colours ------------------------------------------------------------------------------------------------------


class Palette:
    """The colours of one room: one family of woods, one wall, a few accents that recur, so that things match."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        hue = rng.random()
        self._hues = [hue, (hue + rng.choice([0.06, 0.33, 0.5])) % 1, rng.random()]
        self._wood = (
            np.array([0.42, 0.24, 0.115]) * rng.uniform(0.35, 1.75) + np.array([0.0, 0.01, 0.02]) * rng.random()
        )
        self.white = self._tuple(np.array([0.84, 0.82, 0.78]) * rng.uniform(0.9, 1.05))
        self.metal = self._tuple(np.full(3, rng.choice([0.05, 0.35, 0.6])))

    @staticmethod
    def _tuple(colour) -> Colour:
        return tuple(float(c) for c in np.clip(colour, 0.02, 0.95))

    def shade(self, colour: Colour, factor: float) -> Colour:
        return self._tuple(np.array(colour) * factor)

    def wood(self) -> Colour:
        return self._tuple(self._wood * self.rng.uniform(0.85, 1.15))

    def accent(
        self, saturation: tuple[float, float] = (0.25, 0.75), value: tuple[float, float] = (0.12, 0.7)
    ) -> Colour:
        hue = self.rng.choice(self._hues) + self.rng.normal(0, 0.015)
        return self._tuple(colorsys.hsv_to_rgb(hue % 1, self.rng.uniform(*saturation), self.rng.uniform(*value)))

    def wall(self) -> Colour:
        if self.rng.random() < 0.55:  # off-white
            return self._tuple(np.array([0.8, 0.76, 0.7]) * self.rng.uniform(0.8, 1.1) + self.rng.normal(0, 0.02, 3))
        return self.accent((0.1, 0.4), (0.45, 0.8))

    def cloth(self) -> Material:
        """Upholstery, bedding, cushions, rugs."""
        pattern = self.rng.choice([Pattern.FABRIC, Pattern.FABRIC, Pattern.FABRIC, Pattern.STRIPES, Pattern.PLAID])
        neutral = self._tuple(np.array([0.6, 0.57, 0.52]) * self.rng.uniform(0.3, 1.3))
        colour = self.accent() if self.rng.random() < 0.65 else neutral
        second = self.accent() if self.rng.random() < 0.5 else self.white
        return Material(Pattern(pattern), colour, second, self.rng.uniform(3, 9))

    def timber(self) -> Material:
        """What furniture is made of: wood, mostly, or paint."""
        if self.rng.random() < 0.7:
            wood = self.wood()
            return Material(Pattern.WOOD, wood, self.shade(wood, 0.7), self.rng.uniform(1.5, 3))
        paint = self.white if self.rng.random() < 0.6 else self.accent((0.1, 0.5), (0.2, 0.8))
        return Material(Pattern.PLAIN, paint, paint)


def _darker(material: Material, factor: float = 0.75) -> Material:
    colour, second = (tuple(min(c * factor, 0.95) for c in tone) for tone in (material.colour, material.second))
    return material._replace(colour=colour, second=second)


def _legs(item: Item, half_x: float, half_z: float, height: float, thickness: float, material: Material) -> None:
    for side_x in (-1, 1):
        for side_z in (-1, 1):
            item.box(side_x * half_x, height / 2, side_z * half_z, thickness, height / 2, thickness, material)


# -- furniture ----------------------------------------------------------------------------------------------------


def sofa(palette: Palette) -> Item:
    rng, cloth = palette.rng, palette.cloth()
    half, depth, seat = rng.uniform(0.75, 1.15), rng.uniform(0.4, 0.48), rng.uniform(0.38, 0.45)
    return _seat(palette, cloth, half, depth, seat, cushions=int(rng.integers(2, 4)))


def armchair(palette: Palette) -> Item:
    rng = palette.rng
    return _seat(palette, palette.cloth(), rng.uniform(0.4, 0.48), 0.4, rng.uniform(0.38, 0.44), cushions=1)


def _seat(palette: Palette, cloth: Material, half: float, depth: float, seat: float, cushions: int) -> Item:
    rng = palette.rng
    item = Item(half, depth, seat + 0.45, perch=True)
    _legs(item, half - 0.06, depth - 0.06, 0.1, 0.025, palette.timber())
    item.box(0, (seat + 0.02) / 2, 0, half, (seat - 0.18) / 2, depth, _darker(cloth, 0.85))  # 10 cm above the floor
    item.box(0, 0.1 + (seat + 0.33) / 2, depth - 0.1, half, (seat + 0.33) / 2, 0.1, cloth)
    for side in (-1, 1):
        item.box(side * (half - 0.08), 0.1 + (seat + 0.06) / 2, 0, 0.08, (seat + 0.06) / 2, depth, _darker(cloth, 0.92))
    width = (half - 0.16) / cushions
    for i in range(cushions):
        x = -half + 0.16 + (2 * i + 1) * width
        item.box(x, seat - 0.02, -0.09, width - 0.008, 0.07, depth - 0.1, cloth)
        item.box(x, seat + 0.22, depth - 0.25, width - 0.012, 0.17, 0.06, _darker(cloth, 1.06))
    for _ in range(rng.integers(0, 3)):
        x = rng.uniform(-0.6, 0.6) * (half - 0.2)
        item.ball(x, seat + 0.21, depth - 0.38, 0.19, 0.17, 0.075, palette.cloth())
    return item


def bed(palette: Palette) -> Item:
    rng, frame, sheet, cover = palette.rng, palette.timber(), palette.white, palette.cloth()
    half, depth = rng.choice([0.5, 0.72, 0.85]), 1.02
    item = Item(half + 0.03, depth + 0.05, 1.0, perch=True)
    linen = Material(Pattern.FABRIC, sheet, sheet, 8)
    _legs(item, half - 0.05, depth - 0.06, 0.12, 0.035, frame)
    item.box(0, 0.21, 0, half + 0.02, 0.1, depth, frame)
    item.box(0, 0.4, -0.02, half - 0.01, 0.1, depth - 0.04, linen)
    item.box(0, 0.5, depth + 0.01, half + 0.03, 0.5, 0.035, frame if rng.random() < 0.6 else palette.cloth())
    item.box(0, 0.405, -0.26, half + 0.005, 0.125, depth - 0.3, cover)
    item.box(0, 0.523, depth - 0.72, half + 0.006, 0.012, 0.15, linen)  # the folded edge of the sheet
    pillows = 1 if half < 0.6 else 2
    for i in range(pillows):
        x = (i - (pillows - 1) / 2) * half
        item.ball(x, 0.57, depth - 0.3, min(0.36, half / pillows * 0.85), 0.1, 0.22, linen)
    if rng.random() < 0.5:
        item.box(0, 0.405, -depth * 0.6, half + 0.012, 0.13, 0.22, palette.cloth())  # a throw
    return item


def table(palette: Palette, height: float | None = None) -> Item:
    rng, timber = palette.rng, palette.timber()
    height = height or rng.choice([rng.uniform(0.36, 0.5), rng.uniform(0.7, 0.76)])
    half, depth = rng.uniform(0.42, 0.8), rng.uniform(0.3, 0.48)
    item = Item(half, depth, height, perch=True)
    item.box(0, height - 0.02, 0, half, 0.02, depth, timber)
    _legs(item, half - 0.05, depth - 0.05, height - 0.04, rng.uniform(0.02, 0.04), _darker(timber, 0.85))
    _clutter(item, palette, half, depth, height, count=int(rng.integers(0, 3)))
    return item


def _clutter(item: Item, palette: Palette, half: float, depth: float, height: float, count: int) -> None:
    """Vases, bowls and piles of books on a top of the given half-sides."""
    rng = palette.rng
    for i in range(count):
        x = (-0.75 + 1.5 * (i + rng.uniform(0.25, 0.75)) / count) * half
        z = rng.uniform(-0.5, 0.5) * depth
        gloss = Material(Pattern.PLAIN, palette.accent((0.2, 0.9), (0.2, 0.9)), palette.white)
        match rng.integers(0, 3):
            case 0:
                tall = rng.uniform(0.08, 0.16)
                item.ball(x, height + tall * 0.95, z, tall * 0.55, tall, tall * 0.55, gloss)
            case 1:
                item.ball(x, height + 0.035, z, 0.11, 0.045, 0.11, gloss)
            case _:
                for level in range(rng.integers(1, 4)):
                    cover = Material(Pattern.PLAIN, palette.accent(), palette.white)
                    item.box(x, height + 0.016 + 0.032 * level, z, 0.11, 0.016, 0.08, cover, rng.normal(0, 0.2))


def desk(palette: Palette) -> Item:
    item = table(palette, height=0.74)
    seat = chair(palette).moved(0, -item.half_depth - 0.12, math.pi)
    dark = Material(Pattern.PLAIN, (0.03, 0.03, 0.035), palette.metal)
    item.box(0, 0.76, item.half_depth * 0.45, 0.1, 0.012, 0.07, dark)
    item.box(0, 0.98, item.half_depth * 0.45 + 0.02, 0.27, 0.17, 0.015, dark)
    item.boxes += seat.boxes
    return Item(
        item.half_width, item.half_depth + 0.35, 1.15, _shifted(item.boxes, 0.3), _shifted(item.balls, 0.3), perch=True
    )


def _shifted(solids: list, z: float) -> list:
    return [s._replace(centre=(s.centre[0], s.centre[1], s.centre[2] + z)) for s in solids]


def chair(palette: Palette) -> Item:
    rng, timber = palette.rng, palette.timber()
    seat = palette.cloth() if rng.random() < 0.5 else timber
    item = Item(0.23, 0.24, 0.9, perch=True)
    item.box(0, 0.44, 0, 0.21, 0.025, 0.21, seat)
    _legs(item, 0.18, 0.18, 0.415, 0.02, _darker(timber))
    if rng.random() < 0.5:
        item.box(0, 0.7, 0.19, 0.2, 0.2, 0.02, seat)
    else:
        for x in (-0.17, 0.0, 0.17):
            item.box(x, 0.66, 0.19, 0.02, 0.2, 0.016, timber)
        item.box(0, 0.87, 0.19, 0.21, 0.04, 0.02, timber)
    return item


def dining_set(palette: Palette) -> Item:
    """A high table with two or four chairs drawn up to it."""
    item = table(palette, height=0.74)
    sample = chair(palette)
    offsets = (0.0,) if item.half_width < 0.6 else (-0.34, 0.34)
    for x in offsets:
        item.boxes += sample.moved(x, -item.half_depth - 0.12, math.pi).boxes
        item.boxes += sample.moved(x, item.half_depth + 0.12, 0.0).boxes
    item.half_depth, item.height = item.half_depth + 0.38, 0.9
    return item


def shelf(palette: Palette) -> Item:
    rng, timber = palette.rng, palette.timber()
    half, depth = rng.uniform(0.35, 0.75), 0.16
    levels = int(rng.integers(2, 6))
    gap = rng.uniform(0.3, 0.38)
    height = levels * gap + 0.04
    item = Item(half + 0.02, depth, height, perch=levels < 4)
    item.box(0, height / 2, depth - 0.01, half, height / 2, 0.01, _darker(timber))
    for side in (-1, 1):
        item.box(side * half, height / 2, 0, 0.018, height / 2, depth, timber)
    for level in range(levels + 1):
        item.box(0, 0.02 + level * gap, 0, half, 0.018, depth, timber)
    for level in range(levels):
        _shelf_load(item, palette, half - 0.03, depth, 0.038 + level * gap, gap - 0.05)
    return item


def _shelf_load(item: Item, palette: Palette, half: float, depth: float, bottom: float, space: float) -> None:
    rng = palette.rng
    if rng.random() < 0.8:
        width, tall = half * rng.uniform(0.5, 1.0), space * rng.uniform(0.32, 0.46)
        books = Material(Pattern.BOOKS, palette.accent(), palette.accent(), rng.uniform(18, 32))
        x = rng.uniform(-1, 1) * (half - width)
        item.box(x, bottom + tall, -0.01, width, tall, depth * 0.75, books)
    elif rng.random() < 0.6:
        gloss = Material(Pattern.PLAIN, palette.accent((0.2, 0.9), (0.3, 0.9)), palette.white)
        item.ball(rng.uniform(-0.6, 0.6) * half, bottom + 0.1, 0, 0.08, 0.1, 0.08, gloss)


def cabinet(palette: Palette) -> Item:
    rng, timber = palette.rng, palette.timber()
    half, height, depth = rng.uniform(0.35, 0.85), rng.uniform(0.45, 0.95), 0.22
    item = Item(half, depth, height, perch=True)
    front = _darker(timber, rng.choice([0.8, 1.1]))
    item.box(0, height / 2 + 0.03, 0, half, height / 2 - 0.03, depth, timber)
    _legs(item, half - 0.05, depth - 0.05, 0.06, 0.025, _darker(timber, 0.5))
    columns, rows = (2, int(rng.integers(2, 4))) if rng.random() < 0.5 else (int(rng.integers(2, 4)), 1)
    knob = Material(Pattern.PLAIN, palette.metal, palette.metal)
    for column in range(columns):
        for row in range(rows):
            x = half * ((2 * column + 1) / columns - 1)
            y = 0.09 + (height - 0.12) * (row + 0.5) / rows
            item.box(x, y, -depth, half / columns - 0.015, (height - 0.12) / rows / 2 - 0.012, 0.012, front)
            item.ball(x, y, -depth - 0.02, 0.018, 0.014, 0.014, knob)
    if rng.random() < 0.45:
        _television(item, palette, half, height)
    else:
        _clutter(item, palette, half, depth, height, count=int(rng.integers(0, 3)))
    return item


def _television(item: Item, palette: Palette, half: float, height: float) -> None:
    black = Material(Pattern.PLAIN, (0.02, 0.02, 0.022), (0.02, 0.02, 0.022))
    picture = Material(Pattern.PAINTING, palette.accent(), palette.accent(), 3.0, glow=0.35)
    screen = min(0.62, half * 0.95)
    item.box(0, height + 0.02, 0.02, 0.16, 0.02, 0.08, black)
    item.box(0, height + 0.06 + screen * 0.57, 0.03, screen, screen * 0.57, 0.02, black)
    if palette.rng.random() < 0.5:
        item.box(0, height + 0.06 + screen * 0.57, 0.009, screen - 0.02, screen * 0.57 - 0.02, 0.002, picture)
    item.height = height + 0.1 + screen * 1.2
    item.perch = False


def wardrobe(palette: Palette) -> Item:
    rng, timber = palette.rng, palette.timber()
    half, height, depth = rng.uniform(0.45, 0.8), rng.uniform(1.85, 2.15), 0.28
    item = Item(half, depth, height)
    item.box(0, height / 2, 0, half, height / 2, depth, timber)
    for side in (-1, 1):
        item.box(side * half / 2, height / 2 + 0.03, -depth, half / 2 - 0.012, height / 2 - 0.06, 0.012,
                 Material(Pattern.PANELS, _darker(timber, 1.1).colour, timber.second, 2.0))  # fmt: skip
        item.box(
            side * 0.05, height / 2, -depth - 0.02, 0.008, 0.09, 0.012, Material(Pattern.PLAIN, *[palette.metal] * 2)
        )
    return item


def pouf(palette: Palette) -> Item:
    half = palette.rng.uniform(0.25, 0.38)
    item = Item(half, half, 0.4)
    item.ball(0, 0.2, 0, half, 0.2, half, palette.cloth())
    return item


def cat_tree(palette: Palette) -> Item:
    rng, carpet = palette.rng, palette.cloth()
    rope = Material(Pattern.STRIPES, (0.55, 0.42, 0.26), (0.42, 0.31, 0.18), 24)
    item = Item(0.3, 0.25, 1.1, perch=True)
    item.box(0, 0.025, 0, 0.3, 0.025, 0.25, carpet)
    for x, top in ((-0.17, rng.uniform(0.45, 0.6)), (0.14, rng.uniform(0.85, 1.1))):
        item.box(x, top / 2, 0.05, 0.045, top / 2, 0.045, rope)
        item.box(x, top + 0.02, 0.0, 0.2, 0.02, 0.22, carpet)
    return item


def floor_lamp(palette: Palette) -> Item:
    height = palette.rng.uniform(1.2, 1.6)
    metal = Material(Pattern.PLAIN, palette.metal, palette.metal)
    item = Item(0.18, 0.18, height + 0.2)
    item.ball(0, 0.0, 0, 0.15, 0.03, 0.15, metal)
    item.box(0, height / 2, 0, 0.012, height / 2, 0.012, metal)
    shade = Material(Pattern.PLAIN, (0.95, 0.85, 0.66), (0.9, 0.8, 0.6), glow=palette.rng.choice([0.25, 0.8]))
    if palette.rng.random() < 0.5:
        item.ball(0, height + 0.1, 0, 0.19, 0.16, 0.19, shade)
    else:
        item.box(0, height + 0.1, 0, 0.15, 0.13, 0.15, shade)
    return item


def plant(palette: Palette) -> Item:
    rng = palette.rng
    pot = Material(Pattern.PLAIN, palette.accent((0.1, 0.6), (0.2, 0.8)), palette.white)
    item = Item(0.2, 0.2, 1.1)
    item.box(0, 0.13, 0, 0.12, 0.13, 0.12, pot)
    item.ball(0, 0.26, 0, 0.11, 0.03, 0.11, Material(Pattern.PLAIN, (0.08, 0.05, 0.03), (0.05, 0.03, 0.02)))
    green = np.array([0.09, 0.26, 0.07]) * rng.uniform(0.6, 1.5) + np.array([0.05, 0.0, 0.02]) * rng.random()
    tall, slim = rng.uniform(0.35, 0.85), rng.random() < 0.5
    item.box(
        0, 0.26 + tall / 2, 0, 0.012, tall / 2, 0.012, Material(Pattern.PLAIN, (0.2, 0.13, 0.06), (0.2, 0.13, 0.06))
    )
    for i in range(rng.integers(9, 16)):
        level, angle = rng.uniform(0.3, 1.0), i * 2.4 + rng.normal(0, 0.2)  # 2.4 rad: the golden angle of real leaves
        reach = (0.05 if slim else 0.1) + 0.1 * (1.1 - level)
        leaf = Material(Pattern.LEAF, Palette._tuple(green * rng.uniform(0.7, 1.4)), Palette._tuple(green * 0.6), 9)
        radii = (
            (0.05, rng.uniform(0.14, 0.24), 0.05) if slim else (rng.uniform(0.08, 0.14), 0.035, rng.uniform(0.08, 0.14))
        )
        item.ball(reach * math.cos(angle), 0.3 + tall * level, reach * math.sin(angle), *radii, leaf)
    return item


def rug(palette: Palette) -> Item:
    rng = palette.rng
    half, depth = rng.uniform(0.7, 1.4), rng.uniform(0.5, 1.0)
    pattern = Pattern(rng.choice([Pattern.STRIPES, Pattern.PLAID, Pattern.BORDER, Pattern.BORDER, Pattern.FABRIC]))
    item = Item(half, depth, 0.008, flat=True, perch=True)
    item.box(
        0,
        0.004,
        0,
        half,
        0.004,
        depth,
        Material(pattern, palette.accent(), palette.cloth().second, rng.uniform(1.5, 5)),
    )
    return item


# -- things on the walls: the frame's +z points into the wall, y is the height ---------------------------------------


def painting(palette: Palette, room_height: float) -> Item:
    rng = palette.rng
    half, tall = rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.45)
    y = rng.uniform(1.35, 1.65)
    frame = Material(Pattern.PLAIN, *[palette.wood() if rng.random() < 0.5 else palette.metal] * 2)
    art = Material(Pattern.PAINTING, palette.accent((0.3, 0.9), (0.2, 0.9)), palette.accent((0.3, 0.9), (0.2, 0.9)),
                   rng.uniform(1.5, 5))  # fmt: skip
    item = Item(half + 0.03, 0.03, y - tall, flat=True)
    item.box(0, y, -0.015, half + 0.03, tall + 0.03, 0.015, frame)
    if rng.random() < 0.5:
        item.box(0, y, -0.028, half, tall, 0.004, Material(Pattern.PLAIN, palette.white, palette.white))
        half, tall = half - 0.06, tall - 0.06
    item.box(0, y, -0.032, half, tall, 0.004, art)
    return item


def window(palette: Palette, room_height: float) -> Item:
    rng = palette.rng
    half, bottom = rng.uniform(0.4, 0.9), rng.choice([0.12, 0.85, 0.95])
    top = min(room_height - 0.2, 2.25)
    y, tall = (bottom + top) / 2, (top - bottom) / 2
    frame = Material(Pattern.PLAIN, palette.white, palette.white)
    item = Item(half + 0.35, 0.06, bottom, flat=True)
    item.box(0, y, -0.02, half + 0.06, tall + 0.06, 0.02, frame)
    item.box(
        0, y, -0.038, half, tall, 0.004, Material(Pattern.WINDOW, (0.6, 0.75, 0.95), (0.2, 0.36, 0.15), 3, glow=0.8)
    )
    item.box(0, y, -0.045, 0.018, tall, 0.006, frame)
    item.box(0, y + tall * 0.35, -0.045, half, 0.014, 0.006, frame)
    item.box(0, bottom - 0.07, -0.06, half + 0.1, 0.018, 0.06, frame)
    if rng.random() < 0.6:
        cloth = Material(Pattern.STRIPES, palette.accent((0.1, 0.6), (0.4, 0.9)), palette.white, rng.uniform(8, 14))
        cloth = cloth._replace(second=palette.shade(cloth.colour, 0.72))  # folds
        drop = (room_height - 0.12 - 0.06) / 2 if rng.random() < 0.5 else tall + 0.15
        for side in (-1, 1):
            item.box(side * (half + 0.14), room_height - 0.12 - drop, -0.07, 0.17, drop, 0.03, cloth)
        item.box(0, room_height - 0.1, -0.07, half + 0.38, 0.015, 0.015, Material(Pattern.PLAIN, *[palette.metal] * 2))
    return item


def door(palette: Palette, room_height: float) -> Item:
    timber = palette.timber()
    frame = _darker(timber, 0.8)
    item = Item(0.5, 0.5, 0.0)  # keeps half a metre in front of it free
    item.box(0, 1.04, -0.012, 0.49, 1.04, 0.012, frame)
    item.box(0, 1.01, -0.025, 0.41, 1.0, 0.012, Material(Pattern.PANELS, timber.colour, timber.second, 2.0))
    item.box(0.33, 1.0, -0.06, 0.05, 0.012, 0.015, Material(Pattern.PLAIN, *[palette.metal] * 2))
    item.flat = True
    return item


def wall_shelf(palette: Palette, room_height: float) -> Item:
    half, y = palette.rng.uniform(0.3, 0.6), palette.rng.uniform(1.4, 1.7)
    item = Item(half, 0.12, y - 0.05, flat=True)
    item.box(0, y, -0.1, half, 0.016, 0.1, palette.timber())
    _shelf_load(item, palette, half, 0.1, y + 0.016, 0.3)
    item.boxes[1:] = _shifted(item.boxes[1:], -0.09)
    item.balls = _shifted(item.balls, -0.09)
    return item


# -- furnishing a room ---------------------------------------------------------------------------------------------

AGAINST_WALL = (sofa, bed, shelf, shelf, cabinet, cabinet, desk, wardrobe, armchair)
IN_THE_ROOM = (dining_set, table, armchair, pouf, chair, cat_tree)
IN_CORNERS = (plant, floor_lamp, plant)
ON_WALLS = (painting, painting, window, window, door, wall_shelf)


class _Floor:
    """What stands on the floor so far: rectangles (x, z, half width, half depth, yaw, height)."""

    def __init__(self, width: float, depth: float, camera: Camera):
        self.width, self.depth, self.camera = width, depth, camera
        self.taken: list[np.ndarray] = []

    def claim(self, item: Item, x: float, z: float, yaw: float) -> bool:
        """True, and remembered, if ``item`` fits there: inside the room, clear of the rest and of the camera."""
        corners = _corners(x, z, item.half_width, item.half_depth, yaw)
        inside = (np.abs(corners[:, 0]) <= self.width / 2 + 1e-6).all() and (corners[:, 1] <= self.depth + 1e-6).all()
        if not inside or (corners[:, 1] < 0.05).any():
            return False
        away = _distance(np.array([self.camera.position[0], self.camera.position[2]]), corners)
        if away < (0.75 if item.height < 0.5 else 1.1 if item.height < 1.3 else 1.7):
            return False
        if any(_overlap(corners, other) for other in self.taken):
            return False
        self.taken.append(_corners(x, z, item.half_width + 0.03, item.half_depth + 0.03, yaw))
        return True


def _corners(x: float, z: float, half_width: float, half_depth: float, yaw: float) -> np.ndarray:
    """The corners (4, 2) of a rectangle on the floor."""
    local = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_width, half_depth)
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.stack([x + cos * local[:, 0] + sin * local[:, 1], z - sin * local[:, 0] + cos * local[:, 1]], 1)


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
    far = paper if accent is wall else Material(Pattern.PLAIN, accent, accent)
    ceiling = Material(Pattern.PLAIN, palette.white, palette.white)
    return [paper, paper, floor, ceiling, paper, far]


def _hang(rng: np.random.Generator, palette: Palette, width: float, height: float, depth: float) -> list:
    """Windows, pictures and doors: (item, its corners on the floor plan, its lower edge), none over another."""
    hung, taken = [], []
    for _ in range(rng.integers(2, 6)):
        item = ON_WALLS[rng.integers(len(ON_WALLS))](palette, height)
        x, z, yaw = _against(int(rng.integers(0, 3)), rng.uniform(-0.85, 0.85), 0.0, width, depth)
        corners = _corners(x, z, item.half_width + 0.05, 0.3, yaw)
        fits = _corners(x, z, item.half_width, 0.0, yaw)
        inside = (np.abs(fits[:, 0]) <= width / 2 + 1e-6).all() and (
            (fits[:, 1] > 0) & (fits[:, 1] <= depth + 1e-6)
        ).all()
        if inside and not any(_overlap(corners, other) for other in taken):
            taken.append(corners)
            hung.append((item.moved(x, z, yaw), corners, item.height))
    return hung


def _hidden(rectangle: np.ndarray, bottom: float, items: list[Item]) -> bool:
    """Whether furniture taller than ``bottom`` stands in front of this piece of wall."""
    outlines = [
        _corners(box.centre[0], box.centre[2], box.half[0], box.half[2], box.yaw)
        for item in items for box in item.boxes if box.centre[1] + box.half[1] > bottom
    ] + [
        _corners(ball.centre[0], ball.centre[2], ball.radii[0], ball.radii[2], 0.0)
        for item in items for ball in item.balls if ball.centre[1] + ball.radii[1] > bottom
    ]  # fmt: skip
    return any(_overlap(rectangle, outline) for outline in outlines)


def _ceiling_lamp(palette: Palette, lamp: tuple[float, float, float], height: float) -> Item:
    """A shade under the ceiling; the light itself is a square just below it (see ``raycast``)."""
    x, _, z = lamp
    item = Item(0.3, 0.3, height, flat=True)
    glass = Material(Pattern.PLAIN, (0.95, 0.92, 0.85), (0.95, 0.92, 0.85), glow=0.9)
    item.ball(x, height - 0.02, z, 0.24, 0.09, 0.24, glass)
    return item
