"""The course beside the published recipe and other networks: ``make bench``, one command, one machine.

``python -m helpers.benchmarks.table [--data rooms|archive|FOLDER] [--seeds 3] [--rows NAME ...]`` trains every row on
the same quartets and equally often, under several seeds. All are scored beside background subtraction and the mean
depth map, on rooms and cats that none was trained on: clean, on perturbed pairs (:func:`helpers.augment.perturb`), and
under one corruption at a time (:mod:`helpers.demos.corruptions`).
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from statistics import fmean as mean
from typing import NamedTuple

import torch

from helpers.benchmarks.networks import BASELINES
from helpers.benchmarks.runs import ABOUT_MASK, FLOP_SIZE, Experiment, by_level, run_seeds, score
from helpers.benchmarks.summary import (
    about,
    difference,
    gather,
    keep,
    machine,
    markdown_table,
    need_data,
    positive,
    with_spread,
)
from helpers.config import data_source, plain_errors, runs_dir
from helpers.dataset import Quartet
from helpers.demos.checkerboard import grid_index
from helpers.demos.corruptions import CORRUPTION_LEVELS, CORRUPTION_UNITS, corrupted_mask_dice
from helpers.evaluate import MeanDepth, subtract_background, test_batches
from helpers.model import NETWORKS
from helpers.predict import pretrained
from helpers.recipes import recipe
from helpers.session import run_dir, sets

OURS, PUBLISHED, TUNED = "course", "published", "fine-tune"


class Row(NamedTuple):
    title: str
    network: str
    recipe: str


ROWS = {
    PUBLISHED: Row("published recipe", "DepthMaskNet", "published"),
    "published-net": Row("published network, course recipe", "DepthMaskNet", "course"),
    "unet": Row("plain U-Net, course recipe", "UNet", "course"),
    "library-unet": Row("U-Net of segmentation-models-pytorch, course recipe", "LibraryUNet", "course"),
    "siam": Row("FC-Siam-diff, course recipe", "FCSiamDiff", "course"),
    OURS: Row("course: DuoNet, course recipe", "DuoNet", "course"),
    TUNED: Row("the same, from the weights that come with the course", "pretrained", "fine-tune"),
}
OUR_TITLE, PUBLISHED_TITLE, TUNED_TITLE = ROWS[OURS].title, ROWS[PUBLISHED].title, ROWS[TUNED].title
AS_PUBLISHED = "published recipe, scored as published"
GROUND_TRUTH, SUBTRACTION, MEAN_DEPTH = "ground truth", "background subtraction", "mean depth map"


class Column(NamedTuple):
    title: str
    form: str
    better: int  # 1: more is better, -1: less is


COLUMNS = {
    "mask_dice": Column("mask Dice", "{:.3f}", 1),
    "perturbed_mask_dice": Column("Dice, perturbed", "{:.3f}", 1),
    "boundary_f_1px": Column("boundary F-score, 1 px", "{:.3f}", 1),
    "mask_ece": Column("calibration error", "{:.4f}", -1),
    "depth_rmse": Column("depth RMSE", "{:.3f}", -1),
    "depth_mae": Column("depth MAE", "{:.3f}", -1),
    "delta1": Column("δ < 1.25", "{:.3f}", 1),
    "edge_accuracy": Column("edge accuracy (px)", "{:.2f}", -1),
    "edge_completeness": Column("edge completeness (px)", "{:.2f}", -1),
    "grid": Column("grid index", "{:.3f}", -1),
}
FACTS = {
    "parameters": ("parameters (M)", "{:.2f}"),
    "gflop": (f"GFLOP, {FLOP_SIZE} px", "{:.1f}"),
    "seconds": ("training (s)", "{:.0f}"),
}


def compare(seeds: Sequence[int], rows: Sequence[str]) -> dict:
    """Train and score ``rows``, or read what is known: JSON-ready, with one value a seed."""
    train_set, validation_set, test_set = sets()
    pairs, mean_depth = list(test_batches(test_set)), MeanDepth().fit(train_set)
    targets = torch.cat([batch["depth"][:, 0] for batch in pairs])
    scores = {
        GROUND_TRUTH: {"grid": [grid_index(targets)]},
        SUBTRACTION: gather([score(_subtraction, test_set)]),
        MEAN_DEPTH: gather([score(lambda batch: (None, mean_depth.predict(batch)), test_set)]),
    }
    corrupted = {SUBTRACTION: gather([by_level(corrupted_mask_dice(_subtraction, pairs))])}
    facts, machines, networks = {}, {machine()}, {**NETWORKS, **BASELINES, "pretrained": pretrained}
    for name, row in ((name, row) for name, row in ROWS.items() if name in rows):
        experiment = Experiment(row.title, networks[row.network], recipe(row.recipe))
        folder = runs_dir() / "bench" / run_dir(name).name
        found = run_seeds(experiment, train_set, validation_set, test_set, folder, seeds)
        scores[row.title] = found["scores"][experiment.recipe.depth_activation]
        if name == PUBLISHED:
            scores[AS_PUBLISHED] = found["scores"]["sigmoid"]
        facts[row.title], corrupted[row.title] = found["facts"], found["corrupted"]
        machines |= found["machines"]
    return about(
        seeds=list(seeds), size=test_set.size, train_quartets=len(train_set), test_quartets=len(test_set),
        stages=[vars(stage) for stage in recipe("course").stages], machine="; ".join(sorted(machines)), scores=scores,
        facts=facts, corrupted=corrupted,
    )  # fmt: skip


def _subtraction(batch: Quartet) -> tuple[torch.Tensor, None]:
    return subtract_background(batch["bg"], batch["bg_fg"]), None


def markdown(result: dict) -> str:
    """The tables of one result, what they show, and a caption that says how they were made."""
    columns = {key: (column.title, column.form) for key, column in COLUMNS.items()}
    mask = {key: columns.pop(key) for key in COLUMNS if key.removeprefix("perturbed_").startswith(ABOUT_MASK)}
    cost = {  # parameters in millions; one value for what no seed changes
        title: {**facts, "parameters": [facts["parameters"][0] / 1e6], "gflop": facts["gflop"][:1]}
        for title, facts in result["facts"].items()
    }
    count = len(result["seeds"])
    over = f"mean ± standard deviation over {count} seeds" if count > 1 else f"seed {result['seeds'][0]}"
    stages = ", ".join(f"{s['size']} px x {s['epochs']} in batches of {s['batch']}" for s in result["stages"])
    room = "photograph of a room" if result["data"] == "photographs" else "room"
    caption = (
        f"Profile `{result['profile']}`: {result['train_quartets']} training and {result['test_quartets']} test "
        f"quartets at {result['size']} px, no {room} and no cat in both; the course's epochs by stage {stages}; {over}; "
        f"{result['machine']}; {result['date']}."
    )
    levels = {  # a line for each kind and level of corruption, a column for each method
        kind if level is None else f"{CORRUPTION_UNITS[kind]}: {level:g}":
            {method: row[f"{kind} {i}"] for method, row in result["corrupted"].items()}
        for kind, known in {"clean": (None,), **CORRUPTION_LEVELS}.items() for i, level in enumerate(known)
    }  # fmt: skip
    methods = {method: (method, "{:.3f}") for method in result["corrupted"]}
    return "\n\n".join([
        f"**{result['data'].capitalize()}**", _table("mask", mask, result["scores"]),
        _table("depth", columns, result["scores"]), _table("cost", FACTS, cost), *reading(result), caption,
        "<details><summary>Mask Dice under one corruption at a time</summary>", _table("mask Dice", methods, levels),
        "</details>",
    ])  # fmt: skip


def _table(title: str, columns: dict[str, tuple[str, str]], rows: Mapping[str, dict[str, list[float]]]) -> str:
    """A line for each row that has a value in one of the columns at least."""
    lines = []
    for name, row in rows.items():
        cells = [with_spread(row[key], form) if _is_known(row.get(key)) else "" for key, (_, form) in columns.items()]
        if any(cells):
            lines.append([name, *cells])
    return markdown_table([title, *(column for column, _ in columns.values())], lines)


def _is_known(values: Sequence[float] | None) -> bool:
    return bool(values) and all(value == value for value in values)  # NaN is not


def reading(result: dict) -> list[str]:
    """What the tables show of the course: ratios to the published recipe, and who is better in which column."""
    scores, facts = result["scores"], result["facts"]
    if OUR_TITLE not in scores:
        return []
    ours, target, lines = scores[OUR_TITLE], mean(scores[GROUND_TRUTH]["grid"]), []

    def rmse(row: dict, title: str = PUBLISHED_TITLE) -> float:
        return mean(row["depth_rmse"]) / mean(scores[title]["depth_rmse"])

    def mask_error(row: dict) -> float:
        return (1 - mean(row["mask_dice"])) / (1 - mean(scores[PUBLISHED_TITLE]["mask_dice"]))

    if PUBLISHED_TITLE in scores:
        seconds = mean(facts[OUR_TITLE]["seconds"]) / mean(facts[PUBLISHED_TITLE]["seconds"])
        depth, tuned_depth, tuned = "", "", scores.get(TUNED_TITLE)
        if _is_known(ours["depth_rmse"]):  # photographs may have none
            depth = (f"{rmse(ours):.2f} times its depth RMSE ({rmse(ours, AS_PUBLISHED):.2f} times in the published output "
                     "activation), ")  # fmt: skip
            tuned_depth = f"{rmse(tuned):.2f} and " if tuned else ""
        lines.append(
            f"The course against the published recipe: {depth}{mask_error(ours):.2f} times its mask error (1 - Dice), "
            f"{seconds:.2f} times its training time in the same loop. "
            f"Grid index {mean(ours['grid']):.4f}; the ground truth's own is {target:.4f}."
        )
        if tuned:
            lines.append(
                f"Where DuoNet starts from the weights that come with the course: {tuned_depth}{mask_error(tuned):.2f} "
                "times. They were trained on many rendered rooms before, so that row is not compared with the others."
            )

    def is_as_good(row: dict[str, list[float]], key: str) -> bool:
        # Less of a grid than the ground truth has is too smooth: what counts is how far the index is from its own.
        values = ([abs(value - target) for value in each[key]] if key == "grid" else each[key] for each in (ours, row))
        return difference(*values) * COLUMNS[key].better <= 0

    others = {name: row for name, row in scores.items() if name not in (GROUND_TRUTH, OUR_TITLE, TUNED_TITLE)}
    as_good = {
        COLUMNS[key].title: [name for name, row in others.items() if _is_known(row.get(key)) and is_as_good(row, key)]
        for key in COLUMNS if _is_known(ours.get(key))
    }  # fmt: skip
    if first := [title for title, names in as_good.items() if not names]:
        by = "by more than the spread over seeds" if len(result["seeds"]) > 1 else "under the one seed that was run"
        lines.append(f"The course is ahead of every other row, {by}, in: {'; '.join(first)}.")
    columns_of = {name: [title for title, names in as_good.items() if name in names] for name in others}
    if bullets := [f"- {name}: {'; '.join(titles)}" for name, titles in columns_of.items() if titles]:
        lines.append("Not ahead of these, which are as good or better:\n\n" + "\n".join(bullets))
    return lines


def main() -> None:
    with plain_errors():
        parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.table", description=__doc__.splitlines()[0])
        parser.add_argument("--data", default=data_source(), help="'rooms', 'archive' or a folder of photographs")
        parser.add_argument("--seeds", type=positive, default=3, help="how many, from 0 on")
        parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
        arguments = parser.parse_args()
        os.environ["COURSE_DATA"] = arguments.data
        need_data()
        result = compare(range(arguments.seeds), arguments.rows)
        kind = "table" if set(arguments.rows) == set(ROWS) else "part"  # which the results page leaves out
        keep(result, f"bench/{run_dir(kind).name}.json", markdown(result))


if __name__ == "__main__":
    main()
