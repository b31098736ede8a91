"""The machine behind the exercises: the gap ``____``, what a notebook calls, and the verdict on an answer."""

import dis
import importlib
import inspect
import linecache
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FunctionType
from typing import NamedTuple

from helpers.config import CourseError

MAIN = "__main__"  # the module of a notebook's cells


class Blank:
    """A gap. Whatever is done with it gives the gap again, so that a notebook with gaps runs to its end."""

    def _itself(self, *args, **kwargs) -> "Blank":
        return self

    __call__ = __getitem__ = __enter__ = __pos__ = __neg__ = __abs__ = __invert__ = __round__ = _itself
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __matmul__ = _itself
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = __rmatmul__ = _itself
    __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = __rand__ = __ror__ = __rxor__ = _itself
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _itself
    __array_ufunc__ = None  # numpy leaves arithmetic with a gap to the gap

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None) -> "Blank":
        return ____

    def __getattr__(self, name: str) -> "Blank":
        if name.startswith("_"):  # what Python and Jupyter ask every object for
            raise AttributeError(name)
        return self

    __setattr__ = __setitem__ = __exit__ = lambda self, *args: None  # it keeps nothing, and lets errors through
    __len__ = __int__ = __hash__ = lambda self: 0
    __iter__ = lambda self: iter(())
    __bool__ = lambda self: False
    __float__ = lambda self: float("nan")
    __repr__ = lambda self: "____"


____ = Blank()


class Wrong(Exception):
    """The answer is wrong, in the way that the message says: one sentence or two, with which it can be mended."""


class NotYet(Exception):
    """There is still a gap in the answer."""


class Exercise(NamedTuple):
    number: str  # "4.1"
    checker: Callable[[Callable], str]  # from an answer to a sentence about a right one; raises Wrong
    hints: tuple[str, ...]


EXERCISES: dict[str, Exercise] = {}  # those of the modules that have been imported
_hints_given: Counter[str] = Counter()  # by exercise
_session: dict[str, list[str]] = {}  # by exercise, the state of each answer that has been checked, in order


def exercise(number: str, *hints: str) -> Callable[[Callable], Callable]:
    """Make the decorated function, which takes the reader's answer, the checker of exercise ``number``."""

    def enter(checker: Callable[[Callable], str]) -> Callable[[Callable], str]:
        EXERCISES[number] = Exercise(number, checker, hints)
        return checker

    return enter


@dataclass(frozen=True)
class Result:
    """What :func:`check` found. It has been printed, so a cell that ends with it displays nothing more."""

    state: str  # "passed", "wrong", "blank" (there is still a gap) or "error" (the function raises an exception)
    message: str = field(repr=False)  # one line, the one that was printed

    @property
    def passed(self) -> bool:
        return self.state == "passed"

    def __bool__(self) -> bool:
        return self.passed

    def _ipython_display_(self) -> None:
        """Nothing: the message stands above already."""


def check(number: str, answer: Callable) -> Result:
    """Print one line, and return it: whether ``answer``, a function, solves the exercise, and if not, what is wrong.

    Raises:
        CourseError: there is no such exercise. Nothing is raised for an answer, whatever it does.
    """
    entry = find(number)
    result = verdict(entry, answer)
    _session.setdefault(entry.number, []).append(result.state)
    print(result.message)
    return result


def order(number: str) -> list[int]:
    """What sorts 3.10 behind 3.9."""
    return [int(part) for part in number.split(".")]


def report() -> None:
    """Print a table of this session's exercises: the number, whether the last answer passed, and how many tries.

    A cell that still has gaps is no try.
    """
    print("exercise   passed   tries")
    for number, states in sorted(_session.items(), key=lambda item: order(item[0])):
        tries = [state for state in states if state != "blank"]
        print(f"{number:<11}{'yes' if states[-1] == 'passed' else 'no':<9}{len(tries):>5}")
    print(f"{sum(states[-1] == 'passed' for states in _session.values())} of {len(_session)} exercises passed")


def hint(number: str) -> None:
    """Print a hint, another one in each call."""
    number, _, hints = find(number)
    given = _hints_given[number] % (len(hints) + 1)
    _hints_given[number] += 1
    if given < len(hints):
        print(f"{number}, hint {given + 1} of {len(hints)}: {hints[given]}")
    elif _solution_of(number):
        print(f'{number}: that was the last hint; solution("{number}") shows an answer.')
    else:
        print(f"{number}: that was the last hint, and your teacher has kept the solution back.")


def solution(number: str) -> None:
    """Print the code of an answer that ``check`` accepts, unless the teacher has kept it back."""
    number = find(number).number
    if answer := _solution_of(number):
        print(inspect.getsource(answer).rstrip())
    else:
        print(f"{number}: your teacher has kept the solution back. hint and check work as before.")


def _solution_of(number: str) -> Callable | None:
    return importlib.import_module("helpers.exercises.solutions").SOLUTIONS.get(number)  # not read before it is wanted


def find(number: str) -> Exercise:
    """The exercise called ``number``; the module that holds it is imported if need be."""
    number = str(number)
    notebook = number.partition(".")[0] + "."
    modules = {f"{int(path.stem[2:])}.": path.stem for path in sorted(Path(__file__).parent.glob("nb[0-9][0-9].py"))}
    for module in [modules[notebook]] if notebook in modules else modules.values():
        importlib.import_module(f"helpers.exercises.{module}")
    if number not in EXERCISES:
        known = sorted(one for one in EXERCISES if notebook not in modules or one.startswith(notebook))
        raise CourseError(f"There is no exercise {number!r}: choose {', '.join(known)}.")
    return EXERCISES[number]


def verdict(entry: Exercise, answer: Callable) -> Result:
    """What an exercise's checker finds out about an answer; nothing is printed, and nothing is raised."""
    number, name = entry.number, getattr(answer, "__name__", "the answer")
    not_yet = f'○ {number}: not yet. Replace the ____ in {name} and run the cell again; hint("{number}") helps.'
    if has_blank(answer):
        return Result("blank", not_yet)
    if not callable(answer):
        kind = type(answer).__name__
        return Result("wrong", f"✗ {number}: check wants the function itself, without (), not a result (a {kind}).")
    try:
        return Result("passed", f"✓ {number}: right. {_tested(entry, answer)}")
    except NotYet:
        return Result("blank", not_yet)
    except Wrong as error:
        return Result("wrong", f"✗ {number}: {error}")
    except Exception as error:  # whatever a reader's function may raise
        frames = (frame for frame, _ in walk_tb(error.__traceback__))
        if any(isinstance(value, Blank) for frame in frames for value in frame.f_locals.values()):
            return Result("blank", not_yet)
        first_line = (str(error).strip() or "no message").splitlines()[0][:200]
        return Result("error", f"✗ {number}: {name} stops with {type(error).__name__}: {first_line}{_place(error)}")


def _tested(entry: Exercise, answer: Callable) -> str:
    """What the checker says of a right answer; gradients are as before, as whatever is trained next needs them."""
    import torch  # late: a notebook imports this module before it knows whether torch is there

    before = torch.is_grad_enabled()
    try:
        said = entry.checker(answer)
        if torch.is_grad_enabled() != before:
            raise Wrong("Gradients stay switched off, and nothing can be trained then: use `with torch.no_grad():`.")
        return said
    finally:
        torch.set_grad_enabled(before)


def has_blank(value: object, depth: int = 0) -> bool:
    """Is ``____`` in a value, in what it contains, or in the code of a function and of those that it calls?"""
    return isinstance(value, Blank) or depth <= 3 and any(has_blank(part, depth + 1) for part in _contents(value))


def _contents(value: object) -> Iterable:
    if isinstance(value, type) and value.__module__ == MAIN:
        value = vars(value)
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, FunctionType):
        used = [value.__globals__.get(name) for name in _names(value.__code__)]
        own = [part for part in used if not isinstance(part, FunctionType) or part.__module__ == MAIN]
        return *own, *inspect.getclosurevars(value).nonlocals.values(), *(value.__defaults__ or ())
    return value if isinstance(value, (list, tuple, set)) else ()


def _names(code: CodeType) -> set[str]:
    """All global names in a piece of code, and in functions inside it; a method's name is none."""
    own = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_names(part) for part in code.co_consts if isinstance(part, CodeType)))


def _place(error: Exception) -> str:
    """The reader's own line in which it happened: the last one outside libraries."""
    own = [(frame.f_code.co_filename, number) for frame, number in walk_tb(error.__traceback__)
           if frame.f_globals.get("__name__") == MAIN]  # fmt: skip
    line = linecache.getline(*own[-1]).strip() if own else ""
    return f" (in the line: {line})" if line else ""
