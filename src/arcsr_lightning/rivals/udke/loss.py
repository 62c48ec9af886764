"""What UDKE learns from; its publication's own training is not known."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcsr_lightning.rivals.udke.network import UDKE


class UDKELoss(nn.Module):
    """L1 between the HR image and the last estimate of it, or the mean over the estimates of all stages.

    Args:
        every_stage: compare every stage's image.

    Returns:
        ``l1`` and the same as ``loss``, for a network and a batch.
    """

    supervision = ("pairs",)

    def __init__(self, every_stage: bool = False) -> None:
        super().__init__()
        self.every_stage = every_stage

    def forward(self, network: UDKE, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images, _ = network.unfold(batch["lr"], last_kernel=False)
        compared = images if self.every_stage else images[-1:]
        l1 = torch.stack([F.l1_loss(image, batch["hr"]) for image in compared]).mean()
        return {"l1": l1, "loss": l1}
