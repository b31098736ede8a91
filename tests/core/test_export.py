"""A network in other programs answers as it does in this one."""

import builtins
from importlib import import_module

import pytest
import torch

from helpers.config import CourseError
from helpers.model import NETWORKS, build
from helpers.predict import TOLERANCE, OnnxModel, exported, largest_difference, random_shapes, write_onnx, write_pt2

export = import_module("helpers.predict")  # the attribute helpers.predict is the function


@pytest.fixture(params=NETWORKS)
def net(request):
    net = build(request.param).eval()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():  # as after a training: statistics that are not 0 and 1
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net


def programs(program, folder):
    write_pt2(program, folder / "net.pt2")
    write_onnx(program, folder / "net.onnx")
    assert sorted(path.name for path in folder.iterdir()) == ["net.onnx", "net.pt2"], "the weights are inside"
    return torch.export.load(folder / "net.pt2").module(), OnnxModel(folder / "net.onnx", threads=1)


def test_an_export_of_any_size_answers_as_the_network_does(net, tmp_path):
    for other in programs(exported(net), tmp_path):
        assert largest_difference(net, other, [*random_shapes(3), (1, 32, 48), (2, 64, 64)]) < TOLERANCE


def test_an_export_of_one_size_answers_as_the_network_does(net, tmp_path):
    for other in programs(exported(net, 48), tmp_path):
        assert largest_difference(net, other, [(1, 48, 48), (5, 48, 48)]) < TOLERANCE
        with pytest.raises(Exception, match="48"):
            largest_difference(net, other, [(1, 64, 64)])


def test_the_read_out_is_exported_too(tmp_path):
    net = build("DepthMaskNet").eval()
    net.depth_activation = "clamp"
    program = exported(net, 32)
    net.depth_activation = "sigmoid"
    assert largest_difference(net, program.module(), [(1, 32, 32)]) > 0.1


def test_another_program_that_answers_otherwise_is_noticed():
    net = build("DuoNet").eval()
    assert largest_difference(net, exported(build("DuoNet", seed=1).eval(), 32).module(), [(1, 32, 32)]) > TOLERANCE


def test_the_command_writes_both_and_says_how_far_they_differ(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["export", "--size", "32", "--to", str(tmp_path / "out")])
    export.main()
    shown = capsys.readouterr().out
    assert shown.count("differs by at most") == 2 and "out/DuoNet-32.onnx" in shown


@pytest.mark.parametrize("size, better", [(50, 64), (8, 16), (0, 16)])
def test_a_size_that_no_network_takes_is_refused_with_one_that_it_does(size, better):
    with pytest.raises(CourseError, match=f"size={size}: choose a multiple of 16, say {better}"):
        exported(build("DuoNet"), size)


@pytest.mark.parametrize("package, act", [("onnxscript", lambda path: write_onnx(None, path)), ("onnxruntime", OnnxModel)])
def test_a_missing_package_is_named(package, act, tmp_path, monkeypatch):
    real = builtins.__import__

    def importing(name, *rest, **more):
        if name == package:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(CourseError, match=f"pip install .*{package}"):
        act(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
