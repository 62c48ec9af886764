"""Kernel fields with taps in HR pixels against loops, and against the field with taps in LR pixels."""

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import MotionField, dense_field, lr_field
from arcsr_lightning.rivals.taps import hr_taps_field, to_hr_taps, to_lr_taps


def test_turning_hr_taps_into_lr_taps_is_what_the_lr_field_does():
    """At batch 2 with different fields, and with kernels smaller than the size asked for."""
    rng = np.random.default_rng(5)
    fields = [MotionField(kernel_size=9, max_length=8, regions=1)(rng, 16, 12) for _ in range(2)]
    kernels, masks = (torch.stack(parts) for parts in zip(*fields, strict=True))
    hr_taps = hr_taps_field(kernels, masks, scale=4, kernel_size=13)
    assert hr_taps.shape == (2, 169, 4, 3)
    torch.testing.assert_close(to_lr_taps(hr_taps, scale=4, kernel_size=5), lr_field(kernels, masks, 4, 5))


@pytest.mark.parametrize("kernel_size", [9, 13])
def test_an_lr_tap_is_shared_among_the_hr_taps_that_go_to_it(kernel_size):
    scale, size, radius = 4, 3, kernel_size // 2
    field = torch.rand(2, size**2, 2, 3, dtype=torch.float64).softmax(1)
    shares = np.zeros((size, kernel_size))
    for tap in range(size):
        for offset in range(-radius, radius + 1):
            shares[tap, offset + radius] = max(0, 1 - abs(offset / scale - (tap - 1)))
    shares /= shares.sum(1, keepdims=True)
    expected = np.zeros((2, kernel_size**2, 2, 3))
    for tap in range(size**2):
        spread = np.outer(shares[tap // size], shares[tap % size]).flatten()
        expected += spread[None, :, None, None] * field[:, tap, None].numpy()
    taps = to_hr_taps(field, scale, kernel_size)
    np.testing.assert_allclose(taps, expected)
    torch.testing.assert_close(taps.sum(1), torch.ones_like(taps[:, 0]))


@pytest.mark.parametrize("kernel_size", [7, 10])
def test_lr_taps_that_do_not_fit_are_refused(kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size {kernel_size} .*cannot hold 3x3 LR kernels at scale 4.*least 9"):
        to_hr_taps(torch.ones(1, 9, 2, 2) / 9, 4, kernel_size)


def test_an_lr_pixel_has_the_mean_kernel_of_its_hr_pixels():
    rng = np.random.default_rng(6)
    kernels, masks = (part[None] for part in MotionField(kernel_size=5, max_length=4, regions=1)(rng, 8, 12))
    dense = dense_field(kernels, masks)
    expected = dense[..., 4:8, 8:12].mean((-1, -2))
    torch.testing.assert_close(hr_taps_field(kernels, masks, scale=4, kernel_size=5)[..., 1, 2], expected)


@pytest.mark.parametrize("kernel_size", [3, 6])
def test_hr_taps_that_do_not_fit_are_refused(kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size {kernel_size} .*cannot hold HR kernels of size 5.*at least 5"):
        hr_taps_field(torch.ones(1, 1, 5, 5) / 25, torch.ones(1, 1, 8, 8), 4, kernel_size)
