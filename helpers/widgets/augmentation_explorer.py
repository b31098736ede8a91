"""Notebook 02's sliders: one for each magnitude of the augmentation pipeline, and one for the draw.

A draw is a seed: the same random numbers at every magnitude, so that a slider makes one change stronger and leaves the
others.
"""

import ipywidgets as widgets
import numpy as np

from helpers.dataset import Quartet
from helpers.demos.transforms import FILLS, Magnitudes, apply, pipeline
from helpers.plots import depth_picture, overlay, picture
from helpers.widgets.controls import Chooser, Control, PairPanels, toggle

HEIGHT = 180  # pixels of a picture on the screen
DRAWS = 20

# For each magnitude: its name on the slider, the greatest value, the step, and how a value is written.
SHOWN = {
    "mirror": ("mirrored, probability", 1.0, 0.5, "{:.1f}"),
    "crop": ("crop, of the width", 0.7, 0.1, "{:.0%}"),
    "rotate": ("rotation, up to", 45.0, 5.0, "{:.0f}°"),
    "brightness": ("brightness, up to", 0.6, 0.1, "{:.0%}"),
    "contrast": ("contrast, up to", 0.6, 0.1, "{:.0%}"),
    "hue": ("hue, up to", 60.0, 10.0, "{:.0f} of 180"),
    "channels": ("red, green, blue, up to", 60.0, 10.0, "{:.0f} of 255"),
    "shift": ("shift of bg, up to", 0.15, 0.015, "{:.1%} of width"),
    "exposure": ("exposures, up to", 0.5, 0.1, "{:.0%}"),
    "blur": ("blur, up to", 3.0, 0.5, "{:.1f} px"),
    "noise": ("noise, up to", 40.0, 5.0, "{:.0f} of 255"),
    "jpeg": ("JPEG, quality lost", 95.0, 5.0, "{:.0f} of 100"),
}


class AugmentationExplorer(PairPanels):
    """Four pictures of one changed quartet, what was drawn, and the controls; made by :func:`explore_magnitudes`.

    Attributes:
        controls: for each magnitude a :class:`helpers.widgets.controls.Control`; drive them by ``.slider.value``.
        sample: the :class:`helpers.widgets.controls.Chooser` of the draw.
        fill: a toggle for what a rotation uncovers.
    """

    def __init__(self, quartet: Quartet):
        self._quartet = quartet
        self.controls = {}
        for name, (title, most, step, form) in SHOWN.items():
            slider = widgets.FloatSlider(value=0.0, min=0.0, max=most, step=step)
            self.controls[name] = Control(title, slider, ("less", "more"), form.format)
        self.sample, self.fill = Chooser("draw", DRAWS), toggle("what rotation uncovers", tuple(FILLS))
        super().__init__([self.sample, *self.controls.values(), self.fill], height=HEIGHT)
        self.about.layout = widgets.Layout(height="56px", overflow="auto")  # two lines, if all is turned up

    def picked(self) -> tuple:
        return self.sample.index + 1, self.fill.value, *(control.value for control in self.controls.values())

    def draw(self, seed: int, fill: str, *magnitudes: float) -> tuple[str, list[dict]]:
        changed, drawn = apply(pipeline(Magnitudes(*magnitudes), seed, fill, always=True), self._quartet)
        difference = np.abs(picture(changed["bg_fg"]) - picture(changed["bg"])).max(-1)
        row = {
            "bg": picture(changed["bg"]),
            "bg_fg, the mask on it": overlay(changed["bg_fg"], changed["mask"]),
            "their difference x 3": picture((3 * difference).clip(0, 1)),
            "depth": depth_picture(changed["depth"], changed["valid"]),
        }
        names = [name for name, _ in drawn]
        both = {name.removesuffix(" of bg") for name in names if name.endswith(" of bg") and f"{name}_fg" in names}
        once = dict.fromkeys(name.split(" of ")[0] if name.split(" of ")[0] in both else name for name in names)
        return "changed by: " + (", ".join(once) if any(magnitudes) else "nothing"), [row]


def explore_magnitudes(quartet: Quartet) -> AugmentationExplorer:
    """An :class:`AugmentationExplorer` of one quartet: let it be the last line of a cell."""
    return AugmentationExplorer(quartet)
