"""Fig. 1(b): the deformable mutual convolution and its block (Sec. 3.2.2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from arcsr_lightning.blocks.initialisation import he_normal_
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
        self.deform_nothing()

    def initialise(self, gain: float = 1.0) -> None:
        """Start anew: offsets of zero, He's initialisation elsewhere, with ``gain`` for the fusing convolution."""
        *_, last = self.offset
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer is not last:
                he_normal_(layer, gain if layer is self.fuse else 1.0)
        self.deform_nothing()

    def deform_nothing(self) -> None:
        """Offsets of zero: every tap lies where an ordinary convolution has it."""
        for parameter in self.offset[-1].parameters():
            nn.init.zeros_(parameter)

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

    def initialise(self, gain: float = 1.0) -> None:
        """Start anew: He's initialisation, ``gain`` times."""
        he_normal_(self, gain)


class DMBlock(nn.Module):
    """Four DMconvs, each taking another quarter of the channels, and a skip connection.

    Args:
        channels: C, divisible by 4 for DMconvs.
        convolution: ``DMConv``, or ``OrdinaryConv`` for the ablation; called with (channels, quarter).

    Shapes: (B, C, H, W) -> (B, C, H, W).

    The last convolution starts at three tenths of He's initialisation. With torch's default the branch starts at a few
    hundredths of its input, and the estimator learns next to nothing from its first hundreds of kernels; at full
    strength a stack of ten blocks would amplify.
    """

    def __init__(self, channels: int, convolution: Callable[[int, int], DMConv | OrdinaryConv] = DMConv) -> None:
        super().__init__()
        convolutions = [convolution(channels, quarter) for quarter in range(4)]
        for number, layer in enumerate(convolutions, start=1):
            layer.initialise(gain=0.3 if number == len(convolutions) else 1.0)
        self.convolutions = nn.ModuleList(convolutions)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.convolutions
        y = first(x)
        for convolution in others:
            y = convolution(self.activation(y))
        return x + y
