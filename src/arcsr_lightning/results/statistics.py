"""How far figures are to be trusted: their spread over seeds, and an interval over images and seeds."""

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


def clustered_bootstrap(
    gains: np.ndarray,
    groups: Sequence[str],
    generator: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of paired differences, with its percentile interval over resampled seeds and groups of images.

    Every resample draws as many seeds and as many groups as there are, with replacement, independently of each other;
    its mean is over all images of the drawn groups under all drawn seeds. Of one seed the interval says nothing of
    others; of two or three seeds or groups it is too narrow, as any bootstrap of so few.

    Args:
        gains: (seeds, images), finite.
        groups: of every image: images of one are drawn together, as frames of a sequence are not independent.
        generator: what is drawn with.
        resamples: how many.
        confidence: share of the resamples' means that the interval holds.
    """
    seeds, _ = gains.shape
    number = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(number)
    sums = np.stack([np.bincount(number, row) for row in np.asarray(gains, np.float64)])  # (seeds, groups)
    step = max(1, CHUNK // len(sizes))
    means = []
    for done in range(0, resamples, step):
        count = min(step, resamples - done)
        drawn = np.eye(seeds)[generator.integers(seeds, size=(count, seeds))].mean(axis=1)  # weight of every seed
        chosen = generator.integers(len(sizes), size=(count, len(sizes)))
        means.append(np.take_along_axis(drawn @ sums, chosen, axis=1).sum(axis=1) / sizes[chosen].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.mean(gains)), float(low), float(high))
