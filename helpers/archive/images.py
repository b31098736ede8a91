"""The archive's JPEGs: checked before they are decoded, decoded no larger than needed, and freed of their ringing."""

import cv2
import numpy as np

from helpers.utils import MAX_SCANS

# Segments that may come before the frame: APPn, comment, tables. Others a decoder may read in another way than we do.
BEFORE = {*range(0xE0, 0xF0), 0xFE, 0xDB, 0xC4, 0xCC, 0xDD}
RINGING = (16, 239)  # grey levels: what JPEG leaves of 0 lies below, what it leaves of 255 above
REDUCED = {  # by how much a JPEG is decoded smaller: OpenCV's reading mode
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_MASK_LEVELS = ((np.arange(256) - RINGING[0]) / (RINGING[1] - RINGING[0]) * 255).clip(0, 255).round().astype(np.uint8)


class Unreadable(Exception):
    """One picture cannot be used; the message says why. The others are not affected."""


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height that a JPEG announces, read before anything is decoded (Pillow takes twenty times as long).

    Raises Unreadable for what is no JPEG, cut short, or made to stall a decoder.
    """
    if data[:2] != b"\xff\xd8":
        raise Unreadable("not a JPEG")
    if b"\xff\xd9" not in data[-64:]:  # decoders fill the missing part with grey instead of failing
        raise Unreadable("a JPEG without its end")
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise Unreadable(f"a JPEG of more than {MAX_SCANS} scans")
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker != 0xFF and marker not in BEFORE:
            break
        at += 1 if marker == 0xFF else 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    raise Unreadable("a JPEG without a picture")


def decode(data: bytes, size: tuple[int, int], how: int) -> np.ndarray:
    """Pixels of a JPEG that has the expected width and height; ``how``: OpenCV's reading mode."""
    if (found := jpeg_size(data)) != size:
        raise Unreadable(f"{found[0]}x{found[1]} px instead of {size[0]}x{size[1]}")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        picture = None
    if picture is None:
        raise Unreadable("a JPEG that cannot be decoded")
    return picture


def reduction(full: tuple[int, int], size: int) -> int:
    """By how much a JPEG of this width and height may be decoded smaller (1, 2, 4, 8) and be no smaller than ``size``.

    The decoder then leaves out the fine waves of each block, which is an area average at a fraction of the work.
    """
    return max(k for k in REDUCED if min(full) // k >= size and full[0] % k == 0 and full[1] % k == 0 or k == 1)


def resize(picture: np.ndarray, size: int) -> np.ndarray:
    """To (size, size): by area where it shrinks, so that nothing flickers, linearly where it grows."""
    if picture.shape[:2] == (size, size):
        return picture
    shrinks = min(picture.shape[:2]) >= size
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def clean_mask(grey: np.ndarray) -> np.ndarray:
    """A mask (H, W) uint8 without the ringing of JPEG.

    Levels below 16 become 0, above 239 they become 255, and those between, the soft outline, are stretched. Then only
    what lies within two pixels of something at least half cat remains: ripples and specks beside the cat go.
    """
    levels = cv2.LUT(grey, _MASK_LEVELS)
    _, core = cv2.threshold(levels, 127, 255, cv2.THRESH_BINARY)
    return cv2.bitwise_and(levels, cv2.dilate(core, np.ones((5, 5), np.uint8)))


def scale_depth(grey: np.ndarray, depth: np.ndarray) -> None:
    """Levels (H, W) uint8 into ``depth`` (H, W) float32: 0 at the least, 1 at the greatest, in steps of 1/65535."""
    low, high, _, _ = cv2.minMaxLoc(grey)
    shares = ((np.arange(256) - low) / max(high - low, 1)).clip(0, 1)
    cv2.LUT(grey, (shares * 65535).round().astype(np.float32) / np.float32(65535), dst=depth)
