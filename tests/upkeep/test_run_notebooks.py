"""``make course``: every notebook in a fresh kernel, pages and figures left, failures told in words."""

import html
import json
import os
import re
import subprocess
import sys
import textwrap

import nbformat
import pytest

from helpers.config import ROOT, CourseError
from helpers.upkeep import run_notebooks as course


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


def run_course(folder, *names, **environment):
    """``python -m helpers.upkeep.run_notebooks`` from the folder above ``folder``, with the notebooks there."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom helpers import course\n"
        f"course.find.__defaults__ = (Path({str(folder)!r}),)\n"
        "try: course.main(sys.argv[1:])\nexcept course.CourseError as error: sys.exit(str(error))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_RUNS": "results", **environment}
    return subprocess.run(
        [sys.executable, "-c", code, *names], cwd=folder.parent, env=environment, capture_output=True, text=True
    )


def test_it_runs_all_in_order_and_leaves_pages_and_figures(folder):
    (folder.parent / "photos").mkdir()
    first = write(
        folder / "01_one.ipynb",
        "# One, then [two](02_two.ipynb)",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "import os, ipywidgets\nfrom tqdm.auto import tqdm\nprint(os.environ['COURSE_DATA'])\n"
        "for _ in tqdm(range(3)): pass\nipywidgets.IntSlider(description='threshold')",
        "import time\nballast = bytearray(400 << 20)\ntime.sleep(2)",
    )
    write(folder / "02_two.ipynb", "assert 'ballast' not in globals()")
    before = first.read_bytes()
    result = run_course(folder, COURSE_DATA="photos", COURSE_CACHE="empty")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""

    lines = result.stdout.splitlines()
    assert lines[0] == "Notebooks to run: 2. COURSE_PROFILE: tiny. COURSE_DATA: your photographs in photos/."
    assert lines[1].split()[0] == "01_one" and lines[2].split()[0] == "02_two"
    gigabytes = float(lines[1].split()[3])
    assert 0.4 <= gigabytes < 1.5
    assert str(folder.parent / "results" / "course") in result.stdout

    pages = folder.parent / "results" / "course"
    assert sorted(path.name for path in pages.iterdir()) == ["01_one.html", "02_two.html", "figures", "measured.json"]
    (entry,) = json.loads((pages / "measured.json").read_text())["01_one"]
    assert entry["profile"] == "tiny" and entry["cells"] == 4 and entry["from_nothing"] is True
    assert 0.4 <= entry["gigabytes"] < 1.5 and 2 / 60 < entry["minutes"] < 10
    assert (pages / "figures" / "01_one-01.png").read_bytes().startswith(b"\x89PNG")
    page = (pages / "01_one.html").read_text()
    assert str(folder.parent / "photos") in page, "kernels get the absolute path of COURSE_DATA"
    assert 'href="02_two.html"' in page
    assert "Here stands a control" in page and "IntSlider(" not in page
    assert "%|" not in page, "a progress bar says nothing on a page"
    assert first.read_bytes() == before, "the notebook itself is only read"


def test_a_page_turns_plotly_figures_and_keeps_html_without_a_kernel(folder):
    write(
        folder / "01_one.ipynb",
        "import plotly.graph_objects as go\ngo.Figure(go.Scatter3d(x=[1, 2], y=[3, 4], z=[5, 6]), {'height': 321})",
        "from IPython.display import HTML\nHTML('<input type=\"range\" oninput=\"this.title=this.value\">')",
    )
    result = run_course(folder)
    assert result.returncode == 0, result.stderr
    page = (folder.parent / "results" / "course" / "01_one.html").read_text()
    (frame,) = [tag for tag in re.findall(r"<iframe [^>]*>", page) if "srcdoc" in tag]
    assert "height:341px" in frame, "the figure's, and a little more"
    inside = html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])
    assert "scatter3d" in inside and "Plotly.newPlot" in inside
    assert not re.search(r"<script[^>]* src=", inside), "plotly is in the page, not on the network"
    assert 'oninput="this.title=this.value"' in page


def test_it_stops_at_the_first_cell_that_fails(folder):
    write(folder / "01_one.ipynb", "print('so far')", "raise ValueError('the cat is gone')", "print('never')")
    write(folder / "02_two.ipynb", "1")
    result = run_course(folder)
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
        course.run(path, folder.parent)


def test_names_choose_notebooks(folder):
    one, two = write(folder / "01_one.ipynb", "1"), write(folder / "02_two.ipynb", "2")
    assert course.find([], folder) == [one, two]
    assert course.find(["02_two"], folder) == [two]
    assert course.find(["notebooks/02_two.ipynb", "01_one"], folder) == [two, one]
    with pytest.raises(CourseError, match="'03_three'.*01_one, 02_two"):
        course.find(["03_three"], folder)


def test_no_notebooks_at_all(tmp_path):
    with pytest.raises(CourseError, match="no notebooks"):
        course.find([], tmp_path)


@pytest.mark.parametrize("name, value", [("COURSE_PROFILE", "huge"), ("COURSE_DATA", "no/such/folder")])
def test_wrong_settings_end_before_a_kernel_starts(folder, name, value):
    write(folder / "01_one.ipynb", "1")
    result = run_course(folder, **{name: value})
    assert result.returncode == 1 and value in result.stderr and name in result.stderr
    assert "01_one" not in result.stdout and "Traceback" not in result.stderr
