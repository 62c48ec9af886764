"""Bicubic upscaling: the row every table starts with."""

from torch import Tensor, nn

from arcsr_lightning.degradation import upsample
from arcsr_lightning.networks.restoration import Restoration


class Bicubic(nn.Module):
    """Enlarge by bicubic interpolation, as MATLAB's imresize does; nothing to train.

    Args:
        scale: 1 or more.

    Shapes: (B, 3, H, W) -> ``Restoration`` of sr (B, 3, scale*H, scale*W), kernel None.
    """

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Restoration:
        return Restoration(upsample(lr, self.scale))
