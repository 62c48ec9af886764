"""Eq. (1) as a whole."""

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import (
    Degradation,
    MotionField,
    NoBlur,
    apply_kernel_field,
    dense_field,
    downsample,
    round_to_8bit,
)

BLUR = MotionField(kernel_size=9, max_length=8)


def test_blur_then_downsampling_then_noise():
    hr = torch.rand(3, 24, 32)
    lr, field, noise_level = Degradation(BLUR)(hr, 4, 10.0, np.random.default_rng(5))
    dense = dense_field(field.kernels[None], field.masks[None])
    rng = np.random.default_rng(5)
    BLUR(rng, 24, 32)  # the kernels are drawn before the noise
    noise = torch.from_numpy(rng.standard_normal((3, 6, 8), dtype=np.float32)) * 10 / 255
    torch.testing.assert_close(lr, downsample(apply_kernel_field(hr[None], dense), 4)[0] + noise)
    assert noise_level == 10


def test_without_blur_and_noise_it_is_bicubic_downsampling():
    hr = torch.rand(3, 24, 32)
    assert torch.equal(Degradation(NoBlur())(hr, 2, 0.0, np.random.default_rng(0)).lr, downsample(hr, 2))


def test_rounding_comes_last():
    hr = torch.rand(3, 24, 32)
    exact, rounded = (
        Degradation(BLUR, round_8bit=switch)(hr, 2, 10.0, np.random.default_rng(0)).lr for switch in (False, True)
    )
    assert torch.equal(rounded, round_to_8bit(exact))


@pytest.mark.parametrize("noise_level", [0.0, 10.0])
def test_the_result_depends_on_the_seed_alone(noise_level):
    hr = torch.rand(3, 24, 32)
    torch.manual_seed(0)
    first = Degradation(BLUR)(hr, 4, noise_level, np.random.default_rng([3, 14])).lr
    torch.manual_seed(1)
    assert torch.equal(first, Degradation(BLUR)(hr, 4, noise_level, np.random.default_rng([3, 14])).lr)
    assert not torch.equal(first, Degradation(BLUR)(hr, 4, noise_level, np.random.default_rng([3, 15])).lr)
