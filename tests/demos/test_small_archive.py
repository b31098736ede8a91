"""The small archive is read like the published one, and holds what was rendered, up to what JPEG loses."""

import pytest

from helpers.archive.dataset import ArchiveDataset
from helpers.dataset import check_quartet, split
from helpers.demos.small_archive import CATS, PLACEMENTS, ROOMS, small_archive
from helpers.rendering.dataset import RoomsDataset

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_archive(tmp_path_factory.mktemp("data") / "small", SIZE)


@pytest.fixture
def archive(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    return ArchiveDataset(folder, SIZE)


def test_it_has_all_quartets_with_the_rooms_without_a_cat(archive):
    assert (len(archive), archive.rooms, archive.cats) == (ROOMS * CATS * 2 * PLACEMENTS, ROOMS, CATS)
    assert "rooms without a cat: from bg.zip; nothing is missing." in archive.summary()
    assert archive.verify() == [] and archive.report()["rooms_without_cat"] == []


def test_a_quartet_is_what_was_rendered_but_for_the_jpeg(archive):
    rendered = RoomsDataset(SIZE, ROOMS, CATS, PLACEMENTS)
    for index in (0, 7, len(archive) - 1):
        assert archive.address(index) == rendered.address(index)
        ours, theirs = check_quartet(rendered[index]), check_quartet(archive[index])
        for name in ("bg", "bg_fg"):
            assert (ours[name].float() - theirs[name].float()).abs().mean() < 4
        for name in ("mask", "depth"):
            assert (ours[name] - theirs[name]).abs().mean() < 0.02
        assert theirs["near_far"].isnan().all()


def test_it_can_be_split_into_three(archive):
    assert [len(part) for part in split(archive, validation=0.1)] == [2 * PLACEMENTS] * 3


def test_what_is_there_is_kept(folder):
    before = (folder / "mask.zip").stat().st_mtime_ns
    assert small_archive(folder, SIZE) == folder and (folder / "mask.zip").stat().st_mtime_ns == before
    assert len(list(folder.iterdir())) == 4
