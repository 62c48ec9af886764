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


def he_std(layer: nn.Conv2d) -> float:
    return (2 / (layer.in_channels * 9)) ** 0.5


def weights_of(layers: list[nn.Conv2d]) -> torch.Tensor:
    """The weights of several layers, each in units of its own He initialisation."""
    return torch.cat([layer.weight.detach().flatten() / he_std(layer) for layer in layers])


@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_a_dmconv_starts_anew_by_he_with_offsets_at_zero_and_a_gain_for_what_it_adds(gain):
    torch.manual_seed(0)
    layer = DMConv(64, 1)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 7.0)  # whatever it learnt
    layer.initialise(gain)
    hidden, _, offsets = layer.offset
    assert not offsets.weight.any()
    assert not any(convolution.bias.any() for convolution in (hidden, offsets, layer.deform, layer.fuse))
    assert weights_of([hidden, layer.deform]).std() == pytest.approx(1, rel=0.03)
    assert weights_of([layer.fuse]).std() == pytest.approx(gain, rel=0.03)


def test_an_ordinary_convolution_starts_anew_by_he_with_the_gain():
    torch.manual_seed(0)
    layer = OrdinaryConv(64, 0)
    layer.initialise()
    assert weights_of([layer]).std() == pytest.approx(1, rel=0.03)
    layer.initialise(0.25)
    assert weights_of([layer]).std() == pytest.approx(0.25, rel=0.03)
    assert not layer.bias.any()


@pytest.mark.parametrize("convolution", [DMConv, OrdinaryConv])
def test_only_the_last_convolution_of_a_block_starts_at_three_tenths(convolution):
    torch.manual_seed(0)
    block = DMBlock(64, convolution)
    *others, last = [layer.fuse if convolution is DMConv else layer for layer in block.convolutions]
    assert weights_of(others).std() == pytest.approx(1, rel=0.03)
    assert weights_of([last]).std() == pytest.approx(0.3, rel=0.03)
