"""The only part that knows Hydra: commands, configurations, and the objects built from them."""

from importlib import import_module
from typing import Any

from hydra.utils import instantiate

from arcsr_lightning.launch import resolvers  # registers them
from arcsr_lightning.launch.card import note_taken, plan_card, sum_of_rates, taken
from arcsr_lightning.launch.commands import command, compose
from arcsr_lightning.launch.ending import close_loggers
from arcsr_lightning.launch.folders import FolderChoice
from arcsr_lightning.launch.logs import import_lightning
from arcsr_lightning.launch.objects import (
    build_loss,
    build_network,
    build_test_set,
    prepare_network,
)
from arcsr_lightning.launch.record import record_configuration
from arcsr_lightning.launch.search import SearchSeed
from arcsr_lightning.launch.settings_check import NO_DATA, SettingsCheck
from arcsr_lightning.launch.sweeps import SweepPlan
from arcsr_lightning.runs.settings import as_plain_data

__all__ = [
    "NO_DATA",
    "FolderChoice",
    "SearchSeed",
    "SettingsCheck",
    "SweepPlan",
    "as_plain_data",
    "build_data",
    "build_loss",
    "build_module",
    "build_network",
    "build_test_set",
    "build_trainer",
    "close_loggers",
    "command",
    "compose",
    "import_lightning",
    "instantiate",
    "note_taken",
    "plan_card",
    "prepare_network",
    "record_configuration",
    "resolvers",
    "sum_of_rates",
    "taken",
]

_NEED_LIGHTNING = {"build_data", "build_module", "build_trainer"}


def __getattr__(name: str) -> Any:
    """Import what needs Lightning when it is first asked for, so that --help and complaints do not wait for it."""
    if name in _NEED_LIGHTNING:
        import_lightning()
        return getattr(import_module(f"{__name__}.lightning"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
