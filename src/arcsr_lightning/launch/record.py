"""What stands in a configuration, written down: the whole in a file, what matters most in the log."""

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.syntax import Syntax
from rich.tree import Tree

from arcsr_lightning.files import write_text
from arcsr_lightning.processes import rank_zero_only

log = logging.getLogger(__name__)


@rank_zero_only
def record_configuration(cfg: DictConfig) -> None:
    """Save the composed configuration in the run's folder, and say what matters most of it; ``print_config``: all."""
    write_text(Path(cfg.paths.output_dir) / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    if cfg.print_config:
        tree = Tree("configuration", guide_style="dim")
        for name, node in cfg.items():
            text = OmegaConf.to_yaml(node, resolve=True) if OmegaConf.is_config(node) else str(node)
            tree.add(str(name)).add(Syntax(text.rstrip(), "yaml", background_color="default"))
        Console().print(tree)
    for name, value in essentials(cfg).items():
        log.info("%-14s %s", name, value)


def essentials(cfg: DictConfig) -> dict[str, Any]:
    """The settings of a training or an evaluation that its user looks for first."""
    lines = {
        "task": cfg.task_name,
        "folder": cfg.paths.output_dir,
        "method": cfg.method,
        "data": f"{cfg.data.name}, noise {', '.join(map(str, cfg.data.noise_levels))}",
        "scale": f"{cfg.scale}, kernel_size {cfg.kernel_size}",
        "seed": cfg.seed,
        "device": f"{device_name(cfg.trainer.accelerator)}, {cfg.precision}",
    }
    if cfg.trainer.devices != 1 or cfg.trainer.num_nodes != 1:
        lines["processes"] = f"{cfg.trainer.devices} on each of {cfg.trainer.num_nodes} machines"
    if cfg.get("train"):
        stages = cfg.card.schedule or []
        lines["protocol"] = cfg.protocol
        lines["steps"] = cfg.trainer.max_steps
        lines |= {f"  {one.stage}": f"{one.steps}, lr {one.lr:g}" for one in stages if one.stage}
        lines["batch_size"] = cfg.data.batch_size
        if not any(one.stage for one in stages):  # which say theirs above
            lines["lr"] = f"{cfg.optimizer.lr:g}"
    return lines | {key: cfg[key] for key in ("weights", "ckpt_path") if cfg.get(key)}


def device_name(accelerator: str) -> str:
    """What the computations run on."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{accelerator}, {torch.get_num_threads()} threads" if accelerator in ("auto", "cpu") else accelerator
