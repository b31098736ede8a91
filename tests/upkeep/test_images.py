"""``make images``: which files are written, what is in them, and that none is half-written."""

import re

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyQuartets

from helpers import session
from helpers.callbacks import Snapshot, Snapshots, read_snapshots
from helpers.config import ROOT, CourseError
from helpers.plots import MASK_COLOUR, show_lines
from helpers.upkeep import images, teaser_gif

pytestmark = pytest.mark.slow

ONE = (lambda: show_lines({"a": [1, 2]}, "x", "y"), images.PICTURES["duonet.png"][1])  # draws, saves


def pictures(figure):
    return [axis for axis in figure.axes if axis.images]


# -- files --------------------------------------------------------------------------------------------------------


def test_all_or_some_are_drawn_and_twice_the_same(tmp_path, monkeypatch, capsys):
    gif = (lambda: moving(4), teaser_gif.save)
    monkeypatch.setattr(images, "PICTURES", {"one.png": ONE, "two.png": ONE, "three.gif": gif})
    images.main(["two"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["two.png"]
    images.main([], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "three.gif", "two.png"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    images.main([], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert capsys.readouterr().out.splitlines()[-1] == f"drew {tmp_path.name}/three.gif"
    assert matplotlib.image.imread(tmp_path / "one.png").ndim == 3


def test_a_picture_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    def broken():
        raise MemoryError

    (tmp_path / "one.png").write_bytes(b"old")
    monkeypatch.setattr(images, "PICTURES", {"one.png": (broken, ONE[1])})
    with pytest.raises(MemoryError):
        images.main(["one"], tmp_path)
    assert (tmp_path / "one.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_an_unknown_name_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(CourseError, match="'cats'.*quartets"):
        images.main(["cats"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_drawn_is_in_the_repository_and_nothing_else():
    assert set(images.PICTURES) == {path.name for path in (ROOT / "Images").iterdir()}, "run 'make images'"
    shown = set(re.findall(r"Images/(\w+\.\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"time_travel.gif", "quartets.png", "duonet.png"} <= shown <= set(images.PICTURES)


@pytest.mark.parametrize("path", sorted((ROOT / "Images").glob("*.*")), ids=lambda path: path.name)
def test_pictures_bring_their_own_page(path):
    """GitHub's page is light or dark: dark words need a light ground that belongs to the picture."""
    drawn = np.asarray(Image.open(path).convert("RGBA"))
    border = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
    assert (border[:, 3] == 255).all(), "transparent"
    assert border[:, :3].min() > 150, "dark words could stand on it"
    assert path.stat().st_size < 3_000_000


# -- figures ------------------------------------------------------------------------------------------------------


def test_the_opening_picture_shows_whole_quartets():
    figure = images.quartets(size=32)
    assert len(pictures(figure)) == 8
    assert [axis.get_title() for axis in pictures(figure)[:4]][2:] == ["mask", "depth"]


def test_the_social_preview_is_as_github_wants_it_and_shows_what_the_network_predicts(tmp_path):
    images.main(["social_preview"], tmp_path)
    drawn, stored = (Image.open(folder / "social_preview.png") for folder in (tmp_path, ROOT / "Images"))
    assert drawn.format == "PNG" and drawn.size == (1280, 640)
    assert (ROOT / "Images" / "social_preview.png").stat().st_size < 300_000
    new, old = (np.asarray(picture.convert("RGB")).astype(int) for picture in (drawn, stored))
    assert np.abs(new - old).mean() < 3, "draw it anew"
    room, scene, masked = (new[268:556, left : left + 288] for left in (40, 344, 648))
    cat, changed = (np.abs(scene - other).sum(2) for other in (masked, room))
    assert 0.02 < (cat > 60).mean() < 0.3
    assert changed[cat > 60].mean() > 10 * changed[cat <= 60].mean(), "the mask is where the two photographs differ"


def test_the_networks_are_drawn_from_the_modules():
    for name in ("DepthMaskNet", "DuoNet"):
        assert images.PICTURES[f"{name.lower()}.png"][0]().axes[0].get_title().startswith(name)


@pytest.fixture(scope="module")
def run():
    """A tiny run of notebook 05."""
    return images.finished_run()


def test_a_run_that_is_missing_is_trained_once(run, capsys):
    assert (run / "weights.safetensors").is_file()
    changed = (run / "weights.safetensors").stat().st_mtime_ns
    assert images.finished_run() == run and (run / "weights.safetensors").stat().st_mtime_ns == changed
    assert capsys.readouterr().out == ""


def test_failures_are_those_of_the_run(run, capsys):
    words = " ".join(axis.get_ylabel() for axis in images.worst().axes)
    assert "Dice" in words and "depth RMSE" in words
    assert "predicted by a network of the recipe course;" in capsys.readouterr().out


def test_the_gif_shows_the_quartets_of_the_run_at_another_size(run, monkeypatch):
    shown = []
    monkeypatch.setattr(teaser_gif, "draw", lambda *arguments: shown.extend(arguments))
    images.time_travel()
    kept, rooms, scenes = shown
    assert rooms.shape == scenes.shape == (2, 3, teaser_gif.PANEL, teaser_gif.PANEL)
    small_again = torch.nn.functional.interpolate(scenes.float(), kept.bg_fg.shape[-2:], mode="area").numpy()
    assert np.abs(small_again - kept.bg_fg[list(teaser_gif.shown(kept))]).mean() < 12, "the same scenes"
    assert np.abs(small_again - kept.bg_fg[list(teaser_gif.shown(kept))[::-1]]).mean() > 15


def test_snapshots_of_other_data_is_refused(run, monkeypatch):
    kept = read_snapshots(run)
    other = Snapshots(kept.snapshots, kept.stages, 255 - kept.bg_fg, *([None] * 3))
    monkeypatch.setattr(images, "read_snapshots", lambda folder: other)
    with pytest.raises(CourseError, match=f"{session.run_dir().name}/ was trained on other data"):
        images.time_travel()


# -- the moving picture -------------------------------------------------------------------------------------------


def some_snapshots(count: int = 8, size: int = 32) -> Snapshots:
    """The cat appears in the upper left corner half-way; depth goes from far to near."""
    snapshots = []
    for index in range(count):
        maps = np.zeros((2, 3, size, size), np.uint8)
        maps[0, :, : size // 2, : size // 2] = 255 * (2 * index >= count)
        maps[1] = 255 - 255 * index // (count - 1)
        snapshots.append(Snapshot(100 * index, 1, size, maps))
    batch = ToyQuartets(size=size).get_batch(range(3))
    empty = {key: np.zeros((3, size, size), np.uint8) for key in ("mask", "depth")}
    return Snapshots(tuple(snapshots), 1, batch["bg_fg"].numpy(), **empty, valid=np.ones((3, size, size), bool))


def moving(count: int) -> list[Image.Image]:
    grey = torch.full((2, 3, teaser_gif.PANEL, teaser_gif.PANEL), 128, dtype=torch.uint8)
    return teaser_gif.draw(some_snapshots(count), grey, grey)


def panel(drawn: Image.Image, place: int) -> np.ndarray:
    left = teaser_gif.MARGIN + place * (teaser_gif.PANEL + teaser_gif.GAP)
    return np.asarray(drawn.crop((left, teaser_gif.TOP, left + teaser_gif.PANEL, teaser_gif.TOP + teaser_gif.PANEL)))


def test_it_begins_trained_goes_back_and_learns_again():
    shown = moving(8)
    corner = [tuple(map(int, panel(drawn, 1)[20, 20])) for drawn in shown]
    colour = np.array([int(MASK_COLOUR[i : i + 2], 16) for i in (1, 3, 5)])
    cat = tuple(((colour + 128) / 2).round().astype(int).tolist())
    assert set(corner[:13]) == {cat} and corner[-1] == cat, "the cat at the seam, and for a second"
    assert (128, 128, 128) in corner, "none at the start of the training"
    assert (np.asarray(shown[0]) == np.asarray(shown[-1])).mean() > 0.99
    assert all((panel(drawn, 0) == 128).all() for drawn in shown), "nothing is laid over the room"


def test_the_divider_uncovers_the_photograph_and_covers_it_again():
    grey = [(panel(drawn, 2)[5] == 128).all(1).mean() for drawn in moving(8)]
    assert grey[0] == grey[-1] == 0 and 0.5 < max(grey) < 0.7


def test_the_gif_repeats_calmly_for_some_seconds(tmp_path):
    teaser_gif.save(moving(20), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as opened:
        assert opened.size == (teaser_gif.WIDTH, teaser_gif.HEIGHT) and opened.info["loop"] == 0
        durations = []
        for frame in range(opened.n_frames):
            opened.seek(frame)
            durations.append(opened.info["duration"])
        assert opened.convert("RGB").getpixel((4, 4)) == (255, 255, 255)
    assert 5_000 <= sum(durations) <= 10_000


def test_a_single_snapshot_is_drawn_too():
    assert len(moving(2)) > 20
    one = some_snapshots(2)
    one = Snapshots(one.snapshots[1:], 1, one.bg_fg, one.mask, one.depth, one.valid)
    grey = torch.zeros(2, 3, teaser_gif.PANEL, teaser_gif.PANEL, dtype=torch.uint8)
    assert teaser_gif.draw(one, grey, grey)
