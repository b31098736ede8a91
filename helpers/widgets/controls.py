"""What the views are made of for which Python has to compute: controls with their values as text, and panels.

Pictures are drawn as arrays and assigned, as PNGs, to images of fixed size: nothing on the page jumps. Everything works
with ipywidgets 7.7, which Colab has, and with 8.1.
"""

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
from PIL import Image

PANEL = 192  # pixels of a picture's height: a multiple of the image sizes in use; two rows fit on a laptop's screen
GAP = 8  # pixels between pictures
CACHED = 256  # states of which one widget keeps the PNGs


class Control(widgets.HBox):
    """A slider with its name and its value as text, and a button for one step either way.

    The handle of a slider has no name that a screen reader could read, and is hard to hit: hence text and buttons.

    Attributes:
        slider: ``slider.value`` is the value, kept within the slider's ends.
        back, forth: the buttons.
        text: a label, ``name: value``.
    """

    def __init__(self, name: str, slider, steps: tuple[str, str], form: Callable[[float], str]):
        self.slider, self._name, self._form = slider, name, form
        # Where the row is too narrow the slider shrinks first, then the text goes below it; no word is cut.
        slider.readout, slider.layout = False, widgets.Layout(flex="1 1 64px", width="64px", max_width="240px")
        width = f"{24 + 8 * max(map(len, steps))}px"
        narrow = widgets.Layout(flex=f"0 0 {width}", width=width)
        self.back, self.forth = (
            widgets.Button(description=word, tooltip=f"{name}, {word}", layout=narrow) for word in steps
        )
        longest = max(len(f"{name}: {form(end)}") for end in (slider.min, slider.max))
        self.text = widgets.Label(layout=widgets.Layout(flex=f"1 0 {8 + 6.5 * longest:.0f}px"))
        self.back.on_click(lambda _: self._move(-1))
        self.forth.on_click(lambda _: self._move(1))
        slider.observe(self._write, "value")
        self._write()
        row = widgets.Layout(flex_flow="row wrap", flex="1 1 410px", max_width="100%")  # two side by side, if they fit
        super().__init__([self.back, slider, self.forth, self.text], layout=row)

    @property
    def value(self) -> float:
        """The slider's value without the rounding errors of its steps: 0.3 rather than 0.1 + 0.2."""
        return round(self.slider.value, 6)

    def _move(self, steps: int) -> None:
        moved = round(self.slider.value + steps * self.slider.step, 6)
        self.slider.value = min(max(moved, self.slider.min), self.slider.max)

    def _write(self, _=None) -> None:
        self.text.value = f"{self._name}: {self._form(self.slider.value)}"


class Chooser(Control):
    """A control that picks one of ``count`` things, shown from 1 on."""

    def __init__(self, name: str, count: int):
        self._count = count
        slider = widgets.IntSlider(value=1, min=1, max=max(2, count), disabled=count == 1)  # its ends must differ
        words = lambda number: f"{min(number, self._count)} of {self._count}"
        super().__init__(name, slider, ("previous", "next"), words)

    @property
    def index(self) -> int:
        """What is picked, counted from 0."""
        return min(self.slider.value, self._count) - 1


def toggle(name: str, options: Sequence[str]) -> widgets.ToggleButtons:
    """Buttons of which one is pressed; wide enough for their words in both generations of ipywidgets."""
    style = {"button_width": "190px", "description_width": "initial"}
    return widgets.ToggleButtons(options=options, description=name, style=style)


def strip(pictures: Sequence[np.ndarray], height: int) -> bytes:
    """The PNG of pictures (H, W, 3) in [0, 1] side by side, ``height`` pixels high; what is between is transparent."""
    width = round(height * pictures[0].shape[1] / pictures[0].shape[0])
    sheet = Image.new("RGBA", (len(pictures) * (width + GAP) - GAP, height))  # pages are light or dark
    for place, shown in enumerate(pictures):
        image = Image.fromarray((shown * 255).round().astype(np.uint8))
        sheet.paste(image.resize((width, height), Image.Resampling.NEAREST), (place * (width + GAP), 0))
    stream = io.BytesIO()
    sheet.save(stream, "PNG", compress_level=1)  # five times as fast as the default, and not much larger
    return stream.getvalue()


class _Row(NamedTuple):
    png: bytes
    titles: tuple[str, ...]
    panel: int  # width of each picture on the screen, pixels


class PairPanels(widgets.VBox):
    """Rows of pictures of one pair, a title above each, and the controls that pick what is shown.

    A subclass tells what its controls have picked (:meth:`picked`) and draws it (:meth:`draw`), once: it is cached.

    Args:
        controls: what is above the pictures, in reading order; each change of one shows what is picked then.
        height: of each picture, pixels.

    Attributes:
        about: words (HTML) about what is shown.
        views: an image for each row; ``.value`` is a PNG, always of the same size.
        titles: for each row the labels above its pictures.
        above, pictures: the boxes of all controls and of all rows.
    """

    def __init__(self, controls: Sequence[widgets.Widget], height: int = PANEL):
        self._height, self._rendered = height, lru_cache(CACHED)(self._render)
        for control in controls:
            getattr(control, "slider", control).observe(self.show, "value")
        _, rows = self._rendered(*self.picked())
        self.about = widgets.HTML()
        self.titles = [[_title(row.panel) for _ in row.titles] for row in rows]
        self.views = [_fixed_image(len(row.titles) * (row.panel + GAP) - GAP, height) for row in rows]
        inset = widgets.Layout(margin="0 0 0 2px")  # as far in as an image
        titles = [widgets.HBox(labels, layout=inset) for labels in self.titles]
        self.above = widgets.HBox(controls, layout=widgets.Layout(flex_flow="row wrap"))
        self.pictures = widgets.VBox([child for row in zip(titles, self.views) for child in row])
        self.show()
        super().__init__([self.above, self.pictures, self.about])

    def picked(self) -> tuple:
        """What the controls have picked: hashable values, the arguments of :meth:`draw`."""
        raise NotImplementedError

    def draw(self, *picked) -> tuple[str, list[dict[str, np.ndarray]]]:
        """The words about it (HTML), and for each row its pictures (H, W, 3) in [0, 1] by title."""
        raise NotImplementedError

    def show(self, _=None) -> None:
        """Show what is picked; called by every control that changes."""
        self.about.value, rows = self._rendered(*self.picked())
        for row, labels, view in zip(rows, self.titles, self.views):
            view.value = row.png
            for label, title in zip(labels, row.titles):
                label.value = title

    def _render(self, *picked) -> tuple[str, list[_Row]]:
        about, rows = self.draw(*picked)
        rendered = []
        for row in rows:
            height, width = next(iter(row.values())).shape[:2]
            png = strip(list(row.values()), self._height)
            rendered.append(_Row(png, tuple(row), round(self._height * width / height)))
        return about, rendered


def _title(panel: int) -> widgets.Label:
    """A label above a picture of ``panel`` pixels, or of less where the page is narrow."""
    return widgets.Label(layout=widgets.Layout(flex=f"0 1 {panel}px", width=f"{panel}px", margin=f"0 {GAP}px 0 0"))


def _fixed_image(width: int, height: int) -> widgets.Image:
    """An image whose place on the page keeps its height, whatever PNG it shows, and fits into a narrow page."""
    size = {"width": f"{width}px", "max_width": "calc(100% - 4px)", "height": f"{height}px", "flex": "0 0 auto"}
    return widgets.Image(format="png", layout=widgets.Layout(**size, object_fit="contain", object_position="left top"))
