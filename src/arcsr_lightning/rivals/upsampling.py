"""From features at LR size to features at HR size, in steps of two or three; channels stay."""

from torch import nn

FACTORS = {2: (2,), 3: (3,), 4: (2, 2)}  # of the steps, by scale


class ShuffledUp(nn.Sequential):
    """A convolution and a pixel shuffle for each step, as EDSR has them (Lim et al., CVPRW 2017).

    Args:
        width: channels of the features.
        scale: 2, 3 or 4.
        slope: of a leaky ReLU after each step; None: there is none.

    Shapes: (B, width, H, W) -> (B, width, scale*H, scale*W).

    Raises:
        ValueError: another scale.
    """

    def __init__(self, width: int, scale: int, slope: float | None = None) -> None:
        if scale not in FACTORS:
            raise ValueError(f"scale must be 2, 3 or 4, got {scale}")
        layers: list[nn.Module] = []
        for factor in FACTORS[scale]:
            layers += [nn.Conv2d(width, width * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
            layers += [] if slope is None else [nn.LeakyReLU(slope)]
        super().__init__(*layers)
