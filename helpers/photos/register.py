"""Registration: of two photographs taken by hand, the empty room is brought onto the scene's pixels and into its light.

The pictures are never taken from quite the same place, and a camera chooses its exposure anew for each. ORB points
(Rublee et al., 2011) give a first guess of the movement, correlation (ECC, Evangelidis and Psarakis, 2008) refines it
without the pixels that differ most, the cat's among them. Whether the two show one room is told by how many places then
look alike. All of that happens at a bounded size. Deterministic, on the CPU.
"""

from typing import NamedTuple

import cv2
import numpy as np
from torch import nn

from helpers.config import CourseError
from helpers.photos.probe import cat_evidence
from helpers.predict import Picture, predict
from helpers.utils import read_image

LEAST_SIDE = 32  # pixels: smaller pictures hold nothing to align
LONGEST_SHAPE = 8  # times as long as wide: of a longer picture hardly a tile would be looked at
MOST_PIXELS = 13_000_000  # as phones take them, 4080 x 3072; larger ones would take gigabytes and minutes
SIZES = 256, 512  # pixels of the longer side at which the movement is looked for: smaller pictures are enlarged
MATCHES = 15  # fewer agreeing points could agree by chance
FARTHEST = 0.2  # of the diagonal: how far a corner may move before these are two different views
CLIPPED = (8, 245)  # steps of 255: below and above, a camera no longer tells differences
LEFT_OUT = 0.3  # of the pixels, those that differ most: cat, shadow, and what only one picture shows
TEXTURE = 5  # steps of 255: deviation in a tile, an eighth of the picture, below which nothing can be recognised
LIT, DARK = 100, 40  # mean brightness of a picture below which texture is weaker; and of one too dark to be plain
NOISE = 2  # times the deviation of the flattest tiles: what is more was seen by both cameras
ALIKE, LEAST_ALIKE = 0.7, 0.45  # correlation of tiles that look alike; share of them below which rooms differ
FEWEST = 4  # tiles with texture: of fewer nothing can be told, and in the light nothing has to move
CAT_TILES = 0.5  # of the tiles, that a cat and its shadow may take
PARTS_SIZE = 128  # pixels of the longer side at which the parts of what was found are told apart
GHOST, DOUBTFUL = -2.0, 1.0  # log-odds that a cat is in the scene, below which it is in the room, or may be
CLEAR = 0.5  # times as strong in the room as in the scene: below it an outline is the scene's, whatever it is of
CAT_LEFT = 0.25  # of what was found, that must be in the scene, or else the pictures are swapped
FOUND = 0.5, 0.001  # probability, and share of the picture above it, from which there is a cat


class Aligned(NamedTuple):
    """The room as the camera saw it that took the scene."""

    room: np.ndarray  # (H, W, 3) uint8, on the scene's pixels and in its light
    seen: np.ndarray  # (H, W) bool: where the picture of the room reaches
    shift: float  # pixels by which the farthest corner moved


def predict_pair(net: nn.Module, bg: Picture, bg_fg: Picture, **options) -> dict[str, np.ndarray]:
    """:func:`helpers.predict.predict` for a pair taken by hand: registered first, and checked afterwards.

    Mask and depth are those of ``bg_fg`` as it was photographed. The mask is 0 where ``bg`` does not reach, or shows a
    cat of its own. A printed sentence says so, or that there is no cat, or that the mask is doubtful. ``options`` are
    those of ``predict``.

    Returns:
        ``{"mask": (H, W), "depth": (H, W)}`` float32 in [0, 1], and ``"seen"`` (H, W) bool: where both pictures reach.

    Raises:
        CourseError: the pictures differ in size, cannot be read, do not show one room (see :func:`align`), are swapped.
    """
    bg, bg_fg = read_image(bg, "bg"), read_image(bg_fg, "bg_fg")
    if len({bool((picture == picture[..., :1]).all()) for picture in (bg, bg_fg)}) == 2:  # one is black and white: both
        bg, bg_fg = (cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for x in (bg, bg_fg))
    aligned = align(bg, bg_fg)
    room = np.where(aligned.seen[..., None], aligned.room, bg_fg)  # nothing differs where nothing is known of it
    maps = predict(net, room, bg_fg, **options)
    maps["mask"] = without_ghosts(np.where(aligned.seen, maps["mask"], np.float32(0)), room, bg_fg)
    if (lost := 1 - aligned.seen.mean()) > 0.01:
        print(f"The picture of the room misses {lost:.0%} of the scene: no cat is looked for there.")
    if (maps["mask"] > FOUND[0]).mean() < FOUND[1]:
        maps["mask"][:] = 0
        print("No cat was found: neither picture shows one, or both show it in the same place.")
    return {**maps, "seen": aligned.seen}


def without_ghosts(mask: np.ndarray, room: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """``mask`` (H, W) float32, 0 where it shows what is in the aligned ``room`` and not in ``scene``; that is said.

    Pictures differ where a cat is in either of them, and a network that looks at differences finds both. Which of them
    shows it :func:`helpers.photos.probe.cat_evidence` tells; of what is no cat, that means nothing. So what has a clear
    outline in the scene alone stays.

    Raises:
        CourseError: hardly anything is left of the mask: the pictures are swapped.
    """
    size = [max(1, round(side * PARTS_SIZE / max(mask.shape))) for side in mask.shape[::-1]]
    small, *pictures = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (mask, room, scene))
    smooth = (cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1) for picture in pictures)
    in_room, in_scene = (np.hypot(cv2.Sobel(x, -1, 1, 0), cv2.Sobel(x, -1, 0, 1)).sum(-1) for x in smooth)
    count, parts = cv2.connectedComponents((small > FOUND[0]).astype(np.uint8))
    evidence, near = cat_evidence(room, scene), np.ones((3, 3), np.uint8)
    ghosts, doubtful = np.zeros(small.shape, np.uint8), False
    for part in (np.uint8(parts == number) for number in range(1, count)):
        if part.mean() < FOUND[1]:
            continue
        share = cv2.resize(part.astype(np.float32), evidence.shape[::-1], interpolation=cv2.INTER_AREA)
        odds = (evidence * share).sum() / share.sum()
        outline = cv2.morphologyEx(part, cv2.MORPH_GRADIENT, near) > 0
        clear = in_room[outline].sum() < CLEAR * in_scene[outline].sum()
        if odds < GHOST and not clear:
            ghosts |= cv2.dilate(part, near)
        doubtful |= odds < DOUBTFUL and not clear
    left = np.where(cv2.resize(ghosts, mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0, np.float32(0), mask)
    if ghosts.any() and (left > FOUND[0]).sum() < CAT_LEFT * (mask > FOUND[0]).sum():
        raise CourseError("The two pictures seem to be swapped: the cat is in the one that was given as the room. "
                          "Give the empty room first, and then the same view with the cat.")  # fmt: skip
    if ghosts.any():
        print("The picture of the room seems to show a cat, too, or something else that the other one does not: "
              "take it again without. That place is left out of the mask.")  # fmt: skip
    elif doubtful:
        print("The mask is doubtful: a part of it looks hardly more like a cat in the picture with the cat than in the "
              "other. Perhaps there is no cat, or one in both, or the pictures are swapped.")  # fmt: skip
    return left


def align(room: np.ndarray, scene: np.ndarray) -> Aligned:
    """Bring the empty room onto the scene's pixels and into its light; both are (H, W, 3) uint8.

    Raises:
        CourseError: pictures of different size, too small or too large, of different rooms, or of views too far apart.
    """
    for name, picture in (("The room", room), ("The picture with the cat", scene)):
        kind = getattr(picture, "dtype", None) == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        if not kind or min(picture.shape[:2]) < LEAST_SIDE:
            what = f"{getattr(picture, 'shape', type(picture).__name__)} of {getattr(picture, 'dtype', 'no numbers')}"
            least = f"{LEAST_SIDE} pixels high and wide, at least"
            raise CourseError(f"{name} must be an array (H, W, 3) of uint8, {least}, and is {what}.")
    if room.shape != scene.shape:
        turned = room.shape[:2] == scene.shape[1::-1]
        raise CourseError(
            f"The room is {room.shape[1]} x {room.shape[0]} pixels, the picture with the cat {scene.shape[1]} x "
            f"{scene.shape[0]}: {'turn one of them' if turned else 'hold the camera alike for both, or crop them alike'}."
        )
    if max(scene.shape[:2]) > LONGEST_SHAPE * min(scene.shape[:2]):
        raise CourseError(
            f"The pictures are {scene.shape[1]} x {scene.shape[0]} pixels: crop both alike, to less than "
            f"{LONGEST_SHAPE} times as long as wide."
        )
    if scene.shape[0] * scene.shape[1] > MOST_PIXELS:
        what = f"{scene.shape[1]} x {scene.shape[0]} pixels, which takes too much memory here"
        how = "read them with helpers.photos.builder.read_photo, which scales them down"
        raise CourseError(f"The pictures are {what}: {how}.")
    longer = max(scene.shape)
    scale = float(np.clip(longer, *SIZES)) / longer
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = [cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=how)
             for picture in (room, scene)]  # fmt: skip
    matrix = _movement(*small, longer >= SIZES[0])
    if not _show_one_room(*small, matrix):
        raise CourseError(
            "The two pictures do not show the same view: these are two rooms, or the camera moved by more than "
            f"{FARTHEST:.0%} of the picture, or it is too dark to tell. Take both from the same place, with the phone "
            "leaning on something."
        )
    larger = _scaling(1 / scale)
    matrix = larger @ matrix @ np.linalg.inv(larger)
    moved, seen = _warp(room, matrix), _warp(np.full(room.shape[:2], 255, np.uint8), matrix, cv2.BORDER_CONSTANT) == 255
    matched = _in_light_of(moved, scene, seen)
    # What the camera saw as white or black may have been whiter or blacker still, as the scene says.
    matched = np.where(moved > CLIPPED[1], np.maximum(matched, scene), matched)
    matched = np.where(moved < CLIPPED[0], np.minimum(matched, scene), matched)
    return Aligned(matched, seen, _farthest(matrix, scene.shape))


def _movement(room: np.ndarray, scene: np.ndarray, sharp: bool) -> np.ndarray:
    """The homography from the pixels of ``scene`` to those of ``room``, both (H, W) uint8, that leaves least over."""
    def best_of(*guesses: np.ndarray | None) -> np.ndarray:
        known = [guess for guess in guesses if guess is not None]
        return min(known, key=lambda matrix: _left_over(room, scene, matrix)[0])

    coarse = _scaling(1 / 8)
    eighths = (cv2.resize(picture, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA) for picture in (room, scene))
    roughly = np.linalg.inv(coarse) @ _refined(*eighths, np.eye(3), cv2.MOTION_AFFINE) @ coarse
    best = best_of(np.eye(3), _from_matches(room, scene), roughly)
    # Small or enlarged pictures do not tell the last two of eight numbers: they would be fitted to the noise.
    for motion in (cv2.MOTION_AFFINE, cv2.MOTION_HOMOGRAPHY if sharp else cv2.MOTION_AFFINE):
        best = best_of(best, _refined(room, scene, best, motion, _left_over(room, scene, best)[1]))
    return best


def _scaling(scale: float) -> np.ndarray:
    """From a picture's pixels to those of one ``scale`` times as large; OpenCV counts from pixel centres."""
    return np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])


def _farthest(matrix: np.ndarray, shape: tuple[int, ...]) -> float:
    """Pixels by which the farthest corner moves."""
    height, width = shape[:2]
    corners = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], dtype=np.float64)
    return float(np.linalg.norm(cv2.perspectiveTransform(corners, matrix) - corners, axis=-1).max())


def _warp(picture: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """``picture`` where ``matrix``, from the scene's pixels to the room's, says that it was."""
    size = picture.shape[1::-1]
    return cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)


def _from_matches(room: np.ndarray, scene: np.ndarray) -> np.ndarray | None:
    """The homography on which most matching ORB points agree (Rublee et al., 2011); None if too few do."""
    finder = cv2.ORB_create(nfeatures=1500, edgeThreshold=16, fastThreshold=8)
    (room_points, room_codes), (scene_points, scene_codes) = (finder.detectAndCompute(x, None) for x in (room, scene))
    if room_codes is None or scene_codes is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(scene_codes, room_codes)
    if len(matches) < MATCHES:
        return None
    start = np.float32([scene_points[match.queryIdx].pt for match in matches])
    end = np.float32([room_points[match.trainIdx].pt for match in matches])
    cv2.setRNGSeed(0)
    matrix, agree = cv2.findHomography(start, end, cv2.RANSAC, 3.0, maxIters=5000)
    return matrix if matrix is not None and agree.sum() >= MATCHES else None


def _refined(room: np.ndarray, scene: np.ndarray, matrix: np.ndarray, motion: int,
             mask: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """``matrix`` improved below a pixel by correlating the pictures where ``mask``, on the room's pixels, is not 0."""
    rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    start = (matrix / matrix[2, 2]).astype(np.float32)[:rows].copy()
    try:
        found = cv2.findTransformECC(scene, room, start, motion, stop, mask, 5)[1].astype(np.float64)
    except cv2.error:  # it did not converge: pictures without texture, or without overlap
        return matrix
    return found if rows == 3 else np.vstack((found, [0, 0, 1]))


def _left_over(room: np.ndarray, scene: np.ndarray, matrix: np.ndarray) -> tuple[float, np.ndarray | None]:
    """Mean difference under ``matrix`` without the share ``LEFT_OUT``, and a mask without it, on the room's pixels."""
    seen = _warp(np.full_like(room, 255), matrix, border=cv2.BORDER_CONSTANT) == 255
    if seen.mean() < 0.5 or _farthest(matrix, scene.shape) > FARTHEST * np.hypot(*scene.shape):
        return np.inf, None
    moved = _in_light_of(_warp(room, matrix)[..., None], scene[..., None], seen)[..., 0]
    difference = cv2.GaussianBlur(cv2.absdiff(moved, scene), (0, 0), 1.5)
    most = np.sort(difference[seen])[: int((1 - LEFT_OUT) * seen.sum())]
    same = np.where(seen & (difference > max(most[-1], 3)), 0, 255).astype(np.uint8)
    return float(most.mean()), _warp(cv2.erode(same, np.ones((3, 3), np.uint8)), np.linalg.inv(matrix))


def _show_one_room(room: np.ndarray, scene: np.ndarray, matrix: np.ndarray) -> bool:
    """Whether enough of the tiles with texture look alike under ``matrix``; pictures without texture may pass."""
    side = max(room.shape) // 8
    seen = _warp(np.full_like(room, 255), matrix, border=cv2.BORDER_CONSTANT) == 255
    sigma = max(room.shape) / 128
    a, b = (cv2.GaussianBlur(x.astype(np.float32), (0, 0), sigma) for x in (_warp(room, matrix), scene))

    def tiles(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (side, side))[side // 2 :: side // 2, side // 2 :: side // 2]

    spreads = [np.sqrt((tiles(x * x) - tiles(x) ** 2).clip(0)) for x in (a, b)]
    # Not 0: of a flat tile rounding would decide.
    alike = (tiles(a * b) - tiles(a) * tiles(b)) > ALIKE * np.maximum(spreads[0] * spreads[1], 0.1)
    seen = seen[side // 2 :: side // 2, side // 2 :: side // 2]
    # What the flattest tiles hold is noise, which in the dark is most of a picture; or texture, where all have it.
    for times in (NOISE, 0):
        least = (max(TEXTURE * min(x.mean() / LIT, 1), times * np.quantile(spread[seen], 0.1))
                 for x, spread in zip((a, b), spreads))  # fmt: skip
        in_room, in_scene = ((spread > value) & seen for spread, value in zip(spreads, least))
        textured = in_room | in_scene
        # A cat before a plain wall has all the texture: so much is granted to it.
        count = max(in_room.sum(), textured.sum() - CAT_TILES * textured.size)
        if count >= FEWEST:
            return (alike & textured).sum() >= LEAST_ALIKE * count
    return min(a.mean(), b.mean()) > DARK


def _in_light_of(room: np.ndarray, scene: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """``room`` (H, W, C) with one gain and offset for each colour, fitted where the pictures agree best."""
    usable = seen.copy()
    for picture in (room, scene):
        usable &= (picture >= CLIPPED[0]).all(-1) & (picture <= CLIPPED[1]).all(-1)
    step = max(1, usable.sum() // 50_000)
    sigma = max(room.shape) / 64  # averaged, as noise in the room flattens the line that is fitted
    smooth = (cv2.GaussianBlur(picture, (0, 0), sigma).reshape(picture.shape) for picture in (room, scene))
    x, y = (picture[usable][::step].astype(np.float64) for picture in smooth)  # (N, C)
    if len(x) < 100:
        return room
    matched = np.empty(room.shape, dtype=np.float32)
    for channel in range(room.shape[-1]):
        a, b = x[:, channel], y[:, channel]
        gain, offset = np.median(b) / max(np.median(a), 1), 0.0
        for share in (0.8, 0.6, 0.6):  # ever fewer pixels of the cat take part
            error = np.abs(gain * a + offset - b)
            best = error <= np.quantile(error, share)
            spread = a[best].var()
            if spread > 1:
                gain = np.clip(np.cov(a[best], b[best], bias=True)[0, 1] / spread, 0.4, 2.5)
            offset = b[best].mean() - gain * a[best].mean()
        matched[..., channel] = gain * room[..., channel] + offset
    return matched.round().clip(0, 255).astype(np.uint8)
