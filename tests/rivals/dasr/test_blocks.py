import pytest
import torch
from torch import nn
from torch.nn import functional as F

from arcsr_lightning.rivals.dasr.blocks import DABlock, DAConv, DAGroup, depthwise_per_sample
from arcsr_lightning.scores.cost import parameters


def test_parameter_counts():
    with torch.device("meta"):
        assert parameters(DAConv(64)) == 46_144
        assert parameters(DABlock(64)) == 166_144
        assert parameters(DAGroup(64, blocks=5)) == 5 * 166_144 + 36_928


@pytest.mark.parametrize("size", [1, 3, 5])
def test_every_sample_and_channel_meets_its_own_kernel(size):
    x, kernel = torch.rand(3, 4, 6, 7), torch.randn(3, 4, size, size)
    out = depthwise_per_sample(x, kernel)
    for i in range(3):
        for c in range(4):
            alone = F.conv2d(x[i, c][None, None], kernel[i, c][None, None], padding=size // 2)
            torch.testing.assert_close(out[i, c], alone[0, 0])


def test_da_conv_is_what_its_parts_make_of_each_sample_alone():
    torch.manual_seed(0)
    layer = DAConv(8)
    x, code = torch.randn(3, 8, 5, 6), torch.randn(3, 8)
    out = layer(x, code)
    down, up = layer.kernel[0].weight, layer.kernel[2].weight
    squeeze, expand = layer.attention[0].weight, layer.attention[2].weight
    for i in range(3):
        kernel = (up @ F.leaky_relu(down @ code[i], 0.1)).reshape(8, 1, 3, 3)
        filtered = F.leaky_relu(F.conv2d(x[i], kernel, padding=1, groups=8), 0.1)
        mixed = F.conv2d(filtered, layer.mix.weight, layer.mix.bias)
        attention = torch.sigmoid(expand @ F.leaky_relu(squeeze @ code[i], 0.1))
        torch.testing.assert_close(out[i], mixed + x[i] * attention[:, None, None])


def test_codes_of_a_batch_do_not_mix():
    torch.manual_seed(0)
    group = DAGroup(8, blocks=2)
    x, code = torch.randn(2, 8, 5, 6), torch.randn(2, 8)
    out = group(x, code)
    for i in range(2):
        torch.testing.assert_close(out[i : i + 1], group(x[i : i + 1], code[i : i + 1]))
    assert not torch.allclose(out, group(x, code.flip(0)))


@pytest.mark.parametrize("module", [DABlock(8), DAGroup(8, blocks=1)])
def test_a_branch_of_zeros_leaves_the_skip(module):
    last = module.plain[1] if isinstance(module, DABlock) else module.tail
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    x = torch.randn(2, 8, 4, 5)
    assert torch.equal(module(x, torch.randn(2, 8)), x)


def test_too_few_channels_for_the_attention_are_refused():
    with pytest.raises(ValueError, match="needs 8 channels or more, got 4"):
        DAConv(4)
