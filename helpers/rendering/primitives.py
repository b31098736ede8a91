"""What a scene is made of, as plain data: materials, boxes and ellipsoids, things, a camera, a room. No pixels yet.

A room is a box with x in [-width/2, width/2], y in [0, height] and z in [0, depth], all in metres. The camera
stands near the wall z = 0 and looks towards +z.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

Colour = tuple[float, float, float]  # linear light, 0..1


class Pattern(IntEnum):
    """How the two colours of a material are laid out on a surface; drawn by ``textures.paint``."""

    PLAIN, PLANKS, TILES, STRIPES, FABRIC, BOOKS, PAINTING, WINDOW, WOOD, PLAID, BORDER, PANELS, LEAF = range(13)


class Material(NamedTuple):
    pattern: Pattern
    colour: Colour
    second: Colour
    scale: float = 1.0  # repeats per metre, roughly
    glow: float = 0.0  # light that the surface gives off itself

    @classmethod
    def plain(cls, colour: Colour, glow: float = 0.0) -> "Material":
        return cls(Pattern.PLAIN, colour, colour, glow=glow)


class Box(NamedTuple):
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    material: Material
    yaw: float = 0.0  # about the vertical axis


class Ball(NamedTuple):
    """An ellipsoid with axes along x, y and z."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    material: Material


@dataclass
class Item:
    """One thing: its solids, the rectangle on the floor that it needs, and its height (on a wall, of its lower edge).

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

    def moved(self, x: float, z: float, yaw: float) -> "Item":
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
