"""What notebook 08 builds in its cells, beside the library's own."""

import ast

import pytest
import torch
from notebook_cells import code, defined

from helpers.demos.scenes import example_scenes
from helpers.exercises.compare import tiny_net
from helpers.model import seeded
from helpers.web.onnx import TOLERANCE, OnnxModel, Probabilities, largest_difference

PARTS = "block", "make_encoder", "make_decoder", "UNet"


@pytest.fixture(scope="module")
def cells():
    names = ("Deployed", "TwoSigmoids", "write_onnx", "open_sizes", "run_file", "differences", "FromUnit", "INPUTS")
    return defined("08", *PARTS, *names)


@pytest.fixture(scope="module")
def net():
    net = tiny_net().eval()
    net.depth_activation = "clamp"
    return net


@pytest.fixture(scope="module")
def file(cells, net, tmp_path_factory):
    example, sizes = (torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)), (cells["open_sizes"], cells["open_sizes"])
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    return cells["write_onnx"](cells["Deployed"](net), path, example, dynamic_shapes=sizes)


def test_its_u_net_is_that_of_notebook_03():
    written = {number: [ast.unparse(one) for one in ast.parse(code(number)).body if getattr(one, "name", "") in PARTS] for number in ("03", "08")}
    assert len(written["08"]) == len(PARTS) and written["03"] == written["08"]


def test_what_it_deploys_is_what_the_library_does(cells, net):
    pair = torch.rand(2, 2, 3, 32, 48)
    for own, librarys in zip(cells["Deployed"](net)(*pair), Probabilities(net)(*pair)):
        assert torch.equal(own, librarys)


def test_its_file_passes_the_librarys_own_comparison(file, net):
    assert largest_difference(Probabilities(net), OnnxModel(file, 1), seed=5) < TOLERANCE
    assert [path.name for path in file.parent.iterdir()] == ["net.onnx"], "the weights are inside"


def test_its_comparison_sees_what_is_wrong(cells, net, file):
    differences, deployed = cells["differences"], cells["Deployed"](net)
    assert len(found := differences(deployed, file)) >= 3 and max(found.values()) < TOLERANCE
    assert all(height % 16 == width % 16 == 0 for height, width in found)
    assert max(differences(cells["TwoSigmoids"](net), file).values()) > 0.3
    net.depth_activation = "sigmoid"
    assert max(differences(deployed, file).values()) > 0.3
    net.depth_activation = "clamp"


def test_numbers_from_0_to_1_reach_its_u_net_as_bytes_do(cells):
    unet, scenes = seeded(lambda: cells["UNet"](base=4), 0).eval(), example_scenes()
    pair = [scenes[name][:1] for name in cells["INPUTS"]]
    unit = [picture.float() / 255 for picture in pair]
    with torch.no_grad():
        for bytes_, mended, plain in zip(unet(*pair), cells["FromUnit"](unet)(*unit), unet(*unit)):
            assert (bytes_ - mended).abs().max() < 1e-3 * bytes_.std() and (bytes_ - plain).abs().max() > 0.1 * bytes_.std()
