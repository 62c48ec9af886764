"""What tells motion blur from the picture: how like itself a gradient is, a few pixels further along.

Blur along a direction makes the gradients of a picture resemble their neighbours along that direction and no other,
as far as the streak is long; classical estimators of motion blur look at nothing else. The paper's network has to
find this by itself; docs/paper_notes.md says what showing it these cues changes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from arcsr_lightning.operators.local_statistics import local_contrast_normalised, local_mean

REACH = 4  # LR pixels: the streaks that a 7x7 kernel holds are no longer
WINDOWS = (1, 3, 7, 13)  # sides, in cells

_FLOOR = (0.2 / 255) ** 2  # energy of a gradient of a fifth of an 8-bit level: below it there is no picture


def motion_cues(lr: Tensor, cell: int = 4, windows: Sequence[int] = WINDOWS, reach: int = REACH) -> Tensor:
    """Measure the local autocorrelation of the gradients of brightness.

    With g the horizontal or the vertical difference of brightness, ``a(s)`` is the mean of the products g(p) g(p + s)
    and g(p) g(p - s) of the pixels p of a window, divided by the window's energy, the mean of both differences
    squared. Shifts s and -s give the same, so half of them are taken; products that need a pixel beyond the image do
    not count. Three pictures are looked at: the image, in which strong edges count; the image normalised by its local
    contrast, in which weak texture does too; and the same of the smoothed image, in which noise counts less.

    Args:
        lr: RGB in [0, 1], (B, 3, H, W); H and W multiples of ``cell``.
        cell: side of the grid's cells, in LR pixels.
        windows: sides of the windows around a cell, in cells, odd; beyond the image there is nothing to average.
        reach: longest shift along either axis, in LR pixels.

    Returns:
        (B, ``count_cues(windows, reach)``, H/cell, W/cell): for every picture, for every window: the autocorrelations
        of the horizontal and the vertical difference, in turns, in the order of ``shifts(reach)``, zero where no
        product counts; then the logarithm of the energy.

    Raises:
        ValueError: H or W is no multiple of ``cell``.
    """
    if lr.shape[-2] % cell or lr.shape[-1] % cell:
        raise ValueError(f"H and W must be multiples of the cell, {cell}, got {tuple(lr.shape[-2:])}")
    brightness = lr.mean(dim=1, keepdim=True)  # (B, 1, H, W); the plain mean of the colours has the least noise
    possible = _possible_products(brightness, cell, reach)  # (1, 2 * shifts, H/cell, W/cell)
    # Where none is possible all products are zero, whatever they are divided by.
    shares = [local_mean(possible, window).clamp_min(1e-6) for window in windows]
    cues = []
    for picture in _pictures(brightness):
        products = _autocorrelation(_differences(picture), cell, reach)  # (B, 2 * shifts, H/cell, W/cell)
        for window, share in zip(windows, shares, strict=True):
            pooled = local_mean(products, window) / share
            energy = pooled[:, :2].sum(dim=1, keepdim=True) + _FLOOR  # the shift of nothing comes first
            cues += [pooled / energy, energy.log()]
    return torch.cat(cues, dim=1)


def shifts(reach: int) -> list[tuple[int, int]]:
    """The shifts (dy, dx) of the cues: none, then one of every pair s and -s, row by row."""
    span = range(-reach, reach + 1)
    return [(dy, dx) for dy in span for dx in span if (dy, dx) >= (0, 0)]


def count_cues(windows: Sequence[int] = WINDOWS, reach: int = REACH) -> int:
    """How many channels ``motion_cues`` returns."""
    return 3 * len(windows) * (2 * len(shifts(reach)) + 1)


def _pictures(brightness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 1, H, W) as it is, normalised, and smoothed and normalised; to a tenth, the contrast of photographs."""
    padded = F.pad(brightness, (1, 1, 1, 1), mode="replicate")
    smooth = F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2, stride=1)  # (1, 2, 1) / 4 along both axes
    return brightness, 0.1 * local_contrast_normalised(brightness), 0.1 * local_contrast_normalised(smooth)


def _differences(x: Tensor) -> Tensor:
    """Central differences of (B, 1, H, W) along x and along y, (B, 2, H, W); zero where they need what lies outside."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * _inner(x, -1)
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * _inner(x, -2)[:, None]
    return torch.cat([along_x, along_y], dim=1) / 2


def _inner(x: Tensor, dim: int) -> Tensor:
    """One for the pixels along a side of ``x`` that have a neighbour on either hand, (length,)."""
    place = torch.arange(x.shape[dim], device=x.device)
    return ((place > 0) & (place < x.shape[dim] - 1)).to(x)


def _autocorrelation(gradient: Tensor, cell: int, reach: int) -> Tensor:
    """Mean over cells of g(p) (g(p + s) + g(p - s)) / 2 for every shift: (B, 2, H, W) -> (B, 2 * shifts, h, w)."""
    height, width = gradient.shape[-2:]
    padded = F.pad(gradient, [reach] * 4)  # beyond the image there are no gradients

    def shifted(dy: int, dx: int) -> Tensor:
        return padded[..., reach + dy : reach + dy + height, reach + dx : reach + dx + width]

    # One shift at a time, pooled at once: no tensor of all products of all pixels.
    pooled = [F.avg_pool2d(gradient * (shifted(dy, dx) + shifted(-dy, -dx)) / 2, cell) for dy, dx in shifts(reach)]
    return torch.cat(pooled, dim=1)


def _possible_products(x: Tensor, cell: int, reach: int) -> Tensor:
    """The share of the products of ``_autocorrelation`` that need no pixel beyond ``x``: (1, 2 * shifts, h, w)."""
    height, width = x.new_ones(x.shape[-2]), x.new_ones(x.shape[-1])
    shares = []
    for rows, columns in ((height, _inner(x, -1)), (_inner(x, -2), width)):  # differences along x, along y
        down, across = _pairs(rows, cell, reach), _pairs(columns, cell, reach)
        ahead = (down[:, None, :, None] * across[:, None]).flatten(0, 1)  # (all shifts, h, w); the last is -first
        shares.append((ahead + ahead.flip(0))[len(shifts(reach)) - 1 :] / 2)
    return torch.stack(shares, dim=1).flatten(0, 1)[None]


def _pairs(known: Tensor, cell: int, reach: int) -> Tensor:
    """Share of a cell's places that are known as well as their neighbour so far on: (L,) -> (2 * reach + 1, L/cell)."""
    padded, length = F.pad(known, (reach, reach)), known.shape[0]
    pairs = [known * padded[start : start + length] for start in range(2 * reach + 1)]  # from -reach on
    return F.avg_pool1d(torch.stack(pairs), cell)
