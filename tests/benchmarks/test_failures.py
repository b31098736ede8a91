"""Each cause of a wrong prediction is found in a case made for it; the worst are chosen, told, drawn and stored."""

import json

import numpy as np
import pytest
import torch
from toy import ToyQuartets

from helpers import model
from helpers.benchmarks import failures
from helpers.benchmarks.failures import CAUSES, Case, explain
from helpers.config import CourseError, runs_dir
from helpers.dataset import Subset, get_batch
from helpers.metrics import Meter

SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
RAMP = 1 - ROWS / (SIZE - 1)  # the floor in front is near, the wall above it is far
CAT = (slice(24, 48), slice(20, 44))


def block(rows, columns):
    where = np.zeros((SIZE, SIZE), bool)
    where[rows, columns] = True
    return where


HALF = block(slice(24, 36), CAT[1])  # the upper half of the cat
TAIL = block(slice(34, 36), slice(44, 60))


def make(target=None, found=None, depth=RAMP, predicted=None, valid=None, cat=200, painted=(), times=1):
    """A case: grey room, a cat as a lighter block, all predicted right unless the test says otherwise.

    ``painted`` are pairs of a place (H, W) and the value that ``bg_fg`` has there, for all channels or (3, 1). All
    planes are made so many ``times`` larger.
    """
    target = block(*CAT) if target is None else target
    bg = np.full((3, SIZE, SIZE), 120, np.uint8)
    bg_fg = np.where(target, cat, bg).astype(np.uint8)
    for where, value in painted:
        bg_fg[:, where] = value
    valid = np.ones((SIZE, SIZE), bool) if valid is None else valid
    quartet = {"bg": bg, "bg_fg": bg_fg, "mask": target.astype(float), "depth": depth, "valid": valid}
    maps = [(target if found is None else found).astype(float), depth if predicted is None else predicted]
    *planes, prob, predicted = (x.repeat(times, -1).repeat(times, -2) for x in (*quartet.values(), *maps))
    return Case(7, 3, dict(zip(quartet, planes)), prob, predicted)


def mask_cause(case):
    return explain(case, "mask").cause


def depth_cause(case):
    return explain(case, "depth").cause


# -- masks --------------------------------------------------------------------------------------------------------


def test_a_cat_like_the_room_behind_it():
    assert mask_cause(make(found=HALF, cat=126)) == "camouflage"
    assert mask_cause(make(found=HALF, cat=140)) == "part_missed"
    lower_half = block(slice(36, 48), CAT[1])  # does not stand out, while the cat as a whole does
    assert mask_cause(make(found=HALF, painted=[(lower_half, 125)])) == "camouflage"


def test_a_shadow_and_what_is_no_shadow():
    beside = block(slice(30, 44), slice(44, 56))
    assert mask_cause(make(found=block(*CAT) | beside, painted=[(beside, 90)])) == "shadow"
    coloured = np.array([[90], [90], [118]])  # not darker in every channel
    assert mask_cause(make(found=block(*CAT) | beside, painted=[(beside, coloured)])) == "something_else"


def test_photographs_that_do_not_match():
    room = ~block(*CAT)  # it differs by 45, the cat by 80
    assert mask_cause(make(found=HALF, painted=[(room, 165)])) == "pair_differs"
    assert mask_cause(make(found=HALF, painted=[(room, 155)])) == "part_missed"


def test_a_cat_of_which_all_or_a_thin_part_is_missed():
    case = make(found=np.zeros((SIZE, SIZE), bool))
    assert mask_cause(case) == "part_missed" and case.dice == 0
    assert mask_cause(make(target=block(*CAT) | TAIL, found=block(*CAT))) == "thin_part"
    arm = block(slice(28, 36), slice(44, 60))
    assert mask_cause(make(target=block(*CAT) | arm, found=block(*CAT))) == "part_missed"
    at_the_frame = block(slice(0, 2), slice(20, 44))  # the image ends there, and the cat does not
    assert mask_cause(make(target=block(slice(0, 20), CAT[1]), found=block(slice(2, 20), CAT[1]))) == "part_missed"
    assert mask_cause(make(target=block(*CAT) | at_the_frame, found=block(*CAT))) == "part_missed"


@pytest.mark.parametrize("times", (1, 3))
def test_an_outline_whose_width_grows_with_the_image(times):
    case = make(found=block(slice(23, 49), slice(19, 45)), times=times)
    assert mask_cause(case) == "outline" and case.shares["outline"] == 1
    assert mask_cause(make(found=block(slice(19, 53), slice(15, 49)), times=times)) == "something_else"


def test_a_missing_part_takes_its_rim_with_it():
    case = make(found=block(*CAT) & ~block(slice(24, 28), slice(20, 44)))
    assert mask_cause(case) == "part_missed" and case.shares["part_missed"] == 1


def test_every_wrong_pixel_counts_once_and_the_first_of_equals_wins():
    rng = np.random.default_rng(0)
    case = explain(make(found=block(*CAT) ^ (rng.random((SIZE, SIZE)) < 0.2)), "mask")
    assert sum(case.shares.values()) == pytest.approx(1) and list(case.shares) == list(CAUSES["mask"])
    # A thin part and something elsewhere, as large: the rule that comes first has it.
    tail = make(target=block(*CAT) | TAIL, found=block(*CAT) | block(slice(2, 6), slice(2, 10)))
    assert mask_cause(tail) == "thin_part" and tail.shares["something_else"] == tail.shares["thin_part"] == 0.5


# -- depth maps ---------------------------------------------------------------------------------------------------


def test_a_wrong_range():
    depth, other = np.random.default_rng(0).choice([0.0, 0.6], (2, SIZE, SIZE))  # no shape to recognise
    for case in (
        make(predicted=np.full((SIZE, SIZE), 0.5)),
        make(predicted=0.3 + 0.5 * RAMP),
        make(depth=depth, predicted=0.4 + depth),
    ):
        assert depth_cause(case) == "wrong_range" and case.shares["wrong_range"] == pytest.approx(1)
    assert depth_cause(make(depth=depth, predicted=0.4 + other)) == "wrong_range"
    assert depth_cause(make(predicted=1 - RAMP)) != "wrong_range"


def test_a_wall_too_near_or_too_far_and_an_object():
    wall = block(slice(0, 40), slice(48, 64))
    far = make(target=block(slice(50, 54), slice(4, 8)), depth=0.5 * RAMP, predicted=0.5 * RAMP + 0.4 * wall)
    assert depth_cause(far) == "wrong_surface" and far.shares["wrong_surface"] == pytest.approx(1)
    assert far.shares["wrong_range"] == 0  # most of the map is right
    assert depth_cause(make(depth=0.5 + 0.5 * RAMP, predicted=0.5 + 0.5 * RAMP - 0.4 * wall)) == "wrong_surface"
    table = block(slice(40, 56), slice(4, 24))
    assert depth_cause(make(depth=np.where(table, 0.0, RAMP), predicted=RAMP)) == "wrong_surface"
    assert depth_cause(make(depth=RAMP, predicted=np.where(table, 0.0, RAMP))) == "wrong_surface"  # invented


def test_the_cat_is_too_far():
    assert depth_cause(make(predicted=RAMP + 0.3 * block(*CAT))) == "wrong_cat"
    assert depth_cause(make(predicted=RAMP + 0.3 * block(slice(0, 20), slice(0, 60)))) == "wrong_surface"


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
    for value in (0.9, np.nan):
        other = make(depth=np.where(valid, RAMP, value), predicted=np.where(valid, case.predicted, value), valid=valid)
        assert explain(case, "depth").shares == explain(other, "depth").shares
    assert all(0 <= share <= 1 + 1e-9 for share in case.shares.values()) and list(case.shares) == list(CAUSES["depth"])


def test_a_case_says_which_it_is_how_wrong_and_why():
    case = explain(make(found=block(slice(23, 49), slice(19, 45))), "mask")
    assert case.words == f"Quartet 7, room 3: Dice {case.dice:.2f}, 100%: The outline is off by a pixel."
    case = explain(make(predicted=0.3 + 0.5 * RAMP), "depth")
    assert case.words.startswith(f"Quartet 7, room 3: depth RMSE {case.rmse:.2f}, 100%: ")
    sentences = [rule.__doc__ for rules in CAUSES.values() for rule in rules.values()]
    assert len(set(sentences)) == len(sentences) and all(sentence.endswith(".") for sentence in sentences)


# -- which are chosen ---------------------------------------------------------------------------------------------


def half_right(batch):
    """The prediction of a network: a mask that misses the left half, and a depth that is a little wrong."""
    mask = batch["mask"].clone()
    mask[..., : mask.shape[-1] // 2] = 0
    return mask, 0.7 * batch["depth"] + 0.2 * batch["depth"] ** 2


@pytest.fixture(scope="module")
def cases():
    return failures.worst(ToyQuartets(rooms=12, cats=3, placements=1), half_right, count=10)


def test_the_worst_of_each_room_the_worst_first_by_the_scores_of_the_meter(cases):
    assert [case.task for case in cases] == ["mask"] * 10 + ["depth"] * 10
    assert all(case.cause in CAUSES[case.task] and 0 < case.shares[case.cause] <= 1 for case in cases)
    dataset = ToyQuartets(rooms=12, cats=3, placements=1)
    batch = get_batch(dataset, range(len(dataset)))
    prob, depth = half_right(batch)
    wrong = (prob > 0.5) != (batch["mask"] > 0.5)
    dice = 1 - wrong.sum((1, 2, 3)) / ((prob > 0.5).sum((1, 2, 3)) + (batch["mask"] > 0.5).sum((1, 2, 3)))
    rmse = (depth - batch["depth"]).square().mean((1, 2, 3)).sqrt()
    for found, errors in ((cases[:10], 1 - dice), (cases[10:], rmse)):
        of_room = errors.reshape(12, 6).max(1).values  # 3 cats, twice each
        assert [case.room for case in found] == of_room.argsort(descending=True, stable=True)[:10].tolist()
        assert all(errors[case.index] == of_room[case.room] for case in found)
    for case in (cases[0], cases[10]):
        meter, one = Meter(), get_batch(dataset, [case.index])
        meter.update(*half_right(one), one)
        assert case.dice == pytest.approx(meter.result()["mask_dice"])
        assert case.rmse == pytest.approx(meter.result()["depth_rmse"])


def test_quartets_without_error_are_no_failures_and_of_equals_the_first_is_chosen():
    assert failures.worst(ToyQuartets(), lambda batch: (batch["mask"], batch["depth"])) == []
    all_alike = failures.worst(ToyQuartets(), lambda batch: (1 - batch["mask"], batch["depth"]))  # Dice 0
    assert [(case.task, case.index) for case in all_alike] == [("mask", 16 * room) for room in range(4)]


class Blind(Subset):
    """Quartets whose depth nobody knows."""

    def get_batch(self, indices):
        batch = super().get_batch(indices)
        nothing = torch.full_like(batch["near_far"], torch.nan)
        return {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": nothing}


def test_without_depth_there_are_masks_alone_and_an_empty_set_is_refused():
    cases = failures.worst(Blind(ToyQuartets(), range(64)), half_right)
    assert {case.task for case in cases} == {"mask"} and failures.figure(cases).axes
    with pytest.raises(CourseError, match="no quartets"):
        failures.worst(Subset(ToyQuartets(), []), half_right)


# -- what is shown and stored -------------------------------------------------------------------------------------


def test_the_figure_has_the_words_of_the_worst_of_each_and_they_touch_nothing(cases):
    drawn = failures.figure(cases)
    drawn.draw_without_rendering()
    panels = [axis for axis in drawn.axes if axis.images]
    words = [axis.yaxis.label for axis in panels[::7]]
    assert len(panels) == 7 * 10
    shown = [" ".join(text.get_text().split()) for text in words]
    assert shown == [case.words.replace(": ", " ") for case in (*cases[:5], *cases[10:15])]
    boxes = [text.get_window_extent() for text in words] + [axis.get_window_extent() for axis in panels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 >= 0 for box in boxes)


def trained():
    """A network as :func:`helpers.predict.load` gives it."""
    net = model.build("DuoNet")
    net.depth_activation = "sigmoid"
    return net


def test_the_command_stores_and_prints_the_cases_and_counts_their_causes(monkeypatch, tmp_path, capsys):
    test_set = ToyQuartets(rooms=4, cats=2, placements=1)
    monkeypatch.setattr(failures, "sets", lambda name: (test_set,))
    monkeypatch.setattr(failures, "trained_network", trained)
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    cases = failures.main()
    stored, printed = json.loads((runs_dir() / failures.RESULT).read_text()), capsys.readouterr().out
    assert [case["words"] for case in stored["cases"]] == [case.words for case in cases]
    assert all(case.words in printed for case in cases) and failures.markdown(stored) in printed
    assert stored["data"] == "rooms" and "come with the course" in stored["network"]
    rows = [line.split("|")[1:-1] for line in failures.markdown(stored).splitlines()[2:] if line.startswith("|")]
    for task in ("mask", "depth"):
        counts = [int(count) for name, _, count in rows if name.strip() == task]
        assert sum(counts) == 4 and counts == sorted(counts, reverse=True)
    assert f"{len(test_set)} test quartets at {test_set.size} px, predicted by the weights" in printed
