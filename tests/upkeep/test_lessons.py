"""Times for teachers: counted by the stated formula, and written into their page."""

import nbformat
import pytest

from helpers.config import ROOT, CourseError
from helpers.upkeep import lessons

PAGE = "# Teachers\n\n<!-- lessons:begin -->\nold\n<!-- lessons:end -->\n\nThe end.\n"


def notebook(words, lines, figures=0, exercises=0):
    cell = nbformat.v4
    outputs = [cell.new_output("display_data", data={"image/png": "x"}) for _ in range(figures)]
    cells = [cell.new_code_cell("setup\n" * 50), cell.new_markdown_cell("word " * words)]
    cells += [cell.new_code_cell("x = 1\n\n" * lines, outputs=outputs)]
    cells += [cell.new_markdown_cell(f"### Exercise 1.{k + 1} · Title {k}") for k in range(exercises)]
    return cell.new_notebook(cells=cells)


def test_it_counts_what_is_read_and_done():
    counts = lessons.count(notebook(1300, 100, 4, 2))
    assert counts == (1300 + 2 * 4, 100, 4, ("1.1 Title 0", "1.2 Title 1"))
    assert counts.reading == 15 and counts.practice == 20, "10 + 5 + 2 minutes, rounded"
    text = nbformat.v4.new_markdown_cell("A [link](https://a.bc/d e) costs `two code words` or $$x + y$$: it's <b>one</b>.")
    assert lessons.count(nbformat.v4.new_notebook(cells=[text])).words == len("A link costs code or code it's one".split())


def test_more_to_read_takes_longer():
    times = [lessons.count(notebook(words, words // 10)).reading for words in (0, 1000, 2000, 4000)]
    assert times == sorted(set(times)) and times[0] == lessons.STEP


def test_the_table_goes_between_its_marks(tmp_path, capsys):
    (tmp_path / "notebooks").mkdir()
    for name, exercises in (("01_a", 3), ("02_b", 0)):
        nbformat.write(notebook(2600, 200, 0, exercises), tmp_path / "notebooks" / f"{name}.ipynb")
    page = tmp_path / lessons.PAGE
    page.write_text(PAGE)
    lessons.main(tmp_path)
    text = page.read_text()
    assert "| [01_a](01_a.ipynb) | 30 min | 60 min | 1.1 Title 0; 1.2 Title 1; 1.3 Title 2 |" in text
    assert "| [02_b](02_b.ipynb) | 30 min | 30 min |  |" in text and "| all | 1.0 h | 1.5 h | 3 |" in text
    assert "old" not in text and text.startswith("# Teachers\n") and text.endswith("\nThe end.\n")
    lessons.main(tmp_path)
    assert page.read_text() == text
    page.write_text("# no marks")
    with pytest.raises(CourseError, match="lessons:begin"):
        lessons.main(tmp_path)


def test_the_page_has_the_times_of_the_notebooks_as_they_are():
    assert f"\n{lessons.table()}\n" in (ROOT / lessons.PAGE).read_text(encoding="utf-8"), "run helpers.upkeep.lessons"
