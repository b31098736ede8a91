"""Mutated files at every door; see tests/fuzzing.py, which runs any number of them."""

import io
import json
import re
import zipfile

import fuzzing
import numpy as np
import pytest
from archive_files import write_archive
from fuzzing import DOORS, Door
from photo_files import floor_depth, photo_folder, room_picture, write_camera
from PIL import Image

from helpers.archive import ArchiveDataset
from helpers.archive.download import _record
from helpers.config import CourseError
from helpers.photos import PhotosDataset
from helpers.photos.builder import save_uploads
from helpers.predict import load
from helpers.utils import MAX_PIXELS, load_arrays, save_arrays


def test_three_hundred_mutated_files_are_refused_with_a_sentence_or_read_right():
    failures = fuzzing.run(fuzzing.shares(300), seed=0)
    assert not failures, "\n".join(failures)


def grow():
    bytes(range(256)) * 1_000_000


def escape():
    open("beside", "w").close()


def die():
    fuzzing.os.kill(fuzzing.os.getpid(), 9)


def stop():
    fuzzing.time.sleep(60)


def refuse(words):
    raise CourseError(words)


@pytest.mark.parametrize(
    "use, words",
    [
        (lambda *_: json.loads("{"), "JSONDecodeError"),
        (lambda *_: refuse("KeyError"), "KeyError"),
        (lambda *_: escape(), "wrote beside its folder"),
        (lambda *_: grow(), "took .* MB"),
        (lambda *_: fuzzing.time.sleep(1.3), "took .* seconds"),
        (lambda *_: stop(), "hangs"),
        (lambda *_: die(), "ended with -9"),
        (lambda *_: fuzzing.same({"a": 1}, {"a": 2}), "other values"),
    ],
)
def test_each_kind_of_failure_is_seen(monkeypatch, use, words):
    monkeypatch.setattr(fuzzing, "SECONDS", 1)
    monkeypatch.setattr(fuzzing, "MEGABYTES", 100)
    monkeypatch.setitem(DOORS, "bad", Door(lambda folder: None, use, 1))
    (failure,) = fuzzing.run({"bad": 1}, seed=3)
    assert re.search(words, failure) and "--door bad --seed 3 --only 0" in failure


@pytest.mark.parametrize("door", ["weights", "archive", "pictures", "checkpoint"])
def test_the_same_case_twice_is_the_same(door):
    first, again = ([outcome.kind for outcome in fuzzing.run_door(door, 5, 20)] for _ in range(2))
    assert first == again and {*first} <= {"refused", "read"}


# -- what such files have shown ---------------------------------------------------------------------------------------


def test_a_header_that_pythons_own_parser_refuses_is_no_array(tmp_path):
    root = photo_folder(tmp_path)
    (root / "bg_depth/room_0.png").unlink()
    np.save(root / "bg_depth/room_0.npy", floor_depth())
    data = (root / "bg_depth/room_0.npy").read_bytes()
    (root / "bg_depth/room_0.npy").write_bytes(data[:10] + data[10:].replace(b"}", b" ", 1))
    with pytest.raises(CourseError, match="room_0.npy is not a readable .npy array"):
        PhotosDataset(root, 32)


NESTED = "[" * 100_000


@pytest.mark.parametrize("text, words", [(NESTED, "not valid JSON"), (json.dumps({"size": "x" * 9999}), "lacks fx")])
def test_a_camera_that_is_nested_or_huge_is_told_in_a_short_sentence(tmp_path, text, words):
    root = photo_folder(tmp_path)
    (root / "camera.json").write_text(text)
    with pytest.raises(CourseError, match=words):
        PhotosDataset(root, 32)
    write_camera(root, size="x" * 10_000)
    with pytest.raises(CourseError, match="size is 'xxx") as found:
        PhotosDataset(root, 32)
    assert len(str(found.value)) < 400


@pytest.mark.parametrize("line", [b"\xff\xfe{", NESTED.encode(), b"[1]", b'{"where": 1}'])
def test_notes_of_unreadable_pictures_that_are_damaged_are_done_without(tmp_path, monkeypatch, line):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    root = write_archive(tmp_path / "archive")
    ArchiveDataset(root, 48)
    (kept,) = (tmp_path / "cache").iterdir()
    (kept / "unreadable.jsonl").write_bytes(line + b"\n")
    assert ArchiveDataset(root, 48).report()["unreadable"]["count"] == 0


@pytest.mark.parametrize("record", [NESTED, '{"mask.zip": {"size": Infinity, "sha256": "", "mtime_ns": 1}}'])
def test_a_record_of_downloads_that_is_damaged_is_none(tmp_path, record):
    (tmp_path / "archive.json").write_text(record)
    assert _record(tmp_path) == {}


def test_a_kept_file_without_arrays_is_made_again(tmp_path):
    np.savez(tmp_path / "kept.npz")
    assert load_arrays(tmp_path / "kept.npz") is None
    with zipfile.ZipFile(tmp_path / "kept.npz", "w") as file:
        file.writestr("picture.npy", b"no array")
    assert load_arrays(tmp_path / "kept.npz") is None


def test_a_kept_file_with_one_changed_byte_is_made_again_or_means_the_same(tmp_path):
    path, arrays = tmp_path / "kept.npz", {"rows": np.arange(6, dtype=np.int16).reshape(2, 3), "facts": np.uint8([1, 2])}
    save_arrays(path, **arrays)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for other in (whole[place] ^ 1, whole[place] ^ 16, 0x20):
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            held = load_arrays(path)
            assert held is None or held.keys() == arrays.keys()
            assert held is None or all(np.array_equal(held[name], arrays[name]) for name in arrays), place


def test_a_kept_file_of_another_key_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    for name in ("rooms-a/0.npz", "rooms-a/1.npz", "rooms-b/0.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_arrays(tmp_path / name, rows=np.arange(3))
        assert load_arrays(tmp_path / name) is not None
    data = (tmp_path / "rooms-a/0.npz").read_bytes()
    for name in ("rooms-a/1.npz", "rooms-b/0.npz"):
        (tmp_path / name).write_bytes(data)
        assert load_arrays(tmp_path / name) is None


@pytest.mark.parametrize("name", ["\U0001f63a" * 90 + ".jpg", "a." + "\u732b" * 90, "a\ud800.jpg"])
def test_an_upload_has_a_name_that_every_disk_takes(tmp_path, name):
    stream = io.BytesIO()
    Image.fromarray(room_picture(40, 40)).save(stream, "PNG")
    (path,) = save_uploads({name: stream.getvalue()}, tmp_path)
    assert path.read_bytes() == stream.getvalue() and len(path.name.encode()) < 200


def test_weights_that_are_not_as_they_were_written_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    fuzzing.make_weights(tmp_path)
    data = path.read_bytes()
    load(path)
    lowest_bit_of_a_weight = bytearray(data)
    lowest_bit_of_a_weight[-4] ^= 1
    for changed in (bytes(lowest_bit_of_a_weight), data.replace(b"sigmoid", b"clamp  "), data.replace(b": 32", b": 48")):
        assert changed != data
        path.write_bytes(changed)
        with pytest.raises(CourseError, match="damaged, or too old"):
            load(path)
    path.write_bytes(data.replace(b'"sha256"', b'"sha255"'))  # one that was written before there was a checksum
    load(path)


@pytest.mark.skipif(not fuzzing.memory("VmHWM"), reason="only Linux says how much memory a process took at most")
def test_the_largest_picture_that_predict_takes_needs_less_than_a_gigabyte(tmp_path):
    """On a tenth of the pixels; some 40 MB more are what the allocator keeps of arrays of this size."""
    fuzzing.make_weights(tmp_path)
    net, picture = load(tmp_path), Image.fromarray(room_picture(MAX_PIXELS // 10_000, 1000))
    fuzzing.predict(net, *[picture.resize((64, 64))] * 2, size=512)  # what is loaded or made once
    before = fuzzing.memory("VmRSS")
    fuzzing.Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    assert fuzzing.predict(net, picture, picture)["mask"].shape == picture.size[::-1]
    assert 0 < fuzzing.memory("VmHWM") - before < fuzzing.MEGABYTES / 10 + 40
