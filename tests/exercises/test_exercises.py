"""Every exercise is fed what readers write: nothing yet, what is right, and the typical mistakes."""

import ast
import importlib
import inspect
import re
from functools import cache
from itertools import combinations
from pathlib import Path

import nbformat
import pytest

from helpers.config import ROOT, CourseError
from helpers.exercises import check, checker, compare
from helpers.exercises.solutions import SOLUTIONS

STEMS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))

# Answers, by exercise: right ones, and wrong ones with words that the diagnosis must have.
MODULES = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("answers_[0-9][0-9].py"))]
RIGHT = {number: answers for module in MODULES for number, answers in module.RIGHT.items()}
WRONG = {number: answers for module in MODULES for number, answers in module.WRONG.items()}


@cache
def notebook(stem):
    return nbformat.read(ROOT / f"notebooks/{stem}.ipynb", as_version=4)


def imports(stem):
    """The import lines of a notebook, as one piece of code."""
    lines = []
    for cell in notebook(stem).cells:
        if cell.cell_type == "code":
            tree = ast.parse(re.sub(r"^\s*[%!].*$", "pass", cell.source, flags=re.MULTILINE))
            lines += [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return "\n".join(line for line in lines if "COLAB" not in line)


def stubs(stem):
    """By exercise, the cell that asks for it."""
    found = {}
    for cell in notebook(stem).cells:
        for number in re.findall(r'^check\("([\d.]+)", \w+\)$', cell.source, re.MULTILINE):
            assert number not in found, f"{number} is asked for twice"
            found[number] = cell.source
    return found


STUBS = {number: (stem, source) for stem in STEMS for number, source in stubs(stem).items()}
for stem in STEMS:
    try:
        checker.find(f"{int(stem[:2])}.1")
    except CourseError:
        pass  # test_notebooks_and_exercises_agree says so
NUMBERS = sorted(checker.EXERCISES)
solved = pytest.mark.skipif(not SOLUTIONS, reason="the solutions have been taken out of this copy")


def said(capsys, number, answer):
    result = check(number, answer)
    text = capsys.readouterr()
    assert (text.err, text.out) == ("", result.message + "\n") and "\n" not in result.message, "one line, nothing else"
    assert number in text.out and bool(result) == text.out.startswith("✓")
    return text.out


def test_notebooks_and_exercises_agree():
    assert sorted(STUBS) == NUMBERS
    for stem in STEMS:
        numbers = list(stubs(stem))
        assert numbers == [f"{int(stem[:2])}.{k}" for k in range(1, len(numbers) + 1)], "in order, none left out"
        assert len(numbers) >= 4, f"{stem} has {len(numbers)} exercises"


@pytest.mark.skipif(not MODULES, reason="the answers have been taken out of this copy")
def test_every_exercise_has_hints_wrong_answers_and_a_solution():
    assert sorted(WRONG) == sorted(RIGHT) == NUMBERS
    for number in NUMBERS:
        assert checker.EXERCISES[number].hints, number
        assert len(WRONG[number]) >= 6 <= len(RIGHT[number]) + 1, f"{number}: too few answers are tried, right or wrong"
    if SOLUTIONS:
        assert sorted(SOLUTIONS) == NUMBERS


@pytest.mark.parametrize("stem", STEMS)
def test_each_exercise_is_a_text_a_gap_and_its_helps(stem):
    cells = notebook(stem).cells
    for number in stubs(stem):
        (place,) = [i for i, cell in enumerate(cells) if f'check("{number}", ' in cell.source]
        text, stub, helps = cells[place - 1 : place + 2]
        assert text.cell_type == "markdown" and text.source.startswith(f"### Exercise {number} · ")
        assert len(stub.source.splitlines()) <= 14
        assert helps.source == f'# hint("{number}")\n# solution("{number}")'


@pytest.mark.parametrize("number", sorted(STUBS))
def test_with_gaps_it_is_not_solved_yet(number, capsys):
    stem, source = STUBS[number]
    assert "____" in source
    names = {"__name__": "__main__"}
    exec(imports(stem), names)
    exec(source, names)
    text = capsys.readouterr()
    assert text.out.startswith(f"○ {number}: not yet. Replace the ____") and not text.err


@solved
@pytest.mark.parametrize("number", NUMBERS)
def test_its_solution_is_right_and_no_mistake_hides_behind_another(number, capsys, monkeypatch):
    """No two mistakes may have one value, and each must differ from what is right in some case."""
    seen, told, hidden = set(), set(), []

    def expect(got, right, mistakes, what, within=0.0):
        values = [(name, wrong if isinstance(wrong, compare.Either) else [wrong]) for name, wrong in mistakes.items()]
        known = [(name, one) for name, wrong in values for one in wrong if not compare.alike(one, right, within)]
        seen.update(mistakes)
        told.update(name for name, _ in known)
        pairs = combinations(known, 2)
        hidden.extend((a, b) for (a, one), (b, other) in pairs if a != b and compare.alike(one, other, within))
        compare.expect(got, right, mistakes, what, within)

    monkeypatch.setattr(f"helpers.exercises.nb{int(number.partition('.')[0]):02}.expect", expect)
    assert said(capsys, number, SOLUTIONS[number]).startswith(f"✓ {number}: right.")
    assert not seen - told, "diagnoses that nobody can get"
    assert not hidden, "two mistakes of one value: name both in one diagnosis"


@pytest.mark.parametrize("number, answer", [pytest.param(n, one, id=f"{n}-{k}") for n, answers in RIGHT.items() for k, one in enumerate(answers)])
def test_another_right_answer_passes(number, answer, capsys):
    assert said(capsys, number, answer).startswith(f"✓ {number}: right.")


@solved
@pytest.mark.parametrize("number", sorted(STUBS))
def test_what_solution_shows_is_right_where_it_is_pasted(number, capsys):
    stem, stub = STUBS[number]
    code = inspect.getsource(SOLUTIONS[number])
    names = {"__name__": "__main__"}
    exec(imports(stem), names)
    exec(code, names)
    wanted = re.search(rf'^check\("{re.escape(number)}", (\w+)\)$', stub, re.MULTILINE)[1]
    assert code.splitlines()[0] == re.search(rf"^((?:def|class) {wanted}\(.*)$", stub, re.MULTILINE)[1], "the stub's first line"
    assert said(capsys, number, names[wanted]).startswith("✓")


@pytest.mark.parametrize(
    "number, answer, words",
    [pytest.param(n, *pair, id=f"{n}-{k}") for n, pairs in WRONG.items() for k, pair in enumerate(pairs)],
)
def test_a_mistake_is_diagnosed(number, answer, words, capsys):
    text = said(capsys, number, answer)
    assert text.startswith(f"✗ {number}: ") and words in text
