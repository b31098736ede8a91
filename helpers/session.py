"""What every notebook starts from: its first lines, the data that ``COURSE_DATA`` names, and a trained network (its
own, or else the one that comes with the course).

What needs torch is imported late, so that :func:`setup` can say that torch is missing. Run as a program it trains the
network of notebook 05: ``torchrun --nproc-per-node 2 -m helpers.session`` on two GPUs.
"""

import json
import os
import platform
import sys
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import config
from helpers.config import PROFILES, CourseError, data_folder, data_source, profile, runs_dir
from helpers.utils import device

if TYPE_CHECKING:
    from helpers.dataset import CachedDataset, SceneDataset, Subset

PARTS = "train", "validation", "test"
MINUTES = Path(__file__).with_name("minutes.json")  # what each notebook takes; helpers.upkeep.front_page writes it


def setup(number: int) -> None:
    """Print, for notebook ``number``: versions, device, profile and data, and how to change them."""
    try:
        import numpy
        import torch
    except ImportError:
        raise CourseError("torch is not installed in this Python: run 'make lab', or choose .venv as kernel") from None
    from helpers.upkeep.packages import advice  # late: nothing else of the library needs it

    chosen, source = profile(), data_source()
    data = {"rooms": "rooms, rendered here (no download)", "archive": "the published archive"}.get(source)
    data = data or f"your photographs in {data_folder().name}/"
    times = {name[:2]: by_profile for name, by_profile in json.loads(MINUTES.read_text("utf-8")).items()}
    time = times.get(f"{number:02d}", {}).get(chosen.name, f"not measured with profile {chosen.name} yet")
    others = " or ".join(name for name in PROFILES if name not in (chosen.name, "tiny"))
    python, versions = platform.python_version(), f"torch {torch.__version__}, numpy {numpy.__version__}"
    print(f"Notebook {number:02d} · Python {python}, {versions}")
    print(f"Device   {device()}")
    print(f"Profile  {chosen.name}, {chosen.purpose}")
    print(f"Time     {time}\nData     {data}")
    print(f"Change   put %env COURSE_PROFILE=... ({others}) or %env COURSE_DATA=... in a cell above, then run all",
          *advice(number), sep="\n")  # fmt: skip
    kaggle = os.environ.keys() & {"KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"}  # its images set Colab's variables too
    if (kaggle or "COLAB_RELEASE_TAG" in os.environ) and not torch.cuda.is_available():
        menu = "Settings > Accelerator" if kaggle else "Runtime > Change runtime type > T4 GPU"
        print(f"No GPU   everything works, but slowly: choose {menu}, then run all")
    if "COLAB_RELEASE_TAG" in os.environ and not kaggle:
        print("Runs     " + ("kept on your Drive, in " + runs_dir().name if config.DRIVE in runs_dir().parents else
              "lost when Colab takes this machine back: mount Drive first (folder icon, left)"))  # fmt: skip


def source(size: int | None = None) -> "SceneDataset":
    """The dataset of ``COURSE_DATA`` at ``size`` pixels (default the profile's); rooms if the archive cannot be had."""
    wanted, p = _data(), profile()
    size = size or p.size
    if wanted == "rooms":
        from helpers.rendering.dataset import RoomsDataset, renderer

        return RoomsDataset(size, p.rooms, p.cats, p.placements, device=renderer())
    if wanted == "archive":
        from helpers.archive.dataset import ArchiveDataset

        return ArchiveDataset(_archive(), size)
    from helpers.photos.dataset import PhotosDataset

    return PhotosDataset(data_folder(), size, p.placements)


def _data() -> str:
    """What ``COURSE_DATA`` names, or ``rooms`` where that is the archive and it cannot be had."""
    wanted = data_source()
    return "rooms" if wanted == "archive" and _archive() is None else wanted


@cache  # asked once in a process, so that all its data and the names of its runs agree
def _archive() -> Path | None:
    """The folder of the published data, or None after saying why there is none."""
    from helpers.archive.download import fetch_archive

    try:
        return fetch_archive()
    except CourseError as error:
        print(f"{error}\nSo this notebook goes on with the rendered rooms; restart it to try again.")
        return None


def sets(*names: str) -> "tuple[Subset | CachedDataset, ...]":
    """``train_set, validation_set, test_set``, or those named: no common room or cat; cached, unless too large."""
    from helpers.dataset import cached

    data = source()
    drawn = {name: part(name, data=data) for name in names or PARTS}
    return tuple(part if name == "train" and not profile().cached else cached(part) for name, part in drawn.items())


def part(name: str, size: int | None = None, data: "SceneDataset | None" = None) -> "Subset":
    """One of :data:`PARTS`, not made yet. Two places, or cats, leave none for validation: it is of the training set."""
    from helpers.dataset import sample, split

    if name not in PARTS:
        raise CourseError(f"There is no part {name!r}: choose {', '.join(PARTS)}.")
    data, p = data or source(size), profile()
    places = {getattr(data, "places", {}).get(room, room) for room in range(data.rooms)}
    if min(len(places), data.cats) > 2:
        found = dict(zip(PARTS, split(data, validation=0.1)))[name]
    else:
        if name == "validation":
            print("Two places, or two cats, leave none for validation: it is of the training set, and flatters.")
        found = split(data)[name == "test"]
    return sample(found, p.train_samples if name == "train" else p.test_samples)


def our_recipe():
    """What notebook 05 trains by: "course", or "fine-tune" on photographs, too few to start from nothing."""
    from helpers.recipes import recipe

    return recipe("course" if _data() in ("rooms", "archive") else "fine-tune")


def start():
    """``net, recipe`` of notebook 05; on photographs the network starts from weights that have seen photographs."""
    from helpers.model import build
    from helpers.predict import pretrained

    recipe = our_recipe()
    return (pretrained("photographs") if recipe.name == "fine-tune" else build("DuoNet")), recipe


def run_dir(recipe_name: str | None = None) -> Path:
    """Where runs of this recipe (default: :func:`our_recipe`) on this data and profile are kept."""
    wanted, recipe_name = _data(), recipe_name or our_recipe().name
    data = wanted if wanted in ("rooms", "archive") else f"photos-{data_folder().name}"
    return runs_dir() / f"{data}-{profile().name}-{recipe_name}"


def is_trained() -> bool:
    """Whether notebook 05 has finished its training with this recipe, on this data, which is opened only then."""
    from helpers.train import is_finished

    return is_finished(run_dir(), our_recipe()) and is_finished(run_dir(), our_recipe(), part("train"))


def trained_network():
    """The network of notebook 05 if its run has finished, else the one that comes with the course (and it says so)."""
    from helpers.predict import load, pretrained
    from helpers.train import is_finished

    folder = run_dir()
    if is_trained():
        return load(folder)
    where = f"in {folder.parent.name}/{folder.name}"
    reason = f"No network of your own is {where} yet (notebook 05 trains one)"
    if is_finished(folder, our_recipe()):
        reason = f"The network {where} was trained on other data, or before some was added"
    print(f"{reason}: this is the course's, and helpers/weights/README.md says on what it was trained.")
    return pretrained("photographs" if our_recipe().name == "fine-tune" else "rooms")


def train_network() -> list[dict]:
    """Train what notebook 05 trains, or go on with it, in as many processes as were started; the history."""
    import torch
    from accelerate import PartialState

    from helpers.callbacks import standard
    from helpers.train import train

    with PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=3)).main_process_first():
        parts = sets("train", "validation")  # the first one makes them, which may take long; the others find them
    net, recipe = start()
    history = train(net, *parts, recipe, run_dir(), standard())
    PartialState().destroy_process_group()
    return history


if __name__ == "__main__":
    with config.plain_errors():
        train_network()
    sys.stdout.flush()
    os._exit(0)  # a usual end would abort now and then: threads of torch.distributed outlive its process group
