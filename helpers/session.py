"""What every notebook starts from: the data that ``COURSE_DATA`` names, its two sides, and a trained network.

Nothing here is needed to use the library; it only spares the notebooks from repeating the same ten lines.
"""

from __future__ import annotations

from pathlib import Path

from helpers.config import CourseError, data_folder, data_source, profile, runs_dir
from helpers.quartets import Part, Quartets, Stored, sample, split, store


def source(size: int | None = None) -> Quartets:
    """The dataset of ``COURSE_DATA`` (rendered rooms, or a folder of photographs) at ``size`` pixels.

    Default: the profile's, at which notebooks show and test.
    """
    wanted, p = data_source(), profile()
    size = size or p.size
    if wanted == "rooms":
        from helpers.rooms import RoomsDataset

        return RoomsDataset(size, p.rooms, p.cats, p.placements)
    if wanted == "archive":
        raise CourseError("COURSE_DATA=archive is not ready yet: set it to rooms, or to a folder of photographs.")
    from helpers.photos import PhotosDataset

    return PhotosDataset(data_folder(), size, p.placements)


def sets() -> tuple[Part | Stored, Stored]:
    """``train_set, test_set`` as large as the profile says: no room and no cat is in both.

    The test set is made once, then read from disk; so is a small training set. A large one is drawn when needed.
    """
    p = profile()
    train_part, test_part = split(source())
    train_set = sample(train_part, p.train_samples)
    return store(train_set) if p.stored else train_set, store(sample(test_part, p.test_samples))


def run_dir(recipe_name: str = "course", seed: int = 0) -> Path:
    """Where runs of this recipe on this data and profile are kept; notebook 05 and the bench share those of seed 0."""
    wanted = data_source()
    data = wanted if wanted in ("rooms", "archive") else f"photos-{data_folder().name}"
    return runs_dir() / "-".join([data, profile().name, recipe_name, *([f"seed{seed}"] if seed else [])])


def trained_network():
    """The network of notebook 05: loaded if its run is there, else trained now (and it says so)."""
    from helpers.model import build
    from helpers.predict import load
    from helpers.train import is_finished, recipe, train

    folder, wanted = run_dir(), recipe("course")
    if not is_finished(folder, wanted):
        print(f"No trained network is in {folder.parent.name}/{folder.name}: training one now, {profile().minutes}.")
        train(build("DuoNet"), *sets(), wanted, folder)
    return load(folder)
