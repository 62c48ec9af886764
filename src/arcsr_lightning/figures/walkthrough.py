"""The pictures of the notebook: one photograph, its kernels and the two convolutions."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.degradation import KernelField, dense_field
from arcsr_lightning.figures.kernels import grid_pixels, kernel_grid_picture
from arcsr_lightning.figures.offsets import draw_taps
from arcsr_lightning.figures.style import BADGE, CAPTION, TEXT, show_picture, square_cells
from arcsr_lightning.operators import kernel_guided_conv2d


def degradation_picture(hr: Tensor, lr: Tensor, field: KernelField, caption: str = "") -> Figure:
    """Draw Eq. (1) on one image: sharp, its kernels on a grid, the regions they are blended over, degraded.

    Args:
        hr: (3, H, W), RGB in [0, 1].
        lr: (3, h, w), the degraded image.
        field: the kernels and masks of its blur.
        caption: below the picture.
    """
    shape = hr.shape[-2] / hr.shape[-1]
    rows, cols = square_cells(shape, 6)
    y, x = grid_pixels(*hr.shape[-2:], rows, cols)
    kernels = dense_field(field.kernels[None], field.masks[None, :, y[:, None], x])[0]  # (k*k, rows, cols)
    regions = torch.einsum("mhw,mc->chw", field.masks, torch.from_numpy(_colours(len(field.masks))).float())
    pictures = {
        "sharp image": to_uint8(hr),
        "true kernels (HR pixels)": kernel_grid_picture(kernels, rows, cols),
        "weights of the kernels (one colour each)": to_uint8((0.75 * regions + 0.25 * hr.mean(0)).clamp(0, 1)),
        f"LR image, {lr.shape[-1]} x {lr.shape[-2]}": to_uint8(lr.clamp(0, 1)),
    }
    figure = Figure(figsize=(9, 9 * shape + 0.8), layout="constrained")
    for axis, (title, picture) in zip(figure.subplots(2, 2).flat, pictures.items(), strict=True):
        show_picture(axis, picture)
        axis.set_title(title, **TEXT)
    figure.supxlabel(caption, **CAPTION)
    return figure


def field_parts_picture(field: KernelField, caption: str = "") -> Figure:
    """Draw the M kernels of a blended field, each above its mask; colours as in ``degradation_picture``."""
    count, shape = len(field.kernels), field.masks.shape[-2] / field.masks.shape[-1]
    figure = Figure(figsize=(1.6 * count, 1.6 * (1 + shape) + 0.8), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False, height_ratios=(1, shape))
    for m, ((above, below), colour) in enumerate(zip(axes.T, _colours(count), strict=True)):
        show_picture(above, field.kernels[m].numpy(), cmap="inferno")
        above.set_title(f"kernel {m + 1}", **TEXT | {"color": colour})
        show_picture(below, field.masks[m].numpy(), f"mask {m + 1}", cmap="gray", vmin=0, vmax=1)
    figure.supxlabel(caption, **CAPTION)
    return figure


def guided_conv_picture(weight: Tensor, guides: Mapping[str, Tensor], caption: str = "") -> Figure:
    """Draw what a kernel-guided convolution does with the same weights under several guides, a row each.

    Guide | weights | their product, which the pixel is convolved with | response to an impulse: the product, mirrored,
    as in any convolution network. Weights, products and responses share one scale.

    Args:
        weight: (ks, ks).
        guides: (ks*ks,) by name.
        caption: below the picture.
    """
    ks = weight.shape[-1]
    impulse = torch.zeros(1, 1, 2 * ks + 1, 2 * ks + 1)
    impulse[..., ks, ks] = 1
    figure = Figure(figsize=(8.4, 2.0 * len(guides) + 0.8), layout="constrained")
    axes = figure.subplots(len(guides), 4, squeeze=False)
    rows = []
    for guide in guides.values():
        field = guide[None, :, None, None].expand(-1, -1, *impulse.shape[-2:])
        response = kernel_guided_conv2d(impulse, field, weight[None, None])[0, 0]
        rows.append((weight, weight * guide.view(ks, ks), response))
    scale = {"cmap": "RdBu_r", "vmin": -(limit := _largest(rows)), "vmax": limit}
    for (name, guide), row_axes, row in zip(guides.items(), axes, rows, strict=True):
        span = f"{guide.min():.2g} to {guide.max():.2g}"
        show_picture(row_axes[0], guide.view(ks, ks).numpy(), span, cmap="inferno", vmin=0)
        row_axes[0].set_ylabel(name, **TEXT)
        for axis, values in zip(row_axes[1:], row, strict=True):
            shown = show_picture(axis, values.numpy(), **scale)
    for axis, title in zip(axes[0], ("guide", "weights", "weights x guide", "response to an impulse"), strict=True):
        axis.set_title(title, **TEXT)
    figure.colorbar(shown, ax=axes[:, 1:], location="bottom", aspect=60, pad=0.02)
    figure.supxlabel(caption, **CAPTION)
    return figure


def impulse_picture(weight: Tensor, guides: Mapping[str, Tensor], spacing: int = 12, caption: str = "") -> Figure:
    """Draw the responses of one kernel-guided convolution to many impulses, a column per guide field.

    Args:
        weight: (ks, ks).
        guides: (ks*ks, H, W) by name.
        spacing: of the impulses, in pixels.
        caption: below the picture.
    """
    height, width = next(iter(guides.values())).shape[-2:]
    impulses = torch.zeros(1, 1, height, width)
    impulses[..., spacing // 2 :: spacing, spacing // 2 :: spacing] = 1
    responses = [kernel_guided_conv2d(impulses, guide[None], weight[None, None])[0, 0] for guide in guides.values()]
    limit = _largest([responses])
    figure = Figure(figsize=(5.4 * len(guides), 5.4 * height / width + 0.9), layout="constrained")
    axes = figure.subplots(1, len(guides), squeeze=False)[0]
    for axis, name, response in zip(axes, guides, responses, strict=True):
        shown = show_picture(axis, response.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(name, **TEXT)
    figure.colorbar(shown, ax=axes, location="bottom", aspect=60, pad=0.02)
    figure.supxlabel(caption, **CAPTION)
    return figure


def sampling_picture(
    image: Tensor, offsets: Mapping[str, Tensor], pixels: Sequence[tuple[int, int]], caption: str = ""
) -> Figure:
    """Draw where a 3x3 deformable convolution reads around a few pixels, a row per offset field.

    The first column shows where the pixels are; rings are the regular positions, arrows lead from them to those that
    are read.

    Args:
        image: (3, H, W), RGB in [0, 1].
        offsets: (2*3*3, h, w) by name, at least as large as the image.
        pixels: (y, x) of each.
        caption: below the picture.
    """
    figure = Figure(figsize=(2.3 * (len(pixels) + 1.5), 2.3 * len(offsets) + 0.8), layout="constrained")
    axes = figure.subplots(len(offsets), len(pixels) + 1, squeeze=False, width_ratios=[1.5] + [1] * len(pixels))
    picture = to_uint8(image.clamp(0, 1))
    for (name, field), (overview, *row_axes) in zip(offsets.items(), axes, strict=True):
        show_picture(overview, picture)
        overview.set_ylabel(name, **TEXT)
        for number, (axis, (y, x)) in enumerate(zip(row_axes, pixels, strict=True), start=1):
            overview.text(x, y, str(number), color="white", ha="center", va="center", **BADGE)
            draw_taps(axis, picture, field[:, y, x], (y, x))
    for number, (axis, (y, x)) in enumerate(zip(axes[0, 1:], pixels, strict=True), start=1):
        axis.set_title(f"pixel {number}: ({y}, {x})", **TEXT)
    figure.supxlabel(caption, **CAPTION)
    return figure


def _colours(count: int) -> np.ndarray:
    """Colours that are told apart, (count, 3)."""
    return 0.85 * matplotlib.colormaps["hsv"](np.linspace(0, 1, count, endpoint=False))[:, :3]


def _largest(rows: Sequence[Sequence[Tensor]]) -> float:
    """The largest magnitude in all of these, the limit of a colour scale that they share."""
    return max(float(values.abs().max()) for row in rows for values in row)
