"""A network in other programs predicts as it does in this one."""

import sys

import numpy as np
import pytest
import torch

from helpers.config import CourseError
from helpers.exercises.compare import tiny_net
from helpers.model import NETWORKS, build
from helpers.web import onnx as module
from helpers.web.onnx import TOLERANCE, OnnxModel, Probabilities, export_onnx, largest_difference

pytestmark = pytest.mark.slow


def trained(name):
    net = build(name).eval()
    generator = torch.Generator().manual_seed(0)
    for layer in net.modules():  # as after a training: statistics that are not 0 and 1
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return net


@pytest.mark.parametrize("name, size", [*((name, None) for name in NETWORKS), ("DuoNet", 48)])
def test_an_exported_network_predicts_as_the_network_does(name, size, tmp_path):
    net = trained(name)
    assert export_onnx(net, tmp_path / "net.onnx", size) < TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"], "the weights are inside"
    model, other = Probabilities(net), OnnxModel(tmp_path / "net.onnx", threads=1)
    for height, width in [(size, size)] if size else [(48, 80), (112, 64)]:
        pair = torch.rand(2, 3, 3, height, width, generator=torch.Generator().manual_seed(height))
        for own, others in zip(model(*pair), other(*pair.numpy())):
            assert np.abs(own.detach().numpy() - others).max() < TOLERANCE
    if size:
        with pytest.raises(Exception, match="48"):
            largest_difference(model, other, 64)


def test_the_output_activation_is_exported_too(tmp_path):
    net = tiny_net().eval()
    net.depth_activation = "clamp"
    export_onnx(net, tmp_path / "net.onnx", 32)
    net.depth_activation = "sigmoid"
    assert largest_difference(Probabilities(net), OnnxModel(tmp_path / "net.onnx"), 32) > 0.1


def test_a_file_that_predicts_otherwise_is_not_written(tmp_path, monkeypatch):
    other = Probabilities(tiny_net(16).eval())
    monkeypatch.setattr(module, "OnnxModel", lambda path: lambda *pair: [x.numpy() for x in other(*map(torch.from_numpy, pair))])
    with pytest.raises(CourseError, match="net.onnx would differ from the network by .*not written"):
        export_onnx(tiny_net().eval(), tmp_path / "net.onnx", 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size, better", [(50, 64), (8, 16), (0, 16)])
def test_a_size_that_no_network_takes_is_refused_with_one_that_it_does(tmp_path, size, better):
    with pytest.raises(CourseError, match=f"size={size}: choose a multiple of 16, say {better}"):
        export_onnx(build("DuoNet"), tmp_path / "net.onnx", size)


@pytest.mark.parametrize("package", ["onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CourseError, match=f"pip install .*{package}"):
        export_onnx(build("DuoNet"), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
