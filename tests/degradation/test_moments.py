import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import dense_field
from arcsr_lightning.degradation.moments import blend_covariance, field_covariance


@pytest.fixture
def blend():
    """Kernels off the middle, and masks, in float64."""
    torch.manual_seed(0)
    kernels = torch.rand(2, 3, 25, dtype=torch.float64).softmax(-1).unflatten(-1, (5, 5)).roll(1, -1)
    return kernels, torch.rand(2, 3, 4, 6, dtype=torch.float64).softmax(1)


def test_moments_equal_those_of_numpy(blend):
    field = dense_field(*blend)  # (B, 25, H, W)
    offsets = np.array([(i - 2, j - 2) for i in range(5) for j in range(5)]).T
    measured = field_covariance(field)
    for b, y, x in np.ndindex(2, 4, 6):
        expected = np.cov(offsets, aweights=field[b, :, y, x], ddof=0)
        for part, place in zip(measured, ((0, 0), (1, 1), (0, 1)), strict=True):
            assert part[b, y, x].item() == pytest.approx(expected[place], rel=1e-9)


def test_moments_of_a_blend_are_those_of_its_field(blend):
    for part, expected in zip(blend_covariance(*blend), field_covariance(dense_field(*blend)), strict=True):
        torch.testing.assert_close(part, expected)
