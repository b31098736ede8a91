"""What every notebook starts from: the data that ``COURSE_DATA`` names, its two sides, and a trained network (its own,
or else the one that comes with the course).

Nothing here is needed to use the library; it only spares the notebooks from repeating the same ten lines. Run as a
program it trains the network of notebook 05: ``torchrun --nproc-per-node 2 -m helpers.session`` on two GPUs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from helpers.config import CourseError, data_folder, data_source, profile, runs_dir
from helpers.quartets import Part, Quartets, Stored, sample, split, store


def source(size: int | None = None) -> Quartets:
    """The dataset of ``COURSE_DATA`` (rendered rooms, the published data, or photographs) at ``size`` pixels.

    Default: the profile's, at which notebooks show and test. If the published data cannot be had, it says why, and
    the rooms take its place.
    """
    wanted, p = _data(), profile()
    size = size or p.size
    if wanted == "rooms":
        from helpers.rooms import RoomsDataset

        return RoomsDataset(size, p.rooms, p.cats, p.placements)
    if wanted == "archive":
        from helpers.archive import ArchiveDataset

        return ArchiveDataset(_archive(), size)
    from helpers.photos import PhotosDataset

    return PhotosDataset(data_folder(), size, p.placements)


def _data() -> str:
    """What ``COURSE_DATA`` names, or ``rooms`` where that is the archive and it cannot be had."""
    wanted = data_source()
    return "rooms" if wanted == "archive" and _archive() is None else wanted


@cache  # asked once in a process, so that all its data and the names of its runs agree
def _archive() -> Path | None:
    """The folder of the published data, or None after saying why there is none."""
    from helpers.drive import fetch_archive

    try:
        return fetch_archive()
    except CourseError as error:
        print(f"{error}\nSo this notebook goes on with the rendered rooms; restart it to try again.")
        return None


def sets() -> tuple[Part | Stored, Stored]:
    """``train_set, test_set`` as large as the profile says: no room and no cat is in both.

    The test set is made once, then read from disk; so is a small training set. A large one is drawn when needed.
    """
    p = profile()
    train_part, test_part = split(source())
    train_set = sample(train_part, p.train_samples)
    return store(train_set) if p.stored else train_set, store(sample(test_part, p.test_samples))


def our_recipe():
    """By what notebook 05 trains: "course", or "fine-tune" on photographs, of which nobody has enough to start from nothing."""
    from helpers.recipes import recipe

    return recipe("course" if _data() in ("rooms", "archive") else "fine-tune")


def start():
    """``net, recipe``: what notebook 05 trains, as it is before that, and by what.

    On rooms and on the published data a new network; on photographs the one that comes with the course, which knows rendered
    rooms already.
    """
    from helpers.model import build
    from helpers.pretrained import pretrained

    recipe = our_recipe()
    return (pretrained() if recipe.name == "fine-tune" else build("DuoNet")), recipe


def run_dir(recipe_name: str | None = None, seed: int = 0) -> Path:
    """Where runs of this recipe (default: :func:`our_recipe`) on this data and profile are kept."""
    wanted, recipe_name = _data(), recipe_name or our_recipe().name
    data = wanted if wanted in ("rooms", "archive") else f"photos-{data_folder().name}"
    return runs_dir() / "-".join([data, profile().name, recipe_name, *([f"seed{seed}"] if seed else [])])


def trained_network():
    """The network of notebook 05 if its run has finished, else the one that comes with the course (and it says so)."""
    from helpers.predict import load
    from helpers.pretrained import pretrained
    from helpers.train import is_finished

    folder = run_dir()
    if is_finished(folder, our_recipe()):
        return load(folder)
    print(
        f"No network of your own is in {folder.parent.name}/{folder.name} yet (notebook 05 trains one): this is the "
        "course's, trained longer, on other rendered rooms."
    )
    return pretrained()


def train_network() -> list[dict]:
    """Train what notebook 05 trains, or go on with it, in as many processes as were started; the history."""
    import torch
    from accelerate import PartialState

    from helpers.train import train

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():  # the others find the sets made
        parts = sets()
    net, recipe = start()
    return train(net, *parts, recipe, run_dir())


if __name__ == "__main__":
    train_network()
