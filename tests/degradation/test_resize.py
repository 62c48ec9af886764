"""Resizing against MATLAB's imresize in its published form: a matrix of cubic weights with mirrored indices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcsr_lightning.degradation import downsample, upsample


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0))


def imresize_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Row i holds the weights of output sample i; the support widens with the factor when shrinking."""
    factor = size_out / size_in
    shrink = min(factor, 1.0)
    matrix = np.zeros((size_out, size_in))
    for i in range(size_out):
        centre = (i + 0.5) / factor - 0.5
        reach = int(np.ceil(2 / shrink)) + 1
        index = np.arange(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 1)
        weight = cubic((centre - index) * shrink)
        weight /= weight.sum()
        mirror = np.concatenate([np.arange(size_in), np.arange(size_in)[::-1]])
        np.add.at(matrix[i], mirror[index % (2 * size_in)], weight)
    return matrix


def imresize(x: torch.Tensor, height: int, width: int) -> np.ndarray:
    rows, columns = imresize_matrix(x.shape[-2], height), imresize_matrix(x.shape[-1], width)
    return rows @ x.numpy() @ columns.T


def image(height: int, width: int, seed: int) -> torch.Tensor:
    return torch.rand(3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(scale=st.sampled_from([1, 2, 3, 4, 8]), height=st.integers(1, 9), width=st.integers(1, 9), seed=seeds)
def test_downsampling_equals_matlab_everywhere(scale, height, width, seed):
    x = image(height * scale, width * scale, seed)
    np.testing.assert_allclose(downsample(x, scale), imresize(x, height, width), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(scale=st.sampled_from([1, 2, 3, 4, 8]), height=st.integers(1, 12), width=st.integers(1, 12), seed=seeds)
def test_upsampling_equals_matlab_everywhere(scale, height, width, seed):
    x = image(height, width, seed)
    np.testing.assert_allclose(upsample(x, scale), imresize(x, height * scale, width * scale), atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("margin", [1, 2, 3])
def test_a_margin_is_what_is_not_asked_for(margin, scale):
    x = image(9 * scale, 8 * scale, seed=0)
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    torch.testing.assert_close(downsample(x, scale, margin), downsample(x, scale)[inner], atol=1e-14, rtol=0)


@pytest.mark.parametrize("resize", [downsample, upsample])
def test_float32_stays_within_a_hundredth_of_a_grey_level(resize):
    x = torch.rand(2, 3, 48, 36)
    torch.testing.assert_close(resize(x, 4).double(), resize(x.double(), 4), atol=0.01 / 255, rtol=0)


@pytest.mark.parametrize("resize", [downsample, upsample])
def test_a_batch_is_its_images(resize):
    x = torch.rand(2, 3, 8, 12)
    assert torch.equal(resize(x, 2)[1], resize(x[1], 2))


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="scale 4 needs H and W divisible by 4, got 255x256; crop the image"):
        downsample(torch.rand(3, 255, 256), 4)
