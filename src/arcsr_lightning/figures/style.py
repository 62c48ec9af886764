"""What all pictures share: colours, sizes, and how they are saved."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from arcsr_lightning.files import write_bytes

TEXT = {"fontsize": 9, "color": "0.15"}
CAPTION = {"fontsize": 8, "color": "0.35"}  # of a whole picture
MARK = "deepskyblue"  # of single pixels
BADGE = {"fontsize": 8, "bbox": {"boxstyle": "circle,pad=0.15", "facecolor": MARK, "edgecolor": "none"}}


def save_figure(figure: Figure, path: str | Path, dpi: int = 150, max_bytes: int = 500_000) -> None:
    """Write a figure as a PNG.

    Args:
        figure: what is written.
        path: of the file; its folder is made.
        dpi: dots per inch, fewer where the file would be too large.
        max_bytes: the largest file.

    Raises:
        InputError: there is no room for the file, or no leave to write it.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # names of files are no formulas
    while True:
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
        if buffer.tell() <= max_bytes or dpi <= 50:
            break
        dpi = max(50, int(0.97 * dpi * (max_bytes / buffer.tell()) ** 0.5))
    write_bytes(path, buffer.getvalue())


def show_picture(axis: Axes, picture: np.ndarray, label: str = "", **style: Any) -> AxesImage:
    """Draw a picture without a frame, the label below it; ``style`` is that of matplotlib's ``imshow``."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_xlabel(label, **TEXT)
    return axis.imshow(picture, **style)


def shorten_name(name: str, letters: int) -> str:
    """A name without its middle where it is longer than so many letters."""
    if len(name) <= letters:
        return name
    kept = max(letters - 1, 2)
    return f"{name[: kept // 2]}…{name[-(kept - kept // 2) :]}"


def square_cells(shape: float, rows: int) -> tuple[int, int]:
    """Return how many rows and columns of square cells fill a picture best.

    Args:
        shape: height / width of the picture.
        rows: cells along its longer side.
    """
    return max(1, round(rows * min(1, shape))), max(1, round(rows * min(1, 1 / shape)))
