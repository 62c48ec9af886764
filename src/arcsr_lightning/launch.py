"""The only module that knows Hydra: commands, configurations, and the objects built from them."""

import hashlib
import json
import netrc
import os
import re
import sqlite3
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

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
from omegaconf import DictConfig, ListConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.syntax import Syntax
from rich.tree import Tree
from torch import nn
from torch.linalg import LinAlgError

from arcsr_lightning import CONF_DIR
from arcsr_lightning.data import SRDataModule
from arcsr_lightning.errors import FolderInUseError, InputError
from arcsr_lightning.files import write_text
from arcsr_lightning.lightning_module import SRModule
from arcsr_lightning.processes import end_with_parent, failed_first, run_alone

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
EXTRAS = {  # what finds no plugin of Hydra's, and the extra that brings it
    "hydra/launcher/submitit_slurm": ("cluster=slurm", "cluster"),
    "hydra/sweeper/optuna": ("hparams_search=optuna", "sweep"),
}
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

    With ``HYDRA_FULL_ERROR=1`` in the environment it ends in a traceback. What fails leaves the line in a file FAILED
    in its folder, the first that fails where a run has several processes. After every job of a sweep ``after_job`` gets
    the sweep's folder.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        def in_sweep(cfg: DictConfig) -> Any:
            return run_apart(config_name, cfg) if starts_processes(cfg) else task(cfg)

        def job(cfg: DictConfig) -> Any:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                return sweep_job(in_sweep, cfg, after_job)
            failed = Path(cfg.paths.output_dir, "FAILED")
            if rank_zero_only.rank == 0:
                failed.unlink(missing_ok=True)
            try:
                pin_folder()
                return task(cfg)
            except FolderInUseError as error:
                end(error)
            except Exception as error:
                if not failed_first(failed, line_of(error)):
                    sys.exit(1)
                end(error)

        def main() -> Any:
            # All ranks and all jobs of one launch share one folder name.
            os.environ.setdefault("ARCSR_RUN_STAMP", stamp())
            os.environ.setdefault("ARCSR_TRACEBACK", os.environ.get("HYDRA_FULL_ERROR", "0"))
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us
            if rank_zero_only.rank or "ARCSR_JOB" in os.environ:
                end_with_parent()
            try:
                return hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)()
            except Exception as error:
                if rank_zero_only.rank and explain(error):  # before the run began: all processes fail of the same
                    sys.exit(1)
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
        line = line_of(error)
        if explain(error) is None or os.environ["ARCSR_TRACEBACK"] != "0":
            traceback.print_exc()
        if not isinstance(error, FolderInUseError) and failed_first(failed, line):
            print(f"failed: {folder}: {line}", file=sys.stderr)
        raise InputError(f"{folder}: {line}; the same command typed again does only what is missing") from error
    finally:
        if after and first_rank:
            after(Path(HydraConfig.get().sweep.dir))


def end(error: Exception) -> NoReturn:
    """Leave with one line about an error of the user's; a fault of ours, or a wanted traceback, is raised again."""
    if explain(error) is None or os.environ["ARCSR_TRACEBACK"] != "0":
        raise error
    print(f"error: {explain(error)}", file=sys.stderr)
    sys.exit(1)


def starts_processes(cfg: DictConfig) -> bool:
    """Whether the run starts further processes by typing its command again, which is how Lightning does it."""
    if "trainer" not in cfg or cfg.trainer.devices == cfg.trainer.num_nodes == 1:
        return False
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
    typed = [*job.overrides.hydra, *job.overrides.task]
    pinned = ["hydra.mode=RUN", f'hydra.run.dir="{job.runtime.output_dir}"', "hydra.output_subdir=null"]
    if cfg.get("ckpt_path"):
        pinned.append(f'ckpt_path="{cfg.ckpt_path}"')
    command = [sys.executable, "-m", f"{__package__}.{config_name}", *own, *typed, *pinned]
    status = run_alone(command, os.environ | {"ARCSR_JOB": "1"})
    if status:
        failed = folder / "FAILED"
        line = failed.read_text(encoding="utf-8").strip() if failed.is_file() else f"its process ended with {status}"
        raise ChildProcessError(line)
    metrics = folder / "finished.json"
    return json.loads(metrics.read_text(encoding="utf-8")).get(cfg.optimized_metric) if metrics.is_file() else None


def pin_folder() -> None:
    """Let the processes that Lightning starts have this run's folder, instead of looking for one by themselves."""
    config = HydraConfig.instance().cfg.hydra
    with read_write(config):
        config.run.dir = config.runtime.output_dir


def line_of(error: Exception) -> str:
    """One line for any error."""
    return explain(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"


def explain(error: BaseException) -> str | None:
    """One line for an error that is about the user's input, None for any other."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        cause = error.__cause__
        return str(cause) if isinstance(cause, ValueError | TypeError) else explain(cause)
    if isinstance(error, USER_ERRORS):
        text = str(error).rsplit(f"{type(error).__name__}: ", 1)[-1]  # a data worker sends its whole traceback along
        text = text.split("Config search path")[0].split("\n    full_key")[0]
        for plugin, (setting, extra) in EXTRAS.items():
            if f"Could not find '{plugin}'" in text:
                return f'{setting} needs more packages; pip install "arcsr-lightning[{extra}]"'
        if missing := re.search(r"Missing mandatory value: (\S+)", text):
            key = missing[1]
            return f"{key} is not set; give {key}=VALUE" + (", or data.root=PATH" if key.startswith("paths.") else "")
        return " ".join(text.split()) or type(error).__name__
    return explain_cluster(error)


def explain_cluster(error: BaseException) -> str | None:
    """One line for what a cluster has against a job, None for any other error, a job's own included."""
    text = str(error)
    if "are you indeed on a slurm cluster" in text:
        return "cluster=slurm: there is no srun on this machine; type the command where sbatch works"
    if type(error).__module__.startswith("submitit.") and "with trace" not in text:
        return " ".join(text.split("-----")[0].split())  # its log follows
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
    """The trainer with the plugins, loggers and callbacks that are not switched off."""
    callbacks = [instantiate(node) for node in (cfg.get("callbacks") or {}).values() if node]
    loggers = [instantiate(node) for node in (cfg.get("logger") or {}).values() if node]
    plugins = [instantiate(node) for node in (cfg.trainer.get("plugins") or {}).values() if node]
    trainer = instantiate(cfg.trainer, plugins=None, _partial_=True, _convert_="all")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `srun` command is available")  # a job of one process needs none
        return trainer(callbacks=callbacks, logger=loggers, plugins=plugins)


def close_loggers() -> None:
    """End the W&B run of this job, so that the next one starts its own; as failed while an error is being handled."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=int(sys.exc_info()[1] is not None))


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
    name = re.sub(r"[^\w.-]+", ".", overrides).strip(".") or "job"
    return name if len(name) <= 120 else f"{name[:111]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def under(folder: str, name: str | None) -> str:
    """``folder/name``, or ``folder`` for what has no name: the only stage of a method."""
    return f"{folder}/{name}" if name else folder


def steps(part: float, *, _root_: DictConfig) -> int:
    """A part of the training's steps, at least one: the unit of schedules that fit every training."""
    return max(1, int(part * _root_.trainer.max_steps))


def per_node(devices: Any) -> int:
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
    return None if accelerator == "cpu" else per_node(devices)


def run_id(folder: str, log_dir: str, stage: str | None) -> str:
    """What a dashboard knows a stage of a run by: the same whenever it is resumed, on whatever machine."""
    place = Path(os.path.relpath(folder, log_dir)).as_posix()
    return hashlib.sha256(f"{place}\n{stage}".encode()).hexdigest()[:12]


def all_tags(own: list[str], *more: str) -> list[str]:
    """The user's own tags of a run, then those that every run has; none twice."""
    return list(dict.fromkeys([*own, *more]))


def trials(storage: str | None) -> int:
    """How many trials the studies in the database ``sqlite:///PATH`` have made so far; 0 for any other storage.

    Raises:
        InputError: the file is no such database.
    """
    path = Path((storage or "").removeprefix("sqlite:///"))
    if not path.is_file():
        return 0
    try:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT count(*) FROM trials").fetchone()[0]
    except sqlite3.DatabaseError as error:
        line = f"{path}: not a study ({error}); remove it, or give hydra.sweeper.storage=sqlite:///PATH"
        raise InputError(line) from error


def wandb_offline() -> bool:
    """True where W&B is told to be offline, or no key of its server is at hand: the run is then recorded on disk, and
    nothing prompts."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode in ("offline", "dryrun")
    if os.environ.get("WANDB_API_KEY"):
        return False
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(server) is None
    except (OSError, netrc.NetrcParseError):
        return True


OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("under", under, replace=True)
OmegaConf.register_new_resolver("steps", steps, replace=True)
OmegaConf.register_new_resolver("per_node", per_node, replace=True)
OmegaConf.register_new_resolver("gpus", gpus, replace=True)
OmegaConf.register_new_resolver("folder_name", lambda folder: Path(folder).name, replace=True)
OmegaConf.register_new_resolver("run_id", run_id, replace=True)
OmegaConf.register_new_resolver("all_tags", all_tags, replace=True)
OmegaConf.register_new_resolver("trials", trials, replace=True)
OmegaConf.register_new_resolver("wandb_offline", wandb_offline, replace=True)
