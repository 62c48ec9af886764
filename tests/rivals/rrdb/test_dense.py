import torch
from torch.nn import functional as F

from arcsr_lightning.rivals.rrdb.dense import RRDB, ResidualDenseBlock


def test_every_convolution_reads_all_that_came_before():
    torch.manual_seed(0)
    block, x = ResidualDenseBlock(4, 3), torch.rand(1, 4, 5, 6)
    features = [x]
    for convolution in block.convolutions[:4]:
        features.append(F.leaky_relu(convolution(torch.cat(features, 1)), 0.2))
    expected = x + 0.2 * block.convolutions[4](torch.cat(features, 1))
    torch.testing.assert_close(block(x), expected)


def test_rrdb_adds_a_fifth_of_three_dense_blocks():
    torch.manual_seed(0)
    block, x = RRDB(4, 3), torch.rand(1, 4, 5, 6)
    first, second, third = block.dense_blocks
    torch.testing.assert_close(block(x), x + 0.2 * third(second(first(x))))


def test_initialisation_is_a_tenth_of_he_with_no_bias():
    torch.manual_seed(0)
    for convolution in ResidualDenseBlock(64, 32).convolutions:
        deviation = 0.1 * (2 / convolution.weight[0].numel()) ** 0.5
        torch.testing.assert_close(convolution.weight.std().item(), deviation, rtol=0.03, atol=0)
        assert not convolution.bias.any()
