"""How convolutions start, where torch's default is not meant."""

import torch
from torch import nn


@torch.no_grad()
def he_normal_(layer: nn.Conv2d, gain: float = 1.0) -> None:
    """Fill a convolution with ``gain`` times He's normal weights for ReLUs, and its bias with zeros."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    layer.weight.mul_(gain)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def nearly_zero_(layer: nn.Conv2d) -> None:
    """Fill a convolution with weights of standard deviation 0.001, which still differ, and its bias with zeros."""
    nn.init.normal_(layer.weight, std=1e-3)
    if layer.bias is not None:
        layer.bias.zero_()
