"""NAFNet's block and what it consists of (Chen et al., ECCV 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gated(x: Tensor) -> Tensor:
    """Multiply one half of the channels by the other: (B, 2C, H, W) -> (B, C, H, W)."""
    one, other = x.chunk(2, dim=1)
    return one * other


def local_mean(x: Tensor, window: int) -> Tensor:
    """The mean of every channel over the window x window pixels around a pixel; near a border, of those nearest to it.

    So that attention at test time is of as much of an image as in training ("test-time local converter", Chu et al.,
    ECCV 2022). A side no longer than the window is taken whole.

    Shapes: (B, C, H, W) -> (B, C, H, W), or 1 in the place of a side that is taken whole.
    """
    rows, columns = (min(window, side) for side in x.shape[-2:])
    means = F.avg_pool2d(F.avg_pool2d(x, (rows, 1), stride=1), (1, columns), stride=1)
    missing = [
        (side - mean) if mean > 1 else 0 for side, mean in zip(x.shape[-2:], means.shape[-2:], strict=True)
    ]  # rows and columns whose windows would reach outside
    above, left = (number // 2 for number in missing)
    return F.pad(means, (left, missing[1] - left, above, missing[0] - above), mode="replicate")


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
        window: of ``local_mean`` in the attention, in pixels of this level.

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
        features = features * self.attention(local_mean(features, self.window))
        x = x + self.spatial_factor * self.mix(features)
        features = gated(self.expand(self.channel_norm(x)))
        return x + self.channel_factor * self.contract(features)
