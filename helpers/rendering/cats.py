"""Cats: bodies as smooth unions of tapered capsules, baked into distance volumes; and their coats.

A cat's own frame: x forward, y up from the floor, z to its left or right; metres for a cat of scale 1, half a
metre long without the tail. A *capsule* is a segment with a radius at each end. Joining two distances smoothly
(Inigo Quilez, "smooth minimum", the polynomial kind) melts one capsule into the next like clay. The union is
baked once into a grid of distances; looking a distance up there takes the same time however fine the anatomy.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from helpers.rendering.solids import dot
from helpers.rendering.textures import mix, noise, smooth, wave

GRID = (40, 56, 80)  # voxels along z, y and x
_HEAD = 1.14  # cats are recognised by their heads: a little larger than life
_MARGIN = 0.05  # empty space kept around the body inside the grid


class Coat(IntEnum):
    SOLID, TABBY, SPOTTED, SIAMESE, TUXEDO, CALICO = range(6)


@dataclass
class Cat:
    """One cat: its size, its solids and its coat.

    ``capsules`` (N, 8): two ends and two radii. ``traits`` (N, 4) for each capsule: how dark a Siamese is there,
    how white a tuxedo cat, and where along the body or limb its two ends lie (for stripes).
    """

    scale: float
    coat: Coat
    capsules: np.ndarray
    blend: np.ndarray  # (N,) metres over which each capsule melts into those before it
    traits: np.ndarray
    head: np.ndarray  # centre of the skull (3,)
    head_axes: np.ndarray  # rows: nose direction, crown direction, ear-to-ear direction (3, 3)
    colours: np.ndarray  # (3, 3): main, second, third
    eyes: np.ndarray  # iris colour (3,)
    nose: np.ndarray
    phase: float  # offsets the noise of the fur

    @cached_property
    def spheres(self) -> np.ndarray:
        """The body as spheres (Q, 4): centre and radius in the cat's frame at scale 1; for collisions."""
        rows = []
        for ax, ay, az, bx, by, bz, start, end in self.capsules:
            length = math.dist((ax, ay, az), (bx, by, bz))
            for t in np.linspace(0, 1, max(2, math.ceil(length / (0.7 * min(start, end) + 0.01)) + 1)):
                rows.append((ax + (bx - ax) * t, ay + (by - ay) * t, az + (bz - az) * t, start + (end - start) * t))
        return np.array(rows)


class _Capsules:
    """Collects capsules and what lies on them."""

    def __init__(self) -> None:
        self.capsules, self.blend, self.traits = [], [], []

    def add(self, start, end, radius_start, radius_end, blend=0.03, dark=0.0, white=0.0, along=None) -> None:
        """``along``: stripe coordinate at both ends; by default the position along the body."""
        self.capsules.append((*start, *end, radius_start, radius_end))
        self.blend.append(blend)
        self.traits.append((dark, white, *(along or (start[0], end[0]))))

    def limb(self, joints: list[tuple], radii: list[float], white_from: int) -> None:
        """A chain of capsules through ``joints``; stripes run around it; dark and white towards the paw."""
        along, last = 0.0, len(joints) - 2
        for i, (start, end) in enumerate(zip(joints, joints[1:])):
            length = math.dist(start, end)
            dark = 0.9 if i >= last else 0.45 if i == last - 1 else 0.0
            self.add(start, end, radii[i], radii[i + 1], 0.03 if i == 0 else 0.014, dark, float(i >= white_from),
                     (along, along + length))  # fmt: skip
            along += length


def _hind_leg(s: _Capsules, hip: float, height: float, z: float, swing: float) -> None:
    """A leg under a hip at (hip, height, z), its foot ``swing`` metres further forward than at rest."""
    knee, hock = (-0.105 + swing * 0.4, 0.13, z * 1.25), (-0.18 + swing * 0.8, 0.075, z * 1.15)
    heel, toes = (-0.165 + swing, 0.02, z * 1.1), (-0.135 + swing, 0.017, z * 1.1)
    s.limb([(hip, height, z), knee, hock, heel, toes], [0.058, 0.04, 0.021, 0.019, 0.02], 3)


def _standing(s: _Capsules, rng: np.random.Generator, fat: float) -> tuple:
    stride = rng.uniform(-0.06, 0.06)
    s.add((-0.15, 0.222, 0), (-0.02, 0.212, 0), 0.066 * fat, 0.064 * fat)
    s.add((-0.02, 0.212, 0), (0.12, 0.215, 0), 0.064 * fat, 0.07)
    s.add((0.13, 0.205, 0), (0.15, 0.22, 0), 0.055, 0.05, white=1.0)  # chest
    s.add((0.13, 0.235, 0), (0.20, 0.295, 0), 0.058, 0.05)
    for side in (-1, 1):
        z, swing = side * 0.042, side * stride + rng.normal(0, 0.008)
        lift = max(0.0, side * stride) * rng.uniform(0.0, 0.5)
        elbow, wrist = (0.1 + swing * 0.3, 0.12, z * 1.1), (0.112 + swing, 0.04 + lift, z)
        toes = (0.138 + swing, 0.017 + lift, z)
        s.limb([(0.11, 0.20, z), elbow, wrist, toes], [0.046, 0.029, 0.02, 0.02], 2)
        _hind_leg(s, -0.145, 0.205, z, -side * stride + rng.normal(0, 0.008))
    return (0.228, 0.325, 0.0), (-0.205, 0.245, 0.0), rng.uniform(-0.5, 1.25), False


def _sitting(s: _Capsules, rng: np.random.Generator, fat: float) -> tuple:
    s.add((-0.10, 0.08, 0), (-0.03, 0.15, 0), 0.083 * fat, 0.078 * fat)
    s.add((-0.03, 0.15, 0), (0.045, 0.235, 0), 0.078 * fat, 0.062)
    s.add((0.06, 0.2, 0), (0.07, 0.225, 0), 0.052, 0.048, white=1.0)
    s.add((0.05, 0.25, 0), (0.085, 0.315, 0), 0.06, 0.051)
    for side in (-1, 1):
        z = side * 0.036
        front_leg = [(0.05, 0.205, z), (0.062, 0.12, z * 1.15), (0.085, 0.035, z), (0.108, 0.017, z)]
        s.limb(front_leg, [0.044, 0.028, 0.02, 0.02], 2)
        s.limb([(-0.08, 0.085, side * 0.05), (0.0, 0.06, side * 0.075)], [0.066, 0.042], 9)
        s.limb([(-0.03, 0.02, side * 0.078), (0.055, 0.017, side * 0.072)], [0.022, 0.02], 0)
    return (0.108, 0.352, 0.0), (-0.165, 0.035, 0.0), 0.0, True


def _loaf(s: _Capsules, rng: np.random.Generator, fat: float) -> tuple:
    s.add((-0.13, 0.088, 0), (-0.02, 0.092, 0), 0.083 * fat, 0.083 * fat)
    s.add((-0.02, 0.092, 0), (0.10, 0.095, 0), 0.083 * fat, 0.075)
    s.add((0.12, 0.085, 0), (0.15, 0.09, 0), 0.052, 0.048, white=1.0)
    s.add((0.11, 0.125, 0), (0.165, 0.175, 0), 0.064, 0.052)
    reach = rng.uniform(0.18, 0.27)
    for side in (-1, 1):
        z = side * 0.042
        s.limb([(0.09, 0.075, z), (0.12, 0.03, z * 1.15), (reach, 0.018, z * 0.9)], [0.046, 0.026, 0.021], 1)
        s.limb([(-0.1, 0.075, side * 0.055), (-0.01, 0.05, side * 0.078)], [0.066, 0.038], 9)
        s.limb([(-0.05, 0.02, side * 0.08), (0.03, 0.018, side * 0.078)], [0.022, 0.02], 0)
    return (0.195, 0.21, 0.0), (-0.2, 0.045, 0.0), 0.0, True


def _stretching(s: _Capsules, rng: np.random.Generator, fat: float) -> tuple:
    s.add((-0.15, 0.235, 0), (-0.03, 0.185, 0), 0.066 * fat, 0.062 * fat)
    s.add((-0.03, 0.185, 0), (0.11, 0.105, 0), 0.062 * fat, 0.06)
    s.add((0.12, 0.085, 0), (0.14, 0.09, 0), 0.046, 0.044, white=1.0)
    s.add((0.125, 0.115, 0), (0.19, 0.145, 0), 0.055, 0.05)
    for side in (-1, 1):
        z = side * 0.045
        toes = (0.28, 0.017, z)
        s.limb([(0.11, 0.1, z), (0.155, 0.04, z * 1.2), (0.245, 0.022, z), toes], [0.044, 0.028, 0.02, 0.021], 2)
        _hind_leg(s, -0.145, 0.215, z, 0.0)
    return (0.222, 0.165, 0.0), (-0.2, 0.265, 0.0), rng.uniform(0.5, 1.3), False


def _curled(s: _Capsules, rng: np.random.Generator, fat: float) -> tuple:
    """Asleep in a ring: the spine runs around a circle, the head comes to lie near the hips."""
    ring = [(0.115 * math.cos(a), 0.075, 0.115 * math.sin(a)) for a in np.linspace(-2.6, 1.0, 6)]
    for i, (start, end) in enumerate(zip(ring, ring[1:])):
        s.add(start, end, 0.074 * fat, 0.074 * fat if i < 3 else 0.064, along=(0.11 * i, 0.11 * (i + 1)))
    s.add((0.0, 0.06, -0.02), (0.02, 0.06, 0.02), 0.06, 0.06, along=(0.2, 0.24))
    s.add(ring[-1], (-0.02, 0.08, 0.13), 0.058, 0.045, white=1.0)
    s.limb([(0.09, 0.03, 0.06), (0.0, 0.022, 0.05), (-0.05, 0.02, 0.06)], [0.03, 0.022, 0.02], 1)
    s.limb([(-0.05, 0.06, -0.09), (0.0, 0.035, -0.03), (0.03, 0.02, 0.0)], [0.05, 0.03, 0.02], 1)
    return (-0.065, 0.085, 0.13), (-0.13, 0.04, -0.04), 0.0, True


POSES = {"standing": _standing, "sitting": _sitting, "loaf": _loaf, "stretching": _stretching, "curled": _curled}


def _head(s: _Capsules, centre: np.ndarray, axes: np.ndarray, broad: float) -> None:
    """Skull, cheeks, muzzle and ears around ``centre``, turned by ``axes``."""

    def at(nose, crown, ear):
        return tuple(centre + _HEAD * (nose * axes[0] + crown * axes[1] + ear * axes[2]))

    def add(start, end, radius_start, radius_end, blend, dark=0.0, white=0.0):
        # Stripes leave the face alone: their coordinate is constant there.
        s.add(at(*start), at(*end), _HEAD * radius_start, _HEAD * radius_end, blend, dark, white, along=(0.4, 0.4))

    add((0, 0, -0.016), (0, 0, 0.016), 0.048, 0.048, 0.02, 0.25)
    for side in (-1, 1):
        add((0.008, -0.016, side * 0.012), (0.012, -0.018, side * 0.028 * broad), 0.034, 0.028, 0.015, 0.35, 0.3)
        add((0.04, -0.02, side * 0.008), (0.043, -0.021, side * 0.014), 0.0185, 0.017, 0.014, 0.9, 1.0)
    add((0.022, 0.006, 0), (0.05, -0.011, 0), 0.022, 0.0125, 0.016, 0.9, 0.6)
    add((0.03, -0.032, 0), (0.04, -0.034, 0), 0.014, 0.012, 0.012, 0.8, 1.0)
    for side in (-1, 1):
        for ear in (0.015, 0.034, 0.051):  # three ribs make a triangle
            add((-0.008, 0.028, side * ear), (-0.014, 0.088, side * 0.047), 0.0125, 0.004, 0.01, 1.0)


def _tail(s: _Capsules, rng: np.random.Generator, root: tuple, lift: float, lying: bool) -> None:
    """Eight joints: lying ones curl along the floor, the others rise and bend."""
    point, heading = np.array(root), math.pi + rng.uniform(-0.25, 0.25)
    bend = rng.choice([-1, 1]) * rng.uniform(0.1, 0.42)
    climb, curl, along, step = lift, rng.uniform(-0.25, 0.12), 0.0, 0.04
    if lying:
        bend = math.copysign(rng.uniform(0.3, 0.5), bend)
    for i in range(8):
        radius, next_radius = 0.0205 - 0.0009 * i, 0.0205 - 0.0009 * (i + 1)
        flat = math.cos(climb)
        target = point + step * np.array([math.cos(heading) * flat, math.sin(climb), math.sin(heading) * flat])
        target[1] = max(target[1], next_radius)
        blend, tip = 0.025 if i == 0 else 0.008, float(i > 6)
        s.add(tuple(point), tuple(target), radius, next_radius, blend, 0.95, tip, (along, along + step))
        point, along = target, along + step
        climb, heading = (climb, heading + bend) if lying else (climb + curl, heading + bend * 0.3)


_COLOURS = {  # linear light
    "black": (0.018, 0.017, 0.017), "grey": (0.17, 0.175, 0.19), "brown": (0.19, 0.125, 0.075),
    "white": (0.8, 0.77, 0.72), "ginger": (0.55, 0.24, 0.07), "cream": (0.66, 0.53, 0.38),
    "seal": (0.06, 0.038, 0.027), "sand": (0.42, 0.29, 0.16),
}  # fmt: skip
_EYES = ((0.4, 0.5, 0.06), (0.62, 0.36, 0.03), (0.2, 0.42, 0.14), (0.12, 0.3, 0.6))


def _coat_colours(rng: np.random.Generator, coat: Coat) -> np.ndarray:
    """Main, second and third colour (3, 3)."""
    main = {
        Coat.SOLID: ("black", "black", "grey", "white", "ginger", "cream"),
        Coat.TABBY: ("ginger", "ginger", "grey", "brown"),
        Coat.SPOTTED: ("sand", "grey", "ginger"),
        Coat.SIAMESE: ("cream",),
        Coat.TUXEDO: ("black", "grey"),
        Coat.CALICO: ("white",),
    }[coat]
    first = np.array(_COLOURS[main[rng.integers(len(main))]]) * rng.uniform(0.8, 1.2)
    second = {
        Coat.SOLID: first * 0.8,
        Coat.TABBY: first * (0.38 if first[0] > 2 * first[2] and first[0] > 0.4 else 0.22),
        Coat.SPOTTED: first * 0.2,
        Coat.SIAMESE: np.array(_COLOURS["seal"]),
        Coat.TUXEDO: np.array(_COLOURS["white"]),
        Coat.CALICO: np.array(_COLOURS["ginger"]),
    }[coat]
    third = np.array(_COLOURS["black"]) if coat == Coat.CALICO else np.clip(first * 1.6 + 0.08, 0, 0.8)
    return np.stack([first, second, third]).clip(0.012, 0.85)


def draw_cat(rng: np.random.Generator, mirrored: bool = False) -> Cat:
    """A cat drawn from ``rng``; ``mirrored`` swaps its left and right."""
    pose = list(POSES)[rng.choice(len(POSES), p=[0.34, 0.24, 0.17, 0.15, 0.10])]
    coat = Coat(rng.choice(6, p=[0.2, 0.28, 0.14, 0.13, 0.14, 0.11]))
    scale, fat = float(rng.uniform(1.3, 1.75)), rng.uniform(0.9, 1.18)
    s = _Capsules()
    head, root, lift, lying = POSES[pose](s, rng, fat)
    yaw, pitch = rng.uniform(-0.9, 0.9), rng.uniform(-0.25, 0.2)
    if pose == "curled":
        yaw, pitch = math.pi + rng.uniform(-0.4, 0.2), -0.2
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    axes = np.array([
        [cos_yaw * cos_pitch, sin_pitch, -sin_yaw * cos_pitch],
        [-cos_yaw * sin_pitch, cos_pitch, sin_yaw * sin_pitch],
        [sin_yaw, 0.0, cos_yaw],
    ])  # fmt: skip
    head = np.array(head)
    _head(s, head, axes, rng.uniform(0.9, 1.2))
    _tail(s, rng, root, lift, lying)
    capsules = np.array(s.capsules)
    lowest = min((capsules[:, 1] - capsules[:, 6]).min(), (capsules[:, 4] - capsules[:, 7]).min())
    capsules[:, [1, 4]] -= lowest  # paws and belly just touch the floor
    head[1] -= lowest
    if mirrored:
        capsules[:, [2, 5]] *= -1
        head, axes = head * (1, 1, -1), axes * (1, 1, -1)
    eyes = np.array(_EYES[3 if coat == Coat.SIAMESE else rng.integers(0, 3)])
    nose = np.array((0.5, 0.2, 0.17)) if rng.random() < 0.6 else np.array((0.05, 0.03, 0.03))
    return Cat(scale, coat, capsules, np.array(s.blend), np.array(s.traits), head, axes, _coat_colours(rng, coat),
               eyes, nose, float(rng.random()))  # fmt: skip


def distance(cat: Cat, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance (R,) of points (3, R) to the body, and its traits there (3, R): dark, white, along."""
    x, y, z = points.astype(np.float32)
    total, dark, white, stripe = np.full_like(x, 10.0), np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for capsule, blend, trait in zip(cat.capsules.tolist(), cat.blend.tolist(), cat.traits.tolist()):
        from_x, from_y, from_z = x - capsule[0], y - capsule[1], z - capsule[2]
        axis = [capsule[3 + i] - capsule[i] for i in range(3)]
        along = (from_x * axis[0] + from_y * axis[1] + from_z * axis[2]) * (1 / sum(a * a for a in axis))
        np.clip(along, 0, 1, out=along)
        for offset, slope in zip((from_x, from_y, from_z), axis):
            offset -= along * slope
        here = np.sqrt(from_x * from_x + from_y * from_y + from_z * from_z)
        here -= capsule[6] + (capsule[7] - capsule[6]) * along
        share = np.clip(0.5 + (total - here) * (0.5 / blend), 0, 1)  # 1 where the new capsule wins
        total += (here - total) * share - blend * share * (1 - share)
        dark += (trait[0] - dark) * share
        white += (trait[1] - white) * share
        stripe += (trait[2] + (trait[3] - trait[2]) * along - stripe) * share
    return total, np.stack([dark, white, stripe])


class Volume:
    """A cat's distances on a grid of voxels that just holds it, for ``torch.nn.functional.grid_sample``.

    ``distances`` (1, *GRID) and ``traits`` (3, *GRID / 2) are float32; ``low`` and ``high`` (3,) are the corners.
    """

    def __init__(self, cat: Cat, device: torch.device | str = "cpu"):
        ends = np.concatenate([cat.capsules[:, :3], cat.capsules[:, 3:6]])
        radii = np.concatenate([cat.capsules[:, 6], cat.capsules[:, 7]])[:, None]
        self.low, self.high = (ends - radii).min(0) - _MARGIN, (ends + radii).max(0) + _MARGIN
        coarse = tuple(n // 2 for n in GRID)
        coarse_distance, traits = distance(cat, self._points(coarse))
        whole = torch.from_numpy(coarse_distance).reshape(1, 1, *coarse)
        # Far from the skin half the resolution is plenty; near it every voxel is computed.
        fine = torch.nn.functional.interpolate(whole, GRID, mode="trilinear", align_corners=True)[0].numpy()
        voxel = float(((self.high - self.low) / (np.array(GRID[::-1]) - 1)).max())
        near = np.abs(fine.ravel()) < 2.5 * voxel
        fine.ravel()[near] = distance(cat, self._points(GRID)[:, near])[0]
        self.distances = torch.from_numpy(fine).to(device)
        self.traits = torch.from_numpy(traits).reshape(3, *coarse).to(device)

    def _points(self, grid: tuple[int, int, int]) -> np.ndarray:
        """Where the voxels of a grid lie (3, R): x changes fastest."""
        z, y, x = (np.linspace(self.low[i], self.high[i], n) for i, n in zip((2, 1, 0), grid))
        mesh = np.meshgrid(z, y, x, indexing="ij")
        return np.stack([axis.ravel() for axis in mesh[::-1]])


class Looks:
    """What paints the coats of B cats, as tensors: ``colours`` and ``head_axes`` (3, 3, B, 1), vectors (3, B, 1)."""

    def __init__(self, cats: list[Cat], device: torch.device):
        def gather(name: str) -> Tensor:
            stacked = np.stack([np.asarray(getattr(cat, name), np.float32) for cat in cats], -1)
            return torch.from_numpy(stacked)[..., None].to(device)

        self.coats = [cat.coat for cat in cats]
        self.colours, self.eyes, self.nose = gather("colours"), gather("eyes"), gather("nose")
        self.head, self.head_axes, self.phase = gather("head"), gather("head_axes"), gather("phase")


def fur(looks: Looks, points: Tensor, traits: Tensor) -> Tensor:
    """Albedo (3, B, R) of points (3, B, R) in the cats' frames with their traits (3, B, R)."""
    x, y, z = points
    phase = looks.phase
    warp = noise(x * 0.5 + z * 0.35 + phase, y * 0.5 - z * 0.2 + phase)
    main, second, third = looks.colours  # (3, B, 1) each
    belly = smooth((0.075 - y) * 9) * 0.35
    patterns = {
        Coat.SOLID: lambda: mix(main, second, warp),
        Coat.TABBY: lambda: _striped(main, second, third, traits, warp, belly),
        Coat.SPOTTED: lambda: _spotted(main, second, third, points, phase, belly),
        Coat.SIAMESE: lambda: mix(main, second, smooth(traits[0] * 1.5 - 0.3)),
        Coat.TUXEDO: lambda: mix(main, second, smooth((traits[1] + 0.5 * (warp - 0.5)) * 6 - 2.5)),
        Coat.CALICO: lambda: _patched(main, second, third, warp, points, phase),
    }
    albedo = torch.zeros_like(points)
    for coat in sorted(set(looks.coats)):
        of_coat = torch.tensor([c == coat for c in looks.coats], device=x.device)[:, None]
        albedo = torch.where(of_coat, patterns[coat](), albedo)
    hair = noise(x * 1.6 + z * 0.7, y * 3.1 - z * 2.3 + phase)
    return _face(looks, points, albedo * (0.72 + 0.56 * hair))


def _striped(main, second, third, traits, warp, belly):
    stripes = smooth(wave(traits[2] * 21 + warp * 0.9) * 3.2 - 1.3)
    return mix(mix(main, third, belly), second, stripes * (0.9 - belly))


def _spotted(main, second, third, points, phase, belly):
    x, y, z = points
    spots = noise(x * 3.1 + z * 0.8 + phase, y * 3.1 - z * 1.1)
    return mix(mix(main, third, belly), second, smooth(spots * 12 - 6.2) * (0.95 - belly))


def _patched(main, second, third, warp, points, phase):
    x, y, z = points
    other = noise(x * 0.55 - z * 0.4 + phase + 0.4, y * 0.45 + z * 0.3)
    high = smooth((y - 0.05) * 14)  # white paws and belly
    coat = mix(main, second, smooth(warp * 30 - 14.5) * high)
    return mix(coat, third, smooth(other * 30 - 15.5) * high)


def _face(looks: Looks, points: Tensor, albedo: Tensor) -> Tensor:
    """Eyes with slit pupils, a nose, a mouth line and pink inside the ears."""
    offset = (points - looks.head) * (1 / _HEAD)
    nose, crown, ear = (dot(offset, axis) for axis in looks.head_axes)
    beside = ear.abs()
    front = nose > 0.014

    def oval(across: Tensor, up: Tensor, half_across: float, half_up: float) -> Tensor:
        across, up = across * (1 / half_across), up * (1 / half_up)
        return across * across + up * up

    eye = oval(beside - 0.0245, crown - 0.0115 - 0.25 * (beside - 0.0245), 0.0135, 0.0115)
    pupil = oval(beside - 0.0245, crown - 0.0115, 0.0042, 0.0105)
    glint = oval(ear - 0.028 * torch.where(ear > 0, 1.0, -0.8), crown - 0.0155, 0.003, 0.003)
    tip = oval(ear, crown + 0.006, 0.0085, 0.0062)
    mouth = (ear.abs() < 0.0016) & (crown < -0.011) & (crown > -0.026)
    inner = (oval(beside - 0.037, (crown - 0.055), 0.011, 0.026) < 1) & (nose > -0.014)
    black = torch.full_like(albedo, 0.01)
    pink = torch.tensor((0.54, 0.29, 0.27), device=albedo.device)[:, None, None]
    albedo = torch.where(inner, mix(albedo, pink, torch.full_like(ear, 0.55)), albedo)
    albedo = torch.where(front & (eye < 1.35), black, albedo)
    albedo = torch.where(front & (eye < 1), looks.eyes.expand_as(albedo), albedo)
    albedo = torch.where(front & (pupil < 1), black, albedo)
    albedo = torch.where(front & (glint < 1), torch.full_like(albedo, 0.9), albedo)
    albedo = torch.where((nose > 0.04) & (tip < 1), looks.nose.expand_as(albedo), albedo)
    return torch.where((nose > 0.04) & mouth, albedo * 0.35, albedo)
