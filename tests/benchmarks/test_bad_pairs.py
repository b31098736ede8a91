"""Pairs as people get them wrong: what each kind is made of, and how answers are counted."""

import pytest
import torch
from photo_files import photo_folder

from helpers.augment import Perturbation
from helpers.benchmarks import bad_pairs
from helpers.benchmarks.report import newest
from helpers.config import CourseError
from helpers.rendering.dataset import RoomsDataset


def test_each_kind_is_made_of_one_rooms_quartets(monkeypatch):
    monkeypatch.setattr(bad_pairs, "HANDHELD", Perturbation(*[0.0] * 7))
    dataset = RoomsDataset(32, rooms=3, cats=2, placements=1)
    quartets, per_room = dataset.get_batch(range(len(dataset))), len(dataset) // 3
    pairs = bad_pairs.kinds(dataset, 2)
    rooms, scenes = (quartets[name][[0, per_room]] for name in ("bg", "bg_fg"))
    other = [pairs["a cat in both"]["bg"][i] for i in range(2)]
    wanted = {"as they should be": (rooms, scenes), "swapped": (scenes, rooms), "no cat": (rooms, rooms),
              "two rooms": (rooms.flip(0), scenes), "a cat in both": (torch.stack(other), scenes)}  # fmt: skip
    assert list(pairs) == list(bad_pairs.kinds(dataset)) and set(pairs) == set(wanted)
    for kind, both in wanted.items():
        assert all(torch.equal(pairs[kind][name], picture) for name, picture in zip(("bg", "bg_fg"), both)), kind
    second_cat = [i for i in range(per_room) if dataset.address(i).cat != dataset.address(0).cat]
    assert any(torch.equal(other[0], quartets["bg_fg"][i]) for i in second_cat)


@pytest.mark.parametrize("said, wanted", [
    (CourseError("These are two rooms."), "refused"), ("", "silent"), ("The picture of the room misses 3%.", "silent"),
    ("The picture of the room misses 3%.\nNo cat was found.", "told"),
])  # fmt: skip
def test_answers(monkeypatch, said, wanted):
    def predict_pair(net, room, scene):
        if isinstance(said, CourseError):
            raise said
        print(said, end="")

    monkeypatch.setattr(bad_pairs, "predict_pair", predict_pair)
    assert bad_pairs.answer(None, None, None) == wanted


def test_the_command_counts_every_pair_of_held_out_rooms(capsys, tmp_path):
    photo_folder(tmp_path / "photos", depths=(None,) * 8, cats=8)
    bad_pairs.main([str(tmp_path / "photos")])
    result = newest(bad_pairs.RESULT)
    assert bad_pairs.markdown(result) in capsys.readouterr().out and result["rooms"] > 0
    for counts in result["answers"].values():
        assert tuple(counts) == bad_pairs.ANSWERS and sum(counts.values()) == result["rooms"]


def test_two_rooms_are_of_two_places(monkeypatch):
    monkeypatch.setattr(bad_pairs, "HANDHELD", Perturbation(*[0.0] * 7))
    dataset = RoomsDataset(32, rooms=4, cats=2, placements=1)
    dataset.places = {0: 0, 1: 0, 2: 2, 3: 2}  # two views of each
    found = bad_pairs.kinds(dataset)
    rooms = found["as they should be"]["bg"]
    which = [[torch.equal(other, room) for room in rooms].index(True) for other in found["two rooms"]["bg"]]
    assert all(i // 2 != j // 2 for i, j in enumerate(which))
    dataset.places = dict.fromkeys(range(4), 0)
    with pytest.raises(CourseError, match="Not two places"):
        bad_pairs.kinds(dataset)
