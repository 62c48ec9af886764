"""Samples for training and evaluation.

A sample is a dict: ``lr`` (3, h, w) and ``hr`` (3, scale*h, scale*w), float32 RGB, ``hr`` in [0, 1]; ``noise_level`` in
8-bit levels; ``name``; ``number``. Where the blur is known, also ``kernel`` (kernel_size**2, h, w), the field on the LR
grid, and ``basis`` (M, k, k) with ``masks`` (M, scale*h, scale*w), the exact field on the HR grid.
With ``second_crop`` a training sample also holds ``lr_key`` (3, h, w): a second crop of the same image, at a place of
its own, turned and degraded as ``lr`` is, with noise of its own. Everything else is the same with and without it.

Images are decoded from their files, or, with ``store``, read from the store that ``store.write_store`` made of them:
the samples are the same.

Training sets have no length: any number is a sample, and a pure function of (seed, number). ``source(number)`` is the
image that a sample is made from.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from arcsr_lightning.data.images import read_image, to_tensor
from arcsr_lightning.data.layouts import Pair
from arcsr_lightning.data.store import open_store
from arcsr_lightning.degradation import (
    Degradation,
    KernelField,
    add_noise,
    downsample,
    lr_field,
)
from arcsr_lightning.errors import InputError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A

Sample = dict[str, Any]

_QUARTER_TURNS = A.Compose([A.RandomRotate90(p=1)], additional_targets={"lr": "image"}, is_check_shapes=False)


class SyntheticTraining(Dataset[Sample]):
    """Random crops of sharp images, turned by a multiple of 90 degrees and degraded (Eq. (1)), with the true kernels.

    The crop is degraded with the image around it, so that its borders are blurred with what lies beyond them; at the
    borders of the image its edge pixels repeat.

    paths: sharp images. kernel_size: of the field on the LR grid, odd. patch_size: side of the HR crops, in pixels.
    noise_level: (lowest, highest) in 8-bit levels, uniform in between. cache: keep decoded images in memory, in
    every worker. second_crop: add ``lr_key``, blurred by the kernels and masks of ``lr``. store: of the images.
    degrade_on: ``worker``, or ``device`` for items that only hold what was drawn: ``degrade`` turns a batch of them
    into the same samples, up to rounding, on the device where it is.
    Raises InputError where a setting is at fault, and, from an item, where a file is.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        degradation: Degradation,
        scale: int,
        kernel_size: int,
        patch_size: int = 256,
        noise_level: Sequence[float] = (0.2, 20.0),
        seed: int = 0,
        cache: bool = False,
        second_crop: bool = False,
        store: str | Path | None = None,
        degrade_on: str = "worker",
    ) -> None:
        _check_crop(patch_size, scale)
        _check_range(noise_level)
        if degrade_on not in ("worker", "device"):
            raise InputError(f"data.train.degrade_on must be worker or device, got {degrade_on}")
        self.paths = list(paths)
        self.degradation = degradation
        self.scale = scale
        self.kernel_size = kernel_size
        self.patch_size = patch_size
        self.noise_level = noise_level
        self.seed = seed
        self.second_crop = second_crop
        self.degrade_on = degrade_on
        self.read = _Reader(self.paths, store, cache)
        radius = _check_kernel_size(degradation, scale, kernel_size)
        self.margin = (-(-radius // scale) + 2) * scale  # the bicubic filter reaches 2 LR pixels far

    def source(self, number: int) -> Path:
        return self._begin(number)[1]

    def __getitem__(self, number: int) -> Sample:
        rng, path = self._begin(number)
        image = self.read(path)
        _check_holds_crop(image, self.patch_size, path)
        place = self._draw_place(rng, image)
        turn = _draw_turn(rng)
        noise_level = float(rng.uniform(*self.noise_level))
        window = self._window(image, place, turn)
        field = self.degradation.blur(rng, *window.shape[-2:])
        drawn = {
            "window": window,
            "noise": self._draw_noise(rng, noise_level),
            "basis": field.kernels,
            "masks": field.masks,
            "noise_level": noise_level,
            "name": path.stem,
            "number": number,
        }
        if self.second_crop:  # last, so that nothing above depends on it
            drawn["window_key"] = self._window(image, self._draw_place(rng, image), turn)
            drawn["noise_key"] = self._draw_noise(rng, noise_level)
        if self.degrade_on == "device":
            return drawn
        alone = {key: value[None] if isinstance(value, Tensor) else value for key, value in drawn.items()}
        return {key: value[0] if isinstance(value, Tensor) else value for key, value in self.degrade(alone).items()}

    def _begin(self, number: int) -> tuple[np.random.Generator, Path]:
        """What a sample is drawn with, and the image that is drawn first."""
        rng = np.random.default_rng([self.seed, number])
        return rng, self.paths[rng.integers(len(self.paths))]

    def degrade(self, batch: Sample) -> Sample:
        """Eq. (1) for a batch of what was drawn for its samples."""
        batch = dict(batch)
        window, kernels, masks = batch.pop("window"), batch["basis"], batch["masks"]
        batch["lr"] = self._degraded(window, kernels, masks, batch.pop("noise"))
        batch["hr"], batch["masks"] = _trim(window, self.margin), _trim(masks, self.margin)
        batch["kernel"] = lr_field(kernels, batch["masks"], self.scale, self.kernel_size)
        if self.second_crop:
            batch["lr_key"] = self._degraded(batch.pop("window_key"), kernels, masks, batch.pop("noise_key"))
        return batch

    def _degraded(self, window: Tensor, kernels: Tensor, masks: Tensor, noise: Tensor) -> Tensor:
        """The LR crops of windows (B, 3, H, W)."""
        return _trim(self.degradation.apply(window, kernels, masks, noise, self.scale), self.margin // self.scale)

    def _draw_place(self, rng: np.random.Generator, image: np.ndarray) -> tuple[int, int]:
        """(top, left) of a crop, in HR pixels."""
        top, left = (int(rng.integers(side - self.patch_size + 1)) for side in image.shape[:2])
        return top, left

    def _draw_noise(self, rng: np.random.Generator, noise_level: float) -> Tensor:
        """The noise of a degraded window."""
        side = (self.patch_size + 2 * self.margin) // self.scale
        return add_noise(torch.zeros(3, side, side), noise_level, rng)

    def _window(self, image: np.ndarray, place: tuple[int, int], turn: int) -> Tensor:
        """The turned crop and what lies around it, (3, patch + 2 margin, patch + 2 margin)."""
        window = _cut_beyond_edges(image, *place, self.patch_size, self.margin)
        return to_tensor(_turn(turn, window)["image"])


class PairedTraining(Dataset[Sample]):
    """Random aligned crops of image pairs, both turned by the same multiple of 90 degrees, the LR crop with noise.

    A degraded image at HR size is downsampled bicubically; the crop equals that of the downsampled whole image.

    Settings and errors as in ``SyntheticTraining``; ``lr_key`` is another crop of the pair's degraded image, whose blur
    may be another there. InputError also where the sizes of a pair do not fit ``scale``.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        patch_size: int = 256,
        noise_level: Sequence[float] = (0.2, 20.0),
        seed: int = 0,
        cache: bool = False,
        second_crop: bool = False,
        store: str | Path | None = None,
    ) -> None:
        _check_crop(patch_size, scale)
        _check_range(noise_level)
        self.pairs = list(pairs)
        self.scale = scale
        self.patch_size = patch_size
        self.noise_level = noise_level
        self.seed = seed
        self.second_crop = second_crop
        self.read = _Reader(_files_of(self.pairs), store, cache)

    def source(self, number: int) -> Path:
        return self._begin(number)[1].hr

    def __getitem__(self, number: int) -> Sample:
        rng, pair = self._begin(number)
        hr, degraded = self.read(pair.hr), self.read(pair.degraded)
        _check_sizes(pair, hr, degraded, self.scale)
        _check_holds_crop(hr, self.patch_size, pair.hr)
        place = self._draw_place(rng, hr)
        turn = _draw_turn(rng)
        noise_level = float(rng.uniform(*self.noise_level))
        lr, crop = self._crops(pair, hr, degraded, place, turn)
        sample = {
            "lr": add_noise(lr, noise_level, rng),
            "hr": crop,
            "noise_level": noise_level,
            "name": pair.name,
            "number": number,
        }
        if self.second_crop:  # last, so that nothing above depends on it
            key, _ = self._crops(pair, hr, degraded, self._draw_place(rng, hr), turn)
            sample["lr_key"] = add_noise(key, noise_level, rng)
        return sample

    def _begin(self, number: int) -> tuple[np.random.Generator, Pair]:
        """What a sample is drawn with, and the pair that is drawn first."""
        rng = np.random.default_rng([self.seed, number])
        return rng, self.pairs[rng.integers(len(self.pairs))]

    def _draw_place(self, rng: np.random.Generator, hr: np.ndarray) -> tuple[int, int]:
        """(top, left) of a crop, in LR pixels."""
        top, left = (int(rng.integers((side - self.patch_size) // self.scale + 1)) for side in hr.shape[:2])
        return top, left

    def _crops(
        self, pair: Pair, hr: np.ndarray, degraded: np.ndarray, place: tuple[int, int], turn: int
    ) -> tuple[Tensor, Tensor]:
        """The turned LR crop, without noise, and HR crop of a pair."""
        top, left = place
        size = self.patch_size // self.scale
        if pair.at_lr_size:
            lr = to_tensor(degraded[top : top + size, left : left + size])
        else:
            lr = _downsampled_crop(degraded, top, left, size, self.scale)
        top, left = top * self.scale, left * self.scale
        hr = hr[top : top + self.patch_size, left : left + self.patch_size]
        turned = _turn(turn, hr, lr.permute(1, 2, 0).numpy())
        return torch.from_numpy(np.ascontiguousarray(turned["lr"].transpose(2, 0, 1))), to_tensor(turned["image"])


class SyntheticEvaluation(Dataset[Sample]):
    """Whole sharp images, cut from the top left to multiples of ``scale``, degraded (Eq. (1)), with the true kernels.

    Item i is the same wherever and whenever it is made; another noise level changes neither its blur field nor the
    pattern of its noise, which it only scales. With ``draws`` > 1 every image is degraded by so many fields.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        degradation: Degradation,
        scale: int,
        kernel_size: int,
        noise_level: float,
        draws: int = 1,
        seed: int = 0,
        store: str | Path | None = None,
    ) -> None:
        _check_kernel_size(degradation, scale, kernel_size)
        self.paths = list(paths)
        self.names = _names_of(self.paths)
        self.degradation = degradation
        self.scale = scale
        self.kernel_size = kernel_size
        self.noise_level = float(noise_level)
        self.draws = draws
        self.seed = seed
        self.read = _Reader(self.paths, store)

    def __len__(self) -> int:
        return len(self.paths) * self.draws

    def source(self, number: int) -> Path:
        return self.paths[number // self.draws]  # IndexError past the end, which is what ends a plain loop over the set

    def __getitem__(self, number: int) -> Sample:
        index, draw = divmod(number, self.draws)
        path = self.source(number)
        hr = to_tensor(_cut_to_multiple(self.read(path), self.scale, path))
        rng = np.random.default_rng([self.seed, number])
        lr, field, noise_level = self.degradation(hr, self.scale, self.noise_level, rng)
        return {
            "lr": lr,
            "hr": hr,
            "noise_level": noise_level,
            "name": self.names[index] if self.draws == 1 else f"{self.names[index]}_{draw}",
            "number": number,
        } | _truth(field, self.scale, self.kernel_size)


class PairedEvaluation(Dataset[Sample]):
    """Whole image pairs, cut from the top left to multiples of ``scale``, with noise of one level.

    Item i is the same wherever and whenever it is made; another noise level only scales its noise. InputError where
    the sizes of a pair do not fit ``scale``.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        noise_level: float,
        seed: int = 0,
        store: str | Path | None = None,
    ) -> None:
        self.pairs = list(pairs)
        self.scale = scale
        self.noise_level = float(noise_level)
        self.seed = seed
        self.read = _Reader(_files_of(self.pairs), store)

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
            lr = downsample(to_tensor(_cut_to_multiple(degraded, self.scale, pair.degraded)), self.scale)
        return {
            "lr": add_noise(lr, self.noise_level, np.random.default_rng([self.seed, number])),
            "hr": to_tensor(_cut_to_multiple(hr, self.scale, pair.hr)),
            "noise_level": self.noise_level,
            "name": pair.name,
            "number": number,
        }


class _Reader:
    """``read_image``, which remembers what it read if told to, or gets the pixels from a store that has them."""

    def __init__(self, paths: Iterable[Path], store: str | Path | None, cache: bool = False) -> None:
        self.stored = open_store(store, paths) if store else {}
        self.cache = cache
        self.images: dict[Path, np.ndarray] = {}

    def __call__(self, path: Path) -> np.ndarray:
        if path in self.stored:
            return self.stored[path].pixels()
        if path in self.images:
            return self.images[path]
        image = read_image(path)
        if self.cache:
            self.images[path] = image
        return image


def _draw_turn(rng: np.random.Generator) -> int:
    """The seed of a turn: equal seeds turn alike."""
    return int(rng.integers(2**31))


def _turn(turn: int, hr: np.ndarray, lr: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Turn ``hr`` (H, W, C), and ``lr`` alike, by 0, 90, 180 or 270 degrees; returned as ``image`` and ``lr``."""
    _QUARTER_TURNS.set_random_seed(turn)
    return _QUARTER_TURNS(image=hr) if lr is None else _QUARTER_TURNS(image=hr, lr=lr)


def _truth(field: KernelField, scale: int, kernel_size: int) -> Sample:
    """The entries of a sample that describe its blur."""
    kernel = lr_field(field.kernels[None], field.masks[None], scale, kernel_size)[0]
    return {"kernel": kernel, "basis": field.kernels, "masks": field.masks}


def _files_of(pairs: Iterable[Pair]) -> list[Path]:
    return [path for pair in pairs for path in (pair.hr, pair.degraded)]


def _names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its path from the folder that holds them all, as one word, without the suffix."""
    root = os.path.commonpath([path.parent for path in paths])
    return ["_".join(path.relative_to(root).with_suffix("").parts) for path in paths]


def _trim(x: Tensor, margin: int) -> Tensor:
    """``x`` (..., H, W) less ``margin`` pixels on every side."""
    height, width = x.shape[-2:]
    return x[..., margin : height - margin, margin : width - margin].contiguous()


def _cut_beyond_edges(image: np.ndarray, top: int, left: int, size: int, margin: int) -> np.ndarray:
    """The crop at (top, left) with ``margin`` pixels more on every side; beyond the image its edge pixels repeat."""
    height, width = image.shape[:2]
    rows = np.arange(top - margin, top + size + margin).clip(0, height - 1)
    columns = np.arange(left - margin, left + size + margin).clip(0, width - 1)
    return image[rows[:, None], columns]


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


def _cut_to_multiple(image: np.ndarray, scale: int, path: Path) -> np.ndarray:
    """The largest part of ``image`` (H, W, 3), from the top left, with sides divisible by ``scale``."""
    height, width = (side // scale * scale for side in image.shape[:2])
    if not (height and width):
        raise InputError(f"{path} is {_size_of(image)}; scale {scale} needs at least {scale}x{scale} pixels")
    return image[:height, :width]


def _check_crop(patch_size: int, scale: int) -> None:
    if patch_size < 1 or patch_size % scale:
        raise InputError(f"data.train.patch_size must be a positive multiple of the scale, {scale}, got {patch_size}")


def _check_range(noise_level: Sequence[float]) -> None:
    if len(noise_level) != 2 or not 0 <= noise_level[0] <= noise_level[1]:
        raise InputError(
            "data.train.noise_level must be (lowest, highest) with 0 <= lowest <= highest, "
            f"got {tuple(noise_level)}; a fixed level is given twice"
        )


def _check_kernel_size(degradation: Degradation, scale: int, kernel_size: int) -> int:
    """The radius of the HR kernels, which is the same in every draw; InputError where the LR field cannot hold them."""
    kernels, masks = degradation.blur(np.random.default_rng(0), scale, scale)
    try:
        lr_field(kernels[None], masks[None], scale, kernel_size)
    except ValueError as error:
        raise InputError(str(error)) from None
    return kernels.shape[-1] // 2


def _check_holds_crop(image: np.ndarray, patch_size: int, path: Path) -> None:
    if min(image.shape[:2]) < patch_size:
        raise InputError(
            f"{path} is {_size_of(image)}, smaller than the crop of {patch_size}x{patch_size}; "
            "remove it or lower data.train.patch_size"
        )


def _check_sizes(pair: Pair, hr: np.ndarray, degraded: np.ndarray, scale: int) -> None:
    divisor = scale if pair.at_lr_size else 1
    height, width = (side // divisor for side in hr.shape[:2])
    if degraded.shape[:2] != (height, width):
        raise InputError(
            f"{pair.degraded} is {_size_of(degraded)}; with {pair.hr} at {_size_of(hr)} and scale {scale} "
            f"it should be {width}x{height}"
        )


def _size_of(image: np.ndarray) -> str:
    """Width x height, as image viewers say it."""
    return f"{image.shape[1]}x{image.shape[0]}"
