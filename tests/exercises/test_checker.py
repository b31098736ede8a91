"""The machine behind the exercises: gaps that survive everything, one line for every answer, hints, and the report."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from helpers.config import ROOT, CourseError
from helpers.exercises import ____, check, checker, hint, report, solution
from helpers.exercises.checker import Exercise, Wrong, has_blank

NUMBER = "4.9"  # not in notebook 04


@pytest.fixture(autouse=True)
def exercise(monkeypatch):
    """An exercise of our own: the answer must return 3."""

    def test_answer(answer):
        if answer() != 3:
            raise Wrong("It should be 3.")
        return "Three it is."

    checker.find("4.1")
    monkeypatch.setitem(checker.EXERCISES, NUMBER, Exercise(NUMBER, test_answer, ("Count.", "Count to three.")))
    monkeypatch.setattr(checker, "_hints_given", checker.Counter())
    monkeypatch.setattr(checker, "_session", {})


def line(capsys):
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return out.strip()


# -- the gap -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [lambda x: x(), lambda x: x(1, a=2), lambda x: x[0], lambda x: x[..., 1:], lambda x: x.shape, lambda x: x.sum(1)]
    + [lambda x: x + 1, lambda x: 1 - x, lambda x: -x, lambda x: 2**x, lambda x: x / x, lambda x: ~x & x, abs]
    + [lambda x: x == 1, lambda x: x != x, lambda x: x < 3, lambda x: 3 >= x]
    + [lambda x: torch.ones(2) * x, lambda x: x - torch.ones(2), lambda x: torch.relu(x), lambda x: torch.ones(2) > x]
    + [lambda x: np.ones(2) + x, lambda x: x * np.ones(2), lambda x: round(x, 2)],
)  # fmt: skip
def test_whatever_is_done_with_a_gap_gives_the_gap(use):
    assert use(____) is ____


def test_a_gap_survives_what_python_does_with_values():
    a, *rest = [1, *____]
    ____.shape = ____[0] = 3
    with ____ as opened:
        assert opened is ____
    assert (a, rest, len(____), bool(____), list(____), int(____), repr(____)) == (1, [], 0, False, [], 0, "____")
    assert float(____) != float(____) and len({____, ____}) == 1 and f"{____}" == "____"


def test_jupyter_can_look_at_a_gap():
    assert not hasattr(____, "_repr_html_") and not hasattr(____, "_ipython_display_")


def in_a_notebook(code):
    names = {"__name__": "__main__", "____": ____, "torch": torch}
    exec(code, names)
    return names["answer"]


@pytest.mark.parametrize(
    "answer",
    [____, [1, ____], {"a": (____,)}, lambda: ____, lambda: [x + ____ for x in range(3)]]
    + [in_a_notebook(code) for code in (
        "def answer():\n    ____\n    return 3",
        "def inner():\n    return ____\ndef answer():\n    return inner()",
        "gap = ____\ndef answer():\n    return gap",
        "def answer(x=____):\n    return x",
        "def outer(gap):\n    return lambda: gap\nanswer = outer(____)",
        "class answer:\n    def forward(self):\n        return ____",
        "def answer():\n    return torch.zeros(2).sum(____)",
    )],
)  # fmt: skip
def test_a_gap_is_found_wherever_it_is(answer, capsys):
    assert has_blank(answer)
    check(NUMBER, answer)
    assert line(capsys).startswith(f"○ {NUMBER}: not yet. Replace the ____ in ")


def test_a_gap_that_shows_only_in_an_error_is_found(capsys):
    gap = "vars(importlib.import_module('helpers.exercises'))['_' * 4]"
    answer = in_a_notebook(f"import importlib\ndef answer():\n    gap = {gap}\n    return gap + int('x')")
    assert not has_blank(answer)
    check(NUMBER, answer)
    assert line(capsys).startswith(f"○ {NUMBER}: not yet")


A_METHOD_CALLED_LIKE_A_GAP = "def difference(a, b):\n    return ____\ndef answer():\n    return {1}.difference({2})"


@pytest.mark.parametrize(
    "answer",
    [lambda: 3, 3, torch.zeros(3), np.zeros, [1, 2], "____", torch.nn.ReLU(), in_a_notebook(A_METHOD_CALLED_LIKE_A_GAP)],
)
def test_no_gap_is_seen_where_none_is(answer):
    assert not has_blank(answer)


# -- verdicts ------------------------------------------------------------------------------------------------------


def test_right_and_wrong(capsys):
    right = check(NUMBER, lambda: 3)
    assert line(capsys) == right.message == f"✓ {NUMBER}: right. Three it is."
    wrong = check(NUMBER, lambda: 4)
    assert line(capsys) == wrong.message == f"✗ {NUMBER}: It should be 3."
    assert right and right.passed and right.state == "passed" and not wrong and not wrong.passed
    assert not check(NUMBER, lambda: ____) and not check(NUMBER, 3)


@pytest.mark.parametrize("cell", ["{}", "{}\n1", "result = {}", "{};"])
def test_a_cell_shows_the_message_once(cell, capsys):
    shell = InteractiveShell()
    shell.user_ns["check"] = check
    try:
        shell.run_cell(cell.format("check('4.9', len)")).raise_error()
    finally:
        shell.history_manager.end_session()
    text = capsys.readouterr().out
    assert text.count("stops with TypeError") == 1 and "Result" not in text
    assert text.count("\n") == (2 if cell.endswith("1") else 1)


def test_an_exception_is_one_sentence(capsys):
    check(NUMBER, lambda: {}["cat"])
    assert line(capsys) == f"✗ {NUMBER}: <lambda> stops with KeyError: 'cat'"
    check(NUMBER, in_a_notebook("def answer():\n    raise ValueError('first\\nsecond' + 300 * 'x')"))
    assert "answer stops with ValueError: first" in (text := line(capsys)) and "second" not in text
    check(NUMBER, in_a_notebook("def answer():\n    raise ValueError"))
    assert "no message" in line(capsys)


def test_an_exception_names_the_line_of_the_notebook(capsys, monkeypatch):
    code = "def inner(x):\n    return x.sum(7)\ndef answer():\n    return inner(torch.ones(2))"
    names = {"__name__": "__main__", "torch": torch}
    exec(compile(code, "<cell 1>", "exec"), names)
    lines = code.splitlines(keepends=True)
    monkeypatch.setitem(checker.linecache.cache, "<cell 1>", (len(code), None, lines, "<cell 1>"))
    check(NUMBER, names["answer"])
    assert line(capsys).endswith("(in the line: return x.sum(7))")


def test_a_result_instead_of_a_function(capsys):
    check(NUMBER, 3)
    assert "wants the function itself" in (text := line(capsys)) and "(a int)" in text


def test_stop_means_stop():
    def answer():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(NUMBER, answer)


@pytest.mark.parametrize("call", [lambda n: check(n, len), hint, solution])
@pytest.mark.parametrize("number, words", [("4.77", "choose 4.1, 4.2"), ("99.1", "choose 1.1, 1.2"), ("cat", "7.1")])
def test_an_unknown_number_names_those_there_are(call, number, words):
    with pytest.raises(CourseError, match=f"no exercise {number!r}.*{words}"):
        call(number)


def test_a_number_may_be_a_number(capsys):
    check(4.9, lambda: 3)
    assert line(capsys).startswith("✓ 4.9")


def test_hints_come_one_by_one_and_begin_again(capsys, monkeypatch):
    def ask():
        hint(NUMBER)
        return line(capsys)

    hints = [f"{NUMBER}, hint 1 of 2: Count.", f"{NUMBER}, hint 2 of 2: Count to three."]
    assert [ask(), ask()] == hints
    assert "last hint" in (text := ask()) and "kept the solution back" in text, "there is none for this exercise"
    monkeypatch.setattr("helpers.exercises.solutions.SOLUTIONS", {NUMBER: lambda: 3})
    assert [ask(), ask()] == hints
    assert "last hint" in (text := ask()) and f'solution("{NUMBER}")' in text


def test_the_report_lists_what_has_been_checked(capsys, monkeypatch):
    for number in ("4.10", "4.8"):
        monkeypatch.setitem(checker.EXERCISES, number, checker.EXERCISES[NUMBER]._replace(number=number))
    check("4.10", lambda: 3)
    for answer in (____, lambda: 4, lambda: {}["cat"], lambda: 3):
        state = check(NUMBER, answer).state
        assert state == {0: "blank", 1: "wrong", 2: "error", 3: "passed"}[len(checker._session[NUMBER]) - 1]
    check("4.8", lambda: 3), check("4.8", lambda: 4)
    capsys.readouterr()
    assert report() is None
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[:-1] == [["exercise", "passed", "tries"], ["4.8", "no", "2"], ["4.9", "yes", "3"], ["4.10", "yes", "1"]]
    assert rows[-1] == "2 of 3 exercises passed".split()


def test_the_report_of_nothing(capsys):
    report()
    assert "0 of 0" in capsys.readouterr().out


def test_importing_the_exercises_is_cheap():
    slow = "'torch', 'numpy', 'helpers.exercises.solutions'"
    code = f"import sys, helpers.exercises; print([module for module in ({slow}) if module in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
