"""The explorer, driven from Python as a hand would: every slider, every button."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyQuartets

from helpers import plots
from helpers.widgets.controls import GAP, PANEL
from helpers.widgets.explorer import explore

COUNT = 4
CONTROLS = ("sample", "threshold", "opacity", "near", "far")


def outputs(batch):
    """A mask that is unsure everywhere, and a depth that is a little wrong."""
    generator = torch.Generator().manual_seed(0)
    prob = (0.4 * batch["mask"] + 0.6 * torch.rand(batch["mask"].shape, generator=generator)).clamp(0, 1)
    return prob, 0.8 * batch["depth"] + 0.1


@pytest.fixture
def batch():
    return ToyQuartets().get_batch([1, 9, 30, 55])


@pytest.fixture
def explorer(batch):
    return explore(batch, *outputs(batch), labels=[f"quartet {i}" for i in range(COUNT)])


def views(explorer):
    """The PNGs of both rows, masks and depths."""
    return [view.value for view in explorer.views]


def decoded(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def panels(png):
    """The three pictures of a row."""
    sheet = decoded(png)
    return [sheet[:, k * (PANEL + GAP) : k * (PANEL + GAP) + PANEL] for k in range(3)]


# -- sliders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value, changes",
    [("sample", 2, (True, True)), ("threshold", 0.95, (True, False)), ("opacity", 0.9, (True, False))]
    + [("near", 0.4, (False, True)), ("far", 0.6, (False, True))],
)  # fmt: skip
def test_each_slider_changes_what_it_is_about_and_nothing_else(explorer, name, value, changes):
    before = views(explorer)
    getattr(explorer, name).slider.value = value
    after = views(explorer)
    assert tuple(new != old for new, old in zip(after, before)) == changes


def test_pictures_keep_their_size(explorer):
    shape = (PANEL, 3 * PANEL + 2 * GAP, 3)
    for name in CONTROLS:
        slider = getattr(explorer, name).slider
        for value in (slider.min, slider.max):
            slider.value = value
            assert [decoded(png).shape for png in views(explorer)] == [shape, shape]


# -- buttons and words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTROLS)
def test_a_button_changes_the_picture(explorer, name):
    if name == "far":
        explorer.far.slider.value = 0.5
    before = views(explorer)
    getattr(explorer, name).forth.click()
    assert views(explorer) != before


@pytest.mark.parametrize(
    "name, value, text",
    [("sample", 3, "sample: 3 of 4"), ("threshold", 0.35, "mask threshold: 0.35")]
    + [("opacity", 1.0, "overlay opacity: 1.00"), ("near", 0.2, "first colour at depth: 0.20")]
    + [("far", 0.8, "last colour at depth: 0.80")],
)  # fmt: skip
def test_name_and_value_are_beside_the_slider(explorer, name, value, text):
    control = getattr(explorer, name)
    control.slider.value = value
    assert control.text.value == text


def test_the_words_say_what_is_shown(explorer, batch):
    assert explorer.about.value == f"quartet 0, depth from {plots.in_metres(batch['near_far'][0])}"
    prob, depth = outputs(batch)
    error = (depth[2] - batch["depth"][2]).abs()[batch["valid"][2]].mean().item()
    explorer.sample.slider.value = 3
    assert explorer.titles[1][2].value == f"depth error, mean {error:.3f}"
    found, cat = prob[2] >= 0.7, batch["mask"][2] >= 0.5
    dice = (2 * (found & cat).sum() / (found.sum() + cat.sum())).item()
    explorer.threshold.slider.value = 0.7
    assert explorer.titles[0][2].value == f"mask errors, Dice {dice:.3f}"


def test_the_first_colour_stays_nearer_than_the_last(explorer):
    explorer.far.slider.value = 0.3
    explorer.near.slider.value = 0.6
    assert explorer.far.slider.value == pytest.approx(0.65)
    explorer.far.slider.value = 0.05
    assert explorer.near.slider.value == 0.0
    for _ in range(30):
        explorer.near.forth.click()
    assert (explorer.near.slider.value, explorer.far.slider.value) == (0.95, 1.0)


# -- pictures ------------------------------------------------------------------------------------------------------


def test_the_upper_row_is_room_scene_and_mask_errors(explorer, batch):
    room, scene, errors = panels(explorer.views[0].value)
    where = np.clip(((np.arange(32) + 0.5) * PANEL / 32).astype(int), 0, PANEL - 1)
    assert (room[np.ix_(where, where)] == batch["bg"][0].permute(1, 2, 0).numpy()).all()
    wanted = plots.mask_errors(batch["mask"][0], outputs(batch)[0][0], 0.5)
    assert (errors[np.ix_(where, where)] == (wanted * 255).round()).all()
    assert not (scene == room).all()


def test_an_opacity_of_zero_leaves_the_scene_alone(explorer, batch):
    explorer.opacity.slider.value = 0
    where = np.clip(((np.arange(32) + 0.5) * PANEL / 32).astype(int), 0, PANEL - 1)
    scene = panels(explorer.views[0].value)[1][np.ix_(where, where)]
    assert (scene == batch["bg_fg"][0].permute(1, 2, 0).numpy()).all()


def test_depth_has_the_colours_of_every_other_figure(explorer, batch):
    explorer.near.slider.value, explorer.far.slider.value = 0.2, 0.6
    where = np.clip(((np.arange(32) + 0.5) * PANEL / 32).astype(int), 0, PANEL - 1)
    shown = panels(explorer.views[1].value)[0][np.ix_(where, where)]
    wanted = plots.depth_picture(batch["depth"][0], batch["valid"][0], 0.2, 0.6)
    assert np.abs(shown - (wanted * 255).round()).max() <= 1


# -- what may be missing -------------------------------------------------------------------------------------------


def test_it_works_without_any_depth(batch):
    batch = {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": torch.full((COUNT, 2), torch.nan)}
    explorer = explore(batch, *outputs(batch))
    assert explorer.about.value == "depth without metres"
    assert explorer.titles[1][2].value == "depth error, unknown"
    before = explorer.views[1].value
    explorer.far.slider.value = 0.5
    assert explorer.views[1].value != before, "the prediction is still there"
    target, _, error = panels(explorer.views[1].value)
    for panel in (target, error):
        assert (panel[..., :1] == panel).all(), "grey stripes"


def test_an_empty_mask_that_is_predicted_empty_is_right(batch):
    nothing = torch.zeros_like(batch["mask"])
    explorer = explore({**batch, "mask": nothing}, nothing, batch["depth"])
    assert explorer.titles[0][2].value == "mask errors, Dice 1.000"


def test_one_quartet_is_enough(batch):
    one = {key: value[:1] for key, value in batch.items()}
    explorer = explore(one, *outputs(one))
    assert explorer.sample.slider.disabled
    before = views(explorer)
    explorer.sample.forth.click()
    assert views(explorer) == before


def test_maps_without_a_channel_and_with_a_gradient_will_do(batch):
    prob, depth = outputs(batch)
    plain = explore(batch, prob[:, 0].numpy(), depth[:, 0].requires_grad_())
    assert views(plain) == views(explore(batch, prob, depth))


@pytest.mark.parametrize("cut", [{"mask_prob": 3}, {"depth": 3}, {"labels": 2}, {"batch": 2}])
def test_numbers_that_do_not_match_are_refused(batch, cut):
    prob, depth = outputs(batch)
    arguments = {"batch": batch, "mask_prob": prob, "depth": depth, "labels": list("abcd")}
    for name, count in cut.items():
        value = arguments[name]
        arguments[name] = {k: v[:count] for k, v in value.items()} if isinstance(value, dict) else value[:count]
    with pytest.raises(ValueError, match="as many"):
        explore(**arguments)


def test_labels_are_words_and_not_html(batch):
    explorer = explore(batch, *outputs(batch), labels=["<b>", "b", "c", "d"])
    assert explorer.about.value.startswith("&lt;b&gt;, depth from")


# -- the same as a figure ------------------------------------------------------------------------------------------


def test_the_still_figure_has_what_the_panels_have_with_colour_bars_and_a_legend(explorer):
    explorer.sample.slider.value = 3
    explorer.far.slider.value = 0.6
    figure = explorer.still()
    pictures = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in pictures] == [label.value for row in explorer.titles for label in row]
    wanted = [panel for row in explorer.draw(*explorer.picked())[1] for panel in row.values()]
    assert all((axis.images[0].get_array() == panel).all() for axis, panel in zip(pictures, wanted))
    bars = {axis.get_xlabel(): axis.get_xlim() for axis in figure.axes if axis not in pictures}
    assert bars == {"relative depth, near to far": (0, 0.6), "absolute depth error": (0, plots.ERROR_LIMIT)}
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["cat, found", "cat, missed"]
    assert figure.get_suptitle().startswith("quartet 2, depth from")


def test_the_still_figure_shows_words_as_words(batch):
    assert explore(batch, *outputs(batch), labels=["a<b", "b", "c", "d"]).still().get_suptitle().startswith("a<b,")
