import pytest
import torch
from torch import nn

from arcsr_lightning.rivals.espcn import ESPCN
from arcsr_lightning.scores.cost import macs, parameters


def test_weights_of_the_published_network():
    """CVPR 2016, Sec. 3.2: (5, 64), (3, 32), 3 on the luma at x3, so one channel in and nine out."""
    network = ESPCN(scale=3)
    first, second, third = (layer.weight.numel() for layer in network.layers if isinstance(layer, nn.Conv2d))
    assert first // 3 + second + third // 3 == 5 * 5 * 64 + 3 * 3 * 64 * 32 + 3 * 3 * 32 * 9 == 22_624
    assert parameters(network) == first + second + third + 64 + 32 + 27
    assert macs(network, 5, 6) == (first + second + third) * 5 * 6  # at LR size


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_any_lr_size(scale, size):
    sr, kernel = ESPCN(scale, widths=(4, 2))(torch.rand(2, 3, *size))
    assert sr.shape == (2, 3, scale * size[0], scale * size[1])
    assert kernel is None


def test_the_pixels_of_a_square_are_channels_of_one_lr_pixel():
    """Eq. (4) of the publication, with the colours outside: a loop over every pixel."""
    network, lr = ESPCN(2, widths=(4, 2)), torch.rand(1, 3, 5, 6)
    channels, sr = network.layers(lr)[0], network(lr).sr[0]
    for colour in range(3):
        for y in range(10):
            for x in range(12):
                assert sr[colour, y, x] == channels[4 * colour + 2 * (y % 2) + x % 2, y // 2, x // 2]


def test_a_pixel_sees_nine_lr_pixels():
    network = ESPCN(4, widths=(4, 2))
    lr = torch.rand(1, 3, 21, 21, requires_grad=True)
    network(lr).sr[0, :, 40:44, 40:44].sum().backward()
    rows = torch.nonzero(lr.grad.abs().sum((0, 1)), as_tuple=True)[0]
    assert (rows.min(), rows.max()) == (6, 14)
