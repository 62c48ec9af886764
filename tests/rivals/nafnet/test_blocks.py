import pytest
import torch

from arcsr_lightning.rivals.nafnet.blocks import ChannelNorm, NAFBlock, gated, window_mean


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


@pytest.mark.parametrize("window", [1, 4, 5, 7, 8])
def test_a_mean_is_of_the_nearest_window_that_is_inside(window):
    x = torch.randn(1, 2, 9, 12)
    means = window_mean(x, window)
    assert means.shape == x.shape
    before = (window - 1) // 2
    for row in range(9):
        for column in range(12):
            top, left = min(max(row - before, 0), 9 - window), min(max(column - before, 0), 12 - window)
            expected = x[0, :, top : top + window, left : left + window].mean((1, 2))
            torch.testing.assert_close(means[0, :, row, column], expected)


def test_a_mean_of_one_side_taken_whole_still_moves_along_the_other():
    x = torch.randn(1, 2, 9, 12)
    windows = x.mean(2, keepdim=True).unfold(3, 11, 1).mean(-1)  # at the two places that 12 columns have for 11
    torch.testing.assert_close(window_mean(x, 11), windows[..., [0] * 6 + [1] * 6])


def test_a_mean_of_half_precision_loses_nothing_to_its_sums():
    x = torch.rand(1, 1, 64, 64).bfloat16()
    torch.testing.assert_close(window_mean(x, 48), window_mean(x.float(), 48).bfloat16())


@pytest.mark.parametrize(("window", "sides"), [(9, (1, 12)), (12, (1, 1)), (100, (1, 1))])
def test_a_side_no_longer_than_the_window_is_taken_whole(window, sides):
    x = torch.randn(1, 2, 9, 12)
    means = window_mean(x, window)
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
