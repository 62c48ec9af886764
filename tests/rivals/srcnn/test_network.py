import pytest
import torch
from torch import nn

from arcsr_lightning.degradation import upsample
from arcsr_lightning.rivals.srcnn import SRCNN
from arcsr_lightning.scores.cost import macs


@pytest.mark.parametrize(("middle", "published"), [(1, 8_032), (5, 57_184)])
def test_weights_of_the_published_networks(middle, published):
    """TPAMI 2016, Sec. 4.3: without biases, and for the luma, so one channel in and out in place of three."""
    network = SRCNN(kernel_sizes=(9, middle, 5))
    first, second, third = (layer.weight.numel() for layer in network.layers if isinstance(layer, nn.Conv2d))
    assert first // 3 + second + third // 3 == published
    assert macs(network, 5, 6) == (first + second + third) * 20 * 24  # at HR size


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_any_lr_size(scale, size):
    sr, kernel = SRCNN(scale, widths=(4, 2))(torch.rand(2, 3, *size))
    assert sr.shape == (2, 3, scale * size[0], scale * size[1])
    assert kernel is None


@pytest.mark.parametrize(("middle", "reach"), [(1, 13), (5, 17)])
def test_a_pixel_sees_as_much_of_the_enlarged_image_as_its_kernels_add_up_to(middle, reach):
    network = SRCNN(1, (9, middle, 5), widths=(4, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()  # nothing cancels and no ReLU is off
    seen = torch.rand(1, 3, 31, 31, requires_grad=True)
    network.layers(seen)[0, 0, 15, 15].backward()
    rows = torch.nonzero(seen.grad.abs().sum((0, 1)), as_tuple=True)[0]
    assert rows.max() - rows.min() + 1 == reach


def test_it_can_be_bicubic_upscaling():
    network = SRCNN(4, (9, 1, 5), widths=(3, 3))
    with torch.no_grad():
        for layer in network.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight)
                layer.bias.zero_()
    lr = torch.rand(1, 3, 6, 7)
    torch.testing.assert_close(network(lr).sr, upsample(lr, 4).clamp(min=0))
