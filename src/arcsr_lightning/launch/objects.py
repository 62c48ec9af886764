"""Configurations as objects: networks, losses, data, trainers."""

import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.syntax import Syntax
from rich.tree import Tree
from torch import nn

from arcsr_lightning.data import SRDataModule
from arcsr_lightning.errors import InputError
from arcsr_lightning.files import write_text
from arcsr_lightning.training.module import SRModule

PARTS = ("arcsr_lightning.networks", "arcsr_lightning.blocks", "arcsr_lightning.rivals")  # what a checkpoint may name


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
        compiled=cfg.compile,
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
    if cfg.trainer.devices == cfg.trainer.num_nodes == 1:
        warnings.filterwarnings("ignore", "The `srun` command is available")  # one process needs none
    trainer = instantiate(cfg.trainer, plugins=None, _partial_=True, _convert_="all")
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
