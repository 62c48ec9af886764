"""The processes that make samples: which sample each is at, and what ends them."""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Sequence
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


def places_of_the_dead(error: Exception, watched: Sequence[Watched]) -> list[str] | None:
    """Where the data workers died that an error reports.

    Args:
        error: what a loader raised, or a connection to one of its workers.
        watched: the data sets of all workers.

    Returns:
        "at sample ..., made from ..." for each, but for those that had begun no sample; None where it reports no death.
    """
    report = re.match(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(error))
    if report:
        pids = {int(pid) for pid in report[1].split(",")}
    elif isinstance(error, RuntimeError):
        return None
    else:  # the connection on which it was just handing over a sample noticed first
        pids = set().union(*(one.ended() for one in watched))
        if not pids:
            return None
    return [place for one in watched for place in one.places(pids)]


def obey_parent_only(worker: int) -> None:
    """Let a data worker live as long as the process it works for, which decides what a signal means.

    Ctrl-C and a cluster's time limit go to a process and its children alike, and must not end the children first. Only
    SIGTERM from that process itself does: Python sends it when it exits, and waits for the worker to end.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # elsewhere (macOS) nothing tells who sent a signal
        # Blocked, not handled: a handler would have to wait for the call into C that the worker is in.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_told, args=(os.getppid(),), name="end-when-told", daemon=True).start()


def _end_when_told(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)  # any other status, and the parent takes it for a failure
