"""What a reader finds on the pages of the course: the README, those behind it, and the notebooks' texts."""

import re

import nbformat
import pytest
from notebook_cells import badge

from helpers import config
from helpers.config import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BEHIND = ["notebooks/README.md", "helpers/README.md", "helpers/benchmarks/README.md", "helpers/archive/README.md",
          "helpers/weights/README.md", "CONTRIBUTING.md"]  # fmt: skip
PAGES = [page for page in ["README.md", *BEHIND] if (ROOT / page).exists()]
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)|<img\b([^>]*)>")


def test_the_front_page_is_short():
    assert len(README.encode()) <= 9_000


def test_it_lists_every_notebook_with_its_badge():
    there = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    listed = re.findall(r"^\| \d \| \[(\w+)\]\(notebooks/\1\.ipynb\) \|", README, re.MULTILINE)
    assert listed == there
    assert all(badge(name) in README for name in listed)


def test_it_has_one_small_table_of_results():
    (table,) = re.findall(r"<!-- results:begin -->\n(.*?)\n<!-- results:end -->", README, re.DOTALL)
    rows = [row for row in table.splitlines() if row.startswith("|")]
    assert 3 <= len(rows) - 2 <= 6 and all(row.count("|") - 1 <= 6 for row in rows)
    assert "perturbed" in rows[0] and "DuoNet" in table


def test_it_names_this_repository_and_every_setting():
    assert f"git clone https://github.com/{config.REPOSITORY}.git" in README
    for name in [*config.PROFILES, "COURSE_PROFILE", "COURSE_DATA", "COURSE_CACHE", "COURSE_RUNS"]:
        assert f"`{name}`" in README or name == "tiny", name


def test_it_leads_to_every_page_behind_it():
    assert [page for page in BEHIND if f"({page})" not in README] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_there(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= set(targets)
    for module in re.findall(r"python -m (helpers[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("page", PAGES)
def test_no_page_shows_a_folder_of_the_machine_it_was_written_on(page):
    assert not re.search(r"\breal/|(?<![\w.:/~-])/(root|home|tmp|work)/", (ROOT / page).read_text(encoding="utf-8"))


def texts():
    for page in PAGES:
        yield page, (ROOT / page).read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                yield path.name, cell.source


def test_every_image_says_in_words_what_it_shows():
    for where, text in texts():
        for match in IMAGE.finditer(text):
            words = match[1] if match[3] is None else (re.search(r'alt="([^"]*)"', match[3]) or ("", ""))[1]
            assert len(words.split()) >= 3, f"{where}: an image has no alternative text: {match[0]}"
