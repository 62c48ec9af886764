"""Kernels from files: .npz, .mat, .png."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arcsr_lightning.degradation.fields import KernelField
from arcsr_lightning.errors import InputError


class FileKernels:
    """One kernel, drawn from a file or folder, for the whole image; M = 1.

    Kernels lose what is slightly negative, as interpolation leaves it. They are scaled to sum to one and padded around
    their centre (pixel n // 2) to one odd size. They act as they are in the file, by cross-correlation.

    Args:
        path: an ``.npz`` file (every array is a kernel (h, w) or a stack (n, h, w)), a ``.mat`` file up to version 7
            (the same, or cells of kernels), an image, or a folder of ``.png`` images.

    Raises:
        InputError: the path is missing, unreadable or holds no kernel, or one with a tap below -1 % of its largest.
    """

    def __init__(self, path: str | Path) -> None:
        self.kernels = read_kernels(Path(path))

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> KernelField:
        number = int(rng.integers(len(self.kernels)))
        return KernelField(self.kernels[number, None], torch.ones(1, height, width))


def read_kernels(path: Path) -> Tensor:
    """All kernels of a file or folder, (N, k, k) with odd k, each summing to one; see ``FileKernels``.

    Raises:
        InputError: there is none, or one is no kernel; names the file.
    """
    if not path.exists():
        raise InputError(f"no such kernel file or folder: {path}")
    files = sorted(path.glob("*.png")) if path.is_dir() else [path]
    arrays = [array for file in files for array in _read_arrays(file)]
    if not arrays:
        raise InputError(f"{path} holds no kernels; expected arrays in an .npz or .mat file, or .png images")
    size = max(max(array.shape) for array in arrays) // 2 * 2 + 1
    kernels = np.zeros((len(arrays), size, size), dtype=np.float32)
    for kernel, array in zip(kernels, arrays, strict=True):
        if array.min() < -0.01 * array.max():
            raise InputError(
                f"{path} holds a kernel with a tap of {array.min():.3g} beside its largest, {array.max():.3g}; kernels "
                "are not negative"
            )
        array = array.clip(min=0)
        total = array.sum()
        if not (np.isfinite(array).all() and total > 0):
            raise InputError(f"{path} holds a kernel with sum {total}; kernels need finite values and a positive sum")
        height, width = array.shape
        top, left = size // 2 - height // 2, size // 2 - width // 2
        kernel[top : top + height, left : left + width] = array / total
    return torch.from_numpy(kernels)


def _read_arrays(file: Path) -> list[np.ndarray]:
    """The kernels of one file, each (h, w) float64."""
    try:
        match file.suffix.lower():
            case ".npz":
                with np.load(file, allow_pickle=False) as archive:
                    entries = [archive[name] for name in archive.files]
            case ".mat":
                from scipy.io import loadmat  # only this format needs scipy

                variables = {name: v for name, v in loadmat(file).items() if not name.startswith("__")}
                entries = [cell for v in variables.values() for cell in (v.flat if v.dtype == object else [v])]
            case _:
                with Image.open(file) as image:
                    grey = image.mode[0] in "1LIF" and image.mode != "LAB"
                    pixels = np.asarray(image if grey else image.convert("RGB"), dtype=np.float64)
                alone = pixels[..., 0] if grey else pixels.mean(-1)
                entries = [pixels if pixels.ndim == 2 else alone]
        arrays = [np.asarray(entry, dtype=np.float64) for entry in entries]
    except NotImplementedError:
        raise InputError(f"{file} is a MATLAB v7.3 file; save it with -v7 or as .npz") from None
    except Exception as error:  # each of the three readers fails in its own ways on a damaged file
        raise InputError(f"cannot read kernels from {file}: {error}") from error
    if any(array.ndim not in (2, 3) or array.size == 0 for array in arrays):
        raise InputError(f"{file} holds arrays that are no kernels; expected (h, w) or (n, h, w)")
    return [kernel for array in arrays for kernel in (array if array.ndim == 3 else array[None])]
