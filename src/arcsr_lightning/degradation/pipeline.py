"""Eq. (1): LR = downsample(HR * k) + n."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from arcsr_lightning.degradation.blur import apply_blended_kernels
from arcsr_lightning.degradation.fields import Blur, KernelField
from arcsr_lightning.degradation.noise import add_noise, round_to_8bit
from arcsr_lightning.degradation.resize import downsample


class Degraded(NamedTuple):
    """lr (3, H/scale, W/scale) with what made it: the exact HR kernel field and the noise level."""

    lr: Tensor
    field: KernelField
    noise_level: float


class Degradation:
    """Eq. (1) in order, in float: blur, bicubic downsampling, Gaussian noise; then 8-bit rounding if wanted.

    ``blur`` is any sampler of ``fields``. The result depends on the arguments and the state of ``rng`` alone.
    Without rounding, values may leave [0, 1] by noise and bicubic overshoot.
    """

    def __init__(self, blur: Blur, round_8bit: bool = False) -> None:
        self.blur = blur
        self.round_8bit = round_8bit

    def __call__(self, hr: Tensor, scale: int, noise_level: float, rng: np.random.Generator) -> Degraded:
        """Degrade hr (3, H, W) in [0, 1] with noise of ``noise_level`` 8-bit levels.

        Raises ValueError if H or W is no multiple of ``scale``.
        """
        field = self.blur(rng, *hr.shape[-2:])
        noise = add_noise(torch.zeros(3, *(side // scale for side in hr.shape[-2:])), noise_level, rng)
        lr = self.apply(hr[None], field.kernels[None], field.masks[None], noise[None], scale)[0]
        return Degraded(lr, field, noise_level)

    def apply(self, hr: Tensor, kernels: Tensor, masks: Tensor, noise: Tensor, scale: int) -> Tensor:
        """What was drawn, applied to a batch.

        hr (B, 3, H, W), kernels (B, M, k, k), masks (B, M, H, W), noise (B, 3, H/scale, W/scale), in units of hr.
        Returns (B, 3, H/scale, W/scale).
        """
        lr = downsample(apply_blended_kernels(hr, kernels, masks), scale) + noise
        return round_to_8bit(lr) if self.round_8bit else lr
