import pytest
import torch
from torch import nn

from arcsr_lightning.blocks import ChannelAttention, ConcatConv, KGBlock, KGConv, PlainConv
from arcsr_lightning.scores.cost import parameters


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_kgconv_adds_no_parameters_over_a_plain_convolution(kernel_size):
    plain = nn.Conv2d(8, 8, kernel_size, padding=kernel_size // 2, bias=False)
    assert parameters(KGConv(8, kernel_size)) == parameters(plain)
    assert parameters(PlainConv(8, kernel_size)) == parameters(plain)


def test_kgconv_guided_by_ones_is_the_plain_convolution():
    torch.manual_seed(0)
    layer, x = KGConv(6, 5), torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(layer(x, torch.ones(2, 25, 9, 8)), nn.Conv2d.forward(layer, x), rtol=1e-4, atol=1e-5)


def test_each_pixel_has_its_own_weights():
    torch.manual_seed(0)
    layer, x, guide = KGConv(2, 3), torch.randn(1, 2, 5, 5), torch.rand(1, 9, 5, 5)
    y, x_padded = layer(x, guide), nn.functional.pad(x, (1, 1, 1, 1))
    for i, j in [(0, 0), (2, 3), (4, 4)]:
        own = layer.weight * guide[0, :, i, j].view(3, 3)  # Sec. 3.2.3, word for word
        expected = (own * x_padded[0, :, i : i + 3, j : j + 3]).sum(dim=(1, 2, 3))
        torch.testing.assert_close(y[0, :, i, j], expected)


def test_concatenation_sees_features_and_kernel():
    layer = ConcatConv(4, 3)
    x, guide = torch.randn(1, 4, 6, 6, requires_grad=True), torch.rand(1, 9, 6, 6, requires_grad=True)
    layer(x, guide).sum().backward()
    assert x.grad.abs().sum() > 0
    assert guide.grad.abs().sum() > 0
    assert parameters(layer) == parameters(KGConv(4, 3)) + 9 * 4 * 9


@pytest.mark.parametrize("convolution", [KGConv, ConcatConv, PlainConv])
def test_block_is_three_convolutions_and_a_skip(convolution):
    block = KGBlock(4, 3, convolution)
    assert len(block.convolutions) == 3
    for parameter in block.convolutions[-1].parameters():
        nn.init.zeros_(parameter)
    x, guide = torch.randn(1, 4, 6, 6), torch.rand(1, 9, 6, 6)
    assert torch.equal(block(x, guide), x)


def test_attention_is_one_number_per_channel():
    torch.manual_seed(0)
    attention, x = ChannelAttention(4), torch.rand(2, 4, 6, 6) + 0.5
    ratio = attention(x) / x
    torch.testing.assert_close(ratio, ratio.mean(dim=(2, 3), keepdim=True).expand_as(ratio))


def test_a_fresh_attention_is_near_one():
    torch.manual_seed(0)
    x = torch.randn(2, 64, 16, 16)
    factors = ChannelAttention(64)(x) / x
    assert (factors - 1).abs().max() < 0.5


@pytest.mark.parametrize("convolution", [KGConv, ConcatConv, PlainConv])
def test_even_kernels_are_refused(convolution):
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        convolution(4, 4)
