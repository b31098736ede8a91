"""Looking into predictions by hand: an explorer with sliders for Jupyter, Colab and VS Code.

``explore(batch, mask_prob, depth)`` shows one quartet at a time, what a network says about it, and five sliders. The
network has spoken before: moving a slider only colours its answer anew and assigns the PNG to an image of fixed size,
so nothing is drawn by pyplot and nothing jumps. Widgets live as long as their kernel: put a figure beside them for
everyone who only reads.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets as widgets
import matplotlib
import numpy as np
from PIL import Image

from helpers.plots import (
    DEPTH_COLOURS,
    ERROR_COLOURS,
    FALSE_ALARM,
    MASK_COLOUR,
    MISSED,
    array,
    depth_picture,
    in_metres,
    mask_errors,
    overlay,
    picture,
    plane,
    quartets_of,
)

SIDE = 192  # pixels of one panel on the screen: a multiple of the sizes in use, and two rows fit on a laptop's screen
GAP = 8  # between panels
ERROR_LIMIT = 0.3  # the depth error of the brightest colour, as in plots.show_predictions
REMEMBERED = 256  # PNGs that one explorer keeps
ERROR_TABLE = matplotlib.colormaps[ERROR_COLOURS](np.arange(256))[:, :3]


# -- pictures ------------------------------------------------------------------------------------------------------


def error_picture(error, limit: float = ERROR_LIMIT) -> np.ndarray:
    """(H, W, 3) in [0, 1]: errors from 0 to ``limit`` in their colours, stripes where the error is NaN."""
    error = plane(error)
    known = np.isfinite(error)
    steps = (np.where(known, error, 0) / limit * 255).clip(0, 255).astype(np.uint8)
    return np.where(known[..., None], ERROR_TABLE[steps], depth_picture(error))


def strip(panels: Sequence[np.ndarray], side: int = SIDE) -> bytes:
    """The PNG of pictures (H, W, 3) in [0, 1], side by side, each ``side`` pixels high; what is between is transparent."""
    height, width = panels[0].shape[:2]
    scaled = round(side * width / height)
    sheet = Image.new("RGBA", (len(panels) * (scaled + GAP) - GAP, side))  # themes are light and dark
    for place, panel in enumerate(panels):
        shown = Image.fromarray((panel * 255).round().astype(np.uint8))
        sheet.paste(shown.resize((scaled, side), Image.Resampling.NEAREST), (place * (scaled + GAP), 0))
    return _png(sheet)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)  # five times as fast as the default, and no longer by much
    return stream.getvalue()


def _depth_ramp(width: int, height: int = 12) -> bytes:
    ramp = matplotlib.colormaps[DEPTH_COLOURS](np.linspace(0, 1, width))[None, :, :3]
    return _png(Image.fromarray((ramp * 255).round().astype(np.uint8)).resize((width, height)))


# -- controls ------------------------------------------------------------------------------------------------------


class Control(widgets.HBox):
    """A slider with its name and its value as text, and a button for one step either way.

    The handle of a slider has no name that a screen reader could say, and is hard to hit: hence text and buttons.

    Attributes:
        slider: ``slider.value`` is the value, kept within the slider's ends.
        back, forth: the buttons.
        activation: the text ``name: value``.
    """

    def __init__(self, name: str, slider, steps: tuple[str, str], show: Callable[[float], str]):
        self.slider = slider
        # Where the row is too narrow the slider shrinks first, then the text goes below it; no word is cut.
        slider.activation, slider.layout = False, widgets.Layout(flex="1 1 120px", width="120px", max_width="240px")
        self.back, self.forth = (
            widgets.Button(description=word, layout=widgets.Layout(flex="0 0 86px", width="86px")) for word in steps
        )
        self.activation = widgets.Label(layout=widgets.Layout(flex="0 0 auto", width="250px"))
        self._name, self._show = name, show
        self.back.on_click(lambda _: self._move(-1))
        self.forth.on_click(lambda _: self._move(1))
        slider.observe(self._write, "value")
        self._write()
        super().__init__([self.back, slider, self.forth, self.activation], layout=widgets.Layout(flex_flow="row wrap"))

    def _move(self, steps: int) -> None:
        moved = round(self.slider.value + steps * self.slider.step, 6)  # 0.1 + 0.2 shall be 0.3
        self.slider.value = min(max(moved, self.slider.min), self.slider.max)

    def _write(self, _=None) -> None:
        self.activation.value = f"{self._name}: {self._show(self.slider.value)}"


def _share(name: str, value: float, low: float = 0.0, high: float = 1.0, step: float = 0.05) -> Control:
    slider = widgets.FloatSlider(value=value, min=low, max=high, step=step)
    return Control(name, slider, ("less", "more"), "{:.2f}".format)


# -- the explorer --------------------------------------------------------------------------------------------------


class Explorer(widgets.VBox):
    """Two rows of pictures, the words above them, and five controls; made by :func:`explore`.

    Attributes:
        sample, threshold, opacity, near, far: a :class:`Control` each; drive them by ``.slider.value``.
        mask_view, depth_view: the images; ``.value`` is a PNG, always of the same size.
        about, mask_words, depth_words: what stands above them.
    """

    def __init__(self, batch, mask_prob, depth, labels: Sequence[str] | None = None):
        self._quartets, self._probs, self._depths = quartets_of(batch), array(mask_prob), array(depth)
        self._labels = list(labels) if labels else [""] * len(self._quartets)
        count = len(self._quartets)
        if not count or not count == len(self._probs) == len(self._depths) == len(self._labels):
            raise ValueError(
                f"there must be as many masks, depth maps and labels as quartets (at least 1), not {count} quartets, "
                f"{len(self._probs)} masks, {len(self._depths)} depth maps and {len(self._labels)} labels"
            )
        # Remembered by each explorer for itself: another one has other pictures under the same numbers.
        self._mask_png = lru_cache(REMEMBERED)(self._draw_masks)
        self._depth_png = lru_cache(REMEMBERED)(self._draw_depths)

        one_of = widgets.IntSlider(value=1, min=1, max=max(2, count), disabled=count == 1)
        self.sample = Control("sample", one_of, ("previous", "next"), lambda number: f"{number} of {count}")
        self.threshold = _share("mask threshold", 0.5, 0.05, 0.95)
        self.opacity = _share("overlay opacity", 0.5)
        self.near = _share("first colour at depth", 0.0, 0.0, 0.95)
        self.far = _share("last colour at depth", 1.0, 0.05, 1.0)

        height, width = self._quartets[0]["bg"].shape[-2:]
        panel = round(SIDE * width / height)
        self.about = widgets.Label()
        self.mask_words, self.depth_words = ([widgets.Label() for _ in range(3)] for _ in range(2))
        self.mask_view, self.depth_view = (fixed_image(3 * (panel + GAP) - GAP, SIDE) for _ in range(2))
        ramp = fixed_image(panel, 12)
        ramp.value = _depth_ramp(panel)
        self._ends = [widgets.Label() for _ in range(2)]
        legend = widgets.HTML(
            f"Mask: white is cat that was found, {_patch(MISSED)} cat that was missed, {_patch(FALSE_ALARM)} room "
            f"taken for cat. Depth error: black is none, the brightest is {ERROR_LIMIT} and more. "
            "Grey stripes: depth unknown."
        )

        for control in (self.threshold, self.opacity):
            control.slider.observe(self._show_masks, "value")
        for control, other in ((self.near, self.far), (self.far, self.near)):
            control.slider.observe(self._make_way(control, other), "value")
            control.slider.observe(self._show_depths, "value")
        self.sample.slider.observe(self._show_sample, "value")
        self._show_sample()
        super().__init__([
            self.sample, self.threshold, self.opacity, self.near, self.far, self.about,
            words_above(self.mask_words, panel), self.mask_view, words_above(self.depth_words, panel), self.depth_view,
            widgets.HBox([self._ends[0], ramp, self._ends[1]], layout=widgets.Layout(align_items="center")), legend,
        ])  # fmt: skip

    # -- what the sliders call --

    def _show_sample(self, _=None) -> None:
        quartet, label = self._quartets[self._index], self._labels[self._index]
        metres = in_metres(quartet["near_far"]) if "near_far" in quartet else ""
        words = (label, f"depth from {metres}" if metres else "depth without metres")
        self.about.value = ", ".join(word for word in words if word)
        self._show_masks()
        self._show_depths()

    def _show_masks(self, _=None) -> None:
        threshold = round(self.threshold.slider.value, 6)
        self.mask_view.value, dice = self._mask_png(self._index, threshold, round(self.opacity.slider.value, 6))
        self._say(self.mask_words, "the room", "with the predicted cat", f"mask, Dice {dice:.3f}")

    def _show_depths(self, _=None) -> None:
        near, far = round(self.near.slider.value, 6), round(self.far.slider.value, 6)
        if near >= far:
            return  # the other end is about to make way, and calls again
        self.depth_view.value, error = self._depth_png(self._index, near, far)
        said = "unknown" if np.isnan(error) else f"{error:.3f} on average"
        self._say(self.depth_words, "true depth", "predicted depth", f"error, {said}")
        self._ends[0].value, self._ends[1].value = f"near {near:.2f}", f"{far:.2f} far"

    @staticmethod
    def _make_way(moved: Control, other: Control) -> Callable:
        """The first colour stays nearer than the last: whichever end is moved pushes the other one along."""

        def push(_) -> None:
            near, far = (moved, other) if moved.slider.min < other.slider.min else (other, moved)
            if round(far.slider.value - near.slider.value, 6) <= 0:
                step = moved.slider.step if moved is near else -moved.slider.step
                other.slider.value = round(moved.slider.value + step, 6)

        return push

    @property
    def _index(self) -> int:
        return min(self.sample.slider.value, len(self._quartets)) - 1

    @staticmethod
    def _say(labels: Sequence[widgets.Label], *words: str) -> None:
        for label, text in zip(labels, words):
            label.value = text

    # -- what they show --

    def _draw_masks(self, index: int, threshold: float, opacity: float) -> tuple[bytes, float]:
        """The PNG of the upper row, and the mask's Dice."""
        quartet, prob = self._quartets[index], plane(self._probs[index])
        found, real = prob >= threshold, plane(quartet["mask"]) >= 0.5
        scene = overlay(quartet["bg_fg"], found, opacity, MASK_COLOUR)
        return strip([picture(quartet["bg"]), scene, mask_errors(quartet["mask"], prob, threshold)]), dice(found, real)

    def _draw_depths(self, index: int, near: float, far: float) -> tuple[bytes, float]:
        """The PNG of the lower row, and the mean absolute error over valid pixels: NaN if there is none."""
        quartet, predicted = self._quartets[index], plane(self._depths[index])
        valid = plane(quartet["valid"]).astype(bool)
        error = np.where(valid, np.abs(predicted - plane(quartet["depth"])), np.nan)
        truth = depth_picture(quartet["depth"], valid, near, far)
        png = strip([truth, depth_picture(predicted, None, near, far), error_picture(error)])
        return png, float(error[valid].mean()) if valid.any() else float("nan")


def explore(batch, mask_prob, depth, labels: Sequence[str] | None = None) -> Explorer:
    """An :class:`Explorer` of quartets and what a network says about them: let it stand last in a cell.

    Args:
        batch: quartets (one, a batch, or a sequence).
        mask_prob: (B, 1, H, W) or (B, H, W) probability of cat.
        depth: (B, 1, H, W) or (B, H, W) depth in [0, 1].
        labels: a few words about each quartet.

    Raises:
        ValueError: not as many of each.
    """
    return Explorer(batch, mask_prob, depth, labels)


def dice(found: np.ndarray, real: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 1 where both are empty."""
    size = found.sum() + real.sum()
    return float(2 * (found & real).sum() / size) if size else 1.0


def fixed_image(width: int, height: int) -> widgets.Image:
    """An image whose place on the page keeps its height, whatever PNG it shows, and fits into a narrow page."""
    size = {"width": f"{width}px", "max_width": "calc(100% - 4px)", "height": f"{height}px", "flex": "0 0 auto"}
    layout = widgets.Layout(**size, object_fit="contain", object_position="left top")
    return widgets.Image(format="png", layout=layout)


def words_above(labels: Sequence[widgets.Label], panel: int) -> widgets.HBox:
    """Labels that stand above panels of ``panel`` pixels, or of less where the page is narrow."""
    for label in labels:
        label.layout = widgets.Layout(flex=f"0 1 {panel}px", width=f"{panel}px", margin=f"0 {GAP}px 0 0")
    return widgets.HBox(list(labels), layout=widgets.Layout(margin="0 0 0 2px"))  # as far in as an image


def _patch(colour: str) -> str:
    return f'<span style="background:{colour}; color:{colour}">██</span>'
