"""The content of a sharp image, as a pyramid of features."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.rivals.redegnet.pyramid import Pyramid, pyramid_widths, spectral_conv


class ContentEncoder(nn.Module):
    """A sharp image -> features of every size from 4x4 to its own, those of 4x4 twice.

    Args:
        image_size, width, widest: as for ``DegNet``.

    Shapes: (B, 3, S, S) in [-1, 1] -> maps of sides 4, 4, 8, ..., S; the first went through a residual block, the
    others have the channels of ``pyramid_widths``, coarsest first.
    """

    def __init__(self, image_size: int = 256, width: int = 64, widest: int = 512) -> None:
        super().__init__()
        widths = pyramid_widths(image_size, width, widest)
        self.pyramid = Pyramid(3, widths)
        self.convolution = spectral_conv(widths[-1], widths[-1])
        self.residual = ResidualBlock(widths[-1], widths[-1])

    def forward(self, hq: Tensor) -> list[Tensor]:
        maps = self.pyramid(hq)
        deepest = self.residual(F.leaky_relu(self.convolution(maps[-1]), 0.2))
        return [deepest, *reversed(maps)]


class ResidualBlock(nn.Module):
    """Two convolutions with leaky ReLU between them, beside a 1x1 convolution.

    Args:
        in_channels, out_channels: of the features.
        rectified: ReLU in its place, and before the first of the two convolutions too.

    Shapes: (B, in_channels, H, W) -> (B, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, rectified: bool = False) -> None:
        super().__init__()
        self.rectified = rectified
        self.first = spectral_conv(in_channels, out_channels)
        self.second = spectral_conv(out_channels, out_channels)
        self.shortcut = spectral_conv(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(torch.relu(x))) if self.rectified else F.leaky_relu(self.first(x), 0.2)
        return self.shortcut(x) + self.second(y)
