"""Going on with a run: whether it is over, where it stopped, that it still is the same run, and that it is alone."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_only
from torch import nn

from arcsr_lightning.errors import FolderInUseError, InputError
from arcsr_lightning.files import write_text
from arcsr_lightning.launch import as_plain_data
from arcsr_lightning.runs.settings import differences
from arcsr_lightning.runs.stages import Stage
from arcsr_lightning.runs.weights import load_weights, read_saved

PATIENCE = 10.0  # seconds: data workers of a killed process hold its lock until they notice, which takes them five


SHOWN = 8  # changes that one line can take


@contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Keep every other process out of a run's folder; the system lets go of it when this process dies, however.

    Raises:
        FolderInUseError: another process is in it.
    """
    if rank_zero_only.rank:  # the first process holds it for all
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(folder, ".lock"))
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise FolderInUseError(
            f"{folder}: another process is training in this folder; wait until it ends, or start a run of its own "
            "(ckpt_path=null)"
        ) from None
    try:
        yield
    finally:
        lock.release()


def finish(cfg: DictConfig, metrics: Mapping[str, float]) -> None:
    """Write down that the run is over, and what it logged."""
    if not rank_zero_only.rank:
        write_text(_finished(cfg), json.dumps(dict(metrics), indent=2) + "\n")


def reopen(cfg: DictConfig) -> None:
    """The run is not over, or not any more."""
    if not rank_zero_only.rank:
        _finished(cfg).unlink(missing_ok=True)


def finished(cfg: DictConfig) -> dict[str, float] | None:
    """What the run logged, if it was asked to go on (``ckpt_path=last``) and is over already; else None.

    Raises:
        InputError: it is over under other settings, and nothing allows the change.
    """
    if cfg.ckpt_path != "last" or not _finished(cfg).is_file():
        return None
    path = Path(cfg.paths.output_dir, "config.yaml")
    changes = differences(as_plain_data(OmegaConf.load(path)), as_plain_data(cfg))
    if changes:
        allow(changes, cfg, path)
        return None
    return json.loads(_finished(cfg).read_text(encoding="utf-8"))


def _finished(cfg: DictConfig) -> Path:
    return Path(cfg.paths.output_dir, "finished.json")


def resume_point(cfg: DictConfig, stages: list[Stage], network: nn.Module) -> tuple[int, str | None]:
    """The number of the stage to go on with, and the checkpoint within it; (0, None) is the start.

    ``cfg.ckpt_path`` is a checkpoint, or ``last`` for this run's own: a finished stage is not repeated then, and
    ``network`` gets the weights it left.

    Raises:
        InputError: the checkpoint does not exist, is of another architecture or of a stage that is not planned, or was
            made under settings that have changed since.
    """
    if not (cfg.train and cfg.ckpt_path):
        return 0, None
    if cfg.ckpt_path != "last":
        name = read_saved(cfg.ckpt_path).config.get("stage")
        names = [stage.name for stage in stages]
        if name not in names:
            own = ", ".join(map(str, names))
            raise InputError(f"ckpt_path={cfg.ckpt_path} is of stage {name}, which is none of this run's: {own}")
        number, path = names.index(name), Path(cfg.ckpt_path)
        _take_up(path, stages[number], network)
        return number, str(path)
    number = sum(stage.finished.is_file() for stage in stages[:-1])
    path = stages[number].folder / "last.ckpt"
    if path.is_file():
        _take_up(path, stages[number], network)
        return number, str(path)
    if number == 0:
        rank_zero_info(f"ckpt_path=last: nothing to go on with in {cfg.paths.output_dir}; starting a new run")
        return 0, None
    _take_up(stages[number - 1].finished, stages[number - 1], network)
    return number, None


def _take_up(path: Path, stage: Stage, network: nn.Module) -> None:
    """Give the network the weights of a checkpoint that ``stage`` made."""
    saved = read_saved(path)
    load_weights(network, saved, path)  # says clearly what does not fit, before Lightning tries
    changes = differences(saved.config, as_plain_data(stage.config))
    if changes:
        allow(changes, stage.config, path)


def allow(changes: Mapping[str, tuple[Any, Any]], cfg: DictConfig, path: str | Path) -> None:
    """Say what has changed since ``path`` was written.

    Raises:
        InputError: ``cfg`` does not allow it.
    """
    listed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in list(changes.items())[:SHOWN])
    if len(changes) > SHOWN:
        listed += f" and {len(changes) - SHOWN} more"
    if not cfg.allow_config_change:
        raise InputError(f"{path}: made with other settings: {listed}; allow_config_change=true goes on all the same")
    rank_zero_info(f"{path}: going on with other settings: {listed}")
