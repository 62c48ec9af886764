"""Restoring images of any size in tiles, in bounded memory."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from arcsr_lightning.integers import ceil_div
from arcsr_lightning.networks.restoration import Restoration

GRID = 16  # LR pixels, a multiple of what motion cues, U-Nets and NAFNet pool over


@torch.inference_mode()
def restore(
    run: Callable[[Tensor], Restoration],
    lr: Tensor,
    tile: int | None = None,
    overlap: int = 16,
    on_tile: Callable[[int, int], None] | None = None,
) -> Restoration:
    """``run(lr)``, in overlapping tiles where the image is larger than one.

    Where tiles overlap, a quarter of the overlap at the border of either is ignored and the two fade into each other
    between: a network whose receptive field reaches at most ``overlap // 4`` pixels from its centre gives exactly what
    it gives on the whole image, any other one no visible seam.

    Args:
        run: a network on the CPU, or ``partial(run_network, network)`` with what else is asked of it; a tile at a time
            is on its device. Without ``keep_kernel=False`` the kernels of a large image take many times its memory.
        lr: (B, 3, H, W).
        tile: its side in LR pixels; None: the whole image at once.
        overlap: LR pixels that neighbours share, at least.
        on_tile: called with (tiles done, all tiles) after each.

    Returns:
        float32 on the CPU: ``sr`` (B, 3, s*H, s*W) for a network of scale s, and ``kernel`` (B, ks*ks, H, W), blended
        alike (kernels that sum to one still do), or None where ``run`` returns none.

    Raises:
        ValueError: ``overlap`` is outside 1 ... tile // 2.
    """
    if tile is not None and not 1 <= overlap <= tile // 2:
        raise ValueError(f"overlap must be between 1 and half the tile ({tile} // 2 = {tile // 2}), got {overlap}")
    rows, columns = (tile_spans(length, tile, overlap) for length in lr.shape[-2:])

    def add(canvas: Tensor | None, part: Tensor, row: int, column: int, scale: int) -> Tensor:
        (top, bottom), (left, right) = rows[row], columns[column]
        down = tile_weights(rows, row, scale, overlap)[:, None]
        across = tile_weights(columns, column, scale, overlap)
        if canvas is None:
            canvas = torch.zeros(*part.shape[:2], lr.shape[-2] * scale, lr.shape[-1] * scale)
        canvas[..., top * scale : bottom * scale, left * scale : right * scale] += part.cpu() * (down * across)
        return canvas

    sr = kernel = None
    for number, (row, column) in enumerate(product(range(len(rows)), range(len(columns))), start=1):
        piece = lr[..., slice(*rows[row]), slice(*columns[column])]
        part = run(piece)
        sr = add(sr, part.sr, row, column, part.sr.shape[-1] // piece.shape[-1])
        if part.kernel is not None:
            kernel = add(kernel, part.kernel, row, column, 1)
        if on_tile is not None:
            on_tile(number, len(rows) * len(columns))
    return Restoration(sr, kernel)


def tile_spans(length: int, tile: int | None, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of the fewest tiles that cover ``length`` pixels, evenly spread, sharing ``overlap`` or more.

    They start at multiples of ``GRID`` where they are so far apart, so that the cells of a network that pools are those
    of the whole image.
    """
    if tile is None or length <= tile:
        return [(0, length)]
    grid = GRID if tile - overlap >= GRID else 1
    last = ceil_div(length - tile, grid)
    count = 1 + ceil_div(last, (tile - overlap) // grid)
    starts = [number * last // (count - 1) * grid for number in range(count)]
    return [(start, min(start + tile, length)) for start in starts]


def tile_weights(spans: list[tuple[int, int]], index: int, scale: int, overlap: int) -> Tensor:
    """The weight of each pixel of tile ``index``, ``scale`` times as many as LR pixels; over the tiles they sum to one.

    Linear ramps of half the ``overlap``, in the middle of what two tiles share; zero beyond.
    """
    start, stop = spans[index]
    centres = (torch.arange(start * scale, stop * scale) + 0.5) / scale  # in LR pixels
    ramp = overlap - 2 * (overlap // 4)

    def passed(first: int) -> Tensor:
        if first < 0:
            return torch.ones_like(centres)
        if first == len(spans) - 1:
            return torch.zeros_like(centres)
        seam = (spans[first][1] + spans[first + 1][0]) / 2
        return ((centres - seam) / ramp + 0.5).clamp(0, 1)

    return passed(index - 1) - passed(index)
