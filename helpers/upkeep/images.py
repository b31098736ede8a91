"""Draws the images of the README and of the results page into ``Images/``: ``make images``, or ``python -m
helpers.upkeep.images NAME ...`` for some.

Two are drawn from the networks' modules, one from the data; ``social_preview`` shows the course's network, and is for
the repository's settings on GitHub. ``failures`` shows the network of notebook 05 if there is one, else the course's;
``time_travel`` trains one first. The same run gives the same files.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from helpers import plots
from helpers.augment import resize
from helpers.benchmarks import failures
from helpers.callbacks import CANDIDATES, read_snapshots
from helpers.config import ROOT, CourseError, plain_errors
from helpers.dataset import get_batch
from helpers.demos.architecture import show_depth_mask_net, show_duo_net
from helpers.model import build
from helpers.predict import predict, pretrained
from helpers.rendering.dataset import RoomsDataset
from helpers.session import is_trained, part, run_dir, sets, train_network
from helpers.upkeep import teaser_gif
from helpers.utils import whole_file


def quartets(size: int = 192) -> Figure:
    """Rendered rooms, each with its cat, mask and depth."""
    return plots.show_quartets(RoomsDataset(size).get_batch((180185, 163813)), rows=2)  # walking, sitting; far, near


def social_preview() -> Image.Image:
    """What one sees where a link to the course is shared: its question, a rendered pair, and what the network predicts."""
    size, left, top, gap = 288, 40, 268, 16  # GitHub cuts up to 40 pixels off
    quartet = RoomsDataset(size)[180185]
    room, scene = (plots.picture(quartet[name]) for name in ("bg", "bg_fg"))
    maps = predict(pretrained(), *(teaser_gif.image(pixels) for pixels in (room, scene)))
    panels = {
        "a room": room, "the same with a cat": scene,
        "where is the cat?": plots.overlay(scene, maps["mask"] >= 0.5, 0.6),
        "how far is everything?": plots.depth_picture(maps["depth"]),
    }  # fmt: skip
    sheet = Image.new("RGB", (1280, 640), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((left, 44), "Where is the cat,\nand how far is everything?", teaser_gif.INK, teaser_gif.font(60, bold=True))
    for place, (words, panel) in enumerate(panels.items()):
        x = left + place * (size + gap)
        pen.text((x, top - 36), words, teaser_gif.INK, teaser_gif.font(22))
        sheet.paste(teaser_gif.image(panel), (x, top))
    words = "One small network, built from scratch in notebooks"
    pen.text((left, 582), words, teaser_gif.BLUE, teaser_gif.font(26, bold=True))
    return sheet


def finished_run() -> Path:
    """The folder of notebook 05's run, which is trained first if nobody has."""
    folder = run_dir()
    if not is_trained():
        print(f"No finished training is in {folder.parent.name}/{folder.name}: training one now.")
        train_network()
    return folder


def time_travel() -> list[Image.Image]:
    """The predictions of the run from its first step to its last, under a slider."""
    kept = read_snapshots(finished_run())
    validation_set = sets("validation")[0]
    candidates = get_batch(validation_set, range(min(CANDIDATES, len(validation_set))))
    small = resize(candidates, kept.bg_fg.shape[-1])["bg_fg"].numpy()
    # The snapshots do not say of which quartets they are, but their photographs do.
    wanted = kept.bg_fg[list(teaser_gif.shown(kept))]
    indices = [next((i for i, scene in enumerate(small) if np.array_equal(scene, one)), None) for one in wanted]
    if None in indices:
        raise CourseError(f"{run_dir().name}/ was trained on other data: delete the folder and train again.")
    large = get_batch(part("validation", teaser_gif.PANEL), indices)
    return teaser_gif.draw(kept, large["bg"], large["bg_fg"])


def worst() -> Figure:
    """The test scenes for which the trained network, or without one the course's, predicts worst."""
    return failures.figure(failures.main())


def _save_figure(figure: Figure, path: Path) -> None:
    """As wide as GitHub's page, with white around it as that may be dark; without matplotlib's version in the file."""
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.1, metadata={"Software": None})


def _save_small(sheet: Image.Image, path: Path) -> None:
    sheet.quantize(255, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)


# The name of each file, what draws it, and what saves that.
PICTURES: dict[str, tuple[Callable, Callable]] = {
    "quartets.png": (quartets, _save_figure),
    "social_preview.png": (social_preview, _save_small),
    "depthmasknet.png": (lambda: show_depth_mask_net(build("DepthMaskNet"), 192), _save_figure),
    "duonet.png": (lambda: show_duo_net(build("DuoNet"), 192), _save_figure),
    "failures.png": (worst, _save_figure),
    "time_travel.gif": (time_travel, teaser_gif.save),
}


def main(names: list[str], folder: Path = ROOT / "Images") -> None:
    """Draw the pictures called ``names``, or all. Each file is replaced only once its picture is complete."""
    known = {Path(file).stem: file for file in PICTURES}
    if unknown := [name for name in names if name not in known]:
        raise CourseError(f"There is no picture {unknown[0]!r}: choose from {', '.join(known)}.")
    for file in [known[name] for name in names] or PICTURES:
        draw, save = PICTURES[file]
        with whole_file(folder / file) as temporary:
            save(draw(), temporary)
        print(f"drew {folder.name}/{file}")


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
