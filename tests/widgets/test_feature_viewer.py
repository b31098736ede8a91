"""Feature maps under a slider, and the same as a figure."""

import numpy as np
import pytest
import torch
from players import Page

from helpers.widgets.feature_viewer import CHANNELS, MOST, explore_features, show_features


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
def page(scene, stages):
    return Page(explore_features(scene, stages))


def test_it_goes_through_each_stage_from_its_liveliest_channel(page, stages):
    assert [control["name"] for control in page.spec["controls"]] == ["stage", "channel"]
    assert page.spec["controls"][0]["restarts"], "another stage begins with its own liveliest channel"
    assert [len(channels) for channels in page.spec["shown"]] == [CHANNELS, 5]
    assert page.shown(0, 0)["about"] == "encoder.0: 20 channels of 24 × 24 pixels"
    assert page.shown(1, 3)["about"] == "encoder.1: 5 channels of 12 × 12 pixels"
    liveliest = int(stages["encoder.1"].flatten(1).std(1).argmax())
    assert (page.shown(0, 0)["channel"], page.shown(1, 0)["channel"]) == ("2", str(liveliest))


def test_another_channel_changes_only_its_own_picture(page):
    one, other = page.shown(0, 0), page.shown(0, 1)
    assert one["photo"] == other["photo"]
    assert [a == b for a, b in zip(one["depth"], other["depth"])] == [True, False]


def test_pixels_of_a_map_are_squares_and_the_highest_is_brightest(page, stages):
    shown = page.tile("depth", page.shown(1, 0)["depth"][0])[..., 0]
    assert shown.shape == (48, 48) and (np.kron(shown[2::4, 2::4], np.ones((4, 4))) == shown).all()
    mean = stages["encoder.1"].mean(0)
    share = (mean - min(0, mean.min())) / (mean.max() - min(0, mean.min()))
    assert np.abs(shown[2::4, 2::4] / 255 - share.numpy()).max() <= 1 / 255


def test_one_stage_is_enough_and_a_flat_map_is_drawn(scene):
    page = Page(explore_features(scene, {"only": torch.zeros(1, 8, 8)}))
    assert len(page.spec["shown"]) == len(page.shown(0)) == 1
    assert not page.tile("depth", page.shown(0, 0)["depth"][1]).any()


def test_all_stages_of_a_network_are_small_enough_to_be_kept(scene):
    generator = torch.Generator().manual_seed(0)
    maps = {f"stage {k}": torch.rand(32, 128 >> k % 5, 128 >> k % 5, generator=generator) for k in range(10)}
    assert len(explore_features(scene, maps).data.encode()) <= MOST


@pytest.mark.parametrize("stages", [{}, {"a": torch.zeros(4, 4)}, {"a": torch.zeros(2, 3, 4, 4)}])
def test_what_is_no_map_of_one_scene_is_refused(scene, stages):
    for show in (explore_features, show_features):
        with pytest.raises(ValueError, match="of one scene"):
            show(scene, stages)


def test_the_figure_has_a_column_for_each_stage(scene, stages):
    axes = show_features(scene, stages).axes
    assert [axis.get_title() for axis in axes[:3]] == ["bg_fg", "encoder.0\n20 × 24 × 24", "encoder.1\n5 × 12 × 12"]
    assert len(axes) == 2 * 3 + 1 and axes[-1].get_ylabel() == "share of the map's highest"
