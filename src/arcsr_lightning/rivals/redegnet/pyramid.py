"""The pyramid that DegNet and the content encoder share, and the spectrally normalised convolution."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from arcsr_lightning.errors import InputError

COARSEST = 4  # side of the deepest map


class Pyramid(nn.Module):
    """A convolution, then one of stride 2 for every halving down to 4x4, each with leaky ReLU.

    Args:
        in_channels: of the image.
        widths: channels of the maps, finest first.

    Shapes: (B, in_channels, S, S) -> maps (B, widths[i], S / 2**i, S / 2**i), finest first.
    """

    def __init__(self, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        self.head = spectral_conv(in_channels, widths[0])
        self.downs = nn.ModuleList(spectral_conv(fine, coarse, stride=2) for fine, coarse in pairwise(widths))

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [F.leaky_relu(self.head(image), 0.2)]
        for down in self.downs:
            maps.append(F.leaky_relu(down(maps[-1]), 0.2))
        return maps


def spectral_conv(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, bias: bool = True
) -> nn.Module:
    """A convolution whose weights are divided by their largest singular value."""
    padding = (kernel_size - 1) // 2
    return spectral_norm(nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias))


def pyramid_widths(image_size: int, width: int, widest: int) -> list[int]:
    """Return the channels of the maps of sides image_size, image_size / 2, ..., 4.

    Args:
        image_size: side of the images, 16, 32, 64, ...
        width: channels of the largest map; each smaller one has twice as many, up to ``widest``.
        widest: the most channels of a map.

    Raises:
        InputError: another image size.
    """
    levels = (image_size // COARSEST).bit_length() - 1
    if levels < 2 or image_size != COARSEST * 2**levels:
        raise InputError(
            f"redegnet.image_size (data.train.patch_size) must be 16, 32, 64, 128, 256 or a higher power of two, "
            f"at scale 2 or 4, got {image_size}"
        )
    return [min(width * 2**level, widest) for level in range(levels + 1)]
