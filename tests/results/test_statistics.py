"""Statistics against numpy and scipy, and against what their names promise."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from arcsr_lightning.results.statistics import clustered_bootstrap, spread


def generator(seed=0):
    return np.random.default_rng(seed)


def test_the_deviation_is_that_of_a_sample():
    values = [24.0, 24.3, 25.2]
    mean = (24.0 + 24.3 + 25.2) / 3
    assert spread(values) == pytest.approx((mean, math.sqrt(sum((value - mean) ** 2 for value in values) / 2)))


def test_one_seed_and_perfect_images_have_no_deviation():
    assert spread([24.0]) == (24.0, None)
    assert spread([24.0, math.inf]) == (math.inf, None)


def one_seed(gains, resamples=10_000):
    """The interval of images that stand by themselves."""
    return clustered_bootstrap(gains[None], range(len(gains)), generator(), resamples)


def test_the_interval_over_images_is_scipys():
    gains = generator(1).gamma(2, 1, 40)
    settings = {"method": "percentile", "n_resamples": 10_000, "random_state": generator()}
    theirs = bootstrap((gains,), np.mean, **settings).confidence_interval
    assert one_seed(gains) == pytest.approx((gains.mean(), theirs.low, theirs.high))


def test_seeds_and_groups_are_drawn_together_as_a_loop_over_all_that_can_be_drawn_does_it():
    """Two seeds and three groups of 1, 2 and 4 images: all 2**2 * 3**3 resamples, each as likely."""
    gains = generator(2).normal(0.3, 1, (2, 7))
    groups = ["b", "a", "c", "b", "c", "c", "c"]
    members = [[number for number, group in enumerate(groups) if group == name] for name in "abc"]
    values: list[float] = []
    for seeds, drawn in product(product(range(2), repeat=2), product(members, repeat=3)):
        chosen = [gains[seed, image] for seed in seeds for group in drawn for image in group]
        values.append(sum(chosen) / len(chosen))
    found = clustered_bootstrap(gains, groups, generator(), 100_000, confidence=0.8)
    assert found.mean == pytest.approx(gains.mean())
    means = np.array(values)
    for end, share in ((found.low, 0.1), (found.high, 0.9)):  # resamples that differ in their order have one mean
        assert np.mean(means < end - 1e-9) < share + 0.01 and np.mean(means < end + 1e-9) > share - 0.01


def test_gains_that_are_alike_leave_no_doubt():
    assert one_seed(np.full(30, 0.5)) == pytest.approx((0.5, 0.5, 0.5))


def test_one_group_tells_nothing_of_other_images_and_one_seed_nothing_of_other_seeds():
    gains = generator(3).normal(0, 1, (2, 50))
    low, high = sorted(gains.mean(axis=1))
    assert clustered_bootstrap(gains, ["a"] * 50, generator()) == pytest.approx((gains.mean(), low, high))
    assert clustered_bootstrap(gains[:1], ["a"] * 50, generator())[1:] == pytest.approx([gains[0].mean()] * 2)


def test_images_of_a_group_that_are_alike_count_as_one():
    values = generator(4).normal(0, 1, 12)
    repeated, groups = np.repeat(values, 9), np.repeat(range(12), 9)
    apart, together = one_seed(repeated), clustered_bootstrap(repeated[None], groups, generator())
    assert together == pytest.approx(one_seed(values))
    assert together.high - together.low == pytest.approx(3 * (apart.high - apart.low), rel=0.1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draws = generator(5).normal(0.2, 1, (400, 50))
    found = [one_seed(draw, resamples=500) for draw in draws]
    covered = np.mean([low <= 0.2 <= high for _, low, high in found])
    assert 0.90 < covered < 0.98
    width = np.mean([high - low for _, low, high in found])
    assert width == pytest.approx(2 * norm.ppf(0.975) / math.sqrt(50), rel=0.05)


def test_a_generator_gives_the_same_interval_again_and_many_images_fit_into_memory():
    scores = generator(7).normal(0, 1, 3000)
    first, second = (one_seed(scores) for _ in range(2))
    assert first == second
    assert first.high - first.low == pytest.approx(2 * norm.ppf(0.975) / math.sqrt(3000), rel=0.05)
