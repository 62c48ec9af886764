"""Images of any size for networks that halve them."""

import torch
from torch import Tensor
from torch.nn import functional as F


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are divisible by ``multiple``."""
    if torch.compiler.is_exporting():
        return _lengthened(_lengthened(x, -2, multiple), -1, multiple)
    # Not -side % multiple: torch.compile fails on that where sizes vary.
    below, right = ((multiple - side % multiple) % multiple for side in x.shape[-2:])
    return F.pad(x, (0, right, 0, below), mode="replicate")


def _lengthened(x: Tensor, dim: int, multiple: int) -> Tensor:
    """``pad_to_multiple`` of one side, for ``torch.export``, which would reason for minutes about remainders of sizes.

    How many multiples there are is a number of its own, read from a tensor, in which all later sizes are linear.
    """
    side = x.shape[dim]
    count = torch.scalar_tensor((side + multiple - 1) // multiple, dtype=torch.int64).item()
    torch._check(count >= 1)
    torch._check(multiple * count >= side)
    return x.index_select(dim, torch.arange(multiple * count, device=x.device).clamp_max(side - 1))
