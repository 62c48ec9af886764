"""What is said of one pixel, against streaks and places that are known."""

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import motion_kernel
from arcsr_lightning.figures.kernels import grid_pixels, kernel_grid_picture
from arcsr_lightning.figures.pixel import AROUND, cell_at, marked, pixel_at, pixel_picture, streak_of, words_of


def streak(length, angle, side=31):
    """The kernel of a straight path at constant speed: the time that it spends at each pixel."""
    t = np.linspace(-length / 2, length / 2, 4001)[:, None]
    return motion_kernel(t * np.array([-np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))]), side).flatten()


@pytest.mark.parametrize("angle", [0, 20, 45, 90, 135, 160])
@pytest.mark.parametrize("length", [6, 13.5, 24])
def test_a_streak_is_as_long_and_as_steep_as_its_path(length, angle):
    found = streak_of(streak(length, angle))
    assert found.length == pytest.approx(length, abs=0.4)
    assert abs((found.angle - angle + 90) % 180 - 90) < 2
    assert found.directedness > 0.8


def test_the_words_have_both_lengths_and_an_angle_only_where_there_is_one():
    words = words_of(streak_of(streak(10, 30)), scale=4)
    assert "10." in words or "9." in words
    assert " LR pixels long (4" in words and "at 30°" in words
    assert "at 0°" in words_of(streak_of(streak(10, 179.8)), scale=4)
    disc = torch.from_numpy((np.hypot(*np.mgrid[-5:6, -5:6]) <= 4).astype(np.float32)).flatten()
    assert "without a direction" in words_of(streak_of(disc), scale=4)
    assert words_of(streak_of(torch.eye(49)[24]), 4).startswith("hardly any blur: 0.0 LR pixels")


@pytest.mark.parametrize("shown", [(12, 20), (48, 80), (37, 61), (5, 7)])
def test_a_point_is_of_the_pixel_that_covers_it(shown):
    for y in range(shown[0]):
        for x in range(shown[1]):
            row, column = pixel_at((x, y), shown, (12, 20))
            assert row * shown[0] / 12 <= y < (row + 1) * shown[0] / 12
            assert column * shown[1] / 20 <= x < (column + 1) * shown[1] / 20


def test_a_point_outside_is_of_the_nearest_pixel():
    assert pixel_at((-3, 48), (48, 80), (12, 20)) == (11, 0)
    assert pixel_at((80, -1), (48, 80), (12, 20)) == (0, 19)


def test_a_cell_of_the_mosaic_is_answered_with_the_kernel_that_it_shows():
    cells, field = (3, 5), (20, 31)
    rows, columns = grid_pixels(*field, *cells)
    kernel = torch.zeros(9, *field)
    kernel[5, rows[2], columns[3]] = 1  # the only kernel that is seen
    picture = kernel_grid_picture(kernel, *cells)
    lit = np.argwhere(np.abs(picture.astype(int) - [252, 255, 164]).max(-1) <= 1)
    y, x = lit.mean(0).astype(int)
    assert cell_at((int(x), int(y)), picture.shape[:2], field, cells) == (rows[2], columns[3])


def test_the_ring_is_around_the_pixel_and_nowhere_else():
    picture = np.zeros((120, 200, 3), np.uint8)
    changed = np.argwhere(marked(picture, (3, 17), (12, 20)).any(-1))
    assert not picture.any()
    np.testing.assert_allclose(changed.mean(0), [35, 175], atol=1)
    assert np.ptp(changed, axis=0).max() < 20


@pytest.mark.parametrize("pixel", [(0, 0), (15, 20), (29, 39)])
def test_the_picture_shows_what_is_around_a_pixel_its_kernel_and_where_a_dmconv_reads(pixel):
    restored = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    kernel = streak(5, 0, side=7)
    offset = torch.zeros(18)
    offset[-1] = 0.5  # the last tap reads half a pixel further right
    around, middle, taps = pixel_picture(restored, restored[::4, ::4], kernel, pixel, offset).axes
    y, x = pixel
    top, left = max(0, 4 * (y - AROUND)), max(0, 4 * (x - AROUND))
    image = around.images[0]
    np.testing.assert_array_equal(image.get_array(), restored[top : 4 * (y + AROUND + 1), left : 4 * (x + AROUND + 1)])
    square = np.array(around.lines[0].get_data())
    np.testing.assert_allclose(square.min(1), [4 * x - 0.5, 4 * y - 0.5])
    np.testing.assert_allclose(np.ptp(square, axis=1), [4, 4])
    assert around.get_xlim() == (left - 0.5, left + image.get_array().shape[1] - 0.5)
    np.testing.assert_allclose(middle.images[0].get_array(), kernel.view(7, 7))
    ends = np.array(middle.lines[0].get_data())
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], [5, 0], atol=0.4)  # bilinear taps spread it a little
    np.testing.assert_allclose(ends.mean(1), [3, 3], atol=1e-4)
    assert middle.get_title() == f"its kernel: {streak_of(kernel).length:.1f} LR pixels, 0°"
    np.testing.assert_allclose(taps.collections[2].get_offsets()[-1], [x + 1.5, y + 1])


def test_a_network_without_dmconvs_has_no_third_part():
    restored = np.zeros((40, 40, 3), np.uint8)
    assert len(pixel_picture(restored, restored[::4, ::4], streak(5, 0, 7), (4, 4)).axes) == 2
