import math

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import MotionField, downsample, gaussian_kernel, motion_kernel
from arcsr_lightning.degradation.moments import Covariance, blend_covariance
from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.cmos.maps import (
    blur_sigma,
    gradient_energy,
    measured_covariance,
    motion_class,
    sharpness_loss_map,
)


def everywhere(*kernels: torch.Tensor) -> Covariance:
    """One pixel per kernel, side by side: each (1, 1, M)."""
    return blend_covariance(torch.stack(kernels)[None], torch.eye(len(kernels))[None, :, None])


def streak(angle: float, length: float = 12.0, size: int = 21) -> torch.Tensor:
    """A straight motion at an angle from the x axis towards the y axis, which points down."""
    along = np.linspace(-length / 2, length / 2, 400)[:, None]
    return motion_kernel(along * np.array([math.sin(angle), math.cos(angle)]), size)


def test_blur_sigma_of_a_gaussian_is_its_sigma():
    sigmas = [0.8, 1.5, 3.0]
    amount = blur_sigma(everywhere(*(gaussian_kernel(31, sigma, sigma) for sigma in sigmas)))
    torch.testing.assert_close(amount.flatten(), torch.tensor(sigmas), rtol=1e-3, atol=0)


def test_blur_sigma_of_a_streak_is_its_length_whatever_its_direction():
    amount = blur_sigma(everywhere(*(streak(angle) for angle in np.linspace(0, math.pi, 7))))
    # Sharing points bilinearly among taps adds up to 1/4 px² to the variance of an axis.
    torch.testing.assert_close(amount.flatten(), torch.full((7,), 12 / math.sqrt(24)), rtol=0.04, atol=0)


def test_the_covariance_of_a_measured_field_is_that_of_every_lr_pixel_in_hr_pixels():
    """A field that is the same everywhere, and one of two halves, between which it is interpolated."""
    torch.manual_seed(0)
    kernels = torch.rand(2, 25, dtype=torch.float64).softmax(1)
    left = torch.arange(6) < 3
    field = torch.where(left, kernels[0, :, None, None], kernels[1, :, None, None]).expand(1, 25, 4, 6)
    measured = measured_covariance(field, scale=3)
    offsets = 3 * np.array([(i - 2, j - 2) for i in range(5) for j in range(5)])
    for side, kernel in ((slice(None, 8), kernels[0]), (slice(-8, None), kernels[1])):
        expected = np.cov(offsets.T, aweights=kernel.numpy(), ddof=0)
        for part, (i, j) in zip(measured, ((0, 0), (1, 1), (0, 1)), strict=True):
            assert part.shape == (1, 12, 18)
            np.testing.assert_allclose(part[..., side], expected[i, j])


@pytest.mark.parametrize("directions", [1, 4, 6])
def test_motion_class_is_the_direction_of_a_streak(directions):
    """Class 1 is along the image's rows; the angle grows towards the bottom; pi is 0 again."""
    exact = [math.pi * n / directions for n in range(directions + 1)]
    classes = motion_class(everywhere(*map(streak, exact)), directions)
    assert classes.flatten().tolist() == [*range(1, directions + 1), 1]
    assert classes.dtype == torch.int64


def test_motion_class_follows_the_angle_of_gaussian_kernels_and_rounds_to_the_nearest():
    kernels = [gaussian_kernel(21, 4, 1, math.pi * n / 8) for n in (0.0, 0.4, 0.6, 3.0, 7.4, 7.6)]
    assert motion_class(everywhere(*kernels), directions=8).flatten().tolist() == [1, 1, 2, 4, 8, 1]


def test_little_blur_is_static():
    sharp = torch.zeros(21, 21)
    sharp[10, 10] = 1
    assert motion_class(everywhere(sharp, streak(0.7)), directions=8).flatten().tolist() == [0, 3]
    assert motion_class(everywhere(streak(0.7)), directions=8, static_below=5.0).item() == 0


def test_maps_of_a_drawn_field_have_the_image_s_size():
    kernels, masks = (part[None] for part in MotionField()(np.random.default_rng(0), 12, 20))
    covariance = blend_covariance(kernels, masks)
    amount, classes = blur_sigma(covariance), motion_class(covariance, 8)
    assert amount.shape == (1, 1, 12, 20) and amount.isfinite().all() and amount.min() >= 0
    assert classes.shape == (1, 12, 20) and classes.min() >= 0 and classes.max() <= 8


def test_a_class_needs_a_direction():
    with pytest.raises(InputError, match="one direction or more"):
        motion_class(everywhere(streak(0)), directions=0)


def test_gradient_energy_of_a_ramp_is_its_squared_slope():
    ramp = (0.03 * torch.arange(20.0)).expand(1, 3, 12, 20)
    inside = gradient_energy(ramp, radius=2)[..., 2:-3]  # the repeated border has no slope
    torch.testing.assert_close(inside, torch.full((1, 1, 12, 15), 0.03**2))


def test_sharpness_loss_grows_with_blur_and_is_zero_where_nothing_can_blur():
    torch.manual_seed(0)
    hr = torch.rand(1, 3, 48, 48).cumsum(-1) / 48
    hr = hr + 0.3 * (torch.arange(48) // 8 % 2)
    losses = []
    for sigma in (0.3, 2.0, 4.0):
        kernel = gaussian_kernel(25, sigma, sigma).expand(3, 1, 25, 25)
        blurred = torch.nn.functional.conv2d(hr, kernel, padding="same", groups=3)
        map_ = sharpness_loss_map(downsample(blurred, 2), hr, scale=2)
        assert map_.shape == (1, 1, 48, 48) and map_.min() >= 0 and map_.max() <= 1
        losses.append(map_[..., 20:28, 20:28].mean().item())
    assert losses[0] < losses[1] < losses[2]
    assert sharpness_loss_map(torch.rand(1, 3, 24, 24), torch.full((1, 3, 48, 48), 0.5), scale=2).max() == 0
