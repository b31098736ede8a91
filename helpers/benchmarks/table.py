"""The course's claims, measured: one command, one machine.

``python -m helpers.benchmarks.table table [--data rooms|FOLDER] [--profile quick] [--seeds 3] [--rows NAME ...]`` trains, on the
same quartets and equally often, the published recipe, the course's, and what stands between and beside them, each under
several seeds. All are scored beside background subtraction and the mean depth map on rooms and cats that none has seen:
clean, on perturbed pairs (:func:`helpers.augment.perturb`), and on pairs that are spoilt in one way at a time
(:mod:`helpers.evaluate`). Results go to ``runs/bench/``; what is finished is not done again, and what was interrupted
goes on. ``python -m helpers.benchmarks.table readme`` puts what is stored into the README, the tables of :mod:`helpers.benchmarks.latency`
and :mod:`helpers.benchmarks.loop` among it, and ``python -m helpers.benchmarks.table render`` times the renderer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from unittest import mock

import torch

from helpers.benchmarks import latency as bench_latency
from helpers.benchmarks import loop as bench_loop
from helpers.benchmarks import networks as peers
from helpers.benchmarks.report import fill
from helpers.benchmarks.runs import FLOP_SIZE, Trial, difference, gather, run_seeds, with_spread
from helpers.checkpoints import fingerprint
from helpers.config import PROFILES, CourseError, data_source, data_words, plain_errors, profile, runs_dir
from helpers.dataset import Quartet, loader
from helpers.evaluate import (
    ABOUT_MASK,
    CORRUPTION_LEVELS,
    CORRUPTION_UNITS,
    MeanDepth,
    corrupted_mask_dice,
    score,
    subtract_background,
    test_batches,
)
from helpers.metrics import grid_index
from helpers.model import NETWORKS
from helpers.predict import pretrained
from helpers.recipes import recipe
from helpers.rendering.dataset import RoomsDataset
from helpers.session import run_dir, sets
from helpers.utils import machine, write_json

OURS, PUBLISHED, TUNED = "course", "published", "fine-tune"
SHIPPED = "shipped"  # the name of DuoNet with the weights that come with the course


class Row(NamedTuple):
    """A row that is trained: its title, and the names of its network and its recipe."""

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
    TUNED: Row("the same, from the weights that come with the course", SHIPPED, "fine-tune"),
}
OUR_TITLE, PUBLISHED_TITLE, TUNED_TITLE = ROWS[OURS].title, ROWS[PUBLISHED].title, ROWS[TUNED].title
AS_PUBLISHED = "published recipe, scored as published"
TRUTH = "ground truth"


class Column(NamedTuple):
    title: str
    form: str
    better: int  # 1: more is better, -1: less is


COLUMNS = {
    "mask_dice": Column("mask Dice", "{:.3f}", 1),
    "perturbed_mask_dice": Column("Dice, perturbed", "{:.3f}", 1),
    "boundary_f_1px": Column("outline F, 1 px", "{:.3f}", 1),
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

SPEED = {  # what other commands leave in runs/bench/: its part of the README, what its table is about, and what makes it
    bench_latency.STORED: ("latency", "Single answers, program by program", bench_latency.markdown),
    bench_loop.STORED: ("loop", "The training loop, lever by lever", bench_loop.markdown),
}


def _subtraction(batch: Quartet) -> tuple:
    return subtract_background(batch["bg"], batch["bg_fg"]).float(), None


def table(data: str, profile_name: str, seeds: Sequence[int] = (0, 1, 2), rows: Sequence[str] = tuple(ROWS), progress: bool = True) -> dict:
    """All rows on one data source, with what was run where: JSON-ready, one value a seed.

    Args:
        data: "rooms", "archive", or a folder of photographs, as in ``COURSE_DATA``.
        profile_name: how much data, and the sizes and epochs of the recipes.
        rows: names in :data:`ROWS`.
    """
    if unknown := set(rows) - set(ROWS):
        raise CourseError(f"The bench has no row {', '.join(sorted(unknown))}: choose from {', '.join(ROWS)}.")
    os.environ["COURSE_DATA"], os.environ["COURSE_PROFILE"] = data, profile_name
    train_set, test_set = sets()
    pairs = list(test_batches(test_set))
    mean = MeanDepth().fit(train_set)
    scores = {
        TRUTH: {"grid": [_grid_of_truth(pairs)]},
        "background subtraction": gather([score(_subtraction, test_set)]),
        "mean depth map": gather([score(lambda batch: (None, mean.predict(batch)), test_set)]),
    }
    spoilt = {"background subtraction": gather([_flat(corrupted_mask_dice(_subtraction, pairs))])}
    facts, machines = {}, {machine()}
    networks = {**NETWORKS, **peers.PEERS, SHIPPED: pretrained}
    for name, row in ((name, row) for name, row in ROWS.items() if name in rows):
        before = fingerprint(pretrained().state_dict()) if row.network == SHIPPED else ""
        trial = Trial(row.title, networks[row.network], recipe(row.recipe), before)
        activations = ["sigmoid"] if name == PUBLISHED else []
        folder = runs_dir() / "bench" / run_dir(name).name
        results = run_seeds(trial, train_set, test_set, folder, seeds, activations, progress)
        scores[row.title] = gather(result["scores"][trial.recipe.depth_activation] for result in results)
        for activation in activations:
            scores[AS_PUBLISHED] = gather(result["scores"][activation] for result in results)
        facts[row.title] = gather(result["facts"] for result in results)
        spoilt[row.title] = gather(_flat(result["spoilt"]) for result in results)
        machines |= {result["machine"] for result in results}
    return {
        "data": data_words(),
        "profile": profile_name, "seeds": list(seeds), "size": test_set.size, "train_quartets": len(train_set),
        "test_quartets": len(test_set), "stages": [vars(stage) for stage in recipe("course").stages],
        "machine": "; ".join(sorted(machines)), "date": date.today().isoformat(),
        "scores": scores, "facts": facts, "spoilt": spoilt,
    }  # fmt: skip


def _grid_of_truth(batches: Sequence[Quartet]) -> float:
    return grid_index(torch.cat([batch["depth"][:, 0] for batch in batches]))


def _flat(levels: dict[str, list[float]]) -> dict[str, float]:
    return {f"{kind} {i}": value for kind, values in levels.items() for i, value in enumerate(values)}


def rendering(size: int, rooms: int = 24, each: int = 32) -> dict[str, float]:
    """Empty rooms a second, and quartets a second in rooms that are rendered already, on all cores."""
    cores = os.cpu_count()
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, COURSE_CACHE=cache):
        dataset = RoomsDataset(size, rooms=rooms, cats=each)
        cats = [[index * 2 * dataset.placements for index in range(room * each, (room + 1) * each)] for room in range(rooms)]
        first = _seconds(dataset, [room[:1] for room in cats], cores)
        more = _seconds(dataset, cats, cores)
    return {"size": size, "cores": cores, "rooms_per_second": rooms / first, "quartets_per_second": rooms * each / more}


def _seconds(dataset: RoomsDataset, batches: list[list[int]], workers: int) -> float:
    started = time.monotonic()
    for _ in loader(dataset, batches, workers):
        pass
    return time.monotonic() - started


# -- words ----------------------------------------------------------------------------------------------------------


def markdown(result: dict) -> str:
    """The tables of one result, what they say, and a caption that says how they were made."""
    forms = {key: (column.title, column.form) for key, column in COLUMNS.items()}
    about = {key: "mask" if key.removeprefix("perturbed_").startswith(ABOUT_MASK) else "depth" for key in forms}
    parts = [f"**{result['data'][0].upper()}{result['data'][1:]}**"]
    for task in ("mask", "depth"):
        parts.append(_table(task, {key: form for key, form in forms.items() if about[key] == task}, result["scores"]))
    parts.append(_table("cost", FACTS, {name: _scaled(facts) for name, facts in result["facts"].items()}))
    summary = "<details><summary>Mask Dice on pairs that are spoilt in one way at a time</summary>"
    return "\n\n".join([*parts, *verdict(result), _caption(result), summary, _spoilt_markdown(result["spoilt"]), "</details>"])


def _table(title: str, forms: dict[str, tuple[str, str]], rows: dict[str, dict[str, list[float]]]) -> str:
    """A line for each row that has something to say about one of the columns at least."""
    lines = [f"| {title} | " + " | ".join(column for column, _ in forms.values()) + " |", "|---" * (len(forms) + 1) + "|"]
    for name, row in rows.items():
        cells = [with_spread(row[key], form) if _counted(row.get(key)) else "" for key, (_, form) in forms.items()]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _scaled(facts: dict[str, list[float]]) -> dict[str, list[float]]:
    """Parameters in millions; one value for what no seed changes."""
    return {
        key: values[:1] if key == "gflop" else [values[0] / 1e6] if key == "parameters" else values for key, values in facts.items()
    }


def _counted(values: Sequence[float] | None) -> bool:
    return bool(values) and all(value == value for value in values)


def verdict(result: dict) -> list[str]:
    """What the tables say of the course: against the published recipe as ratios, and who is better in a column.

    Several seeds have a spread, and a difference within it is none; one seed says nothing of that, and the words say so.
    """
    scores, facts = result["scores"], result["facts"]
    if OUR_TITLE not in scores:
        return []
    ours, truth, lines = scores[OUR_TITLE], statistics.fmean(scores[TRUTH]["grid"]), []

    def rmse(row: dict, title: str = PUBLISHED_TITLE) -> float:
        return statistics.fmean(row["depth_rmse"]) / statistics.fmean(scores[title]["depth_rmse"])

    def mask_error(row: dict) -> float:
        return (1 - statistics.fmean(row["mask_dice"])) / (1 - statistics.fmean(scores[PUBLISHED_TITLE]["mask_dice"]))

    if PUBLISHED_TITLE in scores:
        other = f" ({rmse(ours, AS_PUBLISHED):.2f} times in the published output activation)" if AS_PUBLISHED in scores else ""
        time_ratio = statistics.fmean(facts[OUR_TITLE]["seconds"]) / statistics.fmean(facts[PUBLISHED_TITLE]["seconds"])
        lines.append(
            f"The course against the published recipe: {rmse(ours):.2f} times its depth RMSE{other}, "
            f"{mask_error(ours):.2f} times its mask error (1 - Dice), {time_ratio:.2f} times its training time in the "
            f"same loop. Grid index {statistics.fmean(ours['grid']):.4f}; the ground truth's own is {truth:.4f}."
        )
        if tuned := scores.get(TUNED_TITLE):
            lines.append(
                f"Where DuoNet starts from the weights that come with the course: {rmse(tuned):.2f} and {mask_error(tuned):.2f} "
                "times. They have seen many rendered rooms before, so that row is not compared with the others."
            )

    def is_behind(row: dict[str, list[float]], key: str) -> bool:
        # A depth map with less of a grid than the truth has is too smooth: what counts is how far it is from the truth's.
        values = ([abs(value - truth) for value in each[key]] if key == "grid" else each[key] for each in (ours, row))
        return difference(*values) * COLUMNS[key].better <= 0

    ahead = {
        COLUMNS[key].title: [
            name for name, row in scores.items()
            if name not in (TRUTH, OUR_TITLE, TUNED_TITLE) and _counted(row.get(key)) and is_behind(row, key)
        ]
        for key in COLUMNS if _counted(ours.get(key))
    }  # fmt: skip
    first = [title for title, names in ahead.items() if not names]
    if first:
        by = "by more than the spread over seeds" if len(result["seeds"]) > 1 else "under the one seed that was run"
        lines.append(f"The course is ahead of every other row, {by}, in: {'; '.join(first)}.")
    behind = {name: [title for title, names in ahead.items() if name in names] for name in scores}
    bullets = [f"- {name}: {'; '.join(titles)}" for name, titles in behind.items() if titles]
    if bullets:
        lines.append("Not ahead of these, which are as good or better:\n\n" + "\n".join(bullets))
    return lines


def _caption(result: dict) -> str:
    stages = ", ".join(f"{s['size']} px x {s['epochs']} in batches of {s['batch']}" for s in result["stages"])
    count = len(result["seeds"])
    over = f"mean ± standard deviation over {count} seeds" if count > 1 else f"seed {result['seeds'][0]}"
    return (
        f"{result['train_quartets']} training and {result['test_quartets']} test quartets at {result['size']} px, no room "
        f"and no cat in both; the course's epochs by stage {stages}; {over}; {result['machine']}; {result['date']}."
    )


def _spoilt_markdown(rows: dict[str, dict[str, list[float]]]) -> str:
    """Mask Dice by what was done to the pairs: a line for each kind and level, a column for each method."""
    lines = {}
    for kind, levels in {"clean": (None,), **CORRUPTION_LEVELS}.items():
        for i, level in enumerate(levels):
            name = kind if level is None else f"{CORRUPTION_UNITS[kind]}: {level:g}"
            lines[name] = {method: row[f"{kind} {i}"] for method, row in rows.items()}
    return _table("mask Dice", {method: (method, "{:.3f}") for method in rows}, lines)


def readme() -> None:
    """Put what is stored into the README; a part of which nothing is stored stays as it is.

    Raises:
        CourseError: nothing is stored at all, or a part's marks are gone.
    """
    contents = {}
    for path in sorted((runs_dir() / "bench").glob("*-table.json")):
        part = "rooms" if path.name.startswith("rooms-") else "photographs"
        contents.setdefault(part, []).append(markdown(json.loads(path.read_text("utf-8"))))
    for name, (part, title, words) in SPEED.items():
        path = runs_dir() / "bench" / name
        if path.exists():
            sentence, _, rest = words(json.loads(path.read_text("utf-8"))).partition("\n\n")
            contents[part] = [sentence, f"<details><summary>{title}</summary>", rest, "</details>"]
    if not contents:
        raise CourseError("No results are stored in runs/bench/: run `make bench` or `make speed` first.")
    for part, texts in contents.items():
        fill(part, "\n\n".join(texts))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.table", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("table", help="train and score every row on one data source")
    one.add_argument("--data", default=data_source(), help="'rooms' or a folder of photographs")
    one.add_argument("--profile", default=profile().name, choices=PROFILES)
    one.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    one.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    commands.add_parser("render", help="images a second of the renderer")
    commands.add_parser("readme", help="write what is stored into README.md")
    arguments = parser.parse_args()
    with plain_errors():
        if arguments.command == "readme":
            return readme()
        if arguments.command == "render":
            for size in (64, 192):
                print(", ".join(f"{name} {value:.1f}" for name, value in rendering(size).items()))
            return None
        result = table(arguments.data, arguments.profile, range(arguments.seeds), arguments.rows)
        name = f"{run_dir('table').name}.json"
        write_json(runs_dir() / "bench" / name, result)
        print(f"\n{markdown(result)}\n\nStored as runs/bench/{name}.")


if __name__ == "__main__":
    main()
