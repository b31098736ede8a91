"""Every way that the first cell of a notebook can go: as the notebook has it, in a fresh Python, with a real git."""

import os
import re
import subprocess
import sys
from pathlib import Path

import notebook_cells
import pytest

from helpers.config import REPOSITORY, ROOT

COLAB = {"COLAB_RELEASE_TAG": "release"}
KAGGLE = {**COLAB, "KAGGLE_KERNEL_RUN_TYPE": "Interactive"}  # Kaggle's images set Colab's variables too
ELSEWHERE = {}
NO_COURSE = "no-such-address"
KERNEL = """
import sys, traceback
space = {"__name__": "__main__"}
for source in CELLS:
    try:
        exec(source, space)
    except Exception:
        traceback.print_exc(file=sys.stdout)
"""


def git(folder: Path, *words: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org", *words]
    subprocess.run(command, check=True, capture_output=True)


def make_course(folder: Path, says: str = "here") -> Path:
    """A folder that is the course as far as the first cell can tell."""
    (folder / "helpers").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    (folder / "helpers/__init__.py").write_text("")
    (folder / "helpers/session.py").write_text(f"def setup(n):\n    print('{says}', n, __file__)\n")
    return folder


def repository(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("a file")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


@pytest.fixture
def right(tmp_path) -> Path:
    return repository(make_course(tmp_path / "origin", "cloned"))


@pytest.fixture
def wrong(tmp_path) -> Path:
    return repository(tmp_path / "another")


@pytest.fixture
def here(tmp_path) -> Path:
    """Where the kernel starts: a folder with nothing of the course in it, above it or beside it."""
    (tmp_path / "content" / "work").mkdir(parents=True)
    return tmp_path / "content" / "work"


def first(number: str) -> str:
    return next(cell.source for cell in notebook_cells.cells(number) if cell.cell_type == "code")


def cell(address: object = NO_COURSE, kaggle_input: Path | None = None) -> str:
    """The first code cell of a notebook, with another address in the line that a reader changes."""
    source = first("03")
    line = f'address = "https://github.com/{REPOSITORY}.git"'
    assert source.count(line) == 1, "relink and the reader look for this line"
    address = address if address == NO_COURSE else f"file://{address}"
    source = source.replace(line, f'address = "{address}"')
    return source.replace("/kaggle/input", str(kaggle_input)) if kaggle_input else source


def kernel(folder: Path, machine: dict[str, str], *cells: str) -> str:
    """What these cells print one after the other in one Python, as a notebook does: it goes on after an error."""
    foreign = ("COLAB_", "KAGGLE_", "PYTHONPATH", "GIT_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    command = [sys.executable, "-S", "-c", f"CELLS = {list(cells)!r}\n{KERNEL}"]  # -S: no installed course must help
    result = subprocess.run(command, cwd=folder, env={**clean, **machine}, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stderr == ""
    return result.stdout


def sentence(said: str) -> str:
    """The one line that a failed cell ends in."""
    assert said.count("Traceback") == 1, said
    return said.strip().splitlines()[-1].removeprefix("ModuleNotFoundError: ")


def test_all_notebooks_have_the_same_cell_but_for_the_number():
    assert len({first(n).replace(f"setup({int(n)})", "setup(N)") for n in notebook_cells.NOTEBOOKS}) == 1


@pytest.mark.parametrize("machine", [COLAB, KAGGLE])
def test_the_right_repository_is_cloned_and_used(here, right, machine):
    assert kernel(here, machine, cell(right)) == f"cloned 3 {here}/course/helpers/session.py\n"


def test_what_was_cloned_is_found_by_the_next_kernel_without_a_network(here, right):
    kernel(here, COLAB, cell(right))
    assert kernel(here, COLAB, cell()).startswith("cloned 3")


@pytest.mark.parametrize("machine, way", [(COLAB, "upload its folder (Files, left)"), (KAGGLE, "as a dataset")])
def test_a_repository_without_the_course_is_said_to_be_one_and_removed(here, wrong, machine, way):
    said = sentence(kernel(here, machine, cell(wrong)))
    assert said.startswith(f"The course is not in {here}, and file://{wrong} does not hold it: set address in this")
    assert way in said and said.endswith("run this cell again.")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("machine, way", [(COLAB, "(Files, left)"), (KAGGLE, "switch Internet on")])
def test_a_clone_that_fails_says_what_git_said_and_the_ways_out(here, machine, way):
    said = sentence(kernel(here, machine, cell()))
    assert f"and {NO_COURSE} cannot be cloned (fatal: repository '{NO_COURSE}' does not exist)" in said
    assert "set address" in said and "upload its folder" in said and way in said
    assert list(here.iterdir()) == []


def test_without_a_network_the_sentence_says_so(here):
    address = 'address = "https://github.invalid/a/b.git"'
    said = sentence(kernel(here, COLAB, cell().replace(f'address = "{NO_COURSE}"', address)))
    assert "cannot be cloned (fatal: unable to access 'https://github.invalid/a/b.git/'" in said


@pytest.mark.parametrize("machine", [COLAB, KAGGLE])
def test_the_second_try_works_in_the_same_kernel(here, wrong, right, machine):
    said = kernel(here, machine, cell(), cell(wrong), cell(right))
    assert said.count("Traceback") == 2 and said.endswith(f"cloned 3 {here}/course/helpers/session.py\n")


def test_a_folder_that_is_in_the_way_of_the_clone_is_named_and_kept(here, right):
    (here / "course").mkdir()
    (here / "course" / "mine.txt").write_text("mine")
    assert "'course' already exists" in sentence(kernel(here, COLAB, cell(right)))
    assert (here / "course" / "mine.txt").exists()


def test_a_kaggle_token_on_another_machine_is_not_kaggle(here, right):
    said = sentence(kernel(here, {"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": "0"}, cell(right)))
    assert "Internet" not in said and list(here.iterdir()) == []


@pytest.mark.parametrize("inside", [".", "notebooks", "notebooks/deep/er"])
def test_jupyter_and_vs_code_find_the_checkout_they_are_in(here, inside):
    make_course(here / "checkout")
    (here / "checkout" / inside).mkdir(parents=True, exist_ok=True)
    said = kernel(here / "checkout" / inside, ELSEWHERE, cell())
    assert said == f"here 3 {here}/checkout/helpers/session.py\n"


def test_jupyter_and_vs_code_in_another_folder_clone_nothing_and_say_what_to_do(here, right):
    said = sentence(kernel(here, ELSEWHERE, cell(right)))
    assert said == (
        f"The course is not in {here}: put its folder beside this notebook, or open the one in its notebooks/, "
        "and run this cell again."
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("machine", [COLAB, KAGGLE, ELSEWHERE])
@pytest.mark.parametrize("name", ["course", "DepthEstimation-main"])
def test_a_folder_uploaded_by_hand_is_used_after_a_failed_try(here, machine, name):
    upload = f"import shutil; shutil.copytree({str(make_course(here.parents[1] / 'uploaded'))!r}, {name!r})"
    said = kernel(here, machine, cell(), upload, cell())
    assert said.count("Traceback") == 1 and said.endswith(f"here 3 {here}/{name}/helpers/session.py\n")


def test_a_dataset_on_kaggle_is_copied_to_where_runs_can_be_written(here, tmp_path):
    make_course(tmp_path / "input" / "datasets" / "ada" / "my-course")
    said = kernel(here, KAGGLE, cell(kaggle_input=tmp_path / "input"))
    assert said == f"here 3 {here}/course/helpers/session.py\n"


def test_half_an_upload_is_named_and_the_whole_one_works_in_the_same_kernel(here):
    folder = make_course(here / "course")
    whole = (folder / "helpers/session.py").read_text()
    (folder / "helpers/session.py").write_text(f"import helpers.config\n{whole}")
    mend = f"open({str(folder / 'helpers/config.py')!r}, 'w').close()"
    said = kernel(here, COLAB, cell(), mend, cell())
    assert f"{folder} is not the whole course (No module named 'helpers.config'): upload all of it" in said
    assert said.count("Traceback") == 1 and said.endswith(f"here 3 {folder}/helpers/session.py\n")


def test_another_package_of_that_name_gives_way(here, right):
    other = here.parent / "other"
    other.mkdir()
    (other / "helpers.py").write_text("")
    before = f"import sys; sys.path.insert(0, {str(other)!r}); import helpers"
    assert kernel(here, COLAB, before, cell(right)).startswith("cloned 3")


def test_running_it_twice_keeps_the_modules_that_later_cells_have_used(here):
    make_course(here / "course")
    mark = "import helpers.session; helpers.session.mark = 1"
    said = kernel(here, ELSEWHERE, cell(), mark, cell(), "import helpers.session; print(helpers.session.mark)")
    assert said.endswith("\n1\n")


def test_the_real_course_is_found_from_its_notebooks(tmp_path):
    source = re.sub(r"\nsetup\(3\)$", "\nprint(setup.__module__, course)", cell())
    assert kernel(ROOT / "notebooks", ELSEWHERE, source) == f"helpers.session {ROOT}\n"
