"""``python -m helpers.exercises strip``, for teachers: takes the answers to the exercises out of this copy."""

import json
import re
from pathlib import Path

from helpers.config import ROOT
from helpers.utils import whole_file

STRIPPED = '''"""The solutions of the exercises have been taken out; hints and checks stay as they are."""

SOLUTIONS: dict = {}
'''
DETAILS = re.compile(r"<details\b.*?</details>", re.DOTALL | re.IGNORECASE)
KEPT_BACK = "*Your teacher has kept the answers back.*"


def strip(root: Path = ROOT) -> list[str]:
    """Take out of the course in ``root`` what answers its exercises; returns a line for each file that changed.

    The solutions, the folded answers (``<details>``) in the notebooks' texts, and the right answers among the tests.
    Outputs of notebooks stay. What is gone is not looked for: a second time, nothing changes.
    """
    said, solutions = {}, root / "helpers" / "exercises" / "solutions.py"
    if count := len(re.findall(r"^(?:def|class) ", solutions.read_text(encoding="utf-8"), re.MULTILINE)):
        with whole_file(solutions) as temporary:
            temporary.write_text(STRIPPED, encoding="utf-8")
        said[solutions] = f"{count} solutions taken out"
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        if count := _strip_notebook(path):
            said[path] = f"{count} folded answers taken out"
    for path in sorted((root / "tests" / "exercises").glob("answers_[0-9][0-9].py")):
        path.unlink()
        said[path] = "deleted, it listed right answers"
    return [f"{path.relative_to(root).as_posix()}: {what}" for path, what in said.items()]


def _strip_notebook(path: Path) -> int:
    notebook, count = json.loads(path.read_text(encoding="utf-8")), 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source, found = DETAILS.subn(KEPT_BACK, "".join(cell["source"]))
            if found:
                cell["source"] = source.splitlines(keepends=True)
                count += found
    if count:
        with whole_file(path) as temporary:  # laid out as Jupyter does it
            text = json.dumps(notebook, ensure_ascii=False, indent=1, separators=(",", ": "))
            temporary.write_text(text + "\n", encoding="utf-8")
    return count
