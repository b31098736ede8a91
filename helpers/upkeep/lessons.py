"""Writes into the teacher's page, ``notebooks/README.md``, how long a reader needs for each notebook, by a formula.

``python -m helpers.upkeep.lessons`` counts the notebooks' words, lines of code, figures and exercises; how long a
reader is taken to need for each of them stands below. Nobody has measured that with a class: it is for planning.
"""

import re
from pathlib import Path
from typing import NamedTuple

import nbformat

from helpers.benchmarks.report import parts
from helpers.config import ROOT, plain_errors
from helpers.upkeep.run_notebooks import find
from helpers.utils import whole_file

WORDS = 130  # a minute, of text that explains something; a novel is read at about twice this rate
LINES = 20  # a minute
FIGURE = 0.5  # minutes each
EXERCISE = 10  # minutes each
STEP = 5  # minutes, to which times are rounded
PAGE = Path("notebooks", "README.md")
TITLE = re.compile(r"^### Exercise (\d+\.\d+) · (.+)$", re.MULTILINE)


class Counts(NamedTuple):
    """What there is to read and to do in a notebook."""

    words: int
    lines: int  # of code
    figures: int
    exercises: tuple[str, ...]  # their titles, with their numbers

    @property
    def reading(self) -> int:
        """Minutes, rounded."""
        minutes = self.words / WORDS + self.lines / LINES + self.figures * FIGURE
        return max(STEP, STEP * round(minutes / STEP))

    @property
    def practice(self) -> int:
        """Minutes for all exercises."""
        return EXERCISE * len(self.exercises)


def count(notebook: nbformat.NotebookNode) -> Counts:
    """A notebook's words (formulas and code in its text count as one each), lines of code, figures and exercises."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    codes = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    plain = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`]+`", " code ", "\n".join(texts), flags=re.DOTALL)
    plain = re.sub(r"\]\([^)]*\)|<[^>]*>", " ", plain)  # addresses of links, tags
    exercises = tuple(f"{number} {title.strip()}" for text in texts for number, title in TITLE.findall(text))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    lines = sum(bool(line.strip()) for code in codes[1:] for line in code.splitlines())  # the first is the set-up
    return Counts(len(re.findall(r"[^\W_]\S*", plain)), lines, figures, exercises)


def table(root: Path = ROOT) -> str:
    """Markdown: a row a notebook, and a line that says how its minutes come about."""
    counts = {path.stem: count(nbformat.read(path, as_version=4)) for path in find([], root / "notebooks")}
    lines = ["| Notebook | To read | With exercises | Exercises |", "|---|--:|--:|---|"]
    for name, one in counts.items():
        minutes = f"{one.reading} min | {one.reading + one.practice} min"
        lines.append(f"| [{name}]({name}.ipynb) | {minutes} | {'; '.join(one.exercises)} |")
    reading, practice = (sum(getattr(one, kind) for one in counts.values()) / 60 for kind in ("reading", "practice"))
    exercises = sum(len(one.exercises) for one in counts.values())
    return "\n".join(lines) + f"""
| all | {reading:.1f} h | {reading + practice:.1f} h | {exercises} |

*An estimate, not measured with a class: {WORDS} words or {LINES} lines of code a minute, half a minute a figure,
{EXERCISE} minutes an exercise; rounded to {STEP} minutes. The time that the machine needs is not in it.*"""


def main(root: Path = ROOT) -> None:
    """Write the table into ``root``'s teacher's page."""
    page = root / PAGE
    before, _, after = parts(page.read_text(encoding="utf-8"), "lessons")
    with whole_file(page) as temporary:
        temporary.write_text(f"{before}\n{table(root)}\n{after}", encoding="utf-8")
    print(f"wrote {PAGE.as_posix()}")


if __name__ == "__main__":
    with plain_errors():
        main()
