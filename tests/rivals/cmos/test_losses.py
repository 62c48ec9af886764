import pytest
import torch
from torch import Tensor, nn

from arcsr_lightning.degradation import apply_blended_kernels, downsample, gaussian_kernel, lr_field
from arcsr_lightning.degradation.moments import blend_covariance
from arcsr_lightning.errors import InputError
from arcsr_lightning.losses import RestorationLoss
from arcsr_lightning.rivals.cmos import CMOS, MapEstimator, MapRestorer
from arcsr_lightning.rivals.cmos.losses import BlurMapLoss, GivenMapsLoss, MapAndImageLoss, MapTargets
from arcsr_lightning.rivals.cmos.maps import (
    blur_sigma,
    measured_covariance,
    motion_class,
    sharpness_loss_map,
)
from tests.conftest import slow

MOTION_CLASSES = 5


def network(classes: int = 1) -> CMOS:
    torch.manual_seed(0)
    estimator = MapEstimator(2, classes, width=4, stem=4, modules=(1, 1, 1), groups=(1, 1, 1, 1), window=(4, 4))
    return CMOS(estimator, MapRestorer(2, width=8, blocks=1, code=4, groups=2, window=(4, 4)))


def batch() -> dict[str, Tensor]:
    """Smooth pictures, sharp on the left and blurred along one direction or the other on the right."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, 8, 8, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)  # (2, 3, 32, 32)
    basis = torch.stack([gaussian_kernel(9, 0.3, 0.3), gaussian_kernel(9, 2.0, 0.5), gaussian_kernel(9, 0.5, 2.0)])
    right = (torch.arange(32) >= 16).float().expand(32, 32)
    masks = torch.stack([torch.stack([1 - right, right, 0 * right]), torch.stack([1 - right, 0 * right, right])])
    kernels = basis.expand(2, 3, 9, 9)
    lr = downsample(apply_blended_kernels(hr, kernels, masks), 2)
    return {"lr": lr, "hr": hr, "basis": kernels, "masks": masks}


def measured() -> dict[str, Tensor]:
    """The same, with kernels of LR taps that are surer on the right than on the left."""
    data = batch()
    kernel = lr_field(data.pop("basis"), data.pop("masks"), 2, 5)
    confidence = torch.where(torch.arange(16) < 4, 0.1, 0.9).expand(2, 1, 16, 16)
    return data | {"kernel": kernel, "confidence": confidence}


def fit(model: CMOS, loss: nn.Module, part: str, steps: int, lr: float) -> tuple[float, float]:
    """A stage on one repeated batch: everything but ``part`` is frozen and in eval mode; first and last loss."""
    model.requires_grad_(False).eval()
    trained = model.get_submodule(part).requires_grad_(True).train()
    optimizer, data, losses = torch.optim.Adam(trained.parameters(), lr), batch(), []
    for _ in range(steps):
        terms = loss(model, data)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    return losses[0], losses[-1]


def state(module: nn.Module) -> dict[str, Tensor]:
    """Weights and batch-norm statistics."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("targets", [{}, slow({"semantics": "motion"}), slow({"blur": "sharpness"})])
def test_the_first_stage_teaches_the_estimator(targets):
    model = network(MOTION_CLASSES if "semantics" in targets else 1)
    before = state(model.restorer)
    first, last = fit(model, BlurMapLoss(MapTargets(**targets)), "estimator", steps=15, lr=5e-3)
    assert last < 0.6 * first
    assert unchanged(model.restorer, before)


@pytest.mark.parametrize(
    "loss", [GivenMapsLoss(MapTargets()), slow(GivenMapsLoss(MapTargets(blur="sharpness"))), slow(RestorationLoss())]
)
def test_the_later_stages_teach_the_restorer(loss):
    """And leave the estimator, its batch-norm statistics among it, as it was."""
    model = network()
    before = state(model.estimator)
    first, last = fit(model, loss, "restorer", steps=40, lr=5e-3)
    assert last < 0.6 * first
    assert unchanged(model.estimator, before)


def test_targets_are_the_maps_of_the_true_kernels():
    data = batch()
    blur, classes = MapTargets(semantics="motion")(network(MOTION_CLASSES), data)
    covariance = blend_covariance(data["basis"], data["masks"])
    assert torch.equal(blur, blur_sigma(covariance))
    assert torch.equal(classes, motion_class(covariance, MOTION_CLASSES - 1))
    assert classes.unique().tolist() == [0, 1, 3]
    assert not MapTargets()(network(), data).classes.any()


def test_the_proxy_needs_pairs_only():
    data = {key: value for key, value in batch().items() if key in ("lr", "hr")}
    blur, classes = MapTargets(blur="sharpness")(network(), data)
    assert torch.equal(blur, sharpness_loss_map(data["lr"], data["hr"], scale=2))
    assert classes.shape == (2, 32, 32) and not classes.any()


def test_early_estimates_count_half():
    terms = BlurMapLoss(MapTargets(semantics="motion"))(network(MOTION_CLASSES), batch())
    halves = 0.5 * (terms["early_blur"] + terms["early_classes"])
    torch.testing.assert_close(terms["loss"], terms["blur"] + terms["classes"] + halves)
    assert min(term.item() for term in terms.values()) > 0


def test_without_semantics_the_cross_entropies_are_nothing_yet_reach_every_parameter():
    """Data-parallel training needs every parameter in the graph."""
    model = network()
    terms = BlurMapLoss(MapTargets())(model, batch())
    assert terms["classes"] == terms["early_classes"] == 0
    terms["loss"].backward()
    assert all(p.grad is not None for p in model.estimator.parameters())
    assert not model.estimator.heads[1][0].weight.grad.any()


@pytest.mark.parametrize(
    "loss", [BlurMapLoss(MapTargets()), GivenMapsLoss(MapTargets()), MapAndImageLoss(MapTargets())]
)
def test_data_without_kernels_is_refused(loss):
    data = batch()
    del data["basis"]
    with pytest.raises(InputError, match="model=cmos learns from true kernels.*use model=cmos_proxy"):
        loss(network(), data)


def test_measured_kernels_are_targets_that_count_as_they_are_sure():
    model, data = network(MOTION_CLASSES).eval(), measured()
    blur, classes = MapTargets(semantics="motion")(model, data)
    covariance = measured_covariance(data["kernel"], 2)
    assert torch.equal(blur, blur_sigma(covariance))
    assert torch.equal(classes, motion_class(covariance, MOTION_CLASSES - 1))
    weight = nn.functional.interpolate(data["confidence"], scale_factor=2, mode="bilinear")[:, 0]
    terms = BlurMapLoss(MapTargets(semantics="motion"))(model, data)
    early, final = model.estimator.estimates(data["lr"])
    for name, estimate in (("", final), ("early_", early)):
        apart = (estimate.blur - blur)[:, 0].abs()
        chosen = estimate.logits.log_softmax(1).gather(1, classes[:, None])[:, 0]
        torch.testing.assert_close(terms[f"{name}blur"], (weight * apart).sum() / weight.sum())
        torch.testing.assert_close(terms[f"{name}classes"], -(weight * chosen).sum() / weight.sum())


def test_the_proxy_is_no_surer_where_kernels_are():
    model, data = network().eval(), measured()
    terms = BlurMapLoss(MapTargets(blur="sharpness"))(model, data)
    truth = sharpness_loss_map(data["lr"], data["hr"], scale=2)
    torch.testing.assert_close(terms["blur"], (model.estimator(data["lr"]).blur - truth).abs().mean())


@pytest.mark.parametrize("data", [batch(), measured()], ids=["true", "measured"])
def test_all_stages_at_once_teach_each_part_what_its_own_stage_teaches_it(data):
    joint, apart = network(), network()
    MapAndImageLoss(MapTargets())(joint, data)["loss"].backward()
    BlurMapLoss(MapTargets())(apart, data)["loss"].backward()
    for (name, ours), theirs in zip(joint.estimator.named_parameters(), apart.estimator.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    apart = network()
    RestorationLoss()(apart, data)["loss"].backward()
    for (name, ours), theirs in zip(joint.restorer.named_parameters(), apart.restorer.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_classes_must_fit_the_semantics():
    with pytest.raises(InputError, match=r"cmos\.semantics=motion does not fit an estimator of 1 classes"):
        BlurMapLoss(MapTargets(semantics="motion"))(network(), batch())
    with pytest.raises(InputError, match=r"cmos\.semantics=none does not fit an estimator of 5 classes"):
        GivenMapsLoss(MapTargets())(network(MOTION_CLASSES), batch())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"blur": "defocus"}, "of kernels or of sharpness"),
        ({"semantics": "pseudo"}, "must be none or motion"),
        ({"blur": "sharpness", "semantics": "motion"}, "motion classes come from true kernels"),
    ],
)
def test_impossible_targets_are_refused(targets, message):
    with pytest.raises(InputError, match=message):
        MapTargets(**targets)


def test_supervision_names_what_is_learned_from():
    assert BlurMapLoss(MapTargets()).supervision == ("kernels",)
    assert BlurMapLoss(MapTargets(semantics="motion")).supervision == ("kernels", "labels")
    assert BlurMapLoss(MapTargets(blur="sharpness")).supervision == ("pairs",)
    assert MapAndImageLoss(MapTargets()).supervision == ("kernels", "pairs")
    assert MapAndImageLoss(MapTargets(blur="sharpness")).supervision == ("pairs",)
    assert GivenMapsLoss(MapTargets()).supervision == ("pairs", "kernels")
    assert GivenMapsLoss(MapTargets(blur="sharpness")).supervision == ("pairs",)
