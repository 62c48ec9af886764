"""The stages of a training: each is the run's configuration with some keys of its own.

A method lists them under ``stages`` (conf/model/): its ``share`` of the steps, the parts of the network it ``trains``
(null: all), what it does to ``prepare`` the network before its first step, and ``loss``, ``optimizer``, ``scheduler``
where they differ from the run's: a node with ``_target_`` replaces the run's, any other is merged into it. A method
without stages has one, without a name: the configuration as it stands.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf, open_dict

from arcsr_lightning.errors import InputError

KEYS = ("trains", "prepare", "loss", "optimizer", "scheduler")  # that a stage may replace


class Stage(NamedTuple):
    """One fit: ``config.trainer.max_steps`` is its own number of steps, ``first_step`` counts those before it."""

    name: str | None
    config: DictConfig
    first_step: int = 0

    @property
    def folder(self) -> Path:
        """Where its checkpoints lie."""
        return Path(self.config.paths.output_dir, "checkpoints", self.name or "")

    @property
    def finished(self) -> Path:
        """The checkpoint that says that this stage is over; the next one starts from its weights."""
        return self.folder / "finished.ckpt"


def plan(cfg: DictConfig) -> list[Stage]:
    """The stages of a run in order, or the one that ``cfg.stage`` names.

    Raises:
        InputError: there is no such stage, a stage has a key that it cannot replace, or the steps do not suffice.
    """
    if not cfg.stages:
        if cfg.stage is not None:
            raise InputError(f"stage={cfg.stage}: method={cfg.method} has no stages; leave it out")
        return [Stage(None, cfg)]
    if cfg.stage is not None and cfg.stage not in cfg.stages:
        raise InputError(f"stage={cfg.stage}: no stage of method={cfg.method}; it has {', '.join(cfg.stages)}")
    steps = divide(cfg.trainer.max_steps, [stage.share for stage in cfg.stages.values()])
    return [
        Stage(name, configuration(cfg, name, own), sum(steps[:number]))
        for number, (name, own) in enumerate(zip(cfg.stages, steps, strict=True))
        if cfg.stage in (None, name)
    ]


def divide(steps: int, shares: Sequence[float]) -> list[int]:
    """``steps`` in proportion to the shares, at least one each.

    Raises:
        InputError: there are fewer steps than shares.
    """
    if steps < len(shares):
        raise InputError(f"trainer.max_steps={steps}: this method has {len(shares)} stages of at least one step each")
    ends = [0]
    for number in range(1, len(shares) + 1):
        end = round(steps * sum(shares[:number]) / sum(shares))
        ends.append(min(max(end, ends[-1] + 1), steps - len(shares) + number))
    return [end - start for start, end in pairwise(ends)]


def configuration(cfg: DictConfig, name: str, steps: int) -> DictConfig:
    """The configuration of the stage ``name``."""
    config = cfg.copy()
    with open_dict(config):
        config.stage = name
        config.trainer.max_steps = steps
        config.trainer.val_check_interval = min(steps, cfg.trainer.val_check_interval)
        for key, node in cfg.stages[name].items():
            if key == "share":
                continue
            if key not in KEYS:
                raise InputError(f"stages.{name}.{key}: a stage sets share, {', '.join(KEYS)}")
            merges = OmegaConf.is_dict(node) and "_target_" not in node and config.get(key)
            config[key] = OmegaConf.merge(config[key], node) if merges else node
    return config


def schedule(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """What each stage does in brief, as plain data, for tables."""
    return [
        {
            "stage": stage.name,
            "steps": stage.config.trainer.max_steps,
            "trains": list(stage.config.trains or []),
            "lr": stage.config.optimizer.lr,
        }
        for stage in stages
    ]
