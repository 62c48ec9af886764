"""The residual-in-residual dense block of ESRGAN (Wang et al., ECCV workshops 2018)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.blocks import he_normal_

RESIDUAL_SCALE = 0.2


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each reading the input and everything before it; a fifth of the last is added to the input.

    Args:
        width: channels in and out.
        growth: channels that each of the first four convolutions adds.

    Shapes: (B, width, H, W) -> the same.

    The convolutions start at a tenth of He's initialisation, so a fresh block is nearly the identity.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        inputs = [width + i * growth for i in range(5)]
        outputs = [growth] * 4 + [width]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, outputs, strict=True))
        for convolution in self.convolutions:
            he_normal_(convolution, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        *growing, last = self.convolutions
        features = x
        for convolution in growing:
            grown = F.leaky_relu(convolution(features), 0.2)
            features = torch.cat([features, grown], dim=1)  # (B, width + i*growth, H, W)
        return x + RESIDUAL_SCALE * last(features)


class RRDB(nn.Module):
    """Three residual dense blocks in a row; a fifth of their result is added to the input.

    Args and shapes as ``ResidualDenseBlock``.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.dense_blocks = nn.Sequential(*(ResidualDenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL_SCALE * self.dense_blocks(x)
