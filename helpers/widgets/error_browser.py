"""Notebook 06's browser of errors: the worst quartets of a set, the worst first.

``worst_first`` sorts by the mask or by the depth, over all quartets or one from each room, and the page holds the first
:data:`RANKS` of each order.
"""

from collections.abc import Callable

import numpy as np
from torch.utils.data import Dataset

from helpers import plots
from helpers.dataset import Quartet, get_batch, scenes
from helpers.widgets.explorer import quartet_player, shown_quartet
from helpers.widgets.player import Player, choice, chooser

ORDERS = ("worst mask first", "worst depth first")
SCOPES = ("every quartet", "the worst of each room")
RANKS = 6  # of each order, so that a page stays small
MOST = 50_000  # bytes of the view


def ranked(badness: np.ndarray, rooms: np.ndarray, one_a_room: bool) -> list[int]:
    """Numbers of the :data:`RANKS` worst quartets, the worst first; those that have no score are not among them."""
    ranking = np.argsort(-badness, kind="stable")
    ranking = ranking[np.isfinite(badness[ranking])]
    if one_a_room:
        ranking = ranking[np.sort(np.unique(rooms[ranking], return_index=True)[1])]
    return ranking[:RANKS].tolist()


def worst_first(dataset: Dataset, predict: Callable[[Quartet], tuple], dice, rmse) -> Player:
    """A view of the worst quartets of a set: let it be the last line of a cell.

    Args:
        dataset: quartets, with ``room_of`` and ``cat_of``.
        predict: batch -> probability of cat and depth, each (B, 1, H, W) in [0, 1].
        dice: (N,) the Dice of each mask; the smallest is the worst.
        rmse: (N,) the RMSE of each depth map; the largest is the worst, NaN where no depth is known.

    Raises:
        ValueError: not as many scores as quartets, none, or a Dice that is no number.
    """
    dice, rmse = (plots.array(scores).astype(float).ravel() for scores in (dice, rmse))
    if not len(dataset) or not len(dataset) == len(dice) == len(rmse):
        raise ValueError(
            f"there must be one Dice and one RMSE for each quartet (at least 1), not {len(dataset)} quartets, "
            f"{len(dice)} Dice and {len(rmse)} RMSE"
        )
    if not np.isfinite(dice).all():
        raise ValueError("dice must hold a number for each quartet; only rmse may be NaN, where no depth is known")
    rooms, cats = (plots.array(column) for column in scenes(dataset))
    orders = ORDERS if np.isfinite(rmse).any() else ORDERS[:1]
    rankings = [[ranked(badness, rooms, one) for one in (False, True)] for badness in (-dice, rmse)[: len(orders)]]
    shown = {}
    for index in sorted({index for order in rankings for ranking in order for index in ranking}):
        batch = get_batch(dataset, [index])
        mask, depth = (plots.array(maps)[0] for maps in predict(batch))
        (quartet,) = plots.quartets_of(batch)
        del quartet["bg"]  # bg_fg is enough
        metres = plots.in_metres(quartet["near_far"])
        about = (
            f"quartet {index}, room {rooms[index]}, cat {cats[index]}; the cat takes "
            f"{quartet['mask'].mean():.1%} of the picture" + (f"; depth from {metres}" if metres else "")
        )
        error = f"RMSE {rmse[index]:.3f}" if np.isfinite(rmse[index]) else "unknown"
        shown[index] = shown_quartet(quartet, mask, depth, about, [dice[index]], error)
    controls = choice("order", orders), choice("show", SCOPES), chooser("rank", ("worse", "better"))
    tree = [[[shown[index] for index in ranking] for ranking in order] for order in rankings]
    return quartet_player("the worst predictions", controls, tree, MOST)
