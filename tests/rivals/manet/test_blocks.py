import pytest
import torch

from arcsr_lightning.rivals.manet.blocks import MABlock, MAConv
from arcsr_lightning.scores.cost import parameters as count


@pytest.mark.parametrize(("channels", "split", "parameters"), [(128, 2, 86_464), (256, 2, 344_960), (128, 4, 68_160)])
def test_parameters(channels, split, parameters):
    with torch.device("meta"):
        assert count(MAConv(channels, split)) == parameters


@pytest.mark.parametrize("split", [2, 4])
def test_groups_are_modulated_from_the_unmodified_split(split):
    """Against the definition, group by group; the scale is a sigmoid, the convolution comes after the modulation."""
    torch.manual_seed(0)
    layer, x = MAConv(8, split), torch.randn(2, 8, 5, 6)
    own, out = 8 // split, []
    for i in range(split):
        inside = [channel for channel in range(8) if channel // own == i]
        outside = [channel for channel in range(8) if channel // own != i]
        affine = layer.affines[i](x[:, outside])
        modulated = x[:, inside] * torch.sigmoid(affine[:, :own]) + affine[:, own:]
        out.append(layer.convolutions[i](modulated))
    torch.testing.assert_close(layer(x), torch.cat(out, 1))


def test_modulation_does_not_widen_what_a_pixel_sees():
    torch.manual_seed(0)
    layer, x = MAConv(4), torch.randn(1, 4, 7, 7, requires_grad=True)
    layer(x)[..., 3, 3].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen[2:5, 2:5].all() and seen.sum() == 9


def test_block_is_two_layers_and_a_skip():
    torch.manual_seed(0)
    block, x = MABlock(4), torch.randn(1, 4, 5, 5)
    first, _, second = block.body
    torch.testing.assert_close(block(x), x + second(first(x).relu()))


@pytest.mark.parametrize(("channels", "split"), [(6, 4), (4, 1)])
def test_groups_that_are_none_are_refused(channels, split):
    with pytest.raises(ValueError, match=f"{channels} channels do not make {split}"):
        MAConv(channels, split)
