import pytest
import torch

from arcsr_lightning.degradation import upsample
from arcsr_lightning.rivals.nafnet import NAFNet
from arcsr_lightning.scores.cost import macs, parameters


def tiny(scale: int = 2, window: int = 384) -> NAFNet:
    torch.manual_seed(0)
    network = NAFNet(scale, width=4, encoder=(1, 2), middle=1, decoder=(1, 1), window=window)
    with torch.no_grad():  # blocks that do something
        for name, parameter in network.named_parameters():
            if name.endswith("factor"):
                parameter.normal_()
    return network


@pytest.mark.parametrize(("width", "millions", "gmacs"), [(32, 17.11, 16), (64, 67.89, 65)])
def test_parameters_and_operations_of_the_published_networks(width, millions, gmacs):
    """The publication counts what its normalisations and gates do, too: 3 % of it."""
    with torch.device("meta"):
        network = NAFNet(width=width)
    assert parameters(network) / 1e6 == pytest.approx(millions, abs=0.005)
    assert macs(network) / 1e9 == pytest.approx(gmacs, rel=0.035)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_any_lr_size(scale, size):
    sr, kernel = tiny(scale)(torch.rand(2, 3, *size))
    assert sr.shape == (2, 3, scale * size[0], scale * size[1])
    assert kernel is None


def test_its_result_is_added_to_the_enlarged_image():
    network, lr = tiny(), torch.rand(1, 3, 6, 7)
    assert not torch.allclose(network(lr).sr, upsample(lr, 2))
    with torch.no_grad():
        network.tail.weight.zero_()
        network.tail.bias.zero_()
    assert torch.equal(network(lr).sr, upsample(lr, 2))


def test_far_pixels_of_a_large_image_do_not_reach_its_attention():
    lr = torch.rand(1, 3, 8, 64)
    changed = lr.clone()
    changed[..., -8:] = 0
    for window, same in ((16, True), (384, False)):
        network = tiny(window=window)
        near, nearby = network(lr).sr[..., :16], network(changed).sr[..., :16]
        assert torch.allclose(near, nearby, atol=1e-6) == same


def test_levels_must_agree():
    with pytest.raises(ValueError, match="as many levels"):
        NAFNet(encoder=(1, 1), decoder=(1,))
