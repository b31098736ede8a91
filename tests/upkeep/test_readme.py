"""What commands write into the README goes between its marks, and nowhere else."""

import pytest

from helpers.benchmarks.report import fill
from helpers.config import CourseError

PAGE = "before\n<!-- here:begin -->\nold\n<!-- here:end -->\nafter é\n"


def test_only_the_part_changes(tmp_path):
    (tmp_path / "README.md").write_text(PAGE, encoding="utf-8")
    for text in ("new", r"back \1 slash", "new"):
        fill("here", text, tmp_path)
        assert (tmp_path / "README.md").read_text(encoding="utf-8") == PAGE.replace("old", text)


@pytest.mark.parametrize(
    "page",
    ["", PAGE.replace("begin", "start"), PAGE.replace("here:end", "there:end"), PAGE + PAGE, "<!-- here:end --><!-- here:begin -->"],
    ids=["empty", "no begin", "no end", "twice", "upside down"],
)
def test_a_page_without_its_marks_stays_as_it_is(tmp_path, page):
    (tmp_path / "README.md").write_text(page, encoding="utf-8")
    with pytest.raises(CourseError, match="README.md must have <!-- here:begin --> once"):
        fill("here", "new", tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page
