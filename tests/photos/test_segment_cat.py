"""A cat is cut out of two photographs that were taken by hand; pairs that cannot work are refused in words."""

import cv2
import numpy as np
import pytest

from helpers.config import CourseError
from helpers.demos.phone_pairs import handheld
from helpers.photos.register import align
from helpers.photos.segment_cat import cut_out, differences
from helpers.rendering.dataset import RoomsDataset

SIZE = 256


@pytest.fixture(scope="module")
def pairs():
    """Rendered rooms, the same with a cat, and the cat's true mask."""
    dataset = RoomsDataset(SIZE, rooms=4, cats=4, placements=1)
    found = []
    for index in range(0, len(dataset), 9):  # another room and another cat each time
        quartet = dataset[index]
        room, scene = (quartet[key].permute(1, 2, 0).numpy() for key in ("bg", "bg_fg"))
        found.append((room, scene, quartet["mask"][0].numpy() >= 0.5))
    return found


def dice(found, true):
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def textured(seed=0, height=200, width=260):
    """A room of random rectangles: corners everywhere."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 120, np.uint8)
    for _ in range(120):
        x, y, w, h = rng.integers([0, 0, 8, 8], [width, height, 50, 50])
        picture[y : y + h, x : x + w] = rng.integers(30, 220, 3)
    return picture


def with_cat(room, box=(60, 140, 90, 170), colour=(235, 20, 240)):
    scene = room.copy()
    top, bottom, left, right = box
    scene[top:bottom, left:right] = colour
    return scene


@pytest.mark.parametrize("angle, x, y", [(0, 0, 0), (0, 5, -3), (1.5, -6, 4)])
def test_alignment_finds_the_movement(angle, x, y):
    room = textured()
    height, width = room.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix[:, 2] += x, y
    moved = cv2.warpAffine(room, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    aligned = align(moved, with_cat(room))
    same = aligned.seen.copy()
    same[55:145, 85:175] = False
    before = cv2.absdiff(moved, room)[same].mean()
    after = cv2.absdiff(aligned.room, room)[same].mean()
    assert after < 4.5 and (after < before / 4 or before < 1)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    expected = np.linalg.norm(corners @ matrix.T - corners[:, :2], axis=1).max()
    assert aligned.shift == pytest.approx(expected, abs=0.7)


def test_exposure_is_matched_and_the_cat_does_not_count():
    room = textured()
    brighter = np.uint8((room * [1.15, 1.1, 1.05] + 4).clip(0, 255))
    aligned = align(brighter, with_cat(room))
    assert np.abs(aligned.room.astype(int) - room).mean() < 1.5
    difference = differences(aligned, with_cat(room))
    assert difference[70:130, 100:160].min() > 60
    assert np.quantile(difference[:50], 0.99) < 6


def test_a_cat_in_a_pair_from_the_hand_is_cut_out(pairs):
    scores = []
    for number, (room, scene, true) in enumerate(pairs):
        rgba = cut_out(handheld(room, number), scene)
        assert rgba.shape == (SIZE, SIZE, 4) and rgba.dtype == np.uint8
        assert (rgba[..., :3] == scene).all(), "the colours are the scene's own"
        scores.append(dice(rgba[..., 3] >= 128, true))
        assert 0 < ((rgba[..., 3] > 10) & (rgba[..., 3] < 245)).mean() < 0.1, (
            "the outline is soft, and only the outline"
        )
    assert np.mean(scores) > 0.9 and min(scores) > 0.8, scores


def test_plain_subtraction_would_not_do(pairs):
    plain = []
    for number, (room, scene, true) in enumerate(pairs):
        plain.append(dice(cv2.absdiff(handheld(room, number), scene).max(-1) > 20, true))
    assert np.mean(plain) < 0.6, "else alignment would prove nothing"


def test_the_same_pair_gives_the_same_cut(pairs):
    room, scene, _ = pairs[0]
    assert (cut_out(handheld(room, 5), scene) == cut_out(handheld(room, 5), scene)).all()


def test_a_shadow_is_no_cat():
    room = cv2.GaussianBlur(textured(3), (0, 0), 1)
    scene = room.astype(np.float32)
    scene[130:150, 60:200] *= 0.62
    scene = with_cat(scene.round().astype(np.uint8))
    alpha = cut_out(room, scene)[..., 3] >= 128
    true = np.zeros_like(alpha)
    true[60:140, 90:170] = True
    assert dice(alpha, true) > 0.95
    assert alpha[142:150, 60:200].mean() < 0.05


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda room: room, "Nothing differs"),
        (lambda room: np.uint8((room * 0.8).round()), "Nothing differs"),
        (lambda room: textured(9), "differ nearly everywhere|scattered|moved by"),
        (lambda room: np.roll(room, 130, 1), "differ nearly everywhere|scattered|moved by"),
        (lambda room: room[:, :-4].copy(), "256 x 200|260 x 200"),
    ],
    ids=["the same file", "darker only", "another room", "another view", "another size"],
)
def test_pairs_that_cannot_work_are_refused(change, words):
    room = textured()
    with pytest.raises(CourseError, match=words):
        cut_out(room, change(room))


def test_a_swapped_pair_is_no_cat_but_a_piece_of_the_room(pairs):
    room, scene, _ = pairs[0]
    with pytest.raises(CourseError, match="seem to be swapped"):
        cut_out(scene, handheld(room, 5))


def test_walls_without_any_texture_are_no_obstacle():
    room = np.full((160, 200, 3), (180, 170, 150), np.uint8)
    rgba = cut_out(room, with_cat(room, (50, 110, 60, 130), (90, 60, 40)))
    true = np.zeros(room.shape[:2], bool)
    true[50:110, 60:130] = True
    assert dice(rgba[..., 3] >= 128, true) > 0.95


def test_a_cat_at_the_edge_that_the_rooms_picture_misses_is_still_found():
    room = textured(4)
    moved = cv2.warpAffine(room, np.float32([[1, 0, 6], [0, 1, 0]]), room.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    scene = with_cat(room, (60, 140, 190, 260))
    alpha = cut_out(moved, scene)[..., 3] >= 128
    assert alpha[70:130, -3:].mean() > 0.9


def test_what_was_overexposed_is_no_difference():
    room = textured(5)
    room[20:80, 150:230] = 255  # a window: white in both pictures, whatever the exposure
    darker = (room * 0.82).round().astype(np.uint8)
    darker[room == 255] = 255
    scene = with_cat(darker, (90, 160, 60, 140))
    aligned = align(room, scene)
    assert np.quantile(differences(aligned, scene)[25:75, 155:225], 0.99) < 10
    true = np.zeros(room.shape[:2], bool)
    true[90:160, 60:140] = True
    assert dice(cut_out(room, scene)[..., 3] >= 128, true) > 0.95


def test_pictures_that_would_take_gigabytes_are_refused():
    large = np.zeros((3700, 3700, 3), np.uint8)
    with pytest.raises(CourseError, match="3700 x 3700 pixels, which takes too much memory here: read them with"):
        cut_out(large, large)


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_black_and_white_is_refused(pairs, which):
    pair = list(pairs[0][:2])
    for i in which:
        pair[i] = cv2.cvtColor(cv2.cvtColor(pair[i], cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    with pytest.raises(CourseError, match="black and white: take both in colour"):
        cut_out(*pair)
