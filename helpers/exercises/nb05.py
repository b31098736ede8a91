"""Judges of notebook 05's exercises: a step, a batch in pieces, an honest test, and a schedule. They train tiny networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from helpers.augment import resize
from helpers.dataset import Quartet
from helpers.exercises.checker import NotYet, Wrong, exercise, has_blank
from helpers.exercises.compare import Either, as_array, expect, quartets, same
from helpers.losses import CourseLoss, soft_dice_loss
from helpers.model import DuoNet
from helpers.recipes import Recipe, learning_rate, make_optimizer

SIDE = 32  # pixels, for trainings of a second
COST = 0.75  # of the operations that all epochs would take at the largest size
STEPS = 30
LEARNT = 0.65  # of the loss at the start: to be below it after STEPS steps


def _small_net(width: int = 8) -> DuoNet:
    """The same weights in every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DuoNet(stem=4, widths=(width, width, width, width), blocks=(0, 0, 0, 0))


def _weights(net: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in net.parameters()])


def _batch() -> Quartet:
    return resize(quartets(), SIDE)


@exercise(
    "5.1",
    "Three calls, in this order: forget the old gradients, compute the new ones, take the step.",
    "optimizer.zero_grad(), value.backward(), optimizer.step().",
)
def a_step_of_training(train_step):
    batch, loss = _batch(), CourseLoss()

    def after_three(step: Callable) -> tuple[Tensor, object]:
        net = _small_net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(3):
            value = step(net, optimizer, loss, batch)
        return _weights(net), value

    def in_order(*calls: str) -> Tensor:
        def step(net, optimizer, loss, batch):
            value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
            for call in calls:
                value.backward() if call == "backward" else getattr(optimizer, call)()
            return value.item()

        return after_three(step)[0]

    try:
        got, value = after_three(train_step)
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        raise Wrong("The step comes before backward, and changes weights that backward still needs: first backward, then step.") from None
    weights = as_array(got)
    if same(weights, as_array(_weights(_small_net()))):
        raise Wrong("After three steps no weight has moved: step found no gradient. backward comes before step, and zero_grad not "
                    "between the two.")  # fmt: skip
    mistakes = {
        "zero_grad is missing: gradients of earlier steps are still there, and every step adds its own to them.":
            in_order("backward", "step"),
        "Two steps are taken with one gradient.": in_order("zero_grad", "backward", "step", "step"),
    }  # fmt: skip
    expect(got, in_order("zero_grad", "backward", "step"), mistakes, "the vector of weights after three steps")
    if not isinstance(value, float):
        raise Wrong(f"The weights are right, but a {type(value).__name__} comes back. Return value.item(): a tensor that keeps its "
                    "graph keeps all its memory.")  # fmt: skip
    return "After three steps every weight is where it should be."


@exercise(
    "5.2",
    "backward *adds* to the gradients that are there. So call it for each part, and zero_grad only once.",
    "The mean over the whole batch is the mean of the parts' means: divide each part's loss by the number of parts.",
)
def a_batch_in_pieces(accumulated_step):
    scenes, masks = (quartets()[key][:, :, ::2, ::2].float() for key in ("bg_fg", "mask"))
    parts = [(scenes[i : i + 1] / 255, masks[i : i + 1]) for i in range(4)]

    def loss_of(net, part):
        return nn.functional.binary_cross_entropy_with_logits(net(part[0]), part[1])

    def after_two(step: Callable) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = nn.Conv2d(3, 1, 5, padding=2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        for _ in range(2):
            step(net, optimizer, loss_of, parts)
        return _weights(net)

    def version(divide: bool = True, zero_inside: bool = False, step_inside: bool = False, zero: bool = True) -> Tensor:
        def step(net, optimizer, loss_of, parts):
            if zero:
                optimizer.zero_grad()
            for part in parts:
                if zero_inside:
                    optimizer.zero_grad()
                (loss_of(net, part) / (len(parts) if divide else 1)).backward()
                if step_inside:
                    optimizer.step()
            if not step_inside:
                optimizer.step()

        return after_two(step)

    mistakes = {
        "The gradients of the parts are added, not averaged: with four parts the step is four times too long. Divide by len(parts).":
            version(divide=False),
        "Only the last part counts: zero_grad inside the loop wipes out the parts before it.": version(zero_inside=True),
        "Only the last part counts, as zero_grad stands inside the loop; and it is not divided by len(parts).":
            version(zero_inside=True, divide=False),
        "You take a step after each part: that is training with smaller batches.":
            Either((version(step_inside=True), version(step_inside=True, divide=False),
                    version(step_inside=True, zero_inside=True, divide=False))),
        "zero_grad is missing: the gradients of the batch before are still there.": version(zero=False),
        "No part has changed anything: backward is missing.": after_two(lambda *_: None),
    }  # fmt: skip
    expect(after_two(accumulated_step), version(), mistakes, "the vector of weights")
    return "Four pieces, one step: the weights are those of the whole batch."


@exercise(
    "5.3",
    "A mean of batch means counts the pictures of a small last batch too much: add up loss * len(batch), divide once.",
    "net.eval() before, torch.no_grad() around, and net.train(was_training) at the end.",
)
def an_honest_test(test_loss):
    whole = _batch()
    batches = [{key: value[part] for key, value in whole.items()} for part in (slice(0, 3), slice(3, 4))]

    def loss_of(net, batch):
        return soft_dice_loss(net(batch["bg"], batch["bg_fg"])[0].sigmoid(), batch["mask"])

    def by_hand(training: bool, weigh: bool) -> float:
        net = _trained()
        net.train(training)
        with torch.no_grad():
            losses, counts = zip(*((loss_of(net, batch).item(), len(batch["bg"])) for batch in batches))
        if not weigh:
            return sum(losses) / len(losses)
        return sum(loss * count for loss, count in zip(losses, counts)) / sum(counts)

    net = _trained().train()
    before = [value.clone() for value in net.buffers()]
    had_gradient = []

    def watched(net, batch):
        loss = loss_of(net, batch)
        had_gradient.append(loss.requires_grad)
        return loss

    got = test_loss(net, watched, batches)
    mistakes = {
        "The network is still in training mode: its batch norms look at the other pictures of the batch, and learn from the test. "
        "net.eval() before.": by_hand(True, True),
        "The network is still in training mode (net.eval() is missing), and the last batch, of one picture, counts as much as the "
        "first, of three.": by_hand(True, False),
        "The last batch, of one picture, counts as much as the first, of three. Weigh each with its number of pictures.":
            by_hand(False, False),
        "You add up and do not divide by the number of pictures.": 4 * by_hand(False, True),
    }  # fmt: skip
    expect(got, by_hand(False, True), mistakes, "the test loss")
    if any(not torch.equal(a, b) for a, b in zip(before, net.buffers())):
        raise Wrong("The batch norms have learnt from the test pictures: net.eval() comes too late.")
    if any(had_gradient):
        raise Wrong("The number is right, but PyTorch kept everything for a gradient that nobody wants: put "
                    "`with torch.no_grad():` around.")  # fmt: skip
    if not net.training:
        raise Wrong("The number is right, but the network stays in evaluation mode, and the training would go on with frozen "
                    "batch norms: put it back as it was.")  # fmt: skip
    return "All four pictures count alike, nothing was learnt from them, and the training can go on."


def _trained() -> DuoNet:
    """The small network with batch norms that have seen some pictures, and logits that say something."""
    net, batch = _small_net(), _batch()
    with torch.no_grad():
        net.mask_head.logits.weight.mul_(60)
        for _ in range(5):
            net(batch["bg"], batch["bg_fg"])
    return net.eval()


@exercise(
    "5.4",
    "An epoch at 32 px costs a quarter of one at 64 px. Which sizes come first?",
    'Stages such as (Stage(32, 32, 2), Stage(64, 32, 2)), schedule="one-cycle", and a rate from the slope that section 3 shows.',
)
def a_schedule(my_recipe):
    chosen = my_recipe()
    if has_blank(chosen) or isinstance(chosen, Recipe) and has_blank(vars(chosen)):
        raise NotYet
    if not isinstance(chosen, Recipe):
        raise Wrong(f'my_recipe returns a {type(chosen).__name__}; return recipe("course", stages=..., ...).')
    epochs = [(stage.size, epoch) for stage in chosen.stages for epoch in range(stage.epochs)]
    if len(epochs) != 4:
        raise Wrong(f"There are {len(epochs)} epochs; four in all are asked for.")
    sizes = [size for size, _ in epochs]
    if bad := [size for size in sizes if size % 16 or size < 32]:
        raise Wrong(f"The network halves the side four times: {bad[0]} is not a multiple of 16 from 32 on.")
    if sizes[-1] != 64:
        raise Wrong(f"The last epoch is at {sizes[-1]} px, and the network is tested at 64 px: end there.")
    share = sum(size**2 for size in sizes) / (len(sizes) * 64**2)
    if share > COST:
        raise Wrong(f"This costs {share:.0%} of four epochs at 64 px, and {COST:.0%} is the limit: begin smaller.")
    rates = [learning_rate(chosen, k / 200, epochs[int(k / 200 * 4)][1]) for k in range(200)]
    lively = sum(rate >= 0.1 * max(rates) for rate in rates) / len(rates)
    losses = _tried(chosen, [epoch for _, epoch in epochs])
    said = f"in {STEPS} small steps at these rates the loss goes from {losses[0]:.2f} to {losses[-1]:.2f}"
    if lively < 0.6:
        raise Wrong(f'Only {lively:.0%} of the training has at least a tenth of the highest rate: with schedule="step" the rate '
                    f"falls to a hundredth after each epoch of a stage, and the network stands still; {said}.")  # fmt: skip
    if not losses[-1] < LEARNT * losses[0]:
        high = max(losses) > 1.5 * losses[0] or losses[-1] != losses[-1]
        why = "the steps are too long, and throw the network about" if high else "hardly anything is learnt: the steps are too short"
        raise Wrong(f"{chosen.learning_rate:g} as the highest rate: {said}; {why}.")
    return f"It costs {share:.0%} of four epochs at 64 px, and {said}."


def _tried(recipe: Recipe, epochs: list[int]) -> list[float]:
    """The losses of a short training of a small network at the recipe's learning rates."""
    net, batch, loss = _small_net(24).train(), _batch(), CourseLoss()
    optimizer, losses = make_optimizer(net, recipe), []
    for step in range(STEPS):
        done = step / STEPS
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, done, epochs[int(done * len(epochs))])
        value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses
