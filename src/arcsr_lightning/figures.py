"""Pictures of results and of per-pixel kernels."""

from collections.abc import Sequence
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.files import write_aside

_CELL = 48  # the least side of one kernel in a grid, in pixels of the picture
_TEXT = {"fontsize": 9, "color": "0.15"}


def grid_pixels(height: int, width: int, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels in the middle of ``rows`` x ``cols`` equal cells of an image: (their y, their x)."""
    y = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    x = ((np.arange(cols) + 0.5) * width / cols).astype(int)
    return y, x


def kernel_grid_picture(kernel: Tensor, rows: int, cols: int) -> np.ndarray:
    """The kernels at the pixels of ``grid_pixels``, where they are in the image, with thin white lines between.

    kernel (ks*ks, H, W), taps row-major. Each is shown from black (zero or less) to white (its own largest tap), so
    that shapes compare and levels do not. Returns RGB uint8.
    """
    taps, height, width = kernel.shape
    side = round(taps**0.5)
    y, x = grid_pixels(height, width, rows, cols)
    cells = kernel.detach().float().cpu().numpy()[:, y[:, None], x].clip(min=0)  # (ks*ks, rows, cols)
    cells = cells / cells.max(axis=0).clip(min=1e-12)
    zoom = ceil(_CELL / side)
    cells = cells.reshape(side, side, rows, cols).repeat(zoom, axis=0).repeat(zoom, axis=1)
    cells = np.pad(
        matplotlib.colormaps["inferno"](cells)[..., :3], [(1, 1)] * 2 + [(0, 0)] * 3, constant_values=1
    )
    picture = cells.transpose(2, 0, 3, 1, 4).reshape(rows * cells.shape[0], cols * cells.shape[1], 3)
    return np.rint(255 * picture[1:-1, 1:-1]).astype(np.uint8)


def kernel_moments(kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Extent, direction and directedness of each kernel of (ks*ks, H, W), each (H, W).

    The extent is the root mean square distance of a kernel's mass from its centroid, in pixels of its own grid; the
    direction is that of its longer axis, in degrees counter-clockwise from the horizontal, in [0, 180); directedness
    goes from 0 (round) to 1 (a line). Negative taps count as zero.
    """
    side = round(kernel.shape[0] ** 0.5)
    mass = kernel.detach().float().clamp(min=0)
    mass = mass / mass.sum(0).clamp(min=1e-12)
    offset = torch.arange(side, dtype=mass.dtype, device=mass.device) - side // 2
    y, x = (axis.reshape(-1, 1, 1) for axis in torch.meshgrid(offset, offset, indexing="ij"))  # (ks*ks, 1, 1)
    y, x = y - (mass * y).sum(0), x - (mass * x).sum(0)  # (ks*ks, H, W)
    yy, xx, xy = ((mass * product).sum(0) for product in (y * y, x * x, x * y))
    total, difference = yy + xx, torch.hypot(xx - yy, 2 * xy)
    angle = torch.rad2deg(torch.atan2(-2 * xy, xx - yy) / 2) % 180  # image rows count downwards
    return total.sqrt(), angle, difference / total.clamp(min=1e-12)


class PanelRow(NamedTuple):
    """One image of a panel: its name, its noise level (8-bit levels), images (3, H, W), PSNRs in dB, kernel fields
    (ks*ks, h, w) or None where there are none."""

    name: str
    noise_level: float
    bicubic: Tensor
    sr: Tensor
    hr: Tensor
    psnr_bicubic: float
    psnr_sr: float
    kernel: Tensor | None = None
    true_kernel: Tensor | None = None


def panel(rows: Sequence[PanelRow], caption: str, method: str = "ArcSR") -> Figure:
    """Bicubic | ArcSR | ground truth | estimated kernels | true kernels, one row per image, PSNR below the pictures.

    The kernels are those at the centres of a grid of cells over the image; a kernel column that no row fills is left
    out. ``method`` is the title of the second column.
    """
    titles = ["bicubic", method, "ground truth"]
    titles += ["estimated kernels"] if any(row.kernel is not None for row in rows) else []
    titles += ["true kernels"] if any(row.true_kernel is not None for row in rows) else []
    shapes = [row.hr.shape[-2] / row.hr.shape[-1] for row in rows]
    width = 2.6  # inches, of a column
    figure = Figure(
        figsize=(width * len(titles) + 0.3, width * sum(shapes) + 0.25 * len(rows) + 0.6),
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=shapes)
    for row, row_axes, shape in zip(rows, axes, shapes, strict=True):
        labels = [f"{row.psnr_bicubic:.2f} dB", f"{row.psnr_sr:.2f} dB", ""]
        for image, axis, label in zip((row.bicubic, row.sr, row.hr), row_axes, labels, strict=False):
            _show(axis, to_uint8(image), label)
        row_axes[0].set_ylabel(f"{row.name}, noise {row.noise_level:g}", **_TEXT)
        kernels = {"estimated kernels": row.kernel, "true kernels": row.true_kernel}
        for axis, title in zip(row_axes[3:], titles[3:], strict=True):
            if kernels[title] is None:
                axis.set_axis_off()
            else:
                _show(axis, kernel_grid_picture(kernels[title], *_grid(shape)))
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, **_TEXT)
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def kernel_field_picture(kernel: Tensor, image: Tensor, caption: str = "") -> Figure:
    """An image (3, H, W) beside its kernel field (ks*ks, h, w): kernels on a grid, blur extent, blur direction."""
    shape = image.shape[-2] / image.shape[-1]
    extent, angle, directedness = (moment.cpu().numpy() for moment in kernel_moments(kernel))
    figure = Figure(figsize=(9, 8 * shape + 1.6), layout="constrained")
    (restored, grid), (extents, angles) = figure.subplots(2, 2)
    _show(restored, to_uint8(image))
    restored.set_title("restored image", **_TEXT)
    _show(grid, kernel_grid_picture(kernel, *_grid(shape, 6)))
    grid.set_title("estimated kernels", **_TEXT)
    shown = _show(extents, extent, cmap="viridis", vmin=0)
    extents.set_title("blur extent (RMS radius, LR pixels)", **_TEXT)
    figure.colorbar(shown, ax=extents, location="bottom", aspect=40, pad=0.02)
    shown = _show(angles, angle, cmap="hsv", vmin=0, vmax=180, alpha=directedness.clip(0, 1))
    angles.set_title("blur direction (white: none)", **_TEXT)
    bar = figure.colorbar(
        shown, ax=angles, location="bottom", aspect=40, pad=0.02, ticks=[0, 45, 90, 135, 180]
    )
    bar.set_ticklabels(["0° ─", "45° ╱", "90° │", "135° ╲", "180° ─"])
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 150, max_bytes: int = 500_000) -> None:
    """Write ``figure`` as a PNG of at most ``max_bytes``, with fewer than ``dpi`` dots per inch where it must be."""
    while True:
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", pil_kwargs={"optimize": True})
        if buffer.tell() <= max_bytes or dpi <= 50:
            break
        dpi = max(50, int(0.97 * dpi * (max_bytes / buffer.tell()) ** 0.5))
    with write_aside(path) as aside:
        aside.write_bytes(buffer.getvalue())


def _show(axis: Axes, picture: np.ndarray, label: str = "", **style):
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_xlabel(label, **_TEXT)
    return axis.imshow(picture, **style)


def _grid(shape: float, rows: int = 4) -> tuple[int, int]:
    """Rows and columns of square cells that fill a picture of height / width = ``shape`` best, for the longer side."""
    return max(1, round(rows * min(1, shape))), max(1, round(rows * min(1, 1 / shape)))
