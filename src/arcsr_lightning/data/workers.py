"""The processes that make samples: which sample each is at, and what ends them."""

import atexit
import multiprocessing
import os
import signal
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

from arcsr_lightning.processes import SIGNALS


class Watched(Dataset[Any]):
    """A data set whose workers note, in memory that outlives them, which sample each is at."""

    def __init__(self, dataset: Dataset[Any], workers: int) -> None:
        self.dataset = dataset
        self.notes = torch.full((workers, 3), -1).share_memory_()  # process, sample number, 1 while it is made

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Any:
        note = self.notes[get_worker_info().id]
        note[:] = torch.tensor([os.getpid(), number, 1])
        try:
            return self.dataset[number]
        finally:
            note[2] = 0

    def ended(self) -> set[int]:
        """The workers that are no more, and did not end between two samples, as all do in the end."""
        alive = {child.pid for child in multiprocessing.active_children()}
        return {pid for pid, _, making in self.notes.tolist() if making == 1} - alive

    def places(self, pids: set[int]) -> list[str]:
        """Where the workers are, or were last, that are these processes."""
        numbers = [number for pid, number, _ in self.notes.tolist() if pid in pids]
        return [f"at sample {number}, made from {self.dataset.source(number)}" for number in numbers]


def ignore_signals(worker: int) -> None:
    """Let a data worker live as long as the process it works for, which decides what a signal means.

    Ctrl-C and a cluster's time limit go to a process and its children alike.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def kill_workers() -> None:
    """End the data workers that an error left behind: Python's exit waits for them, and they ignore its SIGTERM."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes a worker's death for an error
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
