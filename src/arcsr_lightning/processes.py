"""The processes of a run: which of them speaks when they fail, and that none outlives the one that started it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_only

__all__ = [
    "FAILED",
    "SIGNALS",
    "end_with_parent",
    "failed_first",
    "forget_failure",
    "rank_zero_info",
    "rank_zero_only",
    "run_alone",
]

FAILED = "FAILED"  # the file in a run's folder that says why it failed


def number_in(environment: Mapping[str, str]) -> int:
    """The number of a process in its run before a trainer tells, as Lightning finds it; 0 where it is alone."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return next((int(environment[name]) for name in names if environment.get(name, "").isdigit()), 0)


# As Lightning does when it is imported, which takes seconds, and does not where it is set already.
rank_zero_only.rank = getattr(rank_zero_only, "rank", number_in(os.environ))  # type: ignore[attr-defined]

# What ends a run: the process decides when (training.signals), its data workers wait for that.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def failed_first(folder: Path, line: str) -> bool:
    """Leave ``line`` in the file FAILED of a run's folder; False where another of its processes has done so before.

    That one tells why the run failed: the others fail of the same, or because they miss it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / FAILED).open("x", encoding="utf-8") as file:  # not aside: only one of the processes can make it
            file.write(line + "\n")
    except FileExistsError:
        return False
    except OSError:  # a full disk, say, must not hide what went wrong
        return not rank_zero_only.rank
    return True


def forget_failure(folder: Path) -> None:
    """Remove what says why a run failed before; the first of its processes does so for all."""
    if rank_zero_only.rank == 0:
        (folder / FAILED).unlink(missing_ok=True)


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
    told: list[int] = []  # the signals that came
    job: subprocess.Popen[bytes] | None = None

    def pass_on(signum: int, _: object) -> None:
        told.append(signum)
        if job:
            job.terminate()

    before = {one: signal.signal(one, pass_on) for one in SIGNALS if one != signal.SIGINT}  # an error already
    try:
        job = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        if told:  # before there was whom to tell
            job.terminate()
        status = job.wait()
    except BaseException:
        if job:
            job.terminate()
            job.wait()
        raise
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        if job:
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(job.pid, signal.SIGKILL)
    if told:
        raise SystemExit(128 + told[0])
    return status
