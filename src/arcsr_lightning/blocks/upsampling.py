"""From features of a level of the estimator's U-Net to the finer one: size doubles, channels halve."""

from torch import nn


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
