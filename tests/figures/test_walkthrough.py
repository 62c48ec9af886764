import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import MotionField, dense_field
from arcsr_lightning.figures.kernels import kernel_grid_picture
from arcsr_lightning.figures.walkthrough import (
    degradation_picture,
    field_parts_picture,
    guided_conv_picture,
    impulse_picture,
    sampling_picture,
)


@pytest.fixture
def field():
    return MotionField(kernel_size=9, max_length=8)(np.random.default_rng(0), 48, 96)


def test_degradation_picture_shows_the_kernels_where_they_act(pictures, field):
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


def test_impulse_picture_answers_every_impulse_with_the_taps_of_the_pixels_around_it(pictures):
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
