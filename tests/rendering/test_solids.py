"""Which solids are tested where: the grids leave out nothing that a test of all against all would find."""

import numpy as np
import pytest
import torch

from helpers.rendering.layout import furnish
from helpers.rendering.primitives import Item, Material
from helpers.rendering.room_pass import _clearance, _shadowed, camera_rays, first_hits, vector, wall_hits
from helpers.rendering.solids import FAR, Grid, Solids, ball_hits, box_distance, box_hits

CPU = torch.device("cpu")


@pytest.fixture(params=range(6))
def room(request):
    """A furnished room, and a thing that no furniture is like."""
    room = furnish(np.random.default_rng(request.param))
    x, y, z = room.camera.position
    odd, grey = Item(1, 1, 1), Material.plain((0.5, 0.5, 0.5))
    right, _, forward = room.camera.axes()
    beside = room.camera.position + 0.4 * forward + 0.3 * right
    odd.box(*beside, 0.1, 0.1, 0.6, grey, yaw=room.camera.yaw)  # from behind the camera to a metre before it
    odd.box(room.lamp[0] - 0.3, room.lamp[1], room.lamp[2], 0.06, 0.15, 0.3, grey)  # in the light itself
    odd.ball(x - 0.4, y - 0.3, z + 0.2, 0.1, 0.1, 0.5, grey)
    room.items.insert(1, odd)
    return room


def all_hits(solids, origin, direction):
    """t of all boxes, then of all balls (K + M, R)."""
    pairs = ((box_hits, solids.boxes), (ball_hits, solids.balls))
    return torch.cat([hits(origin[:, None], direction[:, None], rows.T[:, :, None]) for hits, rows in pairs])


def test_rays_meet_the_same_as_when_all_are_tested(room):
    solids, size = Solids(room, CPU), 50
    rays, origin = camera_rays(room.camera, size, CPU), vector(room.camera.position, CPU)
    depth, surface = first_hits(room, solids, origin[..., None], rays)
    walls, face = wall_hits(room, origin, rays.flatten(1))
    expected = torch.cat([walls[None], all_hits(solids, origin, rays.flatten(1))]).amin(0)
    assert torch.equal(depth.flatten(), expected)
    t = torch.cat([torch.full((6, size * size), FAR), all_hits(solids, origin, rays.flatten(1))])
    t.scatter_(0, face[None], walls[None])
    assert torch.equal(t.gather(0, surface.reshape(1, -1))[0], expected), "the surface is one that lies there"
    assert (surface == 6 + len(room.items[0].boxes)).any(), "what begins behind the camera is seen"


def test_shadows_and_clearance_are_those_of_all(room):
    solids = Solids(room, CPU)
    low, high = vector((-room.width / 2, 0, 0), CPU), vector((room.width / 2, room.height, room.depth), CPU)
    points = low + (high - low) * torch.rand(3, 20_000, generator=torch.manual_seed(0))
    points[1, ::2] = room.lamp[1] + 0.1 * (points[1, ::2] / room.height - 0.5)  # half of them about as high as the lamp
    spot = 0.7 * torch.rand(3, 20_000, generator=torch.manual_seed(1)) - 0.35
    toward = vector(room.lamp, CPU) + spot * vector((1, 0, 1), CPU) - points
    shaded = _shadowed(room, solids, points, toward)
    assert torch.equal(shaded, (all_hits(solids, points, toward) < 1).any(0)) and 1000 < shaded.sum() < 19_000
    distance = box_distance(points[:, None], solids.boxes.T[:, :, None]).amin(0).clamp_max(0.4)
    assert torch.equal(_clearance(room, solids, points), distance)


def test_the_first_thing_counts_where_two_are_equally_near():
    room = furnish(np.random.default_rng(0))
    first, second = (Item(1, 1, 1) for _ in range(2))
    first.ball(0, 1, 2, 0.2, 0.2, 0.2, Material.plain((1, 0, 0)))
    first.box(0, 1, 2, 0.5, 0.5, 0.5, Material.plain((1, 0, 0)))
    second.box(0, 1, 2, 0.5, 0.5, 0.5, Material.plain((0, 1, 0)))
    for items in ([first, second], [second, first]):
        room.items = items
        solids = Solids(room, CPU)
        _, surface = first_hits(room, solids, vector(room.camera.position, CPU)[..., None], camera_rays(room.camera, 40, CPU))
        assert (surface == 6).any() and not (surface == 7).any()


def test_a_grid_without_solids_has_no_pairs():
    ((place, solid),) = Grid(np.empty((0, 2, 2)), (0, 0), (1, 1), (4, 4), CPU).pairs(torch.rand(2, 10))
    assert len(place) == len(solid) == 0
