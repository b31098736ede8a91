"""Surface patterns: wood, tiles, fabric, books, paintings, a view from the window.

Everything here is made of additions, multiplications, comparisons, ``floor`` and look-ups in tables of random
numbers. IEEE 754 defines those to the last bit, so a pixel is the same in every batch, with any number of threads
and on every processor; ``sin``, ``exp`` and ``pow`` are not defined so strictly, and are avoided for that reason.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from helpers.rendering.primitives import Pattern

_SIDE = 256  # texels along a side of the noise tile


@cache
def _tile(device: torch.device) -> Tensor:
    """Periodic fractal noise in [0, 1] (SIDE * SIDE,): four octaves of smoothed random lattices."""
    rng = np.random.default_rng(7)
    total = np.zeros((_SIDE, _SIDE), np.float64)
    for octave, cells in enumerate((8, 16, 32, 64)):
        lattice = rng.random((cells, cells))
        at = np.arange(_SIDE) * cells / _SIDE
        low, part = at.astype(int), at - at.astype(int)
        part = part * part * (3 - 2 * part)
        high = (low + 1) % cells
        rows = lattice[low] * (1 - part)[:, None] + lattice[high] * part[:, None]
        total += (rows[:, low] * (1 - part) + rows[:, high] * part) * 0.5**octave
    total = (total - total.min()) / (total.max() - total.min())
    return torch.from_numpy(total.astype(np.float32).ravel()).to(device)


@cache
def _random_numbers(device: torch.device) -> Tensor:
    """65,536 uniform random numbers for :func:`chance`."""
    return torch.from_numpy(np.random.default_rng(11).random(65536, np.float32)).to(device)


def noise(u: Tensor, v: Tensor) -> Tensor:
    """Smooth noise in [0, 1] at (u, v), any equal shapes; repeats after 1, its largest features are 1/8 wide."""
    tile = _tile(u.device)
    x, y = u * _SIDE, v * _SIDE
    left, top = torch.floor(x), torch.floor(y)
    x, y = x - left, y - top
    column, row = left.int() & (_SIDE - 1), (top.int() & (_SIDE - 1)) * _SIDE
    right, below = (column + 1) & (_SIDE - 1), (row + _SIDE) & (_SIDE * _SIDE - 1)
    upper_left, upper_right, lower_left, lower_right = (
        tile.index_select(0, at.flatten()).view_as(at)  # faster than tile[at] on a CPU
        for at in (row + column, row + right, below + column, below + right)
    )
    upper = upper_left + (upper_right - upper_left) * x
    lower = lower_left + (lower_right - lower_left) * x
    return upper + (lower - upper) * y


def chance(i: Tensor, j: Tensor | int, salt: int = 0) -> Tensor:
    """A random number in [0, 1) for each integer cell (i, j); the cells come as floats."""
    column = i.int() * 7919
    row = j.int() * 104729 if isinstance(j, Tensor) else j * 104729
    return _random_numbers(i.device)[(column + row + salt * 4241) & 65535]


def smooth(x: Tensor) -> Tensor:
    """0 below 0, 1 above 1, and a smooth step between."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """``first`` where share is 0, ``second`` where it is 1."""
    return first + (second - first) * share


def _part(x: Tensor) -> Tensor:
    return x - torch.floor(x)


def wave(x: Tensor) -> Tensor:
    """Period 1, between 0 and 1, like a cosine but made of parabolas."""
    return smooth((_part(x) - 0.5).abs() * 2)


def paint(pattern: Pattern, u: Tensor, v: Tensor, half_u: Tensor, half_v: Tensor, first: Tensor, second: Tensor,
          scale: Tensor) -> Tensor:  # fmt: skip
    """Albedo (3, R) of R points.

    Args:
        u, v: metres from the middle of the face, right and up (R,).
        half_u, half_v: half the sides of the face, metres (R,).
        first, second: the material's colours (3, R).
        scale: repeats per metre, roughly (R,).
    """
    draw, brightest = _PATTERNS[pattern]
    return draw(u, v, half_u, half_v, first, second, scale).clamp(0.01, brightest)


def _plain(u, v, half_u, half_v, first, second, scale):
    return first * (0.94 + 0.1 * noise(u * 0.23, v * 0.23))


def _wood(u, v, half_u, half_v, first, second, scale):
    along_u = half_u > half_v  # the grain follows the longer side
    along, across = torch.where(along_u, u, v), torch.where(along_u, v, u)
    grain = noise(along * scale * 0.12, across * 1.9) * 0.7 + 0.3 * noise(along * 0.5, across * 7.0)
    return mix(first, second, smooth(grain * 2 - 0.5)) * 1.1


def _planks(u, v, half_u, half_v, first, second, scale):
    row = torch.floor(u * scale * 5)
    inside = u * scale * 5 - row
    along = v * scale * 0.6 + chance(row, 0) * 7
    column = torch.floor(along)
    tone = 0.72 + 0.5 * chance(row, column, 3)
    grain = noise(v * scale * 0.2 + tone, u * 2.3 + tone)
    seam = (inside < 0.04) | (along - column < 0.006)
    return mix(first, second, grain) * (tone * torch.where(seam, 0.5, 1.05))


def _tiles(u, v, half_u, half_v, first, second, scale):
    column, row = torch.floor(u * scale * 1.6), torch.floor(v * scale * 1.6)
    inside = torch.minimum(u * scale * 1.6 - column, v * scale * 1.6 - row)
    checker = _part((column + row) * 0.5) * 2
    tone = 0.9 + 0.12 * chance(row, column) + 0.1 * noise(u * 0.6, v * 0.6)
    return mix(first, second, checker) * (tone * torch.where(inside < 0.025, 0.7, 1.0))


def _stripes(u, v, half_u, half_v, first, second, scale):
    return mix(first, second, smooth(wave(u * scale) * 4 - 1.5)) * (0.95 + 0.1 * noise(u * 0.7, v * 0.7))


def _weave(u, v):
    return 0.88 + 0.12 * noise(u * 1.7, v * 1.7) + 0.1 * chance(torch.floor(u * 110), torch.floor(v * 110))


def _fabric(u, v, half_u, half_v, first, second, scale):
    return first * (_weave(u, v) * (0.85 + 0.2 * noise(u * 0.35, v * 0.35)))


def _plaid(u, v, half_u, half_v, first, second, scale):
    warp, weft = smooth(wave(u * scale * 0.7) * 5 - 2.5), smooth(wave(v * scale * 0.7) * 5 - 2.5)
    return mix(first, second, (warp + weft) * 0.5) * _weave(u, v)


def _border(u, v, half_u, half_v, first, second, scale):
    """A rug: two borders around a field of diamonds."""
    edge = torch.minimum(half_u - u.abs(), half_v - v.abs())
    diamonds = smooth((wave(u * scale) + wave(v * scale) - 1) * 6 + 0.5) * 0.75
    line = ((edge > 0.06) & (edge < 0.16)) | ((edge > 0.2) & (edge < 0.22))
    return mix(first, second, torch.where(edge > 0.24, diamonds, line.float())) * _weave(u, v)


def _panels(u, v, half_u, half_v, first, second, scale):
    """A door: recessed panels, darker along two edges."""
    edge = torch.maximum(u.abs() - half_u * 0.66, (v.abs() - half_v * 0.48).abs() - half_v * 0.4)
    groove = torch.where(edge.abs() < 0.018, 0.68, 1.0)
    return first * (groove * (0.9 + 0.15 * noise(u * 1.5, v * 0.12)))


def _leaf(u, v, half_u, half_v, first, second, scale):
    return mix(first, second, noise(u * 1.3, v * 1.3))


def _books(u, v, half_u, half_v, first, second, scale):
    """Spines of random colour and height; above a spine one sees the dark of the shelf."""
    at = u * scale
    book = torch.floor(at)
    inside = at - book
    colours = torch.stack([chance(book, 1, salt) for salt in (1, 2, 3)])  # (3, R)
    faded = mix(mix(first, second, chance(book, 2)), colours * colours * 0.9 + 0.03, 0.65 * chance(book, 5) + 0.2)
    height = 0.72 + 0.28 * chance(book, 3)
    band = ((v + half_v) * 9 - chance(book, 4) * 9).abs() < 0.25
    shade = torch.where(inside < 0.09, 0.35, 0.8 + 0.35 * inside) * torch.where(band, 1.5, 1.0)
    return faded * torch.where(v + half_v > 2 * half_v * height, 0.12, shade)


def _painting(u, v, half_u, half_v, first, second, scale):
    """An abstract painting: a horizon, fields of colour, brush strokes."""
    bend = noise(u * scale * 0.05, v * scale * 0.05)
    field = noise(u * scale * 0.11 + bend, v * scale * 0.11 + half_u)
    strokes = noise(u * 0.4, v * 2.1 + bend)
    colour = mix(first, second, smooth((v * 3 + bend * 2 - 1) * 2 + 0.5))
    third = torch.stack([second[1], first[2], first[0]])  # the same pigments, mixed otherwise
    return mix(colour, third, smooth(field * 8 - 4)) * (0.65 + 0.7 * strokes)


def _window(u, v, half_u, half_v, sky, ground, scale):
    """Sky with clouds over trees and a lawn."""
    height = (v / half_v) * 0.5 + 0.5
    clouds = smooth(noise(u * 0.11 + 0.3, v * 0.23) * 3 - 1.2)
    air = mix(sky, torch.ones_like(sky), (0.25 + 0.75 * clouds) * (1 - 0.3 * height))
    trees = noise(u * 0.19, v * 0.19)
    skyline = 0.3 + 0.35 * (noise(u * 0.13, torch.zeros_like(v)) - 0.4)
    land = ground * (0.45 + 1.3 * trees) * torch.where(height < 0.16, 1.7, 1.0)
    return mix(land, air, smooth((height - skyline) * 40))


_PATTERNS = {  # how each is drawn, and its largest albedo
    Pattern.PLAIN: (_plain, 0.97), Pattern.PLANKS: (_planks, 0.97), Pattern.TILES: (_tiles, 0.97),
    Pattern.STRIPES: (_stripes, 0.97), Pattern.FABRIC: (_fabric, 0.97), Pattern.BOOKS: (_books, 0.95),
    Pattern.PAINTING: (_painting, 0.95), Pattern.WINDOW: (_window, 1), Pattern.WOOD: (_wood, 0.97),
    Pattern.PLAID: (_plaid, 0.97), Pattern.BORDER: (_border, 0.97), Pattern.PANELS: (_panels, 0.97),
    Pattern.LEAF: (_leaf, 0.97),
}  # fmt: skip
