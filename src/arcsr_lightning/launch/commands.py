"""Commands: from what is typed to a configuration, and from an error to one line."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from arcsr_lightning import CONF_DIR
from arcsr_lightning.errors import FolderKeptError, InputError, printable
from arcsr_lightning.launch import environment
from arcsr_lightning.launch.ending import close_loggers, end, end_before_the_run
from arcsr_lightning.launch.logs import as_a_command, note_launch, warnings_in_the_log
from arcsr_lightning.launch.messages import line_of
from arcsr_lightning.launch.settings_check import check
from arcsr_lightning.launch.suggestions import with_suggestion
from arcsr_lightning.launch.sweeps import sweep_job
from arcsr_lightning.launch.typed import typed_settings
from arcsr_lightning.processes import end_with_parent, failed_first, forget_failure, rank_zero_only

log = logging.getLogger(__name__)

NAMES = {"evaluate": "arcsr-eval"}  # commands that are not called like their configuration


def compose(overrides: list[str] | None = None, config_name: str = "train") -> DictConfig:
    """The configuration a command would run with, for notebooks and tests.

    Args:
        overrides: as typed on the command line, e.g. ``["experiment=quickstart", "seed=1"]``.
        config_name: ``train``, ``evaluate``, ``predict``, ``export``, ``demo`` or ``prepare``.

    There is no run folder outside a command: ``paths.output_dir`` is ``<logs>/<task_name>/interactive`` then.
    """
    interactive = "paths.output_dir=${paths.log_dir}/${task_name}/interactive"
    GlobalHydra.instance().clear()
    typed = list(overrides or [])
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = hydra.compose(config_name, [interactive, *typed])
    check(config_name, cfg, typed)
    return cfg


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Turn ``task(cfg)`` into a command line: Hydra composes its configuration, bad input ends in one clear line.

    With ``HYDRA_FULL_ERROR=1`` in the environment it ends in a traceback. What fails leaves the line in a file FAILED
    in its folder, the first that fails where a run has several processes.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        def checked_task(cfg: DictConfig) -> Any:
            check(config_name, cfg, typed_settings(HydraConfig.get()), in_sweep=True)
            return task(cfg)

        def job(cfg: DictConfig) -> Any:
            note_launch(NAMES.get(config_name, f"arcsr-{config_name}"))
            try:
                with warnings_in_the_log():  # here, as a cluster calls the job without the command around it
                    if HydraConfig.get().mode == RunMode.MULTIRUN:
                        return sweep_job(config_name, checked_task, cfg)
                    return single_job(task, cfg)
            finally:
                close_loggers()

        def main() -> Any:
            environment.begin_launch()
            if rank_zero_only.rank or environment.is_a_job_apart():
                end_with_parent()
            with as_a_command():
                try:
                    check_characters(sys.argv[1:])
                    return hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)()
                except (KeyboardInterrupt, SystemExit) as ended:
                    if not by_ctrl_c(ended):
                        raise
                    log.error("stopped by Ctrl-C")
                    sys.exit(128 + signal.SIGINT)
                except Exception as error:
                    end_before_the_run(with_suggestion(error, config_name, sys.argv[1:]))

        return main

    return decorate


def check_characters(typed: Sequence[str]) -> None:
    """Raise InputError where what was typed is not UTF-8, as what is written down of it could not be."""
    for text in typed:
        if (shown := printable(text)) != text:
            raise InputError(f"{shown}: not UTF-8; rename what is called so")


def by_ctrl_c(ended: BaseException) -> bool:
    """Whether Ctrl-C ended a command; Lightning makes of it an exit with code 1."""
    return isinstance(ended, KeyboardInterrupt) or isinstance(ended.__context__, KeyboardInterrupt)


def single_job(task: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """Run what was typed, in this process or one of several."""
    folder = Path(cfg.paths.output_dir)
    forget_failure(folder)
    try:
        pin_folder()
        return task(cfg)
    except FolderKeptError as error:
        end(error)
    except Exception as error:
        if not failed_first(folder, line_of(error)):
            sys.exit(1)
        end(error)


def pin_folder() -> None:
    """Let the processes that Lightning starts have this run's folder, instead of looking for one by themselves."""
    config = HydraConfig.instance().cfg.hydra
    with read_write(config):
        config.run.dir = config.runtime.output_dir
