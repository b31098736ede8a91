"""Pairs as hands take them: how good is the mask, with and without registration, where the camera has moved?

``python -m helpers.benchmarks.handheld [--weights RUN ...]`` renders each room twice: with the cat, from where mask and
depth are exact, and empty, from a camera that a hand has moved since, so that near things move against far ones
(parallax), which no photograph with a measured mask shows. Beside them stand pairs of the same rooms whose picture
moved as a plane. Both then differ in light, noise, blur and JPEG. No weights of the course were trained on these rooms.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers.augment import HANDHELD, generator_of, perturb
from helpers.benchmarks.photographs import by_name
from helpers.benchmarks.summary import about, keep, machine, markdown_table, positive
from helpers.config import CourseError, plain_errors
from helpers.dataset import Quartet
from helpers.demos.corruptions import corrupt
from helpers.evaluate import subtract_background
from helpers.photos.register import align, predict_pair
from helpers.predict import predict, pretrained
from helpers.rendering.dataset import RoomsDataset, display
from helpers.rendering.primitives import Camera
from helpers.rendering.room_pass import view_room

SEED = 2  # of rooms and cats: the shipped weights were trained on those of 1, the profiles' have 0
SIZES, COUNT, CATS = (128, 256), 100, 2  # pixels; pairs; cats in each room
STEP, TURN = 0.03, math.radians(2)  # metres by which the camera moves, at most, and angle about each of its axes
JPEG = 50  # quality
COLUMNS = "Dice", "refused"
RESULT = "handheld.json"  # in runs/

Masks = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the room and the scene, (H, W, 3) uint8: (H, W) in [0, 1]


def pairs(count: int = COUNT, size: int = SIZES[0], seed: int = SEED, kind: str = "parallax") -> Quartet:
    """``count`` quartets whose ``bg`` a hand took, of half as many rooms; mask and depth are those of ``bg_fg``."""
    dataset = RoomsDataset(size, rooms=-(-count // CATS), cats=count, placements=1, seed=seed)
    batch = dataset.get_batch([((i // CATS) * count + i) * 2 + i % 2 for i in range(count)])  # each cat once
    by = HANDHELD
    if kind == "parallax":
        rooms = [dataset.plan(i // CATS).room for i in range(count)]
        cameras = (moved(room.camera, np.random.default_rng([seed, i])) for i, room in enumerate(rooms))
        views = (view_room(replace(room, camera=camera), size) for room, camera in zip(rooms, cameras))
        batch["bg"] = torch.stack([display(view["colour"]) for view in views])
        by = HANDHELD._replace(shift=0.0, scale=0.0, turn=TURN)  # a camera that rolls turns its picture
    batch = perturb(batch, generator_of(seed), by=by)
    for name in ("bg", "bg_fg"):
        batch[name] = corrupt({**batch, "bg": batch[name]}, "jpeg", JPEG, generator_of(seed))["bg"]
    return batch


def moved(camera: Camera, rng: np.random.Generator) -> Camera:
    """Where a hand that held ``camera`` holds it the next time."""
    way, turn = rng.normal(size=3), rng.uniform(-TURN, TURN, 2)
    step = way / np.linalg.norm(way) * rng.uniform(0, STEP)
    return Camera(tuple(step + camera.position), camera.yaw + turn[0], camera.pitch + turn[1], camera.focal)


def subtraction(room: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Background subtraction of the pair as it is."""
    room, scene = (torch.from_numpy(picture).permute(2, 0, 1)[None] for picture in (room, scene))  # (1, 3, H, W)
    return subtract_background(room, scene)[0, 0].numpy()


def subtraction_registered(room: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """The same after :func:`helpers.photos.register.align`; where the room does not reach there is no cat."""
    aligned = align(room, scene)
    return subtraction(np.where(aligned.seen[..., None], aligned.room, scene), scene)


def methods(networks: Mapping[str, nn.Module]) -> dict[str, Masks]:
    """The rows: subtraction and each network, at the size that its weights name, with and without registration."""
    found: dict[str, Masks] = {"subtraction": subtraction, "subtraction, registered": subtraction_registered}
    for name, net in networks.items():
        found[name] = lambda *pair, net=net: predict(net, *pair)["mask"]
        found[f"{name}, registered"] = lambda *pair, net=net: predict_pair(net, *pair)["mask"]
    return found


def compare(batch: Quartet, rows: Mapping[str, Masks]) -> dict[str, dict[str, float]]:
    """For each row the Dice over the pixels of all pairs, and the share that it refused: those have no mask."""
    target, scores = batch["mask"][:, 0].numpy() > 0.5, {}
    for name, method in rows.items():
        found, refused = np.zeros_like(target), 0
        for i, pair in enumerate(zip(*(batch[key].permute(0, 2, 3, 1).numpy() for key in ("bg", "bg_fg")))):
            try:
                with redirect_stdout(None):  # what predict_pair says to its user
                    found[i] = method(*pair) > 0.5
            except CourseError:
                refused += 1
        dice = 2 * (found & target).sum() / (found.sum() + target.sum())
        scores[name] = dict(zip(COLUMNS, (float(dice), refused / len(target))))
    return scores


def markdown(result: dict) -> str:
    """The table of one result, and a caption that says how it was made."""
    scores, sizes = result["scores"], result["sizes"]  # of each kind, row and size
    rows = [[kind, name, *(f"{row[str(size)][column]:.3f}" for column in COLUMNS for size in sizes)]
            for kind, found in scores.items() for name, row in found.items()]  # fmt: skip
    caption = (
        f"{result['pairs']} quartets of each kind, of {result['rooms']} rooms, seed {SEED}; "
        f"the camera moved by up to {100 * STEP:g} cm; {result['machine']}; {result['date']}."
    )
    titles = (f"{column}, {size} px" for column in COLUMNS for size in sizes)
    return markdown_table(["pairs", "mask", *titles], rows, numbers_from=2) + f"\n\n{caption}"


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.handheld", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", default=[], type=Path, metavar="RUN", help="networks beside ours")
    parser.add_argument("--sizes", nargs="+", default=SIZES, type=positive, help="pixels of the pairs; default %(default)s")
    parser.add_argument("--count", default=COUNT, type=positive, help="pairs of each kind; default %(default)s")
    given = parser.parse_args(arguments)
    with plain_errors():
        networks = {name: pretrained(name) for name in ("rooms", "photographs")}
        looking = methods({**networks, **by_name(given.weights)})
        scores = {kind: {name: {} for name in looking} for kind in ("parallax", "planar")}
        for kind, rows in scores.items():
            for size in given.sizes:
                for name, row in compare(pairs(given.count, size, kind=kind), looking).items():
                    rows[name][str(size)] = row  # as JSON has it
        rooms = -(-given.count // CATS)
        result = about(scores=scores, sizes=list(given.sizes), pairs=given.count, rooms=rooms, machine=machine())
        keep(result, RESULT, markdown(result))


if __name__ == "__main__":
    main()
