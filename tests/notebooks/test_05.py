"""Notebook 05's training loop, taken from its cells, beside the library's: the same batches, losses, weights and scores."""

import math

import numpy as np
import pytest
import torch
from notebook_cells import defined
from tiny_training import on_the_cpu  # noqa: F401 (a fixture for all tests here)
from toy import ToyQuartets

from helpers.dataset import Subset, split
from helpers.evaluate import evaluate
from helpers.exercises.compare import tiny_net
from helpers.model import build
from helpers.recipes import Stage, recipe
from helpers.train import make_batches, train

TRAIN, VALIDATION, _ = split(ToyQuartets(rooms=8, cats=8, placements=2), 0.3, validation=0.2)
TWO_STAGES = Stage(32, 8, 2), Stage(48, 8, 1)


@pytest.fixture(scope="module")
def cells():
    return defined("05", "step", "shuffled_batches", "training_batch", "validate", "fit", device=torch.device("cpu"))


def planned(stages=TWO_STAGES, **changes):
    """A recipe as the notebook uses it for this comparison: 32 bits, channels first."""
    return recipe("course", stages=stages, precision="fp32", channels_last=False, **changes)


@pytest.mark.parametrize(
    "changes",
    [{}, {"augment": None, "seed": 3}, {"optimizer": "adamw", "learning_rate": 6e-3}, {"optimizer": "sgd", "schedule": "step"}],
    ids=["the course's recipe", "no augmentation, another seed", "AdamW", "SGD, steps"],
)
def test_its_loop_gives_the_library_s_weights_bit_for_bit_and_its_history(cells, changes, tmp_path):
    chosen, train_set = planned(**changes), Subset(TRAIN, range(20))  # two batches of 8; 4 are left out in each epoch
    nets = tiny_net(16), tiny_net(16)
    ours = cells["fit"](nets[0], train_set, chosen, validation=VALIDATION)
    theirs = train(nets[1], train_set, VALIDATION, chosen, tmp_path / "run")
    for name, value in nets[0].state_dict().items():
        assert torch.equal(value, nets[1].state_dict()[name]), name
    before = tiny_net(16).state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in nets[0].state_dict().items())
    assert len(ours) == len(theirs) == 3
    for row, other in zip(ours, theirs):
        common = row.keys() & other.keys()
        assert {"stage", "size", "epoch", "samples", "loss", "validation_mask_dice", "validation_depth_rmse"} <= common
        edges = {name for name in common if "edge" in name}  # which the notebook leaves out
        for name in common - edges:
            assert row[name] == pytest.approx(other[name], rel=1e-5, nan_ok=True), name


def test_a_set_smaller_than_a_batch_is_one_batch_in_both(cells, tmp_path):
    chosen, few = planned((Stage(32, 16, 2),)), Subset(TRAIN, range(5))
    nets = tiny_net(16), tiny_net(16)
    cells["fit"](nets[0], few, chosen)
    train(nets[1], few, few, chosen, tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters()))


@pytest.mark.parametrize("count, size", [(1, 4), (4, 4), (7, 4), (33, 8), (64, 1)])
def test_its_batches_are_the_library_s(cells, count, size):
    assert cells["shuffled_batches"](count, size, 0, 1, 2) == make_batches(count, size, 0, 1, 2)
    assert cells["shuffled_batches"](64, 8, 0, 0, 0) != cells["shuffled_batches"](64, 8, 0, 0, 1)


def test_its_validation_is_the_library_s_and_leaves_the_network_as_it_was(cells):
    net = tiny_net(16).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ours, theirs = cells["validate"](net, TRAIN, 48), evaluate(net, TRAIN, 48)
    assert len(TRAIN) > 48 and net.training
    for name in theirs.keys() - {"edge_accuracy", "edge_completeness"}:
        assert ours[name] == pytest.approx(theirs[name], nan_ok=True), name
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_its_step_forgets_old_gradients_and_returns_the_loss_before_it(cells):
    net, weights = torch.nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 2.0]])
    net.weight.data.copy_(weights)
    net.weight.grad = torch.full((1, 2), 100.0)
    two = lambda bg, bg_fg: (net(bg), net(bg_fg))  # noqa: E731
    loss = lambda mask_logits, depth_logits, batch: {"loss": (mask_logits + depth_logits).sum()}  # noqa: E731
    batch = {"bg": torch.tensor([[1.0, 0.0]]), "bg_fg": torch.tensor([[0.0, 3.0]])}
    value = cells["step"](two, torch.optim.SGD(net.parameters(), lr=0.1), loss, batch)
    assert value == 1 + 6 and isinstance(value, float)
    torch.testing.assert_close(net.weight.data, weights - 0.1 * torch.tensor([[1.0, 3.0]]))


def test_its_schedule_draws_what_the_library_uses():
    """Of the course's recipe: it rises, falls to nothing, and most of it is above a tenth of its highest rate."""
    done, rates = defined("05", "schedule")["schedule"](recipe("course", "full"))
    assert len(done) == len(rates) and rates.argmax() == np.argmin(abs(done - 0.05))
    assert rates[-1] < 0.01 * rates.max() and np.mean(rates >= 0.1 * rates.max()) > 0.85
    _, published = defined("05", "schedule")["schedule"](recipe("published", "full"))
    assert math.isclose(published.min(), published.max() * 0.01**2)


def test_the_matrix_of_its_box_about_muon_has_the_shape_that_its_comment_names():
    weight = build("DuoNet").encoder[2][1].body[0][0].weight
    assert tuple(weight.shape) == (192, 192, 3, 3) and tuple(weight.flatten(1).shape) == (192, 1728)
