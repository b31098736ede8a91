"""The figure of the worst quartets holds every case, and no word of it leaves its place."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_cases import SIZE, block, half_right
from PIL import Image
from toy import ToyQuartets

from helpers.benchmarks import failure_figure
from helpers.benchmarks.failure_figure import _window, figure, save
from helpers.benchmarks.failures import worst


@pytest.fixture(scope="module")
def cases():
    return worst(ToyQuartets(rooms=12, cats=3, placements=1), half_right)


def test_the_figure_has_the_words_of_every_case_and_five_or_four_panels(cases):
    drawn = figure(cases)
    words = [text.get_text() for text in drawn.texts]
    assert all(f"{case.score}:\n{case.sentence}" in words for case in cases)
    assert sum(bool(axis.images) for axis in drawn.axes) == 10 * 5 + 10 * 4
    width, height = drawn.get_size_inches()
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in (text.get_position() for text in drawn.texts))
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
    for text in drawn.texts:
        extent = text.get_window_extent()
        limit = depth_left if extent.x0 < depth_left - 1 else drawn.bbox.x1
        assert extent.x1 <= limit, text.get_text()


def test_a_window_holds_what_it_should_and_stays_in_the_picture():
    for rows, columns in ((slice(0, 3), slice(60, 64)), (slice(0, 64), slice(10, 12)), (slice(30, 31), slice(30, 31))):
        where = block(rows, columns)
        window = _window(where)
        assert where[window].sum() == where.sum()
        assert where[window].shape[0] == where[window].shape[1] >= SIZE // 3
    rows, columns = _window(np.zeros((48, 64), bool))
    assert rows == slice(0, 48) and columns.stop - columns.start == 48


def test_one_task_has_one_column_and_only_its_own_legend(cases):
    both = figure(cases)
    masks, depths = ([case for case in cases if case.task == task] for task in ("mask", "depth"))
    widths = [figure(part).get_size_inches()[0] for part in (masks, depths)]
    assert sum(widths) == pytest.approx(both.get_size_inches()[0])
    assert both.legends and figure(masks).legends and not figure(depths).legends
    assert not any("depth" in text.get_text() for text in figure(masks).texts)


def test_a_file_that_is_too_large_is_drawn_with_fewer_dots(cases, tmp_path, monkeypatch):
    drawn, sizes = figure(cases[:1]), {}
    for limit in (failure_figure.LARGEST, 0):
        monkeypatch.setattr(failure_figure, "LARGEST", limit)
        save(drawn, tmp_path / "drawn.png")
        with Image.open(tmp_path / "drawn.png") as opened:
            sizes[limit] = opened.width
    width = drawn.get_size_inches()[0]
    assert list(sizes.values()) == [int(width * 120), int(width * 80)]
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.png"]
