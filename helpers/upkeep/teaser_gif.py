"""The moving picture of the README: a pointer drags a slider through a training, over real predictions.

:func:`draw` makes the pictures from the snapshots that :mod:`helpers.callbacks` kept during a training, :func:`save` a
GIF that repeats without a seam. Photographs are shown as large as the panels; the network saw them at the size that the
picture names, and its predictions are enlarged as :func:`helpers.predict.predict` enlarges them.
"""

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
LEFT = [MARGIN + place * (PANEL + GAP) for place in range(3)]  # of the panels
TOP, TRACK = 44, 340  # of the panels, and of the slider
PAUSE = 80  # milliseconds a picture
INK, FAINT, BLUE = "#1f2328", "#c8cdd3", "#0072b2"
COLOURS = 160  # of the GIF: fewer are visible in the depth, more are larger and no better
FINE = 4  # shapes are drawn so many times larger, then reduced: smooth edges


def shown(kept: Snapshots) -> tuple[int, int]:
    """Which two quartets are shown: the one with the largest cat, and one with a smaller cat."""
    return 0, len(kept.bg_fg) // 2


def draw(kept: Snapshots, rooms, scenes) -> list[Image.Image]:
    """One loop: the trained network, a look under its depth map, another quartet back to the start, the training.

    ``rooms, scenes``: uint8 (2, 3, PANEL, PANEL), the photographs of the quartets :func:`shown`.
    """
    last = len(kept.snapshots) - 1
    samples = [snapshot.samples for snapshot in kept.snapshots]
    early = next(index for index, seen in enumerate(samples) if seen >= samples[-1] / 64)
    steps = [*range(0, early, 4), *range(early, last + 1)]  # fewer at first, where the network has seen too little
    forth = [(index, _on_track(index / max(1, last))) for index in steps]  # a snapshot, and the pointer's place
    start, end, divider = _on_track(0), _on_track(1), (LEFT[2], TOP + 0.55 * PANEL)
    shares = _smooth(0, 0.62, 11) + [0.62] * 4 + _smooth(0.62, 0, 11)
    # Each picture: which quartet, which snapshot, the divider's share, the pointer's place.
    # The result comes first: it is all that one sees where pictures do not move.
    story = [(0, last, 0.0, end)] * 5 + [(0, last, 0.0, place) for place in _way(end, divider)]
    story += [(0, last, share, (divider[0] + share * PANEL, divider[1])) for share in shares]
    story += [(0, last, 0.0, place) for place in _way(divider, end)]
    story += [(1, last, 0.0, end)] * 10 + [(1, index, 0.0, place) for index, place in forth[::-2]]
    story += [(0, 0, 0.0, start)] * 7 + [(0, index, 0.0, place) for index, place in forth]
    photographs = [(picture(room), picture(scene)) for room, scene in zip(rooms, scenes)]
    pointer, pictures = _pointer(), []
    for which, index, share, (x, y) in story:
        sheet = _picture(kept, *photographs[which], shown(kept)[which], index, share)
        sheet.paste(pointer, (round(x) - 5, round(y) - 3), pointer)
        pictures.append(sheet)
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


def _picture(kept: Snapshots, room: np.ndarray, scene: np.ndarray, quartet: int, index: int, share: float):
    """Predictions of snapshot ``index`` for a quartet; left of the divider, at ``share``, the photograph."""
    snapshot = kept.snapshots[index]
    prob, depth = (_enlarged(maps[quartet]) for maps in snapshot.predictions)
    split = round(share * PANEL)
    depth_panel = np.concatenate([scene[:, :split], depth_picture(depth)[:, split:]], 1)
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=FAINT)
    panels = (room, overlay(scene, prob >= 0.5, 0.5), depth_panel)
    for left, title, panel in zip(LEFT, ("the room", "where is the cat?", "how far is everything?"), panels):
        pen.text((left, TOP - 26), title, INK, font(15, bold=True))
        sheet.paste(image(panel), (left, TOP))
    if 0 < split < PANEL:
        pen.rectangle((LEFT[2] + split - 1, TOP, LEFT[2] + split, TOP + PANEL - 1), "white")
    below = TOP + PANEL + 7
    pen.rectangle((LEFT[1], below + 3, LEFT[1] + 18, below + 12), MASK_COLOUR)
    pen.text((LEFT[1] + 25, below), "predicted cat", INK, font(12))
    ramp = matplotlib.colormaps[DEPTH_COLOURS](np.linspace(0, 1, PANEL - 60))[None, :, :3].repeat(10, 0)
    sheet.paste(image(ramp), (LEFT[2] + 34, below + 3))
    pen.text((LEFT[2], below), "near", INK, font(12))
    pen.text((LEFT[2] + PANEL, below), "far", INK, font(12), anchor="ra")
    pen.text((MARGIN, TRACK - 34), f"trained on {snapshot.samples:,} examples", INK, font(15, bold=True))
    stage = f"stage {snapshot.stage} of {kept.stages}, predicted at {snapshot.size} px"
    pen.text((WIDTH - MARGIN, TRACK - 32), stage, INK, font(13), anchor="ra")
    _slider(sheet, index / max(1, len(kept.snapshots) - 1))
    return sheet


def _enlarged(prediction: np.ndarray) -> np.ndarray:
    """(PANEL, PANEL) in [0, 1] from uint8 (h, w)."""
    return array(Image.fromarray(prediction).resize((PANEL, PANEL), Image.Resampling.BILINEAR)) / 255


def image(pixels: np.ndarray) -> Image.Image:
    """A picture from (H, W, 3) in [0, 1]."""
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def _slider(sheet: Image.Image, place: float) -> None:
    large = Image.new("RGB", (FINE * (WIDTH - 2 * MARGIN), FINE * 24), "white")
    pen, middle, handle = ImageDraw.Draw(large), FINE * 12, FINE * (_on_track(place)[0] - MARGIN)
    pen.rounded_rectangle((0, middle - 2 * FINE, large.width - 1, middle + 2 * FINE), 2 * FINE, FAINT)
    pen.rounded_rectangle((0, middle - 2 * FINE, max(handle, 4 * FINE), middle + 2 * FINE), 2 * FINE, BLUE)
    pen.ellipse((handle - 9 * FINE, middle - 9 * FINE, handle + 9 * FINE, middle + 9 * FINE), "white", BLUE, 2 * FINE)
    sheet.paste(large.resize((large.width // FINE, 24), Image.Resampling.LANCZOS), (MARGIN, TRACK - 12))


def _pointer() -> Image.Image:
    """An arrow with its tip at (5, 3)."""
    outline = [(5, 3), (5, 21), (9.3, 17), (12.2, 23.6), (15.2, 22.3), (12.4, 15.9), (18, 15.6)]
    large = Image.new("RGBA", (24 * FINE, 28 * FINE))
    points = [(FINE * x, FINE * y) for x, y in outline]
    pen = ImageDraw.Draw(large)
    pen.line([*points, points[0], points[1]], "white", 3 * FINE, "curve")
    pen.polygon(points, INK)
    return large.resize((24, 28), Image.Resampling.LANCZOS)


def _on_track(place: float) -> tuple[float, float]:
    """Where the slider's handle stands at ``place`` between 0 and 1."""
    return MARGIN + 10 + place * (WIDTH - 2 * MARGIN - 20), TRACK


def _smooth(start: float, end: float, count: int) -> list[float]:
    """From ``start`` to ``end``, slow at both ends."""
    return [start + (end - start) * float(t * t * (3 - 2 * t)) for t in np.linspace(0, 1, count)]


def _way(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    return list(zip(_smooth(start[0], end[0], 6), _smooth(start[1], end[1], 6)))


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the figures, which comes with matplotlib; ``size`` in pixels."""
    name = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(name), size)
