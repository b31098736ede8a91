"""Runs the notebooks from top to bottom, each in a fresh kernel: what ``make course`` does.

``python -m helpers.upkeep.run_notebooks [NOTEBOOK ...]`` leaves, under ``runs/course/``, every executed notebook as a web page and
its figures as PNG files, and in ``measured.json`` what each took; what the notebooks themselves save lies beside it.
The notebooks in ``notebooks/`` are only read. The first cell that fails ends the run.
"""

from __future__ import annotations

import base64
import os
import re
import sys
import time
from html import escape
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter

from helpers.config import ROOT, CourseError, cache_dir, data_folder, data_source, profile, runs_dir
from helpers.session import describe_data
from helpers.upkeep.timings import from_nothing, record, watched
from helpers.utils import whole_file

NOTEBOOKS = ROOT / "notebooks"
WIDGET, PLOTLY = "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"


def find(names: list[str], folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks called ``names`` (``03_model``, or a path); all of them, in order, where no name is given."""
    there = sorted(folder.glob("[0-9]*.ipynb"))
    if not there:
        raise CourseError(f"There are no notebooks in {folder}: get the whole course with 'git clone'.")
    by_name = {path.stem: path for path in there}
    unknown = [name for name in names if Path(name).stem not in by_name]
    if unknown:
        raise CourseError(f"There is no notebook {unknown[0]!r}: choose from {', '.join(by_name)}.")
    return [by_name[Path(name).stem] for name in names] or there


def run(path: Path, folder: Path) -> int:
    """Execute the notebook at ``path`` and leave ``folder/NAME.html`` and ``folder/figures/NAME-*.png``.

    They are left up to the cell that failed, too. Returns how many cells the notebook has.

    Raises:
        CourseError: a cell failed, or the kernel died; the message says which cell and how.
    """
    notebook = nbformat.read(path, as_version=4)
    try:
        execute(notebook, path)
    finally:
        _save_figures(notebook, folder / "figures", path.stem)
        _save_page(notebook, folder / f"{path.stem}.html", path.parent)
    return len(notebook.cells)


def execute(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Run all cells of ``notebook``, in place, in a fresh kernel that starts in the folder of ``path``.

    Raises:
        CourseError: a cell failed, or the kernel died.
    """
    count = len(notebook.cells)

    def show_progress(cell, cell_index):
        if sys.stdout.isatty():
            print(f"\r{_title(path)}cell {cell_index + 1} of {count} ", end="", flush=True)

    client = NotebookClient(
        notebook,
        timeout=None,  # training takes as long as it takes
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # not a warning in each kernel about the loopback connection
        on_cell_start=show_progress,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        cell = [cell for cell in notebook.cells if any(o.output_type == "error" for o in cell.get("outputs", []))][-1]
        code = "\n".join(f"    {line}" for line in cell.source.splitlines())
        raise CourseError(
            f"{path.stem} stopped in cell [{cell.execution_count}]:\n\n{code}\n\n{error.ename}: {error.evalue}"
        ) from None
    except DeadKernelError:
        raise CourseError(
            f"{path.stem} stopped because its Python process died, most often for want of memory: "
            "close other programs, or choose a smaller COURSE_PROFILE."
        ) from None


def _title(path: Path) -> str:
    return f"  {path.stem:<24}"


def _save_figures(notebook: nbformat.NotebookNode, folder: Path, name: str) -> None:
    for old in folder.glob(f"{name}-*.png"):
        old.unlink()
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [data["image/png"] for data in outputs if "image/png" in data]
    for number, picture in enumerate(pictures, 1):
        with whole_file(folder / f"{name}-{number:02d}.png") as temporary:
            temporary.write_bytes(base64.b64decode(picture))


def _save_page(notebook: nbformat.NotebookNode, path: Path, images_from: Path) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # a page leads to the next page
            cell.source = re.sub(r"\]\(([\w-]+)\.ipynb\b", r"](\1.html", cell.source)
        elif cell.cell_type == "code":
            cell.outputs = [output for output in map(_on_a_page, cell.outputs) if output]
    exporter = HTMLExporter(embed_images=True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem, "path": str(images_from)}})
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _on_a_page(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """What a page shows of an output, which has no kernel and no front end.

    A progress bar vanishes, a control becomes a line that says where it lives, a plotly figure can be turned.
    """
    data = output.get("data", {})
    if PLOTLY in data:
        return nbformat.v4.new_output("display_data", {"text/html": _plotly_page(data[PLOTLY])})
    if WIDGET not in data:
        return output
    if "%|" in data.get("text/plain", ""):
        return None
    text = "Here stands a control that you can move when you open the notebook with 'make lab'.\n"
    return nbformat.v4.new_output("stream", text=text)


def _plotly_page(figure: dict) -> str:
    """A figure with plotly's 5 MB inside, so that the page needs no network, and in a frame, away from its scripts."""
    from plotly.io import to_html  # imported late: it takes a second

    inside = to_html(figure, include_plotlyjs=True, validate=False)
    height = figure["layout"].get("height", 450) + 20
    return f'<iframe title="figure" style="width:100%;height:{height}px;border:0" srcdoc="{escape(inside)}"></iframe>'


def prepare_environment() -> str:
    """Fix what the kernels will be told, whatever folder they start in; returns the data source in words."""
    # Kernels start in notebooks/: what was meant relative to this folder must not change its meaning there.
    os.environ["COURSE_CACHE"], os.environ["COURSE_RUNS"] = str(cache_dir().resolve()), str(runs_dir().resolve())
    data = describe_data()
    if data_source() not in ("rooms", "archive"):
        os.environ["COURSE_DATA"] = str(data_folder())
    os.environ["COURSE_PROFILE"] = profile().name
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not another one of the same name
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"  # the figure alone; some versions add 5 MB of script to each
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no warning about a debugger that nobody attaches
    return data


def main(names: list[str]) -> None:
    notebooks, folder = find(names), runs_dir().resolve() / "course"
    data, fresh = prepare_environment(), from_nothing()
    print(f"Notebooks to run: {len(notebooks)}. COURSE_PROFILE: {profile().name}. COURSE_DATA: {data}.")
    started = time.monotonic()
    for path in notebooks:
        print(_title(path), end="", flush=True)
        try:
            with watched() as took:
                cells = run(path, folder)
        except CourseError as error:
            raise CourseError(f"{error}\n\nThe notebook up to there is in {folder / path.stem}.html") from None
        finally:
            again = f"\r{_title(path)}" if sys.stdout.isatty() else ""
            print(f"{again}{took.minutes:5.1f} min  {took.gigabytes:5.1f} GB at most", flush=True)
        record(path.stem, took, cells, fresh)
    print(f"All ran, in {(time.monotonic() - started) / 60:.1f} minutes. What they left:")
    for kept in sorted(path for path in folder.parent.iterdir() if path.is_dir()):
        files = [path for path in kept.rglob("*") if path.is_file()]
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        what = "the notebooks as web pages, and their figures" if kept == folder else "written by the notebooks"
        print(f"  {kept}/  {what}: {len(files)} files, {megabytes:.0f} MB")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CourseError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. What had been finished stays; run it again to start over.")
