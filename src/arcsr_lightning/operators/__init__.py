"""The two operators of the paper as functions of tensors, the scaling of the kernel between them, and motion cues."""

from arcsr_lightning.operators.deform_conv import deform_conv2d, deform_conv2d_plain
from arcsr_lightning.operators.kernel_guided_conv import (
    kernel_guided_conv2d,
    kernel_guided_conv2d_plain,
    kernel_guided_conv2d_reference,
)
from arcsr_lightning.operators.kernel_normalisation import NORMALISATIONS, normalise_kernel
from arcsr_lightning.operators.local_statistics import local_contrast_normalised, local_mean
from arcsr_lightning.operators.motion_cues import count_cues, motion_cues

__all__ = [
    "NORMALISATIONS",
    "count_cues",
    "deform_conv2d",
    "deform_conv2d_plain",
    "kernel_guided_conv2d",
    "kernel_guided_conv2d_plain",
    "kernel_guided_conv2d_reference",
    "local_contrast_normalised",
    "local_mean",
    "motion_cues",
    "normalise_kernel",
]
