import numpy as np
import pytest
import torch

from arcsr_lightning.figures.kernels import (
    grid_pixels,
    kernel_colours,
    kernel_field_picture,
    kernel_grid_picture,
    kernel_moments,
)
from arcsr_lightning.inference.memory import Allocations


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


def test_the_picture_of_a_field_names_its_parts_and_shows_extents(pictures):
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


def test_what_an_image_and_its_kernels_are_may_be_said(pictures):
    kernel = torch.full((25, 12, 18), 0.04)
    shown = pictures(kernel_field_picture(kernel, torch.rand(3, 48, 72), title="blurred image", source="measured"))
    assert {"blurred image", "measured kernels"} <= shown.keys()


def test_directions_are_not_averaged():
    """Between 2 and 178 degrees, both nearly horizontal, lies no vertical one."""
    figure = kernel_field_picture(torch.full((25, 12, 18), 0.04), torch.rand(3, 48, 72))
    drawn = {axis.get_label(): axis.images[0].get_interpolation() for axis in figure.axes if axis.images}
    assert drawn["estimated angle"] == drawn["estimated extent"] == "nearest"


def test_the_moments_of_a_field_take_little_beside_it():
    field = torch.rand(49, 256, 256)
    with Allocations() as made:
        kernel_moments(field)
    assert made.most < 1.5 * field.nbytes  # of which one is the field, that its strips are views of


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


def test_a_field_without_blur_has_no_extents_below_zero():
    dots = torch.zeros(9, 8, 8)
    dots[4] = 1
    figure = kernel_field_picture(dots, torch.zeros(3, 32, 32))
    (extents,) = next(axes for axes in figure.axes if axes.get_label() == "estimated extent").images
    assert extents.get_clim() == (0, 0.5)


def test_colours_of_a_field_are_hue_by_direction_and_brightness_by_extent():
    side = 7
    across, down, short, disc, point = (torch.zeros(side, side) for _ in range(5))
    across[3], down[:, 3], short[3, 2:5], disc[:], point[3, 3] = 1, 1, 1, 1, 1
    field = torch.stack([kernel.flatten() for kernel in (across, down, short, disc, point)], dim=-1)[:, None]
    (colours,) = kernel_colours(field).tolist()
    assert colours[0] == [255, 0, 0] and colours[4] == [0, 0, 0]
    assert colours[1][0] == 0 and max(colours[1]) == 255  # 90 degrees: opposite on the circle of hues
    assert colours[2] == [pytest.approx(255 * (8 / 48) ** 0.5, abs=1), 0, 0]  # a line of 3 among those of 7
    assert len(set(colours[3])) == 1


def test_colours_of_a_field_do_not_depend_on_its_strips():
    field = torch.rand(9, 21, 5, generator=torch.Generator().manual_seed(0)).softmax(0)
    by_row = [kernel_colours(field[:, row : row + 1]) for row in range(21)]
    np.testing.assert_array_equal(kernel_colours(field), np.concatenate(by_row))
