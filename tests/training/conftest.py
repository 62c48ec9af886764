"""Trainings in processes of their own, to be cut off; things that happen in the midst of a training batch."""

import multiprocessing
import os
import signal
import sys
import time
import traceback

import pytest

from arcsr_lightning import train
from arcsr_lightning.training.module import SRModule
from tests.training.interruptions import SETTINGS, end_of, wait_for


@pytest.fixture(scope="session")
def start(tiny):
    """``start(folder, *overrides)``: arcsr-train in a process, and process group, of its own; returns its number."""

    def command(folder, *overrides):
        process = os.fork()  # a new interpreter would need many times the seconds of the training
        if process:
            return process
        code, others = 70, multiprocessing.active_children()
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
            output = os.open(f"{folder}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(output, stream)
            sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))  # noqa: SIM115
            sys.argv = ["arcsr-train", *tiny, *SETTINGS, f"hydra.run.dir={folder}", "ckpt_path=last", *overrides]
            train.main()
            code = 0
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            for worker in set(multiprocessing.active_children()) - set(others):  # as at Python's exit
                worker.kill()
                worker.join()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    return command


@pytest.fixture(scope="session")
def whole(start, tmp_path_factory):
    """The folder of a training without interruption; how long it took after its first checkpoint, in seconds."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = start(folder)
    wait_for(folder / "checkpoints/last.ckpt", process)
    begin = time.monotonic()
    assert end_of(process) == 0, folder.with_suffix(".log").read_text()
    return folder, time.monotonic() - begin


@pytest.fixture
def at_batch(monkeypatch):
    """``at_batch({number: action})``: do something in the midst of a training batch; they are counted from 0."""

    def arrange(actions):
        healthy, batches = SRModule.training_step, iter(range(10**9))

        def step(self, batch, batch_idx):
            actions.get(next(batches), lambda: None)()
            return healthy(self, batch, batch_idx)

        monkeypatch.setattr(SRModule, "training_step", step)

    return arrange
