"""What is asked of a network for one image or tile: one pass or eight, in float32 or bfloat16."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from arcsr_lightning.degradation import SYMMETRIES, inverse, turn, turn_field
from arcsr_lightning.errors import InputError
from arcsr_lightning.inference.device import layout_of
from arcsr_lightning.networks.restoration import Restoration

Ensemble = Literal[1, 8]
Precision = Literal[32, "bf16"]


@torch.inference_mode()
def run_network(
    network: nn.Module, lr: Tensor, ensemble: Ensemble = 1, precision: Precision = 32, keep_kernel: bool = True
) -> Restoration:
    """``network(lr)``, or the mean over the eight symmetries of the square of what it makes of the turned images.

    Args:
        network: whose results are averaged, each turned back, kernels as kernels.
        lr: (B, 3, H, W), on any device.
        ensemble: 1 pass, or 8.
        precision: 32, or "bf16" for autocast to bfloat16.
        keep_kernel: False leaves the kernels out.

    Returns:
        float32, on the network's device.
    """
    lr = lr.to(next((parameter.device for parameter in network.parameters()), lr.device))
    symmetries = SYMMETRIES[:ensemble]  # the first leaves an image as it is
    sr = kernel = None
    for symmetry in symmetries:
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=precision == "bf16"):
            part = network(turn(lr, symmetry).contiguous(memory_format=layout_of(lr.device)))
        back = inverse(symmetry)
        sr = add(sr, turn(part.sr, back), len(symmetries))
        if keep_kernel and part.kernel is not None:
            kernel = add(kernel, turn_field(part.kernel, back), len(symmetries))
    return Restoration(sr, kernel)


def add(mean: Tensor | None, part: Tensor, parts: int) -> Tensor:
    """``mean`` and what one of ``parts`` adds to it, in float32."""
    share = part.float() / parts
    return share if mean is None else mean + share


def require_finite(restored: Restoration, source: Path) -> Restoration:
    """Raises InputError where what the network makes of a source is not finite."""
    if all(part is None or torch.isfinite(part).all() for part in restored):
        return restored
    raise InputError(f"{source}: what the network makes of it is not finite; use other weights")
