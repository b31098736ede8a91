"""Cutting a cat out of two photographs: the empty room, and the same view with the cat, taken from nearly one place.

Two pictures taken by hand are never aligned, and a camera chooses its exposure anew for each. So the room is first
aligned with the scene and brought into its light; what differs then is cat, shadow, or mistake. GrabCut (Rother et al.,
2004) finds the outline between what certainly differs and what certainly does not. Deterministic, on the CPU.
"""

from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from helpers.config import CourseError

LEAST_SIDE = 32  # pixels: smaller pictures hold nothing to align
MOST_PIXELS = 12_000_000  # larger ones would take gigabytes and minutes
MATCHES = 15  # fewer agreeing points could agree by chance
FARTHEST = 0.2  # of the diagonal: how far a corner may move before these are two different views
CLIPPED = (8, 245)  # steps of 255: below and above, a camera no longer tells differences
COARSE = 512  # pixels of the longer side at which the alignment is refined
LEAST_DIFFERENCE = 14  # steps of 255; the sensor's noise stays below
NOISE = 7  # times the median difference: what counts is above
NOISIEST = 10  # steps of 255: where the median difference is larger, hardly a pixel has found its partner
LEAST_SHARE, LARGEST_SHARE = 0.002, 0.5  # of the picture, that a cat may take
SCATTERED = 0.4  # if less than this share of what differs is in one piece, it is no cat
SHADOW = (0.4, 0.97)  # light that is left in a shadow, alike in all colours to within SHADOW_TINT
SHADOW_TINT = 0.025
LEAST_AGREEMENT = 0.5  # intersection over union of GrabCut's mask and the difference; below it GrabCut got lost


class Aligned(NamedTuple):
    """The room as the camera saw it that took the scene."""

    room: np.ndarray  # (H, W, 3) uint8, on the scene's pixels and in its light
    seen: np.ndarray  # (H, W) bool: where the picture of the room reaches
    shift: float  # pixels by which the farthest corner moved


def align(room: np.ndarray, scene: np.ndarray) -> Aligned:
    """Align the empty room with the scene, both (H, W, 3) uint8, and match its exposure.

    Raises:
        CourseError: pictures of different size, too large, or of views too far apart.
    """
    for name, picture in (("The room", room), ("The picture with the cat", scene)):
        kind = getattr(picture, "dtype", None) == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        if not kind or min(picture.shape[:2]) < LEAST_SIDE:
            what = f"{getattr(picture, 'shape', type(picture).__name__)} of {getattr(picture, 'dtype', 'no numbers')}"
            least = f"{LEAST_SIDE} pixels high and wide, at least"
            raise CourseError(f"{name} must be an array (H, W, 3) of uint8, {least}, and is {what}.")
    if room.shape != scene.shape:
        raise CourseError(
            f"The room is {room.shape[1]} x {room.shape[0]} pixels, the picture with the cat "
            f"{scene.shape[1]} x {scene.shape[0]}: hold the camera alike for both, or crop them alike."
        )
    if scene.shape[0] * scene.shape[1] > MOST_PIXELS:
        what = f"{scene.shape[1]} x {scene.shape[0]} pixels, which takes too much memory here"
        raise CourseError(f"The pictures are {what}: read them with helpers.photos.builder.read_photo, which scales them down.")
    room_grey, scene_grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (room, scene))
    guesses = [np.eye(3)]
    if (matched := _from_matches(room_grey, scene_grey)) is not None:
        guesses.append(matched)
    left_over = partial(_left_over, room_grey, scene_grey)
    best = min(guesses, key=left_over)
    best = min((best, _refined(room_grey, scene_grey, best)), key=left_over)
    height, width = scene_grey.shape
    corners = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], dtype=np.float64)
    shift = float(np.linalg.norm(cv2.perspectiveTransform(corners, best) - corners, axis=-1).max())
    if shift > FARTHEST * np.hypot(width, height):
        raise CourseError(
            f"Between the two pictures the camera moved by {shift / np.hypot(width, height):.0%} of the picture: "
            "take both from the same place, with the phone leaning on something."
        )
    moved, seen = _warp(room, best), _warp(np.full_like(room_grey, 255), best, border=cv2.BORDER_CONSTANT) == 255
    matched = _in_light_of(moved, scene, seen)
    # What the camera saw as white or black may have been whiter or blacker still, as the scene says.
    matched = np.where(moved > CLIPPED[1], np.maximum(matched, scene), matched)
    matched = np.where(moved < CLIPPED[0], np.minimum(matched, scene), matched)
    return Aligned(matched, seen, shift)


def _warp(picture: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """``picture`` where ``matrix``, from the scene's pixels to the room's, says that it was."""
    size = picture.shape[1::-1]
    return cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)


def _from_matches(room: np.ndarray, scene: np.ndarray) -> np.ndarray | None:
    """The homography on which most matching ORB points agree (Rublee et al., 2011); None if too few do."""
    finder = cv2.ORB_create(nfeatures=3000, fastThreshold=8)
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


def _refined(room: np.ndarray, scene: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``matrix`` improved below a pixel by correlating the pictures (ECC, Evangelidis and Psarakis, 2008)."""
    scale = min(1.0, COARSE / max(scene.shape))
    offset = (scale - 1) / 2  # OpenCV counts from pixel centres
    shrink = np.array([[scale, 0, offset], [0, scale, offset], [0, 0, 1]])
    small = (cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for x in (scene, room))
    start = (shrink @ matrix @ np.linalg.inv(shrink)).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-5)
    try:
        _, found = cv2.findTransformECC(*small, start, cv2.MOTION_HOMOGRAPHY, stop, None, 5)
    except cv2.error:  # it did not converge: pictures without texture, or without overlap
        return matrix
    return np.linalg.inv(shrink) @ found.astype(np.float64) @ shrink


def _left_over(room: np.ndarray, scene: np.ndarray, matrix: np.ndarray) -> float:
    """Mean difference that is left under ``matrix``, without the fifth of the pixels where a cat may be."""
    seen = _warp(np.full_like(room, 255), matrix, border=cv2.BORDER_CONSTANT) == 255
    if seen.mean() < 0.5:
        return np.inf
    moved = _in_light_of(_warp(room, matrix)[..., None], scene[..., None], seen)[..., 0]
    difference = np.sort(cv2.absdiff(moved, scene)[seen])
    return float(difference[: int(0.8 * len(difference))].mean())


def _in_light_of(room: np.ndarray, scene: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """``room`` (H, W, C) with one gain and offset for each colour, fitted where the pictures agree best."""
    usable = seen.copy()
    for picture in (room, scene):
        usable &= (picture >= CLIPPED[0]).all(-1) & (picture <= CLIPPED[1]).all(-1)
    step = max(1, usable.sum() // 50_000)
    x, y = (picture[usable][::step].astype(np.float64) for picture in (room, scene))  # (N, C)
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


def cut_out(room: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """The cat of ``scene`` as a cut-out (H, W, 4) uint8: the scene's own colours, and how much of each pixel is cat.

    ``room`` and ``scene``, the view without the cat and with it, are (H, W, 3) uint8 of one size. Read with
    :func:`helpers.photos.builder.read_photo` they have a sensible one; this takes a second or two.

    Raises:
        CourseError: nothing differs, nearly everything does, or what differs is scattered all over the picture.
    """
    aligned = align(room, scene)
    difference = differences(aligned, scene)
    probable, certain, same = _probable_cat(aligned, scene, difference)
    found = _grab_cut(scene, probable, certain, same, ~aligned.seen)
    side = max(scene.shape)
    alpha = cv2.GaussianBlur(found.astype(np.float32) * 255, (0, 0), max(0.7, side / 1000))
    return np.dstack((scene, alpha.round().astype(np.uint8)))


def differences(aligned: Aligned, scene: np.ndarray) -> np.ndarray:
    """How much the scene differs from the room and what is right beside it: (H, W) float32, in steps of 255.

    A pixel is compared with the darkest and the brightest of its neighbourhood in the room: between two positions of a
    camera, near things move a little against far ones (parallax), which no alignment of the whole picture can undo.
    """
    side = max(scene.shape)
    smooth, here = (cv2.GaussianBlur(x, (0, 0), max(0.6, side / 900)).astype(np.float32) for x in (aligned.room, scene))
    reach = _disc(max(1, round(side / 500)))
    above, below = here - cv2.dilate(smooth, reach), cv2.erode(smooth, reach) - here
    return np.where(aligned.seen, np.maximum(above, below).max(-1).clip(0), 0).astype(np.float32)


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _probable_cat(aligned: Aligned, scene: np.ndarray, difference: np.ndarray) -> tuple[np.ndarray, ...]:
    """Where the cat probably is, where it certainly is, and where rather the room is: (H, W) bool each."""
    side = max(scene.shape)
    noise = float(np.median(difference[aligned.seen]))
    threshold = max(LEAST_DIFFERENCE, NOISE * noise)
    here, there = (cv2.GaussianBlur(x, (0, 0), max(1, side / 400)).astype(np.float32) for x in (scene, aligned.room))
    light = (here + 8) / (there + 8)
    shadow = (light.std(-1) < SHADOW_TINT) & (light.mean(-1) > SHADOW[0]) & (light.mean(-1) < SHADOW[1])
    changed = (difference > threshold) & ~shadow
    changed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, _disc(max(1, side // 500)))
    if noise > NOISIEST or changed.mean() > LARGEST_SHARE:
        raise CourseError(
            "The two pictures differ nearly everywhere: take both from the same place and in the same light, "
            "and let the cat fill less than half of the picture."
        )
    if changed.mean() < LEAST_SHARE:
        raise CourseError(
            "Nothing differs between the two pictures, or hardly anything: "
            "choose the empty room and the same view with the cat, and not the same file twice."
        )
    joined = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, _disc(max(2, side // 80)))
    probable = _main_pieces(joined, changed * difference)
    if (changed[probable].sum()) < SCATTERED * changed.sum():
        raise CourseError(
            "What differs between the two pictures is scattered all over: move nothing but the cat, "
            "and take both pictures from the same place."
        )
    certain = probable & (difference > 2 * threshold)
    certain &= cv2.erode(probable.astype(np.uint8), _disc(max(1, side // 200))) > 0
    same = cv2.morphologyEx((changed == 0).astype(np.uint8), cv2.MORPH_OPEN, _disc(max(1, side // 200))) > 0
    return probable, certain & ~same, same


def _main_pieces(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The connected piece of most ``weight``, without holes, and others of a quarter as much or more: (H, W) bool."""
    count, pieces = cv2.connectedComponents(mask.astype(np.uint8))
    weights = np.bincount(pieces.ravel(), weight.ravel().astype(np.float64), minlength=max(count, 2))
    weights[0] = 0  # the room
    kept = (weights >= 0.25 * weights.max()) & (weights > 0)
    outlines, _ = cv2.findContours(kept[pieces].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED) > 0


def _grab_cut(scene: np.ndarray, probable: np.ndarray, certain: np.ndarray, same: np.ndarray,
              unseen: np.ndarray) -> np.ndarray:  # fmt: skip
    """The outline between cat and room by their colours: (H, W) bool; ``probable`` itself where colours do not help."""
    side = max(scene.shape)
    rows, columns = np.nonzero(probable)
    margin = max(8, side // 16)
    window = tuple(slice(max(at.min() - margin, 0), at.max() + margin + 1) for at in (rows, columns))
    near = cv2.dilate(probable[window].astype(np.uint8), _disc(max(2, side // 120))) > 0
    labels = np.full(near.shape, cv2.GC_BGD, dtype=np.uint8)
    labels[near | unseen[window]] = cv2.GC_PR_BGD  # colours decide
    labels[probable[window]] = cv2.GC_PR_FGD
    labels[(probable & same)[window]] = cv2.GC_PR_BGD  # between the legs, in the shadow
    labels[certain[window]] = cv2.GC_FGD
    if not (labels == cv2.GC_BGD).any() or not certain.any():
        return probable
    cv2.setRNGSeed(0)
    picture = np.ascontiguousarray(scene[window])
    labels, _, _ = cv2.grabCut(picture, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    found = np.zeros_like(probable)
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    opened = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, _disc(max(1, side // 500)))
    found[window] = inside & _main_pieces(opened, opened)
    agreement = (found & probable).sum() / max((found | probable).sum(), 1)
    return found if agreement >= LEAST_AGREEMENT else probable
