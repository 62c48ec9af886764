import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from arcsr_lightning.rivals.rrdb.conditioned import RRDBSFT, ConditionedRRDB
from arcsr_lightning.scores.cost import parameters as count


def test_parameters_and_operations_of_the_published_network():
    with torch.device("meta"):
        network, lr, code_map = RRDBSFT(), torch.empty(1, 3, 64, 64), torch.empty(1, 15, 64, 64)
        with FlopCounterMode(display=False) as counter:
            network(lr, code_map)
    assert count(network) == 8_086_256
    assert counter.get_total_flops() / 2 == pytest.approx(33.09e9, rel=0.01)


@pytest.mark.parametrize(("code", "parameters"), [(15, 801_984), (64, 830_208)])
def test_parameters_of_a_block(code, parameters):
    with torch.device("meta"):
        assert count(ConditionedRRDB(64, code, 32)) == parameters


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_any_lr_size(scale):
    torch.manual_seed(0)
    network = RRDBSFT(scale, width=4, blocks=2, code=3, growth=2)
    assert network(torch.rand(2, 3, 7, 10), torch.rand(2, 3, 7, 10)).shape == (2, 3, 7 * scale, 10 * scale)
    assert network(torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1)).shape == (1, 3, scale, scale)


def test_every_block_sees_the_code_map():
    torch.manual_seed(0)
    network = RRDBSFT(2, width=4, blocks=3, code=3, growth=2)
    network(torch.rand(1, 3, 5, 5), torch.rand(1, 3, 5, 5)).sum().backward()
    for block in network.blocks:
        assert block.sft.addend[0].weight.grad[:, 4:].abs().sum() > 0


def test_a_code_at_one_place_acts_around_that_place():
    torch.manual_seed(0)
    network = RRDBSFT(2, width=4, blocks=1, code=3, growth=2)
    lr, code_map = torch.rand(1, 3, 48, 48), torch.rand(1, 3, 48, 48)
    changed = code_map.clone()
    changed[..., 10, 10] += 1
    moved = (network(lr, changed) - network(lr, code_map)).abs()
    assert moved[..., 20, 20].sum() > 0
    assert moved[..., 64:, 64:].sum() == 0
