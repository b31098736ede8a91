"""Pictures as phones and browsers hand them over, and the folders that are made of them."""

import io
import os
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from helpers.config import CourseError
from helpers.dataset import check_quartet
from helpers.demos.phone_pairs import handheld
from helpers.photos import builder as own_photos
from helpers.photos.builder import build_folder, read_photo, save_cutout, save_uploads, written_together
from helpers.photos.dataset import PhotosDataset
from helpers.rendering.dataset import RoomsDataset


def coordinates(width=80, height=60):
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack((x, y, 0 * x), -1).round().astype(np.uint8)


def encoded(picture=None, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(coordinates() if picture is None else picture).save(stream, kind, **options)
    return stream.getvalue()


# -- reading -------------------------------------------------------------------------------------------------------


def test_large_pictures_are_scaled_down_and_small_ones_stay(tmp_path):
    Image.fromarray(coordinates(2000, 1500)).save(tmp_path / "large.jpg", quality=95)
    large = read_photo(tmp_path / "large.jpg", longest=400)
    assert large.shape == (300, 400, 3)
    assert np.abs(large.astype(int) - coordinates(400, 300)).mean() < 2
    assert (read_photo(encoded()) == coordinates()).all()


def test_what_is_no_photograph_is_told_in_words(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "note.jpg").write_text("not a picture")
    (tmp_path / "cut.jpg").write_bytes(encoded(kind="JPEG")[:500])
    Image.fromarray(np.zeros((10, 10), np.uint16)).save(tmp_path / "depth.png")
    Image.new("1", (10_000, 6_000)).save(tmp_path / "huge.png")
    (tmp_path / "folder.jpg").mkdir()
    for name, words in {
        "IMG_1.HEIC": "HEIC.*export it as JPEG",
        "note.jpg": "note.jpg is not an image.*JPEG, PNG or WebP",
        "cut.jpg": "damaged or cut short",
        "depth.png": "looks like depth",
        "huge.png": "50 megapixels",
        "lost.jpg": "lost.jpg does not exist",
        "folder.jpg": "folder.jpg cannot be opened .Is a directory",
    }.items():
        with pytest.raises(CourseError, match=words):
            read_photo(tmp_path / name)


# -- uploads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"room.png": {"metadata": {"name": "room.png"}, "content": encoded()}},
        ({"name": "room.png", "type": "image/png", "size": 1, "content": memoryview(encoded())},),
        {"room.png": encoded()},
    ],
    ids=["ipywidgets 7", "ipywidgets 8", "Colab"],
)
def test_uploads_are_stored_whichever_widget_took_them(tmp_path, value):
    (path,) = save_uploads(value, tmp_path / "uploads")
    assert path == tmp_path / "uploads" / "room.png"
    assert (read_photo(path) == coordinates()).all()


def test_the_widget_that_is_installed_works(tmp_path):
    widget = own_photos.uploader()
    assert save_uploads(widget.value, tmp_path) == []
    if isinstance(widget.value, dict):  # ipywidgets 7: the browser sets these, and counts
        widget.metadata, widget.data, widget._counter = [{"name": "a.png"}], [encoded()], 1
    else:
        about = {"name": "a.png", "type": "image/png", "size": 3, "last_modified": datetime.now(UTC)}
        widget.value = ({**about, "content": memoryview(encoded())},)
    assert [path.name for path in save_uploads(widget.value, tmp_path)] == ["a.png"]


@pytest.mark.parametrize("name", ["../../escape.png", "/etc/escape.png", "C:\\x\\escape.png", "..\\escape.png"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    (path,) = save_uploads({name: encoded()}, tmp_path / "uploads")
    assert path == tmp_path / "uploads" / "escape.png" and path.is_file()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["escape.png", "uploads"]


@pytest.mark.parametrize(
    "value, words",
    [
        ({"good.png": encoded(), "bad.png": b"no picture"}, "bad.png is not an image"),
        ({"..": encoded()}, "give it a name"),
        ({".hidden.png": encoded()}, "give it a name"),
        ({"": encoded()}, "give it a name"),
        ({"big.png": bytes(own_photos.MAX_UPLOAD + 1)}, "big.png has over 64 MB"),
    ],
)
def test_an_upload_that_is_refused_stores_nothing(tmp_path, value, words):
    with pytest.raises(CourseError, match=words):
        save_uploads(value, tmp_path / "uploads")
    assert not (tmp_path / "uploads").exists()


# -- folders -------------------------------------------------------------------------------------------------------


def test_files_appear_together_or_not_at_all(tmp_path):
    root = tmp_path / "photos"
    with pytest.raises(RuntimeError), written_together(root, ("bg/", "camera.json")) as folder:
        assert (folder / "bg").is_dir()
        raise RuntimeError("in the middle")
    assert not root.exists()
    with written_together(root, ("camera.json", "bg/")) as folder:
        (folder / "camera.json").write_text("{}")
        assert not (root / "bg").exists()
    assert sorted(path.name for path in root.iterdir()) == ["bg", "camera.json"]
    with pytest.raises(CourseError, match="holds bg/ already"), written_together(root, ("fg/", "bg/")):
        pass
    assert sorted(path.name for path in root.iterdir()) == ["bg", "camera.json"]


def test_what_appears_meanwhile_or_has_the_other_name_is_never_overwritten(tmp_path):
    (tmp_path / "rooms").mkdir()
    with pytest.raises(CourseError, match="holds rooms/ already"), written_together(tmp_path, ("fg/", "bg/")):
        pass
    root = tmp_path / "photos"
    root.mkdir()
    with pytest.raises(CourseError, match="holds camera.json already"), written_together(root, ("bg/", "camera.json")) as folder:
        (folder / "camera.json").write_text("{}")
        (root / "camera.json").write_text("somebody else's")
    assert [path.name for path in root.iterdir()] == ["camera.json"]
    assert (root / "camera.json").read_text() == "somebody else's"


def test_a_cut_out_is_cropped_to_what_is_visible(tmp_path):
    rgba = np.zeros((50, 60, 4), np.uint8)
    rgba[20:30, 10:25] = (1, 2, 3, 255)
    save_cutout(rgba, tmp_path / "cat.png")
    image = Image.open(tmp_path / "cat.png")
    assert image.mode == "RGBA" and image.size == (19, 14)
    assert image.getchannel("A").getbbox() == (2, 2, 17, 12)


def test_pairs_become_a_folder_that_the_course_reads(tmp_path):
    dataset = RoomsDataset(192, rooms=2, cats=3, placements=1)
    for room in range(2):
        quartet = dataset[room * 6]
        Image.fromarray(handheld(quartet["bg"].permute(1, 2, 0).numpy(), room)).save(tmp_path / f"room {room}.jpg")
    for i in range(4):  # two cats in each room
        scene = dataset[(i // 2) * 6 + 2 * (i % 2)]["bg_fg"].permute(1, 2, 0).numpy()
        Image.fromarray(scene).save(tmp_path / f"{i}{'c' * 250}.png")  # as long a name as there may be
    pairs = [(tmp_path / f"room {i // 2}.jpg", tmp_path / f"{i}{'c' * 250}.png") for i in range(4)]
    pairs.append((tmp_path / "room 0.jpg", tmp_path / "room 0.jpg"))  # a mistake
    Image.fromarray(dataset[1]["bg_fg"].permute(1, 2, 0).numpy()).save(tmp_path / "cat.png")
    pairs.append((tmp_path / "cat.png", pairs[0][1]))  # another one: with a cat in the room's picture
    other = os.fsdecode(b"K\xfcche.png")  # as an old zip names it
    shutil.copy(pairs[0][1], tmp_path / other)
    pairs.append((pairs[0][0], tmp_path / other))
    report = build_folder(tmp_path / "photos", pairs)
    assert report.kept == 5
    assert str(report).startswith("5 cats\n  left out: 1 room 0.jpg: Nothing differs")
    assert any("seems to show a cat, too" in reason for reason in report.left_out)
    photos = PhotosDataset(tmp_path / "photos", size=64, placements=1)
    assert (photos.rooms, photos.cats, photos.stance) == (2, 4, "floating")  # the fifth cat is the first one again
    for i in range(len(photos)):
        quartet = check_quartet(photos[i])
        assert quartet["mask"].mean() > 0.005 and not quartet["valid"].any()


def test_when_no_pair_works_nothing_is_written(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    with pytest.raises(CourseError, match="Nothing differs"):
        build_folder(tmp_path / "photos", [(tmp_path / "a.png", tmp_path / "a.png")])
    for pairs in ([], ["room.jpg", "cat.jpg"], [("room.jpg", "cat.jpg", "mask.png")]):
        with pytest.raises(CourseError, match="Give pairs of photographs"):
            build_folder(tmp_path / "photos", pairs)
    assert not (tmp_path / "photos").exists()
