"""MANet's mutual affine convolution and its block (Liang et al., ICCV 2021)."""

import torch
from torch import Tensor, nn


class MAConv(nn.Module):
    """Mutual affine convolution: every group of channels is scaled and shifted as the other groups say, then convolved.

    Scale (through a sigmoid) and shift come from 1x1 convolutions, so they vary from pixel to pixel without enlarging
    what a pixel sees. All groups are modulated from the input as it came, not one after the other.

    Args:
        channels: C, in and out.
        split: number of groups; divides C.

    Shapes: (B, C, H, W) -> (B, C, H, W).

    Raises:
        ValueError: ``channels`` cannot be split into at least two equal groups.
    """

    def __init__(self, channels: int, split: int = 2) -> None:
        super().__init__()
        if split < 2 or channels % split:
            raise ValueError(f"an MAConv needs two or more equal groups: {channels} channels do not make {split}")
        self.split = split
        own = channels // split
        others = channels - own
        self.affines = nn.ModuleList(
            nn.Sequential(nn.Conv2d(others, others // 2, 1), nn.ReLU(), nn.Conv2d(others // 2, 2 * own, 1))
            for _ in range(split)
        )
        self.convolutions = nn.ModuleList(nn.Conv2d(own, own, 3, padding=1) for _ in range(split))

    def forward(self, x: Tensor) -> Tensor:
        groups = x.chunk(self.split, dim=1)
        convolved = []
        for i, (affine, convolution) in enumerate(zip(self.affines, self.convolutions, strict=True)):
            others = torch.cat([*groups[:i], *groups[i + 1 :]], dim=1)
            scale, shift = affine(others).chunk(2, dim=1)  # (B, C/split, H, W) each
            convolved.append(convolution(groups[i] * torch.sigmoid(scale) + shift))
        return torch.cat(convolved, dim=1)


class MABlock(nn.Module):
    """Two MAConvs and a skip connection. Args and shapes as ``MAConv``."""

    def __init__(self, channels: int, split: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(MAConv(channels, split), nn.ReLU(), MAConv(channels, split))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
