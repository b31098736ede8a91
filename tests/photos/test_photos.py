"""Your own photographs: every test draws the small rooms and cats that it needs; see `photo_folder`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_files import (
    EYE,
    FOCAL,
    SIDE,
    cat_picture,
    floor_depth,
    photo_folder,
    room_picture,
    upwards,
    write_camera,
    write_depth,
)
from PIL import Image, ImageDraw

from helpers.config import CourseError
from helpers.dataset import check_quartet
from helpers.photos.dataset import PhotosDataset
from helpers.photos.folder import nearest, open_folder
from helpers.photos.standing import GRID, Pinhole, find_standing

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def standing(folder):
    return PhotosDataset(folder, size=64, placements=6)


@pytest.fixture(scope="module")
def floating(tmp_path_factory):
    """With depth, but without a lens."""
    return PhotosDataset(photo_folder(tmp_path_factory.mktemp("floating"), camera=False), size=64, placements=6)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Without depth."""
    root = photo_folder(tmp_path_factory.mktemp("flat"), depth=False, camera=False)
    return PhotosDataset(root, size=64, placements=6)


def batch_of(dataset, count=None):
    return dataset.get_batch(range(count or len(dataset)))


def assert_same(a, b):
    for name in a:
        assert torch.equal(torch.nan_to_num(a[name], -1), torch.nan_to_num(b[name], -1)), f"{name} differs"


def metres_of(quartet):
    """Depth in metres, from the contract's depth and near_far."""
    near, far = quartet["near_far"].tolist()
    return near + quartet["depth"][0] * (far - near)


# -- what is kept in memory; what all sources share is in tests/sources -----------------------------------------------


def test_pictures_are_kept_as_bytes(standing):
    pictures = [standing._rooms, *standing._levels]
    assert all(p.dtype == torch.uint8 for p in pictures)
    assert sum(p.numel() for p in pictures) < 2 * 3 * 64**2 + 2 * 1.34 * 4 * 64**2


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_a_folder_that_changed_has_no_other_size(tmp_path):
    """A new picture moves the others' numbers: what is held out would be trained on."""
    dataset = PhotosDataset(photo_folder(tmp_path / "mine", depth=False, camera=False), 32)
    Image.fromarray(room_picture(number=2)).save(tmp_path / "mine/bg/a_new_one.png")
    with pytest.raises(CourseError, match="pictures in mine/ changed while they were in use: open the folder anew"):
        dataset.at_size(48)


@pytest.mark.parametrize("name", ["standing", "floating", "flat"])
def test_another_size_is_the_same_scene_sharper(request, name):
    small = request.getfixturevalue(name)
    large = small.at_size(192)
    assert (large.size, len(large)) == (192, len(small))
    assert [repr(large.place(i)) for i in range(len(large))] == [repr(small.place(i)) for i in range(len(small))]
    a, b = batch_of(small, 12), batch_of(large, 12)
    shrunk = torch.nn.functional.avg_pool2d(b["mask"], 3)
    assert (shrunk - a["mask"]).abs().mean() < 0.004
    shrunk = torch.nn.functional.avg_pool2d(b["bg_fg"].float(), 3)
    assert (shrunk - a["bg_fg"].float()).abs().mean() < 1.5
    assert torch.allclose(a["near_far"], b["near_far"], rtol=0.05, equal_nan=True)


# -- standing ---------------------------------------------------------------------------------------------------------


def test_all_cats_stand_on_an_open_floor(standing):
    assert standing.stance == "standing"
    assert all(standing.place(i).standing for i in range(len(standing)))


def test_a_cat_is_as_large_as_its_distance_asks_for(standing):
    for i in range(len(standing)):
        place, shape, cat = standing.place(i), standing._shapes[standing.cat_of(i)], standing.cat_of(i)
        longest_px = max(abs(place.width), place.height) * SIDE
        assert longest_px == pytest.approx(standing.cat_metres(cat) * FOCAL / place.depth)  # pinhole: f X / z
        assert 0.35 <= standing.cat_metres(cat) <= 0.65
        assert abs(place.width) / place.height == pytest.approx(shape.width / shape.height)


def test_the_drawn_cat_has_the_size_that_was_asked_for(standing):
    dataset = standing.at_size(160)
    for i in range(len(dataset)):
        place, shape = dataset.place(i), dataset._shapes[dataset.cat_of(i)]
        expected = shape.fill * abs(place.width) * place.height
        drawn = dataset[i]["mask"].mean().item()
        u, v = place.locate(shape)
        inside = ((u > 0) & (u < 1) & (v > 0) & (v < 1)).mean()
        assert drawn == pytest.approx(expected * inside, rel=0.06)


def test_feet_are_on_the_floor(standing):
    up = upwards(pitch=25)
    for i in range(len(standing)):
        place = standing.place(i)
        ray = np.array([(place.u - 0.5) * SIDE / FOCAL, (place.v - 0.5) * SIDE / FOCAL, 1])
        assert up @ ray * place.depth == pytest.approx(-EYE, abs=0.02)


def test_the_lowest_row_of_the_cat_is_where_its_foot_is(standing):
    dataset = standing.at_size(160)
    for i in range(0, len(dataset), 3):
        place, mask = dataset.place(i), dataset[i]["mask"][0]
        lowest = torch.nonzero(mask.amax(1) > 0.5).max().item() + 1
        slack = 2 + abs(np.sin(place.tilt) * place.width) * 80  # of a leaning cat one side of the foot is lower
        assert min(place.v, 1) * 160 == pytest.approx(lowest, abs=slack)


def test_the_depth_of_a_cat_is_its_distance_and_the_room_keeps_its_own(standing, folder):
    for i in range(0, len(standing), 2):
        quartet, place = standing[i], standing.place(i)
        metres, cat = metres_of(quartet), quartet["mask"][0] >= 0.5
        assert metres[cat].numpy() == pytest.approx(place.depth, abs=1e-3)
        room = torch.from_numpy(nearest(floor_depth(), 64))
        assert metres[~cat].numpy() == pytest.approx(room[~cat].numpy(), abs=2e-3)


def test_near_far_are_the_metres_of_depth_0_and_1(standing):
    for i in range(0, len(standing), 5):
        quartet, place = standing[i], standing.place(i)
        room = nearest(floor_depth(), 64)[~(quartet["mask"][0] >= 0.5).numpy()]
        expected = [min(room.min(), place.depth), max(room.max(), place.depth)]
        assert quartet["near_far"].tolist() == pytest.approx(expected, abs=1e-3)


def test_what_is_nearer_hides_the_cat(tmp_path):
    metres = floor_depth()
    metres[:, 70:90] = np.minimum(metres[:, 70:90], 0.8)  # a post close to the camera
    dataset = PhotosDataset(photo_folder(tmp_path, [metres]), size=160, placements=30)
    batch, hidden = batch_of(dataset), 0
    assert (batch["mask"][..., 71:89] == 0).all()
    assert (batch["bg_fg"][..., 71:89] == batch["bg"][..., 71:89]).all()
    for i in range(len(dataset)):
        u, _ = dataset.place(i).locate(dataset._shapes[dataset.cat_of(i)])
        hidden += bool((u < 70 / 160).any() and (u > 90 / 160).any())
    assert hidden >= 3, "no cat was behind the post: the test shows nothing"


def test_what_is_farther_does_not(tmp_path):
    metres = floor_depth()
    dataset = PhotosDataset(photo_folder(tmp_path, [metres]), size=64, placements=10)
    further = PhotosDataset(photo_folder(tmp_path / "far", [np.where(metres > 4, 9.0, metres)]), size=64, placements=10)
    near = [
        i
        for i in range(len(dataset))
        if dataset.place(i).depth < 3 and repr(dataset.place(i)) == repr(further.place(i))
    ]
    assert all(torch.equal(dataset[i]["mask"], further[i]["mask"]) for i in near)


def test_a_cat_is_always_seen_well_enough(tmp_path):
    """Among many posts, at least 40 % of the cat and 1 % of the picture."""
    metres = floor_depth()
    for left in range(10, 150, 30):
        metres[:, left : left + 9] = np.minimum(metres[:, left : left + 9], 1.0)
    dataset = PhotosDataset(photo_folder(tmp_path, [metres], cats=3), size=128, placements=15)
    area = batch_of(dataset)["mask"].mean((1, 2, 3)).numpy()
    whole = []
    for i in range(len(dataset)):
        place = dataset.place(i)
        whole.append(dataset._shapes[dataset.cat_of(i)].fill * abs(place.width) * place.height)
    assert area.min() >= 0.01
    assert (area / whole).min() >= 0.4
    assert (area / whole).min() < 0.8, "nothing was hidden: the test shows nothing"


def test_cats_stand_on_tables_too(tmp_path):
    up, axis = upwards(pitch=25), (np.arange(SIDE) + 0.5 - SIDE / 2) / FOCAL
    rays = np.stack((*np.meshgrid(axis, axis), np.ones((SIDE, SIDE))))
    top = 0.75 / np.maximum(-np.einsum("i,ihw->hw", up, rays), 1e-9)  # 0.65 m above the floor
    table = (np.abs(rays[0] * top) < 0.6) & (top > 1.1) & (top < 1.9)
    dataset = PhotosDataset(photo_folder(tmp_path, [np.where(table, top, floor_depth())]), size=64, placements=30)
    heights = []
    for i in range(len(dataset)):
        place = dataset.place(i)
        ray = np.array([(place.u - 0.5) * SIDE / FOCAL, (place.v - 0.5) * SIDE / FOCAL, 1])
        heights.append(EYE + up @ ray * place.depth)
    on_table = np.abs(np.array(heights) - 0.65) < 0.05
    assert on_table.sum() >= 10
    assert (on_table | (np.abs(heights) < 0.05)).all()


def test_a_shadow_lies_under_a_standing_cat_only(standing, floating):
    dark = batch_of(standing)
    change = dark["bg_fg"].int() - dark["bg"].int()
    outside = (dark["mask"] == 0).expand_as(change)
    assert (change[outside] <= 0).all()
    for i in range(0, len(standing), 4):
        rows = torch.nonzero((change[i] * outside[i]).amin((0, 2)) < -3)
        assert len(rows) and abs(rows.float().mean().item() / 64 - standing.place(i).v) < 0.1
    bright = batch_of(floating)
    outside = (bright["mask"] == 0).expand_as(bright["bg"])
    assert torch.equal(bright["bg"][outside], bright["bg_fg"][outside])


def test_a_dark_room_dims_its_cats(tmp_path):
    root = photo_folder(tmp_path, [None, None], camera=False)
    for i, grey in enumerate((30, 120)):
        Image.new("RGB", (SIDE, SIDE), (grey, grey, grey)).save(root / f"bg/room_{i}.png")
    dataset = PhotosDataset(root, size=64, placements=2)
    brightness = []
    for room in range(2):
        quartet = dataset[room * len(dataset) // 2]
        brightness.append(quartet["bg_fg"].float()[:, quartet["mask"][0] > 0.9].mean())
    assert 0.5 < brightness[0] / brightness[1] < 0.8


def test_a_room_without_a_surface_gets_floating_cats(tmp_path):
    dataset = PhotosDataset(photo_folder(tmp_path, [np.full((SIDE, SIDE), 2.0), None]), size=64, placements=3)
    assert len(dataset.standing(0)) == 0
    for i in range(len(dataset)):
        assert dataset.place(i).standing == (dataset.room_of(i) == 1)
        check_quartet(dataset[i])


# -- surfaces ---------------------------------------------------------------------------------------------------------

CAMERA = Pinhole(FOCAL / SIDE, FOCAL / SIDE, 0.5, 0.5)


@pytest.mark.parametrize("pitch", [5, 20, 35])
@pytest.mark.parametrize("roll", [-10, 0, 6])
@pytest.mark.parametrize("step", [0.001, 0.039])
def test_gravity_is_found_for_a_camera_held_by_hand(pitch, roll, step):
    metres = (floor_depth(pitch=pitch, roll=roll) / step).round() * step
    surface = find_standing(nearest(metres, GRID), CAMERA)
    error = np.degrees(np.arccos(min(surface.up @ upwards(pitch, roll), 1.0)))
    assert error < (0.5 if step == 0.001 else 2.5)


def test_standing_points_are_on_the_floor_and_not_on_the_wall():
    metres = nearest(floor_depth(), GRID)
    surface = find_standing(metres, CAMERA)
    assert len(surface) > 1000
    assert np.nanmax(np.abs(surface.level + EYE)) < 0.01
    u, v = surface.uv
    seen = metres[(v * GRID).astype(int), (u * GRID).astype(int)]
    assert surface.depth_at(u, v) == pytest.approx(seen, rel=0.02)


def test_unknown_and_rough_depth_carries_nobody():
    metres = nearest(floor_depth(), GRID)
    hole, rough = metres.copy(), metres.copy()
    hole[50:90, 20:60] = 0
    rough[50:90, 20:60] += np.random.default_rng(0).normal(0, 0.1, (40, 40))
    assert np.isnan(find_standing(hole, CAMERA).level[50:90, 20:60]).all()
    assert np.isnan(find_standing(rough, CAMERA).level[60:90, 30:50]).all()  # HIDDEN cells reach in from the rim


def test_the_floor_goes_on_behind_a_chair_and_ends_where_it_is_seen_to_end():
    metres = nearest(floor_depth(), GRID)
    chair, pit = metres.copy(), metres.copy()
    chair[60:, 40:46] = 0.5
    pit[60:, 40:46] = 5.0
    assert np.nanmax(np.abs(find_standing(chair, CAMERA).level[65:90, 40:46] + EYE)) < 0.05
    assert not np.isnan(find_standing(chair, CAMERA).level[65:90, 40:46]).any()
    assert np.isnan(find_standing(pit, CAMERA).level[65:90, 40:46]).all()


# -- floating ---------------------------------------------------------------------------------------------------------


def test_without_depth_only_the_mask_is_known(flat):
    batch = batch_of(flat)
    assert flat.stance == "floating"
    assert not batch["valid"].any() and (batch["depth"] == 0).all() and batch["near_far"].isnan().all()
    assert (batch["mask"].amax((1, 2, 3)) == 1).all()


def test_floating_cats_have_the_published_range_of_sizes(flat):
    sides = [max(abs(p.width), p.height) for p in map(flat.place, range(len(flat)))]
    assert 0.25 <= min(sides) < 0.35 < 0.5 < max(sides) <= 0.6
    assert batch_of(flat)["mask"].mean((1, 2, 3)).min() >= 0.01


def test_a_floating_cat_is_in_front_of_what_it_covers(floating):
    room = torch.from_numpy(nearest(floor_depth(), 64))
    for i in range(len(floating)):
        quartet, place = floating[i], floating.place(i)
        covered = quartet["mask"][0] >= 0.5
        assert 0 < place.depth <= room[covered].min() + 0.1  # 0.1: the grid that decides is not that of the picture
        assert metres_of(quartet)[covered].numpy() == pytest.approx(place.depth, abs=1e-3)


@pytest.mark.parametrize("name", ["standing", "floating", "flat"])
def test_nothing_changes_outside_the_window_in_which_a_cat_is_drawn(request, name, monkeypatch):
    dataset = request.getfixturevalue(name)
    quick = batch_of(dataset)
    monkeypatch.setattr(PhotosDataset, "_window", lambda *_: (slice(0, dataset.size),) * 2)
    assert_same(quick, batch_of(dataset))


def test_flip_mirrors_the_cat_and_not_the_room(floating):
    half = floating.placements
    for i in (0, 1, 2):
        straight, mirrored = floating[i], floating[i + half]
        assert torch.equal(straight["bg"], mirrored["bg"])
        for quartet, red_is_left in ((straight, True), (mirrored, False)):
            red, _, blue = (quartet["bg_fg"].float() * (quartet["mask"] > 0.9)).sum(1)  # over rows: (W,)
            columns = torch.arange(64.0)
            middle_of_red = (columns * (red > blue) * red).sum() / ((red > blue) * red).sum()
            middle_of_blue = (columns * (blue > red) * blue).sum() / ((blue > red) * blue).sum()
            assert (middle_of_red < middle_of_blue) == red_is_left


def test_depth_without_a_lens_floats_with_depth(tmp_path):
    dataset = PhotosDataset(photo_folder(tmp_path, camera=False), size=64, placements=2)
    assert dataset.stance == "floating"
    assert dataset[0]["valid"].all() and dataset[0]["near_far"].isfinite().all()


def test_a_needle_is_drawn_large_enough(tmp_path):
    root = photo_folder(tmp_path, cats=0, depth=False, camera=False)
    cat_picture(12, 200).save(root / "fg/needle.png")
    dataset = PhotosDataset(root, size=96, placements=20)
    assert batch_of(dataset)["mask"].mean((1, 2, 3)).min() >= 0.01


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(200, 150), (150, 200), (161, 160)])
def test_room_mask_and_depth_agree_where_things_are(tmp_path, width, height):
    """A room whose colours and whose depth both tell the coordinates: after crop and resize they still agree."""
    root = photo_folder(tmp_path, [None], camera=False)
    Image.fromarray(room_picture(width, height)).save(root / "bg/room_0.png")
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    np.save(root / "bg_depth/room_0.npy", (2 + u + 2 * v).astype(np.float32))
    (root / "bg_depth/room_0.png").unlink()
    quartet = PhotosDataset(root, size=64, placements=2)[0]
    room = quartet["mask"][0] == 0
    red, green = ((quartet["bg"][c].float() - 40) / 160 for c in (0, 1))
    from_colours = 2 + red + 2 * green
    assert (metres_of(quartet) - from_colours)[room].abs().max() < 0.05
    short = min(width, height)
    centre = (torch.arange(64) + 0.5) / 64
    expected = 0.5 + (centre - 0.5) * short / width
    assert (red[32] - expected).abs().max() < 0.01


def test_the_cut_out_is_drawn_where_it_was_placed(flat):
    for i in range(0, len(flat), 5):
        place, shape, mask = flat.place(i), flat._shapes[flat.cat_of(i)], flat[i]["mask"][0]
        u, v = place.locate(shape)
        inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
        rows, columns = (torch.arange(64.0) + 0.5) / 64, (torch.arange(64.0) + 0.5) / 64
        assert (mask.sum(0) @ columns / mask.sum()).item() == pytest.approx(u[inside].mean(), abs=0.01)
        assert (mask.sum(1) @ rows / mask.sum()).item() == pytest.approx(v[inside].mean(), abs=0.01)


def test_the_lens_follows_crop_and_scale(tmp_path):
    """The same wide room at half the pixels: the cats stand at the same places."""
    wide, places = floor_depth(width=240), []
    for scale in (1, 2):
        root = photo_folder(tmp_path / str(scale), [None])
        Image.fromarray(room_picture(240, SIDE)).resize((240 // scale, SIDE // scale)).save(root / "bg/room_0.png")
        write_depth(root / "bg_depth/room_0.png", wide)
        write_camera(root, size=[240, SIDE], cx=120)
        dataset = PhotosDataset(root, size=64, placements=3)
        places.append([repr(dataset.place(i)) for i in range(len(dataset))])
        assert dataset._cameras[0] == CAMERA
    assert places[0] == places[1]


def test_depth_may_be_at_another_scale_and_never_blends(tmp_path):
    root = photo_folder(tmp_path, [None], camera=False)
    edge = np.where(np.arange(320) < 160, 1.0, 5.0) * np.ones((320, 1))
    write_depth(root / "bg_depth/room_0.png", edge)
    dataset = PhotosDataset(root, size=50, placements=1)
    assert set(dataset._depths.unique().tolist()) == {1.0, 5.0}


def test_unmeasured_depth_is_not_valid_except_under_the_cat(tmp_path):
    metres = floor_depth()
    metres[80:, 60:100] = 0
    metres[:40] = 0
    dataset = PhotosDataset(photo_folder(tmp_path, [metres]), size=160, placements=20)
    seen = 0
    for i in range(len(dataset)):
        quartet = check_quartet(dataset[i])
        cat = quartet["mask"][0] >= 0.5
        assert torch.equal(quartet["valid"][0], torch.from_numpy(metres > 0) | cat)
        assert torch.isfinite(quartet["depth"]).all() and quartet["near_far"][0] > 0.5
        seen += int((cat & torch.from_numpy(metres == 0)).sum())
    assert seen > 0


@pytest.mark.filterwarnings("error")
def test_a_room_of_hardly_any_depth_has_none_and_one_of_none_where_it_is_seen_is_refused(tmp_path):
    metres = np.zeros((SIDE, SIDE))
    metres[1, 1] = 2
    dataset = PhotosDataset(photo_folder(tmp_path / "one", depths=(metres, None)), size=32, placements=1)
    quartet = check_quartet(dataset[0])
    assert not quartet["valid"].any() and quartet["near_far"].isnan().all() and (quartet["mask"] > 0.5).any()
    root = photo_folder(tmp_path / "beside", camera=False)
    wide = np.zeros((SIDE, 2 * SIDE))
    wide[:, : SIDE // 2] = 2
    Image.fromarray(room_picture(2 * SIDE)).save(root / "bg/room_1.png")
    write_depth(root / "bg_depth/room_1.png", wide)
    with pytest.raises(CourseError, match="bg_depth/room_1.png has no measured pixel in its central square"):
        PhotosDataset(root, size=32)


def test_nan_in_npy_depth_is_unmeasured(tmp_path):
    root = photo_folder(tmp_path, [None], camera=False)
    metres = floor_depth().astype(np.float32)
    metres[:20], metres[20:40], metres[40:50] = np.nan, np.inf, -1
    (root / "bg_depth/room_0.png").unlink()
    np.save(root / "bg_depth/room_0.npy", metres)
    quartet = check_quartet(PhotosDataset(root, size=160, placements=1)[0])
    cat = quartet["mask"][0] >= 0.5
    assert torch.equal(quartet["valid"][0][:50], cat[:50]) and quartet["valid"][0][50:].all()


def test_the_unit_of_depth_comes_from_the_camera(tmp_path):
    root = photo_folder(tmp_path, [None])
    Image.fromarray((floor_depth() * 5000).round().astype(np.uint16)).save(root / "bg_depth/room_0.png")
    write_camera(root, depth_unit_m=0.0002)
    dataset = PhotosDataset(root, size=160, placements=1)
    assert dataset._depths[0, 0].numpy() == pytest.approx(floor_depth(), abs=1e-3)


def test_pictures_are_turned_as_their_exif_says(tmp_path):
    root = photo_folder(tmp_path, [None], depth=False, camera=False)
    upright = PhotosDataset(root, size=64, placements=1)[0]["bg"].int()
    exif = Image.Exif()
    exif[0x0112] = 6  # 'turn me clockwise to see me upright'
    Image.fromarray(room_picture()).transpose(Image.Transpose.ROTATE_90).save(root / "bg/room_0.png", exif=exif)
    turned = PhotosDataset(root, size=64, placements=1)[0]["bg"].int()
    assert (upright - turned).abs().max() <= 1
    exif[0x0112] = 9  # there is no such orientation
    Image.fromarray(room_picture()).save(root / "bg/room_0.png", exif=exif)
    assert (upright - PhotosDataset(root, size=64, placements=1)[0]["bg"].int()).abs().max() <= 1
    assert open_folder(root).read_room(root / "bg/room_0.png", 64)[1] == (160, 160)


def test_a_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photo_folder(tmp_path / "mine")
    assert PhotosDataset("~/mine", size=64).rooms == 2


def test_a_large_jpeg_is_decoded_small_without_shifting(tmp_path):
    root = photo_folder(tmp_path, [None], depth=False, camera=False)
    small = PhotosDataset(root, size=64, placements=1)[0]["bg"].int()
    Image.fromarray(room_picture()).resize((1600, 1600), Image.Resampling.BICUBIC).save(
        root / "bg/room_0.jpg", quality=95
    )
    (root / "bg/room_0.png").unlink()
    large = PhotosDataset(root, size=64, placements=1)[0]["bg"].int()
    assert (small - large).abs().max() <= 4


def test_other_names_and_hidden_files(tmp_path):
    root = photo_folder(tmp_path)
    before = PhotosDataset(root, size=64, placements=1)
    for old, new in (("bg", "rooms"), ("fg", "cats"), ("bg_depth", "rooms_depth")):
        (root / old).rename(root / new)
        for junk in (".DS_Store", "Thumbs.db", "._room_0.png"):
            (root / new / junk).write_bytes(b"junk")
    after = PhotosDataset(root, size=64, placements=1)
    assert_same(batch_of(before), batch_of(after))


def test_files_are_in_order_of_their_names(tmp_path):
    root = photo_folder(tmp_path, [None] * 3, cats=3, depth=False, camera=False)
    (root / "bg/room_1.png").rename(root / "bg/a.png")
    assert [path.name for path in open_folder(root).rooms] == ["a.png", "room_0.png", "room_2.png"]


def test_the_rim_of_a_cut_out_loses_its_old_background(tmp_path):
    root = photo_folder(tmp_path, cats=0, depth=False, camera=False)
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 180, 180), fill=(0, 255, 0, 255))  # a rim of green meadow, two pixels wide
    draw.rectangle((22, 22, 178, 178), fill=(200, 100, 50, 255))
    image.save(root / "fg/cat.png")
    cutout = open_folder(root).read_cutout(root / "fg/cat.png")
    assert cutout.shape == (161, 161, 4)
    colour = cutout[..., :3] / np.maximum(cutout[..., 3:], 1e-3)
    assert (colour[cutout[..., 3] > 0.05, 1] < 0.62).all()  # the green of the rim was 1.0
    assert cutout[..., 3].mean() > 0.95


def test_grey_and_palette_pictures_are_read(tmp_path):
    root = photo_folder(tmp_path, depth=False, camera=False)
    Image.fromarray(room_picture()).convert("L").save(root / "bg/room_0.png")
    Image.fromarray(room_picture()).convert("RGBA").save(root / "bg/room_1.png")  # opaque everywhere: a room
    cat_picture().convert("P").save(root / "fg/cat_0.png", transparency=0)
    cat_picture().convert("LA").save(root / "fg/cat_1.png")
    for i in range(0, len(dataset := PhotosDataset(root, size=64, placements=1))):
        check_quartet(dataset[i])


# -- keys -------------------------------------------------------------------------------------------------------------


def test_the_key_names_every_file_and_parameter_and_no_place_on_this_machine(tmp_path):
    root = photo_folder(tmp_path / "here")
    shutil.copytree(root, tmp_path / "there", copy_function=shutil.copyfile)  # without the times of the files
    dataset = PhotosDataset(root, size=64, placements=3)
    key = dataset.key()
    assert key == json.loads(json.dumps(key)) and str(tmp_path) not in json.dumps(key)
    assert key == PhotosDataset(tmp_path / "there", size=64, placements=3).key()
    names = [name for name, _ in key["files"]]
    assert set(names) == {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    others = [dict(size=96), dict(placements=4), dict(seed=1)]
    for change in others:
        assert PhotosDataset(root, **{"size": 64, "placements": 3, **change}).key() != key
    changed = root / "fg/cat_0.png"
    stat, picture = changed.stat(), bytearray(changed.read_bytes())
    picture[-1] ^= 1  # behind all that is decoded: as many bytes at the same time, and yet another file
    changed.write_bytes(picture)
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert PhotosDataset(root, size=64, placements=3).key() != key


# -- what a person gets to read ---------------------------------------------------------------------------------------


def nothing_there(root):
    shutil.rmtree(root)


def other_folders(root):
    for name in ("bg", "fg"):
        (root / name).rename(root / f"my_{name}")


def no_cats(root):
    shutil.rmtree(root / "fg")


def empty_rooms(root):
    for path in (root / "bg").iterdir():
        path.unlink()


def room_among_cats(root):
    Image.fromarray(room_picture()).save(root / "fg/photo.jpg")


def opaque_cat(root):
    Image.fromarray(room_picture()).convert("RGBA").save(root / "fg/square.png")


def invisible_cat(root):
    Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(root / "fg/ghost.png")


def cat_among_rooms(root):
    cat_picture().save(root / "bg/room_0.png")


def depth_among_rooms(root):
    shutil.copy(root / "bg_depth/room_0.png", root / "bg/room_0.png")


def text_among_rooms(root):
    (root / "bg/room_0.png").write_text("I am a note.")


def cut_short(root):
    whole = (root / "fg/cat_1.png").read_bytes()
    (root / "fg/cat_1.png").write_bytes(whole[: len(whole) // 2])


def subfolder(root):
    (root / "bg/holiday").mkdir()


def other_aspect(root):
    write_depth(root / "bg_depth/room_1.png", floor_depth(height=120))


def eight_bit_depth(root):
    Image.fromarray(room_picture()[..., 0]).save(root / "bg_depth/room_1.png")


def empty_depth(root):
    write_depth(root / "bg_depth/room_1.png", 0 * floor_depth())


def depth_of_some(root):
    (root / "bg_depth/room_1.png").unlink()


def pickled_depth(root):
    (root / "bg_depth/room_1.png").unlink()
    np.save(root / "bg_depth/room_1.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def integer_depth(root):
    (root / "bg_depth/room_1.png").unlink()
    np.save(root / "bg_depth/room_1.npy", np.ones((SIDE, SIDE), dtype=np.int32))


def depth_in_floating_point(root):
    Image.fromarray(floor_depth().astype(np.float32)).save(root / "bg_depth/room_1.tiff")
    (root / "bg_depth/room_1.png").unlink()


def packed_depth(root):
    np.savez(root / "bg_depth/room_1.npz", floor_depth())
    (root / "bg_depth/room_1.png").unlink()


def broken_json(root):
    (root / "camera.json").write_text('{"fx": 1,')


def camera_is_a_list(root):
    (root / "camera.json").write_text("[1, 2]")


def camera_without_keys(root):
    (root / "camera.json").write_text('{"size": 160, "fx": 100, "cx": 80, "cy": 80}')


def no_focal_length(root):
    write_camera(root, fy=0)


def focal_length_in_words(root):
    write_camera(root, fx="wide")


def focal_length_is_not_a_number(root):
    write_camera(root, fx=float("nan"))


def three_sizes(root):
    write_camera(root, size=[1, 2, 3])


def camera_of_other_pictures(root):
    write_camera(root, size=[640, 480])


def two_names(root):
    (root / "rooms").mkdir()


def link_to_itself(root):
    (root / "bg/z.png").symlink_to("z.png")


def tiny_room(root):
    for folder in ("bg_depth", "camera.json"):
        shutil.rmtree(root / folder) if (root / folder).is_dir() else (root / folder).unlink()
    Image.fromarray(room_picture(9, 400)).save(root / "bg/room_0.png")


def link_outside(root):
    outside = root.parent / f"{root.name}-outside.png"
    shutil.copy(root / "bg/room_0.png", outside)
    (root / "bg/room_0.png").unlink()
    (root / "bg/room_0.png").symlink_to(outside)


def camera_linked_outside(root):
    outside = root.parent / f"{root.name}-camera.json"
    (root / "camera.json").rename(outside)
    (root / "camera.json").symlink_to(outside)


def huge_picture(root):
    Image.new("1", (8000, 7000)).save(root / "bg/room_0.png")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (nothing_there, ["There is no folder", "bg/", "fg/"]),
        (other_folders, ["needs a folder bg/", "bg_depth, camera.json, my_bg, my_fg"]),
        (no_cats, ["needs a folder fg/", "it holds bg, bg_depth, camera.json"]),
        (empty_rooms, ["bg/ is empty", "at least one picture"]),
        (room_among_cats, ["fg/photo.jpg", "no transparency", "bg/"]),
        (opaque_cat, ["fg/square.png", "opaque everywhere"]),
        (invisible_cat, ["fg/ghost.png", "transparent everywhere"]),
        (cat_among_rooms, ["bg/room_0.png", "looks like a cut-out", "fg/"]),
        (depth_among_rooms, ["bg/room_0.png", "looks like depth", "bg_depth/"]),
        (text_among_rooms, ["bg/room_0.png", "not an image", "JPEG, PNG or WebP"]),
        (cut_short, ["fg/cat_1.png", "damaged or cut short"]),
        (subfolder, ["bg/holiday", "directly into bg/"]),
        (other_aspect, ["bg_depth/room_1.png", "160 x 120", "160 x 160"]),
        (eight_bit_depth, ["bg_depth/room_1.png", "not 16-bit", "millimetres"]),
        (empty_depth, ["bg_depth/room_1.png", "no measured pixel"]),
        (depth_of_some, ["1 of 2 rooms", "room_1.png", "bg_depth/"]),
        (pickled_depth, ["bg_depth/room_1.npy", "not a readable .npy"]),
        (integer_depth, ["bg_depth/room_1.npy", "int32", "metres"]),
        (depth_in_floating_point, ["bg_depth/room_1.tiff", "save depth as 16-bit PNG in millimetres, or as .npy in metres"]),
        (packed_depth, ["bg_depth/room_1.npz", "save depth as 16-bit PNG in millimetres, or as .npy in metres"]),
        (broken_json, ["camera.json is not valid JSON"]),
        (camera_is_a_list, ["camera.json lacks size, fx"]),
        (camera_without_keys, ["camera.json lacks fy, depth_unit_m"]),
        (no_focal_length, ["camera.json", "fy is 0", "positive"]),
        (focal_length_in_words, ["camera.json", "fx is 'wide'"]),
        (focal_length_is_not_a_number, ["camera.json", "fx is nan"]),
        (three_sizes, ["camera.json", "size is [1, 2, 3]"]),
        (camera_of_other_pictures, ["camera.json", "640 x 480", "bg/room_0.png", "160 x 160"]),
        (two_names, ["has bg/ and rooms/", "keep one of them"]),
        (link_to_itself, ["cannot be read"]),
        (tiny_room, ["bg/room_0.png", "9 x 400", "16 on each side"]),
        (link_outside, ["bg/room_0.png", "link"]),
        (camera_linked_outside, ["camera.json", "link"]),
        (huge_picture, ["bg/room_0.png", "8000 x 7000 pixels", "scale it below 50"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_where_and_what_to_do(folder, tmp_path, damage, words):
    root = tmp_path / "photos"
    shutil.copytree(folder, root)
    damage(root)
    with pytest.raises(CourseError) as caught:
        PhotosDataset(root, size=64)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert message.endswith(".") and "\n" not in message and len(message) < 400


def test_a_decompression_bomb_is_refused_before_it_is_decoded(folder, tmp_path, monkeypatch):
    root = tmp_path / "photos"
    shutil.copytree(folder, root)
    huge_picture(root)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("pixels were decoded"))
    with pytest.raises(CourseError, match="megapixels"):
        PhotosDataset(root, size=64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # from twice this on, Pillow itself refuses
    with pytest.raises(CourseError, match="megapixels"):
        PhotosDataset(root, size=64)


def test_a_link_inside_the_folder_is_fine(folder, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(folder, root)
    (root / "bg/room_1.png").unlink()
    shutil.move(root / "bg/room_0.png", root / "kept.png")
    (root / "bg/room_1.png").symlink_to(root / "kept.png")
    (root / "bg_depth/room_0.png").unlink()
    assert PhotosDataset(root, size=64, placements=1).rooms == 1


# -- real photographs -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the real photographs in ../shared/real are not here")
def test_real_rooms_carry_cats():
    dataset = PhotosDataset(REAL, size=64)
    indices = np.random.default_rng(0).integers(len(dataset), size=100)
    batch = dataset.get_batch(indices)
    for i in range(len(indices)):
        check_quartet({name: value[i] for name, value in batch.items()})
    area = batch["mask"].mean((1, 2, 3))
    assert area.min() >= 0.01 and 0.03 < area.mean() < 0.08
    assert np.mean([dataset.place(i).standing for i in indices]) > 0.75
