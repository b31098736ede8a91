"""Guessed depth goes the right way, is marked as guessed, and never claims metres."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from helpers.config import CourseError
from helpers.dataset import check_quartet
from helpers.photos.dataset import PhotosDataset
from helpers.photos.folder import PSEUDO_DEPTH
from helpers.photos.pseudo_depth import FAR_OVER_NEAR, add_pseudo_depth, depth_anything, depth_from_disparity


def ramp(picture):
    """A 'model' that finds the bottom of every picture near: larger is nearer."""
    height, width = picture.shape[:2]
    return np.repeat(np.linspace(0.5, 9.0, height)[:, None], width, 1).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos/bg").mkdir(parents=True)
    (tmp_path / "photos/fg").mkdir()
    for i, size in enumerate([(120, 90), (90, 120)]):
        Image.new("RGB", size, (100, 120, 140)).save(tmp_path / f"photos/bg/room {i}.jpg")
    rgba = np.zeros((60, 60, 4), np.uint8)
    rgba[10:50, 10:50] = (200, 90, 20, 255)
    Image.fromarray(rgba).save(tmp_path / "photos/fg/cat.png")
    return tmp_path / "photos"


def test_depth_grows_where_disparity_falls():
    disparity = np.linspace(0, 1, 1001)[None].repeat(3, 0)
    depth = depth_from_disparity(disparity, far_over_near=4)
    assert depth.dtype == np.float32 and depth.shape == disparity.shape
    assert (np.diff(depth[0, 5:-5]) < 0).all()
    assert depth[0, 0] == pytest.approx(4) and depth[0, -1] == pytest.approx(1)


@pytest.mark.parametrize("slope, offset", [(1, 0), (7.5, 0), (0.02, 3), (400, -11)])
def test_a_known_ratio_gives_back_the_true_depth_whatever_the_models_scale(slope, offset):
    metres = np.random.default_rng(0).uniform(1.5, 6.0, (80, 100))
    metres[:10], metres[-10:] = 1.5, 6.0
    depth = depth_from_disparity(slope / metres + offset, far_over_near=4)
    assert depth == pytest.approx(metres / 1.5, rel=1e-4)


def test_it_is_closer_than_one_minus_disparity_even_with_a_wrong_ratio():
    metres = np.random.default_rng(0).uniform(1.0, 5.0, (80, 100))
    metres[0], metres[-1] = 1.0, 5.0

    def relative(x):
        return (x - x.min()) / (x.max() - x.min())

    easy = np.abs(1 - relative(1 / metres) - relative(metres)).mean()
    for ratio in (3, 5, 8):
        error = np.abs(relative(depth_from_disparity(1 / metres, ratio)) - relative(metres)).mean()
        assert error < 0.6 * easy


def test_single_wild_pixels_do_not_set_the_scale():
    disparity = np.random.default_rng(0).uniform(1, 2, (100, 100))
    spoilt = disparity.copy()
    spoilt[0, 0], spoilt[50, 50] = 1000, -1000
    difference = np.abs(depth_from_disparity(spoilt) - depth_from_disparity(disparity))
    difference[0, 0] = difference[50, 50] = 0
    assert difference.max() < 0.02


@pytest.mark.parametrize(
    "disparity, ratio, words",
    [
        (np.ones((4, 4)), 5, "the same everywhere"),
        (np.full((4, 4), np.nan), 5, "finite"),
        (np.ones((4, 4, 3)), 5, "H, W"),
        (np.zeros((0, 4)), 5, "H, W"),
        (np.eye(4), 1, "far_over_near=1"),
        (np.eye(4), float("nan"), "far_over_near=nan"),
    ],
)
def test_what_is_no_disparity_is_refused(disparity, ratio, words):
    with pytest.raises(CourseError, match=words):
        depth_from_disparity(disparity, ratio)


def test_a_folder_gets_marked_depth_that_never_claims_metres(folder):
    report = add_pseudo_depth(folder, ramp)
    assert str(report) == "2 rooms with pseudo-depth"
    mark = json.loads((folder / PSEUDO_DEPTH).read_text())
    assert mark == {"model": "your own", "assumed_far_over_near": FAR_OVER_NEAR, "metric": False}
    photos = PhotosDataset(folder, size=64, placements=3)
    assert photos.stance == "floating"
    for i in range(len(photos)):
        quartet = check_quartet(photos[i])
        assert quartet["near_far"].isnan().all() and quartet["valid"].all()
        room = quartet["depth"][0][:, :][quartet["mask"][0] == 0]
        assert room.max() == 1
        column = quartet["depth"][0, :, 0]
        assert column[0] > column[-1], "the bottom is near"


def test_without_the_mark_the_same_files_would_claim_metres(folder):
    add_pseudo_depth(folder, ramp)
    marked = PhotosDataset(folder, size=64, placements=1)
    (folder / PSEUDO_DEPTH).unlink()
    plain = PhotosDataset(folder, size=64, placements=1)
    assert plain[0]["near_far"].isfinite().all() and marked[0]["near_far"].isnan().all()
    assert (plain[0]["depth"] == marked[0]["depth"]).all()
    assert plain.key() != marked.key(), "cached sets of the two must not meet"


def test_measured_depth_is_not_mixed_with_guesses(folder):
    (folder / "camera.json").write_text("{}")
    with pytest.raises(CourseError, match="camera.json, which is for measured depth"):
        add_pseudo_depth(folder, ramp)
    (folder / "camera.json").unlink()
    add_pseudo_depth(folder, ramp)
    with pytest.raises(CourseError, match="holds .* already"):
        add_pseudo_depth(folder, ramp)
    camera = {"size": [120, 90], "fx": 100, "fy": 100, "cx": 60, "cy": 45, "depth_unit_m": 0.001}
    (folder / "camera.json").write_text(json.dumps(camera))
    with pytest.raises(CourseError, match="guessed.*measured: remove one"):
        PhotosDataset(folder, size=64)


def test_a_failure_leaves_the_folder_as_it_was(folder):
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(CourseError, match="the same everywhere"):
        add_pseudo_depth(folder, lambda picture: np.ones(picture.shape[:2]))
    assert sorted(path.name for path in folder.iterdir()) == before
    with pytest.raises(CourseError, match="needs a folder bg/"):
        add_pseudo_depth(folder / "fg", ramp)


def test_a_mark_that_leads_out_of_the_folder_is_refused(folder, tmp_path):
    add_pseudo_depth(folder, ramp)
    (folder / PSEUDO_DEPTH).rename(tmp_path / "elsewhere.json")
    (folder / PSEUDO_DEPTH).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(CourseError, match="leads out"):
        PhotosDataset(folder, size=64)


def test_without_transformers_you_are_told_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it fails, as where it is not installed
    with pytest.raises(CourseError, match="needs the package transformers: Colab has it"):
        depth_anything()


def test_a_model_that_cannot_be_had_is_told_in_words(tmp_path):
    pytest.importorskip("transformers", reason="transformers is optional")
    with pytest.raises(CourseError, match="could not be loaded"):
        depth_anything(str(tmp_path / "no-model"))


def test_the_public_models_kind_works_from_picture_to_quartet(folder, tmp_path):
    """A tiny one with random weights, saved and loaded as the public one is."""
    transformers = pytest.importorskip("transformers", reason="transformers is optional")
    backbone = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=24, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8,
    )  # fmt: skip
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path / "model")
    size = {"height": 56, "width": 56}
    transformers.DPTImageProcessor(size=size, ensure_multiple_of=14).save_pretrained(tmp_path / "model")
    estimate = depth_anything(str(tmp_path / "model"))
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    disparity = estimate(picture)
    assert disparity.shape == (90, 120) and np.isfinite(disparity).all()
    report = add_pseudo_depth(folder, lambda p: estimate(p) + ramp(p))
    assert report.kept == 2 and check_quartet(PhotosDataset(folder, size=64)[0])["valid"].all()
