"""What configurations can compute: ``${name:argument,...}``. Nothing here writes, and only W&B's key is read."""

import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf

from arcsr_lightning import CONF_DIR
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch.environment import is_of_several, launch_folder
from arcsr_lightning.launch.folders import job_folder, stage_path

MOST_WORKERS = 12  # for a GPU that takes hundreds of samples of 20 to 40 ms a second

F = TypeVar("F", bound=Callable[..., Any])


def resolver(function: F) -> F:
    """Let configurations call a function by its name."""
    OmegaConf.register_new_resolver(function.__name__, function, replace=True)
    return function


for imported in (launch_folder, job_folder, stage_path):
    resolver(imported)


@resolver
def steps(part: float, *, _root_: DictConfig) -> int:
    """A part of the training's steps, rounded up: the unit of schedules that fit every training.

    Rounded down, four periods of a quarter each would leave steps for the peak of a fifth.
    """
    return max(1, math.ceil(part * _root_.trainer.max_steps - 1e-6))


@resolver
def per_node(devices: Any) -> int:
    """How many processes ``trainer.devices`` makes on each node of a cluster: a number, or a list of devices.

    Raises:
        InputError: only the node itself could tell.
    """
    number = len(devices) if isinstance(devices, ListConfig) else devices
    if not str(number).isdigit() or int(number) < 1:
        raise InputError(f"trainer.devices={devices}: a cluster must be told how many; give a number")
    return int(number)


@resolver
def gpus(accelerator: str, devices: Any) -> int | None:
    """The GPUs that a cluster is asked for on each node: one for each process, none for trainer=cpu."""
    return None if accelerator == "cpu" else per_node(devices)


@resolver
def run_id(folder: str, log_dir: str, stage: str | None) -> str:
    """What a dashboard knows a stage of a run by: the same whenever it is resumed, on whatever machine."""
    place = Path(os.path.relpath(folder, log_dir)).as_posix()
    return hashlib.sha256(f"{place}\n{stage}".encode()).hexdigest()[:12]


@resolver
def all_tags(own: list[str], *more: str) -> list[str]:
    """The user's own tags of a run, then those that every run has; none twice."""
    return list(dict.fromkeys([*own, *more]))


@resolver
def on_gpu(there: Any, elsewhere: Any, *, _root_: DictConfig) -> Any:
    """One of two values: the first where ``trainer.accelerator`` is a GPU."""
    return there if OmegaConf.select(_root_, "trainer.accelerator") in ("gpu", "cuda") else elsewhere


@resolver
def data_workers(elsewhere: int, *, _root_: DictConfig) -> int:
    """The data workers of a process, as many as there are cores for: with a GPU up to what keeps one busy.

    SLURM tells each process that it starts how many are its own; elsewhere the processes of a node share them.
    """
    devices = OmegaConf.select(_root_, "trainer.devices")
    known = isinstance(devices, ListConfig) or str(devices).isdigit()
    processes = per_node(devices) if known else max(1, on_gpu(visible_gpus(), 1, _root_=_root_))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = os.environ.get("SLURM_CPUS_PER_TASK") if is_of_several() else None
    share = min(cores, int(own)) if own else cores // processes
    return max(1, min(on_gpu(MOST_WORKERS, elsewhere, _root_=_root_), share))


def visible_gpus() -> int:
    from torch.cuda import device_count  # here, as torch takes seconds to import

    return device_count()


@resolver
def fused(*, _root_: DictConfig) -> bool | None:
    """Whether an optimiser takes its step in one launch: on a GPU, where Lightning need not clip mixed precision."""
    precision, clips = (OmegaConf.select(_root_, f"trainer.{name}") for name in ("precision", "gradient_clip_val"))
    refuses = precision == "16-mixed" or (clips and str(precision).endswith("-mixed"))
    return on_gpu(None if refuses else True, None, _root_=_root_)


@resolver
def folder_name(folder: str) -> str:
    """The name of a folder, without those that it lies in."""
    return Path(folder).name


@resolver
def options(group: str) -> str:
    """The options of a configuration group, for the help of a command."""
    return ", ".join(sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")))


@resolver
def table_rows(methods: Any, kernels: str, named: DictConfig) -> str:
    """The models that a table compares, as a sweeper takes them.

    Args:
        methods: a name in ``named``, or a list of models.
        kernels: what the data has, known, measured or unknown.
        named: by name and by kernels, lists of models.

    Raises:
        InputError: there is no such name.
    """
    if isinstance(methods, ListConfig):
        return ",".join(methods)
    if methods not in named:
        raise InputError(f"methods={methods}: no such rows; give {' or '.join(named)}, or a list, methods=[{methods}]")
    return ",".join(named[methods][kernels])


@resolver
def wandb_offline() -> bool:
    """True where W&B is told to be offline, or nothing to log in with is at hand: the run is then recorded on disk, and
    nothing prompts.

    W&B itself says which server is meant and what is kept for it, but not in the settings of this process: those are
    read once, and Lightning is yet to set ``WANDB_MODE``.
    """
    if mode := os.environ.get("WANDB_MODE"):
        return mode in ("offline", "dryrun")
    import wandb  # takes a second
    from wandb.sdk.lib.wbauth import read_netrc_auth

    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    settings = wandb.Settings(settings_system=str(folder / "settings"), quiet=True)
    settings.update_from_system_settings()
    settings.update_from_env_vars(dict(os.environ))
    return not (settings.api_key or settings.identity_token_file or read_netrc_auth(host=settings.base_url))
