"""Figure 2: what every method makes of the same images, and the kernels that it sees there."""

from collections.abc import Sequence
from math import ceil
from textwrap import wrap
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.figures.kernels import grid_pixels, kernel_grid_picture
from arcsr_lightning.figures.panel import largest_part
from arcsr_lightning.figures.style import BADGE, CAPTION, TEXT, shorten_name, show_picture

COLUMNS = 6  # crops beside each other, at most


class Cell(NamedTuple):
    """An image as one method leaves it: (3, H, W), RGB in [0, 1]; its PSNR in dB, None of what is not scored; the
    kernels (ks*ks, h, w), estimated or true, None where there are none."""

    title: str
    picture: Tensor
    psnr: float | None = None
    kernel: Tensor | None = None

    @property
    def score(self) -> str:
        return "" if self.psnr is None else f"{self.psnr:.2f} dB"


class Scene(NamedTuple):
    """The cells of one image, LR (enlarged to H, W) the first and the sharp image the last; ``scale`` is H / h.

    ``part`` (rows, columns) is shown of it, in HR pixels, and kernels at ``pixels``, (y, x) on the LR grid.
    """

    name: str
    noise_level: float
    scale: int
    cells: list[Cell]
    part: tuple[slice, slice]
    pixels: list[tuple[int, int]]

    def marks(self, part: tuple[slice, slice]) -> list[tuple[float, float]]:
        """Where the pixels are in a part of the image: (y, x) of their centres in HR pixels from its corner; none where
        no kernels are shown."""
        if all(cell.kernel is None for cell in self.cells):
            return []
        down, across = (side.start for side in part)
        return [((y + 0.5) * self.scale - down, (x + 0.5) * self.scale - across) for y, x in self.pixels]

    def kernels(self, cell: Cell) -> np.ndarray | None:
        """The kernels of a cell at the pixels, beside each other, RGB; None where it has none."""
        if cell.kernel is None:
            return None
        chosen = torch.stack([cell.kernel[:, y, x] for y, x in self.pixels], dim=-1)[:, None]  # (ks*ks, 1, pixels)
        return kernel_grid_picture(chosen, 1, len(self.pixels))


def make_scene(
    name: str, noise_level: float, scale: int, cells: list[Cell], window: tuple[int, int] = (80, 120)
) -> Scene:
    """Choose the part in which the methods differ most, by the variance over them, and three pixels across it.

    Args:
        name: of the image.
        noise_level: in 8-bit levels.
        scale: of the restoration.
        cells: of the image; at least two methods between LR and the sharp image, bicubic upscaling the first.
        window: (rows, columns) of the part in HR pixels, at most.
    """
    methods = [cell.picture for cell in cells[1:-1]]
    learnt = methods[1:] if len(methods) > 2 else methods  # bicubic upscaling differs from all, and everywhere
    part = largest_part(torch.stack(learnt).clamp(0, 1).var(0).mean(0), *window)
    (top, left), (height, width) = ([side.start // scale for side in part], [_length(side) // scale for side in part])
    y, x = grid_pixels(height, width, 2, 3)
    pixels = [(top + int(y[row]), left + int(x[column])) for column, row in enumerate((0, 1, 0))]
    return Scene(name, noise_level, scale, cells, part, pixels)


def comparison_picture(scenes: Sequence[Scene], caption: str) -> Figure:
    """Draw a row of crops for each image, in several lines where there are many; the kernels of each below it.

    Args:
        scenes: the images.
        caption: below the picture.
    """
    # Inches. At 150 dots each pixel of the default window is drawn as 2 x 2.
    column, gap, left, below, between, line = 1.6, 0.08, 0.3, 0.38, 0.2, 0.15
    shown = [lines_of(scene.cells) for scene in scenes]
    width = left + max(len(line) for lines in shown for line in lines) * (column + gap)
    heights = [column * _length(scene.part[0]) / _length(scene.part[1]) for scene in scenes]
    strips = [
        [max((_aspect(scene.kernels(cell)) * column for cell in cells), default=0) for cells in lines]
        for scene, lines in zip(scenes, shown, strict=True)
    ]
    text = wrap(caption, int(15 * width))
    foot = 0.1 + line * len(text)
    bodies = [sum(high + below + strip + gap for strip in own) - gap for high, own in zip(heights, strips, strict=True)]
    height = 0.06 + sum(bodies) + between * (len(scenes) - 1) + foot
    figure = Figure(figsize=(width, height))

    def place(x: float, top: float, wide: float, high: float):
        return figure.add_axes((x / width, 1 - (top + high) / height, wide / width, high / height))

    top = 0.06
    for scene, lines, high, own, body in zip(scenes, shown, heights, strips, bodies, strict=True):
        noise = f", noise {scene.noise_level:g}"
        name = shorten_name(scene.name, int(12 * body) - len(noise)) + noise
        middle = (left / 2 / width, 1 - (top + body / 2) / height)
        figure.text(*middle, name, rotation=90, ha="center", va="center", **TEXT)
        for cells, strip in zip(lines, own, strict=True):
            for number, cell in enumerate(cells):
                x = left + number * (column + gap)
                picture = to_uint8(cell.picture[:, *scene.part])
                text_below = f"{shorten_name(cell.title, 21)}\n{cell.score}"
                axis = show_picture(place(x, top, column, high), picture, text_below, interpolation="nearest").axes
                axis.xaxis.labelpad = 2
                if cell is scene.cells[0]:
                    for mark, (down, across) in enumerate(scene.marks(scene.part), start=1):
                        axis.text(across - 0.5, down - 0.5, str(mark), color="white", ha="center", va="center", **BADGE)
                kernels = scene.kernels(cell)
                if kernels is not None:
                    show_picture(place(x, top + high + below, column, _aspect(kernels) * column), kernels)
            top += high + below + strip + gap
        top += between - gap
    figure.text(0.5, foot / 2 / height, "\n".join(text), ha="center", va="center", **CAPTION)
    return figure


def lines_of(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in lines of equal length, but for the last, of at most ``COLUMNS``."""
    each = ceil(len(cells) / ceil(len(cells) / COLUMNS))
    return [list(cells[start : start + each]) for start in range(0, len(cells), each)]


def _length(side: slice) -> int:
    return side.stop - side.start


def _aspect(picture: np.ndarray | None) -> float:
    """Height / width, 0 of nothing."""
    return 0 if picture is None else picture.shape[0] / picture.shape[1]
