"""A small network on motion cues alone, in place of the paper's U-Net: learns kernels in minutes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.blocks import Standardisation, nearly_zero_, pad_to_multiple
from arcsr_lightning.errors import check_odd
from arcsr_lightning.operators import count_cues, motion_cues
from arcsr_lightning.operators.motion_cues import WINDOWS


class CueEstimator(nn.Module):
    """LR image -> a field of blur kernels, from the cues of every cell by itself.

    Args:
        kernel_size: ks, odd, in LR pixels.
        width: of the two hidden layers.
        dropout: of the hidden layers, while training.
        cell: side of the cells, in LR pixels.
        windows: of the cues, in cells.

    Shapes: RGB in [0, 1], (B, 3, H, W) of any size -> (B, ks*ks, H, W), non-negative, summing to one over the taps,
    taps in row-major order.

    Raises:
        ValueError: even ``kernel_size``.
    """

    def __init__(
        self,
        kernel_size: int = 7,
        width: int = 192,
        dropout: float = 0.2,
        cell: int = 4,
        windows: Sequence[int] = WINDOWS,
    ) -> None:
        super().__init__()
        self.kernel_size = check_odd(kernel_size)
        self.cell = cell
        self.windows = tuple(windows)
        self.hidden = nn.Sequential(
            # Far shifts vary ten times less than near ones and say as much.
            Standardisation(count_cues(windows)),
            nn.Conv2d(count_cues(windows), width, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.tail = nn.Conv2d(width, kernel_size**2, 1)
        nearly_zero_(self.tail)  # a fresh estimator says "uniform", as the U-Net does

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        cells = self.kernels_of(motion_cues(pad_to_multiple(lr, self.cell), self.cell, self.windows))
        field = F.interpolate(cells, scale_factor=self.cell, mode="bilinear")  # a blend of kernels is a kernel
        return field[..., :height, :width]

    def kernels_of(self, cues: Tensor) -> Tensor:
        """The kernels of cells: (B, ``count_cues(windows)``, h, w) -> (B, ks*ks, h, w)."""
        return torch.softmax(self.tail(self.hidden(cues)).float(), dim=1)
