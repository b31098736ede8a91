"""Notebook 01 builds small versions of what the library has: they give the same."""

import re
import zipfile

import numpy as np
import pytest
import torch
from archive_files import write_archive
from drive_server import DriveServer
from notebook_cells import cells, defined, prose

from helpers.archive import download
from helpers.archive.dataset import ArchiveDataset
from helpers.archive.download import FOLDER, NAMES, _cause, _failure
from helpers.archive.gdown_process import GdownError
from helpers.archive.index import open_index
from helpers.dataset import normalise_depth
from helpers.evaluate import subtract_background
from helpers.rendering.dataset import RoomsDataset


@pytest.fixture(scope="module")
def built():
    return defined("01", "to_metres", "few_scenes", "clean", "subtract", "nearest", "rmse", "index_of")


@pytest.mark.parametrize("size", [48, 64, 130])
@pytest.mark.parametrize("threshold", [10, 20])
def test_its_background_subtraction_is_the_librarys(built, size, threshold):
    generator = torch.Generator().manual_seed(size)
    bg = torch.randint(0, 200, (4, 3, size, size), dtype=torch.uint8, generator=generator)
    blobs = torch.nn.functional.avg_pool2d(torch.rand(4, 1, size + 8, size + 8, generator=generator), 9, 1)
    bg_fg = torch.where(blobs > blobs.median(), bg + 15 + (40 * blobs).byte(), bg)
    bg_fg[3] = bg[3]
    wanted = subtract_background(bg, bg_fg, threshold)
    assert torch.equal(built["subtract"](bg, bg_fg, threshold), wanted)
    assert wanted[3].sum() == 0 and (threshold > 10 or 0.01 < wanted[:3].mean() < 0.99)


def test_its_metres_are_what_relative_depth_was_made_from(built):
    metres = 1 + 4 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    depth, near_far = normalise_depth(metres, torch.ones_like(metres, dtype=torch.bool))
    for i in range(2):
        assert torch.allclose(built["to_metres"](depth[i], near_far[i]), metres[i], atol=1e-4)


def test_few_scenes_show_few_rooms_and_cats(built):
    dataset = RoomsDataset(64, rooms=20, cats=12, placements=2)
    few = built["few_scenes"](dataset, rooms=3, cats=4, count=30)
    rooms, cats = few.scenes()
    assert len(few) == 30 and set(rooms) == {0, 1, 2} and set(cats) == {0, 1, 2, 3}
    assert len(set(few.indices.tolist())) == 30


def test_the_nearest_neighbour_of_a_stored_image_is_itself(built):
    images = {"bg_fg": torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))}
    assert built["nearest"](images, images).tolist() == list(range(9))
    assert built["nearest"](images, {"bg_fg": images["bg_fg"][[7, 2]]}).tolist() == [7, 2]


def test_its_rmse_counts_valid_pixels_only(built):
    batch = {"depth": torch.zeros(1, 1, 2, 2), "valid": torch.tensor([[[[True, True], [False, True]]]])}
    assert built["rmse"](torch.tensor([[[[0.3, 0.0], [9.0, 0.4]]]]), batch) == pytest.approx((0.25 / 3) ** 0.5)


def test_its_index_finds_what_the_librarys_finds(built, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    folder = write_archive(tmp_path / "archive", rooms=2, cats=3)
    library = open_index(folder, tmp_path / "kept")
    for name in ("bg_fg", "mask", "depth"):
        index = built["index_of"](folder / f"{name}.zip")
        assert sorted(index) == [library.quartet(row) for row in range(len(library.rows))]
        with zipfile.ZipFile(folder / f"{name}.zip") as file:
            assert all(file.read(index[library.quartet(row)]) == library.read(name, row) for row in (0, 5, 11))
    assert len(ArchiveDataset(folder, 48)) == len(index)


def test_the_refusal_that_it_quotes_is_the_librarys(tmp_path):
    refused = GdownError("FileURLRetrievalError: Too many users have viewed or downloaded this file recently")
    message = str(_failure(_cause(refused, "bg_fg.zip", tmp_path)))
    (quoted,) = re.findall(r"^> (The published data.*?)\n\n", prose("01"), re.DOTALL | re.MULTILINE)
    pieces = [piece for piece in re.sub(r"\n> ?|\s+", " ", quoted).split(" [...] ")]
    assert len(pieces) == 2 and message.startswith("The published data cannot be had: Google Drive's quota for bg_fg.zip")
    for sentence in re.split(r"[;:] ", pieces[0].partition("; on Colab")[0]):
        assert sentence in message, sentence
    for way in pieces[1].rstrip(".").split("; ")[1:]:
        assert way.removeprefix("or ") in message, way


def test_the_address_of_the_published_folder_is_the_librarys():
    text = "".join(cell.source for cell in cells("01"))
    assert text.count(FOLDER) == 2 and np.all([word == FOLDER for word in re.findall(r"1ACsG[\w-]+", text)])


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """A stand-in for Google Drive, which gdown reaches as it would reach the real one."""
    folder = write_archive(tmp_path / "published", rooms=1, cats=1)
    files = {name: (folder / name).read_bytes() for name in NAMES}
    monkeypatch.setattr(download, "MOUNT", tmp_path / "no-mount")
    monkeypatch.setattr(download, "ROUGH_BYTES", {name: len(data) for name, data in files.items()})
    monkeypatch.setattr("helpers.demos.small_archive.small_archive", lambda folder: tmp_path / "small")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    for name in ("COURSE_ARCHIVE", "ALL_PROXY", "NO_PROXY", "CURL_CA_BUNDLE", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with DriveServer(tmp_path, files) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.proxy)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificates))
        yield server


def download_cells() -> dict:
    """What the cell with the switch, turned on, and the next one define."""
    sources = [cell.source for cell in cells("01") if cell.cell_type == "code"]
    (switch,) = [i for i, source in enumerate(sources) if source.startswith("DOWNLOAD = False  # ")]
    space = defined("01")
    for source in (sources[switch].replace("DOWNLOAD = False", "DOWNLOAD = True", 1), sources[switch + 1]):
        exec(source, space)
    return space


@pytest.mark.slow
def test_with_its_switch_on_the_archive_is_downloaded_and_verified(drive, tmp_path):
    folder = download_cells()["folder"]
    assert folder == tmp_path / "cache" / "archive"
    assert {name: (folder / name).read_bytes() for name in NAMES} == drive.files
    assert sorted({path for path, _ in drive.requests}) == sorted(NAMES) and len(drive.requests) == 3, "once each"


@pytest.mark.slow
def test_when_drive_refuses_the_message_is_shown_and_the_small_archive_remains(drive, tmp_path, capsys):
    drive.faults["bg_fg.zip"] = "quota"
    assert download_cells()["folder"] == tmp_path / "small"
    assert "Google Drive's quota for bg_fg.zip is used up for today" in capsys.readouterr().out
