"""Image files, data sets and their loaders."""

from arcsr_lightning.data.datamodule import SRDataModule
from arcsr_lightning.data.datasets import (
    PairedEvaluation,
    PairedTraining,
    Sample,
    SyntheticEvaluation,
    SyntheticTraining,
)
from arcsr_lightning.data.images import image_files, read_image
from arcsr_lightning.data.layouts import Pair, gopro_pairs, reds_pairs, sample_photos
from arcsr_lightning.data.samplers import StepSampler

__all__ = [
    "Pair",
    "PairedEvaluation",
    "PairedTraining",
    "SRDataModule",
    "Sample",
    "StepSampler",
    "SyntheticEvaluation",
    "SyntheticTraining",
    "gopro_pairs",
    "image_files",
    "read_image",
    "reds_pairs",
    "sample_photos",
]
