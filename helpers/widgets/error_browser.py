"""Notebook 06's browser of test errors: every quartet of a set in one order, the worst first.

``worst_first(dataset, answer, dice, rmse)`` sorts by the mask or by the depth, over all quartets or one from each room,
and shows one at a time with the maps of its errors. A quartet is fetched, and the network asked, when its rank is first
looked at; its pictures are remembered. ``Control``, the images and the colours are those of :mod:`helpers.widgets.explorer`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
from torch.utils.data import Dataset

from helpers.dataset import Quartet, get_batch, scenes
from helpers.plots import array, depth_picture, in_metres, mask_errors, picture, plane, quartets_of
from helpers.widgets.explorer import (
    ERROR_LIMIT,
    GAP,
    REMEMBERED,
    SIDE,
    Control,
    error_picture,
    fixed_image,
    strip,
    words_above,
)

ORDERS = ("worst mask first", "worst depth first")
SCOPES = ("every test quartet", "the worst of each room")


class WorstFirst(widgets.VBox):
    """Two rows of pictures of one quartet, the words about it, and three controls; made by :func:`worst_first`.

    Attributes:
        order, scope: toggles between :data:`ORDERS` (where a depth is known at all) and between :data:`SCOPES`.
        rank: the :class:`helpers.widgets.explorer.Control` that walks from the worst, 1, to the best.
        mask_view, depth_view: the images; ``.value`` is a PNG, always of the same size.
        about: rank, number, room, cat, the cat's size and the metres.
        mask_words, depth_words: what stands above the images, both scores among it.
    """

    def __init__(self, dataset: Dataset, answer: Callable[[Quartet], tuple], dice, rmse):
        self._dataset, self._answer = dataset, answer
        self._dice, self._rmse = array(dice).astype(float).ravel(), array(rmse).astype(float).ravel()
        if not len(dataset) or not len(dataset) == len(self._dice) == len(self._rmse):
            raise ValueError(
                f"there must be one Dice and one RMSE for each quartet (at least 1), not {len(dataset)} quartets, "
                f"{len(self._dice)} Dice and {len(self._rmse)} RMSE"
            )
        if not np.isfinite(self._dice).all():
            raise ValueError("dice must hold a number for each quartet; only rmse may be NaN, where no depth is known")
        self._rooms, self._cats = (array(column) for column in scenes(dataset))
        self._pngs = lru_cache(REMEMBERED)(self._draw)  # of this browser only: another one has another dataset

        orders = ORDERS if np.isfinite(self._rmse).any() else ORDERS[:1]
        self.order, self.scope = (_toggle(name, options) for name, options in (("order", orders), ("show", SCOPES)))
        self._ranking = self._ranked()
        slider = widgets.IntSlider(value=1, min=1, max=max(2, len(dataset)), disabled=len(dataset) == 1)
        self.rank = Control("rank", slider, ("worse", "better"), str)

        height, width = get_batch(dataset, [0])["bg"].shape[-2:]
        panel = round(SIDE * width / height)
        self.about = widgets.Label()
        self.mask_words, self.depth_words = ([widgets.Label() for _ in range(3)] for _ in range(2))
        self.mask_view, self.depth_view = (fixed_image(3 * (panel + GAP) - GAP, SIDE) for _ in range(2))
        legend = widgets.HTML(
            "Mask errors: white is cat that was found, blue is cat that was missed, orange is room taken for cat. "
            f"Depth error: black is none, the brightest is {ERROR_LIMIT} and more. Grey stripes: depth unknown."
        )
        slider.observe(self._show, "value")
        for toggle in (self.order, self.scope):
            toggle.observe(self._begin_again, "value")
        self._show()
        super().__init__([
            self.order, self.scope, self.rank, self.about,
            words_above(self.mask_words, panel), self.mask_view, words_above(self.depth_words, panel), self.depth_view,
            legend,
        ])  # fmt: skip

    @property
    def index(self) -> int:
        """The number, in the dataset, of the quartet that is shown."""
        return int(self._ranking[min(self.rank.slider.value, len(self._ranking)) - 1])

    def _ranked(self) -> np.ndarray:
        """Numbers of quartets from the worst to the best; those that have no score are not among them."""
        badness = -self._dice if self.order.value == ORDERS[0] else self._rmse
        ranking = np.argsort(-badness, kind="stable")
        ranking = ranking[np.isfinite(badness[ranking])]
        if self.scope.value == SCOPES[1]:
            first = np.unique(self._rooms[ranking], return_index=True)[1]
            ranking = ranking[np.sort(first)]
        return ranking

    def _begin_again(self, _=None) -> None:
        self._ranking = self._ranked()
        slider = self.rank.slider
        moved = slider.value != 1
        slider.value = 1  # before the end moves, which must not leave the value outside
        slider.max, slider.disabled = max(2, len(self._ranking)), len(self._ranking) == 1
        if not moved:
            self._show()

    def _show(self, _=None) -> None:
        index, dice, rmse = self.index, self._dice[self.index], self._rmse[self.index]
        self.mask_view.value, self.depth_view.value, area, metres = self._pngs(index)
        rank = min(self.rank.slider.value, len(self._ranking))
        self.about.value = (
            f"{rank} of {len(self._ranking)}: test quartet {index}, room {self._rooms[index]}, cat {self._cats[index]}; "
            f"the cat takes {area:.1%} of the picture" + (f"; depth from {metres}" if metres else "")
        )
        words = ("the scene", "true mask", f"mask errors, Dice {dice:.3f}", "true depth", "predicted depth",
                 f"depth errors, RMSE {rmse:.3f}" if np.isfinite(rmse) else "depth errors, unknown")  # fmt: skip
        for label, text in zip(self.mask_words + self.depth_words, words):
            label.value = text

    def _draw(self, index: int) -> tuple[bytes, bytes, float, str]:
        """Both PNGs of a quartet, the cat's share of the picture, and the metres of its depth in words."""
        batch = get_batch(self._dataset, [index])
        mask, depth = (plane(array(said)[0]) for said in self._answer(batch))
        quartet = quartets_of(batch)[0]
        valid = plane(quartet["valid"]).astype(bool)
        error = np.where(valid, np.abs(depth - plane(quartet["depth"])), np.nan)
        upper = strip([picture(quartet["bg_fg"]), picture(quartet["mask"]), mask_errors(quartet["mask"], mask)])
        lower = strip([depth_picture(quartet["depth"], valid), depth_picture(depth), error_picture(error)])
        return upper, lower, float(quartet["mask"].mean()), in_metres(quartet["near_far"])


def _toggle(name: str, options: tuple[str, ...]) -> widgets.ToggleButtons:
    """Buttons of which one is pressed; wide enough for their words in both generations of ipywidgets."""
    style = {"button_width": "190px", "description_width": "60px"}
    return widgets.ToggleButtons(options=options, description=name, style=style)


def worst_first(dataset: Dataset, answer: Callable[[Quartet], tuple], dice, rmse) -> WorstFirst:
    """A :class:`WorstFirst` of a test set: let it stand last in a cell.

    Args:
        dataset: quartets, with ``room_of`` and ``cat_of``.
        answer: batch -> probability of cat and depth, each (B, 1, H, W) in [0, 1].
        dice: (N,) the Dice of each mask; the smallest is the worst.
        rmse: (N,) the RMSE of each depth map; the largest is the worst, NaN where no depth is known.

    Raises:
        ValueError: not as many scores as quartets, none, or a Dice that is no number.
    """
    return WorstFirst(dataset, answer, dice, rmse)
