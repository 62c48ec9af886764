"""Samplers of spatially varying blur.

Each draws the kernel field of one image as M kernels blended by M masks,
``k(p) = sum_m masks[m, p] * kernels[m]``; M is fixed per sampler, so that the fields of a batch can be stacked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """Hand shake that varies over the image, and regions that move on their own; M = 4 + regions.

    The camera follows one random path and rolls about the optical axis; the four corners of the image therefore
    see different paths, and their kernels are blended bilinearly in between. Every region has its own path and a
    random soft-edged shape on top of that. Paths are centred, so that the image is blurred but not displaced, and
    shrunk where they would leave the kernel window.

    Args:
        kernel_size: side of the HR kernels, odd.
        max_length: longest path in HR pixels; lengths are uniform in [0, max_length], so near-sharp occurs.
        regions: number of regions that move on their own.
        bend: how much paths curve and change speed; regions draw theirs from [0, bend], down to straight streaks.
        roll: the most that roll moves the corners, as a fraction of the length of the camera's path.
        coverage: smallest and largest part of the image that one region covers.

    Raises:
        InputError: a setting is out of its range.
    """

    kernel_size: int = 25
    max_length: float = 48.0
    regions: int = 2
    bend: float = 2.0
    roll: float = 0.7
    coverage: Sequence[float] = (0.1, 0.4)

    def __post_init__(self) -> None:
        check_odd(self.kernel_size)
        if self.max_length < 0 or self.regions < 0:
            raise InputError(f"max_length and regions must be 0 or more, got {self.max_length} and {self.regions}")
        if len(self.coverage) != 2 or not 0 <= self.coverage[0] <= self.coverage[1] <= 1:
            raise InputError(f"coverage must be (lowest, highest) within [0, 1], got {tuple(self.coverage)}")

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> KernelField:
        kernels = [motion_kernel(trajectory, self.kernel_size) for trajectory in self.trajectories(rng)]
        return KernelField(torch.stack(kernels), self.masks(rng, height, width))

    def trajectories(self, rng: np.random.Generator) -> np.ndarray:
        """The M paths, (M, T, 2) as (y, x) in HR pixels: the four corners row by row, then the regions."""
        steps = 64 + 8 * int(np.ceil(self.max_length))  # at least 8 points a pixel: no gaps in the streak
        length = rng.uniform(0, self.max_length)
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
        """The M masks, (M, height, width), in the order of the paths."""
        down = torch.linspace(0, 1, height)[:, None]
        right = torch.linspace(0, 1, width)
        masks = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
        for _ in range(self.regions):  # a later region lies in front of the earlier ones
            least, most = self.coverage
            front = random_region(rng, height, width, rng.uniform(least, most))
            masks = torch.cat([masks * (1 - front), front[None]])
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


def random_region(rng: np.random.Generator, height: int, width: int, coverage: float) -> Tensor:
    """Random shape with soft edges covering about ``coverage`` of the image, (height, width) in [0, 1]."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 4, 4), dtype=np.float32))
    relief = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[0, 0]
    level = float(np.quantile(relief.numpy(), 1 - coverage))
    softness = rng.uniform(0.03, 0.2)  # of the relief's height, about one: from crisp objects to gradual depth
    return torch.sigmoid((relief - level) / softness)
