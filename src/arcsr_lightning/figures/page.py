"""Figure 2 as one HTML file: a slider between any two methods, all pictures inside."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from torch import Tensor

from arcsr_lightning.data.images import to_tensor
from arcsr_lightning.data.pictures import Picture, encode_picture
from arcsr_lightning.figures.comparison import Cell, Scene

TEMPLATE = Path(__file__).with_name("page.html")
WINDOW = (160, 240)  # HR rows and columns that are shown, at most, unless the picture shows more


def comparison_page(scenes: Sequence[Scene], title: str, caption: str, right: str) -> str:
    """The page: for every image a slider, and below it what there is to compare.

    Args:
        scenes: the images.
        title: of the page.
        caption: below it.
        right: the method that is shown at first, bicubic upscaling to the left of it.

    Returns:
        HTML that loads nothing from anywhere; pictures are lossless WebP.
    """
    figures = "\n".join(scene_text(scene, grown_part(scene, *WINDOW)) for scene in scenes)
    text = TEMPLATE.read_text(encoding="utf-8")
    filled = {"TITLE": escape(title), "CAPTION": escape(caption), "RIGHT": escape(right), "SCENES": figures}
    for name, value in filled.items():
        text = text.replace(f"<!--{name}-->", value)
    return text


def grown_part(scene: Scene, height: int, width: int) -> tuple[slice, slice]:
    """The part of a scene with what lies around it, of at most this size, at multiples of the scale."""
    sides = []
    for side, length, whole in zip(scene.part, (height, width), scene.cells[0].picture.shape[-2:], strict=True):
        length = min(max(length, side.stop - side.start), whole)
        start = min(max((side.start + side.stop - length) // 2, 0), whole - length)
        start -= start % scene.scale
        sides.append(slice(start, start + length))
    return sides[0], sides[1]


def scene_text(scene: Scene, part: tuple[slice, slice]) -> str:
    """The HTML of one image."""
    height, width = (side.stop - side.start for side in part)
    marks = [
        f'<b style="left:{100 * x / width:.2f}%;top:{100 * y / height:.2f}%">{number}</b>'
        for number, (y, x) in enumerate(scene.marks(part), start=1)
    ]
    cells = "\n".join(cell_text(scene, cell, part) for cell in scene.cells)
    name = escape(f"{scene.name}, noise {scene.noise_level:g}")
    return (
        f'<section style="--width:{width};--height:{height}">\n<h2>{name}</h2>\n'
        f'<div class="marks" hidden>{"".join(marks)}</div>\n<div class="cells">\n{cells}\n</div>\n</section>'
    )


def cell_text(scene: Scene, cell: Cell, part: tuple[slice, slice]) -> str:
    """The HTML of one cell: the crop, its title and PSNR, its kernels."""
    kernels = scene.kernels(cell)
    title, strip = escape(cell.title), ""
    if kernels is not None:
        strip = f'<img class="kernels" alt="kernels of {title}" src="{inline(to_tensor(kernels))}">'
    return (
        f'<figure><img class="crop" alt="{title}" src="{inline(cell.picture[:, *part])}">'
        f"<figcaption>{title}<br>{escape(cell.score)}</figcaption>{strip}</figure>"
    )


def inline(rgb: Tensor) -> str:
    """An image (3, H, W) as a URL that holds it."""
    data = encode_picture(Picture(rgb.clamp(0, 1)), ".webp")
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
