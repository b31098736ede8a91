"""Which of two pictures shows the cat: the probe that is shipped, and how it is fitted."""

import json

import numpy as np
import pytest
import torch

from helpers.photos import probe
from helpers.predict import WEIGHTS
from helpers.rendering.dataset import RoomsDataset
from helpers.utils import sha256_of


@pytest.fixture(scope="module")
def batch():
    """Twelve rendered rooms with a cat each: neither was in any training, whose seeds are 0 and 1."""
    count = 12
    return RoomsDataset(96, count, count, placements=1, seed=5).get_batch([(i * count + i) * 2 for i in range(count)])


def test_it_belongs_to_the_weights_that_are_shipped():
    assert json.loads(probe.FILE.read_text())["of"] == sha256_of(WEIGHTS["photographs"])


def test_the_picture_with_the_cat_is_told_and_swapped_pictures_get_the_opposite(batch):
    for room, scene, mask in zip(*(batch[key].permute(0, 2, 3, 1).numpy() for key in ("bg", "bg_fg", "mask"))):
        evidence = probe.cat_evidence(room, scene)
        assert evidence.shape == (24, 24) and evidence.dtype == np.float32
        np.testing.assert_array_equal(probe.cat_evidence(scene, room), -evidence)
        cat = mask[..., 0].reshape(24, 4, 24, 4).mean((1, 3))
        assert (evidence * cat).sum() > 0


def test_the_mean_over_the_cat_is_what_was_fitted(batch):
    net, weights = probe._shipped()
    odds = probe.differences(net, batch) @ weights
    for i, value in enumerate(odds):
        room, scene = (batch[key][i].permute(1, 2, 0).numpy() for key in ("bg", "bg_fg"))
        cat = batch["mask"][i, 0].numpy().reshape(24, 4, 24, 4).mean((1, 3))
        assert (probe.cat_evidence(room, scene) * cat).sum() / cat.sum() == pytest.approx(value.item(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("shape", [(64, 200), (200, 64), (33, 40), (700, 500)])
def test_pictures_of_any_shape_are_looked_at_with_96_pixels_on_the_longer_side(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    evidence = probe.cat_evidence(picture, picture)
    assert max(evidence.shape) == 24 and (evidence == 0).all()


def test_fitted_weights_are_where_the_loss_has_no_slope():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=generator) * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor([0.5, 0.0, -0.1])
    scale, weights = x.std(0) + 1e-6, probe.fit(x)
    u, own = (x / scale).double(), (weights * scale).double()
    slope = -(u * torch.sigmoid(-(u @ own))[:, None]).mean(0) + 2 * probe.DECAY * own
    assert slope.abs().max() < 1e-4 and own[0] > 0.3 and own[2] < -0.3 and abs(own[1]) < 0.2
