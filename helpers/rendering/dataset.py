"""Rendered quartets: furnished rooms with cats in them, with exact depth and exact masks.

What the room pass gives is kept in memory and on disk; the cat pass runs for each quartet. Seed and index decide both;
the image size only decides how sharply one sees.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from helpers.config import CourseError, cache_dir
from helpers.dataset import Address, Quartet, SceneDataset, normalise_depth, quantise
from helpers.rendering.cat_pass import PlacedCat, add_cats
from helpers.rendering.cats import Cat, Volume, draw_cat
from helpers.rendering.layout import furnish
from helpers.rendering.placement import Placement, Plan, is_inviting, place, survey
from helpers.rendering.room_pass import VIEW_NAMES, View, view_room
from helpers.utils import load_arrays, save_arrays

VERSION = 5  # raise it when any pixel changes: cached rooms and sets are named after it
_ROOM, _CAT, _PLACEMENT = range(3)  # keep the random streams of different things apart
_MEMORY = 256 * 2**20  # bytes of room views kept by one dataset; as many of cat volumes and of plans


class _Memory:
    """The most recently used values, up to a number of bytes."""

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0
        self._values: OrderedDict = OrderedDict()

    def get(self, key, make: Callable, weigh: Callable):
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        self.used += weigh(value)
        while self.used > self.limit and len(self._values) > 1:
            self.used -= weigh(self._values.popitem(last=False)[1])
        return value


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class RoomsDataset(SceneDataset):
    """Quartets of rendered rooms and cats; see :class:`helpers.dataset.SceneDataset` for the order of the indices.

    Args:
        size: image size in pixels, 32..512.
        rooms, cats, placements: how many of each; with two flips, their product is the number of quartets.
        seed: decides every room, cat and placement.
        device: ``"cpu"``, or ``"cuda"`` to make whole batches on the GPU, which may round the last bit in another way.
            Quartets come on the CPU either way.

    Raises:
        CourseError: a number out of range, or a GPU where there is none.
    """

    def __init__(self, size: int = 64, rooms: int = 100, cats: int = 100, placements: int = 20, seed: int = 0,
                 device: str = "cpu"):  # fmt: skip
        if seed < 0:
            raise CourseError(f"seed={seed}: choose 0 or a larger number.")
        super().__init__(rooms, cats, placements, size, seed)
        self.device = _check_device(device)
        self._forget()

    def _forget(self) -> None:
        self._views, self._volumes, self._plans = (_Memory(_MEMORY) for _ in range(3))
        self._cats: dict[tuple[int, int], Cat] = {}
        self._placements: dict[Address, Placement] = {}

    def __getstate__(self) -> dict:  # workers start with empty memories instead of receiving hundreds of megabytes
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._forget()

    def key(self) -> dict:
        names = ("size", "rooms", "cats", "placements", "seed")
        device = {} if self.device.type == "cpu" else {"device": self.device.type}
        return {"source": "rooms", "version": VERSION, **{name: getattr(self, name) for name in names}, **device}

    def at_size(self, size: int) -> "RoomsDataset":
        """The same scenes at another image size."""
        other = RoomsDataset(size, self.rooms, self.cats, self.placements, self.seed, str(self.device))
        other._plans, other._placements, other._volumes = self._plans, self._placements, self._volumes
        return other

    def get_batch(self, indices: Sequence[int]) -> Quartet:
        # Small images are made in groups, which saves calls; large ones alone, which stay in the core's cache.
        group = 64 if self.device.type == "cuda" else min(max(32768 // self.size**2, 1), 16)
        indices = [int(index) for index in indices]
        groups = [self._render(indices[i : i + group]) for i in range(0, len(indices), group)]
        return {name: torch.cat([rendered[name] for rendered in groups]).cpu() for name in groups[0]}

    def _render(self, indices: Sequence[int]) -> Quartet:
        cats = [self._placed_cat(index) for index in indices]
        colour, coverage, metres = add_cats(cats)
        valid = torch.ones_like(coverage[:, None], dtype=torch.bool)
        depth, near_far = normalise_depth(metres[:, None], valid)
        return {
            "bg": torch.stack([placed.view["bg"] for placed in cats]),
            "bg_fg": display(colour),
            "mask": quantise(coverage[:, None], 255),
            "depth": depth,
            "valid": valid,
            "near_far": near_far,
        }

    def _placed_cat(self, index: int) -> PlacedCat:
        address = self.address(index)
        cat = self._cat(address.cat, address.flip)
        view = self._views.get(address.room, lambda: self.view(address.room), lambda v: _bytes(v.values()))
        of_cat = address.cat, address.flip
        volume = self._volumes.get(of_cat, lambda: Volume(cat, self.device), lambda v: _bytes((v.distances, v.traits)))
        return PlacedCat(self.plan(address.room).room, view, cat, volume, self.placement(index))

    def _cat(self, cat: int, flip: int) -> Cat:
        if (cat, flip) not in self._cats:
            rng = np.random.default_rng([self.seed, _CAT, cat])
            self._cats[cat, flip] = draw_cat(rng, mirrored=bool(flip))
        return self._cats[cat, flip]

    def plan(self, room: int) -> Plan:
        """Room number ``room`` as it is furnished, and where a cat may stand; the same at every size."""
        return self._plans.get(room, lambda: _inviting_room(self.seed, room), lambda plan: plan.nbytes)

    def placement(self, index: int) -> Placement:
        """Where the cat of quartet ``index`` stands; the same at every size."""
        address = self.address(index)
        if address not in self._placements:
            rng = np.random.default_rng([self.seed, _PLACEMENT, *address])
            found = place(self.plan(address.room), self._cat(address.cat, address.flip), address.flip, rng)
            if found is None:
                raise CourseError(f"Cat {address.cat} finds no place in room {address.room}: choose another seed.")
            self._placements[address] = found
        return self._placements[address]

    def view(self, room: int) -> View:
        """What the room pass gives, read from disk or made, and its picture ``bg``, uint8 (3, S, S)."""
        # Named after what its pixels depend on, so that sets of other lengths share it.
        folder = f"rooms-v{VERSION}-seed{self.seed}-{self.size}px-{self.device.type}"
        path = cache_dir() / folder / f"room-{room:04d}.npz"
        kept = load_arrays(path)
        if kept and kept.keys() == set(VIEW_NAMES):
            view = {name: torch.from_numpy(array).to(self.device) for name, array in kept.items()}
        else:
            view = view_room(self.plan(room).room, self.size, self.device)
            save_arrays(path, **{name: tensor.cpu().numpy() for name, tensor in view.items()})
        return {**view, "bg": display(view["colour"])}


def _check_device(name: str) -> torch.device:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(name)):
        raise CourseError(f"device={name!r} is unknown: use 'cpu' or 'cuda'.")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CourseError("device='cuda' needs an NVIDIA GPU, and torch sees none: use device='cpu', or in Colab "
                          "choose Runtime > Change runtime type > T4 GPU.")  # fmt: skip
    return device


@cache
def renderer() -> str:
    """``cuda`` where there is a GPU that draws a scene as the CPU does, but for rounding; else ``cpu``."""
    if not torch.cuda.is_available():
        return "cpu"
    try:
        here, there = (RoomsDataset(64, 1, 1, 1, device=name)[0] for name in ("cpu", "cuda"))
        offs = [(there[name].float() - image.float()).abs().mean() / image.max() for name, image in here.items()]
        off = float(torch.stack(offs).max())  # of torch, whose maximum keeps a NaN
        reason = "" if off < 1e-3 else f"what it draws is off by {off:.1%}"
    except (RuntimeError, AssertionError) as failure:  # an old card, a full one, a torch that was built without CUDA
        reason = str(failure).partition("\n")[0] or type(failure).__name__
    if reason:
        print(f"Rooms are rendered on the CPU, which takes longer, as this GPU cannot do it: {reason}")
    return "cpu" if reason else "cuda"


def _inviting_room(seed: int, room: int) -> Plan:
    """The first room of this number's sequence in which a large cat finds places easily."""
    for attempt in range(100):
        plan = survey(furnish(np.random.default_rng([seed, _ROOM, room, attempt])))
        if is_inviting(plan):
            return plan
    raise CourseError(f"Room {room} of seed {seed} never came up with a free, visible floor: choose another seed.")


@cache
def _tones(device: torch.device) -> Tensor:
    """Display value 0..255 for each of the 65,536 float16 numbers, read as integers: a tone curve, then sRGB."""
    linear = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    linear = np.nan_to_num(linear, nan=0.0, posinf=1e4, neginf=0.0).clip(0, 1e4)
    curved = (linear / (linear * 0.35 + 0.85)).clip(0, 1)
    return torch.from_numpy(np.round(255 * curved ** (1 / 2.2)).astype(np.uint8)).to(device)


def display(colour: Tensor) -> Tensor:
    """Linear light in float16, any shape, to what a screen shows, uint8: one look-up, so it cannot vary."""
    return _tones(colour.device)[colour.view(torch.int16).int() & 0xFFFF]
