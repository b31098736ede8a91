"""The one reader of pictures from outside: every format, orientation and mode by one rule, every fault by its name."""

import io

import numpy as np
import pytest
from PIL import Image, features

from helpers.config import CourseError
from helpers.utils import as_seen, open_image, read_image

FORMATS = ["PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG", *(["AVIF"] if features.check("avif") else [])]


def coordinates(width=80, height=60):
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack((x, y, 0 * x), -1).round().astype(np.uint8)


def encoded(picture, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_its_pixels(tmp_path, kind):
    (tmp_path / "a.picture").write_bytes(encoded(coordinates(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    read = read_image(tmp_path / "a.picture")
    assert read.dtype == np.uint8 and read.shape == (60, 80, 3)
    exact = kind in ("PNG", "BMP", "TIFF", "WEBP")
    assert np.abs(read.astype(int) - coordinates()).mean() <= (0 if exact else 8)
    assert (read_image((tmp_path / "a.picture").read_bytes()) == read).all()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_a_file_that_is_cut_short_anywhere_is_refused_by_its_name(tmp_path, kind):
    whole = encoded(coordinates(), kind)
    for length in range(0, len(whole) - 20, max(len(whole) // 40, 1)):
        (tmp_path / "cut.png").write_bytes(whole[:length])
        with pytest.raises(CourseError, match=r"^cut.png is (damaged or cut short|not an image that Pillow can read)"):
            read_image(tmp_path / "cut.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_cameras_orientation_is_respected(orientation, kind):
    upright = coordinates()
    turned = {  # how a camera stores what should be shown upright
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_image(encoded(np.ascontiguousarray(turned), kind, quality=100, exif=exif))
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(kind):
    steps = (np.arange(60 * 80).reshape(60, 80) * 13).astype(np.uint16)
    assert (read_image(encoded(steps, kind)) == (steps >> 8)[..., None]).all()
    wide = Image.fromarray(steps.astype(np.int32))  # how an older Pillow opens the same file
    assert (read_image(wide) == (steps >> 8)[..., None]).all()
    assert (read_image(Image.fromarray((steps >> 8).astype(np.int32))) == (steps >> 8)[..., None]).all()


def test_transparency_is_kept_or_dropped_never_blended():
    rgba = np.dstack((coordinates(), np.linspace(0, 255, 60 * 80).reshape(60, 80).astype(np.uint8)))
    assert (np.asarray(as_seen(Image.open(io.BytesIO(encoded(rgba, "PNG"))), alpha=True)) == rgba).all()
    assert (read_image(encoded(rgba, "PNG")) == rgba[..., :3]).all()
    assert (np.asarray(as_seen(Image.open(io.BytesIO(encoded(coordinates(), "PNG"))), alpha=True))[..., 3] == 255).all()


def test_messages_name_the_use_and_the_file(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "film.mov").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(100))
    (tmp_path / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "depth.tiff")
    for name, words in {
        "IMG_1.HEIC": "HEIC.*export it as JPEG",
        "film.mov": "not an image",
        "drawing.eps": "EPS",
        "depth.tiff": "mode F",
        "lost.png": "does not exist",
    }.items():
        with pytest.raises(CourseError, match=rf"^the room \({name}\).*{words}"):
            read_image(tmp_path / name, "the room")
        with pytest.raises(CourseError, match=rf"^bg/{name} "):
            read_image(tmp_path / name, f"bg/{name}")
    with pytest.raises(CourseError, match="The picture is not an image"):
        read_image(b"a cat, on a chair")


def test_damage_that_shows_only_while_decoding_is_told():
    whole = encoded(coordinates(), "PNG")
    with pytest.raises(CourseError, match="damaged"), open_image(whole[: len(whole) // 2]) as image:
        image.load()
