"""What both families of data sets share: reading, cropping and turning images."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arcsr_lightning.data.images import read_image
from arcsr_lightning.data.store import open_store
from arcsr_lightning.errors import InputError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
import albumentations as A

Sample = dict[str, Any]


_QUARTER_TURNS = A.Compose([A.RandomRotate90(p=1)], additional_targets={"lr": "image"}, is_check_shapes=False)


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


def _check_holds_crop(image: np.ndarray, patch_size: int, path: Path) -> None:
    if min(image.shape[:2]) < patch_size:
        raise InputError(
            f"{path} is {_size_of(image)}, smaller than the crop of {patch_size}x{patch_size}; "
            "remove it or lower data.train.patch_size"
        )


def _size_of(image: np.ndarray) -> str:
    """Width x height, as image viewers say it."""
    return f"{image.shape[1]}x{image.shape[0]}"
