"""Answers to the exercises of notebook 05: right ones in different styles, and wrong ones with words of their diagnosis."""

import dataclasses
import math

import numpy as np
import torch
from answers import answers_of

from helpers.recipes import Stage, recipe

RIGHT, WRONG, right, wrong = answers_of()


# -- 5.1 a step with clipped gradients -----------------------------------------------------------------------------


def steps(*calls, training=True, item=True):
    """A step that makes these calls in this order, after the loss was computed."""

    def clipped_step(net, optimizer, loss, batch, limit):
        value = loss(*net.train(training)(batch["bg"], batch["bg_fg"]), batch)["loss"]
        weights = list(net.parameters())
        known = {
            "zero_grad": optimizer.zero_grad, "backward": value.backward, "step": optimizer.step,
            "clip": lambda: torch.nn.utils.clip_grad_norm_(weights, limit),
            "values": lambda: torch.nn.utils.clip_grad_value_(weights, limit),
            "each": lambda: [torch.nn.utils.clip_grad_norm_([w], limit) for w in weights],
            "always": lambda: _scaled(weights, limit / _norm(weights)),
        }  # fmt: skip
        for call in calls:
            known[call]()
        return value.item() if item else value

    return clipped_step


def _norm(weights):
    return torch.stack([w.grad.norm() for w in weights]).norm()


def _scaled(weights, factor):
    for w in weights:
        w.grad *= factor


def zeroed_first(net, optimizer, loss, batch, limit):
    net.train()
    net.zero_grad(set_to_none=False)
    mask_logits, depth_logits = net(batch["bg"], batch["bg_fg"])
    parts = loss(mask_logits, depth_logits, batch)
    parts["loss"].backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), max_norm=limit, norm_type=2.0)
    optimizer.step()
    return parts["loss"].item()


def by_hand(net, optimizer, loss, batch, limit):
    net.train()
    optimizer.zero_grad()
    value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
    value.backward()
    norm = math.sqrt(sum(float((w.grad**2).sum()) for w in net.parameters()))
    if norm > limit:
        for w in net.parameters():
            w.grad.mul_(limit / norm)
    optimizer.step()
    return value.detach().tolist()


def with_autograd(net, optimizer, loss, batch, limit):
    net.train(True)
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
    gradients = torch.autograd.grad(value, weights)
    factor = (limit / torch.cat([g.flatten() for g in gradients]).norm()).clamp(max=1)
    for w, g in zip(weights, gradients):
        w.grad = g * factor
    optimizer.step()
    return value.item()


def in_numpy(net, optimizer, loss, batch, limit):
    for w in net.parameters():
        w.grad = None
    value = loss(*net.train()(batch["bg"], batch["bg_fg"]), batch)["loss"]
    value.backward()
    norm = np.linalg.norm([np.linalg.norm(w.grad.numpy()) for w in net.parameters()])
    for w in net.parameters():
        w.grad *= float(min(1.0, limit / norm))
    optimizer.step()
    return np.float64(value.item())


right(
    "5.1", zeroed_first, by_hand, with_autograd, in_numpy, steps("zero_grad", "backward", "clip", "step"),
    steps("zero_grad", "backward", "clip", "step", "zero_grad"),
)  # fmt: skip
wrong(
    "5.1",
    (steps("backward", "clip", "step"), "zero_grad is missing"),
    (steps("backward", "step"), "zero_grad is missing"),
    (steps("backward", "clip", "step", "zero_grad"), "zero_grad comes after the step"),
    (steps("backward", "step", "zero_grad"), "zero_grad comes after the step"),
    (steps("zero_grad", "backward", "step"), "as long as before"),
    (steps("zero_grad", "clip", "backward", "step"), "as long as before"),
    (steps("zero_grad", "backward", "step", "clip"), "as long as before"),
    (steps("zero_grad", "backward", "values", "step"), "Each number is cut off"),
    (steps("zero_grad", "backward", "each", "step"), "Each layer's gradient"),
    (steps("zero_grad", "backward", "always", "step"), "has been made longer"),
    (steps("backward", "clip", "zero_grad", "step"), "No weight has moved"),
    (steps("step", "backward", "clip"), "The step comes before backward"),
    (steps("zero_grad", "backward", "clip", "step", training=False), "in evaluation mode"),
    (steps("zero_grad", "backward", "clip", "step", item=False), "a Tensor comes back; a Python number"),
)


# -- 5.2 a batch in pieces -----------------------------------------------------------------------------------------


def pieces(divide=True, zero="before", step="after"):
    def accumulated_step(net, optimizer, loss_of, parts):
        if zero == "before":
            optimizer.zero_grad()
        for part in parts:
            if zero == "inside":
                optimizer.zero_grad()
            (loss_of(net, part) / (len(parts) if divide else 1)).backward()
            if step == "inside":
                optimizer.step()
        if step == "after":
            optimizer.step()
        if zero == "after":
            optimizer.zero_grad()

    return accumulated_step


def divided_afterwards(net, optimizer, loss_of, parts):
    net.zero_grad()
    for part in parts:
        loss_of(net, part).backward()
    for w in net.parameters():
        w.grad /= len(parts)
    optimizer.step()


def through_the_gradient(net, optimizer, loss_of, parts):
    optimizer.zero_grad(set_to_none=False)
    for part in parts:
        loss_of(net, part).backward(torch.tensor(1 / len(parts)))
    optimizer.step()


def gradients_in_a_list(net, optimizer, loss_of, parts):
    weights = list(net.parameters())
    sums = [torch.zeros_like(w) for w in weights]
    for part in parts:
        for total, gradient in zip(sums, torch.autograd.grad(loss_of(net, part), weights)):
            total.add_(gradient)
    for w, total in zip(weights, sums):
        w.grad = total / len(parts)
    optimizer.step()


def by_index(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    share, total = 1.0 / len(parts), 0.0
    for k in range(len(parts)):
        loss = loss_of(net, parts[k])
        total += loss.item() * share
        (share * loss).backward()
    optimizer.step()
    return total


def with_a_while(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    waiting = list(reversed(parts))
    while waiting:
        torch.div(loss_of(net, waiting.pop()), len(parts)).backward()
    optimizer.step()
    optimizer.zero_grad()


def at_the_end(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    (sum([loss_of(net, part) for part in parts]) / len(parts)).backward()
    optimizer.step()


def all_at_once(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    loss_of(net, [torch.cat(tensors) for tensors in zip(*parts)]).backward()
    optimizer.step()


def one_late(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    for first, second in zip(parts[::2], parts[1::2]):
        ((loss_of(net, first) + loss_of(net, second)) / len(parts)).backward()
    optimizer.step()


right("5.2", divided_afterwards, through_the_gradient, gradients_in_a_list, by_index, with_a_while)
wrong(
    "5.2",
    (pieces(divide=False), "four times too long"),
    (pieces(zero="inside"), "Only the last part counts"),
    (pieces(step="inside"), "a step after each part"),
    (pieces(step="inside", divide=False, zero="inside"), "a step after each part"),
    (pieces(zero="never"), "zero_grad is missing"),
    (pieces(zero="after"), "zero_grad comes at the end"),
    (lambda net, optimizer, loss_of, parts: optimizer.zero_grad(), "backward is missing"),
    (at_the_end, "the memory holds all parts"),
    (one_late, "the memory holds all parts"),
    (all_at_once, "several parts at once"),
)


# -- 5.3 the loss of a validation set ------------------------------------------------------------------------------


def assessed(training=False, weigh=True, gradient=False, restore=None):
    def answer(net, loss_of, batches):
        before = net.training
        net.train(training)
        with torch.set_grad_enabled(gradient):
            losses = [loss_of(net, batch).item() for batch in batches]
        net.train(before if restore is None else restore)
        counts = [len(batch["bg"]) if weigh else 1 for batch in batches]
        return sum(loss * count for loss, count in zip(losses, counts)) / sum(counts)

    return answer


def as_tensors(net, loss_of, batches):
    mode = net.training
    net.eval()
    with torch.inference_mode():
        losses = torch.stack([loss_of(net, batch) for batch in batches])
    counts = torch.tensor([len(batch["mask"]) for batch in batches])
    net.train(mode)
    return (losses * counts).sum() / counts.sum()


@torch.no_grad()
def averaged(net, loss_of, batches):
    was = net.training
    net.train(False)
    value = np.average([float(loss_of(net, b)) for b in batches], weights=[b["bg"].shape[0] for b in batches])
    net.train() if was else net.eval()
    return value


def running(net, loss_of, batches):
    was = net.training
    try:
        net.eval()
        mean, seen = 0.0, 0
        for batch in batches:
            with torch.no_grad():
                seen += len(batch["depth"])
                mean += (loss_of(net, batch).item() - mean) * len(batch["depth"]) / seen
        return mean
    finally:
        net.train(was)


def image_by_image(net, loss_of, batches):
    was, losses = net.training, []
    net.eval()
    with torch.no_grad():
        for batch in batches:
            for i in range(len(batch["bg"])):
                losses.append(loss_of(net, {key: value[i : i + 1] for key, value in batch.items()}))
    net.train(was)
    return torch.stack(losses).mean().item()


def off_and_on(net, loss_of, batches):
    was, before = net.training, torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    net.eval()
    total, count = 0, 0
    for batch in batches:
        total += loss_of(net, batch) * len(batch["bg"])
        count += len(batch["bg"])
    torch.set_grad_enabled(before)
    net.train(was)
    return total / count


def off(net, loss_of, batches):
    torch.set_grad_enabled(False)
    return assessed()(net, lambda *given: loss_of(*given), batches)


def too_late(net, loss_of, batches):
    was = net.training
    with torch.no_grad():
        for batch in batches:
            loss_of(net, batch)
    return assessed(restore=was)(net, loss_of, batches)


right("5.3", as_tensors, averaged, running, image_by_image, off_and_on)
wrong(
    "5.3",
    (assessed(training=True), "still in training mode: its batch normalisation"),
    (assessed(weigh=False), "Weigh each by its images"),
    (assessed(gradient=True), "torch.no_grad()"),
    (off, "Gradients stay switched off"),
    (assessed(restore=False), "in another mode"),
    (assessed(restore=True), "in another mode"),
    (lambda net, loss_of, batches: assessed()(net, loss_of, batches[:1]), "the validation loss is"),
    (lambda net, loss_of, batches: [assessed()(net, loss_of, [batch]) for batch in batches], "has the shape"),
)


# -- 5.4 early stopping --------------------------------------------------------------------------------------------


def waits(losses, patience):
    best, kept, waited = math.inf, 0, 0
    for last in range(len(losses)):
        waited += 1
        if losses[last] < best:
            best, kept, waited = losses[last], last, 0
        if waited == patience:
            return kept, last
    return kept, len(losses) - 1


def with_numpy(losses, patience):
    best = np.minimum.accumulate(losses)
    for last in range(len(losses)):
        if last >= patience and best[last] == best[last - patience]:
            break
    return np.argmin(losses[: last + 1]), last


def with_torch(losses, patience):
    lowest = torch.tensor(losses).cummin(0).values
    kept = [losses.index(lowest_so_far) for lowest_so_far in [min(losses[: k + 1]) for k in range(len(losses))]]
    age = torch.arange(len(losses)) - torch.tensor(kept)
    late = torch.nonzero(age >= patience)
    last = int(late[0]) if len(late) else len(losses) - 1
    assert lowest[last] == lowest[: last + 1].min()
    return [torch.tensor(kept[last]), torch.tensor(last)]


def with_a_window(losses, patience):
    last = 0
    while last < len(losses) - 1 and not (
        last >= patience and min(losses[last - patience + 1 : last + 1]) >= min(losses[: last - patience + 1])
    ):
        last += 1
    return losses[: last + 1].index(min(losses[: last + 1])), last


def recursive(losses, patience, kept=0, last=0):
    if losses[last] < losses[kept]:
        kept = last
    if last - kept == patience or last == len(losses) - 1:
        return kept, last
    return recursive(losses, patience, kept, last + 1)


def rule(better=lambda loss, best: loss < best, late=0, first=0, keep="best"):
    def early_stopping(losses, patience):
        kept = 0
        for last, loss in enumerate(losses):
            if last and better(loss, losses[kept]):
                kept = last
            if last - kept >= patience + late:
                break
        kept = {"best": kept, "last": last, "of all": losses.index(min(losses))}[keep]
        return kept + first, last + first

    return early_stopping


def falls(losses, patience):
    fell = 0
    for last in range(len(losses)):
        if last and losses[last] < losses[last - 1]:
            fell = last
        if last - fell >= patience:
            break
    return fell, last


right("5.4", waits, with_numpy, with_torch, with_a_window, recursive)
wrong(
    "5.4",
    (rule(late=1), "one epoch too long"),
    (rule(late=-1), "one epoch too early"),
    (rule(better=lambda loss, best: loss <= best), "only as good as the best"),
    (rule(keep="last"), "The last epoch is kept"),
    (rule(keep="of all"), "The best of all losses is kept"),
    (falls, "compared with the one before it"),
    (rule(first=1), "Epochs count from 0"),
    (lambda losses, patience: rule()(losses, patience)[0], "return kept, last"),
    (lambda losses, patience: (losses.index(min(losses)), len(losses) - 1), "It never stops"),
    (lambda losses, patience: (0, 0), "differs from what is right"),
)


# -- 5.5 a recipe --------------------------------------------------------------------------------------------------


def plan(*sizes, **changes):
    return lambda: recipe("course", stages=tuple(Stage(size, 32, epochs) for size, epochs in sizes), **changes)


GROWING = ((32, 1), (48, 1), (64, 2))
right(
    "5.5",
    plan(*GROWING, learning_rate=3e-3),
    plan((32, 2), (64, 2)),
    plan((32, 1), (32, 1), (48, 1), (64, 1), learning_rate=2e-2),
    plan((48, 3), (64, 1), learning_rate=5e-3, schedule="one-cycle"),
    plan((48, 3), (64, 1), optimizer="adamw", learning_rate=6e-3),
    lambda: dataclasses.replace(recipe("course"), stages=(Stage(48, 16, 3), Stage(64, 16, 1))),
)
wrong(
    "5.5",
    (plan((64, 4)), "begin smaller"),
    (plan((64, 2), (32, 2)), "is tested at 64 px: end there"),
    (plan((32, 2), (64, 1)), "There are 3 epochs; four"),
    (plan((40, 2), (64, 2)), "40 is not a multiple of 16"),
    (plan((32, 2), (64, 2), schedule="step"), "the network stands still"),
    (plan(*GROWING, learning_rate=1e-5), "the steps are too short"),
    (plan(*GROWING, learning_rate=30.0), "the steps are too long"),
    (plan(*GROWING, schedule="cosine"), "stops with CourseError: schedule='cosine'"),
    (lambda: {"stages": 3}, "return recipe("),
)
