"""Muon: equal to torch's own where that can be asked, and what it promises of its steps."""

import copy

import pytest
import torch
from torch import nn

from helpers.model import build
from helpers.recipes import NARROW, Muon, is_matrix, orthogonal


def steps(make, shape, count=5):
    """A weight after some steps along fixed gradients."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    optimizer = make([weight])
    for _ in range(count):
        weight.grad = torch.randn(shape, generator=generator)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_a_matrix_moves_as_with_torchs_muon(shape):
    ours = steps(lambda p: Muon(p, lr=0.02, weight_decay=0.1), shape)
    theirs = steps(
        lambda p: torch.optim.Muon(p, lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"), shape
    )
    start = steps(lambda p: Muon(p, lr=0.0), shape)
    # torch iterates in 16 bits
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


@pytest.mark.parametrize("shape", [(24,), (NARROW, 40), (16, 3, 3, 3), (1, 16, 1, 1)])
def test_everything_else_moves_as_with_torchs_adamw(shape):
    ours = steps(lambda p: Muon(p, lr=0.02, weight_decay=0.1), shape)
    theirs = steps(lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1), shape)
    torch.testing.assert_close(ours, theirs)


def test_a_convolution_moves_as_the_matrix_that_it_is():
    weights, gradient = torch.randn(2, 16, 12, 3, 3, generator=torch.Generator().manual_seed(0))
    moved = []
    for tensors in ((weights, gradient), (weights.flatten(1), gradient.flatten(1)),
                    [x.to(memory_format=torch.channels_last) for x in (weights, gradient)]):  # fmt: skip
        parameter = nn.Parameter(tensors[0].clone())
        parameter.grad = tensors[1]
        Muon([parameter], lr=0.02).step()
        moved.append(parameter.detach().reshape(16, -1))
    torch.testing.assert_close(moved[0], moved[1])
    torch.testing.assert_close(moved[0], moved[2])


@pytest.mark.parametrize("shape", [(32, 50), (50, 32)])
def test_all_singular_values_of_a_step_are_about_one(shape):
    weak = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    strong = 5 * weak[:, :1] @ weak[:1]
    values = torch.linalg.svdvals(orthogonal(weak + strong))
    assert torch.linalg.svdvals(weak + strong)[1] < 0.1 * torch.linalg.svdvals(weak + strong)[0]
    assert values.min() > 0.6 and values.max() < 1.2


def test_directions_stay():
    matrix = torch.randn(20, 30, generator=torch.Generator().manual_seed(2))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.allclose(u.T @ orthogonal(matrix) @ v.T, torch.eye(20), atol=0.35)


def test_nothing_comes_of_nothing():
    assert (orthogonal(torch.zeros(12, 20)) == 0).all()


def test_a_network_goes_on_exactly_from_a_saved_state():
    def gradients(net, seed):
        generator = torch.Generator().manual_seed(seed)
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)

    one, two = build("DuoNet"), build("DuoNet")
    first = Muon(one.parameters(), lr=0.01, weight_decay=0.02)
    gradients(one, 1)
    first.step()
    two.load_state_dict(one.state_dict())
    second = Muon(two.parameters(), lr=0.01, weight_decay=0.02)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for net, optimizer in ((one, first), (two, second)):
        gradients(net, 2)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))


def test_most_weights_of_the_course_are_matrices():
    for name in ("DuoNet", "DepthMaskNet"):
        parameters = list(build(name).parameters())
        assert sum(p.numel() for p in parameters if is_matrix(p)) > 0.99 * sum(p.numel() for p in parameters)


def test_a_closure_is_called():
    weight = nn.Parameter(torch.ones(20, 20))

    def closure():
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert Muon([weight], lr=0.1).step(closure) == 400
