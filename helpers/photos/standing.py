"""Where in a photographed room can a cat stand? Floors, tables, sofas and beds, found from metric depth.

All of it is numpy on one small grid per room, so the places do not depend on the image size. Coordinates are *square
coordinates*: the picture's central square is [0, 1] x [0, 1], u to the right, v downwards. The camera looks along +z;
x points right, y down, all in metres.
"""

from dataclasses import dataclass

import numpy as np

GRID = 96  # cells along a side of the analysed depth: 2.7 px of a 256 px picture
WINDOW = (5, 11)  # rows and columns of a plane-fitting window. Low, because table tops are seen at a flat angle: few
# rows cross much depth. Wide, because along a row depth hardly changes and its steps must average out.
HIDDEN = 8  # cells that a surface is taken to go on behind what stands before it: 0.15 to 0.3 m
MAX_SLOPE = np.cos(np.radians(18))  # fitted normals of 39 mm depth steps scatter by some 6 degrees
STEEPEST_VIEW = np.sin(np.radians(55))  # cut-outs were photographed from the side: seen from above they look wrong
FLATTEST_VIEW = np.sin(np.radians(4))  # below it, one depth step is half a metre of floor: no reliable normal


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera in square coordinates: u = fx x / z + cx, v = fy y / z + cy."""

    fx: float
    fy: float
    cx: float
    cy: float

    def rays(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Points at z = 1 behind square coordinates: (3, ...)."""
        return np.stack(((u - self.cx) / self.fx, (v - self.cy) / self.fy, np.ones_like(u)))


@dataclass(frozen=True)
class Standing:
    """The N standing points of a room, one for each usable grid cell, and what a cat needs to know there.

    ``uv`` (2, N) square coordinates of cell centres; ``inverse_depth`` (3, N): 1 / z = a u + b v + c on the fitted
    plane; ``level`` (GRID, GRID) metres of each surface cell above the camera's horizon, NaN where nothing stands;
    ``up`` (3,) against gravity, in camera coordinates.
    """

    uv: np.ndarray
    inverse_depth: np.ndarray
    level: np.ndarray
    up: np.ndarray

    def __len__(self) -> int:
        return self.uv.shape[1]

    def depth_at(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Metres to the surface of each point, at square coordinates near it."""
        a, b, c = self.inverse_depth
        return 1 / (a * u + b * v + c)


def find_standing(depth: np.ndarray, camera: Pinhole) -> Standing:
    """Standing points of one room, from its depth: (GRID, GRID) metres, 0 where unknown.

    A cell counts where a plane fits its window to within the sensor's noise, the plane is level to within
    18 degrees, and it is seen neither from straight above nor edge-on; and a little way on, behind what is nearer.
    """
    plane, normals, planar = fit_planes(depth, camera)
    up = estimate_up(normals[:, planar])
    centres = (np.arange(GRID) + 0.5) / GRID
    u, v = np.meshgrid(centres, centres)
    rays = camera.rays(u, v)  # (3, GRID, GRID)
    slope = np.einsum("i,ihw->hw", up, normals)
    climb = np.einsum("i,ihw->hw", up, rays)  # metres of height for each metre of z; negative below the horizon
    descent = -climb / np.sqrt((rays**2).sum(0))  # sine of the angle below the horizon
    stands = planar & (slope > MAX_SLOPE) & (descent > FLATTEST_VIEW) & (descent < STEEPEST_VIEW)
    plane, stands = _continue_behind(depth, plane, stands)
    fitted = np.divide(1, plane[0] * u + plane[1] * v + plane[2], where=stands, out=np.full_like(u, np.nan))
    return Standing(np.stack((u[stands], v[stands])), plane[:, stands], climb * fitted, up)


def fit_planes(depth: np.ndarray, camera: Pinhole) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least-squares plane in the window around every cell.

    In a pinhole picture a plane n . X = d has 1 / z = (n . K^-1 p) / d: inverse depth is *linear* in the pixel, so
    fitting a plane is fitting a line with two slopes, from windowed means alone.

    Returns:
        ``plane`` (3, GRID, GRID): a, b, c of 1 / z = a u + b v + c; ``normals`` (3, GRID, GRID): unit, towards the
        camera; ``planar`` (GRID, GRID) bool: the window is filled and the fit's residual is within sensor noise.
    """
    known = depth > 0
    inverse = np.divide(1, depth, where=known, out=np.zeros_like(depth, dtype=np.float64))
    axis = (np.arange(GRID) + 0.5) / GRID
    u, v = np.meshgrid(axis, axis)
    weight = _window_mean(known.astype(np.float64))
    filled = weight > 0.75  # also drops a border of the picture: a quarter of a window may lie outside

    def mean(x: np.ndarray) -> np.ndarray:
        return _window_mean(np.where(known, x, 0.0)) / np.where(filled, weight, 1.0)

    mean_u, mean_v, mean_q = mean(u), mean(v), mean(inverse)
    uu, uv, vv = mean(u * u) - mean_u**2, mean(u * v) - mean_u * mean_v, mean(v * v) - mean_v**2
    uq, vq = mean(u * inverse) - mean_u * mean_q, mean(v * inverse) - mean_v * mean_q
    qq = mean(inverse**2) - mean_q**2
    determinant = np.where(filled, uu * vv - uv**2, 1.0)
    a, b = (uq * vv - vq * uv) / determinant, (vq * uu - uq * uv) / determinant
    c = mean_q - a * mean_u - b * mean_v

    z = np.where(filled & (mean_q > 0), 1 / np.where(mean_q > 0, mean_q, 1.0), 0.0)
    residual = np.sqrt(np.maximum(qq - a * uq - b * vq, 0)) * z**2  # dz = z^2 d(1 / z): metres
    even = residual < 0.012 + 0.007 * z  # depth in steps of 39 mm alone gives 11 mm, and beds are soft
    planar = filled & known & even & (a * u + b * v + c > 0)
    normals = -np.stack((a * camera.fx, b * camera.fy, a * camera.cx + b * camera.cy + c))
    return np.stack((a, b, c)), normals / np.sqrt((normals**2).sum(0)).clip(1e-9), planar


def _continue_behind(depth: np.ndarray, plane: np.ndarray, stands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let surfaces go on for HIDDEN cells to the left, to the right and towards the camera.

    They end at a window's width from every edge, because no plane fits there. And where a chair hides the floor,
    the floor goes on: a cat there shows its head above the seat. Upwards in the picture they would enter walls.
    """
    axis = (np.arange(GRID) + 0.5) / GRID
    plane, stands = plane.copy(), stands.copy()
    first, last, every = slice(1, None), slice(None, -1), slice(None)
    for _ in range(HIDDEN):
        for cells, neighbours in (((first, every), (last, every)), ((every, first), (every, last)),
                                  ((every, last), (every, first))):  # fmt: skip
            a, b, c = candidate = plane[:, *neighbours]
            inverse = a * axis[cells[1]] + b * axis[cells[0], None] + c
            goes_on = stands[neighbours] & ~stands[cells] & (inverse > 0) & (depth[cells] > 0)
            goes_on &= depth[cells] * inverse < 1.02  # farther than the plane: here one sees where the surface ends
            plane[:, *cells][:, goes_on] = candidate[:, goes_on]
            stands[cells] |= goes_on
    return plane, stands


def estimate_up(normals: np.ndarray) -> np.ndarray:
    """The direction against gravity (3,) from surface normals (3, N), starting from 'up in the picture'.

    Rooms are made of level and of upright surfaces: the direction that is most parallel to the first and most
    perpendicular to the second is found by alternating assignment and eigenvector (Gupta, Arbelaez and Malik,
    CVPR 2013, section 3.1). With too few normals, or an unlikely outcome, the start is returned.
    """
    start = np.array([0.0, -1.0, 0.0])
    if normals.shape[1] < 50:
        return start
    up = start
    for tolerance in (45, 45, 45, 15, 15, 15):
        along = np.einsum("i,in->n", up, normals)
        level = normals[:, np.abs(along) > np.cos(np.radians(tolerance))]
        upright = normals[:, np.abs(along) < np.sin(np.radians(tolerance))]
        _, vectors = np.linalg.eigh(_scatter(upright) - _scatter(level))
        up = vectors[:, 0] * (1.0 if vectors[:, 0] @ start > 0 else -1.0)
    pitch_ok, roll_ok = up @ start > np.cos(np.radians(50)), abs(up[0]) < np.sin(np.radians(15))
    return up if pitch_ok and roll_ok else start  # people look up and down with a camera, but hold it nearly level


def _scatter(vectors: np.ndarray) -> np.ndarray:
    """Sum of outer products, (3, 3); no BLAS, whose sums depend on the number of threads."""
    return (vectors[:, None] * vectors[None]).sum(-1)


def _window_mean(x: np.ndarray) -> np.ndarray:
    """Mean over a WINDOW neighbourhood of every cell, zeros outside the grid, by summed areas."""
    h, w = WINDOW
    total = np.pad(x, ((h // 2 + 1, h // 2), (w // 2 + 1, w // 2))).cumsum(0).cumsum(1)
    return (total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]) / (h * w)
