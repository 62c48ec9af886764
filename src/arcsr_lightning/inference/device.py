"""On which device a network runs, and how weights and images lie there."""

import torch
from torch import nn

from arcsr_lightning.errors import InputError


def layout_of(device: torch.device) -> torch.memory_format:
    """How images and weights lie: on a GPU channels last, as KGconv leaves them there; else copies turn them over."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, in its layout."""
    return network.to(device, memory_format=layout_of(device))


def use_device(name: str) -> torch.device:
    """Choose a device, ``auto`` the GPU where there is one; on a GPU let this process multiply float32 as TF32.

    As cuDNN does in convolutions: without tensor cores KGconvs would take three times as long beside them.

    Raises:
        InputError: the named device is not to be had.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise InputError("device=cuda: there is no GPU that this PyTorch can use; set device=cpu")
        torch.set_float32_matmul_precision("high")
    return torch.device(name)
