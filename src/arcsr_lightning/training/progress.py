"""How a training goes, in numbers: the network it trains, its speed and memory, a line for every validation."""

import logging
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import WandbLogger
from torch import nn

from arcsr_lightning.scores.cost import PartCost, parameters, parts
from arcsr_lightning.scores.report import json_number, summary
from arcsr_lightning.training.module import SRModule

log = logging.getLogger(__name__)

VALIDATED = {"val/psnr": "{:.2f} dB", "val/ssim": "{:.4f}"}  # what the line of a validation holds, and how


class NetworkSummary(pl.Callback):
    """Logs the size of the network that is about to train, and of its parts."""

    def on_fit_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        if trainer.is_global_zero:
            log.info("\n".join(network_lines(module.network)))


def network_lines(network: nn.Module) -> list[str]:
    """What a network and its parts cost, a line each: parameters, those that train, multiply-accumulates."""
    trained = {name: trained_parameters(child) for name, child in network.named_children()}
    costs = parts(network)
    counted = [part.gmacs for part in costs]
    whole = PartCost(type(network).__name__, parameters(network), None if None in counted else sum(counted))
    lines = [f"{size_of(whole, trained_parameters(network))} for 64×64 LR pixels"]
    for part in costs:
        if part.parameters and part.name in trained:
            lines.append(f"  {size_of(part, trained[part.name])}")
    return lines


def trained_parameters(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters() if parameter.requires_grad)


def size_of(part: PartCost, trained: int) -> str:
    """The cost of a part in words, with how many of its parameters train."""
    gmacs = "unknown" if part.gmacs is None else f"{part.gmacs:.2f}"
    return f"{part.name}: {part.parameters:,} parameters, {trained:,} of them trained; GMACs {gmacs}"


class ValidationLog(pl.Callback):
    """Logs a line for every validation of a training.

    It holds the step, PSNR and SSIM on RGB, the mean training loss since the line before, and the speed.
    """

    def on_train_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.losses, self.batches = torch.zeros((), device=module.device), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SRModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self.losses += module.latest_loss  # the mean of all ranks; Lightning's metrics would wait for the device
        self.batches += 1

    def on_validation_end(self, trainer: pl.Trainer, module: SRModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        parts = [f"{name} {form.format(metrics[name])}" for name, form in VALIDATED.items() if name in metrics]
        if self.batches:
            parts.append(f"train/loss {self.losses.item() / self.batches:.5f}")
        if "train/images_per_s" in metrics:
            parts.append(f"{metrics['train/images_per_s']:.1f} images/s")
        if trainer.is_global_zero:
            log.info("step %d: %s", trainer.global_step, ", ".join(parts))
        self.on_train_start(trainer, module)


class Progress(RichProgressBar):
    """Lightning's progress bar for a training that is one pass of steps, not a number of epochs.

    Its figures are those of the latest step that is logged: to read them waits for the device, and so does Lightning
    after every step for a metric that is logged with ``prog_bar``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[str, Any] = {}

    @property
    def total_train_batches(self) -> int | float:
        # Lightning's are the steps that are left, while it counts batches, and from where the run was interrupted.
        return self.trainer.num_training_batches

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training  "  # as long as "Validation": no flicker

    def get_metrics(self, trainer: pl.Trainer, module: SRModule) -> dict[str, Any]:
        if not trainer.training or is_logged(trainer, 0):
            loss = {} if module.latest_loss is None else {"train/loss": module.latest_loss.item()}
            self.figures = loss | super().get_metrics(trainer, module)
        return {name: value for name, value in self.figures.items() if name != "v_num"}


class Throughput(pl.Callback):
    """Logs ``train/images_per_s``: images of all ranks trained on per second, since the step it was last logged at."""

    def on_train_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.restart(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SRModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self.images += len(batch["lr"]) * trainer.world_size
        if is_logged(trainer, self.step):
            module.log("train/images_per_s", self.images / (time.perf_counter() - self.since))
            self.restart(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.restart(trainer)  # validation time is not training time

    def restart(self, trainer: pl.Trainer) -> None:
        self.images, self.step, self.since = 0, trainer.global_step, time.perf_counter()


class GpuMemory(pl.Callback):
    """Logs ``gpu/memory_gib``: the most memory that tensors took, in GiB, since the step it was last logged at.

    Of several GPUs it is that of the one with most of it in use; where there is none, nothing is logged.
    """

    def on_train_start(self, trainer: pl.Trainer, module: SRModule) -> None:
        self.restart(trainer, module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SRModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        if module.device.type == "cuda" and is_logged(trainer, self.step):
            peak = torch.cuda.max_memory_allocated(module.device) / 2**30
            module.log("gpu/memory_gib", peak, reduce_fx="max", sync_dist=True)
            self.restart(trainer, module.device)

    def restart(self, trainer: pl.Trainer, device: torch.device) -> None:
        self.step = trainer.global_step
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)


def is_logged(trainer: pl.Trainer, since: int) -> bool:
    """Whether Lightning logs at this step, and it is a later one: accumulated batches share a step."""
    every = trainer.log_every_n_steps
    return bool(every) and trainer.global_step > since and trainer.global_step % every == 0


class ScoreTable(pl.Callback):
    """Gives W&B the table that a test ends with: a row of mean scores for each method and noise level.

    Args:
        data: the name of the test images.
    """

    def __init__(self, data: str) -> None:
        self.data = data

    def on_test_end(self, trainer: pl.Trainer, module: SRModule) -> None:
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not (loggers and module.test_rows):
            return
        rows = summary(module.test_rows, self.data, module.kernel_rows)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[json_number(row.get(name)) for name in columns] for row in rows]
        for logger in loggers:
            logger.log_table("test/table", columns, cells, step=trainer.global_step)
