"""How far figures are to be trusted: their spread over seeds, and an interval for a difference over images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CHUNK = 2**16  # draws at a time; what the cache holds is fastest


class Spread(NamedTuple):
    """A mean, and the sample standard deviation (n - 1) of what went into it; None for a single value."""

    mean: float
    std: float | None


class Interval(NamedTuple):
    """A mean difference and the ends of its interval."""

    mean: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value; an infinite mean has no deviation."""
    mean = float(np.mean(values))
    return Spread(mean, float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(mean) else None)


def paired_bootstrap(
    scores: np.ndarray,
    reference: np.ndarray,
    generator: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of ``scores - reference``, pair by pair, with its percentile interval over resampled images.

    Both are (images,), finite, in the same order. Images are drawn as if they were independent. Frames of one video
    sequence are not: for GoPro and REDS the interval is too narrow. It holds for the trainings that were scored; what
    another seed would change, the spread over seeds tells.
    """
    differences = np.subtract(scores, reference, dtype=np.float64)
    images = len(differences)
    step = max(1, CHUNK // images)
    means = [
        differences[generator.integers(images, size=(min(step, resamples - done), images))].mean(axis=1)
        for done in range(0, resamples, step)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(differences.mean()), float(low), float(high))
