import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from skimage import data as skimage_data

from arcsr_lightning.degradation import MotionField, dense_field
from arcsr_lightning.figures.kernels import grid_pixels, kernel_field_picture, kernel_grid_picture, kernel_moments
from arcsr_lightning.figures.offsets import offset_moments, offsets_picture
from arcsr_lightning.figures.panel import PanelRow, detailed_part, panel
from arcsr_lightning.figures.style import save_figure
from arcsr_lightning.figures.walkthrough import (
    degradation_picture,
    field_parts_picture,
    guided_conv_picture,
    impulse_picture,
    sampling_picture,
)


def pictures(figure):
    """What a figure shows, by the title of the axes."""
    return {axis.get_title(): np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images}


@pytest.fixture
def field():
    return MotionField(kernel_size=9, max_length=8)(np.random.default_rng(0), 48, 96)


def test_degradation_picture_shows_the_kernels_where_they_act(field):
    figure = degradation_picture(torch.rand(3, 48, 96), torch.rand(3, 12, 24), field)
    everywhere = dense_field(field.kernels[None], field.masks[None])[0]  # (81, 48, 96)
    np.testing.assert_allclose(
        pictures(figure)["true kernels (HR pixels)"].astype(int), kernel_grid_picture(everywhere, 3, 6), atol=1
    )


def test_field_parts_picture_shows_each_kernel_above_its_mask(field):
    shown = [axis.images[0].get_array() for axis in field_parts_picture(field).axes]
    for picture, part in zip(shown, [*field.kernels, *field.masks], strict=True):
        np.testing.assert_array_equal(picture, part)


def test_guided_conv_picture_answers_an_impulse_with_mirrored_products():
    weight, guide = torch.randn(3, 3), torch.rand(9)
    _, weights, product, response, *_ = guided_conv_picture(weight, {"a guide": guide}).axes
    expected = (weight * guide.view(3, 3)).numpy()
    np.testing.assert_array_equal(weights.images[0].get_array(), weight)
    np.testing.assert_allclose(product.images[0].get_array(), expected)
    np.testing.assert_allclose(response.images[0].get_array()[2:5, 2:5], expected[::-1, ::-1], rtol=1e-6)


def test_impulse_picture_answers_every_impulse_with_the_taps_of_the_pixels_around_it():
    weight, guide = torch.randn(3, 3), torch.rand(9, 10, 15)
    ones = torch.ones_like(guide)
    shown = pictures(impulse_picture(weight, {"ones": ones, "a field": guide}, spacing=5))
    for y in (2, 7):
        for x in (2, 7, 12):
            np.testing.assert_allclose(shown["ones"][y - 1 : y + 2, x - 1 : x + 2], weight.flip(0, 1), rtol=1e-6)
            for tap in range(9):  # the pixel that sees the impulse through this tap
                at = y - (tap // 3 - 1), x - (tap % 3 - 1)
                expected = weight.flatten()[tap] * guide[tap][at]
                assert shown["a field"][at] == pytest.approx(expected.item(), rel=1e-5)


def test_sampling_picture_marks_the_positions_read():
    offset = torch.zeros(18, 8, 8)
    offset[0] = -0.5  # the first tap, vertically
    offset[17] = 0.25  # the last tap, horizontally
    figure = sampling_picture(torch.rand(3, 8, 8), {"offsets": offset}, [(3, 4)])
    _, axis = figure.axes
    regular, _, read = (points.get_offsets() for points in axis.collections)  # as (x, y)
    np.testing.assert_allclose(regular, [(4 + dx, 3 + dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    shift = np.zeros((9, 2))
    shift[0, 1], shift[8, 0] = -0.5, 0.25
    np.testing.assert_allclose(read - regular, shift)
    assert axis.get_xlabel() == "shifts up to 0.50 px"


def test_the_kernel_grid_shows_the_kernel_of_each_pixel_in_its_place_and_upright():
    rows, cols, side = 2, 3, 5
    y, x = grid_pixels(20, 31, rows, cols)
    assert (y.tolist(), x.tolist()) == ([5, 15], [5, 15, 25])
    kernel = torch.zeros(side * side, 20, 31)
    taps = np.random.default_rng(0).permutation(side * side)[: rows * cols].reshape(rows, cols)
    for row in range(rows):
        for col in range(cols):
            kernel[taps[row, col], y[row], x[col]] = 0.1 * (row + col + 1)
    picture = kernel_grid_picture(kernel, rows, cols).astype(int)
    brightest = np.array([252, 255, 164])  # the last colour of the map; the lines between are white
    pitch = (picture.shape[0] + 2) // rows
    assert picture.shape == (rows * pitch - 2, cols * pitch - 2, 3)
    zoom = (pitch - 2) // side
    for row in range(rows):
        for col in range(cols):
            cell = picture[row * pitch :, col * pitch :][: side * zoom, : side * zoom]
            found = np.abs(cell - brightest).max(-1) <= 1
            expected = np.zeros((side, side), bool)
            expected.flat[taps[row, col]] = True
            np.testing.assert_array_equal(found, expected.repeat(zoom, 0).repeat(zoom, 1))
    assert (picture[pitch - 2 : pitch] == 255).all()
    assert (picture[:, pitch - 2 : pitch] == 255).all()


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 120, 170])
def test_moments_of_a_streak_are_its_length_and_direction(angle):
    side = 31
    radians = np.deg2rad(angle)
    t = np.linspace(-12, 12, 4001)
    y, x = (np.rint(side // 2 + t * part).astype(int) for part in (-np.sin(radians), np.cos(radians)))
    kernel = np.zeros((side, side))
    np.add.at(kernel, (y, x), 1)
    field = torch.from_numpy(kernel).reshape(-1, 1, 1) + 0.01  # a faint floor, as estimates have
    extent, found, directedness = (moment.item() for moment in kernel_moments(field))
    assert extent == pytest.approx(24 / 12**0.5, rel=0.05)
    assert abs((found - angle + 90) % 180 - 90) < 2
    assert directedness > 0.98


def test_moments_of_a_shifted_point_and_of_a_disc():
    point = torch.zeros(49)
    point[3] = 2.0
    y, x = np.mgrid[-10:11, -10:11]
    disc = torch.from_numpy((y**2 + x**2 <= 64).astype(np.float32)).flatten()
    assert kernel_moments(point.view(-1, 1, 1))[0].item() == 0
    extent, _, directedness = kernel_moments(disc.view(-1, 1, 1))
    assert extent.item() == pytest.approx(8 / 2**0.5, rel=0.02)
    assert directedness.item() < 1e-5


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
    figure = panel([row], "a caption")
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
    figure = panel(rows, "every word of a caption that is too long for one line of letters " * 4)
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
    figure = panel([row], "", "bicubic", window=None)
    assert len(figure.axes) == 3
    assert figure.axes[0].images[0].get_array().shape == (300, 448, 3)


def test_the_picture_of_a_field_names_its_parts_and_shows_extents():
    kernel = torch.zeros(25, 12, 18)
    kernel[12] = 1
    kernel[10:15, :, 9:] = 1
    figure = kernel_field_picture(kernel, torch.rand(3, 48, 72))
    titles = [
        "restored image",
        "estimated kernels",
        "blur extent (RMS radius, LR pixels)",
        "blur direction (white: none)",
    ]
    shown = pictures(figure)
    assert [title for title in shown if title] == titles
    np.testing.assert_allclose(shown[titles[2]], np.repeat([[0, 2**0.5]], 9, axis=1).repeat(12, axis=0), atol=1e-6)


def test_a_field_and_the_true_one_are_drawn_on_one_scale():
    point, bar = torch.zeros(25, 12, 18), torch.zeros(25, 12, 18)
    point[12] = 1
    bar[10:15] = 1
    axes = kernel_field_picture(point, torch.rand(3, 48, 72), truth=bar).axes
    shown = {axis.get_label(): axis.images[0] for axis in axes if axis.images}
    for name, field, extent in (("estimated", point, 0), ("true", bar, 2**0.5)):
        np.testing.assert_array_equal(shown[f"{name} kernels"].get_array(), kernel_grid_picture(field, 4, 6))
        np.testing.assert_allclose(shown[f"{name} extent"].get_array(), np.full((12, 18), extent), atol=1e-6)
        assert shown[f"{name} extent"].get_clim() == pytest.approx((0, 2**0.5))


def test_offsets_that_shift_have_no_spread_and_those_that_dilate_no_shift():
    taps = torch.tensor([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)], dtype=torch.float32)
    shift = torch.tensor([0.5, -2.0]).repeat(9)
    offset = torch.stack([shift, 0.25 * taps.flatten()], dim=-1)[:, None]  # (18, 1, 2)
    down, right, spread = offset_moments(offset)
    torch.testing.assert_close(down, torch.tensor([[0.5, 0.0]]))
    torch.testing.assert_close(right, torch.tensor([[-2.0, 0.0]]))
    torch.testing.assert_close(spread, torch.tensor([[0.0, 0.25 * (4 / 3) ** 0.5]]))


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (0, -1), (-1, 0)])
def test_offsets_have_the_colour_of_the_wheel_and_an_arrow_that_way(down, right):
    offset = torch.tensor([0.3 * down, 0.3 * right]).repeat(9)[:, None, None].expand(-1, 24, 36)
    axes = {axis.get_label(): axis for axis in offsets_picture(offset, torch.rand(3, 24, 36)).axes}
    wheel = axes["wheel"].images[0].get_array()
    (arrows,) = axes["arrows"].collections
    np.testing.assert_allclose(axes["shifts"].images[0].get_array()[7, 5], wheel[50 + 50 * down, 50 + 50 * right, :3])
    np.testing.assert_allclose([arrows.V[0], arrows.U[0]], [0.3 * down, 0.3 * right], atol=1e-6)
    assert axes["wheel"].get_xlabel() == "rim: 0.3 LR pixels"


def test_offsets_of_zero_are_white():
    axes = {axis.get_label(): axis for axis in offsets_picture(torch.zeros(18, 6, 8), torch.rand(3, 6, 8)).axes}
    np.testing.assert_array_equal(axes["shifts"].images[0].get_array(), np.ones((6, 8, 3)))


def test_the_panel_of_three_photographs_is_a_small_png(tmp_path):
    photographs = (skimage_data.chelsea(), skimage_data.coffee(), skimage_data.astronaut())
    rows = [photo_row("photo", image, kernel=torch.rand(25, 75, 112)) for image in photographs]
    save_figure(panel(rows, ""), tmp_path / "new" / "panel.png")
    assert (tmp_path / "new" / "panel.png").stat().st_size <= 500_000
    with Image.open(tmp_path / "new" / "panel.png") as picture:
        assert picture.format == "PNG" and picture.width > 1200
    save_figure(panel(rows, ""), tmp_path / "panel.png", max_bytes=300_000)
    assert (tmp_path / "panel.png").stat().st_size <= 300_000
