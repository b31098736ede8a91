"""What every notebook keeps to as a file. That it runs is nbval's to show: ``make test`` runs every cell of each."""

import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from notebook_cells import badge, first_cell

from helpers.config import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w.:/~-])/(root|home|tmp|content|work|Users|var|usr|opt|mnt)/|\b[A-Z]:\\{1,2}\w")
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=[\"']([^\"']+)")


@pytest.fixture(params=NOTEBOOKS or [None], ids=lambda path: path.stem if path else "none")
def path(request) -> Path:
    assert request.param is not None, "There are no notebooks in notebooks/."
    return request.param


@pytest.fixture
def notebook(path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [(cell.execution_count, output) for cell in code_cells(notebook) for output in cell.outputs]


def test_notebooks_are_numbered_without_a_gap():
    assert [path.stem.split("_")[0] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(1, len(NOTEBOOKS) + 1)]
    assert NOTEBOOKS, "There are no notebooks in notebooks/."


def test_it_is_a_valid_notebook_of_reasonable_size(path, notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size <= 1_000_000


def test_it_begins_with_its_title_and_its_own_badge(path, notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert badge(path.stem) in first.source
    assert first.source.count("colab.research.google.com/github/") == 1, "one badge, its own"


def test_its_first_code_cell_is_the_set_up_cell(path, notebook):
    assert code_cells(notebook)[0].source == first_cell(int(path.stem.split("_")[0]))


def test_it_was_run_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), "restart the kernel and run all cells before you save"
    assert outputs(notebook)


def test_its_outputs_are_neither_errors_nor_warnings(notebook):
    for count, output in outputs(notebook):
        assert output.output_type != "error", f"cell [{count}] failed"
        assert output.get("name") != "stderr", f"cell [{count}] wrote to stderr: {output.text[:200]}"


def test_no_widget_is_saved(notebook):
    assert "widgets" not in notebook.metadata, "GitHub shows a notebook with saved widget state as invalid"
    for count, output in outputs(notebook):
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {}), f"cell [{count}]"


@pytest.mark.parametrize("call", ["explore(", "explore_features(", "worst_first(", "time_travel(", "divide("])
def test_a_view_that_needs_no_kernel_is_saved_with_the_notebook(call):
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, 4).cells
             if cell.cell_type == "code" and re.search(rf"\b{re.escape(call)}", cell.source)]  # fmt: skip
    pages = ["".join(output.get("data", {}).get("text/html", "") for output in cell.outputs) for cell in cells]
    assert cells and all('<div class="player' in page and '<img class="still"' in page for page in pages)


def test_it_names_no_folder_of_the_machine_it_ran_on(notebook):
    for cell in notebook.cells:
        texts = [cell.source]
        for output in cell.get("outputs", []):
            data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/p")}
            texts += [output.get("text", ""), json.dumps(data)]
        for text in texts:
            found = ABSOLUTE.search(text)
            assert not found, text[max(0, found.start() - 60) : found.end() + 60]


def test_its_cells_are_short(notebook):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert statistics.median(lengths) <= 12
    assert max(lengths) <= 40


def test_its_links_lead_somewhere(path, notebook):
    for cell in notebook.cells:
        for match in LINK.finditer(cell.source) if cell.cell_type == "markdown" else ():
            target = (match[1] or match[2]).split("#")[0]
            if target and not re.match(r"\w+:", target):  # a file of the course, not an address or an attachment
                assert (path.parent / target).exists(), f"{target} is not there"


@pytest.mark.parametrize(
    "text, absolute",
    [("saved in /home/ada/runs", True), ("'/content/course'", True), (r"C:\Users", True)]
    + [("https://host/home/x", False), ("runs/tmp/x", False), ("metres/pixel", False), ("H/2 x W/2", False)],
)  # fmt: skip
def test_absolute_paths_are_told_from_others(text, absolute):
    assert bool(ABSOLUTE.search(text)) == absolute


def test_colab_folds_the_set_up_cell_and_shows_its_address(notebook):
    cell = code_cells(notebook)[0]
    assert cell.metadata["cellView"] == "form" and cell.source.startswith("# @title Set-up")
    assert re.search(r'^address = "https://[^"]+\.git"  # @param \{type: "string"\}$', cell.source, re.MULTILINE)
