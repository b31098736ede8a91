"""Each cause is found in a picture that was made for it, and not in one that lacks what it asks for."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyQuartets

from helpers import failures, model, predict, session
from helpers.config import CourseError
from helpers.failures import CAUSES, DEPTH_CAUSES, MASK_CAUSES, Case, Facts, explain
from helpers.quartets import Part

SIDE = 64
# No cat is small or faint and no room unusual, unless a test says so.
FACTS = Facts(small=0.0, faint=0.0, faint_pixel=0.0, mean_depth=np.full((SIDE, SIDE), 0.5), unusual=9.0)
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
RAMP = 1 - ROWS / (SIDE - 1)  # the floor in front is near, the wall above it is far
CAT = (slice(24, 48), slice(20, 44))


def changed(**differences):
    return Facts(**{**vars(FACTS), **differences})


def block(rows, columns):
    where = np.zeros((SIDE, SIDE), bool)
    where[rows, columns] = True
    return where


def make(task, truth=None, found=None, depth=RAMP, predicted=None, valid=None, room=120, cat=200):
    """A case: grey room, a cat as a lighter block, both found as they are unless the test says otherwise."""
    truth = block(*CAT) if truth is None else truth
    bg = np.full((3, SIDE, SIDE), room, np.uint8)
    return Case(
        7, 3, 2, task, bg, np.where(truth, cat, bg).astype(np.uint8), truth.astype(float),
        (truth if found is None else found).astype(float), depth, depth if predicted is None else predicted,
        np.ones((SIDE, SIDE), bool) if valid is None else valid,
    )  # fmt: skip


def cause(case, facts=FACTS):
    return explain(case, facts).cause


# -- masks --------------------------------------------------------------------------------------------------------

HALF = block(slice(24, 36), CAT[1])  # the upper half of the cat
TAIL = block(slice(34, 36), slice(44, 60))


def test_a_cat_like_the_room_behind_it():
    facts = changed(faint=10.0, faint_pixel=10.0)
    hardly = make("mask", found=HALF, cat=128)
    assert cause(hardly, facts) == "camouflage" and "about 8 of 255" in hardly.sentence
    assert cause(make("mask", found=HALF, cat=140), facts) != "camouflage"
    mixed = make("mask", found=HALF)
    mixed.bg_fg[:, 36:48, 20:44] = 125  # the cat stands out as a whole, its lower half does not
    assert cause(mixed, changed(faint_pixel=10.0)) == "camouflage"


def test_a_shadow_and_what_is_no_shadow():
    beside = block(slice(30, 44), slice(44, 56))
    case = make("mask", found=block(*CAT) | beside)
    case.bg_fg[:, beside] = 90
    assert cause(case) == "shadow"
    assert "about 30 of 255" in case.sentence and f"0 px of {24 * 24} missed and {14 * 12} too many" in case.sentence
    case.bg_fg[2, beside] = 118  # coloured, and not darker in every channel
    assert cause(case) == "something_else"


def test_a_thing_taken_for_the_cat_says_where():
    case = make("mask", found=block(*CAT) | block(slice(2, 14), slice(48, 62)))
    assert cause(case) == "something_else" and "at the upper right of the picture" in case.sentence


def test_photographs_that_do_not_match():
    case = make("mask", found=HALF)
    case.bg_fg[:, case.mask == 0] = 165  # the room differs by 45, the cat by 80
    assert cause(case) == "pair_differs" and "45 of 255" in case.sentence and "80" in case.sentence
    case.bg_fg[:, case.mask == 0] = 155  # by 35
    assert cause(case) == "part_missing"


def test_a_cat_behind_a_thing():
    depth = np.full((SIDE, SIDE), 0.6)
    depth[:, 44:50] = 0.2  # a post beside the cat, before it
    found = block(CAT[0], slice(20, 42))
    assert cause(make("mask", found=found, depth=depth)) == "hidden"
    behind = np.where(depth == 0.2, 0.9, depth)
    assert cause(make("mask", found=found, depth=behind)) == "part_missing"
    unknown = np.zeros((SIDE, SIDE), bool)
    assert cause(make("mask", found=found, depth=depth, valid=unknown)) == "part_missing"


def test_a_cat_that_is_not_found():
    nothing = np.zeros((SIDE, SIDE), bool)
    case = make("mask", found=nothing)
    assert cause(case) == "overlooked" and "Dice 0.00" in case.sentence and "0% of it is found" in case.sentence
    assert f"{case.truth.mean():.1%} of the picture" in case.sentence and "80 of 255" in case.sentence
    assert cause(make("mask", found=block(slice(24, 30), CAT[1]))) == "part_missing"  # a quarter is


def test_a_tail():
    case = make("mask", truth=block(*CAT) | TAIL, found=block(*CAT))
    assert cause(case) == "thin_part" and "at most 2 px wide, at the right of it" in case.sentence
    arm = block(slice(28, 36), slice(44, 60))
    assert cause(make("mask", truth=block(*CAT) | arm, found=block(*CAT))) == "part_missing"


@pytest.mark.parametrize("turns", range(4))
def test_a_cat_that_leaves_the_picture(turns):
    truth = np.rot90(block(slice(0, 20), slice(20, 44)), turns)
    found = np.rot90(block(slice(4, 20), slice(20, 44)), turns)
    assert cause(make("mask", truth=truth, found=found)) == "cut_by_frame"
    inside = np.roll(truth, (8, 0, -8, 0)[turns], 0), np.roll(found, (8, 0, -8, 0)[turns], 0)
    inside = [np.roll(part, (0, 8, 0, -8)[turns], 1) for part in inside]
    assert cause(make("mask", truth=inside[0], found=inside[1])) == "part_missing"


def test_an_outline_and_that_of_a_small_cat():
    grown = block(slice(23, 49), slice(19, 45))
    case = make("mask", found=grown)
    assert cause(case) == "outline" and "100% of the wrong pixels lie within 1 px" in case.sentence
    share = case.truth.mean()
    assert cause(make("mask", found=grown), changed(small=share)) == "small_cat"
    assert cause(make("mask", found=block(slice(19, 53), slice(15, 49)))) == "something_else"


def test_a_missing_part_takes_its_rim_with_it():
    case = make("mask", found=block(*CAT) & ~block(slice(24, 28), slice(20, 44)))
    assert cause(case) == "part_missing" and case.share == 1
    assert "at the top of it" in case.sentence and "80 of 255" in case.sentence


def test_widths_grow_with_the_picture():
    case = make("mask", found=block(slice(23, 49), slice(19, 45)))
    for name in ("bg", "bg_fg", "mask", "prob", "depth", "predicted", "valid"):
        setattr(case, name, np.repeat(np.repeat(getattr(case, name), 3, -1), 3, -2))
    assert cause(case) == "outline" and "within 3 px" in case.sentence


def test_every_wrong_pixel_counts_once_and_the_first_of_equals_wins():
    rng = np.random.default_rng(0)
    case = make("mask", found=block(*CAT) ^ (rng.random((SIDE, SIDE)) < 0.2))
    explain(case, FACTS)
    assert sum(case.shares.values()) == pytest.approx(1) and list(case.shares) == list(MASK_CAUSES)
    # A thin part and a thing elsewhere, as large: the rule that comes first has it.
    tail = make("mask", truth=block(*CAT) | TAIL, found=block(*CAT) | block(slice(2, 6), slice(2, 10)))
    assert cause(tail) == "thin_part" and tail.shares["something_else"] == tail.share == 0.5


# -- depth --------------------------------------------------------------------------------------------------------


def test_a_scale_that_a_few_pixels_set():
    depth = 0.3 * RAMP
    depth[:2, :20] = 1.0  # a window, less than a twentieth of the picture
    case = make("depth", depth=depth, predicted=RAMP)
    assert cause(case) == "squeezed_scale"
    low, high = np.quantile(depth, (0.05, 0.95))
    assert f"between {low:.2f} and {high:.2f}" in case.sentence and f"RMSE {case.rmse:.2f}" in case.sentence
    assert cause(make("depth", predicted=0.3 * RAMP)) != "squeezed_scale"


def test_a_flat_map():
    assert cause(make("depth", predicted=np.full((SIDE, SIDE), 0.5))) == "flat"
    assert cause(make("depth", predicted=0.2 + 0.6 * RAMP)) == "wrong_scale"  # flatter, but not flat


def test_a_room_unlike_the_others():
    strange = COLUMNS / (SIDE - 1)
    usual = changed(mean_depth=RAMP, unusual=0.3)
    case = make("depth", depth=strange, predicted=RAMP)
    assert cause(case, usual) == "unusual_room" and "100% of the squared error" in case.sentence
    assert cause(make("depth", depth=strange, predicted=RAMP), changed(mean_depth=RAMP, unusual=0.9)) != "unusual_room"
    away = np.clip(strange + 0.3, 0, 1)  # wrong, but not because it is like the others
    assert cause(make("depth", depth=strange, predicted=away), usual) != "unusual_room"


def test_a_wrong_range_and_a_wrong_offset():
    case = make("depth", predicted=0.3 + 0.5 * RAMP)
    assert cause(case) == "wrong_scale" and "scaled by 2.00 and shifted by -0.60" in case.sentence
    depth, other = np.random.default_rng(0).choice([0.0, 0.6], (2, SIDE, SIDE))  # no shape to recognise
    case = make("depth", depth=depth, predicted=0.4 + other)
    assert cause(case) == "wrong_offset"
    assert f"too far by {case.error.mean():.2f}" in case.sentence
    turned = make("depth", predicted=1 - RAMP)
    assert cause(turned) not in ("wrong_scale", "wrong_offset")


def test_a_wall_too_near_or_too_far_and_a_thing():
    wall = block(slice(0, 40), slice(48, 64))
    far = make("depth", truth=block(slice(50, 54), slice(4, 8)), depth=0.5 * RAMP, predicted=0.5 * RAMP + 0.4 * wall)
    assert cause(far) == "near_surface" and "too far by 0.40" in far.sentence and "100% of the squared" in far.sentence
    assert f"at the upper right, {wall.mean():.0%} of the picture" in far.sentence
    near = make("depth", depth=0.5 + 0.5 * RAMP, predicted=0.5 + 0.5 * RAMP - 0.4 * wall)
    assert cause(near) == "far_surface" and "too near by 0.40" in near.sentence
    table = block(slice(40, 56), slice(4, 24))
    looked_through = make("depth", depth=np.where(table, 0.0, RAMP), predicted=RAMP)
    assert cause(looked_through) == "thing_overlooked" and "one thing at the lower left" in looked_through.sentence
    shelf = block(slice(0, 56), slice(4, 24))  # as high as a wall
    assert cause(make("depth", depth=np.where(shelf, 0.0, RAMP), predicted=RAMP)) == "near_surface"
    invented = make("depth", depth=RAMP, predicted=np.where(table, 0.0, RAMP))
    assert cause(invented) == "far_surface"


def test_the_cat_is_too_far():
    case = make("depth", predicted=RAMP + 0.3 * block(*CAT))
    assert cause(case) == "wrong_cat" and "too far by 0.30" in case.sentence
    assert cause(make("depth", predicted=RAMP + 0.3 * block(slice(0, 20), slice(0, 60)))) != "wrong_cat"


def test_smeared_edges():
    posts = np.where(COLUMNS % 32 < 16, 0.2, 0.8)
    smeared = (posts + np.roll(posts, 1, 1) + np.roll(posts, -1, 1)) / 3
    case = make("depth", depth=posts, predicted=smeared)
    assert cause(case) == "smeared_edges"
    edges = re.search(r"(\d+)% of the squared error lies within 1 px of edges of things, which are (\d+)%", case.sentence)
    assert int(edges[1]) > 70 and int(edges[2]) == round(100 * 3 * 4 / SIDE)
    assert cause(make("depth", depth=posts, predicted=posts * 0.5)) != "smeared_edges"
    assert explain(make("depth", predicted=RAMP + 0.01), FACTS).shares["smeared_edges"] == 0  # no edge at all


def test_pixels_without_depth_count_for_nothing():
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 40:] = False
    case = make("depth", predicted=RAMP + 0.3 * block(slice(0, 20), slice(0, 20)), valid=valid)
    other = make("depth", predicted=np.where(valid, case.predicted, 0.9), valid=valid)
    assert explain(case, FACTS).sentence == explain(other, FACTS).sentence and case.shares == other.shares
    assert all(0 <= share <= 1 + 1e-9 for share in case.shares.values()) and list(case.shares) == list(DEPTH_CAUSES)


def test_what_has_no_error_cannot_be_explained():
    for task in ("mask", "depth"):
        with pytest.raises(ValueError, match="quartet 7 has no .*nothing to explain"):
            explain(make(task), FACTS)
    with pytest.raises(ValueError, match="nothing to explain"):
        explain(make("depth", predicted=1 - RAMP, valid=np.zeros((SIDE, SIDE), bool)), FACTS)


# -- the worst of a set -------------------------------------------------------------------------------------------


def answer(batch):
    """A mask that misses the left half, and a depth that is a little wrong."""
    mask = batch["mask"].clone()
    mask[..., : mask.shape[-1] // 2] = 0
    return mask, 0.7 * batch["depth"] + 0.2 * batch["depth"] ** 2


@pytest.fixture(scope="module")
def cases():
    return failures.worst(ToyQuartets(rooms=12, cats=3, placements=1), answer)


def of(cases, task):
    return [case for case in cases if case.task == task]


def test_ten_of_each_the_worst_first_and_no_room_twice(cases):
    assert [case.task for case in cases] == ["mask"] * 10 + ["depth"] * 10
    everything = failures.worst(ToyQuartets(rooms=12, cats=3, placements=1), answer, count=10_000)
    for task, score in (("mask", lambda c: c.dice), ("depth", lambda c: -c.rmse)):
        found = of(cases, task)
        assert len({case.room for case in found}) == 10
        scores = [score(case) for case in found]
        assert scores == sorted(scores)
        best_of_room = {}
        for case in of(everything, task):
            best_of_room.setdefault(case.room, case.index)
        assert [case.index for case in found] == list(best_of_room.values())[:10]
    assert all(case.cause in CAUSES and 0 < case.share <= 1 and case.sentence.endswith(".") for case in cases)


def test_scores_are_those_of_the_meter(cases):
    from helpers.metrics import Meter
    from helpers.quartets import fetch

    dataset = ToyQuartets(rooms=12, cats=3, placements=1)
    for case in (cases[0], cases[10]):
        meter, batch = Meter(), fetch(dataset, [case.index])
        meter.update(*answer(batch), batch)
        assert case.dice == pytest.approx(meter.result()["mask_dice"])
        assert case.rmse == pytest.approx(meter.result()["depth_rmse"])
        assert (case.room, case.cat) == (dataset.room_of(case.index), dataset.cat_of(case.index))


def test_few_rooms_are_shown_more_than_once_and_few_quartets_all():
    two_rooms = failures.worst(ToyQuartets(rooms=2, cats=4, placements=1), answer)
    depth = of(two_rooms, "depth")
    assert len(depth) == 10 and {case.room for case in depth} == {0, 1}
    rmse = [case.rmse for case in depth]
    assert rmse == sorted(rmse, reverse=True) and len({case.index for case in depth}) == 10
    few = failures.worst(Part(ToyQuartets(), [0, 9, 20]), answer)
    assert 0 < len(of(few, "mask")) <= 3 and len(of(few, "depth")) == 3
    assert not failures.figure(of(few, "depth")).legends and failures.figure(few).legends


def test_equal_scores_keep_the_order_of_the_set():
    badness = np.array([0.5, 0.5, 0.9, 0.0, 0.5, np.nan])
    assert failures._choose(badness, np.array([0, 1, 1, 2, 2, 3]), 3) == [2, 0, 4]
    assert failures._choose(badness, np.array([0, 1, 1, 2, 2, 3]), 9) == [2, 0, 1, 4]


def test_quartets_without_error_are_no_failures():
    assert failures.worst(ToyQuartets(), lambda batch: (batch["mask"], batch["depth"])) == []


class Blind(Part):
    """Quartets whose depth nobody knows."""

    def get_batch(self, indices):
        batch = super().get_batch(indices)
        nothing = torch.full_like(batch["near_far"], torch.nan)
        return {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": nothing}


def test_without_depth_there_are_masks_alone(tmp_path):
    cases = failures.worst(Blind(ToyQuartets(), range(64)), answer)
    assert {case.task for case in cases} == {"mask"}
    drawn = failures.figure(cases)
    assert not any("depth" in text.get_text() for text in drawn.texts) and drawn.get_size_inches()[0] < 6
    _, numbers = failures.write(cases, tmp_path, {})
    assert all(case["rmse"] is None for case in json.loads(numbers.read_text())["cases"])


def test_an_empty_set_is_refused():
    with pytest.raises(CourseError, match="no quartets"):
        failures.worst(Part(ToyQuartets(), []), answer)


# -- words, figure, files, command ---------------------------------------------------------------------------------


def test_the_sentences_stand_under_their_causes(cases):
    text = failures.markdown(cases)
    for case in cases:
        heading = text.rindex("**", 0, text.index(f"- Quartet {case.index}, room {case.room}. {case.sentence}"))
        title = CAUSES[case.cause].title
        assert title[1:] in text[text.rindex("**", 0, heading) : heading]
    for task in ("mask", "depth"):
        sizes = [len(group) for group in failures.groups(cases, task).values()]
        assert sizes == sorted(sizes, reverse=True) and sum(sizes) == 10


def test_the_figure_has_every_sentence_and_five_or_four_pictures_a_case(cases):
    drawn = failures.figure(cases)
    words = " ".join(text.get_text() for text in drawn.texts)
    for case in cases:
        assert f"Quartet {case.index}, room {case.room}. {case.sentence}" in words
    for name in {case.cause for case in cases}:
        assert CAUSES[name].title in words
    assert sum(bool(axis.images) for axis in drawn.axes) == 10 * 5 + 10 * 4
    width, height = drawn.get_size_inches()
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in (text.get_position() for text in drawn.texts))
    assert width < 12 and height < 30 and not plt.get_fignums()
    with pytest.raises(ValueError, match="no cases"):
        failures.figure([])


def test_no_line_of_a_sentence_leaves_its_column(cases):
    drawn = failures.figure(cases)
    drawn.canvas.draw()
    lefts = sorted({round(axis.get_window_extent().x0) for axis in drawn.axes if axis.images})
    depth_left = lefts[5]
    for text in drawn.texts:
        extent = text.get_window_extent()
        limit = depth_left if extent.x0 < depth_left - 1 else drawn.bbox.x1
        assert extent.x1 <= limit, text.get_text()


def test_a_window_holds_what_it_should_and_stays_in_the_picture():
    for rows, columns in ((slice(0, 3), slice(60, 64)), (slice(0, 64), slice(10, 12)), (slice(30, 31), slice(30, 31))):
        where = block(rows, columns)
        window = failures._window(where)
        assert where[window].sum() == where.sum()
        assert where[window].shape[0] == where[window].shape[1] >= SIDE // 3
    assert failures._window(np.zeros((48, 64), bool)) == (slice(0, 48), slice(0, 48))


def test_files_are_a_small_png_and_the_numbers(cases, tmp_path):
    image, numbers = failures.write(cases, tmp_path / "new", {"test_quartets": 72})
    with Image.open(image) as opened:
        assert opened.format == "PNG" and opened.width > 900
    assert image.stat().st_size <= failures.LARGEST
    stored = json.loads(numbers.read_text())
    assert stored["test_quartets"] == 72 and len(stored["cases"]) == 20
    for case, kept in zip(cases, stored["cases"]):
        assert (kept["quartet"], kept["cause"], kept["sentence"]) == (case.index, case.cause, case.sentence)
        assert kept["dice"] == case.dice and kept["share"] == case.share


@pytest.fixture
def command(monkeypatch, tmp_path):
    test_set = ToyQuartets(rooms=4, cats=2, placements=1)
    monkeypatch.setattr(session, "sets", lambda: (None, test_set))
    monkeypatch.setattr(session, "trained_network", lambda: model.build("DuoNet"))
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    return test_set


def test_the_command_writes_both_files_and_prints_the_sentences(command, tmp_path, capsys):
    failures.main([])
    stored = json.loads((tmp_path / "runs" / "bench" / "failures.json").read_text())
    assert (tmp_path / "runs" / "bench" / "failures.png").exists()
    printed = capsys.readouterr().out
    assert stored["cases"] and all(case["sentence"] in printed for case in stored["cases"])
    assert stored["test_quartets"] == len(command) and stored["size"] == command.size
    assert stored["data"] == "rooms" and "come with the course" in stored["network"]


def test_the_command_takes_another_run(command, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(predict, "load", lambda path: asked.append(path) or model.build("DuoNet"))
    failures.main(["--run", str(tmp_path / "mine"), "--out", str(tmp_path / "out")])
    assert asked == [tmp_path / "mine"] and (tmp_path / "out" / "failures.png").exists()
    assert json.loads((tmp_path / "out" / "failures.json").read_text())["network"] == "mine"
    monkeypatch.undo()
    with pytest.raises(SystemExit, match="CourseError: There are no weights"):
        failures.main(["--run", str(tmp_path / "mine")])
