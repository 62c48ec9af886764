"""Pictures of where a DMconv reads."""

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.figures.kernels import grid_pixels
from arcsr_lightning.figures.style import CAPTION, MARK, TEXT, show_picture, square_cells


def offset_moments(offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Measure what the taps of a deformable convolution have in common at each pixel.

    Args:
        offset: (2*taps, H, W), (dy, dx) for each tap.

    Returns:
        Each (H, W), in pixels of the offsets' grid: the taps' mean shift downwards, that to the right, and their
        spread, the root mean square distance of a tap's shift from the mean.
    """
    shifts = offset.detach().float().unflatten(0, (-1, 2))  # (taps, 2, H, W)
    mean = shifts.mean(0)
    return mean[0], mean[1], (shifts - mean).square().sum(1).mean(0).sqrt()


def offsets_picture(offset: Tensor, image: Tensor, caption: str = "") -> Figure:
    """Draw where a deformable convolution reads in an LR image.

    The mean shift of the taps as arrows, each for a cell of a grid and magnified as the key says; the same for every
    pixel, its direction as hue and its length as saturation; the spread of the taps around it.

    Args:
        offset: (2*taps, H, W), (dy, dx) for each tap.
        image: (3, H, W), RGB in [0, 1].
        caption: below the picture.
    """
    down, right, spread = offset_moments(offset)
    height, width = down.shape
    rows, cols = square_cells(height / width, 24)
    y, x = grid_pixels(height, width, rows, cols)
    mean = torch.stack([down, right])
    cell_down, cell_right = F.adaptive_avg_pool2d(mean, (rows, cols)).cpu().numpy()
    limit = max(float(mean.norm(dim=0).max()), 1e-6)  # offsets start at zero

    figure = Figure(figsize=(13, 4.2 * height / width + 1.5), layout="constrained")
    cells = [["arrows", "shifts", "spreads"], [".", "wheel", "bar"]]
    axes = figure.subplot_mosaic(cells, gridspec_kw={"height_ratios": [4.2 * height / width, 0.7]})
    show_picture(axes["arrows"], to_uint8(0.6 * image.clamp(0, 1) + 0.4), interpolation="nearest")
    magnified = {"angles": "xy", "scale_units": "xy", "scale": limit * cols / width}
    drawn = axes["arrows"].quiver(x, y, cell_right, cell_down, color="navy", width=0.004, **magnified)
    text = {"labelcolor": TEXT["color"], "fontproperties": {"size": TEXT["fontsize"]}}
    axes["arrows"].quiverkey(drawn, 0.4, -0.1, limit, f"{limit:.2g} LR pixels", labelpos="E", **text)
    axes["arrows"].set_title("LR image; mean shift of the taps, magnified", **TEXT)
    show_picture(axes["shifts"], _direction_colours(*mean.cpu().numpy(), limit), interpolation="nearest")
    axes["shifts"].set_title("mean shift of the taps (direction: hue, length: saturation)", **TEXT)
    show_picture(axes["wheel"], _colour_wheel(), f"rim: {limit:.2g} LR pixels")
    shown = show_picture(axes["spreads"], spread.cpu().numpy(), cmap="viridis", vmin=0, interpolation="nearest")
    axes["spreads"].set_title("spread of the taps around it (RMS, LR pixels)", **TEXT)
    figure.colorbar(shown, cax=axes["bar"].inset_axes([0, 0.7, 1, 0.25]), orientation="horizontal")
    axes["bar"].axis("off")
    figure.supxlabel(caption, **CAPTION)
    return figure


def draw_taps(axis: Axes, picture: np.ndarray, offset: Tensor, pixel: tuple[int, int]) -> None:
    """Draw where a 3x3 deformable convolution reads at one pixel: rings are the regular positions, arrows lead to those
    that are read.

    Args:
        axis: to draw on.
        picture: RGB uint8, (H, W, 3).
        offset: (2*3*3,), (dy, dx) for each tap.
        pixel: (y, x).
    """
    y, x = pixel
    regular = np.array([(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    shift = offset.detach().float().reshape(9, 2).cpu().numpy()
    read = regular + shift
    show_picture(axis, picture, f"shifts up to {np.linalg.norm(shift, axis=1).max():.2f} px")
    axis.scatter(regular[:, 1], regular[:, 0], s=40, facecolors="none", edgecolors="white", linewidths=1)
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.014, "color": MARK}
    axis.quiver(regular[:, 1], regular[:, 0], shift[:, 1], shift[:, 0], **arrows)
    axis.scatter(read[:, 1], read[:, 0], s=14, color=MARK)
    axis.set_xlim(x - 2.5, x + 2.5)
    axis.set_ylim(y + 2.5, y - 2.5)


def _direction_colours(down: np.ndarray, right: np.ndarray, limit: float) -> np.ndarray:
    """Directions as hues and lengths, up to ``limit``, as saturations; RGB, white where there is no length."""
    hues = matplotlib.colormaps["hsv"](np.arctan2(-down, right) / (2 * np.pi) % 1)[..., :3]
    return 1 - (np.hypot(down, right) / limit).clip(0, 1)[..., None] * (1 - hues)


def _colour_wheel() -> np.ndarray:
    """The legend of ``_direction_colours``, on a transparent ground."""
    down, right = np.mgrid[-1:1:101j, -1:1:101j]
    return np.dstack([_direction_colours(down, right, 1), np.hypot(down, right) <= 1])
