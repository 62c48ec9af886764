"""Pictures of kernels and of kernel fields."""

from math import ceil

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.degradation.moments import field_covariance
from arcsr_lightning.figures.style import CAPTION, TEXT, show_picture, square_cells

_CELL = 48  # the least side of one kernel in a grid, in pixels of the picture
_SLENDEREST = 6  # shape of a picture, height over width or width over height, that a figure is made for
PIXELS = {"interpolation": "nearest"}  # of 2 and 178 degrees, the mean is no direction between
_LEAST_SCALE = 0.5  # LR pixels: kernels without extent are drawn as that
_STRIP = 8  # rows of a field at a time, which the caches of a CPU hold


def grid_pixels(height: int, width: int, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels in the middle of ``rows`` x ``cols`` equal cells of an image: (their y, their x)."""
    y = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    x = ((np.arange(cols) + 0.5) * width / cols).astype(int)
    return y, x


def kernel_grid_picture(kernel: Tensor, rows: int, cols: int) -> np.ndarray:
    """Draw the kernels at the pixels of ``grid_pixels``, where they are in the image, with thin white lines between.

    Each is shown from black (zero or less) to white (its own largest tap), so that shapes compare and levels do not.

    Args:
        kernel: (ks*ks, H, W), taps row-major.
        rows, cols: cells of the grid.

    Returns:
        RGB, uint8.
    """
    taps, height, width = kernel.shape
    side = round(taps**0.5)
    y, x = grid_pixels(height, width, rows, cols)
    cells = kernel.detach().float().cpu().numpy()[:, y[:, None], x].clip(min=0)  # (ks*ks, rows, cols)
    cells = cells / cells.max(axis=0).clip(min=1e-12)
    zoom = ceil(_CELL / side)
    cells = cells.reshape(side, side, rows, cols).repeat(zoom, axis=0).repeat(zoom, axis=1)
    cells = np.pad(matplotlib.colormaps["inferno"](cells)[..., :3], [(1, 1)] * 2 + [(0, 0)] * 3, constant_values=1)
    picture = cells.transpose(2, 0, 3, 1, 4).reshape(rows * cells.shape[0], cols * cells.shape[1], 3)
    return np.rint(255 * picture[1:-1, 1:-1]).astype(np.uint8)


def kernel_moments(kernel: Tensor, floor: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """Measure extent, direction and directedness of every kernel.

    Args:
        kernel: (ks*ks, H, W), taps row-major.
        floor: taps below this share of a kernel's largest count as zero: the faint rest that an estimate leaves
            everywhere would otherwise outweigh the blur itself.

    Returns:
        Each (H, W): the root mean square distance of a kernel's mass from its centroid, in pixels of its own grid; the
        direction of its longer axis, in degrees counter-clockwise from the horizontal, in [0, 180); and how directed it
        is, from 0 (round) to 1 (a line).
    """
    strips = [_moments(strip.detach().float(), floor) for strip in kernel.split(_STRIP, dim=1)]
    extent, angle, directedness = (torch.cat(parts) for parts in zip(*strips, strict=True))
    return extent, angle, directedness


def _moments(mass: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """``kernel_moments`` of a strip of a field."""
    mass = mass.where(mass >= floor * mass.amax(0), 0).clamp(min=0)
    mass = mass / mass.sum(0).clamp(min=1e-12)
    yy, xx, xy = (moment[0] for moment in field_covariance(mass[None]))
    total, difference = (yy + xx).clamp(min=0), torch.hypot(xx - yy, 2 * xy)
    angle = torch.rad2deg(torch.atan2(-2 * xy, xx - yy) / 2) % 180  # image rows count downwards
    return total.sqrt(), angle, difference / total.clamp(min=1e-12)


def kernel_colours(kernel: Tensor) -> np.ndarray:
    """Colour every pixel by its kernel, on one scale whatever the field, so that the frames of a video compare.

    Black is no blur, full brightness that of a line across the whole kernel; the hue is the blur's direction, as in
    ``kernel_field_picture``, and white a blur that has none.

    Args:
        kernel: (ks*ks, H, W), taps row-major.

    Returns:
        RGB, uint8, (H, W, 3).
    """
    longest = max(1.0, (kernel.shape[0] - 1) / 12) ** 0.5  # root mean square radius of ks points in a line
    extent, angle, directedness = kernel_moments(kernel)
    hue = torch.from_numpy(matplotlib.colormaps["hsv"](angle.cpu().numpy() / 180)[..., :3]).to(extent)
    colour = 1 + directedness.clamp(0, 1)[..., None] * (hue - 1)  # (H, W, 3)
    return (255 * colour * (extent / longest).clamp(0, 1)[..., None]).round().byte().cpu().numpy()


def kernel_field_picture(
    kernel: Tensor,
    image: Tensor,
    caption: str = "",
    truth: Tensor | None = None,
    title: str = "restored image",
    source: str = "estimated",
) -> Figure:
    """Draw an image beside its kernel field: kernels on a grid, blur extent, blur direction.

    Args:
        kernel: (ks*ks, h, w), taps row-major.
        image: (3, H, W), RGB in [0, 1].
        caption: below the picture.
        truth: another field like ``kernel``, drawn below it on the same scales.
        title: above the image.
        source: what ``kernel`` is: estimated, measured.
    """
    shape = min(max(image.shape[-2] / image.shape[-1], 1 / _SLENDEREST), _SLENDEREST)
    fields = {source: kernel} if truth is None else {source: kernel, "true": truth}
    if truth is None:
        cells = [["image", f"{source} kernels"], [f"{source} extent", f"{source} angle"], ["extents", "angles"]]
        size = (9, 8.2 * shape + 1.2)
    else:
        cells = [["image"], ["."], [".", ".", "extents", "angles"]]
        for row, name in zip(cells, fields, strict=False):
            row += [f"{name} {part}" for part in ("kernels", "extent", "angle")]
        size = (13, 6.2 * shape + 1.3)
    moments = {name: [moment.cpu().numpy() for moment in kernel_moments(field)] for name, field in fields.items()}
    longest = max(_LEAST_SCALE, *(extent.max() for extent, *_ in moments.values()))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplot_mosaic(cells, height_ratios=[1, 1, 0.05])
    show_picture(axes["image"], to_uint8(image))
    axes["image"].set_title(title, **TEXT)
    for name, (extent, angle, directedness) in moments.items():
        show_picture(axes[f"{name} kernels"], kernel_grid_picture(fields[name], *square_cells(shape, 6)))
        axes[f"{name} kernels"].set_title(f"{name} kernels", **TEXT)
        extents = show_picture(axes[f"{name} extent"], extent, cmap="viridis", vmin=0, vmax=longest, **PIXELS)
        alpha = directedness.clip(0, 1)
        angles = show_picture(axes[f"{name} angle"], angle, cmap="hsv", vmin=0, vmax=180, alpha=alpha, **PIXELS)
    axes[f"{source} extent"].set_title("blur extent (RMS radius, LR pixels)", **TEXT)
    axes[f"{source} angle"].set_title("blur direction (white: none)", **TEXT)
    figure.colorbar(extents, cax=axes["extents"], orientation="horizontal")
    bar = figure.colorbar(angles, cax=axes["angles"], orientation="horizontal", ticks=[0, 45, 90, 135, 180])
    bar.set_ticklabels(["0°", "45° /", "90° |", "135° \\", "180°"])
    figure.supxlabel(caption, **CAPTION)
    return figure
