"""What the notebooks start from."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from photo_files import photo_folder
from PIL import Image

from helpers import session
from helpers.archive.dataset import ArchiveDataset
from helpers.config import CourseError
from helpers.model import build
from helpers.predict import load, predict, pretrained
from helpers.recipes import recipe
from helpers.rendering.dataset import RoomsDataset
from helpers.train import is_finished

pytestmark = pytest.mark.slow


def same_weights(net, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in net.state_dict().items())


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    monkeypatch.setenv("COURSE_DATA", "rooms")
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    session._archive.cache_clear()


def test_sets_share_no_room_and_no_cat():
    parts = session.sets()
    for name in ("room_of", "cat_of"):
        ids = [{getattr(part, name)(i) for i in range(len(part))} for part in parts]
        assert len(ids) == 3 and all(ids) and sum(map(len, ids)) == len(set().union(*ids))
    assert [part.key() for part in session.sets("test", "train")] == [parts[2].key(), parts[0].key()]


def test_an_unknown_part_is_told():
    with pytest.raises(CourseError, match="no part 'val': choose train, validation, test"):
        session.part("val")


def test_where_rooms_show_two_places_the_validation_set_is_of_the_training_set_and_that_is_said(monkeypatch, tmp_path, capsys):
    photo_folder(tmp_path / "photos", depths=(None,) * 4, cats=3)
    (tmp_path / "photos/scenes.json").write_text(json.dumps({f"room_{i}": f"place {i % 2}" for i in range(4)}))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "photos"))
    train, validation, test = ({part.room_of(i) for i in range(len(part))} for part in map(session.part, session.PARTS))
    assert train == validation and {frozenset(train), frozenset(test)} == {frozenset({0, 2}), frozenset({1, 3})}
    assert "Two places, or two cats, leave none for validation" in capsys.readouterr().out


def test_without_a_run_of_ones_own_the_courses_network_answers_then_ones_own(capsys):
    quartet = session.source()[0]
    bg, bg_fg = (quartet[key].permute(1, 2, 0).numpy() for key in ("bg", "bg_fg"))
    shipped = session.trained_network()
    assert "No network of your own is in runs/rooms-tiny-course yet" in capsys.readouterr().out
    assert (predict(shipped, bg, bg_fg)["mask"] == predict(pretrained(), bg, bg_fg)["mask"]).all()

    session.train_network()
    capsys.readouterr()
    own = session.trained_network()
    assert not capsys.readouterr().out
    assert (predict(own, bg, bg_fg)["mask"] == predict(load(session.run_dir()), bg, bg_fg)["mask"]).all()
    assert (predict(own, bg, bg_fg)["mask"] != predict(shipped, bg, bg_fg)["mask"]).any()


def test_on_rooms_the_training_starts_from_nothing_and_on_photographs_from_weights_for_them(monkeypatch, tmp_path, capsys):
    net, wanted = session.start()
    assert wanted == session.our_recipe() == recipe("course")
    assert same_weights(net, build("DuoNet"))

    monkeypatch.setenv("COURSE_DATA", str(write_photographs(tmp_path / "mine")))
    net, wanted = session.start()
    assert wanted == session.our_recipe() == recipe("fine-tune")
    assert same_weights(net, pretrained("photographs")) and same_weights(session.trained_network(), net)
    session.train_network()
    assert session.run_dir().name == "photos-mine-tiny-fine-tune" and is_finished(session.run_dir(), wanted)
    capsys.readouterr()
    session.trained_network()
    assert not capsys.readouterr().out, "it is one's own"


def test_a_data_source_that_is_no_folder_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_DATA", "nowhere")
    with pytest.raises(CourseError, match="COURSE_DATA=nowhere is not a folder"):
        session.source()


def test_an_archive_that_cannot_be_had_is_told_once_and_the_rooms_take_its_place(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_DATA", "archive")
    monkeypatch.setenv("COURSE_ARCHIVE", str(tmp_path / "nowhere"))
    folder = session.run_dir()
    assert isinstance(session.source(), RoomsDataset) and session.source(32).size == 32
    shown = capsys.readouterr().out
    assert shown.count("nowhere is not a folder") == shown.count("goes on with the rendered rooms") == 1
    assert folder == session.run_dir() and folder.name == "rooms-tiny-course"

    monkeypatch.setenv("COURSE_ARCHIVE", str(write_archive(tmp_path / "archive")))
    assert session.run_dir() == folder and isinstance(session.source(), RoomsDataset), "a process keeps to its data"
    monkeypatch.setenv("COURSE_DATA", "rooms")
    assert session.run_dir() == folder, "what was learnt from rooms is found as such"


def test_an_archive_is_used_where_it_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_DATA", "archive")
    monkeypatch.setenv("COURSE_ARCHIVE", str(write_archive(tmp_path / "archive")))
    assert isinstance(session.source(), ArchiveDataset)
    assert all(map(len, session.sets()))
    assert session.run_dir().name == "archive-tiny-course"
    assert "rendered rooms" not in capsys.readouterr().out


def write_photographs(folder):
    """Four rooms and four cut-outs, as noisy as they are different."""
    rng = np.random.default_rng(0)
    for kind, channels in (("bg", 3), ("fg", 4)):
        (folder / kind).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (48, 48, channels), np.uint8)
            pixels[..., 3:] = 0
            pixels[8:40, 8:40, 3:] = 255
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def write_archive(folder):
    """Three rooms, three cats, two placements, each mirrored, in the published naming."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, prefix, mode in (("bg_fg", "bgfg", "RGB"), ("mask", "mask", "L"), ("depth", "densedepth", "L")):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for room, cat, number in np.ndindex(3, 3, 4):
                picture = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((192, 192)).convert(mode)
                buffer = io.BytesIO()
                picture.save(buffer, "JPEG")
                archive.writestr(f"{name}/{prefix}_b{room + 1:03}_f{cat + 1:03}_{number}.jpg", buffer.getvalue())
    return folder
