"""Maps that say something about a kernel field in a number per pixel: how much blur, along which direction.

Both are read off the covariance of every HR pixel's kernel, in HR pixels squared.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from arcsr_lightning.degradation.moments import Covariance, field_covariance
from arcsr_lightning.degradation.resize import upsample
from arcsr_lightning.errors import InputError

RADIUS = 8  # HR pixels: energies of gradients are means over squares of 2 * RADIUS + 1


def blur_sigma(covariance: Covariance) -> Tensor:
    """Standard deviation of every pixel's kernel in HR pixels, sqrt(trace(covariance) / 2).

    It is the sigma of an isotropic Gaussian, and length / sqrt(24) of a straight streak at constant speed: it keeps how
    long a motion is and discards its direction.

    Returns:
        (B, 1, H, W).
    """
    return ((covariance.yy + covariance.xx) / 2).clamp_min(0).sqrt()[:, None]


def motion_class(covariance: Covariance, directions: int, static_below: float = 0.5) -> Tensor:
    """Class every pixel by its blur's direction: 0 where there is hardly any blur, else 1 + the direction's number.

    The direction is that of the covariance's longer axis, an angle in [0, pi) from the image's x axis towards its y
    axis, which points down (as in ``gaussian_kernel``), rounded to the nearest of ``directions`` angles
    pi * n / directions. A blur as wide as it is long has no direction and gets an arbitrary one.

    Args:
        covariance: of every pixel.
        directions: how many are told apart.
        static_below: ``blur_sigma``, in HR pixels, below which a pixel counts as sharp.

    Returns:
        (B, H, W), int64.

    Raises:
        InputError: fewer than one direction.
    """
    if directions < 1:
        raise InputError(f"motion classes need one direction or more, got {directions}")
    angle = torch.atan2(2 * covariance.xy, covariance.xx - covariance.yy) / 2  # in [-pi / 2, pi / 2]
    direction = (angle * (directions / math.pi)).round().long() % directions
    return torch.where(blur_sigma(covariance)[:, 0] < static_below, 0, 1 + direction)


def measured_covariance(field: Tensor, scale: int) -> Covariance:
    """Of a field on the LR grid, (B, ks*ks, H, W) with LR taps, for every HR pixel, in HR pixels squared.

    What varies from LR pixel to LR pixel is interpolated bilinearly: (B, scale*H, scale*W) each.
    """
    enlarged = (
        F.interpolate(part[:, None], scale_factor=scale, mode="bilinear")[:, 0] for part in field_covariance(field)
    )
    return Covariance(*(scale**2 * part for part in enlarged))


def sharpness_loss_map(lr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """Measure the share of the HR image's local gradient energy that the enlarged LR image lacks.

    A stand-in where the kernels are unknown, not a blur amount: it has no unit, downsampling alone makes it large in
    fine texture, noise in the LR image lowers it, and it is zero where there is nothing to blur.

    Args:
        lr: (B, C, h, w) in [0, 1].
        hr: (B, C, scale*h, scale*w) in [0, 1].
        scale: of the HR image over the LR image.

    Returns:
        (B, 1, scale*h, scale*w) in [0, 1].
    """
    sharp, blurred = gradient_energy(hr, RADIUS), gradient_energy(upsample(lr, scale), RADIUS)
    nothing = 1e-4  # a gradient of 0.01 per pixel: below it lies noise, not structure
    return ((sharp - blurred) / (sharp + nothing)).clamp(0, 1)


def gradient_energy(x: Tensor, radius: int) -> Tensor:
    """Local mean of the squared gradient of an image's brightness: (B, C, H, W) -> (B, 1, H, W)."""
    padded = F.pad(x.mean(1, keepdim=True), [radius, radius + 1, radius, radius + 1], mode="replicate")
    down = padded[..., 1:, :-1] - padded[..., :-1, :-1]
    right = padded[..., :-1, 1:] - padded[..., :-1, :-1]
    return F.avg_pool2d(down.square() + right.square(), 2 * radius + 1, stride=1)
