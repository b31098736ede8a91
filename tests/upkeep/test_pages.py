"""The pages that ``make course`` leaves: formulas, figures that turn, links, and nothing from elsewhere."""

import base64
import io
import re

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from helpers.config import REPOSITORY, ROOT
from helpers.upkeep import pages

pytestmark = pytest.mark.slow
FORMULAS = r"""
# Rooms & cats

[![Open in Colab](https://colab.example/badge.svg)](https://colab.example/open)
The loss is $p_i < \frac{1}{2}$, see [the next](02_two.ipynb#end), [the code](../helpers/train.py) and `a $5 tip$`.

$$\sum_{i} |x_i - y_i|$$

\begin{matrix} a & b \end{matrix}

Not a formula: $\frac$ stays.

![a picture of one pixel](dot.png)
"""


@pytest.fixture(scope="module")
def png():
    Image.new("RGB", (400, 200), "white").save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, png):
    """Pages of three small notebooks, with a fourth that has none."""
    course = tmp_path_factory.mktemp("course")
    (course / "notebooks").mkdir()
    (course / "notebooks" / "dot.png").write_bytes(png)
    scatter = go.Figure(go.Scatter(x=[1, 2], y=[3, 4])).to_plotly_json() | {"layout": {"height": 321, "scene": {}}}
    figure = {"image/png": base64.b64encode(png).decode()}
    cells = {
        "01_one": [
            new_code_cell("address = 1", metadata={"cellView": "form"}),
            new_markdown_cell(FORMULAS),
            new_code_cell("1", outputs=[new_output("display_data", figure)]),
            new_code_cell("hint()", outputs=[new_output("display_data", {"text/markdown": "A *hint*: $x^2$"})]),
        ],
        "02_two": [
            new_markdown_cell("# Two {in braces}"),
            new_code_cell("2", outputs=[new_output("display_data", {pages.PLOTLY: scatter})] * 2),
            new_code_cell("3", outputs=[new_output("stream", text=f"{'wide ' * 50}\n")]),
        ],
        "03_three": [],
        "04_four": [new_code_cell("4", outputs=[new_output("display_data", {"text/html": "<input onclick='1'>"})])],
    }
    for name, content in cells.items():
        nbformat.write(new_notebook(cells=content), course / "notebooks" / f"{name}.ipynb")
    for name in ("02_two", "01_one", "04_four"):
        path = course / "notebooks" / f"{name}.ipynb"
        pages.save_page(nbformat.read(path, 4), path, course / "pages")
    return course / "pages"


def read(folder, name):
    return (folder / f"{name}.html").read_text(encoding="utf-8")


def loaded(page):
    """What the browser fetches by itself to show a page."""
    found = re.findall(r"<(?!a\b)\w+[^>]*?\s(?:href|src)=[\"']([^\"']+)", page) + re.findall(r"url\(['\"]?([^)'\"]+)", page)
    return {address for address in found if not address.startswith(("data:", "#"))} | set(re.findall(r"import\(.*?\)", page))


def test_formulas_need_no_script(folder):
    page = read(folder, "01_one")
    assert page.count("<math") == 4 and "A <em>hint</em>: <math" in page and "<mfrac>" in page and "<munder" in page and "<mtable" in page
    assert len(re.findall('<math[^>]* display="block"', page)) == 2
    assert "a $5 tip$" in page, "code is no formula"
    assert r"<code>\frac</code> stays" in page, "what cannot be read stays as it was written"


def test_nothing_is_fetched_but_plotly_from_beside_the_page(folder):
    assert {name: loaded(read(folder, name)) for name in ("01_one", "02_two", "04_four", "index")} == {
        "01_one": set(), "02_two": {"plotly.min.js"}, "04_four": set(), "index": set()
    }  # fmt: skip
    assert read(folder, "02_two").count("plotly.min.js") == 1, "for both figures"
    assert (folder / "plotly.min.js").stat().st_size > 1_000_000
    assert not any("MathJax" in read(folder, name) for name in ("01_one", "02_two"))


def test_links_lead_to_pages_and_else_to_the_repository(folder):
    page = read(folder, "01_one")
    assert 'href="02_two.html#end"' in page
    assert f'href="https://github.com/{REPOSITORY}/blob/main/helpers/train.py"' in page
    assert '<a href="https://colab.example/open">Open in Colab</a>' in page


def test_code_in_a_text_is_no_link():
    text = "`net[0](bg)` and ```\nnet[0](bg)\n``` and [a test](tests/toy.py)"
    code, link = pages.with_links(text, "README.md", {}, ROOT).split(" and [")
    assert code == text.split(" and [")[0] and link.startswith("a test](https://github.com/")


def test_each_page_leads_to_those_beside_it_and_the_contents_to_all(folder):
    ways = {name: re.findall(r'(?s)<nav [^>]*class="pages"[^>]*>(.*?)</nav>', read(folder, name)) for name in
            ("01_one", "02_two", "04_four")}  # fmt: skip
    assert all(top == bottom for top, bottom in ways.values())
    hrefs = {name: re.findall('href="(.*?)"', top) for name, (top, _) in ways.items()}
    assert hrefs == {
        "01_one": ["index.html", "02_two.html"],
        "02_two": ["01_one.html", "index.html", "04_four.html"],
        "04_four": ["02_two.html", "index.html"],
    }
    contents = re.findall('<li><a href="(.*?)">(.*?)</a>', read(folder, "index"))
    assert contents == [("01_one.html", "Rooms &amp; cats"), ("02_two.html", "Two {in braces}"), ("04_four.html", "04_four")]


def test_pictures_have_words_and_the_set_up_cell_is_folded(folder):
    page = read(folder, "01_one")
    assert 'alt="figure of the section “Rooms &amp; cats”"' in page
    assert re.search(r"(?s)<details><summary>The set-up cell</summary>(?:(?!</details>).)*address", page)
    assert page.count("<details>") == 1
    assert re.search('<img alt="a picture of one pixel" src="data:image/png', page), "pictures are in the page"


def test_what_is_mostly_paper_may_turn_dark_and_photographs_may_not(folder):
    looks = {}
    for share in (0.87, 0.69):  # white paper above a grey photograph
        pixels = np.full((100, 50, 3), 90, np.uint8)
        pixels[: round(100 * share)] = 255
        Image.fromarray(pixels).save(stream := io.BytesIO(), "PNG")
        looks[share] = pages._is_chart(base64.b64encode(stream.getvalue()).decode())
    assert looks == {0.87: True, 0.69: False}
    page = read(folder, "01_one")
    assert 'jp-OutputArea-output chart"' in page and page.count(".jp-RenderedImage.chart img { filter: invert") == 1


def test_html_that_lives_without_a_kernel_is_kept(folder):
    assert "<input onclick=" in read(folder, "04_four")


def test_a_stored_notebook_with_a_cloud_to_turn_is_a_small_page(tmp_path):
    path = ROOT / "notebooks" / "06_results.ipynb"
    pages.save_page(nbformat.read(path, 4), path, tmp_path)
    page = read(tmp_path, "06_results")
    assert loaded(page) == {"plotly.min.js"} and "scatter3d" in page and f'"scene2.zaxis.backgroundcolor": "{pages.DARK}"' in page
    assert len(page.encode()) < 3_000_000


def test_in_a_browser_it_fits_a_phone_is_dark_and_draws(folder):
    browser = pytest.importorskip("browser", reason="there is no playwright to drive a browser: pip install playwright")
    if not (executable := browser.find_browser()):
        pytest.skip("there is no Chromium and no Chrome on this machine")
    with browser.launched(executable) as launched:
        for name in ("01_one", "02_two", "index"):
            visit = browser.Watched(launched, f"file://{folder}/", {"width": 390, "height": 844})
            visit.page.emulate_media(color_scheme="dark")
            visit.page.goto(f"file://{folder}/{name}.html")
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390, name
            ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert max(map(int, re.findall(r"\d+", ground))) < 40, f"{name} is light"
            if name == "02_two":
                drawn = "document.querySelector('#figure-2 .main-svg')?.style.background.includes('17, 17, 17')"
                visit.page.wait_for_function(drawn)
                wide = visit.page.locator("pre", has_text="wide wide")
                assert wide.get_attribute("tabindex") == "0", "the keyboard moves what is too wide"
                assert visit.page.locator("main [tabindex]").count() == 1
            assert browser.faults(visit.page) == [], name
            assert visit.problems == []
            visit.page.close()
