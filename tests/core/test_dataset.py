"""The data contract, indices and addresses, held-out rooms and cats, and sets on disk."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.utils.data import Dataset
from toy import Plain, ToyQuartets

from helpers import dataset as quartets
from helpers.config import CourseError
from helpers.dataset import (
    SceneDataset,
    Subset,
    cached,
    check_quartet,
    get_batch,
    loader,
    normalise_depth,
    quantise,
    sample,
    split,
)


class CountingToys(ToyQuartets):
    """Counts how often it makes quartets; may fail at a chosen call."""

    calls, fail_at = 0, None

    def get_batch(self, indices):
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("the power went out")
        return super().get_batch(indices)


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].dtype == b[key].dtype and a[key].shape == b[key].shape, key
        assert torch.equal(a[key].nan_to_num(-1), b[key].nan_to_num(-1)), key


# -- the contract ---------------------------------------------------------------------------------------------------


def test_a_quartet_that_keeps_the_contract_is_returned_unchanged():
    quartet = ToyQuartets()[3]
    assert check_quartet(quartet) is quartet


def test_no_metres_no_valid_pixel_and_a_flat_scene_are_allowed():
    quartet = ToyQuartets()[0]
    nothing, flat = torch.zeros_like(quartet["depth"]), torch.full((2,), torch.nan)
    check_quartet({**quartet, "near_far": flat})
    check_quartet({**quartet, "valid": nothing.bool(), "depth": nothing + torch.nan, "near_far": flat})
    check_quartet({**quartet, "depth": nothing, "near_far": torch.tensor([2.0, 2.0])})


BROKEN = {
    "no depth": (lambda q: q.pop("depth"), "no 'depth'; it has 'bg', 'bg_fg', 'mask', 'valid'"),
    "no near_far": (lambda q: q.pop("near_far"), "no 'near_far'"),
    "a NumPy array": (lambda q: q.update(mask=q["mask"].numpy()), "'mask' must be a torch tensor, not ndarray"),
    "float images": (lambda q: q.update(bg=q["bg"] / 255), "'bg' must be torch.uint8, not torch.float32"),
    "a byte mask": (lambda q: q.update(mask=q["mask"].byte()), "'mask' must be torch.float32"),
    "float valid": (lambda q: q.update(valid=q["valid"].float()), "'valid' must be torch.bool"),
    "double depth": (lambda q: q.update(depth=q["depth"].double()), "'depth' must be torch.float32"),
    "a grey image": (
        lambda q: q.update(bg_fg=q["bg_fg"][:1]),
        r"'bg_fg' must have shape \(3, 32, 32\).*not \(1, 32, 32\)",
    ),
    "a flat mask": (lambda q: q.update(mask=q["mask"][0]), r"'mask' must have shape \(1, 32, 32\)"),
    "another size": (lambda q: q.update(depth=q["depth"][:, :16]), r"'depth' must have shape \(1, 32, 32\), like 'bg'"),
    "a vector": (lambda q: q.update(bg=q["bg"][0, 0]), r"'bg' must have shape \(3, H, W\), not \(32,\)"),
    "a mask of 255": (lambda q: q.update(mask=q["mask"] * 255), r"'mask' must be finite and lie in \[0, 1\]"),
    "a mask below 0": (lambda q: q.update(mask=q["mask"] - 0.1), r"'mask' must be finite and lie in \[0, 1\]"),
    "a NaN in depth": (lambda q: q["depth"][0, 5].fill_(torch.nan), r"'depth' must be finite and lie in \[0, 1\]"),
    "metres as depth": (lambda q: q.update(depth=q["depth"] * 4), r"'depth' must be finite and lie in \[0, 1\]"),
    "nothing near": (lambda q: q.update(depth=q["depth"] / 2 + 0.5), "'depth' must be 0 at the nearest"),
    "nothing far": (lambda q: q.update(depth=q["depth"] / 2), "'depth' must be 1 at the farthest"),
    "one metre": (lambda q: q.update(near_far=torch.ones(1)), r"'near_far' must be float32 of shape \(2,\)"),
    "whole metres": (lambda q: q.update(near_far=torch.tensor([1, 2])), "'near_far' must be float32"),
    "far before near": (lambda q: q.update(near_far=torch.tensor([4.0, 1.0])), "'near_far'.*near <= far"),
    "behind the camera": (lambda q: q.update(near_far=torch.tensor([-1.0, 1.0])), "'near_far'.*near <= far"),
    "no end": (lambda q: q.update(near_far=torch.tensor([1.0, torch.inf])), "'near_far'.*near <= far"),
    "half known": (lambda q: q.update(near_far=torch.tensor([1.0, torch.nan])), "'near_far'.*or two NaN"),
}


@pytest.mark.parametrize("damage, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_quartet_is_told_by_key_and_rule(damage, message):
    quartet = ToyQuartets()[3]
    damage(quartet)
    with pytest.raises(CourseError, match=message):
        check_quartet(quartet)


def test_a_quartet_is_a_dict():
    with pytest.raises(CourseError, match="a dict, not a tuple"):
        check_quartet(tuple(ToyQuartets()[0].values()))


# -- indices and addresses ------------------------------------------------------------------------------------------

shapes = st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 5))


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_every_index_has_its_own_address_in_order(shape):
    rooms, cats, placements = shape
    toys = SceneDataset(rooms, cats, placements, 32, 0)
    addresses = [toys.address(i) for i in range(len(toys))]
    assert addresses == [
        (r, c, f, p) for r in range(rooms) for c in range(cats) for f in (0, 1) for p in range(placements)
    ]
    assert [toys.room_of(i) for i in range(len(toys))] == [a.room for a in addresses]
    assert [toys.cat_of(i) for i in range(len(toys))] == [a.cat for a in addresses]


@settings(deadline=None, max_examples=40)
@given(shapes, st.data())
def test_an_index_may_count_from_the_end_but_not_beyond(shape, data):
    toys = SceneDataset(*shape, 32, 0)
    index = data.draw(st.integers(-len(toys), -1))
    assert toys.address(index) == toys.address(index + len(toys))
    for outside in (len(toys), -len(toys) - 1):
        with pytest.raises(IndexError, match=f"{outside} is outside this dataset of {len(toys)}"):
            toys.address(outside)


@pytest.mark.parametrize("change", [{"rooms": 0}, {"cats": 0}, {"placements": 0}, {"size": 31}, {"size": 513}])
def test_impossible_datasets_are_refused_by_name(change):
    with pytest.raises(CourseError, match=f"{next(iter(change))}="):
        ToyQuartets(**change)


# -- splitting and sampling -----------------------------------------------------------------------------------------


def ids(part):
    return {part.room_of(i) for i in range(len(part))}, {part.cat_of(i) for i in range(len(part))}


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 9), st.integers(2, 7), st.floats(0.01, 0.99), st.integers(0, 99))
def test_no_room_and_no_cat_is_on_both_sides(rooms, cats, share, seed):
    toys = SceneDataset(rooms, cats, 2, 32, 0)
    train, test = split(toys, share, seed=seed)
    (train_rooms, train_cats), (test_rooms, test_cats) = ids(train), ids(test)
    assert train_rooms | test_rooms == set(range(rooms)) and not train_rooms & test_rooms
    assert train_cats | test_cats == set(range(cats)) and not train_cats & test_cats
    assert len(train) == len(train_rooms) * len(train_cats) * 4 and len(test) == len(test_rooms) * len(test_cats) * 4


def test_the_share_is_a_share_of_rooms_and_of_cats():
    train, test = split(SceneDataset(10, 20, 1, 32, 0), test=0.3)
    assert (len(train), len(test)) == (7 * 14 * 2, 3 * 6 * 2)


def test_the_split_is_decided_by_its_seed():
    toys = SceneDataset(10, 10, 1, 32, 0)
    first, again, other = (split(toys, seed=seed)[1].indices.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_part_can_be_split_again():
    toys = SceneDataset(8, 8, 1, 32, 0)
    train, test = split(toys, 0.25)
    train, watch = split(train, 0.5)
    groups = [ids(part) for part in (train, watch, test)]
    for kind in (0, 1):
        assert sum(len(group[kind]) for group in groups) == 8 == len(set.union(*(group[kind] for group in groups)))


@pytest.mark.parametrize("rooms, cats", [(3, 3), (5, 4), (20, 10)])
def test_a_validation_set_shares_no_room_and_no_cat_and_leaves_the_test_set_as_it_is(rooms, cats):
    toys = SceneDataset(rooms, cats, 1, 32, 0)
    train, validation, test = split(toys, 0.3, 0.2, seed=3)
    for which in (0, 1):  # rooms, cats
        ids = [set(part.scenes()[which]) for part in (train, validation, test)]
        assert all(ids) and not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    assert test.indices.tolist() == split(toys, 0.3, seed=3)[1].indices.tolist()
    with pytest.raises(CourseError, match="their sum"):
        split(toys, 0.7, 0.3)
    with pytest.raises(CourseError, match="for 3 parts"):
        split(SceneDataset(2, 5, 1, 32, 0), 0.3, 0.2)


@pytest.mark.parametrize("shape, what", [((1, 4), "room"), ((4, 1), "cat")])
def test_one_room_or_one_cat_cannot_be_split(shape, what):
    with pytest.raises(CourseError, match=rf"1 {what}\(s\).*for 2 parts: add a {what}"):
        split(SceneDataset(*shape, 1, 32, 0))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(CourseError, match="between 0 and 1"):
        split(ToyQuartets(), share)


def test_rooms_that_are_places_of_their_own_are_split_as_ever():
    parts = split(SceneDataset(12, 8, 1, 32, 0), 0.3, 0.2, seed=4)
    rooms = [{3, 4, 5, 6, 7, 11}, {9, 10}, {0, 1, 2, 8}]  # as it was before there were places
    assert [ids(part) for part in parts] == list(zip(rooms, [{1, 4, 5, 6}, {2, 3}, {0, 7}]))


def toys_of_places(sizes, kind=SceneDataset, seed=0):
    """Toys whose rooms, in any order, show places with so many rooms, and the place of every room."""
    place_of = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).tolist()
    toys = kind(len(place_of), 3, 1, 32, 0)
    toys.places = {room: place_of.index(place) for room, place in enumerate(place_of) if sizes[place] > 1}
    return toys, np.array(place_of)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=3, max_size=12), st.floats(0.05, 0.6), st.floats(0, 0.3), st.integers(0, 9))
def test_no_place_is_divided_and_the_shares_are_kept_as_whole_places_allow(sizes, test, validation, seed):
    toys, place_of = toys_of_places(sizes)
    parts = dict(zip(("train", "test") if not validation else ("train", "validation", "test"),
                     split(toys, test, validation, seed)))  # fmt: skip
    rooms = {name: {*part.scenes()[0].tolist()} for name, part in parts.items()}
    places = {name: {int(place_of[room]) for room in found} for name, found in rooms.items()}
    assert all(places.values()) and sum(map(len, places.values())) == len(sizes)
    assert sum(map(len, rooms.values())) == toys.rooms
    free = set(range(len(sizes)))
    for others, (name, share) in zip(range(len(parts) - 1, 0, -1), (("test", test), ("validation", validation))):
        least = sorted(sizes[place] for place in free)
        most = max(least[0], min(round(share * toys.rooms), sum(least[:-others])))  # a place stays for every other part
        free -= places[name]
        assert len(rooms[name]) <= most < len(rooms[name]) + min(sizes[place] for place in free)


def test_one_place_cannot_be_split_whatever_it_has_of_rooms():
    with pytest.raises(CourseError, match=r"1 place\(s\).*for 2 parts: add a place"):
        split(toys_of_places([5])[0])
    with pytest.raises(CourseError, match=r"2 place\(s\).*for 3 parts: add a place"):
        split(toys_of_places([5, 1])[0], validation=0.1)


def test_a_cached_set_keeps_the_places_also_where_it_was_made_before_they_were_known(tmp_path):
    toys, place_of = toys_of_places([2, 3, 1], ToyQuartets)
    plain = ToyQuartets(toys.rooms, toys.cats, 1)
    assert silent(toys, tmp_path / "new").places == toys.places
    for source, unaware in ((toys, plain), (part := Subset(toys, range(0, 36, 2)), Subset(plain, part.indices))):
        silent(unaware, tmp_path / "old")
        made = {path: path.stat().st_mtime_ns for path in (tmp_path / "old").iterdir()}
        stored = pickle.loads(pickle.dumps(silent(source, tmp_path / "old")))
        assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "old").iterdir()}
        parts = split(stored, 0.4)
        places = [{int(place_of[room]) for room in ids(part)[0]} for part in parts]
        assert all(places) and not places[0] & places[1]
        assert [part.indices.tolist() for part in parts] == [part.indices.tolist() for part in split(source, 0.4)]


def test_a_side_without_quartets_is_told():
    diagonal = Subset(SceneDataset(2, 2, 1, 32, 0), [0, 6])  # room 0 with cat 0, room 1 with cat 1
    messages = []
    for seed in range(8):
        try:
            train, test = split(diagonal, 0.5, seed=seed)
            assert len(train) == len(test) == 1
        except CourseError as error:
            messages.append(str(error))
    assert messages and all("use more quartets" in message for message in messages)


def test_a_sample_has_no_repeats_and_is_decided_by_its_seed():
    toys = SceneDataset(5, 5, 2, 32, 0)
    drawn = sample(toys, 30, seed=3).indices.tolist()
    assert len(drawn) == len(set(drawn)) == 30 and set(drawn) < set(range(100))
    assert drawn == sample(toys, 30, seed=3).indices.tolist() != sample(toys, 30, seed=4).indices.tolist()
    assert drawn != sorted(drawn)
    assert sorted(sample(toys, 1000).indices) == list(range(100))


def test_a_part_stands_for_its_indices():
    toys = ToyQuartets()
    part = Subset(toys, [40, 3, 17])
    assert len(part) == 3 and part.size == 32
    assert_equal(part[1], toys[3])
    assert_equal(part.get_batch([2, 0]), toys.get_batch([17, 40]))
    assert_equal(part.__getitems__([2, 0])[1], toys[40])
    assert (part.room_of(0), part.cat_of(0)) == (toys.room_of(40), toys.cat_of(40))
    assert_equal(part.at_size(48)[1], toys.at_size(48)[3])
    assert part.key() == Subset(toys, [40, 3, 17]).key() != Subset(toys, [40, 17, 3]).key()
    assert part.key() != part.at_size(48).key()
    within = Subset(part, [0, 1])  # the same places of another part are other quartets
    assert within.key() != Subset(Subset(toys, [4, 5, 6]), [0, 1]).key() and within.key() != Subset(toys, [0, 1]).key()


def test_a_part_of_a_plain_dataset_does_what_that_can():
    part = Subset(Plain(ToyQuartets()), [40, 3, 17])
    assert part.at_size(48).dataset is part.dataset and part.at_size(48)[0]["bg"].shape == part[0]["bg"].shape
    assert part.key() == Subset(Plain(ToyQuartets()), [40, 3, 17]).key() != Subset(Plain(ToyQuartets()), [3, 17]).key()
    assert_equal(part.get_batch([0, 2]), ToyQuartets().get_batch([40, 17]))


class Listed(Plain):
    def __getitems__(self, indices):
        return self.dataset.__getitems__(indices)


@pytest.mark.parametrize("wrap", [lambda toys: toys, Listed, Plain])
def test_fetch_gives_the_same_batch_from_every_kind_of_dataset(wrap):
    toys = ToyQuartets()
    assert_equal(get_batch(wrap(toys), [9, 2, 33]), toys.get_batch([9, 2, 33]))


def test_fetch_prefers_whole_batches():
    toys = CountingToys()
    get_batch(toys, range(20))
    get_batch(Listed(toys), range(20))
    assert toys.calls == 2
    get_batch(Plain(toys), range(20))
    assert toys.calls == 22


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_yields_the_batches_that_were_asked_for(workers):
    toys = ToyQuartets()
    asked = [[1, 2, 3], [40], [7, 7]]
    for batch, indices in zip(loader(toys, asked, workers), asked, strict=True):
        assert_equal(batch, toys.get_batch(indices))


class Refusing(ToyQuartets):
    def get_batch(self, indices):
        raise CourseError("room_3.png is damaged: save it anew.")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_complains_of_is_one_sentence(workers):
    with pytest.raises(CourseError) as told:
        next(loader(Refusing(), [[0], [1]], workers))
    assert str(told.value) == "room_3.png is damaged: save it anew."


def test_some_of_a_set_without_a_key_is_known_by_its_content(tmp_path):
    class Grey(Dataset):
        """Nothing but a length and items, all of one brightness."""

        size = 32

        def __init__(self, brightness):
            self.brightness = brightness

        def __len__(self):
            return 4

        def room_of(self, index):
            return index // 2

        def cat_of(self, index):
            return index % 2

        def __getitem__(self, index):
            picture = torch.full((3, 32, 32), self.brightness, dtype=torch.uint8)
            return {**ToyQuartets()[index], "bg": picture}

    dark, bright = (Subset(Grey(value), range(2)) for value in (10, 200))
    assert quartets.data_key(dark) != quartets.data_key(bright)
    assert [int(cached(part, tmp_path, 0, False)[0]["bg"].max()) for part in (dark, bright)] == [10, 200]


# -- depth ----------------------------------------------------------------------------------------------------------

scenes = arrays.arrays(np.float32, (2, 1, 4, 5), elements=st.integers(8, 8000).map(lambda k: k / 64))
masks = arrays.arrays(bool, (2, 1, 4, 5))


@settings(deadline=None, max_examples=40)
@given(scenes, masks)
def test_depth_reaches_0_and_1_and_gives_back_the_metres(metres, valid):
    metres, valid = torch.from_numpy(metres), torch.from_numpy(valid)
    depth, near_far = normalise_depth(metres, valid)
    assert (depth[~valid] == 0).all() and depth.shape == metres.shape and near_far.shape == (2, 2)
    for d, z, v, (near, far) in zip(depth, metres, valid, near_far):
        if not v.any():
            assert near.isnan() and far.isnan()
            continue
        assert near == z[v].min() and far == z[v].max()
        assert d[v].min() == 0 and d[v].max() == (1 if near < far else 0)
        assert ((near + d * (far - near) - z)[v].abs() <= (far - near) / 65535 + 1e-5 * far).all()


@settings(deadline=None, max_examples=40)
@given(scenes, masks, st.sampled_from([torch.nan, torch.inf, -torch.inf, 0.0, 1e30]))
def test_what_is_invalid_has_no_influence(metres, valid, rubbish):
    metres, valid = torch.from_numpy(metres), torch.from_numpy(valid)
    clean, soiled = normalise_depth(metres, valid), normalise_depth(metres.masked_fill(~valid, rubbish), valid)
    assert torch.equal(clean[0], soiled[0]) and torch.equal(clean[1].nan_to_num(-1), soiled[1].nan_to_num(-1))


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.5, 1.5), st.sampled_from([255, 65535]))
def test_quantised_values_survive_storage(value, steps):
    once = quantise(torch.tensor([value]), steps)
    stored = (once * steps).round().to(torch.int32)
    assert torch.equal(stored.float() / steps, once) and torch.equal(quantise(once, steps), once)
    assert (once - min(max(value, 0), 1)).abs() <= 0.5 / steps + 1e-7


# -- stored sets ----------------------------------------------------------------------------------------------------


class RoughToys(CountingToys):
    """With every kind of difficulty: soft masks, invalid pixels, images without metres."""

    def get_batch(self, indices):
        batch = super().get_batch(indices)
        size = self.size
        hole = torch.zeros(1, 1, size, size, dtype=torch.bool)
        hole[..., :5, 3:9] = True
        valid = batch["valid"] & ~hole
        depth, near_far = normalise_depth(batch["depth"] * 3 + 1, valid)
        odd = torch.tensor([i % 2 for i in indices]).bool()
        return {
            **batch, "depth": depth, "valid": valid, "near_far": near_far.masked_fill(odd[:, None], torch.nan),
            "mask": quantise(batch["mask"] * torch.linspace(0, 1, size), 255),
        }  # fmt: skip


def silent(dataset, folder, **options):
    return cached(dataset, folder, **{"workers": 0, "progress": False, **options})


def damaged(folder, name, change):
    (path,) = folder.glob(f"quartets-*/{name}")
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stored_set_equals_its_source_byte_for_byte(tmp_path, workers):
    part = sample(RoughToys(), 40, seed=1)
    stored = silent(part, tmp_path, workers=workers)
    assert len(stored) == 40 and stored.size == 32
    everything = list(range(40))
    assert_equal(stored.get_batch(everything), part.get_batch(everything))
    assert_equal(stored[-1], part[39])
    assert_equal(stored.__getitems__([4, 2])[1], part[2])
    assert [(stored.room_of(i), stored.cat_of(i)) for i in everything] == [
        (part.room_of(i), part.cat_of(i)) for i in everything
    ]
    check_quartet(stored[0])
    with pytest.raises(IndexError):
        stored[40]


def test_the_second_time_nothing_is_made(tmp_path):
    toys = RoughToys(rooms=2)
    first = silent(toys, tmp_path)
    made = toys.calls
    again = silent(toys, tmp_path)
    assert made > 0 and toys.calls == made
    assert_equal(again.get_batch([3, 9]), first.get_batch([3, 9]))
    assert cached(again) is again


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 48}, {"rooms": 3}])
def test_another_parameter_never_meets_old_pixels(tmp_path, change):
    silent(ToyQuartets(rooms=2, placements=1), tmp_path)
    other = ToyQuartets(**{"rooms": 2, "placements": 1, **change})
    assert_equal(silent(other, tmp_path)[5], other[5])
    assert len(list(tmp_path.iterdir())) == 2


def test_another_sample_and_another_store_version_are_other_sets(tmp_path, monkeypatch):
    toys = ToyQuartets()
    silent(sample(toys, 8, seed=0), tmp_path)
    silent(sample(toys, 8, seed=1), tmp_path)
    monkeypatch.setattr(quartets, "CACHE_VERSION", quartets.CACHE_VERSION + 1)
    silent(sample(toys, 8, seed=0), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


ARRAYS = ("bg", "bg_fg", "mask", "depth", "valid", "near_far")
DAMAGE = {
    **{f"{name} cut": (f"{name}.npy", lambda data: data[: len(data) * 2 // 3]) for name in ARRAYS},
    "an empty array": ("mask.npy", lambda data: b""),
    "no header": ("depth.npy", lambda data: b"\0" * len(data)),
    "meta cut": ("meta.json", lambda data: data[: len(data) // 2]),
    "meta empty": ("meta.json", lambda data: b""),
    "meta not an object": ("meta.json", lambda data: b"[]"),
    "meta without rooms": ("meta.json", lambda data: json.dumps({"key": {}, "cats": []}).encode()),
    "meta for fewer": ("meta.json", lambda data: json.dumps({"key": {}, "rooms": [0], "cats": [0]}).encode()),
}


@pytest.mark.parametrize("name, change", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_set_is_made_again(tmp_path, name, change):
    toys = RoughToys(rooms=2, placements=1)
    silent(toys, tmp_path)
    made = toys.calls
    damaged(tmp_path, name, change)
    stored = silent(toys, tmp_path)
    assert toys.calls == 2 * made
    assert_equal(stored.get_batch(range(len(toys))), toys.get_batch(range(len(toys))))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_file_is_damage_too(tmp_path):
    toys = ToyQuartets(rooms=2, placements=1)
    silent(toys, tmp_path)
    next(tmp_path.glob("*/valid.npy")).unlink()
    assert_equal(silent(toys, tmp_path)[7], toys[7])


def test_a_run_that_dies_in_the_middle_leaves_nothing_to_trust(tmp_path):
    toys = CountingToys()  # 64 quartets: two batches
    toys.fail_at = 2
    with pytest.raises(RuntimeError, match="the power went out"):
        silent(toys, tmp_path)
    assert not list(tmp_path.iterdir())
    assert_equal(silent(toys, tmp_path).get_batch([0, 63]), toys.get_batch([0, 63]))


def test_sets_are_kept_in_the_cache_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    stored = cached(ToyQuartets(rooms=1, placements=1), workers=0, progress=False)
    assert stored.folder.parent == tmp_path / "cache"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of Colab's with a mounted Drive: ``machine("two")`` goes on as another one."""

    def fresh(name):
        monkeypatch.setenv("COURSE_CACHE", str(tmp_path / name))
        return tmp_path / "drive" / "course-cache"

    (tmp_path / "drive").mkdir()
    monkeypatch.setattr(quartets, "DRIVE", tmp_path / "drive")
    return fresh


def test_the_next_machine_finds_the_set_on_the_drive(machine):
    toys = CountingToys(rooms=2)
    on_drive = machine("one")
    cached(toys, workers=0, progress=False)
    made, (kept,) = toys.calls, on_drive.iterdir()
    machine("two")
    stored = cached(toys, workers=0, progress=False)
    assert toys.calls == made and on_drive not in stored.folder.parents, "read from a disk of its own, which is faster"
    assert_equal(stored.get_batch([3, 9]), toys.get_batch([3, 9]))

    (kept / "mask.npy").write_bytes(b"cut")
    machine("three")
    assert_equal(cached(toys, workers=0, progress=False).get_batch([3, 9]), toys.get_batch([3, 9]))
    machine("four")
    made = toys.calls
    cached(toys, workers=0, progress=False)
    assert toys.calls == made, "a damaged copy was replaced by a whole one"


def test_a_drive_that_takes_nothing_is_no_failure(machine, monkeypatch):
    on_drive = machine("one")
    on_drive.parent.rmdir()
    on_drive.parent.write_text("no folder any more")
    monkeypatch.setattr(type(on_drive), "is_dir", lambda self: True)
    assert len(cached(ToyQuartets(rooms=1, placements=1), workers=0, progress=False)) == 8


def test_what_renders_on_a_gpu_stays_in_this_process_and_is_the_same_data():
    class OnGpu(ToyQuartets):
        device = torch.device("cuda")

        def key(self):
            return {**super().key(), "device": "cuda"}

        def get_batch(self, indices):
            assert torch.utils.data.get_worker_info() is None
            return super().get_batch(indices)

    part = Subset(OnGpu(), range(8))
    assert len(list(loader(part, [[0, 1], [2, 3]], workers=2))) == 2
    assert part.key() != Subset(ToyQuartets(), range(8)).key(), "another set on disk"
    assert quartets.data_key(part) == quartets.data_key(Subset(ToyQuartets(), range(8))), "a run on it goes on"
