import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.rivals.rrdb.network import RRDBNet
from arcsr_lightning.scores.cost import parameters


def tiny(scale: int = 4, signed: bool = False) -> RRDBNet:
    torch.manual_seed(0)
    return RRDBNet(scale, width=8, blocks=1, growth=4, signed=signed)


def test_parameters_and_operations_of_the_published_network():
    with torch.device("meta"):
        network, lr = RRDBNet(), torch.empty(1, 3, 64, 64)
        with FlopCounterMode(display=False) as counter:
            network(lr)
    assert parameters(network) == 16_697_987
    assert counter.get_total_flops() / 2 == pytest.approx(73.43e9, rel=0.01)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_any_lr_size(scale, size):
    sr, kernel = tiny(scale)(torch.rand(2, 3, *size))
    assert sr.shape == (2, 3, scale * size[0], scale * size[1])
    assert kernel is None


def test_signed_sees_and_makes_images_around_zero():
    plain, signed, lr = tiny(), tiny(signed=True), torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(signed(lr).sr, plain(lr * 2 - 1).sr / 2 + 0.5)


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be 2, 3 or 4, got 8"):
        RRDBNet(8)


def test_l1_falls_on_one_repeated_batch():
    network = tiny(2)
    lr, hr = torch.rand(2, 3, 6, 7), torch.rand(2, 3, 12, 14)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        loss = F.l1_loss(network(lr).sr, hr)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
