"""Enlargement by shuffles against what each step is written as."""

import pytest
import torch
from torch.nn import functional as F

from arcsr_lightning.rivals.upsampling import ShuffledUp


@pytest.mark.parametrize("slope", [None, 0.1])
@pytest.mark.parametrize(("scale", "factors"), [(2, [2]), (3, [3]), (4, [2, 2])])
def test_every_step_is_a_convolution_and_a_shuffle(scale, factors, slope):
    torch.manual_seed(0)
    up, x = ShuffledUp(4, scale, slope), torch.randn(2, 4, 3, 5)
    parameters, expected = iter(up.parameters()), x
    for factor in factors:
        expected = F.pixel_shuffle(F.conv2d(expected, next(parameters), next(parameters), padding=1), factor)
        expected = expected if slope is None else torch.where(expected > 0, expected, slope * expected)
    torch.testing.assert_close(up(x), expected)
    assert next(parameters, None) is None


def test_scales_that_it_has_no_steps_for_are_refused():
    with pytest.raises(ValueError, match="scale must be 2, 3 or 4, got 5"):
        ShuffledUp(4, 5)
