"""The website shows what the repository holds, and every link in it leads somewhere."""

import functools
import json
import re
import threading
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

from helpers.config import REPOSITORY, ROOT
from helpers.demos.scenes import example_scenes
from helpers.upkeep import site
from helpers.upkeep.pages import PLOTLY


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "source"
    site.collect(ROOT, folder)
    return folder


def pages(source):
    """Each page's path and Markdown."""
    for path in [*source.rglob("*.md"), *source.rglob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
        yield path, text


def test_every_link_of_a_page_leads_to_a_page_a_picture_or_the_repository(source):
    found = 0
    for path, text in pages(source):
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
            if link.startswith(("https://", "#")):
                assert not link.endswith(".svg"), f"{path.name} loads {link} from elsewhere"
                continue
            assert (path.parent / link.split("#")[0]).is_file(), f"{path.name}: {link}"
            found += 1
    assert found > 40


def test_what_is_no_page_leads_to_the_repository(source):
    text = (source / "helpers/README.md").read_text(encoding="utf-8")
    assert f"(https://github.com/{REPOSITORY}/blob/main/helpers/train.py)" in text and "(benchmarks/README.md)" in text
    front = (source / "index.md").read_text(encoding="utf-8")
    assert "[Open in Colab](https://colab" in front and all(f"notebooks/{path.name}\n" in front for path in (ROOT / "notebooks").glob("0*.ipynb"))


def test_notebooks_keep_their_outputs_and_pictures_and_fold_the_first_cell(source):
    for path in sorted(source.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        original = json.loads((ROOT / "notebooks" / path.name).read_text(encoding="utf-8"))["cells"]
        for cell, stored in zip(cells, original, strict=True):
            figures = [PLOTLY in output.get("data", {}) for output in stored.get("outputs", ())]
            for output, before, figure in zip(cell.get("outputs", ()), stored.get("outputs", ()), figures, strict=True):
                assert ('src="../_static/plotly.min.js"' in output["data"]["text/html"]) if figure else output == before
        assert not any("attachment" in json.dumps([cell["source"], *cell]) for cell in cells)
        folded = [cell["metadata"].get("tags") == ["hide-input"] for cell in cells]
        assert folded == [cell["metadata"].get("cellView") == "form" for cell in original] and folded[1], path.name


def test_the_front_page_first_leads_to_where_the_network_is_tried(source):
    front = (source / "index.md").read_text(encoding="utf-8")
    before, _, after = front.partition('href="try/index.html"')
    assert "# Where is the cat" in before and "](" not in before and "Images/time_travel.gif" in after
    assert 'src="try/example-scene.png"' in after.partition("One small network")[0]
    owner, name = REPOSITORY.split("/")
    assert f'"property=og:image": https://{owner}.github.io/{name}/social_preview.png\n' in front.partition("# ")[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The whole site, in a folder of its own."""
    folder = tmp_path_factory.mktemp("built") / "runs" / "site"
    pytest.importorskip("sphinx", reason="The site needs more packages: pip install -e '.[site]'")
    assert site.build(folder) == 0, "warnings"
    return folder


@pytest.mark.slow
def test_the_site_has_no_dead_link_and_asks_nobody(built):
    assert [path.name for path in built.parent.iterdir()] == ["site"]
    pages = [path for path in built.rglob("*.html") if "_static" not in path.parts]  # there are templates
    assert built / "try" / "index.html" in pages
    for page in pages:
        html = page.read_text(encoding="utf-8")
        for tag, link in re.findall(r"<(\w+)[^>]*?\s(?:href|src)=\"([^\"]*)\"", html):
            parts = urlsplit(unescape(link))
            if parts.scheme or parts.netloc:
                assert tag == "a" or parts.scheme == "data", f"{page.name} loads {link[:99]}"
            elif parts.path:
                assert (page.parent / unquote(parts.path)).exists(), f"{page.name}: {link}"
    losses = (built / "notebooks/04_losses_and_metrics.html").read_text(encoding="utf-8")
    assert losses.count("<math") > 5 and "MathJax" not in losses
    assert "Show code cell source" in losses and "Toggle hidden content" not in losses, "a name that a screen reader says"
    assert "checkerboard" in (built / "searchindex.js").read_text(encoding="utf-8")
    assert "probability of cat" in (built / "reference.html").read_text(encoding="utf-8")
    shared = (built / "index.html").read_text(encoding="utf-8")
    assert 'property="og:image"' in shared and (built / "social_preview.png").is_file()


@pytest.mark.slow
def test_it_is_light(built):
    tried = sum(path.stat().st_size for path in (built / "try").iterdir())
    everything = sum(path.stat().st_size for path in built.rglob("*") if path.is_file())
    assert 10e6 < tried < 26e6 and everything < 40e6


@pytest.fixture
def address(built):
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(built))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.slow
def test_a_visitor_of_the_front_page_tries_the_network(address):
    browser = pytest.importorskip("browser", reason="there is no playwright to drive a browser: pip install playwright")
    if not (executable := browser.find_browser()):
        pytest.skip("there is no Chromium and no Chrome on this machine")
    with browser.launched(executable) as launched:
        visit = browser.Watched(launched, address, {"width": 390, "height": 844})
        visit.page.set_default_timeout(120_000)
        visit.page.goto(address)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        shown = visit.page.evaluate("[...document.querySelectorAll('a[href^=try] img')].map(image => image.naturalWidth)")
        assert shown == [128, 128]
        visit.page.get_by_role("link", name="Try it", exact=True).click()
        visit.page.locator("#status", has_text="is ready").wait_for()
        visit.page.get_by_role("button", name="Try the example").click()
        visit.page.locator("#status.good", has_text="Done").wait_for()
        share = re.search(r"covers ([\d.]+) %", visit.page.locator("#facts").inner_text())[1]
        target = example_scenes()["mask"][0].mean().item()
        assert abs(float(share) / 100 - target) < 0.1 * target
        visit.page.emulate_media(color_scheme="dark")
        visit.page.goto(f"{address}notebooks/06_results.html")
        grounds = "[...document.querySelectorAll('.cell_output :is(.text_html, img)')].map(e => getComputedStyle(e).backgroundColor)"
        visit.page.wait_for_function("document.querySelector('.js-plotly-plot .main-svg')")
        assert set(visit.page.evaluate(grounds)) == {"rgba(0, 0, 0, 0)"}, "no white box in a dark page"
        assert visit.problems == []
