"""From features to larger ones: of a level of the estimator's U-Net to the finer one, and of LR images to HR.

Between levels, size doubles and channels halve; from LR to HR, in steps of two or three, channels stay.
"""

from torch import nn

FACTORS = {2: (2,), 3: (3,), 4: (2, 2)}  # of the steps from LR to HR, by scale


class TransposedUp(nn.ConvTranspose2d):
    """A 2x2 transposed convolution, as in the lineage: every pixel of a 2x2 block has weights of its own.

    Args:
        fine: C of the finer level.

    Shapes: (B, 2C, H, W) -> (B, C, 2H, 2W).
    """

    def __init__(self, fine: int) -> None:
        super().__init__(2 * fine, fine, 2, stride=2)


class BilinearUp(nn.Sequential):
    """A 1x1 convolution, then bilinear enlargement: what is constant stays constant, without a period of two columns.

    Args and shapes as ``TransposedUp``.
    """

    def __init__(self, fine: int) -> None:
        super().__init__(nn.Conv2d(2 * fine, fine, 1), nn.Upsample(scale_factor=2, mode="bilinear"))


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
