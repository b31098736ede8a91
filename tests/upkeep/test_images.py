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
from helpers.upkeep import images
from helpers.upkeep import teaser_gif as film


def small():
    return show_lines({"a": [1, 2]}, "x", "y")


def pictures(figure):
    return [axis for axis in figure.axes if axis.images]


# -- files --------------------------------------------------------------------------------------------------------


def test_all_or_some_are_drawn_and_twice_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(images, "FIGURES", {"one": small, "two": small})
    monkeypatch.setattr(images, "SHEETS", {})
    monkeypatch.setattr(images, "FILMS", {"three": lambda: moving(4)})
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
    monkeypatch.setattr(images, "FIGURES", {"one": broken})
    with pytest.raises(MemoryError):
        images.main(["one"], tmp_path)
    assert (tmp_path / "one.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_an_unknown_name_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(CourseError, match="'cats'.*quartets"):
        images.main(["cats"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_pictures_of_the_readme_are_drawn_here():
    shown = re.findall(r"Images/(\w+\.\w+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    drawn = {f"{name}.png" for name in (*images.FIGURES, *images.SHEETS)} | {f"{name}.gif" for name in images.FILMS}
    assert shown and set(shown) <= drawn
    assert drawn <= {path.name for path in (ROOT / "Images").iterdir()}, "run 'make images'"


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


def test_the_networks_are_drawn_from_the_modules():
    for draw, name in ((images.depthmasknet, "DepthMaskNet"), (images.duonet, "DuoNet")):
        assert draw().axes[0].get_title().startswith(name)


def test_the_checkerboard_is_shown_before_and_after():
    panels = pictures(images.checkerboard())
    assert [axis.get_ylabel() for axis in panels[::5]] == ["untrained", "trained"]
    shuffled, resized = (np.asarray(panels[i].images[0].get_array()) for i in (1, 4))
    steps = [np.abs(np.diff(depth[..., 1], axis=1)).mean() for depth in (shuffled, resized)]
    assert steps[0] > 5 * steps[1], "only one of the two is a carpet"


@pytest.fixture(scope="module")
def run():
    """A tiny run of notebook 05."""
    return images.finished_run()


def test_a_run_that_is_missing_is_trained_once(run, capsys):
    assert (run / "weights.safetensors").is_file()
    changed = (run / "weights.safetensors").stat().st_mtime_ns
    assert images.finished_run() == run and (run / "weights.safetensors").stat().st_mtime_ns == changed
    assert capsys.readouterr().out == ""


def test_stages_show_what_each_stage_sees(run):
    panels = pictures(images.stages(index=0))
    sizes = [stage.size for stage in images.our_recipe().stages]
    assert [axis.images[0].get_array().shape[0] for axis in panels] == 3 * [*sizes, 192]
    assert [axis.get_title() for axis in panels[: len(sizes)]] == [f"stage {i}: {s} px" for i, s in enumerate(sizes, 1)]


def test_curves_and_results_come_from_the_run(run):
    assert [axis.get_ylabel() for axis in images.training().axes] == ["loss, training", "mask Dice, test", "depth RMSE, test"]
    words = {text.get_text().strip() for axis in images.training().axes for text in axis.texts}
    assert all(re.fullmatch(r"\d+ px", word) for word in words)
    assert len(pictures(images.results(count=2))) == 16


def test_failures_are_those_of_the_run(run):
    words = " ".join(text.get_text() for text in images.worst().texts)
    assert re.search(r"The \d+ worst masks", words) and re.search(r"The \d+ worst depth maps", words)


def test_the_film_shows_the_quartets_of_the_run_at_another_size(run, monkeypatch):
    shown = []
    monkeypatch.setattr(film, "draw", lambda *arguments: shown.extend(arguments))
    images.time_travel()
    kept, rooms, scenes = shown
    assert rooms.shape == scenes.shape == (2, 3, film.PANEL, film.PANEL)
    side = kept.bg_fg.shape[-1]
    small_again = torch.nn.functional.interpolate(scenes.float(), (side, side), mode="area").numpy()
    assert np.abs(small_again - kept.bg_fg[list(film.shown(kept))]).mean() < 12, "the same scenes"
    assert np.abs(small_again - kept.bg_fg[list(film.shown(kept))[::-1]]).mean() > 20


def test_a_film_of_other_data_is_refused(run, monkeypatch):
    kept = read_snapshots(run)
    monkeypatch.setattr(images, "read_film", lambda folder: Snapshots(kept.snapshots, kept.stages, 255 - kept.bg_fg, *([None] * 3)))
    with pytest.raises(CourseError, match=f"{session.run_dir().name}/ was trained on other data"):
        images.time_travel()


# -- the moving picture -------------------------------------------------------------------------------------------


def some_film(moments: int = 8, side: int = 32) -> Snapshots:
    """The cat appears in the upper left corner half-way; depth goes from far to near."""
    frames = []
    for moment in range(moments):
        said = np.zeros((2, 3, side, side), np.uint8)
        said[0, :, : side // 2, : side // 2] = 255 * (2 * moment >= moments)
        said[1] = 255 - 255 * moment // (moments - 1)
        frames.append(Snapshot(100 * moment, 1, side, said))
    batch = ToyQuartets(size=side).get_batch(range(3))
    maps = {key: np.zeros((3, side, side), np.uint8) for key in ("mask", "depth")}
    return Snapshots(tuple(frames), 1, batch["bg_fg"].numpy(), **maps, valid=np.ones((3, side, side), bool))


def moving(moments: int) -> list[Image.Image]:
    grey = torch.full((2, 3, film.PANEL, film.PANEL), 128, dtype=torch.uint8)
    return film.draw(some_film(moments), grey, grey)


def panel(drawn: Image.Image, place: int) -> np.ndarray:
    left = film.MARGIN + place * (film.PANEL + film.GAP)
    return np.asarray(drawn.crop((left, film.TOP, left + film.PANEL, film.TOP + film.PANEL)))


def test_the_film_begins_untrained_learns_and_goes_back():
    shown = moving(8)
    corner = [tuple(panel(drawn, 1)[20, 20]) for drawn in shown]
    assert corner[0] == corner[-1] == (128, 128, 128), "no cat at the seam"
    colour = np.array([int(MASK_COLOUR[i : i + 2], 16) for i in (1, 3, 5)])
    assert tuple(((colour + 128) / 2).round().astype(int)) in {tuple(int(v) for v in c) for c in corner}
    assert all((panel(drawn, 0) == 128).all() for drawn in shown), "nothing is laid over the room"


def test_the_divider_uncovers_the_photograph_and_covers_it_again():
    grey = [(panel(drawn, 2)[5] == 128).all(1).mean() for drawn in moving(8)]
    assert grey[0] == grey[-1] == 0 and 0.5 < max(grey) < 0.7


def test_the_gif_repeats_calmly_for_some_seconds(tmp_path):
    film.save(moving(20), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as opened:
        assert opened.size == (film.WIDTH, film.HEIGHT) and opened.info["loop"] == 0
        durations = []
        for frame in range(opened.n_frames):
            opened.seek(frame)
            durations.append(opened.info["duration"])
        assert opened.convert("RGB").getpixel((4, 4)) == (255, 255, 255)
    assert 5_000 <= sum(durations) <= 10_000


def test_a_film_of_a_single_moment_is_drawn_too():
    assert len(moving(2)) > 20
    one = some_film(2)
    one = Snapshots(one.snapshots[1:], 1, one.bg_fg, one.mask, one.depth, one.valid)
    grey = torch.zeros(2, 3, film.PANEL, film.PANEL, dtype=torch.uint8)
    assert film.draw(one, grey, grey)
