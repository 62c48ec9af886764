"""Motion cues as features for a level of the estimator's U-Net."""

from collections.abc import Sequence

from torch import Tensor, nn

from arcsr_lightning.blocks.standardisation import Standardisation
from arcsr_lightning.operators import count_cues, motion_cues


class CueHead(nn.Module):
    """The image's motion cues through two 1x1 convolutions.

    Args:
        channels: C, of the features.
        cell: side of the cells, in LR pixels.
        windows: of the cues, in cells.

    Shapes: RGB in [0, 1], (B, 3, H, W) of multiples of ``cell`` -> (B, C, H/cell, W/cell).
    """

    def __init__(self, channels: int, cell: int, windows: Sequence[int]) -> None:
        super().__init__()
        self.cell = cell
        self.windows = tuple(windows)
        self.layers = nn.Sequential(
            # Far shifts vary ten times less than near ones and say as much.
            Standardisation(count_cues(windows)),
            nn.Conv2d(count_cues(windows), 192, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(192, channels, 1),
        )

    def forward(self, lr: Tensor) -> Tensor:
        return self.layers(motion_cues(lr, self.cell, self.windows))
