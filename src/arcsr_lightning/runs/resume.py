"""Going on with a run: whether it is over, where it stopped, that it still is the same run, and that it is alone."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from yaml import YAMLError

from arcsr_lightning import files
from arcsr_lightning.errors import FolderKeptError, InputError, first_line
from arcsr_lightning.files import write_text
from arcsr_lightning.processes import rank_zero_info, rank_zero_only
from arcsr_lightning.runs.settings import as_far, as_plain_data, changes_for
from arcsr_lightning.runs.stages import Stage, stages_of
from arcsr_lightning.runs.weights import FILE, Saved, load_weights, read_saved

PATIENCE = 10.0  # seconds: data workers of a killed process hold its lock until they notice, which takes them five


SHOWN = 8  # changes that one line can take
FIGURES = ("metrics.json", "per_image.csv", "images/panel.png")  # of the weights that a run had when it was over


@contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Keep every other process out of a run's folder, as :func:`files.alone_in` does.

    Raises:
        FolderKeptError: another process is in it.
    """
    if rank_zero_only.rank:  # the first process holds it for all
        yield
        return
    refusal = (
        "another process is training in this folder; wait until it ends, or start a run of its own (ckpt_path=null)"
    )
    with files.alone_in(folder, refusal, PATIENCE):
        yield


def _writes(cfg: DictConfig) -> bool:
    """Whether this process writes down what becomes of the run: the first one, unless it only tries a batch."""
    return not (rank_zero_only.rank or cfg.trainer.fast_dev_run)


def finish(cfg: DictConfig, metrics: Mapping[str, float]) -> None:
    """Write down that the run is over, and what it logged."""
    if _writes(cfg):
        write_text(_finished(cfg), json.dumps(dict(metrics), indent=2) + "\n")


def reopen(cfg: DictConfig) -> None:
    """Mark the run as unfinished, and remove the scores and pictures of its former weights."""
    if _writes(cfg):
        _finished(cfg).unlink(missing_ok=True)
        for name in FIGURES:
            Path(cfg.paths.output_dir, name).unlink(missing_ok=True)


def check_folder(cfg: DictConfig) -> None:
    """Refuse a run that would spoil what is in its folder; for use before anything is written there.

    Raises:
        FolderKeptError: the folder holds a finished run and is not asked to go on with it, or a run of other settings
            and nothing allows the change.
        InputError: what it says about that run is damaged.
    """
    if cfg.ckpt_path == "last":
        if (path := Path(cfg.paths.output_dir, "config.yaml")).is_file():
            changes_of(read_configuration(path), cfg, path)
    elif _finished(cfg).is_file():
        raise FolderKeptError(
            f"{cfg.paths.output_dir}: holds a finished run; go on with it by ckpt_path=last, or use another folder"
        )


def read_configuration(path: Path) -> dict[str, Any]:
    """The configuration that a run left in its folder.

    Raises:
        InputError: it is damaged.
    """
    cure = "start a new run with ckpt_path=null"
    try:
        config = as_plain_data(OmegaConf.load(path))
    except (ValueError, TypeError, RecursionError, YAMLError, OmegaConfBaseException, OSError) as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); {cure}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: damaged (no settings in it); {cure}")
    return config


def finished(cfg: DictConfig) -> dict[str, float] | None:
    """What the run logged, if it was asked to go on (``ckpt_path=last``) and is over already, as far as it is asked to
    go now; else None.

    Raises:
        FolderKeptError: it is over under other settings, and nothing allows the change.
        InputError: what it left is damaged.
    """
    if cfg.ckpt_path != "last" or not _finished(cfg).is_file():
        return None
    path = Path(cfg.paths.output_dir, "config.yaml")
    before = read_configuration(path)
    if not is_unchanged(before, cfg, path) or not as_far(before, as_plain_data(cfg)):
        return None
    try:
        return dict(json.loads(_finished(cfg).read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        line = f"{_finished(cfg)}: damaged ({first_line(error)}); remove it, and the run is tested again"
        raise InputError(line) from error


def _finished(cfg: DictConfig) -> Path:
    return Path(cfg.paths.output_dir, "finished.json")


def resume_point(cfg: DictConfig, stages: list[Stage], network: nn.Module) -> tuple[int, Path | None]:
    """The number of the stage to go on with, and the checkpoint within it; (0, None) is the start.

    ``cfg.ckpt_path`` is a checkpoint, or ``last`` for this run's own: a finished stage is not repeated then, and
    ``network`` gets the weights it left.

    Raises:
        InputError: the checkpoint does not exist, is of another architecture or of a stage that is not planned, or was
            made under settings that have changed since.
    """
    if cfg.ckpt_path not in (None, "last"):
        return _named_checkpoint(Path(cfg.ckpt_path), stages, network)
    number = 0
    if cfg.ckpt_path:
        number = stages_over(stages)
        last = stages[number].last
        if last is not None and last.is_file():
            _take_up(read_saved(last), last, stages[number], network)
            return number, last
        if number > 0:
            before = stages[number - 1]
            _take_up(read_saved(before.finished), before.finished, before, network)
            return number, None
        rank_zero_info(f"ckpt_path=last: nothing to go on with in {cfg.paths.output_dir}; starting a new run")
    if cfg.stage is not None and not cfg.weights:
        _take_up_before(cfg, stages[0], network)
    return number, None


def stages_over(stages: list[Stage]) -> int:
    """How many stages, from the first on, are over, but for the last; one that goes on (``cut_off``) is not."""
    number = 0
    while number < len(stages) - 1 and stages[number].finished.is_file() and not cut_off(stages[number], number):
        number += 1
    return number


def cut_off(stage: Stage, number: int) -> bool:
    """Whether its time limit ended a stage, and another limit, or none, lets it go on from its ``last.ckpt``."""
    config = read_saved(stage.finished).config
    steps, trainer = config["card"]["schedule"][number]["steps"], config["trainer"]
    limits = trainer["max_time"], stage.config.trainer.max_time
    if limits[0] in (None, limits[1]) or steps >= trainer["max_steps"] or not (stage.last and stage.last.is_file()):
        return False
    rank_zero_info(f"stage {stage.name}: cut off by trainer.max_time={limits[0]} after {steps} steps, and goes on")
    return True


def forget_after(cfg: DictConfig, stages: list[Stage], first: int) -> None:
    """Remove ``finished.ckpt`` of the stage that is trained next and of later ones, and all checkpoints of these.

    They start from what this one leaves.
    """
    if not _writes(cfg):
        return
    for stage in stages[first : len(stages) - 1]:
        stage.finished.unlink(missing_ok=True)
    for stage in stages[first + 1 :]:
        for path in {*stage.finished.parent.glob("*.ckpt"), *([stage.last] if stage.last else [])}:
            path.unlink(missing_ok=True)


def _named_checkpoint(path: Path, stages: list[Stage], network: nn.Module) -> tuple[int, Path]:
    """The number of the stage that made the checkpoint ``path``, which gives the network its weights."""
    saved = read_saved(path)
    name = saved.config.get("current_stage")
    names = [stage.name for stage in stages]
    if name not in names:
        raise InputError(
            f"ckpt_path={path} is of stage {name}, which is none of this run's: {', '.join(map(str, names))}"
        )
    number = names.index(name)
    _take_up(saved, path, stages[number], network)
    return number, path


def _take_up_before(cfg: DictConfig, stage: Stage, network: nn.Module) -> None:
    """Give the network what the stage before one that is trained alone has left in this folder, if there is one.

    Raises:
        InputError: it is not over there.
    """
    whole = cfg.copy()
    whole.stage = None
    earlier = [one for one in stages_of(whole) if one.first_step < stage.first_step and not one.missing_in(network)]
    if not earlier:
        return
    before = earlier[-1]
    for path in (before.last, before.finished):  # trained alone it leaves the first only, which may be the newer
        if path is None or not path.is_file():
            continue
        saved = read_saved(path)
        if path == before.finished or saved.steps >= before.config.trainer.max_steps:
            rank_zero_info(f"stage {stage.name}: starts from {path}")
            _take_up(saved, path, before, network)
            return
    raise InputError(
        f"stage={stage.name}: starts from what stage {before.name} learns, which is not over in "
        f"{cfg.paths.output_dir}; train that one there first (stage={before.name}, then ckpt_path=last), or name its "
        "file by weights=PATH"
    )


def take_up_run(cfg: DictConfig, network: nn.Module) -> dict[str, Any] | None:
    """Give the network the weights that ``cfg.weights`` or ``cfg.ckpt_path`` names, where it is only to be scored.

    Returns:
        The configuration that they were trained by, for tables; None where there are none.

    Raises:
        InputError: the run that is named has not been trained to its end.
    """
    named = cfg.weights or (cfg.ckpt_path if any(True for _ in network.parameters()) else None)
    if not named:
        return None
    path = Path(named)
    if named == "last":
        path = Path(cfg.paths.output_dir, FILE)
        if not path.is_file():
            if any(Path(cfg.paths.checkpoints).glob("**/*.ckpt")):
                raise InputError(
                    f"train=false: the training in {cfg.paths.output_dir} is not over; go on with it, or name a "
                    "checkpoint to score by weights=PATH"
                )
            return None
    saved = read_saved(path)
    load_weights(network, saved, path)
    return saved.config


def _take_up(saved: Saved, path: Path, stage: Stage, network: nn.Module) -> None:
    """Give the network the weights of a checkpoint that ``stage`` made, read from ``path``."""
    if not saved.resumable:
        raise InputError(
            f"ckpt_path={path}: has weights, but no state of a training; start from it with weights={path}"
        )
    load_weights(network, saved, path)  # says clearly what does not fit, before Lightning tries
    is_unchanged(saved.config, stage.config, path)


def is_unchanged(before: Mapping[str, Any], cfg: DictConfig, path: Path) -> bool:
    """Whether no setting that decides what is learnt has changed since ``path`` was written with those ``before``.

    Those that have are said.

    Raises:
        FolderKeptError: some have, and ``cfg.allow_config_change`` does not allow it.
    """
    changes = changes_of(before, cfg, path)
    if changes:
        rank_zero_info(f"{path}: going on with other settings: {changes}")
    return not changes


def changes_of(before: Mapping[str, Any], cfg: DictConfig, path: Path) -> str:
    """What has changed of the settings that decide what is learnt, in words; empty where nothing has.

    Raises:
        FolderKeptError: something has, and ``cfg.allow_config_change`` does not allow it.
    """
    changes = changes_for(before, as_plain_data(cfg))
    listed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in list(changes.items())[:SHOWN])
    if len(changes) > SHOWN:
        listed += f" and {len(changes) - SHOWN} more"
    if listed and not cfg.allow_config_change:
        raise FolderKeptError(
            f"{path}: made with other settings: {listed}; allow_config_change=true goes on all the same"
        )
    return listed


def taken_before(stages: list[Stage], first: int) -> list[dict[str, Any]]:
    """What each of the finished stages before number ``first`` did: its steps, and their rates in sum."""
    if not first or not stages[first - 1].finished.is_file():  # goes on from a checkpoint of another run
        return []
    schedule = read_saved(stages[first - 1].finished).config["card"]["schedule"]
    return [{name: stage[name] for name in ("steps", "lr_sum")} for stage in schedule[:first]]
