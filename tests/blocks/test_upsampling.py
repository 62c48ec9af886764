import pytest
import torch

from arcsr_lightning.blocks import BilinearUp, TransposedUp


@pytest.mark.parametrize("upsampling", [TransposedUp, BilinearUp])
def test_one_level_up_is_twice_the_size_and_half_the_channels(upsampling):
    assert upsampling(4)(torch.rand(2, 8, 3, 5)).shape == (2, 4, 6, 10)


def test_bilinear_upsampling_keeps_constants_and_a_transposed_convolution_does_not():
    constant = torch.rand(1, 8, 1, 1).expand(1, 8, 4, 4)
    bilinear, transposed = BilinearUp(4)(constant), TransposedUp(4)(constant)
    assert (bilinear - bilinear[..., :1, :1]).abs().max() < 1e-6
    assert (transposed - transposed[..., :1, :1]).abs().max() > 1e-2
