"""The two discriminators: one of synthesised degradations, one of restored images."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from arcsr_lightning.rivals.redegnet.content_encoder import ResidualBlock
from arcsr_lightning.rivals.redegnet.generator import double
from arcsr_lightning.rivals.redegnet.pyramid import pyramid_widths, spectral_conv


class ConditionalDiscriminator(nn.Module):
    """Does this degraded image belong to this sharp image and this code?

    Args:
        image_size, width, widest, code: as for ``DegNet``.

    Shapes: lq and hq (B, 3, S, S) in [-1, 1], code (B, code) -> logits (B, 1).
    """

    def __init__(self, image_size: int = 256, width: int = 64, widest: int = 512, code: int = 512) -> None:
        super().__init__()
        widths = [6, *pyramid_widths(image_size, width, widest)[:-2]]  # one block for every halving, down to 8x8
        self.blocks = nn.ModuleList(
            ResidualBlock(*pair, rectified=number > 0) for number, pair in enumerate(pairwise(widths))
        )
        self.verdict = nn.Sequential(  # with nothing in between, as published
            spectral_norm(nn.Linear(widths[-1] + code, widest)), spectral_norm(nn.Linear(widest, 1))
        )

    def forward(self, lq: Tensor, hq: Tensor, code: Tensor) -> Tensor:
        x = torch.cat([lq, hq], dim=1)
        for block in self.blocks:
            x = F.avg_pool2d(block(x), 2)
        return self.verdict(torch.cat([x.mean((2, 3)), code], dim=1))


class UNetDiscriminator(nn.Module):
    """Is this image real? An answer per pixel, from a U-Net with spectral normalisation (Real-ESRGAN's).

    Args:
        width: channels of the finest level.

    Shapes: (B, 3, H, W) in [-1, 1], sides divisible by 8 -> logits (B, 1, H, W).
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.downs = nn.ModuleList(
            spectral_conv(fine, 2 * fine, kernel_size=4, stride=2, bias=False) for fine in widths[:-1]
        )
        self.ups = nn.ModuleList(spectral_conv(2 * fine, fine, bias=False) for fine in widths[-2::-1])
        self.tail = nn.Sequential(
            spectral_conv(width, width, bias=False),
            nn.LeakyReLU(0.2),
            spectral_conv(width, width, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        maps = [F.leaky_relu(self.head(image), 0.2)]
        for down in self.downs:
            maps.append(F.leaky_relu(down(maps[-1]), 0.2))
        x = maps.pop()
        for up in self.ups:
            x = F.leaky_relu(up(double(x)), 0.2) + maps.pop()
        return self.tail(x)
