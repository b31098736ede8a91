"""Cutting a cat out of two photographs: the empty room, and the same view with the cat, taken from nearly one place.

Two pictures taken by hand are never aligned, and a camera chooses its exposure anew for each. So the room is first
aligned with the scene and brought into its light; what differs then is cat, shadow, or mistake. GrabCut (Rother et al.,
2004) finds the outline between what certainly differs and what certainly does not. Deterministic, on the CPU.
"""

import cv2
import numpy as np

from helpers.config import CourseError
from helpers.photos.register import Aligned, align, without_ghosts

LEAST_DIFFERENCE = 14  # steps of 255; the sensor's noise stays below
NOISE = 7  # times the median difference: what counts is above
NOISIEST = 10  # steps of 255: where the median difference is larger, hardly a pixel has found its partner
LEAST_SHARE, LARGEST_SHARE = 0.002, 0.5  # of the picture, that a cat may take
SCATTERED = 0.4  # if less than this share of what differs is in one piece, it is no cat
SHADOW = (0.4, 0.97)  # light that is left in a shadow, alike in all colours to within SHADOW_TINT
SHADOW_TINT = 0.025
LEAST_AGREEMENT = 0.5  # intersection over union of GrabCut's mask and the difference; below it GrabCut got lost


def cut_out(room: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """The cat of ``scene`` as a cut-out (H, W, 4) uint8: the scene's own colours, and how much of each pixel is cat.

    ``room`` and ``scene``, the view without the cat and with it, are (H, W, 3) uint8 of one size. Read with
    :func:`helpers.photos.builder.read_photo` they have a sensible one; this takes a second or two.

    Raises:
        CourseError: nothing differs, nearly everything does, what differs is scattered, the pictures are swapped or grey.
    """
    aligned = align(room, scene)
    if any((picture == picture[..., :1]).all() for picture in (room, scene)):
        raise CourseError("A picture is black and white: take both in colour, by which cat and shadow are told apart.")
    difference = differences(aligned, scene)
    probable, certain, same = _probable_cat(aligned, scene, difference)
    found = _grab_cut(scene, probable, certain, same, ~aligned.seen)
    found = without_ghosts(found.astype(np.float32), aligned.room, scene)
    side = max(scene.shape)
    alpha = cv2.GaussianBlur(found * 255, (0, 0), max(0.7, side / 1000))
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
