"""``make course`` and ``make notebooks``: every notebook in a fresh kernel, pages and figures left, or outputs kept in
place, small and without a trace of the machine; failures in words."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers.config import ROOT, CourseError
from helpers.upkeep import run_notebooks as runner
from helpers.upkeep.pages import PLOTLY

pytestmark = pytest.mark.slow


SET = ("COURSE_CACHE", "COURSE_RUNS", "COURSE_DATA", "COURSE_PROFILE", "PLOTLY_RENDERER", "JUPYTER_PREFER_ENV_PATH",
       "PYDEVD_DISABLE_FILE_VALIDATION")  # by prepare_environment  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def write(path, *cells):
    """A notebook of code cells; cells that begin with # and a space are Markdown."""
    kinds = [nbformat.v4.new_markdown_cell if cell.startswith("# ") else nbformat.v4.new_code_cell for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=[new(textwrap.dedent(cell)) for new, cell in zip(kinds, cells)])
    nbformat.write(notebook, path)
    return path


def run_command(folder, *names, **environment):
    """``python -m helpers.upkeep.run_notebooks`` from the folder above ``folder``, with the notebooks there."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom helpers.upkeep import run_notebooks as course\n"
        f"course.find.__defaults__ = (Path({str(folder)!r}),)\n"
        "try: course.main(sys.argv[1:])\nexcept course.CourseError as error: sys.exit(str(error))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_RUNS": "results", **environment}
    return subprocess.run(
        [sys.executable, "-c", code, *names], cwd=folder.parent, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def run_course(folder, monkeypatch, capsys):
    """The same in this process, which is quicker: an error that is none for users is raised."""

    def run_it(*names, **environment):
        for name, value in {**dict.fromkeys(SET, ""), **os.environ, "COURSE_RUNS": "results", **environment}.items():
            monkeypatch.setenv(name, value)  # so that what prepare_environment sets is put back afterwards
        monkeypatch.chdir(folder.parent)
        monkeypatch.setattr(runner.find, "__defaults__", (folder,))
        error = ""
        try:
            runner.main([*names])
        except CourseError as raised:
            error = str(raised)
        shown = capsys.readouterr()
        return SimpleNamespace(returncode=bool(error), stdout=shown.out, stderr=shown.err + error)

    return run_it


def test_it_runs_all_in_order_and_leaves_pages_and_figures(folder):
    (folder.parent / "photos").mkdir()
    first = write(
        folder / "01_one.ipynb",
        "# One, then [two](02_two.ipynb)",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "import os, sys, ipywidgets\nfrom tqdm.auto import tqdm\nprint(os.environ['COURSE_DATA'])\n"
        "for _ in tqdm(range(3)): pass\nipywidgets.IntSlider(description='threshold')",
        "from helpers.utils import bar\nfor number in range(3):\n    with bar(1, f'step {number}', 'steps') as shown: shown.update()\n"
        "print('rendered')\nprint('a warning', file=sys.stderr)",
        "import os, time\nos.mkdir(os.environ['COURSE_CACHE'])\nopen(os.environ['COURSE_CACHE'] + '/set', 'wb').truncate(205 << 20)\n"
        "ballast = bytearray(400 << 20)\ntime.sleep(4)",
    )
    write(folder / "02_two.ipynb", "assert 'ballast' not in globals()")
    before = first.read_bytes()
    result = run_command(folder, COURSE_DATA="photos", COURSE_CACHE="empty")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""

    lines = result.stdout.splitlines()
    assert lines[0] == "Notebooks to run: 2. COURSE_PROFILE: tiny. COURSE_DATA: photographs in photos/."
    assert lines[1].split()[0] == "01_one" and lines[2].split()[0] == "02_two"
    gigabytes = float(lines[1].split()[3])
    assert 0.4 <= gigabytes < 1.5
    assert str(folder.parent / "results" / "course") in result.stdout

    pages = folder.parent / "results" / "course"
    there = ["01_one.html", "02_two.html", "figures", "index.html", "measured.json"]
    assert sorted(path.name for path in pages.iterdir()) == there
    (entry,) = json.loads((pages / "measured.json").read_text())["01_one"]
    assert entry["profile"] == "tiny" and entry["from_nothing"] is True
    assert 0.4 <= entry["gigabytes"] < 1.5 and 2 / 60 < entry["minutes"] < 10 and entry["disk"] == 0.2
    assert (pages / "figures" / "01_one-01.png").read_bytes().startswith(b"\x89PNG")
    page = (pages / "01_one.html").read_text()
    assert str(folder.parent / "photos") in page, "kernels get the absolute path of COURSE_DATA"
    assert 'href="02_two.html"' in page
    assert "An interactive view stands here" in page and "IntSlider(" not in page
    assert "rendered" in page and "step" not in re.sub("(?s)<div class=.highlight.*?</div>", "", page), "bars that are over"
    assert "%|" not in page and "<pre>a warning" not in page, "neither says anything on a page"
    assert first.read_bytes() == before, "the notebook itself is only read"


def test_it_stops_at_the_first_cell_that_fails(folder, run_course):
    write(folder / "01_one.ipynb", "print('so far')", "raise ValueError('the cat is gone')", "print('never')")
    write(folder / "02_two.ipynb", "1")
    result = run_course()
    assert result.returncode == 1
    assert "01_one stopped in cell [2]" in result.stderr
    assert "ValueError: the cat is gone" in result.stderr
    assert "Traceback" not in result.stderr and "02_two" not in result.stdout
    pages = folder.parent / "results" / "course"
    assert str(pages / "01_one.html") in result.stderr
    page = (pages / "01_one.html").read_text()
    assert "so far" in page and "the cat is gone" in page
    assert not (pages / "02_two.html").exists()


def test_a_kernel_that_dies_is_told_in_words(folder):
    path = write(folder / "01_one.ipynb", "import os\nos._exit(1)")
    with pytest.raises(CourseError, match="01_one stopped because its Python process died.*memory"):
        runner.run(path, folder.parent)


def test_names_choose_notebooks(folder):
    one, two = write(folder / "01_one.ipynb", "1"), write(folder / "02_two.ipynb", "2")
    assert runner.find([], folder) == [one, two]
    assert runner.find(["02_two"], folder) == [two]
    assert runner.find(["notebooks/02_two.ipynb", "01_one"], folder) == [two, one]
    with pytest.raises(CourseError, match="'03_three'.*01_one, 02_two"):
        runner.find(["03_three"], folder)


def test_no_notebooks_at_all(tmp_path):
    with pytest.raises(CourseError, match="no notebooks"):
        runner.find([], tmp_path)


@pytest.mark.parametrize("name, value", [("COURSE_PROFILE", "huge"), ("COURSE_DATA", "no/such/folder")])
def test_wrong_settings_end_before_a_kernel_starts(folder, run_course, name, value):
    write(folder / "01_one.ipynb", "1")
    result = run_course(**{name: value})
    assert result.returncode == 1 and value in result.stderr and name in result.stderr
    assert "01_one" not in result.stdout and "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--in-place"]])
def test_where_nothing_can_be_written_it_ends_before_a_kernel_starts(folder, run_course, arguments):
    write(folder / "01_one.ipynb", "from pathlib import Path\nPath('it-ran').touch()")
    (folder.parent / "results").write_text("in the way")
    result = run_course(*arguments)
    assert result.returncode == 1 and re.fullmatch(r"Nothing can be written into .*results.*COURSE_RUNS.*", result.stderr.strip())
    assert not (folder / "it-ran").exists()


def test_a_page_that_cannot_be_kept_does_not_hide_what_stopped_the_notebook(folder, run_course):
    there = folder.parent / "results" / "course"
    there.mkdir(parents=True)
    (there / "01_one.html").write_text("of an earlier run")
    code = "import shutil\nshutil.rmtree('../results')\nopen('../results', 'w').close()\nraise ValueError('the cat is gone')"
    result = run_course(write(folder / "01_one.ipynb", code).stem)
    assert result.returncode == 1 and "ValueError: the cat is gone" in result.stderr
    assert "Traceback" not in result.stderr and "01_one.html" not in result.stderr


# -- in place -----------------------------------------------------------------------------------------------------

BAR = """
import sys
print("10 %", end="\\r"); sys.stdout.flush(); print("100 %\\nthree  ")
"""


def test_figures_shrink_and_look_the_same():
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8), 16, 0), 16, 1)
    pixels = (pixels // 64) * 64  # few colours, as in a plot
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    small = base64.b64decode(runner.with_palette(base64.b64encode(stream.getvalue()).decode()))
    assert len(small) < len(stream.getvalue())
    shown = np.asarray(Image.open(io.BytesIO(small)).convert("RGB")).astype(int)
    assert np.abs(shown - pixels).mean() < 2


def test_what_is_transparent_in_a_picture_becomes_white():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[:, 40:50] = 0  # the gap between two panels
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "PNG", compress_level=0)
    small = base64.b64decode(runner.with_palette(base64.b64encode(stream.getvalue()).decode()))
    assert (np.asarray(Image.open(io.BytesIO(small)).convert("RGB"))[:, 40:50] == 255).all()


def test_a_notebook_is_run_and_keeps_clean_outputs(tmp_path):
    path = write(tmp_path / "1.ipynb", BAR, "import ipywidgets\nipywidgets.IntSlider()", "1 + 1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].metadata = {"cellView": "form", "collapsed": True}
    nbformat.write(notebook, path)
    runner.run(path)
    notebook = nbformat.read(path, as_version=4)
    first, widget, last = notebook.cells
    assert first.metadata == {"cellView": "form"} and last.metadata == {}
    assert [output.text for output in first.outputs] == ["100 %\nthree\n"]
    assert widget.outputs == [] and "widgets" not in notebook.metadata
    assert last.outputs[0].data["text/plain"] == "2" and last.execution_count == 3
    assert notebook.metadata.kernelspec.name == "python3"


def test_what_lives_without_a_kernel_is_kept_and_small(tmp_path, monkeypatch):
    for name in SET:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # what prepare_environment sets is put back afterwards
    runner.prepare_environment()
    figure = "import plotly.graph_objects as go\ngo.Figure(go.Scatter3d(x=[1, 2], y=[1, 2], z=[1, 2]))"
    path = write(tmp_path / "1.ipynb", figure, "from IPython.display import HTML\nHTML('<input type=\"range\">')")
    runner.run(path)
    plotly, html = (cell.outputs for cell in nbformat.read(path, as_version=4).cells)
    assert [list(output.data) for output in plotly] == [[PLOTLY]]
    assert plotly[0].data[PLOTLY]["data"][0]["type"] == "scatter3d"
    assert html[0].data["text/html"] == '<input type="range">'
    assert path.stat().st_size < 20_000


def test_a_notebook_that_fails_stays_as_it_was(tmp_path):
    path = write(tmp_path / "1.ipynb", "print(1)", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(CourseError, match="division by zero"):
        runner.run(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["1.ipynb"]


def test_in_place_the_command_changes_the_notebooks_and_keeps_what_it_took(folder, run_course):
    path = write(folder / "01_one.ipynb", "print('new')", "2")
    result = run_course("--in-place")
    assert result.returncode == 0, result.stderr
    assert nbformat.read(path, as_version=4).cells[0].outputs[0].text == "new\n"
    results = folder.parent / "results" / "course"
    assert [path.name for path in results.iterdir()] == ["measured.json"], "no pages"
    (entry,) = json.loads((results / "measured.json").read_text())["01_one"]
    assert entry["minutes"] > 0
