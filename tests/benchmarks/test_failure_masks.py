"""Each cause of a wrong mask is found in a picture that was made for it, and not in one that lacks what it asks for."""

import numpy as np
import pytest
from made_cases import CAT, FACTS, SIDE, block, changed, make

from helpers.benchmarks.failure_masks import MASK_CAUSES, explain_mask


def cause(case, facts=FACTS):
    return explain_mask(case, facts).cause


HALF = block(slice(24, 36), CAT[1])  # the upper half of the cat
TAIL = block(slice(34, 36), slice(44, 60))


def test_a_cat_like_the_room_behind_it():
    facts = changed(faint=10.0, faint_pixel=10.0)
    hardly = make(found=HALF, cat=128)
    assert cause(hardly, facts) == "camouflage" and "about 8 of 255" in hardly.sentence
    assert cause(make(found=HALF, cat=140), facts) != "camouflage"
    mixed = make(found=HALF)
    mixed.bg_fg[:, 36:48, 20:44] = 125  # the cat stands out as a whole, its lower half does not
    assert cause(mixed, changed(faint_pixel=10.0)) == "camouflage"


def test_a_shadow_and_what_is_no_shadow():
    beside = block(slice(30, 44), slice(44, 56))
    case = make(found=block(*CAT) | beside)
    case.bg_fg[:, beside] = 90
    assert cause(case) == "shadow"
    assert "about 30 of 255" in case.sentence and f"0 px of {24 * 24} missed and {14 * 12} too many" in case.sentence
    case.bg_fg[2, beside] = 118  # coloured, and not darker in every channel
    assert cause(case) == "something_else"


def test_a_thing_taken_for_the_cat_says_where():
    case = make(found=block(*CAT) | block(slice(2, 14), slice(48, 62)))
    assert cause(case) == "something_else" and "at the upper right of the picture" in case.sentence


def test_photographs_that_do_not_match():
    case = make(found=HALF)
    case.bg_fg[:, case.mask == 0] = 165  # the room differs by 45, the cat by 80
    assert cause(case) == "pair_differs" and "45 of 255" in case.sentence and "80" in case.sentence
    case.bg_fg[:, case.mask == 0] = 155  # by 35
    assert cause(case) == "part_missing"


def test_a_cat_behind_a_thing():
    depth = np.full((SIDE, SIDE), 0.6)
    depth[:, 44:50] = 0.2  # a post beside the cat, before it
    found = block(CAT[0], slice(20, 42))
    assert cause(make(found=found, depth=depth)) == "hidden"
    behind = np.where(depth == 0.2, 0.9, depth)
    assert cause(make(found=found, depth=behind)) == "part_missing"
    unknown = np.zeros((SIDE, SIDE), bool)
    assert cause(make(found=found, depth=depth, valid=unknown)) == "part_missing"


def test_a_cat_that_is_not_found():
    nothing = np.zeros((SIDE, SIDE), bool)
    case = make(found=nothing)
    assert cause(case) == "overlooked" and "Dice 0.00" in case.sentence and "0% of it is found" in case.sentence
    assert f"{case.truth.mean():.1%} of the picture" in case.sentence and "80 of 255" in case.sentence
    assert cause(make(found=block(slice(24, 30), CAT[1]))) == "part_missing"  # a quarter is


def test_a_tail():
    case = make(truth=block(*CAT) | TAIL, found=block(*CAT))
    assert cause(case) == "thin_part" and "at most 2 px wide, at the right of it" in case.sentence
    arm = block(slice(28, 36), slice(44, 60))
    assert cause(make(truth=block(*CAT) | arm, found=block(*CAT))) == "part_missing"


@pytest.mark.parametrize("turns", range(4))
def test_a_cat_that_leaves_the_picture(turns):
    truth = np.rot90(block(slice(0, 20), slice(20, 44)), turns)
    found = np.rot90(block(slice(4, 20), slice(20, 44)), turns)
    assert cause(make(truth=truth, found=found)) == "cut_by_frame"
    inside = np.roll(truth, (8, 0, -8, 0)[turns], 0), np.roll(found, (8, 0, -8, 0)[turns], 0)
    inside = [np.roll(part, (0, 8, 0, -8)[turns], 1) for part in inside]
    assert cause(make(truth=inside[0], found=inside[1])) == "part_missing"


def test_an_outline_and_that_of_a_small_cat():
    grown = block(slice(23, 49), slice(19, 45))
    case = make(found=grown)
    assert cause(case) == "outline" and "100% of the wrong pixels lie within 1 px" in case.sentence
    share = case.truth.mean()
    assert cause(make(found=grown), changed(small=share)) == "small_cat"
    assert cause(make(found=block(slice(19, 53), slice(15, 49)))) == "something_else"


def test_a_missing_part_takes_its_rim_with_it():
    case = make(found=block(*CAT) & ~block(slice(24, 28), slice(20, 44)))
    assert cause(case) == "part_missing" and case.share == 1
    assert "at the top of it" in case.sentence and "80 of 255" in case.sentence


def test_widths_grow_with_the_picture():
    case = make(found=block(slice(23, 49), slice(19, 45)))
    for name in ("bg", "bg_fg", "mask", "prob", "depth", "predicted", "valid"):
        setattr(case, name, np.repeat(np.repeat(getattr(case, name), 3, -1), 3, -2))
    assert cause(case) == "outline" and "within 3 px" in case.sentence


def test_every_wrong_pixel_counts_once_and_the_first_of_equals_wins():
    rng = np.random.default_rng(0)
    case = make(found=block(*CAT) ^ (rng.random((SIDE, SIDE)) < 0.2))
    explain_mask(case, FACTS)
    assert sum(case.shares.values()) == pytest.approx(1) and list(case.shares) == list(MASK_CAUSES)
    # A thin part and a thing elsewhere, as large: the rule that comes first has it.
    tail = make(truth=block(*CAT) | TAIL, found=block(*CAT) | block(slice(2, 6), slice(2, 10)))
    assert cause(tail) == "thin_part" and tail.shares["something_else"] == tail.share == 0.5


def test_a_right_mask_cannot_be_explained():
    with pytest.raises(ValueError, match="mask of quartet 7 has no wrong pixel: there is nothing to explain"):
        explain_mask(make(), FACTS)
