import numpy as np
import pytest
import torch

from arcsr_lightning.figures.offsets import offset_moments, offsets_picture


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
