"""Where runs and sweeps leave what they make, and which of them a command goes on with."""

import hashlib
import json
import os
import re
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig


def stamp() -> str:
    """The name of a new run's folder, the same in all processes that the scheduler starts for it at once."""
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:  # srun arcsr-train
        return "slurm-{SLURM_JOB_ID}.{SLURM_STEP_ID}".format(**os.environ)
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"[:-3]  # milliseconds, as a loop in a shell starts many at once


def run_folder(log_dir: str, task_name: str, ckpt_path: str | None) -> str:
    """A new folder for a new run; with ``ckpt_path=last`` the newest run of this task that can go on."""
    runs = Path(log_dir) / task_name / "runs"
    if ckpt_path == "last":
        checkpoints = sorted(runs.glob("*/checkpoints/**/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if checkpoints:
            return str(runs / checkpoints[-1].relative_to(runs).parts[0])
    return str(runs / os.environ["ARCSR_RUN_STAMP"])


def sweep_folder(log_dir: str, task_name: str, ckpt_path: str | None, *, _root_: DictConfig) -> str:
    """A new folder for a new sweep, or the newest sweep of this task where this one goes on with it.

    That is where it was typed as that one was and something of that one is missing, or, with ``ckpt_path=last``, in any
    case: jobs that are not among its jobs are added then.
    """
    sweeps = Path(log_dir) / task_name / "multiruns"
    if "ARCSR_SWEEP" not in os.environ:  # decided once for all jobs and processes
        newest = max(sweeps.glob("*/jobs.json"), default=None)
        going_on = newest and (ckpt_path == "last" or is_unfinished(newest, list(_root_.hydra.overrides.task)))
        os.environ["ARCSR_SWEEP"] = newest.parent.name if going_on else os.environ["ARCSR_RUN_STAMP"]
    return str(sweeps / os.environ["ARCSR_SWEEP"])


def is_unfinished(plan: Path, typed: list[str]) -> bool:
    """Whether a sweep was typed like this, and not all of its jobs are finished."""
    planned = json.loads(plan.read_text(encoding="utf-8"))
    return planned["typed"] == typed and len(planned["jobs"]) > len(list(plan.parent.glob("*/finished.json")))


def job_folder(overrides: str) -> str:
    """The overrides of a sweep's job as the name of one folder, which file systems take and ``weights=`` can hold."""
    name = re.sub(r"[^\w.-]+", ".", overrides).strip(".") or "job"
    return name if len(name) <= 120 else f"{name[:111]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def under(folder: str, name: str | None) -> str:
    """``folder/name``, or ``folder`` for what has no name: the only stage of a method."""
    return f"{folder}/{name}" if name else folder
