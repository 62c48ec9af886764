"""Degradation-aware convolution, block and group of DASR (Wang et al., CVPR 2021)."""

from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1  # of every leaky ReLU
KERNEL_SIZE = 3  # of the predicted kernels


def depthwise_per_sample(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve every channel of every sample with a kernel of its own.

    Shapes: x (B, C, H, W) and kernel (B, C, k, k) of odd k -> (B, C, H, W), zero padding, taps in the order of a
    convolution weight.
    """
    size = kernel.shape[-1]
    planes = x.shape[0] * x.shape[1]
    as_channels = x.reshape(1, planes, *x.shape[2:])  # samples lie side by side: one group each channel
    out = F.conv2d(as_channels, kernel.reshape(planes, 1, size, size), padding=size // 2, groups=planes)
    return out.reshape(x.shape)


class DAConv(nn.Module):
    """Degradation-aware convolution: the code makes a depthwise kernel per sample, and a channel attention.

    Args:
        channels: C, 8 or more; also the length of the code.

    Shapes: features (B, C, H, W) and code (B, C) -> (B, C, H, W).

    Raises:
        ValueError: fewer than 8 channels, as the attention's bottleneck has an eighth of them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 8:
            raise ValueError(f"a degradation-aware convolution needs 8 channels or more, got {channels}")
        self.kernel = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.Linear(channels, channels * KERNEL_SIZE**2, bias=False),
        )
        self.mix = nn.Conv2d(channels, channels, 1)
        self.attention = nn.Sequential(
            nn.Linear(channels, channels // 8, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.Linear(channels // 8, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        kernel = self.kernel(code).unflatten(1, (-1, KERNEL_SIZE, KERNEL_SIZE))  # (B, C, 3, 3)
        filtered = self.mix(F.leaky_relu(depthwise_per_sample(x, kernel), SLOPE))
        return filtered + x * self.attention(code)[..., None, None]


class DABlock(nn.Module):
    """Two degradation-aware convolutions, each followed by an ordinary one, and a skip connection.

    Args, shapes and errors as ``DAConv``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.aware = nn.ModuleList(DAConv(channels) for _ in range(2))
        self.plain = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        first, second = self.aware
        y = F.leaky_relu(first(x, code), SLOPE)
        y = F.leaky_relu(self.plain[0](y), SLOPE)
        y = F.leaky_relu(second(y, code), SLOPE)
        return x + self.plain[1](y)


class DAGroup(nn.Module):
    """Blocks in a row, a convolution, and a skip connection.

    Args:
        channels: C, 8 or more.
        blocks: number of ``DABlock``.

    Shapes: features (B, C, H, W) and code (B, C) -> (B, C, H, W).
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DABlock(channels) for _ in range(blocks))
        self.tail = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y, code)
        return x + self.tail(y)
