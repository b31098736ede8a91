"""An exported page below a notebook's cell."""

import re
import sys
import urllib.request
from types import ModuleType

import pytest
from IPython.display import HTML
from notebook_cells import defined

from helpers.config import CourseError
from helpers.model import seeded
from helpers.upkeep import run_notebooks
from helpers.web import export_page, show


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
    assert "interactive view stands here" in run_notebooks._on_a_page(output).data["text/html"]


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


@pytest.mark.slow
def test_the_u_net_of_notebook_03_predicts_in_the_frame(displayed, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright to drive a browser")
    import browser  # late: it needs playwright

    if not (chromium := browser.find_browser()):
        pytest.skip("there is no Chromium and no Chrome on this machine")
    cells = defined("08", "block", "make_encoder", "make_decoder", "UNet", "FromUnit")
    net = cells["FromUnit"](seeded(lambda: cells["UNet"](base=4), 0))
    show.show_page(export_page(net, tmp_path / "page"))
    (tmp_path / "index.html").write_text(f"<title>a notebook</title><link rel=icon href=data:,>{displayed[0].data}")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=browser.FLAGS)
        page, problems = launched.new_page(), []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(show.serve(tmp_path))
        frame = page.frame_locator("iframe")
        frame.get_by_role("button", name="Try the example").click(timeout=120_000)
        frame.locator("#result").wait_for(state="visible", timeout=120_000)
        launched.close()
    assert not problems
