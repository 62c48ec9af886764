"""Spatial feature transform (Wang et al., CVPR 2018): features scaled and shifted by a map of codes."""

import torch
from torch import Tensor, nn


class SFT(nn.Module):
    """features * sigmoid(a) + b, where two small branches read a and b from features and code map together.

    Args:
        width: channels of the features, even.
        code: channels of the code map.

    Shapes: features (B, width, H, W), code map (B, code, H, W) -> (B, width, H, W).
    """

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.multiplier = branch(width, code)
        self.addend = branch(width, code)

    def forward(self, features: Tensor, code_map: Tensor) -> Tensor:
        both = torch.cat([features, code_map], dim=1)  # (B, width + code, H, W)
        return features * torch.sigmoid(self.multiplier(both)) + self.addend(both)


def branch(width: int, code: int) -> nn.Sequential:
    """Two convolutions, half as wide in between."""
    return nn.Sequential(
        nn.Conv2d(width + code, width // 2, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width // 2, width, 3, padding=1),
    )
