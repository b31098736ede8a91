"""The rehearsal of the course on Colab and Kaggle: what it calls a fault, and that its machines are like theirs."""

import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import notebook_cells
import pytest
from packaging.requirements import Requirement

from helpers.config import ROOT, CourseError
from helpers.upkeep import packages, rehearse

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = list(map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["course"]))
ON_A_MACHINE = """
import os, sys
from importlib.util import find_spec
from pathlib import Path
assert os.listdir() == ["one.ipynb"]
assert not {"COURSE_CACHE", "COURSE_RUNS", "COURSE_DATA", "IPYTHONDIR"} & os.environ.keys()
assert os.environ["COURSE_PROFILE"] == "tiny" and "COLAB_RELEASE_TAG" in os.environ
assert ("KAGGLE_KERNEL_RUN_TYPE" in os.environ) == KAGGLE
assert bool(find_spec("google") and find_spec("google.colab")) == (not KAGGLE)
assert not list(Path.home().glob(".cache/*"))
"""
IN_THE_CLONE = "import helpers\nassert Path(helpers.__file__) == Path.cwd() / 'course' / 'helpers' / '__init__.py'"


def faults(folder, *cells, platform="colab", budget=2.0):
    """What is found at fault with a notebook of these cells, in this Python."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, folder / "one.ipynb")
    return rehearse.rehearse(folder / "one.ipynb", platform, Path(sys.executable), "tiny", budget)[1]


@pytest.mark.parametrize("platform", rehearse.VERSIONS)
def test_the_course_admits_what_the_platform_has(platform):
    # Kaggle's requirements of before April 2026 also say matplotlib<3.8, which neither the course nor Python 3.13
    # admits: on an image that still has it, the first cell names the package and the line that mends it.
    versions = rehearse.VERSIONS[platform]
    listed = [one for one in WANTED if one.name in versions]
    assert {one.name for one in WANTED if one not in listed} == {"jupyterlab", "latex2mathml", "nbclient", "nbconvert"}
    assert [f"{one}: {versions[one.name]}" for one in listed if versions[one.name] not in one.specifier] == []
    assert "3.13.5" in Requirement(f"python{PROJECT['requires-python']}").specifier


def test_what_is_installed_there_is_what_one_notebook_alone_needs():
    assert rehearse.ADDED.keys() == packages.ONLY.keys() and not rehearse.ADDED.keys() & rehearse.COLAB.keys()


@pytest.mark.slow
@pytest.mark.parametrize("platform", rehearse.VERSIONS)
def test_the_machine_is_cold_and_the_first_cell_clones_this_checkout(tmp_path, platform):
    first = next(cell.source for cell in notebook_cells.cells("03") if cell.cell_type == "code")
    cells = f"KAGGLE = {platform == 'kaggle'}{ON_A_MACHINE}", first.replace("\nsetup(3)", ""), IN_THE_CLONE
    assert faults(tmp_path, *cells, platform=platform) == []


@pytest.mark.slow
def test_what_a_notebook_writes_to_stderr_is_a_fault(tmp_path):
    said = faults(tmp_path, "print('to stdout')", "import warnings\nwarnings.warn('an old name')")
    assert len(said) == 1 and said[0].startswith("on stderr: ") and said[0].endswith("warnings.warn('an old name')")


@pytest.mark.slow
def test_a_package_that_a_notebook_installs_is_a_fault(tmp_path):
    wheel = tmp_path / "whiskers-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        about = "whiskers-1.0.dist-info"
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: whiskers\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    # Into a folder of the rehearsal, which vanishes: the environment that runs the tests stays as it is.
    said = faults(tmp_path, f"!pip install --quiet --no-index --target $PYTHONPATH {wheel}")
    assert len(said) == 1 and "a package was installed, removed or changed: whiskers" in said[0]


@pytest.mark.slow
def test_a_notebook_over_its_budget_and_a_cell_that_fails_are_faults(tmp_path):
    failed, late = faults(tmp_path, "import time\ntime.sleep(1)", "1 / 0", budget=0.01)
    assert failed.startswith("one stopped in cell [2]:\n") and "ZeroDivisionError" in failed
    assert late.startswith("took 0.") and late.endswith(" minutes from cold; its budget on idle cores is 0.01")


def test_a_notebook_can_be_named_after_an_option_and_is_looked_for_before_anything_is_installed():
    with pytest.raises(CourseError, match="There is no notebook '08_none'"):
        rehearse.main(["colab", "--profile", "quick", "08_none"])
