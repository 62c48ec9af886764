"""HRNet (Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition"), at full LR resolution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.01  # of the batch norms' running statistics, in the backbone alone


def conv_bn(inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm, which stands in for the bias."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False), nn.BatchNorm2d(outputs)
    )


def conv_bn_relu(inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    """``conv_bn`` and a ReLU."""
    return nn.Sequential(conv_bn(inputs, outputs, kernel_size, stride), nn.ReLU(inplace=True))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation to (height, width)."""
    return x if x.shape[-2:] == torch.Size(size) else F.interpolate(x, size=size, mode="bilinear")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn_relu(channels, channels), conv_bn(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a skip: (B, inputs, H, W) -> (B, 4 * width, H, W)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn_relu(inputs, width, 1), conv_bn_relu(width, width), conv_bn(width, 4 * width, 1)
        )
        self.skip = nn.Identity() if inputs == 4 * width else conv_bn(inputs, 4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.skip(x) + self.body(x))


class Exchange(nn.Module):
    """One multi-branch module: two basic blocks per branch, then every branch receives the sum of all.

    Args:
        widths: channels per branch, finest first; each branch has half the resolution of the one before.

    Shapes: a list of (B, widths[i], H / 2^i, W / 2^i), rounded up -> the same.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(BasicBlock(width), BasicBlock(width)) for width in widths)
        self.routes = nn.ModuleList(
            nn.ModuleList(route(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        outputs = []
        for target, routes in zip(features, self.routes, strict=True):
            size = target.shape[-2:]
            arriving = [resize(path(x), size) for path, x in zip(routes, features, strict=True)]
            outputs.append(torch.relu(sum(arriving)))
        return outputs


def route(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """From branch to branch: 1x1 up (the caller enlarges), a strided 3x3 per halving down, nothing to itself."""
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_bn(widths[source], widths[target], 1)
    halvings = [conv_bn_relu(widths[source], widths[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, conv_bn(widths[source], widths[target], stride=2))


class HRNet(nn.Module):
    """The W18-small-v2 variant, whose stem keeps the resolution, so that its branches stand at 1, 1/2, 1/4, 1/8.

    Args:
        width: channels of the finest branch; every coarser one has twice as many.
        stem: channels of the stem and, times 4, of its two bottlenecks.
        modules: multi-branch modules with 2, 3, 4... branches.

    Shapes: (B, 3, H, W) of any size -> a list of (B, width * 2^i, H / 2^i, W / 2^i), sides rounded up.
    """

    def __init__(self, width: int = 18, stem: int = 64, modules: Sequence[int] = (1, 3, 2)) -> None:
        super().__init__()
        self.widths = [width * 2**branch for branch in range(len(modules) + 1)]
        self.stem = nn.Sequential(
            conv_bn_relu(3, stem), conv_bn_relu(stem, stem), Bottleneck(stem, stem), Bottleneck(4 * stem, stem)
        )
        self.finest = conv_bn_relu(4 * stem, width)
        sources = [4 * stem, *self.widths[1:-1]]
        self.halvings = nn.ModuleList(
            conv_bn_relu(source, target, stride=2) for source, target in zip(sources, self.widths[1:], strict=True)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Exchange(self.widths[:branches]) for _ in range(count)))
            for branches, count in enumerate(modules, start=2)
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM

    def forward(self, x: Tensor) -> list[Tensor]:
        coarsest = self.stem(x)
        features = [self.finest(coarsest)]
        for halving, stage in zip(self.halvings, self.stages, strict=True):
            features = stage([*features, halving(coarsest)])
            coarsest = features[-1]
        return features
