"""Additive Gaussian noise and 8-bit rounding: the n of Eq. (1)."""

import numpy as np
import torch
from torch import Tensor


def add_noise(x: Tensor, noise_level: float, rng: np.random.Generator) -> Tensor:
    """Add white Gaussian noise; nothing is clipped.

    Args:
        x: values in [0, 1].
        noise_level: standard deviation in 8-bit levels; 0 returns ``x``.
        rng: source of the noise.

    Returns:
        Of the shape of ``x``.

    Raises:
        ValueError: a negative noise level.
    """
    if noise_level < 0:
        raise ValueError(f"noise_level must be 0 or more, got {noise_level}")
    if noise_level == 0:
        return x
    noise = torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32))
    return x + noise.to(x) * (noise_level / 255)


def round_to_8bit(x: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to the nearest of the 256 levels, as storing the image in a file would."""
    return (x.clamp(0, 1) * 255).round() / 255
