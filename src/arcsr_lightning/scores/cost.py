"""What a network costs, without running it."""

import math
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import arcsr_lightning.operators  # noqa: F401  defines the operators that are counted


class PartCost(NamedTuple):
    """What a part of a network costs: numbers that train, and 1e9 multiply-accumulates for one LR image, if known."""

    name: str
    parameters: int
    gmacs: float | None


def parameters(network: nn.Module) -> int:
    """How many numbers an optimiser can change."""
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, height: int = 64, width: int = 64) -> int | None:
    """Multiply-accumulates of convolutions and matrix products for one LR image of height x width pixels.

    None where they cannot be counted: the network needs numbers to run, and not only shapes.
    """
    counter = _count(network, height, width)
    return None if counter is None else counter.get_total_flops() // 2


def parts(network: nn.Module, height: int = 64, width: int = 64) -> list[PartCost]:
    """The cost of every child of a network, in their order.

    What the network has and does outside of its children comes last, under the name of its class, where there is any:
    the rows sum to ``parameters(network)`` and to ``macs(network)``.
    """
    root, counter = type(network).__name__, _count(network, height, width)
    flops = {} if counter is None else {name: sum(one.values()) for name, one in counter.get_flop_counts().items()}
    children = {name: _flops_below(child, f"{root}.{name}", flops) / 2e9 for name, child in network.named_children()}
    rows = [
        PartCost(name, parameters(child), None if counter is None else children[name])
        for name, child in network.named_children()
    ]
    own = parameters(network) - sum(row.parameters for row in rows)
    more = flops.get("Global", 0) / 2e9 - sum(children.values())
    return [*rows, PartCost(root, own, None if counter is None else more)] if own or more > 1e-12 else rows


def _count(network: nn.Module, height: int, width: int) -> FlopCounterMode | None:
    """The operations of one LR image, counted on shapes alone; None where the network needs numbers."""
    ours = {
        torch.ops.arcsr_lightning.kernel_guided_conv2d_cpu: _convolution_flops,
        torch.ops.arcsr_lightning.deform_conv2d_cpu: _convolution_flops,
    }
    network = deepcopy(network).to("meta")
    lr = torch.empty(1, 3, height, width, device="meta")
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False, custom_mapping=ours) as counter:
        try:
            network.eval()(lr)
        except (RuntimeError, NotImplementedError):
            return None
    return counter


def _flops_below(module: nn.Module, name: str, flops: dict[str, int]) -> int:
    """The operations of a module, or where it is a list that is not called itself, of what is in it."""
    if name in flops:
        return flops[name]
    return sum(_flops_below(child, f"{name}.{key}", flops) for key, child in module.named_children())


def _convolution_flops(x: torch.Size, other: torch.Size, weight: torch.Size, *_: Any, out_shape: torch.Size) -> int:
    """The operations of a convolution whose weights are scaled, or whose taps are moved, at every pixel."""
    return 2 * math.prod(weight) * out_shape[0] * math.prod(out_shape[2:])
