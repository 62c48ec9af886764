"""Where runs and sweeps leave what they make, and which of them a command goes on with."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from arcsr_lightning.errors import InputError
from arcsr_lightning.files import newness
from arcsr_lightning.launch import environment
from arcsr_lightning.launch.ending import ends_the_command
from arcsr_lightning.launch.typed import typed_settings
from arcsr_lightning.runs.resume import check_folder, read_configuration
from arcsr_lightning.runs.settings import as_plain_data, changes_for


class FolderChoice(Callback):
    """Chooses the folder of an earlier run or sweep where the command goes on with it; decided once, before it runs."""

    @ends_the_command
    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if "ckpt_path" not in config:
            return
        if config.ckpt_path == "last" and (run := run_to_go_on_with(task_folder(config) / "runs", config)):
            environment.go_on_in(run.name)
        check_folder(in_its_folder(config))

    @ends_the_command
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        plans = sorted((task_folder(config) / "multiruns").glob("*/jobs.json"), key=newness, reverse=True)
        if config.get("ckpt_path") != "last":
            typed = typed_settings(config.hydra)
            plans = [plan for plan in plans if read_plan(plan)["typed"] == typed][:1]
            plans = [plan for plan in plans if is_unfinished(plan)]
        if plans:
            environment.go_on_in(plans[0].parent.name)


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


def run_to_go_on_with(runs: Path, config: DictConfig) -> Path | None:
    """The folder of the newest run to resume; None where there is none.

    Runs with the present settings come first, and among them unfinished before finished ones.
    """
    checkpoints = sorted(runs.glob("*/checkpoints/**/last.ckpt"), key=newness, reverse=True)
    found = list(dict.fromkeys(runs / path.relative_to(runs).parts[0] for path in checkpoints))
    found.sort(key=lambda run: (run / "finished.json").is_file())
    if len(found) < 2:
        return next(iter(found), None)
    try:
        settings = as_plain_data(in_its_folder(config))
    except OmegaConfBaseException:  # said by those who read them
        return found[0]
    return next((run for run in found if is_of(run, settings)), found[0])


def is_of(run: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a run learns by these settings; False where its own cannot be read."""
    try:
        return not changes_for(read_configuration(run / "config.yaml"), settings)
    except InputError:
        return False


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


def is_unfinished(plan: Path) -> bool:
    """Whether not all jobs of a sweep are finished; those that train nothing are when they have their figures."""
    over = {path.parent for name in ("finished.json", "metrics.json") for path in plan.parent.glob(f"*/{name}")}
    return len(read_plan(plan)["jobs"]) > len(over)


def job_folder(overrides: str) -> str:
    """The overrides of a sweep's job as the name of one folder, which file systems take and ``weights=`` can hold.

    Where it is cut, or lists and the like lose their punctuation in it, a hash keeps it apart from others.
    """
    name = re.sub(r"[^\w.-]+", ".", overrides).strip(".") or "job"
    whole = overrides if re.search(r"[^\w.+~/-]", overrides) else name
    if whole == name and len(name) <= 120:
        return name
    return f"{name[:111]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def stage_path(folder: str, name: str | None) -> str:
    """``folder/name``, or ``folder`` for what has no name: the only stage of a method."""
    return f"{folder}/{name}" if name else folder
