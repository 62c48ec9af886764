import pytest
import torch

from arcsr_lightning.rivals.nafnet.blocks import ChannelNorm, NAFBlock, gated, local_mean


def test_the_norm_is_over_the_channels_of_a_pixel():
    norm, x = ChannelNorm(5), 3 * torch.randn(2, 5, 4, 3) + 1
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    pixel = x[1, :, 2, 1]
    standardised = (pixel - pixel.mean()) / (pixel.var(correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x)[1, :, 2, 1], standardised * norm.weight + norm.bias)


def test_the_gate_multiplies_halves():
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(gated(x), x[:, :3] * x[:, 3:])


def test_a_local_mean_is_of_the_nearest_window_that_is_inside():
    x = torch.randn(1, 2, 9, 12)
    means = local_mean(x, 5)
    assert means.shape == x.shape
    for row in range(9):
        for column in range(12):
            top, left = min(max(row - 2, 0), 4), min(max(column - 2, 0), 7)
            expected = x[0, :, top : top + 5, left : left + 5].mean((1, 2))
            torch.testing.assert_close(means[0, :, row, column], expected)


@pytest.mark.parametrize(("window", "sides"), [(9, (1, 12)), (12, (1, 1)), (100, (1, 1))])
def test_a_side_no_longer_than_the_window_is_taken_whole(window, sides):
    x = torch.randn(1, 2, 9, 12)
    means = local_mean(x, window)
    assert means.shape[2:] == sides
    torch.testing.assert_close(means[..., 0, 0], x[..., :window].mean((2, 3)))  # of the leftmost window


def test_a_fresh_block_is_the_identity():
    x = torch.randn(1, 4, 5, 6)
    assert torch.equal(NAFBlock(4, 8)(x), x)


def test_a_block_is_its_definition():
    """Fig. 3(c) and Sec. 3.3 of the publication, for an image no larger than the window."""
    block, x = NAFBlock(4, 8), torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        block.spatial_factor.normal_()
        block.channel_factor.normal_()
    y = block.spatial[1](block.spatial[0](block.spatial_norm(x)))
    y = y[:, :4] * y[:, 4:]
    y = x + block.spatial_factor * block.mix(y * block.attention(y.mean((2, 3), keepdim=True)))
    z = block.expand(block.channel_norm(y))
    torch.testing.assert_close(block(x), y + block.channel_factor * block.contract(z[:, :4] * z[:, 4:]))
