"""Draws the README's pictures into ``Images/``: ``make images``, or ``python -m helpers.upkeep.images NAME ...`` for some.

Two are drawn from the networks' modules and two need no training. The others show the run of notebook 05, its failures
too; it is trained now if it is not there. The same run gives the same files.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from helpers import plots
from helpers.augment import resize
from helpers.benchmarks import failure_figure, failures
from helpers.callbacks import CANDIDATES, read_snapshots
from helpers.config import ROOT, CourseError, profile
from helpers.dataset import Quartet, get_batch, sample, split
from helpers.demos import networks as lessons
from helpers.demos.architecture import show_depth_mask_net, show_duo_net
from helpers.evaluate import network_predictor
from helpers.model import build, probabilities
from helpers.predict import load
from helpers.rendering.dataset import RoomsDataset
from helpers.session import our_recipe, run_dir, sets, source, start, train_network
from helpers.train import is_finished
from helpers.upkeep import teaser_gif as film
from helpers.utils import whole_file

# 110 dots an inch make a figure of four columns as wide as GitHub's page. Without matplotlib's version in the file, the
# same picture is the same file. The white around each figure is part of it: GitHub's page may be dark.
SAVING = {"dpi": 110, "bbox_inches": "tight", "pad_inches": 0.1, "metadata": {"Software": None}}


def quartets(size: int = 192) -> Figure:
    """The opening picture: rendered rooms, each with its cat, mask and depth."""
    dataset = RoomsDataset(size)
    chosen = (180185, 163813)  # walking, sitting; far and near
    return plots.show_quartets(dataset.get_batch(chosen), rows=len(chosen))


def depthmasknet() -> Figure:
    """The published network."""
    return show_depth_mask_net(build("DepthMaskNet"), 192)


def duonet() -> Figure:
    """The course's network."""
    return show_duo_net(build("DuoNet"), 192)


def checkerboard() -> Figure:
    """Decoders that are to draw a tilted plane, before they have learnt it and after: notebook 03, section 5."""
    target = lessons.planes(count=1, size=128, seed=1)
    rows: dict[str, dict[str, object]] = {"untrained": {}, "trained": {}}
    for kind in lessons.UPSAMPLERS:
        decoder = lessons.upsampler(kind)
        rows["untrained"][kind] = lessons.stretched(decoder(lessons.as_features(target)))[0]
        lessons.learn_planes(decoder)
        rows["trained"][kind] = decoder(lessons.as_features(target))[0]
    panels = [{"target": target[0], **row} for row in rows.values()]
    drawn = [{name: plots.depth_picture(depth) for name, depth in row.items()} for row in panels]
    return _labelled(plots.show_images(drawn, side=1.55), rows)


# -- the run of notebook 05 ---------------------------------------------------------------------------------------


def finished_run() -> Path:
    """The folder of notebook 05's run, which is trained first if nobody has."""
    folder = run_dir()
    if not is_finished(folder, our_recipe()):
        print(f"No finished training is in {folder.parent.name}/{folder.name}: training one now.")
        train_network()
    return folder


@torch.no_grad()
def answers(net: torch.nn.Module, scenes: Quartet) -> tuple[torch.Tensor, torch.Tensor]:
    """``mask_prob, depth`` of a batch."""
    return probabilities(*net(scenes["bg"], scenes["bg_fg"]), getattr(net, "depth_activation", "sigmoid"))


def results(count: int = 4) -> Figure:
    """What the network of notebook 05 says about test rooms and cats, before its training and after."""
    net = load(finished_run())
    scenes = get_batch(sets()[1], range(count))
    asked = {"before training": start()[0].eval(), "after training": net}
    said = {when: answers(network, scenes) for when, network in asked.items()}
    rows = [
        {"room": scenes["bg"][i], "with the cat": scenes["bg_fg"][i], "mask": scenes["mask"][i]}
        | {when: mask[i] for when, (mask, _) in said.items()}
        | {"depth": plots.depth_picture(scenes["depth"][i], scenes["valid"][i])}
        | {f"{when} ": plots.depth_picture(depth[i]) for when, (_, depth) in said.items()}
        for i in range(count)
    ]
    return plots.show_images(rows, side=1.25)


def stages(index: int = 1) -> Figure:
    """One test scene as each stage of the training sees it, and what the network says at the end of that stage."""
    folder, scene = finished_run(), get_batch(sets()[1], [index])
    rows: dict[str, dict[str, object]] = {"with the cat": {}, "mask": {}, "depth": {}}
    for number, stage in enumerate(our_recipe().stages, 1):
        small = resize(scene, stage.size)
        mask, depth = answers(load(folder / f"weights-stage-{number}.safetensors"), small)
        name = f"stage {number}: {stage.size} px"
        for row, panel in zip(rows.values(), (small["bg_fg"][0], mask[0], plots.depth_picture(depth[0]))):
            row[name] = panel
    large = get_batch(_test_part(192), [index])
    truth = large["bg_fg"][0], large["mask"][0], plots.depth_picture(large["depth"][0], large["valid"][0])
    for row, panel in zip(rows.values(), truth):
        row["the truth, 192 px"] = panel
    return _labelled(plots.show_images(list(rows.values()), side=1.75), rows)


def training() -> Figure:
    """The curves of the run: what it was told while it trained, and how it did on test rooms after each epoch."""
    steps, epochs = (_read_csv(finished_run() / name) for name in ("steps.csv", "history.csv"))
    losses = [{key: row[key] for key in ("samples", "size", "loss")} for row in steps]
    tests = [{key: value for key, value in row.items() if key != "loss"} for row in epochs]
    return plots.training_curves(sorted([*losses, *tests], key=lambda row: row["samples"]))


def time_travel() -> list[Image.Image]:
    """The moving picture: the answers of the run from its first step to its last, under a slider."""
    kept = read_snapshots(finished_run())
    small = resize(get_batch(sets()[1], range(min(CANDIDATES, len(sets()[1])))), kept.bg_fg.shape[-1])["bg_fg"].numpy()
    # The film does not say which quartets it shows, but its photographs do.
    wanted = kept.bg_fg[list(film.shown(kept))]
    indices = [next((i for i, scene in enumerate(small) if np.array_equal(scene, one)), None) for one in wanted]
    if None in indices:
        raise CourseError(f"{run_dir().name}/ was trained on other data: delete the folder and train again.")
    large = get_batch(_test_part(film.PANEL), indices)
    return film.draw(kept, large["bg"], large["bg_fg"])


def worst() -> Figure:
    """The test scenes on which the run does worst, by the cause of the error: :mod:`helpers.benchmarks.failures`."""
    net = load(finished_run())
    return failure_figure.figure(failures.worst(sets()[1], network_predictor(net, net.depth_activation)))


def _test_part(size: int):
    """The quartets of the test set at another size."""
    return sample(split(source(size))[1], profile().test_samples)


def _read_csv(path: Path) -> list[dict[str, float]]:
    with open(path, newline="") as stream:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    return [{**row, "size": int(row["size"])} for row in rows]


def _labelled(figure: Figure, labels) -> Figure:
    """A figure of pictures with a word before each row."""
    axes = np.array(figure.axes).reshape(len(labels), -1)
    for axis, label in zip(axes[:, 0], labels):
        axis.set_ylabel(label)
    return figure


# -- files --------------------------------------------------------------------------------------------------------

FIGURES: dict[str, Callable[[], Figure]] = {
    "quartets": quartets, "depthmasknet": depthmasknet, "duonet": duonet, "checkerboard": checkerboard,
    "results": results, "stages": stages, "training": training,
}  # fmt: skip
SHEETS: dict[str, Callable[[], Figure]] = {"failures": worst}  # large: kept in 256 colours
FILMS: dict[str, Callable[[], list[Image.Image]]] = {"time_travel": time_travel}


def main(names: list[str], folder: Path = ROOT / "Images") -> None:
    """Draw the pictures called ``names``, or all. Each file is replaced only once its picture is complete."""
    known = {**FIGURES, **SHEETS, **FILMS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CourseError(f"There is no picture {unknown[0]!r}: choose from {', '.join(known)}.")
    for name in names or known:
        file = f"{name}.gif" if name in FILMS else f"{name}.png"
        with whole_file(folder / file) as temporary:
            if name in FILMS:
                film.save(FILMS[name](), temporary)
            elif name in SHEETS:
                failure_figure.save(SHEETS[name](), temporary)
            else:
                FIGURES[name]().savefig(temporary, **SAVING)
        print(f"drew {folder.name}/{file}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CourseError as error:
        sys.exit(str(error))
