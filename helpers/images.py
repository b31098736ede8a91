"""Draws the README's pictures into ``Images/``: ``make images``, or ``python -m helpers.images NAME ...`` for some."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure

from helpers import plots
from helpers.config import ROOT, CourseError
from helpers.files import whole_file
from helpers.model import build, probabilities
from helpers.quartets import fetch
from helpers.rooms import RoomsDataset
from helpers.session import sets, trained_network

# 110 dots an inch make a figure of four columns as wide as GitHub's page. Without matplotlib's version in the file, the
# same picture is the same file.
SAVING = {"dpi": 110, "bbox_inches": "tight", "pad_inches": 0.05, "metadata": {"Software": None}}


def quartets(size: int = 192) -> Figure:
    """The opening picture: rendered rooms, each with its cat, mask and depth."""
    dataset = RoomsDataset(size)
    chosen = (180185, 213750, 324602, 163813)  # walking, lying, standing, sitting; far and near
    return plots.show_quartets(dataset.get_batch(chosen), rows=len(chosen))


@torch.no_grad()
def results(count: int = 4) -> Figure:
    """What the network of notebook 05 says about test rooms and cats, before its training and after."""
    net = trained_network()
    scenes = fetch(sets()[1], range(count))
    answers = {}
    for when, asked in (("before training", build(type(net).__name__).eval()), ("after training", net)):
        answers[when] = probabilities(*asked(scenes["bg"], scenes["bg_fg"]), net.depth_readout)
    rows = [
        {"room": scenes["bg"][i], "with the cat": scenes["bg_fg"][i], "mask": scenes["mask"][i]}
        | {when: mask[i] for when, (mask, _) in answers.items()}
        | {"depth": plots.depth_picture(scenes["depth"][i], scenes["valid"][i])}
        | {f"{when} ": plots.depth_picture(depth[i]) for when, (_, depth) in answers.items()}
        for i in range(count)
    ]
    return plots.show_images(rows, side=1.25)


FIGURES: dict[str, Callable[[], Figure]] = {"quartets": quartets, "results": results}


def main(names: list[str], folder: Path = ROOT / "Images") -> None:
    """Draw the figures called ``names``, or all. Each file is replaced only once its picture is complete."""
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise CourseError(f"There is no picture {unknown[0]!r}: choose from {', '.join(FIGURES)}.")
    for name in names or FIGURES:
        with whole_file(folder / f"{name}.png") as temporary:
            FIGURES[name]().savefig(temporary, **SAVING)
        print(f"drew {folder.name}/{name}.png")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CourseError as error:
        sys.exit(str(error))
