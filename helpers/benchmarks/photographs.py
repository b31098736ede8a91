"""How good networks are on a folder of photographs of real rooms: masks and depth, clean and as perturbed pairs.

``python -m helpers.benchmarks.photographs FOLDER [--weights RUN ...] [--all]`` scores the course's weights, and those of
each ``RUN`` (a run's folder or a ``.safetensors`` file), at several sizes, beside background subtraction and the mean
depth map. Cats are composed into the rooms of FOLDER (:class:`helpers.photos.PhotosDataset`). Scored are the places and
cats that ``split`` holds out for the test; ``--all`` takes the whole folder, for rooms that nobody trained on.
``--registered`` adds what :func:`helpers.photos.predict_pair` makes of the same pairs; it looks at them in the sizes that
the weights name, and not in their own.
"""

import argparse
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from helpers.benchmarks.summary import machine, positive
from helpers.config import CourseError, plain_errors
from helpers.dataset import cached, sample, split
from helpers.evaluate import MeanDepth, Predictor, network_predictor, subtract_background, test_batches
from helpers.metrics import Meter
from helpers.photos.dataset import PhotosDataset
from helpers.photos.register import predict_pair
from helpers.predict import load, predict, pretrained
from helpers.utils import table

SIZES, COUNT = (64, 96, 128, 192), 600
METRICS = {
    "mask_dice": "mask Dice", "boundary_f_1px": "boundary F-score", "depth_rmse": "depth RMSE",
    "depth_rmse_aligned": "aligned RMSE", "abs_rel": "AbsRel", "delta1": "δ < 1.25",
}  # fmt: skip


def scores(predict: Predictor, dataset: Dataset, seed: int = 0) -> dict[str, dict[str, float]]:
    """:data:`METRICS` of what is predicted for the quartets of ``dataset``, ``"clean"`` and ``"perturbed"``."""
    rows = {}
    for name in ("clean", "perturbed"):
        meter = Meter()
        for batch in test_batches(dataset, perturbed=name == "perturbed", seed=seed):
            meter.update(*predict(batch), batch)
        result = meter.result()
        rows[name] = {title: result[key] for key, title in METRICS.items()}
    return rows


def compare(networks: Mapping[str, nn.Module], parts: Mapping[int, Dataset], mean: MeanDepth | None = None,
            mirrored: bool = False, registered: bool = False) -> dict[str, dict[str, float]]:  # fmt: skip
    """A row of :func:`scores` for each network at each size; the baselines come first where there is a mean map."""
    rows: dict[str, dict[str, float]] = {}
    for size, dataset in parts.items():
        predictors = {"subtraction + mean map": _baseline(mean)} if mean else {}
        predictors |= {name: network_predictor(net, mirrored=mirrored) for name, net in networks.items()}
        if registered:
            predictors |= {f"{name}, registered": pair_predictor(net, mirrored=mirrored) for name, net in networks.items()}
        for name, predictor in predictors.items():
            rows |= {f"{name}, {size} px, {how}": row for how, row in scores(predictor, dataset).items()}
    return rows


def pair_predictor(net: nn.Module, **options) -> Predictor:
    """:func:`predict_pair` for each pair of a batch; one that is refused has no mask, and depth without registration."""

    def of_pair(room: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        pair = [picture.permute(1, 2, 0).numpy() for picture in (room, scene)]
        try:
            with redirect_stdout(io.StringIO()):
                maps = predict_pair(net, *pair, **options)
        except CourseError:
            maps = predict(net, *pair, **options)
            maps["mask"][:] = 0
        return torch.stack([torch.from_numpy(maps[name]) for name in ("mask", "depth")])

    return lambda batch: torch.stack([of_pair(*pair) for pair in zip(batch["bg"], batch["bg_fg"])]).split(1, 1)


def by_name(paths: Sequence[Path]) -> dict[str, nn.Module]:
    """The networks of ``--weights``, each by the name of its file or folder, which is that of its row."""
    names = [path.stem for path in paths]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CourseError(f"Two of the weights are called {twice[0]}, and so would be their rows: rename one.")
    return dict(zip(names, map(load, paths)))


def _baseline(mean: MeanDepth) -> Predictor:
    return lambda batch: (subtract_background(batch["bg"], batch["bg_fg"]), mean.predict(batch))


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.photographs", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs of rooms, and cats")
    parser.add_argument("--weights", nargs="+", default=[], type=Path, metavar="RUN", help="networks beside the course's")
    parser.add_argument("--sizes", nargs="+", default=SIZES, type=positive, help="pixels; default %(default)s")
    parser.add_argument("--count", default=COUNT, type=positive, help="quartets that are scored; default %(default)s")
    parser.add_argument("--all", action="store_true", help="score all rooms: nobody trained on them")
    parser.add_argument("--mirrored", action="store_true", help="predict each pair mirrored, too, and take the mean")
    parser.add_argument("--registered", action="store_true", help="score helpers.photos.predict_pair, too")
    given = parser.parse_args(arguments)
    with plain_errors():
        networks = {"course": pretrained(), **by_name(given.weights)}
        parts = {size: PhotosDataset(given.folder, size) for size in given.sizes}
        mean = None
        if not given.all:
            both = {size: split(dataset) for size, dataset in parts.items()}
            mean = MeanDepth().fit(sample(both[given.sizes[0]][0], given.count))
            parts = {size: test for size, (_, test) in both.items()}
        sets = {size: cached(sample(part, given.count)) for size, part in parts.items()}
        print(table(compare(networks, sets, mean, given.mirrored, given.registered)))
        rooms = len({part.room_of(i) for part in [next(iter(sets.values()))] for i in range(len(part))})
        which = "all" if given.all else "held-out"
        print(f"{len(next(iter(sets.values())))} quartets of {rooms} {which} rooms, seed 0{', mirrored' * given.mirrored}; "
              f"{machine()}")  # fmt: skip


if __name__ == "__main__":
    main()
