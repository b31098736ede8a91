"""The cat pass: puts cats into finished views of rooms, many quartets at once.

For each quartet a bundle of rays marches through the cat's distance volume (sphere tracing, Hart 1996): a ray may
always step as far as the nearest skin is away. Only pixels that the cat or its shadow can reach are drawn anew. Vectors
are component-first: B bundles of R rays are (3, B, R).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.rendering.cats import Cat, Looks, Volume, fur
from helpers.rendering.placement import Placement, to_world
from helpers.rendering.primitives import Camera, Room
from helpers.rendering.room_pass import VIEW_NAMES, View, pixel_grid, unit
from helpers.rendering.solids import dot, slab
from helpers.rendering.textures import smooth

STEPS = 48  # marching steps at most; nearly all rays need fewer than 20
_STRIDE = 0.35  # pixels that each step goes beyond the distance to the skin, lest rays crawl along a cat's back
_SHADOW_REACH = 1.25  # metres around a cat of scale 1 in which its shadow may fall
_AMBIENT_REACH = 0.2  # the same for the light from all around, beyond the cat's volume
_PENUMBRA = 0.2  # width of the lamp as seen from a point in its light, radians
_HIDDEN = 0.04  # metres: furniture hides the cat where it is nearer by more than this


class PlacedCat(NamedTuple):
    """One quartet: a cat, and the view of the room in which it stands."""

    room: Room
    view: View
    cat: Cat
    volume: Volume
    placement: Placement


class _Batch:
    """The numbers of B quartets as attributes, (3, B, 1) or (B, 1), by the names in :func:`_facts`, and their volumes.

    ``low`` and ``high`` are in the cat's frame, all else is in the room's.
    """

    def __init__(self, cats: list[PlacedCat], device: torch.device):
        rows = [_facts(placed) for placed in cats]
        numbers = np.array([np.hstack(list(row.values())) for row in rows], np.float32)  # (B, all numbers)
        columns = torch.from_numpy(numbers.T.copy()).to(device)[..., None]  # in one go: (all numbers, B, 1)
        for name, vector in zip(rows[0], columns.split([np.size(fact) for fact in rows[0].values()])):
            setattr(self, name, vector if len(vector) == 3 else vector[0])
        self.distances = torch.stack([placed.volume.distances for placed in cats])  # (B, 1, Z, Y, X)
        self.traits = torch.stack([placed.volume.traits for placed in cats])  # (B, 3, Z / 2, Y / 2, X / 2)

    def turn(self, vector: Tensor) -> Tensor:
        """A direction of the room (3, B, R) in the cat's frame; its length is kept."""
        x, y, z = vector
        return torch.stack([self.cos * x - self.sin * z, y, self.sin * x + self.cos * z])

    def sample(self, volume: Tensor, points: Tensor) -> Tensor:
        """A volume's channels (C, B, R) at points (3, B, R) of the cat's frame; the border's value outside."""
        at = (points - self.low) * (2 / (self.high - self.low)) - 1
        return _look_up(volume, at.permute(1, 2, 0))

    def distance(self, points: Tensor) -> Tensor:
        """Distance (B, R) from points anywhere to the skin, in units of the cat's frame."""
        inside = points.clamp(self.low, self.high)
        outside = points - inside
        return self.sample(self.distances, inside)[0] + dot(outside, outside).sqrt()

    def from_camera(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """The camera (3, B, 1) and the directions of its rays (3, B, R), in the cat's frame."""
        return self.turn(self.origin - self.position) / self.scale, self.turn(rays) / self.scale

    def to_volume(self, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Origin and directions of rays of the cat's frame, in coordinates -1..1 of the volume: (B, 1 or R, 3)."""
        size = 2 / (self.high - self.low)
        return ((origin - self.low) * size - 1).permute(1, 2, 0), (rays * size).permute(1, 2, 0)


def _look_up(volume: Tensor, at: Tensor) -> Tensor:
    """Trilinear look-up of (B, C, Z, Y, X) at (B, R, 3), coordinates -1..1 from corner to corner: (C, B, R)."""
    values = F.grid_sample(volume, at[:, :, None, None], "bilinear", "border", align_corners=True)
    return values[..., 0, 0].transpose(0, 1)


def _facts(placed: PlacedCat) -> dict:
    room, placement = placed.room, placed.placement
    right, up, forward = room.camera.axes()
    return {
        "origin": room.camera.position, "right": right, "up": up, "forward": forward, "focal": room.camera.focal,
        "position": placement.position, "cos": np.cos(placement.heading), "sin": np.sin(placement.heading),
        "scale": placed.cat.scale, "lamp": room.lamp, "lamp_colour": room.lamp_colour, "sky": room.sky,
        "ambient": room.ambient, "gain": room.gain, "lit": placement.lit,
        "low": placed.volume.low, "high": placed.volume.high,
    }  # fmt: skip


@torch.no_grad()
def add_cats(cats: list[PlacedCat]) -> tuple[Tensor, Tensor, Tensor]:
    """Linear colour float16 (B, 3, H, W), coverage (B, H, W) in [0, 1] and metric depth (B, H, W) with the cats in.

    Coverage counts what is visible: what furniture hides or the frame cuts off is 0.
    """
    size, device = cats[0].view["depth"].shape[-1], cats[0].view["depth"].device
    batch = _Batch(cats, device)
    view = {name: torch.stack([placed.view[name] for placed in cats]).flatten(-2) for name in VIEW_NAMES}
    colour, depth = view["colour"].float(), view["depth"]  # (B, 3, H * W), (B, H * W)
    colour = _cast_shadow(batch, view, colour, cats, size)
    pixels = _window(cats, size, [_body(placed) for placed in cats])
    rays = _rays(batch, pixels, size)
    hit = _march(batch, rays, 2 / size)
    kept = _most_live(hit.coverage > 0)  # the rays that touch a cat
    pixels, rays = pixels.gather(1, kept), rays.gather(2, kept.expand(3, -1, -1))
    hit = _Hit(*(values.gather(1, kept) for values in hit))
    hit = _refine(batch, rays, hit, 2 / size)
    coverage = hit.coverage * _unhidden(view, pixels, hit.depth)
    painted = _shade(batch, Looks([placed.cat for placed in cats], device), rays, hit, size)
    everywhere = pixels[:, None].expand(-1, 3, -1)
    behind = colour.gather(2, everywhere)
    painted = behind + (painted.transpose(0, 1) - behind) * coverage[:, None]
    # Rays that only pad a bundle have coverage 0, and are not written.
    colour = _write(colour, everywhere, painted, (coverage > 0)[:, None])
    mask = _write(torch.zeros_like(depth), pixels, coverage, coverage > 0)
    depth = _write(depth, pixels, hit.depth, coverage >= 0.5)
    return tuple(image.unflatten(-1, (size, size)) for image in (colour.half(), mask, depth))


def _write(target: Tensor, pixels: Tensor, values: Tensor, where: Tensor) -> Tensor:
    """``target`` with ``values`` at ``pixels`` (last dimension) where ``where``; the spare last cell takes the rest."""
    spare = target.shape[-1]
    padded = F.pad(target, (0, 1))
    return padded.scatter(-1, torch.where(where, pixels, spare), values)[..., :spare]


def _window(cats: list[PlacedCat], size: int, spheres: list[tuple[np.ndarray, float]]) -> Tensor:
    """Pixels (B, R) of the rectangles that hold each cat's sphere (centre, radius), all as large as the largest."""
    rectangles = [screen_rectangle(placed.room.camera, *sphere, size) for placed, sphere in zip(cats, spheres)]
    height = max(rows.stop - rows.start for rows, _ in rectangles)
    width = max(columns.stop - columns.start for _, columns in rectangles)
    device = cats[0].view["depth"].device
    corner = torch.tensor([min(rows.start, size - height) * size + min(columns.start, size - width)
                           for rows, columns in rectangles], device=device)  # fmt: skip
    inside = torch.arange(height, device=device)[:, None] * size + torch.arange(width, device=device)
    return corner[:, None] + inside.flatten()


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


def _body(placed: PlacedCat) -> tuple[np.ndarray, float]:
    """Centre and radius of a sphere around the cat's volume, in the room."""
    middle, half = (placed.volume.low + placed.volume.high) / 2, (placed.volume.high - placed.volume.low) / 2
    centre = to_world(middle[None] * placed.cat.scale, np.array(placed.placement.position), placed.placement.heading)[0]
    return centre, float(np.linalg.norm(half)) * placed.cat.scale


def _rays(batch: _Batch, pixels: Tensor, size: int) -> Tensor:
    """Directions (3, B, R) in the room's frame through pixel centres."""
    grid = pixel_grid(size, pixels.device)
    x, y = grid[pixels % size], -grid[pixels // size]
    return batch.forward + (x / batch.focal) * batch.right + (y / batch.focal) * batch.up


class _Hit(NamedTuple):
    """What a ray finds: depth of the skin (of the nearest pass where it misses) and coverage of its pixel."""

    depth: Tensor  # (B, R)
    coverage: Tensor  # (B, R)


class _March(NamedTuple):
    """Rays under way, (B, R) each. A finished ray may be advanced further: that changes nothing it stands for."""

    t: Tensor
    closest: Tensor  # least distance to the skin so far, in pixels; negative inside
    passing: Tensor  # where that was
    before: Tensor  # the last t outside the skin before the first dive


def _march(batch: _Batch, rays: Tensor, pixel: float) -> _Hit:
    """Follow rays (3, B, R) to the skin and half a pixel into it.

    A pixel whose ray passes the skin at the distance of half a pixel is not covered, one whose ray dives in by
    half a pixel is covered whole, and one whose ray grazes is half covered: so coverage is 1/2 minus the least
    signed distance along the ray, in pixels, and at least 1/2 exactly where the ray hits.
    """
    start, slope = batch.to_volume(*batch.from_camera(rays))  # (B, 1, 3), (B, R, 3)
    width = pixel / (batch.focal * batch.scale)  # of a pixel at depth 1, in the cat's frame
    per_unit = batch.scale / dot(rays, rays).sqrt()  # t for one unit of the cat's frame (B, R)
    near, far = _through_volume(start, slope)
    near = near.clamp_min(0.05)
    route = torch.cat((slope, far[..., None], per_unit[..., None], (_STRIDE * width * per_unit)[..., None]), -1)
    found = _March(near, torch.full_like(near, 9.0), near, near)
    under_way, indices = found, None
    live = near < far
    for step in range(STEPS):
        if step % 4 == 0:
            kept = _most_live(live)
            indices = kept if indices is None else indices.gather(1, kept)
            if not kept.shape[1]:
                break
            route = route.gather(1, kept[..., None].expand(-1, -1, 6))
            under_way = _March(*(values.gather(1, kept) for values in under_way))
        under_way = _advance(batch, start, width, route, under_way)
        if step % 4 == 3:
            found = _March(*(whole.scatter(1, indices, few) for whole, few in zip(found, under_way)))
            live = (under_way.t < route[..., 3]) & (under_way.closest > -0.5)
    dives = found.closest <= 0
    coverage = torch.where(dives, (0.5 - found.closest).clamp_max(1), (0.5 - found.closest).clamp(0, 0.499))
    coverage = torch.where(near < far, coverage, 0.0)
    return _Hit(torch.where(dives, found.before, found.passing), coverage)


def _advance(batch: _Batch, start: Tensor, width: Tensor, route: Tensor, rays: _March) -> _March:
    """One step: as far as the skin is away and a little more, never past the end of the volume."""
    distance = _look_up(batch.distances, start + rays.t[..., None] * route[..., :3])[0]
    relative = distance / (rays.t * width)
    passing = torch.where(relative < rays.closest, rays.t, rays.passing)
    closest = torch.minimum(relative, rays.closest)
    before = torch.where(closest > 0, rays.t, rays.before)
    step = distance.abs() * route[..., 4] + rays.t * route[..., 5]
    return _March(torch.minimum(rays.t + step, route[..., 3]), closest, passing, before)


def _refine(batch: _Batch, rays: Tensor, hit: _Hit, pixel: float) -> _Hit:
    """Depth where rays hit, to a hundredth of a millimetre or so: the last step outside ended just before the skin."""
    start, slope = batch.to_volume(*batch.from_camera(rays))
    per_unit = batch.scale / dot(rays, rays).sqrt()

    def distance(t: Tensor) -> Tensor:
        return _look_up(batch.distances, start + t[..., None] * slope)[0]

    low, low_distance = hit.depth, distance(hit.depth)
    beyond = _STRIDE * pixel / (batch.focal * batch.scale) * low
    high = low + (low_distance + beyond) * per_unit
    high_distance = distance(high)
    for _ in range(4):  # the false-position method
        share = (low_distance / (low_distance - high_distance).clamp_min(1e-9)).clamp(0, 1)
        middle = low + (high - low) * share
        middle_distance = distance(middle)
        outside = middle_distance > 0
        low, low_distance = torch.where(outside, middle, low), torch.where(outside, middle_distance, low_distance)
        high, high_distance = torch.where(outside, high, middle), torch.where(outside, high_distance, middle_distance)
    share = (low_distance / (low_distance - high_distance).clamp_min(1e-9)).clamp(0, 1)
    return _Hit(torch.where(hit.coverage >= 0.5, low + (high - low) * share, hit.depth), hit.coverage)


def _most_live(live: Tensor) -> Tensor:
    """Indices (B, K) of the live rays of each bundle, in order; K is the largest number, shorter ones are padded."""
    count = int(live.sum(1).max())
    return torch.sort(live.byte(), dim=1, descending=True, stable=True).indices[:, :count]


def _through_volume(start: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the cube [-1, 1]^3: (B, R) each; entering after leaving means a miss."""
    enter, leave = slab(start, slope, 1.0)
    return enter.amax(-1), leave.amin(-1)


def _unhidden(view: View, pixels: Tensor, depth: Tensor) -> Tensor:
    """Share of five rays (four corners and the middle) in which no furniture is in front (B, R)."""
    seen = (view["depth"].gather(1, pixels) > depth - _HIDDEN * 0.25).float()
    for corner in range(view["corner_depth"].shape[1]):
        seen = seen + (view["corner_depth"][:, corner].float().gather(1, pixels) > depth - _HIDDEN)
    return seen * 0.2


def _shade(batch: _Batch, looks: Looks, rays: Tensor, hit: _Hit, size: int) -> Tensor:
    """Linear colour (3, B, R) of the cat where rays meet it."""
    camera, toward = batch.from_camera(rays)
    points = camera + toward * hit.depth  # (3, B, R), in the cat's frame
    normal = _normals(batch, points)
    albedo = _soft_fur(batch, looks, points, normal, toward, 2 / size)
    open_sky = 0.45 + 0.55 * (batch.distance(points + normal * 0.06) * (1 / 0.06)).clamp(0, 1)
    ground = 1 - 0.4 * smooth(1 - points[1] * 7)
    to_lamp = batch.turn(batch.lamp - batch.position) / batch.scale - points
    square = dot(to_lamp, to_lamp) * (batch.scale * batch.scale)
    to_lamp = unit(to_lamp)
    facing = dot(normal, to_lamp)
    # Fur scatters: light wraps a little around the edge.
    lamp = (facing * 0.8 + 0.2).clamp_min(0) / (1 + 0.08 * square) * batch.lit
    in_light = _soft_shadow(batch, points + normal * 0.012, to_lamp, steps=4)
    lamp = lamp * (0.3 + 0.7 * in_light) * (0.55 + 0.45 * open_sky)
    x, y, z = normal
    in_room = torch.stack([batch.cos * x + batch.sin * z, y, batch.cos * z - batch.sin * x])
    around = batch.ambient * (0.62 + 0.38 * dot(in_room, batch.sky)) * open_sky * ground
    rim = 1 - (-dot(normal, unit(toward))).clamp(0, 1)
    rim = rim * rim * rim * around * 0.16
    return (albedo * (around + lamp * 1.05 * batch.lamp_colour) + rim * (0.3 + albedo)) * batch.gain


def _normals(batch: _Batch, points: Tensor) -> Tensor:
    """Unit normals (3, B, R): the gradient from four look-ups at the corners of a tetrahedron (Quilez)."""
    reach = 0.007  # about half a voxel: smooths the facets of the grid
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], device=points.device)
    samples = points[:, :, None] + corners.T[:, None, :, None] * reach  # (3, B, 4, R)
    values = batch.sample(batch.distances, samples.flatten(2))[0].unflatten(1, (4, -1))  # (B, 4, R)
    return unit(sum(values[:, i] * corners[i, :, None, None] for i in range(4)))


def _soft_fur(batch: _Batch, looks: Looks, points: Tensor, normal: Tensor, toward: Tensor, pixel: float) -> Tensor:
    """Albedo averaged over four places in each pixel: where the plane through the skin meets four rays."""
    facing = dot(normal, toward)
    depth = dot(points - batch.turn(batch.origin - batch.position) / batch.scale, normal) / facing.clamp_max(-1e-4)
    quarter = 0.25 * pixel / (batch.focal * batch.scale) * depth.abs()
    right, up = batch.turn(batch.right), batch.turn(batch.up)
    places = []
    for across, above in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        moved = quarter * (across * right + above * up)
        # Back onto the plane, but no further than two steps where the skin is seen edge-on.
        slide = (dot(moved, normal) / (facing * depth.abs()).clamp_max(-1e-4)) * depth.abs()
        places.append(points + moved - toward * slide.clamp(-8 * quarter, 8 * quarter))
    places = torch.stack(places, 2).flatten(2)  # (3, B, 4 R)
    albedo = fur(looks, places, batch.sample(batch.traits, places)).unflatten(2, (4, -1))
    return ((albedo[:, :, 0] + albedo[:, :, 1]) + (albedo[:, :, 2] + albedo[:, :, 3])) * 0.25


def _soft_shadow(batch: _Batch, points: Tensor, to_lamp: Tensor, steps: int) -> Tensor:
    """How much of a broad lamp is seen past the cat (B, R), 0..1: the narrowest pass of one ray.

    Two successive distances tell where between two steps the ray passes nearest (Sebastian Aaltonen's estimate).
    """
    start, slope = batch.to_volume(points, to_lamp)
    near, far = _through_volume(start, slope)
    t, seen, last = near.clamp_min(0.02), torch.ones_like(near), torch.full_like(near, 1e9)
    for _ in range(steps):
        distance = _look_up(batch.distances, start + t[..., None] * slope)[0]
        back = (distance * distance / (last * 2)).clamp_max(0.1)
        aside = (distance * distance - back * back).clamp_min(0).sqrt()
        aside = torch.where(distance > 0, aside, distance) / (_PENUMBRA * (t - back).clamp_min(0.01))
        seen = torch.minimum(seen, torch.where(t < far, 0.5 + aside, 1.0))
        last = distance.clamp_min(0.004)
        t = t + distance.clamp(0.02, 0.1)
    return smooth(seen)


def _cast_shadow(batch: _Batch, view: View, colour: Tensor, cats: list[PlacedCat], size: int) -> Tensor:
    """``colour`` (B, 3, H * W) with the cat's shadow: from the lamp, and from the light all around."""
    area = [(np.array(placed.placement.position), _SHADOW_REACH * placed.cat.scale) for placed in cats]
    pixels = _window(cats, size, area)
    points = batch.origin + _rays(batch, pixels, size) * view["depth"].gather(1, pixels) - batch.position
    points = batch.turn(points) / batch.scale
    lamp = batch.turn(batch.lamp - batch.position) / batch.scale
    reach = (1 - dot(points, points).sqrt() * (1 / _SHADOW_REACH)) * 4  # fades out towards the limit
    near, far = _through_volume(*batch.to_volume(points, lamp - points))
    outside = points - points.clamp(batch.low, batch.high)
    close = dot(outside, outside) < _AMBIENT_REACH * _AMBIENT_REACH
    kept = _most_live((reach > 0) & (close | ((near < far) & (far > 0))))
    if not kept.shape[1]:
        return colour
    pixels, reach, points = pixels.gather(1, kept), reach.gather(1, kept), points.gather(2, kept.expand(3, -1, -1))
    three = pixels[:, None].expand(-1, 3, -1)
    normal = batch.turn(view["normal"].gather(2, three).float().transpose(0, 1))
    from_lamp = 1 - _soft_shadow(batch, points + normal * 0.006, unit(lamp - points), steps=9)
    from_lamp = from_lamp * view["lamp_share"].float().gather(1, pixels)
    from_sky = _blocked_sky(batch, points, normal) * view["sky_share"].float().gather(1, pixels)
    lost = (from_lamp + from_sky) * reach.clamp(0, 1)
    darker = colour.gather(2, three) * (1 - lost)[:, None]
    return _write(colour, three, darker, ((lost > 0) & (reach > 0))[:, None])


def _blocked_sky(batch: _Batch, points: Tensor, normal: Tensor) -> Tensor:
    """How much of the light from all around the cat keeps from points nearby (B, R): three feelers upwards."""
    heights = torch.tensor([0.03, 0.09, _AMBIENT_REACH], device=points.device)[:, None]
    feelers = (points[:, :, None] + normal[:, :, None] * heights).flatten(2)  # (3, B, 3 R)
    distance = batch.distance(feelers).unflatten(1, (3, -1))  # (B, 3, R)
    blocked = (1 - distance / heights).clamp(0, 1)
    return blocked[:, 0] * 0.3 + blocked[:, 1] * 0.27 + blocked[:, 2] * 0.23
