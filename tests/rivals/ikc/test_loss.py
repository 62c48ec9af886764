import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.ikc.loss import IKCLoss, mean_kernel
from arcsr_lightning.rivals.ikc.network import IKC, SFTMD, Corrector, Predictor


def tiny(iterations: int = 2) -> IKC:
    torch.manual_seed(0)
    parts = Predictor(4, 4), Corrector(2, 4, 4), SFTMD(2, 4, 1, 4)
    return IKC(*parts, code=4, kernel_size=3, iterations=iterations)


def batch() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    kernel = torch.softmax(torch.randn(2, 9, 6, 7, generator=random), 1)
    return {
        "lr": torch.rand(2, 3, 6, 7, generator=random),
        "hr": torch.rand(2, 3, 12, 14, generator=random),
        "kernel": kernel,
    }


def test_the_kernel_of_a_crop_is_the_mean_of_its_pixels_kernels():
    field = batch()["kernel"]
    expected = sum(field[..., y, x] for y in range(6) for x in range(7)) / 42
    torch.testing.assert_close(mean_kernel({"kernel": field}), expected)


def test_measured_kernels_count_as_they_are_sure():
    field, confidence = batch()["kernel"], torch.zeros(2, 1, 6, 7)
    confidence[0, 0, 2, 3], confidence[0, 0, 4, 5] = 1, 3
    mean = mean_kernel({"kernel": field, "confidence": confidence})
    torch.testing.assert_close(mean[0], (field[0, :, 2, 3] + 3 * field[0, :, 4, 5]) / 4, atol=1e-5, rtol=0)
    torch.testing.assert_close(mean[1], field[1].mean((1, 2)))  # nothing is sure


def test_terms_by_hand():
    network, data = tiny(), batch()
    truth = mean_kernel(data) @ network.basis
    first = network.predictor(data["lr"])
    second = first + network.corrector(network.restorer(data["lr"], first), first)
    third = second + network.corrector(network.restorer(data["lr"], second), second)
    l1 = F.l1_loss(network.restorer(data["lr"], truth), data["hr"])
    guess, *corrections = ((code - truth).square().mean() for code in (first, second, third))
    terms = IKCLoss(image_weight=2, code_weight=3)(network, data)
    torch.testing.assert_close(terms["l1"], l1)
    torch.testing.assert_close(terms["guess"], guess)
    torch.testing.assert_close(terms["correction"], sum(corrections) / 2)
    torch.testing.assert_close(terms["loss"], 2 * l1 + 3 * (guess + sum(corrections) / 2))


@pytest.mark.parametrize(
    ("weights", "trained"),
    [
        ({"code_weight": 0}, {"restorer"}),
        ({"image_weight": 0}, {"predictor", "corrector"}),
        ({}, {"restorer", "predictor", "corrector"}),
    ],
)
def test_each_part_learns_from_its_own_term(weights, trained):
    network = tiny()
    IKCLoss(**weights)(network, batch())["loss"].backward()
    assert {name.split(".")[0] for name, one in network.named_parameters() if one.grad is not None} == trained


def test_without_corrections_every_parameter_still_has_a_gradient():
    """As DDP demands."""
    network = tiny(iterations=0)
    IKCLoss()(network, batch())["loss"].backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_guess_learns_nothing_from_its_corrections():
    network, data = tiny(), batch()
    IKCLoss(image_weight=0)(network, data)["loss"].backward()
    both = [parameter.grad.clone() for parameter in network.predictor.parameters()]
    network.zero_grad()
    F.mse_loss(network.predictor(data["lr"]), mean_kernel(data) @ network.basis).backward()
    for one, parameter in zip(both, network.predictor.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


def test_corrections_learn_to_make_up_for_a_poor_guess():
    network, data = tiny(), batch()
    loss = IKCLoss(image_weight=0)
    optimizer = torch.optim.Adam(network.corrector.parameters(), 3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        terms = loss(network, data)
        terms["loss"].backward()
        optimizer.step()
    assert terms["correction"] < 0.2 * terms["guess"]


def test_what_it_learns_from_is_said():
    assert IKCLoss().supervision == ("kernels", "pairs")
    assert IKCLoss(image_weight=0).supervision == ("kernels",)


def test_no_weights_and_no_kernels_are_refused():
    with pytest.raises(InputError, match="one of them must be positive"):
        IKCLoss(0, 0)
    with pytest.raises(InputError, match=r"use model=udke, or kernels that arcsr-prepare measured"):
        IKCLoss()(tiny(), {})
