"""Sharp images that are degraded by Eq. (1), with the kernels that did it."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.degradation import (
    Degradation,
    KernelField,
    add_noise,
    lr_field,
)
from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
from arcsr_lightning.data.crops import (
    Sample,
    _check_crop,
    _check_holds_crop,
    _check_range,
    _cut_to_multiple,
    _draw_turn,
    _Reader,
    _turn,
)


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
        self.margin = (ceil_div(radius, scale) + 2) * scale  # the bicubic filter reaches 2 LR pixels far

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


def _truth(field: KernelField, scale: int, kernel_size: int) -> Sample:
    """The entries of a sample that describe its blur."""
    kernel = lr_field(field.kernels[None], field.masks[None], scale, kernel_size)[0]
    return {"kernel": kernel, "basis": field.kernels, "masks": field.masks}


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


def _check_kernel_size(degradation: Degradation, scale: int, kernel_size: int) -> int:
    """The radius of the HR kernels, which is the same in every draw; InputError where the LR field cannot hold them."""
    kernels, masks = degradation.blur(np.random.default_rng(0), scale, scale)
    try:
        lr_field(kernels[None], masks[None], scale, kernel_size)
    except ValueError as error:
        raise InputError(str(error)) from None
    return kernels.shape[-1] // 2
