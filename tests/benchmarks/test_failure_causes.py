"""Each cause of a wrong prediction is found in a case made for it, and not in one that lacks what it needs."""

import dataclasses

import numpy as np
import pytest
from made_cases import CAT, COLUMNS, RAMP, SIZE, block, make

from helpers.benchmarks.failure_causes import CAUSES, by_cause, explain

HALF = block(slice(24, 36), CAT[1])  # the upper half of the cat
TAIL = block(slice(34, 36), slice(44, 60))


def mask_cause(case):
    return explain(case, "mask").cause


def depth_cause(case):
    return explain(case, "depth").cause


# -- masks --------------------------------------------------------------------------------------------------------


def test_a_cat_like_the_room_behind_it():
    assert mask_cause(make(found=HALF, cat=128, faint=10.0)) == "camouflage"
    assert mask_cause(make(found=HALF, cat=140, faint=10.0)) != "camouflage"
    lower_half = block(slice(36, 48), CAT[1])  # does not stand out, while the cat as a whole does
    assert mask_cause(make(found=HALF, painted=[(lower_half, 125)], faint=10.0)) == "camouflage"


def test_a_shadow_and_what_is_no_shadow():
    beside = block(slice(30, 44), slice(44, 56))
    assert mask_cause(make(found=block(*CAT) | beside, painted=[(beside, 90)])) == "shadow"
    coloured = np.array([[90], [90], [118]])  # not darker in every channel
    assert mask_cause(make(found=block(*CAT) | beside, painted=[(beside, coloured)])) == "something_else"


def test_photographs_that_do_not_match():
    room = ~block(*CAT)  # it differs by 45, the cat by 80
    assert mask_cause(make(found=HALF, painted=[(room, 165)])) == "pair_differs"
    assert mask_cause(make(found=HALF, painted=[(room, 155)])) == "part_missing"


def test_a_cat_that_is_not_found():
    case = make(found=np.zeros((SIZE, SIZE), bool))
    assert mask_cause(case) == "overlooked" and case.dice == 0
    assert mask_cause(make(found=block(slice(24, 30), CAT[1]))) == "part_missing"  # a quarter is


def test_a_tail():
    assert mask_cause(make(target=block(*CAT) | TAIL, found=block(*CAT))) == "thin_part"
    arm = block(slice(28, 36), slice(44, 60))
    assert mask_cause(make(target=block(*CAT) | arm, found=block(*CAT))) == "part_missing"


@pytest.mark.parametrize("turns", range(4))
def test_a_cat_that_leaves_the_image(turns):
    target = np.rot90(block(slice(0, 20), slice(20, 44)), turns)
    found = np.rot90(block(slice(4, 20), slice(20, 44)), turns)
    assert mask_cause(make(target=target, found=found)) == "cut_by_frame"
    away = (8, 0, -8, 0)[turns], (0, 8, 0, -8)[turns]
    inside = [np.roll(where, away, (0, 1)) for where in (target, found)]
    assert mask_cause(make(target=inside[0], found=inside[1])) == "part_missing"


def test_an_outline():
    grown = block(slice(23, 49), slice(19, 45))
    case = make(found=grown)
    assert mask_cause(case) == "outline" and case.shares["outline"] == 1
    assert mask_cause(make(found=block(slice(19, 53), slice(15, 49)))) == "something_else"


def test_a_missing_part_takes_its_rim_with_it():
    case = make(found=block(*CAT) & ~block(slice(24, 28), slice(20, 44)))
    assert mask_cause(case) == "part_missing" and case.shares["part_missing"] == 1


def test_widths_grow_with_the_image():
    case = make(found=block(slice(23, 49), slice(19, 45)))
    planes = ("bg", "bg_fg", "mask", "prob", "depth", "predicted", "valid")
    larger = {name: np.repeat(np.repeat(getattr(case, name), 3, -1), 3, -2) for name in planes}
    assert mask_cause(dataclasses.replace(case, **larger)) == "outline"


def test_every_wrong_pixel_counts_once_and_the_first_of_equals_wins():
    rng = np.random.default_rng(0)
    case = explain(make(found=block(*CAT) ^ (rng.random((SIZE, SIZE)) < 0.2)), "mask")
    assert sum(case.shares.values()) == pytest.approx(1) and list(case.shares) == list(CAUSES["mask"])
    # A thin part and something elsewhere, as large: the rule that comes first has it.
    tail = make(target=block(*CAT) | TAIL, found=block(*CAT) | block(slice(2, 6), slice(2, 10)))
    assert mask_cause(tail) == "thin_part" and tail.shares["something_else"] == tail.shares["thin_part"] == 0.5


# -- depth maps ---------------------------------------------------------------------------------------------------


def test_a_flat_map():
    assert depth_cause(make(predicted=np.full((SIZE, SIZE), 0.5))) == "flat"
    assert depth_cause(make(predicted=0.2 + 0.6 * RAMP)) == "wrong_scale"  # flatter, but not flat


def test_a_wrong_range_and_a_wrong_offset():
    case = make(predicted=0.3 + 0.5 * RAMP)
    assert depth_cause(case) == "wrong_scale" and case.shares["wrong_scale"] == pytest.approx(1)
    depth, other = np.random.default_rng(0).choice([0.0, 0.6], (2, SIZE, SIZE))  # no shape to recognise
    assert depth_cause(make(depth=depth, predicted=0.4 + other)) == "wrong_offset"
    assert depth_cause(make(predicted=1 - RAMP)) not in ("wrong_scale", "wrong_offset")


def test_a_wall_too_near_or_too_far_and_an_object():
    wall = block(slice(0, 40), slice(48, 64))
    far = make(target=block(slice(50, 54), slice(4, 8)), depth=0.5 * RAMP, predicted=0.5 * RAMP + 0.4 * wall)
    assert depth_cause(far) == "near_surface" and far.shares["near_surface"] == pytest.approx(1)
    assert depth_cause(make(depth=0.5 + 0.5 * RAMP, predicted=0.5 + 0.5 * RAMP - 0.4 * wall)) == "far_surface"
    table = block(slice(40, 56), slice(4, 24))
    assert depth_cause(make(depth=np.where(table, 0.0, RAMP), predicted=RAMP)) == "near_surface"
    assert depth_cause(make(depth=RAMP, predicted=np.where(table, 0.0, RAMP))) == "far_surface"  # invented


def test_the_cat_is_too_far():
    assert depth_cause(make(predicted=RAMP + 0.3 * block(*CAT))) == "wrong_cat"
    assert depth_cause(make(predicted=RAMP + 0.3 * block(slice(0, 20), slice(0, 60)))) != "wrong_cat"


def test_smeared_edges():
    posts = np.where(COLUMNS % 32 < 16, 0.2, 0.8)
    smeared = (posts + np.roll(posts, 1, 1) + np.roll(posts, -1, 1)) / 3
    case = make(depth=posts, predicted=smeared)
    assert depth_cause(case) == "smeared_edges" and case.shares["smeared_edges"] > 0.6
    assert depth_cause(make(depth=posts, predicted=posts * 0.5)) != "smeared_edges"
    assert explain(make(predicted=RAMP + 0.01), "depth").shares["smeared_edges"] == 0  # no edge at all


def test_pixels_without_depth_count_for_nothing():
    valid = np.ones((SIZE, SIZE), bool)
    valid[:, 40:] = False
    case = make(predicted=RAMP + 0.3 * block(slice(0, 20), slice(0, 20)), valid=valid)
    other = make(predicted=np.where(valid, case.predicted, 0.9), valid=valid)
    assert explain(case, "depth").shares == explain(other, "depth").shares
    assert all(0 <= share <= 1 + 1e-9 for share in case.shares.values()) and list(case.shares) == list(CAUSES["depth"])


# -- words --------------------------------------------------------------------------------------------------------


def test_every_cause_is_a_different_sentence_that_fits_the_figure():
    sentences = [rule.__doc__ for rules in CAUSES.values() for rule in rules.values()]
    assert len(set(sentences)) == 16
    assert all(sentence.endswith(".") and len(sentence) < 70 and "\n" not in sentence for sentence in sentences)


def test_a_case_says_which_it_is_and_how_wrong():
    case = explain(make(found=block(slice(23, 49), slice(19, 45))), "mask")
    assert case.words == f"Quartet 7, room 3: Dice {case.dice:.2f}, 100% of the wrong pixels:\nThe outline is off by a pixel."
    case = explain(make(predicted=0.3 + 0.5 * RAMP), "depth")
    assert case.words.startswith(f"Quartet 7, room 3: RMSE {case.rmse:.2f}, 100% of the squared error:\n")


def test_the_largest_group_comes_first_then_the_order_of_the_rules():
    cases = [make() for _ in range(6)]
    for case, cause in zip(cases, ("outline", "camouflage", "outline", "shadow", "camouflage", "camouflage")):
        case.task, case.cause = "mask", cause
    assert [cases.index(case) for case in by_cause(cases, "mask")] == [1, 4, 5, 0, 2, 3]
    assert by_cause(cases, "depth") == []
