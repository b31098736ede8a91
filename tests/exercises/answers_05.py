"""Answers to the exercises of notebook 05: right ones in different styles, and wrong ones with words of their diagnosis."""

import torch
from answers import answers_of

from helpers.recipes import Stage, recipe

RIGHT, WRONG, right, wrong = answers_of()


def calls(*names, training=True):
    def train_step(net, optimizer, loss, batch):
        value = loss(*net.train(training)(batch["bg"], batch["bg_fg"]), batch)["loss"]
        for name in names:
            value.backward() if name == "backward" else getattr(optimizer, name)()
        return value.item()

    return train_step


def keeps_the_graph(net, optimizer, loss, batch):
    value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value


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

    return accumulated_step


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


def plan(*sizes, **changes):
    return lambda: recipe("course", stages=tuple(Stage(size, 32, epochs) for size, epochs in sizes), **changes)


def at_the_end(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    (sum([loss_of(net, part) for part in parts]) / len(parts)).backward()
    optimizer.step()


def all_at_once(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    loss_of(net, [torch.cat(tensors) for tensors in zip(*parts)]).backward()
    optimizer.step()


GROWING = ((32, 1), (48, 1), (64, 2))
wrong(
    "5.1",
    (calls("backward", "step"), "zero_grad is missing"),
    (calls("backward", "zero_grad", "step"), "not between them"),
    (calls("step", "backward"), "The step comes before backward"),
    (calls("zero_grad", "backward"), "No weight has moved"),
    (calls("zero_grad", "backward", "step", training=False), "in evaluation mode"),
    (keeps_the_graph, "return value.item()"),
)
wrong(
    "5.2",
    (pieces(divide=False), "four times too long"),
    (pieces(zero="inside"), "Only the last part counts"),
    (pieces(step="inside"), "a step after each part"),
    (pieces(step="inside", divide=False, zero="inside"), "a step after each part"),
    (pieces(zero="never"), "zero_grad is missing"),
    (lambda net, optimizer, loss_of, parts: optimizer.zero_grad(), "backward is missing"),
    (at_the_end, "the memory holds all parts"),
    (all_at_once, "several parts at once"),
)
wrong(
    "5.3",
    (assessed(training=True), "still in training mode: its batch norms"),
    (assessed(weigh=False), "Weigh each by its pictures"),
    (assessed(gradient=True), "torch.no_grad()"),
    (assessed(restore=False), "in another mode"),
    (assessed(restore=True), "in another mode"),
)
wrong(
    "5.4",
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

right(
    "5.4",
    plan(*GROWING, learning_rate=3e-3),
)
