"""What decides a training run, except the network and the data: the published recipe, the course's two, and their sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from helpers.config import CourseError, profile
from helpers.losses import CourseLoss, PublishedLoss


@dataclass(frozen=True)
class Stage:
    """``epochs`` passes over the training set at ``size`` pixels in batches of ``batch``."""

    size: int
    batch: int
    epochs: int


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, except the network and the data.

    ``schedule`` is "step" (times 0.01 after each epoch, anew in each stage, as published) or "one-cycle" (one line up
    and one down over all stages; Smith, 2018). ``optimizer`` is "sgd", "adamw" or "muon" (:mod:`helpers.muon`).
    ``precision`` is "fp32", "bf16", "fp16" or "auto": the fastest that the device has in hardware. ``augment`` holds the
    arguments of :class:`helpers.augment.Augment`, or None.
    """

    name: str
    stages: tuple[Stage, ...]
    loss: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    precision: str
    channels_last: bool
    augment: dict[str, float] | None
    depth_readout: str
    seed: int = 0

    def __post_init__(self) -> None:
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise CourseError(f"{field}={getattr(self, field)!r}: choose {' or '.join(map(repr, known))}.")


LOSSES: dict[str, Callable[[], nn.Module]] = {"course": CourseLoss, "published": PublishedLoss}
CHOICES = {
    "loss": LOSSES,
    "optimizer": ("sgd", "adamw", "muon"),
    "schedule": ("step", "one-cycle"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "depth_readout": ("sigmoid", "clamp"),
}

# Sizes and epochs for each profile. "full" is the published schedule; "quick" runs it in miniature.
STAGES = {
    "tiny": (Stage(32, 16, 1), Stage(48, 16, 1)),
    "quick": (Stage(32, 32, 1), Stage(48, 32, 1), Stage(64, 32, 2)),
    "standard": (Stage(64, 128, 1), Stage(112, 64, 1), Stage(192, 32, 1)),
    "full": (Stage(64, 512, 3), Stage(112, 128, 3), Stage(192, 32, 2)),
}


def recipe(name: str, profile_name: str | None = None, **changes) -> Recipe:
    """The recipe ``"published"`` (faults included), ``"course"`` or ``"fine-tune"``, at the size of a profile.

    "fine-tune" is the course's for a network that has been trained before, on other data: its steps are shorter, so that
    the network keeps what it knows. ``python -m helpers.ablation --choices fine-tune fine-tune-fast fine-tune-slow`` with
    ``COURSE_DATA=FOLDER`` measures its rate on photographs.

    Args:
        name: which.
        profile_name: "quick", "standard", "full", or None for the profile in force.
        **changes: fields of :class:`Recipe` to replace, for experiments: ``recipe("course", learning_rate=1e-3)``.
    """
    stages = STAGES[profile(profile_name).name]
    if name == "published":
        base = Recipe(
            name, stages, loss="published", optimizer="sgd", learning_rate=0.01, weight_decay=1e-5, schedule="step",
            precision="fp32", channels_last=False, augment=None, depth_readout="clamp",
        )  # fmt: skip
    elif name in ("course", "fine-tune"):
        base = Recipe(
            name, stages, loss="course", optimizer="muon", learning_rate=1.2e-2 if name == "course" else 4e-3, weight_decay=0.02,
            schedule="one-cycle", precision="auto", channels_last=True, augment={"disturbed": 0.35, "crop": 0.2, "cropped": 0.25, "colour": 0.1},
            depth_readout="sigmoid",
        )  # fmt: skip
    else:
        raise CourseError(f"There is no recipe {name!r}: choose 'published', 'course' or 'fine-tune'.")
    unknown = set(changes) - {field.name for field in dataclasses.fields(Recipe)}
    if unknown:
        raise CourseError(f"A recipe has no field {', '.join(sorted(unknown))}.")
    return dataclasses.replace(base, **changes)


def learning_rate(recipe: Recipe, done: float, epoch: int) -> float:
    """The rate when a share ``done`` of all training samples has been seen, in the stage's epoch ``epoch``."""
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.01**epoch
    warm_up, lowest = 0.05, 0.01
    if done < warm_up:
        return recipe.learning_rate * (lowest + (1 - lowest) * done / warm_up)
    return recipe.learning_rate * (1 - done) / (1 - warm_up)
