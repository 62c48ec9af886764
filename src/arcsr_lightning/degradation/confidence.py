"""Means over the pixels of images, weighted by how sure the kernels there are."""

import torch
from torch import Tensor


def confident_mean(values: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Mean of each image over its pixels, weighted by how sure its kernels are.

    Args:
        values: (B, H, W).
        confidence: (B, 1, H, W); None, or zeros throughout an image: all its pixels count alike.

    Returns:
        (B,).
    """
    if confidence is None:
        return values.mean((1, 2))
    weight = confidence[:, 0]
    weight = torch.where(weight.sum((1, 2), keepdim=True) > 0, weight, 1)
    return (weight * values).sum((1, 2)) / weight.sum((1, 2))


def pooled_mean(values: Tensor, confidence: Tensor) -> Tensor:
    """Mean of all pixels of all images together, each weighted by its confidence; of one shape. A scalar."""
    return (confidence * values).sum() / confidence.sum().clamp_min(1e-6)
