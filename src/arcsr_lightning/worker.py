"""A process at work for another, which lives on when that one is killed."""

import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from arcsr_lightning.errors import InputError


class Worker:
    """A process of its own for jobs that may want more memory than there is: when it is killed, this one lives on.

    It does one job at a time, and is started anew when it is gone.

    Args:
        work: called there as ``work(job, report)``; what it reports, returns and raises is what :meth:`ask` does.
        when_left: called there once this process is gone, however it ended.
    """

    def __init__(self, work: Callable[[Any, Callable[..., None]], Any], when_left: Callable[[], None]) -> None:
        self.parts = work, when_left
        self.lock = threading.Lock()
        self.process: multiprocessing.process.BaseProcess | None = None

    def start(self) -> None:
        """Start the process, without waiting for it, where there is none."""
        if self.process is not None and self.process.is_alive():
            return
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.pipe, other_end = context.Pipe()
        self.process = context.Process(target=serve_jobs, args=(other_end, *self.parts), daemon=True)
        self.process.start()
        other_end.close()

    def ask(self, job: Any, report: Callable[..., None]) -> Any:
        """What the work makes of a job.

        Raises:
            InputError: the work does, or its process was ended.
            RuntimeError: anything else went wrong in it; has the traceback.
        """
        with self.lock:
            self.start()
            try:
                kind, value = self.exchange(job)
                while kind == "report":
                    report(*value)
                    kind, value = self.exchange()
            except BaseException:
                self.stop()  # or what is left of this job would be the answer to the next
                raise
        if kind == "error":
            raise value
        return value

    def exchange(self, *jobs: Any) -> Any:
        """What the process says next, after jobs are given to it.

        Raises:
            InputError: it was ended.
        """
        try:
            for job in jobs:
                self.pipe.send(job)
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            raise InputError("the process at work was ended, perhaps for want of memory; try again") from error

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()


def serve_jobs(pipe: Connection, work: Callable[..., Any], when_left: Callable[[], None]) -> None:
    """Do the jobs of a :class:`Worker`, in its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    try:
        while True:
            job = pipe.recv()
            try:
                result = ("result", work(job, lambda *values: pipe.send(("report", values))))
            except (InputError, BrokenPipeError) as error:
                result = ("error", error)
            except Exception:
                result = ("error", RuntimeError(traceback.format_exc()))
            pipe.send(result)
    except (EOFError, OSError):
        when_left()
