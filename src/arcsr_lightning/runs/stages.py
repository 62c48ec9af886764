"""The stages of a training, in order: each is the run's configuration with some nodes of its own.

A method lists its stages under ``stages`` (conf/model/). Each has a ``share`` of the steps and may have ``trains`` (the
parts of the network that train; null: all), ``prepare`` (done to the network before the first step), ``loss``,
``optimizer``, null for the run's, and ``scheduler``; what a stage has replaces the run's as a whole, what it does not
have is the run's. A method without stages has one, without a name: the run's configuration as it stands.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, open_dict

from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div

if TYPE_CHECKING:
    from torch import nn  # tables are made without it

OWN = ("trains", "prepare", "loss", "optimizer", "scheduler")  # what a stage may have instead of the run's


class Stage(NamedTuple):
    """One fit: ``config.trainer.max_steps`` is its own number of steps, ``first_step`` counts those before it.

    ``ends`` the method's training: what it restores is what the network is for. Before that ``val/psnr`` judges parts
    that have not learnt yet.
    """

    name: str | None
    config: DictConfig
    first_step: int = 0
    ends: bool = True

    @property
    def last(self) -> Path | None:
        """The checkpoint it goes on from when it was interrupted; None where none is kept."""
        callback = (self.config.callbacks or {}).get("last")
        return Path(callback.dirpath, "last.ckpt") if callback and "dirpath" in callback else None

    def missing_in(self, network: "nn.Module") -> list[str]:
        """The parts that this stage trains and an ablation has taken out of the network."""
        return [name for name in self.config.trains or () if getattr(network, name, network) is None]

    @property
    def finished(self) -> Path:
        """The checkpoint that says that it is over; the next stage starts from its weights."""
        return Path(self.config.paths.checkpoints, self.name or "", "finished.ckpt")


def stages_of(cfg: DictConfig) -> list[Stage]:
    """The stages of a run in order, or the one that ``cfg.stage`` names.

    Raises:
        InputError: there is no such stage, a stage has a key that is none of a stage's, the steps do not suffice, or
            two stages would keep their ``last.ckpt`` in one folder.
    """
    if not cfg.stages:
        if cfg.stage is not None:
            raise InputError(f"stage={cfg.stage}: method={cfg.method} has no stages; leave it out")
        return [Stage(None, cfg)]
    if cfg.stage is not None and cfg.stage not in cfg.stages:
        raise InputError(f"stage={cfg.stage}: no stage of method={cfg.method}; it has {', '.join(cfg.stages)}")
    steps = divide(cfg.trainer.max_steps, [stage.share for stage in cfg.stages.values()])
    stages = [
        Stage(name, config_of(cfg, name, own), sum(steps[:number]), ends=number == len(steps) - 1)
        for number, (name, own) in enumerate(zip(cfg.stages, steps, strict=True))
        if cfg.stage in (None, name)
    ]
    for before, after in pairwise(stages):
        if before.last is not None and before.last == after.last:
            raise InputError(
                f"callbacks.last.dirpath={after.last.parent}: each of the stages {', '.join(cfg.stages)} needs a "
                "folder of its own; set paths.checkpoints instead, which gives them one"
            )
    return stages


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


def config_of(cfg: DictConfig, name: str, steps: int) -> DictConfig:
    """The configuration of the stage ``name``, which has so many steps.

    Raises:
        InputError: it has a key that is none of a stage's.
    """
    config = cfg.copy()
    with open_dict(config):
        config.current_stage = name
        config.trainer.max_steps = steps
        parts = cfg.trainer.accumulate_grad_batches
        most = max(1, cfg.trainer.val_check_interval // parts)
        config.trainer.val_check_interval = parts * interval_of(steps, most)
        own = cfg.stages[name]
        for key, node in own.items():
            if key not in (*OWN, "share"):
                raise InputError(f"stages.{name}.{key}: a stage has share, {', '.join(OWN)}")
            if key in OWN and (key, node) != ("optimizer", None):
                config[key] = node
    return config


def interval_of(steps: int, most: int) -> int:
    """The interval of validations, at most ``most`` steps: after the last come fewer steps than there are validations.

    The end of a schedule, where rates are lowest, is to be among what the best checkpoint is chosen from.
    """
    return steps // ceil_div(steps, min(steps, most))


def schedule_of(stages: Sequence[Stage], rates: Sequence[float]) -> list[dict[str, Any]]:
    """What each stage does in brief, as plain data, for tables.

    Args:
        stages: of the run.
        rates: of each stage, the sum of its learning rate over its steps.
    """
    return [
        {
            "stage": stage.name,
            "steps": stage.config.trainer.max_steps,
            "trains": list(stage.config.trains or []),
            "lr": stage.config.optimizer.lr,
            "lr_sum": rate,
        }
        for stage, rate in zip(stages, rates, strict=True)
    ]
