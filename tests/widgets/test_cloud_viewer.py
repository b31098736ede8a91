"""Points in space: the geometry against the renderer's own camera, the plotly figure and the still picture."""

import base64
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
from mpl_toolkits.mplot3d import proj3d
from toy import ToyQuartets

from helpers.config import ROOT
from helpers.widgets import cloud_viewer as pc
from helpers.widgets.cloud_viewer import clouds, ends, point_cloud, show_cloud, unproject


@pytest.fixture
def quartet():
    return ToyQuartets(size=48)[9]


def wrong(quartet):
    return 0.7 * quartet["depth"] + 0.1


# -- geometry ------------------------------------------------------------------------------------------------------


def test_points_are_where_the_renderers_camera_sees_them():
    from helpers.rendering.primitives import Camera
    from helpers.rendering.room_pass import camera_rays

    camera = Camera((0.0, 0.0, 0.0), 0.0, 0.0, 1 / math.tan(math.radians(pc.FIELD_OF_VIEW) / 2))
    rays = camera_rays(camera, 32, torch.device("cpu")).numpy()  # (3, H, W): right, up, ahead
    metres = np.random.default_rng(0).uniform(1, 5, (32, 32))
    right, up, ahead = rays * metres
    assert unproject(metres) == pytest.approx(np.stack([right, ahead, up], -1), abs=1e-5)


def test_a_wide_picture_has_square_pixels(monkeypatch):
    monkeypatch.setattr(pc, "FIELD_OF_VIEW", 90)
    points = unproject(np.ones((10, 30)))
    assert points[0, 1, 0] - points[0, 0, 0] == pytest.approx(2 / 30)
    assert points[0, 0, 2] - points[1, 0, 2] == pytest.approx(2 / 30)
    assert points[..., 0].max() == pytest.approx(1 - 1 / 30), "half of 90 degrees is one metre aside in one metre"


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
    assert len(show_cloud(blind, wrong(quartet)).axes) == 2 * len(pc.VIEWS)


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
    assert (marker["cmin"], marker["cmax"]) == (0, len(palette) - 1)
    shown = palette[values(marker["color"])]
    assert np.abs(shown - 255 * clouds(quartet, wrong(quartet))[0].colours).mean() < 4


def test_a_saved_figure_is_small():
    scene = ToyQuartets(size=192)[3]
    limit = 300_000 if int(plotly.__version__.split(".")[0]) > 5 else 600_000  # 5 writes numbers as text
    assert len(point_cloud(scene, wrong(scene)).to_json()) < limit


def test_plotly_is_loaded_only_when_it_is_used():
    code = "import sys, helpers.widgets.cloud_viewer; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# -- the still picture ---------------------------------------------------------------------------------------------


def test_the_still_picture_has_both_clouds_from_every_side(quartet):
    figure = show_cloud(quartet, wrong(quartet))
    assert [axis.get_title() for axis in figure.axes] == [f"{name}\n{view}" for name in pc.NAMES for view in pc.VIEWS]
    pair = clouds(quartet, wrong(quartet))
    for axis, cloud in zip(figure.axes, [cloud for cloud in pair for _ in pc.VIEWS]):
        (dots,) = axis.collections
        assert np.ma.getdata(np.ma.stack(dots._offsets3d, -1)) == pytest.approx(cloud.points)
    assert figure.get_supxlabel() == ends(quartet)[1]
    assert not plt.get_fignums()


def test_from_the_camera_right_is_right_and_up_is_up_and_near_things_move_as_one_goes_round_them(quartet):
    figure = show_cloud(quartet, quartet["depth"])
    figure.draw_without_rendering()
    camera, right, above = figure.axes[:3]

    def where(axis, x, y, z):  # on the page: to the right, and up
        return np.array(proj3d.proj_transform(x, y, z, axis.get_proj())[:2])

    (middle_x, low_y, middle_z), high_y = (np.mean(axis) for axis in (camera.get_xlim(), [1.0], camera.get_zlim())), 4.0
    middle = where(camera, middle_x, 2, middle_z)
    assert where(camera, middle_x + 0.5, 2, middle_z)[0] > middle[0]
    assert where(camera, middle_x, 2, middle_z + 0.5)[1] > middle[1]
    for axis, which in ((right, 0), (above, 1)):  # near things go to the left, and down
        assert where(axis, middle_x, low_y, middle_z)[which] < where(axis, middle_x, high_y, middle_z)[which]


def test_a_metre_is_a_metre_in_the_still_picture(quartet):
    axis = show_cloud(quartet, wrong(quartet)).axes[0]
    lengths = [np.ptp(limits) for limits in (axis.get_xlim(), axis.get_ylim(), axis.get_zlim())]
    assert axis._box_aspect / lengths == pytest.approx([axis._box_aspect[0] / lengths[0]] * 3, rel=0.02)
