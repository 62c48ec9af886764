import pytest
import torch
from torch.nn import functional as F

from arcsr_lightning.rivals.rdn.network import RDN, DenseBlock
from arcsr_lightning.scores.cost import macs, parameters


def tiny(scale: int = 4) -> RDN:
    torch.manual_seed(0)
    return RDN(scale, width=4, growth=3, blocks=2, layers=2)


@pytest.mark.parametrize(("scale", "published"), [(2, 22_123), (3, 22_308), (4, 22_271)])
def test_parameters_of_the_published_network(scale, published):
    """In thousands, as comparisons with RDN state them."""
    with torch.device("meta"):
        network = RDN(scale)
    assert round(parameters(network) / 1e3) == published


def test_operations_of_the_published_network():
    """1,309.2 GMACs for an HR image of 1280x720 at x4, as comparisons with RDN state them."""
    with torch.device("meta"):
        network = RDN()
    assert macs(network, 180, 320) / 1e9 == pytest.approx(1309.2, abs=0.05)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_any_lr_size(scale, size):
    sr, kernel = tiny(scale)(torch.rand(2, 3, *size))
    assert sr.shape == (2, 3, scale * size[0], scale * size[1])
    assert kernel is None


def test_a_dense_block_is_its_definition():
    """Eqs. (5) to (7): each layer reads the block's input and all layers before it."""
    block, x = DenseBlock(4, 3, 3), torch.randn(2, 4, 6, 7)
    first, second, third = block.growing
    a = F.relu(first(x))
    b = F.relu(second(torch.cat([x, a], 1)))
    c = F.relu(third(torch.cat([x, a, b], 1)))
    torch.testing.assert_close(block(x), x + block.fuse(torch.cat([x, a, b, c], 1)))


def test_the_fusion_reads_every_block():
    network, lr = tiny(), torch.rand(1, 3, 5, 6)
    results = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, inputs, output: results.append(output))
    sr = network(lr).sr
    shallow = network.shallow(lr)
    expected = network.tail(network.upsample(shallow + network.fuse(torch.cat(results, 1))))
    torch.testing.assert_close(sr, expected)
    assert network.fuse[0].in_channels == sum(result.shape[1] for result in results) == 8


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be 2, 3 or 4, got 8"):
        RDN(8)
