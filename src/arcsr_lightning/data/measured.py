"""Measured kernels of pairs, kept beside the frames of a store.

``<store>/kernels_x<scale>_ks<kernel_size>/<name>.npz`` holds the kernels of one pair's cells (float16), their
confidence (uint8), the sizes and times of both image files and how the kernels were fitted. A file is written whole or
not at all, so that a run that was killed can be taken up.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arcsr_lightning.data.crops import cut_to_multiple, lr_image
from arcsr_lightning.data.images import read_image, to_tensor
from arcsr_lightning.data.layouts import Pair
from arcsr_lightning.degradation import FIT, Measured, cells_to_pixels, downsample, measure_cells
from arcsr_lightning.degradation.measure import REVISION
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import remove_leftovers, write_aside


class KernelStore:
    """The measured kernels of pairs, as ``write_kernels`` left them.

    Args:
        store: the folder of the frames' store.
        pairs: whose kernels will be asked for.
        scale: of the HR image over the LR image.
        kernel_size: of the kernels, in LR pixels.

    Raises:
        InputError: there is no store, or the kernels of a pair are missing, damaged, of other files or of another fit.
    """

    def __init__(self, store: str | Path | None, pairs: Sequence[Pair], scale: int, kernel_size: int) -> None:
        if not store:
            raise InputError("data.kernels=measured: name the store that holds them, data.store=PATH")
        self.folder = kernel_folder(store, scale, kernel_size)
        self.taps = kernel_size**2
        self.cell = FIT.cell
        for pair in pairs:
            if not _is_current(_file(self.folder, pair), pair):
                raise InputError(
                    f"the kernels of {pair.degraded} in {self.folder} are missing, damaged, of older frames or fitted "
                    "otherwise than now; run arcsr-prepare with data.kernels=measured "
                    f"scale={scale} kernel_size={kernel_size} data.store={store}"
                )

    def __call__(self, pair: Pair, height: int, width: int, top: int = 0, left: int = 0) -> tuple[Tensor, Tensor]:
        """Kernels (ks*ks, height, width) and confidence (1, height, width) of a part of a pair's LR image."""
        path = _file(self.folder, pair)
        arrays = _arrays(path)
        if arrays is None or not _is_field(arrays, self.taps):
            raise InputError(f"{path}: damaged; remove it and run arcsr-prepare with data.kernels=measured again")
        rows, inner_top = self._cells(top, height)
        columns, inner_left = self._cells(left, width)
        kernel = torch.from_numpy(arrays["kernel"][:, rows, columns].astype(np.float32))[None]
        confidence = torch.from_numpy(arrays["confidence"][:, rows, columns].astype(np.float32) / 255)[None]
        kernel = kernel / kernel.sum(1, keepdim=True)  # as half precision leaves a little
        cells = Measured(kernel, confidence)
        pixels = cells_to_pixels(cells, inner_top + height, inner_left + width, self.cell)
        return pixels.kernel[0, :, inner_top:, inner_left:], pixels.confidence[0, :, inner_top:, inner_left:]

    def _cells(self, start: int, length: int) -> tuple[slice, int]:
        """The cells that pixels are interpolated from, along one axis, and where in these the pixels start."""
        first = max(start // self.cell - 1, 0)
        return slice(first, (start + length - 1) // self.cell + 2), start - first * self.cell


def kernel_folder(store: str | Path, scale: int, kernel_size: int) -> Path:
    """Where in a store the kernels of one scale and size lie."""
    return Path(store) / f"kernels_x{scale}_ks{kernel_size}"


def write_kernels(
    store: str | Path,
    pairs: Sequence[Pair],
    scale: int,
    kernel_size: int,
    progress: Callable[[str, int, int], Any] = lambda task, done, total: None,
) -> int:
    """Measure the kernels of the pairs that a store does not hold yet, or not as they are fitted now.

    Args:
        store: the folder of the frames' store.
        pairs: what to measure.
        scale: of the HR image over the LR image.
        kernel_size: of the kernels, in LR pixels.
        progress: told what is done to how many of how many pairs.

    Returns:
        How many pairs it had to measure.

    Raises:
        InputError: an image cannot be read, or the sizes of a pair do not fit.
    """
    folder = kernel_folder(store, scale, kernel_size)
    remove_leftovers(folder)
    missing = [pair for pair in pairs if not _is_current(_file(folder, pair), pair)]
    for done, pair in enumerate(missing, 1):
        source = _source(pair)
        sharp, degraded = _lr_images(pair, scale)
        cells = measure_cells(sharp, degraded, kernel_size, FIT)
        with write_aside(_file(folder, pair)) as aside, aside.open("wb") as file:
            np.savez_compressed(
                file,
                kernel=cells.kernel[0].numpy().astype(np.float16),
                confidence=(cells.confidence[0] * 255).round().numpy().astype(np.uint8),
                source=source,
                fit=_fitted(),
            )
        progress("measured", done, len(missing))
    return len(missing)


def _lr_images(pair: Pair, scale: int) -> tuple[Tensor, Tensor]:
    """The sharp and the degraded image on the LR grid, (1, 3, h, w) each."""
    sharp = downsample(to_tensor(cut_to_multiple(read_image(pair.hr), scale, pair.hr)), scale)
    lr = lr_image(pair, read_image(pair.degraded), scale)
    if lr.shape != sharp.shape:
        raise InputError(f"{pair.degraded} and {pair.hr} do not fit each other at scale {scale}")
    return sharp[None], lr[None]


def _file(folder: Path, pair: Pair) -> Path:
    """Where the kernels of a pair lie: names of pairs may repeat from split to split, their files do not."""
    place = hashlib.sha256(os.path.normpath(pair.degraded.absolute()).encode()).hexdigest()[:8]
    return folder / f"{pair.name}-{place}.npz"


def _source(pair: Pair) -> np.ndarray:
    """Sizes and times of both files of a pair."""
    stats = [path.stat() for path in (pair.hr, pair.degraded)]
    return np.array([number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)])


def _fitted() -> np.ndarray:
    """How kernels are fitted, in numbers."""
    return np.array([*FIT, REVISION])


def _arrays(file: Path, *names: str) -> dict[str, np.ndarray] | None:
    """The arrays of a file of kernels, all or those named; None where they cannot be read."""
    try:
        with np.load(file) as held:
            return {name: np.asarray(held[name]) for name in names or held}
    except Exception:  # archives, compression and arrays each fail in their own ways on a damaged file
        return None


def _is_field(arrays: dict[str, np.ndarray], taps: int) -> bool:
    """Whether they are kernels of so many taps for cells, and the confidence in each."""
    kernel, confidence = (arrays.get(name, np.zeros(0)) for name in ("kernel", "confidence"))
    fits = kernel.ndim == 3 and kernel.size and kernel.shape[0] == taps and confidence.shape == (1, *kernel.shape[1:])
    return bool(fits) and kernel.dtype == np.float16 and confidence.dtype == np.uint8


def _is_current(file: Path, pair: Pair) -> bool:
    """Whether a file holds the kernels of a pair as it is, fitted as now; the kernels themselves are not read."""
    arrays = _arrays(file, "source", "fit")
    return (
        arrays is not None
        and np.array_equal(arrays["source"], _source(pair))
        and np.array_equal(arrays["fit"], _fitted())
    )
