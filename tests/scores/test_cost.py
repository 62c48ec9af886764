import torch
from torch import nn

from arcsr_lightning.networks import ArcSR, KernelEstimator, Restorer
from arcsr_lightning.scores.cost import macs, parameters


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
