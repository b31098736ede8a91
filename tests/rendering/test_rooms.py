"""Rendered quartets: the contract, byte-identity, exact depth and masks, honest placements, the cache."""

import dataclasses
import math
import tempfile

import numpy as np
import pytest
import torch

from helpers.config import CourseError
from helpers.rendering import cats, placement
from helpers.rendering import dataset as rooms
from helpers.rendering.cat_pass import PlacedCat, add_cats
from helpers.rendering.cats import Volume, draw_cat
from helpers.rendering.dataset import RoomsDataset
from helpers.rendering.layout import furnish
from helpers.rendering.placement import Placement
from helpers.rendering.primitives import Box, Camera, Item, Material, Pattern
from helpers.rendering.room_pass import VIEW_NAMES, camera_rays, first_hits, view_room
from helpers.rendering.solids import Solids, box_distance
from helpers.utils import write_arrays

GREY = Material(Pattern.PLAIN, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def scenes():
    """Sixty placed_cats in six rooms, with their quartets at 64 px, made once."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("COURSE_CACHE", folder)
        dataset = RoomsDataset(64, rooms=6, cats=12, placements=2, seed=3)
        indices = np.random.default_rng(0).integers(0, len(dataset), 60).tolist()
        return [(dataset._placed_cat(i), dataset[i]) for i in indices]


def small(size=32, **changes):
    return RoomsDataset(size, **{"rooms": 3, "cats": 4, "placements": 2, **changes})


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def empty_room(camera=None):
    """A bare room, symmetrical about x = 0, lit from its middle."""
    room = furnish(np.random.default_rng(0))
    return dataclasses.replace(
        room, items=[], width=4.0, height=2.6, depth=5.0, walls=[GREY] * 6, lamp=(0.0, 2.3, 2.0), sky=(0.0, 1.0, 0.0),
        camera=camera or Camera((0.0, 1.2, 0.3), 0.0, -0.3, 1.5),
    )  # fmt: skip


def render(room, cat, position=(0.0, 0.0, 2.0), heading=0.4, size=64):
    """Linear colour, mask and metres of one cat in one room, and the room's view."""
    view = view_room(room, size)
    colour, mask, metres = add_cats([PlacedCat(room, view, cat, Volume(cat), Placement(position, heading, 1.0))])
    return colour[0], mask[0], metres[0], view


# -- the dataset; what it shares with all sources is in tests/sources ----------------------------------------------


def test_every_pixel_has_metres_and_rooms_are_furnished():
    dataset = small()
    for index in (0, 17, len(dataset) - 1):
        quartet = dataset[index]
        assert quartet["valid"].all()
        assert 0.3 < quartet["near_far"][0] < quartet["near_far"][1] < 12
        assert quartet["bg"].float().std() > 10  # a furnished room, not a flat colour


def test_bad_numbers_and_devices_name_a_remedy():
    for arguments in ({"rooms": 0}, {"cats": -1}, {"placements": 0}):
        with pytest.raises(CourseError, match="at least 1"):
            small(**arguments)
    with pytest.raises(CourseError, match="0 or a larger number"):
        small(seed=-1)
    for device in ("toaster", "mps", "xpu", "meta"):
        with pytest.raises(CourseError, match="'cpu' or 'cuda'"):
            small(device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_a_missing_gpu_is_named():
    with pytest.raises(CourseError, match="device='cpu'"):
        small(device="cuda")


def test_large_images_do_not_depend_on_threads():
    threads = torch.get_num_threads()
    views = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            views.append(view_room(furnish(np.random.default_rng(5)), 100))
    finally:
        torch.set_num_threads(threads)
    for view in views[1:]:
        assert all(torch.equal(views[0][name], view[name]) for name in VIEW_NAMES)


def test_several_cats_at_once_are_each_as_if_alone(scenes):
    placed_cats = [placed for placed, _ in scenes[:8]]
    together = add_cats(placed_cats)
    for row, placed in enumerate(placed_cats):
        assert all(torch.equal(alone[0], both[row]) for alone, both in zip(add_cats([placed]), together))


# -- the cache ------------------------------------------------------------------------------------------------------


def test_rooms_from_disk_are_the_rooms_rendered(cache, monkeypatch):
    fresh = small()[5]
    assert len(list(cache.glob("rooms-*/room-0000.npz"))) == 1
    monkeypatch.setattr(rooms, "view_room", None)  # rendering would now fail
    assert same(small()[5], fresh)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "other arrays"])
def test_a_damaged_file_is_rendered_again(cache, damage):
    fresh = small()[5]
    (path,) = cache.glob("rooms-*/room-0000.npz")
    whole = path.read_bytes()
    if damage == "other arrays":
        write_arrays(path, {"colour": np.zeros(3)})
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"x" * 99}[damage])
    assert same(small()[5], fresh)
    assert path.read_bytes() == whole


def test_memory_is_bounded_in_bytes():
    memory = rooms._Memory(100)
    for key in range(10):
        memory.get(key, lambda: bytes(30), len)
    assert memory.used <= 100
    assert memory.get(9, lambda: pytest.fail("was forgotten"), len) == bytes(30)
    made = []
    memory.get(0, lambda: made.append(0) or bytes(30), len)
    assert made == [0]


# -- the room pass --------------------------------------------------------------------------------------------------


def test_depth_of_an_empty_room_is_the_formula():
    camera = Camera((0.4, 1.3, 0.3), 0.3, -0.2, 1.4)
    room = empty_room(camera)
    depth = view_room(room, 40)["depth"].double().numpy()
    right, up, forward = camera.axes()
    for row, column in ((0, 0), (39, 39), (20, 20), (5, 33), (30, 2)):
        x, y = (column + 0.5) / 20 - 1, 1 - (row + 0.5) / 20
        ray = forward + x / camera.focal * right + y / camera.focal * up
        low, high = np.array([-2.0, 0, 0]), np.array([2.0, 2.6, 5.0])
        walls = np.where(ray > 0, high - camera.position, low - camera.position) / ray
        assert depth[row, column] == pytest.approx(walls.min(), abs=1e-5)


def test_depth_of_a_turned_box_ends_on_its_surface():
    room = empty_room()
    item = Item(0.5, 0.5, 1.0)
    item.box(0, 0.5, 0, 0.4, 0.5, 0.3, GREY)
    room.items = [item.moved(0.2, 2.5, 0.7)]
    solids = Solids(room, torch.device("cpu"))
    rays = camera_rays(room.camera, 64, torch.device("cpu"))
    origin = torch.tensor(room.camera.position)[:, None, None]
    depth, surface = first_hits(room, solids, origin, rays)
    on_box = surface == 6
    assert 100 < on_box.sum() < 2000
    points = (origin + rays * depth)[:, on_box]
    assert box_distance(points, solids.boxes.T).abs().max() < 1e-4
    assert (box_distance((origin + rays * (depth - 0.02))[:, on_box], solids.boxes.T) > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_rooms_are_plausible(seed):
    room = furnish(np.random.default_rng(seed))
    solids = Solids(room, torch.device("cpu"))
    assert 1.0 <= room.camera.position[1] <= 1.8
    away = box_distance(torch.tensor(room.camera.position)[:, None], solids.boxes.T)
    assert away.min() > 0.5  # never inside furniture or against it
    for item in room.items:
        for box in item.boxes:
            assert box.centre[1] - box.half[1] > -1e-6 and box.centre[1] + box.half[1] < room.height + 0.02


def test_things_on_the_floor_do_not_overlap():
    floor = placement.box_distances
    for seed in range(6):
        room = furnish(np.random.default_rng(seed))
        standing = [item for item in room.items if not item.flat and item.boxes]
        for number, item in enumerate(standing):
            others = [box for other in standing[number + 1 :] for box in other.boxes]
            if others:
                corners = np.array([box.centre for box in item.boxes])
                rows = np.array([(*b.centre, *b.half, math.cos(b.yaw), math.sin(b.yaw)) for b in others])
                assert (floor(corners, rows) > 0).all()


# -- the cat pass ---------------------------------------------------------------------------------------------------


def reference(cat, room, position, heading, size, steps=300):
    """Depth (inf where nothing is hit) by marching the exact distance of the capsules, not the volume."""
    rays = camera_rays(room.camera, size, torch.device("cpu")).double().numpy().reshape(3, -1)

    def turn(v):
        cos, sin = math.cos(heading), math.sin(heading)
        return np.stack([cos * v[0] - sin * v[2], v[1], sin * v[0] + cos * v[2]]) / cat.scale

    start = turn(np.array(room.camera.position)[:, None] - np.array(position)[:, None])
    slope = turn(rays)
    length = np.linalg.norm(slope, axis=0)
    volume = Volume(cat)
    middle, radius = (volume.low + volume.high) / 2, np.linalg.norm(volume.high - volume.low) / 2
    along = ((middle[:, None] - start) * slope).sum(0) / length**2
    live = np.linalg.norm(start + along * slope - middle[:, None], axis=0) < radius
    t, depth = along - radius / length, np.full(size * size, np.inf)
    for _ in range(steps):
        index = np.flatnonzero(live)
        distance, _ = cats.distance(cat, start + t[index] * slope[:, index])
        hit = distance < 2e-5
        depth[index[hit]] = t[index[hit]]
        t[index] += np.maximum(distance, 1e-5) * 0.95 / length[index]
        live[index] = ~hit & (t[index] < along[index] + radius / length[index])
        if not live.any():
            break
    return torch.from_numpy(depth).reshape(size, size)


@pytest.mark.parametrize("seed", [0, 3, 8, 11])
def test_mask_and_depth_agree_with_a_slow_exact_marcher(seed):
    cat, room = draw_cat(np.random.default_rng(seed)), empty_room()
    _, mask, metres, _ = render(room, cat, size=64)
    exact = reference(cat, room, (0.0, 0.0, 2.0), 0.4, 64)
    hit = torch.isfinite(exact)
    assert 100 < hit.sum() < 1500
    assert ((mask >= 0.5) != hit).float().mean() < 0.001
    both = hit & (mask >= 0.5)
    error = (metres - exact)[both].abs()
    assert error.median() < 1e-3 and error.quantile(0.98) < 0.01


def test_coverage_is_the_area_of_the_cat():
    """Against 6 x 6 rays a pixel."""
    cat, room = draw_cat(np.random.default_rng(3)), empty_room()
    _, mask, _, _ = render(room, cat, size=48)
    fine = torch.isfinite(reference(cat, room, (0.0, 0.0, 2.0), 0.4, 48 * 6)).float()
    area = torch.nn.functional.avg_pool2d(fine[None, None], 6)[0, 0]
    assert (mask - area).abs().mean() < 0.004
    assert mask.sum() == pytest.approx(float(area.sum()), rel=0.05)


def test_coverage_is_half_exactly_where_the_centre_sees_the_cat():
    cat, room = draw_cat(np.random.default_rng(1)), empty_room()
    _, mask, metres, view = render(room, cat)
    changed = metres != view["depth"]
    assert torch.equal(changed, mask >= 0.5)
    assert (metres[changed] < view["depth"][changed]).all()


def test_a_cat_behind_a_box_is_hidden_there():
    cat, room = draw_cat(np.random.default_rng(3)), empty_room()
    _, free, _, _ = render(room, cat)
    item = Item(0.3, 0.05, 0.6)
    item.boxes.append(Box((0.25, 0.3, 1.2), (0.25, 0.3, 0.05), GREY))  # covers the right of the image
    room.items = [item]
    _, mask, metres, view = render(room, cat)
    behind = view["depth"] < 1.3
    assert (free[behind] > 0).any() and (mask[behind & (view["corner_depth"] < 1.3).all(0)] == 0).all()
    assert torch.equal(metres[behind], view["depth"][behind])
    open_view = (view["corner_depth"] > 1.4).all(0) & ~behind
    assert torch.equal(mask[open_view], free[open_view]) and (mask > 0.5).any()


def test_the_room_is_untouched_away_from_cat_and_shadow(scenes):
    for placed, quartet in scenes[:20]:
        changed = (quartet["bg"] != quartet["bg_fg"]).any(0)
        assert changed[quartet["mask"][0] > 0.5].float().mean() > 0.9
        view = placed.view
        rays = camera_rays(placed.room.camera, 64, torch.device("cpu"))
        points = torch.tensor(placed.room.camera.position)[:, None, None] + rays * view["depth"]
        offset = points - torch.tensor(placed.placement.position)[:, None, None]
        far = (offset.square().sum(0).sqrt() > 1.3 * placed.cat.scale) & (quartet["mask"][0] == 0)
        assert not changed[far].any()


def test_the_cat_throws_a_shadow_and_only_darkens():
    cat, room = draw_cat(np.random.default_rng(3)), empty_room()
    colour, mask, _, view = render(room, cat)
    around = mask == 0
    assert (colour.float()[:, around] <= view["colour"].float()[:, around]).all()
    darkest = (colour.float() / view["colour"].float())[:, around].min()
    assert 0.05 < darkest < 0.75


@pytest.mark.parametrize("seed", range(6))
def test_mirrored_cats_mirror_the_picture(seed):
    room = empty_room()
    pictures = []
    for mirrored, heading in ((False, 0.6), (True, math.pi - 0.6)):
        cat = draw_cat(np.random.default_rng(seed), mirrored)
        # Turning by pi and mirroring left and right makes the other half of a mirror: forward becomes backward too.
        _, mask, metres, view = render(room, cat, heading=heading)
        pictures.append((mask, metres, view["depth"]))
    (mask, metres, depth), (other_mask, other_metres, other_depth) = pictures
    assert torch.equal(depth, other_depth)
    assert (mask - other_mask.flip(1)).abs().mean() < 0.002
    assert ((metres - other_metres.flip(1)).abs() > 0.02).float().mean() < 0.004


def test_flip_changes_the_cat_and_not_the_room():
    dataset = small()
    first = next(i for i in range(len(dataset)) if dataset.address(i) == (1, 2, 0, 0))
    second = next(i for i in range(len(dataset)) if dataset.address(i) == (1, 2, 1, 0))
    assert torch.equal(dataset[first]["bg"], dataset[second]["bg"])
    assert not torch.equal(dataset[first]["mask"], dataset[second]["mask"])
    camera = dataset._placed_cat(first).room.camera
    facing = [math.cos(dataset.placement(i).heading - camera.yaw) for i in (first, second)]
    assert facing[0] > -1e-9 > facing[1] - 2e-9  # to the right of the image, and to the left


# -- placements -----------------------------------------------------------------------------------------------------


def silhouette(placed, wider=3):
    """Pixels that the cat would cover at this size if nothing stood in front and the image went on and on."""
    size = placed.view["depth"].shape[-1] * wider
    camera = placed.room.camera
    room = dataclasses.replace(placed.room, camera=camera._replace(focal=camera.focal / wider))
    empty = {
        name: torch.full((*value.shape[:-2], size, size), 1e3 if "depth" in name else 0.0, dtype=value.dtype)
        for name, value in placed.view.items()
    }
    return (add_cats([placed._replace(room=room, view=empty)])[1] >= 0.5).sum()


def test_cats_are_seen(scenes):
    shares, areas = [], []
    for placed, quartet in scenes:
        shares.append(float((quartet["mask"] >= 0.5).sum() / silhouette(placed)))
        areas.append(float(quartet["mask"].mean()))
    assert min(shares) >= 0.4
    assert min(areas) >= 0.01
    assert 0.04 < np.mean(areas) < 0.085  # the published cats cover 6.1 %


def test_cats_touch_nothing(scenes):
    """No point on or inside any solid is deeper in a cat than its fur."""
    generator = np.random.default_rng(0)
    for placed, _ in scenes[::3]:
        position, heading = np.array(placed.placement.position), placed.placement.heading
        points = []
        for item in placed.room.items:
            if item.flat and item.perch:
                continue  # rugs: paws sink in
            for box in item.boxes:
                local = generator.uniform(-1, 1, (200, 3)) * box.half
                cos, sin = math.cos(box.yaw), math.sin(box.yaw)
                turned = np.stack(
                    [cos * local[:, 0] + sin * local[:, 2], local[:, 1], cos * local[:, 2] - sin * local[:, 0]], 1
                )
                points.append(turned + box.centre)
        points = np.concatenate(points) - position
        cos, sin = math.cos(heading), math.sin(heading)
        local = np.stack(
            [cos * points[:, 0] - sin * points[:, 2], points[:, 1], sin * points[:, 0] + cos * points[:, 2]]
        )
        distance, _ = cats.distance(placed.cat, local / placed.cat.scale)
        assert distance.min() * placed.cat.scale > -0.02
        body = placement.to_world(placed.cat.spheres[:, :3] * placed.cat.scale, position, heading)
        assert (np.abs(body[:, 0]) < placed.room.width / 2).all() and (body[:, 2] < placed.room.depth).all()
        assert (body[:, 1] >= 0).all()


def test_cats_stand_on_something(scenes):
    heights = []
    for placed, _ in scenes:
        x, y, z = placed.placement.position
        heights.append(y)
        if y > 0.02:
            rows = Solids(placed.room, torch.device("cpu")).boxes
            assert box_distance(torch.tensor([[x], [y], [z]]), rows.T).min() < 0.016
    assert sum(height > 0.2 for height in heights) >= 3  # some sit on furniture
    assert sum(height < 0.02 for height in heights) >= 20


def test_a_placement_is_the_same_at_every_size():
    small_set = small(64)
    large_set = small_set.at_size(128)
    assert large_set.size == 128 and large_set.key()["seed"] == small_set.key()["seed"]
    for index in (0, 11, 30):
        assert small(96).placement(index) == small_set.placement(index)
        small_mask = small_set[index]["mask"] > 0.5
        large_mask = torch.nn.functional.avg_pool2d(large_set[index]["mask"][None], 2)[0] > 0.5
        assert (small_mask & large_mask).sum() / (small_mask | large_mask).sum() > 0.9


def test_a_room_without_a_place_is_not_used(monkeypatch):
    """The first three drafts of a room are refused; the fourth is taken, and always the same one."""
    verdicts = iter([False, False, False, True])
    monkeypatch.setattr(rooms, "is_inviting", lambda plan: next(verdicts))
    fourth = rooms._inviting_room(0, 0)
    monkeypatch.setattr(rooms, "is_inviting", lambda plan: True)
    assert rooms._inviting_room(0, 0).room != fourth.room
    assert fourth.room == placement.survey(furnish(np.random.default_rng([0, 0, 0, 3]))).room


def test_the_systematic_search_finds_what_chance_misses(monkeypatch):
    dataset = small()
    plan, cat = dataset.plan(0), dataset._cat(0, 0)
    monkeypatch.setattr(placement, "_TRIES", 0)
    assert placement.place(plan, cat, 0, np.random.default_rng(0)) is not None
    nowhere = dataclasses.replace(plan, spots=plan.spots[:0])
    assert placement.place(nowhere, cat, 0, np.random.default_rng(0)) is None


@pytest.mark.parametrize("off, expected", [(0.0, "cuda"), (1e-4, "cuda"), (0.01, "cpu"), (float("nan"), "cpu")])
def test_the_gpu_renders_if_it_draws_what_the_cpu_draws(monkeypatch, capsys, off, expected):
    def on(*numbers, device):
        quartet = small()[0]
        return [quartet if device == "cpu" else {**quartet, "mask": quartet["mask"] + off}]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(rooms, "RoomsDataset", on)
    assert rooms.renderer.__wrapped__() == expected
    assert ("on the CPU" in capsys.readouterr().out) == (expected == "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_a_gpu_that_fails_leaves_the_work_to_the_cpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert rooms.renderer.__wrapped__() == "cpu"
    assert "Rooms are rendered on the CPU" in capsys.readouterr().out
