"""NAFNet's block and what it consists of (Chen et al., ECCV 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gated(x: Tensor) -> Tensor:
    """Multiply one half of the channels by the other: (B, 2C, H, W) -> (B, C, H, W)."""
    one, other = x.chunk(2, dim=1)
    return one * other


def window_mean(x: Tensor, window: int) -> Tensor:
    """The mean of every channel over the window x window pixels around a pixel; near a border, of those nearest to it.

    So that attention at test time is of as much of an image as in training ("test-time local converter", Chu et al.,
    ECCV 2022). A side no longer than the window is taken whole.

    Shapes: (B, C, H, W) -> (B, C, H, W), or 1 in the place of a side that is taken whole.
    """
    means = x.to(torch.promote_types(x.dtype, torch.float32))  # sums in half precision lose digits
    for dim in (-2, -1):
        means = window_sum(means, window, dim) / window if window < x.shape[dim] else means.mean(dim, keepdim=True)
    outside = (window - 1) // 2, window // 2  # places at both ends whose windows would reach outside
    columns, rows = (outside if window < x.shape[dim] else (0, 0) for dim in (-1, -2))
    return F.pad(means, (*columns, *rows), mode="replicate").to(x.dtype)


def window_sum(x: Tensor, window: int, dim: int) -> Tensor:
    """The sums of every ``window`` neighbours along an axis, which gets ``window - 1`` shorter.

    Sums of 1, 2, 4, ... neighbours are each made of those before, and those whose powers of two make up ``window`` lie
    end to end: 9 doublings and additions for a window of 384, where adding its neighbours takes 383.
    """
    places = x.shape[dim] - window + 1
    total, offset, length = 0, 0, 1
    while True:  # x holds the sums of ``length`` neighbours, and total those of ``offset``
        if window & length:
            total = total + x.narrow(dim, offset, places)
            offset += length
        if offset == window:
            return total
        pairs = x.shape[dim] - length
        x = x.narrow(dim, 0, pairs) + x.narrow(dim, length, pairs)
        length *= 2


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every pixel: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, eps=1e-6).movedim(-1, 1)


class NAFBlock(nn.Module):
    """A depthwise convolution with gate and channel attention, then a gated 1x1 convolution, each added to its input.

    Both are added times a learnt factor per channel, at first 0: a fresh block is the identity.

    Args:
        channels: C.
        window: of ``window_mean`` in the attention, in pixels of this level.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.spatial_norm = ChannelNorm(channels)
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
        )
        self.attention = nn.Conv2d(channels, channels, 1)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.spatial_factor = nn.Parameter(torch.zeros(channels, 1, 1))
        self.channel_norm = ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.contract = nn.Conv2d(channels, channels, 1)
        self.channel_factor = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        features = gated(self.spatial(self.spatial_norm(x)))
        features = features * self.attention(window_mean(features, self.window))
        x = x + self.spatial_factor * self.mix(features)
        features = gated(self.expand(self.channel_norm(x)))
        return x + self.channel_factor * self.contract(features)
