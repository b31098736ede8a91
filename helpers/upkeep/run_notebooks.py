"""Runs the notebooks from top to bottom, each in a fresh kernel: ``make course`` and ``make notebooks``.

``python -m helpers.upkeep.run_notebooks [NOTEBOOK ...]`` only reads ``notebooks/`` and leaves, under ``runs/course/``,
every executed notebook as a web page (:mod:`helpers.upkeep.pages`) and its figures as PNG files. With ``--in-place``
the notebooks themselves get the new outputs, small and without a trace of the machine, as readers on GitHub see them.
Both keep what each took in ``runs/course/measured.json``. The first cell that fails ends the run.
"""

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from PIL import Image

from helpers.config import ROOT, CourseError, cache_dir, data_folder, data_source, profile, runs_dir
from helpers.upkeep.pages import save_page
from helpers.upkeep.timings import from_nothing, log_file, record, timed
from helpers.utils import disk_faults_told, whole_file

LIVE = re.compile(r'<iframe [^>]*src="http://localhost:')  # what helpers.web.show displays: dead without its kernel
WIDGET = "application/vnd.jupyter.widget-view+json"


def find(names: list[str], folder: Path = ROOT / "notebooks") -> list[Path]:
    """The notebooks called ``names`` (``03_model``, or a path); all of them, in order, where no name is given."""
    by_name = {path.stem: path for path in sorted(folder.glob("[0-9]*.ipynb"))}
    if not by_name:
        raise CourseError(f"There are no notebooks in {folder}: get the whole course with 'git clone'.")
    if unknown := [name for name in names if Path(name).stem not in by_name]:
        raise CourseError(f"There is no notebook {unknown[0]!r}: choose from {', '.join(by_name)}.")
    return [by_name[Path(name).stem] for name in names] or list(by_name.values())


def run(path: Path, pages: Path | None = None) -> None:
    """Execute the notebook at ``path`` in a fresh kernel that starts in its folder.

    Args:
        path: replaced by itself with new outputs after its last cell has run, if ``pages`` is None.
        pages: the folder for ``NAME.html`` and ``figures/NAME-*.png``, which show it up to the cell that failed, too.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=300, kernel_name="python3", store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],  # not a warning in each kernel about the loopback connection
    )  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        cell = [cell for cell in notebook.cells if any(o.output_type == "error" for o in cell.get("outputs", []))][-1]
        code = "\n".join(f"    {line}" for line in cell.source.splitlines())
        words = f"{path.stem} stopped in cell [{cell.execution_count}]:\n\n{code}\n\n{error.ename}: {error.evalue}"
        raise CourseError(words) from None
    except DeadKernelError:
        raise CourseError(
            f"{path.stem} stopped because its Python process died, most often for want of memory: "
            "close other programs, or choose a smaller COURSE_PROFILE."
        ) from None
    finally:
        if pages:
            with suppress(CourseError) if sys.exc_info()[0] else nullcontext():  # what stopped it is told first
                _keep_page(notebook, path, pages)
    if not pages:
        clean(notebook)
        nbformat.validate(notebook)
        with whole_file(path) as temporary:
            nbformat.write(notebook, temporary)


def clean(notebook: NotebookNode) -> None:
    """Make the outputs of an executed notebook fit to be kept: progress bars as they ended, figures with a palette.

    Widgets and frames go: they are dead without a kernel, and GitHub calls a notebook with saved widgets invalid.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in {"cellView"} & cell.metadata.keys()}  # a form on Colab
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _needs_kernel(output.get("data", {}))]
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = re.sub(r"[ \r]+$", "", output.text, flags=re.MULTILINE)
                elif "image/png" in output.get("data", {}):
                    output.data = {"image/png": with_palette(output.data["image/png"])}
                    output.metadata = {}
            cell.outputs = [output for output in cell.outputs if output.get("text", "figure").strip()]


def with_palette(png: str) -> str:
    """A base64 PNG with at most 255 colours, if that makes it smaller."""
    before = base64.b64decode(png)
    image = Image.open(io.BytesIO(before)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")  # a page is white
    reduced = image.quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    reduced.save(stream, "PNG", optimize=True)
    return base64.b64encode(min(stream.getvalue(), before, key=len)).decode()


def _keep_page(notebook: NotebookNode, notebook_path: Path, folder: Path) -> None:
    """``NAME.html`` and ``figures/NAME-*.png`` of an executed notebook, of which only pages can be made afterwards."""
    name = notebook_path.stem
    for old in folder.glob(f"figures/{name}-*.png"):
        old.unlink()
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    for number, data in enumerate((data for data in outputs if "image/png" in data), 1):
        with whole_file(folder / "figures" / f"{name}-{number:02d}.png") as temporary:
            temporary.write_bytes(base64.b64decode(data["image/png"]))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_on_a_page, cell.outputs) if output]
    clean(notebook)
    save_page(notebook, notebook_path, folder)


def _needs_kernel(data: dict) -> bool:
    return WIDGET in data or bool(LIVE.search(data.get("text/html", "")))


def _on_a_page(output: NotebookNode) -> NotebookNode | None:
    """What a page shows of an output: instead of a widget, which needs a kernel, a sentence; no bar, no warning."""
    data = output.get("data", {})
    if output.get("name") == "stderr" or WIDGET in data and "%|" in data.get("text/plain", ""):
        return None
    if not _needs_kernel(data):
        return output
    words = '<p class="elsewhere">An interactive view stands here when you open it with “make lab”.</p>'
    return nbformat.v4.new_output("display_data", {"text/html": words})


def prepare_environment() -> str:
    """Fix what the kernels will be told, whatever folder they start in; returns the data source in words."""
    # Kernels start in notebooks/: what was meant relative to this folder must not change its meaning there.
    os.environ["COURSE_CACHE"], os.environ["COURSE_RUNS"] = str(cache_dir().resolve()), str(runs_dir().resolve())
    data = data_source()
    data = data if data in ("rooms", "archive") else f"photographs in {data_folder().name}/"
    if data_source() not in ("rooms", "archive"):
        os.environ["COURSE_DATA"] = str(data_folder())
    os.environ["COURSE_PROFILE"] = profile().name
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not another one of the same name
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"  # the figure alone; some versions add 5 MB of script to each
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no warning about a debugger that nobody attaches
    return data


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.upkeep.run_notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="such as 03_model; without one, all are run")
    parser.add_argument("--in-place", action="store_true", help="keep outputs in notebooks/, make no pages")
    options = parser.parse_args(arguments)
    notebooks, results = find(options.names), runs_dir().resolve()
    pages = None if options.in_place else results / "course"
    for file in (log_file(), notebooks[0]) if options.in_place else (log_file(),):
        with disk_faults_told(file):  # now, and not after minutes
            file.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=file.parent).close()
    data, fresh, total = prepare_environment(), from_nothing(), 0.0
    print(f"Notebooks to run: {len(notebooks)}. COURSE_PROFILE: {profile().name}. COURSE_DATA: {data}.")
    for path in notebooks:
        print(f"  {path.stem:<24}", end="", flush=True)
        page, began = results / "course" / f"{path.stem}.html", time.time()
        try:
            with timed() as timing:
                run(path, pages)
        except CourseError as error:
            kept = pages and page.exists() and page.stat().st_mtime >= began
            raise CourseError(f"{error}\n\nThe notebook up to there is in {page}" if kept else str(error)) from None
        finally:
            print(f"{timing.minutes:5.1f} min  {timing.gigabytes:5.1f} GB at most", flush=True)
        record(path.stem, timing, fresh)
        total += timing.minutes
    where = f"Read them from {pages}/index.html on, with their figures beside it" if pages else "Their outputs are in notebooks/"
    print(f"All ran, in {total:.1f} minutes. {where}; trained networks and other results are in {results}/")


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. What had been finished stays; run it again to start over.")
