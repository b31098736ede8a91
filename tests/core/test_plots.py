"""The figures: what stands in them, not how it looks."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from toy import ToyQuartets

from helpers import plots
from helpers.demos import figures

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # What an earlier test left to the garbage collector may be collected, and complain, during one of these.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def batch():
    return ToyQuartets(size=48).get_batch(range(6))


def pictures(figure):
    """The axes of a figure that show a picture."""
    return [axis for axis in figure.axes if axis.images]


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def words(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream)
    return stream.getvalue()


def test_quartets_are_rows_of_room_scene_mask_and_depth(batch):
    figure = plots.show_quartets(batch, rows=3, labels=["a", "b", "c"])
    assert len(pictures(figure)) == 12
    assert titles(figure) == ["bg: the room", "bg_fg: with the cat", "mask", "depth"]
    assert [axis.get_ylabel() for axis in pictures(figure)[::4]] == ["a", "b", "c"]
    near, far = batch["near_far"][0].tolist()
    assert words(figure) == [f"{near:.1f} to {far:.1f} m"] + words(figure)[1:] and len(words(figure)) == 3


def test_depth_has_a_colour_bar_that_says_near_and_far(batch):
    bar = plots.show_quartets(batch, rows=1).axes[-1]
    assert "depth" in bar.get_ylabel()
    assert bar.get_yticklabels()[0].get_text() == "0 near" and bar.get_yticklabels()[-1].get_text() == "1 far"


def test_one_quartet_a_batch_a_list_arrays_and_tensors_draw_alike(batch):
    single = {key: value[0] for key, value in batch.items()}
    arrays = {key: value.numpy() for key, value in batch.items()}
    expected = png(plots.show_quartets(batch, rows=1))
    for same in (single, [single], arrays):
        assert png(plots.show_quartets(same, rows=1)) == expected


def test_without_metres_none_are_told(batch):
    unknown = {**batch, "near_far": torch.full((6, 2), torch.nan)}
    assert words(plots.show_quartets(unknown, rows=2)) == []


def test_near_is_brighter_than_far():
    near, far = plots.depth_picture(np.array([[0.0, 1.0]]))[0]
    assert near.mean() > far.mean() + 0.2


def test_invalid_depth_is_striped_grey_and_nothing_else_is():
    depth = torch.linspace(0, 1, 48).repeat(48, 1)[None]
    valid = torch.ones(1, 48, 48, dtype=torch.bool)
    valid[:, 10:30, 20:40] = False
    drawn = plots.depth_picture(depth, valid)
    grey = np.ptp(drawn, axis=2) < 1e-6
    assert (grey == ~valid[0].numpy()).all()
    assert len(np.unique(drawn[grey])) == 2, "stripes, so that it is not mistaken for a flat grey wall"
    nothing_known = plots.depth_picture(np.zeros((4, 4)), np.zeros((4, 4)))
    np.testing.assert_array_equal(plots.depth_picture(np.full((4, 4), np.nan)), nothing_known)


def test_the_depth_range_spreads_the_colours():
    depth = np.array([[0.4, 0.6]])
    whole, part = plots.depth_picture(depth), plots.depth_picture(depth, low=0.4, high=0.6)
    assert np.abs(np.diff(part, axis=1)).sum() > 2 * np.abs(np.diff(whole, axis=1)).sum()


def test_an_overlay_is_the_picture_the_colour_or_a_mixture():
    image = np.zeros((3, 2, 2), np.uint8)
    mask = np.array([[[0, 1], [0.5, 0]]])
    drawn = plots.overlay(image, mask, opacity=0.8)
    np.testing.assert_allclose(drawn, np.array([[0, 0.8], [0.4, 0]])[..., None] * to_rgb(plots.MASK_COLOUR))
    np.testing.assert_array_equal(plots.overlay(image, mask, opacity=0), plots.picture(image))


def test_mask_errors_tell_the_four_cases_apart():
    target, prob = np.array([[1, 1, 0, 0]]), np.array([[0.9, 0.2, 0.9, 0.2]])
    expected = [to_rgb(colour) for colour in (plots.TRUE, plots.MISSED, plots.FALSE_ALARM, "black")]
    np.testing.assert_allclose(plots.mask_errors(target, prob)[0], expected)
    np.testing.assert_allclose(plots.mask_errors(target, prob, threshold=0.1)[0, 1], to_rgb(plots.TRUE))


def test_an_error_is_black_where_there_is_none_bright_at_the_limit_and_striped_where_it_is_unknown():
    error = plots.depth_errors(np.zeros((1, 2, 2)), np.array([[[0.0, 0.3], [-0.9, 0.1]]]), np.array([[1, 1], [1, 0]]))
    np.testing.assert_array_equal(error, [[0, 0.3], [0.9, np.nan]])
    shown = plots.error_picture(error)
    assert shown[0, 0].max() < 0.02
    assert shown[0, 1].sum() > 2.5 and (shown[0, 1] == shown[1, 0]).all()
    assert shown[1, 1, 0] == shown[1, 1, 1] == shown[1, 1, 2], "grey: not known"


@pytest.mark.parametrize("shape", [(3, 4, 6), (4, 6, 3), (1, 4, 6), (4, 6)])
def test_pictures_come_in_many_shapes(shape):
    assert plots.picture(np.zeros(shape, np.uint8)).shape == (4, 6, 3)
    assert plots.picture(torch.ones(shape, dtype=torch.bfloat16, requires_grad=True)).max() == 1


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 6\)"):
        plots.picture(np.zeros((2, 4, 6)))


def test_a_contact_sheet_has_a_scene_for_each_quartet(batch):
    figure = figures.contact_sheet(batch, columns=4, labels="abcdef")
    assert titles(figure) == list("abcdef")
    np.testing.assert_array_equal(pictures(figure)[0].images[0].get_array(), plots.picture(batch["bg_fg"][0]))
    assert not any(axis.axison for axis in figure.axes) and [len(axis.images) for axis in figure.axes] == [1] * 6 + [0] * 2


def test_predictions_are_beside_the_ground_truth_with_their_errors(batch):
    batch = {**batch, "valid": batch["valid"].clone()}
    batch["valid"][0, :, :10] = False
    figure = plots.show_predictions(batch, batch["mask"], batch["depth"] * 0.5, rows=2, labels=["x", "y"])
    assert len(pictures(figure)) == 14
    assert titles(figure) == ["bg_fg", "mask", "predicted", "mask errors", "depth", "predicted", "depth error"]
    error = plots.depth_errors(batch["depth"][0], batch["depth"][0] * 0.5, batch["valid"][0])
    assert np.isnan(error[:10]).all() and not np.isnan(error[10:]).any(), "no error is shown where depth is not known"
    np.testing.assert_array_equal(pictures(figure)[6].images[0].get_array(), plots.error_picture(error))
    assert figure.axes[-1].get_ylabel() == "absolute depth error"
    assert len(figure.legends[0].get_texts()) == 3


def test_predictions_need_no_batch_channel(batch):
    first = png(plots.show_predictions(batch, batch["mask"], batch["depth"], rows=2))
    assert png(plots.show_predictions(batch, batch["mask"][:, 0], batch["depth"][:, 0], rows=2)) == first


def test_images_and_maps_are_named(batch):
    figure = plots.show_images([{"room": batch["bg"][0], "cat": batch["bg_fg"][0]}, {"alone": batch["mask"][0]}])
    assert titles(figure) == ["room", "cat", "alone"] and len(pictures(figure)) == 3
    same_names = plots.show_images([{"room": batch["bg"][0]}, {"room": batch["bg"][1]}])
    assert titles(same_names) == ["room"] and len(pictures(same_names)) == 2
    figure = plots.show_maps({"one": batch["depth"][0]}, "difference, of 255", 0, 255)
    assert figure.axes[-1].get_ylabel() == "difference, of 255"


def test_lines_and_histograms_have_axes_and_a_legend_where_it_is_needed():
    figure = plots.show_lines({"a": [1, 2, 4], "b": ([0, 2], [5, 6])}, "pixel", "depth, m", log="y")
    axis = figure.axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("pixel", "depth, m", "log")
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"]
    assert [len(line.get_xdata()) for line in axis.lines] == [3, 2]
    figure = plots.show_histograms({"a": torch.rand(3, 100)}, "depth", bins=10)
    axis = figure.axes[0]
    assert axis.get_legend() is None and axis.get_xlabel() == "depth" and "%" in axis.get_ylabel()


def test_a_row_is_marked_and_drawn_below_its_columns(batch):
    figure = figures.show_row(batch["bg_fg"][0], 20, {"a": torch.arange(48.0), "b": torch.ones(48)}, "depth", step=True)
    above, below = figure.axes
    assert above.lines[0].get_ydata() == [20, 20]
    assert below.get_xlim() == above.get_xlim() and below.get_ylabel() == "depth"
    figure.draw_without_rendering()
    assert above.get_position().x0 == below.get_position().x0 and above.get_position().x1 == below.get_position().x1
    assert len(below.get_legend().get_texts()) == 2


def test_a_histogram_counts_shares():
    figure = plots.show_histograms({"few": [0.1], "many": [0.1, 0.9] * 50}, "x", bins=[0, 0.5, 1])
    tallest = {patch.get_label(): np.array(patch.get_xy())[:, 1].max() for patch in figure.axes[0].patches}
    assert tallest == pytest.approx({"few": 100, "many": 50})


def test_a_matrix_has_a_name_for_each_value():
    figure = figures.show_matrix([[0, 7], [7, 7]], {0: ("unused", "white"), 7: ("training", "blue")}, "cat", "room", "", (6, 3))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unused", "training"]
    shown = figure.axes[0].images[0]
    colours = shown.cmap(shown.norm(shown.get_array()))[..., :3]
    np.testing.assert_array_equal(colours, [[to_rgb("white"), to_rgb("blue")], [to_rgb("blue")] * 2])


def test_figures_are_small_and_let_go(batch):
    before = plt.get_fignums()
    figure = plots.show_quartets(batch, rows=4)
    assert plt.get_fignums() == before
    assert 400 < figure.get_size_inches()[0] * figure.dpi < 1000
    assert len(png(figure)) < 200_000
    assert plt.rcParams["axes.grid"] is False, "the course's style stays with its figures"


def test_panels_share_their_vertical_axis():
    panels = {"noise": ("of 255", [2, 20], {"a": [0.9, 0.8], "b": [0.7, 0.1]}),
              "jpeg": ("quality", ["90", "50", "10"], {"a": [0.9, 0.8, 0.7], "b": [0.5, 0.4, 0.3]})}  # fmt: skip
    figure = plots.show_panels(panels, "mask Dice", ylim=(0, 1))
    first, second = figure.axes
    assert titles(figure) == ["noise", "jpeg"] and (first.get_xlabel(), second.get_xlabel()) == ("of 255", "quality")
    assert [label.get_text() for label in second.get_xticklabels()] == ["90", "50", "10"]
    assert first.get_ylim() == second.get_ylim() == (0, 1) and first.get_ylabel() == "mask Dice"
    assert [line.get_ydata().tolist() for line in second.lines] == [[0.9, 0.8, 0.7], [0.5, 0.4, 0.3]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
