"""Exercises of notebook 05: a step, a batch in pieces, an honest test, and a schedule. They train tiny networks."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from helpers.augment import resize
from helpers.exercises.checker import NotYet, Wrong, exercise, has_blank
from helpers.exercises.compare import Either, expect, of_type, quartets, tiny_net, warmed_up_net
from helpers.losses import CourseLoss, soft_dice_loss
from helpers.model import seeded
from helpers.recipes import Recipe, learning_rate, make_optimizer

SMALL = 32  # pixels, for trainings of a second
STEPS = 30


@exercise(
    "5.1",
    "Three calls, in this order: forget the old gradients, compute the new ones, take the step.",
    "The optimizer forgets (zero_grad) and steps (step); the loss, `value`, computes gradients (backward).",
)
def a_step_of_training(train_step):
    batch, loss = resize(quartets(), SMALL), CourseLoss()

    def after_three(step) -> tuple[Tensor, object]:
        net = tiny_net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(3):
            value = step(net, optimizer, loss, batch)
        return parameters_to_vector(net.parameters()), value

    def in_order(*calls: str, training: bool = True) -> Tensor:
        def step(net, optimizer, loss, batch):
            value = loss(*net.train(training)(batch["bg"], batch["bg_fg"]), batch)["loss"]
            for call in calls:
                value.backward() if call == "backward" else getattr(optimizer, call)()

        return after_three(step)[0]

    try:
        got, value = after_three(train_step)
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        raise Wrong("The step comes before backward, and changes weights that backward still needs.") from None
    right = "zero_grad", "backward", "step"
    mistakes = {
        "No weight has moved: backward comes before step, zero_grad not between them.": in_order(),
        "zero_grad is missing: every step adds its gradients to those of earlier steps.": in_order("backward", "step"),
        "The network is in evaluation mode: net.train() first.": in_order(*right, training=False),
    }
    expect(got, in_order(*right), mistakes, "the vector of weights after three steps")
    if not isinstance(value, float):
        raise Wrong(f"The weights are right, but a {type(value).__name__} comes back: return value.item().")
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

    def after_two(step, loss_of=loss_of) -> Tensor:
        net = seeded(lambda: nn.Conv2d(3, 1, 5, padding=2), 0)
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

        return after_two(step)

    mistakes = {
        "The gradients are added, so the step is four times too long. Divide by len(parts).": version(divide=False),
        "Only the last part counts: zero_grad inside the loop removes the parts before it.": version(zero="inside"),
        "You take a step after each part: that is training with smaller batches.":
            Either(version(divide, zero, step_inside=True) for divide in (True, False) for zero in ("once", "inside")),
        "zero_grad is missing: the gradients of the batch before are still there.": version(zero="never"),
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
    "A mean of batch means counts the pictures of a small last batch too much: add up loss * len(batch), divide once.",
    "Evaluation mode before, no gradients meanwhile, and at the end the mode that net.training named before.",
)
def an_honest_test(test_loss):
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
        "The network is still in training mode: its batch norms learn from the test. net.eval() before.": by_hand(True),
        "A batch of one picture counts like one of three. Weigh each by its pictures.": by_hand(False, (1, 1)),
    }
    for training in (True, False):
        net = warmed_up_net(whole).train(training)
        before = [value.clone() for value in net.buffers()]
        expect(test_loss(net, watched, batches), by_hand(False), mistakes, "the test loss")
        if any(not torch.equal(a, b) for a, b in zip(before, net.buffers())):
            raise Wrong("The batch norms have learnt from the test pictures: net.eval() comes too late.")
        if any(had_gradient):
            raise Wrong("The number is right, but PyTorch keeps all for a gradient: `with torch.no_grad():` around it.")
        if net.training != training:
            raise Wrong("The number is right, but the network leaves in another mode than it came in: put it back.")
    return "All four pictures count alike, nothing was learnt from them, and the training can go on."


@exercise(
    "5.4",
    "An epoch at 32 px costs a quarter of one at 64 px. Which sizes come first?",
    "Small images for half of the epochs, a schedule that falls slowly, and a rate from the slope of section 3.",
)
def a_schedule(my_recipe):
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
