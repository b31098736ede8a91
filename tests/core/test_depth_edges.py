"""Edges equal scikit-image's Canny, boundary errors equal all distances written out, and known cases known errors."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import canny

from helpers.metrics import STRONG, WEAK, boundary_errors, depth_edges

SIDE = 48


def hills(count=6, height=SIDE, width=40, seed=0, smooth=3.0):
    """Smooth maps in [0, 1] without any two equal slopes; the first is too flat for edges."""
    maps = np.random.default_rng(seed).normal(size=(count, height, width))
    maps = ndimage.gaussian_filter(maps, (0, smooth, smooth))
    maps = 0.5 + maps / np.abs(maps).max() / 2
    maps[0] = 0.5 + 0.02 * (maps[0] - 0.5)
    return maps


def holes(maps, seed=0):
    """Not valid: single pixels, half a picture, a block and the whole last picture; the second one is whole."""
    valid = np.random.default_rng(seed).random(maps.shape) > 0.01
    valid[2, :, : maps.shape[2] // 2] = False
    valid[3, 10:20, 5:25] = False
    valid[1], valid[-1] = True, False
    return valid


def step(place=24, height=0.5, across=False, falling=False):
    """(1, SIDE, SIDE): depth rises by ``height`` between the columns ``place - 1`` and ``place``."""
    line = 0.2 + height * ((np.arange(SIDE) >= place) ^ falling)
    picture = np.broadcast_to(line, (SIDE, SIDE))
    return (picture.T if across else picture)[None]


def everywhere(maps):
    return np.ones(maps.shape, bool)


def edges(maps):
    return depth_edges(maps, everywhere(maps))


def errors(predicted, true):
    accuracy, completeness = boundary_errors(edges(predicted), edges(true))
    return [*zip(accuracy.tolist(), completeness.tolist())]


# -- the detector ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("all_valid", [True, False])
def test_edges_are_scikit_images(seed, all_valid):
    maps = hills(seed=seed)
    valid = everywhere(maps) if all_valid else holes(maps, seed)
    ours = depth_edges(maps, valid)
    wanted = np.stack([canny(m, 2**0.5, WEAK, STRONG, mask=v) for m, v in zip(maps, valid)])
    assert ours.dtype == bool and (ours == wanted).all()
    assert not ours[0].any() and 100 < ours.sum() < 0.2 * ours.size
    every_line = np.stack([canny(m, 2**0.5, WEAK, WEAK, mask=v) for m, v in zip(maps, valid)])
    assert every_line.sum() > ours.sum(), "no weak line that stands alone: the second threshold was not tested"
    assert (edges(maps)[1:] != ours[1:]).any() != all_valid, "the holes made no difference"


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("falling", [True, False])
def test_a_step_between_two_pixels_is_one_line_on_its_nearer_side(across, falling):
    found = edges(step(24, across=across, falling=falling))[0]
    found = found.T if across else found
    wanted = np.zeros((SIDE, SIDE), bool)
    wanted[1:-1, 24 if falling else 23] = True  # the frame is never an edge
    assert (found == wanted).all()


@pytest.mark.parametrize("height, seen", [(0.05, False), (0.09, False), (0.11, True), (0.5, True)])
def test_a_straight_step_needs_a_tenth_of_the_range(height, seen):
    assert edges(step(height=height)).any() == seen


@pytest.mark.parametrize("slope, lines", [(0.012, 0), (0.024, 0), (0.026, 1), (0.04, 1)])
def test_only_a_steep_slope_has_an_edge_and_only_one(slope, lines):
    rising = np.broadcast_to(np.clip(slope * (np.arange(SIDE) - 12), 0, 1), (1, SIDE, SIDE))
    for maps in (rising, rising.transpose(0, 2, 1)):
        assert edges(maps).any((0, 1)).sum() in (lines, lines * (SIDE - 2))
        assert edges(maps).sum() == lines * (SIDE - 2)


def test_invalid_pixels_make_no_edges_whatever_stands_there():
    maps = step()
    valid = everywhere(maps)
    valid[0, 20:30, 5:30] = False
    hole = depth_edges(np.where(valid, maps, np.nan), valid)
    assert (hole == depth_edges(np.where(valid, maps, 1.0), valid)).all()
    assert not hole[0, 19:31, :31].any() and not hole[0, :, 31:].any(), "an edge beside the hole"
    assert hole[0, 1:13, 23].all() and hole[0, 37:-1, 23].all(), "the step is lost far from the hole"
    flat = np.where(valid, 0.8, 0.0)  # a hole is 0 in the data: that is no step
    assert not depth_edges(flat, valid).any() and edges(flat).any()


def test_pictures_of_a_batch_do_not_touch():
    maps = hills()
    valid = holes(maps)
    alone = [depth_edges(maps[i : i + 1], valid[i : i + 1])[0] for i in range(len(maps))]
    assert (depth_edges(maps, valid) == np.stack(alone)).all()
    assert (depth_edges(maps[::-1], valid[::-1]) == np.stack(alone[::-1])).all()
    assert depth_edges(maps[:0], valid[:0]).shape == (0, *maps.shape[1:])


# -- the errors -----------------------------------------------------------------------------------------------------


def written_out(predicted, true):
    """Both errors of one picture, from every distance between an edge of one and an edge of the other."""
    p, t = np.argwhere(predicted).astype(float), np.argwhere(true).astype(float)
    if not len(t):
        return np.nan, np.nan
    distances = np.sqrt(((p[:, None] - t[None]) ** 2).sum(2))  # (predicted, true)
    if not len(p) or not (distances < 10).any():
        return 10.0, 10.0
    to_true, to_predicted = distances.min(1), distances.min(0)
    return to_true[to_true < 10].mean(), np.minimum(to_predicted, 10).mean()


@pytest.mark.parametrize("seed", range(3))
def test_errors_are_those_of_every_distance_written_out(seed):
    rng = np.random.default_rng(seed)
    shares = np.array([0.002, 0.01, 0.05, 0.002, 0.0, 0.01, 0.0])
    predicted = rng.random((7, 40, 52)) < shares[:, None, None]
    true = rng.random((7, 40, 52)) < shares[[2, 0, 1, 3, 2, 4, 4], None, None]
    wanted = [written_out(p, t) for p, t in zip(predicted, true)]
    np.testing.assert_allclose(np.stack(boundary_errors(predicted, true), 1), wanted, rtol=1e-12)
    assert 0 < wanted[0][0] < 10 and wanted[4] == (10, 10) and np.isnan(wanted[5:]).all()


def test_a_right_prediction_has_no_error():
    maps = hills()
    assert errors(maps, maps)[1:] == [(0, 0)] * 5


@pytest.mark.parametrize("pixels", [1, 2, 5, 9])
@pytest.mark.parametrize("across", [True, False])
def test_an_edge_that_is_moved_is_wrong_by_as_many_pixels(pixels, across):
    for moved in (24 + pixels, 24 - pixels):
        assert errors(step(moved, across=across), step(24, across=across)) == [(pixels, pixels)]


@pytest.mark.parametrize("pixels", [10, 13])
def test_ten_pixels_are_the_most(pixels):
    assert errors(step(24 + pixels), step(24)) == [(10, 10)]


def test_without_a_predicted_edge_both_errors_are_the_largest():
    blurred = ndimage.gaussian_filter(step(), (0, 12, 12), mode="nearest")
    assert not edges(blurred).any() and errors(blurred, step()) == [(10, 10)]


def test_without_a_true_edge_there_is_nothing_to_be_judged_by():
    flat = np.full((1, SIDE, SIDE), 0.5)
    assert np.isnan(errors(step(), flat)).all() and np.isnan(errors(flat, flat)).all()
    both = errors(np.concatenate((step(26), step(26))), np.concatenate((flat, step(24))))
    assert np.isnan(both[0]).all() and both[1] == (2, 2)


def test_only_completeness_asks_for_what_is_missing():
    true = step()
    true = np.where(np.arange(SIDE) >= 40, 0.0, true)  # a second edge, far from the first
    (accuracy, completeness), = errors(step(), true)
    assert accuracy == 0 and completeness == pytest.approx(5)  # half of the edges are 10 pixels away or more


def test_an_invented_edge_far_from_every_true_one_does_not_count():
    invented = np.where(np.arange(SIDE) >= 40, 0.0, step())
    assert errors(invented, step()) == [(0, 0)]


def test_a_prediction_that_is_too_flat_has_lost_its_edges():
    assert errors(0.5 + 0.1 * (step() - 0.5), step()) == [(10, 10)]
