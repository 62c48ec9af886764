"""From a blur kernel field to the factors of a kernel-guided convolution (Sec. 3.2.3)."""

import math

import torch
from torch import Tensor

NORMALISATIONS = ("softmax", "softmax_ks2", "gate", "unit_energy")


def normalise_kernel(kernel: Tensor, mode: str) -> Tensor:
    """Rescale a blur kernel field k into the factors of the weights; all modes but "softmax" make ones of a uniform k.

    The paper does not say how k is scaled:
        softmax: k itself, mean 1 / ks**2.
        softmax_ks2: k' = k * ks**2, mean 1, range [0, ks**2].
        gate: 2 * k' / (1 + k') = 2 * sigmoid(log k'), range [0, 2).
        unit_energy: k * ks / ||k||_2 over the taps, mean square 1, range [0, ks].

    Args:
        kernel: (B, ks*ks, H, W), non-negative, summing to one over the taps.
        mode: one of NORMALISATIONS.

    Returns:
        (B, ks*ks, H, W), of the dtype of kernel.

    Raises:
        ValueError: the mode is unknown, or the taps do not form a square.
    """
    taps = kernel.shape[1]
    ks = math.isqrt(taps)
    if ks * ks != taps:
        raise ValueError(f"kernel needs ks*ks taps in dimension 1, got {taps}")
    match mode:
        case "softmax":
            return kernel
        case "softmax_ks2":
            return kernel * taps
        case "gate":
            return 2 * taps * kernel / (1 + taps * kernel)
        case "unit_energy":
            exact = kernel.to(torch.promote_types(kernel.dtype, torch.float32))
            # The floor only matters to an all-zero kernel, whose gradient would be infinite.
            energy = exact.square().sum(1, keepdim=True).clamp_min(1e-12)  # (B, 1, H, W)
            return (exact * ks / energy.sqrt()).to(kernel.dtype)
    raise ValueError(f"unknown kernel normalisation {mode!r}; choose one of {', '.join(NORMALISATIONS)}")
