"""What decides a training run, except network and data: the published recipe, the course's two, and the optimizers."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

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
    and one down over all stages; Smith, 2018). ``precision`` "auto" is the fastest that the device has in hardware.
    ``augment`` holds the arguments of :class:`helpers.augment.Augment`, or None; ``antialias`` is that of
    :func:`helpers.augment.resize`; ``depth_size``: pixels, at which the trained network looks at depth
    (:func:`helpers.model.predicted`), None for the size of the pictures.

    Raises:
        CourseError: a name that is not in :data:`CHOICES`, no stage, or a stage without pixels, quartets or epochs.
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
    depth_activation: str
    antialias: bool = True
    depth_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise CourseError("stages=(): a recipe needs at least one, such as Stage(size=64, batch=32, epochs=1).")
        for stage in self.stages:
            if min(stage.size, stage.batch, stage.epochs) < 1:
                raise CourseError(f"{stage}: size, batch and epochs must be at least 1. Leave out a stage instead.")
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise CourseError(f"{field}={getattr(self, field)!r}: choose {' or '.join(map(repr, known))}.")


LOSSES: Mapping[str, type[nn.Module]] = MappingProxyType({"course": CourseLoss, "published": PublishedLoss})
CHOICES = {
    "loss": LOSSES, "optimizer": ("sgd", "adamw", "muon"), "schedule": ("step", "one-cycle"),
    "precision": ("auto", "fp32", "bf16", "fp16"), "depth_activation": ("sigmoid", "clamp"),
}  # fmt: skip

# Sizes and epochs for each profile. "full" is the published schedule; "quick" runs it in miniature.
STAGES = {
    "tiny": (Stage(32, 16, 1), Stage(48, 16, 1)),
    "quick": (Stage(32, 32, 1), Stage(48, 32, 1), Stage(64, 32, 2)),
    "standard": (Stage(64, 128, 1), Stage(112, 64, 1), Stage(192, 32, 1)),
    "full": (Stage(64, 512, 3), Stage(112, 128, 3), Stage(192, 32, 2)),
}

# At the published sizes; `recipe` gives each the stages of a profile.
RECIPES = {
    "published": Recipe(
        "published", STAGES["full"], loss="published", optimizer="sgd", learning_rate=0.01, weight_decay=1e-5,
        schedule="step", precision="fp32", channels_last=False, augment=None, depth_activation="clamp", antialias=False,
    ),
    "course": Recipe(
        "course", STAGES["full"], loss="course", optimizer="muon", learning_rate=1.2e-2, weight_decay=0.02,
        schedule="one-cycle", precision="auto", channels_last=True, depth_activation="sigmoid",
        augment={"perturbed": 0.35, "crop": 0.2, "cropped": 0.25, "colour": 0.1},
    ),
}  # fmt: skip
# For a network that has been trained before, on other data: shorter steps, so that it keeps what it knows.
# `python -m helpers.benchmarks.ablation --choices fine-tune-fast fine-tune-slow` measures the rate on photographs.
RECIPES["fine-tune"] = dataclasses.replace(RECIPES["course"], name="fine-tune", learning_rate=4e-3)


def recipe(name: str, profile_name: str | None = None, **changes) -> Recipe:
    """The recipe ``"published"`` (faults included), ``"course"`` or ``"fine-tune"``, at the size of a profile.

    Args:
        profile_name: "quick", "standard", "full", or None for the profile in force.
        **changes: fields of :class:`Recipe` to replace, for experiments: ``recipe("course", learning_rate=1e-3)``.

    Raises:
        CourseError: no such recipe, field or value.
    """
    if name not in RECIPES:
        raise CourseError(f"There is no recipe {name!r}: choose 'published', 'course' or 'fine-tune'.")
    if unknown := set(changes) - {field.name for field in dataclasses.fields(Recipe)}:
        raise CourseError(f"A recipe has no field {', '.join(sorted(unknown))}.")
    return dataclasses.replace(RECIPES[name], **{"stages": STAGES[profile(profile_name).name], **changes})


def learning_rate(recipe: Recipe, done: float, epoch: int) -> float:
    """The rate when a share ``done`` of all training samples has been seen, in the stage's epoch ``epoch``."""
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.01**epoch
    warm_up, lowest = 0.05, 0.01
    if done < warm_up:
        return recipe.learning_rate * (lowest + (1 - lowest) * done / warm_up)
    return recipe.learning_rate * max(0.0, 1 - done) / (1 - warm_up)  # with more processes than before, done passes 1


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer for all weights of ``net``; the loop sets its rate before each step."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(net.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "muon":
        return Muon(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    # Fused: all weights in one go; the default walks through them one tensor and one operation at a time.
    return torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type in which convolutions run; "auto" takes 16 bits only where the hardware multiplies them faster."""
    if wanted != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
    if device.type == "cuda":
        # A T4 emulates bf16 slowly: it needs fp16 and a scaler.
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    has_mkldnn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return torch.bfloat16 if has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


# A gradient is a matrix whose few strong directions drown many weak ones, and an ordinary step follows the strong ones.
# Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) replaces the averaged gradient by the nearest matrix
# with all singular values 1, so that rare things are learnt as fast as common ones. A convolution's weights count as a
# matrix with a row for each output channel. Biases, normalisations, and the first and the last convolution have no
# such directions to speak of: AdamW (Loshchilov & Hutter, 2019) moves them.

# Five steps of this quintic take singular values between about 0.0015 and 1 to between 0.68 and 1.20 (and 0.001 to
# 0.47); exactly 1 would take more steps and trains no better (Jordan et al.).
STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315
NARROW = 8  # a matrix with no more rows, or columns before the kernel is counted, is left to AdamW


class Muon(torch.optim.Optimizer):
    """Muon for matrices, torch's AdamW for everything else, with one learning rate and one weight decay for both.

    The orthogonal step is scaled so that its entries are as large as AdamW's usually are (Liu et al., 2025), hence the
    common rate. The matrices' half is own code, equal to ``torch.optim.Muon(..., adjust_lr_fn="match_rms_adamw")``,
    because that takes weights with two dimensions only, and timm's flattens convolutions and falls back to AdamW.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0, momentum: float = 0.95):
        parameters, groups = list(parameters), []
        if matrices := [p for p in parameters if is_matrix(p)]:
            groups.append({"params": matrices, "orthogonal": True, "momentum": momentum})
        if rest := [p for p in parameters if not is_matrix(p)]:
            # Not fused: on the CPU that reads a gradient as if it lay in memory as its weights do, even if it does not.
            self.adamw = torch.optim.AdamW(rest, lr, weight_decay=weight_decay, foreach=True)
            groups.append({**self.adamw.param_groups[0], "orthogonal": False})
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure=None):
        loss = closure() if closure else None
        for group in self.param_groups:
            if group["orthogonal"]:
                for parameter in (p for p in group["params"] if p.grad is not None):
                    self._move_matrix(parameter, group)
            else:
                # It works on this optimizer's group and state, so there is one of each to save, load and set rates in.
                self.adamw.param_groups, self.adamw.state = [group], self.state
                self.adamw.step()
        return loss

    @torch.no_grad()
    def _move_matrix(self, parameter: nn.Parameter, group: dict) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        ahead = parameter.grad.lerp(average, momentum)  # Nesterov's look ahead
        # (out, in * kernel), or (out, kernel * in) as a channels-last network has it in memory: nothing is copied, and
        # the order of the columns does not matter.
        order = tuple(range(parameter.ndim)) if parameter.is_contiguous() else (0, *range(2, parameter.ndim), 1)
        weights, ahead = parameter.permute(order).view(len(parameter), -1), ahead.permute(order).flatten(1)
        # The step, its size and the decay in one product: each pass over the weights takes time.
        size = 0.2 * max(weights.shape) ** 0.5 * group["lr"]
        weights.addmm_(*_orthogonal_product(ahead), beta=1 - group["lr"] * group["weight_decay"], alpha=-size)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon's matrix half moves these weights."""
    return parameter.ndim >= 2 and min(parameter.shape[:2]) > NARROW


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal matrix that is nearest to ``matrix`` (R, C): U V' of its singular value decomposition."""
    left, right = _orthogonal_product(matrix)
    return left @ right


def _orthogonal_product(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices whose product is :func:`orthogonal`: one is ``matrix`` and the other small and square.

    The Newton-Schulz iteration ``X <- (A + B XX' + C (XX')^2) X`` acts on singular values alone, so it is done on the
    small square XX' instead of on the wide X, and X is multiplied once, at the end.
    """
    x = matrix.float()
    wide = len(x) <= x.shape[1]
    gram = x @ x.T if wide else x.T @ x
    norm = gram.trace().sqrt() + 1e-7  # that of all entries of X: the iteration begins with X / norm
    gram = gram / norm**2
    product = None
    for step in range(STEPS):
        factor = torch.addmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal().add_(A)
        product = factor @ product if step else factor / norm
        if step + 1 < STEPS:
            gram = factor @ gram @ factor
    return tuple(part.to(matrix.dtype) for part in ((product, x) if wide else (x, product)))
