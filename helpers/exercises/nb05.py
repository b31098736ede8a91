"""Exercises of notebook 05: a step, a batch in pieces, a validation, early stopping, a recipe. They train tiny networks."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from helpers.augment import resize
from helpers.exercises.checker import NotYet, Wrong, exercise, has_blank
from helpers.exercises.compare import Either, expect, of_type, pair_of, quartets, tiny_net, warmed_up_net
from helpers.losses import CourseLoss, soft_dice_loss
from helpers.model import seeded
from helpers.recipes import Recipe, learning_rate, make_optimizer

SMALL = 32  # pixels, for trainings of a second
STEPS = 30


@exercise(
    "5.1",
    "Old gradients are forgotten before new ones are computed, and these are shortened before the optimizer uses them.",
    "The loss computes gradients, the optimizer forgets them and steps. What shortens them is in torch.nn.utils.",
    "There are two functions for it: one limits each number by itself, the other the norm of all gradients together.",
)
def a_clipped_step(clipped_step):
    batch = {key: value[:2] for key, value in resize(quartets(), SMALL).items()}
    loss, rate, limits = CourseLoss(), 0.05, (0.4, 50.0)  # below the gradient's norm, and far above it

    def start(training: bool) -> nn.Module:
        net = tiny_net().train(training)
        for weights in net.parameters():
            weights.grad = torch.full_like(weights, 0.01)  # left over from an earlier step
        return net

    def by_hand(factors, keep=(False, False), training: bool = True) -> tuple[Tensor, list[float]]:
        net, values = start(training), []
        weights = list(net.parameters())
        sums = [w.grad.clone() for w in weights]
        for limit, kept in zip(limits, keep):
            value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
            new = torch.autograd.grad(value, weights)
            sums = [a + b for a, b in zip(sums, new)] if kept else list(new)
            short = factors(sums, limit)
            with torch.no_grad():
                for w, gradient in zip(weights, short):
                    w -= rate * gradient
            sums, values = short, [*values, value.item()]
        return parameters_to_vector(weights), values

    def together(gradients, limit, only_longer=True):
        norm = sum(float(g.double().square().sum()) for g in gradients) ** 0.5
        return [g * (limit / norm if norm > limit or not only_longer else 1.0) for g in gradients]

    def each(gradients, limit):
        return [together([g], limit)[0] for g in gradients]

    net = start(training=False)  # as an evaluation may have left it
    optimizer, got = torch.optim.SGD(net.parameters(), lr=rate), []
    try:
        got = [clipped_step(net, optimizer, loss, batch, limit) for limit in limits]
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        raise Wrong("The step comes before backward, and changes weights that backward still needs.") from None
    mistakes = {
        "No weight has moved: backward comes before step, zero_grad not between them.":
            parameters_to_vector(start(training=True).parameters()),
        "Old gradients are still there when new ones are added: zero_grad is missing.":
            Either(by_hand(how, keep=(True, True))[0] for how in (together, lambda gradients, limit: gradients)),
        "zero_grad comes after the step, so gradients from before the first one are added: call it before backward.":
            Either(by_hand(how, keep=(True, False))[0] for how in (together, lambda gradients, limit: gradients)),
        "The gradients are as long as before: shorten them after backward and before step.":
            by_hand(lambda gradients, limit: gradients)[0],
        "Each layer's gradient is shortened by itself: take the norm of all of them together.": by_hand(each)[0],
        "Each number is cut off by itself: that changes the direction. Limit the norm of all of them together.":
            by_hand(lambda gradients, limit: [g.clamp(-limit, limit) for g in gradients])[0],
        "A gradient that is shorter than the limit has been made longer: it stays as it is.":
            by_hand(lambda gradients, limit: together(gradients, limit, only_longer=False))[0],
        "The network is in evaluation mode: net.train() first.": by_hand(together, training=False)[0],
    }  # fmt: skip
    right, values = by_hand(together)
    expect(parameters_to_vector(net.parameters()), right, mistakes, "the vector of weights after two steps")
    if not isinstance(got[-1], float):
        raise Wrong(f"The weights are right, but a {type(got[-1]).__name__} comes back; a Python number is wanted.")
    expect(got, values, {}, "the losses that come back")
    return "Two steps, one of them shortened: every weight is where it should be."


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

    def after_two(step, loss_of=loss_of) -> Tensor:
        net = seeded(lambda: nn.Conv2d(3, 1, 5, padding=2), 0)
        for weights in net.parameters():
            weights.grad = torch.full_like(weights, 0.1)  # left over from an earlier step
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        for _ in range(2):
            step(net, optimizer, loss_of, parts)
        return parameters_to_vector(net.parameters())

    def version(divide: bool = True, zero: str = "once", step_inside: bool = False) -> Tensor:
        def step(net, optimizer, loss_of, parts):
            for k, part in enumerate(parts):
                if zero == "inside" or zero == "once" and k == 0:
                    optimizer.zero_grad()
                (loss_of(net, part) / (len(parts) if divide else 1)).backward()
                if step_inside or k == len(parts) - 1:
                    optimizer.step()
            if zero == "at the end":
                optimizer.zero_grad()

        return after_two(step)

    mistakes = {
        "The gradients are added, so the step is four times too long. Divide by len(parts).": version(divide=False),
        "Only the last part counts: zero_grad inside the loop removes the parts before it.": version(zero="inside"),
        "You take a step after each part: that is training with smaller batches.":
            Either(version(divide, zero, step_inside=True) for divide in (True, False) for zero in ("once", "inside")),
        "zero_grad is missing: the gradients of the batch before are still there.": version(zero="never"),
        "zero_grad comes at the end, so gradients from before the first part are added: call it before the loop.":
            version(zero="at the end"),
        "No part has changed anything: backward is missing, or step.": after_two(lambda *_: None),
    }  # fmt: skip
    waiting, late = [], []  # losses whose backward has not come yet, and those that waited for another loss

    def watched(net, part):
        if len(part[0]) > 1:
            raise Wrong("loss_of gets several parts at once, and the memory holds only one: call it for each part.")
        late.extend(waiting)
        waiting.append(loss := loss_of(net, part))
        loss.register_hook(lambda gradient: waiting.clear())
        return loss

    got = after_two(accumulated_step, watched)
    if late:
        raise Wrong("Losses wait for backward, so the memory holds all parts: call backward inside the loop.")
    expect(got, version(), mistakes, "the vector of weights")
    return "Four pieces, one step: the weights are those of the whole batch."


@exercise(
    "5.3",
    "A mean of batch means counts the images of a small last batch too much: weigh each batch's loss by its number of images.",
    "Evaluation mode before, no gradients meanwhile, and at the end the mode that net.training named before.",
)
def a_validation(validation_loss):
    whole = resize(quartets(), SMALL)
    batches = [{key: value[part] for key, value in whole.items()} for part in (slice(0, 3), slice(3, 4))]

    def loss_of(net, batch):
        return soft_dice_loss(net(batch["bg"], batch["bg_fg"])[0].sigmoid(), batch["mask"])

    def by_hand(training: bool, counts: tuple[int, int] = (3, 1)) -> float:
        net = warmed_up_net(whole).train(training)
        with torch.no_grad():
            losses = [loss_of(net, batch).item() for batch in batches]
        return sum(loss * count for loss, count in zip(losses, counts)) / sum(counts)

    had_gradient = []

    def watched(net, batch):
        loss = loss_of(net, batch)
        had_gradient.append(loss.requires_grad)
        return loss

    mistakes = {
        "The network is still in training mode: its batch normalisation uses and changes its statistics. net.eval() before.": by_hand(True),
        "A batch of one image counts like one of three. Weigh each by its images.": by_hand(False, (1, 1)),
    }
    for training in (True, False):
        net = warmed_up_net(whole).train(training)
        before = [value.clone() for value in net.buffers()]
        expect(validation_loss(net, watched, batches), by_hand(False), mistakes, "the validation loss")
        if any(not torch.equal(a, b) for a, b in zip(before, net.buffers())):
            raise Wrong("Batch normalisation has changed its statistics: net.eval() comes too late.")
        if any(had_gradient):
            raise Wrong("The number is right, but PyTorch keeps all for a gradient: `with torch.no_grad():` around it.")
        if any(module.training != training for module in net.modules()):
            raise Wrong("The number is right, but the network leaves in another mode than it came in: put it back.")
    return "All four images count alike, nothing was learnt from them, and the training can go on."


@exercise(
    "5.4",
    "Remember at which epoch the loss was lowest. How long ago was that?",
    "An epoch is the new best only if its loss is below the best so far; stop when the best one is `patience` epochs old.",
)
def early_stopping_rule(early_stopping):
    cases = (
        ((3.0, 2.0, 1.5, 1.6, 1.55, 1.7, 1.65, 1.0), 3),  # a better loss comes after the stop
        ((2.0, 1.8, 1.9, 1.7, 1.75, 1.6, 1.5), 2),  # worse in between, but never for long
        ((1.0, 0.9, 0.9, 0.9, 0.8, 0.7), 2),  # equal is no better
        ((5.0, 4.0, 4.5, 3.0), 1),
        ((2.0, 1.0, 1.4, 1.3, 1.2, 1.1, 0.5), 4),  # falls all the time, and is no better than the best
        ((0.7, 0.9), 5),
    )

    def table(last_wins: bool = False, late: int = 0, keep: str = "best", rising: bool = False, first: int = 0) -> list:
        """What a rule gives for each case; by default the right one."""
        rows = []
        for losses, patience in cases:
            x = np.array(losses)
            lowest = [k - int(x[k::-1].argmin()) if last_wins else int(x[: k + 1].argmin()) for k in range(len(x))]
            if rising:  # epochs since the loss last fell
                lowest = [max((i for i in range(1, k + 1) if x[i] < x[i - 1]), default=0) for k in range(len(x))]
            old = [k for k in range(len(x)) if k - lowest[k] >= patience + late]
            last = old[0] if old else len(x) - 1
            kept = {"best": lowest[last], "last": last, "of all": int(x.argmin())}[keep]
            rows.append((kept + first, last + first))
        return rows

    mistakes = {
        "It goes on one epoch too long: stop as soon as `patience` epochs were no better.": table(late=1),
        "It stops one epoch too early: `patience` epochs may be no better than the best.": table(late=-1),
        "An epoch that is only as good as the best one counts as better: it is not.": table(last_wins=True),
        "The last epoch is kept: keep the weights of the best one.": table(keep="last"),
        "The best of all losses is kept, although the training stopped before it.": table(keep="of all"),
        "Each loss is compared with the one before it: compare it with the best so far.": table(rising=True),
        "It never stops before the last loss.": [(int(np.argmin(losses)), len(losses) - 1) for losses, _ in cases],
        "Epochs count from 0.": table(first=1),
    }
    got = [pair_of(early_stopping(list(losses), patience), "kept, last") for losses, patience in cases]
    expect([value for pair in got for value in pair], np.ravel(table()), {
        words: np.ravel(rows) for words, rows in mistakes.items()
    }, "kept and last of all cases")  # fmt: skip
    return "It stops in time, keeps the best epoch, and does not look ahead."


@exercise(
    "5.5",
    "An epoch at 32 px costs a quarter of one at 64 px. Which sizes come first?",
    "Small images for half of the epochs, a schedule that falls slowly, and a rate near those of section 5.4.",
)
def a_recipe(my_recipe):
    chosen = my_recipe()
    of_type(chosen, Recipe, "my_recipe", 'return recipe("course", stages=..., ...).')
    if has_blank(vars(chosen)):
        raise NotYet
    epochs = [(stage.size, epoch) for stage in chosen.stages for epoch in range(stage.epochs)]
    if len(epochs) != 4:
        raise Wrong(f"There are {len(epochs)} epochs; four in all are asked for.")
    sizes = [size for size, _ in epochs]
    if bad := [size for size in sizes if size % 16 or size < 32]:
        raise Wrong(f"The network halves an image four times: {bad[0]} is not a multiple of 16 from 32 on.")
    if sizes[-1] != 64:
        raise Wrong(f"The last epoch is at {sizes[-1]} px, and the network is tested at 64 px: end there.")
    share = sum(size**2 for size in sizes) / (len(sizes) * 64**2)
    if share > 0.75:
        raise Wrong(f"This costs {share:.0%} of four epochs at 64 px, and 75% is the limit: begin smaller.")
    rates = [learning_rate(chosen, k / 200, epochs[int(k / 200 * 4)][1]) for k in range(200)]
    lively = sum(rate >= 0.1 * max(rates) for rate in rates) / len(rates)
    losses = _tried(chosen, [epoch for _, epoch in epochs])
    seen = f"in {STEPS} small steps at these rates the loss goes from {losses[0]:.2f} to {losses[-1]:.2f}"
    if lively < 0.6:
        raise Wrong(f"Only {lively:.0%} of the training has a tenth of the highest rate: the network stands still.")
    if not losses[-1] < 0.75 * losses[0]:
        high = max(losses) > 1.5 * losses[0] or losses[-1] != losses[-1]
        why = "the steps are too long" if high else "the steps are too short for 75% of the start"
        raise Wrong(f"{chosen.learning_rate:g} as the highest rate: {seen}; {why}.")
    return f"It costs {share:.0%} of four epochs at 64 px, and {seen}."


def _tried(recipe: Recipe, epochs: list[int]) -> list[float]:
    """The losses of a short training of a small network at the recipe's learning rates."""
    net, batch, loss = tiny_net(24).train(), resize(quartets(), SMALL), CourseLoss()
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
