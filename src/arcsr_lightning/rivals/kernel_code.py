"""Kernels in few numbers: their coordinates along the principal components of the kernels that a blur model draws."""

import numpy as np
import torch
from torch import Tensor

from arcsr_lightning.degradation.fields import Blur


def draw_kernels(blur: Blur, fields: int, seed: int) -> Tensor:
    """All kernels of so many fields of a blur model, before masks blend them: (N, k, k), taps in HR pixels."""
    rng = np.random.default_rng(seed)
    return torch.cat([blur(rng, 8, 8).kernels for _ in range(fields)])


def principal_kernels(kernels: Tensor, code: int) -> tuple[Tensor, Tensor]:
    """Principal components of kernels (N, k*k): the basis (k*k, code), orthonormal columns, strongest first.

    Also returns the share of the kernels' variance about their mean that the basis keeps, a scalar.
    """
    kernels = kernels.double()
    centred = kernels - kernels.mean(dim=0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # eigenvalues ascending
    basis = vectors[:, -code:].flip(1)
    return basis.to(torch.float32), variance_kept(kernels, basis).to(torch.float32)


def variance_kept(kernels: Tensor, basis: Tensor) -> Tensor:
    """Share of the variance of kernels (N, k*k) within the span of an orthonormal basis (k*k, code): a scalar."""
    centred = kernels - kernels.mean(dim=0)
    total = centred.square().sum()
    if total == 0:  # one and the same kernel: nothing to lose
        return torch.ones_like(total)
    return (centred @ basis).square().sum() / total
