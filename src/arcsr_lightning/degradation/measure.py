"""The kernels of real blur, measured from a sharp image and its blurred twin.

The kernel of a place is what explains the degraded image D from the sharp image S around it,
``D[p] = sum_t kernel[t] * S[p + offset(t)]``: non-negative least squares on the gradients of all colours, which do not
depend on a constant offset. Equations are gathered in cells of a few pixels, and a kernel is fitted to the cells of a
window; it is one kernel per cell that is worth keeping.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from arcsr_lightning.errors import InputError, check_odd
from arcsr_lightning.integers import ceil_div

REVISION = 2  # of the method; where a store has kernels of another one, it measures them again
SATURATED = 250 / 255  # from here on a pixel may hide light
QUANTISED = 0.5 / 255  # the least error of an image's gradient, and the least texture that counts

# In units of the mean square of the equations of a cell: how firmly the taps sum to one, and the penalty of ADMM.
_SUM_WEIGHT, _RHO = 0.1, 0.2
_RELAXATION = 1.6  # of ADMM, between 1 and 2
_LEAST_TAP = 1e-9
_FIRST_STEPS, _ROUNDS, _ROUND_STEPS = 40, 4, 12
_STRIP_BYTES = 2**27  # of the normal matrices that are held at once


class Measured(NamedTuple):
    """Kernels (B, ks*ks, h, w), each non-negative and summing to one, and confidence (B, 1, h, w) in [0, 1]."""

    kernel: Tensor
    confidence: Tensor


class Fit(NamedTuple):
    """How kernels are fitted.

    Args:
        cell: side of a cell in pixels.
        window: side of the window a kernel is fitted to, in cells, odd.
        ridge: weight of the taps' squares against the mean square of a tap's equations.
        pull: weight, in the same unit, of the distance to the mean kernel of the neighbouring cells. It fills in cells
            without texture.
    """

    cell: int = 4
    window: int = 3
    ridge: float = 1e-3
    pull: float = 1.0


FIT = Fit()


class _Equations(NamedTuple):
    """Normal equations of (h, w) cells: gram (h, w, T, T), moment (h, w, T), right side's energy, number (h, w)."""

    gram: Tensor
    moment: Tensor
    energy: Tensor
    number: Tensor


def measure_kernels(sharp: Tensor, degraded: Tensor, kernel_size: int, fit: Fit = FIT) -> Measured:
    """Measure the kernel of every pixel; arguments and errors are those of ``measure_cells``.

    Returns:
        Measured at the size of the images: the cells, enlarged bilinearly.
    """
    cells = measure_cells(sharp, degraded, kernel_size, fit)
    height, width = sharp.shape[-2:]
    return cells_to_pixels(cells, height, width, fit.cell)


def measure_cells(sharp: Tensor, degraded: Tensor, kernel_size: int, fit: Fit = FIT) -> Measured:
    """Measure one kernel for every cell of ``fit.cell`` x ``fit.cell`` pixels.

    Confidence is the share of the degraded image's gradients that the kernel explains, divided by 1 + e², where e
    bounds the expected L1 error of the kernel: the square root of the number of taps times the standard error of the
    fit. It is low where no kernel explains the image (occlusions) and where there is no texture, so that taps are left
    open. It falls with the share of saturated pixels.

    Args:
        sharp: (B, C, H, W), in [0, 1], on the grid whose pixels the taps shall count: for kernels on the LR grid, the
            HR image shrunk with ``downsample``.
        degraded: (B, C, H, W), the same view, blurred, without noise.
        kernel_size: of the kernels, odd, in pixels of these images. Blur that reaches beyond is not explained.
        fit: how the kernels are fitted.

    Returns:
        Measured on the grid of cells, (B, ..., ceil(H/cell), ceil(W/cell)). A flat image has uniform kernels with
        confidence zero.

    Raises:
        InputError: the images differ in size, or ``kernel_size`` or the window is even.
    """
    check_odd(kernel_size)
    if sharp.shape != degraded.shape:
        raise InputError(
            f"sharp and degraded image differ in size: {[*sharp.shape]} and {[*degraded.shape]}; shrink the sharp "
            "image to the LR grid first"
        )
    if fit.window < 1 or fit.window % 2 == 0:
        raise InputError(f"window must be odd, as it is centred on a cell; got {fit.window}")
    images = [_measure_image(*pair, kernel_size, fit) for pair in zip(sharp, degraded, strict=True)]
    kernel, confidence = map(torch.stack, zip(*images, strict=True))
    return Measured(kernel, confidence * (1 - _saturated_share(sharp, degraded, fit.cell, fit.window)))


def cells_to_pixels(cells: Measured, height: int, width: int, cell: int = FIT.cell) -> Measured:
    """Enlarge what was measured on cells bilinearly to an image of height x width pixels."""
    return Measured(
        *(
            F.interpolate(part, scale_factor=cell, mode="bilinear", align_corners=False)[..., :height, :width]
            for part in cells
        )
    )


def _measure_image(sharp: Tensor, degraded: Tensor, kernel_size: int, fit: Fit) -> tuple[Tensor, Tensor]:
    """Kernels (ks*ks, h, w) and confidence (1, h, w) of one image (C, H, W), strip by strip."""
    cell, window, ridge, pull = fit
    rows, columns = (ceil_div(side, cell) for side in sharp.shape[-2:])
    radius = kernel_size // 2
    left = _gradients(F.pad(sharp[None], (radius + 1, radius) * 2, mode="replicate"))[0]
    right = _gradients(F.pad(degraded[None], (1, 0) * 2, mode="replicate"))[0]
    extra = (0, columns * cell - sharp.shape[-1], 0, rows * cell - sharp.shape[-2])
    left, right, seen = (F.pad(part, extra) for part in (left, right, _seen(degraded)))
    row_bytes = columns * kernel_size**4 * sharp.element_size()
    halo = window // 2 + (_ROUNDS if pull else 0)  # no further row has a say in the kernel of a row
    parts = []
    for strip, kept in _strips(rows, halo, _STRIP_BYTES // row_bytes):
        top, bottom = strip.start * cell, strip.stop * cell
        equations = _cell_equations(
            left[:, top : bottom + 2 * radius], right[:, top:bottom], seen[:, top:bottom], kernel_size, cell
        )
        kernel, confidence = _fit(_window_sum(equations, window), ridge, pull)
        parts.append((kernel[:, kept], confidence[:, kept]))
    kernels, confidences = zip(*parts, strict=True)
    return torch.cat(kernels, 1), torch.cat(confidences, 1)


def _strips(rows: int, halo: int, most: int) -> Iterator[tuple[slice, slice]]:
    """The rows that are computed at once, about ``most``, and which of them are kept; halos overlap."""
    step = max(1, most - 2 * halo) if rows > most else rows
    for top in range(0, rows, step):
        first, last = max(top - halo, 0), min(top + step + halo, rows)
        yield slice(first, last), slice(top - first, min(top + step, rows) - first)


def _gradients(x: Tensor) -> Tensor:
    """Horizontal and vertical differences, (B, C, H, W) -> (B, 2C, H-1, W-1)."""
    return torch.cat([x[..., 1:, 1:] - x[..., 1:, :-1], x[..., 1:, 1:] - x[..., :-1, 1:]], 1)


def _seen(image: Tensor) -> Tensor:
    """One where a gradient of an image (C, H, W) is a difference of two of its pixels, (2C, H, W)."""
    seen = torch.ones_like(image).repeat(2, 1, 1)
    across, down = seen.chunk(2)
    across[:, :, 0] = down[:, 0] = 0
    return seen


def _cell_equations(left: Tensor, right: Tensor, seen: Tensor, kernel_size: int, cell: int) -> _Equations:
    """Sum the normal equations of each cell.

    Args:
        left: (C, H + ks - 1, W + ks - 1), of which the windows around each pixel are the left sides.
        right: (C, H, W); H and W are multiples of ``cell``.
        seen: (C, H, W), one for each equation that counts, and else zero.
        kernel_size: ks.
        cell: side of a cell in pixels.
    """
    channels, rows, columns = len(right), right.shape[1] // cell, right.shape[2] // cell
    taps = left.unfold(1, kernel_size, 1).unfold(2, kernel_size, 1)  # (C, H, W, ks, ks)
    taps = taps.reshape(channels, rows, cell, columns, cell, -1).permute(1, 3, 0, 2, 4, 5)
    taps = taps.reshape(rows, columns, channels * cell**2, kernel_size**2)
    right, seen = (
        part.reshape(channels, rows, cell, columns, cell).permute(1, 3, 0, 2, 4).reshape(rows, columns, -1, 1)
        for part in (right, seen)
    )
    taps, right = taps * seen, right * seen
    return _Equations(taps.mT @ taps, (taps.mT @ right)[..., 0], right.square().sum((2, 3)), seen.sum((2, 3)))


def _window_sum(equations: _Equations, window: int) -> _Equations:
    """Sum over windows of cells; what lies outside the image counts nothing."""
    return _Equations(*(_sum_along(_sum_along(part, window, 0), window, 1) for part in equations))


def _sum_along(x: Tensor, window: int, dim: int) -> Tensor:
    """Sum windows of odd length along one dimension, zeros outside."""
    total = x.clone()
    for shift in range(1, min(window // 2, x.shape[dim] - 1) + 1):
        kept = x.shape[dim] - shift
        total.narrow(dim, shift, kept).add_(x.narrow(dim, 0, kept))
        total.narrow(dim, 0, kept).add_(x.narrow(dim, shift, kept))
    return total


def _fit(equations: _Equations, ridge: float, pull: float) -> tuple[Tensor, Tensor]:
    """Kernels (T, h, w) and confidence (1, h, w) of cells."""
    rows, columns, taps = equations.moment.shape
    gram, moment, energy, count = (part.flatten(0, 1) for part in equations)
    count = count.clamp_min(1)  # an image of one pixel has no equation
    noise = count * QUANTISED**2
    scale = gram.diagonal(dim1=1, dim2=2).mean(1) + noise  # of the equations: from here on in units of it
    gram, moment, energy = gram / scale[:, None, None], moment / scale[:, None], energy / scale
    system = _add_to_diagonal(gram + _SUM_WEIGHT, ridge)
    moment_sum = moment + _SUM_WEIGHT
    start = torch.full_like(moment, 1 / taps)
    kernel, dual = _admm(_inverse(system, _RHO), moment_sum, _RHO, start, torch.zeros_like(start), _FIRST_STEPS)
    if pull:
        inverse = _inverse(system, _RHO + pull)
        dual = dual * (_RHO / (_RHO + pull))  # a dual is in units of the penalty
        for _ in range(_ROUNDS):
            target = moment_sum + pull * _neighbours_mean(kernel.view(rows, columns, taps)).flatten(0, 1)
            kernel, dual = _admm(inverse, target, _RHO, kernel, dual, _ROUND_STEPS)
    kernel = kernel + _LEAST_TAP  # uniform where every tap is zero
    kernel = kernel / kernel.sum(1, keepdim=True)
    residual = (energy + (kernel * (torch.bmm(gram, kernel[..., None])[..., 0] - 2 * moment)).sum(1)).clamp(min=0)
    least = noise / scale
    variance = (residual + least) / count  # of an equation
    squared_bound = taps * variance * _inverse(system, 0).diagonal(dim1=1, dim2=2).sum(1)
    explained = (1 - (residual + least) / (energy + least)).clamp(min=0)  # 0 on a flat image, too
    confidence = explained / (1 + squared_bound)
    return kernel.T.reshape(taps, rows, columns), confidence.view(1, rows, columns)


def _add_to_diagonal(matrices: Tensor, value: float) -> Tensor:
    return matrices + value * torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)


def _inverse(matrices: Tensor, penalty: float) -> Tensor:
    """The inverses of positive definite matrices (N, T, T) plus ``penalty`` on the diagonal."""
    return torch.cholesky_inverse(torch.linalg.cholesky(_add_to_diagonal(matrices, penalty)))


def _admm(
    inverse: Tensor, moment: Tensor, rho: float, kernel: Tensor, dual: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Find the k >= 0 that minimises ``k' A k / 2 - moment' k`` by alternating directions.

    It needs a tenth of the steps of accelerated projected gradient, each of which costs the same.

    Args:
        inverse: (N, T, T), of A + rho.
        moment: (N, T).
        rho: the penalty.
        kernel, dual: (N, T), where to go on from.
        steps: how many.

    Returns:
        The next kernel, non-negative, and dual.
    """
    for _ in range(steps):
        free = torch.bmm(inverse, (moment + rho * (kernel - dual))[..., None])[..., 0]
        free = _RELAXATION * free + (1 - _RELAXATION) * kernel
        kernel = (free + dual).clamp(min=0)
        dual = dual + free - kernel
    return kernel, dual


def _neighbours_mean(cells: Tensor) -> Tensor:
    """Mean over the 3 x 3 cells around each, those at the border repeated: (h, w, T) -> (h, w, T)."""
    padded = F.pad(cells.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, 1)[0].permute(1, 2, 0)


def _saturated_share(sharp: Tensor, degraded: Tensor, cell: int, window: int) -> Tensor:
    """Share of the pixels of each cell's window at which a colour of either image is saturated, (B, 1, h, w)."""
    saturated = (torch.maximum(sharp, degraded) >= SATURATED).any(1, keepdim=True).to(sharp)
    cells = F.avg_pool2d(saturated, cell, ceil_mode=True)
    return F.avg_pool2d(cells, window, 1, window // 2, count_include_pad=False)
