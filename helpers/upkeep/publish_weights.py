"""The weights that come with the course: how they were made, and how good they are.

``python -m helpers.upkeep.publish_weights train`` trains DuoNet on rendered rooms alone, longer than a notebook does,
and resumes if it was interrupted. Its rooms and cats have another seed than the profiles', so that every quartet of the
course is new to these weights. ``... publish [--photos FOLDER]`` scores the network and writes ``helpers/weights/``:
the weights in 16 bits, which :func:`helpers.predict.pretrained` loads, and a model card.
"""

import argparse
import dataclasses
import json
from datetime import date
from pathlib import Path

from helpers.benchmarks.report import parts
from helpers.callbacks import standard
from helpers.checkpoints import save_tensors
from helpers.config import CourseError, plain_errors, runs_dir
from helpers.dataset import cached, sample, split
from helpers.evaluate import evaluate
from helpers.model import build, count_parameters
from helpers.photos.dataset import PhotosDataset
from helpers.predict import WEIGHTS, load, pretrained
from helpers.recipes import Recipe, Stage, recipe
from helpers.rendering.dataset import RoomsDataset
from helpers.train import is_finished, train
from helpers.utils import machine, table, whole_file, write_json

CARD = WEIGHTS.with_name("README.md")
NETWORK = "DuoNet"
SEED = 1  # of the rooms and cats; the profiles' have seed 0
SIZE, ROOMS, CATS, PLACEMENTS = 128, 6000, 400, 2
TRAIN_SAMPLES, TEST_SAMPLES = 24_000, 400
TEST_SIZES = (64, 96, 128, 192)
METRICS = {
    "mask_dice": "mask Dice", "mask_iou": "mask IoU", "boundary_f_1px": "boundary F-score 1 px", "depth_mae": "depth MAE",
    "depth_rmse": "depth RMSE", "abs_rel": "AbsRel", "delta1": "δ < 1.25",
}  # fmt: skip


def plan() -> Recipe:
    """The course's recipe, longer, with stronger changes of colour and crop: photographs vary more."""
    return recipe(
        "course", "quick", stages=(Stage(48, 32, 2), Stage(64, 32, 2), Stage(96, 32, 1), Stage(128, 32, 1)),
        augment={"perturbed": 0.5, "crop": 0.35, "cropped": 0.5, "colour": 0.4},
    )  # fmt: skip


def publish(run: Path, photos: Path | None = None) -> str:
    """Score the finished ``run``, also on the folder ``photos``, write weights and card; returns the card's text."""
    if not is_finished(run, plan()):
        raise CourseError(
            f"{run.name}/ holds no finished training: run `python -m helpers.upkeep.publish_weights train` first."
        )
    tensors = load(run).state_dict().items()
    small = {name: value.half() if value.is_floating_point() else value for name, value in tensors}
    save_tensors(WEIGHTS, small, {"network": NETWORK, "recipe": json.dumps(dataclasses.asdict(plan()))})
    net = pretrained()  # what is scored is what is shipped: 16 bits
    sources = {f"rooms, {size} px": RoomsDataset(size, seed=0) for size in TEST_SIZES}
    if photos:
        sources |= {f"photographs, {size} px": PhotosDataset(photos, size) for size in TEST_SIZES}
    rows = {}
    for name, dataset in sources.items():
        test_set = cached(sample(split(dataset)[1], TEST_SAMPLES))
        for row, perturbed in ((name, False), (f"{name}, perturbed", True)):
            scores = evaluate(net, test_set, perturbed=perturbed)
            rows[row] = {title: scores[key] for key, title in METRICS.items() if key in scores}
    before, _, after = parts(CARD.read_text(encoding="utf-8"), "card")
    text = f"{before}\n{card(rows, json.loads((run / 'facts.json').read_text()))}{after}"
    with whole_file(CARD) as path:
        path.write_text(text, encoding="utf-8")
    return text


def card(rows: dict[str, dict[str, float]], facts: dict) -> str:
    """What the model card says of this run, in Markdown; what it does and its limits stand on the page itself."""
    used = plan()
    stages = ", ".join(f"{stage.epochs} x {stage.size} px" for stage in used.stages)
    magnitudes = ", ".join(f"{name} {value:g}" for name, value in used.augment.items())
    return f"""
`{WEIGHTS.name}` holds the {count_parameters(build(NETWORK)):,} parameters of `helpers.model.{NETWORK}` in 16 bits
({WEIGHTS.stat().st_size / 1e6:.1f} MB). The notebooks load it when there is no network of your own yet:
`helpers.predict.pretrained()`. This part was written by `python -m helpers.upkeep.publish_weights publish`.

**Data.** {facts["train_quartets"]:,} quartets of {ROOMS} rendered rooms and {CATS} rendered cats
(`RoomsDataset`, seed {SEED}; a tenth of both was held out and only watched). No photograph. The rooms and cats of the
profiles have another seed: all of them are new to it.

**Recipe.** `helpers.upkeep.publish_weights.plan()`: {facts["samples"]:,} samples, epochs by size {stages},
in batches of {used.stages[0].batch}; {used.optimizer.capitalize()}, one cycle up to {used.learning_rate:g};
augmentation {magnitudes}; seed {used.seed}.

**Hardware and time.** {facts["machine"]}, {facts["seconds"] / 60:.0f} minutes of training
({facts["cpu_seconds"] / 60:.0f} processor minutes), {facts["date"]}.

## How good it is

{TEST_SAMPLES} test quartets each; *perturbed*: the camera has moved, the exposure has changed, and there is noise. No
photograph was trained on, and nothing was chosen by these numbers. The magnitudes of the augmentation come from an
earlier comparison on other photographs, of which no record is kept.

```
{table(rows)}
```

"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.upkeep.publish_weights")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("train", help="train, or resume")
    final = commands.add_parser("publish", help="score it and write helpers/weights/")
    final.add_argument("--photos", type=Path, help="a folder of photographs to score it on")
    arguments, run = parser.parse_args(), runs_dir() / "pretrained"
    with plain_errors():
        if arguments.command == "publish":
            print(publish(run, arguments.photos))
            return
        # No room and no cat is in both sets, and none is in any profile's data.
        parts = split(RoomsDataset(SIZE, ROOMS, CATS, PLACEMENTS, seed=SEED), test=0.1)
        train_set, watched = (cached(sample(part, n)) for part, n in zip(parts, (TRAIN_SAMPLES, TEST_SAMPLES)))
        last = train(build(NETWORK), train_set, watched, plan(), run, standard())[-1]
        facts = {"train_quartets": len(train_set), "machine": machine(), "date": date.today().isoformat()}
        write_json(run / "facts.json", facts | {key: last[key] for key in ("samples", "seconds", "cpu_seconds")})


if __name__ == "__main__":
    main()
