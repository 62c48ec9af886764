"""The processes of a run: which of them speaks when they fail, and that none outlives the one that started it."""

import multiprocessing
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from arcsr_lightning.errors import InputError

# What ends a run: the process decides when (training.signals), its data workers wait for that.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def failed_first(failed: Path, line: str) -> bool:
    """Leave ``line`` in the file ``failed``; False where another process of the run has done so before.

    That one tells why the run failed: the others fail of the same, or because they miss it.
    """
    try:
        failed.parent.mkdir(parents=True, exist_ok=True)
        with failed.open("x", encoding="utf-8") as file:  # not aside: only one of the processes can make it
            file.write(line + "\n")
    except FileExistsError:
        return False
    except OSError:  # a full disk, say, must not hide what went wrong
        return not rank_zero_only.rank
    return True


def end_with_parent() -> None:
    """Let this process end within a second when the one that started it has ended, even if that was killed.

    Otherwise it waits for the other processes of its run, for minutes, and keeps its device and its folder.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def run_alone(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command and all that it starts, and return its exit status; nothing of it is left then.

    When this process is told to end, it tells the command so, and waits for it.
    """

    def leave(signum: int, _: object) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    job = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return job.wait()
    except BaseException:
        job.terminate()
        job.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(job.pid, signal.SIGKILL)


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
