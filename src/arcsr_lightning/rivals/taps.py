"""Kernel fields with taps in HR pixels, as some methods estimate them, and their way to taps in LR pixels and back."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from arcsr_lightning.degradation.blur import dense_field, splat_matrix
from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div
from arcsr_lightning.precision import exact_float32


@exact_float32()
def hr_taps_field(kernels: Tensor, masks: Tensor, scale: int, kernel_size: int) -> Tensor:
    """Bring a blended HR kernel field to the LR grid, with taps in HR pixels.

    An LR pixel takes the mean field of its scale x scale HR pixels; kernels are zero-padded to ``kernel_size``.

    Args:
        kernels: (B, M, k, k), taps in HR pixels.
        masks: (B, M, H, W).
        scale: of the HR image over the LR image.
        kernel_size: odd, in HR pixels.

    Returns:
        (B, kernel_size**2, H/scale, W/scale).

    Raises:
        InputError: ``kernel_size`` is even or smaller than the kernels.
    """
    size = kernels.shape[-1]
    if kernel_size % 2 == 0 or kernel_size < size:
        raise InputError(
            f"kernel_size {kernel_size} (HR pixels) cannot hold HR kernels of size {size}; "
            f"use an odd size, at least {size}"
        )
    return dense_field(F.pad(kernels, [(kernel_size - size) // 2] * 4), F.avg_pool2d(masks, scale))


def to_lr_taps(field: Tensor, scale: int, kernel_size: int) -> Tensor:
    """Turn HR-pixel taps into LR-pixel taps, as ``lr_field`` does.

    Args:
        field: (B, k*k, H, W), taps in HR pixels.
        scale: of the HR image over the LR image.
        kernel_size: odd, in LR pixels.

    Returns:
        (B, kernel_size**2, H, W).

    Raises:
        InputError: ``kernel_size`` is even or cannot hold the HR kernels.
    """
    radius = math.isqrt(field.shape[1]) // 2
    exact = field.double()  # which autocast and TF32 leave as it is: either would lose their sum
    splat = splat_matrix(radius, scale, kernel_size, exact)
    taps = torch.einsum("ai,bj,nijhw->nabhw", splat, splat, exact.unflatten(1, (2 * radius + 1, -1)))
    return taps.flatten(1, 2).to(field)


@exact_float32()
def to_hr_taps(field: Tensor, scale: int, kernel_size: int) -> Tensor:
    """Turn LR-pixel taps into HR-pixel taps: every LR tap is shared among the HR taps that go to it, bilinearly.

    Sums are kept, and centroids but at the ends of the kernel. It does not undo ``to_lr_taps``, as the kernel at HR is
    not known from that at LR: there and back widens a kernel.

    Args:
        field: (B, k*k, H, W), taps in LR pixels.
        scale: of the HR image over the LR image.
        kernel_size: odd, in HR pixels.

    Returns:
        (B, kernel_size**2, H, W).

    Raises:
        InputError: ``kernel_size`` is even or cannot hold the LR kernels.
    """
    size = math.isqrt(field.shape[1])
    smallest = scale * (size - 1) + 1
    if kernel_size % 2 == 0 or kernel_size < smallest:
        raise InputError(
            f"kernel_size {kernel_size} (HR pixels) cannot hold {size}x{size} LR kernels at scale {scale}; "
            f"use an odd size, at least {smallest}"
        )
    radius = kernel_size // 2
    lr_size = 2 * ceil_div(radius, scale) + 1  # that of the taps which HR taps may go to
    splat = splat_matrix(radius, scale, lr_size, field)[(lr_size - size) // 2 :][:size]
    share = splat / splat.sum(1, keepdim=True)  # (size, kernel_size)
    return torch.einsum("ai,bj,nabhw->nijhw", share, share, field.unflatten(1, (size, size))).flatten(1, 2)
