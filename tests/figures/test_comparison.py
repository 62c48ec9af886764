"""Figure 2 shows what it is given: crops, their PSNR, the kernels of the marked pixels, and no text over another."""

from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.figures.comparison import COLUMNS, Cell, comparison_picture, lines_of, make_scene

TITLES = ["bicubic", "plain", "a method, optimizer.lr=0.0001"]


def field(generator):
    """Kernels whose taps are 0 to 24 in any order."""
    return torch.rand(25, 40, 60, generator=generator).argsort(0).float()


def scene(titles=TITLES, kernels=True, name="astronaut_1"):
    """An image of 160 x 240 whose methods differ most within 20 pixels around (90, 150)."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(3, 160, 240, generator=generator)
    cells = [Cell("LR, 60×40", hr * 0.5)]
    for number, title in enumerate(titles):
        sr = hr * 0.8
        sr[:, 80:100, 140:160] *= 1 - number / len(titles)
        known = field(generator) if kernels and number == len(titles) - 1 else None
        cells.append(Cell(title, sr, 20.125 + number, known))
    truth = field(generator) if kernels else None
    return make_scene(name, 10.0, 4, [*cells, Cell("ground truth", hr, kernel=truth)])


def shown(figure):
    """Of every axes: its picture and the label below it."""
    return [(np.asarray(axis.images[0].get_array()), axis.get_xlabel()) for axis in figure.axes]


def test_the_part_in_which_the_methods_differ_is_shown_with_three_pixels_inside_it():
    found = scene()
    down, across = found.part
    assert down.start <= 80 and down.stop >= 100 and across.start <= 140 and across.stop >= 160
    assert (down.stop - down.start, across.stop - across.start) == (80, 120)
    assert len(set(found.pixels)) == 3
    for (y, x), (mark_y, mark_x) in zip(found.pixels, found.marks(found.part), strict=True):
        assert (mark_y + down.start, mark_x + across.start) == (4 * y + 2, 4 * x + 2)  # the centre of 4 x 4 HR pixels
        assert 0 < mark_y < 80 and 0 < mark_x < 120


def test_every_cell_is_drawn_with_its_score_and_its_kernels():
    one = scene()
    drawn = shown(comparison_picture([one], "a caption"))
    crops = [picture for picture, label in drawn if label]
    for cell, picture in zip(one.cells, crops, strict=True):
        np.testing.assert_array_equal(picture, to_uint8(cell.picture[:, *one.part]))
    labels = [label for _, label in drawn if label]
    assert labels == [
        "LR, 60×40\n",
        "bicubic\n20.12 dB",
        "plain\n21.12 dB",
        "a method, ….lr=0.0001\n22.12 dB",
        "ground truth\n",
    ]
    strips = [picture for picture, label in drawn if not label]
    assert len(strips) == 2  # of the method that has kernels, and of the truth
    for cell, strip in zip((one.cells[3], one.cells[4]), strips, strict=True):
        for number, (y, x) in enumerate(one.pixels):
            kernel = cell.kernel[:, y, x].view(5, 5).numpy()
            each = strip.shape[1] / 3
            middles = (np.arange(5) + 0.5) * (each - 2) / 5
            levels = strip[middles.astype(int)[:, None], (number * each + 1 + middles).astype(int)].sum(-1, dtype=int)
            assert np.array_equal(np.argsort(levels.ravel()), np.argsort(kernel.ravel()))  # brighter is more


def test_a_study_without_kernels_has_neither_marks_nor_kernels():
    one = scene(kernels=False)
    figure = comparison_picture([one], "a caption")
    assert len(figure.axes) == 5 and not any(axis.texts for axis in figure.axes)
    assert one.marks(one.part) == []


@pytest.mark.parametrize(("count", "lines"), [(3, [3]), (6, [6]), (7, [4, 3]), (13, [5, 5, 3])])
def test_many_methods_take_several_lines(count, lines):
    found = lines_of([Cell(str(number), torch.zeros(3, 1, 1)) for number in range(count)])
    assert [len(line) for line in found] == lines and max(lines) <= COLUMNS
    assert [cell.title for line in found for cell in line] == [str(number) for number in range(count)]


MANY = ["bicubic", *(f"arcsr_mean_kernel, seed={number}" for number in range(6))]
LONG = "a_photograph_with_a_long_name" * 3
GOPRO = [f"GOPR0384_11_00_00000{number}" for number in range(3)]


@pytest.mark.parametrize(
    "scenes",
    [
        [scene(MANY), scene(MANY, name=LONG)],
        [scene(name=name) for name in GOPRO],
        [scene(name=name, kernels=False) for name in GOPRO],
    ],
    ids=["many methods", "kernels", "none"],
)
def test_no_text_lies_on_another_nor_on_a_picture(scenes):
    figure = comparison_picture(scenes, "a word " * 90)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole, renderer = figure.bbox, canvas.get_renderer()
    texts = [text for text in (*figure.texts, *(axis.xaxis.label for axis in figure.axes)) if text.get_text().strip()]
    boxes = [text.get_window_extent(renderer) for text in texts] + [axis.get_window_extent() for axis in figure.axes]
    assert len(texts) == sum(len(one.cells) for one in scenes) + len(scenes) + 1
    for one, other in combinations(boxes, 2):
        common = Bbox.intersection(one, other)
        assert common is None or min(common.width, common.height) < 1, (one, other)
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)
