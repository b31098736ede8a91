"""Hand-held pairs: what moves how far is known, refused pairs count, and the command has a row for each network."""

import numpy as np
import pytest
import torch

from helpers.augment import Perturbation
from helpers.benchmarks import handheld
from helpers.benchmarks.report import newest
from helpers.checkpoints import save_tensors
from helpers.config import CourseError
from helpers.model import build
from helpers.rendering.dataset import RoomsDataset

SIZE = 64


@pytest.fixture
def still(monkeypatch, tmp_path):
    """Nothing but the camera's position differs between the two pictures of a pair."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(handheld, "HANDHELD", Perturbation(*[0.0] * 7))
    monkeypatch.setattr(handheld, "TURN", 0.0)
    monkeypatch.setattr(handheld, "JPEG", 100)


def by_how_much(pair):
    bg, scene = (pair[key].float().mean(1) for key in ("bg", "bg_fg"))  # (B, S, S)
    return [(one - other).abs()[mask[0] == 0].median() for one, other, mask in zip(bg, scene, pair["mask"])]


def test_only_the_camera_of_the_room_moves_and_two_cats_share_a_room(still, monkeypatch):
    planar, dataset = handheld.pairs(3, SIZE, kind="planar"), RoomsDataset(SIZE, 2, 3, 1, seed=handheld.SEED)
    own = dataset.get_batch([0, 3, 10])  # cats 0 and 1 in room 0, the second mirrored; cat 2 in room 1
    assert all(torch.equal(planar[key], own[key]) for key in ("mask", "depth", "valid"))
    assert max(by_how_much(planar)) < 2  # JPEG alone
    monkeypatch.setattr(handheld, "STEP", 0.3)
    parallax = handheld.pairs(3, SIZE)
    assert all(torch.equal(parallax[key], planar[key]) for key in ("bg_fg", "mask", "depth"))
    assert min(by_how_much(parallax)) > 2 and not torch.equal(parallax["bg"][0], parallax["bg"][1])


def test_near_things_move_against_far_ones(still, monkeypatch):
    """What the moved camera sees of a point is where the depth of the first picture says."""
    monkeypatch.setattr(handheld, "STEP", 0.3)
    dataset = RoomsDataset(SIZE, 1, 2, 1, seed=handheld.SEED)
    view, room = dataset.view(0), dataset.plan(0).room
    camera = handheld.moved(room.camera, np.random.default_rng([handheld.SEED, 0]))
    step = room.camera.axes() @ np.subtract(camera.position, room.camera.position)
    assert 0.03 < np.linalg.norm(step) <= 0.3 and camera[1:] == room.camera[1:]
    depth, at = view["depth"].numpy(), (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
    seen = np.stack(np.broadcast_arrays(at * depth, -at[:, None] * depth)) / room.camera.focal - step[:2, None, None]
    x, y = seen * room.camera.focal / (depth - step[2])
    columns, rows = (np.rint((place + 1) * SIZE / 2 - 0.5).astype(int) for place in (x, -y))
    inside = (np.minimum(columns, rows) >= 0) & (np.maximum(columns, rows) < SIZE)
    other = handheld.pairs(2, SIZE)["bg"][0].numpy().astype(int)
    own = view["bg"].numpy().astype(int)
    found = np.abs(other[:, rows[inside], columns[inside]] - own[:, inside]).mean()
    assert found < 0.6 * np.abs(other - own)[:, inside].mean()


def test_a_refused_pair_has_no_mask_and_is_counted():
    mask = torch.zeros(4, 1, 8, 8)
    mask[:, :, 2:6, 2:6] = 1
    pictures = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 8, 8)

    def careful(room, scene):
        assert room.shape == scene.shape == (8, 8, 3)
        if room[0, 0, 0] == 3:
            raise CourseError("These are two rooms.")
        return mask[0, 0].numpy()

    found = handheld.compare({"bg": pictures, "bg_fg": pictures, "mask": mask}, {
        "careful": careful, "half": lambda room, scene: mask[0, 0].numpy() * (np.arange(8) < 4),
    })  # fmt: skip
    assert found["careful"] == pytest.approx(dict(zip(handheld.COLUMNS, (6 / 7, 0.25))))
    assert found["half"] == pytest.approx(dict(zip(handheld.COLUMNS, (2 / 3, 0))))


def test_the_command_scores_the_courses_weights_and_others(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    net = build("DepthMaskNet")
    save_tensors(tmp_path / "published.safetensors", net.state_dict(), {"network": "DepthMaskNet"})
    handheld.main(["--count", "1", "--sizes", "64", "96", "--weights", str(tmp_path / "published.safetensors")])
    printed, result = capsys.readouterr().out, newest(handheld.RESULT)
    assert handheld.markdown(result) in printed
    lines = [line for line in printed.splitlines() if line.startswith("| p")][1:]  # without the head
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines]
    methods, ways = ("subtraction", "rooms", "photographs", "published"), ("", ", registered")
    assert rows == [[kind, name + way] for kind in ("parallax", "planar") for name in methods for way in ways]
    assert "Dice, 64 px | Dice, 96 px" in printed and "1 quartets of each kind, of 1 rooms, seed 2" in printed and "torch" in printed
