"""What Lightning (2.6) leaves undone for a run that goes on.

tests/training/test_repairs.py says when Lightning does it by itself; the callback can go then.
"""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging


class KeepMetrics(pl.Callback):
    """Keeps the metrics logged so far in every checkpoint, and gives them back to the run that goes on from it.

    Lightning's checkpoints hold none. A run that goes on after its last validation logs no new ones, so that its
    record and a sweep's objective would lack ``val/psnr``.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, torch.Tensor] = {}

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics"] = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.metrics = checkpoint.get("metrics", {})

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.callback_metrics.update(self.metrics)  # not before, as Lightning empties them between the two


def metrics_in(path: str | Path) -> dict[str, float]:
    """The metrics that ``KeepMetrics`` kept in a checkpoint; none where it was switched off."""
    metrics = torch.load(path, map_location="cpu", weights_only=True).get("metrics", {})
    return {name: value.item() for name, value in metrics.items()}


class FinishWeightAveraging(pl.Callback):
    """Gives the network its averaged weights where a run goes on after its last step.

    Lightning does so at the end of a training, which has none where there is nothing left to train: the weights of the
    last step would be tested.
    """

    def __init__(self) -> None:
        self.trained = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.trained = True

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self.trained:
            for callback in trainer.callbacks:
                if isinstance(callback, WeightAveraging):
                    callback.on_train_end(trainer, module)


@torch.no_grad()
def fit_to_weights(optimizer: torch.optim.Optimizer) -> None:
    """Bring the loaded state of an optimiser, maybe of another device, to the layout of its weights and its ``fused``.

    A fused step walks through memory as it lies there: moments in another layout than their weight would be another
    weight's.
    """
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = optimizer.defaults.get("fused")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            if group.get("fused") and "step" in state:
                state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=parameter.device)
