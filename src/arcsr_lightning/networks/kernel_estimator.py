"""The U-Net that estimates one blur kernel per LR pixel (Fig. 1(a) left, Sec. 3.2.1)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.blocks import DMBlock, DMConv, OrdinaryConv, nearly_zero_
from arcsr_lightning.errors import check_odd


class KernelEstimator(nn.Module):
    """LR image -> a field of blur kernels, one per LR pixel.

    Every level, of encoder and decoder alike, is two DM-blocks. A decoder level takes the sum of the encoder output of
    its resolution and the decoder output before it; the deepest encoder level feeds the first decoder level.

    Args:
        kernel_size: ks, odd, in LR pixels.
        width: channels of the first level, divisible by 4; each level below has twice as many.
        levels: resolutions of the U-Net, 1 or more.
        convolution: ``DMConv``, or ``OrdinaryConv`` for the ablation.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> (B, ks*ks, H, W), non-negative, summing to one over the taps,
    taps in row-major order.

    Raises:
        ValueError: even ``kernel_size``, ``levels`` below 1, or ``width`` not divisible by 4.
    """

    def __init__(
        self,
        kernel_size: int = 7,
        width: int = 64,
        levels: int = 3,
        convolution: Callable[[int, int], DMConv | OrdinaryConv] = DMConv,
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"a U-Net has at least one level, got levels={levels}")
        self.kernel_size = check_odd(kernel_size)
        widths = [width * 2**level for level in range(levels)]
        self.multiple = 2 ** (levels - 1)  # LR sides are padded to this

        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.encoder = nn.ModuleList(level_of(channels, convolution) for channels in widths)
        self.downs = nn.ModuleList(nn.Conv2d(fine, 2 * fine, 2, stride=2) for fine in widths[:-1])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * fine, fine, 2, stride=2) for fine in widths[-2::-1])
        self.decoder = nn.ModuleList(level_of(channels, convolution) for channels in widths[-2::-1])
        self.tail = nn.Conv2d(width, kernel_size**2, 3, padding=1)
        # A fresh estimator says "uniform": a fresh KGconv then acts like an ordinary convolution.
        nearly_zero_(self.tail)

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        features = self.head(pad_to_multiple(lr, self.multiple))
        encoded = self.encode(features)
        decoded = self.decode(encoded)
        logits = self.tail(decoded)[..., :height, :width]  # (B, ks*ks, H, W)
        return torch.softmax(logits.float(), dim=1)

    def encode(self, features: Tensor) -> list[Tensor]:
        """Outputs of the encoder levels, finest first."""
        outputs = [self.encoder[0](features)]
        for down, level in zip(self.downs, self.encoder[1:], strict=True):
            outputs.append(level(down(outputs[-1])))  # half the size, twice the channels
        return outputs

    def decode(self, encoded: list[Tensor]) -> Tensor:
        """The finest decoder level's output."""
        *skips, decoded = encoded
        for up, level, skip in zip(self.ups, self.decoder, reversed(skips), strict=True):
            decoded = level(skip + up(decoded))
        return decoded


def level_of(channels: int, convolution: Callable[[int, int], DMConv | OrdinaryConv]) -> nn.Sequential:
    """One level of the U-Net: two DM-blocks (Sec. 4.2)."""
    return nn.Sequential(DMBlock(channels, convolution), DMBlock(channels, convolution))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are divisible by ``multiple``."""
    # Not -side % multiple: torch.compile fails on that where sizes vary.
    below, right = ((multiple - side % multiple) % multiple for side in x.shape[-2:])
    return F.pad(x, (0, right, 0, below), mode="replicate")
