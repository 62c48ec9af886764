"""Fig. 1(c): the kernel-guided convolution, its two controls, and its block (Sec. 3.2.1, 3.2.3)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from arcsr_lightning.errors import check_odd
from arcsr_lightning.operators import kernel_guided_conv2d


class KGConv(nn.Conv2d):
    """Kernel-guided convolution: at every pixel the weights are multiplied by that pixel's guide.

    It owns exactly the parameters of the ordinary convolution it is: guided by ones, it is that convolution. None of
    them is a bias: where there is nothing there stays nothing, whatever the guide.

    Args:
        channels: C, in and out.
        kernel_size: odd; side of the weights and of the guide.

    Shapes: features (B, C, H, W) and guide (B, ks*ks, H, W) -> (B, C, H, W).

    Raises:
        ValueError: ``kernel_size`` is even.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, check_odd(kernel_size), padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:  # type: ignore[override]  # the guide is the point
        return kernel_guided_conv2d(x, guide, self.weight)


class ConcatConv(nn.Conv2d):
    """The ablation of KGConv (Sec. 4.3): the guide is concatenated with the features, then convolved.

    Args, shapes and errors as ``KGConv``; it needs ks*ks more input channels.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        inputs = channels + check_odd(kernel_size) ** 2
        super().__init__(inputs, channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:  # type: ignore[override]  # called as KGConv is
        return super().forward(torch.cat([x, guide], dim=1))


class PlainConv(nn.Conv2d):
    """The control the paper lacks: an ordinary convolution of the same shape that sees no kernel.

    Args, shapes and errors as ``KGConv``; the guide is not looked at and may be None.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, check_odd(kernel_size), padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor, guide: Tensor | None) -> Tensor:  # type: ignore[override]  # called as KGConv is
        return super().forward(x)


class KGBlock(nn.Module):
    """Three KGconvs and a skip connection.

    Args:
        channels: C.
        kernel_size: odd.
        convolution: ``KGConv``, ``ConcatConv`` or ``PlainConv``; called with (channels, kernel_size).

    Shapes: features (B, C, H, W) and guide (B, ks*ks, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int, kernel_size: int, convolution: Callable[[int, int], nn.Module] = KGConv) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolution(channels, kernel_size) for _ in range(3))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, guide: Tensor | None) -> Tensor:
        first, *others = self.convolutions
        y = first(x, guide)
        for convolution in others:
            y = convolution(self.activation(y), guide)
        return x + y


class ChannelAttention(nn.Module):
    """Convolution, average pooling, fully connected layer; the result multiplies the features (Sec. 3.2.1).

    Args:
        channels: C.

    Shapes: (B, C, H, W) -> (B, C, H, W).

    No squashing, as in the simplified attention of the work the paper cites for it; the layer starts near one, so that
    eight of them in a row neither fade nor amplify a fresh network's features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fully_connected = nn.Linear(channels, channels)
        nn.init.ones_(self.fully_connected.bias)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(self.convolution(x)).flatten(1)  # (B, C)
        attention = self.fully_connected(pooled)[..., None, None]  # (B, C, 1, 1)
        return x * attention
