"""The figure of the worst quartets holds every case, and no word of it leaves its place."""

import matplotlib.pyplot as plt
import pytest
from made_cases import half_right
from matplotlib.legend import Legend
from matplotlib.text import Text
from toy import ToyQuartets

from helpers.benchmarks.failures import figure, worst


@pytest.fixture(scope="module")
def cases():
    return worst(ToyQuartets(rooms=12, cats=3, placements=1), half_right)


def test_the_figure_has_the_words_of_every_case_and_five_or_four_panels(cases):
    drawn = figure(cases)
    words = [axis.get_title(loc="left") for axis in drawn.axes]
    assert all(case.words in words for case in cases)
    assert sum(bool(axis.images) for axis in drawn.axes) == 10 * 5 + 10 * 4
    width, height = drawn.get_size_inches()
    assert width < 12 and height < 30 and not plt.get_fignums()
    panels = [axis.get_window_extent() for axis in drawn.axes if axis.images]
    assert not any(a.overlaps(b) for i, a in enumerate(panels) for b in panels[:i])
    with pytest.raises(ValueError, match="no cases"):
        figure([])


def test_no_line_of_a_sentence_leaves_its_column(cases):
    drawn = figure(cases)
    drawn.canvas.draw()
    lefts = sorted({round(axis.get_window_extent().x0) for axis in drawn.axes if axis.images})
    depth_left = lefts[5]
    for text in drawn.findobj(Text):
        extent = text.get_window_extent()
        limit = depth_left if extent.x0 < depth_left - 1 else drawn.bbox.x1
        assert extent.x1 <= limit, text.get_text()


def test_one_task_has_one_column_and_only_its_own_legend(cases):
    both = figure(cases)
    masks, depths = ([case for case in cases if case.task == task] for task in ("mask", "depth"))
    widths = [figure(part).get_size_inches()[0] for part in (masks, depths)]
    assert sum(widths) == pytest.approx(both.get_size_inches()[0])
    assert both.findobj(Legend) and figure(masks).findobj(Legend) and not figure(depths).findobj(Legend)
    assert not any("depth" in text.get_text() for text in figure(masks).findobj(Text))
