"""Both operators as Triton kernels, for CUDA: ``takes`` says whether there are any for a tensor.

The functions take CUDA tensors and check nothing. Triton is imported when one is called: that takes time, and some of
its versions ask for a driver.
"""

from collections.abc import Sequence

from torch import Tensor

from arcsr_lightning.operators.gpu.device import takes

__all__ = ["deform_conv2d", "kernel_guided_conv2d", "takes"]


def kernel_guided_conv2d(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
    """Compute kernel_guided_conv2d without bias."""
    from arcsr_lightning.operators.gpu import kernel_guided_conv

    return kernel_guided_conv.kernel_guided_conv2d(x, kernel, weight)


def deform_conv2d(
    x: Tensor, offset: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Compute deform_conv2d without bias, with one group of weights and one of offsets."""
    from arcsr_lightning.operators.gpu import deform_conv

    return deform_conv.deform_conv2d(x, offset, weight, stride, padding, dilation)
