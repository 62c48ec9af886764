"""Image files, data sets and their loaders."""

from arcsr_lightning.data.crops import Sample
from arcsr_lightning.data.datamodule import SRDataModule
from arcsr_lightning.data.images import image_files, read_image
from arcsr_lightning.data.layouts import Pair, gopro_pairs, reds_pairs, sample_photos
from arcsr_lightning.data.paired import PairedEvaluation, PairedTraining
from arcsr_lightning.data.samplers import StepSampler
from arcsr_lightning.data.synthetic import SyntheticEvaluation, SyntheticTraining

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
