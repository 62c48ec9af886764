"""Real pairs: a degraded image and its sharp one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from arcsr_lightning.data.crops import (
    ImageReader,
    Sample,
    check_holds_crop,
    check_noise_range,
    check_patch_size,
    cut_to_multiple,
    size_of,
)
from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.data.layouts import Pair
from arcsr_lightning.data.streams import sample_generator
from arcsr_lightning.degradation import add_noise, downsample
from arcsr_lightning.errors import InputError

if TYPE_CHECKING:
    from arcsr_lightning.data.augment import Augmentation


class PairedTraining(Dataset[Sample]):
    """Random aligned crops of image pairs, augmented alike, the LR crop with noise.

    A degraded image at HR size is downsampled bicubically; the crop equals that of the downsampled whole image.

    Args:
        pairs: a degraded and a sharp image each.
        scale: of the restoration.
        patch_size: side of the HR crops, in pixels.
        noise_level: (lowest, highest) in 8-bit levels, uniform in between.
        seed: of all samples.
        augment: what both crops go through, or None.
        cache: keep decoded images in memory, in every worker.
        second_crop: add ``lr_key``, another crop of the pair's degraded image, whose blur may be another there.
        store: of the images.

    Raises:
        InputError: a setting is at fault or, from an item, a file is, or the sizes of a pair do not fit ``scale``.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        patch_size: int = 256,
        noise_level: Sequence[float] = (0.2, 20.0),
        seed: int = 0,
        augment: "Augmentation | None" = None,
        cache: bool = False,
        second_crop: bool = False,
        store: str | Path | None = None,
    ) -> None:
        check_patch_size(patch_size, scale)
        check_noise_range(noise_level)
        if augment:
            augment.check_pairs()
        self.pairs = list(pairs)
        self.scale = scale
        self.patch_size = patch_size
        self.noise_level = noise_level
        self.seed = seed
        self.augment = augment
        self.second_crop = second_crop
        self.read = ImageReader(_files_of(self.pairs), store, cache)

    def source(self, number: int) -> Path:
        return self._begin(number)[1].hr

    def __getitem__(self, number: int) -> Sample:
        rng, pair = self._begin(number)
        hr, degraded = self.read(pair.hr), self.read(pair.degraded)
        _check_sizes(pair, hr, degraded, self.scale)
        check_holds_crop(hr, self.patch_size, pair.hr)
        place = self._draw_place(rng, hr)
        change = self.augment.draw(rng) if self.augment else 0
        noise_level = float(rng.uniform(*self.noise_level))
        lr, crop = self._crops(pair, hr, degraded, place, change)
        sample = {
            "lr": add_noise(lr, noise_level, rng),
            "hr": crop,
            "noise_level": noise_level,
            "name": pair.name,
            "number": number,
        }
        if self.second_crop:  # last, so that nothing above depends on it
            key, _ = self._crops(pair, hr, degraded, self._draw_place(rng, hr), change)
            sample["lr_key"] = add_noise(key, noise_level, rng)
        return sample

    def _begin(self, number: int) -> tuple[np.random.Generator, Pair]:
        """What a sample is drawn with, and the pair that is drawn first."""
        rng = sample_generator(self.seed, "train", number)
        return rng, self.pairs[rng.integers(len(self.pairs))]

    def _draw_place(self, rng: np.random.Generator, hr: np.ndarray) -> tuple[int, int]:
        """(top, left) of a crop, in LR pixels."""
        top, left = (int(rng.integers((side - self.patch_size) // self.scale + 1)) for side in hr.shape[:2])
        return top, left

    def _crops(
        self, pair: Pair, hr: np.ndarray, degraded: np.ndarray, place: tuple[int, int], change: int
    ) -> tuple[Tensor, Tensor]:
        """The LR crop, without noise, and HR crop of a pair, augmented by the seed ``change``."""
        top, left = place
        size = self.patch_size // self.scale
        if pair.at_lr_size:
            lr = to_tensor(degraded[top : top + size, left : left + size])
        else:
            lr = _downsampled_crop(degraded, top, left, size, self.scale)
        top, left = top * self.scale, left * self.scale
        crop = to_tensor(hr[top : top + self.patch_size, left : left + self.patch_size])
        if self.augment is None:
            return lr, crop
        augmented = self.augment(change, crop, lr)
        return augmented.lr, augmented.hr


class PairedEvaluation(Dataset[Sample]):
    """Whole image pairs, cut from the top left to multiples of ``scale``, with noise of one level.

    Item i is the same wherever and whenever it is made; another noise level only scales its noise.

    Args:
        pairs: a degraded and a sharp image each.
        scale: of the restoration.
        noise_level: in 8-bit levels.
        seed: of the noise.
        store: of the images.
        split: val or test, which draw different noise.

    Raises:
        InputError: from an item, where a file is at fault or the sizes of a pair do not fit ``scale``.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        noise_level: float,
        seed: int = 0,
        store: str | Path | None = None,
        split: str = "test",
    ) -> None:
        self.pairs = list(pairs)
        self.scale = scale
        self.noise_level = float(noise_level)
        self.seed = seed
        self.split = split
        self.read = ImageReader(_files_of(self.pairs), store)

    def __len__(self) -> int:
        return len(self.pairs)

    def source(self, number: int) -> Path:
        return self.pairs[number].hr

    def __getitem__(self, number: int) -> Sample:
        pair = self.pairs[number]
        hr, degraded = self.read(pair.hr), self.read(pair.degraded)
        _check_sizes(pair, hr, degraded, self.scale)
        if pair.at_lr_size:
            lr = to_tensor(degraded)
        else:
            lr = downsample(to_tensor(cut_to_multiple(degraded, self.scale, pair.degraded)), self.scale)
        return {
            "lr": add_noise(lr, self.noise_level, sample_generator(self.seed, self.split, number)),
            "hr": to_tensor(cut_to_multiple(hr, self.scale, pair.hr)),
            "noise_level": self.noise_level,
            "name": pair.name,
            "number": number,
        }


def _files_of(pairs: Iterable[Pair]) -> list[Path]:
    return [path for pair in pairs for path in (pair.hr, pair.degraded)]


def _downsampled_crop(image: np.ndarray, top: int, left: int, size: int, scale: int) -> Tensor:
    """The crop of size x size LR pixels at (top, left), in LR pixels, of the downsampled ``image``.

    Only the pixels that it depends on are downsampled.
    """
    spans = []
    for start, side in ((top, image.shape[0]), (left, image.shape[1])):
        first, last = max(start - 2, 0), min(start + size + 2, side // scale)  # the bicubic filter reaches 2 LR pixels
        spans.append((start - first, slice(first * scale, last * scale)))
    (top, rows), (left, columns) = spans
    return downsample(to_tensor(image[rows, columns]), scale)[:, top : top + size, left : left + size]


def _check_sizes(pair: Pair, hr: np.ndarray, degraded: np.ndarray, scale: int) -> None:
    divisor = scale if pair.at_lr_size else 1
    height, width = (side // divisor for side in hr.shape[:2])
    if degraded.shape[:2] != (height, width):
        raise InputError(
            f"{pair.degraded} is {size_of(degraded)}; with {pair.hr} at {size_of(hr)} and scale {scale} "
            f"it should be {width}x{height}"
        )
