"""The weights that come with the course: how they were made, and how good they are.

``python -m helpers.upkeep.publish_weights train`` trains DuoNet on rendered rooms alone, longer than a notebook does.
Its rooms and cats have another seed than the profiles', so that every quartet of the course is new to these weights.
``... train --photos FOLDER`` goes on from there: of its quartets three in four show rooms of FOLDER, and one a rendered
room. Both resume if they were interrupted. ``... publish [--photos FOLDER]`` scores the network and writes
``helpers/weights/``: the weights in 16 bits, which :func:`helpers.predict.pretrained` loads, and their part of the card.
``... probe --photos FOLDER`` then fits :mod:`helpers.photos.probe` to what the weights for photographs have seen.
"""

import argparse
import dataclasses
import json
import textwrap
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from helpers.augment import generator_of, perturb
from helpers.benchmarks.mixture import Mixture
from helpers.benchmarks.photographs import compare
from helpers.benchmarks.report import parts
from helpers.benchmarks.summary import machine
from helpers.callbacks import standard
from helpers.checkpoints import save_tensors
from helpers.config import CourseError, plain_errors, runs_dir
from helpers.dataset import cached, get_batch, sample, split
from helpers.model import build, count_parameters
from helpers.photos import probe
from helpers.photos.dataset import PhotosDataset
from helpers.predict import WEIGHTS, load, pretrained
from helpers.recipes import Recipe, Stage, recipe
from helpers.rendering.dataset import RoomsDataset
from helpers.train import is_finished, train
from helpers.utils import sha256_of, table, whole_file, write_json

CARD = WEIGHTS["rooms"].with_name("README.md")
NETWORK = "DuoNet"
SEED = 1  # of the rooms and cats; the profiles' have seed 0
SIZE, ROOMS, CATS, PLACEMENTS = 128, 6000, 400, 2
TRAIN_SAMPLES, TEST_SAMPLES = 24_000, 400
PHOTO_SAMPLES, RENDERED_SAMPLES = 6000, 2000  # of a training on photographs
TEST_SIZES = (64, 96, 128, 192)
PROBED = 800  # quartets each, real and rendered
AUGMENT = {"perturbed": 0.5, "crop": 0.35, "cropped": 0.5, "colour": 0.4}  # photographs vary more than the course's sets


def plan(data: str = "rooms") -> Recipe:
    """The course's recipe, longer, with stronger changes of colour and crop; on photographs, large and small in turn."""
    if data == "rooms":
        stages = (Stage(48, 32, 2), Stage(64, 32, 2), Stage(96, 32, 1), Stage(128, 32, 1))
        return recipe("course", "quick", stages=stages, augment=AUGMENT, depth_size=96)
    stages = tuple(Stage(size, 32, 1) for size in (64, 96, 128, 192, 96))
    return recipe("fine-tune", "quick", stages=stages, augment=AUGMENT, depth_size=96, learning_rate=8e-3)


def training_sets(photos: Path | None = None) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is only watched: no room, place or cat is in both, and none in a profile's data."""
    rendered = split(RoomsDataset(SIZE, ROOMS, CATS, PLACEMENTS, seed=SEED), test=0.1)
    if not photos:
        return tuple(cached(sample(part, n)) for part, n in zip(rendered, (TRAIN_SAMPLES, TEST_SAMPLES)))
    real, watched, _ = split(PhotosDataset(photos, SIZE), validation=0.05)  # the test part is scored when published
    mixed = Mixture(SIZE, sample(real, PHOTO_SAMPLES), cached(sample(rendered[0], RENDERED_SAMPLES)))
    return mixed, cached(sample(watched, TEST_SAMPLES))


def best_size(net: nn.Module, watched: Mapping[int, Dataset]) -> tuple[int, str]:
    """At which size masks are best, on the mean of clean and perturbed pairs that were only watched, and the scores."""
    rows = compare({"": net}, watched)
    dice = {size: [rows[f", {size} px, {how}"]["mask Dice"] for how in ("clean", "perturbed")] for size in watched}
    scores = ", ".join(f"{size} px {clean:.3f} and {perturbed:.3f}" for size, (clean, perturbed) in dice.items())
    return max(dice, key=lambda size: sum(dice[size])), scores


def publish(run: Path, photos: Path | None = None) -> str:
    """Score the finished ``run``, which was trained on ``photos`` if given, write weights and card; the card's text."""
    data = "photographs" if photos else "rooms"
    if not (run / "facts.json").is_file() or not is_finished(run, plan(data)):
        raise CourseError(
            f"{run.name}/ holds no finished training: run `python -m helpers.upkeep.publish_weights train` first."
        )
    net, about, facts = load(run), {}, json.loads((run / "facts.json").read_text())
    small = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    if photos:  # whose last stage is that of the depth; the other weights' is their largest
        watched = {size: split(PhotosDataset(photos, size), validation=0.05)[1] for size in TEST_SIZES}
        size, scores = best_size(net, {size: cached(sample(x, TEST_SAMPLES)) for size, x in watched.items()})
        about["size"] = str(size)
        facts["masks"] = (
            f"\nMasks are looked at in {size} pixels, where those of the watched quartets are best, by the mean Dice of clean\n"
            f"and perturbed pairs ({scores}).\n"
        )
    about |= {"network": NETWORK, "recipe": json.dumps(dataclasses.asdict(plan(data)))}
    save_tensors(WEIGHTS[data], small, about)
    networks = {name: pretrained(name) for name in dict.fromkeys((data, "rooms"))}  # as they are shipped: 16 bits
    sources = {size: RoomsDataset(size, seed=0) for size in TEST_SIZES}
    if photos:
        sources = {size: PhotosDataset(photos, size) for size in TEST_SIZES}
    rows = compare(networks, {size: cached(sample(split(x)[1], TEST_SAMPLES)) for size, x in sources.items()})
    return write_part(data, card(data, rows, facts))


def publish_probe(photos: Path) -> str:
    """Fit which of two pictures shows the cat to pairs that these weights have seen; see how often it is right."""
    rendered = split(RoomsDataset(probe.SIZE, ROOMS, CATS, PLACEMENTS, seed=SEED), test=0.1)
    real, watched, _ = split(PhotosDataset(photos, probe.SIZE), validation=0.05)
    net = pretrained("photographs")

    def differences(part: Dataset, count: int) -> torch.Tensor:
        """Of ``count`` quartets, clean and perturbed: (2 * count, C)."""
        chosen = sample(part, count)
        batches = (get_batch(chosen, range(i, min(i + 50, len(chosen)))) for i in range(0, len(chosen), 50))
        pairs = ((batch, perturb(batch, generator_of(number))) for number, batch in enumerate(batches))
        return torch.cat([probe.differences(net, batch) for pair in pairs for batch in pair])

    weights = probe.fit(torch.cat([differences(part, PROBED) for part in (real, rendered[0])]))
    write_json(probe.FILE, {"weights": weights.tolist(), "of": sha256_of(WEIGHTS["photographs"])})
    right = [(differences(part, TEST_SAMPLES) @ weights > 0).float().mean() for part in (watched, rendered[1])]
    words = (
        f"`{probe.FILE.name}` holds {len(weights)} numbers, which `helpers.photos.probe` explains: it tells which of two "
        f"pictures shows the cat. They were fitted to {2 * PROBED:,} quartets that these weights have seen, half of them "
        "rendered, clean and perturbed, by `python -m helpers.upkeep.publish_weights probe --photos FOLDER`. Of quartets "
        f"that were only watched they are right, given the mask, in {right[0]:.1%} on photographs and {right[1]:.1%} in rendered rooms."
    )
    return write_part("probe", f"\n{textwrap.fill(words, 110)}\n\n")


def write_part(name: str, words: str) -> str:
    """Put ``words`` into their part of the card; the card's text."""
    before, _, after = parts(CARD.read_text(encoding="utf-8"), name)
    with whole_file(CARD) as path:
        path.write_text(text := f"{before}\n{words}{after}", encoding="utf-8")
    return text


def card(data: str, rows: dict[str, dict[str, float]], facts: dict) -> str:
    """What the model card says of this run, in Markdown; what it does and its limits stand on the page itself."""
    used = plan(data)
    stages = ", ".join(f"{stage.epochs} x {stage.size} px" for stage in used.stages)
    magnitudes = ", ".join(f"{name} {value:g}" for name, value in used.augment.items())
    return f"""
`{WEIGHTS[data].name}` holds the {count_parameters(build(NETWORK)):,} parameters of `helpers.model.{NETWORK}` in 16 bits
({WEIGHTS[data].stat().st_size / 1e6:.1f} MB): `helpers.predict.pretrained("{data}")`. This part was written by
`python -m helpers.upkeep.publish_weights publish{" --photos FOLDER" * (data == "photographs")}`.

**Data.** {textwrap.fill(facts["data"], 110)}

**Recipe.** `helpers.upkeep.publish_weights.plan("{data}")`: {facts["samples"]:,} samples, epochs by size {stages},
in batches of {used.stages[0].batch}; {used.optimizer.capitalize()}, one cycle up to {used.learning_rate:g};
augmentation {magnitudes}; seed {used.seed}. Depth is looked at in {used.depth_size} pixels.
{facts.get("masks", "")}
**Hardware and time.** {facts["machine"]}, {facts["seconds"] / 60:.0f} minutes of training
({facts["cpu_seconds"] / 60:.0f} processor minutes), {facts["date"]}.

{TEST_SAMPLES} test quartets each, of rooms, places and cats that it was not trained on; *perturbed*: the camera has
moved, the exposure has changed, and there is noise. Nothing was chosen by these numbers.
{"Rows are named after the weights: those for rooms stand beside." * (data == "photographs")}

```
{table(rows)}
```

"""


def _about(photos: Path | None, train_set: Dataset) -> str:
    """The card's words on the data."""
    if not photos:
        return (
            f"{len(train_set):,} quartets of {ROOMS} rendered rooms and {CATS} rendered cats (`RoomsDataset`, seed {SEED}; "
            "a tenth of both was held out and only watched). No photograph."
        )
    return (
        f"{PHOTO_SAMPLES:,} quartets of cut-out cats composed into photographs of real rooms, and {RENDERED_SAMPLES:,} of "
        "the rendered rooms that the other weights saw, from whose end it went on. Three tenths of the places and of the "
        "cats were held out for the test below, one twentieth was only watched."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.upkeep.publish_weights")
    parser.add_argument("command", choices=("train", "publish", "probe"), help="train, or resume; score it, write helpers/weights/; fit the probe")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="of the weights for photographs, trained on these")
    arguments = parser.parse_args()
    photos, run = arguments.photos, runs_dir() / ("pretrained-photographs" if arguments.photos else "pretrained")
    with plain_errors():
        if arguments.command == "probe":
            if not photos:
                raise CourseError("The probe is fitted to photographs: add --photos FOLDER.")
            print(publish_probe(photos))
            return
        if arguments.command == "publish":
            print(publish(run, photos))
            return
        train_set, watched = training_sets(photos)
        net, recipe = (pretrained(), plan("photographs")) if photos else (build(NETWORK), plan())
        last = train(net, train_set, watched, recipe, run, standard())[-1]
        facts = {"data": _about(photos, train_set), "machine": machine(), "date": date.today().isoformat()}
        write_json(run / "facts.json", facts | {key: last[key] for key in ("samples", "seconds", "cpu_seconds")})


if __name__ == "__main__":
    main()
