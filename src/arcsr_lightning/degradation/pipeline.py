"""Eq. (1): LR = downsample(HR * k) + n, and JPEG coding after it if wanted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from arcsr_lightning.degradation.blur import apply_blended_kernels
from arcsr_lightning.degradation.fields import Blur, KernelField
from arcsr_lightning.degradation.jpeg import code_as_jpeg
from arcsr_lightning.degradation.noise import add_noise, round_to_8bit
from arcsr_lightning.degradation.resize import downsample
from arcsr_lightning.errors import InputError


class Drawn(NamedTuple):
    """All that is random in the degradation of one image: field, noise (3, H/scale, W/scale), quality () if any."""

    field: KernelField
    noise: Tensor
    jpeg_quality: Tensor | None


class Degraded(NamedTuple):
    """The LR image (3, H/scale, W/scale) with what made it: the exact HR kernel field, and the JPEG quality if any."""

    lr: Tensor
    field: KernelField
    jpeg_quality: Tensor | None


class Degradation:
    """Eq. (1) in order, in float: blur, bicubic downsampling, Gaussian noise; then JPEG and 8-bit rounding if wanted.

    ``draw`` draws what is random in it, ``apply`` is a function of that alone. Without JPEG and rounding, values may
    leave [0, 1] by noise and bicubic overshoot.

    Args:
        blur: any sampler of ``fields``.
        round_8bit: round the LR image to 8 bits.
        jpeg: (lowest, highest) quality, uniform in between; None for no JPEG. Its blocks begin at the top left of
            the LR image.

    Raises:
        InputError: ``jpeg`` is no range of qualities.
    """

    def __init__(self, blur: Blur, round_8bit: bool = False, jpeg: Sequence[float] | None = None) -> None:
        if jpeg is not None and (len(jpeg) != 2 or not 1 <= jpeg[0] <= jpeg[1] <= 100):
            raise InputError(
                "degradation.jpeg must be (lowest, highest) quality with 1 <= lowest <= highest <= 100, or null, "
                f"got {tuple(jpeg)}"
            )
        self.blur = blur
        self.round_8bit = round_8bit
        self.jpeg = jpeg

    def __call__(self, hr: Tensor, scale: int, noise_level: float, rng: np.random.Generator) -> Degraded:
        """Degrade one image; the result depends on the arguments and the state of ``rng`` alone.

        Args:
            hr: (3, H, W), RGB in [0, 1].
            scale: H and W are multiples of it.
            noise_level: in 8-bit levels.
            rng: what is drawn with.

        Raises:
            ValueError: H or W is no multiple of ``scale``.
        """
        height, width = hr.shape[-2:]
        drawn = self.draw(rng, height, width, scale, noise_level)
        quality = None if drawn.jpeg_quality is None else drawn.jpeg_quality[None]
        kernels, masks = drawn.field
        lr = self.apply(hr[None], kernels[None], masks[None], drawn.noise[None], scale, quality)[0]
        return Degraded(lr, drawn.field, drawn.jpeg_quality)

    def draw(self, rng: np.random.Generator, height: int, width: int, scale: int, noise_level: float) -> Drawn:
        """Draw for an image (3, height, width): the blur first, then the noise.

        The JPEG quality has a generator of its own, spawned from ``rng``: with and without it, and whatever the noise
        level, everything else is the same.
        """
        field = self.blur(rng, height, width)
        noise = add_noise(torch.zeros(3, height // scale, width // scale), noise_level, rng)
        if self.jpeg is None:
            return Drawn(field, noise, None)
        lowest, highest = self.jpeg
        return Drawn(field, noise, torch.tensor(rng.spawn(1)[0].uniform(lowest, highest)).float())

    def apply(
        self,
        hr: Tensor,
        kernels: Tensor,
        masks: Tensor,
        noise: Tensor,
        scale: int,
        jpeg_quality: Tensor | None = None,
    ) -> Tensor:
        """Degrade a batch by what was drawn for it.

        All are of the size of the images. Or ``hr`` goes beyond ``masks``, and these beyond ``noise``, by the same on
        all sides: the images are then crops, and what is known around them lends what is blurred into them.

        Args:
            hr: (B, 3, ...).
            kernels: (B, M, k, k).
            masks: (B, M, ...), beyond ``noise`` by a multiple of ``scale``.
            noise: (B, 3, H/scale, W/scale), in units of ``hr``.
            scale: H and W are multiples of it.
            jpeg_quality: (B,), or None for no JPEG, whose blocks begin at the top left of the LR image.

        Returns:
            (B, 3, H/scale, W/scale).
        """
        margin = (masks.shape[-1] // scale - noise.shape[-1]) // 2
        lr = downsample(apply_blended_kernels(hr, kernels, masks), scale, margin) + noise
        if jpeg_quality is not None:
            lr = code_as_jpeg(lr, jpeg_quality)
        return round_to_8bit(lr) if self.round_8bit else lr
