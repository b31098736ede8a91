"""The explorer, driven from Python as a hand would: every slider, every button."""

import io
import re
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyQuartets

from helpers import plots
from helpers.config import ROOT
from helpers.widgets import explorer as sliders
from helpers.widgets.explorer import SIDE, Explorer, error_picture, explore, strip

COUNT = 4
CONTROLS = ("sample", "threshold", "opacity", "near", "far")
SHARES = CONTROLS[1:]


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
    return explorer.mask_view.value, explorer.depth_view.value


def decoded(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def panels(png):
    """The three pictures of a row."""
    sheet = decoded(png)
    return [sheet[:, k * (SIDE + sliders.GAP) : k * (SIDE + sliders.GAP) + SIDE] for k in range(3)]


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
    shape = (SIDE, 3 * SIDE + 2 * sliders.GAP, 3)
    for name in CONTROLS:
        slider = getattr(explorer, name).slider
        for value in (slider.min, slider.max):
            slider.value = value
            assert [decoded(png).shape for png in views(explorer)] == [shape, shape]
    for view in (explorer.mask_view, explorer.depth_view):
        assert (view.layout.width, view.layout.height) == (f"{shape[1]}px", f"{shape[0]}px")


def test_the_same_values_give_the_same_bytes_and_are_not_drawn_twice(explorer, monkeypatch):
    before = views(explorer)
    for name, there, back in (("threshold", 0.7, 0.5), ("far", 0.5, 1.0), ("sample", 3, 1)):
        getattr(explorer, name).slider.value = there
        if name == "sample":
            monkeypatch.setattr(sliders, "strip", lambda *_: pytest.fail("drawn again"))
        getattr(explorer, name).slider.value = back
    assert views(explorer) == before


def test_no_slider_opens_a_figure(explorer):
    for name in CONTROLS:
        explorer_slider = getattr(explorer, name).slider
        explorer_slider.value = explorer_slider.max
    assert not plt.get_fignums()


def test_a_slider_answers_at_once(explorer):
    values = np.linspace(0.05, 0.95, 19)
    started = time.process_time()  # of this process: the machine may be busy with others
    for value in values:
        explorer.threshold.slider.value = value
    assert (time.process_time() - started) / len(values) < 0.1


# -- buttons and words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTROLS)
def test_buttons_go_one_step_and_stop_at_the_ends(explorer, name):
    control = getattr(explorer, name)
    steps = round((control.slider.max - control.slider.min) / control.slider.step)
    for _ in range(steps + 3):
        control.back.click()
    assert control.slider.value == control.slider.min
    control.forth.click()
    assert control.slider.value == pytest.approx(control.slider.min + control.slider.step)
    for _ in range(steps + 3):
        control.forth.click()
    assert control.slider.value == control.slider.max


@pytest.mark.parametrize("name", CONTROLS)
def test_a_button_changes_the_picture(explorer, name):
    if name == "far":
        explorer.far.slider.value = 0.5
    before = views(explorer)
    getattr(explorer, name).forth.click()
    assert views(explorer) != before


@pytest.mark.parametrize("name", CONTROLS)
def test_values_outside_are_moved_inside(explorer, name):
    slider = getattr(explorer, name).slider
    for value, end in ((-100, slider.min), (100, slider.max)):
        slider.value = value
        assert slider.value == end


@pytest.mark.parametrize(
    "name, value, text",
    [("sample", 3, "sample: 3 of 4"), ("threshold", 0.35, "mask threshold: 0.35")]
    + [("opacity", 1.0, "overlay opacity: 1.00"), ("near", 0.2, "first colour at depth: 0.20")]
    + [("far", 0.8, "last colour at depth: 0.80")],
)  # fmt: skip
def test_name_and_value_stand_beside_the_slider(explorer, name, value, text):
    control = getattr(explorer, name)
    control.slider.value = value
    assert control.activation.value == text
    assert control.activation in control.children and not control.slider.activation


def test_the_words_say_what_is_shown(explorer, batch):
    assert explorer.about.value == f"quartet 0, depth from {plots.in_metres(batch['near_far'][0])}"
    prob, depth = outputs(batch)
    error = (depth[2] - batch["depth"][2]).abs()[batch["valid"][2]].mean().item()
    explorer.sample.slider.value = 3
    assert explorer.depth_words[2].value == f"error, {error:.3f} on average"
    found, real = prob[2] >= 0.7, batch["mask"][2] >= 0.5
    dice = (2 * (found & real).sum() / (found.sum() + real.sum())).item()
    explorer.threshold.slider.value = 0.7
    assert explorer.mask_words[2].value == f"mask, Dice {dice:.3f}"


def test_the_first_colour_stays_nearer_than_the_last(explorer):
    explorer.far.slider.value = 0.3
    explorer.near.slider.value = 0.6
    assert explorer.far.slider.value == pytest.approx(0.65)
    explorer.far.slider.value = 0.05
    assert explorer.near.slider.value == 0.0
    for _ in range(30):
        explorer.near.forth.click()
    assert (explorer.near.slider.value, explorer.far.slider.value) == (0.95, 1.0)
    assert [end.value for end in explorer._ends] == ["near 0.95", "1.00 far"]


# -- pictures ------------------------------------------------------------------------------------------------------


def test_the_upper_row_is_room_scene_and_mask_errors(explorer, batch):
    room, scene, errors = panels(explorer.mask_view.value)
    step = SIDE // 32  # the centre of each pixel: enlarged pixels stay pixels
    where = np.clip(((np.arange(32) + 0.5) * SIDE / 32).astype(int), 0, SIDE - 1)
    assert step >= 2
    assert (room[np.ix_(where, where)] == batch["bg"][0].permute(1, 2, 0).numpy()).all()
    wanted = plots.mask_errors(batch["mask"][0], outputs(batch)[0][0], 0.5)
    assert (errors[np.ix_(where, where)] == (wanted * 255).round()).all()
    assert not (scene == decoded(explorer.mask_view.value)[:, :SIDE]).all()


def test_an_opacity_of_zero_leaves_the_scene_alone(explorer, batch):
    explorer.opacity.slider.value = 0
    where = np.clip(((np.arange(32) + 0.5) * SIDE / 32).astype(int), 0, SIDE - 1)
    scene = panels(explorer.mask_view.value)[1][np.ix_(where, where)]
    assert (scene == batch["bg_fg"][0].permute(1, 2, 0).numpy()).all()


def test_depth_has_the_colours_of_every_other_figure(explorer, batch):
    explorer.near.slider.value, explorer.far.slider.value = 0.2, 0.6
    where = np.clip(((np.arange(32) + 0.5) * SIDE / 32).astype(int), 0, SIDE - 1)
    shown = panels(explorer.depth_view.value)[0][np.ix_(where, where)]
    wanted = plots.depth_picture(batch["depth"][0], batch["valid"][0], 0.2, 0.6)
    assert np.abs(shown - (wanted * 255).round()).max() <= 1


def test_an_error_is_black_where_there_is_none_and_bright_at_the_limit():
    shown = error_picture(np.array([[0.0, 0.3], [9.0, np.nan]]), limit=0.3)
    assert shown[0, 0].max() < 0.02
    assert shown[0, 1].sum() > 2.5 and (shown[0, 1] == shown[1, 0]).all()
    assert shown[1, 1, 0] == shown[1, 1, 1] == shown[1, 1, 2], "grey: not known"


def test_pictures_need_not_be_square():
    assert decoded(strip([np.zeros((30, 60, 3))] * 2, side=90)).shape == (90, 2 * 180 + sliders.GAP, 3)


def test_between_panels_the_page_shows_through_whatever_its_theme():
    with Image.open(io.BytesIO(strip([np.ones((30, 30, 3))] * 2, side=90))) as sheet:
        alpha = np.asarray(sheet.getchannel("A"))
    gap = slice(90, 90 + sliders.GAP)
    assert not alpha[:, gap].any() and (np.delete(alpha, np.r_[gap], axis=1) == 255).all()


# -- what may be missing -------------------------------------------------------------------------------------------


def test_it_works_without_any_depth(batch):
    batch = {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": torch.full((COUNT, 2), torch.nan)}
    explorer = explore(batch, *outputs(batch))
    assert explorer.about.value == "depth without metres"
    assert explorer.depth_words[2].value == "error, unknown"
    before = explorer.depth_view.value
    explorer.far.slider.value = 0.5
    assert explorer.depth_view.value != before, "the prediction is still there"
    truth, _, error = panels(explorer.depth_view.value)
    for panel in (truth, error):
        assert (panel[..., :1] == panel).all(), "grey stripes"


def test_an_empty_mask_that_is_predicted_empty_is_right(batch):
    nothing = torch.zeros_like(batch["mask"])
    explorer = explore({**batch, "mask": nothing}, nothing, batch["depth"])
    assert explorer.mask_words[2].value == "mask, Dice 1.000"


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


def test_two_explorers_share_nothing(batch):
    first = explore(batch, *outputs(batch))
    second = explore({**batch, "bg": 255 - batch["bg"]}, 1 - outputs(batch)[0], 1 - batch["depth"])
    before = views(second)
    assert views(first)[0] != before[0] and views(first)[1] != before[1]
    first.sample.slider.value, first.threshold.slider.value = 3, 0.8
    assert views(second) == before
    second.threshold.slider.value = 0.8
    assert second.mask_view.value != before[0] and second.sample.slider.value == 1


def test_what_goes_wrong_under_a_slider_is_not_swallowed(explorer, monkeypatch):
    def broken(*_):
        raise RuntimeError("the paint has run out")

    monkeypatch.setattr(sliders, "strip", broken)
    with pytest.raises(RuntimeError, match="paint"):
        explorer.threshold.slider.value = 0.15
    with pytest.raises(RuntimeError, match="paint"):
        explorer.sample.slider.value = 4


# -- both generations of ipywidgets --------------------------------------------------------------------------------


def test_it_uses_nothing_that_ipywidgets_7_or_8_lacks():
    source = (ROOT / "helpers" / "sliders.py").read_text(encoding="utf-8")
    newer = r"tooltip|tabbable|\bStack\b|TagsInput|ColorsInput|TimePicker|DatetimePicker"  # since 8
    gone = r"\.widgets\b|overflow_[xy]"  # since 8
    assert not re.search(f"{newer}|{gone}", source)


def test_it_is_a_box(explorer):
    assert isinstance(explorer, Explorer) and isinstance(explorer, sliders.widgets.VBox)
    assert {explorer.mask_view, explorer.depth_view} <= set(explorer.children)
