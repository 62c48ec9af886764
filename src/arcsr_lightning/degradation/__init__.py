"""Eq. (1): blur with a kernel per pixel, bicubic downsampling, noise, JPEG; and where the kernels come from."""

from arcsr_lightning.degradation.blur import (
    apply_blended_kernels,
    apply_kernel_field,
    dense_field,
    lr_field,
)
from arcsr_lightning.degradation.confidence import confident_mean, pooled_mean
from arcsr_lightning.degradation.fields import Blur, GaussianField, KernelField, MotionField, NoBlur
from arcsr_lightning.degradation.jpeg import code_as_jpeg
from arcsr_lightning.degradation.kernel_files import FileKernels
from arcsr_lightning.degradation.kernels import gaussian_kernel, motion_kernel, random_trajectory
from arcsr_lightning.degradation.measure import (
    FIT,
    Fit,
    Measured,
    cells_to_pixels,
    measure_cells,
    measure_kernels,
)
from arcsr_lightning.degradation.noise import add_noise, round_to_8bit
from arcsr_lightning.degradation.pipeline import Degradation, Degraded, Drawn
from arcsr_lightning.degradation.resize import REACH, crop_border, downsample, upsample
from arcsr_lightning.degradation.symmetries import SYMMETRIES, Symmetry, inverse, turn, turn_field

__all__ = [
    "FIT",
    "REACH",
    "SYMMETRIES",
    "Blur",
    "Degradation",
    "Degraded",
    "Drawn",
    "FileKernels",
    "Fit",
    "GaussianField",
    "KernelField",
    "Measured",
    "MotionField",
    "NoBlur",
    "Symmetry",
    "add_noise",
    "apply_blended_kernels",
    "apply_kernel_field",
    "cells_to_pixels",
    "code_as_jpeg",
    "confident_mean",
    "crop_border",
    "dense_field",
    "downsample",
    "gaussian_kernel",
    "inverse",
    "lr_field",
    "measure_cells",
    "measure_kernels",
    "motion_kernel",
    "pooled_mean",
    "random_trajectory",
    "round_to_8bit",
    "turn",
    "turn_field",
    "upsample",
]
