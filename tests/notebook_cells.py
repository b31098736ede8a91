"""Code, prose and printed text of the saved notebooks, for tests that hold one against the other."""

import ast
import re
from functools import cache

import nbformat

from helpers.config import REPOSITORY, ROOT

NOTEBOOKS = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


@cache
def cells(number: str) -> tuple[nbformat.NotebookNode, ...]:
    """All cells of notebook ``number``, such as "03"."""
    return tuple(nbformat.read(NOTEBOOKS[number], as_version=4).cells)


def first_cell(number: int) -> str:
    """The set-up cell of notebook ``number``: that of notebook 01, with this number in its last line."""
    source = next(cell.source for cell in cells("01") if cell.cell_type == "code")
    return f"{source.removesuffix('setup(1)')}setup({number})"


def badge(notebook: str, repository: str = REPOSITORY) -> str:
    """The Markdown of the badge that opens ``notebook`` (its name without ``.ipynb``) in Colab."""
    url = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{notebook}.ipynb"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({url})"


def prose(number: str) -> str:
    return "\n\n".join(cell.source for cell in cells(number) if cell.cell_type == "markdown")


def code(number: str) -> str:
    """All code cells but the set-up; what only IPython understands is left out."""
    sources = [cell.source for cell in cells(number) if cell.cell_type == "code"][1:]
    return "\n\n".join(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE) for source in sources)


def printed(number: str) -> str:
    """What its cells printed, tables included."""
    texts = []
    for output in (output for cell in cells(number) for output in cell.get("outputs", [])):
        data = output.get("data", {})
        table = data.get("text/plain", "") if "<table>" in data.get("text/html", "") else ""  # of utils.table
        texts.append(output.get("text") or data.get("text/markdown") or table)
    return "\n".join(text for text in texts if text)


def defined(number: str, *names: str, **given: object) -> dict[str, object]:
    """The classes, functions and variables of these names, as the notebook's own cells define them.

    Its imports are run, and the statements that define the names; ``given`` takes the place of other variables.
    """
    space = {"__name__": f"notebook_{number}", **given}
    wanted = set(names)
    for statement in ast.parse(code(number)).body:
        binds = {getattr(statement, "name", None)}
        if isinstance(statement, ast.Assign):
            binds = {part.id for target in statement.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        if isinstance(statement, (ast.Import, ast.ImportFrom)) or binds & wanted:
            exec(compile(ast.Module([statement], []), f"notebook {number}", "exec"), space)
    missing = wanted - space.keys()
    assert not missing, f"notebook {number} defines no {', '.join(sorted(missing))}"
    return space


def found(number: str, pattern: str) -> list[float]:
    """The numbers that the first match of ``pattern`` in the printed text captures; the match must be there."""
    match = re.search(pattern, printed(number), re.MULTILINE)
    assert match, f"notebook {number} prints nothing like {pattern!r}"
    return [float(group.replace(",", "")) for group in match.groups()]
