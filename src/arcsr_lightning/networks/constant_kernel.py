"""The control that tells whether the kernel *of a pixel* helps: one kernel for all of them."""

import torch
from torch import Tensor, nn

from arcsr_lightning.errors import check_odd

_PACE = 10.0  # an optimiser that moves weights of a network by the thousandth would take thousands of steps here


class ConstantKernel(nn.Module):
    """LR image -> the same learnt kernel at every pixel. Taught by the divergence it becomes the data's mean kernel.

    Args:
        kernel_size: ks, odd, in LR pixels.

    Shapes: (B, 3, H, W) of any size -> (B, ks*ks, H, W), non-negative, summing to one over the taps, taps in row-major
    order.

    Raises:
        ValueError: even ``kernel_size``.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.kernel_size = check_odd(kernel_size)
        self.logits = nn.Parameter(torch.zeros(kernel_size**2))

    def forward(self, lr: Tensor) -> Tensor:
        kernel = torch.softmax(_PACE * self.logits, dim=0)  # (ks*ks)
        return kernel[None, :, None, None].expand(len(lr), -1, *lr.shape[-2:])
