"""Smaller files: what is stored in 8 bits, what a page weighs, and what the table says of a file."""

import gzip

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from helpers.benchmarks import deployment
from helpers.dataset import get_batch
from helpers.dataset import scenes as all_scenes
from helpers.demos.scenes import example_scenes
from helpers.exercises.compare import quartets, warmed_up_net
from helpers.metrics import Meter
from helpers.web.onnx import LARGE, OnnxModel, Probabilities, export_onnx

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def net():
    return warmed_up_net(quartets()).eval()


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    names = {name: folder / f"{place}.onnx" for place, name in enumerate(("float32", "weights", "static"))}
    export_onnx(net, names["float32"], 64)
    deployment.weights_in_8_bits(names["float32"], names["weights"])
    deployment.static_8_bits(names["float32"], names["static"], deployment.calibration_pairs(64))
    return names


@pytest.fixture(scope="module")
def scenes():
    return {name: value[..., 32:96, 32:96] if value.ndim == 4 else value for name, value in example_scenes().items()}


def test_weights_in_8_bits_are_within_half_a_scale_of_their_own_output(files):
    exact = {one.name: numpy_helper.to_array(one) for one in onnx.load(files["float32"]).graph.initializer}
    stored = {one.name: numpy_helper.to_array(one) for one in onnx.load(files["weights"]).graph.initializer}
    large = [name for name, weight in exact.items() if weight.ndim == 4 and weight.size >= LARGE]
    assert large and not set(large) & set(stored)
    for name in large:
        whole, scale = stored[f"{name}.int8"], stored[f"{name}.scale"].reshape(-1, 1, 1, 1)
        assert whole.dtype == np.int8 and np.abs(whole).max() == 127
        assert (np.abs(whole * scale - exact[name]) <= 0.501 * scale).all()


@pytest.mark.parametrize("name", ["weights", "static"])
def test_a_smaller_file_is_smaller_and_predicts_nearly_the_same(files, scenes, name):
    assert files[name].stat().st_size < 0.6 * files["float32"].stat().st_size
    pairs = deployment.as_arrays(scenes)
    for exact, other in zip(OnnxModel(files["float32"], 1)(*pairs), OnnxModel(files[name], 1)(*pairs)):
        assert 0 < np.abs(exact - other).mean() < 0.2 * exact.std()


def test_static_quantisation_computes_in_8_bits_and_says_nothing(files, tmp_path, caplog):
    kinds = [node.op_type for node in onnx.load(files["static"]).graph.node]
    assert "QuantizeLinear" in kinds and kinds.count("DequantizeLinear") > kinds.count("Conv")
    deployment.static_8_bits(files["float32"], tmp_path / "again.onnx", deployment.calibration_pairs(64))
    assert not [record for record in caplog.records if record.levelno >= deployment.logging.WARNING]
    assert deployment.logging.root.manager.disable == 0, "other warnings are heard again"


def test_the_table_says_what_the_network_scores(net, files, scenes):
    row = deployment.compared(files, scenes, repeats=1)["float32"]
    meter = Meter(edges=False)
    with torch.no_grad():
        meter.update(*Probabilities(net)(scenes["bg"].float() / 255, scenes["bg_fg"].float() / 255), scenes)
    assert row["MB"] == files["float32"].stat().st_size / 1e6 and row["ms"] > 0
    assert row["mask Dice"] == pytest.approx(meter.result()["mask_dice"], abs=1e-4)
    assert row["depth RMSE"] == pytest.approx(meter.result()["depth_rmse"], abs=1e-4)


def test_calibration_sees_rooms_and_cats_of_its_own(monkeypatch):
    drawn = []
    monkeypatch.setattr(deployment, "get_batch", lambda data, indices: drawn.append((data, list(indices))) or get_batch(data, indices))
    rooms, _ = deployment.calibration_pairs(128)
    ((data, indices),) = drawn
    assert [len(set(ids[indices].tolist())) for ids in all_scenes(data)] == 2 * [deployment.SAMPLES], "no room and no cat twice"
    assert rooms.shape == (deployment.SAMPLES, 3, 128, 128) and 0 <= rooms.min() < rooms.max() <= 1
    scored, _ = deployment.as_arrays(example_scenes())
    assert np.abs(rooms[:, None] - scored[None]).mean((2, 3, 4)).min() > 0.01


def test_the_weight_of_a_page_is_that_of_its_files(tmp_path):
    for name, content in {"a.js": 3000 * b"a", "b.gz": gzip.compress(np.random.default_rng(0).bytes(5000))}.items():
        (tmp_path / name).write_bytes(content)
    unpacked, gzipped = deployment.page_megabytes(tmp_path)
    assert unpacked * 1e6 == pytest.approx(8000, abs=50) and gzipped * 1e6 == pytest.approx(5100, abs=100)
