"""Pictures of every kind and size give the same maps for the same pixels; what cannot be used is told in words."""

import json
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.config import CourseError
from helpers.model import build, interpolate, predicted
from helpers.predict import load, predict
from helpers.utils import MAX_PIXELS, read_image


class Plain(nn.Module):
    """Cat is where the photographs differ, depth is brightness: answers that can be worked out by hand."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(8.0))
        self.seen = None

    def forward(self, bg, bg_fg):
        self.seen = tuple(bg.shape)
        assert not self.training and bg.shape[2] % 16 == bg.shape[3] % 16 == 0
        difference = (bg - bg_fg).abs().mean(1, keepdim=True)
        return self.gain * (difference - 0.2), bg_fg.mean(1, keepdim=True)


def photographs(height=50, width=70, seed=0):
    """A smooth room, and the same with a bright rectangle in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    room = np.stack([120 + 80 * np.sin(rng.uniform(2, 5) * x + 4 * y) for _ in range(3)], 2).astype(np.uint8)
    scene = room.copy()
    scene[height // 4 : height // 2, width // 4 : width // 2] = 250
    return room, scene


def by_hand(room, scene):
    difference = np.abs(room / 255.0 - scene / 255.0).mean(2)
    return 1 / (1 + np.exp(-8 * (difference - 0.2))), 1 / (1 + np.exp(-(scene / 255.0).mean(2)))


def assert_maps(result, shape):
    assert result.keys() == {"mask", "depth"}
    for value in result.values():
        assert value.shape == shape and value.dtype == np.float32
        assert np.isfinite(value).all() and value.min() >= 0 and value.max() <= 1


# -- every kind of picture ------------------------------------------------------------------------------------------


def test_maps_lie_on_the_photograph_pixel_by_pixel():
    room, scene = photographs()
    result = predict(Plain(), room, scene)
    assert_maps(result, (50, 70))
    mask, depth = by_hand(room, scene)
    np.testing.assert_allclose(result["mask"], mask, atol=1e-5)
    np.testing.assert_allclose(result["depth"], depth, atol=1e-5)


def test_arrays_pillow_images_and_files_are_the_same_pictures(tmp_path):
    room, scene = photographs()
    wanted = predict(Plain(), room, scene)
    paths = tmp_path / "room.png", tmp_path / "scene.PNG"
    for path, picture in zip(paths, (room, scene)):
        Image.fromarray(picture).save(path)
    for pair in (
        (Image.fromarray(room), Image.fromarray(scene)),
        paths,
        tuple(map(str, paths)),
        (room, paths[1]),
        (np.asfortranarray(room), scene[::-1].copy()[::-1]),
    ):
        result = predict(Plain(), *pair)
        assert all((result[key] == wanted[key]).all() for key in wanted)


def test_a_jpeg_is_what_pillow_makes_of_it(tmp_path):
    room, scene = photographs()
    decoded = []
    for name, picture in (("room.jpg", room), ("scene.jpg", scene)):
        Image.fromarray(picture).save(tmp_path / name, quality=95)
        decoded.append(np.asarray(Image.open(tmp_path / name)))
    wanted, result = predict(Plain(), *decoded), predict(Plain(), tmp_path / "room.jpg", tmp_path / "scene.jpg")
    assert all((result[key] == wanted[key]).all() for key in wanted)


def test_exif_orientation_is_respected(tmp_path):
    room, _ = photographs()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(room).save(tmp_path / "turned.png", exif=exif)
    upright = np.rot90(room, -1)
    assert (read_image(tmp_path / "turned.png") == upright).all()
    assert (read_image(Image.open(tmp_path / "turned.png")) == upright).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_pillow_images_of_other_modes_become_rgb(mode, tmp_path):
    image = Image.fromarray(photographs()[0]).convert("L" if mode == "I;16" else mode)
    image = image.convert("I").convert("I;16") if mode == "I;16" else image
    got = read_image(image)
    assert got.shape == (50, 70, 3) and got.dtype == np.uint8
    if mode == "L":
        assert (got == np.asarray(image)[..., None]).all()


# -- every size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "height, width", [(50, 70), (17, 300), (300, 17), (1, 1), (1, 40), (16, 16), (64, 48), (33, 31)]
)
@pytest.mark.parametrize("size", [None, 16, 64])
def test_pictures_of_any_size(height, width, size):
    assert_maps(predict(Plain(), *photographs(height, width), size=size), (height, width))


@pytest.mark.parametrize("name", ["DuoNet", "DepthMaskNet"])
def test_the_real_networks_take_any_size(name):
    assert_maps(predict(build(name), *photographs(21, 37)), (21, 37))


@pytest.mark.parametrize(
    "height, width, size, trained, seen",
    [
        (50, 70, None, None, (64, 80)),  # as it is, padded
        (600, 900, None, None, (352, 512)),  # at most 512
        (50, 70, None, 192, (144, 192)),  # the size it was trained at
        (50, 70, 32, 192, (32, 32)),  # what was asked for
        (10, 2000, 64, None, (16, 64)),
    ],
)
def test_the_longer_side_is_scaled_and_padded(height, width, size, trained, seen):
    net = Plain()
    net.trained_size = trained
    assert_maps(predict(net, *photographs(height, width), size=size), (height, width))
    assert net.seen == (1, 3, *seen)


def test_scaling_and_padding_do_not_move_the_cat():
    room, scene = photographs(90, 130)
    for size in (65, 260):
        result = predict(Plain(), room, scene, size=size)
        mask, depth = by_hand(room, scene)
        away = np.ones_like(mask, bool)  # from the cat's outline
        for row in (22, 45):
            away[row - 4 : row + 4] = False
        for column in (32, 65):
            away[:, column - 4 : column + 4] = False
        np.testing.assert_allclose(result["mask"][away], mask[away], atol=0.02)
        np.testing.assert_allclose(result["depth"][away], depth[away], atol=0.02)


def test_depth_is_looked_at_in_its_own_size_and_the_mask_in_the_pictures_pixels():
    room, scene = photographs(50, 70)
    net, plain = Plain(), Plain()
    net.depth_size = 35
    result, whole = predict(net, room, scene), predict(plain, room, scene)
    assert net.seen == (1, 3, 32, 48), "25 x 35, padded"
    assert (result["mask"] == whole["mask"]).all()
    pair = [torch.from_numpy(picture / 255).float().permute(2, 0, 1)[None] for picture in (room, scene)]
    small = predicted(plain.eval(), *(interpolate(picture, (25, 35)) for picture in pair))[1]
    np.testing.assert_allclose(result["depth"], interpolate(small, (50, 70))[0, 0].detach(), atol=1e-6)
    assert np.abs(result["depth"] - whole["depth"]).max() > 0.01
    net.depth_size = 70  # no less than the picture has
    assert (predict(net, room, scene)["depth"] == whole["depth"]).all()


def test_mirrored_is_the_mean_with_the_mirrored_pair():
    room, scene = photographs()
    net = build("DuoNet").eval()
    result = predict(net, room, scene, mirrored=True)
    pairs = (room, scene), (room[:, ::-1].copy(), scene[:, ::-1].copy())
    one, other = (predict(net, *pair) for pair in pairs)
    for key in result:
        np.testing.assert_allclose(result[key], (one[key] + other[key][:, ::-1]) / 2, atol=1e-6)
        assert np.abs(result[key] - one[key]).max() > 1e-4


@pytest.mark.parametrize("size", [0, 15, -64])
def test_a_side_smaller_than_the_networks_stride_is_refused(size):
    with pytest.raises(CourseError, match=f"size={size}: the network needs at least 16 pixels"):
        predict(Plain(), *photographs(), size=size)


# -- what the network knows about itself ----------------------------------------------------------------------------


def test_depth_is_read_out_as_the_network_was_trained():
    room, scene = photographs()
    net = Plain()
    net.depth_activation = "clamp"
    np.testing.assert_allclose(predict(net, room, scene)["depth"], (scene / 255).mean(2), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_network_is_left_as_it_was(training):
    net = Plain().train(training)
    predict(net, *photographs())
    assert net.training == training and net.gain.grad is None


# -- what cannot be used --------------------------------------------------------------------------------------------


def test_photographs_of_different_sizes_are_told_with_the_remedy():
    with pytest.raises(
        CourseError, match="The room is 70 x 50 pixels, the picture with the cat 60 x 50: take both .* crop"
    ):
        predict(Plain(), photographs()[0], photographs(50, 60)[1])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 5, 3)),
        *(np.zeros(shape, np.uint8) for shape in ((5, 5), (5, 5, 4), (3, 5, 5), (0, 5, 3), (2, 5, 5, 3))),
        None,
        [[1, 2]],
        Image.new("RGB", (0, 4)),
    ],
)
def test_an_array_that_is_no_photograph_is_told(array):
    with pytest.raises(CourseError, match=r"bg_fg must be an array \(H, W, 3\) of uint8, not \("):
        predict(Plain(), photographs()[0], array)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(CourseError, match=r"bg \(room.jpg\) does not exist: check"):
        predict(Plain(), tmp_path / "room.jpg", tmp_path / "scene.jpg")


def png_header(width, height):
    """A PNG that claims a size and holds nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 1000) + b"IDAT"


def damaged_files(folder):
    room = Image.fromarray(photographs()[0])
    room.save(folder / "whole.jpg")
    room.save(folder / "whole.png")
    room.save(folder / "whole.gif")
    for kind in ("jpg", "png", "gif"):
        whole = (folder / f"whole.{kind}").read_bytes()
        (folder / f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
        (folder / f"start.{kind}").write_bytes(whole[:12])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("a cat, on a chair")
    (folder / "header.png").write_bytes(png_header(64, 64))
    (folder / "folder.png").mkdir()
    return sorted(path for path in folder.iterdir() if path.stem != "whole")


def test_files_that_are_no_complete_images_are_told(tmp_path):
    files = damaged_files(tmp_path)
    assert len(files) == 10
    for path in files:
        with pytest.raises(CourseError, match=rf"bg \({path.name}\) (is not an image|is damaged or cut short|cannot be opened)"):
            predict(Plain(), path, photographs()[1])


def test_a_truncated_image_that_pillow_has_opened_is_told(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-5000])
    with Image.open(tmp_path / "cut.jpg") as opened, pytest.raises(CourseError, match="bg is damaged or cut short"):
        predict(Plain(), opened, noise)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "size, message", [(30_000, "too large"), (10_000, "10000 x 10000 pixels"), (7_100, "7100 x 7100 pixels")]
)
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(tmp_path, monkeypatch, size, message):
    (tmp_path / "bomb.png").write_bytes(png_header(size, size))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(CourseError, match=rf"bg \(bomb.png\) .*{message}.*below {MAX_PIXELS // 10**6} megapixels"):
        predict(Plain(), tmp_path / "bomb.png", photographs()[1])


# -- trained networks -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as training leaves it."""
    folder = tmp_path_factory.mktemp("run")
    written = {"depth_activation": "clamp", "stages": [{"size": 32}, {"size": 48}], "depth_size": 32}
    save_file(
        build("DuoNet", 3).state_dict(),
        folder / "weights.safetensors",
        {"network": "DuoNet", "recipe": json.dumps(written)},
    )
    return folder


def test_a_network_comes_from_its_folder_or_its_file(trained):
    wanted = build("DuoNet", 3)
    for path in (trained, str(trained), trained / "weights.safetensors"):
        net = load(path)
        assert type(net) is type(wanted) and not net.training
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in wanted.state_dict().items())
        assert (net.depth_activation, net.trained_size, net.depth_size) == ("clamp", 48, 32)


def test_a_file_may_name_the_size_at_which_its_masks_are_best(trained, tmp_path):
    with safe_open(trained / "weights.safetensors", "pt") as stream:
        weights, about = load_file(trained / "weights.safetensors"), stream.metadata()
    for size, wanted in (("64", 64), ("0", None)):
        save_file(weights, tmp_path / "w.safetensors", about | {"size": size})
        assert load(tmp_path / "w.safetensors").trained_size == wanted
    for size in ("a lot", "1000000", "-64"):
        save_file(weights, tmp_path / "w.safetensors", about | {"size": size})
        with pytest.raises(CourseError, match="do not fit DuoNet: damaged"):
            load(tmp_path / "w.safetensors")


def test_weights_kept_in_16_bits_are_used_in_32(trained, tmp_path):
    halves = {
        key: value.half() if value.is_floating_point() else value
        for key, value in load_file(trained / "weights.safetensors").items()
    }
    save_file(halves, tmp_path / "half.safetensors", {"network": "DuoNet"})
    net = load(tmp_path / "half.safetensors")
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    assert (net.depth_activation, net.trained_size, net.depth_size) == ("sigmoid", None, None)
    assert_maps(predict(net, *photographs(32, 32)), (32, 32))


@pytest.mark.parametrize("where", ["", "nowhere", "nowhere.safetensors"])
def test_missing_weights_are_told_with_where_to_get_them(tmp_path, where):
    with pytest.raises(CourseError, match="There are no weights at .*notebook 05"):
        load(tmp_path / where)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_files_that_are_no_weights_are_told_and_nothing_in_them_is_executed(trained, tmp_path):
    whole = (trained / "weights.safetensors").read_bytes()
    boom = tmp_path / "boom"
    torch.save({"weights": torch.zeros(3), "boom": Bomb(boom)}, tmp_path / "torch.pt")
    for name, content in {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "header": whole[:50],
        "endless": struct.pack("<Q", 2**60) + whole[8:],
        "pickle": pickle.dumps(Bomb(boom)),
        "torch": (tmp_path / "torch.pt").read_bytes(),
        "text": b"these are not the weights that you are looking for",
    }.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(CourseError, match=f"{name}.safetensors is not a complete safetensors file"):
            load(path)
    assert not boom.exists()


@pytest.mark.parametrize("about", [None, {}, {"network": "UNet"}, {"recipe": "{}"}])
def test_weights_of_an_unknown_network_are_told(tmp_path, about):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors", about)
    with pytest.raises(
        CourseError, match="other.safetensors names the network .*this course has DepthMaskNet and DuoNet"
    ):
        load(tmp_path / "other.safetensors")


def lose(weights):
    weights.pop("mask_head.logits.bias")


def widen(weights):
    weights["mask_head.logits.bias"] = torch.zeros(2)


def add(weights):
    weights["third_head.weight"] = torch.zeros(2)


@pytest.mark.parametrize("change", [lose, widen, add])
def test_weights_that_do_not_fit_are_told(trained, tmp_path, change):
    weights = load_file(trained / "weights.safetensors")
    change(weights)
    save_file(weights, tmp_path / "old.safetensors", {"network": "DuoNet"})
    with pytest.raises(CourseError, match="old.safetensors: its weights do not fit DuoNet"):
        load(tmp_path / "old.safetensors")


def test_weights_under_another_networks_name_do_not_fit(trained, tmp_path):
    save_file(load_file(trained / "weights.safetensors"), tmp_path / "w.safetensors", {"network": "DepthMaskNet"})
    with pytest.raises(CourseError, match="do not fit DepthMaskNet"):
        load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("written", ["[]", "not json", '{"stages": [{}]}', '{"stages": 3}', '{"depth_size": 5}'])
def test_a_recipe_that_is_none_is_told(trained, tmp_path, written):
    save_file(
        load_file(trained / "weights.safetensors"), tmp_path / "w.safetensors", {"network": "DuoNet", "recipe": written}
    )
    with pytest.raises(CourseError, match="do not fit DuoNet: damaged"):
        load(tmp_path / "w.safetensors")


def test_a_file_too_large_for_weights_is_not_even_opened(tmp_path):
    with open(tmp_path / "huge.safetensors", "wb") as stream:
        stream.truncate(600 * 2**20)  # a hole: takes no room on the disk
    with pytest.raises(CourseError, match="huge.safetensors is larger than 512 MB"):
        load(tmp_path / "huge.safetensors")


def test_a_network_of_ones_own_keeps_its_weights_where_the_files_are_refused(trained, tmp_path):
    weights = load_file(trained / "weights.safetensors")
    weights["stem.0.weight"][0] = torch.nan
    save_file(weights, tmp_path / "bad.safetensors", {"network": "DuoNet"})
    net = build("DuoNet", seed=3)
    before = net.stem[0].weight.clone()
    with pytest.raises(CourseError, match="do not fit"):
        load(tmp_path / "bad.safetensors", net)
    assert torch.equal(net.stem[0].weight, before)
