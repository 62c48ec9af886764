"""What is shown and said of one pixel: its kernel, large, with length and angle, and where a DMconv reads there."""

from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.figures.kernels import grid_pixels, kernel_moments
from arcsr_lightning.figures.offsets import draw_taps
from arcsr_lightning.figures.style import MARK, TEXT, show_picture

AROUND = 12  # LR pixels on each side of a pixel that are shown of its surroundings
DIRECTED = 0.5  # less directed kernels have no angle to speak of: the ratio of their axes is below 1.7


class Streak(NamedTuple):
    """The straight, even streak that spreads as far along its axis as a kernel does along its longer one.

    ``length`` in pixels of the kernel's grid, 0 for a single tap; ``angle`` in degrees counter-clockwise from the
    horizontal, in [0, 180); ``directedness`` from 0 (the kernel is round) to 1 (a line).
    """

    length: float
    angle: float
    directedness: float


def streak_of(kernel: Tensor) -> Streak:
    """Measure one kernel, (ks*ks,), taps row-major."""
    extent, angle, directedness = (moment.item() for moment in kernel_moments(kernel.reshape(-1, 1, 1)))
    along = extent**2 * (1 + directedness) / 2  # the variance along the longer axis
    return Streak((12 * along) ** 0.5, angle, directedness)


def words_of(streak: Streak, scale: int) -> str:
    """A streak in words; ``scale`` times as long in the restored picture."""
    length = f"{streak.length:.1f} LR pixels long ({scale * streak.length:.0f} in the restored picture)"
    if streak.length < 1:
        return f"hardly any blur: {length}"
    if streak.directedness < DIRECTED:
        return f"{length}, without a direction"
    return f"{length}, at {round(streak.angle) % 180}° (0°: horizontal, 90°: vertical, counter-clockwise)"


def pixel_at(point: tuple[int, int], shown: tuple[int, int], field: tuple[int, int]) -> tuple[int, int]:
    """The pixel (y, x) of a field of (height, width) under a point.

    Args:
        point: (x, y) in a picture of the whole field, from its top left.
        shown: (height, width) of that picture.
        field: (height, width).
    """
    y, x = (
        min(max(place * side // length, 0), side - 1)
        for place, length, side in zip(reversed(point), shown, field, strict=True)
    )
    return y, x


def cell_at(
    point: tuple[int, int], shown: tuple[int, int], field: tuple[int, int], cells: tuple[int, int]
) -> tuple[int, int]:
    """As :func:`pixel_at`, of a picture that shows a field by cells, (rows, columns): the pixel that stands for one."""
    row, column = pixel_at(point, shown, cells)
    rows, columns = grid_pixels(*field, *cells)
    return int(rows[row]), int(columns[column])


def marked(picture: np.ndarray, pixel: tuple[int, int], field: tuple[int, int]) -> np.ndarray:
    """A picture, RGB uint8, with a ring around a pixel (y, x) of the field of (height, width) that it shows."""
    height, width = picture.shape[:2]
    centre = (round((pixel[1] + 0.5) * width / field[1]), round((pixel[0] + 0.5) * height / field[0]))
    radius = max(4, min(height, width) // 40)
    ringed = picture.copy()
    for colour, thickness in (((255, 255, 255), 5), ((220, 20, 60), 2)):  # seen on any ground
        cv2.circle(ringed, centre, radius, colour, thickness, cv2.LINE_AA)
    return ringed


def pixel_picture(
    restored: np.ndarray,
    lr: np.ndarray,
    kernel: Tensor,
    pixel: tuple[int, int],
    offset: Tensor | None = None,
) -> Figure:
    """Draw the surroundings of a pixel, its kernel and, where there are any, the DMconv offsets there.

    A line along the kernel's longer axis is as long as its streak, through the kernel's centroid.

    Args:
        restored: RGB uint8, (s*H, s*W, 3).
        lr: RGB uint8, (H, W, 3).
        kernel: (ks*ks,) of the pixel, taps row-major.
        pixel: (y, x), LR.
        offset: (2*3*3,) of the pixel, (dy, dx) for each tap of a 3x3 deformable convolution, in LR pixels.
    """
    columns = 2 if offset is None else 3
    figure = Figure(figsize=(3.6 * columns, 4.1), layout="constrained")
    around, middle, *rest = figure.subplots(1, columns)
    y, x = pixel
    scale = restored.shape[0] // lr.shape[0]
    top, left = (max(0, scale * (side - AROUND)) for side in pixel)
    part = restored[top : scale * (y + AROUND + 1), left : scale * (x + AROUND + 1)]
    bottom, right = top + part.shape[0], left + part.shape[1]
    show_picture(
        around, part, "restored; the square is the pixel", extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    )
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) + np.array([x, y])
    around.plot(*(scale * square - 0.5).T, color="crimson", linewidth=1.8)
    around.set_title(f"pixel ({y}, {x})", **TEXT)
    draw_kernel(middle, kernel)
    for axis in rest:
        draw_taps(axis, lr, offset, pixel)
        axis.set_title("where the last DMconv reads", **TEXT)
    return figure


def draw_kernel(axis: Axes, kernel: Tensor) -> None:
    """Draw a kernel, (ks*ks,), and the streak that it is measured as."""
    side = round(len(kernel) ** 0.5)
    taps = kernel.detach().float().cpu().clamp(min=0).view(side, side).numpy()
    streak = streak_of(kernel)
    show_picture(axis, taps, f"{side}x{side} LR pixels", cmap="inferno", vmin=0)
    title = f"its kernel: {streak.length:.1f} LR pixels"
    if streak.length >= 1 and streak.directedness >= DIRECTED:
        title += f", {round(streak.angle) % 180}°"
        kept = np.where(taps >= 0.1 * taps.max(), taps, 0)  # as it was measured
        rows, columns = np.mgrid[:side, :side]
        centre = np.array([(kept * columns).sum(), (kept * rows).sum()]) / kept.sum()
        half = streak.length / 2 * np.array([np.cos(np.deg2rad(streak.angle)), -np.sin(np.deg2rad(streak.angle))])
        axis.plot(*np.stack([centre - half, centre + half]).T, color=MARK, linewidth=2)
        axis.set_xlim(-0.5, side - 0.5)
        axis.set_ylim(side - 0.5, -0.5)
    axis.set_title(title, **TEXT)
