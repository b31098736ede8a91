"""SSIM equals scikit-image's and torchmetrics', and stays within bounds for flat maps and large values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from helpers.metrics import gaussian_window, ssim_map, window_mean


def uniform(size=3):
    return torch.full((size,), 1 / size)


def maps(seed=0, count=3, height=40, width=33):
    """Smooth maps with an edge, and noisy versions of them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    target = np.stack([0.4 + 0.3 * np.sin(x / 5 + k) * np.cos(y / 7) + 0.2 * (x > 10 + 5 * k) for k in range(count)])
    other = (target + rng.normal(0, 0.05, target.shape)).clip(0, 1)
    return torch.from_numpy(target)[:, None].float(), torch.from_numpy(other)[:, None].float()


def test_the_gaussian_map_equals_scikit_image():
    x, y = maps()
    ours = ssim_map(x, y, gaussian_window())
    for a, b, got in zip(x[:, 0], y[:, 0], ours[:, 0]):
        _, full = structural_similarity(
            a.numpy(), b.numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, full=True
        )
        np.testing.assert_allclose(got, full[5:-5, 5:-5], atol=2e-4)
        assert got.shape == (30, 23)


@pytest.mark.parametrize("size", [3, 7])
def test_the_uniform_map_equals_scikit_image(size):
    x, y = (image.double() for image in maps(seed=1, count=1))
    _, full = structural_similarity(
        x[0, 0].numpy(), y[0, 0].numpy(), win_size=size, use_sample_covariance=False, data_range=1, full=True
    )
    edge = size // 2
    np.testing.assert_allclose(ssim_map(x, y, uniform(size))[0, 0], full[edge:-edge, edge:-edge], atol=1e-4)


def test_the_gaussian_map_equals_torchmetrics():
    x, y = maps(seed=2)
    _, full = structural_similarity_index_measure(y, x, data_range=1.0, return_full_image=True)
    torch.testing.assert_close(ssim_map(x, y, gaussian_window()), full[..., 5:-5, 5:-5], atol=1e-3, rtol=0)


@pytest.mark.parametrize("window", [gaussian_window(), gaussian_window(5, 0.8), uniform(), uniform(4)])
def test_windows_are_symmetric_and_sum_to_1(window):
    assert window.sum() == pytest.approx(1, abs=1e-6) and torch.equal(window, window.flip(0))


def test_the_window_mean_is_a_weighted_mean_around_each_pixel():
    x, window = torch.rand(2, 1, 9, 8, generator=torch.Generator().manual_seed(0)), gaussian_window(5, 1.0)
    weights = window[:, None] * window[None]
    wanted = torch.tensor([[(x[0, 0, i : i + 5, j : j + 5] * weights).sum() for j in range(4)] for i in range(5)])
    torch.testing.assert_close(window_mean(x, window)[0, 0], wanted)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_it_is_symmetric_at_most_1_and_1_for_equal_maps(seed, level, contrast):
    generator = torch.Generator().manual_seed(seed)
    x = level + contrast * (torch.rand(1, 1, 12, 12, generator=generator) - level)
    y = torch.rand(1, 1, 12, 12, generator=generator)
    for window in (gaussian_window(), uniform()):
        similarity = ssim_map(x, y, window)
        torch.testing.assert_close(similarity, ssim_map(y, x, window))
        assert similarity.min() >= -1 - 1e-4 and similarity.max() <= 1 + 1e-4
        torch.testing.assert_close(ssim_map(x, x, window), torch.ones_like(similarity))


def test_more_noise_is_less_similar():
    x, _ = maps()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    means = [ssim_map(x, x + level * noise, gaussian_window()).mean() for level in (0.01, 0.05, 0.2)]
    assert 1 > means[0] > means[1] > means[2]


@pytest.mark.parametrize("level", [10, 31.7, 99.7, 300])
def test_values_far_outside_the_range_do_not_upset_it(level):
    """Raw logits may be anything; rounding must not turn a variance of zero into a negative one."""
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    for x in (torch.full_like(noise, level), level + 0.01 * noise, (noise > 0.5) * level):
        for window in (uniform(), gaussian_window()):
            for y in (noise, 1 - x, x):
                similarity = ssim_map(x, y, window)
                assert similarity.abs().max() <= 1.001
