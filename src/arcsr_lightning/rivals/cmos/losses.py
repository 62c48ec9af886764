"""What CMOS learns from: maps of the true blur, or a stand-in for them where only pairs are known."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.errors import InputError
from arcsr_lightning.rivals.cmos.estimator import BlurMaps
from arcsr_lightning.rivals.cmos.maps import blur_amount, motion_class, sharpness_loss_map
from arcsr_lightning.rivals.cmos.network import CMOS


@dataclass(frozen=True)
class MapTargets:
    """The maps that an estimator should find, from a batch.

    Args:
        blur: "kernels" for the ``blur_amount`` of true kernels, "sharpness" for the ``sharpness_loss_map`` of pairs.
        semantics: "none" for class 0 everywhere, "motion" for the ``motion_class`` of the true kernels.

    Raises:
        InputError: unknown names, motion classes without kernels, true kernels that the batch lacks, or an estimator
            whose number of classes does not fit the semantics.
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
            blur = sharpness_loss_map(batch["lr"], batch["hr"], network.scale)
        elif "basis" in batch:
            blur = blur_amount(batch["basis"], batch["masks"])  # (B, 1, sH, sW)
        else:
            raise InputError("model=cmos learns from true kernels, which this data does not have; use model=cmos_proxy")
        if self.semantics == "motion":
            return BlurMaps(blur, motion_class(batch["basis"], batch["masks"], directions=classes - 1))
        return BlurMaps(blur, torch.zeros_like(blur[:, 0], dtype=torch.long))


class BlurMapLoss(nn.Module):
    """Stage 1: L1 on the blur map and cross-entropy on the classes, and half of both on the early estimates.

    Trains the estimator alone. Without semantics both cross-entropies are those of a single class: zero, with zero
    gradients, so that the class stream has no aim of its own.

    Args:
        blur, semantics: of ``MapTargets``.

    Returns:
        ``blur``, ``classes``, ``early_blur``, ``early_classes``, unweighted, and ``loss``, for a network and a batch.

    Raises:
        InputError: as ``MapTargets``.
    """

    def __init__(self, blur: str = "kernels", semantics: str = "none") -> None:
        super().__init__()
        self.targets = MapTargets(blur, semantics)
        self.supervision = self.targets.supervision

    def forward(self, network: CMOS, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        truth = self.targets(network, batch)
        early, final = network.estimator.estimates(batch["lr"])
        terms = {
            "blur": F.l1_loss(final.blur, truth.blur),
            "classes": F.cross_entropy(final.logits, truth.classes),
            "early_blur": F.l1_loss(early.blur, truth.blur),
            "early_classes": F.cross_entropy(early.logits, truth.classes),
        }
        loss = terms["blur"] + terms["classes"] + 0.5 * (terms["early_blur"] + terms["early_classes"])
        return terms | {"loss": loss}


class GivenMapsLoss(nn.Module):
    """Stage 2: L1 on the image restored with the maps that stage 1 aims at. The estimator is not run.

    Args:
        blur, semantics: of ``MapTargets``.

    Returns:
        ``l1`` and ``loss``, for a network and a batch.

    Raises:
        InputError: as ``MapTargets``.
    """

    def __init__(self, blur: str = "kernels", semantics: str = "none") -> None:
        super().__init__()
        self.targets = MapTargets(blur, semantics)
        self.supervision = tuple(dict.fromkeys(("pairs", *self.targets.supervision)))

    def forward(self, network: CMOS, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        restored = network(batch["lr"], maps=self.targets(network, batch))
        l1 = F.l1_loss(restored.sr, batch["hr"])
        return {"l1": l1, "loss": l1}
