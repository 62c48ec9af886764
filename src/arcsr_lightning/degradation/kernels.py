"""Single blur kernels and the trajectories behind motion blur."""

import math
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from arcsr_lightning.errors import check_odd

ORDER = np.arange(1, 7)  # of the waves of the series that a random path is made of


def gaussian_kernel(kernel_size: int, sigma_x: float, sigma_y: float, angle: float = 0.0) -> Tensor:
    """Sample a Gaussian at pixel centres.

    Args:
        kernel_size: odd.
        sigma_x, sigma_y: standard deviations along the two principal axes, in pixels.
        angle: turns the first axis from the image's x axis towards its y axis, which points down, in radians.

    Returns:
        (kernel_size, kernel_size), summing to one.

    Raises:
        ValueError: an even kernel size, or a sigma that is not positive.
    """
    check_odd(kernel_size)
    if min(sigma_x, sigma_y) <= 0:
        raise ValueError(f"sigma must be positive, got {sigma_x} and {sigma_y}; use NoBlur for none")
    taps = torch.arange(kernel_size, dtype=torch.float64) - kernel_size // 2
    y, x = torch.meshgrid(taps, taps, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    # softmax of the exponent normalises and never divides zero by zero, however small sigma is
    exponent = -0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2)
    return torch.softmax(exponent.flatten(), 0).reshape(kernel_size, kernel_size).float()


def path_length(trajectory: np.ndarray) -> np.ndarray:
    """Length of a path (..., T, 2) in the unit of its points, (...)."""
    return np.linalg.norm(np.diff(trajectory, axis=-2), axis=-1).sum(-1)


def random_trajectory(rng: np.random.Generator, length: float, bend: float, steps: int = 256) -> np.ndarray:
    """Draw the smooth random path of one exposure.

    The velocity is a random cosine series over the exposure, so direction and speed both vary.

    Args:
        rng: source of the path.
        length: of the path, in pixels.
        bend: wave j of the series has weight ``bend / j``; 0 is a straight line at constant speed.
        steps: points of the path.

    Returns:
        (steps, 2) as (y, x) in pixels at equal times, centred at its mean.
    """
    line, swings = _waves(steps)
    basis = np.concatenate([line, swings * bend / ORDER], axis=1)  # (steps, 1 + waves)
    path = basis @ rng.standard_normal((1 + len(ORDER), 2))
    path -= path.mean(axis=0)
    return path * (length / path_length(path))


@lru_cache(maxsize=8)  # as many steps, path after path
def _waves(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """A line and the integrated cosines, (steps, 1) and (steps, waves)."""
    time = np.linspace(0.0, 1.0, steps)[:, None]
    return time, np.sin(np.pi * ORDER * time) / (np.pi * ORDER)


def motion_kernel(trajectory: np.ndarray, kernel_size: int) -> Tensor:
    """Measure the time that a path spends at each pixel; every point goes bilinearly to its four neighbours.

    Args:
        trajectory: (..., T, 2) as (y, x) in pixels from the centre, at equal times.
        kernel_size: odd.

    Returns:
        (..., kernel_size, kernel_size), non-negative, summing to one, its centroid at the mean of the points.

    Raises:
        ValueError: an even kernel size, or a path that leaves the window.
    """
    check_odd(kernel_size)
    radius = kernel_size // 2
    reach = np.abs(trajectory).max()
    if reach > radius:
        raise ValueError(
            f"the trajectory reaches {reach:.2f} px from the centre; kernel_size {kernel_size} holds {radius}"
        )
    *paths, points, _ = trajectory.shape
    y, x = trajectory.reshape(-1, points, 2).transpose(2, 0, 1)  # (paths, T) each
    top, left = np.floor(y), np.floor(x)
    below, right = y - top, x - left  # shares of the lower and the right neighbours
    side = kernel_size + 1  # one more row and column: neighbours of the last tap, with weight 0
    first = ((np.arange(len(y))[:, None] * side + top + radius) * side + left + radius).astype(np.int64)
    taps = np.zeros(len(y) * side**2)
    for down, across in product((0, 1), (0, 1)):
        weight = np.abs(1 - down - below) * np.abs(1 - across - right)
        taps += np.bincount((first + down * side + across).ravel(), weight.ravel(), minlength=taps.size)
    kernel = taps.reshape(*paths, side, side)[..., :kernel_size, :kernel_size] / points
    return torch.from_numpy(kernel).float()
