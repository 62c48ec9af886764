"""Pictures of results and of per-pixel kernels."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.degradation import KernelField, dense_field
from arcsr_lightning.files import write_aside
from arcsr_lightning.operators import kernel_guided_conv2d

_CELL = 48  # the least side of one kernel in a grid, in pixels of the picture
_TEXT = {"fontsize": 9, "color": "0.15"}
_MARK = "deepskyblue"
_BADGE = {"fontsize": 8, "bbox": {"boxstyle": "circle,pad=0.15", "facecolor": _MARK, "edgecolor": "none"}}


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
    cells = np.pad(matplotlib.colormaps["inferno"](cells)[..., :3], [(1, 1)] * 2 + [(0, 0)] * 3, constant_values=1)
    picture = cells.transpose(2, 0, 3, 1, 4).reshape(rows * cells.shape[0], cols * cells.shape[1], 3)
    return np.rint(255 * picture[1:-1, 1:-1]).astype(np.uint8)


def kernel_moments(kernel: Tensor, floor: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """Extent, direction and directedness of each kernel of (ks*ks, H, W), each (H, W).

    The extent is the root mean square distance of a kernel's mass from its centroid, in pixels of its own grid; the
    direction is that of its longer axis, in degrees counter-clockwise from the horizontal, in [0, 180); directedness
    goes from 0 (round) to 1 (a line). Taps below ``floor`` times a kernel's largest count as zero: the faint rest that
    an estimate leaves everywhere would otherwise outweigh the blur itself.
    """
    side = round(kernel.shape[0] ** 0.5)
    mass = kernel.detach().float()
    mass = mass.where(mass >= floor * mass.amax(0), 0).clamp(min=0)
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


def panel(
    rows: Sequence[PanelRow], caption: str, method: str = "ArcSR", window: tuple[int, int] | None = (104, 156)
) -> Figure:
    """Bicubic | ArcSR | ground truth | estimated kernels | true kernels, one row per image, PSNR below the pictures.

    Of an image larger than ``window`` (rows, columns in HR pixels; None: show all) the part of that size with the most
    detail is shown, so that every pixel can be seen; the PSNR stays that of the image. The kernels are those at the
    centres of a grid of cells over what is shown. A kernel column that no row fills is left out. ``method`` is the
    title of the second column.
    """
    columns = ["bicubic", method, "ground truth"]
    columns += ["estimated kernels"] if any(row.kernel is not None for row in rows) else []
    columns += ["true kernels"] if any(row.true_kernel is not None for row in rows) else []
    parts = [detailed_part(row.hr, *(window or row.hr.shape[-2:])) for row in rows]
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
                cells[columns.index(title)] = kernel_grid_picture(kernel[:, *there], *_grid(shape, 6)), ""
        for number, (picture, label) in cells.items():
            x = left + number * (column + gap)
            box = (x / width, 1 - bottom / height, column / width, column * shape / height)
            _show(figure.add_axes(box), picture, label, interpolation="nearest").axes.xaxis.labelpad = 2
        name = shorten_name(row.name, int(13 * column * shape))
        figure.axes[-len(cells)].set_ylabel(f"{name}\nnoise {row.noise_level:g}", **_TEXT)
        top = bottom + below
    for number, title in enumerate(columns):
        x = left + number * (column + gap) + column / 2
        figure.text(x / width, 1 - head / 2 / height, title, ha="center", va="center", **_TEXT)
    figure.text(0.5, foot / 2 / height, "\n".join(lines), ha="center", va="center", fontsize=8, color="0.35")
    return figure


def shorten_name(name: str, letters: int) -> str:
    """A file's name without its middle where it is longer than so many letters."""
    if len(name) <= letters:
        return name
    kept = max(letters - 1, 2)
    return f"{name[: kept // 2]}…{name[-(kept - kept // 2) :]}"


def detailed_part(image: Tensor, height: int, width: int, step: int = 12) -> tuple[slice, slice]:
    """Where an image (3, H, W) has most detail, as the sum of its gradients: (rows, columns) of at most that size.

    The part starts at multiples of ``step``: 12 suits the scales 2, 3 and 4, whose LR pixels it does not cut.
    """
    height, width = min(height, image.shape[-2]), min(width, image.shape[-1])
    grey = image.mean(0)
    detail = torch.zeros_like(grey)
    detail[1:] += grey.diff(dim=0).abs()
    detail[:, 1:] += grey.diff(dim=1).abs()
    sums = F.avg_pool2d(detail[None], (height, width), stride=step)[0]
    y, x = divmod(int(sums.argmax()), sums.shape[1])
    return slice(step * y, step * y + height), slice(step * x, step * x + width)


def kernel_field_picture(kernel: Tensor, image: Tensor, caption: str = "", truth: Tensor | None = None) -> Figure:
    """An image (3, H, W) beside its kernel field (ks*ks, h, w): kernels on a grid, blur extent, blur direction.

    Below those the same of ``truth``, another such field, on the same scales where it is given.
    """
    shape = image.shape[-2] / image.shape[-1]
    fields = {"estimated": kernel} if truth is None else {"estimated": kernel, "true": truth}
    if truth is None:
        cells = [["image", "estimated kernels"], ["estimated extent", "estimated angle"], ["extents", "angles"]]
        size = (9, 8.2 * shape + 1.2)
    else:
        cells = [["image"], ["."], [".", ".", "extents", "angles"]]
        for row, name in zip(cells, fields, strict=False):
            row += [f"{name} {part}" for part in ("kernels", "extent", "angle")]
        size = (13, 6.2 * shape + 1.3)
    moments = {name: [moment.cpu().numpy() for moment in kernel_moments(field)] for name, field in fields.items()}
    longest = max(extent.max() for extent, *_ in moments.values())
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplot_mosaic(cells, height_ratios=[1, 1, 0.05])
    _show(axes["image"], to_uint8(image))
    axes["image"].set_title("restored image", **_TEXT)
    for name, (extent, angle, directedness) in moments.items():
        _show(axes[f"{name} kernels"], kernel_grid_picture(fields[name], *_grid(shape, 6)))
        axes[f"{name} kernels"].set_title(f"{name} kernels", **_TEXT)
        extents = _show(axes[f"{name} extent"], extent, cmap="viridis", vmin=0, vmax=longest)
        angles = _show(axes[f"{name} angle"], angle, cmap="hsv", vmin=0, vmax=180, alpha=directedness.clip(0, 1))
    axes["estimated extent"].set_title("blur extent (RMS radius, LR pixels)", **_TEXT)
    axes["estimated angle"].set_title("blur direction (white: none)", **_TEXT)
    figure.colorbar(extents, cax=axes["extents"], orientation="horizontal")
    bar = figure.colorbar(angles, cax=axes["angles"], orientation="horizontal", ticks=[0, 45, 90, 135, 180])
    bar.set_ticklabels(["0°", "45° /", "90° |", "135° \\", "180°"])
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def offset_moments(offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the taps of a deformable convolution, offset (2*taps, H, W), have in common at each pixel, each (H, W).

    Their mean shift downwards and to the right, and their spread: the root mean square distance of a tap's shift from
    that mean. All in pixels of the offsets' grid.
    """
    shifts = offset.detach().float().unflatten(0, (-1, 2))  # (taps, 2, H, W)
    mean = shifts.mean(0)
    return mean[0], mean[1], (shifts - mean).square().sum(1).mean(0).sqrt()


def offsets_picture(offset: Tensor, image: Tensor, caption: str = "") -> Figure:
    """An LR image (3, H, W) and where a deformable convolution with offset (2*taps, H, W) reads in it.

    The mean shift of the taps as arrows, each for a cell of a grid and magnified as the key says; the same for every
    pixel, its direction as hue and its length as saturation; the spread of the taps around it.
    """
    down, right, spread = offset_moments(offset)
    height, width = down.shape
    rows, cols = _grid(height / width, 24)
    y, x = grid_pixels(height, width, rows, cols)
    mean = torch.stack([down, right])
    cell_down, cell_right = F.adaptive_avg_pool2d(mean, (rows, cols)).cpu().numpy()
    limit = max(float(mean.norm(dim=0).max()), 1e-6)  # offsets start at zero

    figure = Figure(figsize=(13, 4.2 * height / width + 1.5), layout="constrained")
    cells = [["arrows", "shifts", "spreads"], [".", "wheel", "bar"]]
    axes = figure.subplot_mosaic(cells, gridspec_kw={"height_ratios": [4.2 * height / width, 0.7]})
    _show(axes["arrows"], to_uint8(0.6 * image.clamp(0, 1) + 0.4), interpolation="nearest")
    magnified = {"angles": "xy", "scale_units": "xy", "scale": limit * cols / width}
    drawn = axes["arrows"].quiver(x, y, cell_right, cell_down, color="navy", width=0.004, **magnified)
    text = {"labelcolor": _TEXT["color"], "fontproperties": {"size": _TEXT["fontsize"]}}
    axes["arrows"].quiverkey(drawn, 0.4, -0.1, limit, f"{limit:.2g} LR pixels", labelpos="E", **text)
    axes["arrows"].set_title("LR image; mean shift of the taps, magnified", **_TEXT)
    _show(axes["shifts"], _direction_colours(*mean.cpu().numpy(), limit), interpolation="nearest")
    axes["shifts"].set_title("mean shift of the taps (direction: hue, length: saturation)", **_TEXT)
    _show(axes["wheel"], _colour_wheel(), f"rim: {limit:.2g} LR pixels")
    shown = _show(axes["spreads"], spread.cpu().numpy(), cmap="viridis", vmin=0, interpolation="nearest")
    axes["spreads"].set_title("spread of the taps around it (RMS, LR pixels)", **_TEXT)
    figure.colorbar(shown, cax=axes["bar"].inset_axes([0, 0.7, 1, 0.25]), orientation="horizontal")
    axes["bar"].axis("off")
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def degradation_picture(hr: Tensor, lr: Tensor, field: KernelField, caption: str = "") -> Figure:
    """Eq. (1) on one image: hr (3, H, W), its kernels on a grid, the regions they are blended over, lr (3, h, w)."""
    shape = hr.shape[-2] / hr.shape[-1]
    rows, cols = _grid(shape, 6)
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
        _show(axis, picture)
        axis.set_title(title, **_TEXT)
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def field_parts_picture(field: KernelField, caption: str = "") -> Figure:
    """The M kernels of a blended field, each above the mask that says where it acts; colours as in
    ``degradation_picture``."""
    count, shape = len(field.kernels), field.masks.shape[-2] / field.masks.shape[-1]
    figure = Figure(figsize=(1.6 * count, 1.6 * (1 + shape) + 0.8), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False, height_ratios=(1, shape))
    for m, ((above, below), colour) in enumerate(zip(axes.T, _colours(count), strict=True)):
        _show(above, field.kernels[m].numpy(), cmap="inferno")
        above.set_title(f"kernel {m + 1}", **_TEXT | {"color": colour})
        _show(below, field.masks[m].numpy(), f"mask {m + 1}", cmap="gray", vmin=0, vmax=1)
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def guided_conv_picture(weight: Tensor, guides: Mapping[str, Tensor], caption: str = "") -> Figure:
    """What a kernel-guided convolution does with the same weights (ks, ks) under several guides (ks*ks), a row each.

    Guide | weights | their product, which the pixel is convolved with | response to an impulse: the product, mirrored,
    as in any convolution network. Weights, products and responses share one scale.
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
        _show(row_axes[0], guide.view(ks, ks).numpy(), span, cmap="inferno", vmin=0)
        row_axes[0].set_ylabel(name, **_TEXT)
        for axis, values in zip(row_axes[1:], row, strict=True):
            shown = _show(axis, values.numpy(), **scale)
    for axis, title in zip(axes[0], ("guide", "weights", "weights x guide", "response to an impulse"), strict=True):
        axis.set_title(title, **_TEXT)
    figure.colorbar(shown, ax=axes[:, 1:], location="bottom", aspect=60, pad=0.02)
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def impulse_picture(weight: Tensor, guides: Mapping[str, Tensor], spacing: int = 12, caption: str = "") -> Figure:
    """Responses of one kernel-guided convolution, weight (ks, ks), to impulses ``spacing`` pixels apart, a column per
    guide field (ks*ks, H, W)."""
    height, width = next(iter(guides.values())).shape[-2:]
    impulses = torch.zeros(1, 1, height, width)
    impulses[..., spacing // 2 :: spacing, spacing // 2 :: spacing] = 1
    responses = [kernel_guided_conv2d(impulses, guide[None], weight[None, None])[0, 0] for guide in guides.values()]
    limit = _largest([responses])
    figure = Figure(figsize=(5.4 * len(guides), 5.4 * height / width + 0.9), layout="constrained")
    axes = figure.subplots(1, len(guides), squeeze=False)[0]
    for axis, name, response in zip(axes, guides, responses, strict=True):
        shown = _show(axis, response.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(name, **_TEXT)
    figure.colorbar(shown, ax=axes, location="bottom", aspect=60, pad=0.02)
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def sampling_picture(
    image: Tensor, offsets: Mapping[str, Tensor], pixels: Sequence[tuple[int, int]], caption: str = ""
) -> Figure:
    """Where a 3x3 deformable convolution reads around a few pixels (y, x) of image (3, H, W), a row per offset field.

    An offset field is (2*3*3, h, w), at least as large as the image. The first column shows where the pixels are; rings
    are the regular positions, arrows lead from them to those that are read.
    """
    figure = Figure(figsize=(2.3 * (len(pixels) + 1.5), 2.3 * len(offsets) + 0.8), layout="constrained")
    axes = figure.subplots(len(offsets), len(pixels) + 1, squeeze=False, width_ratios=[1.5] + [1] * len(pixels))
    taps = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    picture = to_uint8(image.clamp(0, 1))
    for (name, field), (overview, *row_axes) in zip(offsets.items(), axes, strict=True):
        _show(overview, picture)
        overview.set_ylabel(name, **_TEXT)
        for number, (axis, (y, x)) in enumerate(zip(row_axes, pixels, strict=True), start=1):
            overview.text(x, y, str(number), color="white", ha="center", va="center", **_BADGE)
            regular = taps + np.array([y, x])  # (9, 2) as (y, x)
            shift = field[:, y, x].detach().reshape(9, 2).cpu().numpy()
            read = regular + shift
            _show(axis, picture, f"shifts up to {np.linalg.norm(shift, axis=1).max():.2f} px")
            axis.scatter(regular[:, 1], regular[:, 0], s=40, facecolors="none", edgecolors="white", linewidths=1)
            arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.014, "color": _MARK}
            axis.quiver(regular[:, 1], regular[:, 0], shift[:, 1], shift[:, 0], **arrows)
            axis.scatter(read[:, 1], read[:, 0], s=14, color=_MARK)
            axis.set_xlim(x - 2.5, x + 2.5)
            axis.set_ylim(y + 2.5, y - 2.5)
    for number, (axis, (y, x)) in enumerate(zip(axes[0, 1:], pixels, strict=True), start=1):
        axis.set_title(f"pixel {number}: ({y}, {x})", **_TEXT)
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


def _direction_colours(down: np.ndarray, right: np.ndarray, limit: float) -> np.ndarray:
    """Directions as hues and lengths, up to ``limit``, as saturations; RGB, white where there is no length."""
    hues = matplotlib.colormaps["hsv"](np.arctan2(-down, right) / (2 * np.pi) % 1)[..., :3]
    return 1 - (np.hypot(down, right) / limit).clip(0, 1)[..., None] * (1 - hues)


def _colour_wheel() -> np.ndarray:
    """The legend of ``_direction_colours``, on a transparent ground."""
    down, right = np.mgrid[-1:1:101j, -1:1:101j]
    return np.dstack([_direction_colours(down, right, 1), np.hypot(down, right) <= 1])


def _grid(shape: float, rows: int = 4) -> tuple[int, int]:
    """Rows and columns of square cells that fill a picture of height / width = ``shape`` best, for the longer side."""
    return max(1, round(rows * min(1, shape))), max(1, round(rows * min(1, 1 / shape)))


def _colours(count: int) -> np.ndarray:
    """Colours that are told apart, (count, 3)."""
    return 0.85 * matplotlib.colormaps["hsv"](np.linspace(0, 1, count, endpoint=False))[:, :3]


def _largest(rows: Sequence[Sequence[Tensor]]) -> float:
    """The largest magnitude in all of these, the limit of a colour scale that they share."""
    return max(float(values.abs().max()) for row in rows for values in row)
