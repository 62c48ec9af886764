"""Blur with a kernel of its own at every pixel: the ``*`` of Eq. (1).

Everywhere in this package a kernel acts by cross-correlation and its taps are stored row by row, in the order
of a convolution weight: ``out[p] = sum_t kernel[t, p] * x[p + offset(t)]`` with
``offset(t) = (t // k - k // 2, t % k - k // 2)``.
"""

import math
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from arcsr_lightning.degradation.resize import crop_border
from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div
from arcsr_lightning.operators import native


def apply_kernel_field(x: Tensor, kernel: Tensor) -> Tensor:
    """Blur every channel with the kernel of its own pixel (Eq. (1) with a spatially varying k).

    Border pixels repeat outside the image, so kernels that sum to one keep constants.

    Args:
        x: (B, C, H, W).
        kernel: (B, k*k, H, W), odd k.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: the sizes do not match.
    """
    size = math.isqrt(kernel.shape[1])
    if size * size != kernel.shape[1] or size % 2 == 0:
        raise ValueError(f"a kernel field needs k*k channels with odd k, got {kernel.shape[1]}")
    if (len(x), *x.shape[2:]) != (len(kernel), *kernel.shape[2:]):
        raise ValueError(f"image and kernel field differ in batch, height or width: {[*x.shape]} and {[*kernel.shape]}")
    height, width = x.shape[2:]
    padded = F.pad(x, [size // 2] * 4, mode="replicate")
    out = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, kernel.dtype))
    for tap, weight in enumerate(kernel.unbind(1)):  # views only: never the C*k*k*H*W tensor of an unfold
        dy, dx = divmod(tap, size)
        out.addcmul_(padded[..., dy : dy + height, dx : dx + width], weight[:, None])
    return out


def apply_blended_kernels(x: Tensor, kernels: Tensor, masks: Tensor) -> Tensor:
    """Compute ``apply_kernel_field(x, dense_field(kernels, masks))`` as M convolutions, blended by the masks.

    On a CPU that has a library for it tap by tap, but for those that are zero, as most of a motion's are. Else the
    convolutions are products of spectra: dense kernels of 25 x 25 pixels cost two to three times as much in the plane.
    One kernel after the other: all at once take twice as long on a CPU, whose cache does not hold their spectra.

    Args:
        x: (B, C, H + 2p, W + 2p): the image, and as far as they are known the pixels around it; beyond, the outermost
            repeat.
        kernels: (B, M, k, k), odd k.
        masks: (B, M, H, W).

    Returns:
        (B, C, H, W).
    """
    x = _seen_by(x, kernels, masks)
    if kernels.shape[-1] == 1:  # no blur: spectra would leave the last bits of x changed
        return (x[:, :, None] * kernels[:, None] * masks[:, None]).sum(2)
    learns = torch.is_grad_enabled() and any(one.requires_grad for one in (x, kernels, masks))
    if not learns and native.takes(x, kernels, masks, name="blur"):
        return native.blended_blur(x.contiguous(), kernels.contiguous(), masks.contiguous())
    height, width = masks.shape[-2:]
    size = [_fast_length(side) for side in x.shape[-2:]]
    spectrum, spectra = torch.fft.rfft2(x, s=size), torch.fft.rfft2(kernels, s=size).conj()
    out = x.new_zeros(*x.shape[:2], height, width, dtype=torch.promote_types(x.dtype, kernels.dtype))
    for one, mask in zip(spectra.unbind(1), masks.unbind(1), strict=True):
        blurred = torch.fft.irfft2(spectrum * one[:, None], s=size)  # what wraps around lies beyond H and W
        out.addcmul_(blurred[..., :height, :width], mask[:, None])
    return out


def _seen_by(x: Tensor, kernels: Tensor, masks: Tensor) -> Tensor:
    """The pixels of ``x`` that kernels (B, M, k, k) at the pixels of masks (B, M, H, W) see."""
    lacks = kernels.shape[-1] // 2 - (x.shape[-1] - masks.shape[-1]) // 2
    return F.pad(x, [lacks] * 4, mode="replicate") if lacks > 0 else crop_border(x, -lacks)


def _fast_length(least: int) -> int:
    """The next number without a prime factor above 5: others take a Fourier transform up to ten times as long."""
    return next(length for length in count(least) if 30**16 % length == 0)


def dense_field(kernels: Tensor, masks: Tensor) -> Tensor:
    """Blend the kernel of every pixel, ``k(p) = sum_m masks[m, p] * kernels[m]``.

    Args:
        kernels: (B, M, k, k).
        masks: (B, M, H, W).

    Returns:
        (B, k*k, H, W).
    """
    return torch.einsum("bmt,bmhw->bthw", kernels.flatten(2), masks)


def lr_field(kernels: Tensor, masks: Tensor, scale: int, kernel_size: int) -> Tensor:
    """Bring a blended HR kernel field to the LR grid, with taps in LR pixels.

    A tap at HR offset d goes bilinearly to the LR taps around d / scale, and an LR pixel takes the mean field of
    its scale x scale HR pixels. Sums and centroids are kept; sharing a tap bilinearly widens the kernel by a variance
    of at most 1/4 LR px² per axis. It is the blur alone: the filter of the downsampler is not in it, so blurring a
    downsampled sharp image with this field matches the degraded image only for content that is smooth at LR.

    Args:
        kernels: (B, M, k, k), taps in HR pixels.
        masks: (B, M, H, W).
        scale: of the HR image over the LR image.
        kernel_size: odd, in LR pixels.

    Returns:
        (B, kernel_size**2, H/scale, W/scale).

    Raises:
        ValueError: H or W is no multiple of ``scale``.
        InputError: ``kernel_size`` is even or cannot hold the HR kernels.
    """
    height, width = masks.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"scale {scale} needs H and W divisible by {scale}, got {height}x{width}")
    splat = splat_matrix(kernels.shape[-1] // 2, scale, kernel_size, kernels)
    return dense_field(splat @ kernels @ splat.T, F.avg_pool2d(masks, scale))


def splat_matrix(radius: int, scale: int, kernel_size: int, like: Tensor) -> Tensor:
    """Compute how the taps of an HR axis share themselves among the taps of an LR axis.

    Args:
        radius: of the HR kernels, in HR pixels.
        scale: of the HR image over the LR image.
        kernel_size: odd, in LR pixels.
        like: of the device and dtype of the result, which is made there: a copy would wait for the device.

    Returns:
        (kernel_size, 2 * radius + 1).

    Raises:
        InputError: ``kernel_size`` is even or cannot hold the HR kernels.
    """
    smallest = 2 * ceil_div(radius, scale) + 1
    if kernel_size % 2 == 0 or kernel_size < smallest:
        raise InputError(
            f"kernel_size {kernel_size} cannot hold HR kernels of size {2 * radius + 1} at scale {scale}; "
            f"use an odd size, at least {smallest}"
        )
    hr_taps = torch.arange(-radius, radius + 1, device=like.device) / scale
    lr_taps = torch.arange(kernel_size, device=like.device) - kernel_size // 2
    return (1 - (lr_taps[:, None] - hr_taps).abs()).clamp(min=0).to(like)
