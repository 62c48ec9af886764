"""Sharp images that are degraded by Eq. (1), with the kernels that did it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from arcsr_lightning.data.crops import (
    ImageReader,
    Sample,
    check_holds_crop,
    check_noise_range,
    check_patch_size,
    cut_to_multiple,
)
from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.data.leaves import dead_leaves
from arcsr_lightning.data.streams import sample_generator
from arcsr_lightning.degradation import REACH, Degradation, KernelField, add_noise, crop_border, lr_field
from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div
from arcsr_lightning.precision import exact_float32

if TYPE_CHECKING:
    from arcsr_lightning.data.augment import Augmentation


LEAVES = Path("leaves")  # stands where the file of a photograph would, for a picture that is made


class SyntheticTraining(Dataset[Sample]):
    """Random crops of sharp images, augmented and degraded (Eq. (1)), with the true kernels.

    The crop is degraded with the image around it, so that its borders are blurred with what lies beyond them; at the
    borders of the image its edge pixels repeat. A share of the samples may be made from random pictures of dead leaves
    in place of images.

    A sample is made in two steps: ``draw`` reads its crop and draws all that is random in it, ``degrade`` is a function
    of a batch of that alone, on whatever device it is. An item is both, for one number.

    Args:
        paths: sharp images; there may be none where all samples are leaves.
        degradation: Eq. (1), with its blur.
        scale: of the restoration.
        kernel_size: of the field on the LR grid, odd.
        patch_size: side of the HR crops, in pixels.
        noise_level: (lowest, highest) in 8-bit levels, uniform in between.
        seed: of all samples.
        augment: what the HR crop goes through before it is degraded, or None.
        cache: keep decoded images in memory, in every worker.
        second_crop: add ``lr_key``, blurred by the kernels and masks of ``lr``.
        store: of the images.
        leaves: share of the samples that are made from pictures of ``dead_leaves``.

    Raises:
        InputError: a setting is at fault or, from an item, a file is.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        degradation: Degradation,
        scale: int,
        kernel_size: int,
        patch_size: int = 256,
        noise_level: Sequence[float] = (0.2, 20.0),
        seed: int = 0,
        augment: "Augmentation | None" = None,
        cache: bool = False,
        second_crop: bool = False,
        store: str | Path | None = None,
        leaves: float = 0.0,
    ) -> None:
        check_patch_size(patch_size, scale)
        check_noise_range(noise_level)
        if not 0 <= leaves <= 1 or not (paths or leaves == 1):
            raise InputError(
                f"data.train.leaves must be a share in [0, 1], and 1 where there are no images, got {leaves} "
                f"and {len(paths)} images"
            )
        self.paths = [Path(path) for path in paths]
        self.degradation = degradation
        self.scale = scale
        self.kernel_size = kernel_size
        self.patch_size = patch_size
        self.noise_level = noise_level
        self.seed = seed
        self.augment = augment
        self.second_crop = second_crop
        self.leaves = leaves
        self.read = ImageReader(self.paths, store, cache)
        radius = _check_kernel_size(degradation, scale, kernel_size)
        self.reach = REACH * scale  # what of the blurred image the LR crop is made from, beyond the HR crop
        self.margin = ceil_div(radius, scale) * scale + self.reach

    def source(self, number: int) -> Path:
        return self._begin(number)[1]

    def __getitem__(self, number: int) -> Sample:
        drawn = {key: value[None] if isinstance(value, Tensor) else value for key, value in self.draw(number).items()}
        return {key: value[0] if isinstance(value, Tensor) else value for key, value in self.degrade(drawn).items()}

    def draw(self, number: int) -> Sample:
        """What a sample is made from: ``window``, the HR crop and what lies around it, and all that is random in it."""
        rng, path = self._begin(number)
        change = self.augment.draw(rng) if self.augment else 0
        window = self._window(rng, path, change)
        noise_level = float(rng.uniform(*self.noise_level))
        field, noise, jpeg_quality = self.degradation.draw(rng, *window.shape[-2:], self.scale, noise_level)
        drawn = {
            "window": window,
            "noise": crop_border(noise, self.margin // self.scale),
            "basis": field.kernels,
            "masks": crop_border(field.masks, self.margin - self.reach),
            "noise_level": noise_level,
            "name": path.stem,
            "number": number,
        }
        if jpeg_quality is not None:
            drawn["jpeg_quality"] = jpeg_quality
        if self.second_crop:  # last, so that nothing above depends on it
            drawn["window_key"] = self._window(rng, path, change)
            noise = add_noise(torch.zeros_like(noise), noise_level, rng)
            drawn["noise_key"] = crop_border(noise, self.margin // self.scale)
        return drawn

    @exact_float32()
    def degrade(self, batch: Sample) -> Sample:
        """The samples of a batch of what was drawn for them."""
        batch = dict(batch)
        window = batch.pop("window")
        lr = self._lr(window, batch.pop("noise"), batch)
        if self.second_crop:
            batch["lr_key"] = self._lr(batch.pop("window_key"), batch.pop("noise_key"), batch)
        hr, masks = crop_border(window, self.margin), crop_border(batch["masks"], self.reach)
        kernel = lr_field(batch["basis"], masks, self.scale, self.kernel_size)
        return batch | {"lr": lr, "hr": hr.contiguous(), "kernel": kernel, "masks": masks}

    def _lr(self, window: Tensor, noise: Tensor, drawn: Sample) -> Tensor:
        """The LR crops of windows (B, 3, H, W)."""
        quality = drawn.get("jpeg_quality")
        return self.degradation.apply(window, drawn["basis"], drawn["masks"], noise, self.scale, quality)

    def _begin(self, number: int) -> tuple[np.random.Generator, Path]:
        """What a sample is drawn with, and the image that is drawn first."""
        rng = sample_generator(self.seed, "train", number)
        if rng.random() < self.leaves:
            return rng, LEAVES
        return rng, self.paths[rng.integers(len(self.paths))]

    def _window(self, rng: np.random.Generator, path: Path, change: int) -> Tensor:
        """A random crop and what lies around it, augmented, (3, patch + 2 margin, patch + 2 margin)."""
        if path == LEAVES:
            side = self.patch_size + 2 * self.margin
            pixels = dead_leaves(rng, side, side)
        else:
            image = self.read(path)
            check_holds_crop(image, self.patch_size, path)
            top, left = (int(rng.integers(side - self.patch_size + 1)) for side in image.shape[:2])
            pixels = _cut_beyond_edges(image, top, left, self.patch_size, self.margin)
        window = to_tensor(pixels)
        return self.augment(change, window).hr if self.augment else window


class Undegraded(Dataset[Sample]):
    """What a training set draws for its samples; its ``degrade`` makes the samples of a batch of it."""

    def __init__(self, dataset: SyntheticTraining) -> None:
        self.dataset = dataset

    def source(self, number: int) -> Path:
        return self.dataset.source(number)

    def __getitem__(self, number: int) -> Sample:
        return self.dataset.draw(number)


class SyntheticEvaluation(Dataset[Sample]):
    """Whole sharp images, cut from the top left to multiples of ``scale``, degraded (Eq. (1)), with the true kernels.

    Item i is the same wherever and whenever it is made; another noise level changes neither its blur field nor the
    pattern of its noise, which it only scales.

    Args:
        paths: sharp images.
        degradation: Eq. (1), with its blur.
        scale: of the restoration.
        kernel_size: of the field on the LR grid, odd.
        noise_level: in 8-bit levels.
        draws: every image is degraded by so many fields.
        seed: of the degradations.
        store: of the images.
        split: val or test, which draw different degradations.

    Raises:
        InputError: a setting is at fault or, from an item, a file is.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        degradation: Degradation,
        scale: int,
        kernel_size: int,
        noise_level: float,
        draws: int = 1,
        seed: int = 0,
        store: str | Path | None = None,
        split: str = "test",
    ) -> None:
        _check_kernel_size(degradation, scale, kernel_size)
        self.paths = [Path(path) for path in paths]
        self.names = _names_of(self.paths)
        self.degradation = degradation
        self.scale = scale
        self.kernel_size = kernel_size
        self.noise_level = float(noise_level)
        self.draws = draws
        self.seed = seed
        self.split = split
        self.read = ImageReader(self.paths, store)

    def __len__(self) -> int:
        return len(self.paths) * self.draws

    def source(self, number: int) -> Path:
        return self.paths[number // self.draws]  # IndexError past the end, which is what ends a plain loop over the set

    def name(self, number: int) -> str:
        index, draw = divmod(number, self.draws)
        return self.names[index] if self.draws == 1 else f"{self.names[index]}_{draw}"

    def __getitem__(self, number: int) -> Sample:
        path = self.source(number)
        hr = to_tensor(cut_to_multiple(self.read(path), self.scale, path))
        rng = sample_generator(self.seed, self.split, number)
        lr, field, jpeg_quality = self.degradation(hr, self.scale, self.noise_level, rng)
        return {
            "lr": lr,
            "hr": hr,
            "noise_level": self.noise_level,
            "name": self.name(number),
            "group": self.names[number // self.draws],
            "number": number,
            **_truth(field, self.scale, self.kernel_size),
            **({} if jpeg_quality is None else {"jpeg_quality": jpeg_quality}),
        }


def _truth(field: KernelField, scale: int, kernel_size: int) -> Sample:
    """The entries of a sample that describe its blur."""
    kernel = lr_field(field.kernels[None], field.masks[None], scale, kernel_size)[0]
    return {"kernel": kernel, "basis": field.kernels, "masks": field.masks}


def _names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its path from the folder that holds them all, as one word, without the suffix.

    Raises:
        InputError: two files would have one.
    """
    root = os.path.commonpath([path.parent for path in paths])
    named: dict[str, Path] = {}
    for path in paths:
        name = "_".join(path.relative_to(root).with_suffix("").parts)
        if name in named:
            raise InputError(f"{named[name]} and {path} would both be called {name} in tables; rename one of them")
        named[name] = path
    return list(named)


def _cut_beyond_edges(image: np.ndarray, top: int, left: int, size: int, margin: int) -> np.ndarray:
    """The crop at (top, left) with ``margin`` pixels more on every side; beyond the image its edge pixels repeat."""
    height, width = image.shape[:2]
    above, before = max(top - margin, 0), max(left - margin, 0)
    below, behind = min(top + size + margin, height), min(left + size + margin, width)
    around = above - top + margin, top + size + margin - below, before - left + margin, left + size + margin - behind
    return cv2.copyMakeBorder(image[above:below, before:behind], *around, cv2.BORDER_REPLICATE)


def _check_kernel_size(degradation: Degradation, scale: int, kernel_size: int) -> int:
    """The radius of the HR kernels, which is the same in every draw; InputError where the LR field cannot hold them."""
    kernels, masks = degradation.blur(np.random.default_rng(0), scale, scale)
    lr_field(kernels[None], masks[None], scale, kernel_size)
    return kernels.shape[-1] // 2
