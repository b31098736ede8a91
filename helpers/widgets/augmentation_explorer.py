"""Notebook 02's sliders: one for each strength of the augmentation pipeline, and one for the draw.

``explore_strengths(quartet)`` shows one quartet as :func:`helpers.demos.transforms.pipeline` changes it. A draw is a seed: the
same random numbers at every strength, so that a slider makes one change stronger and leaves the others where they are.
Frames are made once and remembered.
"""

from __future__ import annotations

from functools import lru_cache

import ipywidgets as widgets
import numpy as np

from helpers.dataset import Quartet
from helpers.demos.transforms import FILLS, Magnitudes, apply, pipeline
from helpers.plots import depth_picture, overlay, picture
from helpers.widgets.explorer import GAP, REMEMBERED, Control, fixed_image, strip, words_above

SIDE = 180  # pixels of one panel on the screen
DRAWS = 20

# For each strength: its name on the slider, the greatest value, the step, and how a value is written.
SHOWN = {
    "mirror": ("mirrored, probability", 1.0, 0.5, "{:.1f}"),
    "crop": ("crop, of the side", 0.7, 0.1, "{:.0%}"),
    "rotate": ("rotation, up to", 45.0, 5.0, "{:.0f}°"),
    "brightness": ("brightness, up to", 0.6, 0.1, "{:.0%}"),
    "contrast": ("contrast, up to", 0.6, 0.1, "{:.0%}"),
    "hue": ("hue, up to", 60.0, 10.0, "{:.0f} of 180"),
    "channels": ("red, green, blue, up to", 60.0, 10.0, "{:.0f} of 255"),
    "shift": ("shift of bg, up to", 0.15, 0.015, "{:.1%} of the side"),
    "exposure": ("exposures, up to", 0.5, 0.1, "{:.0%}"),
    "blur": ("blur, up to", 3.0, 0.5, "{:.1f} px"),
    "noise": ("noise, up to", 40.0, 5.0, "{:.0f} of 255"),
    "jpeg": ("JPEG, quality lost", 95.0, 5.0, "{:.0f} of 100"),
}
PANELS = ("bg", "bg_fg, the mask on it", "their difference x 3", "depth")


class StrengthsExplorer(widgets.VBox):
    """Four pictures of one changed quartet, what was drawn, and the controls; made by :func:`explore_magnitudes`.

    Attributes:
        controls: for each strength a :class:`helpers.widgets.explorer.Control`; drive them by ``.slider.value``.
        draw: the control that says which draw is shown.
        fill: a toggle for what a rotation uncovers.
        view: the image; ``.value`` is a PNG, always of the same size.
        drawn: what was done, in words.
    """

    def __init__(self, quartet: Quartet):
        self._quartet = quartet
        self._frame = lru_cache(REMEMBERED)(self._draw_frame)
        self.controls = {}
        for name, (title, most, step, form) in SHOWN.items():
            slider = widgets.FloatSlider(value=0.0, min=0.0, max=most, step=step)
            self.controls[name] = Control(title, slider, ("less", "more"), form.format)
        seed = widgets.IntSlider(value=1, min=1, max=DRAWS)
        self.draw = Control("draw", seed, ("previous", "next"), lambda number: f"{number} of {DRAWS}")
        self.fill = widgets.ToggleButtons(options=FILLS, description="what rotation uncovers", style={"description_width": "initial"})
        self.view = fixed_image(len(PANELS) * (SIDE + GAP) - GAP, SIDE)
        self.drawn = widgets.HTML(layout=widgets.Layout(height="56px", overflow="auto"))  # two lines, if all is turned up
        for control in (*self.controls.values(), self.draw):
            control.slider.observe(self._show, "value")
        self.fill.observe(self._show, "value")
        self._show()
        titles = [widgets.Label(title) for title in PANELS]
        super().__init__([
            words_above(titles, SIDE), self.view, self.drawn, self.draw, *self.controls.values(), self.fill,
        ])  # fmt: skip

    def _show(self, _=None) -> None:
        strengths = tuple(round(control.slider.value, 6) for control in self.controls.values())
        self.view.value, self.drawn.value = self._frame(strengths, self.draw.slider.value, self.fill.value)

    def _draw_frame(self, strengths: tuple[float, ...], seed: int, fill: str) -> tuple[bytes, str]:
        """The PNG of the four panels, and what was drawn."""
        changes = pipeline(self._quartet["bg"].shape[-1], Magnitudes(*strengths), seed, fill, always=True)
        changed, drawn = apply(changes, self._quartet)
        difference = np.abs(picture(changed["bg_fg"]) - picture(changed["bg"])).max(-1)
        panels = [
            picture(changed["bg"]),
            overlay(changed["bg_fg"], changed["mask"]),
            picture((3 * difference).clip(0, 1)),
            depth_picture(changed["depth"], changed["valid"]),
        ]
        names = [name for name, _ in drawn[1:]]  # the first, Move, is always there
        pairs = {name for name in names if name.endswith(" of bg") and f"{name}_fg" in names}
        names = [f"{name.removesuffix('_fg')}, bg_fg" if name.removesuffix("_fg") in pairs else name
                 for name in names if name not in pairs]  # fmt: skip
        return strip(panels, SIDE), "changed by: " + (", ".join(["Move", *names]) if any(strengths) else "nothing")


def explore_magnitudes(quartet: Quartet) -> StrengthsExplorer:
    """A :class:`StrengthsExplorer` of one quartet: let it stand last in a cell."""
    return StrengthsExplorer(quartet)
