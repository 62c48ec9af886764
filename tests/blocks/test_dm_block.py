import pytest
import torch
from torch import nn
from torch.nn import functional as F

from arcsr_lightning.blocks import DMBlock, DMConv, OrdinaryConv


def test_fresh_dmconv_is_an_ordinary_convolution_of_its_quarter():
    torch.manual_seed(0)
    layer, x = DMConv(8, quarter=1), torch.randn(2, 8, 7, 9)
    own = F.conv2d(x[:, 2:4], layer.deform.weight, layer.deform.bias, padding=1)
    expected = layer.fuse(torch.cat([own, x[:, :2], x[:, 4:]], dim=1))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quarter", range(4))
def test_offsets_come_from_the_other_three_quarters_only(quarter):
    torch.manual_seed(0)
    layer, x = DMConv(8, quarter), torch.randn(1, 8, 5, 5, requires_grad=True)
    nn.init.normal_(layer.offset[-1].weight)
    _, others = layer.split(x)
    layer.offset(others).sum().backward()
    reached = x.grad.abs().sum(dim=(0, 2, 3)) > 0
    expected = torch.ones(8, dtype=torch.bool)
    expected[2 * quarter : 2 * quarter + 2] = False
    assert torch.equal(reached, expected)


def test_a_trained_offset_moves_the_receptive_field():
    torch.manual_seed(0)
    layer, x = DMConv(4, quarter=0), torch.randn(1, 4, 9, 9, requires_grad=True)
    nn.init.dirac_(layer.deform.weight)
    nn.init.dirac_(layer.fuse.weight)
    layer.offset[-1].bias.data[8:10] = torch.tensor([2.0, -3.0])  # the centre tap looks 2 down, 3 left
    layer(x)[0, 0, 4, 4].backward()
    assert (x.grad[0, 0].abs() > 1e-4).nonzero().tolist() == [[6, 1]]


def test_block_takes_each_quarter_once_and_has_a_skip():
    block = DMBlock(8)
    assert [layer.quarter for layer in block.convolutions] == [0, 1, 2, 3]
    for parameter in block.convolutions[-1].fuse.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(block(x), x)


def test_ablation_has_four_conventional_convolutions():
    block = DMBlock(8, OrdinaryConv)
    assert [type(layer).__mro__[1] for layer in block.convolutions] == [nn.Conv2d] * 4


def test_channels_that_cannot_be_quartered_are_refused():
    with pytest.raises(ValueError, match="10 is not divisible by 4"):
        DMConv(10, 0)


def test_a_fresh_block_changes_its_input_noticeably_but_moves_no_sample():
    torch.manual_seed(0)
    block, x = DMBlock(16), torch.randn(2, 16, 24, 24)
    branch = block(x) - x
    assert 0.1 < branch.std() / x.std() < 1
    assert all(layer.offset(layer.split(x)[1]).abs().max() == 0 for layer in block.convolutions)
