"""Restoring in tiles against restoring the whole image."""

import itertools
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from arcsr_lightning.inference.passes import run_network
from arcsr_lightning.inference.tiles import restore, tile_spans, tile_weights
from arcsr_lightning.networks.restoration import Restoration


class Local(nn.Module):
    """A restoration with a receptive field of ``reach`` pixels to each side, and a field of 3 x 3 kernels."""

    def __init__(self, scale: int, reach: int):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        size = 2 * reach + 1
        self.scale = scale
        self.image = nn.Parameter(torch.randn(3 * scale**2, 3, size, size, generator=generator) / size)
        self.field = nn.Parameter(torch.randn(9, 3, size, size, generator=generator) / size)
        self.largest = 0

    def forward(self, lr):
        self.largest = max(self.largest, *lr.shape[-2:])
        sr = F.pixel_shuffle(F.conv2d(lr, self.image, padding="same"), self.scale)
        return Restoration(sr, F.conv2d(lr, self.field, padding="same").softmax(1))


@pytest.mark.parametrize(
    ("ensemble", "precision", "error"),
    [(1, 32, 1e-5), (8, 32, 1e-5), (1, "bf16", 2e-2), (8, "bf16", 2e-2)],
)
@settings(deadline=None, max_examples=15)
@given(
    height=st.integers(1, 44),
    width=st.integers(1, 44),
    overlap=st.integers(4, 13),
    extra=st.integers(0, 12),
    scale=st.sampled_from([1, 2, 3]),
)
def test_tiles_equal_the_whole_for_a_local_network(height, width, overlap, extra, scale, ensemble, precision, error):
    network = Local(scale, reach=overlap // 4)
    tile = 2 * overlap + extra
    lr = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))
    run = partial(run_network, network, ensemble=ensemble, precision=precision)
    whole = restore(run, lr)
    network.largest = 0
    tiled = restore(run, lr, tile, overlap)
    assert network.largest <= tile
    torch.testing.assert_close(tiled.sr, whole.sr, rtol=0, atol=error)
    torch.testing.assert_close(tiled.kernel, whole.kernel, rtol=0, atol=error)


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    cell=st.sampled_from([2, 4, 16]),
    overlap=st.integers(16, 24),
    extra=st.integers(0, 20),
)
def test_tiles_equal_the_whole_for_a_network_of_cells(height, width, cell, overlap, extra):
    """As U-Nets and motion cues have them: all pixels of a cell get its mean."""

    def cells(lr):
        means = F.avg_pool2d(F.pad(lr, (0, -lr.shape[-1] % cell, 0, -lr.shape[-2] % cell), mode="replicate"), cell)
        return Restoration(F.interpolate(means, scale_factor=cell)[..., : lr.shape[-2], : lr.shape[-1]])

    lr = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height))
    tile = 4 * overlap + extra
    torch.testing.assert_close(restore(cells, lr, tile, 2 * overlap).sr, cells(lr).sr, rtol=0, atol=1e-5)


def test_one_pixel_more_of_reach_is_no_longer_exact():
    network = Local(scale=2, reach=5)
    lr = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (restore(network, lr, 32, overlap=16).sr - restore(network, lr).sr).abs().max() > 1e-4


@settings(deadline=None)
@given(
    length=st.integers(1, 300),
    overlap=st.integers(1, 20),
    extra=st.integers(0, 30),
    scale=st.sampled_from([1, 2, 3, 4]),
)
def test_tiles_cover_the_image_and_their_weights_sum_to_one(length, overlap, extra, scale):
    spans = tile_spans(length, 2 * overlap + extra, overlap)
    total = torch.zeros(length * scale)
    for index, (start, stop) in enumerate(spans):
        weights = tile_weights(spans, index, scale, overlap)
        assert weights.min() >= 0
        total[start * scale : stop * scale] += weights
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(first[1] - second[0] >= overlap for first, second in itertools.pairwise(spans))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_the_border_of_a_tile_has_no_weight_inside_the_image_and_full_weight_at_its_edge():
    spans = tile_spans(48, 32, 16)
    assert spans == [(0, 32), (16, 48)]
    first, second = (tile_weights(spans, index, 2, 16) for index in (0, 1))
    assert first[0] == 1 and second[-1] == 1
    assert not first[-8:].any() and not second[:8].any()  # a quarter of the overlap, at scale 2
    torch.testing.assert_close(first[-24:-8], torch.linspace(31 / 32, 1 / 32, 16))


def test_a_network_without_kernels_or_parameters_is_restored_too():
    class Nearest(nn.Module):
        scale = 2

        def forward(self, lr):
            return Restoration(F.interpolate(lr, scale_factor=2))

    lr = torch.rand(1, 3, 50, 21)
    restoration = restore(Nearest(), lr, tile=20, overlap=4)
    assert restoration.kernel is None
    torch.testing.assert_close(restoration.sr, F.interpolate(lr, scale_factor=2))


def test_kernels_are_left_out_on_request_and_progress_is_told():
    calls = []
    run = partial(run_network, Local(2, 1), keep_kernel=False)
    restoration = restore(run, torch.rand(1, 3, 20, 20), 12, 4, lambda *done: calls.append(done))
    assert restoration.kernel is None
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("overlap", [0, -1, 17])
def test_an_overlap_that_does_not_fit_the_tile_is_refused(overlap):
    with pytest.raises(ValueError, match=r"overlap must be between 1 and half the tile \(32 // 2 = 16\)"):
        restore(Local(2, 1), torch.rand(1, 3, 8, 8), 32, overlap)
