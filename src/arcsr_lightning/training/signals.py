"""Signals that end a run: they wait for the step at hand, and for its checkpoint."""

import logging
import signal
import sys
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from arcsr_lightning.processes import SIGNALS
from arcsr_lightning.training.checkpoints import LastCheckpoint

log = logging.getLogger(__name__)

EVERY = 10  # steps at which processes ask each other for signals, which waits for all their devices


class SignalListener:
    """Keeps the signals of ``SIGNALS`` that come in, until somebody acts on them.

    A second SIGINT does not wait: it ends the process, as whoever presses Ctrl-C twice wants.
    """

    def __init__(self) -> None:
        self.received: list[int] = []  # in the order they came in
        self.handlers: dict[int, Any] = {}  # of whoever was there before

    def remember_handlers(self) -> None:
        """Those that were there before; what is left of a run that failed while it was being ended is none."""
        self.handlers = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in self.handlers.items():
            if is_left_over(handler):
                self.handlers[number] = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL

    def listen(self) -> None:
        """Take the place of all handlers, but for signals that are ignored (as nohup does) or not Python's."""
        if threading.current_thread() is threading.main_thread():  # others cannot, and get no signals
            for number, handler in self.handlers.items():
                if handler not in (signal.SIG_IGN, None):
                    signal.signal(number, self.receive)

    def receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self.received:
            sys.exit(128 + number)
        if number not in self.received:
            self.received.append(number)

    def hand_on(self, number: int) -> bool:
        """Call the handler that was there before; False where there was none but Python's and the system's."""
        if number in self.received:
            self.received.remove(number)
        handler = self.handlers[number]
        if not callable(handler) or handler is signal.default_int_handler:
            return False
        handler(number, None)
        return True


def is_left_over(handler: Any) -> bool:
    """Whether a run that has ended installed it: Lightning did, or a listener."""
    listener = getattr(handler, "__self__", None)
    return isinstance(listener, SignalListener) or type(handler).__module__.startswith("pytorch_lightning.")


class EndOnSignal(Checkpoint):
    """Ends a training after the step at hand, saved by ``LastCheckpoint``, when the process gets a signal.

    The signals are SIGTERM, SIGINT, SIGUSR1 and SIGUSR2. When all is saved, the signal's own handler is called where
    one was installed before (a cluster's, that queues the job again); else the process ends, with exit code
    128 + signal. A second SIGINT does not wait for the step. In a validation or test nothing needs saving, and the
    process ends after the image at hand.

    On several ranks, one that gets a signal in training is enough, and the step is the next tenth; in validations and
    tests those of rank 0 count. All ranks but the first end with exit code 0, as Lightning kills the first one, too,
    where another one fails.

    Handlers are installed when a training or test starts. Lightning, which installs its own just before that, puts
    back those before both, however it ends.
    """

    # A Checkpoint, as Lightning calls those last: what other callbacks do in a step must be done when it is saved.

    def __init__(self) -> None:
        self.signals = SignalListener()
        self.step = 0

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        self.signals.remember_handlers()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.step = trainer.global_step
        self.signals.listen()
        # Lightning asks every process before every step, and waits for the device, whether its own handler saw SIGTERM.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.signals.listen()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            return  # gradients are accumulated, and no checkpoint holds them
        self.step = trainer.global_step
        if trainer.world_size > 1 and self.step % EVERY:
            return
        if number := agreed_signal(trainer, self.signals.received):
            if last := last_checkpoint(trainer):
                last.save_step(trainer)
            self.act(trainer, number)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.signals.received and trainer.is_global_zero:
            self.act(trainer, self.signals.received[0])

    on_test_batch_end = on_validation_batch_end

    def act(self, trainer: pl.Trainer, number: int) -> None:
        """Hand a signal on to the handler that was there before, or end the process."""
        if self.signals.hand_on(number):
            return
        if trainer.is_global_zero:
            log.info("stopped by %s %s", signal.Signals(number).name, place(trainer))
        if not trainer.training and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)  # ranks that wait for this one's images
        sys.exit(128 + number if trainer.is_global_zero else 0)


def agreed_signal(trainer: pl.Trainer, received: list[int]) -> int:
    """The signal that this rank, or another one, has received; 0 where none has. All ranks get the same answer."""
    number = next(iter(received), 0)
    if trainer.world_size > 1:
        own = torch.tensor(number, device=trainer.strategy.root_device)
        number = int(trainer.strategy.reduce(own, reduce_op="max"))
    return number


def last_checkpoint(trainer: pl.Trainer) -> LastCheckpoint | None:
    return next((callback for callback in trainer.callbacks if isinstance(callback, LastCheckpoint)), None)


def place(trainer: pl.Trainer) -> str:
    """Where the run stands, and how it goes on."""
    last = last_checkpoint(trainer)
    if last is None:
        return f"at step {trainer.global_step}; callbacks.last=null keeps nothing to go on with"
    return f"after {'the training' if trainer.testing else f'step {last.saved}'}; go on with ckpt_path=last"
