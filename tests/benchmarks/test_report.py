"""What commands write into a page goes between its marks, and nowhere else."""

import pytest

from helpers.benchmarks.report import parts
from helpers.config import CourseError

PAGE = "before\n<!-- here:begin -->\nold\n<!-- here:end -->\nafter é\n"


def test_a_page_falls_into_three_parts():
    before, inside, after = parts(PAGE, "here")
    assert before + inside + after == PAGE and inside == "\nold\n"


@pytest.mark.parametrize(
    "page",
    ["", PAGE.replace("begin", "start"), PAGE.replace("here:end", "there:end"), PAGE + PAGE]
    + ["<!-- here:end --><!-- here:begin -->"],
    ids=["empty", "no begin", "no end", "twice", "upside down"],
)  # fmt: skip
def test_a_page_without_its_marks_is_refused(page):
    with pytest.raises(CourseError, match="README.md must have <!-- here:begin --> once"):
        parts(page, "here")
