"""RDN: residual and dense connections within blocks, and all blocks fused (Zhang et al., CVPR 2018)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.image_skip import ImageSkip
from arcsr_lightning.rivals.upsampling import ShuffledUp


class DenseBlock(nn.Module):
    """Convolutions that each read the input and all before them; a 1x1 convolution fuses these, the input is added.

    Args:
        width: channels in and out.
        growth: channels that each convolution adds.
        layers: convolutions (8 as published).

    Shapes: (B, width, H, W) -> the same.
    """

    def __init__(self, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.growing = nn.ModuleList(
            nn.Conv2d(width + number * growth, growth, 3, padding=1) for number in range(layers)
        )
        self.fuse = nn.Conv2d(width + layers * growth, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for convolution in self.growing:
            features = torch.cat([features, F.relu(convolution(features))], dim=1)  # (B, width + i*growth, H, W)
        return x + self.fuse(features)


class RDN(nn.Module):
    """A row of dense blocks, all their results fused, a skip in feature space, then pixel shuffle.

    It knows nothing of blur.

    Args:
        scale: 2, 3 or 4; 4 in two steps of 2.
        width: channels between blocks (64 as published).
        growth: channels that a convolution of a block adds (64 as published).
        blocks: dense blocks (16 as published).
        layers: convolutions of each (8 as published).
        skip: in image space, see ``ImageSkip``; published without.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> sr (B, 3, scale*H, scale*W), not clamped; no kernel.

    Raises:
        ValueError: a scale other than 2, 3 or 4.
    """

    def __init__(
        self,
        scale: int = 4,
        width: int = 64,
        growth: int = 64,
        blocks: int = 16,
        layers: int = 8,
        skip: str | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.shallow = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Conv2d(width, width, 3, padding=1)
        self.blocks = nn.ModuleList(DenseBlock(width, growth, layers) for _ in range(blocks))
        self.fuse = nn.Sequential(nn.Conv2d(blocks * width, width, 1), nn.Conv2d(width, width, 3, padding=1))
        self.upsample = ShuffledUp(width, scale)
        self.tail = nn.Conv2d(width, 3, 3, padding=1)
        self.skip = ImageSkip(skip, self.tail, scale)

    def forward(self, lr: Tensor) -> Restoration:
        shallow = self.shallow(lr)
        features, results = self.head(shallow), []
        for block in self.blocks:
            features = block(features)
            results.append(features)
        features = shallow + self.fuse(torch.cat(results, dim=1))  # (B, blocks*width, H, W) -> (B, width, H, W)
        sr = self.tail(self.upsample(features))  # (B, 3, sH, sW)
        return Restoration(self.skip(sr, lr))
