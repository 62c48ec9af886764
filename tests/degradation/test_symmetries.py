"""The symmetries of the square, by what they must keep."""

import numpy as np
import pytest
import torch

from arcsr_lightning.degradation import SYMMETRIES, apply_kernel_field, inverse, turn, turn_field


def test_there_are_eight_and_all_are_different():
    picture = torch.arange(9).reshape(3, 3)
    assert len({tuple(turn(picture, symmetry).flatten().tolist()) for symmetry in SYMMETRIES}) == 8


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)
def test_an_image_is_mirrored_and_then_turned_counter_clockwise(symmetry):
    image = torch.rand(3, 4, 6)
    expected = np.rot90(
        image.numpy()[..., ::-1] if symmetry.mirrored else image.numpy(), symmetry.quarter_turns, (1, 2)
    )
    assert np.array_equal(turn(image, symmetry).numpy(), expected)


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)
def test_blurring_the_turned_image_with_the_turned_field_turns_the_blurred_image(symmetry):
    image, field = torch.rand(2, 3, 7, 9, dtype=torch.float64), torch.rand(2, 25, 7, 9, dtype=torch.float64)
    blurred = apply_kernel_field(turn(image, symmetry), turn_field(field, symmetry))
    torch.testing.assert_close(blurred, turn(apply_kernel_field(image, field), symmetry))


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)
def test_a_field_alone_is_turned_as_in_a_batch(symmetry):
    field = torch.rand(2, 9, 4, 5)
    assert torch.equal(turn_field(field, symmetry)[0], turn_field(field[0], symmetry))


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)
def test_a_symmetry_and_its_inverse_leave_image_and_field_as_they_were(symmetry):
    image, field = torch.rand(3, 4, 6), torch.rand(9, 4, 6)
    assert torch.equal(turn(turn(image, symmetry), inverse(symmetry)), image)
    assert torch.equal(turn_field(turn_field(field, symmetry), inverse(symmetry)), field)
