"""Image files, data sets and their loaders.

A sample is a dict: ``lr`` (3, h, w) and ``hr`` (3, scale*h, scale*w), float32 RGB, ``hr`` in [0, 1]; ``noise_level`` in
8-bit levels; ``name``; ``number``; of a test image also ``group``, the sequence or photograph that it is of. Where the
blur is known, also ``kernel`` (kernel_size**2, h, w), the field on the LR grid, and ``basis`` (M, k, k) with ``masks``
(M, scale*h, scale*w), the exact field on the HR grid; where ``lr`` went through JPEG, its ``jpeg_quality``. Where the
blur was measured, ``kernel`` and its ``confidence`` (1, h, w) in [0, 1].
With ``second_crop`` a training sample also holds ``lr_key`` (3, h, w): a second crop of the same image, at a place of
its own (of dead leaves: of another picture), augmented and degraded as ``lr`` is, with noise of its own. Everything
else is the same with and without it.

A ``Mixture`` takes each training sample from one of several sets, and leaves out what not all of them have.

Images are decoded from their files, or, with ``store``, read from the store that ``store.write_store`` made of them:
the samples are the same.

Training sets have no length: any number is a sample, and a pure function of (seed, number). ``source(number)`` is the
image that a sample is made from.
"""

from arcsr_lightning.data.crops import Sample
from arcsr_lightning.data.images import image_files, read_image
from arcsr_lightning.data.layouts import Pair, folder_pairs, gopro_pairs, reds_pairs, sample_photos
from arcsr_lightning.data.mixture import Mixture
from arcsr_lightning.data.paired import PairedEvaluation, PairedTraining
from arcsr_lightning.data.samplers import StepSampler
from arcsr_lightning.data.synthetic import SyntheticEvaluation, SyntheticTraining

__all__ = [
    "Mixture",
    "Pair",
    "PairedEvaluation",
    "PairedTraining",
    "Sample",
    "StepSampler",
    "SyntheticEvaluation",
    "SyntheticTraining",
    "folder_pairs",
    "gopro_pairs",
    "image_files",
    "read_image",
    "reds_pairs",
    "sample_photos",
]
