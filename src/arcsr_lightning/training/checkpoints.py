"""Checkpoints that outlive whatever ends a training: a signal, its time limit, a crash, a full disk.

A run that goes on from ``last.ckpt`` ends in the weights, and the best checkpoint, of a run never interrupted, wherever
it was cut off. For that ``last.ckpt`` is only ever saved between two steps that have no validation between them, or
after a validation: Lightning takes a step that was saved before its validation for a validated one.
"""

import errno
import io
import logging
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from arcsr_lightning.errors import InputError
from arcsr_lightning.files import remove_leftovers, write_aside

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, largest file


class DurableCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are on the disk whole, or not at all, when they take their name.

    Where there is no space for one, the file that it was to replace stays, and so does the one that would be removed
    next.

    Args:
        on_disk_full: ``stop`` ends the training where a checkpoint finds no space, ``continue`` says so and trains on.

    Raises:
        InputError: ``on_disk_full`` is neither; or there is no space, and it is ``stop``.
    """

    def __init__(self, on_disk_full: Literal["stop", "continue"] = "stop") -> None:
        if on_disk_full not in ("stop", "continue"):
            raise InputError(f"trainer.plugins.checkpoint_io.on_disk_full={on_disk_full}: give stop or continue")
        self.on_disk_full = on_disk_full
        self.full = False  # at the last attempt

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        # Through memory, as a full disk is an unspecific RuntimeError of torch.save where that writes the file.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self.full = False
        try:
            with write_aside(path) as aside:
                aside.write_bytes(buffer.getbuffer())
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.full = True
            size = buffer.getbuffer().nbytes / 2**20
            line = f"{path}: {error.strerror}: cannot save this checkpoint of {size:.1f} MiB; those before it are kept"
            if self.on_disk_full == "stop":
                raise InputError(f"{line}; make room and go on with ckpt_path=last") from error
            log.warning("%s, and the training goes on", line)

    def remove_checkpoint(self, path: str | Path) -> None:
        if not self.full:  # else its successor is not there
            super().remove_checkpoint(path)


class BestCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that does not take for its best what found no space on the disk, and moves with its run."""

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        before = deepcopy(self.state_dict())
        super().on_validation_end(trainer, module)
        if self.best_model_path and not self.file_exists(self.best_model_path, trainer):
            self.load_state_dict(before)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        paths = (state_dict["best_model_path"], state_dict["kth_best_model_path"], *state_dict["best_k_models"])
        here = {path: path and str(Path(self.dirpath, Path(path).name)) for path in paths} if self.dirpath else {}
        if here and all(Path(path).is_file() for path in here.values() if path):
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": here[state_dict["best_model_path"]],
                "kth_best_model_path": here[state_dict["kth_best_model_path"]],
                "best_k_models": {here[path]: score for path, score in state_dict["best_k_models"].items()},
            }
        super().load_state_dict(state_dict)


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``, from which a run goes on as if it had never stopped.

    It is saved after every so many optimiser steps, a step before and right after every validation, at the end of the
    training, and where ``save_step`` is called. What a killed process left half-written in its folder is removed.

    Args:
        dirpath: the folder it goes to.
        every_n_train_steps: how many optimiser steps, at most, a crash may cost.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int) -> None:
        self.dirpath = Path(dirpath)
        self.every_n_train_steps = every_n_train_steps
        self.step = 0  # the latest that was taken
        self.saved = 0  # the step that a run goes on after
        self.whole = True  # no gradients of a part of a step are accumulated, which no checkpoint holds

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            remove_leftovers(self.dirpath)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.step = self.saved = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.whole = trainer.global_step > self.step
        self.step = trainer.global_step
        if not self.whole:
            trainer.should_stop = False  # a time limit that is over asks again when the step is whole
        elif self.step % self.every_n_train_steps == 0 or validation_is_next(trainer):
            self.save_step(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # An early stop has a validation out of turn; what it leaves is complete at the end of the epoch only.
        if trainer.state.fn == "fit" and self.whole and validation_follows(trainer):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.whole and self.saved != self.step:
            self.save(trainer)

    def save_step(self, trainer: pl.Trainer) -> None:
        """Save the step that has just been taken, unless its validation is still to come or it is saved already."""
        if not validation_follows(trainer) and self.saved != trainer.global_step:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        if not trainer.fast_dev_run:
            trainer.save_checkpoint(self.dirpath / "last.ckpt", weights_only=False)
            self.saved = trainer.global_step


def validation_follows(trainer: pl.Trainer, ahead: int = 0) -> bool:
    """Whether Lightning validates after the batch at hand, or after the one that is so many batches ahead."""
    every = trainer.val_check_batch  # None where validations go by the clock
    batches = trainer.fit_loop.total_batch_idx + 1 + ahead
    return trainer.enable_validation and every is not None and batches % every == 0


def validation_is_next(trainer: pl.Trainer) -> bool:
    """Whether Lightning validates within the next optimiser step, or after it."""
    return any(validation_follows(trainer, ahead + 1) for ahead in range(trainer.accumulate_grad_batches))
