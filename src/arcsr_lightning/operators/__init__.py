"""The two operators of the paper as functions of tensors, and the scaling of the kernel between them."""

from arcsr_lightning.operators.deform_conv import deform_conv2d, deform_conv2d_plain
from arcsr_lightning.operators.kernel_guided_conv import kernel_guided_conv2d, kernel_guided_conv2d_reference
from arcsr_lightning.operators.kernel_normalisation import NORMALISATIONS, normalise_kernel

__all__ = [
    "NORMALISATIONS",
    "deform_conv2d",
    "deform_conv2d_plain",
    "kernel_guided_conv2d",
    "kernel_guided_conv2d_reference",
    "normalise_kernel",
]
