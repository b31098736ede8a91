"""Exercises that answer at once: ``check`` says what is right or which mistake it sees, ``hint`` and ``solution`` help.

A notebook leaves gaps, ``____``, for its reader to fill, and hands the finished function to ``check``. What is asked, and
which mistakes are known, stands in one module for each notebook, ``helpers.exercises.nb01`` and so on, which is imported
when its first exercise is asked for. The answers stand apart, in ``helpers.exercises.solutions``, so that a teacher can take them out:
``python -m helpers.exercises strip``.
"""

from __future__ import annotations

import importlib
import inspect
import linecache
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, TracebackType
from typing import NamedTuple

from helpers.config import CourseError
from helpers.utils import whole_file

HERE = Path(__file__).parent
MAIN = "__main__"  # the module of a notebook's cells


class Blank:
    """A gap. Whatever is done with it gives the gap again, so that a notebook with gaps runs to its end."""

    def _itself(self, *args, **kwargs) -> Blank:
        return self

    __call__ = __getitem__ = __enter__ = __pos__ = __neg__ = __abs__ = __invert__ = __round__ = _itself
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __matmul__ = _itself
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = __rmatmul__ = _itself
    __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = __rand__ = __ror__ = __rxor__ = _itself
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _itself
    __array_ufunc__ = None  # numpy leaves arithmetic with a gap to the gap

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None) -> Blank:
        return ____

    def __getattr__(self, name: str) -> Blank:
        if name.startswith("_"):  # what Python and Jupyter ask every object for
            raise AttributeError(name)
        return self

    def __setattr__(self, name: str, value) -> None:
        """A gap keeps nothing."""

    def __setitem__(self, key, value) -> None:
        """A gap keeps nothing."""

    def __exit__(self, *error) -> None:
        """A gap lets errors through."""

    def __iter__(self) -> Iterator:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False

    def __float__(self) -> float:
        return float("nan")

    def __int__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "____"


____ = Blank()


class Wrong(Exception):
    """The answer is wrong, in the way that the message says: one sentence or two, with which it can be mended."""


class NotYet(Exception):
    """There is still a gap in the answer."""


class Exercise(NamedTuple):
    number: str  # "4.1"
    judge: Callable[[Callable], str]  # from an answer to a sentence of praise; raises Wrong
    hints: tuple[str, ...]


EXERCISES: dict[str, Exercise] = {}  # those of the modules that have been imported
_given: Counter[str] = Counter()  # hints, by exercise


def exercise(number: str, *hints: str) -> Callable[[Callable], Callable]:
    """Make the decorated function the judge of exercise ``number``: it takes the reader's answer, a function.

    The judge returns what is worth knowing about a right answer, and raises :class:`Wrong` with a diagnosis otherwise.
    """

    def enter(judge: Callable[[Callable], str]) -> Callable[[Callable], str]:
        EXERCISES[number] = Exercise(number, judge, hints)
        return judge

    return enter


# -- what a notebook calls ----------------------------------------------------------------------------------------


def check(number: str, answer: Callable) -> None:
    """Print one line: whether ``answer``, a function, solves the exercise, and if not, what is wrong with it.

    Raises:
        CourseError: there is no such exercise. Never for an answer, whatever it does.
    """
    asked = find(number)
    print(_verdict(asked, answer))


def hint(number: str) -> None:
    """Print a hint, another one in each call."""
    asked = find(number)
    count = len(asked.hints)
    given = _given[asked.number] % (count + 1)
    _given[asked.number] += 1
    if given == count:
        print(f'{asked.number}: that was the last hint; solution("{asked.number}") shows an answer.')
    else:
        print(f"{asked.number}, hint {given + 1} of {count}: {asked.hints[given]}")


def solution(number: str) -> None:
    """Print the code of an answer that ``check`` accepts, unless the teacher has kept it back."""
    asked = find(number)
    answer = importlib.import_module("helpers.exercises.solutions").SOLUTIONS.get(asked.number)
    if answer is None:
        print(f"{asked.number}: your teacher has kept the solution back. hint and check work as before.")
    else:
        print(source_of(answer))


def source_of(answer: Callable) -> str:
    """The code of a solution, without the line that enters it into the table."""
    return "".join(line for line in inspect.getsourcelines(answer)[0] if not line.startswith("@solves")).rstrip()


def find(number: str) -> Exercise:
    """The exercise called ``number``; the module that holds it is imported if need be."""
    number = str(number)
    modules = {str(int(path.stem[-2:])): path.stem for path in sorted(HERE.glob("nb[0-9][0-9].py"))}
    notebook = number.partition(".")[0]
    if notebook in modules:
        importlib.import_module(f"helpers.exercises.{modules[notebook]}")
    if number not in EXERCISES:
        for module in () if notebook in modules else modules.values():
            importlib.import_module(f"helpers.exercises.{module}")
        known = [one for one in EXERCISES if notebook not in modules or one.partition(".")[0] == notebook]
        raise CourseError(f"There is no exercise {number!r}: choose {', '.join(sorted(known))}.")
    return EXERCISES[number]


# -- verdicts -----------------------------------------------------------------------------------------------------


def _verdict(asked: Exercise, answer: Callable) -> str:
    number, name = asked.number, getattr(answer, "__name__", "the answer")
    not_yet = f'○ {number}: not yet. Replace the ____ in {name} and run the cell again; hint("{number}") helps.'
    if has_blank(answer):
        return not_yet
    if not callable(answer):
        kind = type(answer).__name__
        return f"✗ {number}: check wants the function itself, not what it returns (here a {kind}): write its name without ()."
    try:
        return f"✓ {number}: right. {asked.judge(answer)}"
    except NotYet:
        return not_yet
    except Wrong as error:
        return f"✗ {number}: {error}"
    except Exception as error:  # whatever a reader's function may raise
        if _met_blank(error.__traceback__):
            return not_yet
        return f"✗ {number}: {name} stops with {type(error).__name__}: {_first_line(error)}{_place(error.__traceback__)}"


def has_blank(value: object, depth: int = 0) -> bool:
    """Is ``____`` in a value, in what it contains, or in the code of a function and of those that it calls?"""
    if isinstance(value, Blank):
        return True
    if depth > 3:
        return False
    if isinstance(value, Mapping):
        return any(has_blank(part, depth + 1) for part in value.values())
    if isinstance(value, (list, tuple, set)):
        return any(has_blank(part, depth + 1) for part in value)
    if isinstance(value, type) and value.__module__ == MAIN:
        return any(has_blank(part, depth + 1) for part in vars(value).values())
    if not isinstance(value, FunctionType):
        return False
    used = [value.__globals__.get(name) for name in _names(value.__code__)]
    kept = inspect.getclosurevars(value).nonlocals.values()
    own = [part for part in used if not isinstance(part, FunctionType) or part.__module__ == MAIN]
    return any(has_blank(part, depth + 1) for part in (*own, *kept, *(value.__defaults__ or ())))


def _names(code: CodeType) -> set[str]:
    """All global names in a piece of code, and in functions inside it."""
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _met_blank(traceback: TracebackType | None) -> bool:
    while traceback:
        if any(isinstance(value, Blank) for value in traceback.tb_frame.f_locals.values()):
            return True
        traceback = traceback.tb_next
    return False


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or "no message").splitlines()[0]
    return text if len(text) <= 200 else text[:197] + "..."


def _place(traceback: TracebackType | None) -> str:
    """The reader's own line in which it happened: the last one outside libraries."""
    line = ""
    while traceback:
        code = traceback.tb_frame.f_code
        if traceback.tb_frame.f_globals.get("__name__") == MAIN:
            line = linecache.getline(code.co_filename, traceback.tb_lineno).strip()
        traceback = traceback.tb_next
    return f" (in the line: {line})" if line else ""


# -- for teachers -------------------------------------------------------------------------------------------------

STRIPPED = '''"""The solutions of the exercises have been taken out; hints and checks stay as they are."""

SOLUTIONS: dict = {}
'''


def strip(path: Path = HERE / "solutions.py") -> int:
    """Take all solutions out of the file; how many there were. Once they are gone, it changes nothing."""
    count = len(re.findall(r"^@solves\(", path.read_text(encoding="utf-8"), re.MULTILINE))
    if count:
        with whole_file(path) as temporary:
            temporary.write_text(STRIPPED, encoding="utf-8")
    return count
