"""The jobs of a sweep: planned, run one by one, each with a failure of its own."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from arcsr_lightning.errors import FolderKeptError, InputError
from arcsr_lightning.files import write_text
from arcsr_lightning.launch import environment
from arcsr_lightning.launch.ending import ends_the_command
from arcsr_lightning.launch.folders import read_plan
from arcsr_lightning.launch.logs import import_lightning
from arcsr_lightning.launch.messages import explain, line_of
from arcsr_lightning.launch.suggestions import with_suggestion
from arcsr_lightning.launch.typed import typed_of_hydra, typed_settings
from arcsr_lightning.processes import FAILED, failed_first, forget_failure, rank_zero_only, run_alone
from arcsr_lightning.runs.jobs import key_of, naming_overrides

log = logging.getLogger(__name__)


class SweepPlan(Callback):
    """Writes down in jobs.json what a sweep was typed as and which jobs that makes, before the first of them runs.

    A sweeper that decides on its jobs as it goes leaves none there. Nothing is written where a job cannot be composed.
    """

    @ends_the_command
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        typed = typed_settings(config.hydra)
        planned = planned_jobs(config, typed)
        path = Path(config.hydra.sweep.dir, "jobs.json")
        before = read_plan(path)["jobs"] if path.is_file() else []
        jobs = before + [job for job in planned if job not in before]
        write_text(path, json.dumps({"typed": typed, "jobs": jobs}, indent=1) + "\n")


def planned_jobs(config: DictConfig, typed: list[str]) -> list[list[str]]:
    """The overrides that name each job; none where the sweeper decides on its jobs as it goes.

    Args:
        config: of the sweep, with Hydra's own part.
        typed: the overrides that made it so.

    Raises:
        InputError: jobs would share a folder, ``methods`` is swept over, or a job cannot be composed.
        HydraException: likewise, where nothing can be suggested in place of what was typed.
    """
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(f".{BasicSweeper.__name__}"):  # not by class: Hydra's plugins are imported twice
        return []
    swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*swept, *typed])
    refuse_unlisted_methods(overrides)
    grid = BasicSweeper.split_arguments(overrides, None)[0]
    try:
        for job in with_every_value(grid):
            loader.load_sweep_config(config, list(job))
    except HydraException as error:
        raise with_suggestion(error, config.hydra.job.config_name, typed) from error
    unnamed = config.hydra.job.config.override_dirname.exclude_keys
    jobs = [naming_overrides(job, unnamed) for job in grid]
    refuse_shared_folders(jobs, grid, overrides, unnamed)
    return jobs


def refuse_unlisted_methods(overrides: Sequence[Override]) -> None:
    """Raise InputError for ``methods=a,b``, a sweep where a list is meant."""
    for override in overrides:
        if override.key_or_group == "methods" and override.is_sweep_override():
            line = override.input_line
            raise InputError(f"{line}: a list is written methods=[{line.partition('=')[2]}]")


def refuse_shared_folders(
    jobs: Sequence[Sequence[str]],
    grid: Sequence[Sequence[str]],
    overrides: Sequence[Override],
    unnamed: Sequence[str],
) -> None:
    """Raise InputError where jobs that differ have one folder.

    Args:
        jobs: the overrides that name each.
        grid: all overrides of each.
        overrides: what the grid was made of.
        unnamed: keys whose overrides name no folder.
    """
    folders = {frozenset((*job, *what_names_the_sweep(whole))) for job, whole in zip(jobs, grid, strict=True)}
    if len(folders) == len(set(map(frozenset, grid))):
        return
    several = [one.input_line for one in overrides if one.is_sweep_override()]
    lines = [line for line in several if key_of(line) in unnamed]
    raise InputError(
        f"{', '.join(lines)}: jobs would share a folder, as it does not name them; start them one by one, "
        "each with a task_name of its own"
    )


def what_names_the_sweep(job: Sequence[str]) -> list[str]:
    """The overrides that name the sweep's folder: the task or, where it is not typed, the experiment, which sets it."""
    tasks, experiments = ([one for one in job if key_of(one) == key] for key in ("task_name", "experiment"))
    return tasks or experiments


def with_every_value(jobs: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """A few jobs that together use every value of the grid: if these can be composed, all can."""
    seen: set[str] = set()
    for job in jobs:
        if not seen.issuperset(job):
            seen.update(job)
            yield job


def sweep_job(config_name: str, task: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """Run one job of a sweep, which goes on with the others where it fails."""
    folder = Path(cfg.paths.output_dir)
    if "ckpt_path" in cfg and (folder / ("checkpoints" if cfg.ckpt_path else "config.yaml")).exists():
        cfg.ckpt_path = "last"  # a job that is run again, by a cluster or by hand, goes on
    forget_failure(folder)
    try:
        return run_apart(config_name, cfg) if starts_processes(cfg) else task(cfg)
    except Exception as error:
        line = line_of(error)
        fault = explain(error) is None or environment.wants_traceback()
        if not isinstance(error, FolderKeptError) and failed_first(folder, line):
            log.error("failed: %s: %s", folder, line, exc_info=fault)
        if rank_zero_only.rank and "SUBMITIT_EXECUTOR" in os.environ:  # with exit code 0 the others would wait for it
            raise SystemExit(1) from error
        raise InputError(f"{folder}: {line}; the same command typed again does only what is missing") from error


def starts_processes(cfg: DictConfig) -> bool:
    """Whether the run starts further processes by typing its command again, which is how Lightning does it."""
    if "trainer" not in cfg or cfg.trainer.devices == cfg.trainer.num_nodes == 1:
        return False
    import_lightning()  # here, as most jobs have one process
    from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

    from arcsr_lightning.launch.lightning import build_trainer

    launcher = build_trainer(OmegaConf.merge(cfg, {"callbacks": None, "logger": None})).strategy.launcher
    return (
        isinstance(launcher, _SubprocessScriptLauncher)
        and launcher.num_processes > 1
        and not launcher.cluster_environment.creates_processes_externally
    )


def run_apart(config_name: str, cfg: DictConfig) -> float | None:
    """Run a job of a sweep as a command of its own, and return what the sweep is to optimise.

    The command that Lightning types again must not be that of the sweep, and the run that Lightning kills when one of
    its processes fails must not be the sweep.

    Raises:
        ChildProcessError: the job failed, with the line that it left.
    """
    job, folder = HydraConfig.get(), Path(cfg.paths.output_dir)
    own = [f"--config-dir={s.path}" for s in job.runtime.config_sources if s.provider == "command-line"]
    typed = [*typed_of_hydra(job), *typed_settings(job)]
    pinned = ["hydra.mode=RUN", f'hydra.run.dir="{job.runtime.output_dir}"', "hydra.output_subdir=null"]
    if cfg.get("ckpt_path"):
        pinned.append(f'ckpt_path="{cfg.ckpt_path}"')
    command = [sys.executable, "-m", f"arcsr_lightning.{config_name}", *own, *typed, *pinned]
    status = run_alone(command, environment.of_a_job_apart())
    if status:
        failed = folder / FAILED
        line = failed.read_text(encoding="utf-8").strip() if failed.is_file() else f"its process ended with {status}"
        raise ChildProcessError(line)
    metrics = folder / "finished.json"
    return json.loads(metrics.read_text(encoding="utf-8")).get(cfg.optimized_metric) if metrics.is_file() else None
