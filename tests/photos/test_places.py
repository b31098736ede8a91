"""Rooms that show one place: what scenes.json says of a folder, what looks alike, and what split does with it."""

from __future__ import annotations

import json
import shutil
import unicodedata

import numpy as np
import pytest
from photo_files import photo_folder
from PIL import Image

from helpers.config import CourseError
from helpers.dataset import cached, split
from helpers.photos import PhotosDataset


@pytest.fixture
def mine(tmp_path):
    return photo_folder(tmp_path / "mine", [None] * 6, cats=3, depth=False, camera=False)


def opened(root, said=None, size=32):
    if said is not None:
        (root / "scenes.json").write_text(said if isinstance(said, str) else json.dumps(said), encoding="utf-8")
    return PhotosDataset(root, size, placements=1)


def groups(dataset):
    """The rooms of each place that has several."""
    place = [dataset.places.get(room, room) for room in range(dataset.rooms)]
    found = [{room for room in range(dataset.rooms) if place[room] == one} for one in sorted({*place})]
    return [rooms for rooms in found if len(rooms) > 1]


def speckled(root, number):
    """A room with something to see in it."""
    small = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((160, 160), Image.Resampling.BICUBIC)
    image.save(root / f"bg/room_{number}.png")
    return image


HALLS = {"room_0": "hall", "room_2": "hall", "room_3": "Keller 1", "room_5": "keller 1"}


@pytest.mark.parametrize(
    "said, expected",
    [
        (HALLS, [{0, 2}, {3, 5}]),
        ("\ufeff" + json.dumps(HALLS), [{0, 2}, {3, 5}]),  # as Windows' editor begins its files
        ({"ROOM_0": 7, "room_4": 7, "room_1": "07"}, [{0, 4}]),
        ({f"room_{i}": {"scene": i // 2, "run": i // 3} for i in range(6)}, [{0, 1, 2}, {3, 4, 5}]),
        ({f"room_{i}": {"scene": i // 2} for i in range(5)}, [{0, 1}, {2, 3}]),
        ({"room_1": "a", "room_0": "b"}, []),
        ({}, []),
    ],
)
def test_scenes_json_says_which_rooms_show_one_place(mine, said, expected):
    dataset = opened(mine, said)
    assert groups(dataset) == groups(dataset.at_size(48)) == expected


def test_no_split_divides_a_place(mine):
    shown = [{0, 2}, {3, 5}]
    for seed in range(6):
        parts = split(opened(mine, HALLS), 0.4, 0.1 * (seed % 2), seed)
        rooms = [{*part.scenes()[0].tolist()} for part in parts]
        assert sum(any(place <= held for held in rooms) for place in shown) == 2 and len(set.union(*rooms)) == 6
        assert len(rooms[-1]) in (1, 2)  # 0.4 of 6 rooms are 2
    with pytest.raises(CourseError, match=r"1 place\(s\).*add a place"):
        split(opened(mine, {f"room_{i}": "one" for i in range(6)}))


def test_places_change_what_is_split_and_no_quartet(mine, tmp_path):
    plain = opened(mine)
    made = cached(plain, tmp_path / "sets", workers=0, progress=False)
    with_places = opened(mine, HALLS)
    assert with_places.key() == plain.key() and not plain.places
    again = cached(with_places, tmp_path / "sets", workers=0, progress=False)
    assert again.folder == made.folder and again.places == with_places.places
    assert split(with_places)[0].key() != split(plain)[0].key()


def test_what_the_file_says_is_told_once_with_the_field_that_counts(mine, capsys):
    opened(mine, {f"room_{i}": {"scene": i, "run": i // 3} for i in range(6)}).at_size(48)
    assert capsys.readouterr().out == "scenes.json: 6 rooms show 2 place(s), by its field run.\n"


def test_rooms_that_look_alike_are_one_place_unless_the_file_has_two(mine, capsys):
    rooms = [speckled(mine, number) for number in range(6)]
    for number, source in ((7, 4), (8, 1)):  # the next frames
        rooms[source].rotate(2, Image.Resampling.BICUBIC).crop((8, 6, 152, 150)).save(mine / f"bg/room_{number}.png")
    assert groups(opened(mine)) == [{1, 7}, {4, 6}]
    said = capsys.readouterr().out
    assert "2 of 8 rooms look like another one" in said and said.count("\n") == 1
    assert 'one place; to decide it yourself, write scenes.json: {"room_7": "place 1", "room_4": ' in said
    dataset = opened(mine, {"room_7": "attic", "room_4": "cellar", "room_1": "hall", "room_8": "hall"})
    assert groups(dataset) == [{1, 7}]
    said = capsys.readouterr().out
    assert "1 of 8 rooms look like another one" in said and "(bg/room_7.png like bg/room_4.png)" in said
    assert "if so, give them one place in scenes.json, else the test shows rooms that were trained on." in said


def test_frames_that_pass_on_their_look_are_all_one_place(mine):
    """The last is like the first by the one between them alone."""
    whole = speckled(mine, 0)
    left, right = whole.crop((0, 0, 112, 112)), whole.crop((48, 48, 160, 160))
    left.save(mine / "bg/room_1.png"), right.save(mine / "bg/room_2.png")
    whole.save(mine / "bg/room_5.png"), (mine / "bg/room_0.png").unlink()
    assert groups(opened(mine)) == [{0, 1, 4}]  # room_1, room_2 and room_5
    (mine / "bg/room_5.png").unlink()
    assert groups(opened(mine)) == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_of_another_form_is_the_same_room(mine, form):
    (mine / "bg/room_0.png").rename(mine / "bg" / unicodedata.normalize(form, "K\u00fcche 1.png"))
    assert groups(opened(mine, {"k\u00fcche 1": "a", "room_3": "a"})) == [{0, 3}]


def test_a_copy_that_is_left_out_still_says_where_its_picture_is(mine):
    shutil.copy(mine / "bg/room_2.png", mine / "bg/room_9.png")
    with pytest.warns(UserWarning, match="left out"):
        assert groups(opened(mine, {"room_9": "a", "room_3": "a"})) == [{2, 3}]
    with pytest.warns(UserWarning, match="left out"), pytest.raises(CourseError, match="room_9 and a copy of the same"):
        opened(mine, {"room_2": "b", "room_9": "a"})


@pytest.mark.parametrize(
    "said, words",
    [
        ('{"room_0": "hall"', "scenes.json is not valid JSON"),
        ("[" * 100_000, "scenes.json is not valid JSON"),
        ('{"room_0": ' * 100_000, "scenes.json is not valid JSON"),
        ('["room_0", "room_1"]', "must map rooms to places: {\"hall_1\""),
        ('{"room_0": "a", "room_0": "b"}', "'room_0' is there twice"),
        ('{"room_0": "a", "Room_0": "b"}', "'Room_0' is there twice"),
        ({"room_0": {"run": 1}, "room_1": {"scene": 1}}, 'place of room_1 is None; it must be an object with "run"'),
        ({"room_0": {"run": 1}, "room_1": "hall"}, 'room_1 is None; it must be an object with "run"'),
        ({"room_0": ["hall"]}, r"place of room_0 is ['hall']; it must be a text or a whole number"),
        ({"room_0": True}, "place of room_0 is True"),
        ({"room_0": ""}, "place of room_0 is ''"),
        ({"room_0": {"where": "hall"}}, "it must be a text or a whole number"),
        ({"room_0.png": "a"}, "such as 'room_0.png': write names without their ending"),
        ({f"room_{i}": 1 for i in range(16)}, "10 picture(s) that bg/ does not have, such as 'room_6': write"),
        ('{"room_0": "%s"}' % ("x" * 5 * 2**20), "scenes.json is not a file of at most 4 MB"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_followed_is_told_in_a_sentence(mine, said, words):
    with pytest.raises(CourseError) as found:
        opened(mine, said)
    assert words in str(found.value) and str(found.value).endswith(".") and len(str(found.value)) < 400


def test_a_file_elsewhere_or_none_at_all_is_refused(mine, tmp_path):
    (tmp_path / "beside.json").write_text("{}")
    (mine / "scenes.json").symlink_to(tmp_path / "beside.json")
    with pytest.raises(CourseError, match="scenes.json is a link that leads out of"):
        opened(mine)
    (mine / "scenes.json").unlink()
    (mine / "scenes.json").mkdir()
    with pytest.raises(CourseError, match="scenes.json is not a file"):
        opened(mine)
