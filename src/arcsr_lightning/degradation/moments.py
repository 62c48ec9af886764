"""Second moments of kernels: how far a blur reaches, and along which direction."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from arcsr_lightning.precision import exact_float32


class Covariance(NamedTuple):
    """Moments of kernels about their centroids, in taps squared, each (B, H, W); y points down."""

    yy: Tensor
    xx: Tensor
    xy: Tensor


@exact_float32()
def field_covariance(field: Tensor) -> Covariance:
    """Of every pixel's kernel, (B, ks*ks, H, W), summing to one."""
    powers = _tap_powers(field, math.isqrt(field.shape[1])).flatten(1)
    return _central(torch.einsum("bthw,nt->nbhw", field, powers))


@exact_float32()
def blend_covariance(kernels: Tensor, masks: Tensor) -> Covariance:
    """Of blended kernels, (B, M, k, k) and masks (B, M, H, W) as in ``dense_field``; a pixel's kernel is never made."""
    raw = torch.einsum("bmij,nij->bmn", kernels, _tap_powers(kernels, kernels.shape[-1]))  # (B, M, 5)
    return _central(torch.einsum("bmn,bmhw->nbhw", raw, masks))


def _tap_powers(like: Tensor, size: int) -> Tensor:
    """y, x, y², x², xy of the offsets of all taps: (5, size, size)."""
    taps = torch.arange(size, dtype=like.dtype, device=like.device) - size // 2
    y, x = taps[:, None].expand(size, size), taps.expand(size, size)
    return torch.stack([y, x, y * y, x * x, x * y])


def _central(raw: Tensor) -> Covariance:
    """Means of y, x, y², x², xy, (5, B, H, W), as moments about the mean."""
    my, mx, yy, xx, xy = raw
    return Covariance(yy - my * my, xx - mx * mx, xy - mx * my)
