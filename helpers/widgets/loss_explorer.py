"""Notebook 04's sliders: make a true answer wrong by hand, and see at once what every loss and metric says about it.

``explore_losses(batch)`` shows one quartet at a time. The prediction starts as the truth; sliders move it, blur it,
shrink or grow its mask, shift its depth and take its confidence away. Beside the pictures stands a bar for each loss
and each metric, on scales that never change, with a tick where the truth would be. Pictures and bars are one PNG,
drawn by PIL and remembered.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import ipywidgets as widgets
import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from helpers.dataset import Quartet
from helpers.demos import networks as lessons
from helpers.losses import gradient_loss, masked_mean, soft_dice_loss, ssim_loss
from helpers.metrics import NEAREST_METRES, Meter, align, outline
from helpers.plots import LINES, depth_picture, overlay, picture
from helpers.widgets.explorer import GAP, REMEMBERED, SIDE, Control, fixed_image

LINE = 20  # height of a line of text
WIDTH, HEIGHT = 820, 2 * (SIDE + LINE) + 3 * GAP  # white, with a margin: it is read on dark pages too
BARS = 2 * (SIDE + GAP) + 32  # where the panel of bars begins, from the left
NAMES = 116  # width of the names before the bars
VALUES = 52  # and of the numbers behind them



class Group(NamedTuple):
    """Bars with one scale."""

    heading: str
    colour: str
    full: float  # the value of a full bar
    names: tuple[str, ...]


LOSSES = (
    Group("losses of the mask, 0 is best", LINES[1], 1.0, ("BCE", "Dice loss")),
    Group("losses of the depth, 0 is best", LINES[0], 0.25, ("L1", "(1 - SSIM)/2", "gradient / 2")),
)
METRICS = (
    Group("metrics, 1 is best", LINES[2], 1.0, ("mask Dice", "boundary F, 2 px", "δ < 1.25")),
    Group("metric, 0 is best", LINES[2], 0.25, ("depth RMSE",)),
)


class Change(NamedTuple):
    """What is done to the truth, in this order; as it stands here, nothing."""

    grown: int = 0  # pixels by which the mask's outline moves outwards, inwards where negative
    moved: int = 0  # pixels to the right, mask and depth
    blurred: float = 0.0  # sigma of a Gaussian in pixels, mask and depth
    shifted: float = 0.0  # added to the depth
    confidence: float = 1.0  # no pixel of the mask is surer than this of being cat, or none


# For each field of Change: its name on the slider, least and greatest value, step, buttons, and how a value is written.
SHOWN = {
    "moved": ("moved right", 0, 12, 1, ("less", "more"), "{:d} px"),
    "blurred": ("blurred, σ", 0.0, 6.0, 0.5, ("less", "more"), "{:.1f} px"),
    "grown": ("mask grown", -4, 4, 1, ("shrink", "grow"), "{:+d} px"),
    "confidence": ("mask at most this sure", 0.5, 1.0, 0.05, ("less", "more"), "{:.0%}"),
    "shifted": ("added to the depth", 0.0, 0.2, 0.02, ("nearer", "farther"), "{:.2f}"),
}


def changed(quartets: Quartet, change: Change) -> tuple[Tensor, Tensor]:
    """The true mask and depth (B, 1, H, W) of ``quartets`` after ``change``; depth is not cut off at 0 or 1."""
    mask, depth, valid = quartets["mask"], quartets["depth"], quartets["valid"]
    if change.grown:
        mask = lessons.grown(mask > 0.5, change.grown).float()
    known, total = (x.sum((1, 2, 3), keepdim=True) for x in (valid, torch.where(valid, depth, 0.0)))
    depth = torch.where(valid, depth, total / known.clamp_min(1))  # unknown depth shall not be moved in as "nearest"
    mask, depth = (lessons.blurred(lessons.moved(maps, change.moved), change.blurred) for maps in (mask, depth))
    return mask.clamp(1 - change.confidence, change.confidence), depth + change.shifted


def measured(quartet: Quartet, mask: Tensor, depth: Tensor) -> dict[str, float]:
    """Each of :data:`LOSSES` and :data:`METRICS` for a batch of one quartet, as the course computes it.

    Args:
        quartet: a batch of one.
        mask: (1, 1, H, W) probability of cat; BCE sees logits of at most 99 % (:func:`helpers.demos.networks.confident`).
        depth: (1, 1, H, W); may leave [0, 1].

    Returns:
        A number by name. NaN: for depth where no pixel is valid; for δ also where the source has no metres.
    """
    truth, valid, (near, far) = quartet["depth"], quartet["valid"], quartet["near_far"][0]
    meter = Meter()
    meter.update(mask, truth, quartet)
    of_mask, error = meter.result(), depth - truth
    metres = near + truth * (far - near)
    aligned = align(depth, metres, valid).clamp_min(NEAREST_METRES)
    close = torch.maximum(aligned / metres, metres / aligned) < 1.25
    of_depth = {
        "L1": masked_mean(error.abs(), valid),
        "(1 - SSIM)/2": ssim_loss(depth, truth, valid),
        "gradient / 2": 0.5 * gradient_loss(depth, truth, valid),
        "δ < 1.25": masked_mean(close.float(), valid) if torch.isfinite(near) else math.nan,
        "depth RMSE": masked_mean(error**2, valid).sqrt(),
    }
    return {
        "BCE": float(F.binary_cross_entropy_with_logits(lessons.confident(mask), quartet["mask"])),
        "Dice loss": float(soft_dice_loss(mask, quartet["mask"])),
        "mask Dice": of_mask["mask_dice"],
        "boundary F, 2 px": of_mask["boundary_f_2px"],
        **{name: float(value) if valid.any() else math.nan for name, value in of_depth.items()},
    }


# -- drawing -------------------------------------------------------------------------------------------------------


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: every machine has it, and it knows δ."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _written(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3f}"


def draw_bars(
    draw: ImageDraw.ImageDraw, left: int, right: int, values: Mapping[str, float], truth: Mapping[str, float]
) -> None:  # fmt: skip
    """A bar and a number for each value, between two columns of pixels; a black tick where ``truth`` is."""
    start, end, y = left + NAMES, right - VALUES, GAP
    draw.text((right, GAP + 1), "black tick: the truth itself", "black", _font(11), anchor="ra")
    for group in (*LOSSES, *METRICS):
        draw.text((left, y), group.heading, "black", _font(13, bold=True))
        y += LINE + 4
        for name in group.names:
            draw.text((left, y), name, "black", _font(12))
            draw.rectangle((start, y + 1, end, y + 14), "#e9ecef")
            if not math.isnan(values[name]):
                bar, tick = (start + round(min(x[name] / group.full, 1.0) * (end - start)) for x in (values, truth))
                if bar > start:
                    draw.rectangle((start, y + 1, bar, y + 14), group.colour)
                draw.line((tick, y - 1, tick, y + 16), "black", 2)
            draw.text((right, y), _written(values[name]), "black", _font(12), anchor="ra")
            y += LINE + 2
        draw.line((start, y, end, y), "black")
        draw.text((start, y + 4), "0", "black", _font(10), anchor="lt")
        draw.text((end, y + 4), f"{group.full:g}", "black", _font(10), anchor="rt")
        y += LINE + 4


# -- the explorer --------------------------------------------------------------------------------------------------


class LossExplorer(widgets.VBox):
    """A true and a changed answer, a bar for each loss and metric, and the controls; made by :func:`explore_losses`.

    Attributes:
        sample: the control that says which quartet is shown.
        controls: for each field of :class:`Change` a :class:`helpers.widgets.explorer.Control`; drive them by ``.slider.value``.
        again: the button that makes the prediction the truth.
        view: the image; ``.value`` is a PNG, always of the same size.
        losses, metrics: the same numbers as text.
    """

    def __init__(self, batch: Quartet):
        self._batch, count = batch, len(batch["bg"])
        self._frame = lru_cache(REMEMBERED)(self._draw_frame)
        self._measured = lru_cache(REMEMBERED)(self._measure)
        one_of = widgets.IntSlider(value=1, min=1, max=max(2, count), disabled=count == 1)
        self.sample = Control("sample", one_of, ("previous", "next"), lambda number: f"{number} of {count}")
        self.controls = {}
        for name, (title, low, high, step, buttons, form) in SHOWN.items():
            kind = widgets.IntSlider if isinstance(step, int) else widgets.FloatSlider
            slider = kind(value=getattr(Change(), name), min=low, max=high, step=step)
            self.controls[name] = Control(title, slider, buttons, form.format)
        self.again = widgets.Button(description="start again", layout=widgets.Layout(width="120px"))
        self.again.on_click(self._start_again)
        self.view = fixed_image(WIDTH, HEIGHT)
        self.losses, self.metrics = widgets.HTML(), widgets.HTML()  # which goes on in a second line, unlike a Label
        for control in (self.sample, *self.controls.values()):
            control.slider.observe(self._show, "value")
        self._restarting = False
        self._show()
        super().__init__([self.sample, *self.controls.values(), self.again, self.view, self.losses, self.metrics])

    def _start_again(self, _=None) -> None:
        self._restarting = True  # one new picture, not one for each slider
        try:
            for name, control in self.controls.items():
                control.slider.value = getattr(Change(), name)
        finally:
            self._restarting = False
        self._show()

    def _show(self, _=None) -> None:
        if self._restarting:
            return
        index = min(self.sample.slider.value, len(self._batch["bg"])) - 1
        change = Change(**{name: round(control.slider.value, 6) for name, control in self.controls.items()})
        self.view.value = self._frame(index, change)
        values = self._measured(index, change)
        for label, kind, groups in ((self.losses, "losses", LOSSES), (self.metrics, "metrics", METRICS)):
            said = [f"{name} {_written(values[name])}" for group in groups for name in group.names]
            label.value = html.escape(f"{kind}: {', '.join(said)}")

    def _quartet(self, index: int) -> Quartet:
        return {key: value[index : index + 1] for key, value in self._batch.items()}

    def _measure(self, index: int, change: Change) -> dict[str, float]:
        quartet = self._quartet(index)
        return measured(quartet, *changed(quartet, change))

    def _draw_frame(self, index: int, change: Change) -> bytes:
        """The PNG: true and changed mask above, true and changed depth below, the bars on the right."""
        quartet = self._quartet(index)
        mask, depth = changed(quartet, change)
        valid, edge = quartet["valid"][0], outline(quartet["mask"] > 0.5)[0]
        rows = (
            {"true mask": picture(quartet["mask"][0]), "changed, true outline": overlay(mask[0], edge, 1.0)},
            {"true depth": depth_picture(quartet["depth"][0], valid), "changed depth": depth_picture(depth[0], valid)},
        )
        sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
        draw = ImageDraw.Draw(sheet)
        for row, panels in enumerate(rows):
            for column, (title, panel) in enumerate(panels.items()):
                x, y = GAP + column * (SIDE + GAP), GAP + row * (SIDE + LINE + GAP)
                shown = Image.fromarray((panel * 255).round().astype(np.uint8))
                draw.text((x, y), title, "black", _font(13))
                sheet.paste(shown.resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, y + LINE))
        draw_bars(draw, BARS, WIDTH - GAP, self._measured(index, change), self._measured(index, Change()))
        stream = io.BytesIO()
        sheet.save(stream, "PNG", compress_level=1)
        return stream.getvalue()


def explore_losses(batch: Quartet) -> LossExplorer:
    """A :class:`LossExplorer` of the quartets of a batch on the CPU: let it stand last in a cell.

    Raises:
        ValueError: there is no quartet in it.
    """
    if not len(batch["bg"]):
        raise ValueError("there is no quartet in this batch: give it at least one")
    return LossExplorer(batch)
