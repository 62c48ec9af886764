"""Where runs and sweeps leave what they make, and which of them a command goes on with."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict

from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import environment
from arcsr_lightning.launch.ending import ends_the_command
from arcsr_lightning.launch.typed import typed_settings
from arcsr_lightning.runs.resume import check_folder


class FolderChoice(Callback):
    """Chooses the folder of an earlier run or sweep where the command goes on with it; decided once, before it runs."""

    @ends_the_command
    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.get("ckpt_path") == "last" and (name := newest_unfinished_run(task_folder(config) / "runs")):
            environment.go_on_in(name)
        if "ckpt_path" in config:
            check_folder(in_its_folder(config))

    @ends_the_command
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        newest = max((task_folder(config) / "multiruns").glob("*/jobs.json"), default=None)
        typed = typed_settings(config.hydra)
        if newest and (config.get("ckpt_path") == "last" or is_unfinished(newest, typed)):
            environment.go_on_in(newest.parent.name)


def in_its_folder(config: DictConfig) -> DictConfig:
    """The configuration as the run will have it, without Hydra's part."""
    cfg = config.copy()
    folder = cfg.hydra.run.dir
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.paths.output_dir = folder
        cfg.setdefault("allow_config_change", False)
    return cfg


def task_folder(config: DictConfig) -> Path:
    """Where all runs and sweeps of a task lie."""
    return Path(config.paths.log_dir, config.task_name)


def newest_unfinished_run(runs: Path) -> str | None:
    """The name of the folder in ``runs`` with the newest checkpoint to go on from."""
    checkpoints = sorted(runs.glob("*/checkpoints/**/last.ckpt"), key=lambda path: path.stat().st_mtime)
    return checkpoints[-1].relative_to(runs).parts[0] if checkpoints else None


def read_plan(path: Path) -> dict[str, Any]:
    """What a sweep was typed as, and its jobs, from its jobs.json.

    Raises:
        InputError: the file holds no such thing.
    """
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        return {"typed": list(plan["typed"]), "jobs": list(plan["jobs"])}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not the plan of a sweep; remove the file to start a new sweep") from error


def is_unfinished(plan: Path, typed: list[str]) -> bool:
    """Whether a sweep was typed like this, and not all of its jobs are finished."""
    planned = read_plan(plan)
    return planned["typed"] == typed and len(planned["jobs"]) > len(list(plan.parent.glob("*/finished.json")))


def job_folder(overrides: str) -> str:
    """The overrides of a sweep's job as the name of one folder, which file systems take and ``weights=`` can hold."""
    name = re.sub(r"[^\w.-]+", ".", overrides).strip(".") or "job"
    return name if len(name) <= 120 else f"{name[:111]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def stage_path(folder: str, name: str | None) -> str:
    """``folder/name``, or ``folder`` for what has no name: the only stage of a method."""
    return f"{folder}/{name}" if name else folder
