"""Reading a folder of your own photographs: rooms, cat cut-outs, depth and camera, each checked before it is used.

Every fault that a student can make is a CourseError of one sentence that names the file and the remedy.
"""

import json
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage
from torch import Tensor

from helpers.config import CourseError
from helpers.photos.standing import Pinhole
from helpers.utils import MAX_PIXELS, as_seen, is_system_file, open_image, orientation, reading, sha256_of, upright

FOLDERS = {"rooms": ("bg", "rooms"), "cats": ("fg", "cats"), "depth": ("bg_depth", "rooms_depth")}
LEAST_SIDE = 16  # pixels of a room: of fewer, nothing but a smear would be left
CUTOUT_SIZE = 256  # longest side at which cut-outs are cleaned and kept: more than any picture of 512 px shows
PSEUDO_DEPTH = "pseudo_depth.json"  # marks depth that was guessed: near and far can be told, metres cannot
SPECK = 0.02  # of a cut-out's largest part: smaller ones are left-overs of the cutting
LEAST_FILL = 0.02  # share of the square around a cut-out that is cat: below, it could not be drawn large enough
NEAREST_METRES, FARTHEST_METRES = 0.2, 50.0  # between which the middle distance of a room lies
OUTLIER = 15  # times the middle distance: what is farther is no wall, but a number that stands for "unknown"
FIELD_OF_VIEW = (15.0, 160.0)  # degrees, of any camera that takes pictures of rooms
CAMERA_KEYS = ("size", "fx", "fy", "cx", "cy", "depth_unit_m")
MAX_JSON = 4 * 2**20  # bytes: scenes.json has some 50 for each room


@dataclass(frozen=True)
class PhotoFolder:
    """What a folder holds: sorted files and, where depth has metres and a lens, its camera; and how they are read."""

    root: Path
    rooms: list[Path]
    cats: list[Path]
    depths: list[Path]  # one for each room, or empty
    camera: dict | None  # the checked content of camera.json
    metric: bool  # depth is in metres, not guessed
    sha256: dict[Path, str]  # of rooms, cats and depths

    def name(self, path: Path) -> str:
        """How messages and keys call a file: relative to the root."""
        return path.relative_to(self.root).as_posix()

    def digests(self) -> list[list[str]]:
        """Name and SHA-256 of every file that decides a pixel: a copy of the folder is the same data."""
        marks = [("camera.json", bool(self.camera)), (PSEUDO_DEPTH, not self.metric)]
        files = [*self.rooms, *self.cats, *self.depths, *(self.root / name for name, there in marks if there)]
        return [[self.name(path), self.sha256.get(path) or sha256_of(path)] for path in files]

    def read_room(self, path: Path, size: int) -> tuple[np.ndarray, tuple[int, int]]:
        """The central square of a room, (size, size, 3) uint8, antialiased, and the (width, height) of the whole."""
        name = self.name(path)
        with open_image(path, name) as image:
            refuse_depth(image, name)
            width, height = image.size[::-1] if orientation(image) >= 5 else image.size
            if min(width, height) < LEAST_SIDE:
                raise CourseError(f"{name} has {width} x {height} pixels: a room needs {LEAST_SIDE} on each side.")
            image.draft("RGB", (2 * size, 2 * size))  # JPEG alone: decodes at 1/2, 1/4 or 1/8, never below twice `size`
            image = as_seen(image, alpha=image.has_transparency_data)
        if image.mode == "RGBA" and image.getextrema()[3][0] < 128:
            raise CourseError(
                f"{name} has transparent parts, so it looks like a cut-out: "
                f"cut-outs belong into fg/, photographs of rooms into {path.parent.name}/."
            )
        square = _central_square(*image.size)
        image = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=square)
        return np.asarray(image), (width, height)

    def read_cutout(self, path: Path) -> np.ndarray:
        """A cut-out, cropped to what is visible, (h, w, 4) float32 in [0, 1], colours multiplied by alpha.

        Its longest side is at most CUTOUT_SIZE. Cut-outs are often polygons that keep a rim of their old background:
        the edge moves inwards by about one pixel, is feathered, and takes its colour from further inside.
        """
        name = self.name(path)
        with open_image(path, name) as image:
            if not image.has_transparency_data:
                raise CourseError(
                    f"{name} has no transparency, so it is a photograph and no cut-out: "
                    f"rooms belong into bg/, cut-outs (PNG or WebP with alpha) into {path.parent.name}/."
                )
            image = as_seen(image, alpha=True)
        least, most = image.getchannel("A").getextrema()
        if least >= 128 or most < 128:
            state = "opaque" if least >= 128 else "transparent"
            raise CourseError(f"{name} is {state} everywhere: a cut-out shows the cat and hides the rest.")
        image = _without_specks(image)
        image = image.crop(image.getchannel("A").point(lambda a: 255 * (a >= 128)).getbbox())
        image.thumbnail((CUTOUT_SIZE, CUTOUT_SIZE), Image.Resampling.BOX)
        cutout = _clean_edge(image)
        if _body(cutout[..., 3]).sum() < LEAST_FILL * max(image.size) ** 2:
            raise CourseError(f"{name} is too thin, or too scattered, for a cat: cut out the whole cat.")
        return cutout

    def read_depth(self, path: Path, picture: tuple[int, int]) -> np.ndarray:
        """Depth of the central square in metres, (n, n) float32 at the file's own resolution; 0 where unknown.

        A 16-bit PNG counts steps of ``depth_unit_m`` (1 mm without a camera.json); an .npy file holds metres. Its width
        and height may be the room's (``picture``) times any one factor: the same view, to within a pixel.
        """
        name, unit = self.name(path), self.camera["depth_unit_m"] if self.camera else 0.001
        metres = _read_npy(path, name) if path.suffix.lower() == ".npy" else _read_16_bit(path, name) * unit
        (width, height), (depth_height, depth_width) = picture, metres.shape
        if abs(depth_width * height - depth_height * width) > max(picture):
            raise CourseError(
                f"{name} has {depth_width} x {depth_height} px, its room {width} x {height}: "
                "depth must show the same picture, at the same size or scaled as a whole."
            )
        with np.errstate(over="ignore"):  # too large for 32 bits: unknown, as infinity is
            metres = metres.astype(np.float32)
        metres = np.where(np.isfinite(metres) & (metres > 0), metres, 0)
        left, top, right, bottom = (int(x) for x in _central_square(depth_width, depth_height))
        if not metres[top:bottom, left:right].any():
            raise CourseError(f"{name} has no measured pixel in its central square: replace it, or remove the room.")
        if self.metric:
            _refuse_implausible(metres[metres > 0], name, unit if path.suffix.lower() != ".npy" else None)
        return metres[top:bottom, left:right]

    def pinhole(self, path: Path, picture: tuple[int, int]) -> Pinhole:
        """The camera in square coordinates of the room ``path`` of ``picture`` = (width, height) pixels."""
        width, height = self.camera["size"]
        if abs(width * picture[1] - height * picture[0]) > max(picture):
            raise CourseError(
                f"camera.json describes pictures of {width} x {height} px, {self.name(path)} has "
                f"{picture[0]} x {picture[1]}: all rooms must be of the camera's size, or scaled as a whole."
            )
        fx, fy, cx, cy = (self.camera[key] for key in ("fx", "fy", "cx", "cy"))
        left, top, right, _ = _central_square(width, height)
        side = right - left
        return Pinhole(fx / side, fy / side, (cx - left) / side, (cy - top) / side)


def open_folder(root: str | Path) -> PhotoFolder:
    """Find and list the files below ``root``; pictures are opened when they are read."""
    root = Path(root).expanduser()
    with reading(root):
        return _listed(root)


def _listed(root: Path) -> PhotoFolder:
    if not root.is_dir():
        raise CourseError(f"There is no folder {root}: give the folder that holds bg/ (rooms) and fg/ (cat cut-outs).")
    found = {kind: _find(root, kind) for kind in FOLDERS}
    for kind, what in (("rooms", "bg/ with photographs of rooms"), ("cats", "fg/ with cut-outs of cats")):
        if found[kind] is None:
            content = ", ".join(sorted(p.name for p in root.iterdir() if not is_system_file(p.name))[:8]) or "nothing"
            raise CourseError(f"{root} needs a folder {what}; it holds {content}.")
    rooms, cats = _pictures(root, found["rooms"]), _pictures(root, found["cats"])
    depths = _depths_of(root, rooms, found["depth"]) if found["depth"] else []
    sha256 = {path: sha256_of(path) for path in (*rooms, *cats, *depths)}
    depth_of = dict(zip(rooms, depths))
    rooms, cats = _once(root, rooms, sha256), _once(root, cats, sha256)
    depths = [depth_of[room] for room in rooms] if depths else []
    camera = _read_camera(root) if depths and (root / "camera.json").exists() else None
    guessed = bool(depths) and (root / PSEUDO_DEPTH).exists()
    if guessed:
        _refuse_escape(root, root / PSEUDO_DEPTH)
        if camera:
            raise CourseError(f"{PSEUDO_DEPTH} marks the depth as guessed, camera.json as measured: remove one.")
    return PhotoFolder(root, rooms, cats, depths, camera, not guessed, sha256)


def rooms_of(root: str | Path) -> list[Path]:
    """The pictures of rooms below ``root``, which may lack cats still; a CourseError if there are none."""
    root = Path(root).expanduser()
    with reading(root):
        if (folder := _find(root, "rooms")) is None:
            raise CourseError(f"{root} needs a folder bg/ with photographs of rooms: make it first.")
        return _pictures(root, folder)


def _find(root: Path, kind: str) -> Path | None:
    there = [root / name for name in FOLDERS[kind] if (root / name).is_dir()]
    if len(there) > 1:
        raise CourseError(f"{root} has {there[0].name}/ and {there[1].name}/, two names of one thing: keep one of them.")
    return there[0] if there else None


def _refuse_escape(root: Path, path: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        name = path.relative_to(root).as_posix()
        raise CourseError(f"{name} is a link that leads out of {root}: copy the file itself into the folder.")


def _pictures(root: Path, folder: Path) -> list[Path]:
    files = sorted((p for p in folder.iterdir() if not is_system_file(p.name)), key=lambda p: p.name)
    if not files:
        raise CourseError(f"{folder.name}/ is empty: put at least one picture (JPEG, PNG or WebP) into it.")
    for path in files:
        _refuse_escape(root, path)
        if not path.is_file():
            name = path.relative_to(root).as_posix()
            raise CourseError(f"{name} is not a file: put the pictures directly into {folder.name}/.")
    return files


def _once(root: Path, files: Sequence[Path], sha256: dict[Path, str]) -> list[Path]:
    """Each content once: the same picture twice could be in the training set and in the test set."""
    first: dict[str, Path] = {}
    for path in files:
        if (other := first.setdefault(sha256[path], path)) is not path:
            same, other = (one.relative_to(root).as_posix() for one in (path, other))
            warnings.warn(f"{same} is the same picture as {other}, and is left out.", stacklevel=4)
    return list(first.values())


def one_form(name: str) -> str:
    """As Macs and Windows, which hold Küche and KÜCHE for one."""
    return unicodedata.normalize("NFC", name).casefold()


def by_name(files: Iterable[Path], what: str) -> dict[str, Path]:
    """Files by their name without its ending, in one form."""
    named: dict[str, Path] = {}
    for path in files:
        key = one_form(path.stem)
        if key in named:
            raise CourseError(
                f"{named[key].name} and {path.name} in {path.parent.name}/ have one name, so {what} cannot be told "
                "apart: rename one of them, or take it away."
            )
        named[key] = path
    return named


def _depths_of(root: Path, rooms: Sequence[Path], folder: Path) -> list[Path]:
    depths = by_name(_pictures(root, folder), "the depth of which room they are")
    wanted = by_name(rooms, "their depths")
    if missing := [path.name for key, path in wanted.items() if key not in depths]:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise CourseError(
            f"{len(missing)} of {len(rooms)} rooms have no depth of the same name in {folder.name}/ ({names}): "
            f"add it, or take {folder.name}/ away to do without depth."
        )
    return [depths[key] for key in wanted]


def read_json(root: Path, name: str, make: Callable[[list], object] = dict) -> object:
    """The content of a JSON file in ``root``; ``make`` makes its objects of their pairs. A CourseError if it cannot."""
    path = root / name
    _refuse_escape(root, path)
    if not path.is_file() or path.stat().st_size > MAX_JSON:
        raise CourseError(f"{name} is not a file of at most {MAX_JSON >> 20} MB: write it anew.")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=make)
    except (ValueError, RecursionError) as error:
        raise CourseError(f"{name} is not valid JSON ({error}): write it anew.") from error


def _read_camera(root: Path) -> dict:
    camera = read_json(root, "camera.json")
    if missing := [key for key in CAMERA_KEYS if not isinstance(camera, dict) or key not in camera]:
        raise CourseError(f"camera.json lacks {', '.join(missing)}: it needs {', '.join(CAMERA_KEYS)}.")
    size = camera["size"] if isinstance(camera["size"], list) and len(camera["size"]) == 2 else [camera["size"]] * 2
    for key, value in [("size", size[0]), ("size", size[1]), *((key, camera[key]) for key in CAMERA_KEYS[1:])]:
        if type(value) not in (int, float) or not 0 < value < 1e6:  # NaN compares False
            raise CourseError(
                f"camera.json: {key} is {camera[key]!r:.60}; sizes, focal lengths and centre are positive pixels "
                '("size": side of a square, or [width, height]), depth_unit_m the metres of one step of depth.'
            )
    for focal, pixels in zip((camera["fx"], camera["fy"]), size):
        angle = np.degrees(2 * np.arctan(pixels / (2 * focal)))
        if not FIELD_OF_VIEW[0] < angle < FIELD_OF_VIEW[1]:
            raise CourseError(
                f"camera.json: fx = {camera['fx']} and fy = {camera['fy']} at a size of {size} would be a field of "
                f"view of {angle:.0f} degrees: focal lengths are in pixels, not in millimetres."
            )
    return {**camera, "size": size}


def refuse_depth(image: Image.Image, name: str) -> None:
    if image.mode.startswith("I"):
        what = "so it looks like depth and not like a photograph: depth belongs into bg_depth/"
        raise CourseError(f"{name} has 16-bit values, {what}.")


def _refuse_implausible(metres: np.ndarray, name: str, unit: float | None) -> None:
    """Distances of a room lie within some metres; ``unit``: of a picture's steps, None where a file holds metres."""
    middle, farthest = float(np.median(metres)), float(metres.max())
    if not NEAREST_METRES <= middle <= FARTHEST_METRES:
        counts = "an .npy file holds metres, not millimetres"
        if unit is not None:
            counts = f"each step counts as {unit:g} m; camera.json's depth_unit_m says so, or else the default"
        raise CourseError(f"{name} has a middle distance of {middle:,.4g} m, which is no room: {counts}.")
    if farthest > OUTLIER * middle:
        share = (metres > OUTLIER * middle).mean()
        raise CourseError(
            f"{name} has {share:.1%} of its pixels farther than {OUTLIER} times its middle distance (up to "
            f"{farthest:,.4g} m beside {middle:.3g} m): write 0 or NaN where the distance is unknown."
        )


def _central_square(width: float, height: float) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest centred square."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _without_specks(image: Image.Image) -> Image.Image:
    """An RGBA picture without what is opaque and small beside its largest part."""
    alpha = np.array(image.getchannel("A"))
    parts, _ = ndimage.label(alpha >= 128, np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    specks = (areas < SPECK * areas.max())[parts] & (parts > 0)
    image.putalpha(Image.fromarray(np.where(specks, 0, alpha)))
    return image


def _clean_edge(image: Image.Image) -> np.ndarray:
    pixel, margin = max(image.size) / CUTOUT_SIZE, 4  # less than one pixel where the cut-out is smaller
    padded = ImageOps.expand(image, border=margin)  # transparent, so that an edge on the border is an edge too

    def blurred(reach: float) -> np.ndarray:
        alpha = padded.getchannel("A").filter(ImageFilter.GaussianBlur(reach * pixel))
        return np.asarray(alpha, dtype=np.float32)[..., None] / 255

    alpha = (2 * blurred(1.25) - 1).clip(0, 1)  # the old outline, where the blur is 1/2, becomes the slope's outer end
    inside = blurred(2.5) > 0.98  # five pixels from the outline: these colours are the cat's
    core = padded.copy()
    core.putalpha(Image.fromarray(np.uint8(255 * inside[..., 0])))
    spread = np.asarray(core.convert("RGBa").filter(ImageFilter.GaussianBlur(5 * pixel)).convert("RGBA"))
    rim = ~inside & (alpha < 1) & (spread[..., 3:] > 8)  # thin tails have no inside: they keep their colours
    colour = np.where(rim, spread[..., :3], np.asarray(padded)[..., :3]).astype(np.float32) / 255
    return np.concatenate((colour * alpha, alpha), -1)[margin:-margin, margin:-margin]


def _read_16_bit(path: Path, name: str) -> np.ndarray:
    remedy = "save depth as 16-bit PNG in millimetres, or as .npy in metres"
    try:
        with open_image(path, name) as image:
            if image.mode.startswith("I"):
                return np.asarray(upright(image)).astype(np.float64)
            raise CourseError(f"{name} is not 16-bit greyscale (mode {image.mode}): {remedy}.")
    except CourseError as error:
        if path.suffix.lower() == ".png" or remedy in str(error):
            raise
        raise CourseError(f"{name} cannot be read as depth: {remedy}.") from error  # not what a photograph should be


def open_npy(path: Path, name: str, remedy: str) -> np.ndarray:
    """An array of which only the header was read; its type and shape are to be checked before its numbers are used."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array.reshape(array.shape)  # an .npz has neither
    except Exception as error:  # a damaged header raises what a parser of Python does
        raise CourseError(f"{name} is not a readable .npy array: {remedy}.") from error


def _read_npy(path: Path, name: str) -> np.ndarray:
    array = open_npy(path, name, "save it anew with numpy.save")
    if array.dtype.kind != "f" or array.ndim != 2 or array.size > MAX_PIXELS:
        wanted = "depth is one float of metres for each pixel, (height, width), at most 50 megapixels"
        raise CourseError(f"{name} holds {array.dtype} of shape {array.shape}: {wanted}.")
    return np.asarray(array, dtype=np.float64)


def nearest(depth: np.ndarray, size: int) -> np.ndarray:
    """(n, n) depth at (size, size), by the pixel that holds each centre: measured values are never blended."""
    index = ((np.arange(size) + 0.5) * len(depth) / size).astype(int)
    return depth[np.ix_(index, index)]


@dataclass(frozen=True)
class Shape:
    """What placing a cat needs to know of a cut-out; coordinates in its box, x to the right, y down, 0 to 1."""

    width: float  # of the box, in units of its longest side
    height: float
    feet: tuple[float, float]  # leftmost and rightmost x that touches the ground
    foot: float  # x of the middle of what touches the ground; its y is 1
    points: np.ndarray  # (2, P): an even sample of the cat's surface
    fill: float  # share of the box that is cat


def _body(alpha: np.ndarray) -> np.ndarray:
    """What of a cut-out (h, w) is thick enough to be seen at every image size: (h, w) bool."""
    return ndimage.binary_opening(alpha > 0.5, iterations=max(round(0.015 * max(alpha.shape)), 1))


def shape_of(alpha: np.ndarray) -> Shape:
    """The shape of a cut-out from its alpha (h, w)."""
    height, width = alpha.shape
    solid = alpha > 0.5
    ground = np.flatnonzero(solid[-max(height // 10, 1) :].any(0))
    feet = (ground.min() / width, (ground.max() + 1) / width) if len(ground) else (0.0, 1.0)
    rows, columns = (((np.arange(24) + 0.5) / 24 * n).astype(int) for n in (height, width))
    y, x = np.nonzero(solid[np.ix_(rows, columns)])
    points, longest = (np.stack((x, y)) + 0.5) / 24, max(width, height)
    return Shape(width / longest, height / longest, feet, sum(feet) / 2, points, max(_body(alpha).mean(), 1e-3))


def on_canvas(cutout: Tensor, size: int) -> tuple[Tensor, tuple[float, float]]:
    """A cut-out (h, w, 4) on the upper left of a canvas (4, size, size), and the share of it that its box takes."""
    height, width = cutout.shape[:2]
    scale = size / max(height, width)
    new_height, new_width = max(round(height * scale), 1), max(round(width * scale), 1)
    image = cutout.permute(2, 0, 1)[None]  # (1, 4, h, w)
    image = F.interpolate(image, (new_height, new_width), mode="bilinear", antialias=True, align_corners=False)[0]
    return F.pad(image, (0, size - new_width, 0, size - new_height)), (new_width / size, new_height / size)
