"""Checkpoints that outlive whatever ends a training: a signal, its time limit, a crash, a full disk.

A run that goes on from ``last.ckpt`` ends in the weights, and the best checkpoint, of a run never interrupted, wherever
it was cut off. For that ``last.ckpt`` is only ever saved between two steps that have no validation between them, or
after a validation: Lightning takes a step that was saved before its validation for a validated one.
"""

import errno
import io
import signal
import sys
import threading
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, WeightAveraging
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from arcsr_lightning.errors import InputError
from arcsr_lightning.files import remove_leftovers, write_aside
from arcsr_lightning.processes import SIGNALS

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, largest file


class DurableCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are on the disk whole, or not at all, when they take their name.

    on_disk_full: ``stop`` ends the training where a checkpoint finds no space, ``continue`` says so and trains on.
    Either way the file that was to be replaced stays, and so does the one that would be removed next. Raises InputError
    for any other value and, to stop, where there is no space.
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
            rank_zero_info(f"{line}, and the training goes on")
        else:
            self.full = False

    def remove_checkpoint(self, path: str | Path) -> None:
        if not self.full:  # else its successor is not there
            super().remove_checkpoint(path)


class BestCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that does not take for its best what found no space on the disk."""

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        before = deepcopy(self.state_dict())
        super().on_validation_end(trainer, module)
        if self.best_model_path and not self.file_exists(self.best_model_path, trainer):
            self.load_state_dict(before)


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``, from which a run goes on as if it had never stopped.

    Args:
        dirpath: the folder it goes to; what a killed process left half-written there is removed.
        every_n_train_steps: it is saved after every so many optimiser steps.

    It is saved, besides, before and after every validation, at the end of the training, and after the step at hand when
    the process gets SIGTERM, SIGINT, SIGUSR1 or SIGUSR2. Then that signal's own handler is called, where one was
    installed before (a cluster's, that queues the job again); else the process ends, with exit code 128 + signal. A
    second SIGINT does not wait for the step. In a validation or test nothing needs saving, and the process ends after
    the image at hand.

    On several ranks, one that gets a signal in training is enough; validations and tests heed those of rank 0. All
    ranks but the first end with exit code 0, as Lightning kills the first one, too, where another one fails.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int) -> None:
        self.dirpath = Path(dirpath)
        self.every_n_train_steps = every_n_train_steps
        self.pending: list[int] = []  # signals, in the order they came in
        self.handlers: Mapping[int, Any] = {}  # of whoever was there before us
        self.trained = False
        self.whole = True  # no gradients of a part of a step are accumulated
        self.step = self.saved = 0
        self.metrics: dict[str, torch.Tensor] = {}

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        self.handlers = {number: signal.getsignal(number) for number in SIGNALS}
        if stage == "fit" and trainer.is_global_zero:
            remove_leftovers(self.dirpath)

    # ------------------------------------------------------------ what Lightning leaves out when it resumes

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics"] = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.metrics = checkpoint.get("metrics", {})

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.callback_metrics.update(self.metrics)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Where the last step had been saved there was nothing to train, hence no end of a training either.
        for callback in trainer.callbacks:
            if isinstance(callback, WeightAveraging) and not self.trained:
                callback.on_train_end(trainer, module)

    # ------------------------------------------------------------ saving

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.trained = True
        self.step = self.saved = trainer.global_step
        self.listen()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.whole = trainer.global_step > self.step
        self.step = trainer.global_step
        if not self.whole:
            trainer.should_stop = False  # a time limit that is over asks again
            return
        number = self.agreed(trainer)
        batches = trainer.fit_loop.total_batch_idx + 1
        if not validates(trainer, batches) and (
            number
            or self.step % self.every_n_train_steps == 0
            or any(validates(trainer, batches + ahead + 1) for ahead in range(trainer.accumulate_grad_batches))
        ):
            self.save(trainer)
        if number:
            self.heed(trainer, number)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # An early stop has a validation out of turn; what it leaves is complete at the end of the epoch only.
        if trainer.state.fn == "fit" and self.whole and validates(trainer, trainer.fit_loop.total_batch_idx + 1):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.whole and self.saved != self.step:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        if not trainer.fast_dev_run:
            trainer.save_checkpoint(self.dirpath / "last.ckpt", weights_only=False)
            self.saved = self.step

    # ------------------------------------------------------------ signals

    def listen(self) -> None:
        """Take the place of all handlers, Lightning's included, which puts back those before it when it is done."""
        if threading.current_thread() is threading.main_thread():  # others cannot, and get no signals
            for number, handler in self.handlers.items():
                if handler is not signal.SIG_IGN:
                    signal.signal(number, self.note)

    def note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self.pending:
            sys.exit(128 + number)
        if number not in self.pending:
            self.pending.append(number)

    def agreed(self, trainer: pl.Trainer) -> int:
        """The signal that this rank or another one is to heed now, or 0."""
        number = next(iter(self.pending), 0)
        if trainer.world_size > 1:
            own = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(own, reduce_op="max"))
        return number

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.listen()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.pending and trainer.is_global_zero:
            self.heed(trainer, self.pending[0])

    on_test_batch_end = on_validation_batch_end

    def heed(self, trainer: pl.Trainer, number: int) -> None:
        """Hand a signal on to its handler, or end the process."""
        if number in self.pending:
            self.pending.remove(number)
        handler = self.handlers[number]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)
            return
        after = "the training" if trainer.testing else f"step {self.saved}"
        rank_zero_info(f"stopped by {signal.Signals(number).name} after {after}; go on with ckpt_path=last")
        if not trainer.training and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)  # ranks that wait for this one's images
        sys.exit(128 + number if trainer.is_global_zero else 0)


def validates(trainer: pl.Trainer, batches: int) -> bool:
    """Whether a validation follows when so many batches have been trained on."""
    every = trainer.val_check_batch  # None where validations go by the clock
    return trainer.enable_validation and every is not None and batches % every == 0
