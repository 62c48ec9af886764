import copy

import pytest
import torch
from torch import nn

from arcsr_lightning.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6), (1, 5)])
def test_singular_values_go_through_the_polynomial_and_singular_vectors_stay(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(orthogonalised(matrix), left * values @ right)


def test_what_lies_in_few_directions_goes_along_all_of_them_alike():
    gradient = torch.randn(20, 3) @ torch.diag(torch.tensor([1.0, 0.1, 0.02])) @ torch.randn(3, 50)
    values = torch.linalg.svdvals(orthogonalised(gradient))
    assert values[0] < 1.3
    assert values[2] > 0.6
    assert values[3] < 0.01


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-25, 1e-15])
def test_nothing_is_learnt_from_a_gradient_of_next_to_nothing(size):
    assert orthogonalised(torch.full((3, 4), size)).abs().max() < 1e-4


def test_the_first_step_of_a_convolution_is_that_of_its_matrix_of_outputs_and_taps():
    weight = nn.Parameter(torch.randn(8, 2, 1, 3))
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    Muon([weight], lr=0.1).step()
    step = orthogonalised(weight.grad.reshape(8, 6)).reshape(8, 2, 1, 3) * (8 / 6) ** 0.5
    torch.testing.assert_close(weight.detach(), before - 0.1 * step)


def test_what_is_no_matrix_is_trained_as_adam_would():
    shapes = [(5,), (3, 1), (1, 1, 1, 4)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    adams = copy.deepcopy(ours)
    optimizers = Muon(ours, lr=0.1), torch.optim.Adam(adams, lr=0.1)
    for _ in range(3):
        for one, other in zip(ours, adams, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, adams, strict=True):
        torch.testing.assert_close(one, other)


def test_a_training_goes_on_from_its_state():
    def steps(optimizer, network, seeds):
        for seed in seeds:
            optimizer.zero_grad()
            network(torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
            optimizer.step()

    network = nn.Linear(4, 3)
    optimizer = Muon(network.parameters())
    steps(optimizer, network, [0, 1])
    other = copy.deepcopy(network)
    resumed = Muon(other.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(optimizer, network, [2, 3])
    steps(resumed, other, [2, 3])
    assert torch.equal(network.weight, other.weight)
    assert torch.equal(network.bias, other.bias)


@pytest.mark.parametrize("setting", [{"lr": -1.0}, {"momentum": 1.0}, {"betas": (0.9, 1.5)}])
def test_a_setting_out_of_range_is_refused(setting):
    with pytest.raises(ValueError, match="lr must be at least 0, momentum and betas in"):
        Muon([nn.Parameter(torch.zeros(2, 2))], **setting)
