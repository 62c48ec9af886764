"""What a network costs, without running it."""

from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """How many numbers an optimiser can change."""
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, height: int = 64, width: int = 64) -> int:
    """Multiply-accumulates of convolutions and matrix products for one LR image of height x width pixels."""
    network = deepcopy(network).to("meta")
    lr = torch.empty(1, 3, height, width, device="meta")
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(lr)
    return counter.get_total_flops() // 2
