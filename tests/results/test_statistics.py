"""Statistics against numpy and scipy, and against what their names promise."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from arcsr_lightning.results.statistics import paired_bootstrap, spread


def generator(seed=0):
    return np.random.default_rng(seed)


def test_the_deviation_is_that_of_a_sample():
    values = [24.0, 24.3, 25.2]
    mean = (24.0 + 24.3 + 25.2) / 3
    assert spread(values) == pytest.approx((mean, math.sqrt(sum((value - mean) ** 2 for value in values) / 2)))


def test_one_seed_and_perfect_images_have_no_deviation():
    assert spread([24.0]) == (24.0, None)
    assert spread([24.0, math.inf]) == (math.inf, None)


def test_the_interval_is_scipys():
    scores, reference = generator(1).gamma(2, 1, (2, 40))
    ours = paired_bootstrap(scores, reference, generator())

    def mean_difference(a, b, axis):
        return (a - b).mean(axis=axis)

    settings = {"paired": True, "method": "percentile", "n_resamples": 10_000, "random_state": generator()}
    theirs = bootstrap((scores, reference), mean_difference, **settings).confidence_interval
    assert ours == pytest.approx(((scores - reference).mean(), theirs.low, theirs.high))


def test_pairs_that_differ_by_a_constant_leave_no_doubt():
    scores = generator().random(30)
    low, mean, high = np.take(paired_bootstrap(scores + 0.5, scores, generator()), (1, 0, 2))
    assert (low, mean, high) == pytest.approx((0.5, 0.5, 0.5))


def test_pairing_is_what_makes_it_narrow():
    hard = generator(3).normal(25, 5, 100)  # how hard an image is matters more than the method
    ours = hard + generator(4).normal(0.1, 0.1, 100)
    paired, unpaired = (paired_bootstrap(ours, other, generator()) for other in (hard, hard[::-1]))
    assert paired.high - paired.low < 0.1 * (unpaired.high - unpaired.low)
    assert paired.low > 0 > unpaired.low


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draws = generator(5).normal(0.2, 1, (400, 50))
    found = [paired_bootstrap(draw, np.zeros(50), generator(6), resamples=500) for draw in draws]
    covered = np.mean([low <= 0.2 <= high for _, low, high in found])
    assert 0.90 < covered < 0.98
    width = np.mean([high - low for _, low, high in found])
    assert width == pytest.approx(2 * norm.ppf(0.975) / math.sqrt(50), rel=0.05)


def test_a_seed_gives_the_same_interval_again_and_many_images_fit_into_memory():
    scores = generator(7).normal(0, 1, 3000)
    first, second = (paired_bootstrap(scores, np.zeros(3000), generator(8)) for _ in range(2))
    assert first == second
    assert first.high - first.low == pytest.approx(2 * norm.ppf(0.975) / math.sqrt(3000), rel=0.05)


def test_scores_of_single_precision_are_subtracted_exactly():
    rng = np.random.default_rng(0)
    scores, reference = (30 + rng.random(20, np.float32) for _ in range(2))
    exact = paired_bootstrap(scores.astype(float), reference.astype(float), np.random.default_rng(1))
    assert paired_bootstrap(scores, reference, np.random.default_rng(1)) == exact
