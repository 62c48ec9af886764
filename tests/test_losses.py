import pytest
import torch
from torch import nn

from arcsr_lightning.degradation import apply_kernel_field, downsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.losses import KernelLoss, RestorationLoss, kernel_loss, reblur_loss
from arcsr_lightning.networks import Restoration


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def always(sr: torch.Tensor, kernel: torch.Tensor | None = None):
    """A network that says the same of every image."""
    return lambda lr: Restoration(sr, kernel)


def batch() -> dict[str, torch.Tensor]:
    return {"lr": uniform(2, 3, 8, 9), "hr": uniform(2, 3, 16, 18), "kernel": torch.softmax(uniform(2, 9, 8, 9), 1)}


def test_the_loss_is_l1_unless_told_otherwise():
    data, sr = batch(), uniform(2, 3, 16, 18).flip(0)
    terms = RestorationLoss()(always(sr), data)
    torch.testing.assert_close(terms["loss"], (sr - data["hr"]).abs().mean())
    assert terms.keys() == {"l1", "loss"}


def test_terms_add_up_with_their_weights():
    data = batch()
    kernel = data["kernel"].roll(1, 1)  # of a flip the divergence is the same either way
    terms = RestorationLoss(kernel_weight=0.5, reblur_weight=0.25)(always(data["hr"] + 0.1, kernel), data)
    torch.testing.assert_close(terms["l1"], torch.tensor(0.1))
    torch.testing.assert_close(terms["kernel"], (data["kernel"] * (data["kernel"] / kernel).log()).sum(1).mean())
    torch.testing.assert_close(terms["loss"], 0.1 + 0.5 * terms["kernel"] + 0.25 * terms["reblur"])


def test_reblur_vanishes_for_the_kernels_that_made_the_lr_image():
    """At batch 2 with different fields: planes of one sample must not meet the kernels of another."""
    data = batch()
    lr = apply_kernel_field(downsample(data["hr"], 2), data["kernel"])
    assert reblur_loss(data["kernel"], lr, data["hr"], scale=2) < 1e-6
    assert reblur_loss(data["kernel"].flip(0), lr, data["hr"], scale=2) > 1e-3


def test_reblur_asks_nothing_of_what_lies_beyond_the_crop():
    torch.manual_seed(0)
    hr, kernel = torch.rand(2, 3, 80, 80), torch.rand(2, 25, 20, 20)
    lr = apply_kernel_field(downsample(hr, 4), kernel)
    kernel, lr, hr = kernel[..., 4:16, 4:16], lr[..., 4:16, 4:16], hr[..., 16:64, 16:64]
    assert reblur_loss(kernel, lr, hr, 4) < 1e-6
    assert reblur_loss(kernel, lr + 1e-3 * torch.eye(12), hr, 4) > 1e-6  # of what is left it asks
    with pytest.raises(InputError, match=r"8x8 LR pixels are too small .* at least 9"):
        reblur_loss(kernel[..., :8, :8], lr[..., :8, :8], hr[..., :32, :32], 4)


def test_kernel_loss_weighs_pixels_by_confidence():
    data = batch() | {"confidence": torch.zeros(2, 1, 8, 9)}
    data["confidence"][0, :, 2:4, 3], data["confidence"][1, :, 5, 5] = 1.0, 0.5
    estimate = data["kernel"].flip(1)
    divergence = (data["kernel"] * (data["kernel"] / estimate).log()).sum(1)
    expected = (divergence[0, 2, 3] + divergence[0, 3, 3] + 0.5 * divergence[1, 5, 5]) / 2.5
    terms = RestorationLoss(kernel_weight=1.0)(always(data["hr"], estimate), data)
    torch.testing.assert_close(terms["kernel"], expected)


def test_kernels_without_any_confidence_teach_nothing():
    data = batch()
    estimate = data["kernel"].flip(1).requires_grad_()
    loss = kernel_loss(estimate, data["kernel"], torch.zeros(2, 1, 8, 9))
    loss.backward()
    assert loss == 0
    assert torch.equal(estimate.grad, torch.zeros_like(estimate))


def test_kernel_loss_pulls_back_a_softmax_that_has_settled_on_a_wrong_tap():
    logits = torch.tensor([60.0, 0.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    truth = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    kernel_loss(torch.softmax(logits, 1), truth).backward()
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([1.0, -1.0, 0.0]))
    assert kernel_loss(truth, truth) == 0


@pytest.mark.parametrize("weights", [{"kernel_weight": 1.0}, {"reblur_weight": 1.0}])
def test_a_network_without_kernels_cannot_be_supervised(weights):
    with pytest.raises(InputError, match="estimates no kernel"):
        RestorationLoss(**weights)(always(batch()["hr"]), batch())


def test_data_without_kernels_cannot_supervise():
    data = batch()
    kernel = data.pop("kernel")
    with pytest.raises(InputError, match=r"loss\.kernel_weight needs true or measured kernels"):
        RestorationLoss(kernel_weight=1.0)(always(data["hr"], kernel), data)


def test_what_it_learns_from_follows_its_weights():
    assert RestorationLoss(reblur_weight=1.0).supervision == ("pairs",)
    assert RestorationLoss(kernel_weight=1.0).supervision == ("pairs", "kernels")


class Guided(nn.Module):
    """An estimator that says a softmax of its parameter at every pixel, and a restorer that must not be run."""

    def __init__(self):
        super().__init__()
        self.estimator = nn.Conv2d(3, 9, 1)
        self.restorer = nn.Conv2d(3, 3, 1)

    def forward(self, lr):
        raise AssertionError


def test_the_kernel_loss_teaches_the_estimator_alone():
    network, data = Guided(), batch() | {"confidence": uniform(2, 1, 8, 9)}
    network.estimator = nn.Sequential(network.estimator, nn.Softmax(dim=1))
    terms = KernelLoss()(network, data)
    expected = kernel_loss(network.estimator(data["lr"]), data["kernel"], data["confidence"])
    torch.testing.assert_close(terms["loss"], expected)
    terms["loss"].backward()
    assert all(parameter.grad is None for parameter in network.restorer.parameters())
    assert network.estimator[0].weight.grad.abs().sum() > 0


def test_the_kernel_loss_says_what_to_do_without_kernels():
    with pytest.raises(InputError, match="model=arcsr_staged learns from true kernels.*use model=arcsr, or"):
        KernelLoss()(Guided(), {"lr": uniform(1, 3, 4, 4)})


def of_taps(*shape, seed):
    return torch.softmax(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_known_kernels_are_what_the_network_is_given():
    given = {}

    def network(lr, **known):
        given.update(known)
        return Restoration(torch.zeros(1, 3, 8, 8), None)

    batch = {"lr": torch.zeros(1, 3, 2, 2), "hr": torch.zeros(1, 3, 8, 8), "kernel": of_taps(1, 9, 2, 2, seed=0)}
    RestorationLoss(known_kernels=True)(network, batch)
    assert given == {"kernel": batch["kernel"]}
    RestorationLoss()(lambda lr: network(lr), batch)  # and nothing otherwise


@pytest.mark.parametrize("weights", [{"kernel_weight": 0.02}, {"reblur_weight": 0.1}])
def test_kernels_that_are_given_are_not_taught(weights):
    with pytest.raises(InputError, match=r"known_kernels=true: .*; set loss\.kernel_weight=0 loss\.reblur_weight=0"):
        RestorationLoss(known_kernels=True, **weights)
