"""DegNet: what was done to an image, as a code."""

import torch
from torch import Tensor, nn

from arcsr_lightning.rivals.redegnet.pyramid import COARSEST, Pyramid, pyramid_widths


class DegNet(nn.Module):
    """A sharp image and its degraded version -> a code of the degradation.

    Args:
        image_size: side S of the images: 16, 32, 64, ...
        width, widest: channels of the finest map, and the most that a map has.
        code: length of the code.

    Shapes: two times (B, 3, S, S) in [-1, 1] -> (B, code).
    """

    def __init__(self, image_size: int = 256, width: int = 64, widest: int = 512, code: int = 512) -> None:
        super().__init__()
        widths = pyramid_widths(image_size, width, widest)
        self.image_size = image_size
        self.pyramid = Pyramid(6, widths)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1] * COARSEST**2, code), nn.LeakyReLU(0.2), nn.Linear(code, code)
        )

    def forward(self, hq: Tensor, lq: Tensor) -> Tensor:
        return self.head(self.pyramid(torch.cat([hq, lq], dim=1))[-1])
