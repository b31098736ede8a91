"""What a recipe refuses, and Muon: equal to torch's own where that has one, and what its steps are like."""

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from helpers.config import CourseError
from helpers.model import build
from helpers.recipes import LOSSES, NARROW, STEPS, A, B, C, Muon, Stage, is_matrix, make_optimizer, orthogonal, recipe

# -- recipes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages, message", [
    ((), r"stages=\(\): a recipe needs at least one, such as Stage\(size=64"),
    ((Stage(64, 32, 1), Stage(96, 32, 0)), r"Stage\(size=96, batch=32, epochs=0\): size, batch and epochs must be at least 1"),
    ((Stage(64, 0, 1),), "batch=0"),
    ((Stage(-64, 32, 1),), "size=-64"),
])  # fmt: skip
def test_a_recipe_without_anything_to_train_is_refused(stages, message):
    with pytest.raises(CourseError, match=message):
        recipe("course", stages=stages)


def test_only_the_published_recipe_shrinks_without_antialiasing():
    assert [recipe(name).antialias for name in ("published", "course", "fine-tune")] == [False, True, True]


def test_nobody_changes_the_table_of_losses():
    with pytest.raises(TypeError):
        LOSSES["own"] = nn.Module


# -- Muon -----------------------------------------------------------------------------------------------------------


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


def test_a_gradient_may_lie_in_memory_otherwise_than_its_weights():
    weights, gradient = torch.randn(2, 16, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    moved = []
    for memory in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(weights.clone(memory_format=memory))
        parameter.grad = gradient
        Muon([parameter], lr=0.02).step()
        moved.append(parameter.detach())
    torch.testing.assert_close(*moved)


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


def test_what_five_steps_make_of_a_singular_value():
    values = torch.logspace(-3, 0, 100_001, dtype=torch.float64)
    after = values
    for _ in range(STEPS):
        after = A * after + B * after**3 + C * after**5
    assert after[0].item() == pytest.approx(0.47, abs=0.005) and after.max().item() == pytest.approx(1.20, abs=0.005)
    assert after[values > 0.0015].min().item() == pytest.approx(0.68, abs=0.005)


def test_directions_stay():
    matrix = torch.randn(20, 30, generator=torch.Generator().manual_seed(2))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.allclose(u.T @ orthogonal(matrix) @ v.T, torch.eye(20), atol=0.35)


def test_nothing_comes_of_nothing():
    assert (orthogonal(torch.zeros(12, 20)) == 0).all()


def gradients(net, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def mixed():
    """Weights for both halves of Muon."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16))


def test_both_halves_follow_the_rate_that_is_set_from_outside():
    for rates in ([0.0, 0.0], [0.02, 0.0]):
        net = mixed()
        optimizer, start = Muon(net.parameters(), lr=0.1), [p.detach().clone() for p in net.parameters()]
        for seed, rate in enumerate(rates):
            for group in optimizer.param_groups:
                group["lr"] = rate
            gradients(net, seed)
            optimizer.step()
        assert all(torch.equal(a, b) == (not any(rates)) for a, b in zip(start, net.parameters()))


def test_weights_without_a_gradient_stay_and_gradients_are_cleared():
    net = mixed()
    gradients(net, 0)
    net[1].weight.grad = net[2].bias.grad = None
    optimizer, start = Muon(net.parameters(), lr=0.1), [p.detach().clone() for p in net.parameters()]
    optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(start, net.parameters())]
    assert moved == [name not in ("1.weight", "2.bias") for name, _ in net.named_parameters()]
    optimizer.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("finite", [True, False])
def test_a_gradient_scaler_undoes_its_scale_for_both_halves_and_leaves_out_a_step_with_overflow(finite):
    plain, scaled = mixed(), mixed()
    start = [p.detach().clone() for p in plain.parameters()]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(()))  # which makes it begin
    for net in (plain, scaled):
        gradients(net, 1)
    for p in scaled.parameters():
        p.grad *= 1024
    if not finite:
        scaled[2].bias.grad[0] = torch.inf
    Muon(plain.parameters(), lr=0.1).step()
    scaler.step(Muon(scaled.parameters(), lr=0.1))
    for before, a, b in zip(start, plain.parameters(), scaled.parameters()):
        torch.testing.assert_close(b.detach(), a.detach() if finite else before)


def test_accelerate_prepares_it():
    accelerator, (plain, prepared) = Accelerator(cpu=True), (mixed(), mixed())
    wrapped, optimizer = accelerator.prepare(prepared, make_optimizer(prepared, recipe("course")))
    other = make_optimizer(plain, recipe("course"))
    for seed in range(2):
        for net, one in ((plain, other), (wrapped, optimizer)):
            gradients(net, seed)
            one.step()
            one.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), wrapped.parameters()))


def test_a_network_goes_on_exactly_from_a_saved_state():
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
