"""Means over pixels, weighted by their confidence, against NumPy's."""

import numpy as np
import torch

from arcsr_lightning.degradation import confident_mean, pooled_mean


def test_the_mean_of_confident_pixels():
    rng = np.random.default_rng(0)
    values, confidence = rng.random((3, 4, 5)), rng.random((3, 1, 4, 5))
    confidence[2] = 0
    expected = [np.average(values[i], weights=confidence[i, 0]) for i in range(2)] + [values[2].mean()]
    mean = confident_mean(torch.from_numpy(values), torch.from_numpy(confidence))
    np.testing.assert_allclose(mean, expected)
    np.testing.assert_allclose(confident_mean(torch.from_numpy(values)), values.mean((1, 2)))


def test_the_mean_of_all_images_together():
    rng = np.random.default_rng(0)
    values, confidence = rng.random((3, 1, 4, 5)), rng.random((3, 1, 4, 5))
    mean = pooled_mean(torch.from_numpy(values), torch.from_numpy(confidence))
    np.testing.assert_allclose(mean, np.average(values, weights=confidence))
    assert pooled_mean(torch.from_numpy(values), torch.zeros(3, 1, 4, 5)) == 0
