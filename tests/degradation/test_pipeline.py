"""Eq. (1) as a whole."""

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import (
    Degradation,
    MotionField,
    NoBlur,
    apply_kernel_field,
    code_as_jpeg,
    dense_field,
    downsample,
    round_to_8bit,
)
from arcsr_lightning.errors import InputError

BLUR = MotionField(kernel_size=9, max_length=8)


def test_blur_then_downsampling_then_noise():
    hr = torch.rand(3, 24, 32)
    lr, field, _ = Degradation(BLUR)(hr, 4, 10.0, np.random.default_rng(5))
    dense = dense_field(field.kernels[None], field.masks[None])
    rng = np.random.default_rng(5)
    BLUR(rng, 24, 32)  # the kernels are drawn before the noise
    noise = torch.from_numpy(rng.standard_normal((3, 6, 8), dtype=np.float32)) * 10 / 255
    torch.testing.assert_close(lr, downsample(apply_kernel_field(hr[None], dense), 4)[0] + noise)


def test_without_blur_and_noise_it_is_bicubic_downsampling():
    hr = torch.rand(3, 24, 32)
    assert torch.equal(Degradation(NoBlur())(hr, 2, 0.0, np.random.default_rng(0)).lr, downsample(hr, 2))


@pytest.mark.parametrize("beyond", [1, 2, 3])  # LR pixels; the bicubic filter reaches 2
def test_a_crop_is_degraded_with_what_lies_around_it(beyond):
    degradation = Degradation(BLUR)
    hr = torch.rand(1, 3, 64, 72)
    (kernels, masks), noise, _ = degradation.draw(np.random.default_rng(5), 64, 72, 4, 10.0)
    whole = degradation.apply(hr, kernels[None], masks[None], noise[None], 4)
    blurred = (..., slice(16 - 4 * beyond, 4 * beyond - 16), slice(16 - 4 * beyond, 4 * beyond - 16))
    inner = (..., slice(4, -4), slice(4, -4))
    crop = degradation.apply(hr, kernels[None], masks[None][blurred], noise[None][inner], 4)
    assert crop.shape == (1, 3, 8, 10)
    asked = slice(0, None) if beyond >= 2 else slice(1, -1)
    torch.testing.assert_close(crop[..., asked, asked], whole[inner][..., asked, asked])


def test_rounding_comes_last():
    hr = torch.rand(3, 24, 32)
    exact, rounded = (
        Degradation(BLUR, round_8bit=switch)(hr, 2, 10.0, np.random.default_rng(0)).lr for switch in (False, True)
    )
    assert torch.equal(rounded, round_to_8bit(exact))


@pytest.mark.parametrize("round_8bit", [False, True])
def test_jpeg_comes_after_the_noise_and_before_rounding(round_8bit):
    hr = torch.rand(3, 24, 32)
    noisy = Degradation(BLUR)(hr, 2, 10.0, np.random.default_rng(0)).lr
    coded, _, quality = Degradation(BLUR, round_8bit, jpeg=(40, 60))(hr, 2, 10.0, np.random.default_rng(0))
    assert 40 <= quality <= 60
    expected = code_as_jpeg(noisy[None], quality[None])[0]
    assert torch.equal(coded, round_to_8bit(expected) if round_8bit else expected)


def test_every_quality_of_the_range_is_drawn_and_by_the_seed_alone():
    def quality(seed):
        return float(Degradation(NoBlur(), jpeg=(30, 95)).draw(np.random.default_rng(seed), 4, 4, 2, 0.0).jpeg_quality)

    qualities = [quality(seed) for seed in range(200)]
    assert qualities == [quality(seed) for seed in range(200)]
    assert 30 <= min(qualities) < 32 and 93 < max(qualities) <= 95


@pytest.mark.parametrize("jpeg", [(0, 50), (50, 101), (60, 50), (50,)])
def test_a_range_of_qualities_that_is_none_is_refused(jpeg):
    with pytest.raises(InputError, match=r"degradation\.jpeg must be \(lowest, highest\) quality"):
        Degradation(NoBlur(), jpeg=jpeg)


@pytest.mark.parametrize("noise_level", [0.0, 10.0])
def test_the_result_depends_on_the_seed_alone(noise_level):
    hr = torch.rand(3, 24, 32)
    torch.manual_seed(0)
    first = Degradation(BLUR)(hr, 4, noise_level, np.random.default_rng([3, 14])).lr
    torch.manual_seed(1)
    assert torch.equal(first, Degradation(BLUR)(hr, 4, noise_level, np.random.default_rng([3, 14])).lr)
    assert not torch.equal(first, Degradation(BLUR)(hr, 4, noise_level, np.random.default_rng([3, 15])).lr)
