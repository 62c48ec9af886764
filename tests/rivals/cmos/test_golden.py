"""CMOS's parts are the published functions."""

import pytest
import torch
from torch import nn

from arcsr_lightning.rivals.cmos import BlurMaps, MapEstimate, MapEstimator, MapRestorer
from arcsr_lightning.rivals.cmos.attention import GIA, SpatialPart
from arcsr_lightning.rivals.cmos.hrnet import HRNet
from arcsr_lightning.rivals.cmos.losses import map_terms
from tests.rivals.golden_files import assert_golden


def pairs(**both):
    return {f"{name}first": first for name, (first, _) in both.items()} | {
        f"{name}second": second for name, (_, second) in both.items()
    }


def attention(gia, first, second):
    aligned = gia.align(first, second)
    channel, evaluated = gia.channel_part([aligned, second]), gia(first, second)
    trained = gia.train()(first, second)
    named = {"": evaluated, "channel_": channel, "train_": trained}
    return {"aligned": aligned} | pairs(**named)


def restored(restorer, lr, blur, classes):
    maps = BlurMaps(blur, classes)
    return {"sr": restorer(lr, maps), "train_sr": restorer.train()(lr, maps)}


def branches(backbone, x):
    """Running statistics tell the momentum of the batch norms."""
    found = {f"branch{i}": features for i, features in enumerate(backbone(x))}
    found |= {f"train_branch{i}": features for i, features in enumerate(backbone.train()(x))}
    state = backbone.state_dict()
    names = "stem.0.0.1.running_mean", "stem.0.0.1.running_var", "stages.2.1.branches.3.1.body.1.1.running_var"
    return found | {f"after/{name}": state[name] for name in names}


def maps(estimator, lr):
    early, final = estimator.estimates(lr)
    found = {"blur": final.blur, "logits": final.logits, "early_blur": early.blur, "early_logits": early.logits}
    return {name: x[..., 1::5, 2::5] for name, x in found.items()}


PARTS = {
    "cmos_spatial_part": (
        lambda: SpatialPart(18, (15, 20)),
        lambda part, first, second: dict(zip(("first", "second"), part([first, second]), strict=True)),
    ),
    "cmos_gia": (lambda: GIA(18, 3, (15, 20), first_channels=36), attention),
    "cmos_sr_x4": (lambda: MapRestorer(4, 64, 1, 16, 4, (15, 20)), restored),
    "cmos_hrnet": (lambda: HRNet(18, 64, (1, 3, 2)), branches),
    "cmos_estimator": (lambda: MapEstimator(4, 3, 18, 64, (1, 3, 2), (3, 6, 8, 12), (15, 20)), maps),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_the_published_function(part, dtype):
    build, run = PARTS[part]
    with torch.no_grad():
        assert_golden(part, build(), run, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_loss_of_the_maps_is_the_published_one(dtype):
    def loss(_, early_blur, early_logits, blur, logits, true_blur, true_classes):
        leaves = {"early_blur": early_blur, "early_logits": early_logits, "blur": blur, "logits": logits}
        for leaf in leaves.values():
            leaf.requires_grad_()
        estimates = MapEstimate(early_blur, early_logits), MapEstimate(blur, logits)
        terms, total = map_terms(estimates, BlurMaps(true_blur, true_classes), None)
        gradients = torch.autograd.grad(total, leaves.values())
        return (
            terms
            | {"loss": total}
            | {f"grad/{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
        )

    assert_golden("cmos_loss_stage1", nn.Identity(), loss, dtype)
