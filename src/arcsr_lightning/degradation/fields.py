"""Samplers of spatially varying blur.

Each draws the kernel field of one image as M kernels blended by M masks,
``k(p) = sum_m masks[m, p] * kernels[m]``; M is fixed per sampler, so that the fields of a batch can be stacked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from arcsr_lightning.degradation.kernels import (
    gaussian_kernel,
    motion_kernel,
    path_length,
    random_trajectory,
)
from arcsr_lightning.errors import InputError, check_odd


class KernelField(NamedTuple):
    """kernels (M, k, k) of odd k, each summing to one; masks (M, H, W) in [0, 1], summing to one per pixel."""

    kernels: Tensor
    masks: Tensor


Blur = Callable[[np.random.Generator, int, int], KernelField]


@dataclass(frozen=True)
class MotionField:
    """A camera that moves or stands still, and regions that move on their own; M = 4 + regions.

    The camera follows one random path and rolls about the optical axis; the four corners of the frame therefore see
    different paths, and their kernels are blended bilinearly in between. A region, if it is there, has its own path and
    a random soft-edged shape, an object or a few that move alike before the background. Paths are centred, so that
    the image is blurred but not displaced, and shrunk where they would leave the kernel window.

    All this varies over a frame of a fixed size, of which an image is a random part: the blur of a training crop
    then varies as it does within a crop of the same size of a larger image. What is larger than the frame is a frame
    of its own.

    Args:
        kernel_size: side of the HR kernels, odd.
        max_length: longest path in HR pixels.
        min_length: shortest path of a camera that moves, in HR pixels, or max_length where that is less; its lengths
            are uniform in between, those of regions in [0, max_length].
        bend: how much paths curve and change speed; regions draw theirs from [0, bend], down to straight streaks.
        roll: the most that roll moves the corners, as a fraction of the length of the camera's path.
        still: how probable it is that the camera stands still.
        regions: number of regions that may move on their own.
        moving: how probable it is, for each of them, that it does.
        coverage: smallest and largest part of the frame that one region covers.
        region_size: how far apart the heights of a region's relief are drawn, in HR pixels; its patches are about
            so large.
        frame: least height and width over which all this varies, in HR pixels.

    Raises:
        InputError: a setting is out of its range.
    """

    kernel_size: int = 25
    max_length: float = 36.0
    min_length: float = 6.0
    bend: float = 0.2
    roll: float = 0.3
    still: float = 0.1
    regions: int = 2
    moving: float = 0.5
    coverage: Sequence[float] = (0.1, 0.4)
    region_size: float = 180.0
    frame: Sequence[int] = (720, 1280)

    def __post_init__(self) -> None:
        check_odd(self.kernel_size)
        if min(self.max_length, self.min_length, self.bend, self.roll, self.regions) < 0:
            raise InputError(
                "max_length, min_length, bend, roll and regions must be 0 or more, got "
                f"{self.max_length}, {self.min_length}, {self.bend}, {self.roll} and {self.regions}"
            )
        if not (0 <= self.still <= 1 and 0 <= self.moving <= 1):
            raise InputError(f"still and moving are probabilities in [0, 1], got {self.still} and {self.moving}")
        if len(self.coverage) != 2 or not 0 <= self.coverage[0] <= self.coverage[1] <= 1:
            raise InputError(f"coverage must be (lowest, highest) within [0, 1], got {tuple(self.coverage)}")
        if self.region_size <= 0:
            raise InputError(f"region_size must be above 0 HR pixels, got {self.region_size}")
        if len(self.frame) != 2 or min(self.frame) < 0:
            raise InputError(f"frame must be (height, width) in HR pixels, got {tuple(self.frame)}")

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> KernelField:
        kernels = motion_kernel(self.trajectories(rng), self.kernel_size)
        return KernelField(kernels, self.masks(rng, height, width))

    def trajectories(self, rng: np.random.Generator) -> np.ndarray:
        """The M paths, (M, T, 2) as (y, x) in HR pixels: the four corners row by row, then the regions."""
        steps = 64 + 8 * int(np.ceil(self.max_length))  # at least 8 points a pixel: no gaps in the streak
        moves = rng.random() >= self.still
        length = rng.uniform(min(self.min_length, self.max_length), self.max_length) * moves
        shake = random_trajectory(rng, length, self.bend, steps)
        roll = random_trajectory(rng, length * rng.uniform(0, self.roll), self.bend, steps)[:, :1]
        turned = np.array([(-1, 1), (1, 1), (-1, -1), (1, -1)]) / np.sqrt(2)  # corners (y, x) after 90 degrees
        corners = shake + roll * turned[:, None]  # (4, T, 2)
        own = [
            random_trajectory(rng, rng.uniform(0, self.max_length), rng.uniform(0, self.bend), steps)
            for _ in range(self.regions)
        ]
        return self._fit(np.stack([*corners, *own]))

    def masks(self, rng: np.random.Generator, height: int, width: int) -> Tensor:
        """The M masks, (M, height, width), in the order of the paths; zero where a region does not move."""
        part = random_part(rng, self.frame, height, width)
        down = torch.linspace(0, 1, part.frame_height)[part.rows, None]
        right = torch.linspace(0, 1, part.frame_width)[part.columns]
        masks = torch.zeros(4 + self.regions, height, width)
        for corner, (row, column) in enumerate(product((1 - down, down), (1 - right, right))):
            torch.mul(row, column, out=masks[corner])
        least, most = self.coverage
        for region in range(4, len(masks)):  # a later one lies in front of the earlier ones
            there, coverage = rng.random() < self.moving, rng.uniform(least, most)
            # Where it is not there, too: the same numbers are drawn.
            relief = random_relief(rng, part, self.region_size)
            if there:
                front = region_of(relief, part, coverage, self.region_size)
                masks[:region] *= 1 - front
                masks[region] = front
        return masks

    def _fit(self, trajectories: np.ndarray) -> np.ndarray:
        """Shrink every path that is longer than max_length (by roll) or would leave the kernel window."""
        # The window's radius is taken a hair smaller: a path that touches it must not cross it by rounding.
        radius = self.kernel_size // 2 * (1 - 1e-9)
        reach = np.abs(trajectories).max(axis=(1, 2))
        length = path_length(trajectories)
        with np.errstate(divide="ignore", invalid="ignore"):  # a path of length 0 fits as it is
            factor = np.fmin(1.0, np.fmin(radius / reach, self.max_length / length))
        return trajectories * factor[:, None, None]


@dataclass(frozen=True)
class GaussianField:
    """One Gaussian kernel for the whole image; M = 1.

    Args:
        kernel_size: side of the kernel in HR pixels, odd.
        sigma: (lowest, highest) standard deviation in HR pixels, uniform in between.
        isotropic: one sigma for both axes; else each has its own, and the orientation is random.

    Raises:
        InputError: a setting is out of its range.
    """

    kernel_size: int = 25
    sigma: Sequence[float] = (0.2, 4.0)
    isotropic: bool = False

    def __post_init__(self) -> None:
        check_odd(self.kernel_size)
        if len(self.sigma) != 2 or not 0 < self.sigma[0] <= self.sigma[1]:
            raise InputError(f"sigma must be (lowest, highest) with 0 < lowest <= highest, got {tuple(self.sigma)}")

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> KernelField:
        lowest, highest = self.sigma
        sigma_x, sigma_y = rng.uniform(lowest, highest, size=2)
        if self.isotropic:
            sigma_y = sigma_x
        kernel = gaussian_kernel(self.kernel_size, sigma_x, sigma_y, rng.uniform(0, np.pi))
        return KernelField(kernel[None], torch.ones(1, height, width))


class NoBlur:
    """A 1x1 kernel of one: the image as it is; M = 1."""

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> KernelField:
        return KernelField(torch.ones(1, 1, 1), torch.ones(1, height, width))


class Part(NamedTuple):
    """Where an image lies in its frame: its rows and columns, and the size of the frame, in pixels."""

    rows: slice
    columns: slice
    frame_height: int
    frame_width: int


def random_part(rng: np.random.Generator, frame: Sequence[int], height: int, width: int) -> Part:
    """Place an image of (height, width) in a frame, which is enlarged where it is smaller than the image."""
    frame_height, frame_width = max(frame[0], height), max(frame[1], width)
    top, left = rng.integers(frame_height - height + 1), rng.integers(frame_width - width + 1)
    return Part(slice(top, top + height), slice(left, left + width), frame_height, frame_width)


class Relief(NamedTuple):
    """Random heights all over a frame, whose upper part is a shape, and how soft its edges are."""

    heights: Tensor
    softness: float


def random_relief(rng: np.random.Generator, part: Part, spacing: float) -> Relief:
    """Draw heights ``spacing`` pixels apart."""
    rows, columns = (_cubic_weights(side, spacing) for side in (part.frame_height, part.frame_width))
    heights = torch.from_numpy(rng.standard_normal((len(rows), len(columns)), dtype=np.float32))
    return Relief(heights, rng.uniform(0.02, 0.1))  # of the heights, about one: edges from crisp to as wide as a streak


def region_of(relief: Relief, part: Part, coverage: float, spacing: float) -> Tensor:
    """Compute the shape that is the upper part of a relief.

    Args:
        relief: of the frame.
        part: what is asked for of the frame.
        coverage: about the share of the frame that the shape covers.
        spacing: of the heights, in pixels.

    Returns:
        Of the size of the part, in [0, 1].
    """
    rows, columns = (_cubic_weights(side, spacing) for side in (part.frame_height, part.frame_width))
    whole = rows[:, ::8].T @ relief.heights @ columns[:, ::8]  # every 8th pixel is enough for a quantile
    level = float(np.quantile(whole.numpy(), 1 - coverage))
    here = rows[:, part.rows].T @ relief.heights @ columns[:, part.columns]
    return torch.sigmoid((here - level) / relief.softness)


@lru_cache(maxsize=8)  # the same frame, sample after sample
def _cubic_weights(length: int, spacing: float) -> Tensor:
    """The bicubic interpolation of values about ``spacing`` pixels apart, as a matrix (values, length)."""
    count = max(4, round(length / spacing) + 1)
    return F.interpolate(torch.eye(count)[None, None], (count, length), mode="bicubic", align_corners=True)[0, 0]
