"""Importers read small files in exactly the formats in which the public data sets come, and nothing else."""

import functools
import gzip
import hashlib
import io
import json
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from helpers.config import CourseError
from helpers.dataset import check_quartet
from helpers.photos import diode as diode_module
from helpers.photos import download as importers
from helpers.photos import nyu_depth, oxford_pets
from helpers.photos.dataset import PhotosDataset
from helpers.photos.diode import import_diode
from helpers.photos.download import PublicData, download
from helpers.photos.folder import nearest
from helpers.photos.nyu_depth import import_nyu
from helpers.photos.oxford_pets import alpha_of, cat_fault, import_pets


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def write_cat(folder):
    """One cut-out, so that a folder of rooms is complete."""
    rgba = np.zeros((120, 90, 4), np.uint8)
    rgba[10:110, 10:80] = (200, 90, 20, 255)
    folder.mkdir(parents=True)
    Image.fromarray(rgba).save(folder / "cat.png")


def coordinates(height, width, seed=0):
    """A picture and a depth in metres that both tell where a pixel is; the depth is a floor with a wall behind."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack((255 * x / (width - 1), 255 * y / (height - 1), np.full_like(x, 40 * seed % 255)), -1)
    metres = np.minimum(1.4 / np.maximum((y - 0.45 * height) / (0.9 * width), 1e-6), 4.0) + 0.3 * x / width
    return picture.round().astype(np.uint8), metres.astype(np.float32)


def metres_of(dataset, index):
    """Metres of a quartet where there is no cat."""
    quartet = check_quartet(dataset[index])
    near, far = quartet["near_far"].tolist()
    return (near + quartet["depth"][0] * (far - near)).numpy(), (quartet["mask"][0] == 0).numpy()


# -- Oxford-IIIT Pet ------------------------------------------------------------------------------------------------


def trimap_of(box, size=(200, 240), band=6):
    """1 inside the box, 3 in a band around its outline, 2 elsewhere."""
    top, bottom, left, right = box
    trimap = np.full(size, 2, np.uint8)
    trimap[max(top - band // 2, 0) : bottom + band // 2, max(left - band // 2, 0) : right + band // 2] = 3
    trimap[top + band // 2 : bottom - band // 2, left + band // 2 : right - band // 2] = 1
    return trimap


GOOD = (30, 180, 60, 160)


def pets(root, entries, lists=("list.txt",)):
    """A download as torchvision leaves it. Entries: name -> (species, trimap or None for no such files)."""
    base = root / "oxford-iiit-pet"
    (base / "images").mkdir(parents=True)
    (base / "annotations" / "trimaps").mkdir(parents=True)
    lines = []
    for number, (name, (species, trimap)) in enumerate(entries.items(), 1):
        lines.append(f"{name} {number} {species} 1")
        if trimap is not None:
            picture = np.full((*trimap.shape, 3), 90, np.uint8)
            picture[trimap == 1] = (210, 120, 30)
            Image.fromarray(picture).save(base / "images" / f"{name}.jpg", quality=95)
            Image.fromarray(trimap).save(base / "annotations" / "trimaps" / f"{name}.png")
    head = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 class ids"] if lists[0] == "list.txt" else []
    for part, name in enumerate(lists):
        (base / "annotations" / name).write_text("\n".join([*head, *lines[part :: len(lists)]]) + "\n")
    return base


def test_alpha_slopes_across_the_border_class():
    alpha = alpha_of(trimap_of(GOOD))
    row = alpha[100]
    assert row[:57].max() == 0 and row[63:157].min() == 1
    assert np.all(np.diff(row[56:64]) > 0), "monotonic across the band"
    assert row[59] == pytest.approx(1 - row[60], abs=1e-6) and abs(row[59] - 0.5) < 0.2
    assert alpha.dtype == np.float32 and alpha.min() == 0 and alpha.max() == 1
    assert (alpha_of(np.full((9, 9), 2, np.uint8)) == 0).all()


def test_cats_become_cut_outs_named_by_their_breed(tmp_path):
    source = pets(tmp_path / "in", {"Abyssinian_10": (1, trimap_of(GOOD)), "beagle_3": (2, trimap_of(GOOD))})
    report = import_pets(source, tmp_path / "photos")
    assert (report.kept, report.left_out) == (1, {})
    assert files(tmp_path / "photos") == ["fg/Abyssinian_10.png"]
    rgba = np.asarray(Image.open(tmp_path / "photos/fg/Abyssinian_10.png"))
    alpha = rgba[..., 3]
    expected = np.round(255 * alpha_of(trimap_of(GOOD)))
    rows, columns = np.nonzero(expected)
    crop = expected[rows.min() - 2 : rows.max() + 3, columns.min() - 2 : columns.max() + 3]
    assert (alpha == crop).all()
    assert np.abs(rgba[alpha == 255][:, :3].astype(int).mean(0) - (210, 120, 30)).max() < 4


def test_torchvision_reads_the_same_files(tmp_path):
    """The stand-in has the real format: the library that downloads the real one understands it."""
    from torchvision.datasets import OxfordIIITPet

    source = pets(
        tmp_path, {"Abyssinian_10": (1, trimap_of(GOOD)), "beagle_3": (2, trimap_of(GOOD))}, ("trainval.txt",)
    )
    data = OxfordIIITPet(source.parent, "trainval", target_types=("binary-category", "segmentation"))
    (_, (cat, trimap)), (_, (dog, _)) = data[0], data[1]
    assert (cat, dog) == (0, 1) and (np.asarray(trimap) == trimap_of(GOOD)).all()


def test_photos_reads_imported_cats(tmp_path):
    entries = {f"{breed}_{i}": (1, trimap_of(GOOD)) for breed in ("Bengal", "Birman") for i in (1, 2)}
    import_pets(pets(tmp_path / "in", entries), tmp_path / "photos")
    (tmp_path / "photos/bg").mkdir()
    Image.fromarray(coordinates(100, 100)[0]).save(tmp_path / "photos/bg/room.jpg")
    with pytest.warns(UserWarning, match="the same picture as"):
        photos = PhotosDataset(tmp_path / "photos", size=64, placements=1)
    assert photos.cats == 1, "the four were drawn alike"
    assert check_quartet(photos[0])["mask"].max() == 1


def test_poor_cats_are_left_out_and_counted(tmp_path):
    two = np.minimum(trimap_of((20, 180, 20, 90)), trimap_of((20, 180, 140, 210)))
    two[(trimap_of((20, 180, 20, 90)) == 2) & (trimap_of((20, 180, 140, 210)) == 2)] = 2
    for box in ((20, 180, 20, 90), (20, 180, 140, 210)):
        part = trimap_of(box)
        two[part != 2] = part[part != 2]
    source = pets(tmp_path / "in", {
        "Bengal_1": (1, trimap_of(GOOD)),
        "Bengal_2": (1, trimap_of((60, 200, 60, 160))),  # cut at the bottom
        "Bengal_3": (1, trimap_of((0, 200, 60, 160))),  # and at the top
        "Bengal_4": (1, trimap_of((50, 90, 60, 130))),  # small
        "Bengal_5": (1, two),
        "Bengal_6": (1, np.full((200, 240), 2, np.uint8)),
        "Bengal_7": (1, None),
        "Bengal_8": (1, trimap_of(GOOD)),
        "Bengal_9": (1, np.zeros((200, 240), np.uint8)),
    })  # fmt: skip
    trimap = source / "annotations/trimaps/Bengal_8.png"
    Image.fromarray(trimap_of(GOOD)[:-1]).save(trimap)  # of another picture
    report = import_pets(source, tmp_path / "photos")
    assert report.kept == 1
    assert report.left_out == {
        "cut by the frame of the picture": 2,
        "smaller than 120 px": 1,
        "in several pieces": 1,
        "without any pixel of cat": 1,
        "missing, damaged, or with a trimap of another size": 3,
    }
    assert "left out: 2 cut by the frame" in str(report)


def test_a_speck_beside_the_cat_is_dropped():
    trimap = trimap_of(GOOD)
    trimap[5:12, 5:12] = 1
    assert cat_fault(alpha_of(trimap)) is None
    assert oxford_pets.largest_piece(alpha_of(trimap))[:15, :15].max() == 0


def test_a_limit_takes_the_breeds_in_turn(tmp_path):
    entries = {
        f"{breed}_{i}": (1, trimap_of(GOOD)) for breed in ("Bengal", "Birman", "Bombay") for i in range(1, 12, 5)
    }
    import_pets(pets(tmp_path / "in", entries), tmp_path / "photos", limit=4)
    names = ["fg/Bengal_1.png", "fg/Bengal_6.png", "fg/Birman_1.png", "fg/Bombay_1.png"]
    assert files(tmp_path / "photos") == names


@pytest.mark.parametrize(
    "corrupt, words",
    [
        (lambda base: (base / "annotations").rename(base / "other"), "no folder annotations/"),
        (lambda base: (base / "annotations/list.txt").unlink(), "lists no cat"),
        (lambda base: (base / "annotations/list.txt").write_text("../../x 1 1 1\n"), "no list of Oxford"),
        (lambda base: (base / "annotations/trimaps/Bengal_1.png").unlink(), "None of the 1 cats"),
    ],
)
def test_a_folder_that_is_not_the_download_is_refused_and_nothing_is_written(tmp_path, corrupt, words):
    source = pets(tmp_path / "in", {"Bengal_1": (1, trimap_of(GOOD))})
    corrupt(source)
    with pytest.raises(CourseError, match=words):
        import_pets(source, tmp_path / "photos")
    assert not (tmp_path / "photos").exists()


def test_nothing_is_overwritten(tmp_path):
    source = pets(tmp_path / "in", {"Bengal_1": (1, trimap_of(GOOD))})
    write_cat(tmp_path / "photos/fg")
    with pytest.raises(CourseError, match="holds fg/ already"):
        import_pets(source, tmp_path / "photos")
    assert files(tmp_path / "photos") == ["fg/cat.png"]
    with pytest.raises(CourseError, match="limit=0"):
        import_pets(source, tmp_path / "new", limit=0)


# -- DIODE ----------------------------------------------------------------------------------------------------------


def diode_frame(folder, scene=19, scan=183, angle=10, kind="indoors", metres=None):
    name = f"{scene:05d}_{scan:05d}_{kind}_000_{angle:03d}"
    place = folder / "val" / kind / f"scene_{scene:05d}" / f"scan_{scan:05d}"
    place.mkdir(parents=True, exist_ok=True)
    picture, depth = coordinates(768, 1024, angle)
    mask = np.ones((768, 1024), np.float32)
    mask[:100] = 0
    depth = depth if metres is None else metres
    Image.fromarray(picture).save(place / f"{name}.png", compress_level=1)
    np.save(place / f"{name}_depth.npy", np.where(mask > 0, depth, 77.0).astype(np.float32)[..., None])
    np.save(place / f"{name}_depth_mask.npy", mask)
    return name


def pack(folder, path):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder / "val", "val")
    return path


@pytest.fixture(scope="module")
def diode(tmp_path_factory):
    """Two scans with two views each, one outdoors; as a folder and as the archive."""
    folder = tmp_path_factory.mktemp("diode")
    for scan, angle in ((183, 10), (183, 20), (184, 10), (184, 30)):
        diode_frame(folder, scan=scan, angle=angle)
    diode_frame(folder, scene=22, scan=190, kind="outdoor")
    return folder, pack(folder, folder / "val.tar.gz")


def test_diode_gives_rooms_with_metres_and_camera(diode, tmp_path):
    archive = diode[1]
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    report = import_diode(archive, tmp_path / "photos", md5=md5)
    assert report.kept == 2 and report.left_out == {"further pictures of the same scenes": 2}
    root = tmp_path / "photos"
    assert len(files(root)) == 5 and not any("outdoor" in name for name in files(root))
    camera = json.loads((root / "camera.json").read_text())
    assert camera == {"size": [1024, 768], "fx": 886.81, "fy": 927.06, "cx": 512.0, "cy": 384.0, "depth_unit_m": 0.001}
    name = "00019_00183_indoors_000_020"
    picture, metres = coordinates(768, 1024, 20)
    assert np.abs(np.asarray(Image.open(root / f"bg/{name}.jpg")).astype(int) - picture).max() <= 6
    stored = np.asarray(Image.open(root / f"bg_depth/{name}.png")) * 0.001
    assert (stored[:100] == 0).all(), "masked pixels are unknown, whatever the map says there"
    assert np.abs(stored[100:] - metres[100:]).max() < 0.0006

    write_cat(root / "fg")
    photos = PhotosDataset(root, size=64, placements=2)
    assert photos.stance == "standing" and photos.rooms == 2
    assert photos.place(0).standing, "a floor is a floor, so the camera fits the depth"
    found, room = metres_of(photos, 0)
    known = room & photos[0]["valid"][0].numpy()
    expected = nearest(np.where(np.arange(768)[:, None] < 100, 0, metres)[:, 128:896], 64)
    assert np.abs(found - expected)[known].max() < 0.01


def test_the_middle_view_of_each_scan_is_taken(diode, tmp_path):
    import_diode(diode[1], tmp_path, md5=None)
    assert [name for name in files(tmp_path) if name.startswith("bg/")] == [
        "bg/00019_00183_indoors_000_020.jpg", "bg/00019_00184_indoors_000_030.jpg",
    ]  # fmt: skip


def test_views_of_one_scan_are_counted_and_a_limit_keeps_the_rest_away(diode, tmp_path):
    report = import_diode(diode[1], tmp_path / "photos", limit=1, md5=None)
    assert (report.kept, report.left_out) == (1, {"further pictures of the same scenes": 3})


def test_a_room_without_depth_is_left_out(tmp_path):
    diode_frame(tmp_path, scan=1)
    diode_frame(tmp_path, scan=2, metres=np.full((768, 1024), np.nan))
    report = import_diode(pack(tmp_path, tmp_path / "val.tar.gz"), tmp_path / "photos", md5=None)
    assert report.left_out == {"with depth in less than a tenth of the picture": 1} and report.kept == 1


def test_a_wrong_sum_is_refused_before_anything_is_read(diode, tmp_path):
    with pytest.raises(CourseError, match="val.tar.gz is not the published file: its md5 sum is .* Delete it"):
        import_diode(diode[1], tmp_path / "photos")
    assert not (tmp_path / "photos").exists()


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_archive_that_is_cut_short_is_refused(diode, tmp_path, share):
    whole = diode[1].read_bytes()
    (tmp_path / "val.tar.gz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CourseError, match="val.tar.gz is damaged or cut short"):
        import_diode(tmp_path / "val.tar.gz", tmp_path / "photos", md5=None)
    assert not (tmp_path / "photos").exists()


def hostile(path, *members):
    """A tar.gz of (name, bytes, changes to its header)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content, changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


NAME = "indoors/scene_00001/scan_00001/00001_00001_indoors_000_000"


def triple(prefix="val/", **changes):
    return [(f"{prefix}{NAME}{kind}", b"x", changes) for kind in diode_module.KINDS]


@pytest.mark.parametrize(
    "members, words",
    [
        ([("val/other.txt", b"hello", {})], "no indoor picture"),
        (triple("../../"), "not an image"),  # such a name is DIODE's, but decides nothing about where it is put
        (triple(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no indoor picture"),
        (triple()[:2], "no indoor picture"),
        ([(f"val/{NAME[:-3]}../../escape.png", b"x", {})], "no indoor picture"),
    ],
    ids=["nothing indoors", "leads out", "links", "no mask", "a name that leads out"],
)
def test_hostile_archives_write_nothing_anywhere(tmp_path, members, words):
    (tmp_path / "in").mkdir()
    archive = hostile(tmp_path / "in" / "val.tar.gz", *members)
    with pytest.raises(CourseError, match=words):
        import_diode(archive, tmp_path / "deep" / "photos", md5=None)
    assert files(tmp_path) == ["in/val.tar.gz"]


def test_an_archive_that_claims_too_much_is_refused_unread(tmp_path):
    path = tmp_path / "val.tar.gz"
    info = tarfile.TarInfo(f"val/{NAME}.png")
    for size, words in ((40 * 2**20, "holds a picture of 40 MB"), (2**40, "far larger inside")):
        info.size = size
        path.write_bytes(gzip.compress(info.tobuf() + bytes(1024)))
        with pytest.raises(CourseError, match=words):
            import_diode(path, tmp_path / "photos", md5=None)


@pytest.mark.parametrize(
    "corrupt, words",
    [
        (lambda stem: np.save(f"{stem}_depth.npy", np.array([{"a": 1}], object), allow_pickle=True), "not a readable"),
        (lambda stem: np.save(f"{stem}_depth.npy", np.ones((10, 10), np.float32)), "768 x 1024"),
        (lambda stem: Path(f"{stem}_depth_mask.npy").write_bytes(b"\x93NUMPY"), "not a readable"),
        (lambda stem: Image.new("RGB", (640, 480)).save(f"{stem}.png"), "DIODE's have 1024 x 768"),
        (lambda stem: Path(f"{stem}.png").write_bytes(b"GIF89a"), "not an image"),
    ],
    ids=["pickle", "shape", "cut", "size", "not a picture"],
)
def test_damaged_frames_are_refused(tmp_path, corrupt, words):
    name = diode_frame(tmp_path)
    corrupt(tmp_path / "val/indoors/scene_00019/scan_00183" / name)
    with pytest.raises(CourseError, match=words):
        import_diode(pack(tmp_path, tmp_path / "val.tar.gz"), tmp_path / "photos", md5=None)
    assert not (tmp_path / "photos").exists()


def test_there_is_no_such_archive(tmp_path):
    with pytest.raises(CourseError, match="There is no val.tar.gz"):
        import_diode(tmp_path / "val.tar.gz", tmp_path / "photos")


# -- NYU Depth v2 ---------------------------------------------------------------------------------------------------


def nyu(path, names=("kitchen_0001", "kitchen_0001", "bath_0002a", "bath_0002b"), **changes):
    """An HDF5 file as MATLAB 7.3 writes it: 512 bytes of its own first, columns before rows, text as references."""
    frames = [coordinates(480, 640, i) for i in range(len(names))]
    with h5py.File(path, "w", userblock_size=512) as data:
        images = np.stack([picture.transpose(2, 1, 0) for picture, _ in frames])  # (N, 3, 640, 480)
        depths = np.stack([metres.T for _, metres in frames])  # (N, 640, 480)
        data.create_dataset("images", data=images, chunks=(1, 1, 640, 480), compression="gzip", compression_opts=1)
        data.create_dataset("depths", data=depths, chunks=(1, 640, 480), compression="gzip", compression_opts=1)
        references = data.create_dataset("scenes", (1, len(names)), dtype=h5py.ref_dtype)
        for i, scene in enumerate(names):
            text = data.create_dataset(f"#refs#/{i}", data=np.array([[ord(c)] for c in scene], np.uint16))
            references[0, i] = text.ref
        for name, change in changes.items():
            del data[name]
            if change:
                change(data, name)
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


def test_nyu_gives_rooms_the_right_way_round(tmp_path):
    source = nyu(tmp_path / "labeled.mat")
    report = import_nyu(source, tmp_path / "photos", md5=hashlib.md5(source.read_bytes()).hexdigest())
    root = tmp_path / "photos"
    assert report.kept == 2
    assert [name for name in files(root) if name.startswith("bg/")] == [
        "bg/bath_0002_0003.jpg", "bg/kitchen_0001_0001.jpg",
    ]  # fmt: skip
    picture, metres = (whole[8:472, 8:632] for whole in coordinates(480, 640, 3))
    assert np.abs(np.asarray(Image.open(root / "bg/bath_0002_0003.jpg")).astype(int) - picture).max() <= 6
    stored = np.asarray(Image.open(root / "bg_depth/bath_0002_0003.png")) * 0.001
    assert np.abs(stored - metres).max() < 0.0006
    camera = json.loads((root / "camera.json").read_text())
    assert camera["size"] == [624, 464] and (camera["fx"], camera["fy"]) == (518.857901, 519.469611)
    assert (camera["cx"], camera["cy"]) == pytest.approx((325.582449 - 8, 253.736166 - 8))

    write_cat(root / "fg")
    photos = PhotosDataset(root, size=64, placements=2)
    assert photos.stance == "standing"
    found, room = metres_of(photos, 0)
    expected = nearest(metres[:, 80:544], 64)
    assert np.abs(found - expected)[room].max() < 0.01


def test_one_frame_of_a_scene_is_taken(tmp_path):
    source = nyu(tmp_path / "labeled.mat")
    report = import_nyu(source, tmp_path / "photos", md5=None)
    assert (report.kept, report.left_out) == (2, {"further pictures of the same scenes": 2})
    assert {name.split("/")[1][:-9] for name in files(tmp_path / "photos") if name.startswith("bg/")} == {
        "bath_0002", "kitchen_0001",
    }  # fmt: skip
    assert import_nyu(source, tmp_path / "fewer", limit=1, md5=None).kept == 1


def external(data, name):
    data[name] = h5py.ExternalLink("other.mat", name)


def huge(data, name):
    data.create_dataset(name, (4, 3, 640, 480), "u1", chunks=(4, 3, 640, 480))  # all frames in one piece


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"images": None}, "'images'"),
        ({"scenes": None}, "'scenes'"),
        ({"images": external}, "no dataset 'images'"),
        ({"images": lambda data, name: data.create_dataset(name, (4, 480, 640, 3), "u1")}, "shape .4, 480, 640, 3"),
        ({"depths": lambda data, name: data.create_dataset(name, (3, 640, 480), "f4")}, "4 pictures and 3 depth"),
        ({"depths": lambda data, name: data.create_dataset(name, (4, 640, 480), "S3")}, "shape .4, 640, 480. of"),
        ({"depths": lambda data, name: data.create_group(name)}, "no dataset 'depths'"),
        ({"images": lambda data, name: data.create_dataset(name, (10**6, 3, 640, 480), "u1", chunks=(1, 3, 640, 480))},
         "1000000"),
        ({"scenes": lambda data, name: data.create_dataset(name, (1, 4), h5py.ref_dtype)}, "labeled.mat is no complete"),
        ({"scenes": lambda data, name: data.create_dataset(name, (1, 4), "u2")}, "expected 4 references"),
    ],
)  # fmt: skip
def test_files_that_are_not_the_labelled_part_are_refused(tmp_path, changes, words):
    source = nyu(tmp_path / "labeled.mat", **changes)
    with pytest.raises(CourseError, match=words):
        import_nyu(source, tmp_path / "photos", md5=None)
    assert not (tmp_path / "photos").exists()


def test_names_of_scenes_lead_nowhere(tmp_path):
    source = nyu(tmp_path / "labeled.mat", names=("../escape",))
    with pytest.raises(CourseError, match="a scene called"):
        import_nyu(source, tmp_path / "photos", md5=None)
    assert files(tmp_path) == ["labeled.mat"]


def test_pieces_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(nyu_depth, "MAX_CHUNK", 3 * 2**20)
    source = nyu(tmp_path / "labeled.mat", images=huge)
    with pytest.raises(CourseError, match="in pieces of over 3 MB"):
        import_nyu(source, tmp_path / "photos", md5=None)


def test_a_file_that_is_cut_short_or_something_else_is_refused(tmp_path):
    source = nyu(tmp_path / "labeled.mat")
    whole = source.read_bytes()
    for content in (whole[: len(whole) // 2], b"not HDF5", b""):
        source.write_bytes(content)
        with pytest.raises(CourseError, match="no complete HDF5 file"):
            import_nyu(source, tmp_path / "photos", md5=None)
    with pytest.raises(CourseError, match="is not the published file"):
        import_nyu(source, tmp_path / "photos")
    with pytest.raises(CourseError, match="There is no lost.mat"):
        import_nyu(tmp_path / "lost.mat", tmp_path / "photos")
    assert not (tmp_path / "photos").exists()


def test_rooms_and_cats_of_two_sources_share_a_folder(diode, tmp_path):
    """What notebook 07 does: rooms from one importer, cats from another, in any order, and never two cameras."""
    root = tmp_path / "photos"
    import_pets(pets(tmp_path / "in", {"Bengal_1": (1, trimap_of(GOOD))}), root)
    import_diode(diode[1], root, md5=None)
    assert PhotosDataset(root, size=64, placements=1).stance == "standing"
    with pytest.raises(CourseError, match="holds bg_depth/ already"):
        import_nyu(nyu(tmp_path / "labeled.mat"), root, md5=None)


# -- downloads ------------------------------------------------------------------------------------------------------


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A server of this machine's own, which offers one file."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "data.bin").write_bytes(b"the data")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "server"))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/data.bin"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def offered(url, **changes):
    values = {"gigabytes": 1e-6, "md5": hashlib.md5(b"the data").hexdigest(), **changes}
    return PublicData("A set", "rooms", licence="free", url=url, **values)


def test_a_download_is_checked_and_done_once(server, tmp_path):
    path = download(offered(server), tmp_path / "downloads")
    assert path.read_bytes() == b"the data" and path.name == "data.bin"
    (tmp_path / "server/data.bin").unlink()
    assert download(offered(server), tmp_path / "downloads") == path, "it is there: nobody is asked"
    path.write_bytes(b"the da")  # cut short by an interruption: not believed
    with pytest.raises(CourseError, match="could not be downloaded.*404"):
        download(offered(server), tmp_path / "downloads")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"md5": "0" * 32}, "could not be downloaded.*corrupted"),
        ({"gigabytes": 1e9}, "needs 1000000000.0 GB, downloads/ has"),
    ],
    ids=["another file", "no space"],
)
def test_a_download_that_fails_is_told_in_words(server, tmp_path, changes, words):
    with pytest.raises(CourseError, match=words):
        download(offered(server, **changes), tmp_path / "downloads")


def test_without_a_network_you_are_told_what_to_do(tmp_path):
    with pytest.raises(CourseError, match="could not be downloaded.*look at the network.*into downloads/"):
        download(offered("http://127.0.0.1:9/data.bin"), tmp_path / "downloads")


@pytest.mark.parametrize("data", [importers.PETS, importers.DIODE, importers.NYU], ids=lambda d: d.title)
def test_a_plan_names_size_and_licence(data):
    assert f"{data.gigabytes} GB" in data.plan and data.licence in data.plan
