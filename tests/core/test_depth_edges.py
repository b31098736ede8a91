"""Edges of known depth maps, boundary errors equal all distances written out, and known cases known errors."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import canny

from helpers.metrics import boundary_errors, depth_edges

SIZE = 48


def hills(count=6, height=SIZE, width=40, seed=0, smooth=3.0):
    """Smooth maps in [0, 1]; the first is too flat for edges."""
    maps = np.random.default_rng(seed).normal(size=(count, height, width))
    maps = ndimage.gaussian_filter(maps, (0, smooth, smooth))
    maps = 0.5 + maps / np.abs(maps).max() / 2
    maps[0] = 0.5 + 0.02 * (maps[0] - 0.5)
    return maps


def step(place=24, height=0.5, across=False, falling=False):
    """(1, SIZE, SIZE): depth rises by ``height`` at the column ``place``, which is half-way."""
    column = np.arange(SIZE)
    share = (column > place) + 0.5 * (column == place)
    line = 0.2 + height * (1 - share if falling else share)
    image = np.broadcast_to(line, (SIZE, SIZE))
    return (image.T if across else image)[None]


def everywhere(maps):
    return np.ones(maps.shape, bool)


def edges(maps):
    return depth_edges(maps, everywhere(maps))


def errors(predicted, target):
    accuracy, completeness = boundary_errors(edges(predicted), edges(target))
    return [*zip(accuracy.tolist(), completeness.tolist())]


# -- the detector ---------------------------------------------------------------------------------------------------


def test_edges_are_those_of_the_benchmarks_detector_image_by_image():
    maps = hills()
    valid = np.random.default_rng(0).random(maps.shape) > 0.01
    valid[1], valid[3, 10:20, 5:25], valid[-1] = True, False, False
    found = depth_edges(np.where(valid, maps, np.nan), valid)
    assert (found == [canny(m, 2**0.5, 0.1, 0.2, mask=v) for m, v in zip(maps, valid)]).all()
    assert not found[[0, -1]].any() and 100 < found.sum() < 0.2 * found.size
    assert depth_edges(maps[:0], valid[:0]).shape == (0, *maps.shape[1:])


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("falling", [True, False])
def test_a_step_is_one_line_where_it_is(across, falling):
    found = edges(step(24, across=across, falling=falling))[0]
    found = found.T if across else found
    wanted = np.zeros((SIZE, SIZE), bool)
    wanted[1:-1, 24] = True  # the frame is never an edge
    assert (found == wanted).all()


@pytest.mark.parametrize("height, seen", [(0.05, False), (0.09, False), (0.11, True), (0.5, True)])
def test_a_straight_step_needs_a_tenth_of_the_range(height, seen):
    assert edges(step(height=height)).any() == seen


@pytest.mark.parametrize("slope, lines", [(0.012, 0), (0.024, 0), (0.026, 1), (0.04, 1)])
def test_only_a_steep_slope_has_an_edge_and_only_one(slope, lines):
    x = np.arange(SIZE) - 12
    rising = np.broadcast_to(np.clip(slope * (x - 0.001 * x**2), 0, 1), (1, SIZE, SIZE))  # steepest at its foot
    for maps in (rising, rising.transpose(0, 2, 1)):
        assert edges(maps).any((0, 1)).sum() in (lines, lines * (SIZE - 2))
        assert edges(maps).sum() == lines * (SIZE - 2)


def test_invalid_pixels_make_no_edges_whatever_stands_there():
    maps = step()
    valid = everywhere(maps)
    valid[0, 20:30, 5:30] = False
    hole = depth_edges(np.where(valid, maps, np.nan), valid)
    assert (hole == depth_edges(np.where(valid, maps, 1.0), valid)).all()
    assert not hole[0, 19:31, :31].any() and not hole[0, :, 31:].any(), "an edge beside the hole"
    assert hole[0, 1:13, 24].all() and hole[0, 37:-1, 24].all(), "the step is lost far from the hole"
    flat = np.where(valid, 0.8, 0.0)  # a hole is 0 in the data: that is no step
    assert not depth_edges(flat, valid).any() and edges(flat).any()


# -- the errors -----------------------------------------------------------------------------------------------------


def written_out(predicted, target):
    """Both errors of one image, from every distance between an edge of one and an edge of the other."""
    p, t = np.argwhere(predicted).astype(float), np.argwhere(target).astype(float)
    if not len(t):
        return np.nan, np.nan
    distances = np.sqrt(((p[:, None] - t[None]) ** 2).sum(2))  # (predicted, target)
    if not len(p) or not (distances < 10).any():
        return 10.0, 10.0
    to_target, to_predicted = distances.min(1), distances.min(0)
    return to_target[to_target < 10].mean(), np.minimum(to_predicted, 10).mean()


@pytest.mark.parametrize("seed", range(3))
def test_errors_are_those_of_every_distance_written_out(seed):
    rng = np.random.default_rng(seed)
    shares = np.array([0.002, 0.01, 0.05, 0.002, 0.0, 0.01, 0.0])
    predicted = rng.random((7, 40, 52)) < shares[:, None, None]
    target = rng.random((7, 40, 52)) < shares[[2, 0, 1, 3, 2, 4, 4], None, None]
    wanted = [written_out(p, t) for p, t in zip(predicted, target)]
    np.testing.assert_allclose(np.stack(boundary_errors(predicted, target), 1), wanted, rtol=1e-12)
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


def test_without_an_edge_in_the_target_there_is_no_error():
    flat = np.full((1, SIZE, SIZE), 0.5)
    assert np.isnan(errors(step(), flat)).all() and np.isnan(errors(flat, flat)).all()
    both = errors(np.concatenate((step(26), step(26))), np.concatenate((flat, step(24))))
    assert np.isnan(both[0]).all() and both[1] == (2, 2)


def test_only_completeness_sees_what_is_missing():
    target = step() - step(40, height=0.7) + 0.2  # a second edge, far from the first
    (accuracy, completeness), = errors(step(), target)
    assert accuracy == 0 and completeness == pytest.approx(5)  # half of the edges are 10 pixels away or more


def test_an_invented_edge_far_from_every_one_of_the_target_does_not_count():
    invented = np.where(np.arange(SIZE) >= 40, 0.0, step())
    assert errors(invented, step()) == [(0, 0)]


def test_a_prediction_that_is_too_flat_has_lost_its_edges():
    assert errors(0.5 + 0.1 * (step() - 0.5), step()) == [(10, 10)]
