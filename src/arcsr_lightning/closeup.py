"""One picture looked at closely: restored, with its kernels and offsets, for ``arcsr-demo``."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.crops import cut_to_multiple
from arcsr_lightning.data.images import header_size, read_image, to_tensor, to_uint8
from arcsr_lightning.data.layouts import sample_photos
from arcsr_lightning.data.pictures import Picture, check_format, load_picture, replace_pixels, save_picture
from arcsr_lightning.degradation import Degradation, MotionField, add_noise, round_to_8bit, upsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.figures.kernels import kernel_colours, kernel_grid_picture
from arcsr_lightning.figures.pixel import pixel_picture, streak_of, words_of
from arcsr_lightning.figures.style import square_cells
from arcsr_lightning.inference import (
    Observed,
    naming_lack_of_memory,
    placed,
    require_finite,
    restore,
    run_network,
    use_device,
)
from arcsr_lightning.runs.weights import load_model

CELLS = 16  # of the mosaic, along its longer side
LARGEST = 1200  # pixels a side of what is clicked
SEED = 11  # of the built-in blur and of noise


class Limits(NamedTuple):
    """What a picture may have at most: bytes as a file, pixels as LR."""

    megabytes: float
    pixels: int


class Job(NamedTuple):
    """What is to be restored, and how; ``noise_level`` in 8-bit levels is added before."""

    source: Path
    weights: str
    noise_level: float
    tile: int
    overlap: int
    device: str
    limits: Limits
    folder: Path  # for the restored picture, and the bicubic one beside it


class Closeup(NamedTuple):
    """A restored picture with what is asked of its pixels.

    ``lr`` (H, W, 3) and ``restored`` (s*H, s*W, 3) are RGB uint8, ``kernel`` (ks*ks, H, W) and ``offset`` (18, H, W)
    float16, None where the network has none; the files are the whole pictures.
    """

    lr: np.ndarray
    restored: np.ndarray
    kernel: np.ndarray | None
    offset: np.ndarray | None
    bicubic_file: Path
    restored_file: Path

    @property
    def scale(self) -> int:
        return self.restored.shape[0] // self.lr.shape[0]


class Answer(NamedTuple):
    """What is said and shown of a pixel."""

    words: str
    picture: Figure


def examine(job: Job, on_tile: Callable[[int, int], None]) -> Closeup:
    """Restore a picture; ``on_tile`` is called with (tiles done, all tiles).

    Raises:
        InputError: the file or the weights are at fault.
    """
    check_limits(job.source, job.limits)
    picture = load_picture(job.source)
    check_pixels(job.source.name, picture.rgb.shape[-1], picture.rgb.shape[-2], job.limits)
    network = placed(model(job.weights), use_device(job.device))
    result = job.folder / f"{job.source.stem}_restored.png"
    check_format(result, picture, network.scale)
    lr = noisy(picture.rgb, job.noise_level)
    with naming_lack_of_memory(Path(job.source.name)):
        restored = restore(functools.partial(run_network, network), lr[None], job.tile, job.overlap, on_tile)
    sr, field = require_finite(restored, job.source)
    kernel, offset = (None if part is None else part[0].half().numpy() for part in network.split(field))
    bicubic = upsample(lr[None], network.scale)[0].clamp(0, 1)
    # As the restored file is, profile and transparency too: a browser shows both side by side.
    save_picture(job.folder / "bicubic.png", replace_pixels(picture, bicubic))
    save_picture(result, replace_pixels(picture, sr[0].clamp(0, 1)))
    return Closeup(to_uint8(lr), to_uint8(sr[0]), kernel, offset, job.folder / "bicubic.png", result)


@functools.lru_cache(maxsize=1)
def model(weights: str) -> Observed:
    """The network of a file; the last one that was asked for is kept."""
    return Observed(load_model(weights))


def check_limits(path: Path, limits: Limits) -> None:
    """Raise InputError for a file that is too large, before anything of it but its header is read."""
    if not path.is_file():
        raise InputError(f"{path.name} is no longer here; drop it again")
    megabytes = path.stat().st_size / 1e6
    if megabytes > limits.megabytes:
        raise InputError(f"{path.name} has {megabytes:.1f} MB; this page takes {limits.megabytes:g} MB at most")
    if size := header_size(path):
        check_pixels(path.name, *size, limits)


def check_pixels(name: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise InputError(
            f"{name} is {width}x{height}, and this page takes {limits.pixels} pixels at most; cut or shrink it"
        )


def noisy(lr: Tensor, noise_level: float) -> Tensor:
    """An LR picture (3, H, W) in [0, 1] with Gaussian noise, in 8-bit levels and rounded to them; 0: as it is."""
    if not noise_level:
        return lr
    return round_to_8bit(add_noise(lr, noise_level, np.random.default_rng(SEED)))


def built_in(folder: Path, scale: int) -> dict[str, Path]:
    """Sample photographs, blurred by a moving camera and moving regions and shrunk, as files in a folder, by name."""
    degradation = Degradation(MotionField(kernel_size=6 * scale + 1, max_length=9.0 * scale, still=0.0, moving=1.0))
    files = {}
    for number, path in enumerate(sample_photos("test")):
        hr = to_tensor(cut_to_multiple(read_image(path), scale, path))
        lr = degradation(hr, scale, 0, np.random.default_rng([SEED, number])).lr
        files[f"{path.stem}, blurred here"] = folder / f"{path.stem}.png"
        save_picture(folder / f"{path.stem}.png", Picture(lr.clamp(0, 1)))
    return files


def shown(picture: np.ndarray) -> np.ndarray:
    """A picture, RGB uint8, as large as it is clicked: of at most LARGEST pixels a side."""
    largest = max(picture.shape[:2])
    if largest <= LARGEST:
        return picture
    size = [max(1, round(side * LARGEST / largest)) for side in picture.shape[:2]]
    return to_uint8(F.interpolate(to_tensor(picture)[None], size, mode="bilinear", antialias=True)[0])


def cells_of(closeup: Closeup) -> tuple[int, int]:
    """(rows, columns) of the mosaic."""
    height, width = closeup.lr.shape[:2]
    return square_cells(height / width, CELLS)


def mosaic(closeup: Closeup) -> np.ndarray | None:
    """The kernels in the middle of cells, RGB uint8."""
    if closeup.kernel is None:
        return None
    return kernel_grid_picture(torch.from_numpy(closeup.kernel), *cells_of(closeup))


def colours(closeup: Closeup) -> np.ndarray | None:
    """Direction and extent of every kernel as colours, each LR pixel as a square, RGB uint8."""
    if closeup.kernel is None:
        return None
    field = kernel_colours(torch.from_numpy(closeup.kernel))
    zoom = max(1, LARGEST // (2 * max(field.shape[:2])))
    return field.repeat(zoom, axis=0).repeat(zoom, axis=1)


def answer(closeup: Closeup, pixel: tuple[int, int]) -> Answer:
    """What a click on a pixel (y, x) is answered with.

    Raises:
        InputError: the network estimates no kernels.
    """
    if closeup.kernel is None:
        raise InputError("this network estimates no kernels; choose other weights to see the kernel of a pixel")
    y, x = pixel
    kernel = torch.from_numpy(closeup.kernel[:, y, x]).float()
    offset = None if closeup.offset is None else torch.from_numpy(closeup.offset[:, y, x]).float()
    words = f"Kernel of LR pixel ({y}, {x}): {words_of(streak_of(kernel), closeup.scale)}."
    return Answer(words, pixel_picture(closeup.restored, closeup.lr, kernel, pixel, offset))
