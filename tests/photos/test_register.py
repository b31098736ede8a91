"""A pair taken by hand is registered before the network looks at it; two rooms are refused."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.config import CourseError
from helpers.photos import predict_pair
from helpers.photos.register import MOST_PIXELS, align, without_ghosts
from helpers.rendering.dataset import RoomsDataset

SIZE, ROOMS = 128, 7


@pytest.fixture(scope="module")
def pairs():
    """Rendered rooms and the same with a cat."""
    dataset = RoomsDataset(SIZE, ROOMS, cats=1, placements=1)
    indices = [next(i for i in range(len(dataset)) if dataset.address(i).room == room) for room in range(ROOMS)]
    return [[dataset[i][key].permute(1, 2, 0).numpy() for key in ("bg", "bg_fg")] for i in indices]


def moved(picture, angle, scale, x, y):
    matrix = cv2.getRotationMatrix2D(((SIZE - 1) / 2, (SIZE - 1) / 2), angle, scale) + [[0, 0, x], [0, 0, y]]
    return cv2.warpAffine(picture, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE), matrix


def farthest(matrix):
    corners = np.array([[0, 0, 1], [SIZE, 0, 1], [0, SIZE, 1], [SIZE, SIZE, 1]])
    return np.linalg.norm(corners @ matrix.T - corners[:, :2], axis=1).max()


def test_a_known_movement_is_found_behind_the_cat_and_undone(pairs):
    errors = []
    for number, (room, scene) in enumerate(pairs):
        by_hand, matrix = moved(room, 2 - number % 5, 1 + 0.01 * (number % 3 - 1), 7 - 2 * number, number)
        aligned = align(np.uint8(by_hand * 0.7), scene)
        errors.append(abs(aligned.shift - farthest(matrix)))
        assert 0.75 < aligned.seen.mean() <= 1
    assert np.median(errors) < 0.5 and max(errors) < 1.5, errors


@pytest.mark.slow
def test_two_rooms_are_never_taken_for_one(pairs):
    for first in range(ROOMS):
        for second in range(ROOMS):
            if first != second:  # 42 pairs
                with pytest.raises(CourseError, match="do not show the same view"):
                    align(pairs[first][0], pairs[second][1])


class Difference(nn.Module):
    """A network that finds the cat where the pictures differ, and looks at nothing else."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, bg, bg_fg):
        different = (bg - bg_fg).abs().amax(1, keepdim=True) > 0.15
        return different * 8.0 - 4, self.weight * different


def test_the_mask_is_zero_where_the_room_is_not_seen(pairs, capsys):
    room, scene = pairs[0]
    maps = predict_pair(Difference(), moved(room, 0, 1, 7, 0)[0], scene, size=SIZE)
    assert 0.02 < (~maps["seen"]).mean() < 0.15 and (maps["mask"][~maps["seen"]] == 0).all()
    assert maps["mask"].shape == maps["depth"].shape == (SIZE, SIZE) and maps["mask"].dtype == np.float32
    assert "misses" in capsys.readouterr().out and (maps["mask"] > 0.5).mean() > 0.005


def test_no_cat_is_said(pairs, capsys):
    maps = predict_pair(Difference(), pairs[0][0], pairs[0][0], size=SIZE)
    assert (maps["mask"] == 0).all() and "No cat was found" in capsys.readouterr().out


def test_the_dark_is_told_from_another_room(pairs):
    """At a twelfth of the light, noise is nearly all of most tiles: it hides no room, and makes no two rooms alike."""
    random = np.random.default_rng(0)
    rooms, scenes = (
        [(pair[which] * 0.08 + random.normal(0, 2, pair[which].shape)).round().clip(0, 255).astype(np.uint8)
         for pair in pairs] for which in (0, 1)
    )  # fmt: skip
    for number in range(3):
        assert align(rooms[number], scenes[number]).seen.mean() > 0.9
    for number in range(4):
        with pytest.raises(CourseError, match="too dark to tell"):
            align(rooms[number], scenes[number + 3])


def test_nothing_is_told_of_black_pictures_and_plain_walls_may_pass():
    for light in (0, 10):
        with pytest.raises(CourseError, match="too dark to tell"):
            align(*np.full((2, SIZE, SIZE, 3), light, np.uint8))
    assert align(*np.full((2, SIZE, SIZE, 3), 120, np.uint8)).shift == 0


@pytest.mark.parametrize("light", [10, 60, 127, 200, 255])
def test_a_picture_of_one_colour_is_no_room_with_texture_everywhere(light):
    plain = np.full((SIZE, SIZE, 3), light, np.uint8)
    coarse = np.random.default_rng(light).integers(0, 256, (SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    for pair in ((plain, scene), (scene, plain)):
        with pytest.raises(CourseError, match="do not show the same view"):
            align(*pair)


def test_where_one_picture_is_black_and_white_so_is_the_other(pairs):
    room, scene = pairs[0]
    grey = [np.asarray(Image.fromarray(picture).convert("L").convert("RGB")) for picture in (room, scene)]
    expected = predict_pair(Difference(), *grey, size=SIZE)["mask"]
    assert (expected > 0.5).mean() > 0.005
    for pair in ((grey[0], scene), (room, grey[1])):
        np.testing.assert_allclose(predict_pair(Difference(), *pair, size=SIZE)["mask"], expected, atol=1e-4)


def test_what_helps_against_pictures_of_two_shapes_is_told(pairs):
    room, scene = pairs[0]
    for other, words in ((room[:90].swapaxes(0, 1), "turn one of them"), (room[:80], "crop them alike")):
        with pytest.raises(CourseError, match=words):
            align(other, scene[:90])


def test_a_swapped_pair_is_told_by_the_cats_outline(pairs, capsys):
    for room, scene in pairs[:5:2]:
        assert (predict_pair(Difference(), room, scene, size=SIZE)["mask"] > 0.5).mean() > 0.005
        assert capsys.readouterr().out == ""
        with pytest.raises(CourseError, match="seem to be swapped.*Give the empty room first"):
            predict_pair(Difference(), scene, room, size=SIZE)


def test_a_cat_in_both_pictures_is_said_and_only_the_scenes_is_found(capsys):
    dataset = RoomsDataset(SIZE, 1, cats=3, placements=1)
    quartets = [dataset[index] for index in (0, 4)]  # apart in the room
    (other, scene), (_, mask) = ([quartet[key].numpy() for quartet in quartets] for key in ("bg_fg", "mask"))
    theirs = quartets[0]["mask"][0].numpy() > 0.5
    maps = predict_pair(Difference(), other.transpose(1, 2, 0), scene.transpose(1, 2, 0), size=SIZE)
    assert "seems to show a cat, too" in capsys.readouterr().out
    assert (maps["mask"][theirs] > 0.5).mean() < 0.05 and (maps["mask"][mask[0] > 0.5] > 0.5).mean() > 0.5


def test_a_mask_without_an_outline_of_its_own_is_doubtful(pairs, capsys):
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[60:100, 30:70] = 0.9
    assert (without_ghosts(mask, pairs[0][0], pairs[0][0]) == mask).all()
    assert "The mask is doubtful" in capsys.readouterr().out


def test_a_phones_twelve_megapixels_are_taken():
    width, height = 4032, 3024
    row = (np.arange(width) % 250).astype(np.uint8)
    picture = np.broadcast_to(row[None, :, None], (height, width, 3)).copy()
    with pytest.raises(CourseError) as refused:
        align(picture, np.concatenate((picture, picture[:100])))  # too large, and of another shape
    assert "memory" not in str(refused.value)
    assert width * height < MOST_PIXELS


@pytest.mark.parametrize("shape", [(32, 512), (2000, 64), (32, 9000)])
def test_a_strip_is_refused(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with pytest.raises(CourseError, match="crop both alike, to less than 8 times as long as wide"):
        align(picture, picture.copy())


def test_noise_does_not_flatten_the_light_that_is_matched(pairs):
    room, scene = pairs[3]
    dark = (room * 0.6 + np.random.default_rng(0).normal(0, 20, room.shape)).round().clip(0, 255).astype(np.uint8)
    aligned, darkest, brightest = align(dark, scene), room.mean(-1) < 100, room.mean(-1) > 200
    for light in (darkest, brightest):
        assert light.mean() > 0.02 and abs(aligned.room[light].mean() - room[light].mean()) < 8


def test_a_cat_where_the_room_ends_has_no_outline_in_the_room(pairs, capsys):
    room, scene = pairs[4]
    maps = predict_pair(Difference(), moved(room, 0, 1, 0, 10)[0], scene, size=SIZE)
    assert maps["seen"][-11:].mean() < 0.2 and (maps["mask"] > 0.5).mean() > 0.01
    assert "misses" in (said := capsys.readouterr().out) and "seems to show" not in said
