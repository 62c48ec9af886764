"""The panel: bicubic, restored, ground truth and kernels of some images."""

from collections.abc import Sequence
from math import ceil
from textwrap import wrap
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.figures.kernels import kernel_grid_picture
from arcsr_lightning.figures.style import CAPTION, TEXT, shorten_name, show_picture, square_cells


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


def panel_picture(
    rows: Sequence[PanelRow], caption: str, method: str = "ArcSR", window: tuple[int, int] = (104, 156)
) -> Figure:
    """Draw bicubic | restored | ground truth | estimated kernels | true kernels, one row per image, PSNR below.

    Of a large image the part with the most detail is shown, so that every pixel can be seen; the PSNR stays that of the
    image. The kernels are those at the centres of a grid of cells over what is shown. A kernel column that no row fills
    is left out.

    Args:
        rows: the images.
        caption: below the picture.
        method: title of the second column.
        window: (rows, columns) in HR pixels that are shown at most.
    """
    columns = ["bicubic", method, "ground truth"]
    columns += ["estimated kernels"] if any(row.kernel is not None for row in rows) else []
    columns += ["true kernels"] if any(row.true_kernel is not None for row in rows) else []
    parts = [detailed_part(row.hr, *window) for row in rows]
    shapes = [(down.stop - down.start) / (across.stop - across.start) for down, across in parts]

    # Inches. At 150 dots each pixel of the default window is drawn as 2 x 2: sharp, and small as a file.
    column, gap, left, head, below, line = 2.08, 0.06, 0.42, 0.26, 0.26, 0.14
    width = left + len(columns) * (column + gap)
    lines = wrap(caption, int(16 * width))  # what fits at this size of letters
    foot = 0.12 + line * len(lines)
    height = head + sum(column * shape + below for shape in shapes) + foot
    figure = Figure(figsize=(width, height))
    top = head
    for row, part, shape in zip(rows, parts, shapes, strict=True):
        bottom = top + column * shape
        cells = {
            0: (to_uint8(row.bicubic[:, *part]), f"{row.psnr_bicubic:.2f} dB"),
            1: (to_uint8(row.sr[:, *part]), f"{row.psnr_sr:.2f} dB"),
            2: (to_uint8(row.hr[:, *part]), ""),
        }
        for title, kernel in (("estimated kernels", row.kernel), ("true kernels", row.true_kernel)):
            if kernel is not None:
                scale = row.hr.shape[-1] // kernel.shape[-1]
                there = [slice(side.start // scale, ceil(side.stop / scale)) for side in part]
                cells[columns.index(title)] = kernel_grid_picture(kernel[:, *there], *square_cells(shape, 6)), ""
        for number, (picture, label) in cells.items():
            x = left + number * (column + gap)
            box = (x / width, 1 - bottom / height, column / width, column * shape / height)
            show_picture(figure.add_axes(box), picture, label, interpolation="nearest").axes.xaxis.labelpad = 2
        name = shorten_name(row.name, int(13 * column * shape))
        figure.axes[-len(cells)].set_ylabel(f"{name}\nnoise {row.noise_level:g}", **TEXT)
        top = bottom + below
    for number, title in enumerate(columns):
        x = left + number * (column + gap) + column / 2
        figure.text(x / width, 1 - head / 2 / height, title, ha="center", va="center", **TEXT)
    figure.text(0.5, foot / 2 / height, "\n".join(lines), ha="center", va="center", **CAPTION)
    return figure


def detailed_part(image: Tensor, height: int, width: int, step: int = 12) -> tuple[slice, slice]:
    """Find where an image has most detail, as the sum of its gradients.

    Args:
        image: (3, H, W).
        height, width: of the part, at most.
        step: the part starts at multiples of it; 12 suits the scales 2, 3 and 4, whose LR pixels it does not cut.

    Returns:
        (rows, columns) of the part.
    """
    grey = image.mean(0)
    detail = torch.zeros_like(grey)
    detail[1:] += grey.diff(dim=0).abs()
    detail[:, 1:] += grey.diff(dim=1).abs()
    return largest_part(detail, height, width, step)


def largest_part(values: Tensor, height: int, width: int, step: int = 12) -> tuple[slice, slice]:
    """The (rows, columns) of the part, as above, in which the sum of ``values`` (H, W) is the largest."""
    height, width = min(height, values.shape[-2]), min(width, values.shape[-1])
    sums = F.avg_pool2d(values[None], (height, width), stride=step)[0]
    y, x = divmod(int(sums.argmax()), sums.shape[1])
    return slice(step * y, step * y + height), slice(step * x, step * x + width)
