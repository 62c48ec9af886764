import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.degradation.blur import (
    apply_blended_kernels,
    apply_kernel_field,
    lr_field,
)
from arcsr_lightning.degradation.fields import MotionField
from arcsr_lightning.degradation.kernels import gaussian_kernel
from arcsr_lightning.degradation.resize import downsample
from arcsr_lightning.errors import InputError
from arcsr_lightning.losses import RestorationLoss
from arcsr_lightning.rivals.manet.losses import (
    KernelAndImageLoss,
    KernelFieldLoss,
    ReblurConsistencyLoss,
    TrueKernelLoss,
    blur_at_hr,
)
from arcsr_lightning.rivals.manet.network import MANet, MutualAffineEstimator, refit_code
from arcsr_lightning.rivals.rrdb.conditioned import RRDBSFT
from arcsr_lightning.rivals.taps import hr_taps_field, to_hr_taps, to_lr_taps

Batch = dict[str, Tensor]


def network() -> MANet:
    torch.manual_seed(0)
    network = MANet(MutualAffineEstimator(5, width=8), RRDBSFT(2, width=8, blocks=1, code=6, growth=4), kernel_size=3)
    refit_code(network, MotionField(kernel_size=5, max_length=6), samples=30, seed=0)
    return network


def batch() -> Batch:
    """Two images, each blurred with two kernels of its own."""
    random = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, 14, 20, generator=random)
    sigmas = [(0.3, 2.0, 0.4), (1.5, 0.4, 1.2), (0.3, 0.3, 0.0), (2.0, 0.3, 0.0)]
    basis = torch.stack([gaussian_kernel(5, *sigma) for sigma in sigmas]).view(2, 2, 5, 5)
    share = F.interpolate(torch.rand(2, 1, 7, 10, generator=random), scale_factor=2)
    masks = torch.cat([share, 1 - share], 1)
    lr = downsample(apply_blended_kernels(hr, basis, masks), 2)
    return {"lr": lr, "hr": hr, "basis": basis, "masks": masks}


def measured() -> Batch:
    """The same, with kernels of LR taps that are surer in some places than in others."""
    data = batch()
    kernel = lr_field(data.pop("basis"), data.pop("masks"), 2, 3)
    return data | {"kernel": kernel, "confidence": torch.rand(2, 1, 7, 10, generator=torch.Generator().manual_seed(1))}


def test_measured_kernels_are_compared_on_their_own_taps_and_count_as_they_are_sure():
    data, manet = measured(), network()
    estimate = to_lr_taps(manet.estimator(data["lr"]), 2, 3)
    total = weights = 0.0
    for sample in range(2):
        for y in range(7):
            for x in range(10):
                sure = data["confidence"][sample, 0, y, x]
                total += sure * (estimate - data["kernel"])[sample, :, y, x].abs().mean()
                weights += sure
    torch.testing.assert_close(KernelFieldLoss()(manet, data)["kernel_l1"], total / weights)


def test_measured_kernels_reach_the_restorer_with_hr_taps():
    data, manet = measured(), network()
    field = to_hr_taps(data["kernel"], 2, 5)
    restored = manet.restorer(data["lr"], manet.encode(field))
    torch.testing.assert_close(TrueKernelLoss()(manet, data)["l1"], F.l1_loss(restored, data["hr"]))


@pytest.mark.parametrize("loss", [KernelFieldLoss(), TrueKernelLoss()])
def test_measured_kernels_too_large_for_the_estimator_are_refused(loss):
    data = measured() | {"kernel": torch.full((2, 25, 7, 10), 1 / 25)}
    with pytest.raises(InputError, match=r"manet\.kernel_size=5 HR pixels cannot hold .* 5x5 LR pixels; set it to 9"):
        loss(network(), data)


@pytest.mark.parametrize("data", [batch(), measured()], ids=["true", "measured"])
def test_all_stages_at_once_teach_each_part_what_its_own_stage_teaches_it(data):
    joint, apart = network(), network()
    KernelAndImageLoss()(joint, data)["loss"].backward()
    KernelFieldLoss(weight=100.0)(apart, data)["loss"].backward()
    for (name, ours), theirs in zip(joint.estimator.named_parameters(), apart.estimator.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    apart.estimator.requires_grad_(False)
    RestorationLoss()(apart, data)["loss"].backward()
    for (name, ours), theirs in zip(joint.restorer.named_parameters(), apart.restorer.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_the_eps_of_adam_is_small_beside_the_gradients_of_the_estimator():
    """Else a fresh estimator of 25x25 taps takes steps of a third of the learning rate."""
    torch.manual_seed(0)
    manet = MANet(MutualAffineEstimator(25, width=32), RRDBSFT(2, width=8, blocks=1, code=6, growth=4), kernel_size=13)
    refit_code(manet, MotionField(kernel_size=25, max_length=20), samples=30, seed=0)
    before = [parameter.detach().clone() for parameter in manet.estimator.parameters()]
    optimizer = torch.optim.Adam(manet.estimator.parameters(), lr=1e-4)
    data = batch()
    data["basis"] = F.pad(data["basis"], [10] * 4)
    KernelAndImageLoss()(manet, data)["loss"].backward()
    optimizer.step()
    steps = [(a - b).abs().flatten() for a, b in zip(manet.estimator.parameters(), before, strict=True)]
    assert torch.cat(steps).median() > 0.9e-4


def test_the_published_weight():
    data, manet = batch(), network()
    terms = KernelFieldLoss()(manet, data)
    repeated = F.interpolate(manet.estimator(data["lr"]), scale_factor=2)  # the publication compares at HR
    truth = torch.einsum("bmt,bmhw->bthw", data["basis"].flatten(2), data["masks"])
    torch.testing.assert_close(terms["kernel_l1"], F.l1_loss(repeated, truth))
    torch.testing.assert_close(terms["loss"], F.l1_loss(repeated, truth) * 1e4 / 192**2, rtol=1e-3, atol=0)


def test_true_kernels_reach_the_restorer_and_not_the_estimator():
    data, manet = batch(), network()
    terms = TrueKernelLoss()(manet, data)
    terms["loss"].backward()
    field = hr_taps_field(data["basis"], data["masks"], 2, 5)
    torch.testing.assert_close(terms["l1"], F.l1_loss(manet.restorer(data["lr"], manet.encode(field)), data["hr"]))
    assert all(parameter.grad is None for parameter in manet.estimator.parameters())


@pytest.mark.parametrize("scale", [2, 3])
def test_blur_at_hr_meets_each_sample_with_its_own_kernels(scale):
    """At batch 2, against one sample at a time with the field written out at HR."""
    torch.manual_seed(0)
    hr, kernel = torch.rand(2, 3, 4 * scale, 5 * scale), torch.softmax(3 * torch.randn(2, 25, 4, 5), 1)
    blurred = blur_at_hr(hr, kernel)
    for sample in range(2):
        field = F.interpolate(kernel[sample, None], scale_factor=scale, mode="nearest")
        torch.testing.assert_close(blurred[sample, None], apply_kernel_field(hr[sample, None], field))


def test_uniform_kernels_blur_as_a_convolution_in_every_channel():
    hr = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    kernels = torch.stack([gaussian_kernel(5, 0.4, 2.0, 0.5), gaussian_kernel(5, 1.5, 0.3, 0.0)])
    blurred = blur_at_hr(hr, kernels.flatten(1)[..., None, None].expand(-1, -1, 4, 6))
    padded = F.pad(hr, [2] * 4, mode="replicate")
    for sample, channel in ((s, c) for s in range(2) for c in range(3)):
        expected = F.conv2d(padded[sample, None, channel, None], kernels[sample, None, None])
        torch.testing.assert_close(blurred[sample, channel], expected[0, 0])


def test_reblur_vanishes_for_the_kernels_that_made_the_lr_images():
    data, manet = batch(), network()
    truth = hr_taps_field(data["basis"], data["masks"], 2, 5)
    manet.estimator.forward = lambda lr: truth
    terms = ReblurConsistencyLoss(weight=0.5)(manet, data)
    assert terms["reblur"] < 1e-6
    manet.estimator.forward = lambda lr: truth.flip(0)
    terms = ReblurConsistencyLoss(weight=0.5)(manet, data)
    assert terms["reblur"] > 1e-3
    torch.testing.assert_close(terms["loss"], terms["l1"] + 0.5 * terms["reblur"])


def test_reblur_asks_nothing_of_what_lies_beyond_the_crop():
    torch.manual_seed(0)
    hr, manet = torch.rand(1, 3, 48, 48), network()
    kernel = torch.softmax(torch.randn(1, 25, 24, 24), 1)
    lr = downsample(blur_at_hr(hr, kernel), 2)
    manet.estimator.forward = lambda lr: kernel[..., 6:14, 6:14]
    crop = {"lr": lr[..., 6:14, 6:14], "hr": hr[..., 12:28, 12:28]}
    assert ReblurConsistencyLoss()(manet, crop)["reblur"] < 1e-6


@pytest.mark.parametrize("loss", [KernelFieldLoss(), TrueKernelLoss()])
def test_data_without_kernels_name_the_variants_that_need_none(loss):
    data = {key: value for key, value in batch().items() if key in ("lr", "hr")}
    with pytest.raises(InputError, match="use model=manet_pairs or model=manet_reblur"):
        loss(network(), data)


def test_kernels_too_large_for_the_estimator_are_refused():
    data = batch() | {"basis": torch.full((2, 2, 7, 7), 1 / 49)}
    with pytest.raises(InputError, match=r"manet\.kernel_size=5 cannot hold the data's 7x7 kernels; set it to 7"):
        KernelFieldLoss()(network(), data)


def test_what_each_loss_learns_from():
    assert KernelFieldLoss.supervision == ("kernels",)
    assert TrueKernelLoss.supervision == ("pairs", "kernels")
    assert KernelAndImageLoss.supervision == ("kernels", "pairs")
    assert ReblurConsistencyLoss.supervision == ("pairs",)


@pytest.mark.parametrize(
    ("loss", "trains"),
    [
        pytest.param(KernelFieldLoss(), ["estimator"], id="kernels"),
        pytest.param(TrueKernelLoss(), ["restorer"], id="true_kernels"),
        pytest.param(KernelAndImageLoss(), ["estimator", "restorer"], id="paper"),
        pytest.param(RestorationLoss(), ["restorer"], id="estimated_kernels", marks=pytest.mark.slow),
        pytest.param(RestorationLoss(), ["estimator", "restorer"], id="manet_pairs", marks=pytest.mark.slow),
        pytest.param(ReblurConsistencyLoss(), ["estimator", "restorer"], id="manet_reblur", marks=pytest.mark.slow),
    ],
)
def test_every_stage_lowers_its_loss_and_keeps_what_is_frozen(loss: nn.Module, trains: list[str]):
    manet, data = network(), batch()
    manet.requires_grad_(False)
    for part in trains:
        manet.get_submodule(part).requires_grad_(True)
    before = {name: value.clone() for name, value in manet.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in manet.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(80):
        total = loss(manet, data)["loss"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.7 * losses[0]
    changed = {name.split(".")[0] for name, value in manet.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(trains)
