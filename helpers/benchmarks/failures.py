"""Where a network fails: the worst quartets of a test set, each with the cause that explains most of its error.

``make failures``, or ``python -m helpers.benchmarks.failures``, runs the trained network on every test quartet, takes
the ten worst masks and the ten worst depth maps, and writes ``runs/bench/failures.png`` and ``.json``. No cause is
chosen by hand: each is a rule of :mod:`helpers.benchmarks.failure_causes`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.utils.data import Dataset

from helpers import plots
from helpers.benchmarks.failure_causes import CAUSES, Case, by_cause, explain
from helpers.benchmarks.summary import about, keep, markdown_table
from helpers.config import CourseError, plain_errors, runs_dir
from helpers.dataset import get_batch, scenes, to_device
from helpers.evaluate import Predictor, network_predictor
from helpers.plots import array, depth_picture, picture, plane, quartets_of
from helpers.session import is_trained, run_dir, sets, trained_network
from helpers.utils import whole_file

RESULT = "bench/failures.json"  # in runs/
COLUMNS = {
    "mask": ("bg_fg", "the cat", "mask", "predicted", "errors"),
    "depth": ("bg_fg", "depth", "predicted", "error"),
}
SCALES = (
    (plots.DEPTH_COLOURS, 1, "relative depth", ("near", "far")),
    (plots.ERROR_COLOURS, plots.ERROR_LIMIT, "depth error", ("0", f"{plots.ERROR_LIMIT} and more")),
)
ROW, AROUND = 1.35, 1.35  # inches: a row with its words, and what stands above and below all rows


def worst(dataset: Dataset, predictor: Predictor, count: int = 10) -> list[Case]:
    """The worst quartets of a test set, explained: first the masks, then the depth maps, each the worst first.

    Args:
        dataset: quartets, all of one size, with ``room_of``.
        predictor: batch -> probability of cat and depth, each (B, 1, H, W) in [0, 1].
        count: so many are chosen by the Dice of the mask, and as many by the RMSE of the depth. Among each, no room
            comes twice as long as there are others; a quartet without error or without known depth is not chosen.
    """
    if not len(dataset):
        raise CourseError("The test set has no quartets, so there are no failures to show: use a larger one.")
    dice, rmse, histogram = [], [], np.zeros(256, int)  # of the differences of all pixels of cats
    for case in _predicted(dataset, predictor, range(len(dataset))):
        dice.append(case.dice)
        rmse.append(case.rmse)
        histogram += np.bincount(case.difference[case.target], minlength=256)
    faint = float(np.searchsorted(histogram.cumsum(), 0.1 * histogram.sum()))
    rooms = array(scenes(dataset)[0])
    cases = []
    for task, badness in (("mask", 1 - np.array(dice)), ("depth", np.array(rmse))):
        chosen = _choose(badness, rooms, count)
        cases += [explain(case, task) for case in _predicted(dataset, predictor, chosen, faint)]
    return cases


def _predicted(dataset: Dataset, predictor: Predictor, indices: Sequence[int], faint: float = 0.0) -> Iterator[Case]:
    """A :class:`Case` for each index, not yet explained."""
    for start in range(0, len(indices), 50):
        wanted = list(indices[start : start + 50])
        batch = get_batch(dataset, wanted)
        prob, predicted = (array(maps) for maps in predictor(batch))
        for i, (index, quartet) in enumerate(zip(wanted, quartets_of(batch))):
            mask, depth, valid = (plane(quartet[key]) for key in ("mask", "depth", "valid"))
            yield Case(
                index, int(dataset.room_of(index)), quartet["bg"], quartet["bg_fg"], mask,
                plane(prob[i]), depth.astype(float), plane(predicted[i]).astype(float), valid.astype(bool), faint,
            )  # fmt: skip


def _choose(badness: np.ndarray, rooms: np.ndarray, count: int) -> list[int]:
    """Indices of the ``count`` worst, the worst first: one from each room, then, if there are too few rooms, more."""
    order = [int(i) for i in np.argsort(-badness, kind="stable") if badness[i] > 0]  # NaN is not
    firsts = set({rooms[i]: i for i in reversed(order)}.values())  # the worst of each room
    ranked = sorted(order, key=lambda i: i not in firsts)  # stable: those first, then the rest, each the worst first
    return sorted(ranked[:count], key=order.index)


@plots.styled
def figure(cases: Sequence[Case]) -> Figure:
    """All explained cases in two columns, masks and depth maps (one where there are none of the others)."""
    grouped = {task: found for task in COLUMNS if (found := by_cause(cases, task))}
    if not grouped:
        raise ValueError("there are no cases to draw")
    rows, widths = max(map(len, grouped.values())), [len(COLUMNS[task]) + 0.2 for task in grouped]  # inches
    height = rows * ROW + AROUND
    drawn = plt.figure(figsize=(sum(widths), height))
    parts = drawn.subfigures(1, len(grouped), squeeze=False, width_ratios=widths)[0]
    for part, (task, found) in zip(parts, grouped.items()):
        title = f"The {len(found)} worst {'masks' if task == 'mask' else 'depth maps'}"
        part.text(0.02, 1 - 0.1 / height, title, fontsize=14, va="top")
        part.subplots_adjust(0.02, 0.75 / height, 0.98, 1 - 0.95 / height, wspace=0.05, hspace=0.42)
        axes = part.subplots(rows, len(COLUMNS[task]), squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for case, row in zip(found, axes):
            row[0].set_title(case.words, fontsize=8, loc="left", pad=3)
            for axis, image in zip(row, _panels(case, task, row[0])):
                axis.imshow(image, interpolation="nearest" if image.shape[0] <= 100 else "auto")
        for axis, name in zip(axes[0], COLUMNS[task]):
            axis.annotate(name, (0, 1), (0, 26), "axes fraction", "offset points", fontsize=8, color="0.35")
        if task == "mask":
            part.legend(handles=plots.patches(plots.PIXELS), loc="lower left", ncols=3)
            continue
        for left, (colours, high, label, ends) in zip((0.08, 0.57), SCALES):
            axis = part.add_axes((left, 0.25 / height, 0.3, 0.12 / height))
            bar = part.colorbar(ScalarMappable(Normalize(0, high), colours), cax=axis, orientation="horizontal")
            bar.set_ticks((0, high), labels=ends)
            axis.set_title(label, fontsize=9, pad=3)
    return drawn


def _panels(case: Case, task: str, photograph: plt.Axes) -> list[np.ndarray]:
    """One image for each of :data:`COLUMNS`. A mask is shown within a frame that the photograph gets."""
    if task == "depth":  # stripes where nothing is known
        error = plots.error_picture(np.where(case.valid, np.abs(case.error), np.nan))
        return [picture(case.bg_fg), depth_picture(case.depth, case.valid), depth_picture(case.predicted), error]
    where = case.target | case.extra
    found = np.argwhere(where if where.any() else ~where)
    first, last = found.min(0), found.max(0) + 1
    largest = int((last - first).max())
    size = min(*where.shape, max(largest + 4 * largest // 10, min(where.shape) // 3))  # with a little around it
    top, left = np.clip((first + last - size) // 2, 0, np.array(where.shape) - size)
    photograph.add_patch(Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor=plots.MASK_COLOUR))
    closer = picture(case.bg_fg), picture(case.mask), picture(case.prob), plots.mask_errors(case.mask, case.prob)
    return [picture(case.bg_fg), *(image[top : top + size, left : left + size] for image in closer)]


def markdown(result: dict) -> str:
    """How many of the worst cases each cause explains, and how that was found out."""
    counts = Counter((case["task"], case["sentence"]) for case in result["cases"])
    rows = [(*cause, str(count)) for cause, count in counts.items()]
    table = markdown_table(("worst", "cause of most of the error", "cases"), rows, numbers_from=2)
    return (
        f"{table}\n\n{result['data'].capitalize()}, profile `{result['profile']}`: the worst of "
        f"{result['test_quartets']} test quartets at {result['size']} px, predicted by {result['network']}; "
        f"{result['date']}."
    )


def write(cases: Sequence[Case], **facts: object) -> dict:
    """Write the figure and the numbers into ``runs/bench/`` and print both in words; the numbers, and ``facts``."""
    with whole_file((runs_dir() / RESULT).with_suffix(".png")) as path:
        figure(cases).savefig(path, dpi=110)
    result = about(**facts, cases=[{
        "task": task, "cause": case.cause, "sentence": CAUSES[task][case.cause].__doc__, "words": case.words,
        "shares": case.shares,
    } for task in CAUSES for case in by_cause(cases, task)])  # fmt: skip
    keep(result, RESULT, "\n".join([*(case["words"] for case in result["cases"]), "", markdown(result)]))
    return result


def main() -> None:
    device, folder = "cuda" if torch.cuda.is_available() else "cpu", run_dir()
    network = folder.name if is_trained() else "the weights that come with the course"
    net, test_set = trained_network().to(device), sets("test")[0]
    predictor = network_predictor(net)
    cases = worst(test_set, lambda batch: predictor(to_device(batch, device)))
    if not cases:
        raise CourseError("Not one test quartet has an error, so there is nothing to show: use a larger test set.")
    write(cases, test_quartets=len(test_set), size=test_set.size, network=network)


if __name__ == "__main__":
    with plain_errors():
        main()
