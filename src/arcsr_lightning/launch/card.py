"""What a run's card says of its training: planned before it, corrected after every stage."""

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from arcsr_lightning.launch.objects import maker, naming_errors
from arcsr_lightning.runs.stages import Stage, schedule_of


def plan_card(cfg: DictConfig, stages: Sequence[Stage], losses: Sequence[nn.Module]) -> None:
    """Put what is learnt from, and how long, into the configurations that the checkpoints will hold."""
    rates = [sum_of_rates(stage.config, stage.config.trainer.max_steps) for stage in stages]
    schedule = schedule_of(stages, rates)
    supervision = list(dict.fromkeys(source for loss in losses for source in loss.supervision))
    for config in (cfg, *(stage.config for stage in stages)):
        config.card.supervision = supervision
        config.card.schedule = schedule


def taken(stage: Stage, steps: int) -> dict[str, Any]:
    """What the schedule says of a stage that took so many steps: it may have been cut off."""
    return {"steps": steps, "lr_sum": sum_of_rates(stage.config, steps)}


def note_taken(cfg: DictConfig, stages: Sequence[Stage], entries: Sequence[dict[str, Any]], first: int = 0) -> None:
    """Replace what was planned of the stages from number ``first`` on by what they did."""
    for config in (cfg, *(stage.config for stage in stages)):
        for number, entry in enumerate(entries, first):
            config.card.schedule[number].update(entry)


def sum_of_rates(cfg: DictConfig, steps: int) -> float:
    """The learning rate summed over so many steps of a stage, which says how far they can go: none is taken for it."""
    optimizer = maker(cfg, "optimizer")([nn.Parameter(torch.zeros(1))])
    if not cfg.scheduler:
        return optimizer.param_groups[0]["lr"] * steps
    scheduler = maker(cfg, "scheduler")(optimizer)
    naming_errors("optimizer", optimizer.step)()  # without gradients; else the scheduler warns that it is stepped first
    step = naming_errors("scheduler", scheduler.step)
    total = 0.0
    for _ in range(steps):
        total += optimizer.param_groups[0]["lr"]
        step()
    return total
