"""Real pairs: a degraded image and its sharp one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
    lr_image,
    size_of,
)
from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.data.layouts import Pair
from arcsr_lightning.data.measured import KernelStore
from arcsr_lightning.data.streams import sample_generator
from arcsr_lightning.degradation import REACH, add_noise, downsample
from arcsr_lightning.errors import InputError

if TYPE_CHECKING:
    from arcsr_lightning.data.augment import Augmentation


class _Crops(NamedTuple):
    """lr (3, h, w), hr (3, H, W), and kernel (ks*ks, h, w) with confidence (1, h, w), if they are measured."""

    lr: Tensor
    hr: Tensor
    kernel: Tensor | None
    confidence: Tensor | None


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
        store: of the images, and of their kernels.
        kernels: ``measured`` adds ``kernel`` and ``confidence`` from the store.
        kernel_size: of these kernels, in LR pixels.

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
        kernels: str = "unknown",
        kernel_size: int = 7,
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
        self.kernels = _kernel_store(kernels, store, self.pairs, scale, kernel_size)

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
        crops = self._crops(pair, hr, degraded, place, change)
        sample = {
            "lr": add_noise(crops.lr, noise_level, rng),
            "hr": crops.hr,
            "noise_level": noise_level,
            "name": pair.name,
            "number": number,
        }
        if crops.kernel is not None:
            sample |= {"kernel": crops.kernel, "confidence": crops.confidence}
        if self.second_crop:  # last, so that nothing above depends on it
            key = self._crops(pair, hr, degraded, self._draw_place(rng, hr), change)
            sample["lr_key"] = add_noise(key.lr, noise_level, rng)
        return sample

    def _begin(self, number: int) -> tuple[np.random.Generator, Pair]:
        """What a sample is drawn with, and the pair that is drawn first."""
        rng = sample_generator(self.seed, "train", number)
        return rng, self.pairs[rng.integers(len(self.pairs))]

    def _draw_place(self, rng: np.random.Generator, hr: np.ndarray) -> tuple[int, int]:
        """(top, left) of a crop, in LR pixels."""
        top, left = (int(rng.integers((side - self.patch_size) // self.scale + 1)) for side in hr.shape[:2])
        return top, left

    def _crops(self, pair: Pair, hr: np.ndarray, degraded: np.ndarray, place: tuple[int, int], change: int) -> "_Crops":
        """The crops of a pair, the LR one without noise, augmented by the seed ``change``."""
        top, left = place
        size = self.patch_size // self.scale
        kernel = confidence = None
        if self.kernels:
            kernel, confidence = self.kernels(pair, size, size, top, left)
        if pair.at_lr_size:
            lr = to_tensor(degraded[top : top + size, left : left + size])
        else:
            lr = _downsampled_crop(degraded, top, left, size, self.scale)
        top, left = top * self.scale, left * self.scale
        crop = to_tensor(hr[top : top + self.patch_size, left : left + self.patch_size])
        if self.augment is None:
            return _Crops(lr, crop, kernel, confidence)
        augmented = self.augment(change, crop, lr, kernel, confidence)
        return _Crops(augmented.lr, augmented.hr, augmented.kernel, augmented.confidence)


class PairedEvaluation(Dataset[Sample]):
    """Whole image pairs, cut from the top left to multiples of ``scale``, with noise of one level.

    Item i is the same wherever and whenever it is made; another noise level only scales its noise.

    Args:
        pairs: a degraded and a sharp image each.
        scale: of the restoration.
        noise_level: in 8-bit levels.
        seed: of the noise.
        store: of the images, and of their kernels.
        split: val or test, which draw different noise.
        kernels: ``measured`` adds ``kernel`` and ``confidence`` from the store.
        kernel_size: of these kernels, in LR pixels.

    Raises:
        InputError: a setting or the store is at fault or, from an item, a file is, or the sizes of a pair do not fit
            ``scale``.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        noise_level: float,
        seed: int = 0,
        store: str | Path | None = None,
        split: str = "test",
        kernels: str = "unknown",
        kernel_size: int = 7,
    ) -> None:
        self.pairs = list(pairs)
        self.scale = scale
        self.noise_level = float(noise_level)
        self.seed = seed
        self.split = split
        self.read = ImageReader(_files_of(self.pairs), store)
        self.kernels = _kernel_store(kernels, store, self.pairs, scale, kernel_size)

    def __len__(self) -> int:
        return len(self.pairs)

    def source(self, number: int) -> Path:
        return self.pairs[number].hr

    def name(self, number: int) -> str:
        return self.pairs[number].name

    def __getitem__(self, number: int) -> Sample:
        pair = self.pairs[number]
        hr, degraded = self.read(pair.hr), self.read(pair.degraded)
        _check_sizes(pair, hr, degraded, self.scale)
        lr = lr_image(pair, degraded, self.scale)
        kernel, confidence = self.kernels(pair, *lr.shape[1:]) if self.kernels else (None, None)
        measured = {} if kernel is None else {"kernel": kernel, "confidence": confidence}
        return measured | {
            "lr": add_noise(lr, self.noise_level, sample_generator(self.seed, self.split, number)),
            "hr": to_tensor(cut_to_multiple(hr, self.scale, pair.hr)),
            "noise_level": self.noise_level,
            "name": pair.name,
            "group": pair.sequence or pair.name,
            "number": number,
        }


def _kernel_store(
    kernels: str, store: str | Path | None, pairs: Sequence[Pair], scale: int, kernel_size: int
) -> KernelStore | None:
    if kernels not in ("unknown", "measured"):
        raise InputError(f"data.kernels of pairs must be unknown or measured, got {kernels}")
    return KernelStore(store, pairs, scale, kernel_size) if kernels == "measured" else None


def _files_of(pairs: Iterable[Pair]) -> list[Path]:
    return [path for pair in pairs for path in (pair.hr, pair.degraded)]


def _downsampled_crop(image: np.ndarray, top: int, left: int, size: int, scale: int) -> Tensor:
    """The crop of size x size LR pixels at (top, left), in LR pixels, of the downsampled ``image``.

    Only the pixels that it depends on are downsampled.
    """
    spans = []
    for start, side in ((top, image.shape[0]), (left, image.shape[1])):
        first, last = max(start - REACH, 0), min(start + size + REACH, side // scale)
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
