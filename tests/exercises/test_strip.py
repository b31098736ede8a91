"""What a teacher takes out of a copy of the course, and what stays."""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from helpers.config import ROOT
from helpers.exercises import checker, hint
from helpers.exercises.strip import DETAILS, KEPT_BACK, strip

FOLDED = "<details><summary>Answers</summary>\n\n1. Forty-two.\n\n</details>"


@pytest.fixture
def copy(tmp_path):
    """The course as a teacher's own copy, with folded answers in one notebook."""
    away = shutil.ignore_patterns("weights", "__pycache__")
    for folder in ("helpers", "notebooks", "tests/exercises"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=away)
    path = next((tmp_path / "notebooks").glob("*.ipynb"))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"Before.\n\n{FOLDED}\n\nBetween.\n\n{FOLDED.upper()}"))
    nbformat.write(notebook, path)
    return tmp_path


def python(copy, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=copy, capture_output=True, text=True, encoding="utf-8")


def state(copy):
    return {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def answers_in(copy):
    """The texts of a copy that answer exercises."""
    found = [path.name for path in (copy / "tests/exercises").glob("answers_*.py")]
    found += re.findall(r"^(?:def|class) \w+", (copy / "helpers/exercises/solutions.py").read_text(encoding="utf-8"), re.MULTILINE)
    for path in (copy / "notebooks").glob("*.ipynb"):
        found += DETAILS.findall("\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells))
    return found


def test_it_takes_all_answers_and_nothing_else(copy):
    before, path = state(copy), next((copy / "notebooks").glob("*.ipynb"))
    outputs = [cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells]
    assert answers_in(copy)
    said = strip(copy)
    assert answers_in(copy) == []
    after = state(copy)
    changed = {path.relative_to(copy).as_posix() for path in before if after.get(path) != before[path]}
    assert changed == {line.partition(":")[0] for line in said} and after.keys() <= before.keys()
    assert f"notebooks/{path.name}: 2 folded answers taken out" in "\n".join(said).replace("3 folded", "2 folded")
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[-1].source == f"Before.\n\n{KEPT_BACK}\n\nBetween.\n\n{KEPT_BACK}"
    assert [cell.get("outputs") for cell in notebook.cells] == outputs
    nbformat.validate(notebook)
    text = path.read_text(encoding="utf-8")
    nbformat.write(notebook, path)
    assert path.read_text(encoding="utf-8") == text, "laid out as Jupyter writes it"
    assert strip(copy) == [] and state(copy) == after, "a second time changes nothing"


def test_the_command_says_what_it_did_and_what_can_still_be_read(copy):
    ask = "from helpers.exercises import *; solution('4.1'); hint('4.1'); print(check('4.1', lambda *a: None).state)"
    first, again = (python(copy, "-m", "helpers.exercises", "strip").stdout for _ in range(2))
    assert "solutions.py: " in first and "folded answers" in first and "answers_04.py: deleted" in first
    assert "no answers any more" in again
    checker = "helpers/exercises/nb01.py"  # it computes what is right, to compare an answer with it
    assert checker in first and checker in again and (copy / checker).exists()
    lines = python(copy, "-c", ask).stdout.splitlines()
    assert lines[0].startswith("4.1: your teacher has kept the solution back")
    assert lines[1].startswith("4.1, hint 1") and lines[-1] in ("wrong", "error")


def test_the_exercises_are_still_tested_in_a_stripped_copy(copy):
    strip(copy)
    shutil.copy(ROOT / "pyproject.toml", copy)
    run = python(copy, "-m", "pytest", "-q", "tests/exercises/test_exercises.py", "-k", "agree or every_exercise", "-p", "no:cacheprovider")
    assert run.returncode == 0, run.stdout


def test_no_hint_promises_a_solution_that_has_been_taken_out(capsys, monkeypatch):
    for path in (ROOT / "helpers/exercises").glob("nb[0-9][0-9].py"):
        checker.find(f"{int(path.stem[2:])}.1")
    monkeypatch.setattr("helpers.exercises.solutions.SOLUTIONS", {})
    monkeypatch.setattr(checker, "_hints_given", checker.Counter())
    for number, entry in checker.EXERCISES.items():
        for _ in range(len(entry.hints) + 1):
            hint(number)
        text = capsys.readouterr().out
        assert not re.search(r"solution\(|the solution shows", text), number
        assert text.splitlines()[-1].endswith("your teacher has kept the solution back.")


def test_a_failed_strip_leaves_every_file_whole(copy, monkeypatch):
    before = state(copy)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        strip(copy)
    assert state(copy) == before


def test_any_other_word_explains_the_commands(copy):
    before = state(copy)
    for arguments in ([], ["Strip"], ["strip", "now"]):
        run = python(copy, "-B", "-m", "helpers.exercises", *arguments)
        assert run.returncode != 0 and "usage: python -m helpers.exercises" in run.stderr
    assert state(copy) == before
