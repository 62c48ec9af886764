"""What both families of data sets share: reading an image, cutting it, and checking that settings and sizes fit."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from arcsr_lightning.data.images import read_image, to_tensor
from arcsr_lightning.data.layouts import Pair
from arcsr_lightning.data.store import open_store
from arcsr_lightning.degradation import downsample
from arcsr_lightning.errors import InputError

Sample = dict[str, Any]  # its entries: the docstring of arcsr_lightning.data


class ImageReader:
    """``read_image``, which gets the pixels from a store that has them, or remembers what it read if told to.

    Args:
        paths: the images that will be asked for.
        store: the folder of their store, or None to decode the files.
        cache: keep decoded images in memory.
    """

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


def cut_to_multiple(image: np.ndarray, scale: int, path: Path) -> np.ndarray:
    """The largest part of ``image`` (H, W, 3), from the top left, with sides divisible by ``scale``.

    Raises:
        InputError: there is none; names ``path``.
    """
    height, width = (side // scale * scale for side in image.shape[:2])
    if not (height and width):
        raise InputError(f"{path} is {size_of(image)}; scale {scale} needs at least {scale}x{scale} pixels")
    return image[:height, :width]


def lr_image(pair: Pair, degraded: np.ndarray, scale: int) -> Tensor:
    """The LR image of a pair, (3, h, w), without noise.

    Args:
        pair: names the file in errors, and says whether it is at LR size.
        degraded: its degraded image, (H, W, 3).
        scale: of the HR image over the LR image.

    Raises:
        InputError: it is at HR size and smaller than ``scale`` pixels a side.
    """
    if pair.at_lr_size:
        return to_tensor(degraded)
    return downsample(to_tensor(cut_to_multiple(degraded, scale, pair.degraded)), scale)


def check_patch_size(patch_size: int, scale: int) -> None:
    """Raise InputError unless HR crops of that size have LR crops."""
    if patch_size < 1 or patch_size % scale:
        raise InputError(f"data.train.patch_size must be a positive multiple of the scale, {scale}, got {patch_size}")


def check_noise_range(noise_level: Sequence[float]) -> None:
    """Raise InputError unless it is (lowest, highest)."""
    if len(noise_level) != 2 or not 0 <= noise_level[0] <= noise_level[1]:
        raise InputError(
            "data.train.noise_level must be (lowest, highest) with 0 <= lowest <= highest, "
            f"got {tuple(noise_level)}; a fixed level is given twice"
        )


def check_holds_crop(image: np.ndarray, patch_size: int, path: Path) -> None:
    """Raise InputError, which names ``path``, where the image is smaller than a crop."""
    if min(image.shape[:2]) < patch_size:
        raise InputError(
            f"{path} is {size_of(image)}, smaller than the crop of {patch_size}x{patch_size}; "
            "remove it or lower data.train.patch_size"
        )


def size_of(image: np.ndarray) -> str:
    """Width x height, as image viewers say it."""
    return f"{image.shape[1]}x{image.shape[0]}"
