"""The moving picture of the front page: a drawn hand moves the slider of the time travel, over real answers.

:func:`draw` makes the pictures from what :mod:`helpers.callbacks` kept while a network was trained, :func:`save` a GIF
that repeats without a seam. Photographs are shown as large as the panels; the network saw them at the size that the
picture names, and its answers are enlarged as :func:`helpers.predict.predict` enlarges them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from helpers.callbacks import Snapshots
from helpers.plots import DEPTH_COLOURS, MASK_COLOUR, array, depth_picture, overlay, picture

PANEL, GAP, MARGIN = 224, 12, 16
WIDTH, HEIGHT = 3 * PANEL + 2 * GAP + 2 * MARGIN, 372
TOP, TRACK = 44, 340  # of the panels, and of the slider
PAUSE = 80  # milliseconds a picture
INK, FAINT, BLUE = "#1f2328", "#c8cdd3", "#0072b2"
COLOURS = 160  # of the GIF: fewer are visible in the depth, more are larger and no better
FINE = 4  # shapes are drawn so many times larger, then reduced: smooth edges


def shown(film: Snapshots) -> tuple[int, int]:
    """Which two quartets of the film are shown: the one with the largest cat, and one with a smaller cat."""
    return 0, len(film.bg_fg) // 2


def draw(film: Snapshots, rooms, scenes) -> list[Image.Image]:
    """One loop: the first quartet while it is learnt, a look under its depth, and another one back to the start.

    Args:
        film: of a whole run.
        rooms, scenes: uint8 (2, 3, PANEL, PANEL), the photographs of the quartets :func:`shown`.
    """
    last = len(film.snapshots) - 1
    # The hand is faster at first, where a network has seen too little to say anything.
    slow = next(moment for moment, frame in enumerate(film.snapshots) if frame.samples >= film.snapshots[-1].samples / 64)
    at = {moment: moment / max(1, last) for moment in [*range(0, slow, 4), *range(slow, last + 1)]}  # on the slider
    divider = _smooth(0, 0.62, 11) + [0.62] * 4 + _smooth(0.62, 0, 11)
    edge = MARGIN + 2 * (PANEL + GAP)
    story = [(0, 0, 0.0, _on_track(0))] * 7  # which quartet, moment, divider, hand
    story += [(0, moment, 0.0, _on_track(place)) for moment, place in at.items()]
    story += [(0, last, 0.0, _on_track(1))] * 5
    story += [(0, last, 0.0, hand) for hand in _way(_on_track(1), (edge, TOP + 0.55 * PANEL), 6)]
    story += [(0, last, share, (edge + share * PANEL, TOP + 0.55 * PANEL)) for share in divider]
    story += [(0, last, 0.0, hand) for hand in _way((edge, TOP + 0.55 * PANEL), _on_track(1), 6)]
    story += [(1, last, 0.0, _on_track(1))] * 10
    story += [(1, moment, 0.0, _on_track(place)) for moment, place in list(at.items())[::-2]]
    hand = _pointer()
    quartets = [(picture(room), picture(scene), number) for room, scene, number in zip(rooms, scenes, shown(film))]
    pictures = [_picture(film, *quartets[which], moment, share) for which, moment, share, _ in story]
    for drawn, (*_, (x, y)) in zip(pictures, story):
        drawn.paste(hand, (round(x) - 5, round(y) - 3), hand)
    return pictures


def save(pictures: Sequence[Image.Image], path: Path) -> None:
    """A GIF that repeats for ever, with one palette for all pictures, so that what stands still is stored once."""
    samples = pictures[:: max(1, len(pictures) // 12)]
    sheet = Image.new("RGB", (WIDTH, HEIGHT * len(samples)))
    for place, sample in enumerate(samples):
        sheet.paste(sample, (0, HEIGHT * place))
    palette = sheet.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=2)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    colours[colours.min(1) >= 246] = 255  # the page is white, not nearly white
    palette.putpalette(colours.ravel().tolist())
    first, *others = (drawn.quantize(palette=palette, dither=Image.Dither.NONE) for drawn in pictures)
    first.save(path, "GIF", save_all=True, append_images=others, duration=PAUSE, loop=0, optimize=False)


# -- one picture --------------------------------------------------------------------------------------------------


def _picture(film: Snapshots, room: np.ndarray, scene: np.ndarray, quartet: int, moment: int, share: float) -> Image.Image:
    """What the network says about a quartet at a moment; left of the divider, at ``share``, the photograph."""
    frame = film.snapshots[moment]
    prob, depth = (_enlarged(answer[quartet]) for answer in frame.predictions)
    split = round(share * PANEL)
    depth_panel = np.concatenate([scene[:, :split], depth_picture(depth)[:, split:]], 1)
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=FAINT)
    panels = (room, overlay(scene, prob >= 0.5, 0.5), depth_panel)
    for place, (title, panel) in enumerate(zip(("the room", "where is the cat?", "how far is everything?"), panels)):
        left = MARGIN + place * (PANEL + GAP)
        pen.text((left, TOP - 26), title, INK, _font(15, bold=True))
        sheet.paste(Image.fromarray((panel * 255).round().astype(np.uint8)), (left, TOP))
    left = MARGIN + 2 * (PANEL + GAP)
    if 0 < split < PANEL:
        pen.rectangle((left + split - 1, TOP, left + split, TOP + PANEL - 1), "white")
    below = TOP + PANEL + 7
    _swatch(sheet, pen, below)
    _ramp(sheet, pen, left, below)
    pen.text((MARGIN, TRACK - 34), f"learnt from {frame.samples:,} examples", INK, _font(15, bold=True))
    said = f"stage {frame.stage} of {film.stages}, seen at {frame.size} px"
    pen.text((WIDTH - MARGIN, TRACK - 32), said, INK, _font(13), anchor="ra")
    _slider(sheet, moment / max(1, len(film.snapshots) - 1))
    return sheet


def _enlarged(answer: np.ndarray) -> np.ndarray:
    """(PANEL, PANEL) in [0, 1] from uint8 (h, w)."""
    return array(Image.fromarray(answer).resize((PANEL, PANEL), Image.Resampling.BILINEAR)) / 255


def _swatch(sheet: Image.Image, pen: ImageDraw.ImageDraw, y: int) -> None:
    left = MARGIN + PANEL + GAP
    pen.rectangle((left, y + 3, left + 18, y + 12), MASK_COLOUR)
    pen.text((left + 25, y), "taken for cat", INK, _font(12))


def _ramp(sheet: Image.Image, pen: ImageDraw.ImageDraw, left: int, y: int) -> None:
    colours = matplotlib.colormaps[DEPTH_COLOURS](np.linspace(0, 1, PANEL - 60))[None, :, :3].repeat(10, 0)
    sheet.paste(Image.fromarray((colours * 255).round().astype(np.uint8)), (left + 34, y + 3))
    pen.text((left, y), "near", INK, _font(12))
    pen.text((left + PANEL, y), "far", INK, _font(12), anchor="ra")


def _slider(sheet: Image.Image, place: float) -> None:
    x, _ = _on_track(place)
    box = (MARGIN, TRACK - 12, WIDTH - MARGIN, TRACK + 12)
    large = Image.new("RGB", (FINE * (box[2] - box[0]), FINE * 24), "white")
    pen = ImageDraw.Draw(large)
    middle, handle = FINE * 12, FINE * (x - MARGIN)
    pen.rounded_rectangle((0, middle - 2 * FINE, large.width - 1, middle + 2 * FINE), 2 * FINE, FAINT)
    pen.rounded_rectangle((0, middle - 2 * FINE, max(handle, 4 * FINE), middle + 2 * FINE), 2 * FINE, BLUE)
    pen.ellipse((handle - 9 * FINE, middle - 9 * FINE, handle + 9 * FINE, middle + 9 * FINE), "white", BLUE, 2 * FINE)
    sheet.paste(large.resize((box[2] - box[0], 24), Image.Resampling.LANCZOS), box[:2])


def _pointer() -> Image.Image:
    """An arrow with its tip at (5, 3)."""
    outline = [(5, 3), (5, 21), (9.3, 17), (12.2, 23.6), (15.2, 22.3), (12.4, 15.9), (18, 15.6)]
    large = Image.new("RGBA", (24 * FINE, 28 * FINE))
    points = [(FINE * x, FINE * y) for x, y in outline]
    pen = ImageDraw.Draw(large)
    pen.line([*points, points[0], points[1]], "white", 3 * FINE, "curve")
    pen.polygon(points, INK)
    return large.resize((24, 28), Image.Resampling.LANCZOS)


# -- movement -----------------------------------------------------------------------------------------------------


def _on_track(place: float) -> tuple[float, float]:
    """Where the slider's handle stands at ``place`` between 0 and 1."""
    return MARGIN + 10 + place * (WIDTH - 2 * MARGIN - 20), TRACK


def _smooth(start: float, end: float, count: int) -> list[float]:
    """From ``start`` to ``end``, slow at both ends."""
    return [start + (end - start) * float(t * t * (3 - 2 * t)) for t in np.linspace(0, 1, count)]


def _way(start: tuple[float, float], end: tuple[float, float], count: int) -> list[tuple[float, float]]:
    return list(zip(_smooth(start[0], end[0], count), _smooth(start[1], end[1], count)))


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the figures, which comes with matplotlib."""
    name = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(name), size)
