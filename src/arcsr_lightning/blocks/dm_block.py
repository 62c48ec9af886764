"""Fig. 1(b): the deformable mutual convolution and its block (Sec. 3.2.2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from arcsr_lightning.operators import deform_conv2d


class DMConv(nn.Module):
    """Deformable mutual convolution: one quarter of the channels is convolved where the other three say.

    Args:
        channels: C, divisible by 4.
        quarter: which quarter of the channels is deformed; taken modulo 4, so a counter may be passed.

    Shapes: (B, C, H, W) -> (B, C, H, W).

    The offsets start at zero, so a fresh DMConv deforms nothing: it is an ordinary 3x3 convolution of its quarter,
    followed by the fusing convolution.

    Raises:
        ValueError: ``channels`` cannot be split into quarters.
    """

    def __init__(self, channels: int, quarter: int) -> None:
        super().__init__()
        if channels % 4:
            raise ValueError(f"a DMconv splits its channels into quarters: {channels} is not divisible by 4")
        width = channels // 4
        self.quarter = quarter % 4
        self.offset = nn.Sequential(
            nn.Conv2d(3 * width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * 3 * 3, 3, padding=1),
        )
        self.deform = nn.Conv2d(width, width, 3, padding=1)  # owns the weights that deform_conv2d applies
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.offset[-1].weight)
        nn.init.zeros_(self.offset[-1].bias)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """F -> (F_s, the quarter to deform; F̂_s, the three others in their order)."""
        quarters = list(x.chunk(4, dim=1))
        own = quarters.pop(self.quarter)  # (B, C/4, H, W)
        return own, torch.cat(quarters, dim=1)  # (B, 3C/4, H, W)

    def forward(self, x: Tensor) -> Tensor:
        own, others = self.split(x)
        offset = self.offset(others)  # (B, 2*3*3, H, W)
        own = deform_conv2d(own, offset, self.deform.weight, self.deform.bias, padding=1)
        return self.fuse(torch.cat([own, others], dim=1))


class OrdinaryConv(nn.Conv2d):
    """The ablation of DMConv (Sec. 4.3): a conventional 3x3 convolution; it has no quarter to choose."""

    def __init__(self, channels: int, quarter: int) -> None:
        super().__init__(channels, channels, 3, padding=1)


class DMBlock(nn.Module):
    """Four DMconvs, each taking another quarter of the channels, and a skip connection.

    Args:
        channels: C, divisible by 4 for DMconvs.
        convolution: ``DMConv``, or ``OrdinaryConv`` for the ablation; called with (channels, quarter).

    Shapes: (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int, convolution: Callable[[int, int], nn.Module] = DMConv) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolution(channels, quarter) for quarter in range(4))
        self.activation = nn.ReLU(inplace=True)
        initialise_residual(self.convolutions)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.convolutions
        y = first(x)
        for convolution in others:
            y = convolution(self.activation(y))
        return x + y


@torch.no_grad()
def initialise_residual(convolutions: nn.ModuleList) -> None:
    """He initialisation of a block's branch, its last convolution at three tenths of it.

    With torch's default the branch starts at a few hundredths of its input, and the estimator learns next to nothing
    from its first hundreds of kernels; at full strength a stack of ten blocks would amplify. What starts at zero, the
    offsets, keeps doing so.
    """
    layers = [layer for layer in convolutions.modules() if isinstance(layer, nn.Conv2d) and layer.weight.any()]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    layers[-1].weight.mul_(0.3)
