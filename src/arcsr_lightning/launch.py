"""The only module that knows Hydra: commands, configurations, and the objects built from them."""

import hashlib
import json
import netrc
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
import pytorch_lightning as pl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.syntax import Syntax
from rich.tree import Tree
from torch import nn
from torch.linalg import LinAlgError

from arcsr_lightning import CONF_DIR
from arcsr_lightning.data import SRDataModule
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import write_text
from arcsr_lightning.lightning_module import SRModule

# Errors that are about what the user gave: shown as one line, without a traceback.
USER_ERRORS = (
    InputError,
    FloatingPointError,
    LinAlgError,
    OSError,
    HydraException,
    OmegaConfBaseException,
    MisconfigurationException,
)
PARTS = ("arcsr_lightning.networks", "arcsr_lightning.blocks")  # what a checkpoint may name


def compose(overrides: list[str] | None = None, config_name: str = "train") -> DictConfig:
    """The configuration a command would run with, for notebooks and tests.

    Args:
        overrides: as typed on the command line, e.g. ``["experiment=quickstart", "seed=1"]``.
        config_name: ``train``, ``evaluate``, ``predict`` or ``prepare``.

    There is no run folder outside a command: ``paths.output_dir`` is ``<logs>/<task_name>/interactive`` then.
    """
    interactive = "paths.output_dir=${paths.log_dir}/${task_name}/interactive"
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return hydra.compose(config_name, [interactive, *(overrides or [])])


def command(
    config_name: str, after_job: Callable[[Path], Any] | None = None
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Turn ``task(cfg)`` into a command line: Hydra composes its configuration, bad input ends in one clear line.

    With ``HYDRA_FULL_ERROR=1`` in the environment it ends in a traceback. A job of a sweep that fails leaves the line
    in a file FAILED in its folder; after every job of a sweep ``after_job`` gets the sweep's folder.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        def job(cfg: DictConfig) -> Any:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                return sweep_job(task, cfg, after_job)
            try:
                return task(cfg)
            except Exception as error:
                end(error)

        def main() -> Any:
            # All ranks and all jobs of one launch share one folder name.
            os.environ.setdefault("ARCSR_RUN_STAMP", stamp())
            os.environ.setdefault("ARCSR_TRACEBACK", os.environ.get("HYDRA_FULL_ERROR", "0"))
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us
            try:
                return hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)()
            except Exception as error:
                end(error)

        return main

    return decorate


def sweep_job(task: Callable[[DictConfig], Any], cfg: DictConfig, after: Callable[[Path], Any] | None) -> Any:
    """Run one job of a sweep, which goes on with the others where it fails."""
    first_rank = rank_zero_only.rank == 0
    folder = Path(cfg.paths.output_dir)
    if "ckpt_path" in cfg and (cfg.ckpt_path is None or (folder / "checkpoints").is_dir()):
        cfg.ckpt_path = "last"  # a job that is run again, by a cluster or by hand, goes on
    failed = folder / "FAILED"
    if first_rank:
        failed.unlink(missing_ok=True)
    try:
        return task(cfg)
    except Exception as error:
        line = explain(error)
        if line is None or os.environ["ARCSR_TRACEBACK"] != "0":
            traceback.print_exc()
        line = line or f"{type(error).__name__}: {' '.join(str(error).split())}"
        if first_rank:
            write_text(failed, line + "\n")
            print(f"failed: {folder}: {line}", file=sys.stderr)
        raise InputError(f"{folder}: {line}; the same command typed again does only what is missing") from error
    finally:
        if after and first_rank:
            after(Path(HydraConfig.get().sweep.dir))


def end(error: Exception) -> NoReturn:
    """Leave with one line about an error of the user's; a fault of ours, or a wanted traceback, is raised again."""
    if explain(error) is None or os.environ["ARCSR_TRACEBACK"] != "0":
        raise error
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"error: {explain(error)}", file=sys.stderr)
    sys.exit(1)


def explain(error: BaseException) -> str | None:
    """One line for an error that is about the user's input, None for any other."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        cause = error.__cause__
        return str(cause) if isinstance(cause, ValueError | TypeError) else explain(cause)
    if isinstance(error, USER_ERRORS):
        text = str(error).rsplit(f"{type(error).__name__}: ", 1)[-1]  # a data worker sends its whole traceback along
        text = text.split("Config search path")[0].split("\n    full_key")[0]
        if missing := re.search(r"Missing mandatory value: (\S+)", text):
            key = missing[1]
            return f"{key} is not set; give {key}=VALUE" + (", or data.root=PATH" if key.startswith("paths.") else "")
        return " ".join(text.split()) or type(error).__name__
    return None


class SweepPlan(Callback):
    """Writes down in jobs.json what a sweep was typed as and which jobs that makes, before the first of them runs.

    A sweeper that decides on its jobs as it goes leaves none there.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        typed = list(config.hydra.overrides.task)
        sweeper = config.hydra.sweeper
        jobs: list[list[str]] = []
        if sweeper._target_.endswith(f".{BasicSweeper.__name__}"):  # not by class: Hydra's plugins are imported twice
            swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
            grid = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([*swept, *typed]), None)[0]
            unnamed = tuple(f"{key}=" for key in config.hydra.job.config.override_dirname.exclude_keys)
            jobs = [[override for override in job if not override.startswith(unnamed)] for job in grid]
        path = Path(config.hydra.sweep.dir, "jobs.json")
        before = json.loads(path.read_text(encoding="utf-8"))["jobs"] if path.is_file() else []
        jobs = before + [job for job in jobs if job not in before]
        write_text(path, json.dumps({"typed": typed, "jobs": jobs}, indent=1) + "\n")


# ---------------------------------------------------------------- objects


def build_network(model: DictConfig | dict[str, Any]) -> nn.Module:
    """The network that ``cfg.model`` describes, from parts of this package only.

    Raises:
        InputError: a part is not a network or block of this package; nothing was executed then.
    """
    parts = plain(model) if isinstance(model, DictConfig) else model
    check_parts(parts)
    network = instantiate(parts, _convert_="all")
    if not isinstance(network, nn.Module):
        raise InputError("model: names no network")
    return network


def check_parts(node: Any) -> None:
    """Raise InputError where a model configuration names anything but a network or block of this package."""
    if isinstance(node, dict):
        if "_target_" in node:
            target = str(node["_target_"])
            try:
                own = target.startswith(PARTS) and get_class(target).__module__.startswith(PARTS)
            except Exception:  # no such class
                own = False
            if not own:
                raise InputError(f"model: {target!r} is not a network or block of this package")
        for child in node.values():
            check_parts(child)
    elif isinstance(node, list):
        for child in node:
            check_parts(child)


def build_loss(cfg: DictConfig) -> nn.Module:
    """What a stage trains on, with what the loss owns (discriminators, say)."""
    return instantiate(cfg.loss, _convert_="all")


def prepare(cfg: DictConfig, network: nn.Module) -> dict[str, float]:
    """Do with the network what a stage does before its first step, if anything; returns figures worth a record."""
    return instantiate(cfg.prepare)(network) if cfg.prepare else {}


def build_module(cfg: DictConfig, network: nn.Module, loss: nn.Module | None) -> SRModule:
    """The Lightning module of a training configuration; checkpoints will hold ``cfg`` as plain data."""
    return SRModule(
        network,
        loss=loss,
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler) if cfg.scheduler else None,
        trains=cfg.trains,
        config=plain(cfg),
        method=cfg.method,
        compile=cfg.compile,
        channels_last=cfg.channels_last,
    )


def build_data(cfg: DictConfig, first_step: int = 0) -> SRDataModule:
    """The data module of ``cfg.data``; a data set is listed and opened only when it is needed.

    ``first_step`` counts the steps of the stages before, whose samples are not seen again.
    """
    data = cfg.data
    return SRDataModule(
        train=partial(instantiate, data.train),
        val=[partial(instantiate, data.val, noise_level=level) for level in data.noise_levels],
        test=[partial(instantiate, data.test, noise_level=level) for level in data.noise_levels],
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        first_step=first_step,
    )


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with the loggers and callbacks that are not switched off."""
    callbacks = [instantiate(node) for node in (cfg.get("callbacks") or {}).values() if node]
    loggers = [instantiate(node) for node in (cfg.get("logger") or {}).values() if node]
    return instantiate(cfg.trainer, callbacks=callbacks, logger=loggers, _convert_="all")


def close_loggers() -> None:
    """End the W&B run of this job, so that the next job of a sweep starts its own."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts, lists and scalars."""
    return OmegaConf.to_container(cfg, resolve=True)


@rank_zero_only
def show(cfg: DictConfig) -> None:
    """Print the composed configuration as a tree and save it in the run's folder."""
    tree = Tree("configuration", guide_style="dim")
    for name, node in cfg.items():
        text = OmegaConf.to_yaml(node, resolve=True) if OmegaConf.is_config(node) else str(node)
        tree.add(str(name)).add(Syntax(text.rstrip(), "yaml", background_color="default"))
    if cfg.print_config:
        Console().print(tree)
    write_text(Path(cfg.paths.output_dir) / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))


# ---------------------------------------------------------------- resolvers


def stamp() -> str:
    """The name of a new run's folder, the same in all processes that the scheduler starts for it at once."""
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:  # srun arcsr-train
        return "slurm-{SLURM_JOB_ID}.{SLURM_STEP_ID}".format(**os.environ)
    return time.strftime("%Y-%m-%d_%H-%M-%S")


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
    name = re.sub(r"[^\w.-]+", ".", overrides) or "job"
    return name if len(name) <= 120 else f"{name[:111]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def under(folder: str, name: str | None) -> str:
    """``folder/name``, or ``folder`` for what has no name: the only stage of a method."""
    return f"{folder}/{name}" if name else folder


def steps(part: float, *, _root_: DictConfig) -> int:
    """A part of the training's steps, at least one: the unit of schedules that fit every training."""
    return max(1, int(part * _root_.trainer.max_steps))


def processes(devices: Any) -> int:
    """How many processes ``trainer.devices`` makes on each node of a cluster: a number, or a list of devices.

    Raises:
        InputError: only the node itself could tell.
    """
    number = len(devices) if isinstance(devices, ListConfig) else devices
    if not str(number).isdigit() or int(number) < 1:
        raise InputError(f"trainer.devices={devices}: a cluster must be told how many; give a number")
    return int(number)


def gpus(accelerator: str, devices: Any) -> int | None:
    """The GPUs that a cluster is asked for on each node: one for each process, none for trainer=cpu."""
    return None if accelerator == "cpu" else processes(devices)


def wandb_offline() -> bool:
    """True where no W&B key is at hand: the run is then recorded on disk, and nothing prompts."""
    if os.environ.get("WANDB_API_KEY"):
        return False
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is None
    except (OSError, netrc.NetrcParseError):
        return True


OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("under", under, replace=True)
OmegaConf.register_new_resolver("steps", steps, replace=True)
OmegaConf.register_new_resolver("processes", processes, replace=True)
OmegaConf.register_new_resolver("gpus", gpus, replace=True)
OmegaConf.register_new_resolver("wandb_offline", wandb_offline, replace=True)
