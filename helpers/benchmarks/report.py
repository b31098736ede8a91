"""The parts of README.md that commands write: each stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``."""

from __future__ import annotations

from pathlib import Path

from helpers.config import ROOT, CourseError
from helpers.utils import whole_file


def parts(text: str, name: str) -> tuple[str, str, str]:
    """What stands before, in and after a part; its marks belong to what is before and after.

    Raises:
        CourseError: a mark is missing, or is there twice.
    """
    marks = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = text.partition(marks[0])
    inside, _, after = rest.partition(marks[1])
    if any(text.count(mark) != 1 for mark in marks) or marks[1] in before:
        raise CourseError(f"README.md must have {marks[0]} once, and {marks[1]} once below it: put them back.")
    return before + marks[0], inside, marks[1] + after


def fill(name: str, content: str, root: Path = ROOT) -> None:
    """Put ``content`` into a part of ``root/README.md``, in place of what is there."""
    path = root / "README.md"
    before, _, after = parts(path.read_text(encoding="utf-8"), name)
    with whole_file(path) as temporary:
        temporary.write_text(f"{before}\n{content}\n{after}", encoding="utf-8")
