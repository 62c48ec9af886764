"""An oracle of correlations over many images, by numpy."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def field_correlation(estimate: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Correlate two fields, one (B, C, H, W) per image or batch, over all pixels of all images.

    Vectors are taken less their mean over all pixels; the correlation is that of all their components together.
    """
    flat = [np.concatenate([x.movedim(1, 0).flatten(1) for x in fields], axis=1) for fields in (estimate, truth)]
    x, y = (each - each.mean(axis=1, keepdims=True) for each in flat)  # (C, pixels)
    return np.corrcoef(x.ravel(), y.ravel())[0, 1]
