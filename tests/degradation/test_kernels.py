"""Gaussian kernels against kornia; trajectories and their kernels against what defines them."""

import numpy as np
import pytest
import torch
from kornia.filters import get_gaussian_kernel2d
from scipy.stats import multivariate_normal

from arcsr_lightning.degradation import gaussian_kernel, motion_kernel, random_trajectory
from arcsr_lightning.degradation.kernels import path_length


def test_axis_aligned_gaussian_equals_kornia():
    expected = get_gaussian_kernel2d((15, 15), (1.3, 2.6))[0]  # kornia takes (sigma_y, sigma_x)
    torch.testing.assert_close(gaussian_kernel(15, 2.6, 1.3), expected)


def test_turned_gaussian_has_the_turned_covariance():
    axis = np.array([np.sin(0.5), np.cos(0.5)])  # (y, x) of the first principal axis
    covariance = 9 * np.outer(axis, axis) + 1 * (np.eye(2) - np.outer(axis, axis))
    grid = np.stack(np.meshgrid(np.arange(-10, 11), np.arange(-10, 11), indexing="ij"), axis=-1)
    density = multivariate_normal(cov=covariance).pdf(grid)
    np.testing.assert_allclose(gaussian_kernel(21, 3, 1, 0.5), density / density.sum(), atol=1e-7)


def test_a_narrow_gaussian_tends_to_a_delta():
    assert torch.equal(gaussian_kernel(5, 1e-3, 1e-3).nonzero(), torch.tensor([[2, 2]]))


@pytest.mark.parametrize("bend", [0.0, 1.0, 3.0])
def test_trajectory_has_the_length_asked_for_and_is_centred(bend):
    for seed in range(20):
        path = random_trajectory(np.random.default_rng(seed), 13.0, bend)
        assert path_length(path) == pytest.approx(13)
        np.testing.assert_allclose(path.mean(0), 0, atol=1e-12)


def test_without_bend_the_path_is_a_straight_line_at_constant_speed():
    step = np.diff(random_trajectory(np.random.default_rng(0), 10.0, bend=0), axis=0)
    np.testing.assert_allclose(step, np.broadcast_to(step[0], step.shape), atol=1e-12)


def test_trajectory_is_smooth_and_its_speed_varies():
    step = np.diff(random_trajectory(np.random.default_rng(0), 24.0, bend=2), axis=0)
    speed = np.linalg.norm(step, axis=1)
    assert speed.max() > 1.5 * speed.min()
    assert np.linalg.norm(np.diff(step, axis=0), axis=1).max() < 0.1 * speed.max()


def test_motion_kernel_is_the_bilinear_splat_of_the_path():
    path = np.array([[0.25, -1.5], [2.0, 2.0], [-2.0, 0.0], [0.1, 0.9]])
    expected = np.zeros((5, 5))
    for y in range(5):
        for x in range(5):
            hats = np.maximum(0, 1 - np.abs(path - (y - 2, x - 2)))
            expected[y, x] = hats.prod(axis=1).mean()
    torch.testing.assert_close(motion_kernel(path, 5), torch.from_numpy(expected).float(), atol=1e-7, rtol=0)


def test_many_paths_have_the_kernel_of_each():
    paths = np.random.default_rng(0).uniform(-2, 2, (2, 3, 10, 2))
    kernels = motion_kernel(paths, 5)
    assert kernels.shape == (2, 3, 5, 5)
    assert torch.equal(kernels[1, 2], motion_kernel(paths[1, 2], 5))


def test_a_path_that_leaves_the_window_is_refused():
    with pytest.raises(ValueError, match=r"reaches 3\.00 px from the centre; kernel_size 5 holds 2"):
        motion_kernel(np.array([[0.0, 0.0], [0.0, -3.0]]), 5)


@pytest.mark.parametrize("make", [lambda: gaussian_kernel(4, 1, 1), lambda: motion_kernel(np.zeros((2, 2)), 4)])
def test_even_sizes_are_refused(make):
    with pytest.raises(ValueError, match="kernel_size must be odd.*got 4"):
        make()


def test_sigma_zero_is_refused():
    with pytest.raises(ValueError, match="sigma must be positive"):
        gaussian_kernel(5, 0, 1)
