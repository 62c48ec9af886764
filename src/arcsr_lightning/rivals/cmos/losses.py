"""What CMOS learns from: maps of the true or measured blur, or a stand-in for them where only pairs are known."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.degradation.confidence import pooled_mean
from arcsr_lightning.degradation.moments import Covariance, blend_covariance
from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.cmos.estimator import BlurMaps, MapEstimate
from arcsr_lightning.rivals.cmos.maps import (
    blur_sigma,
    measured_covariance,
    motion_class,
    sharpness_loss_map,
)
from arcsr_lightning.rivals.cmos.network import CMOS


@dataclass(frozen=True)
class MapTargets:
    """The maps that an estimator should find, from a batch.

    Args:
        blur: "kernels" for the ``blur_sigma`` of true or measured kernels, "sharpness" for the ``sharpness_loss_map``
            of pairs.
        semantics: "none" for class 0 everywhere, "motion" for the ``motion_class`` of the kernels.

    Raises:
        InputError: unknown names, motion classes without kernels, kernels that the batch lacks, or an estimator whose
            number of classes does not fit the semantics.
    """

    blur: str = "kernels"
    semantics: str = "none"

    def __post_init__(self) -> None:
        if self.blur not in ("kernels", "sharpness"):
            raise InputError(f"CMOS learns the blur map of kernels or of sharpness, not of {self.blur!r}")
        if self.semantics not in ("none", "motion"):
            raise InputError(f"cmos.semantics must be none or motion, got {self.semantics!r}")
        if self.blur == "sharpness" and self.semantics == "motion":
            raise InputError("motion classes come from true kernels; use model=cmos, or cmos.semantics=none")

    @property
    def supervision(self) -> tuple[str, ...]:
        if self.semantics == "motion":
            return ("kernels", "labels")
        return ("kernels",) if self.blur == "kernels" else ("pairs",)

    def __call__(self, network: CMOS, batch: dict[str, Tensor]) -> BlurMaps:
        classes = network.estimator.classes
        if (classes > 1) != (self.semantics == "motion"):
            raise InputError(
                f"cmos.semantics={self.semantics} does not fit an estimator of {classes} classes: "
                "none needs 1, motion needs 1 + the number of directions"
            )
        if self.blur == "sharpness":
            return without_classes(sharpness_loss_map(batch["lr"], batch["hr"], network.scale))
        covariance = covariance_of(batch, network.scale)
        blur = blur_sigma(covariance)  # (B, 1, sH, sW)
        if self.semantics == "motion":
            return BlurMaps(blur, motion_class(covariance, directions=classes - 1))
        return without_classes(blur)

    def weight(self, batch: dict[str, Tensor], scale: int) -> Tensor | None:
        """How much every HR pixel of a map counts, (B, sH, sW): as its kernel is sure; None: all alike."""
        if self.blur == "sharpness" or "confidence" not in batch:
            return None
        return F.interpolate(batch["confidence"], scale_factor=scale, mode="bilinear")[:, 0]


def without_classes(blur: Tensor) -> BlurMaps:
    """A blur map, (B, 1, sH, sW), and class 0 everywhere."""
    return BlurMaps(blur, torch.zeros_like(blur[:, 0], dtype=torch.long))


def covariance_of(batch: dict[str, Tensor], scale: int) -> Covariance:
    """Of the kernel of every HR pixel of a batch.

    Raises:
        InputError: the batch has no kernels.
    """
    if "confidence" in batch:
        return measured_covariance(batch["kernel"], scale)
    if "basis" not in batch:
        raise InputError(
            "model=cmos learns from true kernels, which this data does not have; use model=cmos_proxy, or kernels that "
            "arcsr-prepare measured (data.kernels=measured)"
        )
    return blend_covariance(batch["basis"], batch["masks"])


def map_terms(
    estimates: tuple[MapEstimate, MapEstimate], truth: BlurMaps, weight: Tensor | None
) -> tuple[dict[str, Tensor], Tensor]:
    """L1 on the blur map and cross-entropy on the classes, of the final and the early estimates.

    Args:
        estimates: early, final.
        truth: what they should be.
        weight: of every pixel, (B, sH, sW); None: all count alike.

    Returns:
        ``blur``, ``classes``, ``early_blur``, ``early_classes``, and their sum, in which the early ones count half.
    """

    def mean(apart: Tensor) -> Tensor:
        return apart.mean() if weight is None else pooled_mean(apart, weight)

    early, final = estimates
    terms = {
        "blur": mean((final.blur - truth.blur).abs()[:, 0]),
        "classes": mean(F.cross_entropy(final.logits, truth.classes, reduction="none")),
        "early_blur": mean((early.blur - truth.blur).abs()[:, 0]),
        "early_classes": mean(F.cross_entropy(early.logits, truth.classes, reduction="none")),
    }
    return terms, terms["blur"] + terms["classes"] + 0.5 * (terms["early_blur"] + terms["early_classes"])


class BlurMapLoss(nn.Module):
    """Stage 1: L1 on the blur map and cross-entropy on the classes, and half of both on the early estimates.

    Trains the estimator alone. A measured kernel counts as much as it is sure. Without semantics both cross-entropies
    are those of a single class: zero, with zero gradients, so that the class stream has no aim of its own.

    Args:
        targets: the maps to learn.

    Returns:
        ``blur``, ``classes``, ``early_blur``, ``early_classes``, unweighted, and ``loss``, for a network and a batch.

    Raises:
        InputError: the network or the batch does not fit the targets.
    """

    def __init__(self, targets: MapTargets) -> None:
        super().__init__()
        self.targets = targets
        self.supervision = self.targets.supervision

    def forward(self, network: CMOS, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        truth = self.targets(network, batch)
        weight = self.targets.weight(batch, network.scale)
        terms, loss = map_terms(network.estimator.estimates(batch["lr"]), truth, weight)
        return terms | {"loss": loss}


class MapAndImageLoss(nn.Module):
    """All stages at once: ``BlurMapLoss``, and L1 on the image restored with the maps as they are estimated.

    The image's loss does not reach the estimator, as in no stage of the publication, so that each part learns what its
    own stage would teach it.

    Args:
        targets: the maps to learn.

    Returns:
        ``l1``, the terms of ``BlurMapLoss`` and ``loss``, for a network and a batch.

    Raises:
        InputError: the network or the batch does not fit the targets.
    """

    def __init__(self, targets: MapTargets) -> None:
        super().__init__()
        self.targets = targets
        self.supervision = tuple(dict.fromkeys((*self.targets.supervision, "pairs")))

    def forward(self, network: CMOS, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        truth = self.targets(network, batch)
        estimates = network.estimator.estimates(batch["lr"])
        terms, loss = map_terms(estimates, truth, self.targets.weight(batch, network.scale))
        maps = BlurMaps(*(part.detach() for part in estimates[-1].maps()))
        l1 = F.l1_loss(network(batch["lr"], maps=maps).sr, batch["hr"])
        return {"l1": l1} | terms | {"loss": l1 + loss}


class GivenMapsLoss(nn.Module):
    """Stage 2: L1 on the image restored with the maps that stage 1 aims at. The estimator is not run.

    Args:
        targets: the maps that the restorer is given.

    Returns:
        ``l1`` and ``loss``, for a network and a batch.

    Raises:
        InputError: the network or the batch does not fit the targets.
    """

    def __init__(self, targets: MapTargets) -> None:
        super().__init__()
        self.targets = targets
        self.supervision = tuple(dict.fromkeys(("pairs", *self.targets.supervision)))

    def forward(self, network: CMOS, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        restored = network(batch["lr"], maps=self.targets(network, batch))
        l1 = F.l1_loss(restored.sr, batch["hr"])
        return {"l1": l1, "loss": l1}
