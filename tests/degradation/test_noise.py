"""Noise statistics and 8-bit levels."""

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import add_noise, round_to_8bit


def test_noise_is_white_gaussian_of_the_level_in_8_bit_units():
    x = torch.full((3, 200, 200), 0.5)
    noise = (add_noise(x, 10, np.random.default_rng(0)) - x) * 255
    assert noise.mean().abs() < 0.1
    assert noise.std().item() == pytest.approx(10, rel=0.01)
    assert (noise.abs() < 10).float().mean().item() == pytest.approx(0.6827, abs=0.005)
    assert (noise[:, 1:] * noise[:, :-1]).mean().abs() < 1


def test_level_zero_adds_nothing():
    x = torch.rand(3, 4, 4)
    assert torch.equal(add_noise(x, 0, np.random.default_rng(0)), x)


def test_a_negative_level_is_refused():
    with pytest.raises(ValueError, match="noise_level must be 0 or more, got -1"):
        add_noise(torch.rand(3, 4, 4), -1, np.random.default_rng(0))


def test_8_bit_levels_are_kept_and_the_rest_goes_to_the_nearest():
    levels = torch.arange(256) / 255
    assert torch.equal(round_to_8bit(levels), levels)
    assert torch.equal(round_to_8bit(levels + 0.4 / 255), levels)
    assert torch.equal(round_to_8bit(levels - 0.4 / 255), levels)
    assert round_to_8bit(torch.tensor([-0.3, 1.7])).tolist() == [0, 1]
