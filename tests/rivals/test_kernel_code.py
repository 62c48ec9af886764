import math

import numpy as np
import pytest
import torch
from torch import Tensor

from arcsr_lightning.degradation.kernels import gaussian_kernel, motion_kernel, random_trajectory
from arcsr_lightning.rivals.kernel_code import principal_kernels, variance_kept


def motion_kernels(number: int, bend: float, seed: int = 0) -> Tensor:
    """Kernels (number, 21*21) of paths up to 20 HR px long."""
    rng = np.random.default_rng(seed)
    kernels = []
    for _ in range(number):
        path = random_trajectory(rng, rng.uniform(0, 20), bend)
        path *= min(1, 9.999 / np.abs(path).max())
        kernels.append(motion_kernel(path, 21))
    return torch.stack(kernels).flatten(1)


def gaussian_kernels(number: int) -> Tensor:
    """Anisotropic Gaussians (number, 21, 21) with variances of 0.7 to 10, as MANet's."""
    rng = np.random.default_rng(0)
    draws = zip(rng.uniform(0.7, 10, (number, 2)) ** 0.5, rng.uniform(0, math.pi, number), strict=True)
    return torch.stack([gaussian_kernel(21, *sigmas, angle) for sigmas, angle in draws])


@pytest.mark.parametrize(("code", "straight", "curved"), [(15, 0.92, 0.87), (32, 0.965, 0.94), (64, 0.99, 0.975)])
def test_a_refit_code_keeps_what_tells_motion_kernels_apart(code, straight, curved):
    """The published figures, 92, 96 to 97 and 99 %, hold for straight and slightly curved paths; curves need more."""
    lines = motion_kernels(800, bend=0.0)
    _, kept = principal_kernels(torch.cat([lines, motion_kernels(800, bend=0.1)]), code)
    assert kept.item() == pytest.approx(straight, abs=0.015)
    _, kept = principal_kernels(torch.cat([lines, motion_kernels(800, bend=1.0)]), code)
    assert kept.item() == pytest.approx(curved, abs=0.015)


def test_a_code_of_gaussians_loses_motion():
    """Fifteen dimensions keep all of Gaussians, but three times less of the rest of motion kernels than a refit.

    Off their window's centre by a pixel and a half, as MANet's own are, they keep little more than a quarter.
    """
    gaussians = gaussian_kernels(1000)
    off_centre = sum(gaussians.roll((-dy, -dx), (1, 2)) for dy in (1, 2) for dx in (1, 2)) / 4
    motion = torch.cat([motion_kernels(500, bend=0.0), motion_kernels(500, bend=0.1)])
    basis, own = principal_kernels(gaussians.flatten(1), 15)
    _, refit = principal_kernels(motion, 15)
    assert own > 0.995
    assert 1 - variance_kept(motion, basis) > 2.5 * (1 - refit)
    basis, own = principal_kernels(off_centre.flatten(1), 15)
    assert own > 0.995
    assert variance_kept(motion, basis).item() == pytest.approx(0.28, abs=0.04)


def test_variance_kept_is_what_projection_leaves():
    torch.manual_seed(0)
    kernels = torch.rand(50, 9) @ torch.rand(9, 9)
    basis, kept = principal_kernels(kernels, 3)
    centred = kernels - kernels.mean(0)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(kept, 1 - (centred - centred @ basis @ basis.T).square().sum() / centred.square().sum())
    torch.testing.assert_close(kept, torch.linalg.svdvals(centred)[:3].square().sum() / centred.square().sum())
