"""Files as people have them: what went wrong with comparable work, rebuilt, at every door through which it can come in."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unicodedata
import zipfile

import numpy as np
import pytest
import torch
from archive_files import every, jpeg, write_archive
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_files import floor_depth, photo_folder, room_picture, write_camera
from PIL import Image
from small_disk import make_read_only, small_disk
from tiny_training import tiny
from toy import ToyQuartets

from helpers import loading, session
from helpers.archive import ArchiveDataset, fetch_archive
from helpers.archive.images import Unreadable, jpeg_size
from helpers.config import ROOT, CourseError, cache_dir, data_folder, runs_dir
from helpers.dataset import Subset, cached, get_batch, loader
from helpers.photos import PhotosDataset
from helpers.photos.builder import read_photo, save_uploads
from helpers.photos.pseudo_depth import add_pseudo_depth
from helpers.photos.segment_cat import cut_out
from helpers.predict import load, predict, pretrained
from helpers.recipes import Stage, recipe
from helpers.train import is_finished, train
from helpers.utils import disk_faults_told, read_image


def small():
    return recipe("course", "tiny", stages=(Stage(32, 8, 1),), precision="fp32", channels_last=False)


def saved(image, kind="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# -- 01: every quartet shows its cat ------------------------------------------------------------------------------


def shape(name, size=120):
    alpha = np.zeros((size, size), np.uint8)
    y, x = np.mgrid[:size, :size]
    if name == "speck":
        alpha[60:100, 10:40] = 255
        alpha[0, size - 1] = 255
    elif name == "islands":
        alpha[(x // 24 + y // 24) % 2 == 0] = 255
    elif name == "halo":
        alpha[:] = np.clip(255 - 4 * np.hypot(x - 60, y - 60), 0, 255)
    elif name == "line":
        alpha[59:61] = 255
    elif name == "diagonal":
        alpha[abs(x - y) < 2] = 255
    elif name == "tail":
        alpha[40:90, 20:60] = 255
        alpha[70:74, 60:] = 255
    return alpha


def cutout(alpha):
    colour = np.full((*alpha.shape, 3), (200, 120, 40), np.uint8)
    return Image.fromarray(np.dstack((colour, alpha)))


def assert_shows_its_cats(dataset):
    mask = get_batch(dataset, range(len(dataset)))["mask"]
    shares = mask.mean((1, 2, 3))
    assert shares.min() >= 0.01, f"a cat takes {shares.min():.2%} of the picture"
    assert (mask >= 0.5).flatten(1).any(1).all()


@pytest.mark.parametrize("depth", [False, True])
@pytest.mark.parametrize("name", ["speck", "islands", "halo", "tail"])
def test_every_quartet_shows_the_cat_that_it_promises(tmp_path, name, depth):
    root = photo_folder(tmp_path, depth=depth, camera=depth)
    cutout(shape(name)).save(root / "fg/cat_0.png")
    for size in (48, 64):
        assert_shows_its_cats(PhotosDataset(root, size, placements=6))


@pytest.mark.parametrize("name", ["line", "diagonal"])
def test_what_is_too_thin_for_a_cat_is_refused(tmp_path, name):
    root = photo_folder(tmp_path, depth=False, camera=False)
    cutout(shape(name)).save(root / "fg/cat_0.png")
    with pytest.raises(CourseError, match="fg/cat_0.png is too thin, or too scattered"):
        PhotosDataset(root, 64)


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.integers(0, 100)] * 2, *[st.integers(1, 60)] * 2), min_size=1, max_size=5))
def test_any_outline_is_shown_or_refused(tmp_path_factory, boxes):
    alpha = np.zeros((160, 160), np.uint8)
    for top, left, height, width in boxes:
        alpha[top : top + height, left : left + width] = 255
    root = photo_folder(tmp_path_factory.mktemp("outline"), depth=False, camera=False, cats=1)
    cutout(alpha).save(root / "fg/cat_0.png")
    try:
        dataset = PhotosDataset(root, 48, placements=4)
    except CourseError as error:
        assert "cat_0.png" in str(error)
    else:
        assert_shows_its_cats(dataset)


# -- 02, 24: what is kept is used for its own data; small sets --------------------------------------------------------


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder of 4 x 4 pictures as COURSE_DATA, in the tiny profile."""
    root = photo_folder(tmp_path / "mine", depths=(None,) * 4, cats=4, depth=False, camera=False)
    for name, value in {"PROFILE": "tiny", "DATA": root, "RUNS": tmp_path / "runs", "CACHE": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"COURSE_{name}", str(value))
    return root


def test_a_network_of_other_data_is_not_ones_own(mine, capsys):
    session.train_network()
    capsys.readouterr()
    assert session.is_trained()
    session.trained_network()
    assert not capsys.readouterr().out
    Image.fromarray(room_picture(number=5)).save(mine / "bg/room_9.png")
    assert not session.is_trained()
    session.trained_network()
    assert "was trained on other data, or before some was added" in capsys.readouterr().out
    with pytest.raises(CourseError, match="another data"):
        session.train_network()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_small_folders_have_all_three_sets(mine, count, capsys):
    shutil.rmtree(mine)
    photo_folder(mine, depths=(None,) * count, cats=count, depth=False, camera=False)
    parts = session.sets()
    assert all(map(len, parts))
    rooms = [{part.room_of(i) for i in range(len(part))} for part in parts]
    assert not rooms[0] & rooms[2] and not rooms[1] & rooms[2]
    assert ("leave none for validation" in capsys.readouterr().out) == (count == 2) == bool(rooms[0] & rooms[1])


# -- 03: shared memory, and workers that die --------------------------------------------------------------------------


def test_workers_are_no_more_than_shared_memory_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "SHARED", tmp_path)
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(64 << 20, 0, 64 << 20))
    large, little = ToyQuartets(size=192), ToyQuartets(size=32)
    assert loading._that_fit(8, large, 32) == 1 and loading._that_fit(8, little, 32) == 8
    batches = loader(large, [[0, 1], [2, 3], [4]], workers=2)
    assert sum(len(batch["bg"]) for batch in batches) == 5


LOADING = """
import torch
from helpers.dataset import loader
class Large(torch.utils.data.Dataset):
    def get_batch(self, indices):
        return {"pixels": torch.full((len(indices), 15, 192, 192), indices[0], dtype=torch.uint8)}
batches = [list(range(i, i + 48)) for i in range(0, 240, 48)]  # of 27 MB each
print([int(batch["pixels"].max()) for batch in loader(Large(), batches, workers=2)])
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="this system has no unshare")
def test_where_shared_memory_runs_out_this_process_makes_the_rest():
    """As in Docker: 64 MB. The dataset does not say its size, so what it needs cannot be known beforehand."""
    mount = 'mount -t tmpfs -o size=64m course /dev/shm || exit 9; exec "$0" -c "$1"'
    command = ["unshare", "-m", "sh", "-c", mount, sys.executable, LOADING]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if result.returncode in (1, 9) and "Traceback" not in result.stderr:
        pytest.skip("only an administrator may make shared memory small")
    assert (result.stdout, result.stderr) == ("[0, 48, 96, 144, 192]\n", "")


class Killed(Subset):
    def get_batch(self, indices):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_ends_the_loading_with_a_reason():
    dataset = Killed(ToyQuartets(), range(4))
    with pytest.raises(CourseError, match="A process that prepares batches has ended or hangs .*memory is full"):
        list(loader(dataset, [[0], [1]], workers=1))


# -- 04, 05, 07: one reader ---------------------------------------------------------------------------------------------


def exif(**tags):
    """EXIF bytes with an orientation of 6 and tags that are not as the standard wants them."""
    data = Image.Exif()
    data[0x0112] = 6
    for tag, value in tags.items():
        data[int(tag[1:], 16)] = value
    return data.tobytes()


BROKEN = {
    "text for a number": lambda data: data.replace(b"\x00\x00\x01\x12\x00\x03", b"\x00\x00\x01\x12\x00\x02"),
    "cut short": lambda data: data[: len(data) // 2],
    "rubbish": lambda data: data[:10] + bytes(range(256))[: len(data) - 10],
}


@pytest.mark.parametrize("how", BROKEN)
def test_metadata_is_never_fatal(tmp_path, how):
    picture = room_picture(60, 40)
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(Image.fromarray(picture), exif=BROKEN[how](exif(x010F="maker"))))
    assert set(read_image(path).shape[:2]) == {40, 60} and set(read_photo(path).shape[:2]) == {40, 60}
    root = photo_folder(tmp_path / "mine", depth=False, camera=False)
    shutil.copy(path, root / "bg/odd.jpg")
    data = BROKEN[how](exif(x010F="maker"))
    (root / "fg/odd.png").write_bytes(saved(cutout(shape("tail")), "PNG", exif=data))
    assert (PhotosDataset(root, 32).rooms, PhotosDataset(root, 32).cats) == (3, 3)
    deep = photo_folder(tmp_path / "deep")
    depth = Image.fromarray((floor_depth() * 1000).round().astype(np.uint16))
    (deep / "bg_depth/room_0.png").write_bytes(saved(depth, "PNG", exif=data))
    assert PhotosDataset(deep, 32)[0]["valid"].all()
    predict(pretrained(), path, path)


@pytest.mark.parametrize("turn", range(1, 9))
def test_all_orientations_are_upright_at_every_door(tmp_path, turn):
    data = Image.Exif()
    data[0x0112] = turn
    image = Image.fromarray(room_picture(60, 40))
    from PIL import ImageOps

    path = tmp_path / "a.png"
    path.write_bytes(saved(image, "PNG", exif=data))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(read_image(path), expected) and np.array_equal(read_photo(path), expected)


def test_a_room_that_is_cut_short_is_refused_by_name(tmp_path):
    root = photo_folder(tmp_path, depth=False, camera=False)
    whole = (root / "bg/room_1.png").read_bytes()
    (root / "bg/room_1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CourseError, match="bg/room_1.png is damaged or cut short"):
        PhotosDataset(root, 32)


def test_16_bit_grey_keeps_its_levels(tmp_path):
    grey = (np.arange(48 * 64).reshape(48, 64) * 20).astype(np.uint16)
    path = tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    assert np.array_equal(read_image(path)[..., 0], grey >> 8)
    colours = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, -1)
    found, wanted = predict(pretrained(), path, path), predict(pretrained(), colours, colours)
    assert np.array_equal(found["depth"], wanted["depth"]) and found["depth"].std() > 0


@pytest.mark.parametrize("width, height", [(21_000, 2), (2, 21_000)])
def test_a_side_of_thousands_is_refused_before_it_is_decoded(tmp_path, width, height):
    data = saved(Image.new("L", (width, height)), "PNG")
    with pytest.raises(CourseError, match="pixels: scale it below"):
        read_image(data)


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = saved(Image.fromarray(room_picture(64, 64)), progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(CourseError, match="more than 64 scans"):
        read_image(data[:-2] + scan * 100 + data[-2:])
    assert read_image(data).shape == (64, 64, 3), "an ordinary progressive one is read"


# -- 06: uploads ----------------------------------------------------------------------------------------------------------


def test_two_uploads_of_one_name_are_both_kept(tmp_path):
    first, second = (saved(Image.fromarray(room_picture(40, 40, number))) for number in (0, 1))
    both = ({"name": "image.jpg", "content": first}, {"name": "image.jpg", "content": second})
    paths = save_uploads(both, tmp_path)
    assert [path.name for path in paths] == ["image.jpg", "image_2.jpg"]
    assert [path.read_bytes() for path in paths] == [first, second]
    assert save_uploads(both, tmp_path) == paths, "the same again, and nothing new"
    assert save_uploads({"image.jpg": saved(Image.fromarray(room_picture(40, 40, 2)))}, tmp_path)[0].name == "image_3.jpg"


def test_a_very_long_name_is_shortened_and_a_failure_leaves_nothing(tmp_path, monkeypatch):
    data = saved(Image.fromarray(room_picture(40, 40)))
    (path,) = save_uploads({"x" * 250 + ".jpg": data}, tmp_path / "a")
    assert path.read_bytes() == data and len(path.name) < 100

    import helpers.photos.builder as builder

    written, whole = [], builder.whole_file

    def full(path):
        if written:
            raise CourseError("No space is left")
        written.append(path)
        return whole(path)

    monkeypatch.setattr(builder, "whole_file", full)
    with pytest.raises(CourseError, match="No space"):
        save_uploads({"a.jpg": data, "b.jpg": data}, tmp_path / "b")
    assert not list((tmp_path / "b").iterdir())


# -- 08, 13: the archive ----------------------------------------------------------------------------------------------------

SYSTEM = ("._view 001.png", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/view 001.png", "@eaDir/view 001.png",
          ".ipynb_checkpoints/view 001.png")  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_files_of_the_system_are_no_rooms(tmp_path, packed):
    plain, root = write_archive(tmp_path / "plain"), write_archive(tmp_path / "odd")
    if packed:
        with zipfile.ZipFile(root / "bg.zip", "w") as archive:
            for path in sorted((root / "bg").iterdir()):
                archive.write(path, f"bg/{path.name}")
            for name in SYSTEM:
                archive.writestr(f"bg/{name}", b"rubbish")
        shutil.rmtree(root / "bg")
    else:
        for name in SYSTEM:
            (root / "bg" / name).parent.mkdir(exist_ok=True)
            (root / "bg" / name).write_bytes(b"rubbish")
    for index in range(8):
        assert torch.equal(ArchiveDataset(root, 48)[index]["bg"], ArchiveDataset(plain, 48)[index]["bg"])


def test_files_of_the_system_are_no_photographs(tmp_path):
    root = photo_folder(tmp_path, depth=False, camera=False)
    for name in ("._room_0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "bg" / name).write_bytes(b"rubbish")
        (root / "fg" / name).write_bytes(b"rubbish")
    (root / "bg/@eaDir").mkdir()
    assert (PhotosDataset(root, 32).rooms, PhotosDataset(root, 32).cats) == (2, 2)


@pytest.mark.parametrize("kind", ["mask", "depth"])
def test_levels_of_0_and_1_are_told(tmp_path, kind):
    def change(name, quartet, data):
        if name != kind:
            return data
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        return jpeg((pixels > 127).astype(np.uint8))

    root = write_archive(tmp_path, quartets=every(2, 2, 4), change=change)
    with pytest.raises(CourseError, match=f"{kind}.zip.*no level is above .* of 255"):
        ArchiveDataset(root, 48)


@pytest.mark.parametrize("marker", [0x01, 0xD0, 0x00, 0xDA, 0xD9, 0xF0])
def test_a_header_that_decoders_read_in_another_way_is_refused(marker):
    data = jpeg(room_picture(48, 48))
    with pytest.raises(Unreadable):
        jpeg_size(data[:2] + bytes((0xFF, marker)) + data[2:])


# -- 09: values that cannot be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda root: write_camera(root, depth_unit_m=1), "no room: each step counts as 1 m"),
        (lambda root: np.save(root / "bg_depth/room_0.npy", floor_depth() * 1000), "holds metres, not millimetres"),
        (lambda root: unknown_as(root, 65535), "farther than 15 times .*write 0 or NaN"),
        (lambda root: write_camera(root, fx=4.2, fy=4.2), "field of view .*not in millimetres"),
    ],
)
def test_depth_that_is_no_rooms_is_told(tmp_path, change, words):
    root = photo_folder(tmp_path)
    change(root)
    if (root / "bg_depth/room_0.npy").exists():
        (root / "bg_depth/room_0.png").unlink()
    with pytest.raises(CourseError, match=words):
        PhotosDataset(root, 32)


def unknown_as(root, level):
    steps = (floor_depth() * 1000).round().astype(np.uint16)
    steps[:10] = level
    Image.fromarray(steps).save(root / "bg_depth/room_0.png")


# -- 10, 11, 17: names and contents -------------------------------------------------------------------------------------------


def test_the_same_picture_twice_is_one_room(tmp_path):
    root = photo_folder(tmp_path)
    for name in ("bg", "bg_depth"):
        shutil.copy(root / name / "room_0.png", root / name / "room_7.png")
    shutil.copy(root / "fg/cat_0.png", root / "fg/cat_9.png")
    with pytest.warns(UserWarning, match="room_7.png is the same picture as bg/room_0.png"):
        dataset = PhotosDataset(root, 32)
    assert (dataset.rooms, dataset.cats) == (2, 2)


def speckled(seed, size=160):
    """A room with something to see in it."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


CHANGES = {
    "saved anew": lambda room: Image.open(io.BytesIO(saved(room, quality=30))),
    "smaller": lambda room: room.resize((100, 100)),
    "a crop": lambda room: room.crop((10, 4, 150, 144)),
    "mirrored": lambda room: room.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "the next frame": lambda room: room.rotate(2, Image.Resampling.BICUBIC).crop((8, 6, 152, 150)),
    "brighter": lambda room: room.point(lambda level: min(255, int(1.2 * level))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_room_that_looks_like_another_is_told_once(tmp_path, capsys, change):
    root = photo_folder(tmp_path, depths=(), depth=False, camera=False)
    for number in range(4):
        speckled(number).save(root / f"bg/room_{number}.png")
    PhotosDataset(root, 48)
    assert capsys.readouterr().out == ""
    change(speckled(1)).convert("RGB").save(root / "bg/view.png")
    dataset = PhotosDataset(root, 48)
    said = capsys.readouterr().out
    assert said.startswith("1 of 5 rooms look like another one, ") and "bg/view.png like bg/room_1.png" in said
    assert dataset.at_size(64).rooms == 5 and capsys.readouterr().out == ""


def test_a_cat_that_looks_like_another_is_told(tmp_path, capsys):
    root = photo_folder(tmp_path, depth=False, camera=False)
    with Image.open(root / "fg/cat_1.png") as cat:
        cat.resize((2 * cat.width, 2 * cat.height)).save(root / "fg/larger.webp", lossless=True)
    PhotosDataset(root, 48)
    assert "1 of 3 cats look like another one, " in (said := capsys.readouterr().out)
    assert "fg/larger.webp like fg/cat_1.png" in said


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_compared_in_one_form(tmp_path, form):
    root = photo_folder(tmp_path, depths=(None,), cats=1)
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    (root / "bg/room_0.png").rename(root / "bg" / unicodedata.normalize(form, "K\u00fcche.png"))
    (root / "bg_depth/room_0.png").rename(root / "bg_depth" / unicodedata.normalize(other, "k\u00fcche.png"))
    assert PhotosDataset(root, 32).rooms == 1


def test_two_files_of_one_name_are_refused(tmp_path):
    root = photo_folder(tmp_path)
    Image.fromarray(room_picture(number=3)).save(root / "bg/room_0.jpg")
    with pytest.raises(CourseError, match="room_0.jpg and room_0.png in bg/ have one name"):
        PhotosDataset(root, 32)
    (root / "bg/room_0.jpg").unlink()
    np.save(root / "bg_depth/room_0.npy", floor_depth())
    with pytest.raises(CourseError, match="room_0.npy and room_0.png in bg_depth/ have one name"):
        PhotosDataset(root, 32)
    shutil.rmtree(root / "bg_depth")
    (root / "camera.json").unlink()
    Image.fromarray(room_picture(number=3)).save(root / "bg/room_0.jpg")
    with pytest.raises(CourseError, match="in bg/ have one name"):
        add_pseudo_depth(root, lambda picture: np.random.default_rng(0).random(picture.shape[:2]))


def test_a_flat_room_is_named(tmp_path):
    root = photo_folder(tmp_path, depth=False, camera=False)
    with pytest.raises(CourseError, match="room_0.png: The disparity is the same everywhere"):
        add_pseudo_depth(root, lambda picture: np.ones(picture.shape[:2]))


# -- 15, 16, 25, 27: runs and disks ----------------------------------------------------------------------------------------------


def test_a_run_goes_on_in_another_precision(tmp_path, capsys):
    eighteen, two = Subset(ToyQuartets(), range(18)), Subset(ToyQuartets(seed=1), range(2))
    path = tmp_path / "run"
    train(tiny(), eighteen, two, small(), path)
    from helpers.checkpoints import newest, save_checkpoint

    content = newest(path)
    identity = {**json.loads(content["identity"]), "precision": "torch.float16"}
    save_checkpoint(path, {**content, "identity": json.dumps(identity), "stage": 1, "scaler": {"scale": 1.0}})
    train(tiny(), eighteen, two, small(), path)
    assert "began in torch.float16 and goes on in torch." in capsys.readouterr().out
    assert is_finished(path, small())


def read_only(*args, **kwargs):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, capsys):
    from helpers.rendering import RoomsDataset

    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    rooms = RoomsDataset(32, rooms=1, cats=1, placements=1)
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.mkdir", read_only)
        quartet = rooms[0]
    assert torch.equal(quartet["bg"], rooms[0]["bg"])

    mkdir = type(tmp_path).mkdir
    monkeypatch.setattr("pathlib.Path.mkdir", lambda self, *a, **k: read_only() if "cache" in str(self) else mkdir(self, *a, **k))
    held = cached(ToyQuartets(rooms=1, placements=1), workers=0, progress=False)
    assert len(held) and "Nothing can be written into" in capsys.readouterr().out


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("a disk can only be made read-only by the administrator of a machine")
        yield tmp_path / "disk"


def test_a_damaged_set_on_a_read_only_disk_is_made_once_and_lasts_as_long_as_the_process(disk, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CACHE", str(disk))
    data = ToyQuartets(rooms=1, placements=1)
    right = cached(data, workers=0, progress=False).get_batch(range(8))
    (next(disk.iterdir()) / "mask.npy").write_bytes(b"rubbish")
    make_read_only(disk)
    first, second = (cached(data, workers=0, progress=False) for _ in range(2))
    assert first.folder == second.folder and first.folder.is_relative_to(tempfile.gettempdir())
    assert all(torch.equal(value, right[key]) for key, value in first.get_batch(range(8)).items())
    assert capsys.readouterr().out.count("sets last as long as this process") == 1
    shutil.rmtree(first.folder.parent)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))  # and nowhere else can anything be written
    with pytest.raises(CourseError, match="Nothing can be written into .*COURSE_CACHE"):
        cached(ToyQuartets(rooms=1, placements=1, seed=1), disk / "sets", workers=0, progress=False)
    with pytest.raises(CourseError, match="Nothing can be written into .*COURSE_CACHE"):
        monkeypatch.setenv("COURSE_CACHE", str(disk / "other"))
        cached(ToyQuartets(rooms=1, placements=1, seed=1), workers=0, progress=False)


def test_a_picture_that_cannot_be_read_is_no_fault_of_the_disk(tmp_path):
    with pytest.raises(PermissionError, match="img_7"), disk_faults_told(tmp_path / "run"):
        raise PermissionError(13, "Permission denied", "/somewhere/else/img_7.png")
    with pytest.raises(CourseError, match="Nothing can be written into"), disk_faults_told(tmp_path / "run"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "run" / "last.pt"))


def test_a_run_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    with pytest.raises(CourseError, match="Nothing can be written into .*Read-only"):
        train(tiny(), Subset(ToyQuartets(), range(18)), Subset(ToyQuartets(), range(2)), small(), tmp_path / "run")


@pytest.mark.parametrize("name, read", [("COURSE_CACHE", cache_dir), ("COURSE_RUNS", runs_dir)])
def test_a_tilde_is_the_home_folder(monkeypatch, name, read):
    monkeypatch.setenv(name, "~/somewhere")
    assert read() == type(read())("~/somewhere").expanduser() and "~" not in str(read())


def test_a_tilde_is_the_home_folder_of_data_too(tmp_path, monkeypatch):
    for name, value in {"HOME": tmp_path, "USERPROFILE": tmp_path, "COURSE_ARCHIVE": "~/a", "COURSE_DATA": "~/a"}.items():
        monkeypatch.setenv(name, str(value))
    root = write_archive(tmp_path / "a")
    assert fetch_archive() == data_folder() == root.resolve()


HOLD = """
import sys, time
from pathlib import Path
from helpers.utils import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
def test_a_run_folder_has_one_writer(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    other = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        (folder / ".last-1234.pt").write_bytes(b"half")
        parts = Subset(ToyQuartets(), range(18)), Subset(ToyQuartets(), range(2))
        with pytest.raises(CourseError, match="Another process .*is writing into run/"):
            train(tiny(), *parts, small(), folder)
        assert (folder / ".last-1234.pt").exists(), "the other one's file"
    finally:
        other.kill()
        other.wait()
    train(tiny(), *parts, small(), folder)
    assert is_finished(folder, small()) and not (folder / ".last-1234.pt").exists()


# -- stored things ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["bit", "key", "cats", "shape", "rubbish"])
def test_a_stored_set_that_is_not_what_was_written_is_made_anew(tmp_path, damage):
    data = ToyQuartets(rooms=2, placements=1)
    first = cached(data, tmp_path, workers=0, progress=False)
    right = {key: value.clone() for key, value in first.get_batch(range(len(first))).items()}
    folder, meta = first.folder, json.loads((first.folder / "meta.json").read_text())
    if damage == "bit":
        content = bytearray((folder / "mask.npy").read_bytes())
        content[-9] ^= 1
        (folder / "mask.npy").write_bytes(content)
    elif damage == "key":
        (folder / "meta.json").write_text(json.dumps({**meta, "key": {**meta["key"], "seed": 7}}))
    elif damage == "cats":
        (folder / "meta.json").write_text(json.dumps({**meta, "cats": meta["cats"][::-1]}))
    elif damage == "shape":
        np.save(folder / "depth.npy", np.load(folder / "depth.npy")[..., :-1])
    else:
        (folder / "bg.npy").write_bytes(b"\x93NUMPY\x01\x00(((")
    again = cached(data, tmp_path, workers=0, progress=False)
    assert all(torch.equal(value.nan_to_num(-1), right[key].nan_to_num(-1)) for key, value in again.get_batch(range(len(again))).items())


@pytest.mark.parametrize("change, words", [
    ({"weight": float("nan")}, "do not fit DuoNet"),
    ({"size": 6000}, "do not fit DuoNet"), ({"size": -5}, "do not fit DuoNet"), ({"size": float("inf")}, "do not fit"),
    ({"activation": "tanh"}, "do not fit DuoNet"),
])  # fmt: skip
def test_weights_that_cannot_be_are_refused(tmp_path, change, words):
    from safetensors.torch import save_file

    from helpers.model import build

    tensors = {name: value.clone() for name, value in build("DuoNet").state_dict().items()}
    if "weight" in change:
        next(iter(tensors.values())).view(-1)[0] = change["weight"]
    recipe = {"depth_activation": change.get("activation", "sigmoid"), "stages": [{"size": change.get("size", 64)}]}
    save_file(tensors, tmp_path / "a.safetensors", {"network": "DuoNet", "recipe": json.dumps(recipe)})
    with pytest.raises(CourseError, match=words):
        load(tmp_path / "a.safetensors")


def test_a_dataset_without_a_key_is_known_by_what_is_in_it(tmp_path):
    class Plain(torch.utils.data.Dataset):
        def __init__(self, seed):
            self.toys = ToyQuartets(seed=seed)

        def __len__(self):
            return 18

        def __getitem__(self, index):
            return self.toys[index]

    two = Subset(ToyQuartets(), range(2))
    train(tiny(), Plain(0), two, small(), tmp_path / "run")
    with pytest.raises(CourseError, match="another data"):
        train(tiny(), Plain(1), two, small(), tmp_path / "run")


def test_a_command_shows_the_message_alone():
    environment = {**os.environ, "COURSE_DATA": "nowhere"}
    command = [sys.executable, "-m", "helpers.session"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.startswith("CourseError: COURSE_DATA=nowhere is not a folder")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("picture", [
    np.zeros((100, 1, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), "room.jpg",
], ids=["narrow", "grey", "float", "a name"])  # fmt: skip
def test_cut_out_says_what_it_wants(picture):
    with pytest.raises(CourseError, match="must be an array"):
        cut_out(picture, picture)
