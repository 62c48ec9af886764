"""What the estimator may have beyond the paper, and the one that has cues alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from arcsr_lightning.blocks import BilinearUp, CueHead
from arcsr_lightning.losses import kernel_loss
from arcsr_lightning.networks import ArcSR, ConstantKernel, CueEstimator, KernelEstimator, Restorer
from arcsr_lightning.operators import local_contrast_normalised, motion_cues


def lively(network: nn.Module) -> nn.Module:
    """Weights that nothing hides behind: fresh ones say "uniform"."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.1)
    return network.eval()


def test_the_options_leave_the_paper_s_structure():
    paper = KernelEstimator(3, width=4)
    optional = KernelEstimator(3, width=4, upsampling=BilinearUp, normalise_input=True, cues=(1, 3))
    own = {name: p.shape for name, p in paper.named_parameters() if not name.startswith("ups.")}
    others = {name: p.shape for name, p in optional.named_parameters() if not name.startswith(("ups.", "cues."))}
    assert own == others


def test_a_normalised_input_is_what_the_u_net_would_see():
    paper, normalising = (lively(KernelEstimator(3, width=4, normalise_input=choice)) for choice in (False, True))
    normalising.load_state_dict(paper.state_dict())
    lr = torch.rand(1, 3, 8, 12)
    torch.testing.assert_close(normalising(lr), paper(local_contrast_normalised(lr)))


def test_cues_are_added_to_the_input_of_the_deepest_level():
    estimator = lively(KernelEstimator(3, width=4, levels=3, cues=(1, 3)))
    features, cues = torch.rand(1, 4, 8, 12), torch.rand(1, 16, 2, 3)
    first, second, third = estimator.encoder
    fine = first(features)
    middle = second(estimator.downs[0](fine))
    deepest = third(estimator.downs[1](middle) + cues)
    for output, expected in zip(estimator.encode(features, cues), (fine, middle, deepest), strict=True):
        torch.testing.assert_close(output, expected)


def test_the_cues_of_a_u_net_are_those_of_its_deepest_cells():
    estimator = lively(KernelEstimator(3, width=4, levels=3, cues=(1, 3)))
    lr = torch.rand(1, 3, 8, 12)
    torch.testing.assert_close(estimator.cues(lr), estimator.cues.layers(motion_cues(lr, 4, (1, 3))))
    assert isinstance(estimator.cues, CueHead)
    without = KernelEstimator(3, width=4, levels=3)
    without.load_state_dict({name: x for name, x in estimator.state_dict().items() if not name.startswith("cues.")})
    assert (without(lr) - estimator(lr)).abs().max() > 1e-4


def test_the_cue_estimator_enlarges_the_kernels_of_its_cells():
    estimator = lively(CueEstimator(5, width=8))
    lr = torch.rand(2, 3, 8, 12)
    cells = estimator.kernels_of(motion_cues(lr))  # (2, 25, 2, 3)
    expected = F.interpolate(cells, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(estimator(lr), expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (9, 14)])
def test_kernels_of_any_size_are_a_field(height, width):
    for estimator in (CueEstimator(5, width=8), KernelEstimator(5, width=4, upsampling=BilinearUp, cues=(1, 3))):
        field = lively(estimator)(torch.rand(2, 3, height, width))
        assert field.shape == (2, 25, height, width)
        assert field.min() >= 0
        torch.testing.assert_close(field.sum(dim=1), torch.ones(2, height, width))


def test_an_image_loss_reaches_every_parameter_behind_the_cues():
    network = ArcSR(lively(CueEstimator(3, width=8)), Restorer(2, 3, width=8, blocks=1)).train()
    for layer in network.restorer.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.1)
    network(torch.rand(1, 3, 16, 16)).sr.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_fresh_cue_estimator_says_uniform():
    field = CueEstimator(3, width=8).eval()(torch.rand(1, 3, 8, 8))
    torch.testing.assert_close(field, torch.full((1, 9, 8, 8), 1 / 9), rtol=0, atol=1e-2)


@pytest.mark.parametrize("make", [KernelEstimator, CueEstimator])
def test_kernels_are_float32_where_features_are_not(make):
    """Probabilities of half precision sum to one within a hundredth, and the image takes that for brightness."""
    estimator = lively(make(5, width=8))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        field = estimator(torch.rand(1, 3, 8, 12))
    assert field.dtype == torch.float32
    torch.testing.assert_close(field.sum(dim=1), torch.ones(1, 8, 12), rtol=0, atol=1e-5)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        CueEstimator(kernel_size=4)


def test_a_constant_kernel_becomes_the_mean_of_what_it_is_taught():
    truth = torch.softmax(torch.randn(4, 9, 6, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    estimator = ConstantKernel(3)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        kernel_loss(estimator(torch.rand(4, 3, 6, 5)), truth).backward()
        optimizer.step()
    kernel = estimator(torch.rand(2, 3, 3, 4))
    assert kernel.shape == (2, 9, 3, 4)
    torch.testing.assert_close(kernel[1, :, 2, 3], truth.mean(dim=(0, 2, 3)), rtol=0, atol=1e-3)
