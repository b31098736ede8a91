"""What the student builds in notebook 07 does what the library's finished form does."""

import cv2
import numpy as np
import pytest
import torch
from notebook_cells import defined, found, printed

from helpers.demos.phone_pairs import handheld
from helpers.exercises.compare import rendered
from helpers.model import DuoNet, seeded
from helpers.photos.pseudo_depth import depth_from_disparity
from helpers.photos.register import align
from helpers.photos.segment_cat import cut_out
from helpers.predict import predict


@pytest.fixture(scope="module")
def pair():
    batch = rendered(256)
    room, scene = (batch[key][2].permute(1, 2, 0).numpy() for key in ("bg", "bg_fg"))
    return handheld(room, 3), scene, batch["mask"][2, 0].numpy()


def test_the_movement_is_that_of_align(pair):
    room, scene, _ = pair
    movement, warped = (defined("07", "movement", "warped")[name] for name in ("movement", "warped"))
    matrix, start, end, agree = movement(room, scene)
    assert len(start) == len(end) == len(agree) and agree.mean() > 0.5
    corners = np.float64([[[x, y] for x in (0, 256) for y in (0, 256)]])
    shift = np.linalg.norm(cv2.perspectiveTransform(corners, matrix) - corners, axis=-1).max()
    assert abs(shift - align(room, scene).shift) < 1.5
    left = [np.abs(warped(room, m).astype(float) - align(room, scene).room).mean() for m in (matrix, np.eye(3))]
    light = np.median(align(room, scene).room / np.maximum(warped(room, matrix), 1.0), axis=(0, 1))
    assert np.abs(warped(room, matrix) * light - align(room, scene).room).mean() < 0.5 * left[1]


def test_the_cut_out_is_nearly_that_of_the_library(pair):
    room, scene, mask = pair
    names = defined("07", "difference", "probable_cat", "my_cut_out", "dice")
    mine, library = names["my_cut_out"](room, scene), cut_out(room, scene)
    assert mine.shape == library.shape and mine.dtype == np.uint8 and (mine[..., :3] == scene).all()
    assert names["dice"](mine[..., 3] / 255, library[..., 3] / 255) > 0.9
    assert names["dice"](mine[..., 3] / 255, mask) > 0.85


def test_the_prediction_is_that_of_predict(pair):
    my_predict = defined("07", "my_predict", device="cpu")["my_predict"]
    net = seeded(DuoNet, 0).eval()
    net.trained_size = 48
    room, scene, _ = (picture[:200] for picture in pair)  # not square
    with torch.no_grad():
        mask, depth = my_predict(net, room, scene)
    library = predict(net, room, scene)
    assert mask.shape == room.shape[:2]
    assert np.abs(mask - library["mask"]).max() < 1e-5 and np.abs(depth - library["depth"]).max() < 1e-5


def test_a_frozen_part_stays_as_it_is_and_the_rest_learns():
    fine_tune = defined("07", "fine_tune", device="cpu")["fine_tune"]
    net = seeded(DuoNet, 0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fine_tune(net, rendered(), 4e-3, (net.stem, net.encoder, net.context), steps=2, batch_size=2)
    changed = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder", "mask_head", "depth_head"}  # of the last, the statistics of its normalisation alone
    assert all(torch.equal(value, before[f"depth_head.{name}"]) for name, value in net.depth_head.named_parameters())
    assert not net.training


def test_disparity_is_turned_back_as_printed():
    right, naive, fixed, ratio, assumed = (
        found("07", pattern)[0]
        for pattern in (r"ground truth +RMSE ([\d.]+)", r"1 - disparity +RMSE ([\d.]+)", r"assumed +RMSE ([\d.]+)",
                        r"farthest point is ([\d.]+) times", r"nearest; ([\d.]+) was assumed")
    )  # fmt: skip
    distance = np.linspace(1, ratio, 200)[None].repeat(4, 0)
    disparity = (1 / distance - 1 / ratio) / (1 - 1 / ratio)
    depth = depth_from_disparity(disparity, ratio)
    assert np.abs(depth - distance).max() < 0.05 and right == 0 and fixed < naive and assumed == 4


def test_the_capstone_prints_the_mark_and_a_line():
    assert "test mask Dice" in printed("07") and "The mark to beat" in printed("07")
