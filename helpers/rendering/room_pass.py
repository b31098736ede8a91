"""The room pass: camera rays against boxes and ellipsoids, patterns, light and shadow, for one room.

Vectors are component-first: a bundle of rays is a tensor (3, ...). A ray is ``origin + t * direction`` with
``direction = forward + x * right + y * up``; so t *is* the depth along the optical axis, in metres.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from helpers.rendering.primitives import Camera, Pattern, Room
from helpers.rendering.solids import FAR, Grid, Solids, box_distance, dot, pick
from helpers.rendering.textures import chance, paint

_LIGHT_HALF = 0.35  # half the side of the square light under the ceiling, metres
_NEAR = 1e-3  # metres in front of the camera where sight begins

VIEW_NAMES = ("colour", "depth", "corner_depth", "normal", "lamp_share", "sky_share")
View = dict[str, Tensor]
"""What the cat pass and the dataset need of a room, and all that is cached: exactly these tensors.

=============== ======================= ==========================================================================
colour          float16 (3, H, W)       linear light, averaged over 4 rays a pixel
depth           float32 (H, W)          metres along the optical axis, at pixel centres
corner_depth    float16 (4, H, W)       the same for the four rays around the centre
normal          float16 (3, H, W)       unit vector at the pixel centre, in the room's frame
lamp_share      float16 (H, W)          how much of the colour comes directly from the lamp, 0..1
sky_share       float16 (H, W)          how much comes from all around, 0..1 (the rest glows by itself)
=============== ======================= ==========================================================================
"""


def vector(numbers: Sequence[float], device: torch.device) -> Tensor:
    """Three numbers as a column (3, 1)."""
    return torch.tensor([float(number) for number in numbers], device=device)[:, None]


def unit(vector: Tensor) -> Tensor:
    return vector / dot(vector, vector).clamp_min(1e-20).sqrt()


def pixel_grid(size: int, device: torch.device) -> Tensor:
    """Positions of pixel centres across the image, -1..1 from left to right (or from bottom to top, reversed)."""
    return (torch.arange(size, device=device) + 0.5) * (2.0 / size) - 1.0


def camera_rays(camera: Camera, size: int, device: torch.device) -> Tensor:
    """Directions (3, size, size) through the pixel centres; their component along the optical axis is 1."""
    right, up, forward = torch.tensor(camera.axes(), dtype=torch.float32, device=device)[:, :, None, None]
    x = pixel_grid(size, device) * (1 / camera.focal)
    return forward + x * right - x[:, None] * up


def wall_hits(room: Room, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays from inside leave the empty room: t and the face (0..5), both shaped like a component."""
    faces = ((-room.width / 2, room.width / 2), (0.0, room.height), (0.0, room.depth))
    best, face = torch.full_like(direction[0], FAR), torch.zeros_like(direction[0], dtype=torch.int64)
    for axis, (low, high) in enumerate(faces):
        slope = direction[axis] + 1e-12
        ahead = slope > 0
        t = (torch.where(ahead, high, low) - origin[axis]) / slope
        face = torch.where(t < best, ahead.long() + 2 * axis, face)
        best = torch.minimum(best, t)
    return best, face


def first_hits(room: Room, solids: Solids, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Depth and surface number seen through each pixel of ``rays`` (3, size, size)."""
    size, device = rays.shape[-1], rays.device
    depth, face = (walls.flatten() for walls in wall_hits(room, origin, rays))
    nearest = _sortable(depth, face)
    origin, rays = origin.flatten(1), rays.flatten(1)
    pixel = torch.arange(size, device=device)
    places = torch.stack([pixel.repeat_interleave(size), pixel.repeat(size)])
    spans = _in_picture(room.camera, solids.corners, size)
    for hits, columns, which in solids.kinds():
        order = solids.order[6 + which.start : 6 + which.stop]
        for ray, solid in Grid(spans[which], (0, 0), (size, size), (32, 32), device).pairs(places):
            found = _sortable(hits(origin, pick(rays, ray), pick(columns, solid)), pick(order, solid))
            nearest.scatter_reduce_(0, ray, found, "amin")
    depth = (nearest >> 32).int().view(torch.float32)
    return depth.reshape(size, size), solids.surfaces[nearest & 0xFFFFFFFF].reshape(size, size)


def _sortable(t: Tensor, order: Tensor) -> Tensor:
    """One whole number for both, so that the least is that of the least t, and among equals of the first in order."""
    return t.view(torch.int32).long() << 32 | order  # positive floats are in the order of their bits


def _in_picture(camera: Camera, corners: np.ndarray, size: int) -> np.ndarray:
    """First and last row and column (K, 2, 2) in which each solid is seen, given its corners (K, 8, 3)."""
    seen = (corners - camera.position) @ camera.axes().T  # right, up, forward
    first, second = (seen[:, ends] for ends in np.triu_indices(8, 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # where a line between two corners comes into view, if it does
        share = (_NEAR - first[..., 2:]) / (second[..., 2:] - first[..., 2:])
        points = np.concatenate([seen, first + (second - first) * share], 1)
        visible = np.concatenate([seen[..., 2:] >= _NEAR, (share > 0) & (share < 1)], 1)
        places = (points[..., [1, 0]] * (-1, 1) * camera.focal / points[..., 2:] + 1) * (size / 2) - 0.5
    return np.stack([np.where(visible, places, np.inf).min(1) - 1, np.where(visible, places, -np.inf).max(1) + 1], 1)


class _Surfaces:
    """Normal, pattern coordinates and material of R points, given the surface each lies on."""

    def __init__(self, room: Room, solids: Solids, points: Tensor, surface: Tensor):
        self.normal = torch.zeros_like(points)
        self.face = points.new_zeros(4, points.shape[1])  # u, v, and half the sides along them
        self._on_walls(room, points, surface)
        self._on_boxes(solids, points, surface)
        self._on_balls(solids, points, surface)

    def _set(self, where: Tensor, normal: Tensor, *face: Tensor) -> None:
        self.normal.index_copy_(1, where, normal)
        self.face.index_copy_(1, where, torch.stack(face))

    def _on_walls(self, room: Room, points: Tensor, surface: Tensor) -> None:
        where = (surface < 6).nonzero()[:, 0]
        face = pick(surface, where)
        axis, x, y, z = face // 2, *pick(points, where)
        sign = 1.0 - 2.0 * (face % 2)
        normal = torch.stack([torch.where(axis == i, sign, 0.0) for i in range(3)])
        half = torch.full_like(x, max(room.width, room.depth))
        self._set(where, normal, torch.where(axis == 0, z, x), torch.where(axis == 1, z, y), half, half)

    def _on_boxes(self, solids: Solids, points: Tensor, surface: Tensor) -> None:
        where = ((surface >= 6) & (surface < solids.first_ball)).nonzero()[:, 0]
        x, y, z, half_x, half_y, half_z, cos, sin = pick(solids.boxes.T, pick(surface, where) - 6)
        from_x, from_y, from_z = pick(points, where) - torch.stack([x, y, z])
        local = torch.stack([cos * from_x - sin * from_z, from_y, sin * from_x + cos * from_z])
        axis = (local.abs() / torch.stack([half_x, half_y, half_z])).argmax(0)  # the face that the point is on
        side, top = axis == 0, axis == 1
        sign = torch.where(local.gather(0, axis[None])[0] < 0, -1.0, 1.0)
        normal_x, normal_y, normal_z = (torch.where(axis == i, sign, 0.0) for i in range(3))
        normal = torch.stack([cos * normal_x + sin * normal_z, normal_y, cos * normal_z - sin * normal_x])
        u, v = torch.where(side, local[2], local[0]), torch.where(top, local[2], local[1])
        self._set(where, normal, u, v, torch.where(side, half_z, half_x), torch.where(top, half_z, half_y))

    def _on_balls(self, solids: Solids, points: Tensor, surface: Tensor) -> None:
        where = (surface >= solids.first_ball).nonzero()[:, 0]
        balls = pick(solids.balls.T, pick(surface, where) - solids.first_ball)
        local, radii = pick(points, where) - balls[:3], balls[3:]
        self._set(where, unit(local / (radii * radii)), local[0] + local[2], local[1], radii[0], radii[1])


def _albedo(solids: Solids, at: _Surfaces, surface: Tensor) -> tuple[Tensor, Tensor]:
    """Colour (3, R) and glow (R,) of the points."""
    device = surface.device
    looks = [(*m.colour, *m.second, m.scale, m.glow) for m in solids.materials]
    looks = torch.tensor(looks, dtype=torch.float32, device=device)
    patterns = pick(torch.tensor([m.pattern for m in solids.materials], device=device), surface)
    albedo, glow = torch.zeros_like(at.normal), torch.zeros_like(at.face[0])
    # Offsets in the noise, so that no two things carry the same stains.
    shift = torch.tensor([i * 0.37 % 1 for i in range(len(solids.materials))], device=device)
    for pattern in sorted({m.pattern for m in solids.materials}):
        where = (patterns == pattern).nonzero()[:, 0]
        number = pick(surface, where)
        look = pick(looks.T, number)  # (8, R)
        u, v, half_u, half_v = pick(at.face, where)
        if pattern in (Pattern.WOOD, Pattern.PAINTING):
            u, v = u + pick(shift, number), v + pick(shift, number)
        albedo.index_copy_(1, where, paint(pattern, u, v, half_u, half_v, look[0:3], look[3:6], look[6]))
        glow.index_copy_(0, where, look[7])
    return albedo, glow


def _lamp_light(room: Room, solids: Solids, points: Tensor, normal: Tensor, surface: Tensor, fine: int) -> Tensor:
    """Light that arrives straight from the lamp (R,): cosine, distance, and one ray to a random spot on it."""
    to_lamp = vector(room.lamp, points.device) - points
    square = dot(to_lamp, to_lamp)
    light = (dot(normal, to_lamp) / square.sqrt()).clamp_min(0) / (1 + 0.08 * square)
    lit = (light > 0).nonzero()[:, 0]
    aside = pick(normal, lit) * 4e-3
    start, toward = pick(points, lit) + aside, pick(to_lamp, lit) - aside
    jitter = _jitter(fine, points.device)
    toward[0] += pick(jitter[0], lit) * _LIGHT_HALF
    toward[2] += pick(jitter[1], lit) * _LIGHT_HALF
    visible = torch.ones_like(light)
    visible[lit[_shadowed(room, solids, start, toward)]] = 0.0
    facing = torch.where(light > 0, surface, -1)  # do not average over the edge of a thing, or its dark side
    for step in (1, 2, 4):
        visible = _smoothed(visible, facing, step, fine)
    return light * visible


def _smoothed(values: Tensor, surface: Tensor, step: int, fine: int) -> Tensor:
    """Means of ``values`` (R,) over each ray and its four neighbours ``step`` away on the same surface."""
    values, surface = values.reshape(fine, fine), surface.reshape(fine, fine)
    total, count = values.clone(), torch.ones_like(values)
    for dim in (0, 1):
        first, second = (x.narrow(dim, 0, fine - step) for x in (values, surface))
        other, other_surface = (x.narrow(dim, step, fine - step) for x in (values, surface))
        same = (second == other_surface).float()
        total.narrow(dim, 0, fine - step).add_(other * same)
        total.narrow(dim, step, fine - step).add_(first * same)
        count.narrow(dim, 0, fine - step).add_(same)
        count.narrow(dim, step, fine - step).add_(same)
    return (total / count).reshape(-1)


def _shadowed(room: Room, solids: Solids, start: Tensor, toward: Tensor) -> Tensor:
    """Whether anything stands between ``start`` and ``start + toward``, a spot on the lamp (R,)."""
    nearest = torch.full_like(start[0], FAR)
    below = (room.lamp[1] - start[1]).clamp_min(1e-3)
    places = torch.stack([(start[0] - room.lamp[0]) / below, (start[2] - room.lamp[2]) / below, start[1]])
    spans = _from_lamp(room, solids.corners)
    for hits, columns, which in solids.kinds():
        grid = Grid(spans[which], (-3, -3, 0), (3, 3, room.height), (32, 32, 6), start.device)
        for ray, solid in grid.pairs(places):
            t = hits(pick(start, ray), pick(toward, ray), pick(columns, solid))
            nearest.scatter_reduce_(0, ray, t, "amin")
    return nearest < 1


def _from_lamp(room: Room, corners: np.ndarray) -> np.ndarray:
    """Where points lie whose light a solid can take (K, 2, 3): how far aside for each metre below the lamp, and height.

    Similar triangles: seen from a spot j metres beside the middle of the lamp, what lies h metres below it moves by j / h,
    and what lies lower still by less.
    """
    below = room.lamp[1] - corners[..., 1:2]  # (K, 8, 1)
    aside = (corners[..., [0, 2]] - (room.lamp[0], room.lamp[2])) / below.clip(0.02)
    reach = _LIGHT_HALF * (1 / below.min(1).clip(0.02) - 1 / room.lamp[1])
    reach[below.min(1) < 0.02] = np.inf  # beside the lamp: anywhere
    top = corners[..., 1].max(1)
    return np.stack([np.column_stack([aside.min(1) - reach, np.full_like(top, -np.inf)]),
                     np.column_stack([aside.max(1) + reach, top])], 1)  # fmt: skip


def _openness(room: Room, solids: Solids, points: Tensor, normal: Tensor) -> Tensor:
    """Ambient occlusion (R,): 1 in the open, darker in the room's corners and close to furniture."""
    result = torch.ones_like(points[0])
    for axis, (low, high) in enumerate(((-room.width / 2, room.width / 2), (0.0, room.height), (0.0, room.depth))):
        distance = torch.minimum((points[axis] - low).abs(), (high - points[axis]).abs())
        facing = normal[axis].abs() > 0.5
        result = result * torch.where(facing, 1.0, 1 - 0.36 * _falloff(distance * 4.0))
    return result * (1 - 0.5 * _falloff(_clearance(room, solids, points + normal * 0.05) * 9.0))


def _falloff(x: Tensor) -> Tensor:
    """1 at 0, 1/4 at 1, then towards 0: near enough to exp(-1.4 x), and defined to the last bit."""
    x = 1 + x
    return (x * x).reciprocal()


def _clearance(room: Room, solids: Solids, points: Tensor, reach: float = 0.4) -> Tensor:
    """Distance from points (3, R) to the nearest box, at most ``reach``."""
    nearest = torch.full_like(points[0], reach)
    corners, columns = solids.corners[: len(solids.boxes)], solids.boxes.T.contiguous()
    spans = np.stack([corners.min(1) - reach, corners.max(1) + reach], 1)
    low, high = (-room.width / 2, 0, 0), (room.width / 2, room.height, room.depth)
    for point, box in Grid(spans, low, high, (12, 8, 12), points.device).pairs(points):
        nearest.scatter_reduce_(0, point, box_distance(pick(points, point), pick(columns, box)), "amin")
    return nearest


@torch.no_grad()
def view_room(room: Room, size: int, device: torch.device | str = "cpu") -> View:
    """Everything that later passes need of ``room``, at ``size`` px: see :data:`View`."""
    device = torch.device(device)
    solids, fine = Solids(room, device), 2 * size  # colour is averaged over 2 x 2 rays a pixel
    depth, normal = centre_pass(room, solids, size)
    fine_depth, surface, points = _seen(room, solids, fine)
    lamp, around, glow = _shade(room, solids, points, surface, fine)
    lamp, around, glow = (_average(light.reshape(3, fine, fine)) for light in (lamp, around, glow))
    total = lamp + around + glow
    whole = (total[0] + total[1] + total[2]).clamp_min(1e-6)
    corners = fine_depth.reshape(size, 2, size, 2).permute(1, 3, 0, 2).reshape(4, size, size)
    shares = (((light[0] + light[1] + light[2]) / whole).half() for light in (lamp, around))
    return dict(zip(VIEW_NAMES, (total.half(), depth, corners.half(), normal.half(), *shares), strict=True))


def centre_pass(room: Room, solids: Solids, size: int) -> tuple[Tensor, Tensor]:
    """Depth (size, size) and normals (3, size, size) at pixel centres."""
    depth, surface, points = _seen(room, solids, size)
    return depth, _Surfaces(room, solids, points, surface).normal.reshape(3, size, size)


def _seen(room: Room, solids: Solids, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (size, size) through each pixel centre; surface number (R,) and point (3, R) where that ray ends."""
    rays = camera_rays(room.camera, size, solids.boxes.device)
    origin = vector(room.camera.position, rays.device)[:, :, None]
    depth, surface = first_hits(room, solids, origin, rays)
    return depth, surface.reshape(-1), (origin + rays * depth).reshape(3, -1)


def _shade(room: Room, solids: Solids, points: Tensor, surface: Tensor, fine: int) -> tuple[Tensor, Tensor, Tensor]:
    """Linear light (3, R) of each point by its source: from the lamp, from all around, its own."""
    at = _Surfaces(room, solids, points, surface)
    albedo, glow = _albedo(solids, at, surface)
    lamp = _lamp_light(room, solids, points, at.normal, surface, fine)
    openness = _openness(room, solids, points, at.normal)
    sky, colour = vector(room.sky, points.device), vector(room.lamp_colour, points.device)
    around = room.ambient * (0.62 + 0.38 * dot(at.normal, sky)) * openness * (1 - glow)
    lamp = lamp * (1.05 * room.gain) * (0.6 + 0.4 * openness)
    return albedo * colour * lamp, albedo * (around * room.gain), albedo * (glow * 1.6)


@lru_cache(2)
def _jitter(fine: int, device: torch.device) -> Tensor:
    """A spot on the lamp for each fine ray, (2, fine * fine) in [-1, 1]: each ray of a pixel has its own quarter."""
    ray = torch.arange(fine * fine, device=device)
    row, column = ray // fine, ray % fine
    return torch.stack([(column % 2 + chance(column, row, 21)) - 1.0, (row % 2 + chance(column, row, 22)) - 1.0])


def _average(image: Tensor) -> Tensor:
    """Means of 2 x 2 blocks (3, 2 H, 2 W) -> (3, H, W), summed in a fixed order."""
    upper = image[:, 0::2, 0::2] + image[:, 0::2, 1::2]
    lower = image[:, 1::2, 0::2] + image[:, 1::2, 1::2]
    return (upper + lower) * 0.25
