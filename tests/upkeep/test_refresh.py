"""Outputs that are kept in notebooks/ are small, still, and tell nothing of the machine."""

import base64
import io
import os

import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers.config import CourseError
from helpers.upkeep import refresh
from helpers.upkeep.run_notebooks import PLOTLY, prepare_environment
from helpers.upkeep.timings import read

CODE = """
import sys
print("one", end="\\r"); sys.stdout.flush(); print("two\\nthree")
"""


def write(path, *codes):
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_terminal_overwrites_after_a_carriage_return():
    assert refresh.terminal("10 %\r100 %\ndone  \n") == "100 %\ndone\n"
    assert refresh.terminal("long line\rshort") == "shortline"


def test_figures_shrink_and_look_the_same():
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8), 16, 0), 16, 1)
    pixels = (pixels // 64) * 64  # few colours, as in a plot
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    small = base64.b64decode(refresh.with_palette(base64.b64encode(stream.getvalue()).decode()))
    assert len(small) < len(stream.getvalue())
    shown = np.asarray(Image.open(io.BytesIO(small)).convert("RGB")).astype(int)
    assert np.abs(shown - pixels).mean() < 2


def test_what_is_transparent_in_a_picture_becomes_white():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[:, 40:50] = 0  # the gap between two panels
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "PNG", compress_level=0)
    small = base64.b64decode(refresh.with_palette(base64.b64encode(stream.getvalue()).decode()))
    assert (np.asarray(Image.open(io.BytesIO(small)).convert("RGB"))[:, 40:50] == 255).all()


def test_a_notebook_is_run_and_keeps_clean_outputs(tmp_path):
    path = write(tmp_path / "1.ipynb", CODE, "import ipywidgets\nipywidgets.IntSlider()", "1 + 1")
    refresh.refresh(path)
    notebook = nbformat.read(path, as_version=4)
    first, widget, last = notebook.cells
    assert [output.text for output in first.outputs] == ["two\nthree\n"]
    assert widget.outputs == [] and "widgets" not in notebook.metadata
    assert last.outputs[0].data["text/plain"] == "2" and last.execution_count == 3
    assert notebook.metadata.kernelspec.name == "python3"


def test_what_lives_without_a_kernel_is_kept_and_small(tmp_path, monkeypatch):
    for name in ("COURSE_CACHE", "COURSE_RUNS", "COURSE_DATA", "COURSE_PROFILE", "PLOTLY_RENDERER",
                 "JUPYTER_PREFER_ENV_PATH", "PYDEVD_DISABLE_FILE_VALIDATION"):  # fmt: skip
        monkeypatch.setenv(name, os.environ.get(name, ""))  # what prepare_environment sets is put back afterwards
    prepare_environment()
    figure = "import plotly.graph_objects as go\ngo.Figure(go.Scatter3d(x=[1, 2], y=[1, 2], z=[1, 2]))"
    path = write(tmp_path / "1.ipynb", figure, "from IPython.display import HTML\nHTML('<input type=\"range\">')")
    refresh.refresh(path)
    plotly, html = (cell.outputs for cell in nbformat.read(path, as_version=4).cells)
    assert [list(output.data) for output in plotly] == [[PLOTLY]]
    assert plotly[0].data[PLOTLY]["data"][0]["type"] == "scatter3d"
    assert html[0].data["text/html"] == '<input type="range">'
    assert path.stat().st_size < 20_000


def test_a_notebook_that_fails_stays_as_it_was(tmp_path):
    path = write(tmp_path / "1.ipynb", "print(1)", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(CourseError, match="division by zero"):
        refresh.refresh(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["1.ipynb"]


def test_what_it_took_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    path = write(tmp_path / "1.ipynb", "1", "2")
    monkeypatch.setattr(refresh, "find", lambda names: [path])
    monkeypatch.setattr(refresh, "prepare_environment", lambda: "rooms")
    refresh.main([])
    (entry,) = read()["1"]
    assert entry["cells"] == 2 and entry["minutes"] > 0
