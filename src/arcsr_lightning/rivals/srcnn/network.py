"""SRCNN: the first convolutional network for super-resolution (Dong et al., ECCV 2014, TPAMI 2016)."""

from collections.abc import Sequence

from torch import Tensor, nn

from arcsr_lightning.degradation import upsample
from arcsr_lightning.networks.restoration import Restoration
from arcsr_lightning.rivals.image_skip import ImageSkip


class SRCNN(nn.Module):
    """Enlarges by bicubic interpolation, then three convolutions at HR size: patches, a mapping of them, an image.

    It knows nothing of blur. Images are continued by repetition at their borders.

    Args:
        scale: 1 or more.
        kernel_sizes: of the three convolutions, odd; 9-1-5 in the first publication, 9-5-5 in the second.
        widths: channels after the first two (64 and 32 as published).
        skip: in image space, see ``ImageSkip``; published without.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> sr (B, 3, scale*H, scale*W), not clamped; no kernel.
    """

    def __init__(
        self,
        scale: int = 4,
        kernel_sizes: Sequence[int] = (9, 1, 5),
        widths: Sequence[int] = (64, 32),
        skip: str | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        first, second, third = kernel_sizes
        patches, mapped = widths
        self.layers = nn.Sequential(
            same_size(3, patches, first),
            nn.ReLU(inplace=True),
            same_size(patches, mapped, second),
            nn.ReLU(inplace=True),
            same_size(mapped, 3, third),
        )
        self.skip = ImageSkip(skip, self.layers[-1], scale=1)

    def forward(self, lr: Tensor) -> Restoration:
        enlarged = upsample(lr, self.scale)  # (B, 3, sH, sW)
        return Restoration(self.skip(self.layers(enlarged), enlarged))


def same_size(inputs: int, outputs: int, kernel_size: int) -> nn.Conv2d:
    """A convolution whose output is as large as its input."""
    return nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, padding_mode="replicate")
