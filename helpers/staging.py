"""The cat pass: puts cats into finished views of rooms, many quartets at once.

For each quartet a bundle of rays marches through the cat's distance volume (sphere tracing, Hart 1996): a ray may
always step as far as the nearest skin is away. Vectors are component-first: B bundles of R rays are (3, B, R).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.cats import Cat, Looks, Volume, fur
from helpers.placing import Placement
from helpers.raycast import View, dot, pixel_grid, screen_rectangle, unit
from helpers.scenes import Room
from helpers.textures import smooth

STEPS = 96  # marching steps at most; nearly all rays need fewer than 30
_SHADOW_REACH = 1.25  # metres around a cat of scale 1 in which its shadow may fall
_HIDDEN = 0.04  # metres: furniture hides the cat where it is nearer by more than this


class Actor(NamedTuple):
    """One quartet's cat on its stage."""

    room: Room
    view: View
    cat: Cat
    volume: Volume
    placement: Placement


@dataclass
class _Stage:
    """The numbers of B quartets as tensors (..., B, 1), and their volumes."""

    origin: Tensor  # the camera, in the room's frame (3, B, 1)
    right: Tensor
    up: Tensor
    forward: Tensor
    focal: Tensor
    position: Tensor
    cos: Tensor
    sin: Tensor
    scale: Tensor
    lamp: Tensor
    lamp_colour: Tensor
    sky: Tensor
    ambient: Tensor
    gain: Tensor
    lit: Tensor
    low: Tensor  # corners of the volume, in the cat's frame (3, B, 1)
    high: Tensor
    distances: Tensor  # (B, 1, Z, Y, X)
    traits: Tensor  # (B, 3, Z / 2, Y / 2, X / 2)

    @classmethod
    def of(cls, actors: list[Actor], device: torch.device) -> _Stage:
        rows = [_numbers(actor) for actor in actors]
        table = torch.from_numpy(np.array(rows, np.float32).T.copy()).to(device)[..., None]  # (47, B, 1)
        columns, parts = iter(table.split([3] * 8 + [1] * 7 + [3] * 2)), []
        parts = [next(columns) for _ in range(17)]
        vectors, scalars, corners = parts[:8], [part[0] for part in parts[8:15]], parts[15:]
        origin, right, up, forward, position, lamp, lamp_colour, sky = vectors
        focal, cos, sin, scale, ambient, gain, lit = scalars
        distances = torch.stack([actor.volume.distances for actor in actors])
        traits = torch.stack([actor.volume.traits for actor in actors])
        return cls(origin, right, up, forward, focal, position, cos, sin, scale, lamp, lamp_colour, sky, ambient, gain,
                   lit, *corners, distances, traits)  # fmt: skip

    def turn(self, vector: Tensor) -> Tensor:
        """A direction of the room (3, B, R) in the cat's frame; its length is kept."""
        x, y, z = vector
        return torch.stack([self.cos * x - self.sin * z, y, self.sin * x + self.cos * z])

    def turn_back(self, vector: Tensor) -> Tensor:
        x, y, z = vector
        return torch.stack([self.cos * x + self.sin * z, y, self.cos * z - self.sin * x])

    def sample(self, volume: Tensor, points: Tensor) -> Tensor:
        """A volume's channels (C, B, R) at points (3, B, R) of the cat's frame; the border's value outside."""
        at = (points - self.low) * (2 / (self.high - self.low)) - 1
        return _look_up(volume, at.permute(1, 2, 0))

    def distance(self, points: Tensor) -> Tensor:
        """Distance (B, R) from points anywhere to the skin, in units of the cat's frame."""
        inside = torch.minimum(torch.maximum(points, self.low), self.high)
        outside = points - inside
        return self.sample(self.distances, inside)[0] + dot(outside, outside).sqrt()


def _look_up(volume: Tensor, at: Tensor) -> Tensor:
    """Trilinear look-up of (B, C, Z, Y, X) at (B, R, 3), coordinates -1..1 from corner to corner: (C, B, R)."""
    values = F.grid_sample(volume, at[:, :, None, None], "bilinear", "border", align_corners=True)
    return values[..., 0, 0].transpose(0, 1)


def _numbers(actor: Actor) -> list[float]:
    room, placement = actor.room, actor.placement
    heading = (np.cos(placement.heading), np.sin(placement.heading))
    return [
        *room.camera.position, *room.camera.axes().ravel(), *placement.position, *room.lamp, *room.lamp_colour, *room.sky,
        room.camera.focal, *heading, actor.cat.scale, room.ambient, room.gain, placement.lit,
        *actor.volume.low, *actor.volume.high,
    ]  # fmt: skip


@torch.no_grad()
def add_cats(actors: list[Actor]) -> tuple[Tensor, Tensor, Tensor]:
    """Linear colour float16 (B, 3, H, W), coverage (B, H, W) in [0, 1] and metric depth (B, H, W) with the cats in.

    Coverage counts what is visible: what furniture hides or the frame cuts off is 0.
    """
    size, device = actors[0].view["depth"].shape[-1], actors[0].view["depth"].device
    stage = _Stage.of(actors, device)
    view = {name: torch.stack([actor.view[name] for actor in actors]).flatten(-2) for name in actors[0].view}
    colour, depth = view["colour"].float(), view["depth"]  # (B, 3, H * W), (B, H * W)
    colour = _cast_shadow(stage, view, colour, actors, size)
    pixels, inside = _window(actors, 0.5, size, device)
    rays = _rays(stage, pixels, size)
    hit = _march(stage, rays, inside, 2.0 / size)
    pixels, rays, hit = _keep(hit.coverage > 0, pixels, rays, hit)
    coverage = hit.coverage * _unhidden(view, pixels, hit.depth)
    painted = _shade(stage, Looks.of([actor.cat for actor in actors], device), rays, hit, size)
    everywhere = pixels[:, None].expand(-1, 3, -1)
    behind = colour.gather(2, everywhere)
    painted = behind + (painted.transpose(0, 1) - behind) * coverage[:, None]
    # Rays that only pad a bundle have coverage 0 and repeat a pixel: adding what they change, 0, is harmless.
    colour = _write(colour, everywhere, painted, (coverage > 0)[:, None])
    mask = _write(torch.zeros_like(depth), pixels, coverage, coverage > 0)
    depth = _write(depth, pixels, hit.depth, coverage >= 0.5)
    shape = (len(actors), size, size)
    return colour.half().reshape(-1, 3, size, size), mask.reshape(shape), depth.reshape(shape)


def _write(target: Tensor, pixels: Tensor, values: Tensor, where: Tensor) -> Tensor:
    """``target`` with ``values`` at ``pixels`` (last dimension) where ``where``; the spare last cell takes the rest."""
    spare = target.shape[-1]
    padded = F.pad(target, (0, 1))
    return padded.scatter(-1, torch.where(where, pixels, spare), values)[..., :spare]


def _window(actors: list[Actor], reach: float, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels (B, R) around each cat's sphere of ``reach`` (times its scale), and which of them count (B, R)."""
    rectangles = []
    for room, _, cat, _, placement in actors:
        centre = np.array(placement.position) + (0, 0.2 * cat.scale, 0)
        rectangles.append(screen_rectangle(room.camera, centre, reach * cat.scale, size))
    height = max(rows.stop - rows.start for rows, _ in rectangles)
    width = max(columns.stop - columns.start for _, columns in rectangles)
    first_row = torch.tensor([min(rows.start, size - height) for rows, _ in rectangles], device=device)
    first_column = torch.tensor([min(columns.start, size - width) for _, columns in rectangles], device=device)
    row = first_row[:, None, None] + torch.arange(height, device=device)[:, None]
    column = first_column[:, None, None] + torch.arange(width, device=device)
    pixels = (row * size + column).flatten(1)
    return pixels, torch.ones_like(pixels, dtype=torch.bool)


def _rays(stage: _Stage, pixels: Tensor, size: int, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Directions (3, B, R) in the room's frame through pixel centres moved by ``shift`` pixels."""
    grid = pixel_grid(size, pixels.device)
    x, y = grid[pixels % size], -grid[pixels // size]
    x, y = x + shift[0] * (2 / size), y + shift[1] * (2 / size)
    return stage.forward + (x / stage.focal) * stage.right + (y / stage.focal) * stage.up


# -- marching -------------------------------------------------------------------------------------------------------


class _Hit(NamedTuple):
    """What a ray finds: depth of the skin (of the nearest pass where it misses) and coverage of its pixel."""

    depth: Tensor  # (B, R)
    coverage: Tensor  # (B, R)


def _march(stage: _Stage, rays: Tensor, inside: Tensor, pixel: float) -> _Hit:
    """Follow rays (3, B, R) to the skin and half a pixel into it.

    A pixel whose ray passes the skin at the distance of half a pixel is not covered, one whose ray dives in by
    half a pixel is covered whole, and one whose ray grazes is half covered: so coverage is 1/2 minus the least
    signed distance along the ray, in pixels, and at least 1/2 exactly where the ray hits.
    """
    size = 2 / (stage.high - stage.low)
    start = ((stage.turn(stage.origin - stage.position) / stage.scale - stage.low) * size - 1).permute(1, 2, 0)
    slope = (stage.turn(rays) / stage.scale * size).permute(1, 2, 0).contiguous()  # (B, R, 3), in volume coordinates
    length = dot(rays, rays).sqrt() / stage.scale  # of the cat's frame per unit of t
    footprint = pixel / (stage.focal * stage.scale)  # width of a pixel at depth 1, in the cat's frame
    near, far = _through_volume(start, slope)
    live = inside & (near < far)
    shape = near.shape
    depth = torch.full(shape, torch.inf, device=near.device)
    closest, passing = torch.full(shape, 9.0, device=near.device), torch.zeros(shape, device=near.device)
    indices = None
    t = near.clamp_min(0.05)
    state = [t, far, live, slope, length, torch.full_like(t, torch.inf), torch.full_like(t, 9.0), t.clone()]
    for step in range(STEPS):
        if step % 5 == 0:
            if step:
                depth, closest, passing = _store(indices, state, depth, closest, passing)
            kept = _most_live(state[2])
            if not kept.shape[1]:
                break
            indices = kept if indices is None else indices.gather(1, kept)
            state = [_take(part, kept) for part in state]
        state = _advance(stage, start, footprint, state)
    else:
        depth, closest, passing = _store(indices, state, depth, closest, passing)
    coverage = (0.5 - closest).clamp(0, 1)
    hit = torch.isfinite(depth)
    depth = torch.where(hit, depth, passing)
    return _Hit(depth, torch.where(hit, coverage.clamp_min(0.5), coverage.clamp_max(0.499)))


def _take(part: Tensor, kept: Tensor) -> Tensor:
    if part.dim() == 3:
        return part.gather(1, kept[..., None].expand(-1, -1, 3))
    return part.gather(1, kept)


def _store(indices, state, depth, closest, passing):
    return (
        depth.scatter(1, indices, state[5]),
        closest.scatter(1, indices, state[6]),
        passing.scatter(1, indices, state[7]),
    )


def _advance(stage: _Stage, start: Tensor, footprint: Tensor, state: list[Tensor]) -> list[Tensor]:
    t, far, live, slope, length, depth, closest, passing = state
    distance = _look_up(stage.distances, start + t[..., None] * slope)[0]
    width = t * footprint
    relative = distance / width
    better = live & (relative < closest)
    closest, passing = torch.where(better, relative, closest), torch.where(better, t, passing)
    depth = torch.where(live & (distance < 2e-4) & (depth > t), t, depth)
    step = torch.where(distance > 0, distance.clamp_min(1.5e-4), torch.maximum(-distance, width * 0.2))
    t = t + torch.where(live, step * 0.95 / length, 0.0)
    live = live & (t < far) & (closest > -0.5)
    return [t, far, live, slope, length, depth, closest, passing]


def _most_live(live: Tensor) -> Tensor:
    """Indices (B, K) of the live rays of each bundle, in order; K is the largest number, shorter ones are padded."""
    count = int(live.sum(1).max())
    return torch.sort(live.byte(), dim=1, descending=True, stable=True).indices[:, :count]


def _through_volume(start: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the cube [-1, 1]^3: (B, R) each; entering after leaving means a miss."""
    inverse = (slope + 1e-12).reciprocal()
    middle, reach = -start * inverse, inverse.abs()
    return (middle - reach).amax(-1), (middle + reach).amin(-1)


def _keep(where: Tensor, pixels: Tensor, rays: Tensor, hit: _Hit) -> tuple[Tensor, Tensor, _Hit]:
    """Only the rays that touch a cat."""
    kept = _most_live(where)
    rays = rays.gather(2, kept.expand(3, -1, -1))
    return pixels.gather(1, kept), rays, _Hit(hit.depth.gather(1, kept), hit.coverage.gather(1, kept))


def _unhidden(view: View, pixels: Tensor, depth: Tensor) -> Tensor:
    """Share of five rays (four corners and the middle) in which no furniture is in front (B, R)."""
    seen = (view["depth"].gather(1, pixels) > depth - _HIDDEN * 0.25).float()
    for corner in range(view["corner_depth"].shape[1]):
        seen = seen + (view["corner_depth"][:, corner].float().gather(1, pixels) > depth - _HIDDEN)
    return seen * 0.2


# -- light ----------------------------------------------------------------------------------------------------------


def _shade(stage: _Stage, looks: Looks, rays: Tensor, hit: _Hit, size: int) -> Tensor:
    """Linear colour (3, B, R) of the cat where rays meet it."""
    camera = stage.turn(stage.origin - stage.position) / stage.scale
    toward = stage.turn(rays) / stage.scale
    points = camera + toward * hit.depth  # (3, B, R), in the cat's frame
    normal = _normals(stage, points)
    albedo = _soft_fur(stage, looks, points, normal, toward, 2 / size)
    open_sky = 0.45 + 0.55 * (stage.distance(points + normal * 0.06) * (1 / 0.06)).clamp(0, 1)
    ground = 1 - 0.4 * smooth(1 - points[1] * 7)
    to_lamp = stage.turn(stage.lamp - stage.position) / stage.scale - points
    square = dot(to_lamp, to_lamp) * (stage.scale * stage.scale)
    to_lamp = unit(to_lamp)
    facing = dot(normal, to_lamp)
    # Fur scatters: light wraps a little around the edge.
    lamp = (facing * 0.8 + 0.2).clamp_min(0) / (1 + 0.08 * square) * stage.lit
    lamp = lamp * (0.3 + 0.7 * _soft_shadow(stage, points + normal * 0.012, to_lamp, steps=5)) * (0.55 + 0.45 * open_sky)
    sky = 0.62 + 0.38 * dot(stage.turn_back(normal), stage.sky)
    around = stage.ambient * sky * open_sky * ground
    rim = 1 - (-dot(normal, unit(toward))).clamp(0, 1)
    rim = rim * rim * rim * around * 0.16
    return (albedo * (around + lamp * 1.05 * stage.lamp_colour) + rim * (0.3 + albedo)) * stage.gain


def _normals(stage: _Stage, points: Tensor) -> Tensor:
    """Unit normals (3, B, R): the gradient from four look-ups at the corners of a tetrahedron (Quilez)."""
    reach = 0.007  # about half a voxel: smooths the facets of the grid
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], device=points.device)
    samples = points[:, :, None] + corners.T[:, None, :, None] * reach  # (3, B, 4, R)
    values = stage.sample(stage.distances, samples.flatten(2))[0].unflatten(1, (4, -1))  # (B, 4, R)
    return unit(sum(values[:, i] * corners[i, :, None, None] for i in range(4)))


def _soft_fur(stage: _Stage, looks: Looks, points: Tensor, normal: Tensor, toward: Tensor, pixel: float) -> Tensor:
    """Albedo averaged over four places in each pixel: where the plane through the skin meets four rays."""
    facing = dot(normal, toward)
    depth = dot(points - stage.turn(stage.origin - stage.position) / stage.scale, normal) / facing.clamp_max(-1e-4)
    quarter = 0.25 * pixel / (stage.focal * stage.scale) * depth.abs()
    right, up = stage.turn(stage.right), stage.turn(stage.up)
    places = []
    for across, above in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        moved = quarter * (across * right + above * up)
        # Back onto the plane, but no further than two steps where the skin is seen edge-on.
        slide = (dot(moved, normal) / (facing * depth.abs()).clamp_max(-1e-4)) * depth.abs()
        limit = 8 * quarter
        places.append(points + moved - toward * torch.maximum(torch.minimum(slide, limit), -limit))
    places = torch.stack(places, 2).flatten(2)  # (3, B, 4 R)
    albedo = fur(looks, places, stage.sample(stage.traits, places)).unflatten(2, (4, -1))
    return ((albedo[:, :, 0] + albedo[:, :, 1]) + (albedo[:, :, 2] + albedo[:, :, 3])) * 0.25


def _soft_shadow(stage: _Stage, points: Tensor, to_lamp: Tensor, steps: int) -> Tensor:
    """How much of a broad lamp is seen past the cat (B, R), 0..1: the narrowest pass of one ray (Quilez)."""
    seen, t = torch.ones_like(points[0]), torch.full_like(points[0], 0.03)
    for _ in range(steps):
        distance = stage.distance(points + to_lamp * t)
        seen = torch.minimum(seen, 0.5 + distance / (0.3 * t))
        t = t + distance.clamp(0.025, 0.12)
    return smooth(seen)


def _cast_shadow(stage: _Stage, view: View, colour: Tensor, actors: list[Actor], size: int) -> Tensor:
    """``colour`` (B, 3, H * W) with the cat's shadow: from the lamp, and from the light all around."""
    pixels, inside = _window(actors, _SHADOW_REACH, size, colour.device)
    rays = _rays(stage, pixels, size)
    points = stage.origin + rays * view["depth"].gather(1, pixels) - stage.position
    points = stage.turn(points) / stage.scale
    reach = (1 - dot(points, points).sqrt() * (1 / _SHADOW_REACH)) * 4  # fades out towards the limit
    kept = _most_live(inside & (reach > 0))
    if not kept.shape[1]:
        return colour
    pixels, reach, points = pixels.gather(1, kept), reach.gather(1, kept), points.gather(2, kept.expand(3, -1, -1))
    three = pixels[:, None].expand(-1, 3, -1)
    normal = stage.turn(view["normal"].gather(2, three).float().transpose(0, 1))
    lamp = stage.turn(stage.lamp - stage.position) / stage.scale - points
    from_lamp = 1 - _soft_shadow(stage, points + normal * 0.006, unit(lamp), steps=9)
    around = torch.zeros_like(from_lamp)
    for height, weight in ((0.03, 0.3), (0.09, 0.27), (0.2, 0.23)):
        blocked = (height - stage.distance(points + normal * height)) * (weight / height)
        around = around + blocked.clamp(0, weight)
    lost = view["lamp_share"].float().gather(1, pixels) * from_lamp + view["sky_share"].float().gather(1, pixels) * around
    lost = lost * reach.clamp(0, 1)
    darker = colour.gather(2, three) * (1 - lost)[:, None]
    return _write(colour, three, darker, ((lost > 0) & (reach > 0))[:, None])
