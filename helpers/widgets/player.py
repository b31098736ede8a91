"""Views that outlive the kernel: one piece of HTML with the pictures and a small script inside.

A :class:`Player` moves in Jupyter, in Colab after a reload, in an exported page and on the website. What its pictures
are made of is embedded once, as three sheets of tiles: photographs and depth maps (compressed as much as it takes), and
mask, predicted probability and known pixels (exactly). ``player.js`` cuts, colours and overlays them as
:mod:`helpers.plots` does. Without scripts a still picture is seen; GitHub may show none of it: put a figure under it.
"""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from helpers import plots

SCRIPT, STYLE = (Path(__file__).with_name(f"player.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
SCRIPT = re.sub(r"^( +|//.*\n)", "", SCRIPT, flags=re.MULTILINE)
QUALITIES = (100, 80, 60, 40)  # of photographs, 100 is exact: the first that is small enough, or with smaller pictures
EFFORT = 50  # of 100, to make exact sheets small: twice as much takes four times as long and saves hardly anything
COLUMNS = 16  # of a sheet
LEVELS = 20  # of a probability: as many as thresholds can tell
SET = {"threshold": 0.5, "opacity": 0.5, "near": 0.0, "far": 1.0}  # where no slider sets it


class Shown(NamedTuple):
    """What is shown at one position of the controls; maps are (H, W).

    ``words`` fill the titles of the panels by name: one string, or one for each threshold from 0.05 to 0.95.
    """

    about: str
    photos: Sequence[np.ndarray]  # (H, W, 3) in [0, 1]
    depths: Sequence[np.ndarray] = ()  # in [0, 1]
    exact: np.ndarray | None = None  # uint8, of :func:`exact`
    words: Mapping[str, str | Sequence[str]] = {}


def exact(mask, prob, valid) -> np.ndarray:
    """(H, W) uint8: the number of thresholds that ``prob`` reaches, 32 more in the mask, 64 more where valid."""
    prob = plots.plane(prob)
    reached = np.searchsorted((np.arange(1, LEVELS) / LEVELS).astype(prob.dtype), prob, "right")
    return (reached + 32 * (plots.plane(mask) >= 0.5) + 64 * plots.plane(valid).astype(bool)).astype(np.uint8)


def chooser(name: str, steps: tuple[str, str] = ("previous", "next"), plays: int = 0, restarts: bool = False) -> dict:
    """A slider that chooses what is shown.

    Args:
        plays: milliseconds of each when it moves by itself; 0: it does not.
        restarts: those below it go back to their beginning when it is moved.
    """
    return {"name": name, "steps": steps, "plays": plays, "restarts": restarts}


def choice(name: str, options: Sequence[str]) -> dict:
    """Words of which one is chosen; the sliders below it begin again."""
    return {"name": name, "options": options, "restarts": True}


def setting(name: str, sets: str, low: float, high: float, start: float, step: float = 0.05, digits: int = 2,
            words: str = "{}", steps: tuple[str, str] = ("less", "more")) -> dict:  # fmt: skip
    """A slider for a number with a name of :data:`SET`, or ``divider`` (0 to 100)."""
    count, at = round((high - low) / step) + 1, round((start - low) / step)
    return {"name": name, "sets": sets, "low": low, "step": step, "count": count, "start": at, "digits": digits,
            "words": words, "steps": steps}  # fmt: skip


def drawn(shown: Shown, paint: str, which: int = 0) -> np.ndarray:
    """(H, W, 3) in [0, 1]: what the script paints for ``shown`` before anything was moved, by :mod:`helpers.plots`."""
    if paint == "photo":
        return plots.picture(shown.photos[which])
    if paint == "map":
        return plots.depth_picture(shown.depths[which], colours=plots.ERROR_COLOURS)
    if paint == "divided":
        left, right = (plots.picture(photo) for photo in shown.photos)
        middle, line = left.shape[1] // 2, max(1, left.shape[1] // 96)
        halves = np.concatenate([left[:, :middle], right[:, middle:]], 1)
        halves[:, middle - (line + 1) // 2 : middle + line // 2] = 1.0
        return halves
    level, cat, valid = shown.exact & 31, shown.exact & 32 > 0, shown.exact & 64 > 0
    found = level >= LEVELS // 2
    if paint == "depth":
        return plots.depth_picture(shown.depths[which], valid if which == 0 else None)
    return {
        "overlay": lambda: plots.overlay(shown.photos[which], found),
        "mask": lambda: plots.picture(cat),
        "probability": lambda: plots.picture(level / (LEVELS - 1)),
        "wrong": lambda: plots.mask_errors(cat, found),
        "error": lambda: plots.error_picture(plots.depth_errors(*shown.depths, valid)),
    }[paint]()


class Player:
    """A view with its controls above its pictures: let it be the last line of a cell.

    Args:
        name: of the whole, for screen readers.
        controls: first those that choose, in the order of the levels of ``shown``; then settings.
        panels: (title, how it is painted, number of the photograph or depth map) of each picture; see :func:`drawn`.
        shown: nested lists of :class:`Shown`, a level for each control that chooses.
        columns: pictures side by side.
        pixels: of the longer side of an embedded picture, at most.
        side: of the width of a picture on the screen.
        most: bytes of the whole.
        best: quality of the photographs, if ``most`` allows it.
        below: HTML under the pictures.

    Attributes:
        data: the HTML.

    Raises:
        ValueError: more pictures than ``most`` bytes can hold.
    """

    def __init__(self, name: str, controls: Sequence[dict], panels: Sequence[tuple], shown: Sequence,
                 *, columns: int, pixels: int, side: int, most: int, best: int = 100, below: str = ""):  # fmt: skip
        first = _first(shown)
        panels = [{"title": title, "paint": paint, "which": which} for title, paint, which in panels]
        images = [(x["title"].format(**_words(first)), drawn(first, x["paint"], x["which"])) for x in panels]
        self._name, self._about, self._columns = name, first.about, columns
        self._rows = [dict(images[i : i + columns]) for i in range(0, len(images), columns)]
        spec = {"columns": COLUMNS, "levels": LEVELS, "set": SET, "controls": controls, "panels": panels, **_colours()}
        height, width = first.photos[0].shape[:2]
        for shrunk in (1, 2, 4):
            scale = min(1, pixels / max(height, width)) / shrunk
            self._size = max(1, round(scale * width)), max(1, round(scale * height))
            self._tiles = {"photo": {}, "depth": {}, "exact": {}}  # bytes -> number
            spec |= {"shown": self._placed(shown), "size": self._size, "stripe": max(2, max(self._size) // 24)}
            marks = {"exact": self._sheet("exact", 100)} if self._tiles["exact"] else {}
            for quality in filter(best.__ge__, QUALITIES):
                spec["sheets"] = {**marks, "photo": self._sheet("photo", quality)}
                if self._tiles["depth"]:
                    spec["sheets"]["depth"] = self._sheet("depth", (100 + quality) // 2)  # its differences are shown
                self.data = self._page(spec, side, below)
                if len(self.data.encode()) <= most:
                    return
        count = len(self._tiles["photo"])
        raise ValueError(f"{count} photographs of {width} x {height} px exceed {most} bytes: show fewer.")

    def _repr_html_(self) -> str:
        return self.data

    def __repr__(self) -> str:
        return self._name

    def still(self) -> Figure:
        """The first state as a figure with colour bars and a legend."""
        rows = [{title.replace(", ", "\n"): image for title, image in row.items()} for row in self._rows]
        figure = plots.show_images(rows, side=1.6)
        figure.suptitle(self._about, fontsize=10)
        bars = {"depth\n": ("near to far", plots.DEPTH_COLOURS, 1),
                "depth error": ("absolute error", plots.ERROR_COLOURS, plots.ERROR_LIMIT)}  # fmt: skip
        for begins, (label, colours, high) in bars.items():
            if shown := [axis for axis in figure.axes if axis.get_title().startswith(begins)]:
                mapped, long = ScalarMappable(Normalize(0, high), colours), 18 * len(shown)
                figure.colorbar(mapped, ax=shown, label=label, location="bottom", fraction=0.05, pad=0.02, aspect=long)
        figure.legend(handles=plots.patches(plots.PIXELS), loc="outside lower center", ncols=3, frameon=False)
        return figure

    def _placed(self, shown) -> list | dict:
        """The same lists with numbers of tiles where pictures were."""
        if not isinstance(shown, Shown):
            return [self._placed(one) for one in shown]
        photos = [self._number("photo", image, Image.Resampling.BOX) for image in shown.photos]
        depths = [self._number("depth", depth, Image.Resampling.NEAREST) for depth in shown.depths]
        marks = {} if shown.exact is None else {"exact": self._number("exact", shown.exact, Image.Resampling.NEAREST)}
        return {"about": shown.about, "photo": photos, "depth": depths, **marks, **shown.words}

    def _number(self, kind: str, values: np.ndarray, resample: Image.Resampling) -> int:
        numbers = self._tiles[kind]
        return numbers.setdefault(_bytes(values, self._size, resample).tobytes(), len(numbers))

    def _sheet(self, kind: str, quality: int) -> str:
        """All tiles of a kind in one picture, as the address that an <img> takes."""
        (width, height), tiles = self._size, self._tiles[kind]
        columns = min(COLUMNS, len(tiles))
        sheet = np.zeros((-(-len(tiles) // columns), height, columns, width, 3 if kind == "photo" else 1), np.uint8)
        for tile, number in tiles.items():
            sheet[number // columns, :, number % columns] = np.frombuffer(tile, np.uint8).reshape(height, width, -1)
        return _address(sheet.reshape(len(sheet) * height, columns * width, -1), quality)

    def _page(self, spec: dict, side: int, below: str) -> str:
        packed = escape(json.dumps(spec, separators=(",", ":"), ensure_ascii=False), quote=False).replace("'", "&#39;")
        look = f'style="--columns:{self._columns};--narrow:{min(self._columns, 2)};--side:{side}px"'
        small = " small" * (max(self._size) <= 100)  # pixels are seen as squares
        still = [np.concatenate([_bytes(image, self._size, Image.Resampling.BOX) for image in row.values()], 1)
                 for row in self._rows]  # fmt: skip
        titles = escape(", ".join(title for row in self._rows for title in row))
        return (
            f'<style>{STYLE}</style><div class="player{small}" {look} role="group" aria-label="{escape(self._name)}" '
            f"data-lm-suppress-shortcuts=\"true\" data-spec='{packed}'>"
            f'<img class="still" width="{self._columns * side}" alt="{titles}" onload="({escape(SCRIPT)})(this)" '
            f'src="{_address(np.concatenate(still), 65)}"><p class="about" aria-live="polite">{escape(self._about)}</p>'
            f"{below}</div>"
        )


def ramp(colours: str) -> str:
    """HTML: all colours of one of matplotlib's maps, side by side."""
    stops = ", ".join(to_hex(colour) for colour in matplotlib.colormaps[colours](np.linspace(0, 1, 9)))
    return f'<span style="background:linear-gradient(to right, {stops})">{12 * "&emsp;"}</span>'


def _words(shown: Shown) -> dict[str, str]:
    """What fills the titles before anything was moved."""
    return {name: words if isinstance(words, str) else words[LEVELS // 2 - 1] for name, words in shown.words.items()}


def _first(shown) -> Shown:
    return shown if isinstance(shown, Shown) else _first(shown[0])


def _colours() -> dict:
    """What the script has to know of :mod:`helpers.plots`; of colour maps some stops, between which it interpolates."""
    maps = {"depth": plots.DEPTH_COLOURS, "error": plots.ERROR_COLOURS}
    colours = {key: matplotlib.colormaps[of](np.linspace(0, 1, 33))[:, :3] for key, of in maps.items()}
    colours["mask"] = to_rgb(plots.MASK_COLOUR)
    colours["wrong"] = [to_rgb(colour) for colour in ("black", plots.FALSE_ALARM, plots.MISSED, plots.TRUE)]
    in_bytes = {key: (255 * np.array(rgb)).round().astype(int).tolist() for key, rgb in colours.items()}
    return {"colours": in_bytes, "limit": plots.ERROR_LIMIT, "stripes": [255 * grey for grey in plots.STRIPES[::-1]]}


def _bytes(values: np.ndarray, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """Bytes as they are, or numbers in [0, 1] as bytes, at a size (W, H)."""
    if values.dtype != np.uint8:
        values = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    return np.asarray(Image.fromarray(values).resize(size, resample))


def _address(values: np.ndarray, quality: int) -> str:
    """A picture (H, W, 3) or (H, W, 1) of bytes as WebP, exact at 100, in an address that needs no file."""
    stream = io.BytesIO()
    image = Image.fromarray(values.squeeze(2) if values.shape[2] == 1 else values)
    image.save(stream, "WEBP", lossless=quality == 100, quality=quality if quality < 100 else EFFORT)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
