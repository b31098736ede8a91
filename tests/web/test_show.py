"""An exported page below a notebook's cell."""

import re
import sys
import urllib.request
from types import ModuleType

import pytest
from IPython.display import HTML

from helpers.config import CourseError
from helpers.upkeep import run_notebooks
from helpers.web import show


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<p>the page</p>")
    (tmp_path / "secret.txt").write_text("not of the page")
    return tmp_path / "page"


@pytest.fixture
def displayed(monkeypatch):
    seen = []
    monkeypatch.setattr(show, "display", seen.append)
    return seen


def read(address):
    with urllib.request.urlopen(address, timeout=10) as reply:
        return reply.read().decode()


def test_jupyter_gets_a_frame_and_a_link_that_lead_to_the_page(folder, displayed):
    show.show_page(folder, height=321)
    (html,) = displayed
    assert isinstance(html, HTML) and "height:321px" in html.data and 'allow="camera"' in html.data
    first, second = re.findall(r'(?:href|src)="(http://localhost:\d+/)"', html.data)
    assert first == second and read(first) == "<p>the page</p>"
    with pytest.raises(OSError):
        read(f"{first}../secret.txt")


def test_it_is_in_no_saved_notebook_and_a_sentence_on_a_page(folder, displayed):
    show.show_page(folder)
    data = {"text/html": displayed[0].data}
    assert run_notebooks._needs_kernel(data) and not run_notebooks._needs_kernel({"text/html": "<iframe src='x.html'></iframe>"})
    output = run_notebooks.nbformat.v4.new_output("display_data", data)
    assert "interactive view stands here" in run_notebooks._on_a_page(output).text


def test_colab_is_handed_the_port(folder, displayed, monkeypatch):
    asked = []
    colab = ModuleType("google.colab.output")
    colab.serve_kernel_port_as_iframe = lambda port, height: asked.append((port, height))
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)
    show.show_page(folder, height=500)
    ((port, height),) = asked
    assert not displayed and height == 500 and read(f"http://localhost:{port}/") == "<p>the page</p>"


def test_a_folder_that_holds_no_page_is_named(tmp_path, displayed):
    with pytest.raises(CourseError, match="nothing is no exported page: write one with export_page"):
        show.show_page(tmp_path / "nothing")
    assert not displayed
