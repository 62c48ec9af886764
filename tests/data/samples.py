"""Pictures that show what was done to them, and what several tests of samples share."""

import numpy as np
import torch
from PIL import Image

from arcsr_lightning.data import SyntheticTraining
from arcsr_lightning.data.augment import A, Augmentation
from arcsr_lightning.degradation import Degradation, MotionField

NOISELESS = (0.0, 0.0)


def quarter_turns():
    """The augmentation of the paper."""
    return Augmentation({"turn": A.RandomRotate90(p=1)})


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def ramp(height, width):
    """Red tells the row, green the column, blue is texture: every crop shows where it is from and how it was turned."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    texture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return np.stack([rows, columns, texture], -1)


def whereabouts(hr):
    """(quarter turns, top, left in the turned image's original) of a crop of ``ramp``."""
    pixels = (hr * 255).round().int().numpy().transpose(1, 2, 0)
    for turns in range(4):
        upright = np.rot90(pixels, -turns)
        if upright[1, 0, 0] > upright[0, 0, 0] and upright[0, 1, 1] > upright[0, 0, 1]:
            return turns, int(upright[0, 0, 0]), int(upright[0, 0, 1])
    raise AssertionError("not a crop of the ramp")


def same(sample, other):
    return sample.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in sample.items()
    )


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_by_one(samples):
    return samples[0]


def synthetic(photo_files, **settings):
    options = {"degradation": Degradation(MotionField(9, 6)), "scale": 2, "kernel_size": 7, "patch_size": 32, "seed": 3}
    options["augment"] = quarter_turns()
    return SyntheticTraining(photo_files, **(options | settings))
