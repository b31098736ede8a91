"""Notebook 04's sliders: make a perfect prediction wrong by hand, and see what every loss and metric makes of it.

The prediction starts as the ground truth; sliders move it, blur it, shrink or grow its mask, shift its depth and take
its confidence away. Beside the pictures is a bar for each loss and metric, on scales that never change, with a tick
where the ground truth itself would be.
"""

import math
from collections.abc import Mapping
from html import escape
from typing import NamedTuple

import ipywidgets as widgets
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.dataset import Quartet
from helpers.demos import distortions
from helpers.losses import gradient_loss, masked_mean, soft_dice_loss, ssim_loss
from helpers.metrics import NEAREST_METRES, Meter, align, outline
from helpers.plots import LINES, depth_picture, overlay, picture
from helpers.widgets.controls import Chooser, Control, PairPanels


class Group(NamedTuple):
    """Bars with one scale."""

    heading: str
    colour: str
    full: float  # the value of a full bar
    names: tuple[str, ...]


GROUPS = (
    Group("losses of the mask, 0 is best", LINES[1], 1.0, ("BCE", "Dice loss")),
    Group("losses of the depth, 0 is best", LINES[0], 0.25, ("L1", "(1 - SSIM)/2", "gradient / 2")),
    Group("metrics, 1 is best", LINES[2], 1.0, ("mask Dice", "BF@1px", "δ < 1.25")),
    Group("metric, 0 is best", LINES[2], 0.25, ("depth RMSE",)),
)


class Change(NamedTuple):
    """What is done to the ground truth, in this order; as it stands here, nothing."""

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
    """Mask and depth (B, 1, H, W) of ``quartets`` after ``change``; depth is not cut off at 0 or 1."""
    mask, depth, valid = quartets["mask"], quartets["depth"], quartets["valid"]
    if change.grown:
        mask = distortions.grown(mask > 0.5, change.grown).float()
    known, total = (x.sum((1, 2, 3), keepdim=True) for x in (valid, torch.where(valid, depth, 0.0)))
    depth = torch.where(valid, depth, total / known.clamp_min(1))  # unknown depth shall not be moved in as "nearest"
    mask, depth = (distortions.blurred(distortions.moved(x, change.moved), change.blurred) for x in (mask, depth))
    return mask.clamp(1 - change.confidence, change.confidence), depth + change.shifted


def measured(quartet: Quartet, mask: Tensor, depth: Tensor) -> dict[str, float]:
    """A number for each of the names in :data:`GROUPS`, as the course computes it.

    NaN: for depth where no pixel is valid; for δ also where the source has no metres.

    Args:
        quartet: a batch of one.
        mask: (1, 1, H, W) probability of cat; BCE sees logits of at most 99 %.
        depth: (1, 1, H, W); may leave [0, 1].
    """
    target, valid, (near, far) = quartet["depth"], quartet["valid"], quartet["near_far"][0]
    meter = Meter(edges=False)
    meter.update(mask, target, quartet)  # for the mask alone: it refuses depth outside [0, 1]
    of_mask, error = meter.result(), depth - target
    metres = near + target * (far - near)
    aligned = align(depth, metres, valid).clamp_min(NEAREST_METRES)
    close = torch.maximum(aligned / metres, metres / aligned) < 1.25
    of_depth = {
        "L1": masked_mean(error.abs(), valid),
        "(1 - SSIM)/2": ssim_loss(depth, target, valid),
        "gradient / 2": 0.5 * gradient_loss(depth, target, valid),
        "δ < 1.25": masked_mean(close.float(), valid) if torch.isfinite(near) else math.nan,
        "depth RMSE": masked_mean(error**2, valid).sqrt(),
    }
    return {
        "BCE": float(F.binary_cross_entropy_with_logits(distortions.confident(mask), quartet["mask"])),
        "Dice loss": float(soft_dice_loss(mask, quartet["mask"])),
        "mask Dice": of_mask["mask_dice"],
        "BF@1px": of_mask["boundary_f_1px"],
        **{name: float(value) if valid.any() else math.nan for name, value in of_depth.items()},
    }


def bars(values: Mapping[str, float], targets: Mapping[str, float]) -> str:
    """HTML: a bar and a number for each of ``values``, and a tick where ``targets`` are, in the colours of the page."""

    def share(value: float, full: float) -> str:
        return f"{0 if math.isnan(value) else 100 * min(value / full, 1):.1f}%"

    lines = []
    for heading, colour, full, names in GROUPS:
        lines.append(f'<div style="line-height:1.6"><b>{heading}</b>; a full bar is {full:g}</div>')
        for name in names:
            number = "unknown" if math.isnan(values[name]) else f"{values[name]:.3f}"
            bar = f'<div style="width:{share(values[name], full)};height:100%;background:{colour}"></div>'
            at = f"position:absolute;top:-2px;bottom:-2px;left:{share(targets[name], full)}"
            tick = f'<div style="{at};width:2px;background:currentColor"></div>'
            lines.append(
                f'<div style="display:flex;align-items:center;line-height:1.5"><span style="width:120px">{escape(name)}'
                '</span><span style="position:relative;width:160px;height:13px;background:rgba(128,128,128,.25)">'
                f'{bar}{"" if math.isnan(targets[name]) else tick}</span>'
                f'<span style="width:70px;text-align:right">{number}</span></div>'
            )
    return f'<div style="width:360px">{"".join(lines)}<div>tick: the ground truth itself</div></div>'


class LossExplorer(PairPanels):
    """Ground truth and changed prediction, a bar for each loss and metric, controls; made by :func:`explore_losses`.

    Attributes:
        sample: the :class:`helpers.widgets.controls.Chooser` of the quartet.
        controls: for each field of :class:`Change` a :class:`helpers.widgets.controls.Control`.
        again: the button that makes the prediction the ground truth.
        about: the bars and numbers.
    """

    def __init__(self, batch: Quartet):
        self._batch = batch
        self.sample = Chooser("sample", len(batch["bg"]))
        self.controls = {}
        for name, (title, low, high, step, buttons, form) in SHOWN.items():
            kind = widgets.IntSlider if isinstance(step, int) else widgets.FloatSlider
            slider = kind(value=getattr(Change(), name), min=low, max=high, step=step)
            self.controls[name] = Control(title, slider, buttons, form.format)
        self.again = widgets.Button(description="start again", layout=widgets.Layout(width="120px"))
        self.again.on_click(self._start_again)
        super().__init__([self.sample, *self.controls.values()])
        side_by_side = widgets.HBox([self.pictures, self.about], layout=widgets.Layout(flex_flow="row wrap"))
        self.children = (self.above, self.again, side_by_side)

    def _start_again(self, _=None) -> None:
        for name, control in self.controls.items():
            control.slider.value = getattr(Change(), name)

    def picked(self) -> tuple:
        return self.sample.index, Change(**{name: control.value for name, control in self.controls.items()})

    def draw(self, index: int, change: Change) -> tuple[str, list[dict]]:
        quartet = {key: value[index : index + 1] for key, value in self._batch.items()}
        mask, depth = changed(quartet, change)
        valid, edge = quartet["valid"][0], outline(quartet["mask"] > 0.5)[0]
        masks = {
            "mask, ground truth": picture(quartet["mask"][0]),
            "changed, boundary as it was": overlay(mask[0], edge, 1.0),
        }
        depths = {
            "depth, ground truth": depth_picture(quartet["depth"][0], valid),
            "depth, changed": depth_picture(depth[0], valid),
        }
        start = measured(quartet, *changed(quartet, Change()))
        return bars(measured(quartet, mask, depth), start), [masks, depths]


def explore_losses(batch: Quartet) -> LossExplorer:
    """A :class:`LossExplorer` of the quartets of a batch on the CPU: let it be the last line of a cell.

    Raises:
        ValueError: there is no quartet in it.
    """
    if not len(batch["bg"]):
        raise ValueError("there is no quartet in this batch: give it at least one")
    return LossExplorer(batch)
