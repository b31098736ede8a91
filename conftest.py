"""What every test, and every notebook under test, starts with: the tiny profile and folders that vanish afterwards."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

SCRATCH = Path(tempfile.mkdtemp(prefix="course-tests-"))

# At import, not in a fixture: nbval's kernels are no tests of ours and take over the environment as it is.
os.environ.pop("COURSE_DATA", None)
os.environ.update(
    COURSE_PROFILE="tiny",
    COURSE_CACHE=str(SCRATCH / "cache"),
    COURSE_RUNS=str(SCRATCH / "runs"),
    IPYTHONDIR=str(SCRATCH / "ipython"),  # neither the user's start-up files nor a place in their history
    JUPYTER_PREFER_ENV_PATH="1",
    NO_ALBUMENTATIONS_UPDATE="1",
)
# Before torch is imported, and for kernels too: on small tensors, threads that wait for a busy core cost more than they gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples everywhere: a change passes or fails by what it does. --hypothesis-profile=default draws others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Each file, a notebook above all, finds an empty folder of runs: it must need nothing that another left."""
    os.environ["COURSE_RUNS"] = str(SCRATCH / "runs" / item.path.stem)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":  # nbval's, one a cell
            item.add_marker(pytest.mark.slow)
    # Files with slow tests first: of the short ones that are left, each of several processes can take its share.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_unconfigure():
    shutil.rmtree(SCRATCH, ignore_errors=True)
