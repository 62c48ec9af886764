"""Configurations as what Lightning trains with; apart from the other objects, as it takes seconds to import."""

import warnings
from functools import partial

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Checkpoint, LearningRateMonitor
from torch import nn

from arcsr_lightning.data.datamodule import SRDataModule
from arcsr_lightning.errors import InputError
from arcsr_lightning.integers import ceil_div
from arcsr_lightning.launch.objects import maker, naming_errors
from arcsr_lightning.processes import rank_zero_info
from arcsr_lightning.runs.settings import as_plain_data
from arcsr_lightning.scores.perceptual import LEAST_SIDE
from arcsr_lightning.scores.protocol import SSIM_WINDOW
from arcsr_lightning.training.module import SRModule


def build_module(cfg: DictConfig, network: nn.Module, loss: nn.Module | None) -> SRModule:
    """The Lightning module of a training configuration; checkpoints will hold ``cfg`` as plain data."""
    return SRModule(
        network,
        loss=loss,
        optimizer=maker(cfg, "optimizer"),
        scheduler=maker(cfg, "scheduler") if cfg.scheduler else None,
        trains=cfg.trains,
        config=as_plain_data(cfg),
        method=cfg.method,
        known_kernels=cfg.known_kernels,
        compiled=cfg.compile,
        channels_last=cfg.channels_last,
    )


def build_data(cfg: DictConfig, first_step: int = 0) -> SRDataModule:
    """The data module of ``cfg.data``; a data set is listed and opened only when it is needed.

    ``first_step`` counts the steps of the stages before, whose samples are not seen again.
    """
    data = cfg.data
    least = max([SSIM_WINDOW, *(LEAST_SIDE.get(name, 1) for name in cfg.get("perceptual") or ())])
    return SRDataModule(
        train=partial(instantiate, data.train),
        val=[partial(instantiate, data.val, noise_level=level) for level in data.noise_levels],
        test=[partial(instantiate, data.test, noise_level=level) for level in data.noise_levels],
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        first_step=first_step,
        degrade_on=data.get("degrade_on", "worker"),
        least_side=ceil_div(least + 2 * cfg.scale, cfg.scale) * cfg.scale,  # what scores need, and the cut borders
    )


def accelerator_of(name: str) -> str:
    """What ``trainer.accelerator`` means: ``auto`` takes CUDA or the CPU, as Apple's GPUs have no float64.

    Raises:
        InputError: there is no such device.
    """
    if name in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError(
            f"trainer.accelerator={name}: PyTorch sees no CUDA device here; set trainer=cpu, or trainer=ddp_cpu for "
            "several processes"
        )
    if name != "auto":
        return name
    if not torch.cuda.is_available():
        return "cpu"
    rank_zero_info("trainer.accelerator=auto: on the GPU, but fed and set as on a CPU; trainer=gpu is faster")
    return "gpu"


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with the plugins, loggers and callbacks that are not switched off.

    How exactly this process multiplies float32 is set with it (``matmul_precision``), as Lightning leaves it alone.
    """
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    callbacks, loggers, plugins = (
        [instantiate(node) for node in (nodes or {}).values() if node and "_target_" in node]
        for nodes in (cfg.get("callbacks"), cfg.get("logger"), cfg.trainer.get("plugins"))
    )
    if not loggers:  # it would refuse to start
        callbacks = [callback for callback in callbacks if not isinstance(callback, LearningRateMonitor)]
    given = {"plugins": None, "accelerator": accelerator_of(cfg.trainer.accelerator)}
    trainer = naming_errors("trainer", instantiate(cfg.trainer, **given, _partial_=True, _convert_="all"))
    keeps = any(isinstance(callback, Checkpoint) for callback in callbacks)  # else Lightning adds one of its own
    if cfg.trainer.devices == cfg.trainer.num_nodes == 1:  # one process needs none; said whenever the trainer starts
        warnings.filterwarnings("ignore", "The `srun` command is available")
    return trainer(callbacks=callbacks, logger=loggers, plugins=plugins, enable_checkpointing=keeps)
