"""Signals that end a training: what is saved, who else is told, and that a host's own handlers come back."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.trainer.connectors.signal_connector import _HandlersCompose

from arcsr_lightning import train
from arcsr_lightning.processes import SIGNALS
from arcsr_lightning.training.module import SRModule
from arcsr_lightning.training.signals import EndOnSignal, agreed_signal
from tests.conftest import slow
from tests.training.interruptions import SETTINGS, assert_same_end, checkpoints, end_of, last_step, wait_for


@pytest.fixture(autouse=True)
def interrupts():
    """SIGINT as in a terminal: what a shell starts in the background ignores it, and so do all its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def raised(number):
    return lambda: signal.raise_signal(number)


def broken():
    raise RuntimeError("broken")


def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


# ---------------------------------------------------------------- what a signal does


@pytest.mark.parametrize(
    ("number", "batch"),
    [slow(signal.SIGTERM, 2), (signal.SIGINT, 3)],  # a validation follows the latter, hence it is taken again
)
def test_a_signal_to_the_run_and_its_workers_saves_the_step_at_hand(start, whole, tmp_path, at_batch, number, batch):
    folder, held, go = tmp_path / "run", tmp_path / "held", tmp_path / "go"
    at_batch({batch: lambda: (held.touch(), wait_for(go))})
    process = start(folder, "data.num_workers=1")
    wait_for(held)
    os.killpg(process, number)
    go.touch()
    output = folder.with_suffix(".log")
    assert end_of(process) == 128 + number, output.read_text()
    assert f"stopped by {number.name} after step 3; go on with ckpt_path=last" in output.read_text()
    assert last_step(folder) == 3
    at_batch({})
    assert end_of(start(folder)) == 0, output.read_text()
    assert_same_end(folder, whole[0])


def test_a_signal_in_a_validation_ends_it_and_it_is_run_again(configure, tmp_path, monkeypatch):
    settings = (*SETTINGS, "+optimizer.maximize=true", "optimizer.lr=0.03")  # the first validation is the best
    train.train(configure(tmp_path / "whole", *settings))
    healthy, calls = SRModule.validation_step, []

    def step(self, *args):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGUSR1)
        return healthy(self, *args)

    monkeypatch.setattr(SRModule, "validation_step", step)
    with pytest.raises(SystemExit) as end:
        train.train(configure(tmp_path / "cut", *settings))
    assert (end.value.code, len(calls)) == (128 + signal.SIGUSR1, 2)
    train.train(configure(tmp_path / "cut", *settings, "ckpt_path=last"))
    assert "checkpoints/best_0000002.ckpt" in checkpoints(tmp_path / "cut")
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


def test_a_handler_that_was_there_before_is_called_once_all_is_saved(configure, tmp_path, at_batch):
    steps = []
    before = signal.signal(signal.SIGUSR2, lambda *_: steps.append(last_step(tmp_path)))
    try:
        at_batch({2: raised(signal.SIGUSR2)})
        train.train(configure(tmp_path, *SETTINGS, "trainer.val_check_interval=6"))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert (steps, last_step(tmp_path)) == ([3], 6)


def test_a_second_interrupt_does_not_wait(configure, tmp_path, at_batch):
    at_batch({2: lambda: (signal.raise_signal(signal.SIGINT), signal.raise_signal(signal.SIGINT))})
    with pytest.raises(SystemExit) as end:
        train.train(configure(tmp_path, *SETTINGS, "trainer.val_check_interval=6"))
    assert (end.value.code, last_step(tmp_path)) == (130, 2)


def test_a_handler_that_lightning_left_behind_is_none(configure, tmp_path, at_batch):
    left = _HandlersCompose([lambda *_: None])  # as of a run whose loggers could not be closed
    before = signal.signal(signal.SIGTERM, left)
    try:
        at_batch({1: raised(signal.SIGTERM)})
        with pytest.raises(SystemExit) as end:
            train.train(configure(tmp_path, *SETTINGS, "trainer.val_check_interval=6"))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (end.value.code, last_step(tmp_path)) == (143, 2)


def test_what_a_run_left_whose_logger_could_not_be_closed_is_no_handler(configure, tmp_path, at_batch):
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        at_batch({1: broken})
        with (
            mock.patch.object(CSVLogger, "finalize", side_effect=OSError("full")),
            pytest.raises(OSError, match="full"),
        ):
            train.train(configure(tmp_path / "broken", *SETTINGS))
        assert all(signal.getsignal(number) != before[number] for number in SIGNALS)  # Lightning did not come to it
        at_batch({1: raised(signal.SIGTERM)})
        with pytest.raises(SystemExit) as end:
            train.train(configure(tmp_path / "next", *SETTINGS, "trainer.val_check_interval=6"))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (end.value.code, last_step(tmp_path / "next")) == (143, 2)


def test_a_signal_ends_a_whole_sweep(run, tiny, tmp_path, at_batch, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at_batch({1: raised(signal.SIGTERM)})
    with pytest.raises(SystemExit) as end:
        run(train, "-m", *tiny, *SETTINGS, "seed=0,1")
    assert end.value.code == 143
    assert len(list(tmp_path.glob("logs/*/multiruns/*/*/config.yaml"))) == 1


def test_a_signal_within_accumulated_batches_waits_for_their_step(configure, tmp_path, at_batch):
    settings = (*SETTINGS, "trainer.accumulate_grad_batches=2", "trainer.max_steps=4")
    settings += ("trainer.val_check_interval=7", "callbacks.last.every_n_train_steps=4")  # within the last step
    train.train(configure(tmp_path / "whole", *settings))
    at_batch({2: raised(signal.SIGTERM)})
    with pytest.raises(SystemExit):
        train.train(configure(tmp_path / "cut", *settings))
    assert last_step(tmp_path / "cut") == 2
    train.train(configure(tmp_path / "cut", *settings, "ckpt_path=last"))
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


def test_a_signal_that_is_ignored_stays_ignored(configure, tmp_path, at_batch):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and a shell's background do
    at_batch({2: raised(signal.SIGINT)})
    train.train(configure(tmp_path, *SETTINGS, "trainer.val_check_interval=6"))
    assert last_step(tmp_path) == 6


def test_a_signal_ends_a_run_without_last_checkpoint(configure, tmp_path, at_batch, caplog):
    at_batch({2: raised(signal.SIGTERM)})
    settings = [setting for setting in SETTINGS if not setting.startswith("callbacks.last")]
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as end:
        train.train(configure(tmp_path, *settings, "trainer.val_check_interval=6", "callbacks.last=null"))
    assert end.value.code == 143
    assert "stopped by SIGTERM at step 3; callbacks.last=null keeps nothing to go on with" in caplog.messages
    assert checkpoints(tmp_path) == {}


# ---------------------------------------------------------------- several ranks


def two_ranks(step, other=0):
    """A trainer on the first of two ranks; the other one has received the signal ``other``."""
    strategy = mock.Mock(root_device="cpu", launcher=None)
    strategy.reduce = lambda own, reduce_op: getattr(torch.tensor([own, other]), reduce_op)()
    state = {"global_step": step, "training": True, "testing": False, "callbacks": []}
    return mock.Mock(world_size=2, is_global_zero=True, strategy=strategy, **state)


@pytest.mark.parametrize(
    ("received", "other"),
    [
        ([], signal.SIGTERM),
        ([signal.SIGTERM], 0),
        ([signal.SIGINT], signal.SIGUSR1),
        ([signal.SIGTERM], signal.SIGUSR2),
    ],
)
def test_ranks_agree_on_the_greatest_signal_that_any_of_them_has(received, other):
    assert agreed_signal(two_ranks(step=10, other=other), received) == max([*received, other])


def test_ranks_ask_each_other_at_every_tenth_step():
    callback = EndOnSignal()
    callback.signals.handlers = dict.fromkeys(SIGNALS, signal.SIG_DFL)
    callback.on_train_batch_end(two_ranks(step=9, other=signal.SIGTERM), None, None, None, 8)
    with pytest.raises(SystemExit) as end:
        callback.on_train_batch_end(two_ranks(step=10, other=signal.SIGTERM), None, None, None, 9)
    assert end.value.code == 143


# ---------------------------------------------------------------- guests


@pytest.mark.parametrize(
    ("action", "end"), [(lambda: None, None), (broken, RuntimeError), (raised(signal.SIGTERM), SystemExit)]
)
def test_a_training_and_its_test_leave_the_hosts_handlers_as_they_were(configure, tmp_path, at_batch, action, end):
    mine = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        before = handlers()
        at_batch({1: action})
        with pytest.raises(end) if end else nullcontext():
            train.train(configure(tmp_path, *SETTINGS[:-1], "trainer.max_steps=2"))
        assert handlers() == before
    finally:
        signal.signal(signal.SIGUSR1, mine)


def test_importing_changes_nothing_in_the_host_and_does_not_bring_wandb():
    code = """
import os, signal, sys
import matplotlib.figure, pytorch_lightning.loggers, torch.distributed, arcsr_lightning.data
def state():
    return {n: signal.getsignal(n) for n in signal.valid_signals()}, dict(os.environ)
before = state()
import arcsr_lightning.training.checkpoints, arcsr_lightning.training.module, arcsr_lightning.training.pictures
import arcsr_lightning.training.progress, arcsr_lightning.training.repairs, arcsr_lightning.training.signals
assert state() == before
assert "wandb" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_step_asks_all_processes_whether_lightning_saw_a_signal(monkeypatch):
    """Its own handler is not installed, and to ask is to wait for the device."""
    asked = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: asked.append(src))
    trainer, callback = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu"), EndOnSignal()
    monkeypatch.setattr(callback.signals, "listen", lambda: None)
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert asked == [0]
    callback.on_train_start(trainer, None)
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert asked == [0]
