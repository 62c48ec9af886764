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
from arcsr_lightning.data.layouts import Pair, folder_photos, gopro_pairs, reds_pairs, sample_photos
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
    "folder_photos",
    "gopro_pairs",
    "image_files",
    "read_image",
    "reds_pairs",
    "sample_photos",
]
