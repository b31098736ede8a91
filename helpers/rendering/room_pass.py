"""The room pass: camera rays against boxes and ellipsoids, patterns, light and shadow, for one room.

Vectors are component-first: a bundle of rays is a tensor (3, ...). A ray is ``origin + t * direction`` with
``direction = forward + x * right + y * up``; so t *is* the depth along the optical axis, in metres.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from helpers.rendering.primitives import Camera, Item, Material, Pattern, Room
from helpers.rendering.textures import chance, paint

FAR = 1e9  # "hits nothing"
_LIGHT_HALF = 0.35  # half the side of the square light under the ceiling, metres

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


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Dot product over the leading dimension of 3, written out: a matrix product may sum in any order."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


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


class Solids:
    """A room's boxes and ellipsoids as tensors, thing by thing, with a bounding sphere for each thing.

    Surfaces are numbered: 0..5 the faces of the room, then all boxes, then all ellipsoids.
    """

    def __init__(self, room: Room, device: torch.device):
        boxes = [box for item in room.items for box in item.boxes]
        balls = [ball for item in room.items for ball in item.balls]
        self.boxes = _tensor([(*b.centre, *b.half, math.cos(b.yaw), math.sin(b.yaw)) for b in boxes], 8, device)
        self.balls = _tensor([(*b.centre, *b.radii) for b in balls], 6, device)
        self.first_ball = 6 + len(boxes)
        self.materials: list[Material] = [*room.walls, *(b.material for b in boxes), *(b.material for b in balls)]
        self.things: list[tuple[slice, slice, np.ndarray, float]] = []
        box, ball = 0, 0
        for item in room.items:
            box_slice, ball_slice = slice(box, box + len(item.boxes)), slice(ball, ball + len(item.balls))
            self.things.append((box_slice, ball_slice, *_bounds(item)))
            box, ball = box_slice.stop, ball_slice.stop


def _tensor(rows: list, columns: int, device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32, device=device).reshape(-1, columns)


def _bounds(item: Item) -> tuple[np.ndarray, float]:
    """Centre and radius of a sphere around an item."""
    centres = np.array([solid.centre for solid in (*item.boxes, *item.balls)])
    reach = [np.linalg.norm(box.half) for box in item.boxes] + [max(ball.radii) for ball in item.balls]
    low, high = (centres - np.array(reach)[:, None]).min(0), (centres + np.array(reach)[:, None]).max(0)
    middle = (low + high) / 2
    return middle, float((np.linalg.norm(centres - middle, axis=1) + reach).max())


def box_hits(origin: Tensor, direction: Tensor, boxes: Tensor) -> Tensor:
    """Where rays enter boxes (K, 8: centre, half-sides, cosine and sine of the yaw): (K, ...) values of t, or FAR.

    ``origin`` may have sizes 1 where all rays start together.
    """
    shape = (-1, *[1] * (direction.dim() - 1))
    x, y, z, half_x, half_y, half_z, cos, sin = (column.reshape(shape) for column in boxes.unbind(1))
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
    """Where rays enter ellipsoids (K, 6: centre, radii): (K, ...) values of t, or FAR."""
    shape = (-1, *[1] * (direction.dim() - 1))
    columns = [column.reshape(shape) for column in balls.unbind(1)]
    start = [(origin[i] - columns[i]) / columns[3 + i] for i in range(3)]
    slope = [direction[i] / columns[3 + i] for i in range(3)]
    a, b, c = dot(slope, slope), dot(start, slope), dot(start, start) - 1
    root = b * b - a * c
    t = (-b - root.clamp_min(0).sqrt()) / a
    return torch.where((root > 0) & (t > 1e-3), t, FAR)


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
    """Depth and surface number seen through each pixel of ``rays`` (3, size, size).

    Each thing is tested only inside the rectangle of the image that its bounding sphere covers.
    """
    depth, surface = wall_hits(room, origin, rays)
    for box_slice, ball_slice, centre, radius in solids.things:
        rows, columns = screen_rectangle(room.camera, centre, radius, rays.shape[-1])
        window = rays[:, rows, columns]
        for hits, solid, first in (
            (box_hits, solids.boxes[box_slice], 6 + box_slice.start),
            (ball_hits, solids.balls[ball_slice], solids.first_ball + ball_slice.start),
        ):
            if len(solid):
                near, which = hits(origin, window, solid).min(0)
                closer = near < depth[rows, columns]
                depth[rows, columns] = torch.where(closer, near, depth[rows, columns])
                surface[rows, columns] = torch.where(closer, which + first, surface[rows, columns])
    return depth, surface


def screen_rectangle(camera: Camera, centre: np.ndarray, radius: float, size: int) -> tuple[slice, slice]:
    """Rows and columns of a ``size`` px image that contain the picture of a sphere; empty if it is behind."""
    x, y, z = camera.axes() @ (np.asarray(centre, float) - camera.position)
    if z < -radius:
        return slice(0, 0), slice(0, 0)
    spans = []
    for side in (x, y):
        distance = math.hypot(side, z)
        if z <= radius or distance <= radius:  # around or beside the camera: no bound
            spans.append((-1.0, 1.0))
            continue
        angle, spread = math.atan2(side, z), math.asin(radius / distance)
        spans.append(tuple(camera.focal * math.tan(a) if abs(a) < 1.5 else math.copysign(9, a)
                           for a in (angle - spread, angle + spread)))  # fmt: skip
    (left, right), (bottom, top) = spans

    def pixel(x: float) -> int:
        return int(min(max((x + 1) * size / 2, -1), size + 1))

    rows = slice(max(pixel(-top) - 1, 0), min(pixel(-bottom) + 2, size))
    return rows, slice(max(pixel(left) - 1, 0), min(pixel(right) + 2, size))


class _Surfaces:
    """Normal, pattern coordinates and material of R points, given the surface each lies on."""

    def __init__(self, room: Room, solids: Solids, points: Tensor, surface: Tensor):
        self.normal = torch.zeros_like(points)
        self.u, self.v, self.half_u, self.half_v = (torch.zeros_like(points[0]) for _ in range(4))
        self._on_walls(room, points, surface)
        self._on_boxes(solids, points, surface)
        self._on_balls(solids, points, surface)

    def _set(self, where: Tensor, normal: Tensor, u: Tensor, v: Tensor, half_u: Tensor, half_v: Tensor) -> None:
        self.normal[:, where] = normal
        self.u[where], self.v[where], self.half_u[where], self.half_v[where] = u, v, half_u, half_v

    def _on_walls(self, room: Room, points: Tensor, surface: Tensor) -> None:
        where = (surface < 6).nonzero()[:, 0]
        face = surface[where]
        axis, x, y, z = face // 2, *points[:, where]
        sign = 1.0 - 2.0 * (face % 2)
        normal = torch.stack([torch.where(axis == i, sign, 0.0) for i in range(3)])
        half = torch.full_like(x, max(room.width, room.depth))
        self._set(where, normal, torch.where(axis == 0, z, x), torch.where(axis == 1, z, y), half, half)

    def _on_boxes(self, solids: Solids, points: Tensor, surface: Tensor) -> None:
        where = ((surface >= 6) & (surface < solids.first_ball)).nonzero()[:, 0]
        x, y, z, half_x, half_y, half_z, cos, sin = solids.boxes[surface[where] - 6].unbind(1)
        from_x, from_z = points[0, where] - x, points[2, where] - z
        local = torch.stack([cos * from_x - sin * from_z, points[1, where] - y, sin * from_x + cos * from_z])
        axis = (local.abs() / torch.stack([half_x, half_y, half_z])).argmax(0)  # the face that the point is on
        side, top = axis == 0, axis == 1
        sign = torch.where(local.gather(0, axis[None])[0] < 0, -1.0, 1.0)
        normal_x, normal_y, normal_z = (torch.where(axis == i, sign, 0.0) for i in range(3))
        normal = torch.stack([cos * normal_x + sin * normal_z, normal_y, cos * normal_z - sin * normal_x])
        u, v = torch.where(side, local[2], local[0]), torch.where(top, local[2], local[1])
        self._set(where, normal, u, v, torch.where(side, half_z, half_x), torch.where(top, half_z, half_y))

    def _on_balls(self, solids: Solids, points: Tensor, surface: Tensor) -> None:
        where = (surface >= solids.first_ball).nonzero()[:, 0]
        balls = solids.balls[surface[where] - solids.first_ball].T
        local, radii = points[:, where] - balls[:3], balls[3:]
        self._set(where, unit(local / (radii * radii)), local[0] + local[2], local[1], radii[0], radii[1])


def _albedo(solids: Solids, at: _Surfaces, surface: Tensor) -> tuple[Tensor, Tensor]:
    """Colour (3, R) and glow (R,) of the points."""
    device = surface.device
    looks = _tensor([(*m.colour, *m.second, m.scale, m.glow) for m in solids.materials], 8, device)
    patterns = torch.tensor([m.pattern for m in solids.materials], device=device)[surface]
    albedo, glow = torch.zeros_like(at.normal), torch.zeros_like(at.u)
    # Offsets in the noise, so that no two things carry the same stains.
    shift = torch.tensor([i * 0.37 % 1 for i in range(len(solids.materials))], device=device)
    for pattern in sorted({m.pattern for m in solids.materials}):
        where = (patterns == pattern).nonzero()[:, 0]
        number = surface[where]
        look = looks[number].T  # (8, R)
        u, v = at.u[where], at.v[where]
        if pattern in (Pattern.WOOD, Pattern.PAINTING):
            u, v = u + shift[number], v + shift[number]
        albedo[:, where] = paint(pattern, u, v, at.half_u[where], at.half_v[where], look[0:3], look[3:6], look[6])
        glow[where] = look[7]
    return albedo, glow


def _lamp_light(room: Room, solids: Solids, points: Tensor, normal: Tensor, surface: Tensor, fine: int) -> Tensor:
    """Light that arrives straight from the lamp (R,): cosine, distance, and one ray to a random spot on it."""
    to_lamp = vector(room.lamp, points.device) - points
    square = dot(to_lamp, to_lamp)
    light = (dot(normal, to_lamp) / square.sqrt()).clamp_min(0) / (1 + 0.08 * square)
    lit = (light > 0).nonzero()[:, 0]
    start = points[:, lit] + normal[:, lit] * 4e-3
    toward = to_lamp[:, lit] - normal[:, lit] * 4e-3
    jitter = _jitter(fine, points.device)
    toward[0] += jitter[0, lit] * _LIGHT_HALF
    toward[2] += jitter[1, lit] * _LIGHT_HALF
    visible = torch.ones_like(light)
    visible[lit[_shadowed(solids, start, toward)]] = 0.0
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


def _shadowed(solids: Solids, start: Tensor, toward: Tensor) -> Tensor:
    """Whether anything stands between ``start`` and ``start + toward`` (R,): bounding spheres first, then solids."""
    shaded = torch.zeros_like(start[0], dtype=torch.bool)
    inverse = dot(toward, toward).reciprocal()
    for box_slice, ball_slice, centre, radius in solids.things:
        offset = start - vector(centre, start.device)
        along = (-dot(offset, toward) * inverse).clamp(0, 1)
        nearest = offset + toward * along
        candidates = ((dot(nearest, nearest) < radius * radius) & ~shaded).nonzero()[:, 0]
        origin, direction = start[:, candidates], toward[:, candidates]
        for hits, solid in ((box_hits, solids.boxes[box_slice]), (ball_hits, solids.balls[ball_slice])):
            if len(solid):
                shaded[candidates] |= hits(origin, direction, solid).amin(0) < 1
    return shaded


def _openness(room: Room, solids: Solids, points: Tensor, normal: Tensor) -> Tensor:
    """Ambient occlusion (R,): 1 in the open, darker in the room's corners and close to furniture."""
    result = torch.ones_like(points[0])
    for axis, (low, high) in enumerate(((-room.width / 2, room.width / 2), (0.0, room.height), (0.0, room.depth))):
        distance = torch.minimum((points[axis] - low).abs(), (high - points[axis]).abs())
        facing = normal[axis].abs() > 0.5
        result = result * torch.where(facing, 1.0, 1 - 0.36 * _falloff(distance * 4.0))
    return result * (1 - 0.5 * _falloff(_clearance(solids, points + normal * 0.05) * 9.0))


def _falloff(x: Tensor) -> Tensor:
    """1 at 0, 1/4 at 1, then towards 0: near enough to exp(-1.4 x), and defined to the last bit."""
    x = 1 + x
    return (x * x).reciprocal()


def _clearance(solids: Solids, points: Tensor, reach: float = 0.4) -> Tensor:
    """Distance from points (3, R) to the nearest box, at most ``reach``."""
    nearest = torch.full_like(points[0], reach)
    for box_slice, _, centre, radius in solids.things:
        offset = points - vector(centre, points.device)
        close = (dot(offset, offset) < (radius + reach) * (radius + reach)).nonzero()[:, 0]
        boxes = solids.boxes[box_slice]
        if len(boxes):
            nearest[close] = torch.minimum(nearest[close], box_distance(points[:, close], boxes).amin(0))
    return nearest


def box_distance(points: Tensor, boxes: Tensor) -> Tensor:
    """Distance (K, R) of points (3, R) to boxes (K, 8); 0 inside."""
    x, y, z, half_x, half_y, half_z, cos, sin = boxes.T[:, :, None].unbind(0)
    from_x, from_z = points[0] - x, points[2] - z
    out_x = ((cos * from_x - sin * from_z).abs() - half_x).clamp_min(0)
    out_y = ((points[1] - y).abs() - half_y).clamp_min(0)
    out_z = ((sin * from_x + cos * from_z).abs() - half_z).clamp_min(0)
    return (out_x * out_x + out_y * out_y + out_z * out_z).sqrt()


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
