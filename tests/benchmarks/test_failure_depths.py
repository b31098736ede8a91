"""Each cause of a wrong depth map is found in one that was made for it, and not in one that lacks what it asks for."""

import re

import numpy as np
import pytest
from made_cases import CAT, COLUMNS, FACTS, RAMP, SIDE, block, changed, make

from helpers.benchmarks.failure_depths import DEPTH_CAUSES, explain_depth


def cause(case, facts=FACTS):
    return explain_depth(case, facts).cause


def test_a_scale_that_a_few_pixels_set():
    depth = 0.3 * RAMP
    depth[:2, :20] = 1.0  # a window, less than a twentieth of the picture
    case = make(depth=depth, predicted=RAMP)
    assert cause(case) == "squeezed_scale"
    low, high = np.quantile(depth, (0.05, 0.95))
    assert f"between {low:.2f} and {high:.2f}" in case.sentence and f"RMSE {case.rmse:.2f}" in case.sentence
    assert cause(make(predicted=0.3 * RAMP)) != "squeezed_scale"


def test_a_flat_map():
    assert cause(make(predicted=np.full((SIDE, SIDE), 0.5))) == "flat"
    assert cause(make(predicted=0.2 + 0.6 * RAMP)) == "wrong_scale"  # flatter, but not flat


def test_a_room_unlike_the_others():
    strange = COLUMNS / (SIDE - 1)
    usual = changed(mean_depth=RAMP, unusual=0.3)
    case = make(depth=strange, predicted=RAMP)
    assert cause(case, usual) == "unusual_room" and "100% of the squared error" in case.sentence
    assert cause(make(depth=strange, predicted=RAMP), changed(mean_depth=RAMP, unusual=0.9)) != "unusual_room"
    away = np.clip(strange + 0.3, 0, 1)  # wrong, but not because it is like the others
    assert cause(make(depth=strange, predicted=away), usual) != "unusual_room"


def test_a_wrong_range_and_a_wrong_offset():
    case = make(predicted=0.3 + 0.5 * RAMP)
    assert cause(case) == "wrong_scale" and "scaled by 2.00 and shifted by -0.60" in case.sentence
    depth, other = np.random.default_rng(0).choice([0.0, 0.6], (2, SIDE, SIDE))  # no shape to recognise
    case = make(depth=depth, predicted=0.4 + other)
    assert cause(case) == "wrong_offset"
    assert f"too far by {case.error.mean():.2f}" in case.sentence
    turned = make(predicted=1 - RAMP)
    assert cause(turned) not in ("wrong_scale", "wrong_offset")


def test_a_wall_too_near_or_too_far_and_a_thing():
    wall = block(slice(0, 40), slice(48, 64))
    far = make(truth=block(slice(50, 54), slice(4, 8)), depth=0.5 * RAMP, predicted=0.5 * RAMP + 0.4 * wall)
    assert cause(far) == "near_surface" and "too far by 0.40" in far.sentence and "100% of the squared" in far.sentence
    assert f"at the upper right, {wall.mean():.0%} of the picture" in far.sentence
    near = make(depth=0.5 + 0.5 * RAMP, predicted=0.5 + 0.5 * RAMP - 0.4 * wall)
    assert cause(near) == "far_surface" and "too near by 0.40" in near.sentence
    table = block(slice(40, 56), slice(4, 24))
    looked_through = make(depth=np.where(table, 0.0, RAMP), predicted=RAMP)
    assert cause(looked_through) == "thing_overlooked" and "one thing at the lower left" in looked_through.sentence
    shelf = block(slice(0, 56), slice(4, 24))  # as high as a wall
    assert cause(make(depth=np.where(shelf, 0.0, RAMP), predicted=RAMP)) == "near_surface"
    invented = make(depth=RAMP, predicted=np.where(table, 0.0, RAMP))
    assert cause(invented) == "far_surface"


def test_the_cat_is_too_far():
    case = make(predicted=RAMP + 0.3 * block(*CAT))
    assert cause(case) == "wrong_cat" and "too far by 0.30" in case.sentence
    assert cause(make(predicted=RAMP + 0.3 * block(slice(0, 20), slice(0, 60)))) != "wrong_cat"


def test_smeared_edges():
    posts = np.where(COLUMNS % 32 < 16, 0.2, 0.8)
    smeared = (posts + np.roll(posts, 1, 1) + np.roll(posts, -1, 1)) / 3
    case = make(depth=posts, predicted=smeared)
    assert cause(case) == "smeared_edges"
    edges = re.search(r"(\d+)% of the squared error lies within 1 px of edges of things, which are (\d+)%", case.sentence)
    assert int(edges[1]) > 70 and int(edges[2]) == round(100 * 3 * 4 / SIDE)
    assert cause(make(depth=posts, predicted=posts * 0.5)) != "smeared_edges"
    assert explain_depth(make(predicted=RAMP + 0.01), FACTS).shares["smeared_edges"] == 0  # no edge at all


def test_pixels_without_depth_count_for_nothing():
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 40:] = False
    case = make(predicted=RAMP + 0.3 * block(slice(0, 20), slice(0, 20)), valid=valid)
    other = make(predicted=np.where(valid, case.predicted, 0.9), valid=valid)
    assert explain_depth(case, FACTS).sentence == explain_depth(other, FACTS).sentence and case.shares == other.shares
    assert all(0 <= share <= 1 + 1e-9 for share in case.shares.values()) and list(case.shares) == list(DEPTH_CAUSES)


def test_a_map_without_a_known_error_cannot_be_explained():
    for case in (make(), make(predicted=1 - RAMP, valid=np.zeros((SIDE, SIDE), bool))):
        with pytest.raises(ValueError, match="depth of quartet 7 has no .*nothing to explain"):
            explain_depth(case, FACTS)
