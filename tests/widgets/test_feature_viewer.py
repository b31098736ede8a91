"""Feature maps under a slider, and the same as a figure."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.widgets import explore_features
from helpers.widgets.controls import GAP, PANEL
from helpers.widgets.feature_viewer import CHANNELS, show_features


@pytest.fixture
def stages():
    """Two stages of another size and number of channels each; channel 2 of the first varies most."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(1, 20, 24, 24, generator=generator)
    wide[0, 2] *= 9
    return {"encoder.0": wide.requires_grad_(), "encoder.1": torch.rand(5, 12, 12, generator=generator) - 0.5}


@pytest.fixture
def scene():
    return torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def viewer(scene, stages):
    return explore_features(scene, stages)


def panels(viewer):
    """The three pictures that are shown."""
    with Image.open(io.BytesIO(viewer.views[0].value)) as image:
        sheet = np.asarray(image.convert("RGB"))
    assert sheet.shape == (PANEL, 3 * (PANEL + GAP) - GAP, 3)
    return [sheet[:, k * (PANEL + GAP) : k * (PANEL + GAP) + PANEL] for k in range(3)]


def test_it_begins_with_the_first_stage_and_its_liveliest_channel(viewer):
    assert viewer.about.value == "encoder.0: 20 channels of 24 × 24 pixels"
    assert [label.value for label in viewer.titles[0]] == ["bg_fg", "mean of all channels", "channel 2"]
    assert viewer.channel.text.value == f"channel: 1 of {CHANNELS}"


def test_another_channel_changes_only_its_own_picture(viewer):
    before = panels(viewer)
    viewer.channel.forth.click()
    after = panels(viewer)
    assert [np.array_equal(a, b) for a, b in zip(before, after)] == [True, True, False]


def test_another_stage_begins_with_its_own_liveliest_channel(viewer, stages):
    viewer.channel.slider.value = 9
    viewer.stage.forth.click()
    liveliest = int(stages["encoder.1"].flatten(1).std(1).argmax())
    assert viewer.about.value == "encoder.1: 5 channels of 12 × 12 pixels"
    assert viewer.channel.text.value == "channel: 1 of 5" and viewer.titles[0][2].value == f"channel {liveliest}"
    viewer.stage.back.click()
    assert viewer.channel.text.value == f"channel: 1 of {CHANNELS}" and viewer.titles[0][2].value == "channel 2"


def test_pixels_of_a_map_are_squares_and_the_highest_is_brightest(viewer, stages):
    viewer.stage.slider.value = 2
    shown = panels(viewer)[1].astype(int).sum(2)[PANEL // 24 :: PANEL // 12, PANEL // 24 :: PANEL // 12]
    mean = stages["encoder.1"].mean(0)
    assert shown.argmax() == mean.argmax() and shown.argmin() == mean.argmin()


def test_one_stage_is_enough_and_a_flat_map_is_drawn(scene):
    viewer = explore_features(scene, {"only": torch.zeros(1, 8, 8)})
    assert viewer.stage.slider.disabled and viewer.channel.slider.disabled
    assert not panels(viewer)[1].any() or (panels(viewer)[1] == panels(viewer)[1][0, 0]).all()


@pytest.mark.parametrize("stages", [{}, {"a": torch.zeros(4, 4)}, {"a": torch.zeros(2, 3, 4, 4)}])
def test_what_is_no_map_of_one_scene_is_refused(scene, stages):
    for show in (explore_features, show_features):
        with pytest.raises(ValueError, match="of one scene"):
            show(scene, stages)


def test_the_figure_has_a_column_for_each_stage(scene, stages):
    axes = show_features(scene, stages).axes
    assert [axis.get_title() for axis in axes[:3]] == ["bg_fg", "encoder.0\n20 × 24²", "encoder.1\n5 × 12²"]
    assert len(axes) == 2 * 3 + 1 and axes[-1].get_ylabel() == "share of the map's highest"
