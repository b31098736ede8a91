"""The archive as a dataset; what all sources have in common is tested in ``tests/sources``."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import archive_files
import cv2
import numpy as np
import pytest
import torch
from archive_files import jpeg, member, room_picture, scene

from helpers.archive import dataset as archive
from helpers.archive import images as archive_images
from helpers.archive import index as archive_index
from helpers.archive.dataset import ArchiveDataset
from helpers.archive.images import Unreadable, clean_mask, jpeg_size, scale_depth
from helpers.config import CourseError, cache_dir
from helpers.dataset import check_quartet, loader, scenes, split
from helpers.utils import write_arrays

REAL = Path(__file__).resolve().parents[3] / "shared" / "real" / "archive"
FULL, ROOMS, CATS, NUMBERS = 96, 3, 4, 12  # 2 flips x 6 placements
SIZE = 48


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))


def every(rooms=ROOMS, cats=CATS, numbers=NUMBERS):
    return archive_files.every(rooms, cats, numbers)


def write_archive(root, quartets=None, change=None, bg=True):
    quartets = every() if quartets is None else quartets
    return archive_files.write_archive(root, size=FULL, quartets=quartets, change=change, bg=bg)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def dataset(folder):
    return ArchiveDataset(folder, SIZE)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(torch.nan_to_num(a[name], -1), torch.nan_to_num(b[name], -1)), f"{name} differs"


def index_of(dataset, quartet):
    return [dataset._index.quartet(row) for row in range(len(dataset))].index(quartet)


def losses(dataset, zip_name):
    return {reason: entry["count"] for reason, entry in dataset.report()["not_listed"][zip_name].items()}


# -- the contract -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 48, 64, 96, 112])
def test_every_quartet_keeps_the_contract(folder, size):
    dataset = ArchiveDataset(folder, size)
    batch = dataset.get_batch(range(len(dataset)))
    for i in range(0, len(dataset), 5):
        check_quartet({name: value[i] for name, value in batch.items()})
    assert batch["bg"].shape == (ROOMS * CATS * NUMBERS, 3, size, size)
    assert batch["valid"].all() and batch["near_far"].isnan().all()


def test_pictures_are_those_of_the_names(dataset):
    whole = dataset.at_size(FULL)
    for quartet in [(1, 1, 0), (2, 3, 11), (3, 4, 5)]:
        colour, mask, depth = scene(*quartet, FULL)
        item = whole[index_of(whole, quartet)]
        assert (item["bg_fg"].permute(1, 2, 0).int() - torch.from_numpy(colour)).abs().float().mean() < 3
        assert (item["mask"][0] * 255 - torch.from_numpy(mask)).abs().mean() < 1.5
        expected = (depth - depth.min()) / (depth.max() - depth.min())
        assert np.abs(item["depth"][0].numpy() - expected).mean() < 0.02
        assert item["depth"][0][mask > 250].mean() < 0.05, "the cat is nearest"
        assert (item["bg"].permute(1, 2, 0).int() - torch.from_numpy(room_picture(quartet[0], FULL))).abs().max() <= 1


def test_rooms_cats_and_placements_are_told_by_the_names(dataset):
    found = [(dataset.room_of(i), dataset.cat_of(i)) for i in range(len(dataset))]
    assert found == [(r - 1, c - 1) for r, c, _ in every()]  # b001 is room 0
    assert (dataset.rooms, dataset.cats, dataset.placements) == (3, 4, 6)
    assert [tuple(ids) for ids in zip(*dataset.scenes())] == found
    for i in range(0, len(dataset), 7):
        room, cat, number = every()[i]
        assert dataset.address(i) == (room - 1, cat - 1, int(number >= 6), number % 6)


def test_indices_beyond_the_end_are_errors(dataset):
    for outside in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=f"of {len(dataset)} quartets"):
            dataset[outside]


def test_a_copy_is_the_same_data_and_another_byte_is_not(dataset, folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)  # without the files' times
    for path in copied.rglob("*.*"):
        os.utime(path, ns=(1, 1))
    assert ArchiveDataset(copied, SIZE).key() == dataset.key()
    kept = (first := sorted((copied / "bg").iterdir())[0]).stat()
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    os.utime(first, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert ArchiveDataset(copied, SIZE).key() != dataset.key()
    write_archive(copied, every()[:-1])
    other = ArchiveDataset(copied, SIZE).key()
    assert other["backgrounds"] == dataset.key()["backgrounds"] and other["files"] != dataset.key()["files"]


def test_zips_that_change_meanwhile_are_not_mixed_up(tmp_path):
    root = write_archive(tmp_path / "a", every(1, 1, 3))
    sent = pickle.dumps(ArchiveDataset(root, SIZE))
    write_archive(root, every(1, 1, 2))
    with pytest.raises(CourseError, match="changed while it was in use"):
        pickle.loads(sent)


# -- sizes: the same geometry, smooth masks, honest depth ---------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_reduced_pictures_show_the_same_coordinates(dataset, size):
    """Red tells x and green tells y: wherever the cat is not, the reduced picture must agree with its position."""
    small = dataset.at_size(size)
    batch = small.get_batch(range(0, len(small), 9))
    expected = (torch.arange(size) + 0.5) / size * 150 + 40
    free = torch.nn.functional.max_pool2d(batch["mask"], 9, 1, 4)[:, 0] == 0
    for channel, grid in ((0, expected.expand(size, size)), (1, expected[:, None].expand(size, size))):
        for name in ("bg", "bg_fg"):
            error = (batch[name][:, channel] - grid)[free[: len(batch[name])]]
            assert error.abs().mean() < 2.5  # of 150 levels over the picture: one and a half hundredths of its width
            assert abs(error.mean()) < 1


def test_decoding_smaller_agrees_with_an_area_average_in_place():
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 200, 1)).astype(np.float32), (0, 0), 3)
    picture = (room_picture(1, 192) // 2 + 6 * (noise[4:196, 4:196, None] - 120)).clip(0, 255).astype(np.uint8)
    data = jpeg(picture)
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    for factor, mode in archive_images.REDUCED.items():
        reduced = archive_images.decode(data, (192, 192), mode)
        assert reduced.shape == (192 // factor, 192 // factor, 3)
        errors = {}
        for dx, dy in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]:  # a shift by one pixel of the whole agrees less
            area = cv2.resize(np.roll(whole, (dy, dx), (0, 1)), reduced.shape[:2], interpolation=cv2.INTER_AREA)
            errors[dx, dy] = np.abs(area.astype(int) - reduced)[2:-2, 2:-2].mean()
        assert errors[0, 0] < 1.5 and min(errors, key=errors.get) == (0, 0), errors


@pytest.mark.parametrize("full, size, factor", [(192, 64, 2), (192, 96, 2), (192, 97, 1), (192, 48, 4), (192, 32, 4), (150, 32, 2), (64, 64, 1), (64, 128, 1)])  # fmt: skip
def test_pictures_are_never_decoded_smaller_than_needed(full, size, factor):
    assert archive_images.reduction((full, full), size) == factor


def test_a_mask_at_another_size_covers_the_same_share(dataset):
    whole = dataset.at_size(FULL).get_batch(range(40))["mask"]
    for size in (32, 48, 64):
        mask = dataset.at_size(size).get_batch(range(40))["mask"]
        assert (mask.mean((1, 2, 3)) - whole.mean((1, 2, 3))).abs().max() < 0.002
        assert ((mask > 0.05) & (mask < 0.95)).any(), "edges are smooth"


def test_ringing_and_specks_go_and_the_outline_stays():
    _, mask, _ = scene(1, 4, 0, 192)
    rough = cv2.imdecode(np.frombuffer(jpeg(mask, 75), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert ((mask == 0) & (rough > 0)).sum() > 100 and ((mask == 255) & (rough < 255)).sum() > 100, "there is ringing"
    rough[5:8, 180:183] = 90  # a speck, far from the cat and less than half
    clean = clean_mask(rough)
    near = cv2.dilate(mask, np.ones((7, 7))) > 0
    assert (clean[~near] == 0).all() and (clean[cv2.erode(mask, np.ones((7, 7))) == 255] > 250).all()
    assert np.abs(clean.astype(int) - mask).mean() < 0.7 * np.abs(rough.astype(int) - mask).mean()
    assert ((clean > 0) & (clean < 255)).any()


def test_depth_is_scaled_by_its_own_extremes_in_steps_that_can_be_stored():
    grey = np.array([[10, 60], [110, 210]], np.uint8)
    depth = np.empty((2, 2), np.float32)
    scale_depth(grey, depth)
    assert depth == pytest.approx(np.array([[0, 0.25], [0.5, 1]]), abs=1 / 65535)
    assert (np.round(depth * 65535) / np.float32(65535) == depth).all()
    scale_depth(np.full((2, 2), 77, np.uint8), depth)
    assert (depth == 0).all()


def test_depth_is_never_invented(dataset):
    """Between the cat and the wall lie no levels: a small picture has only levels of the large one."""
    for index in range(0, len(dataset), 20):
        data = dataset._index.read("depth", index)
        levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
        for size in (32, 64):
            depth = dataset.at_size(size)[index]["depth"].numpy()
            taken = cv2.resize(levels, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
            assert np.isin(taken, levels).all()
            assert depth[0] == pytest.approx((taken - taken.min()) / (taken.max() - taken.min()), abs=1e-4)


# -- the index ------------------------------------------------------------------------------------------------------------


def count_builds(monkeypatch):
    calls, build = [], archive_index.build_index
    monkeypatch.setattr(archive_index, "build_index", lambda root: calls.append(root) or build(root))
    return calls


def test_the_index_is_made_once(folder, monkeypatch):
    calls = count_builds(monkeypatch)
    first, again = ArchiveDataset(folder, SIZE), ArchiveDataset(folder, 64).at_size(SIZE)
    assert len(calls) == 1
    assert_same(first[9], again[9])
    assert first.report() == again.report()


def test_new_zips_get_a_new_index(tmp_path, monkeypatch):
    root, calls = write_archive(tmp_path / "a", every(2, 2, 4)), count_builds(monkeypatch)
    assert len(ArchiveDataset(root, SIZE)) == 16
    write_archive(root, every(2, 2, 2))
    assert len(ArchiveDataset(root, SIZE)) == 8 and len(calls) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\x93NUMPY" + data[6:],
        lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:],
        lambda data: b"not an index",
    ],
)
def test_a_damaged_index_is_made_again(folder, monkeypatch, capsys, damage):
    before = ArchiveDataset(folder, SIZE)[5]
    capsys.readouterr()
    (path,) = cache_dir().glob("archive-*/index.npz")
    path.write_bytes(damage(path.read_bytes()))
    calls = count_builds(monkeypatch)
    assert_same(ArchiveDataset(folder, SIZE)[5], before)
    assert len(calls) == 1
    assert "Listing the pictures" in capsys.readouterr().out


def test_an_index_of_the_previous_version_is_made_anew_and_said(folder, capsys):
    before = ArchiveDataset(folder, SIZE)[5]
    (path,) = cache_dir().glob("archive-*/index.npz")
    facts = json.dumps({"sides": {}, "findings": {}, "digests": {}}).encode()
    write_arrays(path, {"rooms": np.ones(144, np.int16), "facts": np.frombuffer(facts, np.uint8)})
    capsys.readouterr()
    assert_same(ArchiveDataset(folder, SIZE)[5], before)
    assert "Listing the pictures" in capsys.readouterr().out


def test_an_index_that_holds_objects_is_not_unpickled(folder, tmp_path, monkeypatch):
    ArchiveDataset(folder, SIZE)
    (path,) = cache_dir().glob("archive-*/index.npz")

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(path, rows=np.array([Trap()], dtype=object), facts=np.array([Trap()], dtype=object))
    assert len(ArchiveDataset(folder, SIZE)) == len(every())
    assert not (tmp_path / "sprung").exists()


def test_nothing_is_unpacked(dataset, folder):
    before = sorted(folder.rglob("*"))
    dataset.get_batch(range(len(dataset)))
    assert sorted(folder.rglob("*")) == before
    kept = {path.suffix for path in cache_dir().rglob("*") if path.is_file()}
    assert kept == {".npz"}, "the index and the rooms' backgrounds"


# -- what is missing or damaged -------------------------------------------------------------------------------------------


def test_quartets_without_all_three_parts_are_left_out_counted_and_named(tmp_path, capsys):
    gone = {("mask", (1, 1, 3)), ("depth", (1, 1, 3)), ("depth", (2, 2, 0)), ("bg_fg", (3, 4, 11))}
    root = write_archive(tmp_path / "a", change=lambda name, q, data: None if (name, q) in gone else data)
    dataset = ArchiveDataset(root, SIZE)
    assert len(dataset) == len(every()) - 3
    assert losses(dataset, "depth") == {"missing, though another zip has its part": 2}
    assert dataset.report()["not_listed"]["bg_fg"]["missing, though another zip has its part"]["examples"] == [
        "bgfg_b003_f004_11.jpg"
    ]
    line = capsys.readouterr().out
    assert "141 quartets" in line and "2 in depth.zip (missing" in line
    json.dumps(dataset.report())


def test_a_whole_archive_says_that_nothing_is_missing(folder, capsys):
    ArchiveDataset(folder, SIZE)
    assert "144 quartets, 3 rooms, 4 cats, 96 x 96 px; rooms without a cat: from bg/; nothing is missing." in (
        capsys.readouterr().out
    )


def huge(size=30_000):
    """A JPEG that announces 900 megapixels."""
    data = jpeg(np.zeros((16, 16, 3), np.uint8))
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + size.to_bytes(2, "big") * 2 + data[at + 9 :]


BROKEN = {
    "not a JPEG": (lambda data: b"MZ" + data, "not a JPEG"),
    "text": (lambda data: b"hello", "not a JPEG"),
    "cut short": (lambda data: data[: len(data) // 2], "without its end"),
    "no picture": (lambda data: b"\xff\xd8\xff\xd9", "without a picture"),
    "a bomb": (lambda data: huge(), "30000x30000 px instead of 96x96"),
    "another size": (lambda data: jpeg(np.zeros((64, 64), np.uint8)), "64x64 px instead of 96x96"),
    "endless scans": (lambda data: data[:-2] + b"\xff\xda" * 100 + b"\xff\xd9", "more than 64 scans"),
    "PNG": (lambda data: cv2.imencode(".png", np.zeros((96, 96), np.uint8))[1].tobytes(), "not a JPEG"),
    "no tables": (lambda data: data[:2] + data[data.index(b"\xff\xc0") :], "cannot be decoded"),
}


@pytest.mark.parametrize("zip_name", archive.ZIPS)
@pytest.mark.parametrize("break_it, words", BROKEN.values(), ids=BROKEN)
def test_an_unreadable_picture_is_replaced_by_the_next_of_its_room_and_cat(tmp_path, zip_name, break_it, words):
    bad = (1, 2, 3)
    root = write_archive(
        tmp_path / "a", every(2, 2, 5), lambda name, q, data: break_it(data) if (name, q) == (zip_name, bad) else data
    )
    dataset = ArchiveDataset(root, SIZE)
    index = index_of(dataset, bad)
    assert dataset.report()["unreadable"]["count"] == 0
    with pytest.warns(UserWarning, match=f"{zip_name}.zip .*{words}"):
        batch = dataset.get_batch([0, index, 1])
    assert_same({name: value[1] for name, value in batch.items()}, dataset[index_of(dataset, (1, 2, 4))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once for each file
        assert_same(dataset[index], ArchiveDataset(root, SIZE)[index])
    unreadable = dataset.report()["unreadable"]
    assert unreadable["count"] == 1 and words in unreadable["examples"][0]["why"]
    assert unreadable["examples"][0]["name"] == member(zip_name, bad)
    assert "1 found unreadable so far" in dataset.summary()


def test_a_wrong_checksum_is_met_and_the_last_of_a_cat_is_replaced_by_the_first(tmp_path):
    root = write_archive(tmp_path / "a", every(2, 2, 3))
    dataset = ArchiveDataset(root, SIZE)
    index = index_of(dataset, (1, 1, 2))
    data = bytearray((root / "mask.zip").read_bytes())
    data[int(dataset._index.rows["mask"]["offset"][index]) + 300] ^= 255
    (root / "mask.zip").write_bytes(data)
    dataset = ArchiveDataset(root, SIZE)
    with pytest.warns(UserWarning, match="wrong checksum"):
        assert_same(dataset[index], dataset[index_of(dataset, (1, 1, 0))])


def test_what_a_worker_finds_is_in_everybodys_report(tmp_path):
    root = write_archive(tmp_path / "a", every(2, 2, 5), lambda n, q, data: b"x" if (n, q[2]) == ("mask", 2) else data)
    dataset = ArchiveDataset(root, SIZE)
    batches = [list(range(10)), list(range(10, 20))]
    first, second = list(loader(dataset, batches, workers=2)), list(loader(dataset, batches, workers=0))
    for a, b in zip(first, second):
        assert_same(a, b)
    report = dataset.report()["unreadable"]
    assert report["count"] == 4 and Counter(line["where"] for line in report["examples"]) == {"mask.zip": 4}


def test_what_is_found_is_in_the_report_though_nothing_can_be_kept(tmp_path, monkeypatch):
    root = write_archive(tmp_path / "a", every(2, 2, 5), lambda n, q, data: b"x" if (n, q) == ("mask", (1, 2, 3)) else data)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "cache"))
    dataset = ArchiveDataset(root, SIZE)
    with pytest.warns(UserWarning, match="mask.zip .*not a JPEG"):
        dataset.get_batch(range(len(dataset)))
    assert dataset.report()["unreadable"]["count"] == len(dataset.verify()) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_room_and_cat_without_any_readable_quartet_is_told_and_verify_finds_all(tmp_path):
    root = write_archive(
        tmp_path / "a", every(2, 3, 4), lambda n, q, data: b"x" if n == "depth" and (q[:2] == (2, 1) or q == (1, 1, 1)) else data
    )  # fmt: skip
    dataset = ArchiveDataset(root, SIZE)
    with pytest.raises(CourseError, match="All quartets of room 2 and cat 1.*download the zips again"):
        dataset[index_of(dataset, (2, 1, 0))]
    for _ in range(2):
        bad = dataset.verify()
        assert sorted(line["name"] for line in bad) == [
            member("depth", q) for q in [(1, 1, 1), (2, 1, 0), (2, 1, 1), (2, 1, 2), (2, 1, 3)]
        ]
        assert {line["why"] for line in bad} == {"not a JPEG"}
    assert "5 found unreadable" in ArchiveDataset(root, SIZE).summary()


def test_a_sound_archive_passes_verify(dataset):
    assert dataset.verify() == []


# -- files that are no archive --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", archive.ZIPS)
def test_a_missing_or_cut_zip_is_told_by_name(tmp_path, name):
    root = write_archive(tmp_path / "a", every(1, 1, 2))
    whole = (root / f"{name}.zip").read_bytes()
    (root / f"{name}.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CourseError, match=f"{name}.zip is cut short"):
        ArchiveDataset(root)
    (root / f"{name}.zip").unlink()
    with pytest.raises(CourseError, match=f"{name}.zip is missing"):
        ArchiveDataset(root)


def test_zips_that_do_not_belong_together_are_told(tmp_path):
    root = write_archive(tmp_path / "a", every(1, 1, 2))
    shutil.copy(write_archive(tmp_path / "b", [(2, 1, 0)]) / "mask.zip", root)
    with pytest.raises(CourseError, match=r"no quartet in common \(2 in bg_fg.zip, 1 in mask.zip"):
        ArchiveDataset(root)


def test_an_archive_of_other_things_is_told(tmp_path):
    root = write_archive(tmp_path / "a", every(1, 1, 2), lambda name, q, data: b"x" * 99)
    with pytest.raises(CourseError, match="None of bg_fg.zip's pictures can be read"):
        ArchiveDataset(root)
    root = write_archive(tmp_path / "b", every(1, 1, 2), lambda name, q, data: huge())
    with pytest.raises(CourseError, match="30000 x 30000 px"):
        ArchiveDataset(root)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8" + b"\xff" * 3000 + b"\xff\xd9", b"\xff\xd8\xff\xe0\0\0" * 9 + b"\xff\xd9"]
)
def test_headers_that_lead_nowhere_end(data):
    with pytest.raises(Unreadable):
        jpeg_size(data)


# -- rooms without a cat --------------------------------------------------------------------------------------------------


def test_recovered_rooms_agree_with_the_true_ones(tmp_path):
    root = write_archive(tmp_path / "a", bg=False)
    dataset = ArchiveDataset(root, FULL)
    assert "rooms without a cat: recovered from the quartets" in dataset.summary()
    for room in range(1, ROOMS + 1):
        index = index_of(dataset, (room, 1, 0))
        error = (dataset[index]["bg"].permute(1, 2, 0).int() - torch.from_numpy(room_picture(room, FULL))).abs().float()
        assert error.mean() < 2 and error.max() <= 12


def test_without_masking_the_cat_would_stay(tmp_path, monkeypatch):
    """The test above can fail: where the cat always sits, a plain median keeps it."""
    places = [(1, 1, i) for i in range(3)] + [(2, 1, 0)]
    still = {q: scene(1, 1, 0 if q[2] < 2 else 1, FULL) for q in places if q[0] == 1}

    def same_place(name, quartet, data):
        return jpeg(still[quartet][list(archive.ZIPS).index(name)]) if quartet in still else data

    root = write_archive(tmp_path / "a", places, same_place, bg=False)
    with pytest.warns(UserWarning, match="never seen without a cat"):
        masked = ArchiveDataset(root, FULL)._recover(1)
    monkeypatch.setattr(archive, "clean_mask", np.zeros_like)
    plain = ArchiveDataset(root, FULL)._recover(1)
    true = room_picture(1, FULL).astype(int)
    assert np.abs(masked - true).max() <= 12 and np.abs(plain - true).max() > 60


def test_a_recovered_room_is_kept_and_a_damaged_one_is_made_again(tmp_path, monkeypatch):
    root = write_archive(tmp_path / "a", every(2, 2, 6), bg=False)
    first = ArchiveDataset(root, SIZE)[0]["bg"]
    calls, recover = [], ArchiveDataset._recover
    monkeypatch.setattr(ArchiveDataset, "_recover", lambda self, room: calls.append(room) or recover(self, room))
    assert torch.equal(ArchiveDataset(root, SIZE)[0]["bg"], first) and not calls
    (path,) = cache_dir().glob("archive-*/bg_0001_*.npz")
    path.write_bytes(path.read_bytes()[:500])
    assert torch.equal(ArchiveDataset(root, SIZE)[0]["bg"], first) and calls == [1]


@pytest.mark.filterwarnings("ignore")
def test_what_is_never_seen_is_filled_in_and_told(tmp_path):
    root = write_archive(tmp_path / "a", [(1, 1, 0), (2, 1, 0)], bg=False)
    dataset = ArchiveDataset(root, FULL)
    error = np.abs(dataset._recover(1) - room_picture(1, FULL).astype(int))
    assert error.mean() < 6, "smooth rooms can be filled from around"
    (line,) = dataset.report()["rooms_without_cat"]
    assert dataset.report()["unreadable"]["count"] == 0
    assert "% of room 1 is never seen without a cat" in line["why"]


def test_backgrounds_are_taken_in_the_order_of_their_names_from_a_folder_or_a_zip(tmp_path):
    root = write_archive(tmp_path / "a", every(3, 1, 3))
    names = ["aa.png", "b (2).png", "z_1.png"]
    for old, new in zip(sorted((root / "bg").iterdir()), names):
        old.rename(old.with_name(new))
    (root / "bg" / "notes.txt").write_text("not a picture")
    folder = ArchiveDataset(root, SIZE)
    items = [folder[index_of(folder, (room, 1, 0))]["bg"] for room in (1, 2, 3)]
    assert [item[2].float().mean().round().item() for item in items] == [90, 150, 210]
    with zipfile.ZipFile(root / "bg.zip", "w") as packed:
        for name in reversed(names):
            packed.write(root / "bg" / name, f"any/{name}")
        packed.writestr("__MACOSX/._aa.png", b"x")
    shutil.rmtree(root / "bg")
    packed = ArchiveDataset(root, SIZE)
    assert "from bg.zip" in packed.summary()
    for room, item in zip((1, 2, 3), items):
        assert torch.equal(packed[index_of(packed, (room, 1, 0))]["bg"], item)


def test_one_picture_under_two_names_is_one_place(tmp_path):
    root = write_archive(tmp_path / "a", every(5, 3, 2))
    first, *_, last = sorted((root / "bg").iterdir())
    shutil.copy(first, last)
    dataset = ArchiveDataset(root, SIZE)
    assert dataset.places == {0: 0, 1: 1, 2: 2, 3: 3, 4: 0}
    for seed in range(5):
        train, test = split(dataset, 0.4, seed=seed)
        assert len({0, 4} & set(scenes(train)[0])) in (0, 2)


def test_another_size_opens_nothing_anew(dataset, monkeypatch):
    monkeypatch.setattr(archive, "open_index", lambda *_: pytest.fail("the index is opened again"))
    other = dataset.at_size(32)
    assert other.size == 32 and dataset.size == SIZE and other._index is dataset._index


def swap_files(root):
    first, second, _ = sorted((root / "bg").iterdir())
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def cut_file(root):
    path = min((root / "bg").iterdir())
    path.write_bytes(path.read_bytes()[:100])


def large_file(root):
    path = min((root / "bg").iterdir())
    path.write_bytes(huge())


@pytest.mark.parametrize("corrupt, words", [(swap_files, "does not show room 1"), (cut_file, "cannot be read"), (large_file, "cannot be read .*pixels")])  # fmt: skip
def test_a_background_that_cannot_be_right_is_recovered_instead(tmp_path, corrupt, words):
    root = write_archive(tmp_path / "a", every(3, 2, 8))
    corrupt(root)
    dataset = ArchiveDataset(root, FULL)
    with pytest.warns(UserWarning, match=words):
        bg = dataset[0]["bg"]
    assert (bg.permute(1, 2, 0).int() - torch.from_numpy(room_picture(1, FULL))).abs().float().mean() < 2
    assert any(re.search(words, line["why"]) for line in dataset.report()["rooms_without_cat"])


def test_a_note_on_a_room_goes_when_its_picture_is_mended_and_comes_back_when_it_is_damaged_again(tmp_path):
    root = write_archive(tmp_path / "a", every(3, 2, 8))
    path = min((root / "bg").iterdir())
    right = path.read_bytes()
    for content, count in ((b"junk", 1), (right, 0), (b"rubbish", 1)):
        path.write_bytes(content)
        dataset = ArchiveDataset(root, SIZE)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            dataset[0]
        assert len(heard) == len(dataset.report()["rooms_without_cat"]) == count


@pytest.mark.filterwarnings("ignore:.*does not show room")
def test_where_a_background_is_missing_the_others_are_not_trusted(tmp_path, capsys):
    root = write_archive(tmp_path / "a", every(3, 2, 8))
    min((root / "bg").iterdir()).unlink()
    dataset = ArchiveDataset(root, FULL)
    assert "from bg/, which has 2, the others recovered from the quartets" in capsys.readouterr().out
    for room in (1, 2, 3):
        bg = dataset[index_of(dataset, (room, 1, 0))]["bg"]
        assert (bg.permute(1, 2, 0).int() - torch.from_numpy(room_picture(room, FULL))).abs().float().mean() < 2


@pytest.mark.filterwarnings("ignore")
def test_no_background_and_nothing_to_recover_it_from_is_told(tmp_path):
    root = write_archive(
        tmp_path / "a", every(2, 1, 3), lambda n, q, data: b"x" if (n, q[0]) == ("mask", 2) else data, bg=False
    )
    dataset = ArchiveDataset(root, SIZE)
    with pytest.raises(CourseError, match="Room 2 has no usable picture.*add the bg/ folder"):
        dataset._background(2)


# -- the real thing, in small ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the small real archive is not here")
def test_the_real_archive_in_small(capsys, tmp_path):
    dataset = ArchiveDataset(REAL, 64)
    assert "960 quartets, 6 rooms, 8 cats, 192 x 192 px" in capsys.readouterr().out
    batch = dataset.get_batch(range(0, 960, 37))
    for i in range(len(batch["bg"])):
        check_quartet({name: value[i] for name, value in batch.items()})
    free = (torch.nn.functional.max_pool2d(batch["mask"], 5, 1, 2) == 0).expand(-1, 3, -1, -1)
    assert (batch["bg"].int() - batch["bg_fg"])[free].abs().float().mean() < 4
    assert dataset.report()["unreadable"]["count"] == 0
    for name in archive.ZIPS:
        (tmp_path / f"{name}.zip").symlink_to(REAL / f"{name}.zip")
    recovered, true = (ArchiveDataset(root, 192)[0]["bg"].int() for root in (tmp_path, REAL))
    assert (recovered - true).abs().float().mean() < 3
