"""Offsets that come with the kernels, against the layer itself."""

import pytest
import torch
from torch import nn

from arcsr_lightning.blocks import DMConv, OrdinaryConv
from arcsr_lightning.inference import Observed, restore
from arcsr_lightning.networks import ArcSR, Bicubic, KernelEstimator, Restorer


def network(convolution=DMConv):
    torch.manual_seed(0)
    built = ArcSR(KernelEstimator(3, 8, 2, convolution), Restorer(2, 3, 4, 1)).eval()
    for layer in built.modules():
        if isinstance(layer, DMConv):
            nn.init.normal_(layer.offset[-1].weight, std=0.1)  # a fresh one reads where a convolution does
    return built


def test_offsets_are_those_of_the_last_dmconv_and_the_rest_is_as_without(monkeypatch):
    plain = network()
    lr = torch.rand(1, 3, 11, 14)  # padded to 12 in the estimator
    seen = []
    last = [layer for layer in plain.modules() if isinstance(layer, DMConv)][-1]
    original = last.offset.forward
    monkeypatch.setattr(last.offset, "forward", lambda x: seen.append(original(x)) or seen[-1])
    observed = Observed(plain)
    with torch.inference_mode():
        expected = plain(lr)
        sr, field = observed(lr)
    kernel, offset = observed.split(field)
    torch.testing.assert_close(sr, expected.sr, rtol=0, atol=0)
    torch.testing.assert_close(kernel, expected.kernel, rtol=0, atol=0)
    torch.testing.assert_close(offset, seen[0][..., :11, :14], rtol=0, atol=0)
    assert offset.abs().max() > 0.01
    assert not last.offset._forward_hooks


def test_tiles_join_offsets_as_they_join_kernels():
    observed = Observed(network())
    lr = torch.rand(1, 3, 40, 90)
    whole, tiled = (restore(observed, lr, tile, 32) for tile in (None, 64))
    kernel, offset = observed.split(tiled.kernel)
    assert offset.shape == (1, 18, 40, 90)
    torch.testing.assert_close(kernel.sum(1), torch.ones(1, 40, 90), rtol=0, atol=1e-5)
    _, expected = observed.split(whole.kernel)
    torch.testing.assert_close(offset[..., :24], expected[..., :24], rtol=0, atol=1e-4)  # far from the seam


@pytest.mark.parametrize("plain", [network(OrdinaryConv), Bicubic(2)], ids=["no DMconvs", "no kernels"])
def test_a_network_that_has_none_is_left_as_it_is(plain):
    observed = Observed(plain)
    lr = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        expected, found = plain(lr), observed(lr)
    kernel, offset = observed.split(found.kernel)
    torch.testing.assert_close(found.sr, expected.sr, rtol=0, atol=0)
    assert offset is None
    assert kernel is expected.kernel is None or torch.equal(kernel, expected.kernel)
