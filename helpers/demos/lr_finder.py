"""How large may the learning rate be? One short run in which it grows with every step, until the loss breaks.

Smith, "Cyclical learning rates for training neural networks" (WACV 2017), section 3.3.
"""

import copy
import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.utils.data import Dataset

from helpers.augment import Augment, resize
from helpers.config import CourseError
from helpers.dataset import get_batch, to_device
from helpers.recipes import LOSSES, Recipe, make_optimizer, pick_precision
from helpers.train import make_batches
from helpers.utils import bar

MEMORY = 0.9  # of the running mean that smooths the curve: single batches are noisy
BROKEN = 2.0  # times the least smoothed loss: there the search ends


@dataclass(frozen=True)
class RateCurve:
    """What :func:`find_rate` measured, one entry a step, and its suggestion for the top of a one-cycle schedule."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    steepest: float  # the rate at which the smoothed loss falls fastest
    suggestion: float  # a third of that: it has to last


def find_rate(
    net: nn.Module, train_set: Dataset, recipe: Recipe, low: float = 1e-4, high: float = 10.0, steps: int = 50
) -> RateCurve:
    """The loss while the learning rate climbs from ``low`` to ``high`` by a constant factor a step.

    Args:
        net: the network as training would begin with it; a copy is trained.
        recipe: loss, optimizer, precision, augmentation, and the first stage's image size and batch are taken from it.
        steps: at most so many; fewer where the loss breaks earlier.

    Raises:
        CourseError: not 0 < low < high, no steps, or the loss is not finite at the lowest rate already.
    """
    if not 0 < low < high or steps < 1:
        raise CourseError(f"low={low}, high={high}, steps={steps}: rates and steps are positive, and low is below high.")
    stage, device = recipe.stages[0], next(net.parameters()).device
    net = copy.deepcopy(net).train()
    if recipe.channels_last:
        net.to(memory_format=torch.channels_last)
    dtype, loss = pick_precision(recipe.precision, device), LOSSES[recipe.loss]()
    dtype = torch.float32 if dtype == torch.float16 else dtype  # whose small gradients are zero without a scaler
    optimizer = make_optimizer(net, dataclasses.replace(recipe, learning_rate=low))
    augment = Augment(**recipe.augment) if recipe.augment else None
    batches = make_batches(len(train_set), stage.batch, recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    rates, losses, smoothed, mean = [], [], [], 0.0
    counter = bar(steps, "finding the learning rate", "step")
    for step in range(steps):
        rate = low * (high / low) ** (step / max(steps - 1, 1))
        batch = resize(to_device(get_batch(train_set, batches[step % len(batches)]), device), stage.size)
        batch = augment(batch, generator) if augment else batch
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = net(batch["bg"], batch["bg_fg"])
        value = loss(*logits, batch)["loss"]
        counter.update(1)
        if not math.isfinite(value.item()):
            break
        mean = MEMORY * mean + (1 - MEMORY) * value.item()
        rates.append(rate)
        losses.append(value.item())
        smoothed.append(mean / (1 - MEMORY ** (step + 1)))
        if smoothed[-1] > BROKEN * min(smoothed):
            break
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    counter.close()
    if not losses:
        raise CourseError(f"The loss is not finite even at a learning rate of {low:.1e}: begin lower, or check the data.")
    falls = [after - before for before, after in pairwise(smoothed)] or [0.0]
    steepest = rates[falls.index(min(falls))]
    return RateCurve(rates, losses, smoothed, steepest, steepest / 3)
