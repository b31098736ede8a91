"""One line about one run, to be laid beside the table of results: the capstone of notebook 07.

``python -m helpers.benchmarks.score RUN`` scores the weights of a run's folder (or a ``.safetensors`` file) on the test
set of ``COURSE_DATA`` and ``COURSE_PROFILE``, and says whether the run kept to the :func:`budget`.
"""

import argparse
import json
import math
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import nn
from torch.utils.data import Dataset

from helpers.config import plain_errors, profile
from helpers.evaluate import evaluate
from helpers.model import count_parameters
from helpers.predict import load
from helpers.recipes import recipe
from helpers.session import sets

PARAMETERS = 5_300_000  # the published network has 5,230,720
MINUTES = 10  # of training: about twice what the course's recipe takes on two cores in profile quick
UNKNOWN = math.nan


class Budget(NamedTuple):
    """The most that a run may use."""

    samples: int  # training quartets seen, repeats counted
    parameters: int
    seconds: float  # of training, without evaluation


class Line(NamedTuple):
    """What a run used and what it reached on the test set; NaN where nobody knows. As text it is one line."""

    network: str
    parameters: int
    samples: float
    seconds: float
    mask_dice: float
    perturbed_mask_dice: float
    depth_rmse: float
    verdict: str

    def __str__(self) -> str:
        def known(value: float, form: str, unit: str = "") -> str:
            return "unknown" if math.isnan(value) else f"{value:{form}}{unit}"

        return " | ".join([
            self.network, f"{self.parameters / 1e6:.2f} M parameters", f"samples {known(self.samples, ',.0f')}",
            f"training {known(self.seconds, '.0f', ' s')}", f"test mask Dice {known(self.mask_dice, '.3f')}",
            f"perturbed {known(self.perturbed_mask_dice, '.3f')}", f"depth RMSE {known(self.depth_rmse, '.3f')}", self.verdict,
        ])  # fmt: skip


def budget() -> Budget:
    """The budget in this profile: as many samples as the course's recipe sees, and :data:`PARAMETERS` and :data:`MINUTES`."""
    p = profile()
    return Budget(p.train_samples * sum(stage.epochs for stage in recipe("course").stages), PARAMETERS, 60 * MINUTES)


def verdict(parameters: int, samples: float, seconds: float) -> str:
    """``within budget``, or what is over it, or what nobody knows."""
    used, most = Budget(samples, parameters, seconds), budget()
    if over := [name for name, value, limit in zip(Budget._fields, used, most) if value > limit]:
        return f"over budget: {', '.join(over)}"
    unknown = [name for name, value in zip(Budget._fields, used) if math.isnan(value)]
    return f"budget not checked: {', '.join(unknown)} unknown" if unknown else "within budget"


def score_run(path: str | Path, test_set: Dataset | None = None, net: nn.Module | None = None) -> Line:
    """Score the run in ``path``, a folder or a ``.safetensors`` file, on ``test_set`` (default ``sets("test")``).

    A network of your own class is handed in as ``net``, and gets the run's weights. Samples and seconds are those that
    the weights carry from the end of their last epoch. What the network had been trained on before, if the run did not
    start from nothing, they do not say.

    Raises:
        CourseError: there is no run, or its weights cannot be read (see :func:`helpers.predict.load`).
    """
    path = Path(path)
    net = load(path, net).to("cuda" if torch.cuda.is_available() else "cpu")
    with safe_open(path / "weights.safetensors" if path.is_dir() else path, "pt") as stream:
        used = json.loads((stream.metadata() or {}).get("metrics", "{}"))
    test_set = sets("test")[0] if test_set is None else test_set
    clean, perturbed = evaluate(net, test_set), evaluate(net, test_set, perturbed=True)
    cost = count_parameters(net), float(used.get("samples", UNKNOWN)), float(used.get("seconds", UNKNOWN))
    scores = clean["mask_dice"], perturbed["mask_dice"], clean.get("depth_rmse", UNKNOWN)
    return Line(type(net).__name__, *cost, *scores, verdict(*cost))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.score", description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", help="a run's folder, such as runs/rooms-quick-course")
    with plain_errors():
        print(score_run(parser.parse_args(arguments).run))


if __name__ == "__main__":
    main()
