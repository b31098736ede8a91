"""Points in space: the geometry against the renderer's own camera, the plotly figure, and the views drawn by hand."""

import base64
import io
import json
import math
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import plotly
import pytest
import torch
from PIL import Image
from toy import ToyQuartets

from helpers.config import ROOT
from helpers.widgets import cloud_viewer as pc
from helpers.widgets import explorer as sliders
from helpers.widgets.cloud_viewer import clouds, ends, point_cloud, show_cloud, turn_cloud, unproject, view


@pytest.fixture
def quartet():
    return ToyQuartets(size=48)[9]


def wrong(quartet):
    return 0.7 * quartet["depth"] + 0.1


def batch_of(*indices):
    return ToyQuartets().get_batch(indices)


# -- geometry ------------------------------------------------------------------------------------------------------


def test_points_are_where_the_renderers_camera_sees_them():
    from helpers.rendering.primitives import Camera
    from helpers.rendering.room_pass import camera_rays

    angle = 50.0
    camera = Camera((0.0, 0.0, 0.0), 0.0, 0.0, 1 / math.tan(math.radians(angle) / 2))
    rays = camera_rays(camera, 32, torch.device("cpu")).numpy()  # (3, H, W): right, up, ahead
    metres = np.random.default_rng(0).uniform(1, 5, (32, 32))
    right, up, ahead = rays * metres
    assert unproject(metres, angle) == pytest.approx(np.stack([right, ahead, up], -1), abs=1e-5)


def test_a_wide_picture_has_square_pixels():
    points = unproject(np.ones((10, 30)), 90)
    assert points[0, 1, 0] - points[0, 0, 0] == pytest.approx(2 / 30)
    assert points[0, 0, 2] - points[1, 0, 2] == pytest.approx(2 / 30)
    assert points[..., 0].max() == pytest.approx(1 - 1 / 30), "half of 90 degrees is one metre aside in one metre"


@pytest.mark.parametrize("angle", [0, -5, 180, 400])
def test_no_camera_has_such_a_field_of_view(angle):
    with pytest.raises(ValueError, match="field_of_view"):
        unproject(np.ones((4, 4)), angle)


def test_a_wall_is_flat_and_the_true_metres_are_met(quartet):
    near, far = quartet["near_far"].tolist()
    true, predicted = clouds(quartet, wrong(quartet))
    assert true.points[:, 1].min() == pytest.approx(near, abs=1e-3) and true.points[:, 1].max() == pytest.approx(far, abs=1e-3)
    expected = near + wrong(quartet)[0].numpy() * (far - near)
    assert predicted.points[:, 1] == pytest.approx(expected.ravel(), abs=1e-4)
    assert ends(quartet) == ((near, far), f"both scaled to the true {near:.1f} to {far:.1f} m")


def test_a_perfect_prediction_gives_the_same_cloud(quartet):
    true, predicted = clouds(quartet, quartet["depth"])
    assert (true.points == predicted.points).all() and (true.colours == predicted.colours).all()


def test_without_metres_some_are_assumed_and_it_says_so(quartet):
    for other in ({**quartet, "near_far": torch.full((2,), torch.nan)}, {k: v for k, v in quartet.items() if k != "near_far"}):
        distances = clouds(other, wrong(quartet))[0].points[:, 1]
        assert (distances.min(), distances.max()) == pytest.approx(pc.NEAR_FAR)
        assert ends(other) == (pc.NEAR_FAR, "metres unknown: 1 to 4 m assumed")


def test_pixels_without_depth_are_left_out_of_both(quartet):
    valid = quartet["valid"].clone()
    valid[:, :20] = False
    true, predicted = clouds({**quartet, "valid": valid}, wrong(quartet))
    assert len(true.points) == len(predicted.points) == len(true.colours) == len(true.cat) == 28 * 48
    lowest = clouds(quartet, wrong(quartet))[0].points.reshape(48, 48, 3)[20:]
    assert true.points == pytest.approx(lowest.reshape(-1, 3))


@pytest.mark.parametrize("side", [32, 64, 65, 192, 300])
def test_there_are_enough_points_and_not_too_many(side):
    scene = ToyQuartets(size=side)[3]
    true, _ = clouds(scene, scene["depth"])
    assert min(side**2, pc.MOST_POINTS / 4) <= len(true.points) <= pc.MOST_POINTS


def test_few_valid_pixels_are_found_wherever_they_are():
    scene = ToyQuartets(size=192)[3]
    valid = torch.zeros_like(scene["valid"])
    valid[0, 7, 6] = True
    assert len(clouds({**scene, "valid": valid}, scene["depth"])[0].points) == 1


def test_without_any_true_depth_there_is_still_a_predicted_cloud(quartet):
    blind = {**quartet, "valid": torch.zeros_like(quartet["valid"]), "near_far": torch.full((2,), torch.nan)}
    true, predicted = clouds(blind, wrong(quartet))
    assert (len(true.points), len(predicted.points)) == (0, 48 * 48)
    figure = json.loads(point_cloud(blind, wrong(quartet)).to_json())
    assert [len(values(trace["marker"]["color"])) for trace in figure["data"]] == [0, 48 * 48]
    turned = turn_cloud(blind, wrong(quartet)[None])
    halves = decoded(turned.view.value)[:, : pc.VIEW], decoded(turned.view.value)[:, pc.VIEW + sliders.GAP :]
    assert (halves[0] == 255).all() and not (halves[1] == 255).all()
    assert "metres unknown" in turned.about.value
    assert len(show_cloud(blind, wrong(quartet)).axes) == 2 * len(pc.ANGLES)


def test_the_cat_is_painted_where_it_is_and_only_when_asked(quartet):
    plain, marked = (clouds(quartet, wrong(quartet), mark_cat=mark)[0] for mark in (False, True))
    assert plain.cat.sum() == (quartet["mask"] >= 0.5).sum() > 0
    assert plain.colours == pytest.approx(quartet["bg_fg"].permute(1, 2, 0).reshape(-1, 3).numpy() / 255)
    changed = (plain.colours != marked.colours).any(1)
    assert changed[plain.cat].all() and not changed[~plain.cat].any()


def test_a_prediction_of_another_size_is_refused(quartet):
    with pytest.raises(ValueError, match=r"\(24, 24\).*\(48, 48\)"):
        clouds(quartet, wrong(quartet)[:, ::2, ::2])


# -- the plotly figure ---------------------------------------------------------------------------------------------


def values(text):
    """A plotly array, as it is written into a figure: a list, or a typed array in base64."""
    return np.frombuffer(base64.b64decode(text["bdata"]), text["dtype"]) if isinstance(text, dict) else np.array(text)


def test_both_clouds_stand_in_scenes_of_the_same_size_seen_alike(quartet):
    pair = clouds(quartet, wrong(quartet))
    figure = json.loads(point_cloud(quartet, wrong(quartet)).to_json())
    assert [trace["scene"] for trace in figure["data"]] == ["scene", "scene2"]
    for trace, cloud in zip(figure["data"], pair):
        assert trace["type"] == "scatter3d" and trace["mode"] == "markers"
        shown = np.stack([values(trace[axis]) for axis in "xyz"], -1)
        assert shown == pytest.approx(cloud.points, abs=1e-3)
    one, other = (figure["layout"][name] for name in ("scene", "scene2"))
    for key in ("camera", "aspectmode", "aspectratio", "xaxis", "yaxis", "zaxis"):
        assert one[key] == other[key]
    everything = np.concatenate([cloud.points for cloud in pair])
    for axis, low, high in zip("xyz", everything.min(0), everything.max(0)):
        assert one[f"{axis}axis"]["range"] == pytest.approx([low, high])
    texts = [note["text"] for note in figure["layout"]["annotations"]]
    assert texts == [*pc.NAMES, ends(quartet)[1]]


def test_a_metre_is_a_metre_in_every_direction(quartet):
    scene = json.loads(point_cloud(quartet, wrong(quartet)).to_json())["layout"]["scene"]
    lengths = [scene[f"{axis}axis"]["range"][1] - scene[f"{axis}axis"]["range"][0] for axis in "xyz"]
    scales = [scene["aspectratio"][axis] / length for axis, length in zip("xyz", lengths)]
    assert scales == pytest.approx([scales[0]] * 3, rel=1e-4)


def test_the_colours_are_those_of_the_photograph(quartet):
    marker = json.loads(point_cloud(quartet, wrong(quartet)).to_json())["data"][0]["marker"]
    palette = np.array([[int(part) for part in re.findall(r"\d+", colour)] for _, colour in marker["colorscale"]])
    assert (marker["cmin"], marker["cmax"], len(palette)) == (0, pc.TONES - 1, pc.TONES)
    shown = palette[values(marker["color"])]
    assert np.abs(shown - 255 * clouds(quartet, wrong(quartet))[0].colours).mean() < 4


def test_one_colour_is_a_palette_too():
    numbers, scale = pc._reduced(np.full((7, 3), 0.5))
    assert numbers.shape == (7,) and scale[numbers[0]][1] == "rgb(128,128,128)" and len(scale) == pc.TONES


def test_a_saved_figure_is_small():
    scene = ToyQuartets(size=192)[3]
    limit = 250_000 if int(plotly.__version__.split(".")[0]) > 5 else 600_000  # 5 writes numbers as text
    assert len(point_cloud(scene, wrong(scene)).to_json()) < limit


def test_plotly_is_loaded_only_when_it_is_used():
    code = "import sys, helpers.widgets.cloud_viewer; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# -- drawn by hand -------------------------------------------------------------------------------------------------


def dots(*points, colours=None):
    points = np.array(points, float)
    colours = np.eye(3)[: len(points)] if colours is None else np.array(colours, float)
    return pc.Cloud(points, colours, np.zeros(len(points), bool))


def where(picture, colour):
    """The middle (column, row) of the pixels of one colour."""
    rows, columns = np.nonzero((picture == np.array(colour)).all(-1))
    return columns.mean(), rows.mean()


RED, GREEN, BLUE = np.eye(3)
CROSS = dots((0, 2, 0), (0.4, 3, 0), (0, 4, 0.6))


def test_right_is_right_and_up_is_up():
    shown = view(CROSS, 0, 0, side=200)
    assert where(shown, RED) == pytest.approx((100, 100), abs=1)
    assert where(shown, GREEN)[0] > 105 and where(shown, GREEN)[1] == pytest.approx(100, abs=1)
    assert where(shown, BLUE)[1] < 90


def test_going_to_the_right_moves_near_things_to_the_left():
    pair = dots((0, 2, 0), (0, 4, 0))
    shown = view(pair, 30, 0, side=200)
    assert where(shown, RED)[0] < 90 and where(shown, GREEN)[0] > 110


def test_going_up_moves_near_things_down():
    pair = dots((0, 2, 0), (0, 4, 0))
    shown = view(pair, 0, 30, side=200)
    assert where(shown, RED)[1] > 110 and where(shown, GREEN)[1] < 90


def test_what_is_nearer_hides_what_is_farther():
    for order in ((0, 1), (1, 0)):
        points, colours = np.array([(0, 2, 0), (0, 4, 0)])[list(order)], np.array([RED, GREEN])[list(order)]
        shown = view(dots(*points, colours=colours), 0, 0, side=100)
        assert (shown[50, 50] == RED).all() and not (shown == GREEN).all(-1).any()


def test_from_where_the_photograph_was_taken_it_looks_like_it():
    scene = ToyQuartets(size=64)[9]
    shown = view(clouds(scene, scene["depth"])[0], 0, 0, side=64)
    photograph = scene["bg_fg"].permute(1, 2, 0).numpy() / 255
    middle = (slice(12, 52),) * 2
    assert np.abs(shown - photograph)[middle].mean() < 0.08


def test_who_stands_behind_the_camera_is_not_seen():
    assert (view(dots((0, 2, 0), (0, 4, 0)), 0, 0, about=300) == 1).all(), "both are behind the camera that has moved on"


def test_the_still_picture_has_both_clouds_from_every_angle(quartet):
    figure = show_cloud(quartet, wrong(quartet), angles={"here": (0, 0), "there": (40, 20)})
    shown = [axis for axis in figure.axes if axis.images]
    titles = [axis.get_title().splitlines() for axis in shown]
    assert titles == [[name, angle] for name in pc.NAMES for angle in ("here", "there")]
    pictures = [np.asarray(axis.images[0].get_array()) for axis in shown]
    assert not any((one == other).all() for k, one in enumerate(pictures) for other in pictures[:k])
    assert not plt.get_fignums()


# -- turned by sliders ---------------------------------------------------------------------------------------------


def decoded(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def turned():
    batch = batch_of(1, 9, 30)
    return turn_cloud(batch, 0.7 * batch["depth"] + 0.1, labels=["one", "two", "three"])


@pytest.mark.parametrize("name, value, text", [("sample", 2, "sample: 2 of 3"), ("turn", 60, "turn: 60°"), ("tilt", 0, "tilt: 0°")])
def test_each_slider_changes_the_picture_and_not_its_size(turned, name, value, text):
    before = turned.view.value
    control = getattr(turned, name)
    control.slider.value = value
    assert turned.view.value != before and control.activation.value == text
    shape = (pc.VIEW, 2 * pc.VIEW + sliders.GAP, 3)
    for end in (control.slider.min, control.slider.max):
        control.slider.value = end
        assert decoded(turned.view.value).shape == shape
    assert (turned.view.layout.width, turned.view.layout.height) == (f"{shape[1]}px", f"{shape[0]}px")


def test_both_turn_together_and_a_view_is_drawn_once(turned, monkeypatch):
    before = decoded(turned.view.value)
    turned.turn.slider.value = 60
    after = decoded(turned.view.value)
    for half in (slice(0, pc.VIEW), slice(pc.VIEW + sliders.GAP, None)):
        assert (before[:, half] != after[:, half]).any()
    monkeypatch.setattr(pc, "view", lambda *_, **__: pytest.fail("drawn again"))
    turned.turn.slider.value = round(pc.START[0])
    assert (decoded(turned.view.value) == before).all() and not plt.get_fignums()


def test_the_words_say_what_is_shown_and_whose_metres(turned):
    near, far = batch_of(9)["near_far"][0].tolist()
    turned.sample.slider.value = 2
    assert turned.about.value == f"two, both scaled to the true {near:.1f} to {far:.1f} m"


def test_one_quartet_is_enough(quartet):
    assert turn_cloud(quartet, wrong(quartet)[None]).sample.slider.disabled


def test_numbers_that_do_not_match_are_refused():
    batch = batch_of(1, 2)
    with pytest.raises(ValueError, match="2 quartets, 1 depth maps and 2 labels"):
        turn_cloud(batch, batch["depth"][:1])
    with pytest.raises(ValueError, match="2 quartets, 2 depth maps and 1 labels"):
        turn_cloud(batch, batch["depth"], ["one"])
