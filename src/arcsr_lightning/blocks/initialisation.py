"""How the residual blocks start."""

import torch
from torch import nn


@torch.no_grad()
def initialise_residual(convolutions: nn.ModuleList) -> None:
    """He initialisation of a block's branch, its last convolution at three tenths.

    With torch's default a branch of three or four convolutions starts at a few hundredths of its input, and the kernel
    estimator learns next to nothing in its first thousand steps; at full strength a stack of ten blocks would amplify.
    A convolution that starts at zero (the offsets of a DMconv) keeps doing so.
    """
    layers = [layer for layer in convolutions.modules() if isinstance(layer, nn.Conv2d) and layer.weight.any()]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    layers[-1].weight.mul_(0.3)
