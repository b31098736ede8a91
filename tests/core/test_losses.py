"""Losses: equal to references, finite everywhere, better predictions cost less, unknown depth has no influence."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from toy import ToyQuartets

from helpers.losses import (
    CourseLoss,
    PublishedLoss,
    gradient_loss,
    masked_mean,
    published_ssim_loss,
    saturating_bce,
    soft_dice_loss,
    ssim_loss,
)

both = pytest.mark.parametrize("loss", [CourseLoss(), PublishedLoss()], ids=["course", "published"])
seeds = st.integers(0, 10_000)


def toys(count=3, size=32):
    return ToyQuartets(size=size).get_batch(range(0, 7 * count, 7))


def random_batch(seed=0, count=2, size=16):
    """Noise in every key; about a third of the pixels are not valid."""
    generator = torch.Generator().manual_seed(seed)
    mask, depth, valid = torch.rand(3, count, 1, size, size, generator=generator)
    return {"mask": (mask > 0.7).float(), "depth": depth, "valid": valid > 0.3}


def random_logits(seed=0, count=2, size=16, scale=2.0):
    generator = torch.Generator().manual_seed(seed + 1)
    return [scale * torch.randn(count, 1, size, size, generator=generator) for _ in range(2)]


def logit(prob, confidence=0.999):
    return torch.logit(prob * confidence + (1 - confidence) / 2)


# -- each part against a reference ----------------------------------------------------------------------------------


@both
def test_the_mask_part_is_torchs_cross_entropy(loss):
    batch, (mask_logits, depth_logits) = random_batch(), random_logits()
    wanted = F.binary_cross_entropy(mask_logits.sigmoid(), batch["mask"])
    torch.testing.assert_close(loss(mask_logits, depth_logits, batch)["mask_bce"], wanted)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("per_image, smooth", [(True, 1.0), (False, 1.0), (True, 0.1)])
def test_dice_equals_a_plain_computation(per_image, smooth, power):
    prob, target = random_batch(1)["depth"], random_batch(2)["depth"]
    groups = zip(prob.numpy(), target.numpy()) if per_image else [(prob.numpy(), target.numpy())]
    wanted = np.mean([1 - (2 * (p * t).sum() + smooth) / ((p**power + t**power).sum() + smooth) for p, t in groups])
    assert soft_dice_loss(prob, target, smooth, per_image, squared=power == 2).item() == pytest.approx(wanted, abs=1e-6)


def test_only_squared_dice_has_its_minimum_at_a_soft_target():
    target = F.avg_pool2d(toys(size=64)["mask"], 4)  # (3, 1, 16, 16), with edges between 0 and 1
    hard = (target > 0.5).float()
    assert soft_dice_loss(target, target) > soft_dice_loss(hard, target) > 0.01
    assert soft_dice_loss(target, target, squared=True) == pytest.approx(0, abs=1e-6)
    prob = target.clone().requires_grad_()
    soft_dice_loss(prob, target, squared=True).backward()
    assert prob.grad.abs().max() < 1e-7 < 1e-3 < soft_dice_loss(hard, target, squared=True)


def test_the_courses_dice_is_of_each_image_and_the_published_one_of_the_batch():
    batch, (mask_logits, depth_logits) = random_batch(), random_logits()
    batch["mask"][0, :, 1:] = 0  # a small cat and a large one
    for loss, per_image in ((CourseLoss(), True), (PublishedLoss(), False)):
        wanted = soft_dice_loss(mask_logits.sigmoid(), batch["mask"], per_image=per_image)
        torch.testing.assert_close(loss(mask_logits, depth_logits, batch)["mask_dice"], wanted)


def test_ssim_loss_equals_scikit_image():
    x, y = toys(2)["depth"].double(), random_batch(count=2, size=32)["depth"].double()
    wanted = []
    for a, b in zip(x[:, 0].numpy(), y[:, 0].numpy()):
        _, full = structural_similarity(a, b, win_size=3, use_sample_covariance=False, data_range=1, full=True)
        wanted.append((1 - full[1:-1, 1:-1]).mean() / 2)
    everywhere = torch.ones_like(x, dtype=torch.bool)
    assert ssim_loss(x, y, everywhere).item() == pytest.approx(np.mean(wanted), abs=1e-4)


def kornia_ssim_loss(x, y):
    """kornia 0.3.1's SSIM(window_size=3, reduction="mean"), from its formula."""
    g = torch.exp(-torch.tensor([-1.0, 0.0, 1.0]).to(x) ** 2 / (2 * 1.5**2))
    kernel = torch.outer(g, g)[None, None] / g.sum() ** 2

    def mean(image):
        return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernel)

    xx, yy, xy = mean(x * x) - mean(x) ** 2, mean(y * y) - mean(y) ** 2, mean(x * y) - mean(x) * mean(y)
    luminance = (2 * mean(x) * mean(y) + 0.01**2) / (mean(x) ** 2 + mean(y) ** 2 + 0.01**2)
    return torch.clamp(1 - luminance * (2 * xy + 0.03**2) / (xx + yy + 0.03**2), 0, 1).mean() / 2


def value_and_gradient(loss, logits, *arguments):
    logits = logits.clone().requires_grad_()
    value = loss(logits, *arguments)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_published_ssim_is_kornias(scale):
    target, raw = toys(2)["depth"].double(), scale * random_logits(count=2, size=32)[1].double()
    ours = value_and_gradient(published_ssim_loss, raw, target, torch.ones_like(raw, dtype=torch.bool))
    wanted = value_and_gradient(kornia_ssim_loss, raw, target)
    for got, reference in zip(ours, wanted):
        torch.testing.assert_close(got, reference, rtol=1e-5, atol=1e-8)


def test_the_published_ssim_has_no_gradient_where_it_is_negative_and_the_courses_has():
    target = toys(1)["depth"]
    opposite, everywhere = 1 - target, torch.ones_like(target, dtype=torch.bool)
    published, course = (value_and_gradient(loss, opposite, target, everywhere) for loss in (published_ssim_loss, ssim_loss))
    assert published[0] <= 0.5 and course[0] > published[0]
    assert (published[1] == 0).sum() > (course[1] == 0).sum()


def test_the_published_cross_entropy_is_bce_loss_after_a_sigmoid():
    logits = torch.tensor([-200.0, -100, -30, -20, -3, 0, 3, 16, 17, 20, 200]).repeat(3, 1)
    target = torch.tensor([[0.0], [0.4], [1.0]]).expand_as(logits)
    ours = value_and_gradient(lambda x: saturating_bce(x.sigmoid(), target), logits)
    wanted = value_and_gradient(lambda x: torch.nn.BCELoss(reduction="none")(x.sigmoid(), target), logits)
    assert all(torch.equal(*pair) for pair in zip(ours, wanted))
    assert (ours[0][0, 9], ours[1][0, 9]) == (100, 0)  # as wrong as can be, and nothing to learn from


def test_the_published_cross_entropy_is_not_worked_out_in_16_bits():
    with torch.autocast("cpu", torch.bfloat16):
        part = PublishedLoss()(*(x.bfloat16() for x in random_logits()), random_batch())["mask_bce"]
    torch.testing.assert_close(part, F.binary_cross_entropy(random_logits()[0].bfloat16().float().sigmoid(), random_batch()["mask"]))


@both
@pytest.mark.parametrize("head", [0, 1])
def test_a_logit_that_is_no_number_makes_the_loss_none(loss, head):
    """The training loop looks for that; an error from inside the loss would hide it."""
    logits = random_logits()
    logits[head][0, 0, 3, 3] = math.nan
    valid = {"valid": torch.ones_like(random_batch()["valid"])}
    assert loss(*logits, {**random_batch(), **valid})["loss"].isnan()


def test_gradient_loss_equals_a_plain_loop():
    batch, prediction = random_batch(3, size=13), random_batch(4, size=13)["depth"]
    total = 0.0
    for k in range(4):
        step = 2**k
        for across in (0, 1):
            slopes = []
            for p, t, v in zip(prediction[:, 0].numpy(), batch["depth"][:, 0].numpy(), batch["valid"][:, 0].numpy()):
                p, t, v = (a.T if across else a for a in (p, t, v))
                for i in range(0, 13, step):
                    for j in range(step, 13, step):
                        if v[i, j] and v[i, j - step]:
                            slopes.append(abs((p[i, j] - p[i, j - step]) - (t[i, j] - t[i, j - step])))
            total += np.mean(slopes)
    assert gradient_loss(prediction, batch["depth"], batch["valid"]).item() == pytest.approx(total / 4, abs=1e-5)


def test_the_gradient_loss_ignores_a_shift_and_sees_a_lost_edge():
    depth = toys()["depth"]
    everywhere = torch.ones_like(depth, dtype=torch.bool)
    assert gradient_loss(depth + 0.2, depth, everywhere).item() == pytest.approx(0, abs=1e-6)
    blurred = F.avg_pool2d(F.pad(depth, (2, 2, 2, 2), mode="replicate"), 5, 1)
    assert gradient_loss(blurred, depth, everywhere) > 0.01


def test_the_masked_mean_of_nothing_is_0_without_gradient():
    values = torch.randn(5, requires_grad=True)
    where = torch.tensor([True, False, True, False, False])
    assert masked_mean(values, where).item() == pytest.approx(((values[0] + values[2]) / 2).item())
    nothing = masked_mean(values, torch.zeros(5, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0 and (values.grad == 0).all()


# -- the parts and their sum ----------------------------------------------------------------------------------------

PARTS = {
    CourseLoss: {"mask_bce", "mask_dice", "depth_l1", "depth_ssim", "depth_gradient"},
    PublishedLoss: {"mask_bce", "mask_dice", "depth_bce", "depth_dice", "depth_l1", "depth_ssim"},
}


@both
def test_the_parts_sum_to_the_loss(loss):
    parts = loss(*random_logits(), random_batch())
    total = parts.pop("loss")
    assert parts.keys() == PARTS[type(loss)] and all(part > 0 for part in parts.values())
    weights = {"depth_l1": 2, "depth_ssim": 4, "depth_gradient": 4} if isinstance(loss, CourseLoss) else {}
    torch.testing.assert_close(total, sum(part * weights.get(key, 1) for key, part in parts.items()))


def test_the_weights_of_the_depth_and_of_its_structure():
    logits, batch = random_logits(), random_batch()
    equal, l1, none = (CourseLoss(depth_weight=d, structure_weight=s)(*logits, batch) for d, s in ((1, 1), (1, 0), (0, 1)))
    mask = none["mask_bce"] + none["mask_dice"]
    torch.testing.assert_close(equal["loss"], sum(part for key, part in equal.items() if key != "loss"))
    torch.testing.assert_close(l1["loss"], mask + l1["depth_l1"])
    torch.testing.assert_close(none["loss"], mask)


def test_the_weight_of_the_gradient_part():
    logits, batch = random_logits(), random_batch()
    whole, half, none = (CourseLoss(weight)(*logits, batch)["depth_gradient"] for weight in (1.0, 0.5, 0.0))
    wanted = gradient_loss(logits[1].sigmoid(), batch["depth"], batch["valid"])
    torch.testing.assert_close(torch.stack((whole, 2 * half, none)), torch.stack((wanted, wanted, 0 * wanted)))
    torch.testing.assert_close(CourseLoss()(*logits, batch)["depth_gradient"], half)


def test_the_course_compares_the_sigmoid_and_the_published_loss_the_raw_logit():
    batch = toys()
    mask_logits, depth = logit(batch["mask"]), batch["depth"]
    read_raw, read_sigmoid = depth.clone(), logit(depth, 1 - 1e-6)
    published, course = PublishedLoss(), CourseLoss()
    assert published(mask_logits, read_raw, batch)["depth_l1"] == 0
    assert published(mask_logits, read_raw, batch)["depth_ssim"].item() == pytest.approx(0, abs=1e-6)
    assert published(mask_logits, read_sigmoid, batch)["depth_l1"] > 0.5
    assert (
        published(mask_logits, read_sigmoid, batch)["depth_bce"] < published(mask_logits, read_raw, batch)["depth_bce"]
    )
    for part in ("depth_l1", "depth_ssim", "depth_gradient"):
        assert course(mask_logits, read_sigmoid, batch)[part].item() == pytest.approx(0, abs=1e-4)
        assert course(mask_logits, read_raw, batch)[part] > 0.01


def test_the_published_parts_on_the_sigmoid_equal_plain_computations():
    batch, (mask_logits, depth_logits) = random_batch(), random_logits()
    p, t, v = (a.numpy() for a in (depth_logits.sigmoid(), batch["depth"], batch["valid"]))
    parts = PublishedLoss()(mask_logits, depth_logits, batch)
    assert parts["depth_bce"].item() == pytest.approx(-(t * np.log(p) + (1 - t) * np.log(1 - p))[v].mean(), abs=1e-5)
    assert parts["depth_dice"].item() == pytest.approx(
        1 - (2 * (p * t)[v].sum() + 1) / (p[v].sum() + t[v].sum() + 1), abs=1e-5
    )
    assert parts["depth_l1"].item() == pytest.approx(np.abs(depth_logits.numpy() - t)[v].mean(), abs=1e-5)


# -- nothing breaks them --------------------------------------------------------------------------------------------


def altered(batch, **changes):
    return {**batch, **{key: torch.full_like(batch[key], value) for key, value in changes.items()}}


HARD = {
    "as usual": lambda b: b,
    "no valid pixel": lambda b: altered(b, valid=False),
    "one valid pixel": lambda b: {**b, "valid": torch.arange(256).eq(77).view(1, 1, 16, 16).expand(2, -1, -1, -1)},
    "an empty mask": lambda b: altered(b, mask=0),
    "a full mask": lambda b: altered(b, mask=1),
    "flat depth": lambda b: altered(b, depth=0.5),
    "nothing at all": lambda b: altered(b, mask=0, depth=0, valid=False),
}
LOGITS = {
    "noise": random_logits(),
    "zero": random_logits(scale=0.0),
    "half": [torch.full((2, 1, 16, 16), 0.5)] * 2,
    "+100": [torch.full((2, 1, 16, 16), 100.0)] * 2,
    "-100": [torch.full((2, 1, 16, 16), -100.0)] * 2,
    "either": [torch.where(logits > 0, 100.0, -100.0) for logits in random_logits()],
}


@both
@pytest.mark.parametrize("change", HARD.values(), ids=HARD)
@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
def test_values_and_gradients_are_finite(loss, change, logits):
    logits = [value.clone().requires_grad_() for value in logits]
    parts = loss(*logits, change(random_batch()))
    assert all(torch.isfinite(part) and part >= -1e-6 for part in parts.values()), parts
    parts["loss"].backward()
    assert all(torch.isfinite(value.grad).all() for value in logits)


@both
def test_a_prediction_equal_to_the_target_has_a_finite_gradient(loss):
    batch = toys()
    logits = [batch["mask"].clone().requires_grad_(), batch["depth"].clone().requires_grad_()]
    loss(*logits, batch)["loss"].backward()
    assert all(torch.isfinite(value.grad).all() for value in logits)


def test_16_bit_logits_are_summed_in_32_bits():
    batch = toys(size=64)
    logits = random_logits(count=3, size=64)
    rough = CourseLoss()(*(value.half() for value in logits), batch)
    exact = CourseLoss()(*(value.half().float() for value in logits), batch)
    for key, part in rough.items():
        assert part.dtype == torch.float32
        torch.testing.assert_close(part, exact[key])


def test_an_empty_mask_is_a_target_like_any_other():
    """Predicting nothing where there is nothing costs nothing, and every wrong pixel costs more."""
    empty = torch.zeros(1, 1, 8, 8)
    costs = []
    for wrong in range(0, 20, 4):
        prob = empty.clone()
        prob.view(-1)[:wrong] = 1
        costs.append(soft_dice_loss(prob, empty).item())
    assert costs[0] == 0 and costs == sorted(set(costs)) and costs[-1] < 1
    assert soft_dice_loss(torch.ones_like(empty), torch.ones_like(empty)) == 0


# -- unknown depth has no influence -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("rubbish", [-7.0, 1e6, math.nan, math.inf])
def test_the_target_of_an_invalid_pixel_has_no_influence_and_no_gradient(loss, rubbish):
    batch = random_batch()
    soiled = {**batch, "depth": batch["depth"].masked_fill(~batch["valid"], rubbish)}
    results = []
    for target in (batch, soiled):
        mask_logits, depth_logits = (value.requires_grad_() for value in random_logits())
        parts = loss(mask_logits, depth_logits, target)
        parts["loss"].backward()
        assert (depth_logits.grad[~batch["valid"]] == 0).all()
        assert (depth_logits.grad[batch["valid"]] != 0).any()
        results.append(torch.cat([*(part.view(1) for part in parts.values()), depth_logits.grad.flatten()]))
    torch.testing.assert_close(*results, rtol=0, atol=0)


@both
def test_the_prediction_at_an_invalid_pixel_has_no_influence(loss):
    batch, (mask_logits, depth_logits) = random_batch(), random_logits()
    wild = torch.where(batch["valid"], depth_logits, 30 * torch.randn_like(depth_logits))
    for part, same in zip(loss(mask_logits, depth_logits, batch).values(), loss(mask_logits, wild, batch).values()):
        assert part == same


@pytest.mark.parametrize("loss", [ssim_loss, published_ssim_loss])
def test_an_invalid_pixel_has_no_influence_on_ssim_and_no_gradient(loss):
    batch = random_batch()
    results = []
    for other in (0.1, 0.9):
        soiled = [torch.where(batch["valid"], x, other) for x in (random_logits()[1], batch["depth"])]
        value, gradient = value_and_gradient(loss, *soiled, batch["valid"])
        assert (gradient[~batch["valid"]] == 0).all()
        results.append((value, gradient))
    assert all(torch.equal(*pair) for pair in zip(*results)) and results[0][0] > 0


def test_one_invalid_pixel_takes_exactly_its_windows_out_of_the_ssim_loss():
    x, y = random_batch(5, 1, 8)["depth"], random_batch(6, 1, 8)["depth"]
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[..., 3, 3] = False
    away = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    away[..., 1:4, 1:4] = False
    windows = torch.stack([
        ssim_loss(x[..., i : i + 3, j : j + 3], y[..., i : i + 3, j : j + 3], valid[..., :3, :3])
        for i in range(6) for j in range(6)
    ]).view(1, 1, 6, 6)  # fmt: skip
    torch.testing.assert_close(ssim_loss(x, y, valid), windows[away].mean())


# -- better predictions cost less -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(seeds, st.floats(0.05, 0.45), st.floats(0.1, 0.9))
def test_on_the_way_to_the_ground_truth_every_part_falls(seed, share, noise):
    batch = toys(2)
    start = random_logits(seed, 2, 32, noise)
    goal = [logit(batch["mask"]), logit(batch["depth"])]
    far, near = ([s + step * (g - s) for s, g in zip(start, goal)] for step in (share, share + 0.5))
    worse, better = CourseLoss()(*far, batch), CourseLoss()(*near, batch)
    for key in worse:
        assert better[key] < worse[key], key


@settings(deadline=None, max_examples=10)
@given(seeds, st.floats(0.05, 0.45))
def test_the_published_loss_falls_on_the_way_to_the_raw_depth(seed, share):
    batch = toys(2)
    start = random_logits(seed, 2, 32, 3.0)
    goal = [logit(batch["mask"]), batch["depth"]]
    far, near = ([s + step * (g - s) for s, g in zip(start, goal)] for step in (share, share + 0.5))
    worse, better = PublishedLoss()(*far, batch), PublishedLoss()(*near, batch)
    for key in ("mask_bce", "mask_dice", "depth_l1", "depth_ssim", "loss"):
        assert better[key] < worse[key], key


@both
def test_gradient_descent_on_the_logits_finds_the_mask(loss):
    batch = random_batch(size=8)
    logits = [torch.zeros_like(batch[key], requires_grad=True) for key in ("mask", "depth")]
    optimizer = torch.optim.Adam(logits, 0.3)
    start = loss(*logits, batch)
    for _ in range(40):
        optimizer.zero_grad()
        loss(*logits, batch)["loss"].backward()
        optimizer.step()
    end = loss(*logits, batch)
    assert ((logits[0] > 0) == (batch["mask"] > 0.5)).all()
    assert end["loss"] < 0.5 * start["loss"] and end["depth_l1"] < 0.5 * start["depth_l1"]


def test_the_losses_have_no_parameters_of_their_own():
    for loss in (CourseLoss(), PublishedLoss()):
        assert not list(loss.parameters()) and not loss.state_dict()
