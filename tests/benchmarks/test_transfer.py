"""Transfer: who starts from what, on how many rooms; every run is kept, and what is frozen stays as it was."""

import json

import pytest
import torch
from photo_files import photo_folder
from toy import ToyQuartets

from helpers.benchmarks import transfer
from helpers.config import CourseError
from helpers.dataset import scenes
from helpers.predict import load, pretrained

pytestmark = pytest.mark.slow


@pytest.fixture
def small(monkeypatch, tmp_path):
    for name, value in {"SIZE": 32, "SAMPLES": 32, "TEST_SAMPLES": 4}.items():
        monkeypatch.setattr(transfer, name, value)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    photo_folder(tmp_path / "photos", depths=(None,) * 8, cats=3)
    return tmp_path


def test_rows_for_each_start_and_number_of_rooms_and_finished_runs_are_read_again(small, capsys):
    starts = ["from nothing", "rendered rooms, frozen"]
    result = transfer.measure(small / "photos", [2, 3], [0, 1], starts)
    assert [(row["start"], row["rooms"]) for row in result["rows"]] == [(s, c) for c in (2, 3) for s in starts]
    assert all(len(row[key]) == 2 for row in result["rows"] for key in transfer.COLUMNS)
    assert len({json.dumps(row["depth RMSE, clean"]) for row in result["rows"]}) == 4, "each is another training"
    net, before = load(small / "runs/transfer/rendered-rooms-frozen-2-0").state_dict(), pretrained().state_dict()
    kept = {name for name, value in net.items() if torch.equal(value, before[name])}
    frozen = {name for name in net if name.startswith(("stem.", "encoder.", "context."))}
    assert kept == frozen, "weights and statistics of the frozen part, and nothing else"
    weights = small / "runs/transfer/from-nothing-3-1/weights.safetensors"
    weights.unlink()
    again = transfer.measure(small / "photos", [2, 3], [0, 1], starts)
    assert again == result and not weights.exists(), "nothing was trained again"
    text = transfer.markdown(result)
    assert "| from nothing | 2 |" in text and "32 samples at 32 px" in text and "2 seeds" in text
    assert len(transfer.figure(result).axes) == 2


def test_fewer_rooms_are_among_more(small):
    toys = ToyQuartets(rooms=8, cats=2, placements=1)
    few, more = (set(scenes(transfer.few_rooms(toys, count, seed=3))[0]) for count in (3, 6))
    assert few < more and (len(few), len(more)) == (3, 6)


def test_the_imagenet_encoder_takes_pairs_of_any_multiple_of_16_and_is_frozen_whole():
    try:
        net = transfer.STARTS["ImageNet, frozen"]()
    except CourseError as error:
        pytest.skip(str(error))
    pair = torch.rand(2, 2, 3, 48, 80)
    before = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    mask, depth = net.train()(*pair)
    (mask.sum() + depth.sum()).backward()
    assert mask.shape == depth.shape == (2, 1, 48, 80)
    assert all(torch.equal(value, before[name]) for name, value in net.encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in net.encoder.parameters())
    assert net.decoder[0][0].weight.grad.isfinite().all()
