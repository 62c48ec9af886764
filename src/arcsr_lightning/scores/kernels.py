"""How right estimated kernels are, over all pixels of all images: what single images cannot say.

One image may be blurred alike everywhere; a correlation, or what a constant kernel would reach, means something over
many. An image leaves a ``KernelRow``, small whatever its size; ``kernel_scores`` makes figures of all rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arcsr_lightning.degradation import pooled_mean
from arcsr_lightning.networks import Restoration
from arcsr_lightning.scores.metrics import best_constant_kernel, blur_amount, blur_direction

SAMPLED = 16  # pixels along each side of an image, by which the best constant kernel is found


class KernelRow(NamedTuple):
    """What is kept of the estimate of one image: moments, and true kernels of sampled pixels."""

    noise_level: float
    error: float
    amount: Tensor  # ``moments`` of blur_amount
    direction: Tensor  # ``moments`` of blur_direction
    truth: Tensor  # (ks*ks, SAMPLED**2 or fewer), float16
    weight: Tensor  # (SAMPLED**2 or fewer,), of these pixels


def kernel_rows(restored: Restoration, batch: dict[str, Any]) -> list[KernelRow]:
    """A row per image of a batch; none where kernels are not known, or not estimated in their size."""
    estimates, truths = restored.kernel, batch.get("kernel")
    if estimates is None or truths is None or estimates.shape != truths.shape:
        return []
    confidences = batch.get("confidence", [None] * len(truths))
    return [
        kernel_row(float(level), *kernels)
        for level, *kernels in zip(batch["noise_level"], estimates.float(), truths, confidences, strict=True)
    ]


def kernel_row(noise_level: float, estimate: Tensor, truth: Tensor, confidence: Tensor | None = None) -> KernelRow:
    """Compare the kernels of one image, (ks*ks, H, W) twice, every pixel weighted by its confidence (1, H, W)."""
    weight = torch.ones_like(truth[:1]) if confidence is None else confidence
    distance = (estimate - truth).abs().sum(0, keepdim=True)
    rows, columns = (
        torch.linspace(0, side - 1, min(SAMPLED, side), device=truth.device).long() for side in truth.shape[1:]
    )
    amounts, directions = (
        moments(measure(estimate[None])[0], measure(truth[None])[0], weight)
        for measure in (blur_amount, blur_direction)
    )
    return KernelRow(
        noise_level,
        float(pooled_mean(distance, weight)),
        amounts.cpu(),
        directions.cpu(),
        truth[:, rows[:, None], columns].flatten(1).half().cpu(),
        weight[0, rows[:, None], columns].flatten().cpu(),
    )


def moments(estimate: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """The weighted sums that a correlation needs, which add up over images.

    Args:
        estimate, truth: (C, H, W).
        weight: (1, H, W).

    Returns:
        (4 + 2C,), float64: of one, of xy, xx and yy over all components, of x and of y for each component.
    """
    x, y, w = estimate.double(), truth.double(), weight.double()
    products = torch.stack([w.sum(), (w * x * y).sum(), (w * x * x).sum(), (w * y * y).sum()])
    return torch.cat([products, (w * x).sum((1, 2)), (w * y).sum((1, 2))])


def correlation(total: Tensor) -> float:
    """Correlate two fields over all pixels of all images, from the sum of their ``moments``.

    Vectors are taken less their mean over all pixels; the correlation is that of all their components together, 0
    where one of the fields is constant.
    """
    count, xy, xx, yy = total[:4]
    x, y = total[4:].chunk(2)
    covariance, x_variance, y_variance = (
        square - (a * b).sum() / count for square, a, b in ((xy, x, y), (xx, x, x), (yy, y, y))
    )
    norm = (x_variance.clamp_min(0) * y_variance.clamp_min(0)).sqrt()
    return float(covariance / norm) if norm > 1e-9 * count else 0.0


def kernel_scores(rows: Sequence[KernelRow]) -> dict[str, float]:
    """Score the kernels of a test.

    Returns:
        ``kernel_skill``: 1 - error / error of the one kernel that is best for all images together (1 is right
        everywhere, 0 what a constant would reach); ``kernel_amount`` and ``kernel_direction``: correlation over all
        pixels of estimated and true ``blur_amount`` and ``blur_direction``. Nothing where there are no rows.
    """
    if not rows:
        return {}
    truth = torch.cat([row.truth for row in rows], dim=1).float()  # (ks*ks, pixels)
    weight = torch.cat([row.weight for row in rows])
    trusted = weight >= 0.5 * weight.max()
    constant = best_constant_kernel(truth[None, :, None, trusted])
    distances = [(constant[:, None] - row.truth.float()).abs().sum(0) for row in rows]
    constant_error = sum(
        float(pooled_mean(distance, row.weight)) for row, distance in zip(rows, distances, strict=True)
    )
    return {
        "kernel_skill": 1 - sum(row.error for row in rows) / constant_error if constant_error else 0.0,
        "kernel_amount": correlation(torch.stack([row.amount for row in rows]).sum(0)),
        "kernel_direction": correlation(torch.stack([row.direction for row in rows]).sum(0)),
    }
