"""Second moments of kernels: how far a blur reaches, and along which direction."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Covariance(NamedTuple):
    """Moments of kernels about their centroids, in taps squared, each (B, H, W); y points down."""

    yy: Tensor
    xx: Tensor
    xy: Tensor


def field_covariance(field: Tensor) -> Covariance:
    """Of every pixel's kernel, (B, ks*ks, H, W), summing to one."""
    powers = _tap_powers(math.isqrt(field.shape[1]), field.device).flatten(1)
    return _central(torch.einsum("bthw,nt->nbhw", field.double(), powers), field.dtype)


def blend_covariance(kernels: Tensor, masks: Tensor) -> Covariance:
    """Of blended kernels, (B, M, k, k) and masks (B, M, H, W) as in ``dense_field``; a pixel's kernel is never made."""
    raw = torch.einsum("bmij,nij->bmn", kernels.double(), _tap_powers(kernels.shape[-1], kernels.device))  # (B, M, 5)
    return _central(torch.einsum("bmn,bmhw->nbhw", raw, masks.double()), kernels.dtype)


# In float64, of which neither autocast nor TF32 takes anything away: variances are small differences, and settings of
# the whole process are not to be changed where pictures of kernels are drawn beside a network at work.
def _tap_powers(size: int, device: torch.device) -> Tensor:
    """y, x, y², x², xy of the offsets of all taps: (5, size, size), float64."""
    taps = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    y, x = taps[:, None].expand(size, size), taps.expand(size, size)
    return torch.stack([y, x, y * y, x * x, x * y])


def _central(raw: Tensor, dtype: torch.dtype) -> Covariance:
    """Means of y, x, y², x², xy, (5, B, H, W), as moments about the mean, of that dtype."""
    my, mx, yy, xx, xy = raw
    return Covariance(*(moment.to(dtype) for moment in (yy - my * my, xx - mx * mx, xy - mx * my)))
