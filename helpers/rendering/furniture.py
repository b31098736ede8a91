"""Designs of furniture, and of what hangs on walls, in colours that go together.

Each thing is designed in its own frame: the origin lies on the floor in the middle, and the back, or the wall that it
hangs on, is towards +z. Sizes and colours are drawn from the palette's random generator.
"""

import colorsys
import math

import numpy as np

from helpers.rendering.primitives import Colour, Item, Material, Pattern


class Palette:
    """The colours of one room: one family of woods, one wall, a few accents that recur, so that things match."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        hue = rng.random()
        self._hues = [hue, (hue + rng.choice([0.06, 0.33, 0.5])) % 1, rng.random()]
        self._wood = np.array([0.42, 0.24, 0.115]) * rng.uniform(0.35, 1.75)
        self._wood += np.array([0.0, 0.01, 0.02]) * rng.random()
        self.white = self._tuple(np.array([0.84, 0.82, 0.78]) * rng.uniform(0.9, 1.05))
        self.metal = self._tuple(np.full(3, rng.choice([0.05, 0.35, 0.6])))

    @staticmethod
    def _tuple(colour) -> Colour:
        return tuple(float(c) for c in np.clip(colour, 0.02, 0.95))

    def shade(self, colour: Colour, factor: float) -> Colour:
        return self._tuple(np.array(colour) * factor)

    def wood(self) -> Colour:
        return self._tuple(self._wood * self.rng.uniform(0.85, 1.15))

    def accent(self, saturation: tuple = (0.25, 0.75), value: tuple = (0.12, 0.7)) -> Colour:
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
        return Material.plain(self.white if self.rng.random() < 0.6 else self.accent((0.1, 0.5), (0.2, 0.8)))


def _darker(material: Material, factor: float = 0.75) -> Material:
    colour, second = (tuple(min(c * factor, 0.95) for c in tone) for tone in (material.colour, material.second))
    return material._replace(colour=colour, second=second)


def _legs(item: Item, half_x: float, half_z: float, height: float, thickness: float, material: Material) -> None:
    for side_x in (-1, 1):
        for side_z in (-1, 1):
            item.box(side_x * half_x, height / 2, side_z * half_z, thickness, height / 2, thickness, material)


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
        gloss = Material.plain(palette.accent((0.2, 0.9), (0.2, 0.9)))
        match rng.integers(0, 3):
            case 0:
                tall = rng.uniform(0.08, 0.16)
                item.ball(x, height + tall * 0.95, z, tall * 0.55, tall, tall * 0.55, gloss)
            case 1:
                item.ball(x, height + 0.035, z, 0.11, 0.045, 0.11, gloss)
            case _:
                for level in range(rng.integers(1, 4)):
                    cover, y = Material.plain(palette.accent()), height + 0.016 + 0.032 * level
                    item.box(x, y, z, 0.11, 0.016, 0.08, cover, rng.normal(0, 0.2))


def desk(palette: Palette) -> Item:
    item = table(palette, height=0.74)
    seat = chair(palette).moved(0, -item.half_depth - 0.12, math.pi)
    dark = Material.plain((0.03, 0.03, 0.035))
    item.box(0, 0.76, item.half_depth * 0.45, 0.1, 0.012, 0.07, dark)
    item.box(0, 0.98, item.half_depth * 0.45 + 0.02, 0.27, 0.17, 0.015, dark)
    item.boxes += seat.boxes
    item.half_depth, item.height = item.half_depth + 0.35, 1.15
    return item.moved(0, 0.3, 0.0)


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
    for x in (0.0,) if item.half_width < 0.6 else (-0.34, 0.34):
        item.boxes += sample.moved(x, -item.half_depth - 0.12, math.pi).boxes
        item.boxes += sample.moved(x, item.half_depth + 0.12, 0.0).boxes
    item.half_depth, item.height = item.half_depth + 0.38, 0.9
    return item


def shelf(palette: Palette) -> Item:
    rng, timber = palette.rng, palette.timber()
    half, depth, levels, gap = rng.uniform(0.35, 0.75), 0.16, int(rng.integers(2, 6)), rng.uniform(0.3, 0.38)
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


def _shelf_load(item: Item, palette: Palette, half: float, depth: float, bottom: float, space: float, z=0.0) -> None:
    rng = palette.rng
    if rng.random() < 0.8:
        width, tall = half * rng.uniform(0.5, 1.0), space * rng.uniform(0.32, 0.46)
        books = Material(Pattern.BOOKS, palette.accent(), palette.accent(), rng.uniform(18, 32))
        x = rng.uniform(-1, 1) * (half - width)
        item.box(x, bottom + tall, z - 0.01, width, tall, depth * 0.75, books)
    elif rng.random() < 0.6:
        gloss = Material.plain(palette.accent((0.2, 0.9), (0.3, 0.9)))
        item.ball(rng.uniform(-0.6, 0.6) * half, bottom + 0.1, z, 0.08, 0.1, 0.08, gloss)


def cabinet(palette: Palette) -> Item:
    rng, timber = palette.rng, palette.timber()
    half, height, depth = rng.uniform(0.35, 0.85), rng.uniform(0.45, 0.95), 0.22
    item = Item(half, depth, height, perch=True)
    front = _darker(timber, rng.choice([0.8, 1.1]))
    item.box(0, height / 2 + 0.03, 0, half, height / 2 - 0.03, depth, timber)
    _legs(item, half - 0.05, depth - 0.05, 0.06, 0.025, _darker(timber, 0.5))
    columns, rows = (2, int(rng.integers(2, 4))) if rng.random() < 0.5 else (int(rng.integers(2, 4)), 1)
    knob = Material.plain(palette.metal)
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
    black = Material.plain((0.02, 0.02, 0.022))
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
    panels = Material(Pattern.PANELS, _darker(timber, 1.1).colour, timber.second, 2.0)
    for side in (-1, 1):
        item.box(side * half / 2, height / 2 + 0.03, -depth, half / 2 - 0.012, height / 2 - 0.06, 0.012, panels)
        item.box(side * 0.05, height / 2, -depth - 0.02, 0.008, 0.09, 0.012, Material.plain(palette.metal))
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
    metal = Material.plain(palette.metal)
    item = Item(0.18, 0.18, height + 0.2)
    item.ball(0, 0.0, 0, 0.15, 0.03, 0.15, metal)
    item.box(0, height / 2, 0, 0.012, height / 2, 0.012, metal)
    shade = Material.plain((0.95, 0.85, 0.66), glow=palette.rng.choice([0.25, 0.8]))
    if palette.rng.random() < 0.5:
        item.ball(0, height + 0.1, 0, 0.19, 0.16, 0.19, shade)
    else:
        item.box(0, height + 0.1, 0, 0.15, 0.13, 0.15, shade)
    return item


def plant(palette: Palette) -> Item:
    rng = palette.rng
    item = Item(0.2, 0.2, 1.1)
    item.box(0, 0.13, 0, 0.12, 0.13, 0.12, Material.plain(palette.accent((0.1, 0.6), (0.2, 0.8))))  # the pot
    item.ball(0, 0.26, 0, 0.11, 0.03, 0.11, Material.plain((0.08, 0.05, 0.03)))  # soil
    green = np.array([0.09, 0.26, 0.07]) * rng.uniform(0.6, 1.5) + np.array([0.05, 0.0, 0.02]) * rng.random()
    tall, slim = rng.uniform(0.35, 0.85), rng.random() < 0.5
    item.box(0, 0.26 + tall / 2, 0, 0.012, tall / 2, 0.012, Material.plain((0.2, 0.13, 0.06)))
    for i in range(rng.integers(9, 16)):
        level, angle = rng.uniform(0.3, 1.0), i * 2.4 + rng.normal(0, 0.2)  # 2.4 rad: the golden angle of real leaves
        reach = (0.05 if slim else 0.1) + 0.1 * (1.1 - level)
        leaf = Material(Pattern.LEAF, Palette._tuple(green * rng.uniform(0.7, 1.4)), Palette._tuple(green * 0.6), 9)
        broad = None if slim else (rng.uniform(0.08, 0.14), 0.035, rng.uniform(0.08, 0.14))
        radii = broad or (0.05, rng.uniform(0.14, 0.24), 0.05)
        item.ball(reach * math.cos(angle), 0.3 + tall * level, reach * math.sin(angle), *radii, leaf)
    return item


def rug(palette: Palette) -> Item:
    rng = palette.rng
    half, depth = rng.uniform(0.7, 1.4), rng.uniform(0.5, 1.0)
    pattern = Pattern(rng.choice([Pattern.STRIPES, Pattern.PLAID, Pattern.BORDER, Pattern.BORDER, Pattern.FABRIC]))
    item = Item(half, depth, 0.008, flat=True, perch=True)
    carpet = Material(pattern, palette.accent(), palette.cloth().second, rng.uniform(1.5, 5))
    item.box(0, 0.004, 0, half, 0.004, depth, carpet)
    return item


# Things on the walls: the frame's +z points into the wall, y is the height.
def painting(palette: Palette, room_height: float) -> Item:
    rng = palette.rng
    half, tall, y = rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.45), rng.uniform(1.35, 1.65)
    frame = Material.plain(palette.wood() if rng.random() < 0.5 else palette.metal)
    first, second = (palette.accent((0.3, 0.9), (0.2, 0.9)) for _ in range(2))
    art = Material(Pattern.PAINTING, first, second, rng.uniform(1.5, 5))
    item = Item(half + 0.03, 0.03, y - tall, flat=True)
    item.box(0, y, -0.015, half + 0.03, tall + 0.03, 0.015, frame)
    if rng.random() < 0.5:
        item.box(0, y, -0.028, half, tall, 0.004, Material.plain(palette.white))
        half, tall = half - 0.06, tall - 0.06
    item.box(0, y, -0.032, half, tall, 0.004, art)
    return item


def window(palette: Palette, room_height: float) -> Item:
    rng = palette.rng
    half, bottom = rng.uniform(0.4, 0.9), rng.choice([0.12, 0.85, 0.95])
    top = min(room_height - 0.2, 2.25)
    y, tall = (bottom + top) / 2, (top - bottom) / 2
    frame = Material.plain(palette.white)
    outside = Material(Pattern.WINDOW, (0.6, 0.75, 0.95), (0.2, 0.36, 0.15), 3, glow=0.8)
    item = Item(half + 0.35, 0.06, bottom, flat=True)
    item.box(0, y, -0.02, half + 0.06, tall + 0.06, 0.02, frame)
    item.box(0, y, -0.038, half, tall, 0.004, outside)
    item.box(0, y, -0.045, 0.018, tall, 0.006, frame)
    item.box(0, y + tall * 0.35, -0.045, half, 0.014, 0.006, frame)
    item.box(0, bottom - 0.07, -0.06, half + 0.1, 0.018, 0.06, frame)
    if rng.random() < 0.6:
        cloth = Material(Pattern.STRIPES, palette.accent((0.1, 0.6), (0.4, 0.9)), palette.white, rng.uniform(8, 14))
        cloth = cloth._replace(second=palette.shade(cloth.colour, 0.72))  # folds
        drop = (room_height - 0.12 - 0.06) / 2 if rng.random() < 0.5 else tall + 0.15
        for side in (-1, 1):
            item.box(side * (half + 0.14), room_height - 0.12 - drop, -0.07, 0.17, drop, 0.03, cloth)
        item.box(0, room_height - 0.1, -0.07, half + 0.38, 0.015, 0.015, Material.plain(palette.metal))
    return item


def door(palette: Palette, room_height: float) -> Item:
    timber = palette.timber()
    frame = _darker(timber, 0.8)
    item = Item(0.5, 0.5, 0.0, flat=True)
    item.box(0, 1.04, -0.012, 0.49, 1.04, 0.012, frame)
    item.box(0, 1.01, -0.025, 0.41, 1.0, 0.012, Material(Pattern.PANELS, timber.colour, timber.second, 2.0))
    item.box(0.33, 1.0, -0.06, 0.05, 0.012, 0.015, Material.plain(palette.metal))
    return item


def wall_shelf(palette: Palette, room_height: float) -> Item:
    half, y = palette.rng.uniform(0.3, 0.6), palette.rng.uniform(1.4, 1.7)
    item = Item(half, 0.12, y - 0.05, flat=True)
    item.box(0, y, -0.1, half, 0.016, 0.1, palette.timber())
    _shelf_load(item, palette, half, 0.1, y + 0.016, 0.3, z=-0.09)
    return item


# Where they go: what is named twice comes twice as often.
AGAINST_WALL = (sofa, bed, shelf, shelf, cabinet, cabinet, desk, wardrobe, armchair)
IN_THE_ROOM = (dining_set, table, armchair, pouf, chair, cat_tree)
IN_CORNERS = (plant, floor_lamp, plant)
ON_WALLS = (painting, painting, window, window, door, wall_shelf)
