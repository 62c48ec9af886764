"""The U-Net that estimates one blur kernel per LR pixel (Fig. 1(a) left, Sec. 3.2.1)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from arcsr_lightning.blocks import CueHead, DMBlock, DMConv, OrdinaryConv, TransposedUp, nearly_zero_, pad_to_multiple
from arcsr_lightning.errors import check_odd
from arcsr_lightning.operators import local_contrast_normalised


class KernelEstimator(nn.Module):
    """LR image -> a field of blur kernels, one per LR pixel.

    Every level, of encoder and decoder alike, is two DM-blocks. A decoder level takes the sum of the encoder output of
    its resolution and the decoder output before it; the deepest encoder level feeds the first decoder level.

    ``upsampling``, ``normalise_input`` and ``cues`` depart from the paper where they are not left as they are; levels,
    blocks and sums stay.

    Args:
        kernel_size: ks, odd, in LR pixels.
        width: channels of the first level, divisible by 4; each level below has twice as many.
        levels: resolutions of the U-Net, 1 or more.
        convolution: ``DMConv``, or ``OrdinaryConv`` for the ablation.
        upsampling: ``TransposedUp``, or ``BilinearUp``; called with the channels of the finer level.
        normalise_input: the U-Net sees the image normalised by its local mean and contrast.
        cues: sides of the windows of ``motion_cues``, in pixels of the deepest level, which are its cells; the cues
            are added to the input of that level. None for none.

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
        upsampling: Callable[[int], nn.Module] = TransposedUp,
        normalise_input: bool = False,
        cues: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"a U-Net has at least one level, got levels={levels}")
        self.kernel_size = check_odd(kernel_size)
        widths = [width * 2**level for level in range(levels)]
        self.multiple = 2 ** (levels - 1)  # LR sides are padded to this
        self.normalise_input = normalise_input

        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.encoder = nn.ModuleList(level_of(channels, convolution) for channels in widths)
        self.downs = nn.ModuleList(nn.Conv2d(fine, 2 * fine, 2, stride=2) for fine in widths[:-1])
        self.ups = nn.ModuleList(upsampling(fine) for fine in widths[-2::-1])
        self.decoder = nn.ModuleList(level_of(channels, convolution) for channels in widths[-2::-1])
        self.cues = CueHead(widths[-1], self.multiple, cues) if cues else None
        self.tail = nn.Conv2d(width, kernel_size**2, 3, padding=1)
        # A fresh estimator says "uniform": a fresh KGconv then acts like an ordinary convolution.
        nearly_zero_(self.tail)

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        lr = pad_to_multiple(lr, self.multiple)
        features = self.head(local_contrast_normalised(lr) if self.normalise_input else lr)
        cues = None if self.cues is None else self.cues(lr)
        encoded = self.encode(features, cues)
        decoded = self.decode(encoded)
        logits = self.tail(decoded)[..., :height, :width]  # (B, ks*ks, H, W)
        return torch.softmax(logits.float(), dim=1)

    def encode(self, features: Tensor, cues: Tensor | None = None) -> list[Tensor]:
        """Outputs of the encoder levels, finest first; ``cues`` are added to the input of the deepest."""
        *finer, deepest = self.encoder
        outputs: list[Tensor] = []
        for level, down in zip(finer, self.downs, strict=True):
            outputs.append(level(features))
            features = down(outputs[-1])  # half the size, twice the channels
        return [*outputs, deepest(features if cues is None else features + cues)]

    def decode(self, encoded: list[Tensor]) -> Tensor:
        """The finest decoder level's output."""
        *skips, decoded = encoded
        for up, level, skip in zip(self.ups, self.decoder, reversed(skips), strict=True):
            decoded = level(skip + up(decoded))
        return decoded


def level_of(channels: int, convolution: Callable[[int, int], DMConv | OrdinaryConv]) -> nn.Sequential:
    """One level of the U-Net: two DM-blocks (Sec. 4.2)."""
    return nn.Sequential(DMBlock(channels, convolution), DMBlock(channels, convolution))
