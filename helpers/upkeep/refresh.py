"""Runs the notebooks and keeps their outputs in ``notebooks/``, as readers on GitHub see them: ``make notebooks``.

For whoever changes the course. A notebook is replaced only after its last cell has run. Outputs are kept small and
still: progress bars as they ended, figures with a palette, no widgets (they are dead without a kernel, and GitHub
calls a notebook that has saved them invalid), no traces of the machine. What lives without a kernel stays: HTML, and
the data of plotly figures, which JupyterLab and VS Code draw and GitHub leaves out.
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import nbformat
from PIL import Image

from helpers.config import CourseError
from helpers.upkeep.run_notebooks import WIDGET, execute, find, prepare_environment
from helpers.upkeep.timings import from_nothing, record, watched
from helpers.utils import whole_file


def refresh(path: Path) -> int:
    """Execute the notebook at ``path`` and replace it by itself with new outputs; returns how many cells it has."""
    notebook = nbformat.read(path, as_version=4)
    execute(notebook, path)
    clean(notebook)
    nbformat.validate(notebook)
    with whole_file(path) as temporary:
        nbformat.write(notebook, temporary)
    return len(notebook.cells)


def clean(notebook: nbformat.NotebookNode) -> None:
    """Make the outputs of an executed notebook fit to be kept, in place."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in _joined(cell.outputs) if _small(output)]


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The outputs without widgets, what was printed in one piece."""
    joined = []
    for output in outputs:
        if WIDGET in output.get("data", {}):
            continue
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last and last.get("name") == output.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _small(output: nbformat.NotebookNode) -> bool:
    """Shorten one output in place; False if nothing is left of it."""
    if output.output_type == "stream":
        output.text = terminal(output.text)
        return bool(output.text.strip())
    if "image/png" in output.get("data", {}):
        output.data = {"image/png": with_palette(output.data["image/png"])}
        output.metadata = {}
    return True


def terminal(text: str) -> str:
    """``text`` as a terminal would show it in the end: after a carriage return, what follows overwrites the line."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for piece in line.split("\r"):
            shown = piece + shown[len(piece) :]
        lines.append(shown.rstrip())
    return "\n".join(lines)


def with_palette(png: str) -> str:
    """A base64 PNG with at most 255 colours, if that makes it smaller."""
    before = base64.b64decode(png)
    image = Image.open(io.BytesIO(before)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")  # a page is white
    reduced = image.quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    reduced.save(stream, "PNG", optimize=True)
    return base64.b64encode(min(stream.getvalue(), before, key=len)).decode()


def main(names: list[str]) -> None:
    notebooks = find(names)
    data, fresh = prepare_environment(), from_nothing()
    print(f"Running {len(notebooks)} notebooks on {data}.")
    for path in notebooks:
        with watched() as took:
            cells = refresh(path)
        record(path.stem, took, cells, fresh)
        print(f"  {path.stem:<24}{took.minutes:5.1f} min  {path.stat().st_size / 1000:5.0f} kB", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CourseError as error:
        sys.exit(f"\n{error}")
