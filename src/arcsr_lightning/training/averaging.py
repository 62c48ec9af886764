"""The weights that are validated and kept: a moving average of those that train."""

from dataclasses import dataclass
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

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.pairs = pairs_of(self._average_model.module, module)  # once: the walk costs more than the averaging

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._latest_update_step:
            move(self.pairs, self.decay if self._average_model.n_averaged else 0.0)
            self._average_model.n_averaged += 1
            self._latest_update_step = trainer.global_step


@dataclass(frozen=True)
class Pairs:
    """The parameters and buffers of an average, and those that it follows: fractional numbers, and others."""

    fractions: tuple[list[Tensor], list[Tensor]]
    others: tuple[list[Tensor], list[Tensor]]


def pairs_of(average: nn.Module, module: nn.Module) -> Pairs:
    """The tensors of two modules of one kind."""
    pairs = list(zip(tensors(average), tensors(module), strict=True))
    fractions, others = ([pair for pair in pairs if pair[0].is_floating_point() == wanted] for wanted in (True, False))
    return Pairs(*(([ours for ours, _ in chosen], [theirs for _, theirs in chosen]) for chosen in (fractions, others)))


@torch.no_grad()
def move(pairs: Pairs, decay: float) -> None:
    """Move an average towards what it follows; integers become what they are there.

    A decay of 0 moves it all the way.
    """
    ours, theirs = pairs.fractions
    if decay:
        torch._foreach_lerp_(ours, theirs, 1 - decay)
    else:
        torch._foreach_copy_(ours, theirs)
    if pairs.others[0]:
        torch._foreach_copy_(*pairs.others)


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
