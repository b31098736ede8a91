"""The website shows what the repository holds, and every link in it leads somewhere."""

import json
import re
from html import unescape
from urllib.parse import unquote, urlsplit

import pytest

from helpers.config import REPOSITORY, ROOT, CourseError
from helpers.upkeep import site


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
        assert [cell.get("outputs") for cell in cells] == [cell.get("outputs") for cell in original]
        assert not any("attachment" in json.dumps([cell["source"], *cell]) for cell in cells)
        assert [cell["metadata"].get("tags") for cell in cells].count(["hide-input"]) == 1, path.name


def test_the_site_has_no_warning_no_dead_link_and_asks_nobody(tmp_path):
    try:
        assert site.build(tmp_path / "runs" / "site") == 0
    except CourseError as error:
        pytest.skip(str(error))
    folder = tmp_path / "runs" / "site"
    assert [path.name for path in folder.parent.iterdir()] == ["site"]
    for page in (path for path in folder.rglob("*.html") if "_static" not in path.parts):  # there are templates
        html = page.read_text(encoding="utf-8")
        for tag, link in re.findall(r"<(\w+)[^>]*?\s(?:href|src)=\"([^\"]*)\"", html):
            parts = urlsplit(unescape(link))
            if parts.scheme or parts.netloc:
                assert tag == "a" or parts.scheme == "data", f"{page.name} loads {link[:99]}"
            elif parts.path:
                assert (page.parent / unquote(parts.path)).exists(), f"{page.name}: {link}"
    losses = (folder / "notebooks/04_losses_and_metrics.html").read_text(encoding="utf-8")
    assert losses.count("<math") > 5 and "MathJax" not in losses
    assert "checkerboard" in (folder / "searchindex.js").read_text(encoding="utf-8")
    assert "probability of cat" in (folder / "reference.html").read_text(encoding="utf-8")
