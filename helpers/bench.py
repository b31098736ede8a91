"""The course's claims, measured: one command, one machine, one run.

``python -m helpers.bench table [--data rooms|FOLDER] [--profile quick] [--seed 0]`` trains the published recipe and
the course's on the same quartets, and scores both beside background subtraction and the mean depth map, on rooms and
cats that none of them has seen: clean, on disturbed pairs (:func:`helpers.augment.disturb`), and on pairs that are
spoilt in one way at a time (:mod:`helpers.robustness`). Results go to ``runs/bench/`` as JSON; a run that was interrupted goes on where it stopped. ``python -m helpers.bench readme`` puts
the tables of all stored results into the README. ``python -m helpers.bench render`` times the renderer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import tempfile
import time
from datetime import date
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from helpers.baselines import MeanDepth, subtract_background
from helpers.config import PROFILES, ROOT, CourseError, profile, runs_dir
from helpers.files import whole_file, write_json
from helpers.metrics import Meter
from helpers.model import build, probabilities
from helpers.quartets import Quartet, Stored, loader
from helpers.robustness import LEVELS, UNITS, mask_dice
from helpers.rooms import RoomsDataset
from helpers.session import run_dir, sets
from helpers.train import recipe, test_batches, train

COLUMNS = {
    "mask_dice": ("mask Dice", "{:.3f}"),
    "mask_iou": ("mask IoU", "{:.3f}"),
    "disturbed_mask_dice": ("Dice, disturbed", "{:.3f}"),
    "disturbed_mask_iou": ("IoU, disturbed", "{:.3f}"),
    "depth_mae": ("depth MAE", "{:.3f}"),
    "depth_rmse": ("depth RMSE", "{:.3f}"),
    "delta1": ("δ < 1.25", "{:.3f}"),
    "disturbed_depth_rmse": ("RMSE, disturbed", "{:.3f}"),
    "seconds": ("training (s)", "{:.0f}"),
    "cpu_seconds": ("of all cores (s)", "{:.0f}"),
}


def score(answer, test_set: Stored, seed: int = 0) -> dict[str, float]:
    """Metrics of ``answer(batch) -> mask_prob or None, depth or None``, clean and on disturbed pairs."""
    result = {}
    for prefix, disturbed in (("", False), ("disturbed_", True)):
        meter, has_mask, has_depth = Meter(), True, True
        for batch in test_batches(test_set, disturbed=disturbed, seed=seed):
            mask, depth = answer(batch)
            has_mask, has_depth = mask is not None, depth is not None
            nothing = torch.zeros_like(batch["mask"])
            meter.update(mask if has_mask else nothing, depth if has_depth else nothing, batch)
        for name, value in meter.result().items():
            about_mask = name.startswith(("mask", "boundary"))
            if name == "images" or (has_mask if about_mask else has_depth):
                result[prefix + name] = value
    return result


def _subtraction(batch: Quartet) -> tuple[Tensor, None]:
    return subtract_background(batch["bg"], batch["bg_fg"]).float(), None


def _network(net: nn.Module, readout: str):
    net.eval()

    @torch.no_grad()
    def answer(batch: Quartet) -> tuple[Tensor, Tensor]:
        return probabilities(*net(batch["bg"], batch["bg_fg"]), readout)

    return answer


def table(data: str, profile_name: str, seed: int, progress: bool = True) -> dict:
    """All rows on one data source, with what was run where: JSON-ready."""
    os.environ["COURSE_DATA"], os.environ["COURSE_PROFILE"] = data, profile_name
    train_set, test_set = sets()
    pairs = list(test_batches(test_set))
    rows = {"background subtraction": score(_subtraction, test_set)}
    spoilt = {"background subtraction": mask_dice(_subtraction, pairs, seed)}
    mean = MeanDepth().fit(train_set)
    rows["mean depth map"] = score(lambda batch: (None, mean.predict(batch)), test_set)
    for name, network in (("published", "DepthMaskNet"), ("course", "DuoNet")):
        wanted, net = recipe(name, seed=seed), build(network, seed)
        history = train(net, train_set, test_set, wanted, run_dir(name, seed), progress)
        facts = {key: history[-1][key] for key in ("seconds", "cpu_seconds", "samples")}
        answer = _network(net, wanted.depth_readout)
        rows[f"{name} recipe"] = {**score(answer, test_set), **facts}
        spoilt[f"{name} recipe"] = mask_dice(answer, pairs, seed)
        if name == "published":
            rows["published recipe, scored as published"] = {**score(_network(net, "sigmoid"), test_set), **facts}
    return {
        "data": "rooms" if data == "rooms" else f"photographs in {Path(data).resolve().name}/",
        "profile": profile_name, "seed": seed, "size": test_set.size, "train_quartets": len(train_set),
        "test_quartets": len(test_set), "stages": [vars(stage) for stage in recipe("course").stages],
        "machine": f"{torch.get_num_threads()} CPU threads ({platform.machine()})" if not torch.cuda.is_available()
        else torch.cuda.get_device_name(), "torch": torch.__version__, "date": date.today().isoformat(), "rows": rows,
        "spoilt": spoilt,
    }  # fmt: skip


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


def markdown(result: dict) -> str:
    """The table of one result, with a caption that says how it was made."""
    lines = [f"**{result['data'][0].upper()}{result['data'][1:]}**", ""]
    lines += ["| | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in result["rows"].items():
        cells = [form.format(row[key]) if row.get(key) == row.get(key) and key in row else "" for key, (_, form) in COLUMNS.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    stages = ", ".join(f"{s['size']} px x {s['epochs']}" for s in result["stages"])
    lines.append(
        f"\n{result['train_quartets']} training and {result['test_quartets']} test quartets at "
        f"{result['size']} px, no room and no cat in both; epochs by stage {stages}; seed {result['seed']}; "
        f"{result['machine']}, torch {result['torch']}, {result['date']}."
    )
    summary = "<details><summary>Mask Dice on pairs that are spoilt in one way at a time</summary>"
    return "\n".join([*lines, "", summary, "", _spoilt_markdown(result["spoilt"]), "", "</details>"])


def _spoilt_markdown(rows: dict[str, dict[str, list[float]]]) -> str:
    """Mask Dice by what was done to the pairs: a line for each kind and level, a column for each method."""
    lines = ["| mask Dice | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for kind, levels in {"clean": (None,), **LEVELS}.items():
        for i, level in enumerate(levels):
            name = kind if level is None else f"{UNITS[kind]}: {level:g}"
            lines.append(f"| {name} | " + " | ".join(f"{row[kind][i]:.3f}" for row in rows.values()) + " |")
    return "\n".join(lines)


def readme() -> None:
    """Replace what stands between the README's results markers by the stored tables."""
    results = sorted((runs_dir() / "bench").glob("*.json"), key=lambda path: (not path.name.startswith("rooms"), path.name))
    if not results:
        raise CourseError("No results are stored in runs/bench/: run `make bench` first.")
    text = (ROOT / "README.md").read_text()
    tables = "\n\n".join(markdown(json.loads(path.read_text())) for path in results)
    new, count = re.subn(
        r"(<!-- results:begin -->).*?(<!-- results:end -->)", lambda m: f"{m[1]}\n{tables}\n{m[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise CourseError("README.md has no results markers: put <!-- results:begin --> and <!-- results:end --> back.")
    with whole_file(ROOT / "README.md") as path:
        path.write_text(new)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.bench", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("table", help="train and score every row on one data source")
    one.add_argument("--data", default=os.environ.get("COURSE_DATA") or "rooms", help="'rooms' or a folder of photographs")
    one.add_argument("--profile", default=profile().name, choices=PROFILES)
    one.add_argument("--seed", type=int, default=0)
    commands.add_parser("render", help="images a second of the renderer")
    commands.add_parser("readme", help="write the stored tables into README.md")
    arguments = parser.parse_args()
    try:
        if arguments.command == "readme":
            return readme()
        if arguments.command == "render":
            for size in (64, 192):
                print(", ".join(f"{name} {value:.1f}" for name, value in rendering(size).items()))
            return None
        started = time.monotonic()
        result = table(arguments.data, arguments.profile, arguments.seed)
        name = f"{run_dir('table', arguments.seed).name}.json"
        write_json(runs_dir() / "bench" / name, result)
        print(f"\n{markdown(result)}\n\nTook {(time.monotonic() - started) / 60:.1f} minutes; stored as runs/bench/{name}.")
    except CourseError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None


if __name__ == "__main__":
    main()
