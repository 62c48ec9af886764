"""The paper's L1 loss (Eq. (2)) and two optional terms that teach the estimator what a kernel is.

A loss, here and in ``rivals``, is a module called with (network, batch) that returns its terms by name; ``loss`` among
them is what is minimised. It owns what only training needs (key encoders, queues, discriminators), is made anew for
every stage, and says in ``supervision`` what it learns from.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.degradation import apply_kernel_field, downsample, pooled_mean
from arcsr_lightning.errors import InputError
from arcsr_lightning.networks import Restoration

SHRINKING_REACH = 2  # LR pixels that bicubic downsampling looks to either side


def reblur_loss(kernel: Tensor, lr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """Compute L1 between the LR image and the shrunk HR image blurred, on the LR grid, with the estimated kernels.

    Blur and downsampling of Eq. (1) are exchanged here, which is exact where the kernels vary slowly. Noise stays in
    the loss, and weakens its gradient where errors are smaller. Pixels at the borders, whose blur comes from beyond
    the crop, are left out.

    Args:
        kernel: (B, ks*ks, H, W).
        lr: (B, 3, H, W).
        hr: (B, 3, scale*H, scale*W).
        scale: of the HR image over the LR image.

    Returns:
        A scalar.

    Raises:
        InputError: no pixel is far enough from the borders.
    """
    reach = math.isqrt(kernel.shape[1]) // 2 + SHRINKING_REACH
    return inner_l1(apply_kernel_field(downsample(hr, scale), kernel), lr, reach)


def inner_l1(made: Tensor, lr: Tensor, border: int) -> Tensor:
    """Compute L1 between two images (B, C, H, W) but for so many pixels along every border: a scalar.

    Raises:
        InputError: nothing remains.
    """
    if min(lr.shape[-2:]) <= 2 * border:
        raise InputError(
            f"data.train.patch_size: crops of {lr.shape[-2]}x{lr.shape[-1]} LR pixels are too small to be blurred "
            f"again without what lies beyond them; at least {2 * border + 1} pixels a side are needed"
        )
    inner = slice(border, -border or None)
    return F.l1_loss(made[..., inner, inner], lr[..., inner, inner])


def kernel_loss(estimate: Tensor, truth: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Compute the Kullback-Leibler divergence of true and estimated kernels, mean over pixels, weighted if wanted.

    Kernels are distributions over taps. Their L1 distance, which tables report, has no gradient left once a softmax
    has settled on a wrong tap; this one pulls back as long as the estimate is above zero in float32.

    Args:
        estimate: (B, ks*ks, H, W), non-negative, summing to one over the taps.
        truth: as ``estimate``.
        confidence: (B, 1, H, W), the weight of each pixel; None: all count alike.

    Returns:
        A scalar.
    """
    smallest = torch.finfo(estimate.dtype).tiny
    divergence = F.kl_div(estimate.clamp_min(smallest).log(), truth, reduction="none").sum(dim=1, keepdim=True)
    if confidence is None:
        return divergence.mean()
    return pooled_mean(divergence, confidence)


class RestorationLoss(nn.Module):
    """L1 on the image (Eq. (2)), plus kernel supervision and re-blur consistency where their weights are not zero.

    Args:
        kernel_weight: of ``kernel_loss``.
        reblur_weight: of ``reblur_loss``.
        known_kernels: the network is given the true or measured kernels and estimates none.

    Returns:
        The terms by name, for a network and a batch; ``loss`` is their weighted sum.

    Raises:
        InputError: a weight asks for kernels that the network or the data does not have, or that it is given.
    """

    def __init__(self, kernel_weight: float = 0.0, reblur_weight: float = 0.0, known_kernels: bool = False) -> None:
        super().__init__()
        if known_kernels and (kernel_weight or reblur_weight):
            raise InputError(
                "known_kernels=true: the network estimates no kernel that loss.kernel_weight or loss.reblur_weight "
                "could teach; set loss.kernel_weight=0 loss.reblur_weight=0"
            )
        self.kernel_weight = kernel_weight
        self.reblur_weight = reblur_weight
        self.known_kernels = known_kernels

    @property
    def supervision(self) -> tuple[str, ...]:
        """What is learnt from, for tables."""
        return ("pairs", "kernels") if self.kernel_weight or self.known_kernels else ("pairs",)

    def forward(self, network: Callable[..., Restoration], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        restored = restore_batch(network, batch, self.known_kernels)
        terms = {"l1": F.l1_loss(restored.sr, batch["hr"])}
        loss = terms["l1"]
        if self.kernel_weight:
            if "kernel" not in batch:
                raise InputError(
                    "loss.kernel_weight needs true or measured kernels, which this data does not have; set it to 0"
                )
            terms["kernel"] = kernel_loss(_kernel_of(restored), batch["kernel"], batch.get("confidence"))
            loss = loss + self.kernel_weight * terms["kernel"]
        if self.reblur_weight:
            scale = batch["hr"].shape[-1] // batch["lr"].shape[-1]
            terms["reblur"] = reblur_loss(_kernel_of(restored), batch["lr"], batch["hr"], scale)
            loss = loss + self.reblur_weight * terms["reblur"]
        return terms | {"loss": loss}


class KernelLoss(nn.Module):
    """Teaches a network's ``estimator`` the kernels, true or measured; the restorer is not run.

    Returns:
        ``kernel`` (``kernel_loss``) and ``loss``, for a network and a batch.

    Raises:
        InputError: the data has no kernels.
    """

    supervision = ("kernels",)

    def forward(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if "kernel" not in batch:
            raise InputError(
                "model=arcsr_staged learns from true kernels, which this data does not have; use model=arcsr, or "
                "kernels that arcsr-prepare measured (data.kernels=measured)"
            )
        estimator = cast(nn.Module, network.estimator)
        kernel = kernel_loss(estimator(batch["lr"]), batch["kernel"], batch.get("confidence"))
        return {"kernel": kernel, "loss": kernel}


def restore_batch(network: Callable[..., Restoration], batch: dict[str, Any], known_kernels: bool) -> Restoration:
    """Restore the LR images of a batch.

    Args:
        network: turns ``lr``, and ``kernel=`` where it is given them, into a ``Restoration``.
        batch: ``lr`` (B, 3, H, W) and, where they are known, ``kernel`` (B, ks*ks, H, W).
        known_kernels: give the network the true or measured kernels in place of its estimates.

    Raises:
        InputError: the data has no kernels to give.
    """
    if not known_kernels:
        return network(batch["lr"])
    if "kernel" not in batch:
        raise InputError(
            "known_kernels=true needs true or measured kernels, which this data does not have; let arcsr-prepare "
            "measure them (data.kernels=measured)"
        )
    return network(batch["lr"], kernel=batch["kernel"])


def _kernel_of(restored: Restoration) -> Tensor:
    if restored.kernel is None:
        raise InputError("loss: this model estimates no kernel; set loss.kernel_weight=0 loss.reblur_weight=0")
    return restored.kernel
