import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from arcsr_lightning.blocks import (
    ChannelAttention,
    ConcatConv,
    DMBlock,
    DMConv,
    KGBlock,
    KGConv,
    OrdinaryConv,
    PlainConv,
)
from arcsr_lightning.degradation import upsample
from arcsr_lightning.networks import ArcSR, Bicubic, KernelEstimator, Restorer


def small(scale: int = 2, estimator_conv=DMConv, restorer_conv=KGConv, kernel_size: int = 3, levels: int = 3) -> ArcSR:
    torch.manual_seed(0)
    return ArcSR(
        KernelEstimator(kernel_size, width=4, levels=levels, convolution=estimator_conv),
        Restorer(scale, kernel_size, width=4, blocks=2, convolution=restorer_conv),
    )


def count(module: nn.Module, kind: type) -> int:
    return sum(isinstance(child, kind) for child in module.modules())


@settings(max_examples=15, deadline=None)
@given(scale=st.sampled_from([2, 3, 4]), height=st.integers(1, 13), width=st.integers(1, 13))
def test_any_lr_size_from_one_pixel_up(scale, height, width):
    sr, kernel = small(scale)(torch.rand(2, 3, height, width))
    assert sr.shape == (2, 3, scale * height, scale * width)
    assert kernel.shape == (2, 9, height, width)


def test_counts_are_the_paper_s():
    """Sec. 4.2: 4 DMconvs a DM-block, 2 DM-blocks a level; 3 KGconvs a KG-block, 8 KG-blocks, each with attention."""
    network = ArcSR(KernelEstimator(3, width=4, levels=3), Restorer(4, 3, width=4))
    levels = [*network.estimator.encoder, *network.estimator.decoder]
    assert len(levels) == 5
    assert all(count(level, DMBlock) == 2 and count(level, DMConv) == 8 for level in levels)
    assert count(network.restorer, KGBlock) == count(network.restorer, ChannelAttention) == 8
    assert count(network.restorer, KGConv) == 24


def test_kernels_are_non_negative_and_sum_to_one():
    network = small(kernel_size=5)
    nn.init.normal_(network.estimator.tail.weight)
    kernel = network(torch.rand(1, 3, 9, 10)).kernel
    assert kernel.min() >= 0
    torch.testing.assert_close(kernel.sum(dim=1), torch.ones(1, 9, 10))


@pytest.mark.parametrize("size", [(5, 4), (40, 33)])
def test_what_is_constant_comes_back_as_it_was(size):
    """By construction, whatever the weights and the kernels."""
    network = small(scale=4, kernel_size=5)
    for parameter in network.restorer.parameters():
        nn.init.normal_(parameter, std=0.3)
    lr = torch.tensor([51, 89, 153]).view(1, 3, 1, 1).expand(1, 3, *size) / 255
    kernel = torch.softmax(torch.randn(1, 25, *size), dim=1)
    assert (
        network(lr, kernel).sr - upsample(lr, 4)
    ).abs().max() < 0.1 / 255  # rounding, through weights that are large


def test_decoder_adds_the_matching_encoder_output():
    estimator = KernelEstimator(3, width=4, levels=2)
    encoded = [torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)]
    expected = estimator.decoder[0](encoded[0] + estimator.ups[0](encoded[1]))
    assert torch.equal(estimator.decode(encoded), expected)


def test_fresh_kgconv_network_acts_like_the_plain_one():
    """A fresh estimator says "uniform", and a uniform kernel makes of a KGconv the ordinary convolution."""
    guided, plain = small(restorer_conv=KGConv), small(restorer_conv=PlainConv)
    plain.load_state_dict(guided.state_dict())
    nn.init.zeros_(guided.estimator.tail.weight)
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(guided(x).sr, plain(x).sr, rtol=1e-4, atol=1e-5)


def test_fresh_network_is_close_to_bicubic():
    x = torch.rand(1, 3, 8, 8)
    assert (small()(x).sr - upsample(x, 2)).abs().max() < 0.05


def test_a_given_kernel_replaces_the_estimate():
    network, x = small(), torch.rand(1, 3, 8, 8)
    delta = torch.zeros(1, 9, 8, 8)
    delta[:, 4] = 1
    sr, kernel = network(x, delta)
    assert kernel is delta
    torch.testing.assert_close(sr, network.restorer(x, delta))
    assert not torch.allclose(sr, network(x).sr)


def test_ablations_swap_only_their_own_part():
    full, no_dmconv, no_kgconv = small(), small(estimator_conv=OrdinaryConv), small(restorer_conv=ConcatConv)
    assert count(no_dmconv, DMConv) == 0
    assert count(no_dmconv, KGConv) == count(full, KGConv)
    assert count(no_kgconv, KGConv) == 0
    assert count(no_kgconv, DMConv) == count(full, DMConv)


def test_without_an_estimator_there_is_no_kernel():
    network = ArcSR(None, Restorer(2, 3, width=4, blocks=1, convolution=PlainConv))
    sr, kernel = network(torch.rand(1, 3, 5, 4))
    assert kernel is None
    assert sr.shape == (1, 3, 10, 8)


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = ArcSR(KernelEstimator(3, width=16, levels=2), Restorer(2, 3, width=8, blocks=2))
    for module in network.modules():  # zero-initialised layers would hide what lies before them
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    network(torch.rand(1, 3, 8, 8)).sr.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_bicubic_is_the_resizer():
    x = torch.rand(1, 3, 5, 6)
    assert torch.equal(Bicubic(3)(x).sr, upsample(x, 3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Restorer(scale=5), "scale must be 2, 3 or 4"),
        (lambda: Restorer(kernel_size=4), "kernel_size must be odd"),
        (lambda: KernelEstimator(kernel_size=2), "kernel_size must be odd"),
        (lambda: KernelEstimator(width=6), "not divisible by 4"),
        (lambda: KernelEstimator(levels=0), "at least one level"),
    ],
)
def test_impossible_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [False, True])
def test_compiles_to_one_graph(autocast):
    torch.compiler.reset()
    network, lr = small(), torch.rand(1, 3, 8, 8)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        torch.testing.assert_close(compiled(lr).sr, network(lr).sr)


def test_the_guide_is_cast_once_for_all_convolutions():
    class Casts(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            of_guide = func is torch.ops.aten._to_copy.default and args[0].shape == (1, 9, 8, 8)
            self.count += of_guide and kwargs.get("dtype") == torch.bfloat16
            return func(*args, **(kwargs or {}))

    network = Restorer(2, 3, width=4, blocks=2)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), Casts() as casts:
        network(torch.rand(1, 3, 8, 8), torch.rand(1, 9, 8, 8))
    assert casts.count == 1
