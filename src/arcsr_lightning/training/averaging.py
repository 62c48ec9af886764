"""The weights that are validated and kept: a moving average of those that train."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn


class MovingAverage(WeightAveraging):
    """Averages the weights over the optimiser steps: average += (1 - decay) * (weights - average), from the first on.

    Lightning's EMAWeightAveraging does so tensor by tensor, thousands of launches of a device, and waits for it twice.

    Args:
        decay: in [0, 1].
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, module, stage)
        if stage == "fit":  # the number of steps, which is looked at after each of them
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._latest_update_step:
            average = self._average_model
            move(average.module, module, self.decay if average.n_averaged else 0.0)
            average.n_averaged += 1
            self._latest_update_step = trainer.global_step


@torch.no_grad()
def move(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move the parameters and buffers of ``average`` towards those of ``module``; integers become what they are there.

    A decay of 0 moves them all the way.
    """
    pairs = list(zip(tensors(average), tensors(module), strict=True))
    for fractions in (True, False):
        chosen = [pair for pair in pairs if pair[0].is_floating_point() == fractions]
        if chosen:
            ours, theirs = map(list, zip(*chosen, strict=True))
            if fractions and decay:
                theirs = [their.to(our.dtype) for our, their in zip(ours, theirs, strict=True)]  # precision=64-true
                torch._foreach_lerp_(ours, theirs, 1 - decay)
            else:
                torch._foreach_copy_(ours, theirs)


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
