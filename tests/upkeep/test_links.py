"""The set-up cell, the badges, and the links of a fork."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from notebook_cells import badge, first_cell

from helpers import config, session
from helpers.config import REPOSITORY, ROOT, CourseError
from helpers.upkeep import links

FORK = "some-teacher/depth.course_2"


def run_cell(folder: Path, code: str = first_cell(1).removesuffix("setup(1)"), **environment: str) -> subprocess.CompletedProcess:
    """Run a first cell in ``folder`` as a kernel would, in a fresh Python that knows no helpers."""
    code += "\nprint(Path(sys.modules['helpers.session'].__file__).resolve())"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COLAB_", "KAGGLE_", "PYTHONPATH"))}
    command = [sys.executable, "-S", "-c", code]  # without site-packages: an installed course must not help
    return subprocess.run(command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True)


@pytest.fixture
def published(tmp_path) -> dict[str, str]:
    """A git configuration in which the repository's address leads to a small copy on this disk, and no other."""
    origin = tmp_path / "origin"
    (origin / "helpers").mkdir(parents=True)
    for name in ("__init__.py", "session.py", "config.py", "utils.py"):
        shutil.copy(ROOT / "helpers" / name, origin / "helpers" / name)
    make_checkout(origin)
    address = f"https://github.com/{REPOSITORY}.git"
    instead = f"url.file://{origin}.insteadOf"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": instead, "GIT_CONFIG_VALUE_0": address}


def make_checkout(folder: Path) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all", "--force"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "all"], check=True)


@pytest.mark.parametrize("inside", ["", "notebooks", "notebooks/.ipynb_checkpoints/deep"])
def test_the_cell_finds_the_helpers_from_any_folder_of_the_course(tmp_path, inside):
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    result = run_cell(tmp_path / inside)
    assert result.stdout.strip() == str(tmp_path / "helpers" / "session.py"), result.stderr


def test_a_foreign_package_called_helpers_is_not_taken_for_the_course(tmp_path):
    (tmp_path / "helpers.py").write_text("")
    assert "The course is not in" in run_cell(tmp_path).stderr


def test_on_colab_the_cell_clones_the_course_once(tmp_path, published):
    content = tmp_path / "content"
    content.mkdir()
    for _ in range(2):
        result = run_cell(content, COLAB_RELEASE_TAG="release", **published)
        assert result.stdout.strip() == str(content / "course" / "helpers" / "session.py"), result.stderr
        assert result.stderr == ""
        published = {"GIT_CONFIG_COUNT": "0", "GIT_ALLOW_PROTOCOL": "none"}  # the second time nothing is fetched


def test_the_cell_installs_nothing_and_keeps_albumentations_off_the_network():
    cell = first_cell(4)
    assert "pip" not in cell and "install(" not in cell
    assert 'os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"' in cell
    assert cell.splitlines()[-1] == "setup(4)"
    assert all(len(line) <= 120 for line in cell.splitlines())
    compile(cell, "first cell", "exec")


def test_setup_prints_a_few_short_lines_without_a_path(capsys, monkeypatch, tmp_path):
    (tmp_path / "my rooms").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "my rooms"))
    monkeypatch.setenv("COURSE_PROFILE", "standard")
    session.setup(3)
    output = capsys.readouterr().out
    assert 4 <= len(output.splitlines()) <= 6
    assert max(map(len, output.splitlines())) <= 120
    for expected in ("Notebook 03", torch.__version__, "standard", "quick or full", "my rooms/", "COURSE_DATA"):
        assert expected in output
    assert str(tmp_path) not in output


def test_setup_says_how_long_it_takes_where_that_was_measured(capsys, monkeypatch, tmp_path):
    times = tmp_path / "minutes.json"
    times.write_text(json.dumps({"05_training": {"quick": "3.0 min on 2 CPU cores"}}))
    monkeypatch.setattr(session, "MINUTES", times)
    for profile_name, words in (("quick", "Time     3.0 min on 2 CPU cores\n"), ("tiny", "not measured with profile tiny yet\n")):
        monkeypatch.setenv("COURSE_PROFILE", profile_name)
        session.setup(5)
        assert words in capsys.readouterr().out


@pytest.mark.parametrize("source, words", [("rooms", "no download"), ("archive", "published archive")])
def test_setup_names_the_data(capsys, monkeypatch, source, words):
    monkeypatch.setenv("COURSE_DATA", source)
    session.setup(1)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("name, value", [("COURSE_PROFILE", "huge"), ("COURSE_DATA", "no/such/folder")])
def test_setup_refuses_what_does_not_exist(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(CourseError, match=f"{value}.*{name}|{name}.*{value}"):
        session.setup(1)


@pytest.mark.parametrize("gpu, warned", [(False, True), (True, False)])
def test_colab_without_a_gpu_gets_a_hint_not_an_error(capsys, monkeypatch, gpu, warned):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(session, "device", lambda: "a device")
    session.setup(1)
    assert ("T4 GPU" in capsys.readouterr().out) == warned


@pytest.mark.parametrize("mounted", [False, True])
def test_on_colab_runs_are_kept_on_a_mounted_drive(capsys, monkeypatch, tmp_path, mounted):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    monkeypatch.delenv("COURSE_RUNS", raising=False)
    monkeypatch.setattr(config, "DRIVE", tmp_path / "MyDrive")
    if mounted:
        (tmp_path / "MyDrive").mkdir()
    session.setup(1)
    said = capsys.readouterr().out
    assert ("kept on your Drive, in course-runs" in said) == mounted == ("mount Drive first" not in said)
    assert session.runs_dir() == (tmp_path / "MyDrive" / "course-runs" if mounted else ROOT / "runs")


def test_setup_without_torch_says_which_python_to_choose(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CourseError, match="torch is not installed.*make lab"):
        session.setup(1)


# -- relink -------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path) -> Path:
    """A checkout of this course, as it is now, that may be rewritten."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listing.stdout.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "copy" / name)
    make_checkout(tmp_path / "copy")
    return tmp_path / "copy"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts and "__pycache__" not in path.parts
    }


def test_relink_leaves_no_old_address_and_keeps_the_credit(copy):
    before = contents(copy)
    changed = links.relink(FORK, copy)
    after = contents(copy)
    assert {"helpers/config.py", "README.md", "pyproject.toml", "CITATION.cff"} <= set(changed)
    assert set(changed) == {name for name in before if before[name] != after[name]}
    for name, text in after.items():
        assert not re.search(rb"/%b(\.git\b|/)" % re.escape(REPOSITORY.encode()), text), name
        assert f"//{REPOSITORY.replace('/', '.github.io/')}/".encode() not in text, name
    for name in ("README.md", "CITATION.cff"):
        assert f"https://github.com/{REPOSITORY}".encode() in after[name], "the published project is still cited"
    assert f"https://{FORK.replace('/', '.github.io/')}/".encode() in after["README.md"]
    assert f"/github/{FORK}/blob/".encode() in after["README.md"]
    assert f"git clone https://github.com/{FORK}.git".encode() in after["README.md"]


def test_relinked_notebooks_agree_with_the_relinked_helpers_and_keep_their_outputs(copy):
    output = nbformat.v4.new_output("stream", text="déjà vu")
    title = nbformat.v4.new_markdown_cell(badge("99_test"))
    cell = nbformat.v4.new_code_cell(first_cell(99), outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[title, cell])
    path = copy / "notebooks" / "99_test.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    make_checkout(copy)
    assert "notebooks/99_test.ipynb" in links.relink(FORK, copy)
    relinked = nbformat.read(path, as_version=4)
    nbformat.validate(relinked)
    assert relinked.cells[1].outputs == notebook.cells[1].outputs
    assert relinked.cells[0].source == badge("99_test", FORK)
    assert relinked.cells[1].source == first_cell(99).replace(REPOSITORY, FORK)
    assert f'REPOSITORY = "{FORK}"' in (copy / "helpers" / "config.py").read_text()


def test_relink_twice_changes_nothing_and_back_again_restores_every_byte(copy):
    before = contents(copy)
    assert links.relink(REPOSITORY, copy) == []
    assert links.relink(FORK, copy) != []
    assert links.relink(FORK, copy) == []
    links.relink(REPOSITORY, copy)
    assert contents(copy) == before


def test_relink_writes_nothing_through_a_link(copy, tmp_path):
    """A tracked folder that has been replaced by a link to one outside."""
    outside = tmp_path / "outside"
    shutil.move(copy / "notebooks", outside)
    before = contents(outside)
    (copy / "notebooks").symlink_to(outside)
    assert not any(name.startswith("notebooks/") for name in links.relink(FORK, copy))
    assert contents(outside) == before


def test_relink_that_was_interrupted_is_finished_by_the_next(copy, monkeypatch):
    def breaks_at_config(path, whole_file=links.whole_file):
        if path.name == "config.py":
            raise KeyboardInterrupt
        return whole_file(path)

    monkeypatch.setattr(links, "whole_file", breaks_at_config)
    with pytest.raises(KeyboardInterrupt):
        links.relink(FORK, copy)
    monkeypatch.undo()
    assert links.relink(FORK, copy) == ["helpers/config.py"]
    assert links.relink(FORK, copy) == []


def test_relink_refuses_what_is_no_repository(copy):
    before, github = contents(copy), "https://github.com/a/b"
    for name in ("", "owner", github, "a/b.git", "a/b/c", "a b/c", "-a/b", "a/..", "a/b\n", 'a/b"'):
        with pytest.raises(CourseError, match="OWNER/NAME"):
            links.relink(name, copy)
    assert contents(copy) == before


def test_relink_outside_a_checkout_says_so(tmp_path):
    with pytest.raises(CourseError, match="not a git checkout.*git clone"):
        links.relink(FORK, tmp_path)


@pytest.mark.parametrize(
    "address",
    [f"https://github.com/{FORK}", f"https://github.com/{FORK}.git", f"https://ada:secret@github.com/{FORK}.git/"]
    + [f"git@github.com:{FORK}.git", f"git@github.com:{FORK}", f"ssh://git@github.com/{FORK}.git"],
)
def test_without_a_name_relink_goes_by_the_remote(tmp_path, address):
    subprocess.run(["git", "-C", str(tmp_path), "init", "--quiet"], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", address], check=True)
    assert links.remote_repository(tmp_path) == FORK


@pytest.mark.parametrize(
    "address, words",
    [(None, "no git remote 'origin'"), ("https://:secret@gitlab.com/a/b.git", "is https://gitlab.com/a/b.git, not on")]
    + [("https://github.com.example.org/a/b", "not on github.com"), ("/srv/course.git", "not on github.com")],
)
def test_a_remote_that_is_not_on_github_is_told_in_a_sentence(tmp_path, address, words):
    subprocess.run(["git", "-C", str(tmp_path), "init", "--quiet"], check=True)
    if address:
        subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", address], check=True)
    with pytest.raises(CourseError, match="make relink REPO=owner/name") as caught:
        links.remote_repository(tmp_path)
    assert words in str(caught.value) and "secret" not in str(caught.value)


def test_the_command_says_what_it_changed_or_what_is_missing(copy):
    def relink(*arguments):
        # without site-packages: this runs in a Python in which nothing is installed
        command = [sys.executable, "-S", "-m", "helpers.upkeep.links", "relink", *arguments]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True)

    assert "rewrote README.md" in relink(FORK).stdout
    assert relink(FORK).stdout == f"Every link leads to {FORK} already.\n"
    subprocess.run(["git", "-C", str(copy), "remote", "add", "origin", "git@github.com:ada/fork.git"], check=True)
    assert "rewrote README.md" in relink().stdout
    assert relink("ada/fork").stdout == "Every link leads to ada/fork already.\n"
    subprocess.run(["git", "-C", str(copy), "remote", "remove", "origin"], check=True)
    for wrong in ([], ["nonsense"]):
        assert relink(*wrong).returncode == 1 and "Traceback" not in relink(*wrong).stderr
