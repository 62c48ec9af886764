import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from skimage import data as skimage_data

from arcsr_lightning.figures.kernels import kernel_grid_picture
from arcsr_lightning.figures.panel import PanelRow, detailed_part, panel_picture
from arcsr_lightning.figures.style import save_figure


def test_the_most_detailed_part_is_found():
    image = torch.full((3, 100, 140), 0.5)
    image[:, 50:70, 75:100] = torch.rand(3, 20, 25)
    rows, cols = detailed_part(image, 36, 48)
    assert rows.start <= 50 and rows.stop >= 70 and cols.start <= 75 and cols.stop >= 100
    assert (rows.stop - rows.start, cols.stop - cols.start) == (36, 48)
    assert detailed_part(image, 500, 500) == (slice(0, 100), slice(0, 140))


def photo_row(name, image, **kernels):
    hr = torch.from_numpy(image[:300, :448].copy()).permute(2, 0, 1) / 255
    return PanelRow(name, 10.0, hr * 0.5, hr * 0.8, hr, 20.125, 21.5, **kernels)


def test_the_panel_shows_the_same_part_of_everything_and_its_figures():
    kernel = torch.rand(25, 75, 112)
    row = photo_row("cat", skimage_data.chelsea(), kernel=kernel, true_kernel=kernel.flip(0))
    figure = panel_picture([row], "a caption")
    part = detailed_part(row.hr, 104, 156)
    shown = [axis.images[0].get_array() for axis in figure.axes]
    for picture, image in zip(shown, (row.bicubic, row.sr, row.hr), strict=False):
        np.testing.assert_allclose(picture, 255 * image[:, *part].permute(1, 2, 0), atol=0.51)
    there = kernel[:, part[0].start // 4 : part[0].stop // 4, part[1].start // 4 : part[1].stop // 4]
    np.testing.assert_array_equal(shown[3], kernel_grid_picture(there, 4, 6))
    np.testing.assert_array_equal(shown[4], kernel_grid_picture(there.flip(0), 4, 6))
    assert [axis.get_xlabel() for axis in figure.axes] == ["20.12 dB", "21.50 dB", "", "", ""]
    assert figure.axes[0].get_ylabel() == "cat\nnoise 10"
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["bicubic", "ArcSR", "ground truth", "estimated kernels", "true kernels", "a caption"]


def test_long_names_and_captions_stay_within_the_picture():
    image = torch.rand(3, 104, 156)
    rows = [PanelRow("GOPR0384_11_00_000001_of_a_long_sequence", 10.0, image, image, image, 20.0, 21.0)] * 2
    figure = panel_picture(rows, "every word of a caption that is too long for one line of letters " * 4)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # which places the labels
    renderer = canvas.get_renderer()
    labels = [axes.yaxis.label.get_window_extent(renderer) for axes in (figure.axes[0], figure.axes[3])]
    texts = [text.get_window_extent(renderer) for text in figure.texts]
    assert not labels[0].overlaps(labels[1])
    for box in (*labels, *texts):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
        assert box.y0 >= 0 and box.y1 <= figure.bbox.height


def test_a_panel_without_kernels_has_three_columns_and_may_show_all_of_the_image():
    row = photo_row("cat", skimage_data.chelsea())
    figure = panel_picture([row], "", "bicubic", window=(300, 448))
    assert len(figure.axes) == 3
    assert figure.axes[0].images[0].get_array().shape == (300, 448, 3)


def test_the_panel_of_three_photographs_is_a_small_png(tmp_path):
    photographs = (skimage_data.chelsea(), skimage_data.coffee(), skimage_data.astronaut())
    rows = [photo_row("photo", image, kernel=torch.rand(25, 75, 112)) for image in photographs]
    save_figure(panel_picture(rows, ""), tmp_path / "new" / "panel.png")
    assert (tmp_path / "new" / "panel.png").stat().st_size <= 500_000
    with Image.open(tmp_path / "new" / "panel.png") as picture:
        assert picture.format == "PNG" and picture.width > 1200
    save_figure(panel_picture(rows, ""), tmp_path / "panel.png", max_bytes=300_000)
    assert (tmp_path / "panel.png").stat().st_size <= 300_000
