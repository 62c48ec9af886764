"""What a network costs, without running it."""

import math
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """How many numbers an optimiser can change."""
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, height: int = 64, width: int = 64) -> int:
    """Multiply-accumulates of convolutions and matrix products for one LR image of height x width pixels."""
    in_place = {torch.ops.aten.addmm_: product_flops, torch.ops.aten.baddbmm_: product_flops}  # the counter lacks them
    network = deepcopy(network).to("meta")
    lr = torch.empty(1, 3, height, width, device="meta")
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        network.eval()(lr)
    return counter.get_total_flops() // 2


def product_flops(sums: torch.Size, left: torch.Size, right: torch.Size, **_: Any) -> int:
    """The operations of ``sums += left @ right``, from the shapes: (..., m, k) and (..., k, n)."""
    return 2 * math.prod(left) * right[-1]
