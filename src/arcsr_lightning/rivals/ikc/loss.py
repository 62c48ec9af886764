"""What IKC learns from: the images for its restorer, the kernels for what estimates them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.errors import InputError
from arcsr_lightning.precision import exact_float32
from arcsr_lightning.rivals.ikc.network import IKC


class IKCLoss(nn.Module):
    """L1 on the image restored with the true kernel, and squared errors of the codes, guessed and corrected.

    The two share no parameter: the restorer learns from the image alone, predictor and corrector from the codes. A
    correction starts from where those before it have come, without a gradient to them: each is to learn its own step.

    Where blur varies over a crop, its kernel is the mean of its pixels' kernels; of measured ones weighted by their
    confidence.

    Args:
        image_weight: of L1; at 0 the restorer does not learn.
        code_weight: of the codes; at 0 predictor and corrector are not run.

    Returns:
        ``l1``, ``guess`` and ``correction`` (mean over the iterations, if there are any), as far as their weights are
        not 0, and ``loss``, for a network and a batch.

    Raises:
        InputError: both weights are 0; the batch has no kernels.
    """

    def __init__(self, image_weight: float = 1.0, code_weight: float = 1.0) -> None:
        super().__init__()
        if not (image_weight or code_weight):
            raise InputError("image_weight and code_weight of IKCLoss are both 0: one of them must be positive")
        self.image_weight = image_weight
        self.code_weight = code_weight

    @property
    def supervision(self) -> tuple[str, ...]:
        """What is learnt from, for tables."""
        return ("kernels", "pairs") if self.image_weight else ("kernels",)

    def forward(self, network: IKC, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with exact_float32():
            truth = network.encode(mean_kernel(batch))  # (B, code)
        terms, loss = {}, 0
        if self.image_weight:
            terms["l1"] = F.l1_loss(network.restorer(batch["lr"], truth), batch["hr"])
            loss = loss + self.image_weight * terms["l1"]
        if self.code_weight:
            codes = code_errors(network, batch["lr"], truth)
            loss = loss + self.code_weight * sum(codes.values())
            terms |= codes
        return terms | {"loss": loss}


def code_errors(network: IKC, lr: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Squared errors of the predictor's codes, ``guess``, and of all corrections of them, ``correction``."""
    code = network.predictor(lr)
    guess = F.mse_loss(code, truth)
    corrections = []
    for _ in range(network.iterations):
        code = code.detach()
        with torch.no_grad():
            sr = network.restorer(lr, code)
        code = code + network.corrector(sr, code)
        corrections.append(F.mse_loss(code, truth))
    if not corrections:
        # A zero of the corrector's: DDP would wait for its gradient in vain.
        return {"guess": guess + 0 * sum(parameter.sum() for parameter in network.corrector.parameters())}
    return {"guess": guess, "correction": torch.stack(corrections).mean()}


def mean_kernel(batch: dict[str, Tensor]) -> Tensor:
    """The one kernel that stands for all of a crop, (B, ks*ks), taps in LR pixels.

    Raises:
        InputError: the batch has no kernels.
    """
    if "kernel" not in batch:
        raise InputError(
            "model=ikc learns from true kernels, which this data does not have; use model=udke, or kernels that "
            "arcsr-prepare measured (data.kernels=measured)"
        )
    if "confidence" not in batch:
        return batch["kernel"].mean((2, 3))
    confidence = batch["confidence"] + 1e-6  # (B, 1, H, W); where nothing is sure, all count alike
    return (confidence * batch["kernel"]).sum((2, 3)) / confidence.sum((2, 3))
