import pytest
import torch
from torch import nn

from arcsr_lightning.networks import ArcSR, KernelEstimator, Restorer
from arcsr_lightning.operators import deform_conv2d
from arcsr_lightning.scores.cost import macs, parameters, parts


class OneConvolution(nn.Module):
    scale = 1

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, lr):
        return self.convolution(lr)


def test_a_convolution_costs_its_taps_at_every_pixel():
    assert macs(OneConvolution(), 6, 7) == 6 * 7 * 3 * 5 * 9
    assert parameters(OneConvolution()) == 3 * 5 * 9 + 5


def test_the_network_is_left_as_it_was():
    network = OneConvolution().train()
    macs(network)
    assert network.training
    assert network(torch.ones(1, 3, 4, 4)).device.type == "cpu"


def test_a_kernel_costs_no_more_than_the_convolution_it_guides():
    """KGconv has the parameters and products of an ordinary convolution (Sec. 3.2.3); the scaling is not counted."""
    from arcsr_lightning.blocks import KGConv, PlainConv

    guided, plain = (
        ArcSR(KernelEstimator(5, width=4, levels=1), Restorer(2, 5, width=4, blocks=1, convolution=convolution))
        for convolution in (KGConv, PlainConv)
    )
    assert macs(guided, 8, 9) == macs(plain, 8, 9)
    assert parameters(guided) == parameters(plain)


class TwoPartsAndMore(nn.Module):
    """Two children, of which one is a list and runs twice, and a product and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 5, 1)
        self.body = nn.ModuleList([nn.Conv2d(5, 5, 3, padding=1)])
        self.gate = nn.Parameter(torch.ones(7, 7))

    def forward(self, lr):
        return self.body[0](self.body[0](self.head(lr))) @ self.gate


def test_the_cost_of_parts_is_that_of_their_convolutions_and_sums_to_the_whole():
    found = parts(TwoPartsAndMore(), 6, 7)
    pixels = 6 * 7
    assert [part[:2] for part in found] == [("head", 20), ("body", 5 * 5 * 9 + 5), ("TwoPartsAndMore", 49)]
    assert [part.gmacs * 1e9 for part in found] == pytest.approx(
        [pixels * 3 * 5, 2 * pixels * 5 * 5 * 9, 5 * pixels * 7]
    )
    network = ArcSR(KernelEstimator(5, width=4, levels=1), Restorer(2, 5, width=4, blocks=1))
    found = parts(network)
    assert [part.name for part in found] == ["estimator", "restorer"]
    assert sum(part.parameters for part in found) == parameters(network)
    assert sum(part.gmacs for part in found) * 1e9 == pytest.approx(macs(network))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_deformable_convolution_costs_what_a_plain_one_does(groups):
    """With one group it is counted as one operator, with two as the products that it consists of."""

    class Deformed(OneConvolution):
        def forward(self, lr):
            x = self.convolution(lr)[:, :4]
            offset = lr.new_zeros(len(x), 18 * groups, *x.shape[2:])
            return deform_conv2d(x, offset, lr.new_zeros(6, 4, 3, 3), padding=1)

    assert macs(Deformed(), 6, 7) == 6 * 7 * (3 * 5 + 4 * 6) * 9
