"""One suite for every source of quartets: what `helpers.dataset` promises holds for rooms, photographs and the archive,
for a subset and for a cached set of them, and for the toys that stand for a source in other tests."""

import json
import pickle

import numpy as np
import pytest
import torch
from archive_files import write_archive
from photo_files import photo_folder
from torch.utils.data import DataLoader
from toy import ToyQuartets

from helpers.archive.dataset import ArchiveDataset
from helpers.config import CourseError
from helpers.dataset import Subset, cached, check_quartet, get_batch, loader, sample, scenes, split
from helpers.photos.dataset import PhotosDataset
from helpers.rendering.dataset import RoomsDataset

SIZE, LARGER = 48, 50  # at 50 px a row does not fill the processor's vectors
FLAT = "photos without depth"
SOURCES = ["rooms", "photos", FLAT, "archive", "subset", "cached", "toys"]
DRAWING = ["rooms", "photos", FLAT, "toys"]  # these draw from a seed
SIZES = [name for name in SOURCES if name != "cached"]  # a cached set has one size


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """make(name, size, seed): a small source of that name, made anew."""
    root = tmp_path_factory.mktemp("sources")
    folders = {
        "photos": photo_folder(root / "photos"),
        FLAT: photo_folder(root / "flat", depth=False, camera=False),
        "archive": write_archive(root / "archive"),
    }

    def make(name, size=SIZE, seed=0):
        if name == "rooms":
            return RoomsDataset(size, rooms=2, cats=2, placements=2, seed=seed)
        if name in ("photos", FLAT):
            return PhotosDataset(folders[name], size, placements=2, seed=seed)
        if name == "archive":
            return ArchiveDataset(folders[name], size)
        if name == "subset":
            return sample(make("photos", size), 12, seed=seed)
        if name == "cached":
            return cached(make("subset", size, seed), workers=0, progress=False)
        return ToyQuartets(rooms=2, cats=2, placements=2, size=size, seed=seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(root / "cache"))
        yield make


@pytest.fixture(scope="module")
def sources(make):
    return {name: make(name) for name in SOURCES}


@pytest.fixture(params=SOURCES)
def dataset(request, sources):
    return sources[request.param]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype and first[name].shape == second[name].shape, name
        assert torch.equal(first[name].nan_to_num(-1), second[name].nan_to_num(-1)), f"{name} differs"


def row(batch, i):
    return {name: value[i] for name, value in batch.items()}


def test_every_quartet_keeps_the_contract(dataset):
    for index in range(len(dataset)):
        quartet = check_quartet(dataset[index])
        assert quartet["bg"].shape == (3, SIZE, SIZE)
        assert 0.005 < quartet["mask"].mean() < 0.5, "there is a cat, and there is a room"


def test_rooms_cats_and_addresses_agree(dataset):
    rooms, cats = scenes(dataset)
    assert rooms.tolist() == [dataset.room_of(i) for i in range(len(dataset))]
    assert cats.tolist() == [dataset.cat_of(i) for i in range(len(dataset))]
    assert sorted(set(rooms.tolist())) == sorted(set(cats.tolist())) == [0, 1]
    if hasattr(dataset, "address"):
        addresses = [dataset.address(i) for i in range(len(dataset))]
        assert [(a.room, a.cat) for a in addresses] == list(zip(rooms, cats)) and len(set(addresses)) == len(addresses)
        assert len(dataset) == dataset.rooms * dataset.cats * 2 * dataset.placements
    for part in split(dataset, test=0.5):
        assert len(set(scenes(part)[0])) == len(set(scenes(part)[1])) == 1


def test_the_room_decides_the_background(dataset):
    rooms, _ = scenes(dataset)
    batch = dataset.get_batch(range(len(dataset)))
    for room in set(rooms):
        assert (batch["bg"][rooms == room] == batch["bg"][np.argmax(rooms == room)]).all()
    assert (batch["bg"][rooms == 0][0] != batch["bg"][rooms == 1][0]).any()


# -- the same bytes, however they are fetched -----------------------------------------------------------------------


def test_a_quartet_does_not_depend_on_the_batch_around_it(dataset):
    indices = [3, 0, len(dataset) - 1, 3, -2]
    batch = dataset.get_batch(indices)
    assert_same(get_batch(dataset, indices), batch)
    for i, (index, item) in enumerate(zip(indices, dataset.__getitems__(indices), strict=True)):
        assert_same(dataset[index], row(batch, i))
        assert_same(item, row(batch, i))


def test_a_second_look_shows_the_same(dataset, make, request):
    again = make(request.node.callspec.params["dataset"])
    for index in reversed(range(0, len(dataset), 5)):
        assert_same(again[index], dataset[index])


def test_workers_do_not_change_a_byte(dataset):
    batches = [[0, 7, 2], [5], [1, 1]]
    for batch, indices in zip(loader(dataset, batches, workers=2), batches, strict=True):
        assert_same(batch, dataset.get_batch(indices))
    (first, *_, last) = DataLoader(dataset, batch_size=5, num_workers=2)
    assert_same(first, dataset.get_batch(range(5)))
    assert len(last["bg"]) == (len(dataset) % 5 or 5)


@pytest.mark.parametrize("size", [SIZE, LARGER, 100])
@pytest.mark.parametrize("name", SIZES)
def test_threads_do_not_change_a_byte(make, name, size):
    indices = [0, 5, 3, 6, 1]
    one = make(name, size).get_batch(indices)
    torch.set_num_threads(3)
    assert_same(make(name, size).get_batch(indices), one)


def test_another_process_gets_the_same_quartets(dataset, request):
    dataset[0]  # used: what it keeps in memory must not matter
    sent = pickle.dumps(dataset)
    assert_same(pickle.loads(sent)[4], dataset[4])
    if request.node.callspec.params["dataset"] in ("rooms", "archive", "cached", "toys"):
        assert len(sent) < 4000, "a worker makes or opens its data itself"


# -- indices --------------------------------------------------------------------------------------------------------


def test_an_index_may_count_from_the_end_but_not_beyond(dataset):
    last = len(dataset) - 1
    assert_same(dataset[-1], dataset[last])
    assert (dataset.room_of(-1), dataset.cat_of(-1)) == (dataset.room_of(last), dataset.cat_of(last))
    for outside in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError):
            dataset[outside]
        with pytest.raises(IndexError):
            dataset.get_batch([0, outside])
        with pytest.raises(IndexError):
            dataset.room_of(outside)


# -- caches ---------------------------------------------------------------------------------------------------------


def test_a_cached_set_is_its_source_byte_for_byte(dataset, tmp_path):
    for workers in (0, 2):  # made, then read from where it was made
        copy = cached(dataset, tmp_path, workers=workers, progress=False)
        everything = range(len(dataset))
        assert_same(copy.get_batch(everything), dataset.get_batch(everything))
        assert [ids.tolist() for ids in scenes(copy)] == [ids.tolist() for ids in scenes(dataset)]
    assert len(list(tmp_path.iterdir())) <= 1
    assert cached(copy) is copy


def test_the_key_is_plain_json_and_the_same_for_the_same_data(dataset, make, request):
    key = dataset.key()
    assert json.loads(json.dumps(key)) == key
    assert make(request.node.callspec.params["dataset"]).key() == key


def test_keys_tell_all_sets_apart(sources, make):
    keys = [dataset.key() for dataset in sources.values()]
    keys += [make(name, LARGER).key() for name in SOURCES]
    keys += [make(name, SIZE, seed=1).key() for name in (*DRAWING, "subset", "cached")]
    assert len({json.dumps(key, sort_keys=True) for key in keys}) == len(keys)


@pytest.mark.parametrize("name", DRAWING)
def test_another_seed_draws_other_quartets(make, name):
    first, second = make(name).get_batch(range(8)), make(name, seed=1).get_batch(range(8))
    assert all((first["bg_fg"][i] != second["bg_fg"][i]).any() for i in range(8))


# -- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_another_size_shows_the_same_scenes(sources, name):
    small = sources[name]
    large = small.at_size(96)
    assert (large.size, len(large)) == (96, len(small))
    assert [ids.tolist() for ids in scenes(large)] == [ids.tolist() for ids in scenes(small)]
    before, after = small.get_batch(range(6)), large.get_batch(range(6))
    reduced = torch.nn.functional.avg_pool2d(after["mask"], 2)
    for mask, other in zip(before["mask"] >= 0.5, reduced >= 0.5):
        assert (mask & other).sum() / (mask | other).sum() > 0.8
    assert_same(large.at_size(SIZE).get_batch(range(6)), before)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [31, 513])
def test_impossible_sizes_are_refused(sources, name, size):
    with pytest.raises(CourseError, match=f"size={size}"):
        sources[name].at_size(size)


def test_a_subset_of_a_subset_and_of_a_cached_set_counts_as_they_do(sources):
    for whole in (sources["subset"], sources["cached"]):
        part = Subset(whole, [4, 1])
        assert_same(part[1], whole[1])
        assert (part.room_of(0), part.cat_of(0)) == (whole.room_of(4), whole.cat_of(4))
