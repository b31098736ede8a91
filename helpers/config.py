"""Where things are and how large: the repository's address, folders, profiles and the one error class.

This module knows no other module of the package and imports neither torch nor numpy.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# The one place that names the repository. `python -m helpers.upkeep.links relink OWNER/NAME` rewrites it for a fork,
# together with every badge and clone line.
REPOSITORY = "Shashank-Holla/DepthEstimation-MaskPrediction"

ROOT = Path(__file__).resolve().parents[1]


class CourseError(ValueError):
    """Something that the reader can mend: the message says what is wrong, where, and what to do.

    Notebooks show the message alone, without the stack of calls that led to it.
    """

    def _render_traceback_(self) -> list[str]:
        """Called by IPython instead of drawing a traceback."""
        return [f"\x1b[31m{type(self).__name__}\x1b[0m: {self}"]


@contextmanager
def plain_errors() -> Iterator[None]:
    """In a program: what the reader can mend ends it with its message, without the stack of calls that led to it."""
    try:
        yield
    except CourseError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class Profile:
    """How much of everything one run of the course uses.

    ``rooms``, ``cats``, ``placements`` size the rendered data; ``train_samples`` and ``test_samples`` are the
    quartets drawn from the two parts of the split; ``size`` is the image size, in pixels, at which notebooks show
    and test; ``cached`` says that training quartets are made once and kept on disk, else they are drawn when
    needed; ``purpose`` says whom it is for.
    """

    name: str
    rooms: int
    cats: int
    placements: int
    train_samples: int
    test_samples: int
    size: int
    cached: bool
    purpose: str


# More rooms make the depth of unseen rooms better. At 192 px each renders slowly: "standard" has fewer than "quick".
PROFILES = {
    "tiny": Profile("tiny", 12, 8, 2, 96, 32, 48, True, "for tests: too little to learn from"),
    "quick": Profile("quick", 2400, 100, 2, 6_000, 400, 64, True, "for a machine without a GPU"),
    "standard": Profile("standard", 1200, 100, 4, 16_000, 1_000, 192, True, "for a GPU like Colab's T4; not timed yet"),
    "full": Profile("full", 2400, 100, 20, 280_000, 4_000, 192, False, "as published, for a large GPU; not timed yet"),
}


def profile(name: str | None = None) -> Profile:
    """The profile called ``name``, else ``$COURSE_PROFILE``, else ``standard`` with a GPU and ``quick`` without."""
    name = name or os.environ.get("COURSE_PROFILE")
    if not name:
        import torch  # imported late: `import helpers` must stay cheap

        name = "standard" if torch.cuda.is_available() else "quick"
    if name not in PROFILES:
        raise CourseError(f"There is no profile {name!r}: set COURSE_PROFILE to one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def data_source() -> str:
    """``rooms``, ``archive`` or the path of a folder of photographs, from ``$COURSE_DATA`` (default ``rooms``)."""
    return os.environ.get("COURSE_DATA") or "rooms"


def data_folder() -> Path:
    """The absolute path of the folder that ``$COURSE_DATA`` names, seen from here or from the repository's root."""
    source = Path(data_source()).expanduser()
    for folder in (source, ROOT / source):  # notebooks run in notebooks/, make in the root
        if folder.is_dir():
            return folder.resolve()
    raise CourseError(
        f"COURSE_DATA={source} is not a folder (seen from {Path.cwd()}): "
        "set it to rooms, to archive, or to a folder of photographs."
    )


def cache_dir() -> Path:
    """Where rendered sets are kept: ``$COURSE_CACHE``, else ``.cache`` in the repository. Safe to delete."""
    return Path(os.environ.get("COURSE_CACHE") or ROOT / ".cache").expanduser()


DRIVE = Path("/content/drive/MyDrive")  # where Colab mounts Google Drive


def runs_dir() -> Path:
    """Where runs go: ``$COURSE_RUNS``, else ``course-runs`` on a mounted Drive, else ``runs`` beside helpers/."""
    if wanted := os.environ.get("COURSE_RUNS"):
        return Path(wanted).expanduser()
    return DRIVE / "course-runs" if DRIVE.is_dir() else ROOT / "runs"
