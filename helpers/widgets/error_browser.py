"""Notebook 06's browser of errors: every quartet of a set in one order, the worst first.

``worst_first`` sorts by the mask or by the depth, over all quartets or one from each room. A quartet is read and
predicted when it is first looked at.
"""

from collections.abc import Callable

import numpy as np
from torch.utils.data import Dataset

from helpers import plots
from helpers.dataset import Quartet, get_batch, scenes
from helpers.widgets.controls import Chooser, PairPanels, legend, toggle

ORDERS = ("worst mask first", "worst depth first")
SCOPES = ("every quartet", "the worst of each room")


class ErrorBrowser(PairPanels):
    """A quartet and its errors, masks above and depth below, and three controls; made by :func:`worst_first`.

    Attributes:
        order, scope: toggles between :data:`ORDERS` (where a depth is known at all) and between :data:`SCOPES`.
        rank: the :class:`helpers.widgets.controls.Chooser` that walks from the worst to the best.
    """

    def __init__(self, dataset: Dataset, predict: Callable[[Quartet], tuple], dice, rmse):
        self._dataset, self._predict = dataset, predict
        self._dice, self._rmse = plots.array(dice).astype(float).ravel(), plots.array(rmse).astype(float).ravel()
        if not len(dataset) or not len(dataset) == len(self._dice) == len(self._rmse):
            raise ValueError(
                f"there must be one Dice and one RMSE for each quartet (at least 1), not {len(dataset)} quartets, "
                f"{len(self._dice)} Dice and {len(self._rmse)} RMSE"
            )
        if not np.isfinite(self._dice).all():
            raise ValueError("dice must hold a number for each quartet; only rmse may be NaN, where no depth is known")
        self._rooms, self._cats = (plots.array(column) for column in scenes(dataset))
        self.order = toggle("order", ORDERS if np.isfinite(self._rmse).any() else ORDERS[:1])
        self.scope = toggle("show", SCOPES)
        self._ranking = self._ranked()
        self.rank = Chooser("rank", len(dataset), ("worse", "better"))
        for buttons in (self.order, self.scope):
            buttons.observe(self._restart, "value")  # observed first: before anything is shown
        super().__init__([self.order, self.scope, self.rank], [legend()])

    @property
    def index(self) -> int:
        """The number, in the dataset, of the quartet that is shown."""
        return int(self._ranking[self.rank.index])

    def _ranked(self) -> np.ndarray:
        """Numbers of quartets from the worst to the best; those that have no score are not among them."""
        badness = -self._dice if self.order.value == ORDERS[0] else self._rmse
        ranking = np.argsort(-badness, kind="stable")
        ranking = ranking[np.isfinite(badness[ranking])]
        if self.scope.value == SCOPES[1]:
            first = np.unique(self._rooms[ranking], return_index=True)[1]
            ranking = ranking[np.sort(first)]
        return ranking

    def _restart(self, _) -> None:
        self._ranking = self._ranked()
        self.rank.restart(len(self._ranking))

    def picked(self) -> tuple:
        return (self.index,)

    def draw(self, index: int) -> tuple[str, list[dict]]:
        batch = get_batch(self._dataset, [index])
        mask, depth = (plots.array(maps)[0] for maps in self._predict(batch))
        quartet = plots.quartets_of(batch)[0]
        metres, rmse = plots.in_metres(quartet["near_far"]), self._rmse[index]
        about = (
            f"quartet {index}, room {self._rooms[index]}, cat {self._cats[index]}; the cat takes "
            f"{quartet['mask'].mean():.1%} of the picture" + (f"; depth from {metres}" if metres else "")
        )
        masks = {
            "bg_fg": plots.picture(quartet["bg_fg"]),
            "mask, ground truth": plots.picture(quartet["mask"]),
            f"mask errors, Dice {self._dice[index]:.3f}": plots.mask_errors(quartet["mask"], mask),
        }
        depths = {
            "depth, ground truth": plots.depth_picture(quartet["depth"], quartet["valid"]),
            "depth, predicted": plots.depth_picture(depth),
            f"depth errors, {f'RMSE {rmse:.3f}' if np.isfinite(rmse) else 'unknown'}":
                plots.error_picture(plots.depth_errors(quartet["depth"], depth, quartet["valid"])),
        }  # fmt: skip
        return about, [masks, depths]


def worst_first(dataset: Dataset, predict: Callable[[Quartet], tuple], dice, rmse) -> ErrorBrowser:
    """An :class:`ErrorBrowser` of a set: let it be the last line of a cell.

    Args:
        dataset: quartets, with ``room_of`` and ``cat_of``.
        predict: batch -> probability of cat and depth, each (B, 1, H, W) in [0, 1].
        dice: (N,) the Dice of each mask; the smallest is the worst.
        rmse: (N,) the RMSE of each depth map; the largest is the worst, NaN where no depth is known.

    Raises:
        ValueError: not as many scores as quartets, none, or a Dice that is no number.
    """
    return ErrorBrowser(dataset, predict, dice, rmse)
