"""Quartets composed live from your own pictures: photographs of rooms and cut-outs of cats.

With metric depth and a ``camera.json`` a cat *stands*: on a floor, table, sofa or bed, as large as a cat is at that
distance, hidden by what is nearer, with its own depth. Else, and in a room without any surface that could carry one, it
*floats* anywhere at any size, as in the published data. Only the rooms and the cut-outs are kept in memory: 100 of each
give 400,000 quartets from about 30 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from helpers.config import CourseError
from helpers.dataset import Address, Quartet, SceneDataset, normalise_depth, quantise
from helpers.photos.alike import alike, tell_alike
from helpers.photos.folder import CUTOUT_SIZE, PhotoFolder, Shape, nearest, on_canvas, open_folder, shape_of
from helpers.photos.places import places_of
from helpers.photos.standing import GRID, Pinhole, Standing, find_standing

VERSION = 4  # raise it when the same files would give other pixels
LEVELS = 5  # of each cut-out: full size, half, quarter, ...
UPRIGHT_METRES = (0.4, 0.55)  # height of a sitting cat, or one that comes towards you
LYING_METRES = (0.48, 0.65)  # length of a walking or lying cat, without or with some tail
FLOATING_SIDE = (0.25, 0.6)  # longest side of a floating cat, as a share of the picture's
LARGEST_SIDE = 0.7  # of a standing cat: nearer ones would be most of the picture
LEAST_VISIBLE = 0.45  # share of the cat; 0.40 is promised, the rest is for the coarse grid that decides
LEAST_AREA = 0.0135  # share of the picture; 0.01 is promised
GOOD_AREA = 0.03  # places where a standing cat is at least this large come first
LEAST_ALIKE = 0.9  # from when on two cats count as one
SHADOW = 0.5  # of the light is taken where the cat touches the surface
SHADOW_METRES = 0.14  # from its middle towards the camera and away from it


@dataclass(frozen=True)
class CutoutPlace:
    """Where one cut-out goes in one room, in square coordinates: the same at every picture size."""

    u: float  # where the foot is
    v: float
    width: float  # of the cut-out's box; negative: mirrored
    height: float
    tilt: float  # radians that the upright leans to the right: the camera was not held level
    depth: float  # metres, NaN where unknown
    standing: bool
    shadow: float = 0.0  # how far the contact shadow reaches up and down the picture

    def locate(self, shape: Shape, points: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """u and v of ``points`` (2, P) of the cut-out's box; None: of the shape's sample points."""
        x, y = shape.points if points is None else points
        x, y = (x - shape.foot) * self.width, (y - 1) * self.height
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return self.u + x * cos - y * sin, self.v + x * sin + y * cos


class PhotosDataset(SceneDataset):
    """Rooms x cats x 2 flips x placements, composed from the pictures in ``root`` when they are needed.

    Args:
        root: folder with rooms in ``bg/``, cut-outs (RGBA) in ``fg/`` and perhaps ``bg_depth/`` and ``camera.json``
            (``rooms/``, ``cats/`` and ``rooms_depth/`` are accepted names too). ``scenes.json`` may say which rooms
            show one place, ``{"hall_1": "hall", "hall_2": "hall"}``, which no split divides; see :mod:`.places`.
        size: side of the square pictures, pixels; rooms are cropped to their central square.
        placements: how many places each cat takes in each room.
        seed: with the index, it decides every quartet.

    Without depth, ``valid`` is False everywhere and ``near_far`` is NaN: such data trains the mask alone. Where
    ``pseudo_depth.json`` says that depth was guessed, cats float and ``near_far`` is NaN as well.

    Raises:
        CourseError: anything about the folder or its files that needs mending.
    """

    def __init__(self, root: str | Path, size: int = 192, placements: int = 20, seed: int = 0):
        folder = open_folder(root)
        super().__init__(len(folder.rooms), len(folder.cats), placements, size, seed)
        self.root, self._metric = folder.root, folder.metric
        self.stance = "standing" if folder.camera else "floating"
        self._load_rooms(folder)
        self._load_cats(folder)
        self._key = {
            "source": "photos", "version": VERSION, "size": size, "placements": placements, "seed": seed,
            "placement": self.stance, "files": folder.digests(),
        }  # fmt: skip
        self.places = places_of(folder)  # not in the key: they change no quartet, only what is split
        names, files = [*map(folder.name, folder.cats)], f"cats {self._key['files']}"
        advice = "if so, keep one of them, else the test shows cats that were trained on"
        tell_alike("cats", names, alike(self._levels[0][:, :3], LEAST_ALIKE, files), advice, files)
        self._standing: dict[int, Standing] = {}  # by room, and
        self._metres: dict[int, float] = {}  # by cat, when first needed

    def _load_rooms(self, folder: PhotoFolder) -> None:
        rooms, depths = [], []
        self._grids: list[np.ndarray] = []
        self._cameras: list[Pinhole] = []
        for i, path in enumerate(folder.rooms):
            room, picture = folder.read_room(path, self.size)
            rooms.append(room.transpose(2, 0, 1))
            if folder.depths:
                depth = folder.read_depth(folder.depths[i], picture)
                depths.append(nearest(depth, self.size)[None])
                self._grids.append(nearest(depth, GRID))
            if folder.camera:
                self._cameras.append(folder.pinhole(path, picture))
        self._rooms = torch.from_numpy(np.stack(rooms))  # (R, 3, S, S) uint8
        self._light = np.stack([_light(room) for room in rooms]).astype(np.float32)[..., None, None]  # (R, 3, 1, 1)
        self._centres = (np.arange(self.size, dtype=np.float32) + np.float32(0.5)) / np.float32(self.size)  # of pixels
        self._depths = torch.from_numpy(np.stack(depths)) if depths else None  # (R, 1, S, S) metres

    def _load_cats(self, folder: PhotoFolder) -> None:
        canvas = min(CUTOUT_SIZE, -(-self.size // 16) * 16)  # its side, which halves evenly LEVELS times
        self._shapes, extents, pyramids = [], [], []
        for path in folder.cats:  # one by one: as floats, all of them would take gigabytes
            cutout = torch.from_numpy(folder.read_cutout(path))  # (h, w, 4), premultiplied
            self._shapes.append(shape_of(cutout[..., 3].numpy()))
            level, extent = on_canvas(cutout, canvas)  # (4, canvas, canvas)
            extents.append(extent)
            pyramids.append([])
            for _ in range(LEVELS):
                pyramids[-1].append((level * 255).round().byte())
                level = F.avg_pool2d(level, 2)
        self._extents = np.array(extents)  # (C, 2): share of the canvas that the box takes
        self._levels = [torch.stack(level) for level in zip(*pyramids)]  # (C, 4, canvas / 2^k, canvas / 2^k) each

    def key(self) -> dict:
        return dict(self._key)

    def at_size(self, size: int) -> "PhotosDataset":
        other = PhotosDataset(self.root, size, self.placements, self.seed)
        if other._key["files"] != self._key["files"]:  # the same indices would mean other rooms and cats
            raise CourseError(f"The pictures in {self.root.name}/ changed while they were in use: open the folder anew.")
        return other

    # Where the cat goes: numpy, independent of the size of the picture.
    def place(self, index: int) -> CutoutPlace:
        """Where the cat of quartet ``index`` is."""
        address = self.address(index)
        rng = np.random.default_rng([self.seed, *address])
        place = self._place_standing(rng, address) if self.stance == "standing" else None
        return place or self._place_floating(rng, address)

    def cat_metres(self, cat: int) -> float:
        """Longest side of a cat, the same in all its pictures."""
        if cat not in self._metres:
            low, high = UPRIGHT_METRES if self._shapes[cat].height > self._shapes[cat].width else LYING_METRES
            self._metres[cat] = np.random.default_rng([self.seed, cat]).uniform(low, high)
        return self._metres[cat]

    def standing(self, room: int) -> Standing:
        """The places of a room where a cat can stand, found when first needed."""
        if room not in self._standing:
            self._standing[room] = find_standing(self._grids[room], self._cameras[room])
        return self._standing[room]

    def _place_standing(self, rng: np.random.Generator, address: Address) -> CutoutPlace | None:
        """Walk all fitting standing points of the room in a random order; the first where the cat is seen wins."""
        surface, camera, shape = self.standing(address.room), self._cameras[address.room], self._shapes[address.cat]
        metres = self.cat_metres(address.cat)
        u, v = surface.uv + rng.uniform(-0.5, 0.5, surface.uv.shape) / GRID  # anywhere in the cell
        depth = surface.depth_at(u, v)
        width, height = metres * shape.width * camera.fx / depth, metres * shape.height * camera.fy / depth
        area = shape.fill * width * height
        order = rng.uniform(size=len(surface)) + (area < GOOD_AREA)  # distant places come last
        fits = np.flatnonzero((depth > 0) & (np.maximum(width, height) < LARGEST_SIDE) & (area > LEAST_AREA))
        fits, width = fits[order[fits].argsort()], width * (1 - 2 * address.flip)
        for first in range(0, len(fits), 16):  # one of the first will mostly do
            some = fits[first : first + 16]
            for i in some[_supported(surface, shape, u[some], v[some], width[some])]:
                ray = camera.rays(u[i], v[i])
                foreshortened = -(surface.up @ ray) / np.linalg.norm(ray)  # sine of the angle at which it is seen
                shadow = SHADOW_METRES * camera.fy / depth[i] * foreshortened
                lean = _tilt(surface.up, ray)
                place = CutoutPlace(u[i], v[i], width[i], height[i], lean, depth[i], standing=True, shadow=shadow)
                if self._seen_well(place, address):
                    return place
        return None

    def _place_floating(self, rng: np.random.Generator, address: Address) -> CutoutPlace:
        shape, mirror = self._shapes[address.cat], 1 - 2 * address.flip
        least = np.sqrt(LEAST_AREA / (0.5 * shape.fill * shape.width * shape.height))  # thin cats are drawn larger
        side = rng.uniform(max(FLOATING_SIDE[0], least), max(FLOATING_SIDE[1], least))
        width, height = mirror * side * shape.width, side * shape.height
        for reach in (0.3, 0.3, 0.3, 0.3, 0.0):  # how much of the box may lie outside, on each side; 0 always passes
            left, top = (rng.uniform(-reach * s, max(1 - (1 - reach) * s, 0)) for s in (abs(width), height))
            u = left + abs(width) * (shape.foot if mirror > 0 else 1 - shape.foot)
            place = CutoutPlace(u, top + height, width, height, tilt=0.0, depth=np.nan, standing=False)
            if self._seen_well(place, address):
                break
        return replace(place, depth=self._depth_in_front(place, address))

    def _seen_well(self, place: CutoutPlace, address: Address) -> bool:
        """Is enough of the cat inside the picture and not hidden?"""
        shape = self._shapes[address.cat]
        u, v = place.locate(shape)
        seen = (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        if place.standing:
            room = self._grids[address.room][_cell(v), _cell(u)]
            seen &= ~((room > 0) & (room < place.depth - _tolerance(place.depth)))
        visible = seen.mean()
        return visible >= LEAST_VISIBLE and visible * shape.fill * abs(place.width) * place.height >= LEAST_AREA

    def _depth_in_front(self, place: CutoutPlace, address: Address) -> float:
        """Metres to a floating cat: the room's at its foot, or less where it covers something nearer; NaN: unknown."""
        if not self._grids or not self._grids[address.room].any():  # the grid may miss the few measured pixels
            return np.nan
        grid = self._grids[address.room]
        u, v = place.locate(self._shapes[address.cat])
        covered = grid[_cell(v), _cell(u)][(u >= 0) & (u < 1) & (v >= 0) & (v < 1)]
        covered = np.append(covered, grid[_cell(place.v), _cell(place.u)])
        known = covered[covered > 0]
        return float(known.min() if len(known) else np.median(grid[grid > 0]))

    # The picture, made anew only where the cat and its shadow are; in numpy, which is quicker on small arrays.
    def get_batch(self, indices: Sequence[int]) -> Quartet:
        addresses = [self.address(int(i)) for i in indices]
        rooms = [address.room for address in addresses]
        bg = self._rooms[rooms]  # (B, 3, S, S) uint8
        metres = torch.zeros_like(bg[:, :1], dtype=torch.float32) if self._depths is None else self._depths[rooms]
        bg_fg, mask, valid = bg.clone(), torch.zeros_like(metres), metres > 0
        arrays = (images.numpy() for images in (bg_fg, mask, metres, valid))
        for index, address, *images in zip(indices, addresses, *arrays):
            self._compose(self.place(int(index)), address, *images)
        depth, near_far = normalise_depth(metres, valid)
        if not self._metric:
            near_far = torch.full_like(near_far, torch.nan)
        return {"bg": bg, "bg_fg": bg_fg, "mask": mask, "depth": depth, "valid": valid, "near_far": near_far}

    def _compose(self, place: CutoutPlace, address: Address, *images: np.ndarray) -> None:
        """Put a cat into a room's picture (3, S, S), an empty mask, its metres and valid pixels (1, S, S): in place."""
        shape, depth = self._shapes[address.cat], np.float32(place.depth)
        rows, columns = self._window(place, shape)
        scene, mask, metres, valid = (image[:, rows, columns] for image in images)  # (C, h, w), views
        x, y = self._box_coordinates(place, shape, rows, columns)
        cat = self._draw_cat(place, address.cat, x, y)
        alpha, room = cat[3:], scene / np.float32(255)
        if place.standing:
            nearer = (metres > 0) & (metres < depth - np.float32(_tolerance(place.depth)))
            seen = _softened(~nearer) if nearer.any() else np.float32(1)  # depth is coarse: soften its stairs
            near = np.abs(metres - depth) < 0.3  # the shadow falls on the surface, not on the wall far behind it
            room *= 1 - _shadow(place, shape, x, y) * near * seen
            alpha = alpha * seen
        mask[:] = quantise(torch.from_numpy(alpha), 255)
        colour = (cat[:3] / cat[3:].clip(1e-3) * self._light[address.room]).clip(0, 1)
        scene[:] = np.rint((room * (1 - mask) + colour * mask) * 255)
        if not np.isnan(depth):
            is_cat = mask >= 0.5
            metres[is_cat] = depth
            valid |= is_cat

    def _window(self, place: CutoutPlace, shape: Shape) -> tuple[slice, slice]:
        """Rows and columns outside which neither cat nor shadow changes a pixel."""
        centre, across, ground, along = _ellipse(place, shape)
        x0, x1 = min(0.0, centre - across), max(1.0, centre + across)
        y0, y1 = min(0.0, ground - along), max(1.0, ground + along)
        u, v = place.locate(shape, np.array([[x0, x1, x0, x1], [y0, y0, y1, y1]]))
        ends = ((axis.min() * self.size - 3, axis.max() * self.size + 4) for axis in (v, u))  # edges are blurred
        return tuple(slice(max(int(first), 0), max(int(last), 0)) for first, last in ends)

    def _box_coordinates(self, place: CutoutPlace, shape: Shape, rows: slice, columns: slice) -> tuple[np.ndarray, ...]:
        """For every pixel there its x and y in the box of the cut-out, each (h, w), 0..1 inside."""
        numbers = place.u, place.v, np.cos(place.tilt), np.sin(place.tilt), place.width, place.height, shape.foot
        u, v, cos, sin, width, height, foot = map(np.float32, numbers)
        du, dv = self._centres[columns] - u, self._centres[rows, None] - v
        return (du * cos + dv * sin) / width + foot, (dv * cos - du * sin) / height + 1

    def _draw_cat(self, place: CutoutPlace, cat: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The cut-out at these coordinates of its box: (4, h, w), premultiplied colour and alpha."""
        extent_x, extent_y = map(float, self._extents[cat])
        shrink = extent_y * self._levels[0].shape[-1] / (place.height * self.size)
        level = min(max(round(np.log2(shrink)), 0), LEVELS - 1)  # about as fine as the picture: no aliasing
        grid = torch.from_numpy(np.stack((2 * extent_x * x - 1, 2 * extent_y * y - 1), -1))[None]  # (1, h, w, 2)
        return F.grid_sample(self._levels[level][cat, None].float() / 255, grid, align_corners=False)[0].numpy()


def _softened(seen: np.ndarray) -> np.ndarray:
    """The share of the 3 x 3 pixels around each that are seen: (1, h, w)."""
    return F.avg_pool2d(torch.from_numpy(seen).float(), 3, 1, 1, count_include_pad=False).numpy()


def _ellipse(place: CutoutPlace, shape: Shape) -> tuple[float, float, float, float]:
    """The shadow under the feet, in box coordinates: middle and half axis in x, and in y."""
    left, right = shape.feet
    along = max(place.shadow, 1e-3) / place.height
    return (left + right) / 2, (right - left) / 2 + 0.12, 1 - 0.4 * along, along


def _shadow(place: CutoutPlace, shape: Shape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The share of light that a soft ellipse takes at these coordinates of the box."""
    centre, across, ground, along = map(float, _ellipse(place, shape))
    dx, dy = (x - centre) * (1 / across), (y - ground) * (1 / along)
    falloff = (1 - dx * dx - dy * dy).clip(0)
    return SHADOW * falloff * (2 - falloff)


def _light(room: np.ndarray) -> np.ndarray:
    """How a room's light tints and dims what stands in it: (3,) gains, gentle, from the mean colour (grey world)."""
    mean = room.reshape(3, -1).mean(1) / 255
    exposure = np.clip((mean.mean() / 0.45) ** 0.5, 0.55, 1.15)
    return exposure * np.clip((mean / max(mean.mean(), 1e-3)) ** 0.4, 0.85, 1.15)


def _supported(surface: Standing, shape: Shape, u: np.ndarray, v: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Is there surface of one height under all the feet? For N places and signed widths: (N,) bool."""
    foot_u = u + (np.linspace(*shape.feet, 5)[:, None] - shape.foot) * width  # (5, N)
    rows = _cell(v)
    below, level = surface.level[rows, _cell(foot_u)], surface.level[rows, _cell(u)]
    carried = (np.abs(below - level) < 0.06) & (foot_u >= 0) & (foot_u < 1)  # NaN, no surface, compares False
    return carried.sum(0) >= 4


def _tilt(up: np.ndarray, ray: np.ndarray) -> float:
    """Angle in the picture between a vertical line through a point on ``ray`` and the picture's own upright."""
    across, upwards = up[0] - up[2] * ray[0], -(up[1] - up[2] * ray[1])
    return float(np.clip(np.arctan2(across, upwards), -0.2, 0.2))


def _tolerance(depth: float) -> float:
    """Metres by which something must be nearer than a cat to hide it: half a cat's thickness and the sensor's noise."""
    return 0.05 + 0.02 * depth


def _cell(x: np.ndarray | float) -> np.ndarray:
    """Grid index of square coordinates; what lies outside counts as the border."""
    return np.minimum(np.maximum(np.asarray(x) * GRID, 0), GRID - 1).astype(int)  # np.clip takes thrice as long
