"""Both operators as Triton kernels, for CUDA: ``takes`` says whether there are any for a tensor.

The functions take CUDA tensors and check nothing.
"""

import contextlib

import torch

from arcsr_lightning.operators.gpu.device import takes

if torch.version.cuda is not None:  # a CPU build should not spend the time to import Triton
    with contextlib.suppress(ImportError):  # which takes tells
        from arcsr_lightning.operators.gpu.deform_conv import deform_conv2d
        from arcsr_lightning.operators.gpu.kernel_guided_conv import kernel_guided_conv2d

__all__ = ["deform_conv2d", "kernel_guided_conv2d", "takes"]
